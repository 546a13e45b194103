//! What the journal adds up to: every approval that still matters, what stands for each binding, what was answered under
//! which idempotency key, and what time will change next.
//!
//! The same [`State::apply`] folds a live commit and a replayed record, so that there is no second way to get here. It is
//! plain memory under the store's lock; nothing in it waits.

#[cfg(test)]
mod tests;

use std::collections::{BTreeMap, BTreeSet, HashMap, HashSet, VecDeque};
use std::ops::Bound;
use std::sync::Arc;
use std::time::Duration;

use super::openings::{Opener, Openings};
use crate::domain::{
    Approval, ApprovalId, ApprovalState, Binding, Change, Decided, Fact, IdempotencyKey, IllegalTransition, Opening,
    Outcome, REJECTION_STANDS, Timestamp, Transition,
};
use crate::store::answers::{Answers, key_of};
use crate::store::entities::Entities;
use crate::store::{CommitError, Listed, Page, Seen};

/// How much of the past is kept at hand, and how much may be under way.
#[derive(Debug, Clone, Copy)]
pub struct Limits {
    pub pending_max: usize,
    /// Of one principal, asked for by one caller.
    pub pending_per_principal_max: usize,
    /// The same within a minute.
    pub openings_per_minute_max: usize,
    pub idempotency_keys_max: usize,
    /// Past it a caller's own oldest answers are forgotten early, and nobody else's.
    pub idempotency_keys_per_caller_max: usize,
    pub idempotency_retention: Duration,
    /// Settled approvals stay in memory for so long; later reads go to the journal.
    pub settled_retention: Duration,
    /// A rejection answers the same query for so long, and is not let go of before.
    pub rejection_stands: Duration,
    /// What such rejections may hold of memory by the size of their queries; past it nothing new is opened.
    pub standing_rejections_bytes_max: usize,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            pending_max: 2_000_000,
            pending_per_principal_max: 100,
            openings_per_minute_max: 100,
            idempotency_keys_max: 100_000,
            idempotency_keys_per_caller_max: 20_000,
            idempotency_retention: Duration::from_secs(300),
            settled_retention: Duration::from_secs(3_600),
            rejection_stands: REJECTION_STANDS,
            standing_rejections_bytes_max: 64 << 20,
        }
    }
}

/// An approval and the record that made it what it is.
#[derive(Debug, Clone)]
pub struct Kept {
    pub approval: Arc<Approval>,
    pub sequence: u64,
}

/// Settled approvals by the time they were settled, with their size.
#[derive(Debug, Default)]
struct Settled {
    queue: VecDeque<(Timestamp, ApprovalId, usize)>,
    bytes: usize,
}

impl Settled {
    fn push(&mut self, at: Timestamp, id: ApprovalId, bytes: usize) {
        self.bytes += bytes;
        self.queue.push_back((at, id, bytes));
    }

    /// The first, if it is old enough.
    fn pop(&mut self, is_old: impl Fn(Timestamp) -> bool) -> Option<(Timestamp, ApprovalId, usize)> {
        let first = self.queue.pop_front_if(|(at, ..)| is_old(*at))?;
        self.bytes = self.bytes.saturating_sub(first.2);
        Some(first)
    }
}

#[derive(Debug)]
pub struct State {
    limits: Limits,
    approvals: BTreeMap<ApprovalId, Kept>,
    standing: HashMap<Binding, ApprovalId>,
    pending: HashMap<Opener, usize>,
    pending_total: usize,
    openings: Openings,
    due: BTreeSet<(Timestamp, ApprovalId)>,
    settled: Settled,
    /// Rejections that still answer for their query. However much is settled meanwhile, they stay.
    rejected: Settled,
    answers: Answers,
    pub entities: Entities,
}

/// How many old things one write cleans up: more than it can add, so that memory shrinks while work goes on.
const FORGET_PER_WRITE: usize = 8;
/// How many approvals one page looks at before it says that there may be more: writers wait meanwhile.
const LIST_SCAN_MAX: usize = 2_000;
/// Settled approvals kept at hand, however young: past it the oldest are left to the journal.
const SETTLED_MAX: usize = 100_000;
/// The same by the size of their queries.
const SETTLED_BYTES_MAX: usize = 64 << 20;

impl State {
    #[must_use]
    pub fn new(limits: Limits) -> Self {
        Self {
            limits,
            approvals: BTreeMap::new(),
            standing: HashMap::new(),
            pending: HashMap::new(),
            pending_total: 0,
            openings: Openings::default(),
            due: BTreeSet::new(),
            settled: Settled::default(),
            rejected: Settled::default(),
            answers: Answers::default(),
            entities: Entities::default(),
        }
    }

    #[must_use]
    pub fn approval(&self, id: ApprovalId) -> Option<&Kept> {
        self.approvals.get(&id)
    }

    #[must_use]
    pub fn standing(&self, binding: &Binding) -> Option<&Kept> {
        self.approvals.get(self.standing.get(binding)?)
    }

    /// The decision remembered under a key.
    #[must_use]
    pub fn answered(&self, key: &IdempotencyKey, now: Timestamp) -> Option<Arc<Decided>> {
        self.answers.get(key, &self.limits, now)
    }

    /// Approvals known, in the order of their ids, behind `after`; at most `limit`.
    #[must_use]
    pub fn known_after(&self, after: Option<ApprovalId>, limit: usize) -> Vec<ApprovalId> {
        let start = after.map_or(Bound::Unbounded, Bound::Excluded);
        self.approvals.range((start, Bound::Unbounded)).take(limit).map(|(id, _)| *id).collect()
    }

    /// The records whose answers are remembered.
    #[must_use]
    pub fn answer_sequences(&self, now: Timestamp) -> HashSet<u64> {
        self.answers.sequences(&self.limits, now)
    }

    #[must_use]
    pub fn next_due(&self) -> Option<Timestamp> {
        self.due.first().map(|(moment, _)| *moment)
    }

    pub fn due(&self, now: Timestamp, limit: usize) -> Vec<Arc<Approval>> {
        let moved = self.due.iter().take_while(|(moment, _)| moment.is_due(now)).take(limit);
        moved.filter_map(|(_, id)| self.approvals.get(id)).map(|kept| kept.approval.clone()).collect()
    }

    /// The oldest record that an approval which is still open needs; `None` when none is.
    #[must_use]
    pub fn oldest_opening(&self) -> Option<Timestamp> {
        let open =
            self.approvals.values().filter(|kept| !kept.approval.state.is_final() || kept.approval.is_to_be_examined());
        open.map(|kept| kept.approval.opening.opened_at).min()
    }

    /// Glasses that were broken and that too few have looked at, with the time of it; the oldest first.
    #[must_use]
    pub fn unexamined(&self, limit: usize) -> Vec<(ApprovalId, Timestamp)> {
        let open = self.approvals.values().filter(|kept| kept.approval.is_to_be_examined());
        let broken = open.filter_map(|kept| Some((kept.approval.id(), kept.approval.glass.as_ref()?.broken.at)));
        let mut broken: Vec<_> = broken.collect();
        broken.sort_unstable_by_key(|(_, at)| *at);
        broken.truncate(limit);
        broken
    }

    #[must_use]
    pub fn pending_total(&self) -> usize {
        self.pending_total
    }

    /// Newest first.
    #[must_use]
    pub fn list(&self, page: &Page, now: Timestamp) -> (Listed, u64) {
        let end = page.before.map_or(Bound::Unbounded, Bound::Excluded);
        let mut listed = Listed::default();
        let mut through = 0;
        let newest_first = self.approvals.range((Bound::Unbounded, end)).rev();
        for (looked_at, (id, kept)) in newest_first.enumerate() {
            if listed.approvals.len() == page.size || looked_at == LIST_SCAN_MAX {
                return (listed, through);
            }
            listed.more = Some(*id);
            if page.shows(&kept.approval, now) {
                through = through.max(kept.sequence);
                listed.approvals.push(kept.approval.clone());
            }
        }
        listed.more = None;
        (listed, through)
    }

    /// Whether a fact may become true now. Nothing changes.
    pub fn check(&self, fact: &Fact, seen: Seen, now: Timestamp) -> Result<(), CommitError> {
        if let Fact::EntitiesChanged(_) = fact
            && seen != Seen::Entities(self.entities.newest())
        {
            return Err(CommitError::Conflict);
        }
        if let Fact::Decided(decided) = fact {
            self.check_key(decided, now)?;
            if let Change::Opened(opening) = &decided.change {
                return self.check_opening(opening, seen, now);
            }
        }
        let Some((id, transition)) = fact.transition() else { return self.check_repeated_grant(fact, seen, now) };
        let kept = self.approvals.get(&id).ok_or(CommitError::Closed)?;
        if seen != Seen::Version(kept.approval.version) {
            return Err(CommitError::Conflict);
        }
        // INVARIANT: once time has moved an approval on, nothing else can be written but that.
        match kept.approval.due_at(now) {
            Some(due) if due != *transition && !matches!(due, Transition::Reported(_)) => Err(CommitError::Conflict),
            // Nor does anybody say so before it has: its author read another clock.
            None if transition.is_of_time() => Err(CommitError::Conflict),
            Some(_) | None => kept.approval.apply(transition).map(drop).map_err(|_| CommitError::Conflict),
        }
    }

    /// INVARIANT: a granted ALLOW is repeated only while the grant is as its author saw it: a revocation, a report or a
    /// deadline in between makes it a lost race.
    fn check_repeated_grant(&self, fact: &Fact, seen: Seen, now: Timestamp) -> Result<(), CommitError> {
        let Fact::Decided(decided) = fact else { return Ok(()) };
        let (Some(_), Some(id), Outcome::Allow) = (decided.repeats, decided.approval, decided.outcome) else {
            return Ok(());
        };
        let kept = self.approvals.get(&id).ok_or(CommitError::Conflict)?;
        let unchanged = seen == Seen::Version(kept.approval.version) && kept.approval.due_at(now).is_none();
        if unchanged { Ok(()) } else { Err(CommitError::Conflict) }
    }

    /// INVARIANT: one key, one answer. A decision under a key that was answered is a lost race, unless it was made in
    /// sight of that answer.
    fn check_key(&self, decided: &Decided, now: Timestamp) -> Result<(), CommitError> {
        let Some(key) = key_of(decided) else { return Ok(()) };
        match self.answered(&key, now) {
            None => Ok(()),
            Some(earlier) if [decided.repeats, decided.follows].contains(&Some(earlier.id)) => Ok(()),
            Some(_) => Err(CommitError::Conflict),
        }
    }

    fn check_opening(&self, opening: &Opening, seen: Seen, now: Timestamp) -> Result<(), CommitError> {
        let stands = self.standing(&opening.binding);
        let is = stands.map(|kept| (kept.approval.id(), kept.approval.version));
        let overdue = stands.is_some_and(|kept| kept.approval.due_at(now).is_some());
        if seen != Seen::Slot(is) || overdue {
            return Err(CommitError::Conflict);
        }
        let of_both = self.pending.get(&Opener::of(opening)).copied().unwrap_or(0);
        if of_both >= self.limits.pending_per_principal_max {
            let most = self.limits.pending_per_principal_max;
            return Err(CommitError::TooMany { limit: "pending_per_principal_max", most });
        }
        if self.pending_total >= self.limits.pending_max {
            return Err(CommitError::TooMany { limit: "pending_max", most: self.limits.pending_max });
        }
        // INVARIANT: a rejection that stands is not forgotten for what is new.
        let most = self.limits.standing_rejections_bytes_max;
        if self.rejected.bytes >= most {
            return Err(CommitError::TooMany { limit: "standing_rejections_bytes_max", most });
        }
        let most = self.limits.openings_per_minute_max;
        match self.openings.room_in(&Opener::of(opening), now, most) {
            None => Ok(()),
            Some(retry_after) => Err(CommitError::TooFast { limit: "openings_per_minute_max", most, retry_after }),
        }
    }

    /// Makes a fact true. Live, [`State::check`] came first; in a replay an error means that the journal contradicts
    /// itself.
    pub fn apply(&mut self, fact: &Fact, sequence: u64, at: Timestamp) -> Result<(), IllegalTransition> {
        if let Fact::Decided(decided) = fact {
            self.answers.remember(decided, sequence, at, &self.limits);
            if let Change::Opened(opening) = &decided.change {
                self.open(opening.clone(), sequence);
            }
        }
        if let Fact::EntitiesChanged(changed) = fact {
            self.entities.apply(changed, sequence);
        }
        if let Some((id, transition)) = fact.transition()
            && let Some(kept) = self.approvals.get(&id)
        {
            let before = kept.approval.clone();
            let after = Arc::new(before.apply(transition)?);
            self.replace(&before, after, sequence, at);
        }
        self.forget(at);
        Ok(())
    }

    fn open(&mut self, opening: Arc<Opening>, sequence: u64) {
        let approval = Arc::new(Approval::opened(opening));
        self.standing.insert(approval.opening.binding, approval.id());
        *self.pending.entry(Opener::of(&approval.opening)).or_default() += 1;
        self.pending_total += 1;
        self.openings.note(&Opener::of(&approval.opening), approval.opening.opened_at);
        self.schedule(&approval);
        self.approvals.insert(approval.id(), Kept { approval, sequence });
    }

    fn replace(&mut self, before: &Approval, after: Arc<Approval>, sequence: u64, at: Timestamp) {
        let was_pending = matches!(before.state, ApprovalState::Pending);
        let is_pending = matches!(after.state, ApprovalState::Pending);
        if was_pending && !is_pending {
            self.no_longer_pending(&Opener::of(&before.opening));
        }
        if let Some(moment) = before.next_due() {
            self.due.remove(&(moment, before.id()));
        }
        self.schedule(&after);
        if after.is_over() {
            let is_rejected = matches!(after.state, ApprovalState::Rejected { .. });
            let settled = if is_rejected { &mut self.rejected } else { &mut self.settled };
            settled.push(at, after.id(), after.opening.query.size());
        }
        self.approvals.insert(after.id(), Kept { approval: after, sequence });
    }

    fn schedule(&mut self, approval: &Approval) {
        if let Some(moment) = approval.next_due() {
            self.due.insert((moment, approval.id()));
        }
    }

    fn no_longer_pending(&mut self, opener: &Opener) {
        self.pending_total = self.pending_total.saturating_sub(1);
        if let Some(count) = self.pending.get_mut(opener) {
            *count -= 1;
            if *count == 0 {
                self.pending.remove(opener);
            }
        }
    }

    /// Drops what nobody will ask memory for any more; the journal still has it.
    fn forget(&mut self, now: Timestamp) {
        for _ in 0..FORGET_PER_WRITE {
            self.answers.forget(&self.limits, now);
            self.openings.forget(now);
            let stood = self.rejected.pop(|at| at.after(self.limits.rejection_stands).is_due(now));
            if let Some((at, id, bytes)) = stood {
                self.settled.push(at, id, bytes);
            }
            let many = self.settled.queue.len() > SETTLED_MAX || self.settled.bytes > SETTLED_BYTES_MAX;
            let old = |at: Timestamp| many || at.after(self.limits.settled_retention).is_due(now);
            if let Some((_, id, _)) = self.settled.pop(old) {
                self.drop_settled(id);
            }
        }
    }

    fn drop_settled(&mut self, id: ApprovalId) {
        let Some(kept) = self.approvals.get(&id) else { return };
        if !kept.approval.is_over() {
            return;
        }
        let binding = kept.approval.opening.binding;
        if self.standing.get(&binding) == Some(&id) {
            self.standing.remove(&binding);
        }
        self.approvals.remove(&id);
    }
}
