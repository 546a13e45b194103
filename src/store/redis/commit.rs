//! Making facts true: one script where an approval changes, the journal alone where none does.
//!
//! The order is the promise: Redis has it, its replicas have it, the own disk has it, then the caller is told. A step that
//! fails leaves the outcome *unknown*, never half done: the caller gets UNAVAILABLE and asks again, and an event that was
//! made and is in no journal is put into one by whoever finds it first.

use std::sync::Arc;
use std::time::Duration;

use redis::Cmd;

use super::answer::Verdict;
use super::clock::OFF_MAX;
use super::guard::{self, Epoch};
use super::keys::{Name, Shard};
use super::node::Written;
use super::places::Place;
use super::stored::{Stored, kept};
use super::trouble::Trouble;
use super::{Shared, answer};
use crate::domain::{
    Approval, ApprovalId, ApprovalState, Binding, Change, Decided, Fact, IdempotencyKey, Opening, Origin, Outcome,
    Timestamp, Transition,
};
use crate::store::answers::{abridged, is_remembered, key_of};
use crate::store::{Answered, CommitError, Committed, Seen, StoreError};
use crate::vault::Draft;

/// What a record needs beside its fact to name its origin, rounded up.
pub(super) const ORIGIN_BYTES: usize = 64;

/// What the script does with the approval.
enum Kind {
    Open,
    Move,
    /// Nothing, while all is as it was seen.
    Hold,
}

/// One call of the script.
struct Call<'a> {
    kind: Kind,
    shard: Shard,
    binding: Binding,
    approval: Option<ApprovalId>,
    /// The version seen, of the approval or of the one in the slot.
    seen: Option<u64>,
    /// What lies in Redis of the approval seen, to the letter.
    is: String,
    slot: Option<ApprovalId>,
    /// The approval as it will be.
    after: Option<Stored>,
    /// What to keep of it with the approval.
    kept: Vec<u8>,
    event: Vec<u8>,
    timed: bool,
    decided: Option<&'a Decided>,
}

impl Shared {
    pub(super) async fn commit(&self, fact: Fact, seen: Seen) -> Result<Committed, CommitError> {
        if let Fact::EntitiesChanged(changed) = fact {
            return self.change_entities(changed, seen).await;
        }
        let draft = self.log.vault().draft(&fact);
        let (bytes, limit) = (draft.bytes_max() + ORIGIN_BYTES, self.record_bytes_max);
        // Before Redis has it: what no journal takes could never be told.
        if bytes > limit {
            return Err(CommitError::TooLarge { bytes, limit });
        }
        if let Fact::Decided(decided) = &fact
            && let Change::Opened(opening) = &decided.change
        {
            return self.open(&fact, decided, opening, seen, draft).await;
        }
        if let Some((id, transition)) = fact.transition() {
            return self.advance(&fact, id, transition, seen, draft).await;
        }
        match &fact {
            Fact::Decided(decided) if depends_on_redis(decided) => self.hold(&fact, decided, seen, draft).await,
            Fact::Decided(decided) => {
                let now = self.links.clock.now();
                let ticket = self.memory.answer(decided, now, || {
                    let ticket = self.log.append(&fact, draft, now)?;
                    let sequence = ticket.sequence;
                    Ok((ticket, sequence))
                })?;
                ticket.durable().await.map_err(unavailable)?;
                Ok(Committed::new(ticket.sequence))
            }
            _ => self.record(&fact, draft).await,
        }
    }

    /// What Redis gets of a fact.
    pub(super) fn shared_form(&self, draft: &Draft) -> Result<Vec<u8>, StoreError> {
        self.log.vault().share(draft.clone()).map_err(unavailable)
    }

    /// Puts a fact into the own journal.
    async fn record(&self, fact: &Fact, draft: Draft) -> Result<Committed, CommitError> {
        let ticket = self.log.append(fact, draft, self.links.clock.now())?;
        ticket.durable().await.map_err(unavailable)?;
        Ok(Committed::new(ticket.sequence))
    }

    async fn open(
        &self,
        fact: &Fact,
        decided: &Decided,
        opening: &Arc<Opening>,
        seen: Seen,
        draft: Draft,
    ) -> Result<Committed, CommitError> {
        let Seen::Slot(slot) = seen else { return Err(CommitError::Conflict) };
        self.check_pending_max().await?;
        let place = self.reserve(opening, slot).await?;
        let approval = Stored { approval: Approval::opened(opening.clone()), uses: 0, head: 0 };
        let event = self.shared_form(&draft)?;
        let call = Call {
            kind: Kind::Open,
            shard: Shard::of_approval(opening.id),
            binding: opening.binding,
            approval: Some(opening.id),
            seen: slot.map(|(_, version)| version),
            is: String::new(),
            slot: slot.map(|(id, _)| id),
            after: Some(approval),
            kept: event.clone(),
            event,
            timed: false,
            decided: Some(decided),
        };
        let committed = self.run(fact, call, draft).await;
        match &committed {
            Ok(_) => self.memory.opened(&opening.binding, opening.id),
            // It may be there all the same, or the place may be somebody's who was faster.
            Err(CommitError::Store(_) | CommitError::Conflict) => {}
            Err(_) if place == Place::New => self.release(opening).await,
            Err(_) => {}
        }
        committed
    }

    async fn advance(
        &self,
        fact: &Fact,
        id: ApprovalId,
        transition: &Transition,
        seen: Seen,
        draft: Draft,
    ) -> Result<Committed, CommitError> {
        let Seen::Version(version) = seen else { return Err(CommitError::Conflict) };
        let before = match self.cache.get(&id).filter(|stored| stored.approval.version == version) {
            Some(before) => before,
            None => self.stored(id).await?.ok_or(CommitError::Closed)?,
        };
        if before.approval.version != version {
            return Err(CommitError::Conflict);
        }
        let after = before.after(transition).ok_or(CommitError::Conflict)?;
        let settles = before.approval.state == ApprovalState::Pending && after.approval.state != ApprovalState::Pending;
        let decided = match fact {
            Fact::Decided(decided) => Some(&**decided),
            _ => None,
        };
        let call = Call {
            kind: Kind::Move,
            shard: Shard::of_approval(id),
            binding: before.approval.opening.binding,
            approval: Some(id),
            seen: Some(version),
            is: before.is(),
            slot: None,
            kept: kept(self.log.vault(), &before.approval, transition).map_err(unavailable)?,
            after: Some(after),
            event: self.shared_form(&draft)?,
            timed: transition.is_of_time(),
            decided,
        };
        let (binding, shard) = (call.binding, call.shard);
        let committed = self.run(fact, call, draft).await;
        let was_due = transition.is_of_time() && before.approval.due_at(self.links.clock.now()).is_some();
        if was_due && matches!(committed, Ok(_) | Err(CommitError::Conflict)) {
            self.yields.note(shard, committed.is_err());
        }
        match &committed {
            Ok(_) if settles => {
                self.memory.settled(&binding, id);
                // At its deadline the place is free by itself.
                if !matches!(transition, Transition::Expired { .. }) {
                    self.release(&before.approval.opening).await;
                }
            }
            Err(CommitError::Conflict) => self.cache.remove(&id).map_or((), drop),
            _ => {}
        }
        committed
    }

    /// A decision that changes nothing and is true only while the approval is as it was seen, or whose answer must be
    /// known to all replicas.
    async fn hold(&self, fact: &Fact, decided: &Decided, seen: Seen, draft: Draft) -> Result<Committed, CommitError> {
        let (approval, seen) = match (decided.repeats, decided.outcome, seen) {
            (Some(_), Outcome::Allow, Seen::Version(version)) => (decided.approval, Some(version)),
            (Some(_), Outcome::Allow, Seen::Nothing | Seen::Slot(_)) => return Err(CommitError::Conflict),
            _ => (None, None),
        };
        let call = Call {
            kind: Kind::Hold,
            shard: Shard::of_binding(&decided.binding),
            binding: decided.binding,
            approval,
            seen,
            is: String::new(),
            slot: None,
            after: None,
            kept: Vec::new(),
            event: Vec::new(),
            timed: false,
            decided: Some(decided),
        };
        self.run(fact, call, draft).await
    }

    /// Runs the script, waits for what it did to last, and puts it into the journal.
    async fn run(&self, fact: &Fact, call: Call<'_>, draft: Draft) -> Result<Committed, CommitError> {
        let Some((epoch, known)) = self.links.guard.expected(call.shard) else {
            return Err(never_reached().into());
        };
        // What Redis has done and no journal takes would be used up without an answer.
        self.log.check_room(fact, draft.bytes_max() + ORIGIN_BYTES)?;
        let command = self.command(&call, epoch, known)?;
        let Verdict { now, head, .. } = self.carry_out(call.shard, (epoch, known), &command).await?;
        let recorded = if matches!(call.kind, Kind::Hold) {
            self.record(fact, draft).await
        } else {
            let origin = Origin { epoch, shard: call.shard.number(), number: head };
            self.made(&call, fact, draft, now, origin).await
        };
        // It is done: whatever is wrong now, it must not look as if it were not.
        recorded.map_err(|error| match error {
            CommitError::Store(error) => CommitError::Store(error),
            error => unavailable(error).into(),
        })
    }

    /// Has a script carried out in a shard, known to be of that epoch and to have that many events; what it said, once what it did
    /// lasts.
    pub(super) async fn carry_out(
        &self,
        shard: Shard,
        sent: (Epoch, u64),
        command: &Cmd,
    ) -> Result<Verdict, CommitError> {
        let (reply, node) = match self.links.write(shard, command).await {
            Err(trouble) if trouble.is_out_of_memory() || matches!(trouble, Trouble::Busy) => {
                return Err(CommitError::Busy);
            }
            reply => reply.map_err(StoreError::from)?,
        };
        let Written { value, replicated, asked } = reply;
        let verdict = answer::verdict(value).map_err(StoreError::from)?;
        self.links.clock.heard(verdict.clock, asked).map_err(StoreError::from)?;
        self.links.clock.told(verdict.now, verdict.clock).map_err(StoreError::from)?;
        self.judge(&verdict.word, shard, sent, verdict.head).await?;
        // INVARIANT: what its replicas may not have is told to nobody and is in no journal.
        replicated.map_err(StoreError::from)?;
        node.lasts(shard, sent.0, verdict.head);
        self.links.guard.lasts(shard, sent.0, verdict.head);
        Ok(verdict)
    }

    /// An event was made: it goes into the journal, and those who wait are told.
    async fn made(
        &self,
        call: &Call<'_>,
        fact: &Fact,
        draft: Draft,
        now: Timestamp,
        origin: Origin,
    ) -> Result<Committed, CommitError> {
        if let (Some(id), Some(after)) = (call.approval, &call.after) {
            self.cache.insert(id, Arc::new(Stored { head: origin.number, ..after.clone() }));
        }
        let sequence = self.journal_own(fact, &origin, draft, now).await?;
        if let Some(id) = call.approval {
            self.waits.wake(id);
        }
        Ok(Committed::new(sequence))
    }

    async fn judge(&self, word: &str, shard: Shard, sent: (Epoch, u64), head: u64) -> Result<(), CommitError> {
        match word {
            "ok" => Ok(()),
            "conflict" => Err(CommitError::Conflict),
            "closed" => Err(CommitError::Closed),
            "full" => {
                let most = self.links.settings.limits.pending_max;
                Err(CommitError::TooMany { limit: "pending_max", most })
            }
            // Its clock jumped for the length of one script.
            "clock" => Err(StoreError::from(Trouble::Unexpected("the time")).into()),
            "behind" => {
                // By the time that somebody reads, it may have counted on.
                let seen = guard::Seen { epoch: Some(sent.0), head, ..guard::Seen::default() };
                self.links.meet(shard, Some(sent), &seen).map_err(StoreError::from)?;
                Err(CommitError::Conflict)
            }
            // A read finds out what is the matter, and says so in the health.
            _ => match self.links.read(shard, &[]).await {
                Err(trouble) => Err(StoreError::from(trouble).into()),
                Ok(_) => Err(CommitError::Conflict),
            },
        }
    }

    /// What writes without changing anything.
    pub(super) fn touch(&self, shard: Shard, epoch: Epoch, head: u64) -> Result<Cmd, StoreError> {
        let call = Call {
            kind: Kind::Hold,
            shard,
            binding: Binding([0; 32]),
            approval: None,
            seen: None,
            is: String::new(),
            slot: None,
            after: None,
            kept: Vec::new(),
            event: Vec::new(),
            timed: false,
            decided: None,
        };
        self.command(&call, epoch, head)
    }

    /// For a shard of that epoch, which has that many events at least.
    fn command(&self, call: &Call<'_>, epoch: Epoch, head: u64) -> Result<Cmd, StoreError> {
        let Call { shard, .. } = *call;
        let keys = &self.links.keys;
        let settings = &self.links.settings;
        let approval = |id: Option<ApprovalId>| id.map_or_else(|| keys.head(shard), |id| keys.approval(id));
        let name = call.decided.and_then(key_of).map(|key| Name::of_key(&key));
        let answer = name.as_ref().map_or_else(|| keys.head(shard), |name| keys.answer(shard, name));
        let script = match call.kind {
            Kind::Open => &self.links.scripts.open,
            Kind::Move | Kind::Hold => &self.links.scripts.change,
        };
        let mut command = script.call(&[
            keys.head(shard),
            approval(call.approval),
            keys.slots(shard),
            keys.due(shard),
            keys.ids(shard),
            keys.settled(shard),
            keys.events(shard),
            answer,
            approval(call.slot),
        ]);
        command.arg(&epoch[..]).arg(head).arg(self.journaling.replica());
        command.arg(match call.kind {
            Kind::Open => "open",
            Kind::Move => "move",
            Kind::Hold => "hold",
        });
        command.arg(call.approval.map_or_else(Vec::new, |id| id.as_bytes().to_vec()));
        command.arg(&call.binding.0[..]).arg(call.seen.map(|seen| seen.to_string()).unwrap_or_default());
        command.arg(call.slot.map_or_else(Vec::new, |id| id.as_bytes().to_vec()));
        command.arg(call.after.as_ref().map(Stored::now).unwrap_or_default()).arg(&call.kept[..]).arg(&call.event[..]);
        command.arg(if call.timed { "timed" } else { "" }).arg(settings.limits.pending_max);
        command.arg(millis(settings.settled_retention));
        self.add_answer(&mut command, call.decided.filter(|_| name.is_some()))?;
        command.arg(self.links.clock.now().as_micros()).arg(OFF_MAX.as_micros().to_string());
        let stays = call.after.as_ref().is_some_and(|after| after.approval.is_to_be_examined());
        command.arg(if stays { "stays" } else { "" }).arg(&call.is);
        Ok(command)
    }

    fn add_answer(&self, command: &mut Cmd, decided: Option<&Decided>) -> Result<(), StoreError> {
        let Some(decided) = decided else {
            command.arg("").arg("").arg("").arg("").arg(1);
            return Ok(());
        };
        let name = |id: Option<crate::domain::DecisionId>| id.map_or_else(Vec::new, |id| id.as_bytes().to_vec());
        command.arg(name(Some(decided.id))).arg(name(decided.repeats)).arg(name(decided.follows));
        if is_remembered(decided) {
            let answer = self.log.vault().draft(&Fact::Decided(Arc::new(abridged(decided))));
            command.arg(self.shared_form(&answer)?);
        } else {
            command.arg("");
        }
        command.arg(millis(self.links.settings.limits.idempotency_retention));
        Ok(())
    }

    pub(super) async fn answered(&self, key: IdempotencyKey, binding: Binding) -> Result<Answered, StoreError> {
        let name = Name::of_key(&key);
        // The claim outlives every answer that is given under it.
        let retention = millis(self.links.settings.limits.idempotency_retention.saturating_mul(2));
        let mut claim = redis::cmd("SET");
        claim.arg(self.links.keys.claim(&name)).arg(&binding.0[..]).arg("NX").arg("GET").arg("PX").arg(retention);
        let claimed = match self.links.read(name.shard(), &[claim]).await {
            // With no room for a claim, what is there still counts: votes and uses go on.
            Err(trouble) if trouble.is_out_of_memory() => {
                let mut look = redis::cmd("GET");
                look.arg(self.links.keys.claim(&name));
                self.links.read(name.shard(), &[look]).await?
            }
            claimed => claimed?,
        };
        let claimed = claimed.into_iter().next().and_then(answer::bytes);
        if claimed.is_some_and(|claimed| claimed != binding.0) {
            return Ok(Answered::OtherQuery);
        }
        let shard = Shard::of_binding(&binding);
        let mut get = redis::cmd("GET");
        get.arg(self.links.keys.answer(shard, &name));
        let Some(answer) = self.links.read(shard, &[get]).await?.pop().and_then(answer::bytes) else {
            return Ok(Answered::Nothing);
        };
        let unreadable = || StoreError::from(Trouble::Unexpected("an idempotency key"));
        let record = answer.get(16..).ok_or_else(unreadable)?;
        match self.log.vault().open_shared(Timestamp::default(), record).map_err(unavailable)?.fact {
            Fact::Decided(decided) => Ok(Answered::Earlier(decided)),
            _ => Err(unreadable()),
        }
    }
}

/// Whether a decision that changes nothing needs Redis to be true, or its answer must be known there.
fn depends_on_redis(decided: &Decided) -> bool {
    let repeats_allow = decided.repeats.is_some() && decided.outcome == Outcome::Allow;
    decided.approval.is_some() && (repeats_allow || decided.idempotency_key.is_some())
}

pub(super) fn never_reached() -> StoreError {
    Trouble::OutOfReach("it was never reached".into()).into()
}

fn millis(span: Duration) -> u64 {
    u64::try_from(span.as_millis()).unwrap_or(u64::MAX).max(1)
}

pub(super) fn unavailable(error: impl std::error::Error + Send + Sync + 'static) -> StoreError {
    StoreError::Unavailable(Box::new(error))
}
