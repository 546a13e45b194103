//! What became of an allowed action, in the PEP's words.

use super::told::Told;
use super::{Caller, Refusal, Service, retried};
use crate::domain::{Approval, ApprovalId, ApprovalState, DecisionId, GuardAction, Guarded, Report, Transition};

impl Service {
    /// Records SUCCEEDED or FAILED for the one use of an approval. The same word twice is one word.
    pub async fn report(
        &self,
        caller: &Caller,
        id: ApprovalId,
        decision: DecisionId,
        report: Report,
    ) -> Result<Told, Refusal> {
        self.guard(caller, GuardAction::Authorize, Guarded::Service)?;
        let reported = retried(|| async {
            let approval = self.shared.store.approval(id).await?.ok_or(Refusal::NotFound)?;
            let links = &self.shared.limits.review.links;
            if !approval.is_own_action_of(&caller.identity, links) && !has_redeemed(caller, &approval) {
                return Err(Refusal::NotFound);
            }
            let ApprovalState::Consumed(usage) = &approval.state else {
                return Err(Refusal::NotSettled(approval.state_at(self.shared.store.now())));
            };
            if usage.decision != decision {
                return Err(Refusal::invalid("decision_id", "not the decision that used this approval"));
            }
            if usage.report == Some(report) {
                return Ok(approval);
            }
            // Nothing replaces the PEP's word; only "unknown" gives way to it.
            if matches!(usage.report, Some(Report::Succeeded | Report::Failed)) {
                return Err(Refusal::Settled(approval.state.clone()));
            }
            self.advance(&approval, Transition::Reported(report), &caller.request_id).await
        });
        Ok(self.told(caller, &reported.await?))
    }
}

/// A gateway may redeem what another of its kind opened.
fn has_redeemed(caller: &Caller, approval: &Approval) -> bool {
    match &approval.state {
        ApprovalState::Consumed(usage) => usage.by.as_ref() == Some(&caller.identity.uid),
        _ => false,
    }
}
