//! An approval as one person sees it who may have to decide: how far each gate is, and what he can do about it, and why
//! not. It decides nothing: a vote is looked at anew when it comes.

use std::collections::BTreeSet;
use std::sync::Arc;

use super::glass::GlassView;
use super::review::is_raised;
use super::told::Voters;
use super::veil::Veil;
use super::{Caller, Refusal, Service};
use crate::domain::{
    Approval, ApprovalId, ApprovalState, EntityUid, Gate, GuardAction, Identity, Poll, ReviewRules, Right, SelfReview,
    Severity, Shortfall, StepUp, Timestamp, Verdict,
};

/// What one person sees.
#[derive(Debug, Clone)]
pub struct Inspection {
    pub approval: Arc<Approval>,
    /// What the person sees the approval through.
    pub veil: Veil,
    pub may_reveal: bool,
    /// As of `now`, what time has made of it included.
    pub state: ApprovalState,
    pub now: Timestamp,
    /// Whose names he may be told.
    pub voters: Voters,
    /// In the order of the approval's gates.
    pub gates: Vec<GateView>,
    /// In what the person's login falls short of the gates that he could review.
    pub step_up: Option<(Shortfall, StepUp)>,
    /// Today's policies demand more than this approval can give: approving it opens nothing.
    pub is_outgrown: bool,
    pub may_revoke: bool,
    pub may_cancel: bool,
    /// What he could do about a glass, broken or not.
    pub glass: GlassView,
}

/// One gate of it.
#[derive(Debug, Clone)]
pub struct GateView {
    pub gate: Gate,
    /// Distinct people whose approval counts today.
    pub approvals: usize,
    pub mine: Mine,
    /// In whose place he would vote.
    pub in_place_of: Option<EntityUid>,
}

/// What the person can do about a gate.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Mine {
    /// Vote.
    Open,
    /// Nothing: it is an action of his own.
    Own,
    /// Nothing: he is no reviewer of this gate.
    NotReviewer,
    /// Nothing more: his vote is there and counts.
    Voted(Verdict),
}

impl Inspection {
    /// The gates that a vote would count for now.
    pub fn open_gates(&self) -> impl Iterator<Item = &Gate> {
        self.gates.iter().filter(|view| view.mine == Mine::Open).map(|view| &view.gate)
    }

    /// The same while there is something to vote on.
    pub fn votable(&self) -> impl Iterator<Item = &Gate> {
        self.open_gates().filter(|_| self.state == ApprovalState::Pending)
    }

    /// Whether the person can vote, now and after a better login at the latest.
    #[must_use]
    pub fn is_open_to_vote(&self) -> bool {
        self.votable().next().is_some()
    }

    /// In whose place the person would vote, each once.
    #[must_use]
    pub fn stands_in_for(&self) -> Vec<EntityUid> {
        let open = self.gates.iter().filter(|view| view.mine == Mine::Open);
        let people: BTreeSet<&EntityUid> = open.filter_map(|view| view.in_place_of.as_ref()).collect();
        people.into_iter().cloned().collect()
    }

    /// The severity of what the person would decide.
    #[must_use]
    pub fn severity(&self) -> Severity {
        self.open_gates().map(|gate| gate.severity).max().unwrap_or(self.approval.opening.requirement.severity())
    }
}

impl Service {
    /// The approval, if the caller may see it.
    pub async fn inspect(&self, caller: &Caller, id: ApprovalId) -> Result<Inspection, Refusal> {
        let approval = self.guarded_approval(caller, GuardAction::ReadApproval, id).await?;
        let approval = self.as_of_now(approval).await?;
        Ok(self.inspection(caller, approval, self.veil()))
    }

    /// The same with personal data, as [`Service::reveal`] lets it be seen.
    pub async fn inspect_revealed(&self, caller: &Caller, id: ApprovalId) -> Result<Inspection, Refusal> {
        let approval = self.reveal(caller, id).await?;
        Ok(self.inspection(caller, approval, Veil::lifted()))
    }

    fn inspection(&self, caller: &Caller, approval: Arc<Approval>, veil: Veil) -> Inspection {
        let (now, snapshot) = (self.shared.store.now(), self.shared.engine.current());
        let (rules, credentials_at) = (&self.shared.limits.review, self.credentials_at());
        let gates = approval.opening.requirement.gates().iter();
        let gates: Vec<GateView> = self.polled(&snapshot, &approval, |poll| {
            gates.map(|gate| view(&approval, caller.identity(), gate, poll)).collect()
        });
        let may_do = |action| self.may_on(&snapshot, &caller.identity, &approval, action);
        let (may_revoke, may_cancel) = (may_do(GuardAction::Revoke), may_do(GuardAction::Cancel));
        let state = approval.state_at(now);
        let mut inspection = Inspection {
            is_outgrown: state == ApprovalState::Pending && is_raised(&snapshot, &approval, now),
            may_revoke: may_revoke && matches!(state, ApprovalState::Approved(_)),
            may_cancel: may_cancel && state == ApprovalState::Pending,
            may_reveal: may_do(GuardAction::Reveal),
            veil,
            state,
            now,
            gates,
            voters: self.voters(caller, &approval),
            glass: self.glass_view(caller, &approval),
            step_up: None,
            approval: approval.clone(),
        };
        inspection.step_up = step_up(rules, &inspection, caller.identity(), credentials_at);
        inspection
    }
}

fn step_up(
    rules: &ReviewRules,
    inspection: &Inspection,
    person: &Identity,
    at: Timestamp,
) -> Option<(Shortfall, StepUp)> {
    let severity = inspection.open_gates().map(|gate| gate.severity).max()?;
    rules.unmet(person, severity, at).map(|(shortfall, demand)| (shortfall, demand.clone()))
}

fn view(approval: &Approval, person: &Identity, gate: &Gate, poll: &Poll<'_>) -> GateView {
    let right = poll.right(approval, person, gate);
    GateView {
        gate: gate.clone(),
        approvals: approval.counting_approvals(gate, poll),
        mine: mine(approval, person, gate, right.is_some(), poll),
        in_place_of: match right {
            Some(Right::Lent(lender)) => Some(lender.uid.clone()),
            Some(Right::Own) | None => None,
        },
    }
}

fn mine(approval: &Approval, person: &Identity, gate: &Gate, may_review: bool, poll: &Poll<'_>) -> Mine {
    let links = &poll.rules.links;
    let cast = approval.reviews.iter().filter(|review| review.gates.contains(&gate.id));
    let mut cast =
        cast.filter(|review| links.are_one(&review.reviewer, person) && poll.still_counts(approval, review, gate));
    if let Some(review) = cast.next() {
        return Mine::Voted(review.verdict);
    }
    if !may_review {
        return Mine::NotReviewer;
    }
    let is_own = gate.self_review == SelfReview::Forbidden && approval.is_own_action_of(person, links);
    if is_own { Mine::Own } else { Mine::Open }
}
