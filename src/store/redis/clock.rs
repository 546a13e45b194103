//! The store's clock: the time of the Redis server, as a replica knows it between two answers.
//!
//! It is anchored at every answer that says the time, goes on by this machine's monotonic clock, and never tells an earlier
//! time than before. It is never ahead of Redis by more than the clocks' drift since the last answer, and behind by at
//! most one way of a message: what is due by this clock is due by Redis. Nothing is decided by it alone: every script
//! looks at Redis' own time. Before the first answer it is the machine's clock.

use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Instant;

use crate::domain::Timestamp;
use crate::store::Clock;

#[derive(Debug)]
pub struct SharedClock {
    machine: Clock,
    inner: Mutex<Inner>,
}

#[derive(Debug)]
struct Inner {
    anchor: Option<Anchor>,
    told: Timestamp,
}

#[derive(Debug, Clone, Copy)]
struct Anchor {
    time: Timestamp,
    at: Instant,
}

impl Anchor {
    fn after(&self, at: Instant) -> Timestamp {
        self.time.after(at.saturating_duration_since(self.at))
    }
}

impl SharedClock {
    pub fn new(machine: Clock) -> Self {
        Self { machine, inner: Mutex::new(Inner { anchor: None, told: Timestamp::default() }) }
    }

    /// Redis said that it was `time` at some moment between `asked` and now.
    pub fn heard(&self, time: Timestamp, asked: Instant) {
        let now = Instant::now();
        let heard = Anchor { time, at: now };
        let latest = time.after(now.saturating_duration_since(asked));
        let mut inner = self.lock();
        // Within what is possible, the later one is nearer to the truth: messages are late, never early.
        match inner.anchor {
            Some(anchor) if anchor.after(now) >= time && anchor.after(now) <= latest => {}
            Some(_) | None => inner.anchor = Some(heard),
        }
    }

    pub fn now(&self) -> Timestamp {
        let machine = self.machine.now();
        let mut inner = self.lock();
        let now = inner.anchor.map_or(machine, |anchor| anchor.after(Instant::now()));
        if inner.anchor.is_some() {
            inner.told = inner.told.max(now);
            inner.told
        } else {
            now
        }
    }

    /// How far the machine's clock is ahead of Redis' (positive) or behind, in microseconds.
    pub fn skew(&self) -> Option<i64> {
        let machine = self.machine.now();
        let anchor = self.lock().anchor?;
        Some(machine.as_micros().saturating_sub(anchor.after(Instant::now()).as_micros()))
    }

    fn lock(&self) -> MutexGuard<'_, Inner> {
        // Plain numbers: a panic elsewhere cannot have torn them.
        self.inner.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;
    use crate::store::ManualClock;

    const MACHINE: Timestamp = Timestamp::from_micros(1_800_000_000_000_000);

    fn clock() -> SharedClock {
        SharedClock::new(Clock::manual(&ManualClock::starting_at(MACHINE), Timestamp::default()))
    }

    #[test]
    fn it_is_the_time_of_redis_whatever_the_machine_says() {
        let clock = clock();
        assert_eq!(clock.now(), MACHINE);
        let redis = MACHINE.before(Duration::from_secs(3_600));
        clock.heard(redis, Instant::now());
        assert!(redis.until(clock.now()) < Duration::from_secs(60) && clock.now() >= redis);
    }

    #[test]
    fn it_does_not_go_back_and_follows_a_redis_that_is_ahead() {
        let clock = clock();
        clock.heard(MACHINE, Instant::now());
        let told = clock.now();
        clock.heard(MACHINE.before(Duration::from_secs(60)), Instant::now());
        assert!(clock.now() >= told);
        let ahead = MACHINE.after(Duration::from_secs(60));
        clock.heard(ahead, Instant::now());
        assert!(clock.now() >= ahead);
    }
}
