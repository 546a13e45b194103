//! What settings are refused before a single token is looked at: those that are malformed, that would let everybody in, or
//! under which two beings could become one principal.

use std::collections::{HashMap, HashSet};
use std::time::Duration;

use super::condition::{ClaimCondition, Condition, Pointer, Scalar};
use super::delegation::{ActorSource, DEPTH_MAX};
use super::groups::{self, Groups};
use super::profile::{SPIFFE, TokenProfile};
use super::settings::{IssuerSettings, KeyLocation, Kind, PrincipalRule};
use super::template::IdTemplate;

/// The most that `leeway` may be.
pub const LEEWAY_MAX: Duration = Duration::from_secs(5 * 60);

/// In `user_clients`: every client of the issuer.
pub const ANY_CLIENT: &str = "*";

/// Issuers of which anybody can get a token, for any audience; the literal or the beginning of it, up to a `/`.
pub(super) const OPEN_TO_EVERYBODY: [&str; 9] = [
    "https://token.actions.githubusercontent.com",
    "https://accounts.google.com",
    "accounts.google.com",
    "https://gitlab.com",
    "https://appleid.apple.com",
    "https://app.terraform.io",
    "https://agent.buildkite.com",
    // Entra's tenant of all personal accounts, in both of its spellings.
    "https://login.microsoftonline.com/9188040d-6c67-4c5b-b112-36a304b66dad",
    "https://sts.windows.net/9188040d-6c67-4c5b-b112-36a304b66dad",
];

/// Entra's addresses for "any tenant". No token is *of* them: each names its own tenant.
const ANY_TENANT: [&str; 3] = ["/common/", "/organizations/", "/consumers/"];

/// Claims that are the same for everybody, or that everybody chooses.
const SAY_NOTHING: [&str; 8] = ["/iss", "/aud", "/exp", "/nbf", "/iat", "/jti", "/typ", "/ver"];

/// Why settings are refused.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum SettingsError {
    #[error("issuer `{name}`: {problem}")]
    Issuer { name: String, problem: String },
    #[error("two issuers have the {what} `{value}`")]
    Duplicate { what: &'static str, value: String },
    #[error("issuer `{name}` needs a `namespace`: one issuer may do without, and another does already")]
    NamespaceMissing { name: String },
}

impl IssuerSettings {
    /// Checks one issuer by itself.
    ///
    /// # Errors
    ///
    /// [`SettingsError::Issuer`] for the first thing that is missing, malformed or unsafe.
    pub fn check(&self) -> Result<(), SettingsError> {
        let refusals = [
            (
                self.name.is_empty() || self.literals().any(str::is_empty),
                "`name`, `issuer` and `aliases` must not be empty",
            ),
            (self.audiences.iter().all(String::is_empty), "`audiences` must name this service"),
            (self.audiences.iter().any(String::is_empty), "an audience must not be empty"),
            (self.algorithms.is_empty(), "`algorithms` must not be empty"),
            (self.principals.is_empty(), "`principals` must not be empty: nobody would be let in"),
            (self.leeway > LEEWAY_MAX, "`leeway` must be at most 5 minutes"),
            (self.refresh_interval < Duration::from_secs(1), "`refresh_interval` must be at least 1 second"),
            (self.max_stale < self.refresh_interval, "`max_stale` must not be shorter than `refresh_interval`"),
            (self.namespace.as_deref().is_some_and(is_bad_namespace), "`namespace` must not be empty or contain `/`"),
            (
                self.client_claims.is_empty() || self.client_claims.iter().any(|one| Pointer::parse(one).is_none()),
                "`client_claims` must be JSON Pointers such as `/client_id`",
            ),
            (
                self.literals().any(is_any_tenant),
                "no token is of any tenant: name the tenants that you trust, one as `issuer` \
              and the others as `aliases` (`https://login.microsoftonline.com/<tenant>/v2.0`)",
            ),
            (
                self.is_open_to_everybody() && !self.required_claims.iter().any(is_telling),
                "anybody can get a token from this issuer: `required_claims` must compare a claim that says whose it is",
            ),
            (
                self.principals.iter().any(|rule| rule.kind == Kind::User && rule.when.is_empty()),
                "a rule for users needs a condition: it would make every token a human's",
            ),
        ];
        if let Some((_, problem)) = refusals.iter().find(|(is_refused, _)| *is_refused) {
            return Err(self.problem(problem));
        }
        let parts = [self.check_principals(), self.check_actor(), self.check_groups(), self.check_trust_domain()];
        parts.into_iter().collect::<Result<(), String>>().map_err(|problem| self.problem(&problem))
    }

    fn check_principals(&self) -> Result<(), String> {
        let mut ids: HashMap<&str, IdTemplate> = HashMap::new();
        for rule in &self.principals {
            let id = IdTemplate::parse(&rule.id)?;
            if *ids.entry(&rule.entity_type).or_insert_with(|| id.clone()) != id {
                let entity_type = &rule.entity_type;
                return Err(format!("all rules for `{entity_type}` need one `id`: two patterns could give one id"));
            }
            if rule.kind == Kind::User && self.user_clients.is_empty() && !self.names_clients(rule) {
                return Err(
                    "`user_clients` must name the clients that people use: an agent that a person lent a login to \
                            is not that person (`[\"*\"]` trusts every client of the issuer)"
                        .to_owned(),
                );
            }
        }
        Ok(())
    }

    /// Whether a rule itself says through which clients people come.
    fn names_clients(&self, rule: &PrincipalRule) -> bool {
        let is_fixed = |one: &ClaimCondition| one.equals.is_some() || one.one_of.is_some() || one.claim == "/act";
        rule.when.iter().any(|one| is_fixed(one) && (one.claim == "/act" || self.client_claims.contains(&one.claim)))
    }

    fn check_actor(&self) -> Result<(), String> {
        let actor = &self.actor;
        let any_client = self.user_clients.iter().any(|client| client == ANY_CLIENT);
        let refusals = [
            (!(1..=DEPTH_MAX).contains(&actor.depth_max), "`actor.depth_max` must be from 1 to 8"),
            (
                actor.source == ActorSource::ClientId && (self.user_clients.is_empty() || any_client),
                "with `actor.source = \"client_id\"`, `user_clients` must say which clients are people's",
            ),
            (
                actor.source != ActorSource::Act && !actor.trusted_issuers.is_empty(),
                "`actor.trusted_issuers` is for actors named by `act`",
            ),
        ];
        if let Some((_, problem)) = refusals.iter().find(|(is_refused, _)| *is_refused) {
            return Err((*problem).to_owned());
        }
        match actor.source {
            ActorSource::Act | ActorSource::ClientId => self.check_actors_names(),
            ActorSource::None => Ok(()),
        }
    }

    /// An agent that acts for somebody must have the name that its own tokens give it: a forbid on the one would miss the
    /// other.
    fn check_actors_names(&self) -> Result<(), String> {
        let of_actors = self.actor.id.as_deref().map(IdTemplate::parse).transpose()?;
        for rule in self.principals.iter().filter(|rule| rule.entity_type == self.actor.entity_type) {
            let own = IdTemplate::parse(&rule.id)?;
            let is_same = match &of_actors {
                Some(of_actors) => *of_actors == own,
                None => own.is_bare(),
            };
            if !is_same {
                let (entity_type, id) = (&rule.entity_type, &rule.id);
                return Err(format!(
                    "one agent would have two names: rules for `{entity_type}` make the id `{id}`, and actors have \
                     another; set `actor.id` to the same, or `actor.source = \"none\"`"
                ));
            }
        }
        Ok(())
    }

    fn check_groups(&self) -> Result<(), String> {
        self.groups.iter().try_for_each(|source| Groups::read(source).map(|_| ()))?;
        groups::check_apart(&self.groups)
    }

    /// A trust domain stands among the literals exactly where tokens are of one.
    fn check_trust_domain(&self) -> Result<(), String> {
        let domains = self.literals().filter(|literal| literal.starts_with(SPIFFE));
        let is_named_well = |domain: &str| super::profile::trust_domain_of(domain) == Some(domain);
        let domains: Vec<&str> = domains.collect();
        match (self.profile, domains.as_slice()) {
            (TokenProfile::SpiffeJwt, [domain]) if is_named_well(domain) => {}
            (TokenProfile::SpiffeJwt, _) => {
                return Err(
                    "one of `issuer` and `aliases` must be the trust domain, such as `spiffe://company.example`"
                        .to_owned(),
                );
            }
            (_, []) => {}
            (_, _) => return Err("a trust domain (`spiffe://`) needs `profile = \"spiffe-jwt\"`".to_owned()),
        }
        if self.issuer.starts_with(SPIFFE) && self.keys == KeyLocation::Discovery {
            return Err("a trust domain has no discovery document: set `keys` to its bundle".to_owned());
        }
        Ok(())
    }

    /// Every `iss` that means this issuer.
    pub(super) fn literals(&self) -> impl Iterator<Item = &str> {
        std::iter::once(&self.issuer).chain(&self.aliases).map(String::as_str)
    }

    fn is_open_to_everybody(&self) -> bool {
        let of_any_tenant = match &self.keys {
            KeyLocation::JwksUrl(url) => is_any_tenant(url),
            KeyLocation::Discovery | KeyLocation::JwksFile(_) => false,
        };
        let is_open = |literal: &str| {
            OPEN_TO_EVERYBODY
                .iter()
                .any(|open| literal.strip_prefix(open).is_some_and(|rest| rest.is_empty() || rest.starts_with('/')))
        };
        of_any_tenant || self.literals().any(is_open)
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
/// One issuer may do without a namespace: its tokens are refused where an id would begin with another's (see `mapping`).
///
/// # Errors
///
/// The first [`SettingsError`] found.
pub fn check_all(issuers: &[IssuerSettings]) -> Result<(), SettingsError> {
    let (mut names, mut literals, mut namespaces) = (HashSet::new(), HashSet::new(), HashSet::new());
    let mut is_one_without = false;
    for issuer in issuers {
        issuer.check()?;
        let duplicate = |what, value: &str| Err(SettingsError::Duplicate { what, value: value.to_owned() });
        if !names.insert(issuer.name.as_str()) {
            return duplicate("name", &issuer.name);
        }
        if let Some(literal) = issuer.literals().find(|literal| !literals.insert(*literal)) {
            return duplicate("issuer", literal);
        }
        match issuer.namespace.as_deref() {
            Some(namespace) if !namespaces.insert(namespace) => return duplicate("namespace", namespace),
            None if is_one_without => return Err(SettingsError::NamespaceMissing { name: issuer.name.clone() }),
            None => is_one_without = true,
            Some(_) => {}
        }
    }
    let unknown = |issuer: &&IssuerSettings| {
        let mut trusted = issuer.actor.trusted_issuers.iter();
        trusted.any(|name| !names.contains(name.as_str()) || *name == issuer.name)
    };
    if let Some(issuer) = issuers.iter().find(unknown) {
        return Err(issuer.problem("`actor.trusted_issuers` must name other issuers that are configured here"));
    }
    // Whose agents others name, whatever stands in its own tokens.
    let is_named = |peer: &&IssuerSettings| issuers.iter().any(|one| one.actor.trusted_issuers.contains(&peer.name));
    let mut named = issuers.iter().filter(is_named);
    named.try_for_each(|peer| peer.check_actors_names().map_err(|problem| peer.problem(&problem)))
}

fn is_bad_namespace(namespace: &str) -> bool {
    namespace.is_empty() || namespace.contains('/')
}

fn is_any_tenant(url: &str) -> bool {
    let is_entra =
        ["https://login.microsoftonline.com/", "https://sts.windows.net/"].iter().any(|host| url.starts_with(host));
    is_entra && ANY_TENANT.iter().any(|tenant| format!("{url}/").contains(tenant))
}

/// Whether a condition tells somebody's tokens from everybody's: it compares with something that was written here. A
/// beginning must end where a name ends, or `repo:company` would let in `repo:company-evil`.
fn is_telling(condition: &ClaimCondition) -> bool {
    let is_text =
        |value: &Scalar| matches!(value, Scalar::Text(text) if !text.is_empty()) || !matches!(value, Scalar::Text(_));
    let is_compared = condition.equals.as_ref().is_some_and(is_text)
        || condition.contains.as_ref().is_some_and(is_text)
        || condition.one_of.as_ref().is_some_and(|values| !values.is_empty() && values.iter().all(is_text))
        || condition.starts_with.as_ref().is_some_and(|start| start.len() > 1 && start.ends_with(['/', ':', '@']));
    is_compared && !SAY_NOTHING.contains(&condition.claim.as_str())
}
