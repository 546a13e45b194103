//! The store's clock: the time of the Redis server, as a replica knows it between two answers.
//!
//! It is anchored at every answer that says the time, goes on by this machine's monotonic clock, and never tells an earlier
//! time than before. It is never ahead of Redis by more than the clocks' drift since the last answer, and behind by at
//! most one way of a message: what is due by this clock is due by Redis, which is told the time that its caller goes by.
//! Nothing is decided by it alone: every script looks at Redis' own time. Before the first answer it is the machine's.
//!
//! Over a failover to a server whose clock is behind, time stands still until that has come so far. A clock that is far off
//! what it was ([`OFF_MAX`]) is not followed at all: what needs an approval is refused while it is.

use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use super::trouble::Trouble;
use crate::domain::Timestamp;
use crate::store::Clock;
use crate::store::clock::JUMP_MIN;

/// How far Redis' clock may move without time passing, or be behind a time that was told.
pub const OFF_MAX: Duration = JUMP_MIN;

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
    /// What the machine's clock said then, which goes on while the machine sleeps.
    machine: Timestamp,
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
    ///
    /// # Errors
    /// [`Trouble::Clock`] where that is far off what it said before; it is not believed.
    pub fn heard(&self, time: Timestamp, asked: Instant) -> Result<(), Trouble> {
        let (now, machine) = (Instant::now(), self.machine.now());
        let heard = Anchor { time, at: now, machine };
        let latest = time.after(now.saturating_duration_since(asked));
        let mut inner = self.lock();
        if let Some(anchor) = inner.anchor {
            let expected = anchor.after(now).max(anchor.time.after(anchor.machine.until(machine)));
            check(time, expected, inner.told)?;
        }
        // Within what is possible, the later one is nearer to the truth: messages are late, never early.
        match inner.anchor {
            Some(anchor) if anchor.after(now) >= time && anchor.after(now) <= latest => {}
            Some(_) | None => inner.anchor = Some(heard),
        }
        Ok(())
    }

    /// This time was told before, by another replica or in sight of it; `time` is what Redis' clock says.
    ///
    /// # Errors
    /// [`Trouble::Clock`] where Redis' clock is far behind it.
    pub fn told(&self, told: Timestamp, time: Timestamp) -> Result<(), Trouble> {
        check(time, time, told)?;
        let mut inner = self.lock();
        inner.told = inner.told.max(told);
        Ok(())
    }

    /// The machine's own time: for what others dated by such clocks, credentials above all.
    pub fn machine(&self) -> Timestamp {
        self.machine.now()
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

/// Whether a clock is near enough to where it is expected, and to what was told by it.
fn check(time: Timestamp, expected: Timestamp, told: Timestamp) -> Result<(), Trouble> {
    let reference = if time > expected { expected } else { expected.max(told) };
    let off = time.as_micros().saturating_sub(reference.as_micros());
    let is_near = Duration::from_micros(off.unsigned_abs()) <= OFF_MAX;
    if is_near { Ok(()) } else { Err(Trouble::Clock { seconds: off / 1_000_000 }) }
}

#[cfg(test)]
mod tests {
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
        clock.heard(redis, Instant::now()).unwrap();
        assert_eq!(clock.machine(), MACHINE);
        assert!(redis.until(clock.now()) < Duration::from_secs(60) && clock.now() >= redis);
    }

    #[test]
    fn it_does_not_go_back_and_follows_a_redis_that_is_ahead() {
        let clock = clock();
        clock.heard(MACHINE, Instant::now()).unwrap();
        let told = clock.now();
        clock.heard(MACHINE.before(Duration::from_secs(20)), Instant::now()).unwrap();
        assert!(clock.now() >= told);
        let ahead = MACHINE.after(Duration::from_secs(5));
        clock.heard(ahead, Instant::now()).unwrap();
        assert!(clock.now() >= ahead);
        let told = ahead.after(Duration::from_secs(9));
        clock.told(told, ahead).unwrap();
        assert_eq!(clock.now(), told);
    }

    #[test]
    fn a_clock_that_jumps_is_not_followed_and_one_far_behind_is_not_waited_for() {
        let clock = clock();
        clock.heard(MACHINE, Instant::now()).unwrap();
        let far = Duration::from_secs(60);
        for wrong in [MACHINE.after(far), MACHINE.before(far)] {
            assert!(matches!(clock.heard(wrong, Instant::now()), Err(Trouble::Clock { .. })));
        }
        assert!(clock.told(MACHINE.after(far), MACHINE).is_err());
        assert!(clock.now() < MACHINE.after(far));
        clock.heard(MACHINE.after(Duration::from_secs(1)), Instant::now()).unwrap();
    }

    #[test]
    fn a_machine_that_slept_takes_redis_time_for_what_it_is() {
        let manual = ManualClock::starting_at(MACHINE);
        let clock = SharedClock::new(Clock::manual(&manual, Timestamp::default()));
        clock.heard(MACHINE, Instant::now()).unwrap();
        manual.advance(Duration::from_secs(3_600));
        clock.heard(MACHINE.after(Duration::from_secs(3_600)), Instant::now()).unwrap();
    }
}
