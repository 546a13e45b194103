//! Looking over all shards at once: pages of approvals, what is due and when, how many are pending.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use futures_util::future::{join_all, try_join_all};

use super::commit::never_reached;
use super::keys::{SHARDS, Shard};
use super::links::jittered;
use super::stored::Stored;
use super::{Shared, answer};
use crate::domain::{Approval, ApprovalId, Timestamp};
use crate::store::{CommitError, Listed, Page, StoreError};

/// How many approvals one page looks at before it says that there may be more.
const LIST_SCAN_MAX: usize = 2_000;
/// The longest sleep without a look at the deadlines: a hint of an earlier one may get lost.
const NAP_MAX: Duration = Duration::from_secs(1);
/// Before what is due is looked after: what is due in the same moment is done together.
const GATHER: Duration = Duration::from_millis(10);
/// How much later those look after a shard who found that another one did it: replicas that do the same twice are half as fast.
/// Where that one falls silent, nothing is later than this.
const YIELD: Duration = Duration::from_millis(40);
/// What is due in one shard and looked after at a time.
const DUE_OF_SHARD_MAX: usize = 128;
/// How many approvals a page looks at in one step, at least.
const LIST_STEP_MIN: usize = 64;
/// Below this part of the limit, in percent, nobody counts what is pending.
const COUNTED_FROM: usize = 80;

/// The last time that the timer looked after what was due.
#[derive(Debug, Default)]
pub struct LookedAt(Mutex<Option<Look>>);

#[derive(Debug, Clone, Copy)]
struct Look {
    /// Until when.
    moment: Timestamp,
    at: Instant,
    /// How much of that is left to others, in each shard.
    left: [Duration; SHARDS as usize],
}

impl Look {
    fn left(&self, shard: Shard) -> Duration {
        self.left.get(shard.index()).copied().unwrap_or_default()
    }
}

impl LookedAt {
    fn get(&self) -> Option<Look> {
        *self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn set(&self, look: Look) {
        *self.0.lock().unwrap_or_else(PoisonError::into_inner) = Some(look);
    }
}

/// In which shards another replica was faster to write down what is due.
#[derive(Debug, Default)]
pub struct Yields([AtomicBool; SHARDS as usize]);

impl Yields {
    /// Somebody put on record what time had made of an approval: this replica, or another one before it.
    pub fn note(&self, shard: Shard, was_other: bool) {
        if let Some(yields) = self.0.get(shard.index()) {
            yields.store(was_other, Ordering::Relaxed);
        }
    }

    /// For how long what is due in a shard, by its number, is left to others.
    fn left(&self, shard: usize) -> Duration {
        let yields = self.0.get(shard).is_some_and(|yields| yields.load(Ordering::Relaxed));
        if yields { YIELD } else { Duration::ZERO }
    }
}

/// What the shards within reach said.
///
/// # Errors
/// When none said anything.
fn good<T>(of_shards: Vec<Result<T, StoreError>>) -> Result<impl Iterator<Item = T>, StoreError> {
    let mut of_shards = of_shards;
    if of_shards.iter().all(Result::is_err)
        && let Some(Err(error)) = of_shards.pop()
    {
        return Err(error);
    }
    Ok(of_shards.into_iter().filter_map(Result::ok))
}

impl Shared {
    pub(super) async fn list(&self, page: &Page) -> Result<Listed, StoreError> {
        let mut listed = Listed { approvals: Vec::new(), more: page.before };
        let mut looked_at = 0;
        let epochs = Shard::all().map(|shard| self.epoch(shard)).collect::<Result<Vec<_>, _>>()?;
        let step = page.size.max(LIST_STEP_MIN);
        loop {
            let ids = self.ids_before(listed.more, step).await?;
            let whole = ids.len();
            for stored in self.several(&ids).await? {
                if listed.approvals.len() == page.size {
                    return Ok(listed);
                }
                listed.more = Some(stored.approval.id());
                if page.shows(&stored.approval, self.links.clock.now()) {
                    let shard = Shard::of_approval(stored.approval.id());
                    let epoch = epochs.get(shard.index()).copied().ok_or_else(never_reached)?;
                    self.lasting(shard, epoch, stored.head).await?;
                    listed.approvals.push(Arc::new(stored.approval.clone()));
                }
            }
            // Where ids led nowhere (an approval retired in between) the next step begins behind them.
            listed.more = ids.last().copied().or(listed.more);
            looked_at += whole;
            if whole < step {
                listed.more = None;
                return Ok(listed);
            }
            if listed.approvals.len() == page.size || looked_at >= LIST_SCAN_MAX {
                return Ok(listed);
            }
        }
    }

    /// The newest ids before one, newest first.
    async fn ids_before(&self, before: Option<ApprovalId>, count: usize) -> Result<Vec<ApprovalId>, StoreError> {
        let newest = before.map_or_else(|| b"+".to_vec(), |id| [b"(", &id.as_bytes()[..]].concat());
        let of_shards = Shard::all().map(|shard| {
            let mut range = redis::cmd("ZREVRANGEBYLEX");
            range.arg(self.links.keys.ids(shard)).arg(&newest[..]).arg("-").arg("LIMIT").arg(0).arg(count);
            async move {
                let answer = self.links.read(shard, &[range]).await?.pop().unwrap_or_default();
                let ids = answer::array(answer, "ZREVRANGEBYLEX")?.into_iter().filter_map(answer::approval_id);
                Ok::<_, StoreError>(ids.collect::<Vec<_>>())
            }
        });
        let mut ids = try_join_all(of_shards).await?.concat();
        ids.sort_unstable_by(|one, other| other.cmp(one));
        ids.truncate(count);
        Ok(ids)
    }

    /// Approvals by their ids, in that order; those that are gone are left out.
    async fn several(&self, ids: &[ApprovalId]) -> Result<Vec<Arc<Stored>>, StoreError> {
        let of_shards = Shard::all().map(|shard| self.several_of(shard, ids));
        let all = try_join_all(of_shards).await?.into_iter().flatten().collect::<Result<Vec<_>, StoreError>>()?;
        let mut all: Vec<Arc<Stored>> = all.into_iter().flatten().collect();
        let place = |stored: &Stored| ids.iter().position(|id| *id == stored.approval.id());
        all.sort_by_cached_key(|stored| place(stored));
        Ok(all)
    }

    /// Those among some approvals that are of a shard.
    async fn several_of(
        &self,
        shard: Shard,
        ids: &[ApprovalId],
    ) -> Result<Vec<Result<Option<Arc<Stored>>, StoreError>>, StoreError> {
        let own: Vec<ApprovalId> = ids.iter().copied().filter(|id| Shard::of_approval(*id) == shard).collect();
        if own.is_empty() {
            return Ok(Vec::new());
        }
        let questions: Vec<_> = own.iter().map(|id| self.members(*id)).collect();
        let answers = self.links.read(shard, &questions).await?;
        Ok(own.into_iter().zip(answers).map(|(id, answer)| self.parsed(id, answer)).collect())
    }

    /// What is due, as far as it is within reach and can be read: one shard or approval stops the time of no other.
    pub(super) async fn due(&self, now: Timestamp, limit: usize) -> Result<Vec<Arc<Approval>>, StoreError> {
        let of_shards = join_all(Shard::all().map(|shard| self.due_of(shard, now, limit))).await;
        let mut ids: Vec<(i64, ApprovalId)> = good(of_shards)?.flatten().collect();
        // Of many that are due at once replicas begin with those that nobody else is at.
        ids.sort_by_key(|(moment, id)| (self.yields.left(Shard::of_approval(*id).index()), *moment));
        ids.truncate(limit);
        let ids: Vec<ApprovalId> = ids.into_iter().map(|(_, id)| id).collect();
        let of_shards = join_all(Shard::all().map(|shard| self.several_of(shard, &ids))).await;
        let mut due = Vec::new();
        for approval in good(of_shards)?.flatten() {
            match approval {
                Ok(Some(stored)) if stored.approval.due_at(now).is_some() => {
                    due.push(Arc::new(stored.approval.clone()));
                }
                Ok(_) => {}
                Err(error) => {
                    let source = std::error::Error::source(&error);
                    tracing::error!(%error, ?source, "time does not move an approval on");
                }
            }
        }
        due.sort_by_key(|approval| approval.next_due());
        Ok(due)
    }

    /// What is due first in a shard, with its moments, but for what is left to others for now.
    async fn due_of(&self, shard: Shard, now: Timestamp, limit: usize) -> Result<Vec<(i64, ApprovalId)>, StoreError> {
        let left = self.looked_at.get().map_or(Duration::ZERO, |look| look.left(shard));
        let (last, limit) = (now.before(left), limit.min(DUE_OF_SHARD_MAX));
        let mut range = redis::cmd("ZRANGEBYSCORE");
        range.arg(self.links.keys.due(shard)).arg("-inf").arg(last.as_micros());
        range.arg("WITHSCORES").arg("LIMIT").arg(0).arg(limit);
        let answer = self.links.read(shard, &[range]).await?.pop().unwrap_or_default();
        let mut answers = answer::array(answer, "ZRANGEBYSCORE")?.into_iter();
        let mut due = Vec::new();
        while let (Some(id), Some(moment)) = (answers.next(), answers.next()) {
            due.extend(answer::number(moment).zip(answer::approval_id(id)));
        }
        Ok(due)
    }

    /// Time moves an approval on at this moment: the timer looks again if that is earlier than it thought.
    pub(super) fn due_at(&self, moment: Timestamp) {
        if moment.as_micros() < self.next_due.load(Ordering::Acquire) {
            self.timer.notify_one();
        }
    }

    pub(super) async fn until_due(&self) {
        // What was due when this ended last was looked after, and what is left of it could not be: once a second is enough.
        let looked_at = self.looked_at.get();
        loop {
            let next = match self.next_due(looked_at.filter(|look| look.at.elapsed() < NAP_MAX)).await {
                Ok(next) => next,
                Err(_) => {
                    // Whoever reads judges the deadline himself; nothing can be written down until Redis is back.
                    self.next_due.store(i64::MAX, Ordering::Release);
                    let _ = tokio::time::timeout(NAP_MAX, self.links.reach().changed()).await;
                    continue;
                }
            };
            self.next_due.store(next.as_micros(), Ordering::Release);
            let left = self.links.clock.now().until(next);
            if left.is_zero() {
                self.looked_at.set(Look {
                    moment: self.links.clock.now(),
                    at: Instant::now(),
                    left: std::array::from_fn(|shard| self.yields.left(shard)),
                });
                tokio::time::sleep(jittered(GATHER)).await;
                return;
            }
            tokio::select! {
                () = tokio::time::sleep(left.min(NAP_MAX)) => {}
                () = self.timer.notified() => {}
            }
        }
    }

    /// When time moves the next approval on, of those that were not looked after then; also counts what is pending.
    async fn next_due(&self, looked_after: Option<Look>) -> Result<Timestamp, StoreError> {
        let of_shards = Shard::all().map(|shard| {
            let after = looked_after.map(|look| look.moment.before(look.left(shard)).as_micros());
            let after = after.map_or_else(|| "-inf".to_owned(), |after| format!("({after}"));
            let mut first = redis::cmd("ZRANGEBYSCORE");
            first.arg(self.links.keys.due(shard)).arg(after).arg("+inf").arg("WITHSCORES").arg("LIMIT").arg(0).arg(1);
            let mut pending = redis::cmd("HGET");
            pending.arg(self.links.keys.head(shard)).arg("pending");
            async move {
                let mut answers = self.links.read(shard, &[first, pending]).await?.into_iter();
                let first = answer::array(answers.next().unwrap_or_default(), "ZRANGEBYSCORE")?.into_iter().nth(1);
                let pending = answers.next().and_then(answer::unsigned).unwrap_or(0);
                let left_for = i64::try_from(self.yields.left(shard.index()).as_micros()).unwrap_or(0);
                Ok::<_, StoreError>((first.and_then(answer::number).map(|due| due.saturating_add(left_for)), pending))
            }
        });
        let shards: Vec<_> = good(join_all(of_shards).await)?.collect();
        if shards.len() == usize::from(SHARDS) {
            let pending = shards.iter().map(|(_, pending)| pending).sum();
            self.pending.store(pending, Ordering::Release);
        }
        let next = shards.iter().filter_map(|(due, _)| *due).min();
        Ok(next.map_or(Timestamp::MAX, Timestamp::from_micros))
    }

    /// Whether there is room for one more approval. Near the limit it is counted; several at once may go over it by one
    /// each.
    pub(super) async fn check_pending_max(&self) -> Result<(), CommitError> {
        let most = self.links.settings.limits.pending_max;
        let over = |pending: u64| {
            usize::try_from(pending).unwrap_or(usize::MAX).saturating_mul(100) >= most.saturating_mul(COUNTED_FROM)
        };
        let estimate = self.pending.fetch_add(1, Ordering::AcqRel);
        if !over(estimate.saturating_add(1)) {
            return Ok(());
        }
        self.next_due(None).await?;
        let pending = usize::try_from(self.pending.load(Ordering::Acquire)).unwrap_or(usize::MAX);
        if pending >= most { Err(CommitError::TooMany { limit: "pending_max", most }) } else { Ok(()) }
    }
}
