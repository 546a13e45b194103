//! The journal as its users hold it: a cheap handle, shared by cloning.

use std::fs;
use std::sync::{Arc, Mutex};
use std::thread::{self, JoinHandle};

use tokio::sync::watch;

use super::directory::Directory;
use super::error::{AppendError, Failed, JournalError, ReadError, io_fault};
use super::keeper::Keeper;
use super::key::Keys;
use super::lock::DirectoryLock;
use super::mark::Mark;
use super::meters::Meters;
use super::queue::{Class, Durability, Entry};
use super::read::{self, Frame, Lookup};
use super::recover::{Recovered, recover};
use super::retain::{self, Removed, Retention};
use super::settings::{Settings, SyncPolicy};
use super::shared::{Head, Life, Shared, lock};
use super::ticket::Ticket;
use super::writer::Writer;
use crate::vault::Vault;

/// An open journal. Clones share it; it is closed by [`Journal::close`] or with the last clone.
#[derive(Debug, Clone)]
pub struct Journal {
    owner: Arc<Owner>,
}

#[derive(Debug)]
struct Owner {
    shared: Arc<Shared>,
    retained: Mutex<Mark>,
    running: Mutex<Option<Running>>,
}

/// The threads and the lock, in the order they go.
#[derive(Debug)]
struct Running {
    writer: JoinHandle<()>,
    keeper: JoinHandle<()>,
    _lock: DirectoryLock,
}

impl Journal {
    /// Locks the directory, checks what is there, cuts a torn tail, and starts the writer.
    ///
    /// # Errors
    /// When another process has it, when acknowledged records are missing or changed, when a newer version wrote it,
    /// when a setting cannot work, or when the operating system refuses. Nothing is changed by a refusal.
    pub fn open(settings: Settings) -> Result<Self, JournalError> {
        settings.check()?;
        match fs::create_dir(&settings.dir) {
            Err(error) if error.kind() != std::io::ErrorKind::AlreadyExists => {
                return Err(io_fault("create", &settings.dir)(error).into());
            }
            _ => {}
        }
        let directory_lock = DirectoryLock::take(&settings.dir)?;
        let directory = Directory::new(&settings.dir);
        let recovered = recover(&settings, &directory)?;
        Self::start(settings, directory, recovered, directory_lock)
    }

    fn start(
        settings: Settings,
        directory: Directory,
        recovered: Recovered,
        directory_lock: DirectoryLock,
    ) -> Result<Self, JournalError> {
        let shared = Arc::new(Shared::new(settings, directory, &recovered));
        let Recovered { active, acknowledged, retained, .. } = recovered;
        let next_spare = next_spare(&shared);
        let mut keeper = Keeper { shared: Arc::clone(&shared), next_spare, unfinished: Vec::new() };
        keeper.stock();
        lock(&shared.queue).judge_reserve();
        let writer = Writer::new(Arc::clone(&shared), acknowledged, active);
        let writer = spawn("journal-writer", &shared, move || writer.run())?;
        let keeper = spawn("journal-keeper", &shared, move || keeper.run())?;
        let running = Running { writer, keeper, _lock: directory_lock };
        let owner = Owner { shared, retained: Mutex::new(retained), running: Mutex::new(Some(running)) };
        Ok(Self { owner: Arc::new(owner) })
    }

    /// Queues a record and gives it its sequence. Never waits for the disk; the order of calls is the order in the
    /// journal. Once this is `Ok` the record will be written unless the process or the disk dies.
    ///
    /// # Errors
    /// The journal is as it was: nothing was queued and no sequence used.
    pub fn append(&self, entry: Entry, class: Class, durability: Durability) -> Result<Ticket, AppendError> {
        let Entry { at_micros, keys, payload } = entry;
        self.append_at(at_micros, keys, |_, _| Ok(payload), class, durability)
    }

    /// The same for a payload that depends on its place: `payload` is called with its sequence and time, under the lock that
    /// all appends take.
    ///
    /// # Errors
    /// As for [`append`](Self::append), and those of `payload`.
    pub fn append_at(
        &self,
        at_micros: i64,
        keys: Keys,
        payload: impl FnOnce(u64, i64) -> Result<Vec<u8>, AppendError>,
        class: Class,
        durability: Durability,
    ) -> Result<Ticket, AppendError> {
        let shared = self.shared();
        let mut queue = lock(&shared.queue);
        let (sequence, at_micros) = queue.next_place(at_micros);
        let taken = payload(sequence, at_micros).and_then(|payload| {
            let entry = Entry { at_micros, keys, payload };
            queue.append(&shared.settings, &entry, class, durability)
        });
        shared.meters.taken(&taken);
        let (ticket, rolled) = taken?;
        let wake = std::mem::take(&mut queue.writer_idle);
        drop(queue);
        if wake {
            shared.work.notify_one();
        }
        if rolled {
            shared.nudge();
        }
        Ok(ticket)
    }

    /// Whether a record of so many bytes would be taken now.
    ///
    /// # Errors
    /// What [`append`](Self::append) would say.
    pub fn check_room(&self, payload: usize, class: Class) -> Result<(), AppendError> {
        let shared = self.shared();
        lock(&shared.queue).check_room(&shared.settings, payload, class)
    }

    /// What seals its records.
    #[must_use]
    pub fn vault(&self) -> &Vault {
        &self.shared().settings.vault
    }

    /// What it counts.
    #[must_use]
    pub fn meters(&self) -> &Meters {
        &self.shared().meters
    }

    /// Bytes that wait for the writer now, and how many may.
    #[must_use]
    pub fn queue_bytes(&self) -> (usize, usize) {
        let shared = self.shared();
        (lock(&shared.queue).pending.bytes.len(), shared.settings.queue_bytes_max)
    }

    /// Whether a commit is answered only once the disk has it, whatever it is.
    #[must_use]
    pub fn syncs_always(&self) -> bool {
        self.shared().settings.sync == SyncPolicy::Always
    }

    /// The newest sequence that is on disk; 0 when there is none.
    #[must_use]
    pub fn durable_through(&self) -> u64 {
        *self.shared().durable.borrow()
    }

    /// Waits until `sequence` is on disk.
    ///
    /// # Errors
    /// When the journal dies or is closed first.
    pub async fn wait_durable(&self, sequence: u64) -> Result<(), Failed> {
        let (mut durable, mut life) = (self.subscribe(), self.shared().life.subscribe());
        tokio::select! {
            biased;
            reached = durable.wait_for(|durable| *durable >= sequence) => reached.map(drop).map_err(|_| Failed),
            _ = life.wait_for(|life| *life != Life::Running) => Err(Failed),
        }
    }

    /// Follows the newest sequence that is on disk.
    #[must_use]
    pub fn subscribe(&self) -> watch::Receiver<u64> {
        self.shared().durable.subscribe()
    }

    /// Returns when the journal has died of a disk error. The process should exit: only a restart can tell what is there.
    pub async fn failed(&self) {
        let mut life = self.shared().life.subscribe();
        // The sender lives as long as this handle, so the wait ends only with the failure.
        let _ = life.wait_for(|life| *life == Life::Failed).await;
    }

    /// Durable records from `from` on, oldest first, until either limit (payload bytes); at least one if there is one.
    /// Blocking.
    ///
    /// # Errors
    /// [`ReadError::Trimmed`] when retention has removed `from`.
    pub fn read(&self, from: u64, limit_records: usize, limit_bytes: usize) -> Result<Vec<Frame>, ReadError> {
        read::forward(self.shared(), from, limit_records, limit_bytes)
    }

    /// Durable records before `before`, newest first, until either limit; at least one if there is one. Blocking. Ends
    /// without an error at the oldest retained record.
    ///
    /// # Errors
    /// Damage, or the operating system's refusal.
    pub fn read_back(&self, before: u64, limit_records: usize, limit_bytes: usize) -> Result<Vec<Frame>, ReadError> {
        read::backward(self.shared(), before, limit_records, limit_bytes)
    }

    /// The sequences of durable records that carry a key. Blocking.
    ///
    /// # Errors
    /// Damage, or the operating system's refusal.
    pub fn find(&self, lookup: &Lookup) -> Result<Vec<u64>, ReadError> {
        read::find(self.shared(), lookup)
    }

    /// The oldest retained sequence; 1 in a new journal.
    #[must_use]
    pub fn first_sequence(&self) -> u64 {
        self.shared().first_sequence()
    }

    /// The newest durable record: what an anchor needs.
    #[must_use]
    pub fn head(&self) -> Head {
        *lock(&self.shared().head)
    }

    /// Removes old sealed segments, oldest first, while they are too old or all is too large. Blocking.
    ///
    /// # Errors
    /// Damage, or the operating system's refusal; what was removed until then is gone.
    pub fn retain(&self, retention: &Retention, now_micros: i64) -> Result<Vec<Removed>, ReadError> {
        retain::retain(self.shared(), &lock(&self.owner.retained), retention, now_micros)
    }

    /// Writes and syncs what is queued, stops the threads, gives up the directory. Blocking. Later appends fail; reads go
    /// on working. A second call does nothing.
    pub fn close(&self) {
        self.owner.close();
    }

    fn shared(&self) -> &Shared {
        &self.owner.shared
    }
}

impl Owner {
    fn close(&self) {
        let Some(running) = lock(&self.running).take() else {
            return;
        };
        lock(&self.shared.queue).closing = true;
        self.shared.work.notify_one();
        // A panic of the writer has marked the journal failed already; one of the keeper costs an index, built again.
        let _ = running.writer.join();
        self.shared.closed();
        lock(&self.shared.chores).closing = true;
        self.shared.chore.notify_one();
        let _ = running.keeper.join();
    }
}

impl Drop for Owner {
    fn drop(&mut self) {
        self.close();
    }
}

fn spawn(name: &str, shared: &Shared, work: impl FnOnce() + Send + 'static) -> Result<JoinHandle<()>, JournalError> {
    let builder = thread::Builder::new().name(name.to_owned());
    builder.spawn(work).map_err(|error| io_fault("start the threads of", &shared.settings.dir)(error).into())
}

/// A number above those of the spares that are there.
fn next_spare(shared: &Shared) -> u64 {
    let queue = lock(&shared.queue);
    let number = |path: &std::path::PathBuf| path.file_stem()?.to_str()?.strip_prefix("spare-")?.parse::<u64>().ok();
    queue.spares.iter().filter_map(number).max().map_or(0, |newest| newest + 1)
}
