//! What the service does, one use case a file: [`authorize`] (ask), [`review`], [`glass`] (break-glass), [`withdraw`] (cancel and revoke),
//! [`report`], [`read`], [`inspect`] (what a reviewer sees), [`history`], [`figures`], [`login`], [`follow`] (the stream and
//! the audit), [`news`], [`expire`] (what time makes due), [`policies`] (reload), [`entities`] (the server's own facts), [`away`] (who stands
//! in for whom), [`sessions`] (ending those of the inbox), [`load`] (what is turned away),
//! [`mask`] and [`unmask`], [`veil`] (what is shown of queries), [`outbox`] (telling people elsewhere), [`chat`] (their clicks there).
//!
//! Everything comes in parsed and goes out as domain values; there is no gRPC in here. Each use case is the same few
//! steps: who calls, may he, what stands, what the domain says, one commit, the answer.

pub mod authorize;
pub mod away;
pub mod caller;
pub mod chat;
pub mod entities;
pub mod expire;
pub mod figures;
pub mod follow;
pub mod glass;
mod guard;
pub mod health;
pub mod history;
mod in_force;
pub mod inspect;
pub mod limits;
pub mod load;
pub mod login;
pub mod mask;
pub mod meters;
pub mod news;
pub mod outbox;
mod places;
pub mod policies;
pub mod read;
mod refusal;
pub mod report;
pub mod review;
pub mod sessions;
mod stopwatch;
mod strangers;
pub mod told;
pub mod unmask;
pub mod veil;
pub mod withdraw;

use std::sync::{Arc, OnceLock};
use std::time::Duration;

use tokio::sync::{Semaphore, watch};

use crate::domain::{Approval, Fact, Moved, Opening, PolicyDigest, Refused, Started, Timestamp, Transition};
use crate::engine::Engine;
use crate::identity::Verifier;
use crate::journal::Log;
use crate::store::{Committed, Seen, Store};

pub use caller::{Caller, RequestId};
pub use limits::Limits;
use load::Load;
pub use refusal::Refusal;

/// How often a decision is made anew when others keep changing what it rests on. Each loss means that somebody else
/// won, so that this many losses mean this many changes to one approval during one call.
const ATTEMPTS_MAX: usize = 64;
/// Explanations under way at the same time.
const EXPLAINS_MAX: usize = 4;

/// Tries until nobody else was faster.
async fn retried<T, F>(mut attempt: impl FnMut() -> F) -> Result<T, Refusal>
where
    F: Future<Output = Result<T, Refusal>>,
{
    for _ in 0..ATTEMPTS_MAX {
        match attempt().await {
            Err(Refusal::Contention) => {}
            settled => return settled,
        }
    }
    Err(Refusal::Contention)
}

/// The use cases and all that they need. Cheap to clone.
#[derive(Clone)]
pub struct Service {
    shared: Arc<Shared>,
}

struct Shared {
    store: Arc<dyn Store>,
    log: Log,
    engine: Arc<Engine>,
    verifier: Arc<Verifier>,
    limits: Limits,
    load: Arc<Load>,
    waits: places::Places,
    explains: Semaphore,
    followers: Arc<Semaphore>,
    ahead: follow::Ahead,
    stopping: watch::Receiver<bool>,
    admitted: guard::Admitted,
    strangers: strangers::Strangers,
    changing: policies::Changing,
    standing: in_force::Standing,
    masking: Arc<mask::Masking>,
    /// Over all that is shown of queries.
    veil: veil::Veil,
    newsroom: news::Newsroom,
    notifications: OnceLock<Arc<outbox::Board>>,
    chat: OnceLock<Arc<chat::Chat>>,
    meters: meters::Meters,
}

impl Service {
    /// `stopping` turns true when the server is asked to stop: waits and streams end then.
    #[must_use]
    pub fn new(
        store: Arc<dyn Store>,
        log: Log,
        engine: Arc<Engine>,
        verifier: Arc<Verifier>,
        limits: Limits,
        masking: impl Into<Arc<mask::Masking>>,
        stopping: watch::Receiver<bool>,
    ) -> Self {
        let masking: Arc<mask::Masking> = masking.into();
        let admitted = guard::Admitted::new(guard::ADMITTED_CALLERS_MAX);
        let followers = Arc::new(Semaphore::new(limits.subscribers_max));
        Self {
            shared: Arc::new(Shared {
                standing: in_force::Standing::of(&*store),
                load: Load::new(&limits.load),
                store,
                log,
                engine,
                verifier,
                limits,
                waits: places::Places::default(),
                explains: Semaphore::new(EXPLAINS_MAX),
                followers,
                ahead: follow::Ahead::default(),
                stopping,
                admitted,
                strangers: strangers::Strangers::default(),
                changing: policies::Changing::default(),
                veil: masking.veil(),
                masking,
                newsroom: news::Newsroom::default(),
                notifications: OnceLock::new(),
                chat: OnceLock::new(),
                meters: meters::Meters::default(),
            }),
        }
    }

    #[must_use]
    pub fn limits(&self) -> &Limits {
        &self.shared.limits
    }

    /// How long ago one may have logged in to approve at high severity and above.
    #[must_use]
    pub fn fresh_login(&self) -> Duration {
        self.shared.limits.fresh_login
    }

    /// What the server has taken on.
    #[must_use]
    pub fn load(&self) -> &Arc<Load> {
        &self.shared.load
    }

    /// The time by this machine's clock: for credentials, and for how long somebody is logged in.
    #[must_use]
    pub fn wall(&self) -> Timestamp {
        self.shared.store.wall()
    }

    /// The time by the only clock that decides about approvals.
    #[must_use]
    pub fn now(&self) -> Timestamp {
        self.shared.store.now()
    }

    /// The time by which it is judged how old a login is, and what it said: the latest that the store's clock and this machine's
    /// say. INVARIANT: one that is too old by either is too old.
    pub(crate) fn credentials_at(&self) -> Timestamp {
        self.now().max(self.wall())
    }

    /// Puts the start of a server on record.
    pub async fn record_start(&self, version: &str) -> Result<Committed, Refusal> {
        let started = Started { version: version.into(), digest: self.digest() };
        let committed = self.shared.store.commit(Fact::Started(started), Seen::Nothing).await?;
        self.shared.engine.swap(self.shared.engine.current().at(committed.sequence()));
        Ok(committed)
    }

    /// The digest of the policies in force.
    #[must_use]
    pub fn digest(&self) -> PolicyDigest {
        self.shared.engine.current().digest()
    }

    /// Puts a refused call on record where it is about the call, and else counts it.
    pub fn note_refusal(&self, refusal: &Refusal, refused: impl FnOnce() -> Refused) {
        if refusal.is_of_load() { self.count_turned_away(refusal) } else { self.record_refusal(refused()) }
    }

    /// Counts a call that was turned away, which leaves no record ([`Refusal::is_of_load`]).
    pub fn count_turned_away(&self, refusal: &Refusal) {
        self.shared.meters.refused(refusal.reason());
    }

    /// Puts a refused call on record. It does not wait for the disk: the refusal stands with or without it.
    pub fn record_refusal(&self, mut refused: Refused) {
        self.shared.meters.refused(&refused.reason);
        if refused.caller.is_none() {
            if !self.shared.strangers.admit(self.shared.store.now()) {
                return;
            }
            // A stranger does not choose under which approval he is filed.
            refused.approval = None;
        }
        let method = refused.method.clone();
        let fact = Fact::Refused(refused);
        let draft = self.shared.log.vault().draft(&fact);
        if let Err(error) = self.shared.log.append(&fact, draft, self.shared.store.now()) {
            tracing::warn!(%error, refused.method = %method, "a refusal could not be put on record");
        }
    }

    /// Takes an approval one step on, if it still is as `before` says; a lost race is [`Refusal::Contention`].
    async fn advance(
        &self,
        before: &Approval,
        transition: Transition,
        request_id: &RequestId,
    ) -> Result<Arc<Approval>, Refusal> {
        let after = before.apply(&transition).map_err(|illegal| Refusal::Internal(Box::new(illegal)))?;
        let fact = Self::moved(&before.opening, transition.clone(), request_id);
        self.shared.store.commit(fact, Seen::Version(before.version)).await?;
        self.shared.meters.moved(&transition);
        Ok(Arc::new(after))
    }

    /// The fact that something happened to an approval.
    fn moved(opening: &Opening, transition: Transition, request_id: &RequestId) -> Fact {
        Fact::Moved(Moved {
            approval: opening.id,
            binding: opening.binding,
            principal: opening.query.principal.clone(),
            action: opening.query.action.clone(),
            resource: opening.query.resource.clone(),
            transition,
            request_id: request_id.0.clone(),
        })
    }
}
