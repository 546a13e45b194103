//! That all sessions of a person have ended: for each person a mark, another one with every end. A session remembers the mark
//! that stood when it began, and is over once another one stands: nothing depends on a clock, or on who hears of it first.
//!
//! Marks are kept as entities of a type of the service's own, beside the entities that were put: whatever makes those known at
//! every replica, and after a restart, does so for these. Policies do not see them. A mark is needed for as long as there can be a
//! session that began before it, and for no longer.

use std::sync::Arc;
use std::time::Duration;

use super::entity::{Entity, EntityData, EntityUid};
use super::time::Timestamp;
use super::value::Value;

/// The type of the entities that marks are kept as. Nobody but the service can put one.
pub const SESSIONS_ENDED: &str = "Countersign::SessionsEnded";

/// No session lives longer, whatever is configured.
pub const SESSION_LIFETIME_MAX: Duration = Duration::from_secs(30 * 86_400);
/// Clocks of replicas differ by less.
const SLACK: Duration = Duration::from_secs(86_400);

const MARK: &str = "mark";
const AT: &str = "at";

/// The entity by which the sessions of a person end now. `mark` was never used before.
#[must_use]
pub fn sessions_ended(person: &EntityUid, mark: &str, now: Timestamp) -> Entity {
    let mut entity = Entity::bare(uid_of(person), Vec::new());
    entity.attributes.insert(MARK.into(), Value::string(mark));
    entity.attributes.insert(AT.into(), Value::Long(now.as_micros()));
    entity
}

/// Whether this is a mark that no session can be older than: without it nothing is other than with it.
#[must_use]
pub fn is_outlived(entity: &Entity, now: Timestamp) -> bool {
    // One that does not say since when it stands stays.
    let Some(Value::Long(at)) = entity.attributes.get(AT) else { return false };
    &*entity.uid.type_name == SESSIONS_ENDED
        && Timestamp::from_micros(*at).after(SESSION_LIFETIME_MAX).after(SLACK).is_due(now)
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
    fn a_mark_is_outlived_by_the_longest_session_and_not_before() {
        let began = Timestamp::from_micros(1_800_000_000_000_000);
        let mark = sessions_ended(&EntityUid::new("User", "alice"), "1", began);
        let last = began.after(SESSION_LIFETIME_MAX);
        for (now, expected) in [
            (began, false),
            (last, false),
            (last.after(SLACK).before(Duration::from_micros(1)), false),
            (last.after(SLACK), true),
        ] {
            assert_eq!(is_outlived(&mark, now), expected, "{now:?}");
        }
        let mut other = mark.clone();
        other.uid = EntityUid::new("User", "alice");
        let mut older = mark;
        older.attributes.remove(AT);
        let far = last.after(SESSION_LIFETIME_MAX);
        assert!(!is_outlived(&other, far) && !is_outlived(&older, far), "nobody's but a mark's that says since when");
    }

    #[test]
    fn each_person_has_a_mark_of_his_own() {
        let (alice, other) = (EntityUid::new("User", "alice"), EntityUid::new("Agent", "alice"));
        let entity = sessions_ended(&alice, "1", Timestamp::default());
        let mut data = EntityData::from([(entity.uid.clone(), Arc::new(entity))]);
        assert_eq!((session_mark(&data, &alice).as_deref(), session_mark(&data, &other)), (Some("1"), None));
        let again = sessions_ended(&alice, "2", Timestamp::default());
        data.insert(again.uid.clone(), Arc::new(again));
        assert_eq!((session_mark(&data, &alice).as_deref(), data.len()), (Some("2"), 1));
    }
}
