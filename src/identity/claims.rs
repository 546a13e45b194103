//! What a token with a good signature claims: that it is for us, now, from a client that we accept. Types are strict:
//! a time is an integer, an audience is text, and what is of another type is refused, never converted.

use std::time::Duration;

use super::json::{Json, Members};
use super::refusal::Reason;
use crate::domain::time::Timestamp;

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

/// Checks the client the token was issued to, if only some are accepted.
pub fn check_client(claims: &Members, allowed: &[String]) -> Result<(), Reason> {
    if allowed.is_empty() {
        return Ok(());
    }
    let client = claims.get("client_id").or_else(|| claims.get("azp")).and_then(Json::as_text);
    match client {
        Some(client) if allowed.iter().any(|one| one == client) => Ok(()),
        Some(_) | None => Err(Reason::ClientNotAllowed),
    }
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
