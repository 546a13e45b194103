//! How long ago Redis last said that the entities known here are the newest: kept beside the journal, so that a server which starts
//! without Redis knows what it must not go by any more.
//!
//! By the machine's clock, and by the monotonic one while the process lives: what is too old by either is too old. A clock that is behind
//! what was kept says nothing, and so do missing words.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, Instant};

use super::Shared;
use super::clock::OFF_MAX;
use crate::domain::Timestamp;

const FILE: &str = "entities-as-of";
/// Between two writes: by so much a start may take them for older than they are.
const INTERVAL: Duration = Duration::from_secs(10);
const LOOK: Duration = Duration::from_secs(1);

/// When it was last said.
#[derive(Debug, Clone, Copy)]
pub(super) struct AsOf {
    /// By the machine's clock.
    pub at: Timestamp,
    /// When that was in the life of this process; later than `at` where it was before the start.
    since: Instant,
    /// Said in this life.
    is_confirmed: bool,
}

impl AsOf {
    /// Before this process was started.
    pub fn before(at: Timestamp) -> Self {
        Self { at, since: Instant::now(), is_confirmed: false }
    }

    /// Now.
    pub fn confirmed(at: Timestamp) -> Self {
        Self { is_confirmed: true, ..Self::before(at) }
    }

    /// Whether it is to be kept: said in this life of the process, and long after what was kept last.
    fn is_news(&self, kept: Option<Timestamp>) -> bool {
        self.is_confirmed && kept.is_none_or(|kept| kept.until(self.at) >= INTERVAL)
    }

    /// How long ago that is.
    pub fn age(&self, now: Timestamp) -> Duration {
        if now.after(OFF_MAX) < self.at {
            return Duration::MAX;
        }
        self.at.until(now).max(self.since.elapsed())
    }
}

/// What was kept in `dir`, if it can be told. Blocking.
pub(super) fn read(dir: &Path) -> Option<Timestamp> {
    let text = fs::read_to_string(dir.join(FILE)).ok()?;
    text.trim().parse().ok().map(Timestamp::from_micros)
}

/// Not synced: an older one that a crash brings back only closes earlier.
fn write(dir: &Path, at: Timestamp) -> io::Result<()> {
    let unfinished = dir.join("entities-as-of.new");
    fs::write(&unfinished, format!("{}\n", at.as_micros()))?;
    fs::rename(&unfinished, dir.join(FILE))
}

/// Keeps it for as long as the store lives.
pub(super) async fn keep(shared: Arc<Shared>, dir: PathBuf) {
    let mut kept = None;
    loop {
        let as_of = shared.kept.as_of();
        if as_of.is_news(kept) {
            let (dir, at) = (dir.clone(), as_of.at);
            match tokio::task::spawn_blocking(move || write(&dir, at)).await {
                Ok(Ok(())) => kept = Some(at),
                // A full disk, mostly: the journal tells of it, and the next look tries again.
                Ok(Err(error)) => tracing::debug!(%error, "how old entities are could not be kept"),
                Err(_) => return,
            }
        }
        tokio::time::sleep(LOOK).await;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn it_is_older_by_every_clock_and_a_clock_that_went_back_says_nothing() {
        let at = Timestamp::from_micros(1_800_000_000_000_000);
        let as_of = AsOf::confirmed(at);
        let hour = Duration::from_secs(3_600);
        assert_eq!(as_of.age(at.after(hour)), hour);
        assert!(as_of.age(at.before(Duration::from_secs(1))) < hour);
        assert_eq!(as_of.age(at.before(hour)), Duration::MAX);
    }

    #[test]
    fn what_was_kept_is_read_again_and_nothing_else_is() {
        let dir = tempfile::tempdir().unwrap();
        assert_eq!(read(dir.path()), None);
        let at = Timestamp::from_micros(1_800_000_000_000_000);
        write(dir.path(), at).unwrap();
        assert_eq!(read(dir.path()), Some(at));
        fs::write(dir.path().join(FILE), "soon").unwrap();
        assert_eq!(read(dir.path()), None);
    }
}
