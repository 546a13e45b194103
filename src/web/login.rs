//! Logging in and out. The way to the issuer and back: a departure is sealed into a cookie of the same browser, and only what
//! comes back with it begins a session, always a new one.

use std::sync::Arc;
use std::time::Duration;

use axum::extract::{Extension, Query, State};
use axum::http::{HeaderMap, HeaderValue, StatusCode, header};
use axum::response::{IntoResponse, Redirect, Response};
use serde::{Deserialize, Serialize};

use super::cookie::Cookie;
use super::inbox::Shared;
use super::listen::Peer;
use super::problem::Problem;
use super::provider::Wanted;
use super::request::{Submitted, Visitor, address, request_id};
use super::seal;
use super::view::page::SignedOut;
use crate::domain::{ApprovalId, Refused, Severity, StepUp, Timestamp};
use crate::service::{Refusal, RequestId};

const PURPOSE: &str = "login";
/// How long somebody may be at the login page.
const ATTEMPT_LIFETIME: Duration = Duration::from_secs(600);

/// A page of ours that somebody wants to see after the login. INVARIANT: never an address elsewhere.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Destination(String);

impl Destination {
    /// A path of ours, or the first page.
    pub fn parse(text: &str) -> Self {
        let (path, query) = text.split_once('?').unwrap_or((text, ""));
        let is_page = matches!(path, "/" | "/away" | "/figures" | "/together" | "/link" | "/sessions")
            || Self::approval_in(path).is_some();
        let is_plain = |byte: u8| byte.is_ascii_alphanumeric() || b"=&%._+-".contains(&byte);
        let is_ours = is_page && text.len() <= 2_000 && query.bytes().all(is_plain);
        Self(if is_ours { text.to_owned() } else { "/".to_owned() })
    }

    /// The page of an approval.
    pub fn approval(id: ApprovalId) -> Self {
        Self(format!("/approvals/{id}"))
    }

    fn approval_in(path: &str) -> Option<ApprovalId> {
        path.strip_prefix("/approvals/")?.parse().ok()
    }

    /// The login that ends there.
    pub fn login(&self) -> String {
        format!("/login?to={}", encoded(&self.0))
    }

    /// The same, with a login that is good enough for what is to be decided there.
    pub fn login_again(&self) -> String {
        format!("/login?again=1&to={}", encoded(&self.0))
    }
}

/// For a value in a query.
pub fn encoded(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    for byte in text.bytes() {
        match byte {
            b'A'..=b'Z' | b'a'..=b'z' | b'0'..=b'9' | b'-' | b'.' | b'_' | b'~' => out.push(char::from(byte)),
            other => out.push_str(&format!("%{other:02X}")),
        }
    }
    out
}

/// What the browser keeps while it is away.
#[derive(Serialize, Deserialize)]
struct Attempt {
    state: String,
    nonce: String,
    pkce_verifier: String,
    to: String,
    began_at_micros: i64,
}

#[derive(Deserialize)]
pub struct Departing {
    to: Option<String>,
    again: Option<String>,
}

/// To the issuer.
pub async fn depart(
    State(shared): State<Arc<Shared>>,
    Extension(peer): Extension<Peer>,
    headers: HeaderMap,
    Query(query): Query<Departing>,
) -> Response {
    if !shared.throttle.admit(address(&shared, peer, &headers), shared.service.wall()) {
        return too_often(&shared);
    }
    let to = Destination::parse(query.to.as_deref().unwrap_or("/"));
    let wanted = if query.again.is_some() { wanted(&shared, &headers, &to).await } else { Wanted::AnyLogin };
    match begin(&shared, &wanted, to).await {
        Ok(response) => response,
        Err(problem) => problem.into_response(),
    }
}

async fn begin(shared: &Shared, wanted: &Wanted, to: Destination) -> Result<Response, Problem> {
    let departure = shared.provider.depart(wanted).await.map_err(|error| {
        tracing::warn!(%error, "nobody can log in at the inbox");
        Problem::issuer_away()
    })?;
    let attempt = Attempt {
        state: departure.state,
        nonce: departure.nonce,
        pkce_verifier: departure.pkce_verifier,
        to: to.0,
        began_at_micros: shared.service.wall().as_micros(),
    };
    let text = serde_json::to_string(&attempt).map_err(|_| Problem::internal())?;
    let sealed = shared.seal.close(PURPOSE, &text).map_err(|_| Problem::internal())?;
    let mut response = Redirect::to(&departure.url).into_response();
    set_cookie(&mut response, shared.cookies.set(Cookie::Login, &sealed));
    Ok(response)
}

/// What the approval there demands of the login of whoever decides it.
async fn wanted(shared: &Shared, headers: &HeaderMap, to: &Destination) -> Wanted {
    let fresh = |most: Duration| StepUp { max_authentication_age: Some(most), ..StepUp::default() };
    let plain = Wanted::Again(fresh(shared.service.fresh_login()));
    let Some(visitor) = Visitor::of(shared, headers) else { return plain };
    let Some(id) = Destination::approval_in(to.0.split('?').next().unwrap_or_default()) else { return plain };
    // Whoever may not see it logs in again like anybody.
    let Ok(inspection) = shared.service.inspect(&visitor.caller, id).await else { return plain };
    let mut demand = inspection.step_up.as_ref().map(|(_, demand)| demand.clone()).unwrap_or_default();
    if inspection.severity() >= Severity::High {
        let most = shared.service.fresh_login();
        demand.max_authentication_age = Some(demand.max_authentication_age.map_or(most, |age| age.min(most)));
    }
    Wanted::Again(demand)
}

#[derive(Deserialize)]
pub struct Arriving {
    code: Option<String>,
    state: Option<String>,
    /// RFC 9207.
    iss: Option<String>,
    error: Option<String>,
}

/// Back from the issuer.
pub async fn arrive(
    State(shared): State<Arc<Shared>>,
    Extension(peer): Extension<Peer>,
    headers: HeaderMap,
    Query(query): Query<Arriving>,
) -> Response {
    if !shared.throttle.admit(address(&shared, peer, &headers), shared.service.wall()) {
        return too_often(&shared);
    }
    let mut response = match finish(&shared, &headers, query).await {
        Ok(response) => response,
        Err(problem) => problem.into_response(),
    };
    set_cookie(&mut response, shared.cookies.clear(Cookie::Login));
    response
}

async fn finish(shared: &Shared, headers: &HeaderMap, query: Arriving) -> Result<Response, Problem> {
    let attempt = attempt(shared, headers, &query)?;
    if query.error.is_some() {
        return Err(Problem::login_refused());
    }
    let code = query.code.ok_or_else(Problem::stale_login)?;
    let id_token = shared.provider.arrive(code, attempt.pkce_verifier).await.map_err(|error| {
        tracing::warn!(%error, "a login at the inbox failed");
        Problem::login_failed()
    })?;
    let request_id = request_id();
    let (lifetime, logins) = (shared.settings.session_lifetime, &shared.logins);
    let caller = shared.service.log_in(logins, &id_token, &attempt.nonce, lifetime, request_id.clone()).await;
    let caller = caller.map_err(|refusal| not_let_in(shared, request_id, &refusal))?;
    if let Some(before) = shared.cookies.read(Cookie::Session, headers) {
        shared.sessions.end(before);
    }
    shared.service.note_login(&caller).await;
    let mark = shared.service.session_mark(&caller.identity().uid).map_err(|refusal| Problem::of(&refusal))?;
    let id = shared.sessions.begin(caller, mark, shared.service.wall()).map_err(|_| Problem::internal())?;
    let mut response = Redirect::to(&Destination::parse(&attempt.to).0).into_response();
    set_cookie(&mut response, shared.cookies.set(Cookie::Session, &id));
    Ok(response)
}

/// The departure of this browser that the answer is for.
fn attempt(shared: &Shared, headers: &HeaderMap, query: &Arriving) -> Result<Attempt, Problem> {
    let sealed = shared.cookies.read(Cookie::Login, headers).ok_or_else(Problem::stale_login)?;
    let text = shared.seal.open(PURPOSE, sealed).ok_or_else(Problem::stale_login)?;
    let attempt: Attempt = serde_json::from_str(&text).map_err(|_| Problem::stale_login())?;
    let ends_at = Timestamp::from_micros(attempt.began_at_micros).after(ATTEMPT_LIFETIME);
    let is_ours = seal::same(query.state.as_deref().unwrap_or_default(), &attempt.state)
        && query.iss.as_deref().is_none_or(|issuer| issuer == shared.provider.issuer());
    if is_ours && !ends_at.is_due(shared.service.wall()) { Ok(attempt) } else { Err(Problem::stale_login()) }
}

fn not_let_in(shared: &Shared, request_id: RequestId, refusal: &Refusal) -> Problem {
    tracing::info!(reason = refusal.reason(), "a login at the inbox was refused");
    shared.service.record_refusal(Refused {
        method: "inbox/login".into(),
        reason: refusal.reason().into(),
        field: None,
        caller: None,
        approval: None,
        request_id: request_id.0,
    });
    Problem::of(refusal)
}

/// Ends the session, or all sessions of the person.
pub async fn leave(State(shared): State<Arc<Shared>>, submitted: Submitted) -> Response {
    let visitor = &submitted.visitor;
    let mut response = Redirect::to("/signed-out").into_response();
    if submitted.one("everywhere").is_some() {
        // Here at once, whatever becomes of it elsewhere.
        shared.sessions.end_all(&visitor.caller);
        if let Err(refusal) = shared.service.end_own_sessions(&visitor.caller).await {
            response = visitor.refuse(&shared, "logout", None, &refusal).page(visitor);
        }
    } else {
        shared.sessions.end(&visitor.session_id);
    }
    set_cookie(&mut response, shared.cookies.clear(Cookie::Session));
    response
}

pub async fn signed_out() -> Response {
    SignedOut::page()
}

fn too_often(shared: &Shared) -> Response {
    let mut response = Problem::too_often().into_response();
    *response.status_mut() = StatusCode::TOO_MANY_REQUESTS;
    response.headers_mut().insert(header::RETRY_AFTER, HeaderValue::from(shared.throttle.retry_after()));
    response
}

fn set_cookie(response: &mut Response, cookie: Option<HeaderValue>) {
    // A value of ours that does not fit into a header: then there is no session.
    if let Some(cookie) = cookie {
        response.headers_mut().append(header::SET_COOKIE, cookie);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn after_a_login_one_is_on_a_page_of_ours() {
        let id = "apr_0123456789abcdef0123456789abcdef";
        for ours in
            ["/", "/?show=history&q=a%20b", &format!("/approvals/{id}"), &format!("/approvals/{id}?done=approved")]
        {
            assert_eq!(Destination::parse(ours).0, ours);
        }
        for other in [
            "//evil.example",
            "/\\evil.example",
            "https://evil.example/",
            "/approvals/../logout",
            "/approvals/apr_x",
            "/login?to=/",
            "/?q=\r\nset-cookie: a=b",
            "/?next=//evil.example",
            "javascript:alert(1)",
            "",
            "\u{0}/",
        ] {
            assert_eq!(Destination::parse(other).0, "/", "{other}");
        }
    }

    #[test]
    fn a_destination_survives_being_a_value_in_a_query() {
        assert_eq!(
            Destination::parse("/?q=a%20b&show=history").login(),
            "/login?to=%2F%3Fq%3Da%2520b%26show%3Dhistory"
        );
    }
}
