//! Who acts, where it is not the token's subject: the `act` claim (RFC 8693 section 4.1), or the client that a person's
//! token was issued to. The current actor is the principal; earlier ones are on record and decide nothing.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::json::{Json, Members};
use super::refusal::Reason;
use super::template::id_of;

/// The deepest chain that can be configured: what is on record can be read back.
pub const DEPTH_MAX: usize = 8;

/// How an issuer's tokens say that somebody acts for another.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct ActorSettings {
    pub source: ActorSource,
    /// The Cedar type of actors; an actor is always an agent.
    pub entity_type: String,
    /// What an actor's id is made of, as the `id` of a rule: claims of `act`, or with `client_id` of the token. Not set: the
    /// subject of `act`, or the client.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub id: Option<String>,
    /// Names of other issuers configured here whose agents this issuer may name in `act`.
    pub trusted_issuers: Vec<String>,
    /// How many actors a delegation may pass through, the current one included.
    pub depth_max: usize,
}

/// Where the actor stands in a token.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum ActorSource {
    /// `act`.
    #[default]
    Act,
    /// A client that is not one of `user_clients` acts for the person whose token it holds.
    ClientId,
    /// Nobody acts for anybody: a token with `act` is refused.
    None,
}

impl Default for ActorSettings {
    fn default() -> Self {
        Self {
            source: ActorSource::default(),
            entity_type: "Agent".to_owned(),
            id: None,
            trusted_issuers: Vec::new(),
            depth_max: 4,
        }
    }
}

/// An actor as a token names it.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) struct Actor<'a> {
    pub subject: &'a str,
    /// Absent: the issuer of the token.
    pub issuer: Option<&'a str>,
    /// The claims that name it: those of `act`, or the token's.
    pub claims: &'a Members,
}

/// The actors of an `act` claim, current one first. What else it holds (`exp`, `aud`) says nothing about the token.
pub(super) fn chain(act: &Json, depth_max: usize) -> Result<(Actor<'_>, Vec<Actor<'_>>), Reason> {
    let mut next = act.as_object().ok_or(Reason::BadAct)?;
    let current = actor(next)?;
    let mut earlier = Vec::new();
    while let Some(act) = next.get("act") {
        next = act.as_object().ok_or(Reason::BadAct)?;
        if earlier.len() + 2 > depth_max {
            return Err(Reason::BadAct);
        }
        earlier.push(actor(next)?);
    }
    Ok((current, earlier))
}

fn actor(act: &Members) -> Result<Actor<'_>, Reason> {
    let issuer = match act.get("iss") {
        None => None,
        Some(Json::Text(issuer)) => Some(issuer.as_str()),
        Some(_) => return Err(Reason::BadAct),
    };
    Ok(Actor { subject: act.get("sub").and_then(id_of).ok_or(Reason::BadAct)?, issuer, claims: act })
}

impl Actor<'_> {
    /// As it goes on record.
    pub fn recorded(&self) -> String {
        match self.issuer {
            None => self.subject.to_owned(),
            Some(issuer) => format!("{issuer}#{}", self.subject),
        }
    }
}
