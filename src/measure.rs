//! What is counted and timed while the server works: plain atomics, held by the part that does the work and read when somebody
//! scrapes ([`crate::telemetry`]). Nothing here allocates, locks or waits once it is made, and nothing knows of names or labels:
//! what a number is called is said in one place. What may be told apart is a closed set of ours, never a caller's word.

use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

/// How often something happened, or how much of it.
#[derive(Debug, Default)]
pub struct Counter(AtomicU64);

impl Counter {
    pub fn add(&self, more: u64) {
        self.0.fetch_add(more, Ordering::Relaxed);
    }

    pub fn count(&self) {
        self.add(1);
    }

    #[must_use]
    pub fn get(&self) -> u64 {
        self.0.load(Ordering::Relaxed)
    }
}

/// Counters told apart by the number of what they count: an enum's discriminant, a place in a table.
#[derive(Debug)]
pub struct Counters<const KINDS: usize>([Counter; KINDS]);

impl<const KINDS: usize> Default for Counters<KINDS> {
    fn default() -> Self {
        Self(std::array::from_fn(|_| Counter::default()))
    }
}

impl<const KINDS: usize> Counters<KINDS> {
    /// Counts one of a kind. One that is not in the table counts as the last: a number that is off is no reason to fail.
    pub fn count(&self, kind: usize) {
        if let Some(counter) = self.0.get(kind).or(self.0.last()) {
            counter.count();
        }
    }

    /// Of each kind, in order.
    pub fn all(&self) -> impl Iterator<Item = u64> {
        self.0.iter().map(Counter::get)
    }

    #[must_use]
    pub fn get(&self, kind: usize) -> u64 {
        self.0.get(kind).map_or(0, Counter::get)
    }
}

/// How many there are now of what comes and goes.
#[derive(Debug, Default)]
pub struct Level(AtomicU64);

impl Level {
    pub fn rise(&self) {
        self.0.fetch_add(1, Ordering::Relaxed);
    }

    pub fn fall(&self) {
        self.0.fetch_sub(1, Ordering::Relaxed);
    }

    #[must_use]
    pub fn get(&self) -> u64 {
        self.0.load(Ordering::Relaxed)
    }
}

/// Upper bounds of the buckets of every duration, in seconds: from an evaluation in memory to a disk that hangs.
pub const BOUNDS_SECONDS: [f64; 18] =
    [1e-5, 2.5e-5, 5e-5, 1e-4, 2.5e-4, 5e-4, 1e-3, 2.5e-3, 5e-3, 1e-2, 2.5e-2, 5e-2, 0.1, 0.25, 0.5, 1.0, 2.5, 10.0];
const BUCKETS: usize = BOUNDS_SECONDS.len() + 1;

/// How long something took, how often.
#[derive(Debug)]
pub struct Durations {
    /// By bucket; the last one has no bound.
    counts: [AtomicU64; BUCKETS],
    /// Overflows after five centuries.
    nanoseconds: AtomicU64,
}

impl Default for Durations {
    fn default() -> Self {
        Self { counts: std::array::from_fn(|_| AtomicU64::default()), nanoseconds: AtomicU64::default() }
    }
}

/// The durations of one scrape.
#[derive(Debug, Clone, PartialEq)]
pub struct Reading {
    pub sum_seconds: f64,
    /// Upper bound in seconds and how many were in the bucket alone; the last bound is `f64::INFINITY`.
    pub buckets: Vec<(f64, u64)>,
}

impl Reading {
    #[must_use]
    pub fn count(&self) -> u64 {
        self.buckets.iter().map(|(_, count)| count).sum()
    }
}

/// A span as one number; one of more than 584 years is as long as that.
#[must_use]
pub fn nanoseconds(span: Duration) -> u64 {
    u64::try_from(span.as_nanos()).unwrap_or(u64::MAX)
}

impl Durations {
    pub fn record(&self, took: Duration) {
        let seconds = took.as_secs_f64();
        let bucket = BOUNDS_SECONDS.partition_point(|bound| *bound < seconds);
        if let Some(count) = self.counts.get(bucket) {
            count.fetch_add(1, Ordering::Relaxed);
        }
        self.nanoseconds.fetch_add(nanoseconds(took), Ordering::Relaxed);
    }

    /// What is there now. Counts and sum may be apart by what is being recorded at this moment.
    #[must_use]
    pub fn read(&self) -> Reading {
        let bounds = BOUNDS_SECONDS.into_iter().chain([f64::INFINITY]);
        let counts = self.counts.iter().map(|count| count.load(Ordering::Relaxed));
        let sum_seconds = Duration::from_nanos(self.nanoseconds.load(Ordering::Relaxed)).as_secs_f64();
        Reading { sum_seconds, buckets: bounds.zip(counts).collect() }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_duration_is_in_the_first_bucket_whose_bound_it_does_not_exceed() {
        let durations = Durations::default();
        for (took, bound) in [
            (Duration::ZERO, 1e-5),
            (Duration::from_micros(10), 1e-5),
            (Duration::from_nanos(10_001), 2.5e-5),
            (Duration::from_millis(1), 1e-3),
            (Duration::from_secs(10), 10.0),
            (Duration::from_secs(11), f64::INFINITY),
        ] {
            let before = durations.read();
            durations.record(took);
            let after = durations.read();
            let grown = before.buckets.iter().zip(&after.buckets).filter(|(before, after)| before.1 != after.1);
            let grown: Vec<f64> = grown.map(|(_, (bound, _))| *bound).collect();
            assert_eq!(grown, [bound], "{took:?}");
            assert_eq!(after.count(), before.count() + 1);
        }
        assert!((durations.read().sum_seconds - 21.001_020_001).abs() < 1e-9);
    }

    #[test]
    fn a_kind_that_is_not_in_the_table_counts_as_the_last() {
        let counters = Counters::<3>::default();
        [0, 2, 7].into_iter().for_each(|kind| counters.count(kind));
        assert_eq!(counters.all().collect::<Vec<_>>(), [1, 0, 2]);
        assert_eq!(counters.get(7), 0);
    }
}
