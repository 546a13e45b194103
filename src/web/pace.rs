//! No address asks for more than a whole office would: past it the answer is that, and nothing is looked up or put on record.

use std::sync::Arc;

use axum::Extension;
use axum::extract::{Request, State};
use axum::http::{HeaderValue, header};
use axum::middleware::Next;
use axum::response::{IntoResponse, Response};

use super::inbox::Shared;
use super::listen::Peer;
use super::problem::Problem;
use super::request::address;
use crate::domain::Timestamp;

/// Answers, or says how soon to come back.
pub async fn keep(
    State(shared): State<Arc<Shared>>,
    Extension(peer): Extension<Peer>,
    request: Request,
    next: Next,
) -> Response {
    // By a clock that is nobody's to set: this decides nothing but how soon.
    let now = Timestamp::default().after(shared.started.elapsed());
    if shared.requests.admit(address(&shared, peer, request.headers()), now) {
        return next.run(request).await;
    }
    let mut response = Problem::too_fast().into_response();
    response.headers_mut().insert(header::RETRY_AFTER, HeaderValue::from(shared.requests.retry_after()));
    response
}
