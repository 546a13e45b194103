//! Whether memory is short: near the limit of the control group, past which the kernel ends the process. Then nothing new is opened
//! that stays (approvals, waits, streams, large messages); what answers and goes, what people decide, and what they have decided
//! already goes on. It is short until there is clearly room again.

use std::path::PathBuf;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Duration;

use super::cgroup::Cgroup;

/// How often it is looked at. Memory that grows faster than the rest of the limit in this time is not seen in time.
const EVERY: Duration = Duration::from_millis(500);
/// By how much less than the share must be used until memory is no longer short, as a part of the limit.
const RELIEF: f64 = 0.05;

#[derive(Debug)]
pub struct Memory {
    cgroup: Cgroup,
    share: f64,
    low: AtomicBool,
    used_bytes: AtomicU64,
    limit_bytes: AtomicU64,
}

impl Memory {
    pub fn new(dir: Option<PathBuf>, share: f64) -> Self {
        let cgroup = dir.map_or_else(Cgroup::of_this_process, Cgroup::at);
        let (low, used_bytes, limit_bytes) = Default::default();
        Self { cgroup, share, low, used_bytes, limit_bytes }
    }

    #[must_use]
    pub fn is_low(&self) -> bool {
        self.low.load(Ordering::Relaxed)
    }

    /// Bytes in use that the kernel could not take back, and bytes that there may be; `None` where nothing limits them.
    #[must_use]
    pub fn usage(&self) -> Option<(u64, u64)> {
        let limit = self.limit_bytes.load(Ordering::Relaxed);
        (limit > 0).then(|| (self.used_bytes.load(Ordering::Relaxed), limit))
    }

    /// Looks now. Reads a few small files of the kernel's.
    pub fn look(&self) {
        let Some(usage) = self.cgroup.usage() else {
            self.limit_bytes.store(0, Ordering::Relaxed);
            self.turn(false, 0.0);
            return;
        };
        self.used_bytes.store(usage.used_bytes, Ordering::Relaxed);
        self.limit_bytes.store(usage.limit_bytes, Ordering::Relaxed);
        let used = usage.share();
        let most = if self.is_low() { self.share - RELIEF } else { self.share };
        self.turn(used >= most, used);
    }

    /// Looks until nobody holds it any more.
    pub async fn watch(&self) {
        let mut ticks = tokio::time::interval(EVERY);
        ticks.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
        loop {
            ticks.tick().await;
            self.look();
        }
    }

    fn turn(&self, low: bool, used: f64) {
        if self.low.swap(low, Ordering::Relaxed) == low {
            return;
        }
        if low {
            tracing::warn!(
                memory.share = used,
                "memory is short: no new approvals, waits, streams and large messages until there is more"
            );
        } else {
            tracing::info!(memory.share = used, "there is memory again: everything is taken");
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn fault_79_memory_is_short_from_its_share_on_and_until_there_is_clearly_room() {
        let dir = tempfile::tempdir().unwrap();
        let write = |name: &str, text: &str| std::fs::write(dir.path().join(name), text).unwrap();
        write("memory.max", "1000\n");
        let memory = Memory::new(Some(dir.path().into()), 0.85);
        for (used, cache, low) in [
            (100, 0, false),
            (849, 0, false),
            (850, 0, true),
            (810, 0, true),
            (799, 0, false),
            // What the kernel can take back is not in use.
            (999, 200, false),
            (999, 100, true),
            (0, 0, false),
        ] {
            write("memory.current", &format!("{used}\n"));
            write("memory.stat", &format!("anon 1\ninactive_file {}\nactive_file {}\n", cache / 2, cache / 2));
            memory.look();
            assert_eq!(memory.is_low(), low, "{used} - {cache}");
            assert_eq!(memory.usage(), Some((used - cache, 1_000)));
        }
        write("memory.current", "999\n");
        memory.look();
        assert!(memory.is_low());
        write("memory.max", "max\n");
        memory.look();
        assert!(!memory.is_low() && memory.usage().is_none(), "nothing limits it any more");
    }
}
