//! Where a behaviour is shown: one or more replicas of a store, their journals, and a way to let time pass.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use countersign::domain::{Approval, ApprovalId, Decided, Fact, Timestamp, Transition};
use countersign::journal::{self, Log};
use countersign::store::{Clock, CommitError, Committed, Embedded, ManualClock, Redis, Seen, Store, embedded, redis};

use crate::support::sealed;
use crate::support::{facts, today};

/// Longer than all that a behaviour does before it wants a deadline to pass, also on a busy machine.
pub const SPAN: Duration = Duration::from_millis(1_500);
pub const HOUR: Duration = Duration::from_secs(3_600);

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Shape {
    Embedded,
    Redis,
    Sentinel,
    Cluster,
}

pub struct Stage {
    replicas: Vec<Arc<dyn Store>>,
    pub logs: Vec<Log>,
    /// `None`: time passes by itself.
    clock: Option<ManualClock>,
    _dirs: Vec<tempfile::TempDir>,
}

pub fn limits() -> embedded::Limits {
    embedded::Limits { pending_per_principal_max: 8, openings_per_minute_max: 12, ..embedded::Limits::default() }
}

impl Stage {
    pub async fn embedded() -> Self {
        let dir = tempfile::tempdir().unwrap();
        let clock = ManualClock::starting_at(today());
        let manual = clock.clone();
        let store = Embedded::open(settings(dir.path()), limits(), |floor| Clock::manual(&manual, floor)).unwrap();
        let logs = vec![store.log().clone()];
        Self { replicas: vec![Arc::new(store)], logs, clock: Some(clock), _dirs: vec![dir] }
    }

    /// Two replicas of a store that shares the Redis which `settings` name with other stages, under a prefix of its own.
    pub async fn redis(settings: &redis::Settings) -> Self {
        static STAGES: AtomicUsize = AtomicUsize::new(0);
        let prefix = format!("stage-{}", STAGES.fetch_add(1, Ordering::Relaxed));
        let settings = redis::Settings { prefix, limits: limits(), ..settings.clone() };
        let (mut replicas, mut logs, mut dirs) = (Vec::new(), Vec::new(), Vec::new());
        for _ in 0..2 {
            let dir = tempfile::tempdir().unwrap();
            let store = Redis::open(self::settings(dir.path()), settings.clone(), Clock::system).unwrap();
            store.reach_out().await.expect("a Redis that is fit for use");
            logs.push(store.log().clone());
            replicas.push(Arc::new(store) as Arc<dyn Store>);
            dirs.push(dir);
        }
        Self { replicas, logs, clock: None, _dirs: dirs }
    }

    /// The replica that writes.
    pub fn one(&self) -> &Arc<dyn Store> {
        &self.replicas[0]
    }

    /// Another one, where there is one.
    pub fn other(&self) -> &Arc<dyn Store> {
        self.replicas.last().unwrap()
    }

    /// All of them in turn, for ever.
    pub fn in_turn(&self) -> impl Iterator<Item = &Arc<dyn Store>> {
        self.replicas.iter().cycle()
    }

    pub fn now(&self) -> Timestamp {
        self.one().now()
    }

    /// Whether a test can let hours pass.
    pub fn moves_time(&self) -> bool {
        self.clock.is_some()
    }

    /// Returns when every replica's clock says so.
    pub async fn reach(&self, moment: Timestamp) {
        if let Some(clock) = &self.clock {
            clock.advance(self.now().until(moment));
        }
        for replica in &self.replicas {
            while replica.now() < moment {
                tokio::time::sleep(Duration::from_millis(5)).await;
            }
        }
    }

    pub async fn commit(&self, fact: &Fact, seen: Seen) -> Result<Committed, CommitError> {
        self.one().commit(fact.clone(), seen).await
    }

    /// Opens an approval that needs so many people, good for an hour.
    pub async fn open(&self, rows: i64, quorum: u32) -> Arc<Approval> {
        self.open_for(rows, quorum, countersign::domain::GrantTerms::Once, HOUR).await
    }

    /// The same under these terms, for so long.
    pub async fn open_for(
        &self,
        rows: i64,
        quorum: u32,
        terms: countersign::domain::GrantTerms,
        span: Duration,
    ) -> Arc<Approval> {
        let query = facts::export("bot", rows);
        let opening = facts::opening(&query, self.now(), span, facts::requirement(quorum, terms));
        self.commit(&facts::fact(&opening), Seen::Slot(None)).await.expect("an opening");
        self.approval(opening.approval.unwrap()).await
    }

    /// Opens one and has one person approve it; the grant may be used for an hour.
    pub async fn granted(&self, rows: i64, terms: countersign::domain::GrantTerms) -> Arc<Approval> {
        let approval = self.open_for(rows, 1, terms, HOUR).await;
        self.advance(&approval, facts::approved("alice", &approval, self.now(), HOUR)).await
    }

    /// Takes an approval one step on.
    pub async fn advance(&self, before: &Approval, transition: Transition) -> Arc<Approval> {
        let name = transition.name();
        let committed = self.try_advance(before, transition).await;
        committed.unwrap_or_else(|error| panic!("{name} after version {}: {error}", before.version));
        self.approval(before.id()).await
    }

    pub async fn try_advance(&self, before: &Approval, transition: Transition) -> Result<Committed, CommitError> {
        self.commit(&facts::moved(before, transition), Seen::Version(before.version)).await
    }

    pub async fn redeem(&self, decided: &Decided, before: &Approval) -> Result<Committed, CommitError> {
        self.commit(&facts::fact(decided), Seen::Version(before.version)).await
    }

    /// An approval as the other replica knows it.
    pub async fn approval(&self, id: ApprovalId) -> Arc<Approval> {
        self.other().approval(id).await.expect("a store in reach").expect("an approval")
    }
}

pub fn settings(dir: &std::path::Path) -> journal::Settings {
    let small = journal::Settings {
        segment_bytes: 256 << 10,
        record_bytes_max: 64 << 10,
        vault: sealed::vault(),
        ..journal::Settings::new(dir.join("journal"))
    };
    journal::Settings { reserve_bytes: 0, ..small }
}

/// Whether a write lost a race, or came too late.
pub fn is_conflict<T: std::fmt::Debug>(result: &Result<T, CommitError>) -> bool {
    matches!(result, Err(CommitError::Conflict))
}

/// Asserts that a write is refused as a lost race.
#[track_caller]
pub fn assert_conflict<T: std::fmt::Debug>(result: &Result<T, CommitError>) {
    assert!(is_conflict(result), "{result:?}");
}
