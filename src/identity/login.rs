//! A person's login at a web page: the ID token that an issuer gave the client which sent the person there (OpenID Connect
//! Core section 3.1.3.7). It is held against the rules that the issuer's access tokens are held against, so that a person is
//! the same principal however they came; only what an ID token says differently is read differently.
//!
//! Not here: how the token was got. Whoever sent the person away knows the `nonce` that must come back.

use std::sync::Arc;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::check::{ANY_CLIENT, SettingsError};
use super::compact::Compact;
use super::condition::ClaimCondition;
use super::delegation::{ActorSettings, ActorSource};
use super::groups::GroupSource;
use super::json::{self, Json, Members};
use super::preset::Preset;
use super::profile::TokenProfile;
use super::refusal::{Reason, Refusal};
use super::settings::{IssuerSettings, Kind, PrincipalRule};
use super::verifier::{VerifiedToken, Verifier};
use crate::domain::time::Timestamp;

/// At whose page people log in, as which client.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LoginSettings {
    /// The name of one of the issuers that are trusted.
    pub issuer: String,
    /// What its ID tokens are for (`aud`).
    pub client_id: String,
    pub id_token: IdTokenRules,
}

/// Where an issuer's ID tokens say things elsewhere than its access tokens do; what is left out is as it is there.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct IdTokenRules {
    /// The person's id in policies. It must come to the same text as in an access token, or one person becomes two.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub id: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub groups: Option<Vec<GroupSource>>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub required_claims: Option<Vec<ClaimCondition>>,
}

/// Verifies the ID tokens of one client.
pub struct LoginVerifier {
    verifier: Verifier,
    client_id: String,
}

impl Verifier {
    /// A verifier of logins at one of these issuers, with the keys that this one keeps fresh.
    ///
    /// # Errors
    ///
    /// [`SettingsError`] if there is no such issuer, or its ID tokens could not be read.
    pub fn for_login(&self, login: &LoginSettings) -> Result<LoginVerifier, SettingsError> {
        let verifier = self.with_rules(&login.issuer, |issuer| issuer.for_login(login))?;
        Ok(LoginVerifier { verifier, client_id: login.client_id.clone() })
    }
}

impl LoginVerifier {
    /// Verifies the ID token of the login that was begun with `nonce`.
    ///
    /// # Errors
    ///
    /// [`Refusal`], with a stable reason.
    pub async fn verify(&self, id_token: &str, nonce: &str, now: Timestamp) -> Result<Arc<VerifiedToken>, Refusal> {
        let verified = self.verifier.verify(id_token, now).await?;
        let claims = json::parse_object(&Compact::parse(id_token)?.payload).map_err(Reason::from)?;
        self.check_client(&claims)?;
        // INVARIANT: the token is of the login that this browser began (OpenID Connect Core section 15.5.2).
        match claims.get("nonce").and_then(Json::as_text) {
            Some(returned) if returned == nonce => Ok(verified),
            Some(_) | None => Err(Reason::WrongNonce.into()),
        }
    }

    /// A token for several audiences says which of them it was issued to (section 3.1.3.7, points 4 and 5).
    fn check_client(&self, claims: &Members) -> Result<(), Reason> {
        let is_for_many = matches!(claims.get("aud"), Some(Json::Array(names)) if names.len() > 1);
        match claims.get("azp") {
            None if is_for_many => Err(Reason::ClientNotAllowed),
            None => Ok(()),
            Some(azp) if azp.as_text() == Some(&self.client_id) => Ok(()),
            Some(_) => Err(Reason::ClientNotAllowed),
        }
    }
}

impl IssuerSettings {
    /// What this issuer's ID tokens for a login are held against.
    fn for_login(&self, login: &LoginSettings) -> Self {
        let rules = &login.id_token;
        let users = self.principals.iter().filter(|rule| rule.kind == Kind::User);
        Self {
            audiences: vec![login.client_id.clone()],
            profile: TokenProfile::Oidc,
            token_types: Vec::new(),
            client_claims: vec!["/azp".to_owned()],
            allowed_clients: Vec::new(),
            // There is one client, the audience, and it sent a person.
            user_clients: vec![ANY_CLIENT.to_owned()],
            required_claims: rules.required_claims.clone().unwrap_or_else(|| self.required_of_id_tokens()),
            groups: rules.groups.clone().unwrap_or_else(|| self.groups.clone()),
            principals: users.map(|rule| self.person(rule, rules.id.as_deref())).collect(),
            actor: ActorSettings { source: ActorSource::None, ..ActorSettings::default() },
            ..self.clone()
        }
    }

    /// The rule for people, without what it says of clients and of access tokens alone. That somebody logged in is what the
    /// nonce says: a token for a machine has none.
    fn person(&self, rule: &PrincipalRule, id: Option<&str>) -> PrincipalRule {
        let of_access_tokens: &[&str] = match self.preset {
            Some(Preset::Okta) => &["/uid"],
            Some(Preset::Entra) => &["/scp"],
            _ => &[],
        };
        let is_kept = |one: &&ClaimCondition| {
            !self.client_claims.contains(&one.claim)
                && !["/client_id", "/azp"].contains(&one.claim.as_str())
                && !of_access_tokens.contains(&one.claim.as_str())
        };
        let logged_in = ClaimCondition { claim: "/nonce".to_owned(), present: Some(true), ..ClaimCondition::default() };
        let usual = match self.preset {
            Some(Preset::Okta) if rule.id == "{uid}" => "{sub}",
            _ => &rule.id,
        };
        PrincipalRule {
            id: id.unwrap_or(usual).to_owned(),
            when: rule.when.iter().filter(is_kept).cloned().chain([logged_in]).collect(),
            ..rule.clone()
        }
    }

    fn required_of_id_tokens(&self) -> Vec<ClaimCondition> {
        let adapt = |one: &ClaimCondition| match self.preset {
            Some(Preset::Keycloak) if one.claim == "/typ" => {
                ClaimCondition { equals: Some("ID".into()), ..one.clone() }
            }
            _ => one.clone(),
        };
        self.required_claims.iter().map(adapt).collect()
    }
}
