//! Gates and requirements.

use std::time::Duration;

use super::value::parse_uid;
use super::{Malformed, pb};
use crate::domain::{
    EntityUid, Escalation, Gate, GrantTerms, Justification, PolicyId, Quorum, Requirement, SelfReview,
};

impl From<&Gate> for pb::Gate {
    fn from(gate: &Gate) -> Self {
        Self {
            id: gate.id.0.to_string(),
            text: gate.text.to_string(),
            reviewers: gate.reviewers.iter().map(Into::into).collect(),
            quorum: gate.quorum.get(),
            timeout_micros: micros(gate.timeout),
            grant_for_micros: terms(gate.grant),
            escalations: gate.escalations.iter().map(Into::into).collect(),
            severity: pb::Severity::from(gate.severity).into(),
            justification_required: gate.justification == Justification::Required,
            self_review_allowed: gate.self_review == SelfReview::Allowed,
            notify: gate.notify.iter().map(ToString::to_string).collect(),
            break_glass: gate.break_glass.iter().map(Into::into).collect(),
            reminders_micros: gate.reminders.iter().copied().map(micros).collect(),
        }
    }
}

impl From<&Escalation> for pb::Escalation {
    fn from(step: &Escalation) -> Self {
        Self { after_micros: micros(step.after), reviewers: step.reviewers.iter().map(Into::into).collect() }
    }
}

pub(super) fn micros(span: Duration) -> u64 {
    u64::try_from(span.as_micros()).unwrap_or(u64::MAX)
}

/// 0 stands for one use: no grant serves for no time.
pub(super) fn terms(terms: GrantTerms) -> u64 {
    match terms {
        GrantTerms::Once => 0,
        GrantTerms::For(span) => micros(span),
    }
}

pub(super) fn parse_terms(micros: u64) -> GrantTerms {
    if micros == 0 { GrantTerms::Once } else { GrantTerms::For(Duration::from_micros(micros)) }
}

pub(super) fn parse_requirement(gates: Vec<pb::Gate>) -> Result<Requirement, Malformed> {
    let gates = gates.into_iter().map(parse_gate).collect::<Result<_, _>>()?;
    Requirement::new(gates).ok_or_else(|| Malformed::new("gates", "missing"))
}

fn parse_gate(gate: pb::Gate) -> Result<Gate, Malformed> {
    let escalations = gate.escalations.into_iter().map(|step| {
        Ok(Escalation { after: Duration::from_micros(step.after_micros), reviewers: parse_uids(step.reviewers)? })
    });
    Ok(Gate {
        id: PolicyId(gate.id.into()),
        text: gate.text.into(),
        reviewers: parse_uids(gate.reviewers)?,
        quorum: Quorum::new(gate.quorum).ok_or_else(|| Malformed::new("quorum", "zero"))?,
        timeout: Duration::from_micros(gate.timeout_micros),
        grant: parse_terms(gate.grant_for_micros),
        escalations: escalations.collect::<Result<_, Malformed>>()?,
        severity: pb::Severity::parse(gate.severity).ok_or_else(|| Malformed::new("severity", "missing"))?,
        justification: if gate.justification_required { Justification::Required } else { Justification::Optional },
        self_review: if gate.self_review_allowed { SelfReview::Allowed } else { SelfReview::Forbidden },
        notify: gate.notify.into_iter().map(Into::into).collect(),
        break_glass: parse_uids(gate.break_glass)?,
        reminders: gate.reminders_micros.into_iter().map(Duration::from_micros).collect(),
    })
}

fn parse_uids(uids: Vec<pb::EntityUid>) -> Result<Vec<EntityUid>, Malformed> {
    uids.into_iter().map(parse_uid).collect()
}
