//! What a store counts.

use crate::measure::{Counter, Durations};

#[derive(Debug, Default)]
pub struct Meters {
    /// From the commit's begin to the fact being durable, successes only; for a shared store, its own time included.
    pub commits: Durations,
    /// Commits that somebody else, or time, was faster than.
    pub conflicts: Counter,
    /// Commits that could not be made: out of reach, full, too large.
    pub failures: Counter,
    /// A transition that was checked and did not apply: must never be.
    pub contradictions: Counter,
    /// Connections to a shared store that were given up.
    pub connections_lost: Counter,
}

impl Meters {
    /// Counts what a commit came to.
    pub fn committed<T>(&self, began: std::time::Instant, result: &Result<T, super::CommitError>) {
        match result {
            Ok(_) => self.commits.record(began.elapsed()),
            Err(super::CommitError::Conflict) => self.conflicts.count(),
            Err(_) => self.failures.count(),
        }
    }
}
