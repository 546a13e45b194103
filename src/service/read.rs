//! Looking at approvals: one, or a page of those that the caller may see.

use std::sync::Arc;
use std::time::Duration;

use super::told::{Told, ToldPage};
use super::veil::Veil;
use super::{Caller, Refusal, Service};
use crate::domain::{
    Approval, ApprovalId, ApprovalState, EntityUid, PolicyId, Poll, PrincipalKind, SelfReview, Severity, Shortfall,
    Timestamp,
};
use crate::engine::PolicySnapshot;

pub use crate::store::Page;

/// Pages of the store looked through for one page of the caller; then he gets what there is, and a token to go on.
const PAGES_MAX: usize = 10;

/// What a list should show.
#[derive(Debug, Clone, Default)]
pub struct ListRequest {
    pub page: Page,
    /// Only what the caller himself could review now.
    pub reviewable: bool,
    /// Only what has this text in its names, ids, justification (as it is shown) or gates, in any case.
    pub text: Option<String>,
    /// Only of this severity and above.
    pub severity_min: Option<Severity>,
}

impl ListRequest {
    /// Whether an approval is looked for, whoever looks.
    fn is_about(&self, approval: &Approval, veil: &Veil) -> bool {
        let requirement = &approval.opening.requirement;
        let is_severe = self.severity_min.is_none_or(|least| requirement.severity() >= least);
        is_severe && self.text.as_ref().is_none_or(|text| says(approval, &text.to_lowercase(), veil))
    }
}

/// Whether one of the texts that a list shows holds this one, which is in lower case.
fn says(approval: &Approval, text: &str, veil: &Veil) -> bool {
    let opening = &approval.opening;
    let query = &opening.query;
    let uids = [&query.principal, &query.action, &query.resource].into_iter().chain(&query.on_behalf_of);
    let mut words = uids.flat_map(|uid| [&*uid.type_name, &*uid.id]);
    let gates = opening.requirement.gates();
    let mut told = gates.iter().flat_map(|gate| [&*gate.text, &*gate.id.0]);
    let holds = |word: &str| word.to_lowercase().contains(text);
    // INVARIANT: a search finds what is shown, and is no way to guess what is masked.
    let is_claimed = || {
        let claim = opening.justification.as_deref().filter(|claim| holds(claim));
        claim.is_some_and(|claim| holds(&veil.text("", claim).text))
    };
    words.any(holds) || told.any(holds) || opening.id.to_string().contains(text) || is_claimed()
}

/// How an approval is looked at.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Look {
    /// Personal data and secrets are masked.
    Masked,
    /// As [`Service::reveal`] lets it be seen.
    Revealed,
}

/// An approval as it is shown to one caller, with what he could do about it, if he is a person.
#[derive(Debug, Clone)]
pub struct Seen {
    pub told: Told,
    pub yours: Option<Yours>,
}

/// What a person could do about an approval now.
#[derive(Debug, Clone)]
pub struct Yours {
    /// The gates for which his vote would count.
    pub gates: Vec<PolicyId>,
    pub logged_in_at: Option<Timestamp>,
    /// How long ago that may be, from high severity on.
    pub fresh_login: Duration,
    /// Who is away, where his vote would be in the place of others.
    pub stands_in_for: Vec<EntityUid>,
    /// In what his login falls short of them.
    pub shortfall: Option<Shortfall>,
}

impl Service {
    /// The approval as it is shown.
    pub async fn approval(&self, caller: &Caller, id: ApprovalId, look: Look) -> Result<Seen, Refusal> {
        let inspection = match look {
            Look::Masked => self.inspect(caller, id).await?,
            Look::Revealed => self.inspect_revealed(caller, id).await?,
        };
        let yours = (caller.identity.kind == PrincipalKind::User).then(|| Yours {
            gates: inspection.votable().map(|gate| gate.id.clone()).collect(),
            logged_in_at: caller.identity.proof.authenticated_at,
            fresh_login: self.fresh_login(),
            stands_in_for: inspection.stands_in_for(),
            shortfall: inspection.step_up.as_ref().map(|(shortfall, _)| *shortfall),
        });
        let shown = inspection.veil.approval(&inspection.approval);
        let told = Told { shown, status: self.status(&inspection.approval), voters: inspection.voters };
        Ok(Seen { told, yours })
    }

    pub async fn approvals(&self, caller: &Caller, request: ListRequest) -> Result<ToldPage, Refusal> {
        let size = request.page.size;
        let snapshot = self.in_force()?;
        let (mut found, mut more) = (Vec::new(), None);
        let mut page = request.page.clone();
        for _ in 0..PAGES_MAX {
            let listed = self.shared.store.list(&page).await?;
            for approval in listed.approvals {
                if found.len() == size {
                    return Ok(ToldPage { approvals: self.all_told(caller, found).await?, more });
                }
                more = Some(approval.id());
                if request.is_about(&approval, &self.veil())
                    && self.shows(&snapshot, caller, &approval, request.reviewable)
                {
                    found.push(approval);
                }
            }
            more = listed.more;
            page.before = listed.more;
            if listed.more.is_none() || found.len() == size {
                break;
            }
        }
        Ok(ToldPage { approvals: self.all_told(caller, found).await?, more })
    }

    async fn all_told(&self, caller: &Caller, found: Vec<Arc<Approval>>) -> Result<Vec<Told>, Refusal> {
        let shown = self.all_veiled(found.clone()).await?;
        Ok(found.iter().zip(shown).map(|(approval, shown)| self.told_as(caller, approval, shown)).collect())
    }

    fn shows(&self, snapshot: &PolicySnapshot, caller: &Caller, approval: &Approval, reviewable: bool) -> bool {
        let now = self.shared.store.now();
        if reviewable {
            let pending = approval.state_at(now) == ApprovalState::Pending;
            let gates = approval.opening.requirement.gates();
            let own = approval.is_own_action_of(&caller.identity, &self.shared.limits.review.links);
            let mut others = gates.iter().filter(|gate| !own || gate.self_review == SelfReview::Allowed);
            let may = |poll: &Poll<'_>| others.any(|gate| poll.right(approval, &caller.identity, gate).is_some());
            return pending && self.polled(snapshot, approval, may);
        }
        self.may_read(snapshot, caller, approval)
    }
}
