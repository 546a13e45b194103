//! The one map of refusals to pages: what happened, whether anything was decided, and where to go on. What is internal goes to
//! the log, once, here.

use std::sync::Arc;

use axum::extract::State;
use axum::http::{HeaderMap, StatusCode};
use axum::response::{IntoResponse, Response};

use super::inbox::Shared;
use super::login::Destination;
use super::request::Visitor;
use super::view::page::{Chrome, Notice, Tab, respond};
use crate::service::Refusal;

/// Why there is no page.
#[derive(Debug, Clone)]
pub struct Problem {
    pub status: StatusCode,
    pub title: &'static str,
    pub text: String,
    /// The stable machine code.
    pub reason: &'static str,
    pub onward: Option<(String, &'static str)>,
}

impl IntoResponse for Problem {
    fn into_response(self) -> Response {
        let Self { status, title, text, reason, onward } = self;
        respond(status, &Notice { chrome: Chrome::new(title, Tab::None, None), text, reason, onward })
    }
}

impl Problem {
    fn new(status: StatusCode, title: &'static str, text: impl Into<String>, reason: &'static str) -> Self {
        let onward = Some(("/".to_owned(), "To the inbox"));
        Self { status, title, text: text.into(), reason, onward }
    }

    fn with_login(self) -> Self {
        Self { onward: Some(("/login".to_owned(), "Sign in")), ..self }
    }

    /// What a refusal of the service means to a person.
    pub fn of(refusal: &Refusal) -> Self {
        log(refusal);
        let reason = refusal.reason();
        let said = refusal.to_string();
        let new = |status, title, text: &str| Self::new(status, title, text, reason);
        match refusal {
            Refusal::NotFound => Self::not_found(),
            Refusal::Unauthenticated(_) => {
                new(StatusCode::UNAUTHORIZED, "This login is not accepted here", &sentence(&said)).with_login()
            }
            Refusal::TokenExpired => Self::session_over("/"),
            Refusal::StepUp { .. } => new(StatusCode::UNAUTHORIZED, "Log in again to decide this", &sentence(&said)),
            Refusal::PermissionDenied { .. } => new(StatusCode::FORBIDDEN, "You may not do this", &sentence(&said)),
            Refusal::Invalid { .. } => new(StatusCode::BAD_REQUEST, "That cannot be taken", &sentence(&said)),
            Refusal::Settled(_) | Refusal::NotSettled(_) | Refusal::TooLate => {
                new(StatusCode::CONFLICT, "Too late: this is settled", &sentence(&said))
            }
            Refusal::RequirementRaised => new(StatusCode::CONFLICT, "Policies changed meanwhile", &sentence(&said)),
            Refusal::BindingMismatch => {
                new(StatusCode::CONFLICT, "This is not what you were shown", "Nothing was decided. Look at it again.")
            }
            Refusal::Contention | Refusal::KeyReused | Refusal::CursorTrimmed | Refusal::PoliciesStale { .. } => {
                new(StatusCode::CONFLICT, "It changed while you decided", "Nothing was decided. Look at it again.")
            }
            Refusal::Exhausted { .. }
            | Refusal::OverQuota { .. }
            | Refusal::LowMemory
            | Refusal::TooFast { .. }
            | Refusal::MaskingTimeout { .. }
            | Refusal::Overloaded => {
                new(StatusCode::TOO_MANY_REQUESTS, "Too much at once", "Nothing was decided. Try again in a moment.")
            }
            Refusal::KeysUnavailable(_)
            | Refusal::Unavailable(_)
            | Refusal::Busy { .. }
            | Refusal::DeadlinePassed
            | Refusal::ShuttingDown
            | Refusal::WaitBrokenOff(_) => new(
                StatusCode::SERVICE_UNAVAILABLE,
                "Not available at the moment",
                "Nothing was decided. Try again in a moment.",
            ),
            Refusal::Sealed(_) | Refusal::Internal(_) => Self::internal(),
        }
    }

    /// The same for what is not there and for what one may not see.
    pub fn not_found() -> Self {
        let text = "There is no such page, or it is not one that you may see.";
        Self::new(StatusCode::NOT_FOUND, "Nothing here", text, "not_found")
    }

    /// A form came after its session had ended; back to the page that it was on.
    pub fn session_over(path: &str) -> Self {
        let text = "Nothing was decided. Sign in, and look at it again.";
        let form = ["/decision", "/glass", "/examination"].into_iter().find_map(|form| path.strip_suffix(form));
        let page = Destination::parse(form.unwrap_or(path));
        let new = Self::new(StatusCode::UNAUTHORIZED, "Your session has ended", text, "session_over");
        Self { onward: Some((page.login(), "Sign in")), ..new }
    }

    pub fn foreign_form() -> Self {
        let text =
            "Nothing was decided. The form was not sent from a page of your present session. Open the page anew.";
        Self::new(StatusCode::FORBIDDEN, "This form is not from here", text, "foreign_form")
    }

    pub fn unreadable() -> Self {
        let text = "Nothing was decided. The form could not be read, or is too large.";
        Self::new(StatusCode::BAD_REQUEST, "That cannot be taken", text, "invalid_argument")
    }

    /// Several approvals that cannot be decided at once.
    pub fn not_together(text: &str) -> Self {
        let text = format!("Nothing was decided. {text}");
        Self::new(StatusCode::UNPROCESSABLE_ENTITY, "These cannot be decided together", text, "not_together")
    }

    pub fn no_code() -> Self {
        let text =
            "There is no code for you: too many wait to be entered, or your login does not say when it was made.";
        Self::new(StatusCode::TOO_MANY_REQUESTS, "Nothing was linked", text, "no_code")
    }

    pub fn stale_login() -> Self {
        let text = "This answer from the login page is too old, or is for another browser window. Begin again.";
        Self::new(StatusCode::BAD_REQUEST, "That login was not begun here", text, "stale_login").with_login()
    }

    pub fn login_refused() -> Self {
        let text = "The login page sent you back without a login.";
        Self::new(StatusCode::FORBIDDEN, "You are not signed in", text, "login_refused").with_login()
    }

    pub fn login_failed() -> Self {
        let text = "The login could not be completed. If this goes on, tell whoever runs this service.";
        Self::new(StatusCode::BAD_GATEWAY, "You are not signed in", text, "login_failed").with_login()
    }

    pub fn issuer_away() -> Self {
        let text = "The login page cannot be reached. Try again in a moment.";
        Self::new(StatusCode::BAD_GATEWAY, "Nobody can sign in at the moment", text, "issuer_unavailable").with_login()
    }

    pub fn too_often() -> Self {
        let text = "Too many logins from your address. Wait a moment, then try again.";
        Self::new(StatusCode::TOO_MANY_REQUESTS, "Not so fast", text, "too_many_logins").with_login()
    }

    pub fn too_fast() -> Self {
        let text = "Too many requests from your address. Wait a moment, then try again.";
        Self::new(StatusCode::TOO_MANY_REQUESTS, "Not so fast", text, "too_many_requests")
    }

    pub fn internal() -> Self {
        let text = "Something went wrong here. Nothing was decided.";
        Self::new(StatusCode::INTERNAL_SERVER_ERROR, "This went wrong", text, "internal")
    }

    /// As a page for somebody who is logged in.
    pub fn page(self, visitor: &Visitor) -> Response {
        let Self { status, title, text, reason, onward } = self;
        respond(status, &Notice { chrome: Chrome::new(title, Tab::None, Some(visitor)), text, reason, onward })
    }
}

/// A message of the service as a sentence on a page.
pub fn sentence(message: &str) -> String {
    let mut letters = message.chars();
    let first = letters.next().map(char::to_uppercase).into_iter().flatten();
    first.chain(letters).chain(['.']).collect()
}

pub async fn no_such_page(State(shared): State<Arc<Shared>>, headers: HeaderMap) -> Response {
    match Visitor::of(&shared, &headers) {
        Some(visitor) => Problem::not_found().page(&visitor),
        None => Problem::not_found().into_response(),
    }
}

fn log(refusal: &Refusal) {
    match refusal {
        Refusal::Sealed(source) => tracing::error!(error = %source, "a record cannot be opened"),
        Refusal::Internal(source) => tracing::error!(error = %source, "internal error"),
        Refusal::Unavailable(source) => tracing::warn!(error = %source, "cannot answer safely"),
        _ => {}
    }
}
