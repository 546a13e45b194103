//! Looking at approvals: one, or a page of those that the caller may see.

use std::sync::Arc;

use super::guard::may_review;
use super::{Caller, Refusal, Service};
use crate::domain::{Approval, ApprovalId, ApprovalState, GuardAction, Guarded, SelfReview};
use crate::engine::PolicySnapshot;
use crate::store::{Listed, Page};

/// Pages of the store looked through for one page of the caller; then he gets what there is, and a token to go on.
const PAGES_MAX: usize = 10;

/// What a list should show.
#[derive(Debug, Clone, Default)]
pub struct ListRequest {
    pub page: Page,
    /// Only what the caller himself could review now.
    pub reviewable: bool,
}

impl Service {
    pub async fn approval(&self, caller: &Caller, id: ApprovalId) -> Result<Arc<Approval>, Refusal> {
        let approval = self.guarded_approval(caller, GuardAction::ReadApproval, id).await?;
        self.as_of_now(approval).await
    }

    pub async fn approvals(&self, caller: &Caller, request: ListRequest) -> Result<Listed, Refusal> {
        let size = request.page.size;
        let snapshot = self.shared.engine.current();
        let mut shown = Listed::default();
        let mut page = request.page.clone();
        for _ in 0..PAGES_MAX {
            let listed = self.shared.store.list(&page).await?;
            for approval in listed.approvals {
                if shown.approvals.len() == size {
                    return Ok(shown);
                }
                shown.more = Some(approval.id());
                if self.shows(&snapshot, caller, &approval, request.reviewable) {
                    shown.approvals.push(approval);
                }
            }
            shown.more = listed.more;
            page.before = listed.more;
            if listed.more.is_none() || shown.approvals.len() == size {
                break;
            }
        }
        Ok(shown)
    }

    fn shows(&self, snapshot: &PolicySnapshot, caller: &Caller, approval: &Approval, reviewable: bool) -> bool {
        let now = self.shared.store.now();
        if reviewable {
            let pending = approval.state_at(now) == ApprovalState::Pending;
            let gates = approval.opening.requirement.gates();
            let own = approval.is_own_action_of(&caller.identity, &self.shared.limits.review.links);
            let mut others = gates.iter().filter(|gate| !own || gate.self_review == SelfReview::Allowed);
            return pending && others.any(|gate| may_review(snapshot, approval, &caller.identity, gate, now));
        }
        let facts = approval.facts(None, now);
        snapshot.permits(&caller.identity, GuardAction::ReadApproval, Guarded::Approval(&facts))
    }
}
