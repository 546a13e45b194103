//! What a replica knows by itself: answers under idempotency keys to queries that no approval bore on, and for which
//! queries an approval is pending, as far as it has heard. It is what plain queries are answered by, with Redis or without.
//!
//! Such an answer is remembered by this replica alone: under the same key another one decides the query again, which uses
//! up nothing. An approval that another replica opened a moment ago may not have been heard of yet; the query is then
//! answered as policies stand today, which no gate forbids.

use std::collections::BTreeSet;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use super::keys::{SHARDS, Shard};
use crate::domain::{ApprovalId, Binding, Decided, IdempotencyKey, Timestamp};
use crate::store::answers::{Answers, key_of};
use crate::store::embedded::Limits;
use crate::store::{CommitError, Here};

pub struct Memory {
    limits: Limits,
    answers: Mutex<Answers>,
    pending: Mutex<BTreeSet<(u64, u64)>>,
    /// Of each shard, whether everything that was pending when this replica began to listen is known, and nothing was
    /// missed since.
    complete: [AtomicBool; SHARDS as usize],
}

/// Old answers that one new one cleans up: more than it adds.
const FORGET_PER_ANSWER: usize = 2;

impl Memory {
    pub fn new(limits: Limits) -> Self {
        Self { limits, answers: Mutex::default(), pending: Mutex::default(), complete: Default::default() }
    }

    pub fn here(&self, binding: &Binding, key: Option<&IdempotencyKey>, now: Timestamp) -> Here {
        let binding = first_bytes(&binding.0);
        let may_be_pending = lock(&self.pending).range((binding, 0)..=(binding, u64::MAX)).next().is_some();
        Here { answer: key.and_then(|key| lock(&self.answers).get(key, &self.limits, now)), may_be_pending }
    }

    /// Records a decision by `record`, which tells its place in the journal, unless its key has another answer by now.
    ///
    /// INVARIANT: one key, one answer. A decision under a key that was answered is a lost race, unless it was made in sight
    /// of that answer.
    pub fn answer<T>(
        &self,
        decided: &Decided,
        now: Timestamp,
        record: impl FnOnce() -> Result<(T, u64), CommitError>,
    ) -> Result<T, CommitError> {
        let Some(key) = key_of(decided) else { return record().map(|(recorded, _)| recorded) };
        let mut answers = lock(&self.answers);
        let earlier = answers.get(&key, &self.limits, now);
        let in_sight = |earlier: Arc<Decided>| [decided.repeats, decided.follows].contains(&Some(earlier.id));
        if !earlier.is_none_or(in_sight) {
            return Err(CommitError::Conflict);
        }
        let (recorded, sequence) = record()?;
        answers.remember(decided, sequence, now, &self.limits);
        for _ in 0..FORGET_PER_ANSWER {
            answers.forget(&self.limits, now);
        }
        Ok(recorded)
    }

    /// Whether all that is pending in a shard is known. Until then an approval may be for any query.
    pub fn is_complete(&self, shard: Shard) -> bool {
        self.complete.get(shard.index()).is_some_and(|complete| complete.load(Ordering::Acquire))
    }

    pub fn set_complete(&self, shard: Shard, is_complete: bool) {
        if let Some(complete) = self.complete.get(shard.index()) {
            complete.store(is_complete, Ordering::Release);
        }
    }

    /// An approval is pending.
    pub fn opened(&self, binding: &Binding, id: ApprovalId) {
        lock(&self.pending).insert(entry(binding, id));
    }

    /// An approval is not pending any more.
    pub fn settled(&self, binding: &Binding, id: ApprovalId) {
        lock(&self.pending).remove(&entry(binding, id));
    }
}

fn entry(binding: &Binding, id: ApprovalId) -> (u64, u64) {
    // The random part of an id; the first half is time.
    (first_bytes(&binding.0), id.as_bytes().last_chunk().map_or(0, |bytes| u64::from_be_bytes(*bytes)))
}

/// Enough to tell bindings apart: one too many only asks the store.
fn first_bytes(bytes: &[u8]) -> u64 {
    bytes.first_chunk().map_or(0, |bytes| u64::from_be_bytes(*bytes))
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    // Plain collections, whole after every statement: a panic elsewhere cannot have torn them.
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
