//! The outbox: a follower of the journal that tells people elsewhere.
//!
//! Each target has a place in the journal, kept on disk, and a task of its own that walks on from there; the journal is the
//! queue, so that none is in memory and a slow endpoint holds up nobody else. Only durable records are read, so that no news
//! is ahead of its commit. The place moves after the delivery: what a crash interrupts is sent again, under the same id.
//! No approval waits for any of this.

pub mod board;
mod place;
mod worker;

use std::path::PathBuf;
use std::sync::Arc;

use tokio::sync::watch;
use tokio::task::JoinSet;

pub use self::board::{Board, Condition, TargetState, Undelivered};
use self::place::Place;
use self::worker::Worker;
use super::Service;
use crate::journal::Log;
use crate::notify::Settings;

/// Why notifications cannot be sent safely.
#[derive(Debug, thiserror::Error)]
pub enum OutboxError {
    #[error("cannot use `{}`: {source}", .path.display())]
    Io { path: PathBuf, source: std::io::Error },
    #[error("`{}` cannot be understood ({reason}); remove it to begin with what happens from now on", .path.display())]
    Malformed { path: PathBuf, reason: String },
}

/// All targets with their places, not walking yet.
pub struct Outbox {
    settings: Settings,
    places: Vec<Place>,
    board: Arc<Board>,
}

impl Outbox {
    /// Finds the places. A target without one begins behind the newest record. Blocking.
    ///
    /// # Errors
    /// [`OutboxError`].
    pub fn open(settings: Settings, log: &Log) -> Result<Self, OutboxError> {
        if !settings.targets.is_empty() {
            let io = |source| OutboxError::Io { path: settings.dir.clone(), source };
            std::fs::create_dir_all(&settings.dir).map_err(io)?;
        }
        let next = log.durable_through().saturating_add(1);
        let open = |target: &crate::notify::Target| Place::open(&settings.dir, &target.name, next);
        let places: Vec<Place> = settings.targets.iter().map(open).collect::<Result<_, _>>()?;
        let states = settings.targets.iter().zip(&places);
        let board = Board::new(states.map(|(target, place)| (target.name.clone(), place.undelivered.clone())));
        Ok(Self { settings, places, board: Arc::new(board) })
    }

    /// What is known of the targets, for those who show it.
    #[must_use]
    pub fn board(&self) -> Arc<Board> {
        self.board.clone()
    }

    /// Walks on until the server stops. A delivery under way is then given up; the next start repeats it.
    pub async fn run(self, service: Service, mut stopping: watch::Receiver<bool>) {
        let settings = Arc::new(self.settings);
        let mut walking = JoinSet::new();
        for (index, place) in self.places.into_iter().enumerate() {
            let worker = Worker::new(service.clone(), settings.clone(), index, place, self.board.clone());
            if let Some(worker) = worker {
                walking.spawn(worker.run());
            }
        }
        let all = async { while walking.join_next().await.is_some() {} };
        tokio::select! {
            () = all => {}
            _ = stopping.wait_for(|stopping| *stopping) => {}
        }
    }
}

impl Service {
    /// Has health and [`Service::notifications`] tell of these targets. Once; a second board is not taken.
    pub fn tell_of(&self, board: Arc<Board>) {
        // The first one stays: there is one outbox.
        let _ = self.shared.notifications.set(board);
    }

    /// The state of every target, in the order of the configuration.
    #[must_use]
    pub fn notifications(&self) -> Vec<TargetState> {
        self.shared.notifications.get().map(|board| board.states()).unwrap_or_default()
    }
}
