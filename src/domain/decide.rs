//! The decision: what the policies say, what humans have countersigned, and nothing else, make ALLOW, DENY or PENDING.
//!
//! This is the only place that can build an ALLOW. It is pure: the caller brings the evaluation, the standing approval
//! and the time, and commits the [`Effect`] in the same atomic step that makes the answer true.

mod repeat;

use std::sync::Arc;
use std::time::Duration;

use super::approval::{Approval, ApprovalState};
use super::binding::Binding;
use super::evaluation::{Evaluation, RuleVerdict};
use super::mask::MaskSupport;
use super::record::Decided;
use super::requirement::{GrantTerms, Requirement};
use super::time::Timestamp;

/// How long a rejection answers the same query, unless the operator says otherwise.
pub const REJECTION_STANDS: Duration = Duration::from_secs(600);

#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Outcome {
    Allow,
    Deny,
    Pending,
}

/// Why, as a stable machine code.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Reason {
    /// A permit matches, nothing forbids, no gate fires.
    Permitted,
    /// Humans countersigned it.
    Granted,
    /// Humans must countersign it.
    ApprovalRequired,
    /// A gate wants a justification and the query brought none.
    JustificationRequired,
    /// A forbid matches; no approval can lift it.
    Forbidden,
    /// No permit matches.
    NotPermitted,
    /// A forbid or gate could not be evaluated.
    EvaluationError,
    /// The approval named is for another action: tampering.
    BindingMismatch,
    ApprovalRejected,
    ApprovalExpired,
    ApprovalCancelled,
    ApprovalRevoked,
    GrantConsumed,
    GrantLapsed,
    /// It is permitted masked only, and whoever asks did not say that it masks.
    UnsupportedObligation,
}

impl Reason {
    pub const ALL: [Self; 15] = [
        Self::Permitted,
        Self::Granted,
        Self::ApprovalRequired,
        Self::JustificationRequired,
        Self::Forbidden,
        Self::NotPermitted,
        Self::EvaluationError,
        Self::BindingMismatch,
        Self::ApprovalRejected,
        Self::ApprovalExpired,
        Self::ApprovalCancelled,
        Self::ApprovalRevoked,
        Self::GrantConsumed,
        Self::GrantLapsed,
        Self::UnsupportedObligation,
    ];

    #[must_use]
    pub const fn code(self) -> &'static str {
        match self {
            Self::Permitted => "permitted",
            Self::Granted => "granted",
            Self::ApprovalRequired => "approval_required",
            Self::JustificationRequired => "justification_required",
            Self::Forbidden => "forbidden",
            Self::NotPermitted => "not_permitted",
            Self::EvaluationError => "evaluation_error",
            Self::BindingMismatch => "binding_mismatch",
            Self::ApprovalRejected => "approval_rejected",
            Self::ApprovalExpired => "approval_expired",
            Self::ApprovalCancelled => "approval_cancelled",
            Self::ApprovalRevoked => "approval_revoked",
            Self::GrantConsumed => "grant_consumed",
            Self::GrantLapsed => "grant_lapsed",
            Self::UnsupportedObligation => "unsupported_obligation",
        }
    }
}

/// The approval that bears on a query.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Standing {
    /// None that is known for this binding.
    None,
    /// Found by binding: the latest for this very query.
    ByBinding(Arc<Approval>),
    /// Named by the caller; may turn out to be for something else.
    ById(Arc<Approval>),
}

/// What must become true together with the answer.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Effect {
    /// Only the record of the decision.
    None,
    /// A new approval with this requirement.
    Open(Requirement),
    /// The query joins an approval that is already pending.
    Join(Arc<Approval>),
    /// The grant for one use is used up by this answer.
    Consume(Arc<Approval>),
    /// The grant for a time is used once more.
    Use(Arc<Approval>),
    /// An earlier answer is given again under its idempotency key; nothing is used.
    Repeat(Arc<Decided>),
}

/// A decided query. Fields are private: outside this module a decision can be read, not made.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Decision {
    outcome: Outcome,
    reason: Reason,
    effect: Effect,
}

/// All that bears on a decision beside the policies.
#[derive(Debug, Clone)]
pub struct Circumstances {
    pub binding: Binding,
    pub standing: Standing,
    pub justified: bool,
    pub masking: MaskSupport,
    /// What was answered before under the same idempotency key to the same query.
    pub earlier: Option<Arc<Decided>>,
    /// How long a rejection answers the same query without asking people again.
    pub rejection_stands: Duration,
    pub now: Timestamp,
}

/// Decides. The standing approval must be settled as of `now` (its due transition, if any, is the caller's to commit
/// first); one that is not counts as what time has made of it all the same.
#[must_use]
pub fn decide(evaluation: &Evaluation, around: &Circumstances) -> Decision {
    if let Standing::ById(named) = &around.standing
        && named.opening.binding != around.binding
    {
        return Decision::deny(Reason::BindingMismatch);
    }
    // Before anything is opened or used: people are not asked, and no grant is spent, for what would have to be denied.
    if evaluation.verdict == RuleVerdict::Permitted && around.masking == MaskSupport::Absent && evaluation.must_mask() {
        return Decision::deny(Reason::UnsupportedObligation);
    }
    let standing = match &around.standing {
        Standing::None => None,
        Standing::ByBinding(approval) | Standing::ById(approval) => Some(&**approval),
    };
    let repeated =
        around.earlier.as_ref().and_then(|earlier| repeat::repeat(earlier, evaluation, standing, around.now));
    repeated.unwrap_or_else(|| afresh(evaluation, around))
}

fn afresh(evaluation: &Evaluation, around: &Circumstances) -> Decision {
    match evaluation.verdict {
        RuleVerdict::Forbidden => Decision::deny(Reason::Forbidden),
        RuleVerdict::NotPermitted => Decision::deny(Reason::NotPermitted),
        RuleVerdict::Unknown => Decision::deny(Reason::EvaluationError),
        RuleVerdict::Permitted => match (&evaluation.requirement, &around.standing) {
            (None, Standing::None) => Decision::permitted(),
            (None, Standing::ByBinding(approval)) => without_gate(approval, around),
            (Some(required), Standing::None) => open(required, around),
            (Some(required), Standing::ByBinding(approval)) => asked_again(required, approval, around),
            (required, Standing::ById(approval)) => named(required.as_ref(), approval, around),
        },
    }
}

/// No gate fires today. An approval that is still pending keeps the requirement it was opened under: a gate that went
/// away while people were deciding never turns into an approval.
fn without_gate(approval: &Arc<Approval>, around: &Circumstances) -> Decision {
    match approval.state_at(around.now) {
        ApprovalState::Pending => Decision::pending(Effect::Join(approval.clone())),
        ApprovalState::Approved(_)
        | ApprovalState::Rejected { .. }
        | ApprovalState::Expired { .. }
        | ApprovalState::Cancelled { .. }
        | ApprovalState::Revoked { .. }
        | ApprovalState::Lapsed { .. }
        | ApprovalState::Consumed(_) => Decision::permitted(),
    }
}

/// The same query once more, without an id: a live grant serves it, a pending approval is joined, a fresh rejection stands,
/// and anything else that was settled against it makes way for a new approval.
fn asked_again(required: &Requirement, approval: &Arc<Approval>, around: &Circumstances) -> Decision {
    match approval.state_at(around.now) {
        ApprovalState::Pending => pending(Some(required), approval, around),
        ApprovalState::Approved(grant) if required.is_covered_by(&approval.opening.requirement) => {
            Decision::granted(approval, grant.terms)
        }
        // Whoever asks again until somebody gives in is answered by whoever said no.
        ApprovalState::Rejected { at } if !at.after(around.rejection_stands).is_due(around.now) => {
            Decision::deny(Reason::ApprovalRejected)
        }
        ApprovalState::Approved(_)
        | ApprovalState::Rejected { .. }
        | ApprovalState::Expired { .. }
        | ApprovalState::Cancelled { .. }
        | ApprovalState::Revoked { .. }
        | ApprovalState::Lapsed { .. }
        | ApprovalState::Consumed(_) => open(required, around),
    }
}

/// The approval was named: it alone answers.
fn named(required: Option<&Requirement>, approval: &Arc<Approval>, around: &Circumstances) -> Decision {
    match approval.state_at(around.now) {
        ApprovalState::Pending => pending(required, approval, around),
        ApprovalState::Approved(grant) => match required {
            Some(required) if !required.is_covered_by(&approval.opening.requirement) => open(required, around),
            Some(_) | None => Decision::granted(approval, grant.terms),
        },
        ApprovalState::Rejected { .. } => Decision::deny(Reason::ApprovalRejected),
        ApprovalState::Expired { .. } => Decision::deny(Reason::ApprovalExpired),
        ApprovalState::Cancelled { .. } => Decision::deny(Reason::ApprovalCancelled),
        ApprovalState::Revoked { .. } => Decision::deny(Reason::ApprovalRevoked),
        ApprovalState::Lapsed { .. } => Decision::deny(Reason::GrantLapsed),
        ApprovalState::Consumed(_) => Decision::deny(Reason::GrantConsumed),
    }
}

/// Asked again while people decide: the query joins the approval, unless that could not lift today's gates any more. Then it
/// is asked for anew, under what both days demand, rather than countersigned for nothing (docs/adr/0006).
fn pending(required: Option<&Requirement>, approval: &Arc<Approval>, around: &Circumstances) -> Decision {
    let intake = &approval.opening.requirement;
    match required {
        Some(required) if !required.is_covered_by(intake) => open(&required.and(intake), around),
        Some(_) | None => Decision::pending(Effect::Join(approval.clone())),
    }
}

fn open(required: &Requirement, around: &Circumstances) -> Decision {
    if required.demands_justification() && !around.justified {
        return Decision::deny(Reason::JustificationRequired);
    }
    Decision::pending(Effect::Open(required.clone()))
}

impl Decision {
    fn deny(reason: Reason) -> Self {
        Self { outcome: Outcome::Deny, reason, effect: Effect::None }
    }

    fn pending(effect: Effect) -> Self {
        Self { outcome: Outcome::Pending, reason: Reason::ApprovalRequired, effect }
    }

    fn permitted() -> Self {
        Self { outcome: Outcome::Allow, reason: Reason::Permitted, effect: Effect::None }
    }

    fn granted(approval: &Arc<Approval>, terms: GrantTerms) -> Self {
        let effect = match terms {
            GrantTerms::Once => Effect::Consume(approval.clone()),
            GrantTerms::For(_) => Effect::Use(approval.clone()),
        };
        Self { outcome: Outcome::Allow, reason: Reason::Granted, effect }
    }

    #[must_use]
    pub const fn outcome(&self) -> Outcome {
        self.outcome
    }

    #[must_use]
    pub const fn reason(&self) -> Reason {
        self.reason
    }

    #[must_use]
    pub const fn effect(&self) -> &Effect {
        &self.effect
    }
}
