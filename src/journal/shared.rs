//! What the handles, the writer and the keeper share, and the locks around it.
//!
//! Lock order: `queue` before `chores`; nothing else is held together with another lock, and none across I/O.

use std::collections::VecDeque;
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError, RwLock};

use tokio::sync::watch;

use super::directory::Directory;
use super::format::Chain;
use super::meters::Meters;
use super::queue::{Batch, Queue};
use super::recover::Recovered;
use super::segment::Segment;
use super::settings::Settings;
use super::ticket::Progress;

/// The end of the log: newest sequence, and the chain up to it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Head {
    /// Newest durable sequence; 0 when the journal is empty.
    pub sequence: u64,
    /// The chain hash of that record.
    pub chain: Chain,
}

/// Whether records still get durable.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Life {
    Running,
    /// Ended in order; everything queued is on disk.
    Closed,
    /// Died of a disk error.
    Failed,
}

/// The state of one open journal.
#[derive(Debug)]
pub(super) struct Shared {
    pub settings: Settings,
    pub directory: Directory,
    pub queue: Mutex<Queue>,
    /// Wakes the writer.
    pub work: Condvar,
    /// Oldest first; the last one is active.
    pub segments: RwLock<Vec<Arc<Segment>>>,
    pub head: Mutex<Head>,
    pub durable: watch::Sender<u64>,
    pub life: watch::Sender<Life>,
    pub chores: Mutex<Chores>,
    /// Wakes the keeper.
    pub chore: Condvar,
    pub meters: Meters,
}

/// What the keeper has to do.
#[derive(Debug, Default)]
pub(super) struct Chores {
    /// Full segments whose index is still in memory.
    pub full: VecDeque<Arc<Segment>>,
    /// Look at the spares now.
    pub nudged: bool,
    pub closing: bool,
}

impl Shared {
    pub(super) fn new(settings: Settings, directory: Directory, recovered: &Recovered) -> Self {
        let segments = recovered.segments.clone();
        let head = Head { sequence: recovered.active.sequence, chain: recovered.active.chain };
        let sealed = segments.iter().rev().skip(1);
        let full = sealed.filter(|segment| !segment.is_sealed()).map(Arc::clone).collect();
        Self {
            queue: Mutex::new(Queue::new(&settings, recovered)),
            settings,
            directory,
            work: Condvar::new(),
            segments: RwLock::new(segments),
            head: Mutex::new(head),
            durable: watch::Sender::new(head.sequence),
            life: watch::Sender::new(Life::Running),
            chores: Mutex::new(Chores { full, ..Chores::default() }),
            chore: Condvar::new(),
            meters: Meters::default(),
        }
    }

    pub(super) fn fail(&self) {
        let mut queue = lock(&self.queue);
        queue.failed = true;
        let dead: Batch = queue.take(Vec::new());
        drop(queue);
        dead.completion.reach(Progress::Failed);
        self.life.send_replace(Life::Failed);
    }

    /// Tells those who wait that nothing more gets durable; a failure stays one.
    pub(super) fn closed(&self) {
        self.life.send_if_modified(|life| {
            let running = *life == Life::Running;
            if running {
                *life = Life::Closed;
            }
            running
        });
    }

    pub(super) fn finish_later(&self, segment: Arc<Segment>) {
        lock(&self.chores).full.push_back(segment);
        self.chore.notify_one();
    }

    /// Has the keeper look after the spares at once.
    pub(super) fn nudge(&self) {
        lock(&self.chores).nudged = true;
        self.chore.notify_one();
    }

    pub(super) fn segments(&self) -> std::sync::RwLockReadGuard<'_, Vec<Arc<Segment>>> {
        self.segments.read().unwrap_or_else(PoisonError::into_inner)
    }
}

/// A lock whatever happened to its last holder: what is behind these locks is whole between any two statements.
pub(super) fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
