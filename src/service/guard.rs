//! The service guards itself: may this caller do this here? Asked of the same policies as everything else.

use std::sync::Arc;

use super::{Caller, Refusal, Service};
use crate::domain::{Approval, ApprovalId, Gate, GuardAction, Guarded, Identity, PolicyDigest, Timestamp};
use crate::engine::PolicySnapshot;

/// How many callers are remembered as such.
pub(super) const ADMITTED_CALLERS_MAX: usize = 10_000;

/// Who may ask at all, under which policies and with which of the server's entities: the one guard that every query passes.
/// A pure function of its key, so that remembering it changes no answer.
pub(super) type Admitted = quick_cache::sync::Cache<(PolicyDigest, u64, Arc<Identity>), bool>;

impl Service {
    /// Refuses a caller who may not ask for decisions.
    pub(super) fn guard_asking(&self, snapshot: &PolicySnapshot, caller: &Caller) -> Result<(), Refusal> {
        let key = (snapshot.digest(), snapshot.revision(), caller.identity.clone());
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
        let facts = approval.facts(None, self.shared.store.now());
        let snapshot = self.in_force()?;
        let may = |action| snapshot.permits(&caller.identity, action, Guarded::Approval(&facts));
        if may(action) {
            return Ok(approval);
        }
        if !may(GuardAction::ReadApproval) {
            return Err(Refusal::NotFound);
        }
        Err(not_permitted(action))
    }
}

fn not_permitted(action: GuardAction) -> Refusal {
    let message = format!("no policy permits the caller `Countersign::Action::\"{}\"` here", action.name());
    Refusal::denied("not_permitted", message)
}

/// See [`PolicySnapshot::may_review`].
pub(super) fn may_review(
    snapshot: &PolicySnapshot,
    approval: &Approval,
    person: &Identity,
    gate: &Gate,
    now: Timestamp,
) -> bool {
    snapshot.may_review(approval, person, gate, now)
}
