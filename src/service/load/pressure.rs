//! How long calls wait for a processor, from their arrival until they are begun, and which part of them is taken so that they do
//! not wait longer than they should.
//!
//! The measure is the queue itself, not how long answers take: a slow disk or a slow client makes no queue, and turning calls away
//! would help neither. The part is set anew a few dozen times a second, by how far the wait is from its target and which way it
//! moves (the idea of PIE, RFC 8033), by factors: the same steps are right for twice as much as can be answered and for
//! fifty times as much. A limit of calls under way in its place would need to know how long an answer takes without a queue, which
//! nobody can measure while there is one.

use std::sync::atomic::{AtomicU32, AtomicU64, AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use super::Why;
use crate::measure::nanoseconds;

/// How often the part is set.
const INTERVAL: Duration = Duration::from_millis(20);
/// With fewer waiting there is no queue of ours: the machine is busy with something else, and turning calls away would not help.
const QUEUE_MIN: usize = 32;
/// More are turned away whatever they wait: what waits takes memory.
const QUEUE_MAX: usize = 16_384;
/// By how much the part falls (e to this power) in an interval for each time that the wait is over its target ..
const GAIN: f32 = 0.05;
/// .. and for each time that it has grown since the last interval, which ends swings before they begin.
const DAMPING: f32 = 0.35;
/// Beyond this a wait is not longer but as long.
const OVER_MAX: f32 = 2.0;
/// The least that is taken: without any, nobody would know when there is room again.
const ADMITTED_MIN: f32 = 1.0 / 256.0;
/// All.
const ALL: u32 = u32::MAX;

#[derive(Debug)]
pub struct Pressure {
    born: Instant,
    target: Duration,
    /// Calls that came and are not begun.
    waiting: AtomicUsize,
    /// Of the calls begun in this interval: their number, and how long they waited together; nanoseconds.
    begun: AtomicU64,
    waited: AtomicU64,
    /// When this interval ends; nanoseconds since `born`.
    until: AtomicU64,
    /// The average wait of the last interval, nanoseconds.
    wait: AtomicU64,
    /// How far it was from the target; the bits of an `f32`.
    over: AtomicU32,
    /// The part that is taken, of `ALL`.
    admitted: AtomicU32,
    /// What the part leaves over: each call adds its part, and each whole is a call that is taken.
    carry: AtomicU32,
}

impl Pressure {
    pub fn new(target: Duration) -> Self {
        Self {
            born: Instant::now(),
            target: target.max(Duration::from_millis(1)),
            waiting: AtomicUsize::new(0),
            begun: AtomicU64::new(0),
            waited: AtomicU64::new(0),
            until: AtomicU64::new(0),
            wait: AtomicU64::new(0),
            over: AtomicU32::new((-1.0_f32).to_bits()),
            admitted: AtomicU32::new(ALL),
            carry: AtomicU32::new(0),
        }
    }

    /// Whether a call that comes now, and has so much time left, is taken.
    pub fn admit(&self, now: Instant, left: Option<Duration>) -> Result<(), Why> {
        self.look(now);
        let waiting = self.waiting.load(Ordering::Relaxed);
        if waiting < QUEUE_MIN {
            return Ok(());
        }
        if waiting >= QUEUE_MAX {
            return Err(Why::Queueing);
        }
        // Once to be begun, and once more when its record is durable.
        let needs = Duration::from_nanos(self.wait.load(Ordering::Relaxed).saturating_mul(2));
        if left.is_some_and(|left| left < needs) {
            return Err(Why::Deadline);
        }
        let admitted = self.admitted.load(Ordering::Relaxed);
        if admitted == ALL {
            return Ok(());
        }
        let before = self.carry.fetch_add(admitted, Ordering::Relaxed);
        if before.checked_add(admitted).is_none() { Ok(()) } else { Err(Why::Queueing) }
    }

    pub fn came(&self) {
        self.waiting.fetch_add(1, Ordering::Relaxed);
    }

    pub fn went(&self) {
        self.waiting.fetch_sub(1, Ordering::Relaxed);
    }

    pub fn began(&self, now: Instant, waited: Duration) {
        self.went();
        self.begun.fetch_add(1, Ordering::Relaxed);
        self.waited.fetch_add(nanoseconds(waited), Ordering::Relaxed);
        self.look(now);
    }

    pub fn admitted(&self, now: Instant) -> f64 {
        self.look(now);
        f64::from(self.admitted.load(Ordering::Relaxed)) / f64::from(ALL)
    }

    /// Sets the part, where an interval is over. Of those who see that it is, one does.
    fn look(&self, now: Instant) {
        let now = nanoseconds(now.saturating_duration_since(self.born));
        let until = self.until.load(Ordering::Relaxed);
        let next = now + nanoseconds(INTERVAL);
        if now < until || self.until.compare_exchange(until, next, Ordering::Relaxed, Ordering::Relaxed).is_err() {
            return;
        }
        let quiet = (now - until) / nanoseconds(INTERVAL);
        let begun = self.begun.swap(0, Ordering::Relaxed);
        let waited = self.waited.swap(0, Ordering::Relaxed);
        let Some(wait) = waited.checked_div(begun) else {
            if self.waiting.load(Ordering::Relaxed) < QUEUE_MIN {
                self.set(0, quiet);
            }
            return;
        };
        self.set(wait, 0);
    }

    /// By the wait of an interval, and for as many before it in which nothing came.
    #[expect(
        clippy::cast_precision_loss,
        reason = "how far a wait is from its target need not be known to the nanosecond"
    )]
    fn set(&self, wait: u64, quiet: u64) {
        let target = nanoseconds(self.target) as f32;
        let over = ((wait as f32 - target) / target).clamp(-1.0, OVER_MAX);
        let before = f32::from_bits(self.over.swap(over.to_bits(), Ordering::Relaxed));
        let was = self.admitted.load(Ordering::Relaxed);
        let factor = (-GAIN * over - DAMPING * (over - before) + GAIN * quiet.min(1_000) as f32).exp();
        let part = (was as f32 / ALL as f32 * factor).max(ADMITTED_MIN);
        #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "between 0 and 1, of all")]
        let now = if part >= 1.0 { ALL } else { (part * ALL as f32) as u32 };
        self.admitted.store(now, Ordering::Relaxed);
        self.wait.store(wait, Ordering::Relaxed);
        if was == ALL && now != ALL {
            tracing::debug!(wait.seconds = wait as f32 / 1e9, "calls wait too long: some are turned away");
        }
    }
}

#[cfg(test)]
mod tests {
    use std::collections::VecDeque;

    use super::*;

    const TARGET: Duration = Duration::from_millis(50);
    /// What a call takes of the only processor there is here.
    const WORK: Duration = Duration::from_micros(50);

    struct Run {
        begun: usize,
        in_time: usize,
        longest: Duration,
    }

    /// One processor and a clock that the test moves: calls come evenly, `times` as many as can be answered, for some seconds.
    fn storm(pressure: &Pressure, from: Duration, lasts: Duration, times: u32) -> Run {
        let start = pressure.born + from;
        let (mut now, mut next, mut queue) = (start, start, VecDeque::new());
        let mut run = Run { begun: 0, in_time: 0, longest: Duration::ZERO };
        while now < start + lasts {
            while next <= now {
                if pressure.admit(next, None).is_ok() {
                    pressure.came();
                    queue.push_back(next);
                }
                next += WORK / times;
            }
            now += WORK;
            let Some(came) = queue.pop_front() else { continue };
            let waited = now - came;
            pressure.began(now, waited);
            run.begun += 1;
            // The beginning of a storm is not what it settles at.
            if now > start + lasts / 2 {
                run.longest = run.longest.max(waited);
                run.in_time += usize::from(waited <= 4 * TARGET);
            }
        }
        queue.iter().for_each(|_| pressure.went());
        run
    }

    #[test]
    fn fault_68_ten_times_as_much_as_can_be_answered_keeps_the_processor_busy_and_the_wait_short() {
        for times in [2, 10, 50] {
            let pressure = Pressure::new(TARGET);
            let run = storm(&pressure, Duration::ZERO, Duration::from_secs(8), times);
            let most = 8 * 20_000;
            assert!(run.begun * 10 >= most * 9, "{times}: the processor was idle: {} of {most}", run.begun);
            assert!(run.in_time * 20 >= most * 9, "{times}: {} in time of {}", run.in_time, most / 2);
            assert!(run.longest < 6 * TARGET, "{times}: {:?}", run.longest);
        }
    }

    #[test]
    fn what_can_be_answered_is_taken_and_after_a_storm_everything_is_again() {
        let pressure = Pressure::new(TARGET);
        storm(&pressure, Duration::ZERO, Duration::from_secs(4), 10);
        assert!(pressure.admitted(pressure.born + Duration::from_secs(4)) < 0.3);
        let quiet = pressure.born + Duration::from_secs(7);
        assert!(pressure.admitted(quiet) >= 1.0);
        let run = storm(&pressure, Duration::from_secs(8), Duration::from_secs(1), 1);
        assert!(run.begun >= 19_000, "{}", run.begun);
    }

    #[test]
    fn a_call_that_would_be_too_late_is_turned_away_and_one_without_a_queue_never() {
        let pressure = Pressure::new(Duration::from_secs(10));
        let at = |millis| pressure.born + Duration::from_millis(millis);
        let left = |millis| Some(Duration::from_millis(millis));
        (0..100).for_each(|_| pressure.came());
        pressure.began(at(30), Duration::from_millis(40));
        pressure.began(at(60), Duration::from_millis(40));
        assert_eq!(pressure.admit(at(61), left(79)), Err(Why::Deadline));
        assert_eq!(pressure.admit(at(61), left(81)), Ok(()));
        assert_eq!(pressure.admit(at(61), None), Ok(()));
        (0..98).for_each(|_| pressure.went());
        assert_eq!(pressure.admit(at(61), left(1)), Ok(()));
    }
}
