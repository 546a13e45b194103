//! From checked claims to an [`Identity`]: whose id, of which kind, in which groups, on whose behalf. Only `sub`,
//! the rules and the groups decide; names and addresses are for people to read.

use std::collections::BTreeSet;
use std::sync::Arc;

use super::condition::{Condition, Pointer};
use super::json::{Json, Members};
use super::refusal::Reason;
use super::settings::{IssuerSettings, SettingsError};
use crate::domain::entity::EntityUid;
use crate::domain::identity::{Identity, PrincipalKind, Proof};

/// OIDC Core section 2 allows 255 ASCII characters; so do we, of any script.
const SUBJECT_CHARS_MAX: usize = 255;

/// Entra leaves groups out beyond 200; nobody else should send more.
const GROUPS_MAX: usize = 200;

/// How many actors a delegation may pass through, the current one included.
const ACTORS_MAX: usize = 4;

const DISPLAY_NAME_CHARS_MAX: usize = 200;

/// One issuer's rules, ready to be applied.
pub struct Mapping {
    issuer: Arc<str>,
    namespace: Option<String>,
    rules: Vec<Rule>,
    required: Vec<Condition>,
    groups: Pointer,
    group_type: Arc<str>,
    actor_type: Arc<str>,
}

struct Rule {
    kind: PrincipalKind,
    entity_type: Arc<str>,
    when: Vec<Condition>,
}

impl Mapping {
    pub fn new(settings: &IssuerSettings) -> Result<Self, SettingsError> {
        let rule = |rule: &super::settings::PrincipalRule| {
            let entity_type = checked_type(settings, &rule.entity_type)?;
            Ok(Rule { kind: rule.kind.into(), entity_type, when: settings.conditions(&rule.when)? })
        };
        let groups = Pointer::parse(&settings.groups_claim);
        Ok(Self {
            issuer: settings.issuer.as_str().into(),
            namespace: settings.namespace.clone(),
            rules: settings.principals.iter().map(rule).collect::<Result<_, SettingsError>>()?,
            required: settings.conditions(&settings.required_claims)?,
            groups: groups.ok_or_else(|| settings.problem("`groups_claim` must be a JSON Pointer"))?,
            group_type: checked_type(settings, &settings.group_entity_type)?,
            actor_type: checked_type(settings, &settings.actor_entity_type)?,
        })
    }

    /// The principal of a token: its subject, or the actor it names (RFC 8693 section 4.1), acting for the subject.
    ///
    /// INVARIANT: a token with `act` never yields a user as principal; an agent must not be able to review.
    pub fn identity(&self, claims: &Members, proof: Proof) -> Result<Identity, Reason> {
        if !self.required.iter().all(|condition| condition.holds(claims)) {
            return Err(Reason::MissingRequiredClaim);
        }
        let subject = self.subject(claims, proof)?;
        match claims.get("act") {
            None => Ok(subject),
            Some(act) => self.delegated(subject, act),
        }
    }

    fn subject(&self, claims: &Members, proof: Proof) -> Result<Identity, Reason> {
        let subject = claims.get("sub").and_then(checked_subject).ok_or(Reason::BadSub)?;
        let matching = self.rules.iter().find(|rule| rule.when.iter().all(|condition| condition.holds(claims)));
        let rule = matching.ok_or(Reason::UnknownPrincipal)?;
        Ok(Identity {
            uid: self.uid(&rule.entity_type, subject),
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

    fn delegated(&self, subject: Identity, act: &Json) -> Result<Identity, Reason> {
        let actors = self.actors(act)?;
        let (current, earlier) = actors.split_first().ok_or(Reason::BadAct)?;
        let as_agent = |on_behalf_of| Identity {
            uid: self.uid(&self.actor_type, current),
            kind: PrincipalKind::Agent,
            groups: Vec::new(),
            issuer: self.issuer.clone(),
            subject: (*current).into(),
            display_name: None,
            on_behalf_of,
            earlier_actors: earlier.iter().map(|actor| Arc::from(*actor)).collect(),
            proof: subject.proof.clone(),
        };
        match subject.kind {
            // Acting for oneself is no delegation; a user that does so is still not taken for a user at the keyboard.
            PrincipalKind::User if *current == &*subject.subject => Ok(as_agent(None)),
            PrincipalKind::Agent | PrincipalKind::Workload if *current == &*subject.subject => Ok(subject),
            PrincipalKind::User | PrincipalKind::Agent | PrincipalKind::Workload => {
                let on_behalf_of = Some(Box::new(subject.clone()));
                Ok(as_agent(on_behalf_of))
            }
        }
    }

    /// The actors' subjects, current one first. Only `sub` and `iss` of the current one count; what else the claim
    /// holds (`exp`, `aud`) says nothing about the token.
    fn actors<'a>(&self, act: &'a Json) -> Result<Vec<&'a str>, Reason> {
        let mut actors = Vec::new();
        let mut next = Some(act);
        while let Some(act) = next {
            let act = act.as_object().ok_or(Reason::BadAct)?;
            let is_ours = act.get("iss").is_none_or(|issuer| issuer.as_text() == Some(&*self.issuer));
            if actors.len() == ACTORS_MAX || (actors.is_empty() && !is_ours) {
                return Err(Reason::BadAct);
            }
            actors.push(act.get("sub").and_then(checked_subject).ok_or(Reason::BadAct)?);
            next = act.get("act");
        }
        Ok(actors)
    }

    fn groups(&self, claims: &Members) -> Result<Vec<EntityUid>, Reason> {
        // Entra says "too many to list" in two ways. Unknown is not empty: a forbid by group must not be evaded.
        let is_listed_elsewhere = claims.get("_claim_names").and_then(Json::as_object);
        if is_listed_elsewhere.is_some_and(|names| names.contains_key("groups"))
            || claims.get("hasgroups").is_some_and(|claim| *claim != Json::Bool(false))
        {
            return Err(Reason::GroupsOverage);
        }
        let names = match self.groups.find(claims) {
            None => Vec::new(),
            Some(Json::Text(name)) => vec![checked_text(name)],
            Some(Json::Array(names)) if names.len() <= GROUPS_MAX => names.iter().map(checked_subject).collect(),
            Some(_) => return Err(Reason::ClaimType),
        };
        let names: Option<BTreeSet<&str>> = names.into_iter().collect();
        Ok(names.ok_or(Reason::ClaimType)?.into_iter().map(|name| self.uid(&self.group_type, name)).collect())
    }

    /// `<namespace>/<id>`: a namespace has no `/`, so no two issuers meet in one id, whatever their subjects are.
    fn uid(&self, type_name: &Arc<str>, id: &str) -> EntityUid {
        let id = match &self.namespace {
            Some(namespace) => format!("{namespace}/{id}").into(),
            None => id.into(),
        };
        EntityUid { type_name: type_name.clone(), id }
    }
}

fn checked_type(settings: &IssuerSettings, name: &str) -> Result<Arc<str>, SettingsError> {
    let is_identifier = |part: &str| {
        part.starts_with(|first: char| first.is_ascii_alphabetic() || first == '_')
            && part.chars().all(|one| one.is_ascii_alphanumeric() || one == '_')
    };
    // The service's own types (approvals and the like) are not for tokens to claim.
    if name.split("::").all(is_identifier) && name.split("::").next() != Some("Countersign") {
        return Ok(name.into());
    }
    Err(settings.problem(&format!("`{name}` is not an entity type such as `User` or `Acme::User`")))
}

fn checked_subject(claim: &Json) -> Option<&str> {
    claim.as_text().and_then(checked_text)
}

fn checked_text(text: &str) -> Option<&str> {
    let chars = text.chars().take(SUBJECT_CHARS_MAX + 1).count();
    (1..=SUBJECT_CHARS_MAX).contains(&chars).then_some(text)
}

fn display_name(claims: &Members) -> Option<Arc<str>> {
    let name: String = claims.get("name")?.as_text()?.chars().take(DISPLAY_NAME_CHARS_MAX).collect();
    (!name.is_empty()).then(|| name.into())
}
