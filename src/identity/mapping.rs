//! From checked claims to an [`Identity`]: whose id, of which kind, in which groups, on whose behalf. Only the rules, the
//! claims that ids are made of and the groups decide; names and addresses are for people to read.

use std::borrow::Cow;
use std::collections::HashMap;
use std::sync::Arc;

use super::check::{ANY_CLIENT, SettingsError};
use super::claims::Clients;
use super::condition::Condition;
use super::delegation::{self, Actor, ActorSettings, ActorSource};
use super::groups::Groups;
use super::json::Members;
use super::refusal::Reason;
use super::settings::IssuerSettings;
use super::template::{IdTemplate, id_of};
use crate::domain::entity::EntityUid;
use crate::domain::identity::{Identity, PrincipalKind, Proof};

const DISPLAY_NAME_CHARS_MAX: usize = 200;

/// One issuer's rules, ready to be applied.
pub struct Mapping {
    issuer: Arc<str>,
    names: Names,
    rules: Vec<Rule>,
    required: Vec<Condition>,
    groups: Vec<(Arc<str>, Groups)>,
    clients: Clients,
    user_clients: Vec<String>,
    actor: ActorSettings,
    actor_type: Arc<str>,
    actor_id: Option<IdTemplate>,
    /// Issuers whose actors this one may name, by every literal that means them.
    trusted: HashMap<String, Arc<Peer>>,
}

struct Rule {
    kind: PrincipalKind,
    entity_type: Arc<str>,
    id: IdTemplate,
    when: Vec<Condition>,
}

/// How an issuer's ids begin, so that no two issuers meet in one id, whatever their subjects are.
#[derive(Clone)]
struct Names {
    namespace: Option<String>,
    /// Beginnings that are other issuers'; only an issuer without a namespace could meet them.
    foreign: Vec<String>,
}

/// Another issuer, as far as its agents are named.
struct Peer {
    issuer: Arc<str>,
    names: Names,
    actor_type: Arc<str>,
    actor_id: Option<IdTemplate>,
}

impl Mapping {
    /// The rules of one issuer among `all`.
    pub fn new(settings: &IssuerSettings, all: &[IssuerSettings]) -> Result<Self, SettingsError> {
        let problem = |problem: String| settings.problem(&problem);
        let rule = |rule: &super::settings::PrincipalRule| {
            let entity_type = checked_type(settings, &rule.entity_type)?;
            let id = IdTemplate::parse(&rule.id).map_err(problem)?;
            Ok(Rule { kind: rule.kind.into(), entity_type, id, when: settings.conditions(&rule.when)? })
        };
        let groups = settings
            .groups
            .iter()
            .map(|source| Ok((checked_type(settings, &source.entity_type)?, Groups::read(source).map_err(problem)?)));
        let mut trusted = HashMap::new();
        for peer in all.iter().filter(|peer| settings.actor.trusted_issuers.contains(&peer.name)) {
            let actor_type = checked_type(peer, &peer.actor.entity_type)?;
            let (issuer, names) = (peer.issuer.as_str().into(), Names::of(peer, all));
            let known = Arc::new(Peer { issuer, names, actor_type, actor_id: actor_id(peer)? });
            trusted.extend(peer.literals().map(|literal| (literal.to_owned(), known.clone())));
        }
        Ok(Self {
            issuer: settings.issuer.as_str().into(),
            names: Names::of(settings, all),
            rules: settings.principals.iter().map(rule).collect::<Result<_, SettingsError>>()?,
            required: settings.conditions(&settings.required_claims)?,
            groups: groups.collect::<Result<_, SettingsError>>()?,
            clients: Clients::read(&settings.client_claims).map_err(problem)?,
            user_clients: settings.user_clients.clone(),
            actor: settings.actor.clone(),
            actor_type: checked_type(settings, &settings.actor.entity_type)?,
            actor_id: actor_id(settings)?,
            trusted,
        })
    }

    /// The principal of a token: its subject, or the actor it names, acting for the subject.
    ///
    /// INVARIANT: a token with `act` never yields a user as principal; an agent must not be able to review.
    pub fn identity(&self, claims: &Members, proof: Proof) -> Result<Identity, Reason> {
        if !self.required.iter().all(|condition| condition.holds(claims)) {
            return Err(Reason::MissingRequiredClaim);
        }
        let subject = self.subject(claims, proof)?;
        match (claims.get("act"), self.actor.source) {
            (None, ActorSource::ClientId) => self.held_by_client(claims, subject),
            (None, ActorSource::Act | ActorSource::None) => Ok(subject),
            (Some(act), ActorSource::Act) => {
                let (current, earlier) = delegation::chain(act, self.actor.depth_max)?;
                self.delegated(subject, current, &earlier)
            }
            (Some(_), ActorSource::ClientId | ActorSource::None) => Err(Reason::BadAct),
        }
    }

    fn subject(&self, claims: &Members, proof: Proof) -> Result<Identity, Reason> {
        let subject = claims.get("sub").and_then(id_of).ok_or(Reason::BadSub)?;
        let may_be_user = self.may_be_user(claims)?;
        let matching = self.rules.iter().find(|rule| {
            (rule.kind != PrincipalKind::User || may_be_user) && rule.when.iter().all(|one| one.holds(claims))
        });
        let rule = matching.ok_or(Reason::UnknownPrincipal)?;
        Ok(Identity {
            uid: self.names.uid(&rule.entity_type, &rule.id.render(claims)?)?,
            kind: rule.kind,
            groups: self.groups(claims)?,
            issuer: self.issuer.clone(),
            subject: subject.into(),
            display_name: display_name(claims),
            on_behalf_of: None,
            earlier_actors: Vec::new(),
            proof,
        })
    }

    /// Whether a token can be a person's at all: it comes through a client that people use, or it says by itself that
    /// somebody else holds it, who then is the principal.
    fn may_be_user(&self, claims: &Members) -> Result<bool, Reason> {
        let is_held_by_actor = claims.contains_key("act") || self.actor.source == ActorSource::ClientId;
        Ok(self.user_clients.is_empty() || is_held_by_actor || self.is_user_client(self.clients.of(claims)?))
    }

    fn is_user_client(&self, client: Option<&str>) -> bool {
        self.user_clients.iter().any(|one| one == ANY_CLIENT || client == Some(one))
    }

    /// A person's token in the hands of a client that is not people's.
    fn held_by_client(&self, claims: &Members, subject: Identity) -> Result<Identity, Reason> {
        let client = self.clients.of(claims)?;
        match (subject.kind, client) {
            (PrincipalKind::Agent | PrincipalKind::Workload, _) => Ok(subject),
            (PrincipalKind::User, client) if self.is_user_client(client) => Ok(subject),
            (PrincipalKind::User, Some(client)) => {
                self.delegated(subject, Actor { subject: client, issuer: None, claims }, &[])
            }
            (PrincipalKind::User, None) => Err(Reason::UnknownPrincipal),
        }
    }

    fn delegated(&self, subject: Identity, current: Actor<'_>, earlier: &[Actor<'_>]) -> Result<Identity, Reason> {
        let (issuer, names, actor_type, template) = match current.issuer {
            Some(other) if other != &*self.issuer => {
                let peer = self.trusted.get(other).ok_or(Reason::BadAct)?;
                (&peer.issuer, &peer.names, &peer.actor_type, &peer.actor_id)
            }
            Some(_) | None => (&self.issuer, &self.names, &self.actor_type, &self.actor_id),
        };
        let id = match template {
            Some(template) => Cow::Owned(template.render(current.claims)?),
            None => Cow::Borrowed(current.subject),
        };
        let actor = Identity {
            uid: names.uid(actor_type, &id)?,
            kind: PrincipalKind::Agent,
            groups: Vec::new(),
            issuer: issuer.clone(),
            subject: current.subject.into(),
            display_name: None,
            on_behalf_of: None,
            earlier_actors: earlier.iter().map(|actor| actor.recorded().into()).collect(),
            proof: subject.proof.clone(),
        };
        let is_oneself = actor.subject == subject.subject && actor.issuer == subject.issuer;
        Ok(match subject.kind {
            // Acting for oneself is no delegation; a user that does so is still not taken for a user at the keyboard.
            PrincipalKind::User if is_oneself => actor,
            PrincipalKind::Agent | PrincipalKind::Workload if is_oneself => subject,
            PrincipalKind::User | PrincipalKind::Agent | PrincipalKind::Workload => {
                Identity { on_behalf_of: Some(Box::new(subject)), ..actor }
            }
        })
    }

    fn groups(&self, claims: &Members) -> Result<Vec<EntityUid>, Reason> {
        let mut all = Vec::new();
        for (entity_type, source) in &self.groups {
            for name in source.names(claims)? {
                all.push(self.names.uid(entity_type, &name)?);
            }
        }
        all.sort_unstable();
        Ok(all)
    }
}

impl Names {
    fn of(settings: &IssuerSettings, all: &[IssuerSettings]) -> Self {
        let namespace = settings.namespace.clone();
        let others = all.iter().filter_map(|other| other.namespace.as_ref());
        let foreign = if namespace.is_none() { others.map(|other| format!("{other}/")).collect() } else { Vec::new() };
        Self { namespace, foreign }
    }

    /// `<namespace>/<id>`, or the bare id where it cannot be taken for another issuer's: a namespace has no `/`.
    fn uid(&self, type_name: &Arc<str>, id: &str) -> Result<EntityUid, Reason> {
        let id = match &self.namespace {
            Some(namespace) => format!("{namespace}/{id}").into(),
            None if self.foreign.iter().any(|foreign| id.starts_with(foreign)) => return Err(Reason::ForeignNamespace),
            None => id.into(),
        };
        Ok(EntityUid { type_name: type_name.clone(), id })
    }
}

fn checked_type(settings: &IssuerSettings, name: &str) -> Result<Arc<str>, SettingsError> {
    if is_entity_type(name) {
        return Ok(name.into());
    }
    Err(settings.problem(&format!("`{name}` is not an entity type such as `User` or `Acme::User`")))
}

/// Whether principals can be of this Cedar type. The service's own types (approvals and the like) are nobody's to claim.
pub(super) fn is_entity_type(name: &str) -> bool {
    let is_identifier = |part: &str| {
        part.starts_with(|first: char| first.is_ascii_alphabetic() || first == '_')
            && part.chars().all(|one| one.is_ascii_alphanumeric() || one == '_')
    };
    name.split("::").all(is_identifier) && name.split("::").next() != Some("Countersign")
}

fn actor_id(settings: &IssuerSettings) -> Result<Option<IdTemplate>, SettingsError> {
    let id = settings.actor.id.as_deref().map(IdTemplate::parse).transpose();
    id.map_err(|problem| settings.problem(&problem))
}

fn display_name(claims: &Members) -> Option<Arc<str>> {
    let name: String = claims.get("name")?.as_text()?.chars().take(DISPLAY_NAME_CHARS_MAX).collect();
    (!name.is_empty()).then(|| name.into())
}
