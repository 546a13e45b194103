//! Whether this machine's clock is right, by those of others: tokens are dated by issuers, approvals by Redis.

use std::time::Duration;

use super::finding::Finding;
use super::reach::Issuer;
use super::store::Looked;
use crate::domain::Timestamp;

/// Of what a clock that is kept in step is never off; an HTTP date is in whole seconds.
const WARN_OFF: Duration = Duration::from_secs(3);
/// Tokens are refused where the difference is more than `leeway` (60 s unless said otherwise).
const FAIL_OFF: Duration = Duration::from_secs(60);

const PART: &str = "clock";
const ADVICE: &str = "have chrony or systemd-timesyncd keep the clocks of all machines, this one and that one";

/// A clock elsewhere, read between two times of ours.
#[derive(Debug, Clone, Copy)]
pub struct Reading {
    pub asked: Timestamp,
    pub told: Timestamp,
    pub answered: Timestamp,
    /// How coarsely it tells: a second for HTTP.
    pub grain: Duration,
}

impl Reading {
    /// How far it is off at the least, whenever between question and answer it was read; in milliseconds, ahead of us or (negative)
    /// behind.
    fn off_millis(&self) -> i64 {
        let earliest = self.asked.before(self.grain).as_millis();
        let (told, latest) = (self.told.as_millis(), self.answered.as_millis());
        if told < earliest { told.saturating_sub(earliest) } else { told.saturating_sub(latest).max(0) }
    }
}

pub fn examine(issuers: &[Issuer], redis: Option<&Looked>) -> Vec<Finding> {
    let issuers = issuers.iter().filter_map(|issuer| Some((format!("issuer `{}`", issuer.name), issuer.clock?)));
    let redis =
        redis.into_iter().flat_map(Looked::clocks).map(|(address, reading)| (format!("redis at {address}"), reading));
    let mut findings: Vec<_> = issuers.chain(redis).map(|(whose, reading)| judge(&whose, &reading)).collect();
    if findings.is_empty() {
        findings.push(Finding::warn(PART, "there is no other clock to compare this machine's with", ADVICE));
    }
    findings
}

fn judge(whose: &str, reading: &Reading) -> Finding {
    let millis = reading.off_millis();
    let off = Duration::from_millis(millis.unsigned_abs());
    let side = if millis > 0 { "ahead of" } else { "behind" };
    let says = format!("the clock of {whose} is {:.1} s {side} this machine's", off.as_secs_f64());
    if off >= FAIL_OFF {
        Finding::fail(PART, says, ADVICE)
    } else if off >= WARN_OFF {
        Finding::warn(PART, says, ADVICE)
    } else {
        Finding::ok(PART, format!("the clock of {whose} agrees with this machine's"))
    }
}

#[cfg(test)]
mod tests {
    use super::super::finding::Verdict;
    use super::*;

    fn reading(told: i64) -> Reading {
        let second = |seconds: i64| Timestamp::from_micros(seconds * 1_000_000);
        Reading { asked: second(1_000), told: second(told), answered: second(1_002), grain: Duration::from_secs(1) }
    }

    #[test]
    fn a_clock_is_off_by_what_neither_the_way_nor_the_grain_explains() {
        for (told, off, verdict) in [
            (999, 0, Verdict::Ok),
            (1_002, 0, Verdict::Ok),
            (1_004, 2_000, Verdict::Ok),
            (1_007, 5_000, Verdict::Warn),
            (990, -9_000, Verdict::Warn),
            (1_062, 60_000, Verdict::Fail),
            (900, -99_000, Verdict::Fail),
        ] {
            assert_eq!((reading(told).off_millis(), judge("x", &reading(told)).verdict), (off, verdict), "{told}");
        }
    }
}
