//! The keys of one issuer over time: fetched by one flight at a time however many wait for them, kept while the issuer
//! is out of reach, given up when they are too old. Spans are measured on the monotonic clock; no date is read here.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use arc_swap::ArcSwapOption;
use tokio::time::Instant;

use super::keys::KeySet;
use super::settings::Algorithm;
use super::source::KeySource;
use crate::measure::Counter;

/// Between two fetches that unknown key ids force.
pub const UNKNOWN_KEY_COOL_DOWN: Duration = Duration::from_secs(30);

/// Between two fetches that callers without any keys force.
pub const NO_KEYS_COOL_DOWN: Duration = Duration::from_secs(1);

/// Between background attempts while the issuer is out of reach: doubled up to here.
const RETRY_MAX: Duration = Duration::from_secs(30);

/// Why a caller wants keys now.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Need {
    /// There are none, or they are too old.
    Keys,
    /// The token names one that is not among them.
    UnknownKey,
}

/// A key set with its place in time.
pub struct Held {
    pub keys: KeySet,
    /// Changes exactly when the document does.
    pub generation: u64,
    document: Vec<u8>,
    fetched_at: Instant,
}

/// What [`Ring::new`] needs to know.
pub struct RingSettings {
    pub issuer_name: String,
    pub algorithms: Vec<Algorithm>,
    pub key_uses: &'static [&'static str],
    pub refresh_interval: Duration,
    pub max_stale: Duration,
}

/// One issuer's keys.
pub struct Ring {
    source: Arc<dyn KeySource>,
    settings: RingSettings,
    held: ArcSwapOption<Held>,
    attempts: Mutex<Attempts>,
    /// Held by whoever fetches.
    flight: Arc<tokio::sync::Mutex<()>>,
    pub fetched: Counter,
    pub not_fetched: Counter,
}

#[derive(Default)]
struct Attempts {
    finished: u64,
    is_under_way: bool,
    last: Option<Instant>,
    last_forced_by_unknown_key: Option<Instant>,
    last_error: Option<String>,
}

impl Ring {
    pub fn new(source: Arc<dyn KeySource>, settings: RingSettings) -> Arc<Self> {
        let (held, flight) = (ArcSwapOption::empty(), Arc::default());
        let (attempts, fetched, not_fetched) = (Mutex::default(), Counter::default(), Counter::default());
        Arc::new(Self { source, settings, held, attempts, flight, fetched, not_fetched })
    }

    /// The keys, unless there are none or they are older than `max_stale`.
    pub fn current(&self) -> Option<arc_swap::Guard<Option<Arc<Held>>>> {
        let held = self.held.load();
        let is_fresh = held.as_ref().is_some_and(|held| held.fetched_at.elapsed() < self.settings.max_stale);
        is_fresh.then_some(held)
    }

    /// Whether [`Ring::refresh`] would fetch, or join a fetch, rather than return at once.
    pub fn may_refresh(&self, need: Need) -> bool {
        let attempts = self.attempts();
        attempts.is_under_way || !attempts.is_cooling_down(need)
    }

    /// Fetches keys unless that was done too recently; callers at the same time share one fetch. Returns whether the
    /// keys may have changed since the caller looked.
    pub async fn refresh(self: &Arc<Self>, need: Need) -> bool {
        let seen = self.attempts().finished;
        let flight = self.flight.clone().lock_owned().await;
        {
            let mut attempts = self.attempts();
            if attempts.finished != seen {
                return true;
            }
            if attempts.is_cooling_down(need) {
                return false;
            }
            if need == Need::UnknownKey {
                attempts.last_forced_by_unknown_key = Some(Instant::now());
            }
        }
        // A task of its own, so that a caller who gives up does not take the others' fetch with it.
        let ring = self.clone();
        let fetch = tokio::spawn(async move {
            ring.fetch().await;
            drop(flight);
        });
        fetch.await.is_ok()
    }

    /// Keeps the keys fresh for as long as it is polled.
    pub async fn keep_fresh(self: Arc<Self>) {
        let mut retry = Duration::from_secs(1);
        loop {
            let flight = self.flight.clone().lock_owned().await;
            let pause = if self.fetch().await {
                retry = Duration::from_secs(1);
                self.settings.refresh_interval
            } else {
                retry = (retry * 2).min(RETRY_MAX);
                retry.min(self.settings.refresh_interval)
            };
            drop(flight);
            tokio::time::sleep(pause).await;
        }
    }

    /// How many usable keys there are, their age, and the last failure if the last attempt failed.
    pub fn health(&self) -> (Option<(usize, Duration)>, Option<String>) {
        let held = self.current();
        let held = held.as_deref().and_then(Option::as_ref);
        (held.map(|held| (held.keys.len(), held.fetched_at.elapsed())), self.attempts().last_error.clone())
    }

    /// One attempt. Whatever goes wrong, the last good keys stay.
    async fn fetch(&self) -> bool {
        self.attempts().begin();
        let fetched = self.source.fetch().await.map_err(|error| error.to_string());
        let read = fetched.and_then(|document| {
            let RingSettings { algorithms, key_uses, .. } = &self.settings;
            let keys = KeySet::parse(&document, algorithms, key_uses).map_err(|error| error.to_string())?;
            self.hold(keys, document);
            Ok(())
        });
        let error = read.err();
        if let Some(error) = &error {
            tracing::warn!(issuer.name = self.settings.issuer_name, %error, "cannot refresh the issuer's keys");
        }
        let is_ok = error.is_none();
        if is_ok {
            self.fetched.count()
        } else {
            self.not_fetched.count()
        }
        self.attempts().end(error);
        is_ok
    }

    fn hold(&self, keys: KeySet, document: Vec<u8>) {
        let before = self.held.load();
        let (generation, is_new) = match before.as_ref() {
            Some(before) if before.document == document => (before.generation, false),
            Some(before) => (before.generation + 1, true),
            None => (1, true),
        };
        if is_new {
            tracing::info!(
                issuer.name = self.settings.issuer_name,
                keys.used = keys.len(),
                keys.left_out = ?keys.left_out,
                "the issuer's keys are new"
            );
        }
        self.held.store(Some(Arc::new(Held { keys, generation, document, fetched_at: Instant::now() })));
    }

    fn attempts(&self) -> MutexGuard<'_, Attempts> {
        // Plain values, each valid by itself: a panic elsewhere cannot have left them half changed.
        self.attempts.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Attempts {
    fn is_cooling_down(&self, need: Need) -> bool {
        let (last, cool_down) = match need {
            Need::Keys => (self.last, NO_KEYS_COOL_DOWN),
            Need::UnknownKey => (self.last_forced_by_unknown_key, UNKNOWN_KEY_COOL_DOWN),
        };
        last.is_some_and(|last| last.elapsed() < cool_down)
    }

    fn begin(&mut self) {
        self.is_under_way = true;
        self.last = Some(Instant::now());
    }

    fn end(&mut self, error: Option<String>) {
        self.is_under_way = false;
        self.finished += 1;
        self.last_error = error;
    }
}
