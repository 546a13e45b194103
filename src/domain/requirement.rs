//! What a gate demands before it lets an action pass. Every field was parsed strictly when the policies were loaded.

use std::num::NonZeroU32;
use std::sync::Arc;
use std::time::Duration;

use super::entity::EntityUid;
use super::evaluation::PolicyId;
use super::time::Timestamp;

/// How many distinct humans; at least one.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct Quorum(NonZeroU32);

impl Quorum {
    pub const ONE: Self = Self(NonZeroU32::MIN);

    /// `None` for zero: a quorum of nobody is a door without a lock.
    #[must_use]
    pub fn new(humans: u32) -> Option<Self> {
        NonZeroU32::new(humans).map(Self)
    }

    #[must_use]
    pub const fn get(self) -> u32 {
        self.0.get()
    }
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Severity {
    Low,
    Medium,
    High,
    Critical,
}

impl Severity {
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Low => "low",
            Self::Medium => "medium",
            Self::High => "high",
            Self::Critical => "critical",
        }
    }
}

/// Longest name of a target, in bytes.
const TARGET_NAME_BYTES_MAX: usize = 64;

/// Whether this can name a target of notifications: lower-case letters, digits and `-`, beginning with a letter or digit.
#[must_use]
pub fn is_target_name(text: &str) -> bool {
    let is_word = |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit() || byte == b'-';
    (1..=TARGET_NAME_BYTES_MAX).contains(&text.len()) && text.bytes().all(is_word) && !text.starts_with('-')
}

/// How often an approved action may run.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum GrantTerms {
    /// One use.
    Once,
    /// The same binding again until this long after approval.
    For(Duration),
}

impl GrantTerms {
    fn narrower(self, other: Self) -> Self {
        match (self, other) {
            (Self::Once, _) | (_, Self::Once) => Self::Once,
            (Self::For(one), Self::For(other)) => Self::For(one.min(other)),
        }
    }

    /// Whether what was given under `approved` may still be used under these terms: they are no narrower.
    fn is_within(self, approved: Self) -> bool {
        match (self, approved) {
            (_, Self::Once) => true,
            (Self::Once, Self::For(_)) => false,
            (Self::For(today), Self::For(given)) => given <= today,
        }
    }
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Justification {
    Optional,
    Required,
}

impl Justification {
    fn or(self, other: Self) -> Self {
        if self == Self::Required { self } else { other }
    }
}

/// Whether the human for whom the action runs may countersign it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum SelfReview {
    Forbidden,
    Allowed,
}

/// More reviewers after a while; never a decision.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Escalation {
    pub after: Duration,
    pub reviewers: Vec<EntityUid>,
}

/// One gate: a `forbid` annotated `@approval`, which forbids until countersigned.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Gate {
    pub id: PolicyId,
    /// The text of `@approval`: what the reviewer reads.
    pub text: Arc<str>,
    /// A reviewer is one of these or in one of these. Never empty.
    pub reviewers: Vec<EntityUid>,
    pub quorum: Quorum,
    pub timeout: Duration,
    pub grant: GrantTerms,
    pub escalations: Vec<Escalation>,
    /// So long after the opening people are reminded, in order.
    pub reminders: Vec<Duration>,
    /// Who may let it pass alone, with a reason, and be asked about it afterwards. Empty: nobody.
    pub break_glass: Vec<EntityUid>,
    pub severity: Severity,
    pub justification: Justification,
    pub self_review: SelfReview,
    /// Where people are told (`@notify`), by the names of configured targets. Empty: where its severity says.
    pub notify: Vec<Arc<str>>,
}

impl Gate {
    /// The reviewers at `now`, escalations that are due included.
    pub fn reviewers_at(&self, opened_at: Timestamp, now: Timestamp) -> impl Iterator<Item = &EntityUid> {
        let escalated = self.escalations.iter().filter(move |step| opened_at.after(step.after).is_due(now));
        self.reviewers.iter().chain(escalated.flat_map(|step| &step.reviewers))
    }

    /// Whether what satisfied `approved` satisfies `self` as well: no more people, nobody else and nobody earlier, no new
    /// bar. The severity is one: it decides how a reviewer must have logged in.
    #[must_use]
    pub fn is_covered_by(&self, approved: &Self) -> bool {
        let escalated = approved.escalations.iter().flat_map(|step| step.reviewers.iter().map(|one| (one, step.after)));
        let mut voters = approved.reviewers.iter().map(|one| (one, Duration::ZERO)).chain(escalated);
        self.id == approved.id
            && self.quorum <= approved.quorum
            && self.severity <= approved.severity
            && voters.all(|(reviewer, from)| self.is_reviewer_from(reviewer, from))
            && approved.break_glass.iter().all(|breaker| self.break_glass.contains(breaker))
            && self.text == approved.text
            && self.grant.is_within(approved.grant)
            && (self.justification == approved.justification || self.justification == Justification::Optional)
            && (self.self_review == approved.self_review || self.self_review == SelfReview::Allowed)
    }

    fn and(&self, then: &Self) -> Self {
        if self.is_covered_by(then) {
            return then.clone();
        }
        Self {
            quorum: self.quorum.max(then.quorum),
            timeout: self.timeout.min(then.timeout),
            grant: self.grant.narrower(then.grant),
            severity: self.severity.max(then.severity),
            justification: self.justification.or(then.justification),
            self_review: if then.self_review == SelfReview::Forbidden {
                SelfReview::Forbidden
            } else {
                self.self_review
            },
            break_glass: self.break_glass.iter().filter(|who| then.break_glass.contains(who)).cloned().collect(),
            ..self.clone()
        }
    }

    /// Whether somebody may review so long after the opening, if not before.
    fn is_reviewer_from(&self, reviewer: &EntityUid, after: Duration) -> bool {
        let escalated = self.escalations.iter().filter(|step| step.after <= after);
        self.reviewers.contains(reviewer) || escalated.into_iter().any(|step| step.reviewers.contains(reviewer))
    }
}

/// All the gates that fired for one query; never empty.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Requirement {
    gates: Vec<Gate>,
}

impl Requirement {
    /// `None` without a gate: nothing is required then.
    #[must_use]
    pub fn new(gates: Vec<Gate>) -> Option<Self> {
        (!gates.is_empty()).then_some(Self { gates })
    }

    #[must_use]
    pub fn gates(&self) -> &[Gate] {
        &self.gates
    }

    #[must_use]
    pub fn gate(&self, id: &PolicyId) -> Option<&Gate> {
        self.gates.iter().find(|gate| gate.id == *id)
    }

    /// The shortest of the gates' timeouts.
    #[must_use]
    pub fn timeout(&self) -> Duration {
        self.gates.iter().map(|gate| gate.timeout).min().unwrap_or_default()
    }

    /// The narrowest of the gates' grant terms.
    #[must_use]
    pub fn grant(&self) -> GrantTerms {
        let spans = self.gates.iter().map(|gate| match gate.grant {
            GrantTerms::Once => None,
            GrantTerms::For(span) => Some(span),
        });
        // `None` sorts before every span: one gate that says "once" makes it once.
        spans.min().flatten().map_or(GrantTerms::Once, GrantTerms::For)
    }

    #[must_use]
    pub fn severity(&self) -> Severity {
        self.gates.iter().map(|gate| gate.severity).max().unwrap_or(Severity::Critical)
    }

    #[must_use]
    pub fn demands_justification(&self) -> bool {
        self.gates.iter().any(|gate| gate.justification == Justification::Required)
    }

    /// What two days demand together: every gate of either. A gate of both is the stricter one where one covers the other,
    /// else as it stands in `self` (today), and no looser than it was.
    #[must_use]
    pub fn and(&self, intake: &Self) -> Self {
        let today =
            self.gates.iter().map(|gate| intake.gate(&gate.id).map_or_else(|| gate.clone(), |then| gate.and(then)));
        let gone = intake.gates.iter().filter(|then| self.gate(&then.id).is_none());
        let mut gates: Vec<_> = today.chain(gone.cloned()).collect();
        gates.sort_by(|a, b| a.id.cmp(&b.id));
        Self { gates }
    }

    /// Whether a grant given for `approved` lifts every gate of `self` (today's requirement).
    #[must_use]
    pub fn is_covered_by(&self, approved: &Self) -> bool {
        self.gates.iter().all(|gate| approved.gate(&gate.id).is_some_and(|given| gate.is_covered_by(given)))
    }
}
