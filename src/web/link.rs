//! Linking an account of a chat product: whoever is logged in gets a code, and enters it from that account. So the account is
//! proved by the product and the person by the issuer, and neither by a name or an address.

use std::sync::Arc;

use askama::Template;
use axum::extract::State;
use axum::http::StatusCode;
use axum::response::{IntoResponse, Redirect, Response};

use super::inbox::Shared;
use super::login::Destination;
use super::problem::Problem;
use super::request::{Submitted, Visitor};
use super::view::moment::Moment;
use super::view::page::{Chrome, Tab, respond};
use super::view::text::Text;
use crate::domain::Timestamp;
use crate::service::chat::Linked;

/// The page's address.
pub const PAGE: &str = "/link";

#[derive(Template)]
#[template(path = "link.html")]
struct LinkPage {
    chrome: Chrome,
    form_token: String,
    accounts: Vec<Row>,
    /// What to enter, once.
    code: Option<String>,
    /// A login that is fresh enough to get one.
    login: Option<String>,
}

struct Row {
    name: Text,
    value: String,
    since: String,
}

pub async fn show(State(shared): State<Arc<Shared>>, visitor: Visitor) -> Response {
    page(&shared, &visitor, None).await
}

/// A code for whoever logged in lately: an open browser is not enough to act as somebody for good.
pub async fn begin(State(shared): State<Arc<Shared>>, submitted: Submitted) -> Response {
    let visitor = &submitted.visitor;
    if !visitor.is_fresh(&shared) {
        return page(&shared, visitor, None).await;
    }
    match shared.service.begin_link(&visitor.caller).await {
        Ok(Some(code)) => page(&shared, visitor, Some(code)).await,
        Ok(None) => Problem::no_code().page(visitor),
        Err(refusal) => visitor.refuse(&shared, "link", None, &refusal).page(visitor),
    }
}

pub async fn end(State(shared): State<Arc<Shared>>, submitted: Submitted) -> Response {
    let visitor = &submitted.visitor;
    let Some(account) = submitted.one("account") else { return Problem::unreadable().page(visitor) };
    match shared.service.unlink(&visitor.caller, account.to_owned()).await {
        Ok(()) => Redirect::to(PAGE).into_response(),
        Err(refusal) => visitor.refuse(&shared, "link", None, &refusal).page(visitor),
    }
}

async fn page(shared: &Shared, visitor: &Visitor, code: Option<String>) -> Response {
    if shared.service.chat().is_none() {
        return Problem::not_found().page(visitor);
    }
    let now = shared.service.wall();
    let row = |linked: &Linked| {
        let at = Timestamp::from_micros(linked.at_micros);
        let value = linked.account.name();
        Row { name: Text::line(&value), value, since: Moment::at(at, now).relative }
    };
    match shared.service.linked(&visitor.caller).await {
        Ok(accounts) => {
            let page = LinkPage {
                chrome: Chrome::new("Decide in chat", Tab::None, Some(visitor)),
                form_token: visitor.form_token.clone(),
                accounts: accounts.iter().map(row).collect(),
                code,
                login: (!visitor.is_fresh(shared)).then(|| Destination::parse(PAGE).login_again()),
            };
            respond(StatusCode::OK, &page)
        }
        Err(refusal) => visitor.refuse(shared, "link", None, &refusal).page(visitor),
    }
}
