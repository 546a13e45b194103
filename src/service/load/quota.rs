//! What one caller may ask for in a second. Buckets are governor's (GCRA); who is remembered is bounded, so that many callers
//! take no more memory than that: one that is forgotten begins with a full bucket.

use std::num::NonZeroU32;
use std::sync::Arc;
use std::time::Duration;

use governor::clock::{Clock, DefaultClock};
use governor::{DefaultDirectRateLimiter, Quota, RateLimiter};

use crate::domain::EntityUid;
use crate::service::Refusal;

/// Callers that are remembered.
const CALLERS_MAX: usize = 100_000;

pub struct Quotas {
    quota: Quota,
    buckets: quick_cache::sync::Cache<EntityUid, Arc<DefaultDirectRateLimiter>>,
    clock: DefaultClock,
}

impl std::fmt::Debug for Quotas {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Quotas").field("quota", &self.quota).finish_non_exhaustive()
    }
}

impl Quotas {
    /// `None` where everybody may ask for as much as he likes.
    pub fn new(per_second: Option<u32>, burst: Option<u32>) -> Option<Self> {
        let per_second = NonZeroU32::new(per_second?)?;
        let burst = burst.and_then(NonZeroU32::new).unwrap_or(per_second);
        let quota = Quota::per_second(per_second).allow_burst(burst);
        Some(Self { quota, buckets: quick_cache::sync::Cache::new(CALLERS_MAX), clock: DefaultClock::default() })
    }

    /// Takes so many of a caller's. A batch larger than the burst takes all of it.
    pub fn take(&self, caller: &EntityUid, calls: usize) -> Result<(), Refusal> {
        let burst = self.quota.burst_size();
        let calls = NonZeroU32::new(u32::try_from(calls).unwrap_or(u32::MAX)).unwrap_or(NonZeroU32::MIN).min(burst);
        let bucket = match self.buckets.get(caller) {
            Some(bucket) => bucket,
            None => self.bucket(caller),
        };
        match bucket.check_n(calls) {
            Ok(Ok(())) => Ok(()),
            Ok(Err(full)) => Err(self.over(full.wait_time_from(self.clock.now()))),
            // No more than a burst is ever asked for.
            Err(_) => Err(self.over(self.quota.replenish_interval())),
        }
    }

    fn bucket(&self, caller: &EntityUid) -> Arc<DefaultDirectRateLimiter> {
        let fresh = || Ok::<_, std::convert::Infallible>(Arc::new(RateLimiter::direct(self.quota)));
        match self.buckets.get_or_insert_with(caller, fresh) {
            Ok(bucket) => bucket,
            Err(never) => match never {},
        }
    }

    fn over(&self, retry_after: Duration) -> Refusal {
        let interval = self.quota.replenish_interval();
        let most = 1_000_000_000_u128.checked_div(interval.as_nanos()).unwrap_or(u128::MAX);
        Refusal::OverQuota { most: usize::try_from(most).unwrap_or(usize::MAX), retry_after }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_caller_has_a_quota_of_its_own_and_is_told_when_there_is_more() {
        let quotas = Quotas::new(Some(1), Some(3)).unwrap();
        let (one, other) = (EntityUid::new("Agent", "one"), EntityUid::new("Agent", "other"));
        let most = (0..1_000).take_while(|_| quotas.take(&one, 1).is_ok()).count();
        assert!((3..10).contains(&most), "{most}");
        let Err(Refusal::OverQuota { most, retry_after }) = quotas.take(&one, 3) else { panic!("over its quota") };
        assert!(most == 1 && retry_after > Duration::ZERO && retry_after <= Duration::from_secs(3), "{retry_after:?}");
        assert!(quotas.take(&other, 100).is_ok(), "all of a burst");
        assert!(quotas.take(&other, 3).is_err());
        assert!(Quotas::new(None, Some(3)).is_none());
    }
}
