//! The server's own entity data, changed over the API: judged, recorded, then in force, one change after the other.

use std::sync::Arc;

use super::in_force::with_put;
use super::{Caller, Refusal, Service, retried};
use crate::domain::{EntitiesChanged, Entity, EntityData, EntityUid, Fact, GuardAction, Guarded};
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

#[derive(Clone)]
enum Change {
    Put(Vec<Arc<Entity>>),
    Delete(Vec<EntityUid>),
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
        self.change(caller, Change::Put(entities.into_iter().map(Arc::new).collect())).await
    }

    /// Forgets entities that were put; others are passed over.
    pub async fn delete_entities(&self, caller: &Caller, uids: Vec<EntityUid>) -> Result<Changed, Refusal> {
        self.guard(caller, GuardAction::Administer, Guarded::Service)?;
        self.check_count(uids.len(), "uids")?;
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
        Ok(Listing { revision: snapshot.revision(), data: snapshot.put_entities().clone() })
    }

    fn check_count(&self, count: usize, field: &str) -> Result<(), Refusal> {
        let most = self.shared.limits.put_entities_per_call_max;
        if count > most {
            return Err(Refusal::invalid(field, format!("more than {most} at a time")));
        }
        Ok(())
    }

    /// Once begun it is done to its end: what is on record is in force.
    async fn change(&self, caller: &Caller, change: Change) -> Result<Changed, Refusal> {
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
        self.guard_under(&current, caller, GuardAction::Administer, Guarded::Service)?;
        let (put, deleted) = changes(change, &known.data);
        if put.is_empty() && deleted.is_empty() {
            let revision = current.revision();
            // Newer than what is in force where a change before this one broke off between record and swap, or was another's.
            self.shared.engine.swap(current);
            return Ok(Changed { revision, count: 0 });
        }
        let next = self.with_entities(current, put.clone(), deleted.clone()).await?;
        let count = put.len() + deleted.len();
        let (by, request_id) = (Some(caller.identity.clone()), caller.request_id.0.clone());
        let fact = Fact::EntitiesChanged(EntitiesChanged { by, put, deleted, request_id, version: 0 });
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
        if next.put_entities().len() > most {
            return Err(Refusal::Exhausted { limit: "put_entities_max", most });
        }
        Ok(next)
    }
}

/// What of a change is one.
fn changes(change: Change, data: &EntityData) -> (Vec<Arc<Entity>>, Vec<EntityUid>) {
    match change {
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
    }
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
