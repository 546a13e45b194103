//! What all chat products share: a bounded number of clicks that are worked on, each of which ends with the server at the latest;
//! and what is said of what came of one.

use std::sync::{Arc, Mutex, PoisonError};

use axum::http::StatusCode;
use tokio::sync::Semaphore;
use tokio::task::JoinSet;

use crate::service::Refusal;
use crate::service::chat::{Entered, Unheard};

/// Clicks that are worked on at the same time; past it the product is asked to say that it did not work.
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

impl Unheard {
    /// To whoever is not heard.
    pub const fn status(self) -> StatusCode {
        match self {
            Self::NoApp => StatusCode::NOT_FOUND,
            Self::Unproved(_) | Self::Disbelieved(_) | Self::Foreign | Self::Replayed => StatusCode::UNAUTHORIZED,
            Self::Unavailable => StatusCode::SERVICE_UNAVAILABLE,
        }
    }
}

/// A refusal to whoever clicked. What is internal goes to the log.
pub fn refused(refusal: &Refusal) -> String {
    if let Refusal::Internal(source) | Refusal::Unavailable(source) = refusal {
        tracing::warn!(error = %source, "a click could not be worked on");
    }
    format!("Nothing was decided: {refusal}.")
}

/// What became of a code.
pub fn entered(outcome: Result<Entered, Refusal>) -> &'static str {
    match outcome {
        Ok(Entered::Linked) => {
            "This account is linked: what you decide here, you decide as the person who got the code. You can end this at the inbox."
        }
        Ok(Entered::Refused) => "Nothing was linked: that is not a code, or it is older than ten minutes, or was used.",
        Err(refusal) => {
            tracing::warn!(error = %refusal, "an account could not be linked");
            "Nothing was linked: that does not work at the moment."
        }
    }
}
