//! One human's vote on an approval, and the invariants that no policy can lift: a reviewer is a human, does not
//! countersign his own action, votes on exactly what he saw, and counts once per gate.

use std::sync::Arc;

use super::approval::{Approval, ApprovalState};
use super::binding::Binding;
use super::evaluation::PolicyId;
use super::identity::{Identity, PrincipalKind};
use super::requirement::{Gate, SelfReview};
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
    #[error("the approval is already settled")]
    Settled(Box<ApprovalState>),
}

/// What a vote does.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Counted {
    /// The same vote was already recorded; nothing changes.
    Already,
    /// A new vote.
    Vote(Review),
}

/// Checks a ballot against everything that stands above policy. `may_review` is policy's word, gate by gate.
pub fn count(
    approval: &Approval,
    ballot: Ballot,
    now: Timestamp,
    may_review: impl Fn(&Gate) -> bool,
) -> Result<Counted, ReviewRefusal> {
    let gates = reviewable(approval, &ballot, may_review)?;
    if ballot.binding != approval.opening.binding {
        return Err(ReviewRefusal::BindingMismatch);
    }
    // A click delivered twice is one click, also where the first one settled the approval.
    let repeated = gates.iter().all(|gate| approval.reviews.iter().any(|review| review.repeats(&ballot, gate)));
    if repeated {
        return Ok(Counted::Already);
    }
    let state = approval.state_at(now);
    if state != ApprovalState::Pending {
        return Err(ReviewRefusal::Settled(Box::new(state)));
    }
    let Ballot { reviewer, verdict, comment, .. } = ballot;
    Ok(Counted::Vote(Review { reviewer, verdict, gates, comment, at: now }))
}

/// The gates that this ballot may count for; never empty.
fn reviewable(
    approval: &Approval,
    ballot: &Ballot,
    may_review: impl Fn(&Gate) -> bool,
) -> Result<Vec<PolicyId>, ReviewRefusal> {
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
    let others: Vec<PolicyId> = permitted
        .into_iter()
        .filter(|gate| gate.self_review == SelfReview::Allowed || !approval.is_own_action_of(&ballot.reviewer))
        .map(|gate| gate.id.clone())
        .collect();
    let complete = ballot.gates.iter().all(|named| others.contains(named));
    if others.is_empty() || !complete { Err(ReviewRefusal::OwnAction) } else { Ok(others) }
}

/// INVARIANT: an agent or workload can never review, nor can a person's token in an agent's hands.
fn is_human(identity: &Identity) -> bool {
    match identity.kind {
        PrincipalKind::User => identity.on_behalf_of.is_none() && identity.earlier_actors.is_empty(),
        PrincipalKind::Agent | PrincipalKind::Workload => false,
    }
}

impl Review {
    fn repeats(&self, ballot: &Ballot, gate: &PolicyId) -> bool {
        self.verdict == ballot.verdict && self.reviewer.is_same_as(&ballot.reviewer) && self.gates.contains(gate)
    }
}
