//! Several server processes that share one Redis, one issuer and one set of policies, each with a journal of its own.

use std::path::PathBuf;
use std::process::Command;
use std::sync::Arc;
use std::time::Duration;

use countersign::wire::pb;
use tokio::sync::watch;
use tonic_health::pb::HealthCheckRequest;
use tonic_health::pb::health_check_response::ServingStatus;
use tonic_health::pb::health_client::HealthClient;

use crate::crash::child::{self, Child, Site};
use crate::support::redis::sentinel::MASTER;
use crate::support::redis::{Cluster, Sentinel, until};
use crate::support::sealed;
use crate::support::{Admin, Client, PolicyDir};

/// What a rotation has to be countersigned within, under the policies here: short enough to expire in a test.
pub const ROTATION: Duration = Duration::from_secs(2);

/// Where the time that Redis takes is not the question, a busy machine is no fault.
const PATIENT: &str = "command_timeout = \"1s\"\n";
/// Of what a server said.
const SAID_LINES: usize = 12;

pub struct Fleet {
    sites: Vec<Site>,
    servers: Vec<Option<Child>>,
    /// Where each one listens; empty while it is down.
    urls: watch::Sender<Vec<String>>,
    policies: Arc<PolicyDir>,
}

/// The store of a fleet, as its configuration names it.
#[derive(Debug, Clone)]
pub struct Store(String);

impl Store {
    /// One address; acknowledged writes are where the primary has them.
    pub fn alone(url: &str) -> Self {
        Self::at(&[url.to_owned()]).and("durability = \"primary\"")
    }

    /// One address; acknowledged writes are on a replica as well.
    pub fn replicated(url: &str) -> Self {
        Self::at(&[url.to_owned()]).and("durability = \"replicated\"")
    }

    /// What a Sentinel watches; acknowledged writes are on a replica as well.
    pub fn sentinel(sentinel: &Sentinel) -> Self {
        Self::at(&[sentinel.url()]).and(&format!("master = \"{MASTER}\"")).and("durability = \"replicated\"")
    }

    pub fn cluster(cluster: &Cluster) -> Self {
        Self::at(&cluster.urls()).and("cluster = true").and("durability = \"primary\"")
    }

    fn at(urls: &[String]) -> Self {
        Self(format!("[store]\nkind = \"redis\"\n[store.redis]\nurls = {urls:?}\n{PATIENT}"))
    }

    /// Whose servers give Redis as long as by default, however busy the machine is.
    pub fn prompt(self) -> Self {
        Self(self.0.replace(PATIENT, ""))
    }

    /// With one line more.
    pub fn and(mut self, line: &str) -> Self {
        self.0.push_str(line);
        self.0.push('\n');
        self
    }
}

impl Fleet {
    /// Starts so many servers; returns when all of them serve what needs approval.
    pub async fn start(count: usize, store: &Store) -> Self {
        let mut fleet = Self::prepare(count, store, "").await;
        for place in 0..count {
            fleet.start_one(place, &[]).await;
        }
        fleet.ready().await;
        fleet
    }

    /// The same without starting any; `sections` are more of the configuration.
    pub async fn prepare(count: usize, store: &Store, sections: &str) -> Self {
        // It is over before anybody would be reminded.
        let timeout = format!("@timeout(\"{}s\")", ROTATION.as_secs());
        let policies = PolicyDir::shipped().but("warehouse.cedar", "@timeout(\"1h\")", &timeout);
        let policies = Arc::new(policies.but("warehouse.cedar", "@remind(\"10m, 30m\")\n", ""));
        let first = Site::new().await.under(policies.path());
        first.append(&format!("{sections}\n{}", store.0));
        // One key for all: what one of them seals in Redis the others open.
        first.append(&sealed::sections(first.config().parent().unwrap()));
        let siblings: Vec<_> = (1..count).map(|_| first.sibling()).collect();
        let sites: Vec<_> = std::iter::once(first).chain(siblings).collect();
        let servers = sites.iter().map(|_| None).collect();
        Self { sites, servers, urls: watch::Sender::new(vec![String::new(); count]), policies }
    }

    /// Starts one of them, run by the `wrapper` if there is one.
    pub async fn start_one(&mut self, place: usize, wrapper: &[&str]) {
        let wrapper: Vec<String> = wrapper.iter().map(|word| (*word).to_owned()).collect();
        let child = Child::start(&self.sites[place], &wrapper).await;
        self.urls.send_modify(|urls| urls[place].clone_from(&child.url));
        self.servers[place] = Some(child);
    }

    /// What a server says that must not start.
    pub async fn refused(&self, place: usize) -> String {
        child::refused(&self.sites[place]).await
    }

    /// The policies that all of them read.
    pub fn policies(&self) -> &PolicyDir {
        &self.policies
    }

    /// Who administers one of them, by policies that say so.
    pub async fn admin(&self, place: usize) -> Admin {
        Admin::connect(&self.url(place), &self.token("erin")).await
    }

    pub fn size(&self) -> usize {
        self.sites.len()
    }

    pub fn urls(&self) -> watch::Receiver<Vec<String>> {
        self.urls.subscribe()
    }

    pub fn url(&self, place: usize) -> String {
        self.urls.borrow()[place].clone()
    }

    pub fn token(&self, who: &str) -> String {
        self.sites[0].token(who)
    }

    /// A client of one of the servers.
    pub async fn client(&self, place: usize, who: &str) -> Client {
        Client::connect(&self.url(place), &self.token(who)).await
    }

    pub fn server(&self, place: usize) -> &Child {
        self.servers[place].as_ref().expect("a server that runs")
    }

    /// A client of a server whose clock is so many seconds ahead: its credential is judged by that clock.
    pub async fn client_ahead(&self, place: usize, who: &str, seconds: i64) -> Client {
        let offset = Duration::from_secs(seconds.unsigned_abs());
        let now = std::time::SystemTime::now();
        let moment = if seconds < 0 { now - offset } else { now + offset };
        Client::connect(&self.url(place), &self.sites[0].token_at(who, moment)).await
    }

    /// `kill -9`: it comes to no end of anything.
    pub async fn kill(&mut self, place: usize) {
        self.urls.send_modify(|urls| urls[place].clear());
        self.servers[place].take().expect("a server that runs").kill().await;
    }

    /// Ends one of them in good order.
    pub async fn terminate(&mut self, place: usize) {
        self.urls.send_modify(|urls| urls[place].clear());
        self.servers[place].take().expect("a server that runs").terminate().await;
    }

    pub fn journal(&self, place: usize) -> PathBuf {
        self.sites[place].journal()
    }

    /// Says of a dependency of one server whether it is well.
    pub async fn health(&self, place: usize, service: &str) -> Option<ServingStatus> {
        let channel = tonic::transport::Endpoint::from_shared(self.url(place)).unwrap().connect().await.ok()?;
        let request = HealthCheckRequest { service: service.into() };
        let answer = HealthClient::new(channel).check(request).await.ok()?;
        Some(answer.into_inner().status())
    }

    /// Returns when every server that runs says so of its store.
    pub async fn until_store(&self, wanted: ServingStatus) {
        for place in (0..self.size()).filter(|place| self.servers[*place].is_some()) {
            until("the health of the store", async || self.health(place, "store").await == Some(wanted)).await;
        }
    }

    pub async fn ready(&self) {
        self.until_store(ServingStatus::Serving).await;
        for place in (0..self.size()).filter(|place| self.servers[*place].is_some()) {
            until("ready", async || self.health(place, "").await == Some(ServingStatus::Serving)).await;
        }
    }

    /// What one of the servers shows of an approval.
    pub async fn show(&self, place: usize, approval: &str) -> pb::Approval {
        self.client(place, "erin").await.get(approval).await.expect("an approval")
    }

    /// Runs `countersign store ...` beside the servers.
    pub fn store_command(&self, place: usize, words: &[&str]) -> std::process::Output {
        let site = &self.sites[place];
        let mut command = Command::new(child::program());
        command.env_clear().envs(std::env::var_os("TWIN").map(|switch| ("TWIN", switch)));
        command.arg("store").args(words).arg("--config").arg(site.config());
        command.env("COUNTERSIGN__JOURNAL__DIR", site.journal());
        command.output().unwrap()
    }

    /// Ends all of them in good order; where their journals are.
    pub async fn end(mut self) -> Ended {
        for server in self.servers.drain(..).flatten() {
            server.terminate().await;
        }
        Ended { sites: std::mem::take(&mut self.sites), _policies: self.policies.clone() }
    }
}

/// A test that fails shows what the servers said last.
impl Drop for Fleet {
    fn drop(&mut self) {
        if std::thread::panicking() {
            for (place, server) in self.servers.iter().enumerate() {
                let said = server.as_ref().map(Child::said).unwrap_or_default();
                let lines: Vec<_> = said.lines().rev().take(SAID_LINES).collect();
                eprintln!("replica {place} said:\n{}", lines.into_iter().rev().collect::<Vec<_>>().join("\n"));
            }
        }
    }
}

/// What is left of a fleet.
pub struct Ended {
    sites: Vec<Site>,
    _policies: Arc<PolicyDir>,
}

impl Ended {
    pub fn journals(&self) -> Vec<PathBuf> {
        self.sites.iter().map(Site::journal).collect()
    }
}
