//! A primary with replicas, and a Sentinel that promotes one of them when the primary is gone.

use super::keeper::Keeper;
use super::server::ask;
use super::{Redis, Replicated, Spec, free_port, until};

/// The name under which the primary is known.
pub const MASTER: &str = "main";
/// Milliseconds of silence after which the primary is down.
const DOWN_AFTER_MS: u32 = 500;
const FAILOVER_TIMEOUT_MS: u32 = 3_000;

pub struct Sentinel {
    pub port: u16,
    pub group: Replicated,
    /// The Sentinel writes its findings back into its configuration.
    _dir: tempfile::TempDir,
    _keeper: Keeper,
}

impl Sentinel {
    /// Starts a primary, replicas and the Sentinel; returns when it knows them all.
    pub async fn start(replicas: usize) -> Self {
        Self::with(&Spec::default(), replicas).await
    }

    pub async fn with(spec: &Spec, replicas: usize) -> Self {
        let group = Replicated::with(spec, replicas).await;
        let (dir, port) = (tempfile::tempdir().unwrap(), free_port());
        let config = format!(
            "port {port}\nbind 127.0.0.1\ndir {dir}\nlogfile {dir}/log\n\
             sentinel monitor {MASTER} 127.0.0.1 {primary} 1\n\
             sentinel down-after-milliseconds {MASTER} {DOWN_AFTER_MS}\n\
             sentinel failover-timeout {MASTER} {FAILOVER_TIMEOUT_MS}\n",
            dir = dir.path().display(),
            primary = group.primary.port,
        );
        let file = dir.path().join("sentinel.conf");
        std::fs::write(&file, config).unwrap();
        let keeper = Keeper::start("redis-sentinel", &[file.display().to_string()], &[]);
        let sentinel = Self { port, group, _dir: dir, _keeper: keeper };
        until("the Sentinel knows the replicas", async || {
            let state =
                sentinel.try_ask::<Vec<std::collections::HashMap<String, String>>>(&["SENTINEL", "MASTERS"]).await;
            let count = |state: &std::collections::HashMap<String, String>| state.get("num-slaves").cloned();
            state.is_ok_and(|state| state.first().and_then(count) == Some(replicas.to_string()))
        })
        .await;
        sentinel
    }

    async fn try_ask<T: ::redis::FromRedisValue>(&self, words: &[&str]) -> ::redis::RedisResult<T> {
        ask(&self.url(), words).await
    }

    pub fn url(&self) -> String {
        format!("redis://127.0.0.1:{}", self.port)
    }

    /// The port of whoever is the primary, as the Sentinel says.
    pub async fn primary_port(&self) -> u16 {
        let address: Vec<String> = self.try_ask(&["SENTINEL", "GET-MASTER-ADDR-BY-NAME", MASTER]).await.unwrap();
        address[1].parse().unwrap()
    }

    /// Kills the primary; returns when another one is in its place and takes writes.
    pub async fn fail_over(&mut self) -> u16 {
        let before = self.group.primary.port;
        self.group.primary.kill();
        until("another primary", async || self.primary_port().await != before).await;
        let now = self.primary_port().await;
        let promoted = self.server(now);
        until("the new primary is one", async || promoted.info("replication").await.contains("role:master")).await;
        now
    }

    /// The server on a port.
    pub fn server(&self, port: u16) -> &Redis {
        let mut all = std::iter::once(&self.group.primary).chain(&self.group.replicas);
        all.find(|server| server.port == port).expect("a server of the group")
    }
}
