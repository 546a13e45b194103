//! The service as a process of its own, and what it needs around it: policies, a journal, an issuer that outlives it.

use std::io::{BufRead, BufReader};
use std::path::PathBuf;
use std::process::{Command, ExitStatus, Stdio};
use std::sync::{Arc, Mutex};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use countersign::domain::Timestamp;
use countersign::web::dev_issuer::{DevIssuer, DevMinter, find};
use rustix::process::{Pid, Signal, kill_process};
use serde_json::Map;
use tokio::net::TcpListener;
use tokio::sync::{oneshot, watch};

/// Where the process finds everything, over all its lives.
pub struct Site {
    dir: tempfile::TempDir,
    policies: PathBuf,
    pub minter: DevMinter,
}

impl Site {
    pub async fn new() -> Self {
        let issuer = DevIssuer::bind(TcpListener::bind("127.0.0.1:0").await.unwrap()).unwrap();
        let (minter, url) = (issuer.minter(), issuer.url().to_owned());
        tokio::spawn(issuer.serve(std::future::pending()));
        let dir = tempfile::tempdir().unwrap();
        let rule = |kind: &str, name: &str| {
            format!(
                "{{ kind = \"{kind}\", entity_type = \"{name}\", when = [{{ claim = \"/kind\", equals = \"{kind}\" }}] }}"
            )
        };
        let rules = [rule("user", "User"), rule("agent", "Agent"), rule("workload", "Workload")].join(", ");
        let config = format!(
            "[[identity.issuers]]\nname = \"test\"\nissuer = \"{url}\"\naudiences = [\"countersign\"]\n\
             algorithms = [\"EdDSA\"]\nuser_clients = [\"dev-login\"]\n\
             allow_insecure_http_loopback = true\nprincipals = [{rules}]\n"
        );
        std::fs::write(dir.path().join("countersign.toml"), config).unwrap();
        let policies = PathBuf::from(concat!(env!("CARGO_MANIFEST_DIR"), "/policies"));
        Self { dir, policies, minter }
    }

    /// With other policies than the shipped ones.
    pub fn under(mut self, policies: &std::path::Path) -> Self {
        self.policies = policies.into();
        self
    }

    /// Another one with a journal of its own, the same policies and the same issuer.
    pub fn sibling(&self) -> Self {
        let dir = tempfile::tempdir().unwrap();
        std::fs::copy(self.config(), dir.path().join("countersign.toml")).unwrap();
        Self { dir, policies: self.policies.clone(), minter: self.minter.clone() }
    }

    pub fn config(&self) -> PathBuf {
        self.dir.path().join("countersign.toml")
    }

    /// Adds sections to the end of the configuration.
    pub fn append(&self, sections: &str) {
        let text = std::fs::read_to_string(self.config()).unwrap();
        std::fs::write(self.config(), format!("{text}\n{sections}")).unwrap();
    }

    /// Sets a key of the configuration for every life from now on.
    pub fn set(&self, key: &str, value: &str) {
        let (section, key) = key.split_once('.').unwrap();
        let file = self.config();
        let text = std::fs::read_to_string(&file).unwrap();
        std::fs::write(file, format!("[{section}]\n{key} = {value}\n{text}")).unwrap();
    }

    pub fn journal(&self) -> PathBuf {
        self.dir.path().join("journal")
    }

    pub fn token(&self, who: &str) -> String {
        self.token_at(who, SystemTime::now())
    }

    /// A token of that moment.
    pub fn token_at(&self, who: &str, moment: SystemTime) -> String {
        let since = moment.duration_since(UNIX_EPOCH).unwrap();
        self.minter.mint(find(who).unwrap(), Timestamp::default().after(since), &Map::new())
    }

    /// The command, run by the `wrapper` if there is one.
    fn command(&self, wrapper: &[String]) -> Command {
        let line: Vec<String> = wrapper.iter().cloned().chain([program().to_owned()]).collect();
        let mut command = Command::new(&line[0]);
        command.args(&line[1..]).arg("serve").args(["--listen", "127.0.0.1:0"]);
        command.arg("--config").arg(self.config());
        command.arg("--journal-dir").arg(self.journal());
        command.arg("--policy-dir").arg(&self.policies);
        // Small segments, so that deaths also meet the change from one to the next.
        command.env_clear().env("COUNTERSIGN__JOURNAL__SEGMENT_BYTES", (2 << 20).to_string());
        command.env("COUNTERSIGN__JOURNAL__RESERVE_BYTES", "1");
        // No life without a seal: what is read afterwards was opened.
        if !std::fs::read_to_string(self.config()).unwrap().contains("sealing_keys") {
            command.env("COUNTERSIGN__JOURNAL__SEALING", "kept");
        }
        // How long calls wait for a processor that many share says nothing, where a test does not say otherwise.
        if !std::fs::read_to_string(self.config()).unwrap().contains("queueing_target") {
            command.env("COUNTERSIGN__LIMITS__QUEUEING_TARGET", "60s");
        }
        // One agent lives more lives in a minute than any person could be asked about.
        command.env("COUNTERSIGN__LIMITS__OPENINGS_PER_MINUTE_MAX", "1000000");
        // The switch of a twin (tests/twins) turns in here as well.
        command.envs(std::env::var_os("TWIN").map(|switch| ("TWIN", switch)));
        command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::piped());
        command
    }
}

/// The program under test.
pub fn program() -> &'static str {
    env!("CARGO_BIN_EXE_countersign")
}

pub struct Child {
    pub url: String,
    pub pid: Pid,
    said: Arc<Mutex<String>>,
    ended: watch::Receiver<Option<ExitStatus>>,
}

impl Child {
    /// Starts it and waits until it listens. One that dies before that has no address, which is as good as one that dies
    /// right after.
    pub async fn start(site: &Site, wrapper: &[String]) -> Self {
        Self::spawn(site.command(wrapper), !wrapper.is_empty()).await
    }

    /// The same, with more variables.
    pub async fn start_with(site: &Site, variables: &[(&str, &str)]) -> Self {
        let mut command = site.command(&[]);
        command.envs(variables.iter().copied());
        Self::spawn(command, false).await
    }

    async fn spawn(mut command: Command, may_die: bool) -> Self {
        let mut process = command.spawn().unwrap();
        let pid = Pid::from_child(&process);
        let (said, (ready, listens)) = (Arc::new(Mutex::new(String::new())), oneshot::channel());
        let (end, ended) = watch::channel(None);
        let heard = said.clone();
        std::thread::spawn(move || {
            let mut ready = Some(ready);
            for line in BufReader::new(process.stderr.take().unwrap()).lines().map_while(Result::ok) {
                heard.lock().unwrap().push_str(&format!("{line}\n"));
                if let Some((_, url)) = line.split_once("listens on ")
                    && let Some(ready) = ready.take()
                {
                    let _ = ready.send(url.to_owned());
                }
            }
            end.send_replace(process.wait().ok());
        });
        let url = match listens.await {
            Ok(url) => url,
            Err(_) if may_die => String::new(),
            Err(_) => panic!("the server did not start: {}", said.lock().unwrap()),
        };
        Self { url, pid, said, ended }
    }

    pub fn said(&self) -> String {
        self.said.lock().unwrap().clone()
    }

    /// Stops taking part, with every connection open. Returns when the last of its threads has stopped: until then the process
    /// may still finish something.
    pub fn pause(&self) {
        kill_process(self.pid, Signal::STOP).unwrap();
        let tasks = format!("/proc/{}/task", self.pid.as_raw_nonzero());
        let runs = |task: std::fs::DirEntry| {
            let status = std::fs::read_to_string(task.path().join("status")).unwrap_or_default();
            status.lines().any(|line| line.starts_with("State:") && !line.contains('T'))
        };
        while std::fs::read_dir(&tasks).unwrap().any(|task| runs(task.unwrap())) {
            std::thread::yield_now();
        }
    }

    pub fn resume(&self) {
        kill_process(self.pid, Signal::CONT).unwrap();
    }

    /// The time of processors that it has used.
    pub fn cpu(&self) -> Duration {
        let stat = std::fs::read_to_string(format!("/proc/{}/stat", self.pid.as_raw_nonzero())).unwrap();
        // In ticks, of which Linux tells user space a hundred a second; the name before them may have spaces.
        let fields: Vec<&str> = stat.rsplit(')').next().unwrap().split_whitespace().collect();
        let ticks = |field: usize| fields[field].parse::<u64>().unwrap();
        Duration::from_millis(10 * (ticks(11) + ticks(12)))
    }

    pub async fn kill(&mut self) {
        kill_process(self.pid, Signal::KILL).unwrap();
        self.end().await;
    }

    /// Waits until it has died by itself.
    pub async fn died(&mut self) {
        let status = self.end().await;
        assert!(!status.success(), "{status}");
    }

    /// Ends it in good order.
    pub async fn terminate(mut self) {
        kill_process(self.pid, Signal::TERM).unwrap();
        let status = self.end().await;
        assert!(status.success(), "{status}: {}", self.said());
    }

    async fn end(&mut self) -> ExitStatus {
        self.ended.wait_for(Option::is_some).await.unwrap().unwrap()
    }
}

impl Drop for Child {
    fn drop(&mut self) {
        if self.ended.borrow().is_none() {
            let _ = kill_process(self.pid, Signal::KILL);
        }
    }
}

/// What a process says that must not start.
pub async fn refused(site: &Site) -> String {
    let mut command = site.command(&[]);
    let output = tokio::task::spawn_blocking(move || command.output().unwrap()).await.unwrap();
    assert!(!output.status.success());
    String::from_utf8(output.stderr).unwrap()
}
