//! What each caller opened for each principal within the last minute: people can be worn out by many small questions as well as by one list.
//!
//! It is part of what the journal adds up to, so that a restart forgives nobody.

use std::collections::{HashMap, VecDeque};
use std::time::Duration;

use crate::domain::{EntityUid, Opening, Timestamp};

/// What is counted together.
const SPAN: Duration = Duration::from_secs(60);

/// Who asks, and for whom. One that may ask for others uses up nothing that these need to ask themselves.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Opener {
    pub caller: EntityUid,
    pub principal: EntityUid,
}

impl Opener {
    #[must_use]
    pub fn of(opening: &Opening) -> Self {
        Self { caller: opening.caller.uid.clone(), principal: opening.query.principal.clone() }
    }
}

#[derive(Debug, Default)]
pub struct Openings {
    of: HashMap<Opener, VecDeque<Timestamp>>,
    /// All of them, in the order in which they are forgotten.
    all: VecDeque<(Timestamp, Opener)>,
}

impl Openings {
    pub fn note(&mut self, opener: &Opener, at: Timestamp) {
        self.of.entry(opener.clone()).or_default().push_back(at);
        self.all.push_back((at, opener.clone()));
    }

    /// How long until there is room for one more; `None`: there is.
    pub fn room_in(&self, opener: &Opener, now: Timestamp, most: usize) -> Option<Duration> {
        let of = self.of.get(opener)?;
        // The one that has to be a minute ago before the next may come.
        let oldest = of.get(of.len().checked_sub(most)?)?;
        Some(now.until(oldest.after(SPAN))).filter(|left| !left.is_zero())
    }

    /// Lets go of one that no longer counts.
    pub fn forget(&mut self, now: Timestamp) {
        let Some((at, opener)) = self.all.pop_front_if(|(at, _)| at.after(SPAN).is_due(now)) else { return };
        let Some(of) = self.of.get_mut(&opener) else { return };
        of.pop_front_if(|first| *first <= at);
        if of.is_empty() {
            self.of.remove(&opener);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const NOW: Timestamp = Timestamp::from_micros(1_700_000_000_000_000);
    const SECOND: Duration = Duration::from_secs(1);

    fn opener(caller: &str, principal: &str) -> Opener {
        Opener { caller: EntityUid::new("Agent", caller), principal: EntityUid::new("Agent", principal) }
    }

    #[test]
    fn there_is_room_again_when_the_oldest_that_counts_is_a_minute_ago() {
        let (one, other) = (opener("one", "one"), opener("other", "one"));
        let mut openings = Openings::default();
        for seconds in 0..3 {
            assert_eq!(openings.room_in(&one, NOW.after(seconds * SECOND), 3), None);
            openings.note(&one, NOW.after(seconds * SECOND));
        }
        assert_eq!(openings.room_in(&one, NOW.after(10 * SECOND), 3), Some(50 * SECOND));
        assert_eq!(openings.room_in(&other, NOW.after(10 * SECOND), 3), None);
        assert_eq!(openings.room_in(&one, NOW.after(60 * SECOND), 3), None);
        openings.note(&one, NOW.after(60 * SECOND));
        assert_eq!(openings.room_in(&one, NOW.after(60 * SECOND), 3), Some(SECOND));
    }

    #[test]
    fn nothing_stays_that_no_longer_counts() {
        let one = opener("one", "one");
        let mut openings = Openings::default();
        openings.note(&one, NOW);
        openings.note(&one, NOW.after(SECOND));
        openings.forget(NOW.after(59 * SECOND));
        assert_eq!(openings.all.len(), 2);
        for _ in 0..3 {
            openings.forget(NOW.after(61 * SECOND));
        }
        assert!(openings.all.is_empty() && openings.of.is_empty());
    }
}
