//! What does it cost to share approvals? Several real servers on one real Redis: how many openings, reviews and redemptions a
//! second with one, two and three of them; how long from a vote at one to the answer at another; who wins when ten want
//! one grant; what a million pending approvals take of Redis; and how late ten thousand expiries are told.
//!
//! `cargo bench --bench replicas -- rates [LIVES] | wake [WAITS] | rivals [ROUNDS] | pending [APPROVALS] | expire [APPROVALS]`
//! Needs redis-server. What it showed: `benches/README.md`.
#![allow(clippy::indexing_slicing, clippy::expect_used, reason = "a bench that finds less than it made may end")]

#[path = "../../tests/support/mod.rs"]
#[allow(dead_code, unused_imports, clippy::all, clippy::restriction)]
mod support;

mod crash;

#[path = "../../tests/cluster/fleet.rs"]
#[allow(dead_code, clippy::all, clippy::restriction)]
mod fleet;

mod figures;
mod lives;
mod pending;

use crate::support::redis::{Redis, Replicated};

type Failure = Box<dyn std::error::Error + Send + Sync>;

fn main() -> Result<(), Failure> {
    let arguments: Vec<String> = std::env::args().skip(1).filter(|argument| argument != "--bench").collect();
    let number = |default: usize| arguments.get(1).map_or(Ok(default), |text| text.parse());
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build()?;
    runtime.block_on(async {
        match arguments.first().map(String::as_str) {
            Some("rates") => lives::rates(number(2_000)?).await,
            Some("wake") => lives::wake(number(10_000)?).await,
            Some("rivals") => lives::rivals(number(10_000)?).await,
            Some("pending") => pending::pending(number(100_000)?).await,
            Some("expire") => pending::expire(number(10_000)?).await,
            _ => Err("say rates, wake, rivals, pending or expire".into()),
        }
    })
}

/// A primary with one replica, or alone.
enum Ground {
    Alone(Redis),
    Replicated(Replicated),
}

impl Ground {
    async fn alone() -> Self {
        Self::Alone(Redis::start().await)
    }

    async fn replicated() -> Self {
        Self::Replicated(Replicated::start(1).await)
    }

    fn store(&self) -> fleet::Store {
        match self {
            Self::Alone(redis) => fleet::Store::alone(&redis.url()),
            Self::Replicated(group) => fleet::Store::replicated(&group.primary.url()),
        }
    }

    fn name(&self) -> &'static str {
        match self {
            Self::Alone(_) => "primary",
            Self::Replicated(_) => "replicated",
        }
    }

    fn redis(&self) -> &Redis {
        match self {
            Self::Alone(redis) => redis,
            Self::Replicated(group) => &group.primary,
        }
    }
}
