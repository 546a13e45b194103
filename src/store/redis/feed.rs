//! The streams of events for those who follow them: read on demand, and told only once they last.

use std::sync::Arc;

use futures_util::FutureExt;
use futures_util::future::{BoxFuture, try_join_all};
use tokio::sync::watch;

use super::guard::Epoch;
use super::journaling::Entry;
use super::keys::Shard;
use super::{Redis, Shared, answer};
use crate::domain::Origin;
use crate::store::StoreError;
use crate::store::feed::{Feed, FeedError, Happened, Reach};

impl Feed for Redis {
    fn reach(&self) -> BoxFuture<'_, Result<Vec<Reach>, StoreError>> {
        try_join_all(Shard::all().map(|shard| self.shared.reach_of(shard))).boxed()
    }

    fn epochs(&self) -> Vec<Option<Epoch>> {
        Shard::all().map(|shard| self.shared.links.guard.expected(shard).map(|(epoch, _)| epoch)).collect()
    }

    fn after(&self, shard: u8, number: u64, limit: usize) -> BoxFuture<'_, Result<Vec<Happened>, FeedError>> {
        self.shared.events_after(shard, number, limit).boxed()
    }

    fn heard(&self) -> watch::Receiver<Arc<[u64]>> {
        self.shared.heard.subscribe()
    }
}

impl Shared {
    async fn reach_of(&self, shard: Shard) -> Result<Reach, StoreError> {
        let mut first = redis::cmd("XRANGE");
        first.arg(self.links.keys.events(shard)).arg("-").arg("+").arg("COUNT").arg(1);
        let mut head = redis::cmd("HMGET");
        head.arg(self.links.keys.head(shard)).arg("epoch").arg("head").arg("after").arg("lost").arg("through");
        let mut answers = self.links.read(shard, &[first, head]).await?.into_iter();
        let first = answer::array(answers.next().unwrap_or_default(), "XRANGE")?;
        let first = first.first().map(Entry::place).and_then(|place| place.split('-').next()?.parse().ok());
        let seen = answer::seen(answers.next().unwrap_or_default())?;
        // What it says was held against what is known.
        let Some(epoch) = seen.epoch else {
            return Err(super::Trouble::OutOfReach("it was never reached".into()).into());
        };
        Ok(Reach { epoch, before: seen.before().collect(), first: first.unwrap_or(seen.head + 1), head: seen.head })
    }

    async fn events_after(&self, shard: u8, number: u64, limit: usize) -> Result<Vec<Happened>, FeedError> {
        let Some(shard) = Shard::all().find(|each| each.number() == shard) else { return Ok(Vec::new()) };
        let epoch = self.epoch(shard)?;
        let mut range = redis::cmd("XRANGE");
        range.arg(self.links.keys.events(shard)).arg(format!("{}-0", number.saturating_add(1))).arg("+");
        range.arg("COUNT").arg(limit);
        let answer = self.links.read(shard, &[range]).await.map_err(StoreError::from)?.pop().unwrap_or_default();
        let found = answer::array(answer, "XRANGE").map_err(StoreError::from)?;
        if self.epoch(shard)? != epoch {
            // Whose events they are is not known.
            return Err(StoreError::from(super::Trouble::OutOfReach("the shard began anew".into())).into());
        }
        let is_any = !found.is_empty();
        let found = self.in_order(shard, number, found);
        if found.is_empty() {
            let reach = self.reach_of(shard).await?;
            let is_trimmed = reach.first > number.saturating_add(1);
            return match (is_trimmed, is_any) {
                (true, _) => Err(FeedError::Trimmed(reach)),
                // INVARIANT: nobody who follows is led past an event that he was not shown.
                (false, true) => Err(FeedError::Unreadable(reach)),
                // What came between the two looks is there, and read with the next.
                (false, false) => Ok(Vec::new()),
            };
        }
        if let Some(last) = found.last() {
            self.lasting(shard, epoch, last.number).await?;
        }
        let happened = |entry: Entry| Happened {
            origin: Origin { epoch: entry.epoch(epoch), shard: shard.number(), number: entry.number },
            at: entry.at,
            payload: entry.record,
        };
        Ok(found.into_iter().map(happened).collect())
    }

    /// Of some entries the events that follow a number one by one, up to the first that is not there or cannot be read.
    fn in_order(&self, shard: Shard, number: u64, entries: Vec<redis::Value>) -> Vec<Entry> {
        let entries = entries.into_iter().map_while(|entry| self.entry(shard, entry).ok());
        let in_order = (number.saturating_add(1)..).zip(entries).take_while(|(wanted, entry)| entry.number == *wanted);
        in_order.map(|(_, entry)| entry).collect()
    }
}
