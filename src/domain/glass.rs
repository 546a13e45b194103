//! Breaking the glass: a person whom the gates name for it (`@break_glass`) lets one action pass at once, because waiting would
//! do more harm, and says why. It is open from then on whether that was right, until two other people have looked at it.
//!
//! What no policy can lift: only a person breaks, with a login of a few minutes ago, of every gate that fired, for exactly the
//! binding that was shown, and for one use. Whoever broke it, or whose action it was, closes nothing.

use std::sync::Arc;
use std::time::Duration;

use super::approval::{Approval, ApprovalState, Transition};
use super::binding::Binding;
use super::grant::Grant;
use super::identity::Identity;
use super::links::Links;
use super::poll::{Poll, ReviewRules, Shortfall, StepUp};
use super::requirement::{Gate, GrantTerms, Severity};
use super::review::{Ballot, Review, ReviewRefusal, is_human};
use super::time::Timestamp;

/// Who has to look at it afterwards.
pub const EXAMINERS: usize = 2;
/// How long ago one may have logged in to break glass, whatever else the operator demands.
pub const LOGIN_AGE_MAX: Duration = Duration::from_secs(300);

/// A glass that was broken, and who has looked at it since.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Glass {
    pub broken: Breach,
    /// By distinct people, none of them a party to it. The verdict says whether it was right, and changes nothing.
    pub examinations: Vec<Review>,
}

/// The act itself.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Breach {
    pub by: Arc<Identity>,
    pub reason: Arc<str>,
    pub at: Timestamp,
}

/// A wish to break glass, as it arrives.
#[derive(Debug, Clone)]
pub struct Blow {
    pub by: Arc<Identity>,
    pub reason: Arc<str>,
    /// What the person saw.
    pub binding: Binding,
}

impl Glass {
    /// Whether people still have to look at it.
    #[must_use]
    pub fn is_open(&self) -> bool {
        self.examinations.len() < EXAMINERS
    }
}

/// Checks a blow against everything that stands above policy. Here `poll.may` says whether a gate names the person for it, and
/// policy lets him.
pub fn blow(
    approval: &Approval,
    blow: Blow,
    poll: &Poll<'_>,
    redeem_within: Duration,
) -> Result<Transition, ReviewRefusal> {
    let now = poll.now;
    if !is_human(&blow.by) {
        return Err(ReviewRefusal::NotHuman);
    }
    if !approval.opening.requirement.gates().iter().all(|gate| (poll.may)(&blow.by, gate)) {
        return Err(ReviewRefusal::NotReviewer);
    }
    if blow.binding != approval.opening.binding {
        return Err(ReviewRefusal::BindingMismatch);
    }
    let state = approval.state_at(now);
    if state != ApprovalState::Pending {
        return Err(ReviewRefusal::Settled(Box::new(state)));
    }
    if let Some((shortfall, demand)) = poll.rules.unmet_to_break(&blow.by, poll.credentials_at) {
        return Err(ReviewRefusal::StepUp(shortfall, demand));
    }
    let grant = Grant { terms: GrantTerms::Once, granted_at: now, lapses_at: now.after(redeem_within) };
    Ok(Transition::BrokenGlass(Breach { by: blow.by, reason: blow.reason, at: now }, grant))
}

/// One look at a glass that was broken; `None` where the person looked before.
pub fn examine(approval: &Approval, ballot: Ballot, poll: &Poll<'_>) -> Result<Option<Transition>, ReviewRefusal> {
    if !is_human(&ballot.reviewer) {
        return Err(ReviewRefusal::NotHuman);
    }
    let requirement = &approval.opening.requirement;
    let gates: Vec<&Gate> = requirement.gates().iter().filter(|gate| (poll.may)(&ballot.reviewer, gate)).collect();
    let Some(glass) = approval.glass.as_ref().filter(|_| !gates.is_empty()) else {
        return Err(ReviewRefusal::NotReviewer);
    };
    let links = &poll.rules.links;
    if is_party(approval, glass, &ballot.reviewer, links) {
        return Err(ReviewRefusal::OwnAction);
    }
    if ballot.binding != approval.opening.binding {
        return Err(ReviewRefusal::BindingMismatch);
    }
    if glass.examinations.iter().any(|one| links.are_one(&one.reviewer, &ballot.reviewer)) {
        return Ok(None);
    }
    if !glass.is_open() {
        return Err(ReviewRefusal::Settled(Box::new(approval.state_at(poll.now))));
    }
    if let Some((shortfall, demand)) = poll.rules.unmet(&ballot.reviewer, requirement.severity(), poll.credentials_at) {
        return Err(ReviewRefusal::StepUp(shortfall, demand.clone()));
    }
    let gates = gates.into_iter().map(|gate| gate.id.clone()).collect();
    let Ballot { reviewer, verdict, comment, .. } = ballot;
    Ok(Some(Transition::Examined(Review { reviewer, verdict, gates, comment, at: poll.now, stands_in: Vec::new() })))
}

/// INVARIANT: nobody closes what he opened himself, or what was done for him.
fn is_party(approval: &Approval, glass: &Glass, person: &Identity, links: &Links) -> bool {
    links.are_one(&glass.broken.by, person) || approval.is_own_action_of(person, links)
}

impl Approval {
    /// Whether somebody broke the glass and too few have looked at it.
    #[must_use]
    pub fn is_to_be_examined(&self) -> bool {
        self.glass.as_ref().is_some_and(|glass| glass.is_open())
    }

    /// Whether people let it pass, one of them alone not counted: its quorum closed.
    #[must_use]
    pub fn is_countersigned(&self, now: Timestamp) -> bool {
        let is_let_pass = matches!(self.state_at(now), ApprovalState::Approved(_) | ApprovalState::Consumed(_));
        is_let_pass && self.glass.is_none()
    }

    /// Whether nothing will happen to it any more, but perhaps a late word of what came of it.
    #[must_use]
    pub fn is_over(&self) -> bool {
        self.state.is_final() && self.next_due().is_none() && !self.is_to_be_examined()
    }
}

impl ReviewRules {
    /// What a login falls short of to break glass: what is demanded at the highest severity, and in any case a fresh one.
    #[must_use]
    pub fn unmet_to_break(&self, person: &Identity, at: Timestamp) -> Option<(Shortfall, StepUp)> {
        let fresh = StepUp { max_authentication_age: Some(LOGIN_AGE_MAX), ..StepUp::default() };
        let by_rule = self.unmet(person, Severity::Critical, at).map(|(shortfall, demand)| (shortfall, demand.clone()));
        by_rule.or_else(|| fresh.shortfall(person, at).map(|shortfall| (shortfall, fresh)))
    }
}
