//! The rules of approval, as plain values and pure functions.
//!
//! Read in this order: [`value`] and [`entity`] say what a query is made of, [`query`] what is asked, [`binding`] what an
//! approval is *for*, [`identity`] who asks, [`requirement`] what a gate demands, [`approval`] the life of a pending
//! action, [`review`] and [`poll`] which votes count, [`away`] who stands in for whom, [`decide`] the one place that can answer ALLOW, [`explanation`] why,
//! and [`record`] what is written down of it all.
//!
//! Nothing in here knows a clock, a random number, a file, a socket, Cedar or protobuf: every input is a parameter.

pub mod approval;
pub mod away;
pub mod binding;
pub mod decide;
pub mod entity;
pub mod evaluation;
pub mod explanation;
pub mod glass;
pub mod grant;
pub mod guard;
mod hex;
pub mod id;
pub mod identity;
pub mod links;
pub mod mask;
mod nudge;
pub mod poll;
pub mod query;
pub mod record;
pub mod requirement;
pub mod review;
pub mod sessions;
pub mod time;
pub mod value;

pub use approval::{Approval, ApprovalState, IllegalTransition, Opening, Report, Transition, Use};
pub use away::{Absence, Lending, Right, StoodIn};
pub use binding::Binding;
pub use decide::{Circumstances, Decision, Effect, Outcome, REJECTION_STANDS, Reason, Standing, decide};
pub use entity::{Entity, EntityData, EntityUid, Legible, Shown, change_entities, is_kept_for_the_service};
pub use evaluation::{Evaluation, EvaluationError, Obligation, PolicyDigest, PolicyId, RuleVerdict};
pub use explanation::{Cited, ClauseKind, Explanation, Lack, NearMiss, UnmetClause};
pub use glass::{Blow, Breach, EXAMINERS, Glass};
pub use grant::Grant;
pub use guard::{ApprovalFacts, Delegation, GuardAction, Guarded};
pub use id::{ApprovalId, DecisionId, TraceParent};
pub use identity::{Credential, Fingerprint, Identity, PrincipalKind, Proof, ProofMethod};
pub use links::{LinkError, Links};
pub use mask::{DataKind, KindGroup, MaskRules, MaskSupport, Transform};
pub use poll::{Poll, ReviewRules, Shortfall, StepUp};
pub use query::Query;
pub use record::{
    Change, Decided, EntitiesChanged, Fact, IdempotencyKey, Moved, Origin, PoliciesReloaded, Record, Refused,
    ReloadCause, ReloadOutcome, Revealed, Started,
};
pub use requirement::{
    Escalation, Gate, GrantTerms, Justification, Quorum, Requirement, SelfReview, Severity, is_target_name,
};
pub use review::{Ballot, Counted, Review, ReviewRefusal, Verdict};
pub use sessions::{session_mark, sessions_ended};
pub use time::Timestamp;
pub use value::{Attributes, ExtensionFunction, Value};
