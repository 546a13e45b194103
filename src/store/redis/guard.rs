//! Is this the state that was there? A Redis that was flushed, or restored from an old copy, or whose failover lost what was
//! acknowledged, answers happily; every answer is held against what this replica knows to have happened.
//!
//! Each shard has an epoch, made when it was begun, and counts its events in `head`. What a replica knows is the highest
//! head that must not be lost any more: of changes that were replicated as configured, whether it made them, read them or
//! heard of them, and of those in its own journal. Whoever finds that something is lost marks the shard, and nobody
//! believes it from then on.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use super::keys::{SHARDS, Shard};
use super::trouble::Trouble;
use crate::domain::Origin;

pub type Epoch = [u8; 16];

#[derive(Debug, Default)]
pub struct Guard {
    extent: Extent,
    known: Mutex<[Known; SHARDS as usize]>,
}

/// What is not believed any more when a shard is lost.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Extent {
    /// That shard: each is looked at by itself.
    #[default]
    Shard,
    /// All: whatever befell it may have befallen others, of which this replica knows less.
    Whole,
}

#[derive(Debug, Clone, Default)]
struct Known {
    epoch: Option<Epoch>,
    head: u64,
    lost: Option<Loss>,
}

/// INVARIANT: stays until somebody has begun the shard anew in place of the one that is known here. A shard that was put
/// back to an old copy counts on, and would soon look as if it had never been away.
#[derive(Debug, Clone)]
struct Loss {
    why: Arc<str>,
    /// The epoch that Redis told when it was noticed.
    seen: Option<Epoch>,
    /// Redis says so itself.
    marked: bool,
}

/// What Redis says of a shard.
#[derive(Debug, Clone, Default)]
pub struct Seen {
    pub epoch: Option<Epoch>,
    pub head: u64,
    /// The epochs before it, where an operator had what was in them settled.
    pub after: Vec<Epoch>,
    /// Some replica has found that it lost something, and this.
    pub lost: Option<Arc<str>>,
}

/// A loss that Redis does not tell of yet.
#[derive(Debug, Clone)]
pub struct Unmarked {
    pub shard: Shard,
    pub seen: Option<Epoch>,
    pub why: Arc<str>,
}

/// What a look at a shard came to.
enum Verdict {
    Good,
    /// Nothing is lost, and nothing is there to be believed.
    NotBegun(Arc<str>),
    /// Also what was found before.
    Lost,
}

impl Guard {
    pub fn new(extent: Extent) -> Self {
        Self { extent, known: Mutex::default() }
    }

    /// What was known before the start: the highest number counts, which is that of the newest epoch, for
    /// one that takes the place of another counts on.
    pub fn remember(&self, origin: &Origin) {
        let mut known = self.lock();
        let Some(known) = known.get_mut(usize::from(origin.shard)) else { return };
        if known.epoch.is_none() || origin.number > known.head {
            known.epoch = Some(origin.epoch);
            known.head = origin.number;
        }
    }

    /// What a script is told: the epoch, and the head that Redis must not be behind.
    pub fn expected(&self, shard: Shard) -> Option<(Epoch, u64)> {
        let known = self.lock();
        let known = known.get(shard.index())?;
        Some((known.epoch?, known.head))
    }

    /// All that must not be lost any more.
    pub fn known(&self) -> Vec<Origin> {
        let of = |(known, shard): (&Known, Shard)| {
            Some(Origin { epoch: known.epoch?, shard: shard.number(), number: known.head })
        };
        self.lock().iter().zip(Shard::all()).filter_map(of).collect()
    }

    /// Up to `head` nothing may be lost any more.
    pub fn lasts(&self, shard: Shard, epoch: Epoch, head: u64) {
        if let Some(known) = self.lock().get_mut(shard.index())
            && known.epoch == Some(epoch)
        {
            known.head = known.head.max(head);
        }
    }

    /// Whether what Redis says of a shard can be the truth, by what was [expected](Self::expected) when it was asked.
    pub fn meet(&self, shard: Shard, expected: Option<(Epoch, u64)>, seen: &Seen) -> Result<(), Trouble> {
        let mut all = self.lock();
        let verdict = all.get_mut(shard.index()).map_or(Verdict::Lost, |known| known.compare(shard, expected, seen));
        let closed = match self.extent {
            Extent::Whole => lost_of(&*all),
            Extent::Shard => all.get(shard.index()).and_then(Known::why),
        };
        match (closed, verdict) {
            (Some(why), _) => Err(Trouble::Lost(why)),
            (None, Verdict::NotBegun(why)) => Err(Trouble::OutOfReach(why)),
            (None, _) => Ok(()),
        }
    }

    /// Whether a write may be begun; what its own shard is like the script finds out.
    pub fn is_open(&self) -> Result<(), Trouble> {
        match self.extent {
            Extent::Whole => self.lost().map_or(Ok(()), |lost| Err(Trouble::Lost(lost))),
            Extent::Shard => Ok(()),
        }
    }

    /// Something else than the number of its events tells that a shard lost something.
    pub fn doubt(&self, shard: Shard, why: &str) {
        if let Some(known) = self.lock().get_mut(shard.index()).filter(|known| known.lost.is_none()) {
            let seen = Seen { epoch: known.epoch, ..Seen::default() };
            known.loses(shard, &seen, why.into());
        }
    }

    /// What is lost, if anything is.
    pub fn lost(&self) -> Option<Arc<str>> {
        lost_of(&*self.lock())
    }

    /// What Redis has to be told, so that no other replica believes it either.
    pub fn unmarked(&self) -> Vec<Unmarked> {
        let of = |(known, shard): (&Known, Shard)| {
            let loss = known.lost.as_ref().filter(|loss| !loss.marked)?;
            Some(Unmarked { shard, seen: loss.seen, why: loss.why.clone() })
        };
        self.lock().iter().zip(Shard::all()).filter_map(of).collect()
    }

    fn lock(&self) -> MutexGuard<'_, [Known; SHARDS as usize]> {
        // Each row is whole after every statement: a panic elsewhere cannot have torn it.
        self.known.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn lost_of(all: &[Known]) -> Option<Arc<str>> {
    all.iter().find_map(Known::why)
}

impl Known {
    fn why(&self) -> Option<Arc<str>> {
        self.lost.as_ref().map(|loss| loss.why.clone())
    }

    fn begins(&mut self, epoch: Epoch) -> Verdict {
        *self = Self { epoch: Some(epoch), head: 0, lost: None };
        Verdict::Good
    }

    fn loses(&mut self, shard: Shard, seen: &Seen, why: Arc<str>) -> Verdict {
        tracing::error!(redis.shard = shard.number(), "{why}");
        self.lost = Some(Loss { why, seen: seen.epoch, marked: seen.lost.is_some() });
        Verdict::Lost
    }

    fn compare(&mut self, shard: Shard, expected: Option<(Epoch, u64)>, seen: &Seen) -> Verdict {
        let number = shard.number();
        if let (Some(epoch), None) = (seen.epoch, &seen.lost)
            && self.epoch.is_none_or(|ours| ours != epoch && seen.after.contains(&ours))
        {
            // The first that is heard of it, or somebody has looked after what was lost.
            return self.begins(epoch);
        }
        if let Some(loss) = &mut self.lost {
            (loss.seen, loss.marked) = (seen.epoch, seen.lost.is_some());
            return Verdict::Lost;
        }
        if self.epoch.is_some() && expected.map(|(epoch, _)| epoch) != self.epoch && seen.epoch != self.epoch {
            return Verdict::NotBegun(Arc::from(format!("shard {number} began anew in this moment")));
        }
        if let Some(why) = &seen.lost {
            return self.loses(shard, seen, why.clone());
        }
        // An answer may be older than what was learned while it was on its way.
        let head = expected.filter(|(epoch, _)| Some(*epoch) == self.epoch).map_or(0, |(_, head)| head);
        match (self.epoch, seen.epoch) {
            (Some(ours), Some(epoch)) if ours == epoch && seen.head >= head => Verdict::Good,
            (Some(ours), Some(epoch)) if ours == epoch => {
                let why = format!(
                    "redis has {} events in shard {number} and had {head}: it was restored from an old copy, or a failover \
                     lost what was acknowledged",
                    seen.head
                );
                self.loses(shard, seen, why.into())
            }
            // Nothing happened in the one that is gone.
            (_, Some(epoch)) if self.head == 0 => self.begins(epoch),
            (_, Some(_)) => {
                let why = format!("redis has another shard {number} than the one with {} events", self.head);
                self.loses(shard, seen, why.into())
            }
            (_, None) if self.head == 0 => {
                self.epoch = None;
                Verdict::NotBegun(Arc::from(format!("redis has no shard {number} yet")))
            }
            (_, None) => {
                let why = format!("redis has lost shard {number}, which had {} events: it was emptied", self.head);
                self.loses(shard, seen, why.into())
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const ONE: Epoch = [1; 16];
    const OTHER: Epoch = [2; 16];

    fn shard() -> Shard {
        Shard::all().next().unwrap()
    }

    /// An answer to a question that is asked now.
    fn meet(guard: &Guard, seen: Seen) -> Result<(), Trouble> {
        guard.meet(shard(), guard.expected(shard()), &seen)
    }

    fn seen(epoch: Epoch, head: u64) -> Seen {
        Seen { epoch: Some(epoch), head, ..Seen::default() }
    }

    #[test]
    fn what_is_behind_emptied_or_another_is_not_believed() {
        for bad in [seen(ONE, 4), seen(OTHER, 5), Seen::default()] {
            let guard = Guard::default();
            assert!(meet(&guard, seen(ONE, 5)).is_ok());
            guard.lasts(shard(), ONE, 5);
            assert!(meet(&guard, seen(ONE, 5)).is_ok());
            assert!(matches!(meet(&guard, bad.clone()), Err(Trouble::Lost(_))), "{bad:?}");
            assert!(guard.lost().is_some());
        }
    }

    #[test]
    fn a_loss_does_not_heal_by_counting_on_but_when_somebody_begins_anew() {
        let guard = Guard::default();
        assert!(meet(&guard, seen(ONE, 5)).is_ok());
        guard.lasts(shard(), ONE, 5);
        assert!(meet(&guard, seen(ONE, 4)).is_err());
        assert!(meet(&guard, seen(ONE, 60)).is_err());
        assert!(meet(&guard, seen(OTHER, 60)).is_err(), "nor in place of another than ours");
        assert!(meet(&guard, Seen { after: vec![ONE], ..seen(OTHER, 6) }).is_ok());
        assert_eq!(guard.lost(), None);
    }

    #[test]
    fn what_one_replica_found_lost_no_other_believes_and_redis_is_told_once() {
        let marked = || Seen { lost: Some("it is gone".into()), ..seen(ONE, 9) };
        let guard = Guard::default();
        assert!(matches!(meet(&guard, marked()), Err(Trouble::Lost(_))));
        assert!(guard.unmarked().is_empty());
        assert!(meet(&guard, Seen { after: vec![ONE], ..seen(OTHER, 9) }).is_ok());
        let finder = Guard::default();
        finder.remember(&Origin { epoch: ONE, shard: 0, number: 9 });
        assert!(meet(&finder, Seen::default()).is_err());
        assert_eq!(finder.unmarked().len(), 1);
        assert!(meet(&finder, marked()).is_err());
        assert!(finder.unmarked().is_empty());
        // A failover lost the mark.
        assert!(meet(&finder, seen(ONE, 9)).is_err());
        assert_eq!(finder.unmarked().len(), 1);
    }

    #[test]
    fn where_all_was_on_one_server_one_shard_closes_all() {
        let guard = Guard::new(Extent::Whole);
        guard.remember(&Origin { epoch: ONE, shard: 0, number: 9 });
        let other = Shard::all().nth(1).unwrap();
        assert!(guard.meet(other, None, &seen(OTHER, 1)).is_ok());
        assert!(meet(&guard, Seen::default()).is_err());
        assert!(guard.meet(other, guard.expected(other), &seen(OTHER, 1)).is_err());
        assert!(guard.is_open().is_err());
    }

    #[test]
    fn an_answer_that_is_older_than_what_was_learned_meanwhile_is_no_loss() {
        let guard = Guard::default();
        assert!(meet(&guard, seen(ONE, 5)).is_ok());
        guard.lasts(shard(), ONE, 5);
        let asked = guard.expected(shard());
        guard.lasts(shard(), ONE, 6);
        assert!(guard.meet(shard(), asked, &seen(ONE, 5)).is_ok());
        assert!(meet(&guard, Seen { after: vec![ONE], ..seen(OTHER, 6) }).is_ok());
        guard.lasts(shard(), OTHER, 7);
        assert!(matches!(guard.meet(shard(), asked, &seen(ONE, 6)), Err(Trouble::OutOfReach(_))));
        assert_eq!(guard.lost(), None);
        assert!(meet(&guard, seen(OTHER, 6)).is_err());
    }

    #[test]
    fn what_an_operator_has_settled_is_taken_up() {
        let guard = Guard::default();
        guard.remember(&Origin { epoch: ONE, shard: 0, number: 9 });
        assert!(meet(&guard, Seen { after: vec![[3; 16], ONE], ..seen(OTHER, 0) }).is_ok());
        assert_eq!(guard.expected(shard()), Some((OTHER, 0)));
    }

    #[test]
    fn of_what_journals_say_the_highest_number_counts() {
        let guard = Guard::default();
        for number in [4, 9, 7] {
            guard.remember(&Origin { epoch: ONE, shard: 0, number });
        }
        assert_eq!(guard.expected(shard()), Some((ONE, 9)));
    }

    #[test]
    fn where_nothing_happened_nothing_is_lost() {
        let guard = Guard::default();
        assert!(meet(&guard, seen(ONE, 7)).is_ok());
        assert!(meet(&guard, seen(OTHER, 0)).is_ok());
        assert!(meet(&guard, Seen::default()).is_err());
        assert_eq!(guard.lost(), None);
    }
}
