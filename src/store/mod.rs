//! Where approvals live: one contract for one process with its journal ([`Embedded`]) and for many replicas that share a
//! Redis ([`Redis`]).
//!
//! A store does not decide anything. It keeps what [`crate::domain`] says must become true, and makes each
//! [`Store::commit`] atomic: either the fact is durable, applied and in order, or nothing happened. Every write compares
//! what its author saw with what is, and every deadline is judged by the store's own clock at that moment.

mod answers;
pub mod clock;
pub mod embedded;
mod entities;
pub mod feed;
mod meters;
pub mod redis;
mod waits;

use std::sync::{Arc, OnceLock};
use std::time::{Duration, Instant};

use futures_util::future::BoxFuture;
use tokio::sync::futures::OwnedNotified;
use tokio::sync::watch;

use crate::domain::{
    Approval, ApprovalId, ApprovalState, Binding, Decided, EntityData, EntityUid, Fact, IdempotencyKey, Timestamp,
};
use crate::journal::AppendError;

pub use self::redis::{OpenError as RedisError, Redis, Settings as RedisSettings};
pub use clock::{Clock, Jump, ManualClock};
pub use embedded::Embedded;
pub use meters::Meters;

/// The contract. Reads return only what is durable.
pub trait Store: Send + Sync + 'static {
    /// The only clock that decides about approvals.
    fn now(&self) -> Timestamp;

    /// The clock of this machine: for what others dated by theirs, credentials above all. A store that replicas share may go
    /// by another.
    fn wall(&self) -> Timestamp;

    /// The approval of that id, also long after it was settled.
    fn approval(&self, id: ApprovalId) -> BoxFuture<'_, Result<Option<Arc<Approval>>, StoreError>>;

    /// What this process has heard that an approval has become, where it was told of a change and knew what it was before. It may not
    /// last, or be true no more: good enough for a write that compares, and for nothing that anybody is told.
    fn heard(&self, id: ApprovalId) -> Option<Arc<Approval>>;

    /// The latest approval for a binding, while it still bears on new queries.
    fn standing(&self, binding: Binding) -> BoxFuture<'_, Result<Option<Arc<Approval>>, StoreError>>;

    /// What this process knows by itself, without asking anybody: enough to answer a query that no approval bears on.
    fn here(&self, binding: &Binding, key: Option<&IdempotencyKey>) -> Here;

    /// What was answered under an idempotency key, while it is remembered. From then on the key is this query's.
    fn answered(&self, key: IdempotencyKey, binding: Binding) -> BoxFuture<'_, Result<Answered, StoreError>>;

    /// The entities that were put over the API, as this process knows them: of the newest change that is on its way to its
    /// disk. An error where it does not know them, or knows that others know better.
    fn entities(&self) -> BoxFuture<'_, Result<PutEntities, StoreError>>;

    /// The same as of now, whoever changed them last.
    fn newest_entities(&self) -> BoxFuture<'_, Result<PutEntities, StoreError>>;

    /// Tells that others changed entities, and that this process knows of it or knows that it should; `None` where there are
    /// no others.
    fn entity_news(&self) -> Option<watch::Receiver<u64>>;

    /// Makes a fact true and durable, if `seen` still holds.
    fn commit(&self, fact: Fact, seen: Seen) -> BoxFuture<'_, Result<Committed, CommitError>>;

    /// One page of approvals, newest first.
    fn list<'a>(&'a self, page: &'a Page) -> BoxFuture<'a, Result<Listed, StoreError>>;

    /// Approvals that time has moved on by `now`, at most `limit`; for some milliseconds without those that another replica looks
    /// after.
    fn due(&self, now: Timestamp, limit: usize) -> BoxFuture<'_, Result<Vec<Arc<Approval>>, StoreError>>;

    /// Sleeps until something may be due.
    fn until_due(&self) -> BoxFuture<'_, ()>;

    /// Tells when the approval may have changed. Take it before reading, so that no change falls in between.
    fn changes(&self, id: ApprovalId) -> Changes;

    /// What happens at all replicas; `None` where the journal of this process is all there is.
    fn feed(&self) -> Option<&dyn feed::Feed>;

    /// What it counts.
    fn meters(&self) -> &Meters;

    /// Approvals that wait for people, as far as this process knows.
    fn pending(&self) -> u64;

    /// Why approvals can be neither read nor written at the moment, if they cannot.
    fn trouble(&self) -> Option<Arc<str>>;
}

/// What a process knows by itself of a query.
#[derive(Debug, Clone, Default)]
pub struct Here {
    /// The answer given under its idempotency key, as far as this process remembers it.
    pub answer: Option<Arc<Decided>>,
    /// An approval for it may be pending: only the store can tell.
    pub may_be_pending: bool,
}

/// What was answered under an idempotency key.
#[derive(Debug, Clone)]
pub enum Answered {
    /// Nothing that is remembered.
    Nothing,
    /// This; it may have been to another query.
    Earlier(Arc<Decided>),
    /// The key is another query's, whatever was answered to that.
    OtherQuery,
}

/// The entities that were put over the API, as of one change of them.
#[derive(Debug, Clone, Default)]
pub struct PutEntities {
    pub data: Arc<EntityData>,
    /// Names this state to whoever changes it: [`Seen::Entities`].
    pub version: u64,
    /// The newest record of this process's journal that tells of them; 0 without any.
    pub sequence: u64,
}

/// What the author of a write looked at. A commit whose `Seen` is no longer true is a [`CommitError::Conflict`].
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Seen {
    /// Nothing that matters: the fact changes no approval.
    Nothing,
    /// This version of the approval that the fact moves.
    Version(u64),
    /// What stood for the binding when a new approval was decided on.
    Slot(Option<(ApprovalId, u64)>),
    /// This version of the entities that the fact changes.
    Entities(u64),
}

/// INVARIANT: exists only for a fact that is durable. Made by stores alone.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Committed {
    sequence: u64,
}

impl Committed {
    fn new(sequence: u64) -> Self {
        Self { sequence }
    }

    /// The fact's place in the journal.
    #[must_use]
    pub const fn sequence(self) -> u64 {
        self.sequence
    }
}

#[derive(Debug, thiserror::Error)]
pub enum StoreError {
    #[error("the store is out of reach")]
    Unavailable(#[source] Box<dyn std::error::Error + Send + Sync>),
    #[error("approval {id} cannot be understood")]
    Unreadable {
        id: ApprovalId,
        #[source]
        source: Box<dyn std::error::Error + Send + Sync>,
    },
    #[error("record {sequence} in the journal cannot be understood")]
    Damaged {
        sequence: u64,
        #[source]
        source: Box<dyn std::error::Error + Send + Sync>,
    },
}

impl StoreError {
    /// What is behind it, for whoever looks after the server.
    #[must_use]
    pub fn why(&self) -> String {
        let (Self::Unavailable(source) | Self::Unreadable { source, .. } | Self::Damaged { source, .. }) = self;
        source.to_string()
    }

    fn unreadable(id: ApprovalId, source: impl std::error::Error + Send + Sync + 'static) -> Self {
        Self::Unreadable { id, source: Box::new(source) }
    }
}

#[derive(Debug, thiserror::Error)]
pub enum CommitError {
    /// Somebody else was faster, or time was. Look again and decide again.
    #[error("the approval changed meanwhile")]
    Conflict,
    /// Settled so long ago that only the journal knows it; nothing changes it any more.
    #[error("the approval is closed")]
    Closed,
    #[error("`{limit}` is {most}")]
    TooMany { limit: &'static str, most: usize },
    /// So many in a span; there is room again after `retry_after`.
    #[error("`{limit}` is {most}")]
    TooFast { limit: &'static str, most: usize, retry_after: Duration },
    #[error("too many records are waiting for the disk")]
    Busy,
    /// The fact is larger than the journal takes.
    #[error("a record of {bytes} bytes is over the limit of {limit}")]
    TooLarge { bytes: usize, limit: usize },
    #[error(transparent)]
    Store(#[from] StoreError),
}

impl From<AppendError> for CommitError {
    fn from(error: AppendError) -> Self {
        match error {
            AppendError::Busy => Self::Busy,
            AppendError::TooLarge { bytes, limit } => Self::TooLarge { bytes, limit },
            AppendError::Full | AppendError::Failed | AppendError::Unsealable => {
                Self::Store(StoreError::Unavailable(Box::new(error)))
            }
        }
    }
}

/// Which approvals, and from where.
#[derive(Debug, Clone, Default)]
pub struct Page {
    /// Empty: every state.
    pub states: Vec<&'static str>,
    pub principal: Option<EntityUid>,
    pub action: Option<EntityUid>,
    pub resource: Option<EntityUid>,
    /// Only those whose glass was broken and that too few have looked at since.
    pub to_be_examined: bool,
    /// Only approvals older than this one.
    pub before: Option<ApprovalId>,
    /// At most so many.
    pub size: usize,
}

impl Page {
    /// Whether an approval belongs on it.
    #[must_use]
    pub fn shows(&self, approval: &Approval, now: Timestamp) -> bool {
        let query = &approval.opening.query;
        let matches = |wanted: &Option<EntityUid>, is: &EntityUid| wanted.as_ref().is_none_or(|wanted| wanted == is);
        let state: ApprovalState = approval.state_at(now);
        (self.states.is_empty() || self.states.contains(&state.name()))
            && (!self.to_be_examined || approval.is_to_be_examined())
            && matches(&self.principal, &query.principal)
            && matches(&self.action, &query.action)
            && matches(&self.resource, &query.resource)
    }
}

/// One page. `more` names the last approval looked at, where there may be more behind it.
#[derive(Debug, Clone, Default)]
pub struct Listed {
    pub approvals: Vec<Arc<Approval>>,
    pub more: Option<ApprovalId>,
}

/// Tells of the next change of an approval after it was taken.
pub struct Changes {
    changed: OwnedNotified,
    woken_at: Arc<OnceLock<Instant>>,
}

impl Changes {
    /// Resolves when the approval may have changed. A store that closes counts as a change: the next read says what is the
    /// matter. Answers with the moment at which this was called for, where it is known.
    pub async fn changed(self) -> Option<Instant> {
        self.changed.await;
        self.woken_at.get().copied()
    }
}
