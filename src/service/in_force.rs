//! What is decided by: the policies in force with the entities that were put, here or at another replica.
//!
//! A replica takes up what others put as soon as its store tells of it. Where the store cannot say which entities there are, or
//! where they do not fit the policies here, nothing is decided: a fact that is missing may be the one that forbids.

use std::sync::Arc;

use arc_swap::ArcSwapOption;

use super::{Refusal, Service};
use crate::engine::{LoadError, PolicySnapshot};
use crate::store::{PutEntities, Store};

/// Whether the snapshot in force may be decided by.
#[derive(Debug)]
pub(super) struct Standing {
    /// Why not.
    closed: ArcSwapOption<String>,
}

/// The entities that would have to be in force are not.
#[derive(Debug, thiserror::Error)]
#[error("nothing can be decided: {0}")]
struct NotInForce(Arc<String>);

impl Standing {
    /// Where others put entities too, what they put is not in force yet.
    pub fn of(store: &dyn Store) -> Self {
        let unread = store.entity_news().map(|_| Arc::new("the store was not asked yet".to_owned()));
        Self { closed: ArcSwapOption::new(unread) }
    }

    fn close(&self, why: String) {
        if self.closed.load().as_deref() != Some(&why) {
            tracing::error!(%why, "nothing is decided until it is known which entities were put over the API");
            self.closed.store(Some(Arc::new(why)));
        }
    }

    pub(super) fn open(&self) {
        if self.closed.swap(None).is_some() {
            tracing::info!("the entities that were put over the API are in force");
        }
    }

    pub(super) fn is_open(&self) -> bool {
        self.closed.load().is_none()
    }
}

impl Service {
    /// What to decide by.
    ///
    /// # Errors
    /// It is not known which entities were put, or they do not fit the policies.
    pub(super) fn in_force(&self) -> Result<Arc<PolicySnapshot>, Refusal> {
        match self.shared.standing.closed.load_full() {
            None => Ok(self.shared.engine.current()),
            Some(why) => Err(Refusal::unavailable(NotInForce(why))),
        }
    }

    /// Does what is due, by time or by what others did, and looks after the memory, until the server stops.
    pub async fn keep_up(&self) {
        tokio::select! {
            _ = async { tokio::join!(self.keep_time(), self.keep_entities()) } => {}
            () = self.shared.load.memory.watch() => {}
        }
    }

    /// Takes up what other replicas put, until the server stops.
    async fn keep_entities(&self) {
        let Some(mut news) = self.shared.store.entity_news() else { return };
        let mut stopping = self.shared.stopping.clone();
        loop {
            self.take_up_entities().await;
            tokio::select! {
                changed = news.changed() => if changed.is_err() { return },
                _ = stopping.wait_for(|stopping| *stopping) => return,
            }
        }
    }

    /// Puts in force what the store knows to have been put.
    pub async fn take_up_entities(&self) {
        let _swap = self.shared.changing.swapping.lock().await;
        let current = self.shared.engine.current();
        let known = match self.shared.store.entities().await {
            Ok(known) => known,
            // Nobody puts any: there are none to be known.
            Err(_) if self.shared.limits.put_entities_max == 0 && current.put_entities().is_empty() => {
                return self.shared.standing.open();
            }
            Err(error) => return self.shared.standing.close(error.why()),
        };
        let next = tokio::task::spawn_blocking(move || with_put(&current, &known)).await;
        match next {
            Ok(Ok(next)) => {
                self.shared.engine.swap(next);
                self.shared.standing.open();
            }
            Ok(Err(misfit)) => self.shared.standing.close(misfit.to_string()),
            Err(panicked) => self.shared.standing.close(panicked.to_string()),
        }
    }
}

/// The same policies with exactly these entities, known to be as of the newest of both.
pub(super) fn with_put(snapshot: &PolicySnapshot, known: &PutEntities) -> Result<PolicySnapshot, LoadError> {
    let next = snapshot.with_data(&known.data)?;
    Ok(next.at(snapshot.revision().max(known.sequence)))
}
