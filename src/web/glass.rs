//! Breaking the glass from the page of an approval, and looking at a broken one. The page makes sure that it was meant; whether
//! it may be is the service's word.

use std::sync::Arc;

use axum::extract::{Path, State};
use axum::response::{IntoResponse, Redirect, Response};

use super::decision::{again, refused, unseen, untyped};
use super::inbox::Shared;
use super::problem::Problem;
use super::request::Submitted;
use crate::domain::{ApprovalId, Binding, Verdict};
use crate::service::glass::Examination;

pub async fn break_glass(State(shared): State<Arc<Shared>>, Path(id): Path<String>, submitted: Submitted) -> Response {
    let visitor = &submitted.visitor;
    let Some((id, binding)) = named(&id, &submitted) else { return Problem::not_found().page(visitor) };
    let inspection = match shared.service.inspect(&visitor.caller, id).await {
        Ok(inspection) => inspection,
        Err(refusal) => return visitor.refuse(&shared, "break_glass", Some(id), &refusal).page(visitor),
    };
    let reason = submitted.text("reason").unwrap_or_default();
    if inspection.glass.may_break
        && let Some(missing) = untyped(&submitted, &inspection).or_else(|| unseen(&shared, &submitted, &inspection))
    {
        return again(&shared, &submitted, &inspection, missing);
    }
    match shared.service.break_glass(&visitor.caller, id, binding, &reason).await {
        Ok(_) => Redirect::to(&format!("/approvals/{id}?done=broken")).into_response(),
        Err(refusal) => refused(&shared, &submitted, id, &refusal).await,
    }
}

pub async fn examine(State(shared): State<Arc<Shared>>, Path(id): Path<String>, submitted: Submitted) -> Response {
    let visitor = &submitted.visitor;
    let Some((approval, binding)) = named(&id, &submitted) else { return Problem::not_found().page(visitor) };
    let verdict = match submitted.one("verdict") {
        Some("approve") => Verdict::Approve,
        Some("reject") => Verdict::Reject,
        Some(_) | None => return Problem::unreadable().page(visitor),
    };
    let comment = submitted.text("comment").map(Into::into);
    match shared.service.examine(&visitor.caller, Examination { approval, verdict, comment, binding }).await {
        Ok(_) => Redirect::to(&format!("/approvals/{approval}?done=examined")).into_response(),
        Err(refusal) => refused(&shared, &submitted, approval, &refusal).await,
    }
}

/// What the form is about, and what its page showed.
fn named(id: &str, submitted: &Submitted) -> Option<(ApprovalId, Binding)> {
    Some((id.parse().ok()?, submitted.one("binding")?.parse().ok()?))
}
