//! What the use cases count.

use super::Service;
use crate::domain::{Change, Decided, Outcome, Reason, Report, Transition, Verdict};
use crate::identity;
use crate::measure::{Counter, Counters, Durations};

/// Outcomes, in the order of their numbers.
pub const OUTCOMES: [Outcome; 3] = [Outcome::Allow, Outcome::Deny, Outcome::Pending];
const REASONS: usize = Reason::ALL.len();

/// What can happen to an approval, as it is counted: opening, `Transition::name`, and what was reported.
pub const STEPS: [&str; 17] = [
    "opened",
    "reviewed",
    "approved",
    "rejected",
    "expired",
    "escalated",
    "reminded",
    "cancelled",
    "revoked",
    "broken_glass",
    "examined",
    "lapsed",
    "consumed",
    "used",
    "succeeded",
    "failed",
    "unknown",
];

/// Reasons of refusals beside those of credentials ([`identity::Reason`]), as `Refusal::reason` and the guard give them. What is
/// not among them counts as `other`.
pub const REFUSALS: [&str; 27] = [
    "authentication_too_old",
    "stronger_authentication_required",
    "not_permitted",
    "not_human",
    "own_action",
    "not_reviewer",
    "invalid_argument",
    "not_found",
    "already_settled",
    "wrong_state",
    "too_late",
    "policies_stale",
    "requirement_raised",
    "idempotency_key_reused",
    "cursor_trimmed",
    "binding_mismatch",
    "contention",
    "limit_exceeded",
    "masking_timeout",
    "overloaded",
    "busy",
    "low_memory",
    "unavailable",
    "deadline_exceeded",
    "shutting_down",
    "internal",
    "other",
];
const REFUSED: usize = REFUSALS.len() + identity::REASONS;

/// What must never be. Whatever is above zero here is a bug, and was refused.
#[derive(Debug, Default)]
pub struct Violations {
    /// An ALLOW whose record was not on disk.
    pub allow_before_durable: Counter,
    /// An ALLOW by a countersignature without one that was redeemed for it.
    pub granted_without_grant: Counter,
}

#[derive(Debug, Default)]
pub struct Meters {
    decisions: Counters<{ OUTCOMES.len() * REASONS }>,
    /// From the query to its durable answer, without any wait for people; successes only.
    pub answers: Durations,
    /// The policies alone.
    pub evaluations: Durations,
    steps: Counters<{ STEPS.len() }>,
    /// Votes that counted: approvals, rejections.
    pub approving: Counter,
    pub rejecting: Counter,
    refused: Counters<REFUSED>,
    /// From the moment that an approval's change is durable until a call that waits for it goes on.
    pub wake_ups: Durations,
    /// From a deadline until it is on record that it passed.
    pub expiries: Durations,
    pub violations: Violations,
}

impl Meters {
    pub(super) fn decided(&self, decided: &Decided) {
        self.decisions.count(decided.outcome as usize * REASONS + decided.reason as usize);
        match &decided.change {
            Change::Opened(_) => self.steps.count(0),
            Change::Redeemed(transition) => self.moved(transition),
            Change::None => {}
        }
    }

    pub(super) fn moved(&self, transition: &Transition) {
        let step = match transition {
            Transition::Reported(Report::Succeeded) => "succeeded",
            Transition::Reported(Report::Failed) => "failed",
            Transition::Reported(Report::Unknown) => "unknown",
            other => other.name(),
        };
        self.steps.count(STEPS.iter().position(|known| *known == step).unwrap_or(usize::MAX));
        if let Some(review) = transition.review() {
            match review.verdict {
                Verdict::Approve => self.approving.count(),
                Verdict::Reject => self.rejecting.count(),
            }
        }
    }

    pub(super) fn refused(&self, reason: &str) {
        let ours = REFUSALS.iter().position(|known| *known == reason);
        let of_credentials = || identity::Reason::ALL.iter().position(|known| known.code() == reason);
        let place = ours.or_else(|| of_credentials().map(|place| place + REFUSALS.len()));
        self.refused.count(place.unwrap_or(REFUSALS.len() - 1));
    }

    /// Decisions by outcome and reason, those that were and those that can be expected.
    pub fn decisions(&self) -> impl Iterator<Item = (Outcome, Reason, u64)> {
        let all = OUTCOMES.into_iter().flat_map(|outcome| Reason::ALL.into_iter().map(move |reason| (outcome, reason)));
        let expected = |outcome, reason| {
            matches!(
                (outcome, reason),
                (Outcome::Allow, Reason::Permitted | Reason::Granted)
                    | (Outcome::Deny, Reason::Forbidden | Reason::NotPermitted | Reason::EvaluationError)
                    | (Outcome::Pending, Reason::ApprovalRequired)
            )
        };
        let counted = all.zip(self.decisions.all()).map(|((outcome, reason), count)| (outcome, reason, count));
        counted.filter(move |(outcome, reason, count)| *count > 0 || expected(*outcome, *reason))
    }

    /// What happened to approvals at this server.
    pub fn steps(&self) -> impl Iterator<Item = (&'static str, u64)> {
        STEPS.into_iter().zip(self.steps.all())
    }

    /// Refused calls and items by reason.
    pub fn refusals(&self) -> impl Iterator<Item = (&'static str, u64)> {
        let reasons = REFUSALS.into_iter().chain(identity::Reason::ALL.iter().map(|reason| reason.code()));
        reasons.zip(self.refused.all())
    }
}

impl Service {
    #[must_use]
    pub fn meters(&self) -> &Meters {
        &self.shared.meters
    }

    /// Calls that wait for people now, and the bytes that they hold.
    #[must_use]
    pub fn waiting(&self) -> (usize, usize) {
        self.shared.waits.totals()
    }

    /// Streams of the journal's readers that are open now.
    #[must_use]
    pub fn following(&self) -> usize {
        self.shared.limits.subscribers_max.saturating_sub(self.shared.followers.available_permits())
    }

    /// The revision of the policies in force.
    #[must_use]
    pub fn revision(&self) -> u64 {
        self.shared.engine.current().revision()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_of_outcomes_and_reasons_are_their_places() {
        assert!(OUTCOMES.iter().enumerate().all(|(place, outcome)| *outcome as usize == place));
        assert!(Reason::ALL.iter().enumerate().all(|(place, reason)| *reason as usize == place));
    }

    #[test]
    fn a_reason_that_somebody_makes_up_is_no_label() {
        let meters = Meters::default();
        ["not_found", "expired", "Agent::\"mallory\"", "bad_signature"]
            .iter()
            .for_each(|reason| meters.refused(reason));
        let counted: Vec<_> = meters.refusals().filter(|(_, count)| *count > 0).collect();
        assert_eq!(counted, [("not_found", 1), ("other", 1), ("bad_signature", 1), ("expired", 1)]);
    }
}
