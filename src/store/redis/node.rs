//! One Redis primary: a connection to read from and one to write to.
//!
//! Writes are gathered while a batch is on its way and go out together, behind each batch one WAIT: WAIT speaks for what
//! was written on its own connection, and many changes share it, as many records share a sync of the journal.

use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use redis::aio::MultiplexedConnection;
use redis::{Cmd, Pipeline, Value};
use tokio::sync::{mpsc, oneshot};
use tokio::task::JoinHandle;

use super::dial::{Patience, dial};
use super::guard::Epoch;
use super::keys::{SHARDS, Shard};
use super::settings::{Address, Durability, Settings, majority};
use super::trouble::{Trouble, accepted};

/// Writes that may wait for the batch before them.
const WRITES_WAITING_MAX: usize = 20_000;
/// Writes in one batch: each takes Redis some 30 us, and whoever reads waits for them.
const BATCH_MAX: usize = 256;
/// How long a primary whose replicas had a change is believed not to have been replaced: shorter than anybody takes to
/// replace one.
const IN_TOUCH: Duration = Duration::from_millis(500);

pub struct Node {
    address: Address,
    timeout: Duration,
    reads: MultiplexedConnection,
    writes: mpsc::Sender<Job>,
    writer: JoinHandle<()>,
    /// Of no more use: somebody found the connection broken, or the server not to be the primary.
    given_up: AtomicBool,
    replicas: Arc<Replicas>,
    /// Of each shard, the newest event that is known to be replicated.
    lasting: Mutex<[Option<(Epoch, u64)>; SHARDS as usize]>,
}

/// What is known of those who must have a change.
#[derive(Debug)]
struct Replicas {
    durability: Durability,
    connected: AtomicUsize,
    /// The most that were seen on this connection: those that are cut off now may follow another primary.
    most: AtomicUsize,
    /// When the last change was sent that they have.
    in_touch: Mutex<Option<Instant>>,
}

struct Job {
    command: Cmd,
    answer: oneshot::Sender<Result<Written, Trouble>>,
}

/// What a write came to.
#[derive(Debug)]
pub struct Written {
    pub value: Value,
    /// The replicas that must have it have it.
    pub replicated: Result<(), Trouble>,
    /// When it was sent.
    pub asked: Instant,
}

impl Node {
    pub async fn connect(settings: &Settings, address: &Address) -> Result<Arc<Self>, Trouble> {
        let reads = dial(settings, address, Patience::Command).await?;
        let writing = dial(settings, address, Patience::Command).await?;
        let (writes, jobs) = mpsc::channel(WRITES_WAITING_MAX);
        let replicas = Arc::new(Replicas::new(settings.durability));
        let writer = Writer {
            address: address.clone(),
            connection: writing,
            wait_for: settings.command_timeout * 4 / 5,
            replicas: replicas.clone(),
        };
        Ok(Arc::new(Self {
            address: address.clone(),
            timeout: settings.command_timeout,
            reads,
            writes,
            writer: tokio::spawn(writer.run(jobs)),
            given_up: AtomicBool::new(false),
            replicas,
            lasting: Default::default(),
        }))
    }

    pub fn address(&self) -> &Address {
        &self.address
    }

    pub fn give_up(&self) {
        self.given_up.store(true, Ordering::Release);
    }

    pub fn is_given_up(&self) -> bool {
        self.given_up.load(Ordering::Acquire) || self.writer.is_finished()
    }

    /// Redis told how many replicas it has.
    pub fn has_replicas(&self, connected: usize) {
        self.replicas.connected.store(connected, Ordering::Release);
        self.replicas.most.fetch_max(connected, Ordering::AcqRel);
    }

    /// Whether a change could be replicated as it must be.
    pub fn check_replicas(&self) -> Result<(), Trouble> {
        self.replicas.check()
    }

    /// Up to `head` all events of the shard are replicated.
    pub fn lasts(&self, shard: Shard, epoch: Epoch, head: u64) {
        if let Some(lasting) = self.lasting().get_mut(shard.index()) {
            let known = lasting.filter(|(of, _)| *of == epoch).map_or(0, |(_, known)| known);
            *lasting = Some((epoch, known.max(head)));
        }
    }

    /// Whether this event is known to be replicated, by a server that was in touch with its replicas a moment ago. One that
    /// is cut off from them knows nothing of what became of it elsewhere.
    pub fn has_lasting(&self, shard: Shard, epoch: Epoch, head: u64) -> bool {
        let is_lasting = |(of, known): (Epoch, u64)| of == epoch && known >= head;
        self.replicas.is_in_touch() && self.lasting().get(shard.index()).copied().flatten().is_some_and(is_lasting)
    }

    fn lasting(&self) -> MutexGuard<'_, [Option<(Epoch, u64)>; SHARDS as usize]> {
        // Plain numbers: a panic elsewhere cannot have torn them.
        self.lasting.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Asks several things at once; none of them writes what must last.
    pub async fn ask(&self, questions: &Pipeline) -> Result<Vec<Value>, Trouble> {
        let mut connection = self.reads.clone();
        let asked = connection.send_packed_commands(questions, 0, questions.len());
        let answered = tokio::time::timeout(self.timeout, asked).await.map_err(|_| Trouble::TimedOut(self.timeout))?;
        let values = answered.map_err(|error| Trouble::Redis { address: self.address.clone(), error })?;
        values.into_iter().map(|value| accepted(value, &self.address)).collect()
    }

    /// Writes what must last.
    pub async fn write(&self, command: Cmd) -> Result<Written, Trouble> {
        self.check_replicas()?;
        let (answer, answered) = oneshot::channel();
        self.writes.try_send(Job { command, answer }).map_err(|error| match error {
            mpsc::error::TrySendError::Full(_) => Trouble::Busy,
            mpsc::error::TrySendError::Closed(_) => Trouble::OutOfReach("the connection is gone".into()),
        })?;
        let written =
            tokio::time::timeout(self.timeout, answered).await.map_err(|_| Trouble::TimedOut(self.timeout))?;
        written.unwrap_or_else(|_| Err(Trouble::TimedOut(self.timeout)))
    }
}

impl Drop for Node {
    fn drop(&mut self) {
        self.writer.abort();
    }
}

impl Replicas {
    fn new(durability: Durability) -> Self {
        Self { durability, connected: AtomicUsize::new(0), most: AtomicUsize::new(0), in_touch: Mutex::default() }
    }

    fn is_in_touch(&self) -> bool {
        let last = *self.in_touch.lock().unwrap_or_else(PoisonError::into_inner);
        last.is_some_and(|last| last.elapsed() < IN_TOUCH)
    }

    fn check(&self) -> Result<(), Trouble> {
        let Durability::Replicated { replicas: wanted } = self.durability else { return Ok(()) };
        let connected = self.connected.load(Ordering::Acquire);
        let most = self.most.load(Ordering::Acquire);
        // INVARIANT: of two sides of a partition one goes on at most.
        let least = majority(most);
        if wanted < least {
            return Err(Trouble::Minority { most, wanted, least });
        }
        if connected < wanted { Err(Trouble::TooFewReplicas { connected, wanted }) } else { Ok(()) }
    }
}

struct Writer {
    address: Address,
    connection: MultiplexedConnection,
    wait_for: Duration,
    replicas: Arc<Replicas>,
}

impl Writer {
    async fn run(mut self, mut jobs: mpsc::Receiver<Job>) {
        let mut batch = Vec::with_capacity(BATCH_MAX);
        while jobs.recv_many(&mut batch, BATCH_MAX).await > 0 {
            // Nobody waits any more for what waited too long: it is not begun.
            batch.retain(|job| !job.answer.is_closed());
            if !batch.is_empty() && self.write(&mut batch).await.is_err() {
                return;
            }
        }
    }

    /// An error ends the connection: nobody could tell whose the next answer is.
    async fn write(&mut self, batch: &mut Vec<Job>) -> Result<(), ()> {
        let mut commands = Pipeline::with_capacity(batch.len() + 1);
        for job in batch.iter_mut() {
            commands.add_command(std::mem::take(&mut job.command));
        }
        if let Durability::Replicated { replicas } = self.replicas.durability {
            let millis = u64::try_from(self.wait_for.as_millis()).unwrap_or(u64::MAX).max(1);
            commands.cmd("WAIT").arg(replicas).arg(millis);
        }
        let asked = Instant::now();
        let values = self.connection.send_packed_commands(&commands, 0, commands.len()).await;
        let mut values = match values {
            Ok(values) if values.len() == commands.len() => values,
            Ok(_) => return self.fail(batch, &Trouble::Unexpected("a batch")),
            Err(error) => {
                let trouble = Trouble::Redis { address: self.address.clone(), error };
                return self.fail(batch, &trouble);
            }
        };
        let replicated = match self.replicas.durability {
            Durability::Primary => Ok(()),
            Durability::Replicated { replicas: wanted } => self.acknowledged(values.pop(), wanted, asked),
        };
        for (job, value) in batch.drain(..).zip(values) {
            let written = accepted(value, &self.address);
            let written = written.map(|value| Written { value, replicated: replicated.clone(), asked });
            // Whoever asked may have given up; what is true is true all the same.
            let _ = job.answer.send(written);
        }
        Ok(())
    }

    /// What WAIT said. INVARIANT: a change that too few have is not told to anybody.
    fn acknowledged(&self, count: Option<Value>, wanted: usize, asked: Instant) -> Result<(), Trouble> {
        let acknowledged = match count {
            Some(Value::Int(count)) => usize::try_from(count).unwrap_or(0),
            Some(_) | None => 0,
        };
        if acknowledged >= wanted {
            *self.replicas.in_touch.lock().unwrap_or_else(PoisonError::into_inner) = Some(asked);
            return Ok(());
        }
        // Until the next look at the server nothing more is begun that could not end well.
        self.replicas.connected.store(acknowledged, Ordering::Release);
        Err(Trouble::NotReplicated { acknowledged, wanted })
    }

    fn fail(&self, batch: &mut Vec<Job>, trouble: &Trouble) -> Result<(), ()> {
        for job in batch.drain(..) {
            // Whoever asked has stopped waiting.
            let _ = job.answer.send(Err(trouble.clone()));
        }
        Err(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_primary_whose_replicas_were_silent_for_a_while_is_asked_again() {
        let replicas = Replicas::new(Durability::Replicated { replicas: 1 });
        assert!(!replicas.is_in_touch());
        let last = |at| *replicas.in_touch.lock().unwrap() = at;
        last(Some(Instant::now()));
        assert!(replicas.is_in_touch());
        last(Instant::now().checked_sub(IN_TOUCH));
        assert!(!replicas.is_in_touch());
    }

    #[test]
    fn a_change_that_too_few_have_is_told_as_unknown_and_none_is_begun_after_it() {
        let replicas = Replicas::new(Durability::Replicated { replicas: 2 });
        replicas.connected.store(2, Ordering::Release);
        assert!(replicas.check().is_ok());
        replicas.connected.store(1, Ordering::Release);
        assert!(matches!(replicas.check(), Err(Trouble::TooFewReplicas { connected: 1, wanted: 2 })));
        let replicas = Replicas::new(Durability::Replicated { replicas: 1 });
        for (most, is_enough) in [(1, true), (2, true), (3, false), (4, false)] {
            replicas.connected.store(1, Ordering::Release);
            replicas.most.store(most, Ordering::Release);
            assert_eq!(replicas.check().is_ok(), is_enough, "one of {most}");
        }
        let alone = Replicas::new(Durability::Primary);
        assert!(alone.check().is_ok());
    }
}
