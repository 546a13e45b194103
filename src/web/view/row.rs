//! One approval in a list.

use super::gate::severity;
use super::moment::{Moment, span};
use super::sentence::Sentence;
use super::text::Text;
use crate::domain::{Approval, ApprovalState, Identity, Report, Severity, Timestamp};
use crate::service::told::Voters;

/// Characters of a gate's text in a list.
const GATE_CHARS_MAX: usize = 120;
/// Less than this share of the time left is urgent, in parts of a hundred.
const URGENT_PERCENT: u128 = 25;

#[derive(Debug, Clone)]
pub struct Row {
    pub id: String,
    pub sentence: Sentence,
    pub severity: &'static str,
    /// Whether it can be decided together with others.
    pub may_join: bool,
    pub gate: Text,
    pub more_gates: usize,
    pub state: &'static str,
    /// The same for people: nobody approved what one person let pass alone.
    pub standing: &'static str,
    pub outcome: Text,
    pub left: Option<Left>,
    /// `1 of 2`.
    pub quorum: String,
}

/// The time that is left.
#[derive(Debug, Clone)]
pub struct Left {
    pub text: String,
    pub until: Moment,
    pub is_urgent: bool,
}

impl Left {
    /// `None` where nothing is waited for.
    #[must_use]
    pub fn of(approval: &Approval, now: Timestamp) -> Option<Self> {
        let opening = &approval.opening;
        if approval.state_at(now) != ApprovalState::Pending {
            return None;
        }
        let (left, whole) = (now.until(opening.deadline), opening.opened_at.until(opening.deadline));
        let is_urgent = left.as_micros() * 100 < whole.as_micros() * URGENT_PERCENT;
        Some(Self { text: span(left), until: Moment::at(opening.deadline, now), is_urgent })
    }
}

impl Row {
    #[must_use]
    pub fn of(approval: &Approval, voters: &Voters, now: Timestamp) -> Self {
        let opening = &approval.opening;
        let state = approval.state_at(now);
        let gates = opening.requirement.gates();
        let needed: u32 = gates.iter().map(|gate| gate.quorum.get()).sum();
        let given: usize = gates
            .iter()
            .map(|gate| approval.approvals(gate).min(usize::try_from(gate.quorum.get()).unwrap_or(usize::MAX)))
            .sum();
        Self {
            id: opening.id.to_string(),
            sentence: Sentence::of(opening),
            severity: severity(opening.requirement.severity()),
            may_join: opening.requirement.severity() < Severity::High,
            gate: gates.first().map(|gate| Text::cut(&gate.text, GATE_CHARS_MAX)).unwrap_or_default(),
            more_gates: gates.len().saturating_sub(1),
            state: state.name(),
            standing: standing(approval, &state),
            outcome: outcome(approval, &state, voters, now),
            left: Left::of(approval, now),
            quorum: format!("{given} of {needed}"),
        }
    }
}

/// The state in a word or two. What a broken glass let pass was approved by nobody.
#[must_use]
pub fn standing(approval: &Approval, state: &ApprovalState) -> &'static str {
    match state {
        ApprovalState::Approved(_) | ApprovalState::Consumed(_) if approval.glass.is_some() => "glass broken",
        state => state.name(),
    }
}

/// Who voted, as far as the reader may know.
#[must_use]
pub fn who(person: &Identity, voters: &Voters) -> String {
    if voters.are_told(person) { person.uid.id.to_string() } else { "somebody".to_owned() }
}

/// What came of it, in a few words.
#[must_use]
pub fn outcome(approval: &Approval, state: &ApprovalState, voters: &Voters, now: Timestamp) -> Text {
    let relative = |at: Timestamp| Moment::at(at, now).relative;
    let last = approval.reviews.last().map(|review| who(&review.reviewer, voters)).unwrap_or_default();
    let breaker = approval.glass.as_ref().map(|glass| who(&glass.broken.by, voters)).unwrap_or_default();
    let outcome = match state {
        ApprovalState::Pending => format!("asked {}", relative(approval.opening.opened_at)),
        ApprovalState::Approved(grant) if approval.glass.is_some() => {
            format!("let pass by {breaker} alone {}, not used yet", relative(grant.granted_at))
        }
        ApprovalState::Approved(grant) => format!("approved {}, not used yet", relative(grant.granted_at)),
        ApprovalState::Rejected { at } => format!("rejected by {last} {}", relative(*at)),
        ApprovalState::Expired { at } => format!("expired {}", relative(*at)),
        ApprovalState::Cancelled { at } => format!("cancelled {}", relative(*at)),
        ApprovalState::Revoked { at } => format!("revoked {}", relative(*at)),
        ApprovalState::Lapsed { at } => format!("lapsed unused {}", relative(*at)),
        ApprovalState::Consumed(usage) => match usage.report {
            None => format!("used {}, outcome not reported yet", relative(usage.at)),
            Some(Report::Succeeded) => format!("used {}, succeeded", relative(usage.at)),
            Some(Report::Failed) => format!("used {}, failed", relative(usage.at)),
            Some(Report::Unknown) => format!("used {}, outcome unknown", relative(usage.at)),
        },
    };
    let outcome = match state {
        ApprovalState::Consumed(_) if approval.glass.is_some() => format!("let pass by {breaker} alone, {outcome}"),
        _ => outcome,
    };
    Text::line(&outcome)
}
