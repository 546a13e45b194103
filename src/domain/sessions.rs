//! That all sessions of a person have ended: for each person a mark, another one with every end. A session remembers the mark
//! that stood when it began, and is over once another one stands: nothing depends on a clock, or on who hears of it first.
//!
//! Marks are kept as entities of a type of the service's own, beside the entities that were put: whatever makes those known at
//! every replica, and after a restart, does so for these. Policies do not see them.

use std::sync::Arc;

use super::entity::{Entity, EntityData, EntityUid};
use super::value::Value;

/// The type of the entities that marks are kept as. Nobody but the service can put one.
pub const SESSIONS_ENDED: &str = "Countersign::SessionsEnded";

const MARK: &str = "mark";

/// The entity by which the sessions of a person end. `mark` was never used before.
#[must_use]
pub fn sessions_ended(person: &EntityUid, mark: &str) -> Entity {
    let mut entity = Entity::bare(uid_of(person), Vec::new());
    entity.attributes.insert(MARK.into(), Value::string(mark));
    entity
}

/// The mark that stands for a person; `None` while his sessions never were ended.
#[must_use]
pub fn session_mark(data: &EntityData, person: &EntityUid) -> Option<Arc<str>> {
    match data.get(&uid_of(person))?.attributes.get(MARK) {
        Some(Value::String(mark)) => Some(mark.clone()),
        // Not as the service writes it: no session began under it, and so none is good.
        Some(_) | None => Some("".into()),
    }
}

fn uid_of(person: &EntityUid) -> EntityUid {
    EntityUid::new(SESSIONS_ENDED, &person.to_string())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_person_has_a_mark_of_his_own() {
        let (alice, other) = (EntityUid::new("User", "alice"), EntityUid::new("Agent", "alice"));
        let entity = sessions_ended(&alice, "1");
        let mut data = EntityData::from([(entity.uid.clone(), Arc::new(entity))]);
        assert_eq!((session_mark(&data, &alice).as_deref(), session_mark(&data, &other)), (Some("1"), None));
        let again = sessions_ended(&alice, "2");
        data.insert(again.uid.clone(), Arc::new(again));
        assert_eq!((session_mark(&data, &alice).as_deref(), data.len()), (Some("2"), 1));
    }
}
