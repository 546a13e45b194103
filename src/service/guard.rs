//! The service guards itself: may this caller do this here? Asked of the same policies as everything else.

use std::sync::Arc;

use super::{Caller, Refusal, Service};
use crate::domain::{Approval, ApprovalId, EntityUid, Gate, GuardAction, Guarded, Identity, Lending, Poll, Right};
use crate::engine::PolicySnapshot;

/// How many callers are remembered as such.
pub(super) const ADMITTED_CALLERS_MAX: usize = 10_000;

/// Who may ask at all, under which policies with which of the server's entities ([`PolicySnapshot::serial`]): the one guard that every
/// query passes. A pure function of its key, so that remembering it changes no answer.
pub(super) type Admitted = quick_cache::sync::Cache<(u64, Arc<Identity>), bool>;

impl Service {
    /// Refuses a caller who may not ask for decisions.
    pub(super) fn guard_asking(&self, snapshot: &PolicySnapshot, caller: &Caller) -> Result<(), Refusal> {
        let key = (snapshot.serial(), caller.identity.clone());
        if self.shared.admitted.get(&key) == Some(true) {
            return Ok(());
        }
        self.guard_under(snapshot, caller, GuardAction::Authorize, Guarded::Service)?;
        self.shared.admitted.insert(key, true);
        Ok(())
    }

    /// Refuses a caller whom no policy lets do this.
    pub(super) fn guard(&self, caller: &Caller, action: GuardAction, on: Guarded<'_>) -> Result<(), Refusal> {
        self.guard_under(&*self.in_force()?, caller, action, on)
    }

    /// The same under the snapshot that the rest of the answer is made with.
    #[expect(clippy::unused_self, reason = "a guard is asked of the service, like its neighbours")]
    pub(super) fn guard_under(
        &self,
        snapshot: &PolicySnapshot,
        caller: &Caller,
        action: GuardAction,
        on: Guarded<'_>,
    ) -> Result<(), Refusal> {
        if snapshot.permits(&caller.identity, action, on) { Ok(()) } else { Err(not_permitted(action)) }
    }

    /// The approval, if the caller may do this with it; one that he may not even see does not exist for him.
    pub(super) async fn guarded_approval(
        &self,
        caller: &Caller,
        action: GuardAction,
        id: ApprovalId,
    ) -> Result<Arc<Approval>, Refusal> {
        let approval = self.shared.store.approval(id).await?.ok_or(Refusal::NotFound)?;
        let snapshot = self.in_force()?;
        let may = |action| self.may_on(&snapshot, &caller.identity, &approval, action);
        if may(action) {
            return Ok(approval);
        }
        if !may(GuardAction::ReadApproval) {
            return Err(Refusal::NotFound);
        }
        Err(not_permitted(action))
    }

    /// Whether somebody may do this with an approval: by himself, or, to look at it, in the place of a reviewer who is away.
    pub(super) fn may_on(
        &self,
        snapshot: &PolicySnapshot,
        person: &Identity,
        approval: &Approval,
        action: GuardAction,
    ) -> bool {
        let facts = approval.facts(None, self.shared.store.now());
        let in_place = |lender: Arc<Identity>| snapshot.permits_in_place(person, &lender.uid, action, &facts);
        snapshot.permits(person, action, Guarded::Approval(&facts))
            || (is_looking(action) && self.lender(snapshot, person, approval).is_some_and(in_place))
    }

    /// Who lent this person the right to review, where he has none himself.
    fn lender(&self, snapshot: &PolicySnapshot, person: &Identity, approval: &Approval) -> Option<Arc<Identity>> {
        // Nearly always nobody: this is asked of every approval in a list.
        snapshot.absences().iter().find(|absence| absence.to == person.uid)?;
        self.polled(snapshot, approval, |poll| {
            let mut gates = approval.opening.requirement.gates().iter();
            gates.find_map(|gate| match poll.right(approval, person, gate)? {
                Right::Lent(lender) => Some(lender),
                Right::Own => None,
            })
        })
    }

    /// Asks about the votes of an approval as things are now.
    pub(super) fn polled<T>(
        &self,
        snapshot: &PolicySnapshot,
        approval: &Approval,
        ask: impl FnOnce(&Poll<'_>) -> T,
    ) -> T {
        let now = self.shared.store.now();
        let may = |person: &Identity, gate: &Gate| snapshot.may_review(approval, person, gate, now);
        let stand_in =
            |person: &Identity, of: &EntityUid, gate: &Gate| snapshot.may_stand_in(approval, person, of, gate, now);
        let lent = Lending { absences: snapshot.absences(), may: &stand_in };
        ask(&Poll { rules: &self.shared.limits.review, now, credentials_at: self.credentials_at(), may: &may, lent })
    }
}

/// What a reviewer does who changes nothing.
fn is_looking(action: GuardAction) -> bool {
    matches!(action, GuardAction::ReadApproval | GuardAction::Reveal | GuardAction::ViewReviewers)
}

fn not_permitted(action: GuardAction) -> Refusal {
    let message = format!("no policy permits the caller `Countersign::Action::\"{}\"` here", action.name());
    Refusal::denied("not_permitted", message)
}
