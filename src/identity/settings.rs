//! Whom we trust, as the operator says it. These structs are the `[[identity.issuers]]` tables of the config file;
//! [`IssuerSettings::check`] refuses what would be unsafe before a single token is looked at.

use std::collections::HashSet;
use std::path::PathBuf;
use std::time::Duration;

use serde::{Deserialize, Serialize};

use super::condition::{ClaimCondition, Condition, Pointer};
use super::duration_text;
use crate::domain::identity::PrincipalKind;

/// The most that `leeway` may be.
pub const LEEWAY_MAX: Duration = Duration::from_secs(5 * 60);

/// One trusted issuer of tokens.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct IssuerSettings {
    /// Short name for logs, health and records.
    pub name: String,
    /// Prefix of all ids from this issuer (`<namespace>/<sub>`). Mandatory as soon as there are two issuers.
    #[serde(default)]
    pub namespace: Option<String>,
    /// The literal `iss` of its tokens; compared byte by byte.
    pub issuer: String,
    /// Names of this service in `aud`; a token must name one. At least one.
    pub audiences: Vec<String>,
    #[serde(default = "default_algorithms")]
    pub algorithms: Vec<Algorithm>,
    /// Accepted `typ`, without `application/`, any case. Default: `at+jwt` (RFC 9068).
    #[serde(default = "default_token_types")]
    pub token_types: Vec<String>,
    /// Accepted `client_id` (or `azp`); empty accepts any.
    #[serde(default)]
    pub allowed_clients: Vec<String>,
    /// What every token must hold. Mandatory for issuers that anybody can get tokens from (GitHub Actions, ...).
    #[serde(default)]
    pub required_claims: Vec<ClaimCondition>,
    /// JSON Pointer to the groups: an array of texts or one text.
    #[serde(default = "default_groups_claim")]
    pub groups_claim: String,
    #[serde(default = "default_group_entity_type")]
    pub group_entity_type: String,
    /// Who is a user, an agent, a workload: the first rule that matches decides; none: refused.
    #[serde(default = "default_principals")]
    pub principals: Vec<PrincipalRule>,
    /// The entity type of actors (`act`); an actor is always an agent.
    #[serde(default = "default_actor_entity_type")]
    pub actor_entity_type: String,
    /// How far the issuer's clock may be off. At most five minutes.
    #[serde(default = "default_leeway", with = "duration_text")]
    pub leeway: Duration,
    /// How long after `iat` a token is refused, whatever its `exp`. `iat` is then mandatory.
    #[serde(default, with = "duration_text::optional")]
    pub max_age: Option<Duration>,
    /// Where its keys are.
    #[serde(default)]
    pub keys: KeyLocation,
    /// How often keys are fetched anew.
    #[serde(default = "default_refresh_interval", with = "duration_text")]
    pub refresh_interval: Duration,
    /// How long the last good keys serve while the issuer is out of reach.
    #[serde(default = "default_max_stale", with = "duration_text")]
    pub max_stale: Duration,
    /// Allows `http://` to a loopback address; for development only.
    #[serde(default)]
    pub allow_insecure_http_loopback: bool,
}

/// Where an issuer's keys are found.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum KeyLocation {
    /// `<issuer>/.well-known/openid-configuration` says it.
    #[default]
    Discovery,
    JwksUrl(String),
    JwksFile(PathBuf),
}

/// A rule that says what sort of being a token's subject is.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct PrincipalRule {
    pub kind: Kind,
    /// Its Cedar type, such as `User`.
    pub entity_type: String,
    /// All must hold. A rule for users needs at least one: only users can review.
    #[serde(default)]
    pub when: Vec<ClaimCondition>,
}

/// [`PrincipalKind`] as the config file writes it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Kind {
    User,
    Agent,
    Workload,
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
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
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

/// Why settings are refused.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum SettingsError {
    #[error("issuer `{name}`: {problem}")]
    Issuer { name: String, problem: String },
    #[error("two issuers have the {what} `{value}`")]
    Duplicate { what: &'static str, value: String },
    #[error("issuer `{name}` needs a `namespace`: with several issuers, equal subjects must not become one principal")]
    NamespaceMissing { name: String },
}

impl IssuerSettings {
    /// Settings with all defaults.
    #[must_use]
    pub fn new(name: &str, issuer: &str, audience: &str) -> Self {
        Self {
            name: name.to_owned(),
            namespace: None,
            issuer: issuer.to_owned(),
            audiences: vec![audience.to_owned()],
            algorithms: default_algorithms(),
            token_types: default_token_types(),
            allowed_clients: Vec::new(),
            required_claims: Vec::new(),
            groups_claim: default_groups_claim(),
            group_entity_type: default_group_entity_type(),
            principals: default_principals(),
            actor_entity_type: default_actor_entity_type(),
            leeway: default_leeway(),
            max_age: None,
            keys: KeyLocation::Discovery,
            refresh_interval: default_refresh_interval(),
            max_stale: default_max_stale(),
            allow_insecure_http_loopback: false,
        }
    }

    /// Checks one issuer by itself.
    ///
    /// # Errors
    ///
    /// [`SettingsError::Issuer`] for the first thing that is missing, malformed or unsafe.
    pub fn check(&self) -> Result<(), SettingsError> {
        let refusals = [
            (self.name.is_empty() || self.issuer.is_empty(), "`name` and `issuer` must not be empty"),
            (self.audiences.iter().all(String::is_empty), "`audiences` must name this service"),
            (self.audiences.iter().any(String::is_empty), "an audience must not be empty"),
            (self.algorithms.is_empty(), "`algorithms` must not be empty"),
            (self.token_types.is_empty(), "`token_types` must not be empty"),
            (self.principals.is_empty(), "`principals` must not be empty: nobody would be let in"),
            (self.leeway > LEEWAY_MAX, "`leeway` must be at most 5 minutes"),
            (self.refresh_interval < Duration::from_secs(1), "`refresh_interval` must be at least 1 second"),
            (self.max_stale < self.refresh_interval, "`max_stale` must not be shorter than `refresh_interval`"),
            (self.namespace.as_deref().is_some_and(is_bad_namespace), "`namespace` must not be empty or contain `/`"),
            (Pointer::parse(&self.groups_claim).is_none(), "`groups_claim` must be a JSON Pointer such as `/groups`"),
            (
                is_open_to_everybody(&self.issuer) && self.required_claims.is_empty(),
                "anybody can get a token from this issuer: `required_claims` must say whose tokens count",
            ),
        ];
        let unsafe_rule = |rule: &&PrincipalRule| rule.kind == Kind::User && rule.when.is_empty();
        match refusals.iter().find(|(is_refused, _)| *is_refused) {
            Some((_, problem)) => Err(self.problem(problem)),
            None if self.principals.iter().find(unsafe_rule).is_some() => {
                Err(self.problem("a rule for users needs a condition: it would make every token a human's"))
            }
            None => Ok(()),
        }
    }

    pub(super) fn conditions(&self, raw: &[ClaimCondition]) -> Result<Vec<Condition>, SettingsError> {
        raw.iter().map(|one| Condition::read(one).map_err(|problem| self.problem(&problem))).collect()
    }

    pub(super) fn problem(&self, problem: &str) -> SettingsError {
        SettingsError::Issuer { name: self.name.clone(), problem: problem.to_owned() }
    }
}

/// Checks all issuers together: no two may ever yield the same id.
///
/// # Errors
///
/// The first [`SettingsError`] found.
pub fn check_all(issuers: &[IssuerSettings]) -> Result<(), SettingsError> {
    let (mut names, mut literals, mut namespaces) = (HashSet::new(), HashSet::new(), HashSet::new());
    for issuer in issuers {
        issuer.check()?;
        let duplicate = |what, value: &str| Err(SettingsError::Duplicate { what, value: value.to_owned() });
        if !names.insert(issuer.name.as_str()) {
            return duplicate("name", &issuer.name);
        }
        if !literals.insert(issuer.issuer.as_str()) {
            return duplicate("issuer", &issuer.issuer);
        }
        match issuer.namespace.as_deref() {
            Some(namespace) if !namespaces.insert(namespace) => return duplicate("namespace", namespace),
            None if issuers.len() > 1 => return Err(SettingsError::NamespaceMissing { name: issuer.name.clone() }),
            Some(_) | None => {}
        }
    }
    Ok(())
}

fn is_bad_namespace(namespace: &str) -> bool {
    namespace.is_empty() || namespace.contains('/')
}

/// Issuers that serve the whole world under one `iss`.
fn is_open_to_everybody(issuer: &str) -> bool {
    ["https://token.actions.githubusercontent.com", "https://accounts.google.com", "https://gitlab.com"]
        .contains(&issuer)
        || (issuer.starts_with("https://login.microsoftonline.com/")
            && ["/common/", "/organizations/", "/consumers/"].iter().any(|tenant| issuer.contains(tenant)))
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
        PrincipalRule { kind: Kind::User, entity_type: "User".to_owned(), when }
    };
    let agent = |when| PrincipalRule { kind: Kind::Agent, entity_type: "Agent".to_owned(), when };
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

fn default_token_types() -> Vec<String> {
    vec!["at+jwt".to_owned()]
}

fn default_groups_claim() -> String {
    "/groups".to_owned()
}

fn default_group_entity_type() -> String {
    "Group".to_owned()
}

fn default_actor_entity_type() -> String {
    "Agent".to_owned()
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

#[cfg(test)]
mod tests {
    use super::*;

    fn issuer(name: &str, namespace: Option<&str>) -> IssuerSettings {
        let namespace = namespace.map(str::to_owned);
        IssuerSettings { namespace, ..IssuerSettings::new(name, &format!("https://{name}.example"), "countersign") }
    }

    #[test]
    fn the_least_that_must_be_written_has_safe_defaults() {
        let raw = r#"{"name":"a","issuer":"https://a.example","audiences":["countersign"]}"#;
        let read: IssuerSettings = serde_json::from_str(raw).unwrap();
        assert_eq!(read, IssuerSettings::new("a", "https://a.example", "countersign"));
        assert_eq!(read.check(), Ok(()));
    }

    #[test]
    fn durations_are_text_and_survive_a_round_trip() {
        let raw =
            r#"{"name":"a","issuer":"i","audiences":["c"],"leeway":"1m 30s","max_age":"2h","keys":{"jwks_url":"u"}}"#;
        let read: IssuerSettings = serde_json::from_str(raw).unwrap();
        assert_eq!((read.leeway.as_secs(), read.max_age), (90, Some(Duration::from_secs(2 * 60 * 60))));
        let again: IssuerSettings = serde_json::from_str(&serde_json::to_string(&read).unwrap()).unwrap();
        assert_eq!(again, read);
        let negative = r#"{"name":"a","issuer":"i","audiences":["c"],"leeway":"-1s"}"#;
        assert!(serde_json::from_str::<IssuerSettings>(negative).is_err());
    }

    #[test]
    fn unknown_settings_and_symmetric_algorithms_are_refused() {
        for extra in [r#""audience":"c""#, r#""algorithms":["HS256"]"#, r#""algorithms":["none"]"#] {
            let raw = format!(r#"{{"name":"a","issuer":"i","audiences":["c"],{extra}}}"#);
            assert!(serde_json::from_str::<IssuerSettings>(&raw).is_err(), "{extra}");
        }
    }

    #[test]
    fn unsafe_settings_are_refused() {
        let good = || issuer("a", None);
        let github = IssuerSettings { issuer: "https://token.actions.githubusercontent.com".to_owned(), ..good() };
        let everybody_human = PrincipalRule { kind: Kind::User, entity_type: "User".to_owned(), when: Vec::new() };
        for bad in [
            IssuerSettings { audiences: Vec::new(), ..good() },
            IssuerSettings { audiences: vec![String::new()], ..good() },
            IssuerSettings { leeway: Duration::from_secs(301), ..good() },
            IssuerSettings { namespace: Some("a/b".to_owned()), ..good() },
            IssuerSettings { principals: vec![everybody_human], ..good() },
            IssuerSettings { groups_claim: "groups".to_owned(), ..good() },
            github,
        ] {
            assert!(bad.check().is_err(), "{bad:?}");
        }
    }

    #[test]
    fn two_issuers_can_never_yield_the_same_id() {
        assert_eq!(check_all(&[issuer("a", None)]), Ok(()));
        assert_eq!(check_all(&[issuer("a", Some("x")), issuer("b", Some("y"))]), Ok(()));
        assert!(check_all(&[issuer("a", None), issuer("b", Some("y"))]).is_err());
        assert!(check_all(&[issuer("a", Some("x")), issuer("b", Some("x"))]).is_err());
        assert!(check_all(&[issuer("a", Some("x")), issuer("a", Some("y"))]).is_err());
    }
}
