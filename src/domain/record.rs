//! What is written down: one record for every fact, in one order, before anybody is told.

use std::sync::Arc;

use super::approval::{Opening, Transition};
use super::binding::Binding;
use super::decide::{Outcome, Reason};
use super::entity::{Entity, EntityUid};
use super::evaluation::{EvaluationError, Obligation, PolicyDigest, PolicyId};
use super::id::{ApprovalId, DecisionId};
use super::identity::Identity;
use super::query::Query;
use super::time::Timestamp;

/// One line of the journal.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Record {
    /// Its place in the journal; the first is 1.
    pub sequence: u64,
    /// By the store's clock; never decreases along the journal.
    pub at: Timestamp,
    pub fact: Fact,
    /// With a shared store: which of its events this is.
    pub origin: Option<Origin>,
}

/// Names one event of a store that several replicas share. Two records with one origin, in whichever journals, are one
/// event.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Origin {
    /// The life of the shard: one that lost its state begins another.
    pub epoch: [u8; 16],
    pub shard: u8,
    /// Its place in the shard; the first is 1.
    pub number: u64,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Fact {
    /// A server began to write here.
    Started(Started),
    /// A query was decided.
    Decided(Arc<Decided>),
    /// Something happened to an approval other than through a decision.
    Moved(Moved),
    /// A call was refused before it came to a decision.
    Refused(Refused),
    /// The policies were read again, and changed or not.
    PoliciesReloaded(PoliciesReloaded),
    /// Entities were put or deleted over the API.
    EntitiesChanged(EntitiesChanged),
    /// Somebody was shown what is masked otherwise.
    Revealed(Revealed),
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Started {
    pub version: Arc<str>,
    pub digest: PolicyDigest,
}

/// A set of policies that is not the one in force was found, and put in force or refused.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PoliciesReloaded {
    pub cause: ReloadCause,
    /// In force until then, and after a refusal still.
    pub previous: PolicyDigest,
    /// Of what was found.
    pub digest: PolicyDigest,
    pub outcome: ReloadOutcome,
    pub request_id: Arc<str>,
}

/// Why the policies were read again.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum ReloadCause {
    /// The directory changed.
    Watch,
    /// The process was told to (SIGHUP).
    Signal,
    /// Somebody asked for it.
    Request(Arc<Identity>),
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub enum ReloadOutcome {
    Loaded,
    /// What is wrong with it, the first of it; what was in force still is.
    Refused(Vec<Arc<str>>),
}

/// The new state of some of the server's entities.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct EntitiesChanged {
    /// Who changed them; `None` where the service only states again what stands, so that older records may go, or takes up
    /// what was changed at another replica.
    pub by: Option<Arc<Identity>>,
    pub put: Vec<Arc<Entity>>,
    pub deleted: Vec<EntityUid>,
    pub request_id: Arc<str>,
    /// With a store that replicas share: which of all changes this is, or up to which of them it tells. Stores set it.
    pub version: u64,
    /// What is taken up of other replicas takes several records, and this is not the last: none of them counts before that.
    pub more_follows: bool,
}

/// Somebody was about to see an approval's personal data as it is. What he saw is what its opening says.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Revealed {
    pub approval: ApprovalId,
    pub to: Arc<Identity>,
    pub request_id: Arc<str>,
}

/// A decision, complete enough to be proved and replayed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Decided {
    pub id: DecisionId,
    pub query: Arc<Query>,
    pub binding: Binding,
    pub principal: Arc<Identity>,
    pub caller: Arc<Identity>,
    pub outcome: Outcome,
    pub reason: Reason,
    pub determining: Vec<PolicyId>,
    pub errors: Vec<EvaluationError>,
    pub obligations: Vec<Obligation>,
    pub digest: PolicyDigest,
    /// The place in the journal of the newest change to policies or entity data that it was decided with.
    pub revision: u64,
    pub justification: Option<Arc<str>>,
    pub request_id: Arc<str>,
    /// The approval this decision opened, joined, used or was refused by.
    pub approval: Option<ApprovalId>,
    pub change: Change,
    pub idempotency_key: Option<Arc<str>>,
    /// The decision whose answer this one repeats under its idempotency key.
    pub repeats: Option<DecisionId>,
    /// The decision that was the answer under this idempotency key until this one.
    pub follows: Option<DecisionId>,
}

/// What a decision changed beside being recorded.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Change {
    None,
    Opened(Arc<Opening>),
    /// A grant was used ([`Transition::Consumed`] or [`Transition::Used`]).
    Redeemed(Transition),
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Moved {
    pub approval: ApprovalId,
    pub binding: Binding,
    /// The principal, action and resource of the approval, so that a reader of this one line knows what it is about.
    pub principal: EntityUid,
    pub action: EntityUid,
    pub resource: EntityUid,
    pub transition: Transition,
    pub request_id: Arc<str>,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Refused {
    /// The rpc, such as `Authorize`.
    pub method: Arc<str>,
    /// The machine code of the refusal, as in `ErrorInfo.reason`.
    pub reason: Arc<str>,
    /// The field at fault, where one is.
    pub field: Option<Arc<str>>,
    /// Who called, once known.
    pub caller: Option<Arc<Identity>>,
    pub approval: Option<ApprovalId>,
    pub request_id: Arc<str>,
}

/// Names one call across retries: the caller's own key, within that caller.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct IdempotencyKey {
    pub caller: EntityUid,
    pub key: Arc<str>,
}

impl PoliciesReloaded {
    /// Who asked for it, if somebody did.
    #[must_use]
    pub fn by(&self) -> Option<&EntityUid> {
        match &self.cause {
            ReloadCause::Request(by) => Some(&by.uid),
            ReloadCause::Watch | ReloadCause::Signal => None,
        }
    }
}

impl Decided {
    /// Whether an ALLOW is for masked data only.
    #[must_use]
    pub fn must_mask(&self) -> bool {
        let masks = |obligation: &Obligation| matches!(obligation, Obligation::Mask { .. });
        self.outcome == Outcome::Allow && self.obligations.iter().any(masks)
    }
}

impl Fact {
    /// The approval that this fact is about, if any.
    #[must_use]
    pub fn approval(&self) -> Option<ApprovalId> {
        match self {
            Self::Started(_) | Self::PoliciesReloaded(_) | Self::EntitiesChanged(_) => None,
            Self::Decided(decided) => decided.approval,
            Self::Moved(moved) => Some(moved.approval),
            Self::Refused(refused) => refused.approval,
            Self::Revealed(revealed) => Some(revealed.approval),
        }
    }

    /// The transition that this fact is of an approval that already existed, if it is one.
    #[must_use]
    pub fn transition(&self) -> Option<(ApprovalId, &Transition)> {
        match self {
            Self::Decided(decided) => match &decided.change {
                Change::Redeemed(transition) => decided.approval.map(|id| (id, transition)),
                Change::None | Change::Opened(_) => None,
            },
            Self::Moved(moved) => Some((moved.approval, &moved.transition)),
            Self::Started(_)
            | Self::Refused(_)
            | Self::PoliciesReloaded(_)
            | Self::EntitiesChanged(_)
            | Self::Revealed(_) => None,
        }
    }
}
