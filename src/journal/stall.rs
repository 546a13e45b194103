//! Whether the disk still answers the writer. One that hangs (a frozen volume, a file system whose server is gone) refuses nothing and
//! fails nothing: without this everybody who asks would wait for it, and nobody would be told.

use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

/// Since when the writer is at what it is at.
#[derive(Debug)]
pub(super) struct Stall {
    epoch: Instant,
    /// In milliseconds of the epoch; 0: at nothing.
    began: AtomicU64,
}

impl Default for Stall {
    fn default() -> Self {
        Self { epoch: Instant::now(), began: AtomicU64::new(0) }
    }
}

impl Stall {
    /// The writer turns to the disk.
    pub(super) fn begin(&self) {
        self.began.store(self.elapsed_millis().max(1), Ordering::Relaxed);
    }

    /// The disk has answered.
    pub(super) fn end(&self) {
        self.began.store(0, Ordering::Relaxed);
    }

    /// For how long the disk has not answered.
    pub(super) fn lasts(&self) -> Duration {
        match self.began.load(Ordering::Relaxed) {
            0 => Duration::ZERO,
            began => Duration::from_millis(self.elapsed_millis().saturating_sub(began)),
        }
    }

    fn elapsed_millis(&self) -> u64 {
        u64::try_from(self.epoch.elapsed().as_millis()).unwrap_or(u64::MAX)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_disk_that_has_answered_and_one_that_nobody_asked_are_not_late() {
        let stall = Stall { epoch: Instant::now() - Duration::from_secs(60), ..Stall::default() };
        assert_eq!(stall.lasts(), Duration::ZERO);
        stall.begin();
        assert!(stall.lasts() < Duration::from_secs(50), "it has just been asked");
        stall.began.store(1, Ordering::Relaxed);
        assert!(stall.lasts() >= Duration::from_secs(59));
        stall.end();
        assert_eq!(stall.lasts(), Duration::ZERO);
    }
}
