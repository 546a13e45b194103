//! Saying no costs a processor too, and who hears it at once may come back at once: a storm of those would leave nothing for the calls that
//! are taken. So no more is said in a second than that; further ones wait for their turn, which costs nothing, and keeps their
//! callers from coming back meanwhile. In quiet times a refusal leaves at once.

use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use crate::measure::nanoseconds;

/// How many refusals leave in a second for each processor: about a twentieth of its time.
const PER_SECOND: u64 = 4_000;
/// The longest that one waits. Past so many a refusal leaves late and not later.
const PAUSE_MAX: Duration = Duration::from_secs(1);

#[derive(Debug)]
pub struct Pace {
    born: Instant,
    /// Nanoseconds from one refusal to the next.
    interval: u64,
    /// When the next one may leave; nanoseconds since `born`.
    next: AtomicU64,
}

impl Pace {
    pub fn new() -> Self {
        let processors = std::thread::available_parallelism().map_or(1, |processors| processors.get() as u64);
        Self::of(1_000_000_000 / (PER_SECOND * processors))
    }

    fn of(interval: u64) -> Self {
        Self { born: Instant::now(), interval, next: AtomicU64::new(0) }
    }

    /// How long a refusal waits that is ready now.
    pub fn pause(&self, now: Instant) -> Duration {
        let now = nanoseconds(now.saturating_duration_since(self.born));
        let after = |next: u64| {
            let turn = next.max(now).saturating_add(self.interval);
            Some(turn.min(now.saturating_add(nanoseconds(PAUSE_MAX))))
        };
        match self.next.fetch_update(Ordering::Relaxed, Ordering::Relaxed, after) {
            Ok(turn) | Err(turn) => Duration::from_nanos(turn.saturating_sub(now)),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn refusals_leave_at_once_in_quiet_times_and_so_many_in_a_second_in_a_storm() {
        let pace = Pace::of(1_000_000);
        let at = |millis| pace.born + Duration::from_millis(millis);
        assert_eq!(pace.pause(at(100)), Duration::ZERO);
        assert_eq!(pace.pause(at(102)), Duration::ZERO);
        let pauses: Vec<_> = (0..5_000).map(|_| pace.pause(at(200))).collect();
        assert_eq!(pauses[0], Duration::ZERO);
        assert_eq!(pauses[500], Duration::from_millis(500));
        assert_eq!(pauses[4_999], PAUSE_MAX);
        assert_eq!(pace.pause(at(1_100)), Duration::from_millis(100));
        assert_eq!(pace.pause(at(9_000)), Duration::ZERO);
    }
}
