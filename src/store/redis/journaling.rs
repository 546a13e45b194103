//! Every event gets into a journal, once: its maker's, or, where that falls silent, that of whoever notices first.
//!
//! The script that makes an event files it under its maker in the stream's consumer group, and the maker takes it off once
//! its own disk has it. What lies there longer than the lease is taken over. A replica that finds it in its own journal
//! already only takes it off; one that was merely slow may record it beside another, and readers of several journals know
//! by its origin that it is one event.

use std::collections::HashSet;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use redis::{Cmd, Value};
use tokio::sync::mpsc;

use super::guard::Epoch;
use super::keys::{Keys, Shard};
use super::links::jittered;
use super::trouble::Trouble;
use super::{Shared, answer};
use crate::domain::{Fact, Origin, Timestamp};
use crate::store::{CommitError, StoreError};
use crate::vault::Draft;

/// The consumer group.
const GROUP: &str = "journal";
/// Events taken over at a time, of one shard.
const TAKEN_OVER_MAX: usize = 100;
/// Events that wait to be taken off. One that finds no room is taken off when it is found in the journal.
const ACKNOWLEDGED_MAX: usize = 100_000;
const ACKNOWLEDGED_TOGETHER: usize = 1_000;

pub struct Journaling {
    replica: String,
    /// On their way to the disk.
    under_way: Mutex<HashSet<(u8, u64)>>,
    acknowledged: mpsc::Sender<(Shard, u64)>,
    acknowledging: Mutex<Option<mpsc::Receiver<(Shard, u64)>>>,
}

/// An event on its way to the disk, until it is there or was given up.
struct UnderWay<'a> {
    journaling: &'a Journaling,
    event: (u8, u64),
}

impl Journaling {
    pub fn new(replica: String) -> Self {
        let (acknowledged, acknowledging) = mpsc::channel(ACKNOWLEDGED_MAX);
        let acknowledging = Mutex::new(Some(acknowledging));
        Self { replica, under_way: Mutex::default(), acknowledged, acknowledging }
    }

    pub fn replica(&self) -> &str {
        &self.replica
    }

    fn under_way(&self) -> MutexGuard<'_, HashSet<(u8, u64)>> {
        // A plain set: a panic elsewhere cannot have torn it.
        self.under_way.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// `None` where it is on its way already.
    fn begin(&self, shard: u8, number: u64) -> Option<UnderWay<'_>> {
        let event = (shard, number);
        self.under_way().insert(event).then_some(UnderWay { journaling: self, event })
    }
}

impl Drop for UnderWay<'_> {
    fn drop(&mut self) {
        self.journaling.under_way().remove(&self.event);
    }
}

impl Shared {
    /// Puts an event that this replica made into its journal; its place there.
    pub(super) async fn journal_own(
        &self,
        fact: &Fact,
        origin: &Origin,
        draft: Draft,
        at: Timestamp,
    ) -> Result<u64, CommitError> {
        let _under_way = self.journaling.begin(origin.shard, origin.number);
        self.journal(fact, origin, draft, at).await
    }

    async fn journal(&self, fact: &Fact, origin: &Origin, draft: Draft, at: Timestamp) -> Result<u64, CommitError> {
        let ticket = self.log.append_event(fact, origin, draft, at)?;
        ticket.durable().await.map_err(|error| StoreError::Unavailable(Box::new(error)))?;
        self.take_off(origin.shard, origin.number);
        Ok(ticket.sequence)
    }

    fn take_off(&self, shard: u8, number: u64) {
        if let Some(shard) = Shard::all().find(|each| each.number() == shard) {
            // With no room it stays filed, and is found in the journal when the lease is over.
            let _ = self.journaling.acknowledged.try_send((shard, number));
        }
    }

    /// Takes over what others have left lying. Only what is replicated goes into the journal: what Redis could still lose did
    /// not happen.
    async fn take_over(&self, shard: Shard) -> Result<(), StoreError> {
        // The state first: nothing of a shard that is lost is put on record.
        self.links.read(shard, &[]).await?;
        let Some((epoch, _)) = self.links.guard.expected(shard) else { return Ok(()) };
        let keys = &self.links.keys;
        let mut claim = self.links.scripts.claim.call(&[keys.head(shard), keys.events(shard)]);
        let lease = u64::try_from(self.links.settings.lease.as_millis()).unwrap_or(u64::MAX);
        claim.arg(&epoch[..]).arg(self.journaling.replica()).arg(lease).arg(TAKEN_OVER_MAX);
        let (written, _) = self.links.write(shard, &claim).await?;
        let entries = answer::array(written.value, "XAUTOCLAIM")?;
        if entries.is_empty() {
            return Ok(());
        }
        written.replicated?;
        // A claim that is refused leaves no write behind that WAIT would speak for.
        self.all_lasting(shard).await?;
        for entry in entries {
            // One that cannot be taken over keeps nobody from the others; it is tried again when the lease is over.
            if let Err(error) = self.adopt(epoch, shard, entry).await {
                let source = std::error::Error::source(&error);
                tracing::warn!(%error, ?source, redis.shard = shard.number(), "an event could not be taken over");
            }
        }
        Ok(())
    }

    async fn adopt(&self, epoch: Epoch, shard: Shard, entry: Value) -> Result<(), StoreError> {
        let entry = Entry::parse(entry)?;
        let origin = Origin { epoch, shard: shard.number(), number: entry.number };
        let Some(_under_way) = self.journaling.begin(origin.shard, origin.number) else { return Ok(()) };
        let fact = self.log.vault().open_shared(Timestamp::default(), &entry.record).map_err(unavailable)?.fact;
        let log = self.log.clone();
        let known = tokio::task::spawn_blocking(move || log.records_of(&origin)).await;
        let known = known.map_err(|_| unavailable(std::io::Error::other("a task panicked; the log says where")))?;
        let known = known.map_err(unavailable)?;
        let vault = self.log.vault();
        if known.iter().any(|raw| raw.parse(vault).is_ok_and(|record| record.fact == fact)) {
            self.take_off(origin.shard, origin.number);
            return Ok(());
        }
        if let Fact::EntitiesChanged(_) = fact {
            // INVARIANT: nothing is on record here of a change before those in front of it are: added up again, the journal would lack
            // these.
            self.catch_up().await?;
        }
        tracing::info!(
            redis.shard = origin.shard,
            redis.event = origin.number,
            "an event that its maker did not put on record is taken over"
        );
        let draft = self.log.vault().draft(&fact);
        self.journal(&fact, &origin, draft, entry.at).await.map(drop).map_err(unavailable)
    }
}

/// An event as it lies in the stream.
pub(super) struct Entry {
    pub number: u64,
    pub at: Timestamp,
    pub fields: Vec<(Vec<u8>, Vec<u8>)>,
    pub record: Vec<u8>,
}

impl Entry {
    /// Asks for one event by its number.
    pub fn question(keys: &Keys, shard: Shard, number: u64) -> Cmd {
        let (mut range, place) = (redis::cmd("XRANGE"), format!("{number}-0"));
        range.arg(keys.events(shard)).arg(&place).arg(&place);
        range
    }

    pub fn parse(value: Value) -> Result<Self, Trouble> {
        let unexpected = || Trouble::Unexpected("the stream of events");
        let mut parts = answer::array(value, "the stream of events")?.into_iter();
        let id = parts.next().and_then(answer::text).ok_or_else(unexpected)?;
        let number = id.split('-').next().and_then(|number| number.parse().ok()).ok_or_else(unexpected)?;
        let mut values = answer::array(parts.next().unwrap_or_default(), "the stream of events")?.into_iter();
        let mut fields = Vec::new();
        while let (Some(name), Some(value)) = (values.next(), values.next()) {
            fields.push((answer::bytes(name).ok_or_else(unexpected)?, answer::bytes(value).ok_or_else(unexpected)?));
        }
        let mut entry = Self { number, at: Timestamp::default(), fields, record: Vec::new() };
        entry.record = entry.field(b"r").ok_or_else(unexpected)?.to_vec();
        let at = entry.field(b"t").and_then(|at| std::str::from_utf8(at).ok()).and_then(|at| at.parse().ok());
        entry.at = at.map(Timestamp::from_micros).ok_or_else(unexpected)?;
        Ok(entry)
    }

    pub fn field(&self, name: &[u8]) -> Option<&[u8]> {
        self.fields.iter().find(|(is, _)| is == name).map(|(_, value)| &**value)
    }
}

/// Takes over what lies there too long, for as long as the store lives.
pub(super) async fn adopt(shared: Arc<Shared>) {
    let pause = (shared.links.settings.lease / 4).max(Duration::from_millis(50));
    loop {
        tokio::time::sleep(jittered(pause)).await;
        for shard in Shard::all() {
            if let Err(error) = shared.take_over(shard).await {
                let source = std::error::Error::source(&error);
                tracing::debug!(%error, ?source, redis.shard = shard.number(), "events could not be taken over");
            }
        }
    }
}

/// Takes off what is on disk, many at a time.
pub(super) async fn acknowledge(shared: Arc<Shared>) {
    let receiver = shared.journaling.acknowledging.lock().unwrap_or_else(PoisonError::into_inner).take();
    let Some(mut receiver) = receiver else { return };
    let mut events = Vec::with_capacity(ACKNOWLEDGED_TOGETHER);
    while receiver.recv_many(&mut events, ACKNOWLEDGED_TOGETHER).await > 0 {
        for shard in Shard::all() {
            let mut acknowledge = redis::cmd("XACK");
            acknowledge.arg(shared.links.keys.events(shard)).arg(GROUP);
            let mut any = false;
            for (_, number) in events.iter().filter(|(of, _)| *of == shard) {
                acknowledge.arg(format!("{number}-0"));
                any = true;
            }
            if any {
                // Where it fails they are found in the journal when the lease is over.
                let _ = shared.links.read(shard, &[acknowledge]).await;
            }
        }
        events.clear();
    }
}

fn unavailable(error: impl std::error::Error + Send + Sync + 'static) -> StoreError {
    StoreError::Unavailable(Box::new(error))
}
