//! What the journals tell goes back into the stream of events of a shard that begins anew: who follows goes on where he was, and sees
//! what was denied.
//!
//! As many as a stream keeps, up to the newest, without a gap; each under the name that it has in the journals. Before a gap, or where
//! journals tell two things of one number, who was there is told that something is missing.

use std::collections::BTreeMap;

use super::answer;
use super::guard::{Epoch, Seen};
use super::keys::Shard;
use super::links::Links;
use super::reconcile::{Histories, ReconcileError};
use super::upkeep::EVENTS_KEPT;
use crate::domain::{Fact, Moved, Record, Timestamp};
use crate::vault::Vault;

/// Bytes of events that go together, beside the one that is too large for that.
const TOGETHER_BYTES: usize = 256 << 10;
const TOGETHER: usize = 200;

/// One event, as it goes into the stream.
struct Told<'a> {
    number: u64,
    at: Timestamp,
    fact: &'a Fact,
    epoch: Epoch,
}

/// What was denied, by its number.
pub(super) struct Denied {
    pub number: u64,
    pub at: Timestamp,
    pub fact: Fact,
    /// What the approval is now.
    pub state: &'static str,
}

/// The epochs that a shard takes the place of, each with its last event behind which whoever follows may go on with the new one.
pub(super) fn lineage(histories: &Histories, shard: Shard, found: &Seen) -> BTreeMap<Epoch, u64> {
    let mut lives: BTreeMap<Epoch, u64> = found.before().collect();
    for ((_, epoch), events) in of(histories, shard) {
        let last = events.keys().next_back().copied().unwrap_or(0);
        lives.entry(*epoch).or_insert(last);
    }
    if let Some(epoch) = found.epoch {
        let last = lives.entry(epoch).or_default();
        *last = found.head.max(*last);
    }
    // Whoever is behind a number that is told in two ways may have seen the other one.
    let forked = facts(histories, shard).into_iter().find(|(_, facts)| facts.len() > 1).map(|(number, _)| number);
    for last in lives.values_mut() {
        *last = forked.map_or(*last, |forked| (*last).min(forked.saturating_sub(1)));
    }
    lives
}

fn of(histories: &Histories, shard: Shard) -> impl Iterator<Item = (&(u8, Epoch), &BTreeMap<u64, Vec<Record>>)> {
    histories.iter().filter(move |((of, _), _)| *of == shard.number())
}

/// Of each number, all that journals tell of it.
fn facts<'a>(histories: &'a Histories, shard: Shard) -> BTreeMap<u64, Vec<Told<'a>>> {
    let mut facts: BTreeMap<u64, Vec<Told<'a>>> = BTreeMap::new();
    for ((_, epoch), events) in of(histories, shard) {
        for (number, records) in events {
            let told = |record: &'a Record| Told { number: *number, at: record.at, fact: &record.fact, epoch: *epoch };
            facts.entry(*number).or_default().extend(records.iter().map(told));
        }
    }
    facts
}

/// Fills the stream of a lost shard, up to `head`, in the name of somebody.
pub(super) async fn refill(
    links: &Links,
    vault: &Vault,
    histories: &Histories,
    shard: Shard,
    denied: &[Denied],
    head: u64,
    who: &Epoch,
) -> Result<(), ReconcileError> {
    let known = facts(histories, shard);
    let first = head.saturating_sub(EVENTS_KEPT).max(gap(&known, denied, head));
    let mut batch = Batch { links, shard, who, is_first: true, bytes: 0, arguments: Vec::new() };
    for told in known.range(first.saturating_add(1)..).filter_map(|(_, facts)| facts.first()) {
        let record = shared(vault, told.fact)?;
        batch.add(told.number, told.at, record, [told.epoch.to_vec(), Vec::new(), Vec::new(), Vec::new()]).await?;
    }
    for denied in denied.iter().filter(|denied| denied.number > first) {
        let Fact::Moved(Moved { approval, binding, .. }) = &denied.fact else { continue };
        let hint = [Vec::new(), approval.as_bytes().to_vec(), binding.0.to_vec(), denied.state.into()];
        batch.add(denied.number, denied.at, shared(vault, &denied.fact)?, hint).await?;
    }
    batch.send().await
}

/// The newest number that is in no journal, or is told in two ways.
fn gap(known: &BTreeMap<u64, Vec<Told<'_>>>, denied: &[Denied], head: u64) -> u64 {
    let mut next = denied.first().map_or(head, |denied| denied.number.saturating_sub(1));
    for (number, facts) in known.iter().rev() {
        if *number != next || facts.len() > 1 {
            break;
        }
        next -= 1;
    }
    next
}

fn shared(vault: &Vault, fact: &Fact) -> Result<Vec<u8>, ReconcileError> {
    vault.share(vault.draft(fact)).map_err(|error| ReconcileError::Record(error.into()))
}

/// Events that go together.
struct Batch<'a> {
    links: &'a Links,
    shard: Shard,
    who: &'a Epoch,
    is_first: bool,
    bytes: usize,
    arguments: Vec<Vec<u8>>,
}

impl Batch<'_> {
    async fn add(
        &mut self,
        number: u64,
        at: Timestamp,
        record: Vec<u8>,
        hint: [Vec<u8>; 4],
    ) -> Result<(), ReconcileError> {
        if self.bytes + record.len() > TOGETHER_BYTES || self.arguments.len() >= TOGETHER * 7 {
            self.send().await?;
        }
        self.bytes += record.len();
        self.arguments.extend([number.to_string().into_bytes(), at.as_micros().to_string().into_bytes(), record]);
        self.arguments.extend(hint);
        Ok(())
    }

    async fn send(&mut self) -> Result<(), ReconcileError> {
        if self.arguments.is_empty() && !self.is_first {
            return Ok(());
        }
        let keys = &self.links.keys;
        let mut call = self.links.scripts.refill.call(&[keys.head(self.shard), keys.events(self.shard)]);
        call.arg(&self.who[..]).arg(if self.is_first { "first" } else { "" });
        self.arguments.drain(..).for_each(|argument| {
            call.arg(argument);
        });
        (self.is_first, self.bytes) = (false, 0);
        let (written, _) = self.links.write(self.shard, &call).await?;
        match answer::number(written.value) {
            Some(1) => Ok(()),
            _ => Err(ReconcileError::Changed { shard: self.shard.number() }),
        }
    }
}
