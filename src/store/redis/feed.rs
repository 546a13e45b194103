//! The streams of events for those who follow them: read on demand, and told only once they last.

use std::sync::Arc;

use futures_util::FutureExt;
use futures_util::future::{BoxFuture, try_join_all};
use tokio::sync::watch;

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
        let mut head = redis::cmd("HGET");
        head.arg(self.links.keys.head(shard)).arg("head");
        let mut answers = self.links.read(shard, &[first, head]).await?.into_iter();
        let first = entries(answers.next().unwrap_or_default())?;
        let head = answers.next().and_then(answer::unsigned).unwrap_or(0);
        let Some((epoch, _)) = self.links.guard.expected(shard) else {
            return Err(super::Trouble::OutOfReach("it was never reached".into()).into());
        };
        Ok(Reach { epoch, first: first.first().map_or(head + 1, |entry| entry.number), head })
    }

    async fn events_after(&self, shard: u8, number: u64, limit: usize) -> Result<Vec<Happened>, FeedError> {
        let Some(shard) = Shard::all().find(|each| each.number() == shard) else { return Ok(Vec::new()) };
        let epoch = self.epoch(shard)?;
        let mut range = redis::cmd("XRANGE");
        range.arg(self.links.keys.events(shard)).arg(format!("{}-0", number.saturating_add(1))).arg("+");
        range.arg("COUNT").arg(limit);
        let answer = self.links.read(shard, &[range]).await.map_err(StoreError::from)?.pop().unwrap_or_default();
        let found = entries(answer)?;
        // Numbers have no gap: one that is missing was trimmed.
        if found.first().is_none_or(|entry| entry.number != number.saturating_add(1)) {
            let reach = self.reach_of(shard).await?;
            // What came between the two looks is there, and read with the next.
            let is_trimmed = reach.first > number.saturating_add(1);
            return if is_trimmed { Err(FeedError::Trimmed(reach)) } else { Ok(Vec::new()) };
        }
        if self.epoch(shard)? != epoch {
            // Whose events they are is not known.
            return Err(StoreError::from(super::Trouble::OutOfReach("the shard began anew".into())).into());
        }
        if let Some(last) = found.last() {
            self.lasting(shard, epoch, last.number).await?;
        }
        let happened = |entry: Entry| Happened {
            origin: Origin { epoch, shard: shard.number(), number: entry.number },
            at: entry.at,
            payload: entry.record,
        };
        Ok(found.into_iter().map(happened).collect())
    }
}

fn entries(answer: redis::Value) -> Result<Vec<Entry>, StoreError> {
    let entries = answer::array(answer, "XRANGE")?.into_iter().map(Entry::parse);
    Ok(entries.collect::<Result<_, _>>()?)
}
