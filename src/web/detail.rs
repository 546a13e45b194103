//! The page of one approval.

use std::sync::Arc;

use axum::extract::{Path, Query, State};
use axum::http::StatusCode;
use axum::response::{IntoResponse, Redirect, Response};
use serde::Deserialize;

use super::inbox::Shared;
use super::login::Destination;
use super::problem::Problem;
use super::request::{Submitted, Visitor};
use super::seen;
use super::view::approval::{ApprovalPage, News, Terms};
use super::view::page::{Chrome, Tab, respond};
use super::view::text::Text;
use super::view::value::Extent;
use crate::domain::{ApprovalId, ApprovalState};
use crate::service::inspect::Inspection;

#[derive(Debug, Default, Deserialize)]
#[serde(default)]
pub struct Wanted {
    /// Long values as well, to their end.
    all: Option<String>,
    /// What the reader has just done.
    done: Option<String>,
}

pub async fn show(
    State(shared): State<Arc<Shared>>,
    visitor: Visitor,
    Path(id): Path<String>,
    Query(wanted): Query<Wanted>,
) -> Response {
    // What is no id is not there, like an id of nothing and an id of something that one may not see.
    let Ok(id) = id.parse::<ApprovalId>() else { return Problem::not_found().page(&visitor) };
    match shared.service.inspect(&visitor.caller, id).await {
        Ok(inspection) => {
            let extent = if wanted.all.is_some() { Extent::Whole } else { Extent::Beginning };
            let mut page = page_with_history(&shared, &visitor, &inspection, extent).await;
            page.news = wanted.done.as_deref().and_then(|done| done_news(done, &inspection));
            respond(StatusCode::OK, &page)
        }
        Err(refusal) => visitor.refuse(&shared, "approval", Some(id), &refusal).page(&visitor),
    }
}

/// The page with personal data as it is, all of it. A form, since it leaves a trace: who looked is on record.
pub async fn reveal(State(shared): State<Arc<Shared>>, Path(id): Path<String>, submitted: Submitted) -> Response {
    let visitor = &submitted.visitor;
    let Ok(id) = id.parse::<ApprovalId>() else { return Problem::not_found().page(visitor) };
    match shared.service.inspect_revealed(&visitor.caller, id).await {
        Ok(inspection) => {
            let page = page_with_history(&shared, visitor, &inspection, Extent::Whole).await;
            respond(StatusCode::OK, &page)
        }
        Err(refusal) => visitor.refuse(&shared, "reveal", Some(id), &refusal).page(visitor),
    }
}

/// Whoever comes back to that page sees it masked, until he asks again.
pub async fn masked(_visitor: Visitor, Path(id): Path<String>) -> Response {
    match id.parse::<ApprovalId>() {
        Ok(id) => Redirect::to(&format!("/approvals/{id}")).into_response(),
        Err(_) => Redirect::to("/").into_response(),
    }
}

async fn page_with_history(
    shared: &Shared,
    visitor: &Visitor,
    inspection: &Inspection,
    extent: Extent,
) -> ApprovalPage {
    let mut page = page(shared, visitor, inspection, extent);
    match shared.service.history(&visitor.caller, &inspection.approval).await {
        // Of the earlier one only what is masked here too is known to be for the reader.
        Ok(history) => page.add_history(&history, extent, &shared.service.veil(), inspection.now),
        // The approval can be decided without it, and the page says nothing that it does not know.
        Err(error) => tracing::warn!(%error, "an approval is shown without its history"),
    }
    page
}

/// The page as the visitor sees it.
pub fn page(shared: &Shared, visitor: &Visitor, inspection: &Inspection, extent: Extent) -> ApprovalPage {
    let id = inspection.approval.id();
    let query = &inspection.approval.opening.query;
    let title = format!("{} {}", query.action.id, query.resource.id);
    let terms = Terms {
        fresh_login: shared.service.fresh_login(),
        login: Destination::approval(id).login_again(),
        reader: visitor.caller.identity(),
    };
    let mut page = ApprovalPage::of(inspection, extent, &terms, Chrome::new(&title, Tab::None, Some(visitor)));
    let targets = shared.service.notifications().into_iter().filter(|target| target.lacks(id));
    page.undelivered = targets.map(|target| Text::line(&target.name)).collect();
    page.shown = seen::mark(shared, visitor, id, &page);
    page
}

/// What came of the reader's vote, by what is so now and not by what the address claims.
fn done_news(done: &str, inspection: &Inspection) -> Option<News> {
    let title = match done {
        "approved" => "You approved this",
        "rejected" => "You rejected this",
        "broken" if inspection.approval.glass.is_some() => {
            let text = "It may be done once, now. Everybody is told, and two others will look at it.".to_owned();
            return Some(News { tone: "bad", title: "You broke the glass".to_owned(), text });
        }
        "examined" if inspection.approval.glass.is_some() => "You looked at this",
        _ => return None,
    };
    let (tone, text) = match &inspection.state {
        ApprovalState::Pending => ("plain", "Others have to decide as well."),
        ApprovalState::Approved(_) | ApprovalState::Consumed(_) if inspection.approval.glass.is_some() => {
            ("bad", "Somebody broke the glass: it passes once, and nobody else had to approve.")
        }
        ApprovalState::Approved(_) => ("good", "Everybody who had to has approved. Whoever asked can go on."),
        ApprovalState::Consumed(_) => ("good", "Everybody who had to has approved, and it was done."),
        ApprovalState::Rejected { .. } => ("bad", "One rejection is final. Whoever asked is told, with your comment."),
        ApprovalState::Expired { .. }
        | ApprovalState::Cancelled { .. }
        | ApprovalState::Revoked { .. }
        | ApprovalState::Lapsed { .. } => ("plain", "It is settled now."),
    };
    Some(News { tone, title: title.to_owned(), text: text.to_owned() })
}
