//! Is this the state that was there? A Redis that was flushed, or restored from an old copy, or whose failover lost what was
//! acknowledged, answers happily; every answer is held against what this replica knows to have happened.
//!
//! Each shard has an epoch, made when it was begun, and counts its events in `head`. What a replica knows is the highest
//! head that must not be lost any more: of changes that were replicated as configured, and of those in its own journal.

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
    /// That shard: others are on other servers, or each is looked at by itself.
    #[default]
    Shard,
    /// All: they were on one server, and whatever befell it befell all.
    Whole,
}

#[derive(Debug, Clone, Default)]
struct Known {
    epoch: Option<Epoch>,
    head: u64,
    lost: Option<Arc<str>>,
}

/// What Redis says of a shard.
#[derive(Debug, Clone)]
pub struct Seen {
    pub epoch: Option<Epoch>,
    pub head: u64,
    /// The epochs before it, where an operator had what was in them settled.
    pub after: Vec<Epoch>,
}

impl Guard {
    pub fn new(extent: Extent) -> Self {
        Self { extent, known: Mutex::default() }
    }

    /// What the journal says of the time before the start.
    pub fn remember(&self, origin: &Origin) {
        let mut known = self.lock();
        let Some(known) = known.get_mut(usize::from(origin.shard)) else { return };
        known.epoch = Some(origin.epoch);
        known.head = origin.number;
    }

    /// What a script is told: the epoch, and the head that Redis must not be behind.
    pub fn expected(&self, shard: Shard) -> Option<(Epoch, u64)> {
        let known = self.lock();
        let known = known.get(shard.index())?;
        Some((known.epoch?, known.head))
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
    pub fn meet(&self, shard: Shard, expected: Option<(Epoch, u64)>, seen: Seen) -> Result<(), Trouble> {
        let mut all = self.lock();
        if let Some(known) = all.get_mut(shard.index()) {
            let lost = known.compare(shard, expected, &seen);
            if let Some(lost) = &lost
                && known.lost.is_none()
            {
                tracing::error!(redis.shard = shard.number(), "{lost}");
            }
            known.lost = lost;
        }
        let closed = match self.extent {
            Extent::Whole => all.iter().find_map(|known| known.lost.clone()),
            Extent::Shard => all.get(shard.index()).and_then(|known| known.lost.clone()),
        };
        closed.map_or(Ok(()), |lost| Err(Trouble::Lost(lost)))
    }

    /// Whether a write may be begun; what its own shard is like the script finds out.
    pub fn is_open(&self) -> Result<(), Trouble> {
        match self.extent {
            Extent::Whole => self.lost().map_or(Ok(()), |lost| Err(Trouble::Lost(lost))),
            Extent::Shard => Ok(()),
        }
    }

    /// What is lost, if anything is.
    pub fn lost(&self) -> Option<Arc<str>> {
        self.lock().iter().find_map(|known| known.lost.clone())
    }

    fn lock(&self) -> MutexGuard<'_, [Known; SHARDS as usize]> {
        // Each row is whole after every statement: a panic elsewhere cannot have torn it.
        self.known.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Known {
    fn compare(&mut self, shard: Shard, expected: Option<(Epoch, u64)>, seen: &Seen) -> Option<Arc<str>> {
        let shard = shard.number();
        // An answer may be older than what was learned while it was on its way.
        let head = expected.filter(|(epoch, _)| Some(*epoch) == self.epoch).map_or(0, |(_, head)| head);
        match (self.epoch, seen.epoch) {
            (Some(ours), Some(epoch)) if ours == epoch && seen.head >= head => None,
            (Some(ours), Some(epoch)) if ours == epoch => Some(Arc::from(format!(
                "redis has {} events in shard {shard} and had {head}: it was restored from an old copy, or a failover lost \
                 what was acknowledged",
                seen.head
            ))),
            (None, Some(epoch)) => {
                *self = Self { epoch: Some(epoch), head: 0, lost: None };
                None
            }
            // Nothing happened in the one that is gone, or somebody has looked after what had.
            (Some(ours), Some(epoch)) if self.head == 0 || seen.after.contains(&ours) => {
                *self = Self { epoch: Some(epoch), head: 0, lost: None };
                None
            }
            (Some(_), Some(_)) => {
                Some(Arc::from(format!("redis has another shard {shard} than the one with {} events", self.head)))
            }
            (Some(_), None) if self.head == 0 => {
                self.epoch = None;
                Some(Arc::from(format!("redis has no shard {shard} yet")))
            }
            (Some(_), None) => {
                Some(Arc::from(format!("redis has lost shard {shard}, which had {} events: it was emptied", self.head)))
            }
            (None, None) => Some(Arc::from(format!("redis has no shard {shard} yet"))),
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
        guard.meet(shard(), guard.expected(shard()), seen)
    }

    fn seen(epoch: Epoch, head: u64) -> Seen {
        Seen { epoch: Some(epoch), head, after: Vec::new() }
    }

    #[test]
    fn what_is_behind_emptied_or_another_is_not_believed() {
        let guard = Guard::default();
        assert!(meet(&guard, seen(ONE, 5)).is_ok());
        guard.lasts(shard(), ONE, 5);
        assert!(meet(&guard, seen(ONE, 5)).is_ok());
        for bad in [seen(ONE, 4), seen(OTHER, 5), Seen { epoch: None, head: 0, after: Vec::new() }] {
            assert!(matches!(meet(&guard, bad.clone()), Err(Trouble::Lost(_))), "{bad:?}");
            assert!(guard.lost().is_some());
        }
        assert!(meet(&guard, seen(ONE, 6)).is_ok());
        assert_eq!(guard.lost(), None);
    }

    #[test]
    fn an_answer_that_is_older_than_what_was_learned_meanwhile_is_no_loss() {
        let guard = Guard::default();
        assert!(meet(&guard, seen(ONE, 5)).is_ok());
        guard.lasts(shard(), ONE, 5);
        let asked = guard.expected(shard());
        guard.lasts(shard(), ONE, 6);
        assert!(guard.meet(shard(), asked, seen(ONE, 5)).is_ok());
        assert!(meet(&guard, seen(ONE, 5)).is_err());
    }

    #[test]
    fn what_an_operator_has_settled_is_taken_up() {
        let guard = Guard::default();
        guard.remember(&Origin { epoch: ONE, shard: 0, number: 9 });
        assert!(meet(&guard, Seen { after: vec![[3; 16], ONE], ..seen(OTHER, 0) }).is_ok());
        assert_eq!(guard.expected(shard()), Some((OTHER, 0)));
    }

    #[test]
    fn where_nothing_happened_nothing_is_lost() {
        let guard = Guard::default();
        assert!(meet(&guard, seen(ONE, 7)).is_ok());
        assert!(meet(&guard, seen(OTHER, 0)).is_ok());
    }
}
