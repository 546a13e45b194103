//! What all readers of the journal together may hold of it, and read at the same time. A reader that takes what it is given holds a
//! step of records for a moment; one that takes nothing holds it for as long as it likes. So there are so many steps: whoever finds none
//! is given one record at a time, which is slower and holds nothing worth counting. Nobody waits for a reader who does not read.

use std::sync::Arc;

use tokio::sync::{OwnedSemaphorePermit, Semaphore};

use super::{Refusal, Service};
use crate::journal::{Log, LogError};

/// Steps that may be held: of an audit about 4 KiB each on disk and several times as much in memory, of a subscription 16 KiB; some 32 MiB.
const STEPS_MAX: usize = 1_024;
/// Reads from disk at the same time. Threads that read are there for the journal's writer and for masking as well, and a record that
/// thousands of subscriptions wait for is read by all of them at once.
const READS_MAX: usize = 8;

/// Cheap to clone.
#[derive(Debug, Clone)]
pub(in crate::service) struct Ahead {
    steps: Arc<Semaphore>,
    reads: Arc<Semaphore>,
}

impl Default for Ahead {
    fn default() -> Self {
        Self { steps: Arc::new(Semaphore::new(STEPS_MAX)), reads: Arc::new(Semaphore::new(READS_MAX)) }
    }
}

/// A step that a reader holds; another may have it when this is dropped.
#[derive(Debug)]
pub(in crate::service) struct Step(Option<OwnedSemaphorePermit>);

impl Ahead {
    pub fn step(&self) -> Step {
        Step(Arc::clone(&self.steps).try_acquire_owned().ok())
    }
}

impl Step {
    /// A reader that holds nothing.
    pub const NONE: Self = Self(None);

    /// How many records may be read with it.
    pub fn records_max(&self, most: usize) -> usize {
        if self.0.is_some() { most } else { most.min(1) }
    }
}

impl Service {
    /// Reads for somebody who follows or searches, in turn.
    pub(super) async fn read_ahead<T: Send + 'static>(
        &self,
        read: impl FnOnce(&Log) -> Result<T, LogError> + Send + 'static,
    ) -> Result<T, Refusal> {
        let (service, reads) = (self.clone(), self.shared.ahead.reads.clone());
        // A task of its own: a stream whose client takes nothing is not asked for more in the middle of this, and its turn would be
        // nobody's.
        let reading = tokio::spawn(async move {
            // Nobody closes it.
            let _turn = reads.acquire().await.map_err(|_| Refusal::ShuttingDown)?;
            service.on_disk(read).await
        });
        reading.await.map_err(Refusal::panicked)?
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn whoever_finds_no_step_reads_one_record_at_a_time() {
        let ahead = Ahead::default();
        let mut held: Vec<_> = (0..STEPS_MAX).map(|_| ahead.step()).collect();
        assert!(held.iter().all(|step| step.records_max(64) == 64));
        assert_eq!((ahead.step().records_max(64), ahead.step().records_max(0)), (1, 0));
        held.pop();
        assert_eq!(ahead.step().records_max(64), 64);
    }
}
