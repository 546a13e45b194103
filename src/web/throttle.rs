//! How often one address may ask for a page, and how often begin or end a login: a token bucket each. IPv6 addresses count by their
//! /64, which is what one customer gets.

use std::collections::HashMap;
use std::net::IpAddr;
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use crate::domain::Timestamp;
use crate::network;

/// How many at once after a quiet time, and how often one more.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Pace {
    pub burst: u32,
    pub interval: Duration,
}

pub const LOGINS: Pace = Pace { burst: 30, interval: Duration::from_secs(2) };
/// Of anything: a whole office may sit behind one address, and a page is several requests.
pub const REQUESTS: Pace = Pace { burst: 600, interval: Duration::from_millis(50) };
/// Addresses remembered; past it those are forgotten that have all their tokens again, and then all.
const ADDRESSES_MAX: usize = 10_000;

pub struct Throttle {
    pace: Pace,
    buckets: Mutex<HashMap<IpAddr, Bucket>>,
}

struct Bucket {
    left: u32,
    filled_at: Timestamp,
}

impl Throttle {
    #[must_use]
    pub fn new(pace: Pace) -> Self {
        Self { pace, buckets: Mutex::default() }
    }

    /// Seconds until one more may go on.
    #[must_use]
    pub fn retry_after(&self) -> u64 {
        self.pace.interval.as_secs().max(1)
    }

    /// Whether one more may go on.
    pub fn admit(&self, address: IpAddr, now: Timestamp) -> bool {
        // A number and a moment each: a panic elsewhere cannot have torn them.
        let mut buckets = self.buckets.lock().unwrap_or_else(PoisonError::into_inner);
        if buckets.len() >= ADDRESSES_MAX {
            buckets.retain(|_, bucket| bucket.filled(self.pace, now) < self.pace.burst);
        }
        if buckets.len() >= ADDRESSES_MAX {
            buckets.clear();
        }
        let bucket = buckets.entry(network::of(address)).or_insert(Bucket { left: self.pace.burst, filled_at: now });
        let left = bucket.filled(self.pace, now);
        if left > bucket.left {
            bucket.filled_at = now;
        }
        bucket.left = left;
        match left.checked_sub(1) {
            Some(rest) => {
                bucket.left = rest;
                true
            }
            None => false,
        }
    }
}

impl Bucket {
    fn filled(&self, pace: Pace, now: Timestamp) -> u32 {
        let more = self.filled_at.until(now).as_micros() / pace.interval.as_micros().max(1);
        self.left.saturating_add(u32::try_from(more).unwrap_or(u32::MAX)).min(pace.burst)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_address_is_slowed_down_and_others_do_not_notice() {
        let (throttle, now) = (Throttle::new(LOGINS), Timestamp::from_micros(1_800_000_000_000_000));
        let address = |text: &str| text.parse::<IpAddr>().unwrap();
        let admitted = (0..100).filter(|_| throttle.admit(address("2001:db8::1"), now)).count();
        assert_eq!(admitted, LOGINS.burst as usize);
        assert!(!throttle.admit(address("2001:db8::2"), now), "the same customer");
        assert!(throttle.admit(address("2001:db8:0:1::1"), now) && throttle.admit(address("10.0.0.1"), now));
        assert!(throttle.admit(address("2001:db8::1"), now.after(LOGINS.interval)));
        assert!(!throttle.admit(address("2001:db8::1"), now.after(LOGINS.interval)));
    }
}
