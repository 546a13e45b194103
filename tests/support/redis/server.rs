//! One Redis server, from its start to whatever a test does to it.

use std::path::PathBuf;
use std::time::Duration;

use ::redis::{AsyncConnectionConfig, Client, FromRedisValue, RedisResult};
use rustix::process::Signal;

use super::keeper::Keeper;
use super::{free_port, until};

/// How long a command of a test may take.
const COMMAND: Duration = Duration::from_secs(5);
/// A port that was free a moment ago may be taken by now; then another one is tried.
const STARTS_MAX: usize = 5;

/// What a test may want different.
#[derive(Debug, Clone, Default)]
pub struct Spec {
    /// More of its configuration, a directive and its value each.
    pub directives: Vec<(String, String)>,
    /// Variables of its environment (libfaketime).
    pub variables: Vec<(String, String)>,
}

impl Spec {
    #[must_use]
    pub fn set(mut self, directive: &str, value: &str) -> Self {
        self.directives.push((directive.into(), value.into()));
        self
    }

    /// The same as a replica of the server on this port.
    #[must_use]
    pub fn following(self, port: u16) -> Self {
        self.set("replicaof", &format!("127.0.0.1 {port}"))
    }
}

/// A server. Dropping it kills it.
pub struct Redis {
    pub port: u16,
    dir: tempfile::TempDir,
    spec: Spec,
    keeper: Option<Keeper>,
}

impl Redis {
    pub async fn start() -> Self {
        Self::with(&Spec::default()).await
    }

    /// Starts it; returns when it answers.
    pub async fn with(spec: &Spec) -> Self {
        for _ in 0..STARTS_MAX {
            let dir = tempfile::tempdir().unwrap();
            let mut server = Self { port: free_port(), dir, spec: spec.clone(), keeper: None };
            server.launch();
            if server.answers_or_dies().await {
                return server;
            }
        }
        panic!("redis-server did not start {STARTS_MAX} times")
    }

    fn launch(&mut self) {
        let own = [
            ("port", self.port.to_string()),
            ("bind", "127.0.0.1".into()),
            ("dir", self.dir.path().display().to_string()),
            ("logfile", self.log_file().display().to_string()),
            ("save", String::new()),
            ("appendonly", "no".into()),
            ("repl-diskless-sync", "yes".into()),
            ("repl-diskless-sync-delay", "0".into()),
            // A lost link is noticed within seconds, and found again as fast.
            ("repl-timeout", "3".into()),
            ("repl-ping-replica-period", "1".into()),
            // Commands that damage on purpose.
            ("enable-debug-command", "local".into()),
        ];
        let more = self.spec.directives.iter().map(|(name, value)| (name.as_str(), value.clone()));
        let words: Vec<String> = own.into_iter().chain(more).flat_map(|(name, value)| words_of(name, &value)).collect();
        self.keeper = Some(Keeper::start("redis-server", &words, &self.spec.variables));
    }

    async fn answers_or_dies(&self) -> bool {
        let mut alive = true;
        until("redis-server answers", async || {
            alive = self.keeper.as_ref().is_some_and(Keeper::is_alive);
            !alive || self.try_ask::<String>(&["PING"]).await.is_ok()
        })
        .await;
        alive && self.try_ask::<String>(&["PING"]).await.is_ok()
    }

    /// Where it writes its files.
    pub fn dir(&self) -> &std::path::Path {
        self.dir.path()
    }

    pub fn log_file(&self) -> PathBuf {
        self.dir.path().join("log")
    }

    pub fn url(&self) -> String {
        format!("redis://127.0.0.1:{}", self.port)
    }

    /// One command, over a connection of its own.
    pub async fn try_ask<T: FromRedisValue>(&self, words: &[&str]) -> RedisResult<T> {
        ask(&self.url(), words).await
    }

    pub async fn ask<T: FromRedisValue>(&self, words: &[&str]) -> T {
        self.try_ask(words).await.unwrap_or_else(|error| panic!("{words:?}: {error}"))
    }

    pub async fn info(&self, section: &str) -> String {
        self.try_ask(&["INFO", section]).await.unwrap_or_default()
    }

    /// Dies without a word; nothing of its memory is left.
    pub fn kill(&mut self) {
        self.keeper = None;
    }

    /// Starts again on its port, with an empty memory.
    pub async fn start_again(&mut self) {
        self.kill();
        self.launch();
        until("redis-server answers again", async || self.try_ask::<String>(&["PING"]).await.is_ok()).await;
    }

    /// Stops taking part, with every connection open.
    pub fn pause(&self) {
        self.keeper.as_ref().expect("a server that runs").signal(Signal::STOP);
    }

    pub fn resume(&self) {
        self.keeper.as_ref().expect("a server that runs").signal(Signal::CONT);
    }

    /// All keys there are, as far as they are text.
    pub async fn keys(&self) -> Vec<String> {
        let keys: Vec<Vec<u8>> = self.ask(&["KEYS", "*"]).await;
        keys.into_iter().map(|key| String::from_utf8_lossy(&key).into_owned()).collect()
    }

    /// Moves keys to the server on another port.
    pub async fn migrate(&self, port: u16, keys: &[Vec<u8>]) {
        let mut command = ::redis::cmd("MIGRATE");
        command.arg("127.0.0.1").arg(port).arg("").arg(0).arg(5_000).arg("KEYS").arg(keys);
        let config = AsyncConnectionConfig::new().set_response_timeout(Some(COMMAND));
        let client = Client::open(self.url()).unwrap();
        let mut connection = client.get_multiplexed_async_connection_with_config(&config).await.unwrap();
        command.query_async::<()>(&mut connection).await.expect("keys that move");
    }
}

/// A directive as the command line wants it: `replicaof 127.0.0.1 6379` is three words.
fn words_of(name: &str, value: &str) -> Vec<String> {
    let first = std::iter::once(format!("--{name}"));
    if value.is_empty() {
        return first.chain([String::new()]).collect();
    }
    first.chain(value.split(' ').map(str::to_owned)).collect()
}

/// One command to the server at a URL.
pub async fn ask<T: FromRedisValue>(url: &str, words: &[&str]) -> RedisResult<T> {
    let config = AsyncConnectionConfig::new().set_connection_timeout(Some(COMMAND)).set_response_timeout(Some(COMMAND));
    let mut connection = Client::open(url)?.get_multiplexed_async_connection_with_config(&config).await?;
    let mut command = ::redis::Cmd::new();
    words.iter().for_each(|word| {
        command.arg(word);
    });
    command.query_async(&mut connection).await
}
