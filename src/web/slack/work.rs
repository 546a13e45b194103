//! What is worked on after the answer: a bounded number of clicks, each of which ends with the server at the latest.

use std::sync::{Arc, Mutex, PoisonError};

use tokio::sync::Semaphore;
use tokio::task::JoinSet;

/// Clicks that are worked on at the same time; past it Slack is asked to say that it did not work.
const CLICKS_MAX: usize = 256;

pub struct Work {
    places: Arc<Semaphore>,
    under_way: Mutex<JoinSet<()>>,
}

impl Default for Work {
    fn default() -> Self {
        Self { places: Arc::new(Semaphore::new(CLICKS_MAX)), under_way: Mutex::default() }
    }
}

impl Work {
    /// Takes it on, if there is room.
    pub fn take(&self, work: impl Future<Output = ()> + Send + 'static) -> bool {
        let Ok(place) = self.places.clone().try_acquire_owned() else { return false };
        // A set of handles: a panic elsewhere cannot have torn it.
        let mut under_way = self.under_way.lock().unwrap_or_else(PoisonError::into_inner);
        while under_way.try_join_next().is_some() {}
        under_way.spawn(async move {
            work.await;
            drop(place);
        });
        true
    }
}
