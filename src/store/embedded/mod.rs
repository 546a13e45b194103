//! The embedded store: memory that the journal adds up to, in one process.
//!
//! There is no second database that could disagree: a commit checks and changes the memory and queues its record under
//! one lock, so that both have the same order, and answers once the record is on disk. What a caller is told is always
//! durable, because every answer waits for its own record, which comes after all that it depends on.

mod history;
mod openings;
mod snapshot;
mod state;

use std::path::PathBuf;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Instant;

use futures_util::FutureExt;
use futures_util::future::BoxFuture;
use tokio::sync::{Notify, watch};

use super::redis::REPLICA_FILE;
use super::waits::{self, Waits};
use super::{
    Answered, Changes, Clock, CommitError, Committed, Here, Listed, Meters, Page, PutEntities, Seen, Store, StoreError,
};
use crate::domain::{
    Approval, ApprovalId, ApprovalState, Binding, Change, EntitiesChanged, EntityData, Fact, IdempotencyKey, Timestamp,
};
use crate::journal::{self, Log, LogError, Ticket};
use crate::vault::Draft;

/// Broken glasses that are told of at once.
const UNEXAMINED_TOLD_MAX: usize = 10;

pub use snapshot::Compaction;
pub use state::Limits;
use state::State;

#[derive(Clone)]
pub struct Embedded {
    shared: Arc<Shared>,
}

struct Shared {
    log: Log,
    clock: Clock,
    state: Mutex<State>,
    waits: Arc<Waits>,
    earlier_due: Notify,
    dir: PathBuf,
    meters: Meters,
}

/// Why the store cannot be opened.
#[derive(Debug, thiserror::Error)]
pub enum OpenError {
    #[error(transparent)]
    Journal(#[from] journal::JournalError),
    #[error(transparent)]
    Log(#[from] LogError),
    /// What other replicas did with its approvals is not in it.
    #[error(
        "the journal is one of several replicas' (`store.kind = \"redis\"`): without the others' it does not say which \
             grants were used; begin another one in an empty directory"
    )]
    OneOfSeveral,
    #[error("record {sequence} contradicts the journal before it")]
    Contradiction {
        sequence: u64,
        #[source]
        source: crate::domain::IllegalTransition,
    },
}

impl Embedded {
    /// Opens the journal and adds it up. Blocking; `clock` gets the time of the last record. Must be called within a
    /// tokio runtime, which wakes the waiters.
    pub fn open(
        settings: journal::Settings,
        limits: Limits,
        clock: impl FnOnce(Timestamp) -> Clock,
    ) -> Result<Self, OpenError> {
        let dir = settings.dir.clone();
        if dir.join(REPLICA_FILE).exists() {
            return Err(OpenError::OneOfSeveral);
        }
        let log = Log::open(settings)?;
        let (state, floor) = snapshot::restore(&log, &dir, limits)?;
        let waits = Arc::new(Waits::default());
        tokio::spawn(waits::follow(waits.clone(), log.subscribe()));
        let (clock, earlier_due, meters) = (clock(floor), Notify::new(), Meters::default());
        let shared = Shared { clock, log, state: Mutex::new(state), waits, earlier_due, dir, meters };
        Ok(Self { shared: Arc::new(shared) })
    }

    /// The journal, for its readers.
    #[must_use]
    pub fn log(&self) -> &Log {
        &self.shared.log
    }

    #[must_use]
    pub fn clock(&self) -> &Clock {
        &self.shared.clock
    }

    /// How many approvals wait for people.
    #[must_use]
    pub fn pending_total(&self) -> usize {
        self.shared.state().pending_total()
    }

    /// When the oldest approval that is still open was opened: nothing from then on may be removed from the journal.
    #[must_use]
    pub fn oldest_opening(&self) -> Option<Timestamp> {
        self.shared.state().oldest_opening()
    }

    /// Glasses that were broken and that too few have looked at, with the time of it; the oldest first, at most ten.
    #[must_use]
    pub fn unexamined(&self) -> Vec<(ApprovalId, Timestamp)> {
        self.shared.state().unexamined(UNEXAMINED_TOLD_MAX)
    }

    /// The entities that were put over the API.
    #[must_use]
    pub fn entity_data(&self) -> Arc<EntityData> {
        self.shared.state().entities.data()
    }

    /// The oldest record that says of an entity what still stands.
    #[must_use]
    pub fn oldest_entity(&self) -> Option<u64> {
        self.shared.state().entities.oldest()
    }

    /// Deletions of entities that are remembered because older records still put them.
    #[must_use]
    pub fn entities_deleted(&self) -> usize {
        self.shared.state().entities.deleted()
    }

    /// Says again of the entities last spoken of before `sequence` what stands; once that is durable, older records may go.
    pub async fn restate_entities(&self, sequence: u64) -> Result<(), CommitError> {
        while let Some(ticket) = self.shared.restate(sequence)? {
            self.shared.durable(ticket.sequence).await?;
        }
        Ok(())
    }

    /// What writes snapshots, on a thread of its own.
    #[must_use]
    pub fn compaction(&self) -> Compaction {
        Compaction::new(self.shared.clone())
    }
}

impl Shared {
    fn state(&self) -> MutexGuard<'_, State> {
        // A panic between check and append leaves memory behind the journal by nothing: both happen after the check, and
        // neither can panic half way (plain collections).
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    async fn commit(&self, fact: &Fact, seen: Seen) -> Result<Committed, CommitError> {
        let draft = self.log.vault().draft(fact);
        let ticket = self.write(fact, draft, seen)?;
        ticket.durable().await.map_err(unavailable)?;
        Ok(Committed::new(ticket.sequence))
    }

    /// Checks, records and applies in one step.
    fn write(&self, fact: &Fact, draft: Draft, seen: Seen) -> Result<Ticket, CommitError> {
        if !bears_on_state(fact) {
            return Ok(self.log.append(fact, draft, self.clock.now())?);
        }
        let mut state = self.state();
        let now = self.clock.now();
        state.check(fact, seen, now)?;
        let due = state.next_due();
        let ticket = self.log.append(fact, draft, now)?;
        // The record's time, as a replay will have it.
        state
            .apply(fact, ticket.sequence, Timestamp::from_micros(ticket.at_micros))
            .map_err(|illegal| self.contradiction(ticket.sequence, illegal))?;
        // Only what changes an approval wakes those who wait for it: many may ask about one that stays as it is.
        if let Some((id, _)) = fact.transition() {
            self.waits.note(ticket.sequence, id);
        }
        let earlier = state.next_due().is_some_and(|next| due.is_none_or(|due| next < due));
        drop(state);
        if earlier {
            self.earlier_due.notify_one();
        }
        Ok(ticket)
    }

    /// What was checked did not apply: nothing that an operator can do, and nothing that may happen.
    fn contradiction(&self, sequence: u64, illegal: crate::domain::IllegalTransition) -> StoreError {
        self.meters.contradictions.count();
        StoreError::Damaged { sequence, source: Box::new(illegal) }
    }

    /// One record that says again what stands of entities last spoken of before `sequence`; `None` if there are none.
    fn restate(&self, sequence: u64) -> Result<Option<Ticket>, CommitError> {
        // One lock from look to record: what somebody puts meanwhile is not put back.
        let mut state = self.state();
        let put = state.entities.before(sequence);
        if put.is_empty() {
            return Ok(None);
        }
        let changed = EntitiesChanged {
            by: None,
            put,
            deleted: Vec::new(),
            request_id: "upkeep".into(),
            version: 0,
            more_follows: false,
        };
        let fact = Fact::EntitiesChanged(changed.clone());
        let ticket = self.log.append(&fact, self.log.vault().draft(&fact), self.clock.now())?;
        state.entities.apply(&changed, ticket.sequence);
        Ok(Some(ticket))
    }

    /// Waits until all that `sequence` shows is on disk.
    async fn durable(&self, sequence: u64) -> Result<(), StoreError> {
        if self.log.durable_through() >= sequence {
            return Ok(());
        }
        self.log.wait_durable(sequence).await.map_err(unavailable)
    }
}

/// Whether a fact changes anything but the journal.
fn bears_on_state(fact: &Fact) -> bool {
    match fact {
        Fact::Decided(decided) => decided.change != Change::None || decided.idempotency_key.is_some(),
        Fact::Moved(_) | Fact::EntitiesChanged(_) => true,
        Fact::Started(_) | Fact::Refused(_) | Fact::PoliciesReloaded(_) | Fact::Revealed(_) => false,
    }
}

fn unavailable(error: impl std::error::Error + Send + Sync + 'static) -> StoreError {
    StoreError::Unavailable(Box::new(error))
}

impl Store for Embedded {
    fn wall(&self) -> Timestamp {
        self.now()
    }

    fn now(&self) -> Timestamp {
        self.shared.clock.now()
    }

    fn heard(&self, _: ApprovalId) -> Option<Arc<Approval>> {
        // What is known here is what is.
        None
    }

    fn approval(&self, id: ApprovalId) -> BoxFuture<'_, Result<Option<Arc<Approval>>, StoreError>> {
        let kept = self.shared.state().approval(id).cloned();
        async move {
            match kept {
                Some(kept) => self.shared.durable(kept.sequence).await.map(|()| Some(kept.approval)),
                None => history::approval(self.shared.log.clone(), id).await,
            }
        }
        .boxed()
    }

    fn standing(&self, binding: Binding) -> BoxFuture<'_, Result<Option<Arc<Approval>>, StoreError>> {
        // Not awaited: whoever decides on it commits after it, and waits for that.
        let standing = self.shared.state().standing(&binding).map(|kept| kept.approval.clone());
        std::future::ready(Ok(standing)).boxed()
    }

    fn here(&self, binding: &Binding, key: Option<&IdempotencyKey>) -> Here {
        let now = self.now();
        let state = self.shared.state();
        let stands = state.standing(binding);
        Here {
            answer: key.and_then(|key| state.answered(key, now)),
            may_be_pending: stands.is_some_and(|kept| kept.approval.state == ApprovalState::Pending),
        }
    }

    fn answered(&self, key: IdempotencyKey, _: Binding) -> BoxFuture<'_, Result<Answered, StoreError>> {
        let now = self.now();
        let earlier = self.shared.state().answered(&key, now);
        std::future::ready(Ok(earlier.map_or(Answered::Nothing, Answered::Earlier))).boxed()
    }

    fn feed(&self) -> Option<&dyn super::feed::Feed> {
        None
    }

    fn meters(&self) -> &Meters {
        &self.shared.meters
    }

    fn pending(&self) -> u64 {
        self.pending_total() as u64
    }

    fn trouble(&self) -> Option<Arc<str>> {
        // Memory is always within reach; what the disk is up to is the journal's to say.
        None
    }

    fn entities(&self) -> BoxFuture<'_, Result<PutEntities, StoreError>> {
        let (data, newest) = {
            let state = self.shared.state();
            (state.entities.data(), state.entities.newest())
        };
        async move {
            self.shared.durable(newest).await?;
            Ok(PutEntities { data, version: newest, sequence: newest })
        }
        .boxed()
    }

    fn newest_entities(&self) -> BoxFuture<'_, Result<PutEntities, StoreError>> {
        self.entities()
    }

    fn entity_news(&self) -> Option<watch::Receiver<u64>> {
        None
    }

    fn commit(&self, fact: Fact, seen: Seen) -> BoxFuture<'_, Result<Committed, CommitError>> {
        async move {
            let began = Instant::now();
            let committed = self.shared.commit(&fact, seen).await;
            self.shared.meters.committed(began, &committed);
            committed
        }
        .boxed()
    }

    fn list<'a>(&'a self, page: &'a Page) -> BoxFuture<'a, Result<Listed, StoreError>> {
        async move {
            let now = self.now();
            let (listed, through) = self.shared.state().list(page, now);
            self.shared.durable(through).await?;
            Ok(listed)
        }
        .boxed()
    }

    fn due(&self, now: Timestamp, limit: usize) -> BoxFuture<'_, Result<Vec<Arc<Approval>>, StoreError>> {
        std::future::ready(Ok(self.shared.state().due(now, limit))).boxed()
    }

    fn until_due(&self) -> BoxFuture<'_, ()> {
        async move {
            let next = self.shared.state().next_due();
            match next {
                None => self.shared.earlier_due.notified().await,
                Some(moment) => tokio::select! {
                    () = self.shared.clock.nap_until(moment) => {}
                    () = self.shared.earlier_due.notified() => {}
                },
            }
        }
        .boxed()
    }

    fn changes(&self, id: ApprovalId) -> Changes {
        self.shared.waits.changes(id)
    }
}
