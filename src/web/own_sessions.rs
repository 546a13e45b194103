//! Where one is signed in: the sessions of whoever looks, at this server, and the form that ends all of them everywhere.

use std::sync::Arc;

use askama::Template;
use axum::extract::State;
use axum::http::StatusCode;
use axum::response::Response;

use super::inbox::Shared;
use super::request::Visitor;
use super::view::moment::Moment;
use super::view::page::{Chrome, Tab, respond};

/// The page's address.
pub const PAGE: &str = "/sessions";

#[derive(Template)]
#[template(path = "sessions.html")]
struct OwnSessions {
    chrome: Chrome,
    form_token: String,
    /// The newest first.
    sessions: Vec<Row>,
}

struct Row {
    since: Moment,
    until: Moment,
    is_this: bool,
}

pub async fn show(State(shared): State<Arc<Shared>>, visitor: Visitor) -> Response {
    let now = shared.service.wall();
    let mut own = shared.sessions.of(&visitor.caller, now);
    own.retain(|session| shared.still_stands(session));
    own.sort_by_key(|session| std::cmp::Reverse(session.since));
    let row = |session: &super::session::Session| Row {
        since: Moment::at(session.since, now),
        until: Moment::at(session.caller.expires_at(), now),
        is_this: session.form_token == visitor.form_token,
    };
    let page = OwnSessions {
        chrome: Chrome::new("Where you are signed in", Tab::None, Some(&visitor)),
        form_token: visitor.form_token.clone(),
        sessions: own.iter().map(row).collect(),
    };
    respond(StatusCode::OK, &page)
}
