//! Following what all replicas do: the events of the shared store, and of this replica's journal what is not among them.
//!
//! The order is that of each shard, and so of each approval. What the store has let go of is taken from this replica's
//! journal, where that has it.

use std::collections::VecDeque;
use std::sync::Arc;

use futures_util::future::join_all;
use tokio::sync::watch;

use super::place::{Life, SharedPlace};
use super::{CHUNK_BYTES, Cursor, Refusal, Service, Start, unreadable};
use crate::domain::{Origin, Record};
use crate::journal::{Log, RawRecord};
use crate::store::feed::{Feed, FeedError, Happened, Reach};
use crate::vault::{OpenError, Vault};

/// Bytes of events that one subscription holds, beside the one that is too large for that: its client may be slow to take them.
const EVENTS_BYTES: usize = 64 << 10;

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
    /// The shard that came first the last time: each has its turn.
    turn: u8,
    journals_turn: bool,
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
        Ok(Self { place, ready: VecDeque::new(), heard, turn: 0, journals_turn: false, vault })
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

    pub fn is_empty(&self) -> bool {
        self.ready.is_empty()
    }

    /// Reads on, so many records at most; false where there is nothing yet.
    pub async fn read_on(&mut self, service: &Service, feed: &dyn Feed, records: usize) -> Result<bool, Refusal> {
        // Where there is room for one only, the journal and the store have it in turn.
        self.journals_turn = !self.journals_turn;
        if records > 1 || self.journals_turn {
            self.read_own(service, records.div_ceil(2)).await?;
        }
        // Also where the journal had something: a busy replica always has, and most of that are events, which are told from here.
        let left = records.saturating_sub(self.ready.len());
        let read = if left > 0 { self.read_events(service, feed, left).await } else { Ok(()) };
        if self.ready.is_empty() {
            self.read_own(service, records).await?;
        }
        if self.ready.is_empty() { read.map(|()| false) } else { Ok(true) }
    }

    /// The next records of the own journal.
    async fn read_own(&mut self, service: &Service, records: usize) -> Result<(), Refusal> {
        let from = self.place.own.sequence.saturating_add(1);
        if service.shared.log.durable_through() >= from {
            let own = service.read_ahead(move |log| log.read_raw(from, records, CHUNK_BYTES)).await?;
            self.ready.extend(own.into_iter().map(Ready::Own));
        }
        Ok(())
    }

    /// The next events of all shards of which something new was heard, asked for at once; as many as there is room for, another shard's
    /// first each time.
    async fn read_events(&mut self, service: &Service, feed: &dyn Feed, records: usize) -> Result<(), Refusal> {
        let heard = self.heard.borrow_and_update().clone();
        let numbers = (0..).zip(&self.place.numbers).zip(&*heard);
        let mut behind: Vec<(u8, u64)> = numbers
            .filter(|((_, number), newest)| newest > number)
            .map(|((shard, number), _)| (shard, *number))
            .collect();
        let turn = behind.iter().position(|(shard, _)| *shard > self.turn).unwrap_or(0);
        behind.rotate_left(turn);
        self.turn = behind.first().map_or(self.turn, |(shard, _)| *shard);
        behind.truncate(records);
        let limit = records / behind.len().max(1);
        let read = join_all(behind.iter().map(|(shard, number)| feed.after(*shard, *number, limit))).await;
        let mut room = EVENTS_BYTES;
        for ((shard, number), events) in behind.into_iter().zip(read) {
            match events {
                Ok(events) => self.ready.extend(fitting(events, &mut room).into_iter().map(Ready::Event)),
                Err(FeedError::Trimmed(reach)) => self.ready.extend(old(service, shard, number, reach, limit).await?),
                Err(FeedError::Store(error)) => return Err(error.into()),
            }
        }
        Ok(())
    }

    /// Returns when something new was heard of.
    pub async fn changed(&mut self) -> Result<(), Refusal> {
        self.heard.changed().await.map_err(|_| Refusal::ShuttingDown)
    }
}

/// The first of some events, as many as there is room for; the very first always.
fn fitting(mut events: Vec<Happened>, room: &mut usize) -> Vec<Happened> {
    let mut fits = |event: &Happened| {
        let is_first = *room == EVENTS_BYTES;
        let (left, bytes) = (*room, event.payload.len());
        *room = left.saturating_sub(bytes);
        is_first || bytes <= left
    };
    let count = events.iter().map_while(|event| Some(event).filter(|event| fits(event))).count();
    events.truncate(count);
    events
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
async fn old(
    service: &Service,
    shard: u8,
    number: u64,
    reach: Reach,
    limit: usize,
) -> Result<VecDeque<Ready>, Refusal> {
    let last = reach.first.saturating_sub(1).min(number.saturating_add(limit as u64));
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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::domain::Timestamp;

    fn events(sizes: &[usize]) -> Vec<Happened> {
        let event = |(number, bytes): (u64, &usize)| Happened {
            origin: Origin { epoch: [1; 16], shard: 0, number },
            at: Timestamp::default(),
            payload: vec![0; *bytes],
        };
        (1..).zip(sizes).map(event).collect()
    }

    #[test]
    fn a_slow_client_is_kept_few_bytes_of_large_events_and_one_at_least() {
        let check = |shards: &[&[usize]], expected: &[usize]| {
            let mut room = EVENTS_BYTES;
            let taken: Vec<_> = shards.iter().map(|sizes| fitting(events(sizes), &mut room).len()).collect();
            assert_eq!(taken, expected, "{shards:?}");
        };
        check(&[&[100; 64], &[100; 64]], &[64, 64]);
        check(&[&[1 << 20, 100], &[100]], &[1, 0]);
        check(&[&[40_000, 40_000, 1], &[1]], &[1, 0]);
        check(&[&[], &[1 << 20]], &[0, 1]);
    }
}
