//! Refusals of callers whom nobody knows are on record too, but not as many as they like: the journal's disk and its queue
//! are for those who may ask.

use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use crate::domain::Timestamp;

/// Records at once after a quiet time.
const BURST: u32 = 1_000;
/// One more for each of these.
const INTERVAL: Duration = Duration::from_millis(10);

/// A token bucket.
#[derive(Debug, Default)]
pub(super) struct Strangers {
    bucket: Mutex<Bucket>,
}

#[derive(Debug)]
struct Bucket {
    left: u32,
    filled_at: Timestamp,
    passed_over: u64,
}

impl Default for Bucket {
    fn default() -> Self {
        Self { left: BURST, filled_at: Timestamp::default(), passed_over: 0 }
    }
}

impl Strangers {
    /// Whether one more refusal of a stranger goes on record. Says in the log how many did not.
    pub fn admit(&self, now: Timestamp) -> bool {
        // Three numbers, each right by itself.
        let mut bucket = self.bucket.lock().unwrap_or_else(PoisonError::into_inner);
        bucket.fill(now);
        let Some(left) = bucket.left.checked_sub(1) else {
            bucket.passed_over += 1;
            return false;
        };
        bucket.left = left;
        let passed_over = std::mem::take(&mut bucket.passed_over);
        drop(bucket);
        if passed_over > 0 {
            tracing::warn!(refusals = passed_over, "too many unauthenticated calls: some refusals are not on record");
        }
        true
    }
}

impl Bucket {
    fn fill(&mut self, now: Timestamp) {
        let more = self.filled_at.until(now).as_micros() / INTERVAL.as_micros();
        if more > 0 {
            self.left = self.left.saturating_add(u32::try_from(more).unwrap_or(u32::MAX)).min(BURST);
            self.filled_at = now;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_flood_of_strangers_fills_no_disk_and_time_makes_room_again() {
        let strangers = Strangers::default();
        let now = Timestamp::from_micros(1_800_000_000_000_000);
        let admitted = (0..10 * BURST).filter(|_| strangers.admit(now)).count();
        assert_eq!(admitted, BURST as usize);
        assert!(!strangers.admit(now.after(INTERVAL / 2)));
        assert!(strangers.admit(now.after(INTERVAL)));
        assert!(!strangers.admit(now.after(INTERVAL)));
    }
}
