//! The thread behind the writer: keeps spare segments ahead, and writes the index of each full segment.
//!
//! Nothing here is needed for an answer. When there is no room it tries again every second, and at once when
//! retention has removed something.

use std::sync::{Arc, PoisonError};
use std::time::Duration;

use super::directory::is_full;
use super::segment::Segment;
use super::shared::{Shared, lock};

/// How long to wait before trying again what failed.
const RETRY: Duration = Duration::from_secs(1);

/// What the keeper thread owns.
#[derive(Debug)]
pub(super) struct Keeper {
    pub shared: Arc<Shared>,
    /// Number of the next spare's file.
    pub next_spare: u64,
    /// Full segments whose index could not be written yet.
    pub unfinished: Vec<Arc<Segment>>,
}

impl Keeper {
    /// Works until the journal is closed.
    pub(super) fn run(mut self) {
        loop {
            let stocked = self.stock();
            let closing = self.collect(!stocked || !self.unfinished.is_empty());
            self.finish();
            if closing {
                return;
            }
        }
    }

    /// Waits for something to do. True when the journal closes.
    fn collect(&mut self, retry: bool) -> bool {
        let mut chores = lock(&self.shared.chores);
        while chores.full.is_empty() && !chores.nudged && !chores.closing {
            if retry {
                chores = self.shared.chore.wait_timeout(chores, RETRY).unwrap_or_else(PoisonError::into_inner).0;
                break;
            }
            chores = self.shared.chore.wait(chores).unwrap_or_else(PoisonError::into_inner);
        }
        chores.nudged = false;
        self.unfinished.extend(chores.full.drain(..));
        chores.closing
    }

    fn finish(&mut self) {
        let before = self.unfinished.len();
        self.unfinished.retain(|segment| {
            let finished = segment.finish();
            if let Err(error) = &finished {
                // Once a second while the disk is full: not worth more than a debug line each.
                tracing::debug!(error = %error, "journal index cannot be written yet, kept in memory");
            }
            finished.is_err()
        });
        if before > 0 && self.unfinished.is_empty() {
            tracing::debug!(segments = before, "journal segments are indexed");
        }
    }

    /// Makes spares until there are enough. False when one could not be made.
    pub(super) fn stock(&mut self) -> bool {
        let settings = &self.shared.settings;
        let wanted = settings.reserve_segments() + settings.ahead_segments();
        while lock(&self.shared.queue).spares.len() < wanted {
            let path = self.shared.directory.spare(self.next_spare);
            self.next_spare += 1;
            let made = self.within_quota().and_then(|()| {
                self.shared.directory.create_spare(&path, settings.segment_bytes).map_err(|fault| fault.source)
            });
            let mut queue = lock(&self.shared.queue);
            match made {
                Ok(()) => {
                    queue.spares.push_back(path);
                    if queue.disk_full && queue.spares.len() > queue.reserve {
                        queue.disk_full = false;
                        tracing::info!("journal has room again");
                    }
                }
                Err(error) => {
                    let first = !std::mem::replace(&mut queue.disk_full, true);
                    drop(queue);
                    if first {
                        let full = is_full(&error);
                        tracing::error!(error = %error, disk.full = full, "journal cannot allocate its next segment");
                    }
                    return false;
                }
            }
        }
        true
    }

    fn within_quota(&self) -> std::io::Result<()> {
        let Some(quota) = self.shared.settings.quota_bytes else {
            return Ok(());
        };
        let used = self.shared.directory.list().map_err(|fault| fault.source)?.bytes;
        let room = used.saturating_add(self.shared.settings.segment_bytes) <= quota;
        if room { Ok(()) } else { Err(std::io::ErrorKind::QuotaExceeded.into()) }
    }
}
