//! The entities that were put over the API, as the journal of one replica adds them up: its own changes, and those of others
//! that it took up. It is what a server starts with while Redis is away, and what `store reconcile` begins anew with.

use std::sync::Arc;

use crate::domain::{EntitiesChanged, Entity, EntityData, EntityUid};
use crate::journal::{Log, LogError};
use crate::store::PutEntities;
use crate::store::entities::{Entities, RESTATED_BYTES_PER_RECORD, RESTATED_PER_RECORD};
use crate::wire;

/// Records read at a time.
const READ_MAX: usize = 500;
/// The state before the first change.
pub const NOTHING_PUT: u64 = 1;

#[derive(Debug, Default, Clone)]
pub struct Remembered {
    entities: Entities,
    version: u64,
    sequence: u64,
    /// Records of which the last was not seen yet, all of one change.
    parts: Vec<(EntitiesChanged, u64)>,
}

impl Remembered {
    /// What a journal tells. Blocking.
    pub fn read(log: &Log) -> Result<Self, LogError> {
        let (mut remembered, mut after) = (Self::default(), None);
        loop {
            let records = log.changes_of_entities(after, READ_MAX)?;
            let Some(last) = records.last() else { return Ok(remembered) };
            after = Some(last.sequence);
            for record in records {
                if let crate::domain::Fact::EntitiesChanged(changed) = &record.fact {
                    remembered.add(changed, record.sequence);
                }
            }
        }
    }

    /// Takes a record into account. INVARIANT: an older one changes nothing: an event that was taken over from a maker that died may
    /// come long after what others did since. Of several that are one change none counts before the last of them.
    pub fn add(&mut self, changed: &EntitiesChanged, sequence: u64) {
        if changed.more_follows {
            self.parts.retain(|(part, _)| part.version == changed.version);
            self.parts.push((changed.clone(), sequence));
            return;
        }
        let parts = if changed.by.is_none() { std::mem::take(&mut self.parts) } else { Vec::new() };
        if changed.version >= self.version {
            for (part, sequence) in parts.iter().filter(|(part, _)| part.version == changed.version) {
                self.entities.apply(part, *sequence);
            }
            self.entities.apply(changed, sequence);
            self.version = changed.version;
            self.sequence = self.sequence.max(sequence);
        }
    }

    /// The newest change that this has; 0 where nothing is known of what replicas share.
    pub const fn version(&self) -> u64 {
        self.version
    }

    pub fn data(&self) -> Arc<EntityData> {
        self.entities.data()
    }

    pub fn as_put(&self) -> PutEntities {
        PutEntities { data: self.data(), version: self.version, sequence: self.sequence }
    }

    /// The oldest record that is needed to know this again.
    pub fn oldest(&self) -> Option<u64> {
        let newest = (self.version > 0).then_some(self.sequence);
        self.entities.oldest().into_iter().chain(newest).min()
    }

    /// What says again what stands of entities last spoken of before `sequence`; `None` where all of it was said since.
    pub fn before(&self, sequence: u64) -> Option<EntitiesChanged> {
        let put = self.entities.before(sequence);
        let is_needed = !put.is_empty() || self.version > 0 && self.sequence < sequence;
        is_needed.then(|| stated(put, Vec::new(), self.version))
    }

    /// What makes these entities of what stands: what was put or is another, and what is not there any more.
    pub fn steps_to(&self, data: &EntityData) -> (Vec<Arc<Entity>>, Vec<EntityUid>) {
        let known = self.data();
        let put = data.iter().filter(|(uid, entity)| known.get(*uid) != Some(*entity));
        let gone = known.keys().filter(|uid| !data.contains_key(*uid));
        (put.map(|(_, entity)| entity.clone()).collect(), gone.cloned().collect())
    }

    /// The records that tell of a change, small enough each: all but the last say that more follows.
    pub fn records(&self, put: Vec<Arc<Entity>>, deleted: Vec<EntityUid>, version: u64) -> Vec<EntitiesChanged> {
        let gone = deleted.chunks(RESTATED_PER_RECORD).map(|some| stated(Vec::new(), some.to_vec(), version));
        let mut records: Vec<_> = gone.collect();
        let (mut some, mut bytes) = (Vec::new(), 0);
        for entity in put {
            let size = wire::entity_bytes(&entity);
            if some.len() == RESTATED_PER_RECORD || !some.is_empty() && bytes + size > RESTATED_BYTES_PER_RECORD {
                records.push(stated(std::mem::take(&mut some), Vec::new(), version));
                bytes = 0;
            }
            bytes += size;
            some.push(entity);
        }
        if !some.is_empty() || records.is_empty() && self.version == 0 {
            records.push(stated(some, Vec::new(), version));
        }
        if let Some((_, parts)) = records.split_last_mut() {
            parts.iter_mut().for_each(|part| part.more_follows = true);
        }
        records
    }

    /// Nothing that anybody needs to be told, but known to be as of that change.
    pub fn is_of(&mut self, version: u64) {
        self.version = self.version.max(version);
    }
}

/// Not a change, but what stands.
fn stated(put: Vec<Arc<Entity>>, deleted: Vec<EntityUid>, version: u64) -> EntitiesChanged {
    EntitiesChanged { by: None, put, deleted, request_id: "replicas".into(), version, more_follows: false }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn group(id: &str) -> Arc<Entity> {
        Arc::new(Entity::bare(EntityUid::new("Group", id), Vec::new()))
    }

    fn known(remembered: &Remembered) -> Vec<String> {
        remembered.data().keys().map(|uid| uid.id.to_string()).collect()
    }

    #[test]
    fn a_change_that_comes_late_to_the_journal_does_not_undo_a_newer_one() {
        let mut remembered = Remembered::default();
        remembered.add(&stated(vec![group("a")], Vec::new(), 2), 1);
        remembered.add(&stated(Vec::new(), vec![EntityUid::new("Group", "a")], 3), 2);
        remembered.add(&stated(vec![group("a")], Vec::new(), 2), 3);
        assert_eq!((known(&remembered), remembered.version()), (vec![], 3));
    }

    #[test]
    fn a_part_of_a_change_counts_for_nothing_until_the_last_of_it_is_there() {
        let mut remembered = Remembered::default();
        remembered.add(&stated(vec![group("suspended")], Vec::new(), 2), 1);
        let data: EntityData =
            (0..150).map(|n| group(&n.to_string())).map(|entity| (entity.uid.clone(), entity)).collect();
        let (put, gone) = remembered.steps_to(&data);
        let records = remembered.records(put, gone, 9);
        let (last, parts) = records.split_last().unwrap();
        assert_eq!(parts.len(), 2);
        let mut again = remembered.clone();
        for (sequence, part) in (2..).zip(parts) {
            remembered.add(part, sequence);
            again.add(part, sequence);
        }
        assert_eq!((known(&remembered), remembered.version()), (vec!["suspended".to_owned()], 2));
        // It stopped there. Since then others changed something again, and what is said now is another change.
        again.add(&stated(vec![group("new")], Vec::new(), 10), 4);
        assert_eq!((known(&again), again.version()), (vec!["new".to_owned(), "suspended".to_owned()], 10));
        // Somebody's event, taken over meanwhile, is older.
        let old = EntitiesChanged { by: Some(person()), ..stated(vec![group("old")], Vec::new(), 1) };
        remembered.add(&old, 4);
        remembered.add(last, 5);
        assert_eq!((&*remembered.data(), remembered.version()), (&data, 9));
    }

    fn person() -> Arc<crate::domain::Identity> {
        Arc::new(crate::domain::Identity::imagined("User", "root", &[]))
    }

    #[test]
    fn records_of_a_large_change_add_up_to_it_and_only_all_of_them_are_as_of_its_version() {
        let mut remembered = Remembered::default();
        remembered.add(&stated(vec![group("old")], Vec::new(), 2), 1);
        let data: EntityData =
            (0..250).map(|n| group(&n.to_string())).map(|entity| (entity.uid.clone(), entity)).collect();
        let (put, gone) = remembered.steps_to(&data);
        let records = remembered.records(put, gone, 9);
        assert_eq!(records.iter().map(|record| record.more_follows).collect::<Vec<_>>(), [true, true, true, false]);
        assert!(records.iter().all(|record| record.version == 9));
        for (sequence, record) in (2..).zip(&records) {
            remembered.add(record, sequence);
        }
        assert_eq!(*remembered.data(), data);
        assert_eq!(remembered.steps_to(&data), (vec![], vec![]));
        assert!(remembered.records(Vec::new(), Vec::new(), 10).is_empty());
    }

    #[test]
    fn that_nothing_was_put_is_known_once_it_is_on_record() {
        let mut remembered = Remembered::default();
        assert_eq!((remembered.version(), remembered.oldest()), (0, None));
        let records = remembered.records(Vec::new(), Vec::new(), NOTHING_PUT);
        assert_eq!(records.len(), 1);
        remembered.add(&records[0], 7);
        assert_eq!((remembered.version(), remembered.oldest()), (NOTHING_PUT, Some(7)));
        assert_eq!(remembered.before(7), None);
        let again = remembered.before(8).unwrap();
        remembered.add(&again, 8);
        assert_eq!(remembered.oldest(), Some(8));
    }
}
