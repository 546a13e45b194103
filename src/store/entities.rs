//! Entities put over the API, as a journal adds them up.
//!
//! What stands is the last that was said of each entity. A snapshot and a trimmed journal must say the same, so that for
//! every entity the record of its last change is known, of deleted ones too: an older record may still put them.

use std::collections::{BTreeMap, BTreeSet, HashSet};
use std::sync::Arc;

use crate::domain::{EntitiesChanged, Entity, EntityData, EntityUid, change_entities};
use crate::wire;

/// Deletions that are remembered before anybody looks whether they still matter.
const DELETED_MIN: usize = 1_000;
/// Entities in one record that states them again.
pub const RESTATED_PER_RECORD: usize = 100;
/// What these take, encoded: far below what a record may hold ([`crate::journal::Settings::record_bytes_max`]).
pub const RESTATED_BYTES_PER_RECORD: usize = 256 << 10;

#[derive(Debug, Default, Clone)]
pub struct Entities {
    data: Arc<EntityData>,
    /// The record of the last change of each entity, deletions included.
    changed_at: BTreeMap<EntityUid, u64>,
    forget_at: usize,
}

impl Entities {
    #[must_use]
    pub fn data(&self) -> Arc<EntityData> {
        self.data.clone()
    }

    pub fn apply(&mut self, changed: &EntitiesChanged, sequence: u64) {
        change_entities(Arc::make_mut(&mut self.data), &changed.put, &changed.deleted);
        for entity in &changed.put {
            self.changed_at.insert(entity.uid.clone(), sequence);
        }
        for uid in &changed.deleted {
            self.changed_at.insert(uid.clone(), sequence);
        }
        if changed.by.is_none() {
            self.forget_at = 0;
        }
        self.forget_deleted();
    }

    /// Deletions that are remembered because older records still put those entities.
    #[must_use]
    pub fn deleted(&self) -> usize {
        self.changed_at.len().saturating_sub(self.data.len())
    }

    /// The newest record that says something of an entity; 0 without any.
    #[must_use]
    pub fn newest(&self) -> u64 {
        self.changed_at.values().copied().max().unwrap_or(0)
    }

    /// The records that a snapshot needs.
    #[must_use]
    pub fn sequences(&self) -> HashSet<u64> {
        self.changed_at.values().copied().collect()
    }

    /// The oldest record that says of an entity what still stands: nothing from there on may be removed from the journal.
    #[must_use]
    pub fn oldest(&self) -> Option<u64> {
        let standing = self.changed_at.iter().filter(|(uid, _)| self.data.contains_key(*uid));
        standing.map(|(_, sequence)| *sequence).min()
    }

    /// Entities last spoken of before `sequence`, the oldest first: enough for one record.
    #[must_use]
    pub fn before(&self, sequence: u64) -> Vec<Arc<Entity>> {
        let old: BTreeSet<_> = self
            .data
            .keys()
            .filter_map(|uid| Some((*self.changed_at.get(uid)?, uid)))
            .filter(|(at, _)| *at < sequence)
            .collect();
        let mut bytes = 0;
        let mut fits = |entity: &Arc<Entity>| {
            let is_first = bytes == 0;
            bytes += wire::entity_bytes(entity);
            is_first || bytes <= RESTATED_BYTES_PER_RECORD
        };
        let oldest = old.into_iter().filter_map(|(_, uid)| self.data.get(uid));
        oldest.take(RESTATED_PER_RECORD).take_while(|entity| fits(entity)).cloned().collect()
    }

    /// Lets go of deletions that are older than all that stands: no record that is still needed puts those entities.
    fn forget_deleted(&mut self) {
        if self.changed_at.len() < self.forget_at.max(DELETED_MIN) {
            return;
        }
        let oldest = self.oldest().unwrap_or(u64::MAX);
        let data = &self.data;
        self.changed_at.retain(|uid, sequence| data.contains_key(uid) || *sequence >= oldest);
        self.forget_at = self.changed_at.len().saturating_mul(2);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::domain::Identity;

    fn change(put: &[&str], deleted: &[&str]) -> EntitiesChanged {
        let uid = |id: &&str| EntityUid::new("Group", id);
        EntitiesChanged {
            by: None,
            put: put.iter().map(|id| Arc::new(Entity::bare(uid(id), vec![]))).collect(),
            deleted: deleted.iter().map(uid).collect(),
            request_id: "r".into(),
            version: 0,
            more_follows: false,
        }
    }

    fn by_somebody(changed: EntitiesChanged) -> EntitiesChanged {
        let by = Identity::imagined("User", "root", &[]);
        EntitiesChanged { by: Some(Arc::new(by)), ..changed }
    }

    fn known(entities: &Entities) -> Vec<String> {
        entities.data().keys().map(|uid| uid.id.to_string()).collect()
    }

    #[test]
    fn the_records_that_are_needed_add_up_to_what_all_of_them_did() {
        let changes = [
            change(&["a", "b"], &[]),
            change(&["c"], &["a"]),
            change(&["d"], &[]),
            change(&["c"], &["d"]),
            change(&["a"], &[]),
            change(&[], &["a"]),
        ];
        let mut whole = Entities::default();
        for (sequence, change) in (1..).zip(&changes) {
            whole.apply(change, sequence);
            let needed = whole.sequences();
            let mut again = Entities::default();
            let kept = (1..=sequence).zip(&changes).filter(|(sequence, _)| needed.contains(sequence));
            kept.for_each(|(sequence, change)| again.apply(change, sequence));
            assert_eq!(again.data(), whole.data(), "after {sequence}");
        }
        assert_eq!((known(&whole), whole.oldest()), (vec!["b".to_owned(), "c".to_owned()], Some(1)));
        let old = whole.before(4);
        assert_eq!(old.iter().map(|entity| &*entity.uid.id).collect::<Vec<_>>(), ["b"]);
        whole.apply(&EntitiesChanged { put: old, ..change(&[], &[]) }, 7);
        assert_eq!((known(&whole).len(), whole.oldest()), (2, Some(4)));
    }

    #[test]
    fn what_is_stated_again_fits_into_a_record() {
        let large = |n: u64| {
            let text = crate::domain::Value::string(&"x".repeat(60 << 10));
            let mut entity = Entity::bare(EntityUid::new("Group", &n.to_string()), vec![]);
            entity.attributes.insert("text".into(), text);
            Arc::new(entity)
        };
        let mut entities = Entities::default();
        for sequence in 1..=20 {
            entities.apply(&EntitiesChanged { put: vec![large(sequence)], ..change(&[], &[]) }, sequence);
        }
        let mut next = 21;
        while let Some(oldest) = entities.oldest().filter(|oldest| *oldest < 21) {
            let put = entities.before(21);
            assert!((1..=5).contains(&put.len()), "{} from {oldest}", put.len());
            entities.apply(&EntitiesChanged { put, ..change(&[], &[]) }, next);
            next += 1;
        }
        assert_eq!((entities.data().len(), next), (20, 26));
    }

    #[test]
    fn deletions_that_matter_to_no_record_are_forgotten() {
        let mut entities = Entities::default();
        for sequence in 1..=5_000 {
            let (put, deleted) = (sequence.to_string(), (sequence - 1).to_string());
            entities.apply(&change(&[&put], &[&deleted]), sequence);
        }
        assert_eq!(known(&entities), ["5000"]);
        assert!(entities.deleted() <= DELETED_MIN, "{}", entities.deleted());
    }

    #[test]
    fn what_is_stated_again_lets_go_of_the_deletions_before_it() {
        let mut entities = Entities::default();
        entities.apply(&by_somebody(change(&["old"], &[])), 1);
        for sequence in 2..=3_000 {
            let (put, deleted) = (sequence.to_string(), (sequence - 1).to_string());
            entities.apply(&by_somebody(change(&[&put], &[&deleted])), sequence);
        }
        assert!(entities.deleted() > 2_900, "an old record may put any of them");
        let again = entities.before(3_001);
        entities.apply(&EntitiesChanged { put: again, ..change(&[], &[]) }, 3_001);
        assert_eq!((known(&entities), entities.deleted()), (vec!["3000".to_owned(), "old".to_owned()], 0));
    }
}
