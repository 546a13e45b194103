//! Whom we trust, as the operator says it. These structs are the `[[identity.issuers]]` tables of the config file;
//! [`super::check`] refuses what would be unsafe before a single token is looked at.

use std::path::PathBuf;
use std::time::Duration;

use schemars::JsonSchema;
use serde::{Deserialize, Deserializer, Serialize, Serializer, de};

use super::condition::ClaimCondition;
use super::delegation::ActorSettings;
use super::duration_text;
use super::groups::GroupSource;
use super::preset::{self, Preset};
use super::profile::TokenProfile;
use crate::domain::identity::PrincipalKind;

/// One trusted issuer of tokens.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, remote = "Self")]
pub struct IssuerSettings {
    /// Short name for logs, health and records.
    pub name: String,
    /// The provider whose habits are the defaults.
    #[serde(default)]
    pub preset: Option<Preset>,
    /// Prefix of all ids from this issuer (`<namespace>/<id>`). One issuer may do without.
    #[serde(default)]
    pub namespace: Option<String>,
    /// The literal `iss` of its tokens; compared byte by byte.
    pub issuer: String,
    /// Other literals that name the same issuer. Equal subjects under any of them are one being.
    #[serde(default)]
    pub aliases: Vec<String>,
    /// Names of this service in `aud`; a token must name one. At least one.
    pub audiences: Vec<String>,
    /// What all its tokens look like.
    #[serde(default)]
    pub profile: TokenProfile,
    #[serde(default = "default_algorithms")]
    pub algorithms: Vec<Algorithm>,
    /// Accepted `typ`, without `application/`, any case; an empty text: none. Empty: what the profile says.
    #[serde(default)]
    pub token_types: Vec<String>,
    /// JSON Pointers to the client that a token was issued to; the first that is there counts.
    #[serde(default = "default_client_claims")]
    pub client_claims: Vec<String>,
    /// Accepted clients; empty accepts any.
    #[serde(default)]
    pub allowed_clients: Vec<String>,
    /// The clients that people use; a token of any other is never a person's. `["*"]`: all of the issuer's.
    #[serde(default)]
    pub user_clients: Vec<String>,
    /// What every token must hold. Mandatory for issuers that anybody can get tokens from (GitHub Actions, ...).
    #[serde(default)]
    pub required_claims: Vec<ClaimCondition>,
    /// Where groups and roles are.
    #[serde(default = "default_groups")]
    pub groups: Vec<GroupSource>,
    /// Who is a user, an agent, a workload: the first rule that matches decides; none: refused.
    #[serde(default = "default_principals")]
    pub principals: Vec<PrincipalRule>,
    /// Who acts for another.
    #[serde(default)]
    pub actor: ActorSettings,
    /// How far the issuer's clock may be off. At most five minutes.
    #[serde(default = "default_leeway", with = "duration_text")]
    #[schemars(with = "String")]
    pub leeway: Duration,
    /// How long after `iat` a token is refused, whatever its `exp`. `iat` is then mandatory.
    #[serde(default, with = "duration_text::optional")]
    #[schemars(with = "Option<String>")]
    pub max_age: Option<Duration>,
    /// Where its keys are.
    #[serde(default)]
    pub keys: KeyLocation,
    /// Certificates (PEM) of those who may vouch for the issuer's address, beside the public ones.
    #[serde(default)]
    pub ca_file: Option<PathBuf>,
    /// How often keys are fetched anew.
    #[serde(default = "default_refresh_interval", with = "duration_text")]
    #[schemars(with = "String")]
    pub refresh_interval: Duration,
    /// How long the last good keys serve while the issuer is out of reach.
    #[serde(default = "default_max_stale", with = "duration_text")]
    #[schemars(with = "String")]
    pub max_stale: Duration,
    /// Allows `http://` to a loopback address; for development only.
    #[serde(default)]
    pub allow_insecure_http_loopback: bool,
}

impl<'de> Deserialize<'de> for IssuerSettings {
    /// What is written, and what the preset says of the rest.
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let written = serde_json::Map::deserialize(deserializer)?;
        let complete = preset::complete(written).map_err(de::Error::custom)?;
        Self::deserialize(serde_json::Value::Object(complete)).map_err(de::Error::custom)
    }
}

impl Serialize for IssuerSettings {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        Self::serialize(self, serializer)
    }
}

/// Where an issuer's keys are found.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum KeyLocation {
    /// `<issuer>/.well-known/openid-configuration` says it.
    #[default]
    Discovery,
    JwksUrl(String),
    JwksFile(PathBuf),
}

/// A rule that says what sort of being a token's subject is.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct PrincipalRule {
    pub kind: Kind,
    /// Its Cedar type, such as `User`.
    pub entity_type: String,
    /// Its id in policies, made of claims: `{sub}`, `{tid}/{oid}`.
    #[serde(default = "default_id")]
    pub id: String,
    /// All must hold. A rule for users needs at least one: only users can review.
    #[serde(default)]
    pub when: Vec<ClaimCondition>,
}

/// [`PrincipalKind`] as the config file writes it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum Kind {
    User,
    Agent,
    Workload,
}

impl PrincipalRule {
    /// A rule under which the id is the subject.
    #[must_use]
    pub fn new(kind: Kind, entity_type: &str, when: Vec<ClaimCondition>) -> Self {
        Self { kind, entity_type: entity_type.to_owned(), id: default_id(), when }
    }
}

impl From<Kind> for PrincipalKind {
    fn from(kind: Kind) -> Self {
        match kind {
            Kind::User => Self::User,
            Kind::Agent => Self::Agent,
            Kind::Workload => Self::Workload,
        }
    }
}

/// Signature algorithms (RFC 7518, RFC 8037). Symmetric ones and `none` do not exist here.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub enum Algorithm {
    RS256,
    RS384,
    RS512,
    PS256,
    PS384,
    PS512,
    ES256,
    ES384,
    #[serde(alias = "Ed25519")]
    EdDSA,
}

impl Algorithm {
    /// Its name in `alg`.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::RS256 => "RS256",
            Self::RS384 => "RS384",
            Self::RS512 => "RS512",
            Self::PS256 => "PS256",
            Self::PS384 => "PS384",
            Self::PS512 => "PS512",
            Self::ES256 => "ES256",
            Self::ES384 => "ES384",
            Self::EdDSA => "EdDSA",
        }
    }

    /// By its exact name in `alg`.
    #[must_use]
    pub fn from_name(name: &str) -> Option<Self> {
        Some(match name {
            "RS256" => Self::RS256,
            "RS384" => Self::RS384,
            "RS512" => Self::RS512,
            "PS256" => Self::PS256,
            "PS384" => Self::PS384,
            "PS512" => Self::PS512,
            "ES256" => Self::ES256,
            "ES384" => Self::ES384,
            "EdDSA" | "Ed25519" => Self::EdDSA,
            _ => return None,
        })
    }
}

impl IssuerSettings {
    /// Settings with all defaults.
    #[must_use]
    pub fn new(name: &str, issuer: &str, audience: &str) -> Self {
        Self {
            name: name.to_owned(),
            preset: None,
            namespace: None,
            issuer: issuer.to_owned(),
            aliases: Vec::new(),
            audiences: vec![audience.to_owned()],
            profile: TokenProfile::default(),
            algorithms: default_algorithms(),
            token_types: Vec::new(),
            client_claims: default_client_claims(),
            allowed_clients: Vec::new(),
            user_clients: Vec::new(),
            required_claims: Vec::new(),
            groups: default_groups(),
            principals: default_principals(),
            actor: ActorSettings::default(),
            leeway: default_leeway(),
            max_age: None,
            keys: KeyLocation::Discovery,
            ca_file: None,
            refresh_interval: default_refresh_interval(),
            max_stale: default_max_stale(),
            allow_insecure_http_loopback: false,
        }
    }
}

/// By RFC 9068: a client that acts for itself is the subject of its own token. Client-credentials tokens of issuers
/// that name the subject otherwise (Auth0 `gty`, Keycloak `clientHost`, Entra `idtyp`) must not pass for humans.
fn default_principals() -> Vec<PrincipalRule> {
    let of = |claim: &str| ClaimCondition { claim: claim.to_owned(), ..ClaimCondition::default() };
    let absent = |claim: &str| ClaimCondition { present: Some(false), ..of(claim) };
    let same = |claim: &str| ClaimCondition { same_as: Some("/sub".to_owned()), ..of(claim) };
    let other = |claim: &str| ClaimCondition { differs_from: Some("/sub".to_owned()), ..of(claim) };
    let human = |mut when: Vec<ClaimCondition>| {
        when.extend(["/gty", "/clientHost", "/idtyp"].map(absent));
        PrincipalRule::new(Kind::User, "User", when)
    };
    let agent = |when| PrincipalRule::new(Kind::Agent, "Agent", when);
    vec![
        agent(vec![same("/client_id")]),
        agent(vec![absent("/client_id"), same("/azp")]),
        human(vec![other("/client_id")]),
        human(vec![absent("/client_id"), other("/azp")]),
    ]
}

fn default_algorithms() -> Vec<Algorithm> {
    vec![Algorithm::RS256, Algorithm::ES256, Algorithm::EdDSA]
}

fn default_client_claims() -> Vec<String> {
    vec!["/client_id".to_owned(), "/azp".to_owned()]
}

fn default_groups() -> Vec<GroupSource> {
    vec![GroupSource::at("/groups")]
}

fn default_id() -> String {
    "{sub}".to_owned()
}

fn default_leeway() -> Duration {
    Duration::from_secs(60)
}

fn default_refresh_interval() -> Duration {
    Duration::from_secs(5 * 60)
}

fn default_max_stale() -> Duration {
    Duration::from_secs(24 * 60 * 60)
}
