//! What happens anywhere is heard here: one blocking read of the streams, handed on in memory.
//!
//! It wakes those who wait for an approval, tells the timer of deadlines, and keeps what this replica knows of pending
//! approvals. It is never the truth, only a reason to look. A read that brings nothing comes back every second, so that a
//! connection that died silently is noticed; it is then made anew, reading goes on where it stopped, and everybody looks
//! again.

use std::sync::Arc;
use std::time::Duration;

use redis::Value;
use redis::aio::MultiplexedConnection;

use super::dial::{Patience, dial};
use super::journaling::Entry;
use super::keys::Shard;
use super::links::jittered;
use super::settings::{Address, Shape};
use super::trouble::{Trouble, accepted};
use super::{Shared, answer};
use crate::domain::{ApprovalId, Binding, Timestamp};

/// How long a read waits for something to happen.
const BLOCK: Duration = Duration::from_millis(750);
/// Events that one read brings, of each shard: they come with their records, which may be large.
const READ_MAX: usize = 32;
/// Another server may have lost what was not replicated and given its numbers again: so many events are read again.
const AGAIN: u64 = 1_000;
/// Before a connection is tried again.
const RETRY: Duration = Duration::from_millis(100);
/// Between two looks at whether what was heard lasts: one write in each shard where something happened.
const SURE_AFTER: Duration = Duration::from_millis(250);
/// Pending approvals looked up at a time, when a replica has just come.
const SCAN: usize = 500;

/// Follows the streams for as long as the store lives.
pub(super) async fn follow(shared: Arc<Shared>) {
    let all: Vec<Shard> = Shard::all().collect();
    // A Cluster refuses one command for several slots.
    let groups: Vec<Vec<Shard>> = match shared.links.settings.shape {
        Shape::Single | Shape::Sentinel { .. } => vec![all],
        Shape::Cluster => all.into_iter().map(|shard| vec![shard]).collect(),
    };
    let follow = |shards| {
        let mut reader = Reader { shared: &shared, places: Vec::new(), last: None, shards };
        async move { reader.run().await }
    };
    futures_util::future::join_all(groups.into_iter().map(follow)).await;
}

/// What was heard of must not be lost any more, once it is replicated: this replica may be the only one that still knows of
/// it when Redis is put back to an old copy. Runs for as long as the store lives.
pub(super) async fn make_sure(shared: Arc<Shared>) {
    let mut heard = shared.heard.subscribe();
    loop {
        let numbers = heard.borrow_and_update().clone();
        let mut is_sure = true;
        for (shard, number) in Shard::all().zip(&*numbers) {
            let is_behind = shared.links.guard.expected(shard).is_some_and(|(_, known)| known < *number);
            if is_behind && let Err(error) = shared.all_lasting(shard).await {
                tracing::debug!(%error, redis.shard = shard.number(), "it is not known yet whether what was heard lasts");
                is_sure = false;
            }
        }
        tokio::time::sleep(jittered(SURE_AFTER)).await;
        if is_sure && heard.changed().await.is_err() {
            return;
        }
    }
}

struct Reader<'a> {
    shared: &'a Shared,
    shards: Vec<Shard>,
    /// The last event heard of each shard.
    places: Vec<u64>,
    last: Option<Address>,
}

impl Reader<'_> {
    async fn run(&mut self) {
        loop {
            if let Some(node) = self.shards.first().and_then(|shard| self.shared.links.owner(*shard)) {
                let address = node.address().clone();
                // An end is always an error: the way is lost, or leads elsewhere.
                if let Err(trouble) = self.listen(&address).await {
                    tracing::debug!(%trouble, redis.address = %address, "the stream of events broke off");
                }
            }
            tokio::time::sleep(jittered(RETRY)).await;
        }
    }

    async fn listen(&mut self, address: &Address) -> Result<(), Trouble> {
        let settings = &self.shared.links.settings;
        let patience = Patience::For(BLOCK + settings.command_timeout * 2);
        let mut connection = dial(settings, address, patience).await?;
        self.take_up(address).await?;
        // From here on nothing is missed; what was missed before is looked at.
        self.shared.waits.wake_all();
        self.shared.timer.notify_one();
        self.shared.kept.hint.notify_one();
        self.tell();
        while self.leads_to(address) {
            let streams = self.read(&mut connection, address).await?;
            for (index, entry) in &streams {
                self.hear(*index, entry);
            }
            if !streams.is_empty() {
                self.tell();
                self.complete().await?;
            }
        }
        Err(Trouble::OutOfReach("the primary is another one".into()))
    }

    fn leads_to(&self, address: &Address) -> bool {
        let owner = |shard: &Shard| self.shared.links.owner(*shard);
        self.shards.iter().all(|shard| owner(shard).is_none_or(|node| node.address() == address))
    }

    /// Where to read on.
    async fn take_up(&mut self, address: &Address) -> Result<(), Trouble> {
        let same = self.last.as_ref() == Some(address);
        let mut places = Vec::new();
        for (index, shard) in self.shards.iter().enumerate() {
            let mut head = redis::cmd("HGET");
            head.arg(self.shared.links.keys.head(*shard)).arg("head");
            let head = self.shared.links.read(*shard, &[head]).await?.pop().and_then(answer::unsigned).unwrap_or(0);
            places.push(match self.places.get(index) {
                Some(place) if same => (*place).min(head),
                Some(place) => place.saturating_sub(AGAIN).min(head),
                None => head,
            });
        }
        self.places = places;
        self.last = Some(address.clone());
        self.complete().await
    }

    /// Looks through those shards of which not everything is known.
    async fn complete(&self) -> Result<(), Trouble> {
        let memory = &self.shared.memory;
        for shard in self.shards.iter().filter(|shard| !memory.is_complete(**shard)) {
            self.scan(*shard).await?;
            memory.set_complete(*shard, true);
        }
        Ok(())
    }

    /// Which approvals were pending before this replica began to listen.
    async fn scan(&self, shard: Shard) -> Result<(), Trouble> {
        let keys = &self.shared.links.keys;
        let mut cursor = "0".to_owned();
        loop {
            let mut scan = redis::cmd("HSCAN");
            scan.arg(keys.slots(shard)).arg(&cursor).arg("COUNT").arg(SCAN);
            let answer = self.shared.links.read(shard, &[scan]).await?.pop().unwrap_or_default();
            let (next, members) = answer::scanned(answer)?;
            for (binding, id) in members {
                if let (Ok(binding), Ok(id)) = (binding.try_into(), id.try_into()) {
                    // It may be settled: then a query too many looks.
                    self.shared.memory.opened(&Binding(binding), ApprovalId::from_bytes(id));
                }
            }
            cursor = next;
            if cursor == "0" {
                return Ok(());
            }
        }
    }

    async fn read(
        &self,
        connection: &mut MultiplexedConnection,
        address: &Address,
    ) -> Result<Vec<(usize, Entry)>, Trouble> {
        let mut read = redis::cmd("XREAD");
        let block = u64::try_from(BLOCK.as_millis()).unwrap_or(1_000);
        read.arg("COUNT").arg(READ_MAX).arg("BLOCK").arg(block).arg("STREAMS");
        let keys: Vec<Vec<u8>> = self.shards.iter().map(|shard| self.shared.links.keys.events(*shard)).collect();
        for key in &keys {
            read.arg(key);
        }
        for place in &self.places {
            read.arg(format!("{place}-0"));
        }
        let answer = connection.send_packed_command(&read).await;
        let answer = answer.map_err(|error| Trouble::Redis { address: address.clone(), error })?;
        let mut heard = Vec::new();
        for stream in answer::array(accepted(answer, address)?, "XREAD")? {
            let mut parts = answer::array(stream, "XREAD")?.into_iter();
            let key = parts.next().and_then(answer::bytes).ok_or(Trouble::Unexpected("XREAD"))?;
            let index = keys.iter().position(|is| *is == key).ok_or(Trouble::Unexpected("XREAD"))?;
            for entry in answer::array(parts.next().unwrap_or(Value::Nil), "XREAD")? {
                heard.push((index, Entry::parse(entry)?));
            }
        }
        Ok(heard)
    }

    /// Tells those who follow how far things have come.
    fn tell(&self) {
        self.shared.heard.send_modify(|heard| {
            let mut numbers = heard.to_vec();
            for (shard, place) in self.shards.iter().zip(&self.places) {
                if let Some(number) = numbers.get_mut(shard.index()) {
                    *number = *place;
                }
            }
            *heard = numbers.into();
        });
    }

    fn hear(&mut self, index: usize, entry: &Entry) {
        if let (Some(place), Some(shard)) = (self.places.get_mut(index), self.shards.get(index)) {
            if entry.number > place.saturating_add(1) {
                // Events have no gaps: those before this one were trimmed before they were read, and somebody may wait for them.
                self.shared.memory.set_complete(*shard, false);
                self.shared.waits.wake_all();
            }
            *place = (*place).max(entry.number);
        }
        if entry.field(b"n").is_some() {
            self.shared.kept.hint.notify_one();
        }
        let array = |name: &[u8]| entry.field(name).and_then(|bytes| bytes.try_into().ok());
        let binding = entry.field(b"b").and_then(|bytes| bytes.try_into().ok()).map(Binding);
        let (Some(id), Some(binding)) = (array(b"a").map(ApprovalId::from_bytes), binding) else { return };
        if entry.field(b"s") == Some(b"pending") {
            self.shared.memory.opened(&binding, id);
        } else {
            self.shared.memory.settled(&binding, id);
        }
        let due = entry.field(b"d").and_then(|due| std::str::from_utf8(due).ok()).and_then(|due| due.parse().ok());
        if let Some(due) = due.filter(|due| *due > 0) {
            self.shared.due_at(Timestamp::from_micros(due));
        }
        if self.shared.waits.is_awaited(&id) {
            self.take_up_change(id, entry, due.unwrap_or(0));
        }
        self.shared.waits.wake(id);
    }

    /// Keeps at hand what an approval has become that somebody waits for: he need not read it to try to redeem it, since the script
    /// compares what it is to the letter. Where anything is missing he reads it.
    fn take_up_change(&self, id: ApprovalId, entry: &Entry, due: i64) {
        let Some(before) = self.shared.cache.get(&id).filter(|before| before.head < entry.number) else { return };
        let Ok(record) = self.shared.log.vault().open_shared(entry.at, &entry.record) else { return };
        let state = entry.field(b"s").unwrap_or_default();
        let transition = record.fact.transition().filter(|(of, _)| *of == id).map(|(_, transition)| transition);
        if let Some(after) = transition.and_then(|transition| before.heard(transition, entry.number, state, due)) {
            self.shared.cache.insert(id, Arc::new(after));
        }
    }
}
