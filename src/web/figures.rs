//! One's own figures.

use std::sync::Arc;

use askama::Template;
use axum::extract::State;
use axum::http::StatusCode;
use axum::response::Response;

use super::inbox::Shared;
use super::request::Visitor;
use super::view::moment::span;
use super::view::page::{Chrome, Tab, respond};

#[derive(Template)]
#[template(path = "figures.html")]
struct FiguresPage {
    chrome: Chrome,
    votes: usize,
    approved: usize,
    rejected: usize,
    median: Option<String>,
    is_too_quick: bool,
    is_too_agreeable: bool,
}

pub async fn show(State(shared): State<Arc<Shared>>, visitor: Visitor) -> Response {
    let figures = match shared.service.figures(&visitor.caller).await {
        Ok(figures) => figures,
        Err(refusal) => return visitor.refuse(&shared, "figures", None, &refusal).page(&visitor),
    };
    let page = FiguresPage {
        chrome: Chrome::new("My figures", Tab::Figures, Some(&visitor)),
        votes: figures.votes,
        approved: figures.approved,
        rejected: figures.votes - figures.approved,
        median: figures.median.map(span),
        is_too_quick: figures.is_too_quick,
        is_too_agreeable: figures.is_too_agreeable,
    };
    respond(StatusCode::OK, &page)
}
