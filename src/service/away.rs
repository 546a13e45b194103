//! Out of office: a reviewer who is away has one other person stand in for him. Kept, journaled and told to all replicas as the
//! server's entities are; what a lent right is worth is in [`crate::domain::away`].

use std::sync::Arc;
use std::time::Duration;

use super::entities::Change;
use super::{Caller, Refusal, Service};
use crate::domain::{
    Absence, Delegation, EntityUid, GuardAction, Guarded, Identity, PrincipalKind, Proof, Shortfall, StepUp, Timestamp,
    review,
};
use crate::engine::PolicySnapshot;

const HOUR: Duration = Duration::from_secs(3_600);

/// What is asked for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Leave {
    /// Who is away; the caller where nobody is named.
    pub person: Option<EntityUid>,
    /// Who stands in.
    pub to: EntityUid,
    /// From now on where nothing is said.
    pub from: Option<Timestamp>,
    pub until: Timestamp,
}

impl Service {
    /// Has somebody stand in, in the place of whoever did until then.
    ///
    /// # Errors
    /// No policy permits it (`delegate`); the caller's login is not fresh; times that make none; somebody who is no other
    /// person, or is away himself then.
    pub async fn start_absence(&self, caller: &Caller, leave: Leave) -> Result<Absence, Refusal> {
        let now = self.now();
        let is_own = leave.person.as_ref().is_none_or(|person| *person == caller.identity.uid);
        let of = match leave.person {
            Some(person) if !is_own => Arc::new(named(person)),
            Some(_) | None => caller.identity.clone(),
        };
        if is_own && !review::is_human(&of) {
            return Err(Refusal::denied("not_human", "only a person reviews, and is away"));
        }
        let from = leave.from.unwrap_or(now).max(now);
        if leave.until.is_due(from) {
            return Err(Refusal::invalid("until", "expected a time that is to come, after `from`"));
        }
        let absence = Absence { of, to: leave.to, from, until: leave.until };
        self.change(caller, Change::Away(absence.clone())).await?;
        Ok(absence)
    }

    /// Ends that somebody stands in for this person; the caller himself where nobody is named. Says whether anybody did.
    ///
    /// # Errors
    /// The caller is neither of the two, and may not administer the service.
    pub async fn end_absence(&self, caller: &Caller, person: Option<EntityUid>) -> Result<bool, Refusal> {
        let person = person.unwrap_or_else(|| caller.identity.uid.clone());
        let (now, snapshot) = (self.now(), self.in_force()?);
        let stood = snapshot.absences().iter().any(|absence| absence.of.uid == person && !absence.is_over(now));
        self.change(caller, Change::Back(person)).await?;
        Ok(stood)
    }

    /// Who is away or will be: the caller, for whom he stands in, and all others where he may administer the service.
    pub fn absences(&self, caller: &Caller) -> Result<Vec<Absence>, Refusal> {
        let (now, snapshot) = (self.now(), self.in_force()?);
        let sees_all = snapshot.permits(&caller.identity, GuardAction::Administer, Guarded::Service);
        let uid = &caller.identity.uid;
        let shown =
            |absence: &&Absence| !absence.is_over(now) && (sees_all || absence.of.uid == *uid || absence.to == *uid);
        Ok(snapshot.absences().iter().filter(shown).cloned().collect())
    }

    /// Refuses what may not be, looked at beside all that is known by now.
    pub(super) fn guard_absence(
        &self,
        snapshot: &PolicySnapshot,
        caller: &Caller,
        wanted: &Absence,
    ) -> Result<(), Refusal> {
        let is_own = wanted.of.uid == caller.identity.uid;
        // From now on and not from when it begins: what was said of the lender's groups is of now.
        let begun = self.now().until(wanted.until).as_micros().div_ceil(HOUR.as_micros());
        let hours = u32::try_from(begun).unwrap_or(u32::MAX);
        let delegation = Delegation { to: wanted.to.clone(), of: wanted.of.uid.clone(), is_own, hours };
        self.guard_under(snapshot, caller, GuardAction::Delegate, Guarded::Delegation(&delegation))?;
        self.check_fresh(&caller.identity)?;
        if self.shared.limits.review.links.are_linked(&wanted.of.uid, &wanted.to) {
            return Err(Refusal::invalid("stands_in", "expected somebody else: nobody stands in for himself"));
        }
        // INVARIANT: no cycles. Each would be closed by somebody who is to stand in while he is away.
        let is_away = |other: &&Absence| other.of.uid == wanted.to && other.overlaps(wanted);
        if let Some(other) = snapshot.absences().iter().find(is_away) {
            let message = format!("is away until {}: choose somebody who is there", other.until);
            return Err(Refusal::invalid("stands_in", message));
        }
        Ok(())
    }

    /// Whoever lent a right takes it back; whoever was lent one gives it back.
    pub(super) fn guard_return(
        &self,
        snapshot: &PolicySnapshot,
        caller: &Caller,
        person: &EntityUid,
    ) -> Result<(), Refusal> {
        let uid = &caller.identity.uid;
        let stands_in = || snapshot.absences().iter().any(|absence| absence.of.uid == *person && absence.to == *uid);
        if person == uid || stands_in() {
            return Ok(());
        }
        self.guard_under(snapshot, caller, GuardAction::Administer, Guarded::Service)
    }

    /// A stolen session lends nothing: it takes a login like a vote at high severity.
    fn check_fresh(&self, person: &Identity) -> Result<(), Refusal> {
        if person.kind != PrincipalKind::User {
            return Ok(());
        }
        let most = self.fresh_login();
        if person.proof.is_fresh(most, self.credentials_at()) {
            return Ok(());
        }
        let demand = Box::new(StepUp { max_authentication_age: Some(most), ..StepUp::default() });
        Err(Refusal::StepUp { shortfall: Shortfall::TooOld, demand })
    }
}

/// Somebody who did not come himself: of his groups only what the server knows itself counts.
fn named(person: EntityUid) -> Identity {
    Identity {
        subject: person.to_string().into(),
        uid: person,
        kind: PrincipalKind::User,
        groups: Vec::new(),
        issuer: "".into(),
        display_name: None,
        on_behalf_of: None,
        earlier_actors: Vec::new(),
        proof: Proof::asserted(Timestamp::MAX),
    }
}
