//! What the journal counts.

use super::error::AppendError;
use crate::measure::{Counter, Durations};

#[derive(Debug, Default)]
pub struct Meters {
    /// Records taken into the queue.
    pub records: Counter,
    /// Bytes of whole frames, written.
    pub written_bytes: Counter,
    /// Records not taken: too many bytes wait for the writer.
    pub busy: Counter,
    /// Records not taken: no room on the disk, or in the quota.
    pub full: Counter,
    /// Records not taken for another reason: too large, or the journal is dead or closed.
    pub refused: Counter,
    /// From the first byte written to the end of the sync, of each batch that was synced; seals and frames it too.
    pub batches: Durations,
    /// The sync alone.
    pub syncs: Durations,
}

impl Meters {
    pub(super) fn taken<T>(&self, taken: &Result<T, AppendError>) {
        match taken {
            Ok(_) => self.records.count(),
            Err(AppendError::Busy) => self.busy.count(),
            Err(AppendError::Full) => self.full.count(),
            Err(AppendError::TooLarge { .. } | AppendError::Failed | AppendError::Unsealable) => self.refused.count(),
        }
    }
}
