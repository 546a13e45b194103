//! How a journal is run: where, how large, how careful. Every limit has its name here.

use std::path::PathBuf;
use std::time::Duration;

use super::error::JournalError;
use super::format::{FRAME_BYTES_MAX, HEADER_BYTES, frame_bytes};
use super::key::KEYS_MAX;
use crate::vault::Vault;

/// Most segments that `reserve_bytes` may amount to.
const RESERVE_SEGMENTS_MAX: u64 = 64;
/// Spare segments are kept ahead up to this size, so that small segments do not run out under a burst.
const AHEAD_BYTES: u64 = 32 << 20;
const SEGMENT_BYTES_MAX: u64 = 1 << 30;

/// When the journal forces records to the disk.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum SyncPolicy {
    /// Before any ticket is answered.
    Always,
    /// A ticket of [`Durability::Relaxed`](super::Durability::Relaxed) is answered once written; the disk follows at
    /// most this much later. A lost machine may lose so much; a lost process loses nothing.
    Interval(Duration),
}

/// Settings of one journal.
#[derive(Debug, Clone)]
pub struct Settings {
    /// The directory. Created if missing; its parent must exist.
    pub dir: PathBuf,
    /// Size of one segment file. 64 MiB; at most 1 GiB.
    pub segment_bytes: u64,
    /// When to force to disk. `Always`.
    pub sync: SyncPolicy,
    /// Most bytes that wait for the writer; past it [`AppendError::Busy`](super::AppendError::Busy). 32 MiB. Twice as
    /// much may be in memory: one queue filling, one being written.
    pub queue_bytes_max: usize,
    /// Space kept for [`Class::Essential`](super::Class::Essential) records when the disk is full, rounded up to whole
    /// segments. 64 MiB.
    pub reserve_bytes: u64,
    /// Largest payload. 1 MiB; at most 16 MiB.
    pub record_bytes_max: usize,
    /// How long the writer lets a batch gather before it writes. 0.
    pub coalesce: Duration,
    /// Most bytes the journal may occupy, spare segments included; the same as a full disk when reached. None.
    pub quota_bytes: Option<u64>,
    /// What seals records. No key: they are written in clear.
    pub vault: Vault,
}

impl Settings {
    /// The defaults, in `dir`.
    #[must_use]
    pub fn new(dir: impl Into<PathBuf>) -> Self {
        Self {
            dir: dir.into(),
            segment_bytes: 64 << 20,
            sync: SyncPolicy::Always,
            queue_bytes_max: 32 << 20,
            reserve_bytes: 64 << 20,
            record_bytes_max: 1 << 20,
            coalesce: Duration::ZERO,
            quota_bytes: None,
            vault: Vault::default(),
        }
    }

    /// Spare segments that only essential records may take.
    pub(super) fn reserve_segments(&self) -> usize {
        usize::try_from(self.reserve_bytes.div_ceil(self.segment_bytes)).unwrap_or(usize::MAX)
    }

    /// Spare segments for everybody, beyond the reserve.
    pub(super) fn ahead_segments(&self) -> usize {
        usize::try_from((AHEAD_BYTES / self.segment_bytes).clamp(1, 8)).unwrap_or(1)
    }

    /// # Errors
    /// Names the setting that cannot work.
    pub(super) fn check(&self) -> Result<(), JournalError> {
        let refuse = |text: String| Err(JournalError::Setting(text));
        let largest = frame_bytes(KEYS_MAX, self.record_bytes_max);
        if self.segment_bytes > SEGMENT_BYTES_MAX {
            return refuse(format!("segment_bytes: {} is over {SEGMENT_BYTES_MAX}", self.segment_bytes));
        }
        if largest > FRAME_BYTES_MAX {
            return refuse(format!("record_bytes_max: {} is over 16 MiB", self.record_bytes_max));
        }
        if self.segment_bytes < largest as u64 + HEADER_BYTES {
            return refuse(format!("segment_bytes: {} cannot hold one record of record_bytes_max", self.segment_bytes));
        }
        if self.reserve_bytes.div_ceil(self.segment_bytes) > RESERVE_SEGMENTS_MAX {
            return refuse(format!("reserve_bytes: more than {RESERVE_SEGMENTS_MAX} segments"));
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_setting_that_cannot_work_is_named() {
        let good = Settings::new("x");
        assert!(good.check().is_ok());
        let check = |settings: Settings, name: &str| {
            let error = settings.check().unwrap_err().to_string();
            assert!(error.contains(name), "{error}");
        };
        check(Settings { segment_bytes: 2 << 30, ..good.clone() }, "segment_bytes");
        check(Settings { segment_bytes: 1 << 20, ..good.clone() }, "segment_bytes");
        check(Settings { record_bytes_max: 17 << 20, ..good.clone() }, "record_bytes_max");
        check(Settings { reserve_bytes: 65 * (64 << 20), ..good }, "reserve_bytes");
    }
}
