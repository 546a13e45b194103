//! Keeping Redis small: settled approvals leave when their time is over, old events when every one before them is in a
//! journal. Every replica does it; the scripts look again.

use std::sync::Arc;
use std::time::Duration;

use redis::Cmd;

use super::keys::Shard;
use super::links::jittered;
use super::{Shared, answer};
use crate::domain::{ApprovalId, Binding};
use crate::store::StoreError;

const INTERVAL: Duration = Duration::from_secs(2);
/// Settled approvals that leave at a time, of one shard.
const RETIRED_MAX: usize = 200;
/// Events of one shard that stay for those who follow.
const EVENTS_KEPT: u64 = 10_000;
/// Trimmed at a time, so that it is rarely done.
const EVENTS_SLACK: u64 = 1_000;

/// Runs for as long as the store lives.
pub(super) async fn keep(shared: Arc<Shared>) {
    let mut trimmed = [0; super::keys::SHARDS as usize];
    loop {
        tokio::time::sleep(jittered(INTERVAL)).await;
        for (shard, trimmed) in Shard::all().zip(&mut trimmed) {
            if let Err(error) = shared.clean(shard, trimmed).await {
                tracing::debug!(%error, redis.shard = shard.number(), "a shard could not be kept small");
            }
        }
    }
}

impl Shared {
    async fn clean(&self, shard: Shard, trimmed: &mut u64) -> Result<(), StoreError> {
        while self.retire(shard).await? == RETIRED_MAX {}
        self.trim(shard, trimmed).await
    }

    /// Lets go of settled approvals; how many were tried.
    pub(super) async fn retire(&self, shard: Shard) -> Result<usize, StoreError> {
        let keys = &self.links.keys;
        let mut old = redis::cmd("ZRANGEBYSCORE");
        let now = self.links.clock.now().as_micros();
        old.arg(keys.settled(shard)).arg("-inf").arg(now).arg("LIMIT").arg(0).arg(RETIRED_MAX);
        let old = self.links.read(shard, &[old]).await?.pop().unwrap_or_default();
        let old: Vec<ApprovalId> =
            answer::array(old, "ZRANGEBYSCORE")?.into_iter().filter_map(answer::approval_id).collect();
        if old.is_empty() {
            return Ok(0);
        }
        let Some((epoch, _)) = self.links.guard.expected(shard) else { return Ok(0) };
        let mut calls: Vec<Cmd> = Vec::new();
        for id in &old {
            // Without its binding it would leave a slot behind that leads nowhere. One that can never be read stays; `store
            // fsck` tells of it.
            let Ok(stored) = self.stored(*id).await else { continue };
            let binding = stored.map_or(Binding([0; 32]), |stored| stored.approval.opening.binding);
            let mut call = self.links.scripts.retire.call(&[
                keys.approval(*id),
                keys.slots(shard),
                keys.ids(shard),
                keys.settled(shard),
                keys.due(shard),
                keys.head(shard),
            ]);
            call.arg(&id.as_bytes()[..]).arg(&binding.0[..]).arg(&epoch[..]);
            calls.push(call);
            self.memory.settled(&binding, *id);
            self.cache.remove(id);
        }
        let retired = calls.len();
        self.links.read(shard, &calls).await?;
        Ok(retired)
    }

    /// INVARIANT: no event goes before it is in a journal.
    async fn trim(&self, shard: Shard, trimmed: &mut u64) -> Result<(), StoreError> {
        let keys = &self.links.keys;
        let mut head = redis::cmd("HGET");
        head.arg(keys.head(shard)).arg("head");
        let mut waiting = redis::cmd("XPENDING");
        waiting.arg(keys.events(shard)).arg("journal");
        let mut answers = self.links.read(shard, &[head, waiting]).await?.into_iter();
        let head = answers.next().and_then(answer::unsigned).unwrap_or(0);
        let keep = head.saturating_sub(EVENTS_KEPT);
        if keep < trimmed.saturating_add(EVENTS_SLACK) {
            return Ok(());
        }
        let mut waiting = answer::array(answers.next().unwrap_or_default(), "XPENDING")?.into_iter();
        let count = waiting.next().and_then(answer::unsigned).unwrap_or(0);
        let oldest = waiting.next().and_then(answer::text);
        let oldest = oldest.and_then(|id| id.split('-').next()?.parse::<u64>().ok());
        let first = match (count, oldest) {
            (0, _) => keep,
            (_, Some(oldest)) => keep.min(oldest),
            (_, None) => return Ok(()),
        };
        let mut trim = redis::cmd("XTRIM");
        trim.arg(keys.events(shard)).arg("MINID").arg(format!("{first}-0"));
        self.links.read(shard, &[trim]).await?;
        *trimmed = first;
        Ok(())
    }
}
