//! Taking back: the requester cancels what is pending, a reviewer revokes what is approved and not used yet.

use std::sync::Arc;

use super::told::Told;
use super::{Caller, Refusal, Service, retried};
use crate::domain::{Approval, ApprovalId, ApprovalState, GuardAction, Transition};

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Withdrawal {
    Cancel,
    Revoke,
}

impl Service {
    pub async fn cancel(&self, caller: &Caller, id: ApprovalId, comment: Option<Arc<str>>) -> Result<Told, Refusal> {
        self.withdraw(caller, id, comment, Withdrawal::Cancel).await
    }

    pub async fn revoke(&self, caller: &Caller, id: ApprovalId, comment: Option<Arc<str>>) -> Result<Told, Refusal> {
        self.withdraw(caller, id, comment, Withdrawal::Revoke).await
    }

    async fn withdraw(
        &self,
        caller: &Caller,
        id: ApprovalId,
        comment: Option<Arc<str>>,
        what: Withdrawal,
    ) -> Result<Told, Refusal> {
        self.check_length("comment", comment.as_deref(), self.shared.limits.comment_chars_max)?;
        let action = match what {
            Withdrawal::Cancel => GuardAction::Cancel,
            Withdrawal::Revoke => GuardAction::Revoke,
        };
        let withdrawn = retried(|| async {
            let approval = self.guarded_approval(caller, action, id).await?;
            let approval = self.as_of_now(approval).await?;
            let transition = self.transition(caller, &approval, comment.clone(), what)?;
            self.advance(&approval, transition, &caller.request_id).await
        });
        Ok(self.told(caller, &withdrawn.await?))
    }

    fn transition(
        &self,
        caller: &Caller,
        approval: &Approval,
        comment: Option<Arc<str>>,
        what: Withdrawal,
    ) -> Result<Transition, Refusal> {
        let (by, at) = (caller.identity.clone(), self.shared.store.now());
        match (what, &approval.state) {
            (Withdrawal::Cancel, ApprovalState::Pending) => Ok(Transition::Cancelled { by, comment, at }),
            (Withdrawal::Revoke, ApprovalState::Approved(_)) => Ok(Transition::Revoked { by, comment, at }),
            (Withdrawal::Revoke, ApprovalState::Pending) => Err(Refusal::NotSettled(ApprovalState::Pending)),
            (Withdrawal::Cancel | Withdrawal::Revoke, settled) => Err(Refusal::Settled(settled.clone())),
        }
    }
}
