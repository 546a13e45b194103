//! The store that replicas share: approvals in Redis, and what each replica did in its own journal.
//!
//! Redis decides every race and every deadline, in one script for each fact (`scripts/commit.lua`); nothing is read and
//! then written. What an approval is, is computed here with the rules of the domain and compared there. A fact that
//! changes no approval goes to the own journal and nowhere else, so that what needs no approval is answered without Redis.
//!
//! Reading order: `keys`, `stored` (what lies there), `commit` and its script, `approvals`, `listing`; `links`, `node`,
//! `dial`, `discover` (the way there), `guard` (is it still the same?), `clock`, `wake`, `journaling`.

mod age;
mod answer;
mod approvals;
mod clock;
mod commit;
mod dial;
mod discover;
mod entities;
pub mod examine;
mod feed;
pub mod fsck;
mod fsck_head;
mod fsck_journals;
mod guard;
mod here;
mod journaling;
mod keys;
mod links;
mod listing;
mod node;
mod places;
mod policy;
pub mod reconcile;
mod remembered;
mod replica;
mod scripts;
mod seen;
mod settings;
mod stored;
mod trouble;
mod upkeep;
mod wake;

use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicI64, AtomicU64};
use std::time::Duration;

use futures_util::FutureExt;
use futures_util::future::BoxFuture;
use quick_cache::sync::Cache;
use tokio::sync::{Notify, watch};
use tokio::task::JoinHandle;

use self::clock::SharedClock;
use self::here::Memory;
use self::journaling::Journaling;
use self::keys::Shard;
use self::links::Links;
use self::remembered::Remembered;
use self::stored::Stored;
use super::waits::Waits;
use super::{
    Answered, Changes, Clock, CommitError, Committed, Here, Listed, Meters, Page, PutEntities, Seen, Store, StoreError,
};
use crate::domain::{Approval, ApprovalId, Binding, Fact, IdempotencyKey, Timestamp};
use crate::journal::{self, Log, LogError};

pub use keys::SHARDS;
pub(super) use replica::FILE as REPLICA_FILE;
pub use settings::{Address, Durability, Encryption, Login, Settings, Shape, majority};
pub use trouble::Trouble;

/// Approvals kept at hand for the write that follows a read.
const CACHED_APPROVALS: usize = 10_000;
/// How long a start waits for Redis before it goes on without.
const START_WAIT: Duration = Duration::from_secs(2);

#[derive(Clone)]
pub struct Redis {
    shared: Arc<Shared>,
    _tasks: Arc<Tasks>,
}

struct Shared {
    links: Arc<Links>,
    log: Log,
    journaling: Journaling,
    waits: Arc<Waits>,
    memory: Memory,
    /// The entities that were put over the API.
    kept: entities::Kept,
    cache: Cache<ApprovalId, Arc<Stored>>,
    record_bytes_max: usize,
    /// Notified when time will move something on earlier than the timer thinks, at [`Shared::next_due`].
    timer: Notify,
    /// In microseconds.
    next_due: AtomicI64,
    looked_at: listing::LookedAt,
    yields: listing::Yields,
    /// Approvals that wait for people, when last counted.
    pending: AtomicU64,
    /// The newest event heard of, of each shard.
    heard: watch::Sender<Arc<[u64]>>,
}

/// Ends with the last handle.
struct Tasks(Vec<JoinHandle<()>>);

impl Drop for Tasks {
    fn drop(&mut self) {
        self.0.iter().for_each(JoinHandle::abort);
    }
}

/// Why the store cannot be opened.
#[derive(Debug, thiserror::Error)]
pub enum OpenError {
    #[error(transparent)]
    Journal(#[from] journal::JournalError),
    #[error(transparent)]
    Log(#[from] LogError),
    #[error("cannot read or write the name of this replica in `{dir}`: {source}")]
    Replica { dir: String, source: std::io::Error },
    #[error("cannot read what this replica has seen of redis: {0}")]
    Seen(#[source] std::io::Error),
    /// Nothing that waiting would help.
    #[error(transparent)]
    Unfit(Trouble),
}

impl Redis {
    /// Opens the journal and begins to look for Redis. Blocking; within a tokio runtime.
    ///
    /// # Errors
    /// When the journal cannot be opened.
    pub fn open(
        journal: journal::Settings,
        settings: Settings,
        clock: impl FnOnce(Timestamp) -> Clock,
    ) -> Result<Self, OpenError> {
        let (dir, record_bytes_max) = (journal.dir.clone(), journal.record_bytes_max);
        let (log, replica, newest, floor) = open_journal(journal, &dir)?;
        let seen = seen::read(&dir).map_err(OpenError::Seen)?;
        let (limits, age_max) = (settings.limits, settings.entities_max_age);
        let links = Arc::new(Links::new(settings, SharedClock::new(clock(floor))));
        newest.iter().chain(&seen).for_each(|origin| links.guard.remember(origin));
        let shared = Arc::new(Shared {
            journaling: Journaling::new(replica),
            waits: Arc::default(),
            memory: Memory::new(limits),
            kept: entities::Kept::new(Remembered::read(&log)?, age::read(&dir).unwrap_or(floor), age_max),
            cache: Cache::new(CACHED_APPROVALS),
            record_bytes_max,
            timer: Notify::new(),
            next_due: AtomicI64::new(i64::MAX),
            looked_at: listing::LookedAt::default(),
            yields: listing::Yields::default(),
            pending: AtomicU64::new(0),
            heard: watch::Sender::new(Arc::from([0; keys::SHARDS as usize])),
            links,
            log,
        });
        let tasks = vec![
            tokio::spawn(shared.links.clone().keep()),
            tokio::spawn(wake::follow(shared.clone())),
            tokio::spawn(wake::make_sure(shared.clone())),
            tokio::spawn(entities::follow(shared.clone())),
            tokio::spawn(journaling::acknowledge(shared.clone())),
            tokio::spawn(journaling::adopt(shared.clone())),
            tokio::spawn(upkeep::keep(shared.clone())),
            tokio::spawn(seen::keep(shared.clone(), dir.clone())),
            tokio::spawn(age::keep(shared.clone(), dir)),
        ];
        Ok(Self { shared, _tasks: Arc::new(Tasks(tasks)) })
    }

    /// Waits a moment for Redis, so that a server that starts together with it is whole from the first call on. Redis may
    /// stay away: what needs it is refused until it is there.
    ///
    /// # Errors
    /// When Redis is there and not fit for use: it evicts, or has too few replicas.
    pub async fn reach_out(&self) -> Result<(), OpenError> {
        self.shared.reach_out().await.map_err(OpenError::Unfit)?;
        // Where that fails the one who follows them goes on, and says why.
        let _ = self.shared.catch_up().await;
        Ok(())
    }

    /// The oldest record of the journal that says which entities were put over the API.
    #[must_use]
    pub fn oldest_entity(&self) -> Option<u64> {
        self.shared.kept.oldest()
    }

    /// Says again of the entities last spoken of before `sequence` what stands; once that is durable, older records may go.
    ///
    /// # Errors
    /// When the journal does not take it.
    pub async fn restate_entities(&self, sequence: u64) -> Result<(), StoreError> {
        self.shared.restate_entities(sequence).await
    }

    /// The journal of this replica, for its readers.
    #[must_use]
    pub fn log(&self) -> &Log {
        &self.shared.log
    }

    /// How far this machine's clock is ahead of Redis' (positive) or behind, in microseconds.
    #[must_use]
    pub fn clock_skew(&self) -> Option<i64> {
        self.shared.links.clock.skew()
    }
}

type OpenedJournal = (Log, String, Vec<crate::domain::Origin>, Timestamp);

fn open_journal(settings: journal::Settings, dir: &Path) -> Result<OpenedJournal, OpenError> {
    let log = Log::open(settings)?;
    let unnamed = |source| OpenError::Replica { dir: dir.display().to_string(), source };
    let replica = replica::name(dir).map_err(unnamed)?;
    let mut newest = Vec::new();
    for shard in Shard::all() {
        newest.extend(log.highest_of(shard.number())?);
    }
    let last = log.durable_through();
    let last = if last >= log.first_sequence() { log.read_raw(last, 1, 1)? } else { Vec::new() };
    let floor = last.first().map_or(Timestamp::default(), |record| record.at);
    Ok((log, replica, newest, floor))
}

impl Shared {
    /// Whether this replica cannot tell yet if an approval is pending, and Redis can. While Redis is away or lost something,
    /// what needs no approval is answered all the same.
    fn may_be_unheard_of(&self, binding: &Binding) -> bool {
        let shard = Shard::of_binding(binding);
        !self.memory.is_complete(shard) && self.links.owner(shard).is_some() && self.links.guard.lost().is_none()
    }

    async fn reach_out(&self) -> Result<(), Trouble> {
        let end = tokio::time::Instant::now() + START_WAIT;
        loop {
            match self.links.look().await {
                Ok(()) => break,
                Err(unfit @ (Trouble::Evicts(_) | Trouble::EvictionUnknown)) => return Err(unfit),
                Err(trouble) if tokio::time::Instant::now() >= end => {
                    tracing::warn!(%trouble, "redis is out of reach: only what needs no approval is answered");
                    return Ok(());
                }
                Err(_) => tokio::time::sleep(Duration::from_millis(100)).await,
            }
        }
        // A replica that has just been started may still be on its way.
        loop {
            let few = self.links.nodes().iter().find_map(|node| node.check_replicas().err());
            match few {
                None => return Ok(()),
                Some(few) if tokio::time::Instant::now() >= end => return Err(few),
                Some(_) => tokio::time::sleep(Duration::from_millis(100)).await,
            }
            // What goes wrong now is seen by the task that looks after the links.
            let _ = self.links.look().await;
        }
    }
}

impl Store for Redis {
    fn wall(&self) -> Timestamp {
        self.shared.links.clock.machine()
    }

    fn now(&self) -> Timestamp {
        self.shared.links.clock.now()
    }

    fn approval(&self, id: ApprovalId) -> BoxFuture<'_, Result<Option<Arc<Approval>>, StoreError>> {
        self.shared.approval(id).boxed()
    }

    fn heard(&self, id: ApprovalId) -> Option<Arc<Approval>> {
        self.shared.cache.get(&id).map(|stored| Arc::new(stored.approval.clone()))
    }

    fn standing(&self, binding: Binding) -> BoxFuture<'_, Result<Option<Arc<Approval>>, StoreError>> {
        self.shared.standing(binding).boxed()
    }

    fn here(&self, binding: &Binding, key: Option<&IdempotencyKey>) -> Here {
        let here = self.shared.memory.here(binding, key, self.now());
        Here { may_be_pending: here.may_be_pending || self.shared.may_be_unheard_of(binding), ..here }
    }

    fn answered(&self, key: IdempotencyKey, binding: Binding) -> BoxFuture<'_, Result<Answered, StoreError>> {
        self.shared.answered(key, binding).boxed()
    }

    fn entities(&self) -> BoxFuture<'_, Result<PutEntities, StoreError>> {
        let now = self.shared.links.clock.machine();
        std::future::ready(self.shared.kept.known(now).map_err(StoreError::from)).boxed()
    }

    fn newest_entities(&self) -> BoxFuture<'_, Result<PutEntities, StoreError>> {
        async move {
            self.shared.catch_up().await?;
            self.entities().await
        }
        .boxed()
    }

    fn entity_news(&self) -> Option<watch::Receiver<u64>> {
        Some(self.shared.kept.news())
    }

    fn commit(&self, fact: Fact, seen: Seen) -> BoxFuture<'_, Result<Committed, CommitError>> {
        async move {
            let began = std::time::Instant::now();
            let committed = self.shared.commit(fact, seen).await;
            self.shared.links.meters.committed(began, &committed);
            committed
        }
        .boxed()
    }

    fn list<'a>(&'a self, page: &'a Page) -> BoxFuture<'a, Result<Listed, StoreError>> {
        self.shared.list(page).boxed()
    }

    fn due(&self, now: Timestamp, limit: usize) -> BoxFuture<'_, Result<Vec<Arc<Approval>>, StoreError>> {
        self.shared.due(now, limit).boxed()
    }

    fn until_due(&self) -> BoxFuture<'_, ()> {
        self.shared.until_due().boxed()
    }

    fn changes(&self, id: ApprovalId) -> Changes {
        self.shared.waits.changes(id)
    }

    fn feed(&self) -> Option<&dyn super::feed::Feed> {
        Some(self)
    }

    fn meters(&self) -> &Meters {
        &self.shared.links.meters
    }

    fn pending(&self) -> u64 {
        self.shared.pending.load(std::sync::atomic::Ordering::Relaxed)
    }

    fn trouble(&self) -> Option<Arc<str>> {
        self.shared.links.trouble()
    }
}

#[cfg(test)]
mod tests;
