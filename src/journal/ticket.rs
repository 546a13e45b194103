//! The receipt for a queued record, and the completion that all records of one batch share.

use std::sync::Arc;
use std::sync::atomic::{AtomicU8, Ordering};

use tokio::sync::Notify;

use super::error::Failed;

/// How far a batch has come after being queued (0). Later is further.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[repr(u8)]
pub(super) enum Progress {
    Written = 1,
    Synced = 2,
    Failed = 3,
}

/// One per batch: 256 callers wait on the same one.
#[derive(Debug, Default)]
pub(super) struct Completion {
    progress: AtomicU8,
    changed: Notify,
}

impl Completion {
    pub(super) fn reach(&self, progress: Progress) {
        self.progress.fetch_max(progress as u8, Ordering::AcqRel);
        self.changed.notify_waiters();
    }

    /// Fails those who wait, unless the batch got somewhere.
    pub(super) fn abandon(&self) {
        let queued = self.progress.compare_exchange(0, Progress::Failed as u8, Ordering::AcqRel, Ordering::Acquire);
        if queued.is_ok() {
            self.changed.notify_waiters();
        }
    }

    async fn wait(&self, wanted: Progress) -> Result<(), Failed> {
        loop {
            // Created before the look: a change in between wakes it.
            let changed = self.changed.notified();
            match self.progress.load(Ordering::Acquire) {
                3 => return Err(Failed),
                reached if reached >= wanted as u8 => return Ok(()),
                _ => changed.await,
            }
        }
    }
}

/// The receipt of [`Journal::append`](super::Journal::append). Dropping it changes nothing: the record will be written.
#[derive(Debug, Clone)]
pub struct Ticket {
    /// The record's place in the journal.
    pub sequence: u64,
    /// The record's time as written: the entry's, or the record's before it if the clock went back.
    pub at_micros: i64,
    pub(super) wanted: Progress,
    pub(super) completion: Arc<Completion>,
}

impl Ticket {
    /// Waits until the record is on disk (or written, if that was enough). May be cancelled and asked again.
    ///
    /// # Errors
    /// When the journal died first; whether the record survives shows at the next start.
    pub async fn durable(&self) -> Result<(), Failed> {
        self.completion.wait(self.wanted).await
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ticket(wanted: Progress) -> Ticket {
        Ticket { sequence: 1, at_micros: 0, wanted, completion: Arc::default() }
    }

    #[tokio::test]
    async fn a_relaxed_ticket_is_done_when_written_and_a_synced_one_is_not() {
        let (relaxed, mut synced) = (ticket(Progress::Written), ticket(Progress::Synced));
        synced.completion = Arc::clone(&relaxed.completion);
        relaxed.completion.reach(Progress::Written);
        assert_eq!(relaxed.durable().await, Ok(()));
        let waiting = tokio::spawn(async move { synced.durable().await });
        tokio::task::yield_now().await;
        assert!(!waiting.is_finished());
        relaxed.completion.reach(Progress::Synced);
        assert_eq!(waiting.await.unwrap(), Ok(()));
    }

    #[tokio::test]
    async fn a_failure_reaches_all_who_wait() {
        let ticket = ticket(Progress::Synced);
        ticket.completion.reach(Progress::Failed);
        assert_eq!(ticket.durable().await, Err(Failed));
    }

    #[tokio::test]
    async fn a_batch_lost_by_the_writer_fails_those_who_wait_and_a_finished_one_does_not() {
        let (lost, finished) = (ticket(Progress::Synced), ticket(Progress::Synced));
        finished.completion.reach(Progress::Synced);
        for ticket in [&lost, &finished] {
            let mut batch = crate::journal::queue::Batch::default();
            batch.completion = Arc::clone(&ticket.completion);
            drop(batch);
        }
        assert_eq!((lost.durable().await, finished.durable().await), (Err(Failed), Ok(())));
    }
}
