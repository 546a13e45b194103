//! The same call once more, under its idempotency key: the same answer, without a second use.
//!
//! An ALLOW is repeated only while it would still be true: today's rules permit, and the grant that it used is still
//! this decision's, unreported and unrevoked. Anything else is answered as the query stands today.

use std::sync::Arc;

use super::{Decision, Effect, Outcome, Reason};
use crate::domain::approval::{Approval, ApprovalState};
use crate::domain::evaluation::{Evaluation, RuleVerdict};
use crate::domain::record::Decided;
use crate::domain::time::Timestamp;

/// The repeated answer; `None` where the earlier one is no answer any more and the query must be decided anew.
/// `approval` is the one that the earlier decision names.
pub(super) fn repeat(
    earlier: &Arc<Decided>,
    evaluation: &Evaluation,
    approval: Option<&Approval>,
    now: Timestamp,
) -> Option<Decision> {
    match earlier.outcome {
        Outcome::Pending => None,
        Outcome::Deny => Some(again(earlier, Outcome::Deny, earlier.reason)),
        Outcome::Allow if evaluation.verdict != RuleVerdict::Permitted => None,
        Outcome::Allow => match earlier.reason {
            Reason::Permitted => {
                evaluation.requirement.is_none().then(|| again(earlier, Outcome::Allow, earlier.reason))
            }
            _ => approval
                .filter(|approval| Some(approval.id()) == earlier.approval)
                .filter(|approval| covers(approval, evaluation))
                .map(|approval| again_granted(earlier, approval, now)),
        },
    }
}

/// Whether what was countersigned still lifts every gate that fires today.
fn covers(approval: &Approval, evaluation: &Evaluation) -> bool {
    let required = evaluation.requirement.as_ref();
    required.is_none_or(|required| required.is_covered_by(&approval.opening.requirement))
}

fn again_granted(earlier: &Arc<Decided>, approval: &Approval, now: Timestamp) -> Decision {
    match approval.state_at(now) {
        ApprovalState::Consumed(usage) if usage.decision == earlier.id && usage.report.is_none() => {
            again(earlier, Outcome::Allow, Reason::Granted)
        }
        ApprovalState::Approved(_) => again(earlier, Outcome::Allow, Reason::Granted),
        ApprovalState::Revoked { .. } => again(earlier, Outcome::Deny, Reason::ApprovalRevoked),
        ApprovalState::Lapsed { .. } => again(earlier, Outcome::Deny, Reason::GrantLapsed),
        ApprovalState::Pending
        | ApprovalState::Rejected { .. }
        | ApprovalState::Expired { .. }
        | ApprovalState::Cancelled { .. }
        | ApprovalState::Consumed(_) => again(earlier, Outcome::Deny, Reason::GrantConsumed),
    }
}

fn again(earlier: &Arc<Decided>, outcome: Outcome, reason: Reason) -> Decision {
    Decision { outcome, reason, effect: Effect::Repeat(earlier.clone()) }
}
