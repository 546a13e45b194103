//! What all chat products share: a bounded number of clicks that are worked on, each of which ends with the server at the latest;
//! and what is said of what came of one.

use std::sync::{Arc, Mutex, PoisonError};

use axum::http::StatusCode;
use axum::response::{IntoResponse, Response};
use tokio::sync::Semaphore;
use tokio::task::JoinSet;

use super::inbox::Shared;
use super::request::request_id;
use crate::domain::Refused;
use crate::service::chat::{Account, Entered, Unheard};
use crate::service::veil::Shown;
use crate::service::{Refusal, RequestId};

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

impl Shared {
    /// The same to all who are not the product; what was wrong is on record, under the product's name.
    pub fn turned_away(&self, product: &'static str, unheard: Unheard) -> Response {
        self.service.record_refusal(refusal_of(product, unheard.code(), None, request_id()));
        unheard.status().into_response()
    }

    /// A click that was refused, on record under what was called; and what whoever clicked is told. What is internal goes to the log.
    pub fn click_refused(&self, method: &'static str, account: &Account, refusal: &Refusal, id: RequestId) -> String {
        tracing::info!(account = account.name(), reason = refusal.reason(), "a click in chat was refused");
        self.service.record_refusal(refusal_of(method, refusal.reason(), refusal.field(), id));
        if let Refusal::Internal(source) | Refusal::Unavailable(source) = refusal {
            tracing::warn!(error = %source, "a click could not be worked on");
        }
        format!("Nothing was decided: {refusal}.")
    }
}

fn refusal_of(method: &'static str, reason: &str, field: Option<&str>, id: RequestId) -> Refused {
    let (method, reason, field) = (method.into(), reason.into(), field.map(Into::into));
    Refused { method, reason, field, caller: None, approval: None, request_id: id.0 }
}

/// What is said of a vote that counts.
pub fn counted(shown: &Shown) -> String {
    format!("Your vote counts. It is {} now.", shown.approval().state.name())
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
