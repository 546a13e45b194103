//! The server's own entity data, changed over the API: judged, recorded, then in force, one change after the other.

use std::sync::Arc;

use super::in_force::with_put;
use super::{Caller, Refusal, Service, retried};
use crate::domain::{
    Absence, EntitiesChanged, Entity, EntityData, EntityUid, Fact, GuardAction, Guarded, Timestamp,
    is_kept_for_the_service, sessions_ended,
};
use crate::engine::PolicySnapshot;
use crate::store::{CommitError, Seen};
use crate::wire;

/// What a change came to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Changed {
    /// What is decided with this revision or a later one knows of it.
    pub revision: u64,
    /// How many entities are not as they were.
    pub count: usize,
}

/// What was put, as of a revision.
#[derive(Debug, Clone)]
pub struct Listing {
    pub revision: u64,
    pub data: Arc<EntityData>,
}

/// What the service keeps for itself: who is away, and persons whose sessions were ended at some time.
const KEPT_MAX: usize = 100_000;

#[derive(Clone)]
pub(super) enum Change {
    Put(Vec<Arc<Entity>>),
    Delete(Vec<EntityUid>),
    /// Somebody is away from now on, or later.
    Away(Absence),
    /// Nobody stands in for this person any more.
    Back(EntityUid),
    EndSessions {
        person: EntityUid,
        mark: Arc<str>,
        is_own: bool,
    },
}

impl Service {
    /// Makes entities known, or replaces what is known of them.
    pub async fn put_entities(&self, caller: &Caller, entities: Vec<Entity>) -> Result<Changed, Refusal> {
        self.guard(caller, GuardAction::Administer, Guarded::Service)?;
        self.check_count(entities.len(), "entities")?;
        let most = self.shared.limits.put_entity_bytes_max;
        if let Some(position) = entities.iter().position(|entity| wire::entity_bytes(entity) > most) {
            return Err(Refusal::invalid(format!("entities[{position}]"), format!("larger than {most} bytes")));
        }
        refuse_kept("entities", entities.iter().map(|entity| &entity.uid))?;
        self.change(caller, Change::Put(entities.into_iter().map(Arc::new).collect())).await
    }

    /// Forgets entities that were put; others are passed over.
    pub async fn delete_entities(&self, caller: &Caller, uids: Vec<EntityUid>) -> Result<Changed, Refusal> {
        self.guard(caller, GuardAction::Administer, Guarded::Service)?;
        self.check_count(uids.len(), "uids")?;
        refuse_kept("uids", uids.iter())?;
        let snapshot = self.in_force()?;
        if let Some(position) = uids.iter().position(|uid| snapshot.is_of_a_file(uid)) {
            let message = "a file of the policies defines this entity; delete it there";
            return Err(Refusal::invalid(format!("uids[{position}]"), message));
        }
        self.change(caller, Change::Delete(uids)).await
    }

    /// What was put.
    pub fn entities(&self, caller: &Caller) -> Result<Listing, Refusal> {
        let snapshot = self.in_force()?;
        self.guard_under(&snapshot, caller, GuardAction::Administer, Guarded::Service)?;
        let mut data = snapshot.put_entities().clone();
        if data.keys().any(|uid| is_kept_for_the_service(&uid.type_name)) {
            Arc::make_mut(&mut data).retain(|uid, _| !is_kept_for_the_service(&uid.type_name));
        }
        Ok(Listing { revision: snapshot.revision(), data })
    }

    fn check_count(&self, count: usize, field: &str) -> Result<(), Refusal> {
        let most = self.shared.limits.put_entities_per_call_max;
        if count > most {
            return Err(Refusal::invalid(field, format!("more than {most} at a time")));
        }
        Ok(())
    }

    /// Once begun it is done to its end: what is on record is in force.
    pub(super) async fn change(&self, caller: &Caller, change: Change) -> Result<Changed, Refusal> {
        let (service, caller) = (self.clone(), caller.clone());
        let done = tokio::spawn(async move { service.change_whole(&caller, change).await }).await;
        done.map_err(Refusal::panicked)?
    }

    async fn change_whole(&self, caller: &Caller, change: Change) -> Result<Changed, Refusal> {
        let _swap = self.shared.changing.swapping.lock().await;
        retried(|| self.try_change(caller, change.clone())).await
    }

    async fn try_change(&self, caller: &Caller, change: Change) -> Result<Changed, Refusal> {
        // What others changed meanwhile is not undone.
        let known = self.shared.store.newest_entities().await?;
        let current = with_put(&self.shared.engine.current(), &known).map_err(Refusal::unavailable)?;
        match &change {
            Change::Put(_) | Change::Delete(_) => {
                self.guard_under(&current, caller, GuardAction::Administer, Guarded::Service)?;
            }
            Change::Away(absence) => self.guard_absence(&current, caller, absence)?,
            Change::Back(person) => self.guard_return(&current, caller, person)?,
            Change::EndSessions { is_own: true, .. } => {}
            Change::EndSessions { person, is_own: false, .. } => {
                self.guard_under(&current, caller, GuardAction::EndSessions, Guarded::Principal(person))?;
            }
        }
        let (put, deleted) = changes(change, &known.data, self.now());
        if put.is_empty() && deleted.is_empty() {
            let revision = current.revision();
            // Newer than what is in force where a change before this one broke off between record and swap, or was another's.
            self.shared.engine.swap(current);
            return Ok(Changed { revision, count: 0 });
        }
        let next = self.with_entities(current, put.clone(), deleted.clone()).await?;
        let count = put.len() + deleted.len();
        let (by, request_id) = (Some(caller.identity.clone()), caller.request_id.0.clone());
        let fact =
            Fact::EntitiesChanged(EntitiesChanged { by, put, deleted, request_id, version: 0, more_follows: false });
        let committed = self.shared.store.commit(fact, Seen::Entities(known.version)).await.map_err(too_large)?;
        // What the store made of it, so that the next change finds the very same entities.
        let kept = self.shared.store.entities().await?;
        let next = with_put(&next.at(committed.sequence()), &kept).map_err(Refusal::unavailable)?;
        let revision = next.revision();
        self.shared.engine.swap(next);
        Ok(Changed { revision, count })
    }

    /// Off the workers: everything below a changed entity is looked at again.
    async fn with_entities(
        &self,
        current: PolicySnapshot,
        put: Vec<Arc<Entity>>,
        deleted: Vec<EntityUid>,
    ) -> Result<PolicySnapshot, Refusal> {
        let changed = tokio::task::spawn_blocking(move || current.with_entities(&put, &deleted)).await;
        let next = changed.map_err(Refusal::panicked)??;
        let most = self.shared.limits.put_entities_max;
        let kept = next.put_entities().keys().filter(|uid| is_kept_for_the_service(&uid.type_name)).count();
        if next.put_entities().len().saturating_sub(kept) > most {
            return Err(Refusal::Exhausted { limit: "put_entities_max", most });
        }
        if kept > KEPT_MAX {
            return Err(Refusal::Exhausted { limit: "ended_max", most: KEPT_MAX });
        }
        Ok(next)
    }
}

/// What of a change is one.
fn changes(change: Change, data: &EntityData, now: Timestamp) -> (Vec<Arc<Entity>>, Vec<EntityUid>) {
    // What is over goes along with the next change: nobody has to clear it away.
    let over = || {
        let absences = data.values().filter_map(|entity| Absence::parse(entity));
        absences.filter(|absence| absence.is_over(now)).map(|absence| Absence::uid_of(&absence.of.uid))
    };
    match change {
        Change::Away(absence) => {
            let entity = Arc::new(absence.entity());
            let gone = over().filter(|uid| *uid != entity.uid).collect();
            (vec![entity], gone)
        }
        Change::Back(person) => {
            let mut gone: Vec<EntityUid> = over().collect();
            let uid = Absence::uid_of(&person);
            if data.contains_key(&uid) && !gone.contains(&uid) {
                gone.push(uid);
            }
            (Vec::new(), gone)
        }
        Change::Put(mut entities) => {
            entities.retain(|entity| data.get(&entity.uid) != Some(entity));
            (entities, Vec::new())
        }
        Change::Delete(mut uids) => {
            uids.sort();
            uids.dedup();
            uids.retain(|uid| data.contains_key(uid));
            (Vec::new(), uids)
        }
        Change::EndSessions { person, mark, .. } => (vec![Arc::new(sessions_ended(&person, &mark))], Vec::new()),
    }
}

/// What the service keeps for itself is nobody else's to say.
fn refuse_kept<'e>(field: &str, mut uids: impl Iterator<Item = &'e EntityUid>) -> Result<(), Refusal> {
    let position = uids.position(|uid| is_kept_for_the_service(&uid.type_name));
    let message = "entities of the service and actions cannot be put or deleted";
    position.map_or(Ok(()), |position| Err(Refusal::invalid(format!("{field}[{position}]"), message)))
}

fn too_large(error: CommitError) -> Refusal {
    match error {
        CommitError::TooLarge { bytes, limit } => {
            Refusal::invalid("entities", format!("make a record of {bytes} bytes, over the limit of {limit}"))
        }
        CommitError::Conflict
        | CommitError::Closed
        | CommitError::TooMany { .. }
        | CommitError::TooFast { .. }
        | CommitError::Busy
        | CommitError::Store(_) => error.into(),
    }
}
