//! When a delivery that failed is tried again, and when no more.

use std::time::Duration;

/// Limits on trying.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Retry {
    /// Before the second attempt; doubled before each further one.
    pub first: Duration,
    /// The longest wait of our own. An endpoint's `Retry-After` may ask for more, up to `asked_max`.
    pub longest: Duration,
    pub asked_max: Duration,
    /// Attempts for one message; past them it is a dead letter.
    pub attempts_max: u32,
    /// How old news may get. An approval that still waits for people is news until its deadline, if that is sooner.
    pub age_max: Duration,
    /// Failures in a row after which an endpoint counts as disabled: it is only probed then.
    pub failures_max: u32,
    /// Between two probes.
    pub probe: Duration,
}

impl Default for Retry {
    fn default() -> Self {
        Self {
            first: Duration::from_secs(1),
            longest: Duration::from_secs(5 * 60),
            asked_max: Duration::from_secs(3_600),
            attempts_max: 12,
            age_max: Duration::from_secs(24 * 3_600),
            failures_max: 24,
            probe: Duration::from_secs(10 * 60),
        }
    }
}

impl Retry {
    /// The wait after `attempts` that failed, `jitter` (0 to 255) of the upper half of it left out; never less than what the
    /// endpoint asked for.
    #[must_use]
    pub fn wait(&self, attempts: u32, asked: Option<Duration>, jitter: u8) -> Duration {
        let doubled = self.first.saturating_mul(1_u32.checked_shl(attempts.saturating_sub(1)).unwrap_or(u32::MAX));
        let whole = doubled.min(self.longest);
        let own = whole.saturating_sub(whole / 2 * u32::from(jitter) / 255);
        own.max(asked.unwrap_or_default().min(self.asked_max))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn waits_double_up_to_the_longest_and_heed_what_was_asked() {
        let retry = Retry::default();
        let seconds = |attempts, asked: Option<u64>, jitter| {
            retry.wait(attempts, asked.map(Duration::from_secs), jitter).as_millis()
        };
        assert_eq!((seconds(1, None, 0), seconds(2, None, 0), seconds(5, None, 0)), (1_000, 2_000, 16_000));
        assert_eq!((seconds(40, None, 0), seconds(400, None, 0)), (300_000, 300_000));
        assert_eq!((seconds(1, None, 255), seconds(40, None, 255)), (500, 150_000));
        assert_eq!((seconds(1, Some(30), 255), seconds(1, Some(u64::MAX), 0)), (30_000, 3_600_000));
    }
}
