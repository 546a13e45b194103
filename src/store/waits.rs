//! Who waits for which approval. Woken only after the change is durable, so that whoever wakes reads what will last.

use std::collections::{HashMap, VecDeque};
use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError};
use std::time::Instant;

use tokio::sync::{Notify, watch};

use crate::domain::ApprovalId;
use crate::store::Changes;

#[derive(Debug, Default)]
pub struct Waits {
    inner: Mutex<Inner>,
}

/// Those who wait for one change.
#[derive(Debug, Default)]
struct Waiters {
    notify: Arc<Notify>,
    /// When they were called, for those who measure how late they are.
    woken_at: Arc<OnceLock<Instant>>,
}

impl Waiters {
    fn wake(self, now: Instant) {
        // They are woken once: it is taken from the map before.
        let _ = self.woken_at.set(now);
        self.notify.notify_waiters();
    }
}

#[derive(Debug, Default)]
struct Inner {
    /// Whom to notify, until the approval changes; whoever waits on takes a new one.
    waiting: HashMap<ApprovalId, Waiters>,
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
            inner.waiting.retain(|_, waiters| Arc::strong_count(&waiters.notify) > 1);
            inner.sweep_at = inner.waiting.len() * 2;
        }
        let waiters = inner.waiting.entry(id).or_default();
        Changes { changed: waiters.notify.clone().notified_owned(), woken_at: waiters.woken_at.clone() }
    }

    /// Notes that the record at `sequence` changes an approval. Called in the order of the journal.
    pub fn note(&self, sequence: u64, id: ApprovalId) {
        let mut inner = self.lock();
        if sequence <= inner.durable {
            // The disk was faster than the note: nobody will tell of this record again.
            inner.wake(&id, Instant::now());
        } else if inner.waiting.contains_key(&id) {
            inner.changed.push_back((sequence, id));
        }
    }

    /// Wakes those who wait for a change up to `durable`.
    pub fn wake_through(&self, durable: u64) {
        let mut inner = self.lock();
        inner.durable = inner.durable.max(durable);
        let now = Instant::now();
        while let Some((_, id)) = inner.changed.pop_front_if(|(sequence, _)| *sequence <= durable) {
            inner.wake(&id, now);
        }
    }

    /// Whether somebody waits for this approval.
    pub fn is_awaited(&self, id: &ApprovalId) -> bool {
        self.lock().waiting.contains_key(id)
    }

    /// Wakes those who wait for this approval.
    pub fn wake(&self, id: ApprovalId) {
        self.lock().wake(&id, Instant::now());
    }

    /// Wakes everybody: the store is closing, or nobody knows what was missed.
    pub fn wake_all(&self) {
        let now = Instant::now();
        self.lock().waiting.drain().for_each(|(_, waiters)| waiters.wake(now));
    }

    fn lock(&self) -> MutexGuard<'_, Inner> {
        // Both collections are whole after every statement: a panic elsewhere cannot have torn them.
        self.inner.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Inner {
    fn wake(&mut self, id: &ApprovalId, now: Instant) {
        if let Some(waiters) = self.waiting.remove(id) {
            waiters.wake(now);
        }
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
    use std::pin::pin;

    use futures_util::FutureExt;

    use super::*;

    const ID: ApprovalId = ApprovalId::from_bytes([1; 16]);

    #[test]
    fn a_waiter_is_woken_once_the_change_is_durable_and_not_before() {
        let waits = Waits::default();
        let mut changed = pin!(waits.changes(ID).changed());
        waits.note(5, ID);
        waits.wake_through(4);
        assert!(changed.as_mut().now_or_never().is_none());
        waits.wake_through(5);
        assert!(changed.now_or_never().is_some());
    }

    #[test]
    fn a_record_that_is_durable_before_it_is_noted_wakes_as_well() {
        let waits = Waits::default();
        let mut changed = pin!(waits.changes(ID).changed());
        waits.wake_through(5);
        assert!(changed.as_mut().now_or_never().is_none());
        waits.note(5, ID);
        assert!(changed.now_or_never().is_some());
    }

    #[test]
    fn a_change_between_asking_to_be_told_and_waiting_is_not_missed() {
        let waits = Waits::default();
        for wake in [Waits::wake_all, |waits: &Waits| waits.wake(ID)] {
            let changes = [waits.changes(ID), waits.changes(ID)];
            wake(&waits);
            let later = waits.changes(ID);
            for changed in changes {
                assert!(changed.changed().now_or_never().is_some());
            }
            assert!(later.changed().now_or_never().is_none());
        }
    }

    #[test]
    fn those_whom_nobody_waits_for_any_more_are_cleared_out() {
        let waits = Waits::default();
        let number = |number: usize| ApprovalId::from_bytes(u128::to_be_bytes(number as u128));
        let kept = waits.changes(number(0));
        for gone in 1..SWEEP_MIN * 4 {
            drop(waits.changes(number(gone)));
        }
        assert!(waits.lock().waiting.len() <= SWEEP_MIN);
        waits.wake(number(0));
        assert!(kept.changed().now_or_never().is_some());
    }
}
