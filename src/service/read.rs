//! Looking at approvals: one, or a page of those that the caller may see.

use std::sync::Arc;

use super::guard::may_review;
use super::{Caller, Refusal, Service};
use crate::domain::{Approval, ApprovalId, ApprovalState, GuardAction, Guarded, SelfReview, Severity};
use crate::engine::PolicySnapshot;

pub use crate::store::{Listed, Page};

/// Pages of the store looked through for one page of the caller; then he gets what there is, and a token to go on.
const PAGES_MAX: usize = 10;

/// What a list should show.
#[derive(Debug, Clone, Default)]
pub struct ListRequest {
    pub page: Page,
    /// Only what the caller himself could review now.
    pub reviewable: bool,
    /// Only what has this text in its names, ids, justification or gates, in any case.
    pub text: Option<String>,
    /// Only of this severity and above.
    pub severity_min: Option<Severity>,
}

impl ListRequest {
    /// Whether an approval is looked for, whoever looks.
    fn is_about(&self, approval: &Approval) -> bool {
        let requirement = &approval.opening.requirement;
        let is_severe = self.severity_min.is_none_or(|least| requirement.severity() >= least);
        is_severe && self.text.as_ref().is_none_or(|text| says(approval, &text.to_lowercase()))
    }
}

/// Whether one of the texts that a list shows holds this one, which is in lower case.
fn says(approval: &Approval, text: &str) -> bool {
    let opening = &approval.opening;
    let query = &opening.query;
    let uids = [&query.principal, &query.action, &query.resource].into_iter().chain(&query.on_behalf_of);
    let mut words = uids.flat_map(|uid| [&*uid.type_name, &*uid.id]);
    let gates = opening.requirement.gates();
    let mut told = gates.iter().flat_map(|gate| [&*gate.text, &*gate.id.0]).chain(opening.justification.as_deref());
    let holds = |word: &str| word.to_lowercase().contains(text);
    words.any(holds) || told.any(holds) || opening.id.to_string().contains(text)
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
                if request.is_about(&approval) && self.shows(&snapshot, caller, &approval, request.reviewable) {
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
