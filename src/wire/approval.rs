//! Approvals, as the API shows them.

use prost_types::{Duration, Timestamp as WireTimestamp};

use super::{pb, value};
use crate::domain::{Approval, ApprovalState, Glass, GrantTerms, Timestamp, binding};

/// The approval as it is at `now`: what time has made of it counts.
#[must_use]
pub fn shown(approval: &Approval, now: Timestamp) -> pb::Approval {
    let opening = &approval.opening;
    let state = approval.state_at(now);
    let mut shown = pb::Approval {
        id: opening.id.to_string(),
        state: wire_state(&state).into(),
        binding: opening.binding.to_string(),
        principal: Some((&*opening.principal).into()),
        caller: Some((&*opening.caller).into()),
        action: Some((&opening.query.action).into()),
        resource: Some((&opening.query.resource).into()),
        context: value::attributes(&opening.query.context),
        entities: opening.query.entities.iter().map(Into::into).collect(),
        justification: opening.justification.as_deref().unwrap_or_default().into(),
        gates: opening.requirement.gates().iter().map(|gate| status(approval, gate)).collect(),
        reviews: approval.reviews.iter().map(Into::into).collect(),
        opened_at: Some(timestamp(opening.opened_at)),
        deadline: Some(timestamp(opening.deadline)),
        version: approval.version,
        policy_digest: opening.digest.to_string(),
        canonical_query: binding::canonical(&opening.query),
        break_glass: approval.glass.as_deref().map(glass),
        ..pb::Approval::default()
    };
    show_state(&mut shown, approval, &state);
    shown
}

fn status(approval: &Approval, gate: &crate::domain::Gate) -> pb::GateStatus {
    let humans = approval.approvals(gate);
    pb::GateStatus { gate: Some(gate.into()), approvals: u32::try_from(humans).unwrap_or(u32::MAX) }
}

fn glass(glass: &Glass) -> pb::BreakGlass {
    pb::BreakGlass {
        by: Some((&*glass.broken.by).into()),
        reason: glass.broken.reason.to_string(),
        at: Some(timestamp(glass.broken.at)),
        examinations: glass.examinations.iter().map(Into::into).collect(),
        open: glass.is_open(),
    }
}

fn show_state(shown: &mut pb::Approval, approval: &Approval, state: &ApprovalState) {
    // The vote that settled it is the last one, or the glass that was broken; a grant's use comes after.
    let broken_at = approval.glass.as_ref().map(|glass| timestamp(glass.broken.at));
    let approved_at = broken_at.or_else(|| approval.reviews.last().map(|review| timestamp(review.at)));
    match state {
        ApprovalState::Pending => {}
        ApprovalState::Approved(grant) => {
            shown.settled_at = Some(timestamp(grant.granted_at));
            shown.grant_lapses_at = Some(timestamp(grant.lapses_at));
            shown.grant_for = match grant.terms {
                GrantTerms::Once => None,
                GrantTerms::For(span) => Some(duration(span)),
            };
        }
        ApprovalState::Rejected { at }
        | ApprovalState::Expired { at }
        | ApprovalState::Cancelled { at }
        | ApprovalState::Revoked { at }
        | ApprovalState::Lapsed { at } => shown.settled_at = Some(timestamp(*at)),
        ApprovalState::Consumed(usage) => {
            shown.settled_at = approved_at;
            shown.consumed_by_decision_id = usage.decision.to_string();
            shown.report = usage.report.map_or(pb::Report::Unspecified, Into::into).into();
        }
    }
}

fn wire_state(state: &ApprovalState) -> pb::ApprovalState {
    match state {
        ApprovalState::Pending => pb::ApprovalState::Pending,
        ApprovalState::Approved(_) => pb::ApprovalState::Approved,
        ApprovalState::Rejected { .. } => pb::ApprovalState::Rejected,
        ApprovalState::Expired { .. } => pb::ApprovalState::Expired,
        ApprovalState::Cancelled { .. } => pb::ApprovalState::Cancelled,
        ApprovalState::Revoked { .. } => pb::ApprovalState::Revoked,
        ApprovalState::Lapsed { .. } => pb::ApprovalState::Lapsed,
        ApprovalState::Consumed(_) => pb::ApprovalState::Consumed,
    }
}

/// The name that [`ApprovalState::name`] gives to a state of the wire.
#[must_use]
pub fn state_name(state: pb::ApprovalState) -> Option<&'static str> {
    match state {
        pb::ApprovalState::Unspecified => None,
        pb::ApprovalState::Pending => Some("pending"),
        pb::ApprovalState::Approved => Some("approved"),
        pb::ApprovalState::Rejected => Some("rejected"),
        pb::ApprovalState::Expired => Some("expired"),
        pb::ApprovalState::Cancelled => Some("cancelled"),
        pb::ApprovalState::Revoked => Some("revoked"),
        pb::ApprovalState::Lapsed => Some("lapsed"),
        pb::ApprovalState::Consumed => Some("consumed"),
    }
}

/// A moment towards the wire.
#[must_use]
pub fn timestamp(moment: Timestamp) -> WireTimestamp {
    let micros = moment.as_micros();
    let nanos = i32::try_from(micros.rem_euclid(1_000_000) * 1_000).unwrap_or(0);
    WireTimestamp { seconds: micros.div_euclid(1_000_000), nanos }
}

/// A moment from the wire; saturates.
#[must_use]
pub fn parse_timestamp(moment: WireTimestamp) -> Timestamp {
    let micros = moment.seconds.saturating_mul(1_000_000).saturating_add(i64::from(moment.nanos) / 1_000);
    Timestamp::from_micros(micros)
}

fn duration(span: std::time::Duration) -> Duration {
    Duration {
        seconds: i64::try_from(span.as_secs()).unwrap_or(i64::MAX),
        nanos: i32::try_from(span.subsec_nanos()).unwrap_or(0),
    }
}
