//! A vote from the page of an approval. What the page made sure of is made sure of here again, where it counts; whether the
//! vote counts is the service's word.

use std::sync::Arc;

use axum::extract::{Path, State};
use axum::http::StatusCode;
use axum::response::{IntoResponse, Redirect, Response};

use super::detail;
use super::inbox::Shared;
use super::problem::Problem;
use super::request::{Submitted, Visitor};
use super::seen;
use super::view::approval::{News, Terms, stale_login};
use super::view::page::respond;
use super::view::value::Extent;
use crate::domain::{ApprovalId, Binding, PolicyId, Severity, Verdict};
use crate::service::Refusal;
use crate::service::inspect::Inspection;
use crate::service::review::Vote;

/// Gates that one form may name.
const GATES_MAX: usize = 100;

pub async fn decide(State(shared): State<Arc<Shared>>, Path(id): Path<String>, submitted: Submitted) -> Response {
    let visitor = &submitted.visitor;
    let Ok(id) = id.parse::<ApprovalId>() else { return Problem::not_found().page(visitor) };
    let Some(vote) = vote(id, &submitted) else { return Problem::unreadable().page(visitor) };
    let inspection = match shared.service.inspect(&visitor.caller, id).await {
        Ok(inspection) => inspection,
        Err(refusal) => return visitor.refuse(&shared, "decide", Some(id), &refusal).page(visitor),
    };
    if let Some(missing) = missing(&shared, &inspection, &vote, &submitted) {
        return again(&shared, &submitted, &inspection, missing);
    }
    match shared.service.review(&visitor.caller, vote.clone()).await {
        Ok(_) => {
            let done = match vote.verdict {
                Verdict::Approve => "approved",
                Verdict::Reject => "rejected",
            };
            Redirect::to(&format!("/approvals/{id}?done={done}")).into_response()
        }
        Err(refusal) => refused(&shared, &submitted, id, &refusal).await,
    }
}

/// The vote that a form says; `None` if it says none.
fn vote(approval: ApprovalId, submitted: &Submitted) -> Option<Vote> {
    let verdict = match submitted.one("verdict")? {
        "approve" => Verdict::Approve,
        "reject" => Verdict::Reject,
        _ => return None,
    };
    let binding: Binding = submitted.one("binding")?.parse().ok()?;
    let gates: Vec<PolicyId> =
        submitted.all("gate").into_iter().take(GATES_MAX).map(|gate| PolicyId(gate.into())).collect();
    let comment = submitted.text("comment").map(Into::into);
    // A vote for no gate in particular would count for gates that the page did not show.
    (!gates.is_empty()).then_some(Vote { approval, verdict, comment, binding, gates })
}

/// What the page demands before it votes: this is about people who are in a hurry, not about rights.
fn missing(shared: &Shared, inspection: &Inspection, vote: &Vote, submitted: &Submitted) -> Option<String> {
    if !inspection.is_open_to_vote() {
        // Where nothing can be voted on, the service says why.
        return None;
    }
    let is_high = inspection.severity() >= Severity::High;
    match vote.verdict {
        Verdict::Reject => {
            let is_silent = is_high && vote.comment.is_none();
            is_silent.then(|| "Say why: at this severity a rejection needs a comment.".to_owned())
        }
        Verdict::Approve => {
            if let Some(unseen) = unseen(shared, submitted, inspection) {
                return Some(unseen);
            }
            if !is_high {
                return None;
            }
            if let Some(untyped) = untyped(submitted, inspection) {
                return Some(untyped);
            }
            let terms = Terms {
                fresh_login: shared.service.fresh_login(),
                login: String::new(),
                reader: submitted.visitor.caller.identity(),
            };
            stale_login(inspection, &terms)
        }
    }
}

/// What is to be typed, where it was not.
pub(super) fn untyped(submitted: &Submitted, inspection: &Inspection) -> Option<String> {
    let object = &inspection.approval.opening.query.resource;
    // Nothing typed is nothing that was typed right.
    let is_typed = object.is_typed(submitted.one("object").unwrap_or_default());
    (!is_typed).then(|| format!("Type {} letter by letter: it is what this is about.", object.to_type()))
}

/// What its page did not show of what the form would let pass.
pub(super) fn unseen(shared: &Shared, submitted: &Submitted, inspection: &Inspection) -> Option<String> {
    let page = detail::page(shared, &submitted.visitor, inspection, Extent::Beginning);
    seen::missing(&page, seen::of(shared, submitted, inspection.approval.id()))
}

/// The form once more, with what was written.
pub(super) fn again(shared: &Shared, submitted: &Submitted, inspection: &Inspection, missing: String) -> Response {
    let mut page = detail::page(shared, &submitted.visitor, inspection, Extent::Whole);
    page.choice.comment = submitted.text("comment").unwrap_or_default();
    page.news = Some(News { tone: "bad", title: "Nothing was decided yet".to_owned(), text: missing });
    respond(StatusCode::UNPROCESSABLE_ENTITY, &page)
}

/// The approval as it is now, under the reason why the vote did not count; late clicks see what really happened.
pub(super) async fn refused(shared: &Shared, submitted: &Submitted, id: ApprovalId, refusal: &Refusal) -> Response {
    let visitor: &Visitor = &submitted.visitor;
    let problem = visitor.refuse(shared, "decide", Some(id), refusal);
    let Ok(inspection) = shared.service.inspect(&visitor.caller, id).await else { return problem.page(visitor) };
    let mut page = detail::page(shared, visitor, &inspection, Extent::Beginning);
    page.choice.comment = submitted.text("comment").unwrap_or_default();
    let text = format!("{} Your vote was not counted.", problem.text);
    page.news = Some(News { tone: "bad", title: problem.title.to_owned(), text });
    respond(problem.status, &page)
}
