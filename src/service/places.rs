//! Room to wait: so many calls in all, so many of one caller, and so much memory for what they ask. A call that finds none
//! is told which limit it met; those who wait already notice nothing.

use std::collections::HashMap;
use std::sync::{Mutex, MutexGuard, PoisonError};

use super::{Limits, Refusal};
use crate::domain::EntityUid;

#[derive(Debug, Default)]
pub(super) struct Places {
    taken: Mutex<Taken>,
}

#[derive(Debug, Default)]
struct Taken {
    calls: usize,
    bytes: usize,
    of_caller: HashMap<EntityUid, usize>,
}

/// A place, given back when dropped.
#[derive(Debug)]
pub(super) struct Place<'a> {
    places: &'a Places,
    caller: &'a EntityUid,
    bytes: usize,
}

impl Places {
    /// A place for a call of `caller` that keeps `bytes` in memory while it waits.
    pub fn take<'a>(&'a self, caller: &'a EntityUid, bytes: usize, limits: &Limits) -> Result<Place<'a>, Refusal> {
        let full = |limit, most| Err(Refusal::Exhausted { limit, most });
        let mut taken = self.taken();
        let own = taken.of_caller.get(caller).copied().unwrap_or(0);
        if taken.calls >= limits.waits_max {
            return full("waits_max", limits.waits_max);
        }
        if own >= limits.waits_per_caller_max {
            return full("waits_per_caller_max", limits.waits_per_caller_max);
        }
        if taken.bytes.saturating_add(bytes) > limits.waits_bytes_max {
            return full("waits_bytes_max", limits.waits_bytes_max);
        }
        taken.calls += 1;
        taken.bytes += bytes;
        taken.of_caller.insert(caller.clone(), own + 1);
        Ok(Place { places: self, caller, bytes })
    }

    /// Places taken now, and the bytes that they keep.
    pub fn totals(&self) -> (usize, usize) {
        let taken = self.taken();
        (taken.calls, taken.bytes)
    }

    fn taken(&self) -> MutexGuard<'_, Taken> {
        // Plain numbers: a panic elsewhere cannot have torn them.
        self.taken.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Drop for Place<'_> {
    fn drop(&mut self) {
        let mut taken = self.places.taken();
        taken.calls = taken.calls.saturating_sub(1);
        taken.bytes = taken.bytes.saturating_sub(self.bytes);
        match taken.of_caller.get_mut(self.caller) {
            Some(own) if *own > 1 => *own -= 1,
            Some(_) | None => drop(taken.of_caller.remove(self.caller)),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn refused(taken: Result<Place<'_>, Refusal>) -> &'static str {
        match taken {
            Ok(_) => "",
            Err(Refusal::Exhausted { limit, .. }) => limit,
            Err(other) => panic!("{other}"),
        }
    }

    #[test]
    fn each_limit_is_met_by_name_and_every_place_comes_back() {
        let limits = Limits { waits_max: 3, waits_per_caller_max: 2, waits_bytes_max: 100, ..Limits::default() };
        let (one, other) = (EntityUid::new("Agent", "one"), EntityUid::new("Agent", "other"));
        let places = Places::default();
        let first = places.take(&one, 10, &limits).unwrap();
        let second = places.take(&one, 10, &limits).unwrap();
        assert_eq!(refused(places.take(&one, 10, &limits)), "waits_per_caller_max");
        assert_eq!(refused(places.take(&other, 81, &limits)), "waits_bytes_max");
        let third = places.take(&other, 80, &limits).unwrap();
        assert_eq!(refused(places.take(&other, 0, &limits)), "waits_max");
        drop((first, third));
        assert_eq!(refused(places.take(&one, 90, &limits)), "");
        drop(second);
        let taken = places.taken();
        assert_eq!((taken.calls, taken.bytes, taken.of_caller.len()), (0, 0, 0));
    }
}
