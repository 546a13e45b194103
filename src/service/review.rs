//! A human's vote. Counted by the domain, settled in one commit; a lost race is looked at again, never overwritten.

use std::sync::Arc;

use super::told::Told;
use super::{Caller, Refusal, Service, retried};
use crate::domain::{
    Approval, ApprovalId, Ballot, Binding, Counted, GuardAction, Opening, PolicyId, PrincipalKind, ReviewRefusal,
    Timestamp, Transition, Verdict, review,
};
use crate::engine::PolicySnapshot;

/// A vote as it arrives at the edge.
#[derive(Debug, Clone)]
pub struct Vote {
    pub approval: ApprovalId,
    pub verdict: Verdict,
    pub comment: Option<Arc<str>>,
    pub binding: Binding,
    pub gates: Vec<PolicyId>,
}

impl Service {
    /// Records a vote and answers with the approval as it is after it.
    pub async fn review(&self, caller: &Caller, vote: Vote) -> Result<Told, Refusal> {
        if caller.identity.kind != PrincipalKind::User {
            return Err(refused(ReviewRefusal::NotHuman));
        }
        self.check_length("comment", vote.comment.as_deref(), self.shared.limits.comment_chars_max)?;
        let ballot = Ballot {
            reviewer: caller.identity.clone(),
            verdict: vote.verdict,
            binding: vote.binding,
            gates: vote.gates,
            comment: vote.comment,
        };
        let voted = retried(|| self.try_review(caller, vote.approval, ballot.clone())).await?;
        Ok(self.told(caller, &voted))
    }

    async fn try_review(&self, caller: &Caller, id: ApprovalId, ballot: Ballot) -> Result<Arc<Approval>, Refusal> {
        let approval = self.shared.store.approval(id).await?.ok_or(Refusal::NotFound)?;
        let approval = self.as_of_now(approval).await?;
        match self.count(caller, &approval, ballot)? {
            Some(transition) => self.advance(&approval, transition, &caller.request_id).await,
            None => Ok(approval),
        }
    }

    /// What the vote makes of the approval; nothing where it was cast before.
    pub(super) fn count(
        &self,
        caller: &Caller,
        approval: &Approval,
        ballot: Ballot,
    ) -> Result<Option<Transition>, Refusal> {
        let snapshot = self.in_force()?;
        self.polled(&snapshot, approval, |poll| {
            let vote = match review::count(approval, ballot, poll) {
                Ok(Counted::Already) => return Ok(None),
                Ok(Counted::Vote(vote)) => vote,
                Err(ReviewRefusal::NotReviewer) if !self.may_read(&snapshot, caller, approval) => {
                    return Err(Refusal::NotFound);
                }
                Err(refusal) => return Err(refused(refusal)),
            };
            if vote.verdict == Verdict::Approve && is_raised(&snapshot, approval, poll.now) {
                return Err(Refusal::RequirementRaised);
            }
            Ok(Some(approval.voted(vote, self.shared.limits.redeem_within, poll)))
        })
    }

    pub(super) fn may_read(&self, snapshot: &PolicySnapshot, caller: &Caller, approval: &Approval) -> bool {
        self.may_on(snapshot, &caller.identity, approval, GuardAction::ReadApproval)
    }

    pub(super) fn check_length(&self, field: &str, text: Option<&str>, most: usize) -> Result<(), Refusal> {
        if text.is_some_and(|text| text.len() > most * 4 || text.chars().count() > most) {
            return Err(Refusal::invalid(field, format!("longer than {most} characters")));
        }
        Ok(())
    }
}

/// Whether today's gates demand what this approval cannot give, however many approve it: the vote would be for nothing, and
/// its author should know. A rejection always counts. What the rules say today is looked at when the grant is redeemed.
pub(super) fn is_raised(snapshot: &PolicySnapshot, approval: &Approval, now: Timestamp) -> bool {
    let Opening { query, principal, caller, requirement, .. } = &*approval.opening;
    let evaluation = snapshot.evaluate(query, principal, caller, now).ok();
    evaluation.and_then(|today| today.requirement).is_some_and(|today| !today.is_covered_by(requirement))
}

pub(super) fn refused(refusal: ReviewRefusal) -> Refusal {
    let (code, message) = (refusal.code(), refusal.to_string());
    match refusal {
        ReviewRefusal::NotHuman | ReviewRefusal::OwnAction | ReviewRefusal::NotReviewer => {
            Refusal::denied(code, message)
        }
        ReviewRefusal::UnknownGate(_) => Refusal::invalid("gates", message),
        ReviewRefusal::StepUp(shortfall, demand) => Refusal::StepUp { shortfall, demand: Box::new(demand) },
        ReviewRefusal::BindingMismatch => Refusal::BindingMismatch,
        ReviewRefusal::Settled(state) => Refusal::Settled(*state),
    }
}
