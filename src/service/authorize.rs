//! May this principal do this? The one way to an answer for all callers: unary, batch and stream.
//!
//! ```text
//! admit: who asks, may he ask this, what exactly is asked, its binding
//! answer: what stands + what the policies say -> decide() -> one commit -> the answer
//! wait: while PENDING, sleep until the approval changes, then answer anew
//! ```

mod admit;
mod fact;

use std::sync::Arc;
use std::time::Duration;

use tokio::time::Instant;
use tracing::Instrument;

use self::admit::Admitted;
use self::fact::Planned;
use super::load::Kind;
use super::told::Told;
use super::{Caller, Refusal, Service, retried};
use crate::domain::{
    Approval, ApprovalId, ApprovalState, Attributes, Binding, Change, Circumstances, Decided, Decision, Effect, Entity,
    EntityUid, Evaluation, Explanation, IdempotencyKey, MaskSupport, Outcome, Reason, Standing, decide,
};
use crate::store::{Answered, Committed};

/// A query as it arrives at the edge.
#[derive(Debug, Clone)]
pub struct Ask {
    pub principal: AskedPrincipal,
    pub action: EntityUid,
    pub resource: EntityUid,
    pub context: Attributes,
    pub environment: Attributes,
    pub entities: Vec<Entity>,
    pub justification: Option<Arc<str>>,
    pub approval: Option<ApprovalId>,
    /// How long the answer may wait for people.
    pub wait: Duration,
    pub idempotency_key: Option<Arc<str>>,
    /// Not by policies or entities older than this revision; 0: any.
    pub at_least_revision: u64,
    /// Say why; takes `explain`.
    pub explain: bool,
    /// Whether who enforces the answer masks where it must.
    pub masking: MaskSupport,
}

/// In whose name the caller asks.
#[derive(Clone)]
pub enum AskedPrincipal {
    Caller,
    /// Takes `authorize_as`.
    Named(EntityUid),
    /// The principal's own token, forwarded.
    Token(Arc<str>),
}

impl std::fmt::Debug for AskedPrincipal {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Caller => f.write_str("Caller"),
            Self::Named(uid) => f.debug_tuple("Named").field(uid).finish(),
            Self::Token(_) => f.write_str("Token(***)"),
        }
    }
}

/// An answer that is on record.
#[derive(Debug, Clone)]
pub struct Answer {
    /// All that went into it.
    pub decided: Arc<Decided>,
    /// The approval after it. Absent where the caller named one that is not for this query.
    pub approval: Option<Told>,
    /// Why the policies say what they say, for whoever asked and may know.
    pub explanation: Option<Box<Explanation>>,
    /// The proof that the record is durable.
    pub committed: Committed,
}

impl Service {
    /// Decides a query, waiting for people if asked to.
    pub fn authorize<'a>(
        &'a self,
        caller: &'a Caller,
        ask: Ask,
    ) -> impl Future<Output = Result<Answer, Refusal>> + Send + 'a {
        let wait = ask.wait.min(self.shared.limits.wait_max);
        // On the heap, so that a call that waits does not hold the room that deciding took.
        let first = Box::pin(self.ask(caller, ask));
        async move {
            let (mut asked, first) = first.await?;
            let Some(id) = first.decided.approval.filter(|_| first.decided.outcome == Outcome::Pending) else {
                return Ok(first);
            };
            if wait.is_zero() {
                return Ok(first);
            }
            // The approval is looked at again when the wait ends.
            let Answer { decided, approval: _, explanation, committed } = first;
            match self.settled(&asked, id, Instant::now() + wait).await? {
                Waited::Settled(approval) => {
                    // What people decided is brought to its end, however much there is to do.
                    let _place = self.shared.load.enter_again(Kind::Decisions);
                    asked.approval = Some(id);
                    Box::pin(self.answer(&asked, Some(approval))).await
                }
                Waited::TimedOut => {
                    // Votes may have come in meanwhile: the approval as it is now, under the answer that is on record.
                    let approval = self.shared.store.approval(id).await?;
                    let approval = approval.map(|approval| self.told(&asked.caller, &approval));
                    Ok(Answer { decided, approval, explanation, committed })
                }
            }
        }
    }

    /// The first answer. It takes a place for as long as it takes: who waits for people afterwards keeps nobody from asking.
    async fn ask(&self, caller: &Caller, ask: Ask) -> Result<(Admitted, Answer), Refusal> {
        let _place = self.shared.load.enter(Kind::Decisions)?;
        let asked = self.admit(caller, ask).await?;
        let answer = self.answer(&asked, None).await?;
        Ok((asked, answer))
    }

    /// Waits until an approval is no longer pending, and says how it was found then.
    async fn settled(&self, asked: &Admitted, id: ApprovalId, end: Instant) -> Result<Waited, Refusal> {
        let caller = &asked.caller;
        self.shared.load.room(Kind::Decisions)?;
        let _place = self.shared.waits.take(&caller.identity.uid, asked.query.size(), &self.shared.limits)?;
        let mut stopping = self.shared.stopping.clone();
        let mut heard = None;
        loop {
            let changes = self.shared.store.changes(id);
            let approval = match heard.take() {
                Some(granted) => granted,
                None => self.shared.store.approval(id).await?.ok_or(Refusal::NotFound)?,
            };
            let wall = self.shared.store.wall();
            if caller.expires_at.is_due(wall) {
                return Err(Refusal::TokenExpired);
            }
            if approval.state_at(self.shared.store.now()) != ApprovalState::Pending {
                return Ok(Waited::Settled(approval));
            }
            let left = end.saturating_duration_since(Instant::now());
            if left.is_zero() {
                return Ok(Waited::TimedOut);
            }
            let token_left = wall.until(caller.expires_at);
            tokio::select! {
                woken = changes.changed() => {
                    if let Some(woken) = woken {
                        self.shared.meters.wake_ups.record(woken.elapsed());
                    }
                    // What is granted by hearsay is redeemed by a write that compares; everything else is read.
                    heard = self.shared.store.heard(id).filter(|heard| matches!(heard.state, ApprovalState::Approved(_)));
                }
                () = tokio::time::sleep(left.min(token_left)) => {}
                _ = stopping.wait_for(|stopping| *stopping) => return Err(Refusal::WaitBrokenOff(id)),
            }
        }
    }

    /// One decision, committed. Decides anew whenever somebody else was faster. An approval that was found settled a moment ago is not
    /// read again before it is redeemed, which compares what it is.
    async fn answer(&self, asked: &Admitted, mut read: Option<Arc<Approval>>) -> Result<Answer, Refusal> {
        let began = Instant::now();
        let answer = retried(|| self.try_answer(asked, read.take())).await?;
        self.shared.meters.answers.record(began.elapsed());
        self.shared.meters.decided(&answer.decided);
        Ok(answer)
    }

    async fn try_answer(&self, asked: &Admitted, read: Option<Arc<Approval>>) -> Result<Answer, Refusal> {
        let (snapshot, is_hearsay) = (self.judged_by(asked)?, read.is_some());
        let now = self.shared.store.now();
        let began = Instant::now();
        let evaluating = tracing::debug_span!(target: "countersign::calls", "evaluate policies");
        let evaluate = || snapshot.evaluate(&asked.query, &asked.principal, &asked.caller.identity, now);
        let evaluation = evaluating.in_scope(evaluate)?;
        self.shared.meters.evaluations.record(began.elapsed());
        let explanation = self.explained(asked, &snapshot, &evaluation, now).await?;
        let (earlier, standing) = self.known(asked, &evaluation, read).await?;
        let (justified, now) = (asked.justification.is_some(), self.shared.store.now());
        let (binding, masking) = (asked.binding, asked.masking);
        let rejection_stands = self.shared.limits.rejection_stands;
        let mut around = Circumstances { binding, standing, justified, masking, earlier, rejection_stands, now };
        let mut decision = decide(&evaluation, &around);
        if let (Effect::Open(_), Standing::ById(_)) = (decision.effect(), &around.standing) {
            // The approval named does not cover what today's gates demand. What stands for the query now might.
            around.standing = self.standing_for(asked.binding).await?;
            decision = decide(&evaluation, &around);
        }
        if is_hearsay && !matches!(decision.effect(), Effect::Consume(_) | Effect::Use(_)) {
            // INVARIANT: nobody is told what was not read.
            return Err(Refusal::Contention);
        }
        if matches!(decision.effect(), Effect::Open(_)) {
            self.shared.load.room(Kind::Decisions)?;
        }
        let Planned { fact, seen, decided, approval } = self.plan(asked, evaluation, &decision, &around);
        let committing = tracing::debug_span!(target: "countersign::calls", "commit");
        let commit = self.shared.store.commit(fact, seen).instrument(committing);
        // While others write, what will be said is put together.
        let told = async { approval.map(|approval| self.told(&asked.caller, &approval)) };
        let (committed, approval) = futures_util::join!(commit, told);
        let committed = committed?;
        self.hold_to_invariants(&decided, committed)?;
        self.shared.masking.remember(&decided);
        Ok(Answer { decided, approval, explanation, committed })
    }

    /// The last look at an ALLOW before it leaves. INVARIANT: 1 and 2 of DESIGN section 5; one that does not hold is counted, and
    /// answered with an error.
    fn hold_to_invariants(&self, decided: &Decided, committed: Committed) -> Result<(), Refusal> {
        if decided.outcome != Outcome::Allow {
            return Ok(());
        }
        let violations = &self.shared.meters.violations;
        if self.shared.log.journal().syncs_always() && committed.sequence() > self.shared.log.durable_through() {
            violations.allow_before_durable.count();
            return Err(Refusal::Internal("an ALLOW was about to leave before it was durable".into()));
        }
        let is_redeemed = matches!(decided.change, Change::Redeemed(_)) || decided.repeats.is_some();
        if decided.reason == Reason::Granted && !is_redeemed {
            violations.granted_without_grant.count();
            return Err(Refusal::Internal("a countersigned ALLOW was about to leave without a grant".into()));
        }
        Ok(())
    }

    /// What was answered before, and the approval that bears on the query. A query on which none can bear is answered by
    /// what this process knows: with a shared store, that one may be out of reach.
    async fn known(
        &self,
        asked: &Admitted,
        evaluation: &Evaluation,
        read: Option<Arc<Approval>>,
    ) -> Result<(Option<Arc<Decided>>, Standing), Refusal> {
        let caller = &asked.caller.identity.uid;
        let key = asked.idempotency_key.clone().map(|key| IdempotencyKey { caller: caller.clone(), key });
        let here = self.shared.store.here(&asked.binding, key.as_ref());
        let is_of_another = |earlier: &Arc<Decided>| earlier.binding != asked.binding;
        if here.answer.as_ref().is_some_and(is_of_another) {
            return Err(Refusal::KeyReused);
        }
        let named = asked.approval.or_else(|| here.answer.as_ref().and_then(|earlier| earlier.approval));
        if evaluation.requirement.is_none() && named.is_none() && !here.may_be_pending {
            return Ok((here.answer, Standing::None));
        }
        // Neither depends on the other: one way there and back for both.
        let (earlier, read) = tokio::join!(self.earlier(key, asked.binding), self.named(asked.approval, read));
        let earlier = earlier?.or(here.answer);
        let standing = match read? {
            Some(approval) => Standing::ById(self.as_of_now(approval).await?),
            None => self.standing(asked, earlier.as_deref()).await?,
        };
        Ok((earlier, standing))
    }

    /// The answer under a key that replicas share.
    async fn earlier(&self, key: Option<IdempotencyKey>, binding: Binding) -> Result<Option<Arc<Decided>>, Refusal> {
        let Some(key) = key else { return Ok(None) };
        match self.shared.store.answered(key, binding).await? {
            Answered::OtherQuery => Err(Refusal::KeyReused),
            Answered::Earlier(earlier) => Ok(Some(earlier)),
            Answered::Nothing => Ok(None),
        }
    }

    /// The approval that the caller named, if he did.
    async fn named(
        &self,
        id: Option<ApprovalId>,
        read: Option<Arc<Approval>>,
    ) -> Result<Option<Arc<Approval>>, Refusal> {
        match (id, read) {
            (None, _) => Ok(None),
            (Some(id), Some(read)) if read.id() == id => Ok(Some(read)),
            (Some(id), _) => self.shared.store.approval(id).await?.ok_or(Refusal::NotFound).map(Some),
        }
    }

    /// The approval that the earlier answer under this key was about, or the latest for the binding.
    async fn standing(&self, asked: &Admitted, earlier: Option<&Decided>) -> Result<Standing, Refusal> {
        let Some(id) = earlier.and_then(|earlier| earlier.approval) else {
            return self.standing_for(asked.binding).await;
        };
        let approval = self.shared.store.approval(id).await?.ok_or(Refusal::NotFound)?;
        Ok(Standing::ById(self.as_of_now(approval).await?))
    }

    async fn standing_for(&self, binding: Binding) -> Result<Standing, Refusal> {
        match self.shared.store.standing(binding).await? {
            None => Ok(Standing::None),
            Some(approval) => Ok(Standing::ByBinding(self.as_of_now(approval).await?)),
        }
    }
}

enum Waited {
    Settled(Arc<Approval>),
    /// Still pending when the caller's time was up.
    TimedOut,
}

/// The sentence that goes with an answer.
#[must_use]
pub fn message(decided: &Decided, told: Option<&Told>) -> String {
    let policies = || decided.determining.iter().map(ToString::to_string).collect::<Vec<_>>().join(", ");
    match decided.reason {
        Reason::Permitted => "permitted".into(),
        Reason::Granted => "countersigned: do exactly this, now".into(),
        Reason::ApprovalRequired => told.map_or_else(|| "people must countersign this".into(), |told| told.status.clone()),
        Reason::JustificationRequired => "say why in `justification`: a gate requires it".into(),
        Reason::Forbidden => format!("forbidden by {}; no approval can lift this", policies()),
        Reason::NotPermitted => "no policy permits this".into(),
        Reason::EvaluationError => "a policy that could forbid this could not be evaluated".into(),
        Reason::BindingMismatch => "the approval named is for another action; this is on record as tampering".into(),
        Reason::ApprovalRejected => {
            "the reviewers said no; what they said is in the approval, and the same query is answered by it for a while".into()
        }
        Reason::ApprovalExpired => "nobody countersigned in time".into(),
        Reason::ApprovalCancelled => "the request was taken back".into(),
        Reason::ApprovalRevoked => "the approval was taken back".into(),
        Reason::GrantConsumed => "the approval has been used; it serves once".into(),
        Reason::GrantLapsed => "the approval was not used in time".into(),
        Reason::UnsupportedObligation => {
            "permitted only with personal data masked; an enforcement point that masks names `mask` in `supported_obligations`".into()
        }
    }
}

impl Answer {
    /// The outcome.
    #[must_use]
    pub fn outcome(&self) -> Outcome {
        self.decided.outcome
    }
}

/// The parts of a decision that go on record. Here, so that nobody else takes a [`Decision`] apart.
fn parts(decision: &Decision) -> (Outcome, Reason) {
    (decision.outcome(), decision.reason())
}
