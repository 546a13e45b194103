//! The store's clock: wall time that never goes back and is not fooled by jumps (invariant 6).
//!
//! Two sources are compared on every reading: the wall clock and the boot clock, which also counts while the machine
//! sleeps. While they agree to within [`JUMP_MIN`], time follows the wall. When the wall jumps, time goes on by the boot
//! clock alone: one hour back opens nothing and prolongs nothing, one hour forward expires nothing early. The jump is
//! reported until the two agree again.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use tokio::sync::watch;

use crate::domain::Timestamp;

/// From this difference on, the wall clock is not believed.
pub const JUMP_MIN: Duration = Duration::from_secs(30);
/// The longest sleep without looking at the clocks again.
const NAP_MAX: Duration = Duration::from_secs(5);

/// A wall clock that moved without time passing.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Jump {
    /// How far the wall is ahead (positive) or behind, in microseconds.
    pub micros: i64,
}

#[derive(Debug)]
pub struct Clock {
    source: Source,
    last: Mutex<Last>,
}

#[derive(Debug, Clone)]
enum Source {
    System,
    Manual(ManualClock),
}

#[derive(Debug, Clone, Copy)]
struct Reading {
    wall: Timestamp,
    boot: Duration,
}

#[derive(Debug)]
struct Last {
    now: Timestamp,
    boot: Duration,
    jump: Option<Jump>,
}

impl Clock {
    /// The machine's clocks, never earlier than `floor` (the last record on disk).
    #[must_use]
    pub fn system(floor: Timestamp) -> Self {
        Self::starting(Source::System, floor)
    }

    /// A clock that stands still until it is moved.
    #[must_use]
    pub fn manual(manual: &ManualClock, floor: Timestamp) -> Self {
        Self::starting(Source::Manual(manual.clone()), floor)
    }

    fn starting(source: Source, floor: Timestamp) -> Self {
        let Reading { wall, boot } = source.read();
        Self { source, last: Mutex::new(Last { now: wall.max(floor), boot, jump: None }) }
    }

    /// The time. Never earlier than any time told before.
    #[must_use]
    pub fn now(&self) -> Timestamp {
        let mut last = self.last();
        // Read under the lock, so that readings are folded in the order in which they were taken.
        last.follow(self.source.read());
        last.now
    }

    /// The jump under way, if the clocks disagree.
    #[must_use]
    pub fn jump(&self) -> Option<Jump> {
        self.last().jump
    }

    /// Sleeps until about `moment`, at the most some seconds, or until a manual clock is moved.
    pub async fn nap_until(&self, moment: Timestamp) {
        match &self.source {
            Source::System => tokio::time::sleep(self.now().until(moment).min(NAP_MAX)).await,
            Source::Manual(manual) => {
                // Taken before the look: a move in between is seen.
                let mut moved = manual.reading.subscribe();
                while !moment.is_due(self.now()) && moved.changed().await.is_ok() {}
            }
        }
    }

    fn last(&self) -> MutexGuard<'_, Last> {
        // Plain numbers, whole after every statement: a panic elsewhere cannot have torn them.
        self.last.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Last {
    fn follow(&mut self, reading: Reading) {
        let expected = self.now.after(reading.boot.saturating_sub(self.boot));
        let drift = reading.wall.as_micros().saturating_sub(expected.as_micros());
        let jumped = Duration::from_micros(drift.unsigned_abs()) > JUMP_MIN;
        self.now = if jumped { expected } else { expected.max(reading.wall) };
        self.jump = jumped.then_some(Jump { micros: drift });
        self.boot = self.boot.max(reading.boot);
    }
}

impl Source {
    fn read(&self) -> Reading {
        match self {
            Self::System => Reading { wall: wall_clock(), boot: boot_clock() },
            Self::Manual(manual) => *manual.reading.borrow(),
        }
    }
}

/// By the C library, as everybody asks it: there libfaketime can lie to a whole process, as machines do.
fn wall_clock() -> Timestamp {
    // Before 1970 nothing was decided here.
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    Timestamp::default().after(since)
}

fn boot_clock() -> Duration {
    let now = rustix::time::clock_gettime(rustix::time::ClockId::Boottime);
    let seconds = u64::try_from(now.tv_sec).unwrap_or(0);
    let nanoseconds = u32::try_from(now.tv_nsec).unwrap_or(0);
    Duration::new(seconds, nanoseconds)
}

/// Time for tests: it passes when they say so.
#[derive(Debug, Clone)]
pub struct ManualClock {
    reading: Arc<watch::Sender<Reading>>,
}

impl ManualClock {
    #[must_use]
    pub fn starting_at(wall: Timestamp) -> Self {
        Self { reading: Arc::new(watch::Sender::new(Reading { wall, boot: Duration::from_secs(1_000_000) })) }
    }

    /// Time passes.
    pub fn advance(&self, span: Duration) {
        self.reading.send_modify(|reading| {
            reading.wall = reading.wall.after(span);
            reading.boot += span;
        });
    }

    /// Somebody sets the wall clock; no time passes.
    pub fn jump(&self, micros: i64) {
        self.reading.send_modify(|reading| {
            reading.wall = Timestamp::from_micros(reading.wall.as_micros().saturating_add(micros));
        });
    }

    /// The wall clock's reading.
    #[must_use]
    pub fn wall(&self) -> Timestamp {
        self.reading.borrow().wall
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const START: Timestamp = Timestamp::from_micros(1_800_000_000_000_000);
    const HOUR: i64 = 3_600_000_000;

    fn clock() -> (ManualClock, Clock) {
        let manual = ManualClock::starting_at(START);
        let clock = Clock::manual(&manual, Timestamp::default());
        (manual, clock)
    }

    #[test]
    fn fault_30_an_hour_back_prolongs_nothing() {
        let (manual, clock) = clock();
        let deadline = clock.now().after(Duration::from_secs(60));
        manual.jump(-HOUR);
        assert_eq!(clock.now(), START);
        assert_eq!(clock.jump(), Some(Jump { micros: -HOUR }));
        manual.advance(Duration::from_secs(60));
        assert!(deadline.is_due(clock.now()));
    }

    #[test]
    fn fault_31_an_hour_forward_expires_nothing_early() {
        let (manual, clock) = clock();
        let deadline = clock.now().after(Duration::from_secs(60));
        manual.jump(HOUR);
        assert!(!deadline.is_due(clock.now()));
        manual.advance(Duration::from_secs(59));
        assert!(!deadline.is_due(clock.now()));
        manual.advance(Duration::from_secs(1));
        assert!(deadline.is_due(clock.now()));
    }

    #[test]
    fn a_jump_that_is_taken_back_is_forgotten() {
        let (manual, clock) = clock();
        manual.jump(HOUR);
        let _ = clock.now();
        assert!(clock.jump().is_some());
        manual.jump(-HOUR);
        let _ = clock.now();
        assert_eq!(clock.jump(), None);
    }

    #[test]
    fn a_small_correction_is_followed_forward_and_never_back() {
        let (manual, clock) = clock();
        manual.jump(5_000_000);
        assert_eq!(clock.now(), START.after(Duration::from_secs(5)));
        manual.jump(-5_000_000);
        assert_eq!(clock.now(), START.after(Duration::from_secs(5)));
    }

    #[tokio::test]
    async fn a_nap_ends_when_time_has_passed_and_not_when_the_wall_was_set() {
        let (manual, clock) = clock();
        let deadline = clock.now().after(Duration::from_secs(60));
        manual.jump(HOUR);
        let nap = clock.nap_until(deadline);
        tokio::pin!(nap);
        assert!(futures_util::poll!(&mut nap).is_pending());
        manual.jump(HOUR);
        assert!(futures_util::poll!(&mut nap).is_pending());
        manual.advance(Duration::from_secs(60));
        assert!(futures_util::poll!(&mut nap).is_ready());
    }

    #[test]
    fn time_starts_no_earlier_than_the_last_record() {
        let manual = ManualClock::starting_at(START);
        let floor = START.after(Duration::from_secs(7));
        assert_eq!(Clock::manual(&manual, floor).now(), floor);
    }
}
