//! One human's vote on an approval, and the invariants that no policy can lift: a reviewer is a human, does not
//! countersign his own action, votes on exactly what he saw, has logged in lately and well enough, and counts once per gate.

use std::sync::Arc;

use super::approval::{Approval, ApprovalState};
use super::away::StoodIn;
use super::binding::Binding;
use super::evaluation::PolicyId;
use super::identity::{Identity, PrincipalKind, ProofMethod};
use super::links::Links;
use super::poll::{Poll, Shortfall, StepUp};
use super::requirement::{Gate, SelfReview, Severity};
use super::time::Timestamp;

#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Verdict {
    Approve,
    Reject,
}

/// A vote as recorded.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Review {
    pub reviewer: Arc<Identity>,
    pub verdict: Verdict,
    /// The gates it counts for.
    pub gates: Vec<PolicyId>,
    pub comment: Option<Arc<str>>,
    pub at: Timestamp,
    /// The gates for which he stood in for somebody; for the others he has the right himself.
    pub stands_in: Vec<StoodIn>,
}

/// A vote as it arrives.
#[derive(Debug, Clone)]
pub struct Ballot {
    pub reviewer: Arc<Identity>,
    pub verdict: Verdict,
    /// What the reviewer saw.
    pub binding: Binding,
    /// The gates the reviewer means; empty: every gate he may review.
    pub gates: Vec<PolicyId>,
    pub comment: Option<Arc<str>>,
}

/// Why a vote does not count.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum ReviewRefusal {
    #[error("only a person can review")]
    NotHuman,
    #[error("nobody countersigns an action of their own")]
    OwnAction,
    #[error("the caller may not review this approval")]
    NotReviewer,
    #[error("gate `{0}` is not one of this approval's")]
    UnknownGate(PolicyId),
    #[error("the approval is for another binding than the one named")]
    BindingMismatch,
    #[error("{}", .0.message())]
    StepUp(Shortfall, StepUp),
    #[error("the approval is already settled")]
    Settled(Box<ApprovalState>),
}

impl ReviewRefusal {
    /// The stable machine code.
    #[must_use]
    pub const fn code(&self) -> &'static str {
        match self {
            Self::NotHuman => "not_human",
            Self::OwnAction => "own_action",
            Self::NotReviewer => "not_reviewer",
            Self::UnknownGate(_) => "invalid_argument",
            Self::StepUp(Shortfall::TooOld, _) => "authentication_too_old",
            Self::StepUp(Shortfall::TooWeak, _) => "stronger_authentication_required",
            Self::BindingMismatch => "binding_mismatch",
            Self::Settled(_) => "already_settled",
        }
    }
}

/// What a vote does.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Counted {
    /// The same vote was already recorded; nothing changes.
    Already,
    /// A new vote.
    Vote(Review),
}

/// Checks a ballot against everything that stands above policy.
pub fn count(approval: &Approval, ballot: Ballot, poll: &Poll<'_>) -> Result<Counted, ReviewRefusal> {
    let (rules, now) = (poll.rules, poll.now);
    let gates =
        reviewable(approval, &ballot, &rules.links, |gate| poll.right(approval, &ballot.reviewer, gate).is_some())?;
    if ballot.binding != approval.opening.binding {
        return Err(ReviewRefusal::BindingMismatch);
    }
    // A click delivered twice is one click, also where the first one settled the approval. While it is pending, a vote that
    // would no longer count can be cast again.
    let state = approval.state_at(now);
    let repeated = gates.iter().all(|gate| {
        let mut same = approval.reviews.iter().filter(|review| review.repeats(&ballot, &gate.id, &rules.links));
        same.any(|review| state != ApprovalState::Pending || poll.still_counts(approval, review, gate))
    });
    if repeated {
        return Ok(Counted::Already);
    }
    if state != ApprovalState::Pending {
        return Err(ReviewRefusal::Settled(Box::new(state)));
    }
    let severity = gates.iter().map(|gate| gate.severity).max().unwrap_or(Severity::Critical);
    if let Some((shortfall, demand)) = rules.unmet(&ballot.reviewer, severity, poll.credentials_at) {
        return Err(ReviewRefusal::StepUp(shortfall, demand.clone()));
    }
    let stands_in = gates.iter().filter_map(|gate| StoodIn::of(gate, poll.right(approval, &ballot.reviewer, gate)?));
    let stands_in = stands_in.collect();
    let gates = gates.into_iter().map(|gate| gate.id.clone()).collect();
    let Ballot { reviewer, verdict, comment, .. } = ballot;
    Ok(Counted::Vote(Review { reviewer, verdict, gates, comment, at: now, stands_in }))
}

/// The gates that this ballot may count for; never empty.
fn reviewable<'a>(
    approval: &'a Approval,
    ballot: &Ballot,
    links: &Links,
    may_review: impl Fn(&Gate) -> bool,
) -> Result<Vec<&'a Gate>, ReviewRefusal> {
    if !is_human(&ballot.reviewer) {
        return Err(ReviewRefusal::NotHuman);
    }
    let requirement = &approval.opening.requirement;
    let mut permitted: Vec<&Gate> = requirement.gates().iter().filter(|gate| may_review(gate)).collect();
    if permitted.is_empty() {
        // First of all: who may review nothing here learns nothing of the gates.
        return Err(ReviewRefusal::NotReviewer);
    }
    if let Some(unknown) = ballot.gates.iter().find(|gate| requirement.gate(gate).is_none()) {
        return Err(ReviewRefusal::UnknownGate(unknown.clone()));
    }
    permitted.retain(|gate| ballot.gates.is_empty() || ballot.gates.contains(&gate.id));
    let every_named = ballot.gates.iter().all(|named| permitted.iter().any(|gate| gate.id == *named));
    if permitted.is_empty() || !every_named {
        return Err(ReviewRefusal::NotReviewer);
    }
    let is_own = approval.is_own_action_of(&ballot.reviewer, links);
    let others: Vec<&Gate> =
        permitted.into_iter().filter(|gate| gate.self_review == SelfReview::Allowed || !is_own).collect();
    let complete = ballot.gates.iter().all(|named| others.iter().any(|gate| gate.id == *named));
    if others.is_empty() || !complete { Err(ReviewRefusal::OwnAction) } else { Ok(others) }
}

/// INVARIANT: an agent or workload can never review, nor can a person's token in an agent's hands.
#[must_use]
pub fn is_human(identity: &Identity) -> bool {
    match identity.kind {
        PrincipalKind::User => {
            let is_alone = identity.on_behalf_of.is_none() && identity.earlier_actors.is_empty();
            is_alone && matches!(identity.proof.method, ProofMethod::Token | ProofMethod::Chat)
        }
        PrincipalKind::Agent | PrincipalKind::Workload => false,
    }
}

impl Review {
    /// Whose right it was cast by for this gate, if not the reviewer's own.
    #[must_use]
    pub fn stood_in_for(&self, gate: &Gate) -> Option<&Identity> {
        self.stands_in.iter().find(|stood_in| stood_in.gate == gate.id).map(|stood_in| &*stood_in.of)
    }

    /// The people behind it for this gate: who voted, and for whom.
    pub(super) fn people(&self, gate: &Gate) -> impl Iterator<Item = &Identity> {
        std::iter::once(&*self.reviewer).chain(self.stood_in_for(gate))
    }

    fn repeats(&self, ballot: &Ballot, gate: &PolicyId, links: &Links) -> bool {
        self.verdict == ballot.verdict && links.are_one(&self.reviewer, &ballot.reviewer) && self.gates.contains(gate)
    }
}
