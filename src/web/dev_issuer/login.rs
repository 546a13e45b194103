//! The development issuer's login page: whoever is there says who they are. The way to it and back is the one of every issuer
//! (authorization code, PKCE, nonce), so that the inbox has no way of its own for development.

use std::collections::HashMap;
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use askama::Template;
use axum::extract::{Form, Query, State};
use axum::http::{StatusCode, header};
use axum::response::{IntoResponse, Redirect, Response};
use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use serde::Deserialize;
use serde_json::json;
use sha2::{Digest, Sha256};

use super::{DEMO, Desk, DevMinter, DevPrincipal, TokenForm, find, its_own_clock};
use crate::domain::time::Timestamp;
use crate::identity::settings::Kind;
use crate::web::login::encoded;
use crate::web::seal::secret_text;

/// The client that people log in for.
pub const LOGIN_CLIENT: &str = "inbox";
const CODE_LIFETIME: Duration = Duration::from_secs(60);
/// Codes that wait to be redeemed.
const CODES_MAX: usize = 1_000;
/// Nothing but its own style; it may send its form on to the inbox, which is another origin.
const CONTENT_SECURITY_POLICY: &str =
    "default-src 'none'; style-src 'unsafe-inline'; frame-ancestors 'none'; base-uri 'none'";

/// Who is about to log in, and where they are sent then.
pub struct Logins {
    callback: Option<String>,
    codes: Mutex<HashMap<String, Code>>,
}

struct Code {
    person: &'static DevPrincipal,
    asked: Asked,
    at: Timestamp,
}

/// A request for a login (OpenID Connect Core section 3.1.2.1).
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(default)]
pub struct Asked {
    client_id: String,
    redirect_uri: String,
    response_type: String,
    state: String,
    nonce: String,
    code_challenge: String,
    code_challenge_method: String,
    /// Who was chosen; absent while nobody is.
    person: Option<String>,
}

#[derive(Template)]
#[template(path = "dev_login.html")]
struct Page {
    people: Vec<&'static DevPrincipal>,
    asked: Asked,
}

impl Logins {
    pub fn new(callback: Option<String>) -> Self {
        Self { callback, codes: Mutex::default() }
    }

    /// INVARIANT: whoever logs in is sent to the inbox that was started along, and nowhere else.
    fn check(&self, asked: &Asked) -> Result<(), &'static str> {
        let is_ours = asked.client_id == LOGIN_CLIENT && Some(&asked.redirect_uri) == self.callback.as_ref();
        match () {
            () if !is_ours => Err("unknown client or redirect address"),
            () if asked.response_type != "code" => Err("unsupported response type"),
            () if asked.code_challenge_method != "S256" || asked.code_challenge.is_empty() => Err("PKCE is missing"),
            () => Ok(()),
        }
    }

    fn issue(&self, person: &'static DevPrincipal, asked: Asked, at: Timestamp) -> Option<String> {
        let code = secret_text().ok()?;
        // Whole after every statement.
        let mut codes = self.codes.lock().unwrap_or_else(PoisonError::into_inner);
        codes.retain(|_, code| !code.at.after(CODE_LIFETIME).is_due(at));
        if codes.len() >= CODES_MAX {
            return None;
        }
        codes.insert(code.clone(), Code { person, asked, at });
        Some(code)
    }

    /// The tokens that a code stands for: an access token and an ID token. A code is good once.
    pub(super) fn redeem(
        &self,
        minter: &DevMinter,
        form: &TokenForm,
        now: Timestamp,
    ) -> Result<(String, Option<String>), &'static str> {
        let code = form.code.as_deref().ok_or("invalid_request")?;
        let code = self.codes.lock().unwrap_or_else(PoisonError::into_inner).remove(code).ok_or("invalid_grant")?;
        let verifier = form.code_verifier.as_deref().unwrap_or_default();
        let is_proven = URL_SAFE_NO_PAD.encode(Sha256::digest(verifier.as_bytes())) == code.asked.code_challenge;
        let is_same = form.redirect_uri.as_deref() == Some(&code.asked.redirect_uri);
        if !is_proven || !is_same || code.at.after(CODE_LIFETIME).is_due(now) {
            return Err("invalid_grant");
        }
        Ok((minter.mint(code.person, now, &serde_json::Map::new()), Some(minter.id_token(&code, now))))
    }
}

impl DevMinter {
    fn id_token(&self, code: &Code, now: Timestamp) -> String {
        let mut claims = self.claims(code.person, now);
        claims.remove("client_id");
        claims.insert("aud".to_owned(), json!(code.asked.client_id));
        claims.insert("nonce".to_owned(), json!(code.asked.nonce));
        claims.insert("auth_time".to_owned(), json!(code.at.as_seconds()));
        claims.insert("amr".to_owned(), json!(["demo"]));
        self.sign_as("JWT", &serde_json::Value::Object(claims))
    }
}

/// The page on which one is chosen.
pub(super) async fn choose(State(desk): State<Desk>, Query(asked): Query<Asked>) -> Response {
    if let Err(problem) = desk.logins.check(&asked) {
        return refused(problem);
    }
    let people = DEMO_PEOPLE.iter().filter(|person| person.kind == Kind::User).collect();
    match (Page { people, asked }).render() {
        Ok(html) => answer(StatusCode::OK, "text/html; charset=utf-8", html),
        Err(_) => refused("the page could not be written"),
    }
}

/// The way back, as the one who was chosen.
pub(super) async fn chosen(State(desk): State<Desk>, Form(asked): Form<Asked>) -> Response {
    if let Err(problem) = desk.logins.check(&asked) {
        return refused(problem);
    }
    let person = asked.person.as_deref().and_then(find).filter(|person| person.kind == Kind::User);
    let Some(person) = person else { return refused("nobody of that name") };
    let (state, to) = (encoded(&asked.state), asked.redirect_uri.clone());
    match desk.logins.issue(person, asked, its_own_clock()) {
        Some(code) => Redirect::to(&format!("{to}?code={code}&state={state}")).into_response(),
        None => refused("too many logins at once"),
    }
}

const DEMO_PEOPLE: &[DevPrincipal] = &DEMO;

fn refused(problem: &'static str) -> Response {
    answer(StatusCode::BAD_REQUEST, "text/plain; charset=utf-8", format!("{problem}\n"))
}

fn answer(status: StatusCode, media_type: &'static str, body: String) -> Response {
    let headers = [
        (header::CONTENT_TYPE, media_type),
        (header::CACHE_CONTROL, "no-store"),
        (header::CONTENT_SECURITY_POLICY, CONTENT_SECURITY_POLICY),
        (header::X_FRAME_OPTIONS, "DENY"),
    ];
    (status, headers, body).into_response()
}
