//! When the policies are read again: the directory changed, or somebody said so. What happens then is
//! [`crate::service::policies`].
//!
//! The system tells of changes (inotify and its like); where it does not, on a network or for want of watches, a cheap look
//! at the directory from time to time does. Both only say *when*: what is loaded goes by the contents.

use std::sync::Arc;
use std::time::Duration;

use notify::{RecommendedWatcher, RecursiveMode, Watcher};
use tokio::sync::{Notify, watch};
use tokio::time::{Instant, sleep, timeout_at};

use crate::domain::ReloadCause;
use crate::engine::{self, fingerprint};
use crate::service::{RequestId, Service};

/// Silence after which whoever writes the files counts as done.
const QUIET: Duration = Duration::from_millis(200);
/// Somebody who never stops writing is not waited for longer than this.
const QUIET_WAIT_MAX: Duration = Duration::from_secs(5);
/// However often the operator wants to look.
const WATCH_INTERVAL_MIN: Duration = Duration::from_millis(50);
/// After a reload that the journal could not take.
const RETRY: Duration = Duration::from_secs(1);

/// What is followed.
pub struct ReloadSettings {
    /// How often to look; `None`: the directory is not watched.
    pub watch: Option<Duration>,
    pub policies: engine::Settings,
    /// Notified when the process is told to reload.
    pub hangups: Arc<Notify>,
}

/// Runs until the server stops.
pub async fn follow(service: Service, settings: ReloadSettings, mut stopping: watch::Receiver<bool>) {
    let changed = Arc::new(Notify::new());
    let _watcher = settings.watch.and_then(|_| watcher(&settings.policies, changed.clone()));
    let mut seen = look(&settings.policies).await;
    // The policies were loaded a while before the watch began.
    let mut next = settings.watch.map(|_| ReloadCause::Watch);
    loop {
        if let Some(cause) = next.take()
            && !reload(&service, cause.clone()).await
        {
            next = Some(cause);
            sleep(RETRY).await;
        }
        tokio::select! {
            () = stopped(&mut stopping) => return,
            () = std::future::ready(()), if next.is_some() => {}
            () = settings.hangups.notified() => next = Some(ReloadCause::Signal),
            () = changed.notified() => {
                quiet(&changed).await;
                next = Some(ReloadCause::Watch);
            }
            () = interval(settings.watch) => {
                let now = look(&settings.policies).await;
                next = (now != seen).then_some(ReloadCause::Watch);
                seen = now;
            }
        }
    }
}

async fn stopped(stopping: &mut watch::Receiver<bool>) {
    // An error means that the server is gone, which is a stop like any other.
    drop(stopping.wait_for(|stopping| *stopping).await);
}

/// False where it has to be tried again.
async fn reload(service: &Service, cause: ReloadCause) -> bool {
    let request_id = RequestId(if cause == ReloadCause::Signal { "signal" } else { "watch" }.into());
    match service.reload(cause, request_id).await {
        Ok(_) => true,
        Err(error) => {
            tracing::error!(%error, "the policies could not be read again; the last good ones stay in force");
            false
        }
    }
}

/// Tells of everything below the directory, where the system can.
fn watcher(settings: &engine::Settings, changed: Arc<Notify>) -> Option<RecommendedWatcher> {
    // An error (such as an overflow) means that something may have been missed.
    let told = move |event: notify::Result<notify::Event>| {
        if event.map_or(true, |event| !event.kind.is_access()) {
            changed.notify_one();
        }
    };
    let watcher = notify::recommended_watcher(told).and_then(|mut watcher| {
        watcher.watch(&settings.dir, RecursiveMode::Recursive)?;
        Ok(watcher)
    });
    if let Err(error) = &watcher {
        tracing::warn!(%error, "changes of the policy directory are noticed by looking at it only");
    }
    watcher.ok()
}

/// Returns when nothing more is written.
async fn quiet(changed: &Notify) {
    let latest = Instant::now() + QUIET_WAIT_MAX;
    let more = || timeout_at(Instant::now() + QUIET, changed.notified());
    while Instant::now() < latest && more().await.is_ok() {}
}

async fn interval(every: Option<Duration>) {
    match every {
        Some(every) => sleep(every.max(WATCH_INTERVAL_MIN)).await,
        None => std::future::pending().await,
    }
}

/// `None` where the look itself failed: that is another state than any.
async fn look(settings: &engine::Settings) -> Option<u64> {
    let settings = settings.clone();
    tokio::task::spawn_blocking(move || fingerprint(&settings)).await.ok()
}
