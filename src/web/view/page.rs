//! What every page has around it, and the pages that are nothing else.

use askama::Template;
use axum::http::{StatusCode, header};
use axum::response::{IntoResponse, Response};

use super::text::Text;
use crate::web::assets::{ADDRESSES, Addresses};
use crate::web::request::Visitor;

/// Which of the pages at the top this is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Tab {
    Mine,
    Pending,
    History,
    Figures,
    None,
}

/// The frame of a page.
pub struct Chrome {
    pub title: String,
    pub tab: Tab,
    /// Who is logged in, and what the form for leaving must bring.
    pub person: Option<(Text, String)>,
    pub assets: &'static Addresses,
}

impl Chrome {
    pub fn new(title: &str, tab: Tab, visitor: Option<&Visitor>) -> Self {
        Self {
            title: title.to_owned(),
            tab,
            person: visitor.map(|visitor| (Text::cut(visitor.name(), 60), visitor.form_token.clone())),
            assets: &ADDRESSES,
        }
    }

    fn current(&self, tab: Tab) -> &'static str {
        if self.tab == tab { "page" } else { "false" }
    }

    pub fn mine(&self) -> &'static str {
        self.current(Tab::Mine)
    }

    pub fn pending(&self) -> &'static str {
        self.current(Tab::Pending)
    }

    pub fn history(&self) -> &'static str {
        self.current(Tab::History)
    }

    pub fn figures(&self) -> &'static str {
        self.current(Tab::Figures)
    }
}

/// A page as an answer.
pub fn respond(status: StatusCode, page: &impl Template) -> Response {
    match page.render() {
        Ok(html) => (status, [(header::CONTENT_TYPE, "text/html; charset=utf-8")], html).into_response(),
        Err(error) => {
            tracing::error!(%error, "a page could not be written");
            (StatusCode::INTERNAL_SERVER_ERROR, "internal error\n").into_response()
        }
    }
}

/// A page that says why there is no other.
#[derive(Template)]
#[template(path = "notice.html")]
pub struct Notice {
    pub chrome: Chrome,
    pub text: String,
    /// For whoever is asked for help.
    pub reason: &'static str,
    /// Where to go on: an address and what is written on it.
    pub onward: Option<(String, &'static str)>,
}

/// After leaving.
pub struct SignedOut;

impl SignedOut {
    pub fn page() -> Response {
        let page = Notice {
            chrome: Chrome::new("You are signed out", Tab::None, None),
            text: "Your session has ended. What you decided stands.".to_owned(),
            reason: "",
            onward: Some(("/login".to_owned(), "Sign in again")),
        };
        respond(StatusCode::OK, &page)
    }
}
