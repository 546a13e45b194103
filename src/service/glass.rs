//! Breaking the glass, and looking at it afterwards. The domain says who may; the record is what people are paged by.

use std::sync::Arc;

use super::review::{is_raised, refused};
use super::told::Told;
use super::{Caller, Refusal, Service, retried};
use crate::domain::{
    Approval, ApprovalId, Ballot, Binding, Blow, Gate, Identity, Lending, Poll, ReviewRefusal, Shortfall, StepUp,
    Transition, Verdict, glass,
};
use crate::engine::PolicySnapshot;

/// A look at a broken glass, as it arrives at the edge.
#[derive(Debug, Clone)]
pub struct Examination {
    pub approval: ApprovalId,
    pub verdict: Verdict,
    pub comment: Option<Arc<str>>,
    pub binding: Binding,
}

/// What one person could do about the glass of an approval.
#[derive(Debug, Clone, Default)]
pub struct GlassView {
    pub may_break: bool,
    /// In what his login falls short of that.
    pub break_step_up: Option<(Shortfall, StepUp)>,
    pub may_examine: bool,
}

impl Service {
    /// Lets a pending action pass alone, for one use.
    ///
    /// # Errors
    /// Not a person, not named by every gate, no fresh login, no reason; or it is settled, or something else was seen.
    pub async fn break_glass(
        &self,
        caller: &Caller,
        id: ApprovalId,
        binding: Binding,
        reason: &str,
    ) -> Result<Told, Refusal> {
        self.check_length("reason", Some(reason), self.shared.limits.comment_chars_max)?;
        if reason.trim().is_empty() {
            return Err(Refusal::invalid("reason", "say why it cannot wait"));
        }
        let blow = Blow { by: caller.identity.clone(), reason: reason.trim().into(), binding };
        let broken = retried(|| async {
            let approval = self.shared.store.approval(id).await?.ok_or(Refusal::NotFound)?;
            let approval = self.as_of_now(approval).await?;
            let transition = self.broken(caller, &approval, blow.clone())?;
            let approval = self.advance(&approval, transition, &caller.request_id).await?;
            tracing::warn!(approval.id = %id, "the glass of an approval was broken");
            Ok(approval)
        });
        Ok(self.told(caller, &broken.await?))
    }

    fn broken(&self, caller: &Caller, approval: &Approval, blow: Blow) -> Result<Transition, Refusal> {
        let (now, limits) = (self.shared.store.now(), &self.shared.limits);
        let snapshot = self.in_force()?;
        let may = |person: &Identity, gate: &Gate| snapshot.may_break_glass(approval, person, gate, now);
        let poll =
            Poll { rules: &limits.review, now, credentials_at: self.credentials_at(), may: &may, lent: Lending::NONE };
        let broken = glass::blow(approval, blow, &poll, limits.redeem_within);
        let transition = broken.map_err(|refusal| self.unseen(refusal, &snapshot, caller, approval))?;
        // What today's gates would not let pass is not worth a broken glass.
        if is_raised(&snapshot, approval, now) { Err(Refusal::RequirementRaised) } else { Ok(transition) }
    }

    /// Puts on record that somebody looked at it, once.
    ///
    /// # Errors
    /// Not a reviewer of it, or a party to it; or enough have looked, or something else was seen.
    pub async fn examine(&self, caller: &Caller, look: Examination) -> Result<Told, Refusal> {
        self.check_length("comment", look.comment.as_deref(), self.shared.limits.comment_chars_max)?;
        let (reviewer, gates) = (caller.identity.clone(), Vec::new());
        let ballot = Ballot { reviewer, verdict: look.verdict, binding: look.binding, gates, comment: look.comment };
        let examined = retried(|| async {
            let approval = self.shared.store.approval(look.approval).await?.ok_or(Refusal::NotFound)?;
            let approval = self.as_of_now(approval).await?;
            match self.examined(caller, &approval, ballot.clone())? {
                Some(transition) => self.advance(&approval, transition, &caller.request_id).await,
                None => Ok(approval),
            }
        });
        Ok(self.told(caller, &examined.await?))
    }

    fn examined(&self, caller: &Caller, approval: &Approval, ballot: Ballot) -> Result<Option<Transition>, Refusal> {
        let snapshot = self.in_force()?;
        let examined = self.polled(&snapshot, approval, |poll| glass::examine(approval, ballot, poll));
        examined.map_err(|refusal| self.unseen(refusal, &snapshot, caller, approval))
    }

    /// What the caller could do, as the domain would answer him now.
    pub(super) fn glass_view(&self, caller: &Caller, approval: &Approval) -> GlassView {
        let binding = approval.opening.binding;
        let blow = Blow { by: caller.identity.clone(), reason: "".into(), binding };
        let (may_break, break_step_up) = match self.broken(caller, approval, blow) {
            Ok(_) => (true, None),
            Err(Refusal::StepUp { shortfall, demand }) => (true, Some((shortfall, *demand))),
            Err(_) => (false, None),
        };
        let (reviewer, verdict) = (caller.identity.clone(), Verdict::Approve);
        let ballot = Ballot { reviewer, verdict, binding, gates: Vec::new(), comment: None };
        let may_examine = match self.examined(caller, approval, ballot) {
            Ok(transition) => transition.is_some(),
            Err(refusal) => matches!(refusal, Refusal::StepUp { .. }),
        };
        GlassView { may_break, break_step_up, may_examine }
    }

    /// Who may not even see it learns nothing of it.
    fn unseen(
        &self,
        refusal: ReviewRefusal,
        snapshot: &PolicySnapshot,
        caller: &Caller,
        approval: &Approval,
    ) -> Refusal {
        match refusal {
            ReviewRefusal::NotHuman | ReviewRefusal::NotReviewer if !self.may_read(snapshot, caller, approval) => {
                Refusal::NotFound
            }
            refusal => refused(refusal),
        }
    }
}
