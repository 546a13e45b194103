//! Following what all replicas do: the events of the shared store, and of this replica's journal what is not among them.
//!
//! The order is that of each shard, and so of each approval. What the store has let go of is taken from this replica's
//! journal, where that has it.

use std::collections::VecDeque;
use std::sync::Arc;

use tokio::sync::watch;

use super::place::{Life, SharedPlace};
use super::{CHUNK_BYTES, CHUNK_RECORDS, Cursor, Refusal, Service, Start, unreadable};
use crate::domain::{Origin, Record};
use crate::journal::{Log, RawRecord};
use crate::store::feed::{Feed, FeedError, Happened, Reach};
use crate::vault::{OpenError, Vault};

/// Something that was read and not looked at yet; unparsed, which takes a fraction of the room.
enum Ready {
    /// Of the own journal.
    Own(RawRecord),
    Event(Happened),
    /// An event that only the own journal has any more.
    Old(Origin, RawRecord),
}

/// The place of one subscription in all that it follows.
pub(super) struct Following {
    pub place: SharedPlace,
    ready: VecDeque<Ready>,
    heard: watch::Receiver<Arc<[u64]>>,
    /// The shard that was read last: each has its turn.
    turn: usize,
    vault: Vault,
}

impl Following {
    pub async fn begin(service: &Service, feed: &dyn Feed, start: Start) -> Result<Self, Refusal> {
        let heard = feed.heard();
        let shards = feed.reach().await?;
        let life = Life::of(&shards);
        let place = match start {
            Start::Now => of(life, &shards, service, Start::Now, |shard| shard.head).await?,
            Start::Beginning => {
                of(life, &shards, service, Start::Beginning, |shard| shard.first.saturating_sub(1)).await?
            }
            Start::After(super::Place::Shared(place)) => {
                let known = place.life == life && place.numbers.len() == shards.len();
                let past = place.numbers.iter().zip(&shards).all(|(number, shard)| *number <= shard.head);
                if !known || !past {
                    return Err(foreign());
                }
                here(service, *place).await?
            }
            Start::After(super::Place::Own(_)) => return Err(foreign()),
        };
        let vault = service.shared.log.vault().clone();
        Ok(Self { place, ready: VecDeque::new(), heard, turn: 0, vault })
    }

    /// The next record of those read; the place moves with it.
    pub fn take(&mut self) -> Result<Option<Record>, Refusal> {
        while let Some(ready) = self.ready.pop_front() {
            let record = match ready {
                Ready::Own(raw) => {
                    let record = raw.parse(&self.vault).map_err(unreadable)?;
                    self.place.own = Cursor::new(raw.sequence, &raw.chain);
                    if record.origin.is_some() {
                        // It comes with the events of all.
                        continue;
                    }
                    record
                }
                Ready::Event(event) => {
                    let record = event.parse(&self.vault).map_err(|error| match error {
                        OpenError::Malformed(error) => Refusal::Internal(Box::new(error)),
                        error => Refusal::Sealed(Box::new(error)),
                    })?;
                    self.passed(event.origin);
                    record
                }
                Ready::Old(origin, raw) => {
                    self.passed(origin);
                    Record { sequence: 0, ..raw.parse(&self.vault).map_err(unreadable)? }
                }
            };
            self.place.at = self.place.at.max(record.at);
            return Ok(Some(record));
        }
        Ok(None)
    }

    fn passed(&mut self, origin: Origin) {
        if let Some(number) = self.place.numbers.get_mut(usize::from(origin.shard)) {
            *number = origin.number;
        }
    }

    /// Reads on; false where there is nothing yet.
    pub async fn read_on(&mut self, service: &Service, feed: &dyn Feed) -> Result<bool, Refusal> {
        let from = self.place.own.sequence.saturating_add(1);
        if service.shared.log.durable_through() >= from {
            let own = service.on_disk(move |log| log.read_raw(from, CHUNK_RECORDS, CHUNK_BYTES)).await?;
            self.ready.extend(own.into_iter().map(Ready::Own));
        }
        if self.ready.is_empty() {
            self.read_events(service, feed).await?;
        }
        Ok(!self.ready.is_empty())
    }

    /// The next events of the first shard, in turn, of which something new was heard.
    async fn read_events(&mut self, service: &Service, feed: &dyn Feed) -> Result<(), Refusal> {
        let heard = self.heard.borrow_and_update().clone();
        let count = self.place.numbers.len();
        for step in 1..=count {
            let shard = (self.turn + step) % count.max(1);
            let number = self.place.numbers.get(shard).copied().unwrap_or(u64::MAX);
            if heard.get(shard).is_none_or(|newest| *newest <= number) {
                continue;
            }
            self.turn = shard;
            let shard = u8::try_from(shard).unwrap_or(u8::MAX);
            match feed.after(shard, number, CHUNK_RECORDS).await {
                Ok(events) => self.ready.extend(events.into_iter().map(Ready::Event)),
                Err(FeedError::Trimmed(reach)) => self.ready = old(service, shard, number, reach).await?,
                Err(FeedError::Store(error)) => return Err(error.into()),
            }
            if !self.ready.is_empty() {
                return Ok(());
            }
        }
        Ok(())
    }

    /// Returns when something new was heard of.
    pub async fn changed(&mut self) -> Result<(), Refusal> {
        self.heard.changed().await.map_err(|_| Refusal::ShuttingDown)
    }
}

async fn of(
    life: Life,
    shards: &[Reach],
    service: &Service,
    start: Start,
    number: impl Fn(&Reach) -> u64,
) -> Result<SharedPlace, Refusal> {
    let own = service.place(start).await?;
    Ok(SharedPlace { life, numbers: shards.iter().map(number).collect(), at: service.now(), own })
}

/// The same place at this replica, whose journal may be another one than that at which it was handed out.
async fn here(service: &Service, place: SharedPlace) -> Result<SharedPlace, Refusal> {
    match service.check_cursor(&place.own).await {
        Ok(()) => Ok(place),
        Err(Refusal::CursorTrimmed) => Err(Refusal::CursorTrimmed),
        Err(Refusal::Invalid { .. }) => {
            let at = place.at;
            let own = service.on_disk(move |log| at_moment(log, at)).await?;
            Ok(SharedPlace { own, ..place })
        }
        Err(other) => Err(other),
    }
}

/// Before the first record of a journal at or after a moment.
fn at_moment(log: &Log, at: crate::domain::Timestamp) -> Result<Cursor, crate::journal::LogError> {
    let next = log.sequence_at(at)?;
    let last = next.saturating_sub(1);
    if last < log.first_sequence() {
        return Ok(Cursor::before(log.first_sequence()));
    }
    let before = log.read_raw(last, 1, 1)?;
    Ok(before.first().map_or_else(|| Cursor::before(next), |record| Cursor::new(record.sequence, &record.chain)))
}

/// What the store no longer has, from this replica's journal, as far as that has it without a gap.
async fn old(service: &Service, shard: u8, number: u64, reach: Reach) -> Result<VecDeque<Ready>, Refusal> {
    let last = reach.first.saturating_sub(1).min(number.saturating_add(CHUNK_RECORDS as u64));
    let found = service.on_disk(move |log| {
        let mut found = VecDeque::new();
        for number in number.saturating_add(1)..=last {
            let origin = Origin { epoch: reach.epoch, shard, number };
            let Some(record) = log.records_of(&origin)?.into_iter().next() else { break };
            found.push_back(Ready::Old(origin, record));
        }
        Ok(found)
    });
    let found = found.await?;
    if found.is_empty() { Err(Refusal::CursorTrimmed) } else { Ok(found) }
}

fn foreign() -> Refusal {
    Refusal::invalid("cursor", "not a cursor of this store")
}
