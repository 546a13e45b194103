//! Breaking the glass in a test, and looking at a broken one: in the order of `service::glass`.

use std::sync::Arc;

use super::scenario::{Scenario, logged_in};
use super::suite::Deed;
use crate::domain::{
    Approval, Ballot, Blow, Gate, GuardAction, Guarded, Identity, Lending, Poll, ReviewRefusal, Verdict, glass,
};

impl Scenario<'_> {
    /// Lets it pass alone, after a login just now and for a reason.
    ///
    /// # Errors
    /// The code with which the service refuses it.
    pub fn break_glass(&mut self, person: &Arc<Identity>) -> Result<(), &'static str> {
        let Some(approval) = self.approval.clone() else { return Err("not_found") };
        let (snapshot, now) = (self.snapshot, self.now);
        for gate in approval.opening.requirement.gates() {
            let facts = approval.facts_of_breaking(gate, now);
            self.guard(person, GuardAction::Review, Guarded::Approval(&facts));
        }
        let by = Arc::new(logged_in(person, now));
        let blow = Blow { by, reason: "a test".into(), binding: self.binding };
        let may = |person: &Identity, gate: &Gate| snapshot.may_break_glass(&approval, person, gate, now);
        let poll = Poll { rules: &self.terms.review, now, credentials_at: now, may: &may, lent: Lending::NONE };
        let broken = glass::blow(&approval, blow, &poll, self.terms.redeem_within);
        match broken {
            Ok(transition) => self.advance(&transition),
            Err(refusal) => return Err(self.told(person, &refusal)),
        }
        Ok(())
    }

    /// Says that somebody looked at it.
    ///
    /// # Errors
    /// The code with which the service refuses it.
    pub fn examine(&mut self, person: &Arc<Identity>) -> Result<(), &'static str> {
        let Some(approval) = self.approval.clone() else { return Err("not_found") };
        match self.looked(&approval, person) {
            Ok(Some(transition)) => self.advance(&transition),
            Ok(None) => {}
            Err(refusal) => return Err(self.told(person, &refusal)),
        }
        Ok(())
    }

    fn looked(
        &mut self,
        approval: &Approval,
        person: &Arc<Identity>,
    ) -> Result<Option<crate::domain::Transition>, ReviewRefusal> {
        let (snapshot, now) = (self.snapshot, self.now);
        let may = |person: &Identity, gate: &Gate| snapshot.may_review(approval, person, gate, now);
        let poll = Poll { rules: &self.terms.review, now, credentials_at: now, may: &may, lent: Lending::NONE };
        let (reviewer, verdict) = (Arc::new(logged_in(person, now)), Verdict::Approve);
        let ballot = Ballot { reviewer, verdict, binding: self.binding, gates: Vec::new(), comment: None };
        glass::examine(approval, ballot, &poll)
    }

    /// Who may not even see it is not told that it is there.
    fn told(&mut self, person: &Arc<Identity>, refusal: &ReviewRefusal) -> &'static str {
        let is_stranger = matches!(refusal, ReviewRefusal::NotHuman | ReviewRefusal::NotReviewer);
        if is_stranger && !self.may(person, Deed::ReadApproval) { "not_found" } else { refusal.code() }
    }
}
