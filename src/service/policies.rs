//! The policies in force: read again because the directory changed, because of a signal, or because somebody asked.
//!
//! ```text
//! read: the directory, whole, off the hot path; the same digest changes nothing
//! judge: parse, validate, the entities that were put fit it
//! record, then swap: one pointer; a set that is broken is on record as well, and what was in force still is
//! ```

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use arc_swap::ArcSwapOption;
use tokio::sync::Mutex;

use super::{Caller, Refusal, RequestId, Service};
use crate::domain::{Fact, GuardAction, Guarded, PoliciesReloaded, PolicyDigest, ReloadCause, ReloadOutcome};
use crate::engine::{Candidate, LoadError, PolicySnapshot};
use crate::store::Seen;

/// Problems of a refused set that are on record, and told.
const PROBLEMS_MAX: usize = 20;
const PROBLEM_CHARS_MAX: usize = 500;

/// What an operator changes while the server runs, and what came of it.
#[derive(Default)]
pub(super) struct Changing {
    /// One reload at a time.
    reloading: Mutex<()>,
    /// INVARIANT: held from the look at what is in force to its replacement, so that neither a reload nor a change of
    /// entities undoes the other. Held across the commit on purpose: the journal has the changes in the order of the swaps.
    pub swapping: Mutex<()>,
    refused: ArcSwapOption<RefusedSet>,
    counters: ReloadCounters,
}

/// The newest set in the directory, if it was refused.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RefusedSet {
    pub digest: PolicyDigest,
    /// The first of what is wrong with it.
    pub problems: Vec<Arc<str>>,
}

/// How often policies were read again, since the start; for metrics.
#[derive(Debug, Default)]
pub struct ReloadCounters {
    pub loaded: AtomicU64,
    pub refused: AtomicU64,
    pub unchanged: AtomicU64,
    /// Neither loaded nor refused: the journal could not take the record.
    pub failed: AtomicU64,
}

/// What became of a reload.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Reload {
    /// The directory holds what is in force.
    Unchanged,
    Loaded {
        previous: PolicyDigest,
    },
    Refused(Arc<RefusedSet>),
}

/// The same, with what is in force after it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Reloaded {
    pub result: Reload,
    pub digest: PolicyDigest,
    pub revision: u64,
}

impl Service {
    /// Reads the policies again because somebody asks for it.
    pub async fn reload_for(&self, caller: &Caller) -> Result<Reloaded, Refusal> {
        self.guard(caller, GuardAction::Administer, Guarded::Service)?;
        self.reload(ReloadCause::Request(caller.identity.clone()), caller.request_id.clone()).await
    }

    /// Reads the policies again. Once begun it is done to its end, whether or not anybody waits for it.
    pub async fn reload(&self, cause: ReloadCause, request_id: RequestId) -> Result<Reloaded, Refusal> {
        let service = self.clone();
        let done = tokio::spawn(async move { service.reload_whole(cause, request_id).await }).await;
        let done = done.map_err(Refusal::panicked).flatten();
        let counters = self.reload_counters();
        let counter = match &done {
            Ok(Reloaded { result: Reload::Unchanged, .. }) => &counters.unchanged,
            Ok(Reloaded { result: Reload::Loaded { .. }, .. }) => &counters.loaded,
            Ok(Reloaded { result: Reload::Refused(_), .. }) => &counters.refused,
            Err(_) => &counters.failed,
        };
        counter.fetch_add(1, Ordering::Relaxed);
        done
    }

    /// The set that lies in the directory and was refused, if the newest one was.
    #[must_use]
    pub fn refused_policies(&self) -> Option<Arc<RefusedSet>> {
        self.shared.changing.refused.load_full()
    }

    #[must_use]
    pub fn reload_counters(&self) -> &ReloadCounters {
        &self.shared.changing.counters
    }

    async fn reload_whole(self, cause: ReloadCause, request_id: RequestId) -> Result<Reloaded, Refusal> {
        let _one = self.shared.changing.reloading.lock().await;
        let before = self.shared.engine.current();
        let read = tokio::task::spawn_blocking(move || {
            let candidate = Candidate::read(before.settings());
            let digest = candidate.digest();
            (digest, (!candidate.is_in_force(&before)).then(|| candidate.load(&|_, _| {})))
        });
        let (digest, loaded) = read.await.map_err(Refusal::panicked)?;
        let result = match loaded {
            None => Ok(Reload::Unchanged),
            Some(Ok(snapshot)) => self.put_in_force(snapshot, &cause, &request_id).await?,
            Some(Err(error)) => Err(error),
        };
        let result = match result {
            Ok(result) => {
                self.shared.changing.refused.store(None);
                result
            }
            Err(error) => self.refuse_set(digest, &error, cause, &request_id).await?,
        };
        let current = self.shared.engine.current();
        Ok(Reloaded { result, digest: current.digest(), revision: current.revision() })
    }

    /// `Err` within `Ok`: what was put over the API does not fit the set.
    async fn put_in_force(
        &self,
        snapshot: PolicySnapshot,
        cause: &ReloadCause,
        request_id: &RequestId,
    ) -> Result<Result<Reload, LoadError>, Refusal> {
        let _swap = self.shared.changing.swapping.lock().await;
        let known = self.shared.store.entities().await?;
        let snapshot = match snapshot.with_data(&known.data) {
            Ok(snapshot) => snapshot,
            Err(error) => return Ok(Err(error)),
        };
        let previous = self.digest();
        let digest = snapshot.digest();
        tell_warnings(&snapshot);
        let outcome = ReloadOutcome::Loaded;
        let fact =
            PoliciesReloaded { cause: cause.clone(), previous, digest, outcome, request_id: request_id.0.clone() };
        let committed = self.shared.store.commit(Fact::PoliciesReloaded(fact), Seen::Nothing).await?;
        self.shared.engine.swap(snapshot.at(committed.sequence().max(known.sequence)));
        self.shared.standing.open();
        tracing::info!(policy.digest = %digest, policy.previous = %previous, "other policies are in force");
        Ok(Ok(Reload::Loaded { previous }))
    }

    /// Puts a broken set on record; one that merely still lies there is not recorded again.
    async fn refuse_set(
        &self,
        digest: PolicyDigest,
        error: &LoadError,
        cause: ReloadCause,
        request_id: &RequestId,
    ) -> Result<Reload, Refusal> {
        let problems: Vec<Arc<str>> =
            error.problems.iter().take(PROBLEMS_MAX).map(|problem| cut(&problem.to_string())).collect();
        let refused = Arc::new(RefusedSet { digest, problems: problems.clone() });
        let is_known = self.refused_policies().is_some_and(|known| known == refused);
        if !(is_known && cause == ReloadCause::Watch) {
            tracing::error!(policy.digest = %digest, %error, "the policies in the directory are refused; the last good ones stay in force");
            let (previous, outcome) = (self.digest(), ReloadOutcome::Refused(problems));
            let fact = PoliciesReloaded { cause, previous, digest, outcome, request_id: request_id.0.clone() };
            // Said and shown even where it cannot be recorded.
            self.shared.changing.refused.store(Some(refused.clone()));
            self.shared.store.commit(Fact::PoliciesReloaded(fact), Seen::Nothing).await?;
        }
        Ok(Reload::Refused(refused))
    }
}

/// Says what is odd about a set that loads.
pub fn tell_warnings(snapshot: &PolicySnapshot) {
    for warning in snapshot.warnings() {
        tracing::warn!(policy.digest = %snapshot.digest(), %warning, "the policies load, and something is odd about them");
    }
}

fn cut(text: &str) -> Arc<str> {
    match text.char_indices().nth(PROBLEM_CHARS_MAX) {
        Some((end, _)) => text.get(..end).unwrap_or(text).into(),
        None => text.into(),
    }
}
