//! Server-sent events: that something changed which the reader may see, and nothing of what. The page then looks, as it always
//! does; so an event can be lost, late or doubled without anybody being told wrong.

use std::convert::Infallible;
use std::sync::Arc;
use std::time::Duration;

use axum::extract::State;
use axum::response::sse::{Event, KeepAlive, Sse};
use axum::response::{IntoResponse, Response};
use futures_util::stream;

use super::inbox::Shared;
use super::request::Visitor;

/// How often a line that says nothing shows both ends that the other is there.
const KEEP_ALIVE: Duration = Duration::from_secs(15);
/// Many changes at once are one.
const AT_MOST_EVERY: Duration = Duration::from_millis(250);

pub async fn events(State(shared): State<Arc<Shared>>, visitor: Visitor) -> Response {
    let news = match shared.service.news(&visitor.caller) {
        Ok(news) => news,
        Err(refusal) => return visitor.refuse(&shared, "events", None, &refusal).page(&visitor),
    };
    let events = stream::unfold(Some((news, shared, visitor)), |state| async move {
        let (mut news, shared, visitor) = state?;
        let event = tokio::select! {
            changed = news.changed() => changed.map(|()| Event::default().event("change").data("1")),
            () = shared.service.until_over(&visitor.caller) => Err(crate::service::Refusal::ShuttingDown),
        };
        let is_over = event.is_err() || shared.session(&visitor.session_id).is_none();
        let event = match event {
            Ok(event) if !is_over => event,
            Ok(_) | Err(_) => Event::default().event("over").data("1"),
        };
        tokio::time::sleep(AT_MOST_EVERY).await;
        Some((Ok::<_, Infallible>(event), (!is_over).then_some((news, shared, visitor))))
    });
    Sse::new(events).keep_alive(KeepAlive::new().interval(KEEP_ALIVE)).into_response()
}
