//! The journal's readers: `Subscribe` follows it, `Audit` searches it. Where replicas share a store, `Subscribe` follows what
//! happens in that as well ([`shared`]), so that at each of them it sees the approvals of all.
//!
//! A reader holds a place, not a queue: it reads from disk when its client has taken what came before, so that one that
//! lags loses nothing and one that never reads costs little ([`ahead`]). Disk reads happen on blocking threads.

mod ahead;
mod cursor;
mod place;
mod shared;

use std::collections::VecDeque;
use std::sync::Arc;
use std::time::Duration;

use tokio::sync::{OwnedSemaphorePermit, watch};

pub(super) use self::ahead::Ahead;
use self::ahead::Step;
pub use self::cursor::Cursor;
pub use self::place::Place;
use self::shared::Following;
use super::{Caller, Refusal, Service};
use crate::domain::{GuardAction, Guarded, Record, Timestamp};
use crate::journal::{Filter, Log, LogError, RawRecord, ReadError, Search};
use crate::vault::Vault;

/// Records and bytes that one subscription takes from disk at a time: all that it holds.
const CHUNK_RECORDS: usize = 64;
const CHUNK_BYTES: usize = 16 << 10;
/// How long a subscription waits before it asks a shared store again that was away.
const STORE_RETRY: Duration = Duration::from_secs(1);

/// Where a subscription starts.
#[derive(Debug, Clone)]
pub enum Start {
    Now,
    Beginning,
    After(Place),
}

/// What a follower is given: a record, or a sign of life.
#[derive(Debug, Clone)]
pub struct Event {
    pub cursor: Place,
    pub record: Option<Record>,
}

/// One subscription.
pub struct Follower {
    service: Service,
    filter: Filter,
    expires_at: Timestamp,
    source: Source,
    durable: watch::Receiver<u64>,
    /// For what was read and not looked at yet.
    step: Step,
    _permit: OwnedSemaphorePermit,
}

/// What a subscription follows.
enum Source {
    Journal {
        /// The last record looked at.
        place: Cursor,
        /// What was read and not looked at yet; unparsed, which takes a fraction of the room.
        ready: VecDeque<RawRecord>,
    },
    /// Boxed: it has a place for every shard.
    Shared(Box<Following>),
}

impl Service {
    /// Follows the journal from a place.
    pub async fn subscribe(&self, caller: &Caller, filter: Filter, start: Start) -> Result<Follower, Refusal> {
        self.guard(caller, GuardAction::Subscribe, Guarded::Service)?;
        let permit = self.reader()?;
        let durable = self.shared.log.subscribe();
        let source = match self.shared.store.feed() {
            None => Source::Journal { place: self.place(start).await?, ready: VecDeque::new() },
            Some(feed) => Source::Shared(Box::new(Following::begin(self, feed, start).await?)),
        };
        let (service, expires_at) = (self.clone(), caller.expires_at);
        Ok(Follower { service, filter, expires_at, source, durable, step: Step::NONE, _permit: permit })
    }

    /// One page of the past, at most `limit` records, with the cursor of each.
    pub async fn audit(&self, caller: &Caller, mut search: Search, after: Option<Cursor>) -> Result<Audit, Refusal> {
        self.guard(caller, GuardAction::Audit, Guarded::Service)?;
        let permit = self.reader()?;
        if search.from >= search.until {
            return Err(Refusal::invalid("until", "not after `from`"));
        }
        if let Some(cursor) = after {
            self.check_cursor(&cursor).await?;
            search.after = Some(cursor.sequence);
        }
        let (expires_at, ready) = (caller.expires_at, VecDeque::new());
        let (service, step, ended) = (self.clone(), Step::NONE, false);
        let mut audit = Audit { service, search, expires_at, ready, step, ended, _permit: permit };
        // The first step is taken here, so that what is wrong with it is the answer to the call.
        audit.read_on().await?;
        Ok(audit)
    }

    pub(super) fn reader(&self) -> Result<OwnedSemaphorePermit, Refusal> {
        let most = self.shared.limits.subscribers_max;
        let over = |_| Refusal::Exhausted { limit: "subscribers_max", most };
        Arc::clone(&self.shared.followers).try_acquire_owned().map_err(over)
    }

    async fn place(&self, start: Start) -> Result<Cursor, Refusal> {
        match start {
            Start::Now => {
                let head = self.shared.log.head();
                Ok(Cursor::new(head.sequence, &head.chain))
            }
            Start::Beginning => {
                let (first, head) = (self.shared.log.first_sequence(), self.shared.log.head());
                // With nothing to read, the place is told to the client, who must be able to come back with it.
                let empty = head.sequence < first;
                Ok(if empty { Cursor::new(head.sequence, &head.chain) } else { Cursor::before(first) })
            }
            Start::After(Place::Own(cursor)) => {
                self.check_cursor(&cursor).await?;
                Ok(cursor)
            }
            Start::After(Place::Shared(_)) => Err(Refusal::invalid("cursor", "not a cursor of this journal")),
        }
    }

    /// A cursor must be of this journal, and of a record that it still has.
    async fn check_cursor(&self, cursor: &Cursor) -> Result<(), Refusal> {
        let foreign = || Refusal::invalid("cursor", "not a cursor of this journal");
        let sequence = cursor.sequence;
        if cursor.is_start() {
            // Handed out only before the oldest record of its day.
            return if sequence < self.shared.log.first_sequence() { Ok(()) } else { Err(foreign()) };
        }
        if sequence > self.shared.log.durable_through() {
            return Err(foreign());
        }
        let raw = self.on_disk(move |log| log.read_raw(sequence, 1, 1)).await?;
        match raw.first() {
            Some(record) if *cursor == Cursor::new(sequence, &record.chain) => Ok(()),
            Some(_) | None => Err(foreign()),
        }
    }

    pub(super) async fn on_disk<T: Send + 'static>(
        &self,
        read: impl FnOnce(&Log) -> Result<T, LogError> + Send + 'static,
    ) -> Result<T, Refusal> {
        let log = self.shared.log.clone();
        let read = tokio::task::spawn_blocking(move || read(&log)).await.map_err(Refusal::panicked)?;
        read.map_err(unreadable)
    }
}

/// One audit, read step by step as its client takes it.
pub struct Audit {
    service: Service,
    search: Search,
    expires_at: Timestamp,
    ready: VecDeque<(Cursor, Record)>,
    step: Step,
    ended: bool,
    _permit: OwnedSemaphorePermit,
}

impl Audit {
    /// The next record; `None` at the end.
    pub async fn next(&mut self) -> Result<Option<(Cursor, Record)>, Refusal> {
        loop {
            if let Some(found) = self.ready.pop_front() {
                if self.ready.is_empty() {
                    self.step = Step::NONE;
                }
                return Ok(Some(found));
            }
            if self.ended {
                return Ok(None);
            }
            self.service.may_go_on(self.expires_at)?;
            self.read_on().await?;
        }
    }

    async fn read_on(&mut self) -> Result<(), Refusal> {
        self.step = self.service.shared.ahead.step();
        let limit = self.step.records_max(self.search.limit);
        let (search, veil) = (Search { limit, ..self.search.clone() }, self.service.shared.veil.clone());
        let read = move |log: &Log| {
            let mut found = log.search(&search)?;
            let placed = |(record, chain): (Record, _)| (Cursor::new(record.sequence, &chain), veil.record(record));
            let records: VecDeque<_> = std::mem::take(&mut found.records).into_iter().map(placed).collect();
            Ok((records, found))
        };
        let (records, found) = self.service.read_ahead(read).await?;
        if records.is_empty() {
            self.step = Step::NONE;
        }
        self.ready = records;
        self.search.limit = self.search.limit.saturating_sub(self.ready.len());
        self.search.after = found.more;
        self.ended = found.more.is_none() || self.search.limit == 0;
        Ok(())
    }
}

impl Follower {
    /// The next record that passes the filter, or a heartbeat; an error ends the subscription.
    pub async fn next(&mut self) -> Result<Event, Refusal> {
        let mut stopping = self.service.shared.stopping.clone();
        let heartbeat = tokio::time::sleep(self.service.limits().heartbeat);
        tokio::pin!(heartbeat);
        loop {
            self.service.may_go_on(self.expires_at)?;
            if let Some(event) = self.take_ready()? {
                return Ok(event);
            }
            let sign_of_life = Event { cursor: self.source.place(), record: None };
            if heartbeat.is_elapsed() {
                return Ok(sign_of_life);
            }
            let pause = match self.read_on().await {
                Ok(true) => continue,
                Ok(false) => None,
                // The shared store is away. What this replica does is followed all the same.
                Err(Refusal::Unavailable(_)) if matches!(self.source, Source::Shared(_)) => Some(STORE_RETRY),
                Err(refusal) => return Err(refusal),
            };
            tokio::select! {
                changed = self.durable.changed() => changed.map_err(|_| Refusal::ShuttingDown)?,
                changed = self.source.changed(pause) => changed?,
                () = &mut heartbeat => return Ok(sign_of_life),
                _ = stopping.wait_for(|stopping| *stopping) => return Err(Refusal::ShuttingDown),
            }
        }
    }

    /// The next of the records read that passes the filter.
    fn take_ready(&mut self) -> Result<Option<Event>, Refusal> {
        while let Some(record) = self.source.take(self.service.shared.log.vault())? {
            if self.source.is_empty() {
                self.step = Step::NONE;
            }
            if self.filter.passes(&record) {
                let record = self.service.shared.veil.record(record);
                return Ok(Some(Event { cursor: self.source.place(), record: Some(record) }));
            }
        }
        Ok(None)
    }

    /// Takes the next chunk from disk or from the shared store; false where there is none yet.
    async fn read_on(&mut self) -> Result<bool, Refusal> {
        let newest = *self.durable.borrow_and_update();
        self.step = self.service.shared.ahead.step();
        let records = self.step.records_max(CHUNK_RECORDS);
        let found = self.read_records(newest, records).await;
        if !matches!(found, Ok(true)) {
            self.step = Step::NONE;
        }
        found
    }

    async fn read_records(&mut self, newest: u64, records: usize) -> Result<bool, Refusal> {
        match &mut self.source {
            Source::Journal { place, ready } => {
                let from = place.sequence.saturating_add(1);
                if newest < from {
                    return Ok(false);
                }
                let chunk = self.service.read_ahead(move |log| log.read_raw(from, records, CHUNK_BYTES));
                *ready = chunk.await?.into();
                Ok(!ready.is_empty())
            }
            Source::Shared(following) => match self.service.shared.store.feed() {
                Some(feed) => following.read_on(&self.service, feed, records).await,
                None => Ok(false),
            },
        }
    }
}

impl Source {
    fn place(&self) -> Place {
        match self {
            Self::Journal { place, .. } => Place::Own(place.clone()),
            Self::Shared(following) => Place::Shared(Box::new(following.place.clone())),
        }
    }

    /// Whether everything read was looked at.
    fn is_empty(&self) -> bool {
        match self {
            Self::Journal { ready, .. } => ready.is_empty(),
            Self::Shared(following) => following.is_empty(),
        }
    }

    /// The next of the records read.
    fn take(&mut self, vault: &Vault) -> Result<Option<Record>, Refusal> {
        match self {
            Self::Journal { place, ready } => {
                let Some(raw) = ready.pop_front() else { return Ok(None) };
                let record = raw.parse(vault).map_err(unreadable)?;
                *place = Cursor::new(raw.sequence, &raw.chain);
                Ok(Some(record))
            }
            Self::Shared(following) => following.take(),
        }
    }

    /// Returns when the shared store has something new, or after a pause; without such a store never.
    async fn changed(&mut self, pause: Option<Duration>) -> Result<(), Refusal> {
        match (self, pause) {
            (_, Some(pause)) => {
                tokio::time::sleep(pause).await;
                Ok(())
            }
            (Self::Shared(following), None) => following.changed().await,
            (Self::Journal { .. }, None) => std::future::pending().await,
        }
    }
}

impl Service {
    /// Whether a stream may live on.
    fn may_go_on(&self, expires_at: Timestamp) -> Result<(), Refusal> {
        if *self.shared.stopping.borrow() {
            return Err(Refusal::ShuttingDown);
        }
        if expires_at.is_due(self.shared.store.wall()) {
            return Err(Refusal::TokenExpired);
        }
        Ok(())
    }
}

fn unreadable(error: LogError) -> Refusal {
    match error {
        LogError::Read(ReadError::Trimmed { .. }) => Refusal::CursorTrimmed,
        LogError::Sealed { .. } => Refusal::Sealed(Box::new(error)),
        LogError::Read(_) | LogError::Unreadable { .. } | LogError::Snapshot(_) => Refusal::Internal(Box::new(error)),
    }
}

/// The order of an audit.
pub use crate::journal::Order as AuditOrder;
