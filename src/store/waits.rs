//! Who waits for which approval. Woken only after the change is durable, so that whoever wakes reads what will last.

use std::collections::{HashMap, VecDeque};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use tokio::sync::watch;

use crate::domain::ApprovalId;
use crate::store::Changes;

#[derive(Debug, Default)]
pub struct Waits {
    inner: Mutex<Inner>,
}

#[derive(Debug, Default)]
struct Inner {
    waiting: HashMap<ApprovalId, watch::Sender<()>>,
    /// Changes whose records are not durable yet, by sequence.
    changed: VecDeque<(u64, ApprovalId)>,
    /// How far the journal is durable, as far as we were told.
    durable: u64,
    /// Size of `waiting` at which those whom nobody waits for any more are cleared out.
    sweep_at: usize,
}

const SWEEP_MIN: usize = 1_024;

impl Waits {
    pub fn changes(&self, id: ApprovalId) -> Changes {
        let mut inner = self.lock();
        if inner.waiting.len() >= inner.sweep_at.max(SWEEP_MIN) {
            inner.waiting.retain(|_, sender| sender.receiver_count() > 0);
            inner.sweep_at = inner.waiting.len() * 2;
        }
        Changes(inner.waiting.entry(id).or_default().subscribe())
    }

    /// Notes that the record at `sequence` changes an approval. Called in the order of the journal.
    pub fn note(&self, sequence: u64, id: ApprovalId) {
        let mut inner = self.lock();
        if sequence <= inner.durable {
            // The disk was faster than the note: nobody will tell of this record again.
            inner.waiting.remove(&id);
        } else if inner.waiting.contains_key(&id) {
            inner.changed.push_back((sequence, id));
        }
    }

    /// Wakes those who wait for a change up to `durable`.
    pub fn wake_through(&self, durable: u64) {
        let mut inner = self.lock();
        inner.durable = inner.durable.max(durable);
        while let Some((_, id)) = inner.changed.pop_front_if(|(sequence, _)| *sequence <= durable) {
            // Dropping the sender wakes its waiters, who take a new one if they still have to wait.
            inner.waiting.remove(&id);
        }
    }

    /// Wakes those who wait for this approval.
    pub fn wake(&self, id: ApprovalId) {
        self.lock().waiting.remove(&id);
    }

    /// Wakes everybody: the store is closing, or nobody knows what was missed.
    pub fn wake_all(&self) {
        self.lock().waiting.clear();
    }

    fn lock(&self) -> MutexGuard<'_, Inner> {
        // Both collections are whole after every statement: a panic elsewhere cannot have torn them.
        self.inner.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Follows the journal for as long as it lives.
pub async fn follow(waits: Arc<Waits>, mut durable: watch::Receiver<u64>) {
    while durable.changed().await.is_ok() {
        let through = *durable.borrow_and_update();
        waits.wake_through(through);
    }
    waits.wake_all();
}

#[cfg(test)]
mod tests {
    use futures_util::FutureExt;

    use super::*;

    const ID: ApprovalId = ApprovalId::from_bytes([1; 16]);

    #[test]
    fn a_waiter_is_woken_once_the_change_is_durable_and_not_before() {
        let waits = Waits::default();
        let mut changes = waits.changes(ID);
        waits.note(5, ID);
        waits.wake_through(4);
        assert!(changes.changed().now_or_never().is_none());
        waits.wake_through(5);
        assert!(changes.changed().now_or_never().is_some());
    }

    #[test]
    fn a_record_that_is_durable_before_it_is_noted_wakes_as_well() {
        let waits = Waits::default();
        let mut changes = waits.changes(ID);
        waits.wake_through(5);
        assert!(changes.changed().now_or_never().is_none());
        waits.note(5, ID);
        assert!(changes.changed().now_or_never().is_some());
    }
}
