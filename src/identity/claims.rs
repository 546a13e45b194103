//! What a token with a good signature claims: that it is for us, now, from a client that we accept. Types are strict:
//! a time is an integer, an audience is text, and what is of another type is refused, never converted.

use std::sync::Arc;
use std::time::Duration;

use super::condition::Pointer;
use super::json::{Json, Members};
use super::refusal::Reason;
use super::template::id_of;
use crate::domain::identity::Credential;
use crate::domain::time::Timestamp;

/// How many methods of authentication (`amr`) are read.
const METHODS_MAX: usize = 20;

/// 9999-12-31T23:59:59Z: what lies beyond is a mistake in the unit.
const SECONDS_MAX: i64 = 253_402_300_799;

/// From when (inclusive) until when (exclusive) a token is accepted, the leeway included.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Validity {
    pub from: Timestamp,
    pub until: Timestamp,
}

impl Validity {
    pub fn contains(&self, now: Timestamp) -> bool {
        now >= self.from && !self.until.is_due(now)
    }
}

/// The rules of an issuer for times.
#[derive(Debug, Clone, Copy)]
pub struct TimeRules {
    pub leeway: Duration,
    pub max_age: Option<Duration>,
}

impl TimeRules {
    /// Checks `exp`, `nbf` and `iat` (RFC 7519 section 4.1).
    pub fn check(&self, claims: &Members, now: Timestamp) -> Result<Validity, Reason> {
        let expires = moment(claims, "exp")?.ok_or(Reason::MissingExp)?.after(self.leeway);
        let not_before = moment(claims, "nbf")?.unwrap_or_default().before(self.leeway);
        let issued = moment(claims, "iat")?;
        let too_old = match (issued, self.max_age) {
            (Some(issued), Some(max_age)) => issued.after(max_age).after(self.leeway),
            (None, Some(_)) => return Err(Reason::BadIat),
            (_, None) => Timestamp::MAX,
        };
        let issued = issued.unwrap_or_default().before(self.leeway);
        match () {
            () if expires.is_due(now) => Err(Reason::Expired),
            () if now < not_before => Err(Reason::NotYetValid),
            () if now < issued || too_old.is_due(now) => Err(Reason::BadIat),
            () => Ok(Validity { from: not_before.max(issued), until: expires.min(too_old) }),
        }
    }

    /// When the person last authenticated. A moment still to come would stay fresh for ever, so it is refused.
    pub fn authenticated_at(&self, claims: &Members, now: Timestamp) -> Result<Option<Timestamp>, Reason> {
        match moment(claims, "auth_time")? {
            Some(at) if at.before(self.leeway) > now => Err(Reason::ClaimType),
            at => Ok(at),
        }
    }
}

/// Checks that one of our names is in `aud`.
pub fn check_audience(claims: &Members, ours: &[String]) -> Result<(), Reason> {
    let is_ours = |name: &str| ours.iter().any(|our| our == name);
    let is_for_us = match claims.get("aud") {
        Some(Json::Text(name)) => is_ours(name),
        Some(Json::Array(names)) => {
            let names: Option<Vec<&str>> = names.iter().map(Json::as_text).collect();
            names.ok_or(Reason::Malformed)?.into_iter().any(is_ours)
        }
        None => false,
        Some(_) => return Err(Reason::Malformed),
    };
    if is_for_us { Ok(()) } else { Err(Reason::WrongAudience) }
}

/// Refuses a token that is good only together with a key (RFC 7800, 8705, 9449): taken as a bearer token, it would be good
/// for a thief as well.
pub fn refuse_bound(claims: &Members) -> Result<(), Reason> {
    if claims.contains_key("cnf") { Err(Reason::InvalidDpopProof) } else { Ok(()) }
}

/// Where a token says which client it was issued to.
pub struct Clients(Vec<Pointer>);

impl Clients {
    /// Reads the configured places; the error says which is none.
    pub fn read(pointers: &[String]) -> Result<Self, String> {
        let pointer = |text: &String| Pointer::parse(text).ok_or_else(|| format!("`{text}` is not a JSON Pointer"));
        pointers.iter().map(pointer).collect::<Result<_, _>>().map(Self)
    }

    /// The first that is there. One that is no text is none that could be compared.
    pub fn of<'a>(&self, claims: &'a Members) -> Result<Option<&'a str>, Reason> {
        match self.0.iter().find_map(|pointer| pointer.find(claims)) {
            None => Ok(None),
            Some(client) => id_of(client).map(Some).ok_or(Reason::ClaimType),
        }
    }

    /// Checks the client, if only some are accepted.
    pub fn check(&self, claims: &Members, allowed: &[String]) -> Result<(), Reason> {
        let client = self.of(claims)?;
        let is_allowed = client.is_some_and(|client| allowed.iter().any(|one| one == client));
        if allowed.is_empty() || is_allowed { Ok(()) } else { Err(Reason::ClientNotAllowed) }
    }
}

/// What goes on record of a token: how the person authenticated decides reviews, the rest is for whoever asks later.
pub fn credential(claims: &Members, clients: &Clients) -> Result<Credential, Reason> {
    let text = |name: &str| match claims.get(name) {
        None => Ok(None),
        Some(claim) => id_of(claim).map(|text| Some(Arc::from(text))).ok_or(Reason::ClaimType),
    };
    let methods = match claims.get("amr") {
        None => Vec::new(),
        Some(Json::Array(methods)) if methods.len() <= METHODS_MAX => {
            methods.iter().map(|one| id_of(one).map(Arc::from)).collect::<Option<_>>().ok_or(Reason::ClaimType)?
        }
        Some(_) => return Err(Reason::ClaimType),
    };
    Ok(Credential {
        issuer_spelt: text("iss")?.unwrap_or_default(),
        token_id: text("jti")?,
        client: clients.of(claims)?.map(Arc::from),
        issued_at: moment(claims, "iat")?,
        acr: text("acr")?,
        amr: methods,
        ..Credential::default()
    })
}

/// A NumericDate. RFC 7519 allows fractions; we do not: two parsers could round them to two moments.
fn moment(claims: &Members, name: &str) -> Result<Option<Timestamp>, Reason> {
    match claims.get(name) {
        None => Ok(None),
        Some(Json::Integer(seconds)) if (0..=SECONDS_MAX).contains(seconds) => {
            Ok(Some(Timestamp::from_micros(seconds.saturating_mul(1_000_000))))
        }
        Some(_) => Err(Reason::ClaimType),
    }
}
