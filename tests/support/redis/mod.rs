//! Real Redis in every shape that a deployment may have: alone, a primary with replicas, watched by Sentinel, a Cluster of
//! three, with TLS and ACL. Each listens on free loopback ports, keeps its files in a directory of its own, and is gone
//! when the test is, however that ends.

pub mod cluster;
mod keeper;
pub mod proxy;
pub mod sentinel;
pub mod server;
pub mod tls;

use std::time::Duration;

pub use self::cluster::Cluster;
pub use self::proxy::Proxy;
pub use self::sentinel::Sentinel;
pub use self::server::{Redis, Spec};

/// Far longer than anything here takes; only a hang reaches it.
const PATIENCE: Duration = Duration::from_secs(20);
/// How often something that has to come is looked for.
const LOOK: Duration = Duration::from_millis(20);

/// Waits until something holds.
///
/// # Panics
/// If it never does; `what` says what was waited for.
pub async fn until(what: &str, mut holds: impl AsyncFnMut() -> bool) {
    let end = tokio::time::Instant::now() + PATIENCE;
    while !holds().await {
        assert!(tokio::time::Instant::now() < end, "{what}: not within {PATIENCE:?}");
        tokio::time::sleep(LOOK).await;
    }
}

/// A loopback port that is free now.
fn free_port() -> u16 {
    std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port()
}

/// A primary and its replicas, each of which follows the primary through a proxy: cut there, it is alone.
pub struct Replicated {
    pub primary: Redis,
    pub replicas: Vec<Redis>,
    /// Between the primary and the replicas.
    pub link: Proxy,
}

impl Replicated {
    /// Starts them; returns when every replica is in step.
    pub async fn start(replicas: usize) -> Self {
        Self::with(&Spec::default(), replicas).await
    }

    pub async fn with(spec: &Spec, replicas: usize) -> Self {
        let primary = Redis::with(spec).await;
        let link = Proxy::to(primary.port).await;
        let mut followers = Vec::new();
        for _ in 0..replicas {
            followers.push(Redis::with(&spec.clone().following(link.port)).await);
        }
        let group = Self { primary, replicas: followers, link };
        group.in_step().await;
        group
    }

    /// Returns when every replica is connected to the primary and has what it has.
    pub async fn in_step(&self) {
        let wanted = self.replicas.len();
        until("replicas in step", async || {
            let info = self.primary.info("replication").await;
            info.matches("state=online").count() == wanted
        })
        .await;
    }
}
