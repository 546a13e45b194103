//! A real server in this process: real sockets, a real journal in a temporary directory, a real (development) issuer, and
//! a clock that the test moves.

pub mod actors;
pub mod browser;
pub mod client;
pub mod facts;
pub mod http2;
pub mod pki;
pub mod random;
pub mod redis;
pub mod sealed;
pub mod storm;

use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::time::Duration;

use countersign::domain::Timestamp;
use countersign::grpc::unix::UnixSocket;
use countersign::server::{Encryption, Listeners, Retention, Server, ServerError, Setup};
use countersign::store::{Clock, ManualClock, embedded};
use countersign::web::dev_issuer::{DevMinter, DevPrincipal, find};
use countersign::{engine, journal, service, web};
use tokio::net::TcpListener;
use tokio::sync::oneshot;
use tokio::task::JoinHandle;
use tonic::transport::{ClientTlsConfig, Endpoint};

pub use actors::PolicyDir;
pub use client::{Admin, Client};

/// A server under test. Dropping it stops it.
pub struct TestServer {
    pub clock: ManualClock,
    pub dir: tempfile::TempDir,
    address: SocketAddr,
    /// The origin of the inbox.
    pub inbox: Option<String>,
    /// Where `/metrics` is.
    pub metrics: SocketAddr,
    minter: DevMinter,
    /// Its socket, so that it is found there again after a restart.
    issuer: std::net::TcpListener,
    options: Options,
    stop: Option<oneshot::Sender<()>>,
    running: Option<JoinHandle<Result<(), ServerError>>>,
}

/// What a test may want different.
#[derive(Clone)]
pub struct Options {
    pub policies: PathBuf,
    /// How they are loaded, but for the directory.
    pub loading: fn(&mut engine::Settings),
    pub limits: service::Limits,
    pub masking: countersign::config::Masking,
    /// A key is made where a test says nothing: every test runs sealed.
    pub sealing: countersign::config::Sealing,
    pub store: embedded::Limits,
    pub journal: fn(&mut journal::Settings),
    pub retention: Retention,
    /// Nobody is told, unless a test is about it.
    pub notify: countersign::notify::Settings,
    /// Off unless a test is about it: others take their policy directory away while the server runs.
    pub watch: Option<Duration>,
    /// How the inbox is run, where there is one.
    pub inbox: Option<web::Settings>,
    pub encryption: Encryption,
    pub connections: countersign::grpc::door::Limits,
    /// Whether it also listens on a Unix socket, [`TestServer::socket`].
    pub unix: bool,
    /// Where it speaks TLS: what the test itself believes and shows.
    pub trust: Option<ClientTlsConfig>,
}

impl Default for Options {
    fn default() -> Self {
        Self {
            policies: Path::new(env!("CARGO_MANIFEST_DIR")).join("policies"),
            loading: |_| {},
            limits: service::Limits::default(),
            masking: countersign::config::Masking::default(),
            sealing: countersign::config::Sealing::default(),
            store: embedded::Limits::default(),
            journal: |_| {},
            retention: Retention::default(),
            notify: countersign::notify::Settings::default(),
            watch: None,
            inbox: None,
            encryption: Encryption::Loopback,
            connections: countersign::grpc::door::Limits::default(),
            unix: false,
            trust: None,
        }
    }
}

impl TestServer {
    pub async fn start() -> Self {
        Self::with(Options::default()).await
    }

    pub async fn with(options: Options) -> Self {
        let dir = tempfile::tempdir().expect("a temporary directory");
        let clock = ManualClock::starting_at(today());
        Self::on(dir, clock, options).await
    }

    /// A server on a directory that may hold a journal already.
    pub async fn on(dir: tempfile::TempDir, clock: ManualClock, options: Options) -> Self {
        let issuer = std::net::TcpListener::bind("127.0.0.1:0").expect("a free port");
        issuer.set_nonblocking(true).expect("a socket");
        Self::with_issuer(dir, clock, options, issuer).await
    }

    /// With the address of an issuer that others know already.
    async fn with_issuer(
        dir: tempfile::TempDir,
        clock: ManualClock,
        options: Options,
        issuer: std::net::TcpListener,
    ) -> Self {
        let grpc = TcpListener::bind("127.0.0.1:0").await.expect("a free port");
        let dev_issuer = TcpListener::from_std(issuer.try_clone().expect("the socket")).expect("a socket");
        let metrics = TcpListener::bind("127.0.0.1:0").await.expect("a free port");
        let scraped = metrics.local_addr().expect("an address");
        let kept = options.clone();
        let web = match &options.inbox {
            Some(_) => Some(TcpListener::bind("127.0.0.1:0").await.expect("a free port")),
            None => None,
        };
        let inbox = web.as_ref().map(|listener| format!("http://{}", listener.local_addr().unwrap()));
        let grpc_unix = match options.unix {
            true => Some(UnixSocket::bind(&socket_in(&dir)).await.expect("a socket")),
            false => None,
        };
        let setup = setup(&dir, &clock, options);
        let listeners = Listeners { grpc, grpc_unix, web, metrics: Some(metrics), dev_issuer: Some(dev_issuer) };
        let server = Server::prepare(setup, listeners).expect("a server");
        let address = server.address().expect("an address");
        let minter = server.dev_issuer().expect("a dev issuer").minter();
        let (stop, stopped) = oneshot::channel::<()>();
        let running = tokio::spawn(server.run(async move {
            let _ = stopped.await;
        }));
        let (stop, running) = (Some(stop), Some(running));
        let server =
            Self { clock, dir, address, inbox, metrics: scraped, minter, issuer, options: kept, stop, running };
        server.ready().await;
        server
    }

    /// Returns once the server has its issuer's keys.
    async fn ready(&self) {
        let channel = self.endpoint(self.options.trust.as_ref()).connect_lazy();
        let mut health = tonic_health::pb::health_client::HealthClient::new(channel);
        let mut watch = health.watch(tonic_health::pb::HealthCheckRequest::default()).await.unwrap().into_inner();
        while let Some(state) = watch.message().await.unwrap() {
            if state.status() == tonic_health::pb::health_check_response::ServingStatus::Serving {
                return;
            }
        }
        panic!("the server ended before it was ready");
    }

    pub fn url(&self) -> String {
        let scheme = if self.options.trust.is_some() { "https" } else { "http" };
        format!("{scheme}://{}", self.address)
    }

    /// Its Unix socket, where it has one.
    pub fn socket(&self) -> PathBuf {
        socket_in(&self.dir)
    }

    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// The way to it of a client that believes and shows this.
    pub fn endpoint(&self, tls: Option<&ClientTlsConfig>) -> Endpoint {
        let endpoint = Endpoint::from_shared(self.url()).unwrap();
        tls.map_or(endpoint.clone(), |tls| endpoint.tls_config(tls.clone()).unwrap())
    }

    /// A client over TLS, with a token or none.
    pub async fn over(&self, tls: &ClientTlsConfig, token: Option<&str>) -> Client {
        Client::over(self.endpoint(Some(tls)).connect().await.expect("a connection"), token)
    }

    pub fn minter(&self) -> &DevMinter {
        &self.minter
    }

    /// A token of a demo principal, issued now by the server's clock.
    pub fn token(&self, who: &str) -> String {
        let principal = find(who).unwrap_or_else(|| panic!("no demo principal `{who}`"));
        self.minter.mint(principal, self.clock.wall(), &serde_json::Map::new())
    }

    /// A client that is this demo principal.
    pub async fn client(&self, who: &str) -> Client {
        Client::connect(&self.url(), &self.token(who)).await
    }

    /// A client that is somebody whom only this test knows.
    pub async fn client_of(&self, who: &DevPrincipal) -> Client {
        self.client_with(who, &serde_json::Map::new()).await
    }

    /// The same, with some claims of the token changed.
    pub async fn client_with(&self, who: &DevPrincipal, claims: &serde_json::Map<String, serde_json::Value>) -> Client {
        Client::connect(&self.url(), &self.minter.mint(who, self.clock.wall(), claims)).await
    }

    /// Whoever administers the extended policies.
    pub async fn admin(&self) -> Admin {
        Admin::connect(&self.url(), &self.token_of(&actors::person("root", &["admins"]))).await
    }

    /// A token of somebody whom only this test knows.
    pub fn token_of(&self, who: &DevPrincipal) -> String {
        self.minter.mint(who, self.clock.wall(), &serde_json::Map::new())
    }

    /// What health says of one dependency, or (by `""`) of the whole.
    pub async fn health(&self, name: &str) -> tonic_health::pb::health_check_response::ServingStatus {
        let channel = tonic::transport::Endpoint::from_shared(self.url()).unwrap().connect_lazy();
        let mut health = tonic_health::pb::health_client::HealthClient::new(channel);
        let request = tonic_health::pb::HealthCheckRequest { service: name.into() };
        health.check(request).await.unwrap().into_inner().status()
    }

    /// Returns once health says so of a dependency.
    pub async fn until_health(&self, name: &str, wanted: tonic_health::pb::health_check_response::ServingStatus) {
        let channel = tonic::transport::Endpoint::from_shared(self.url()).unwrap().connect_lazy();
        let mut health = tonic_health::pb::health_client::HealthClient::new(channel);
        let request = tonic_health::pb::HealthCheckRequest { service: name.into() };
        let mut states = health.watch(request).await.unwrap().into_inner();
        while states.message().await.unwrap().expect("a server that lives").status() != wanted {}
    }

    /// A client with a token of the agent for the person.
    pub async fn delegated(&self, agent: &str, person: &str) -> Client {
        let token = self.minter.mint_delegated(find(agent).unwrap(), find(person).unwrap(), self.clock.wall());
        Client::connect(&self.url(), &token).await
    }

    pub fn advance(&self, span: Duration) {
        self.clock.advance(span);
    }

    /// Stops in good order and gives the directory back.
    pub async fn stop(mut self) -> (tempfile::TempDir, ManualClock) {
        let _ = self.stop.take().unwrap().send(());
        self.running.take().unwrap().await.expect("no panic").expect("a clean stop");
        let dir = std::mem::replace(&mut self.dir, tempfile::tempdir().unwrap());
        (dir, self.clock.clone())
    }

    /// Stops, and starts again on the same directory.
    pub async fn restart(self) -> Self {
        let options = self.options.clone();
        self.restart_with(options).await
    }

    /// The same, as a server that is run differently.
    pub async fn restart_with(self, options: Options) -> Self {
        let issuer = self.issuer.try_clone().expect("the socket");
        let (dir, clock) = self.stop().await;
        Self::with_issuer(dir, clock, options, issuer).await
    }

    /// The same, with an issuer of another address, which knows the same people.
    pub async fn restart_under_another_issuer(self) -> Self {
        let options = self.options.clone();
        let (dir, clock) = self.stop().await;
        Self::on(dir, clock, options).await
    }

    /// The same, with other policies.
    pub async fn restart_under(self, policies: &PolicyDir) -> Self {
        let options = Options { policies: policies.path().into(), ..self.options.clone() };
        self.restart_with(options).await
    }
}

fn socket_in(dir: &tempfile::TempDir) -> PathBuf {
    dir.path().join("grpc.sock")
}

/// How long calls wait for a processor says nothing in a test, which shares it with many others: nobody is turned away for that, where
/// a test does not say otherwise.
fn patient(mut limits: service::Limits) -> service::Limits {
    if limits.load.queueing_target == service::load::Limits::default().queueing_target {
        limits.load.queueing_target = Duration::from_secs(60);
    }
    limits
}

/// What a server under test is made from, but for its sockets.
pub fn setup(dir: &tempfile::TempDir, clock: &ManualClock, options: Options) -> Setup {
    let mut settings = journal::Settings::new(dir.path().join("journal"));
    settings.segment_bytes = 1 << 20;
    settings.record_bytes_max = 512 << 10;
    settings.reserve_bytes = 0;
    (options.journal)(&mut settings);
    let mut policies = engine::Settings::new(options.policies);
    // A test writes whole sets, or means half of one.
    policies.settle = Duration::ZERO;
    (options.loading)(&mut policies);
    let manual = clock.clone();
    Setup {
        journal: settings,
        sealing: options.sealing,
        store: options.store,
        redis: None,
        notify: options.notify,
        policies,
        issuers: Vec::new(),
        web: options.inbox.unwrap_or_default(),
        encryption: options.encryption,
        connections: options.connections,
        traces: std::sync::Arc::default(),
        watch: options.watch,
        limits: patient(options.limits),
        masking: options.masking,
        retention: options.retention,
        clock: Box::new(move |floor| Clock::manual(&manual, floor)),
    }
}

/// A moment that tokens can be issued at; which one does not matter.
pub fn today() -> Timestamp {
    Timestamp::from_micros(1_800_000_000_000_000)
}
