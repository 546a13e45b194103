//! The server's own entity data: what `entities.json` and its like say, and what was put beside them ([`super::put`]). It
//! wins over what a caller says of the same entity.

use std::collections::{HashMap, HashSet};
use std::ops::Range;
use std::sync::Arc;

use cedar_policy as cedar;

use super::cedar_core::Closed;
use super::convert::{domain_uid, each_entity_of};
use super::hierarchy;
use super::json_text::{self, JsonFault, in_json};
use super::problem::{Problem, with_causes};
use super::settings::Limits;
use super::source::SourceFile;
use crate::domain::{EntityUid, Identity};

/// How many faulty entities are told at once: each is parsed for itself.
const FAULTS_MAX: usize = 20;

/// What the server knows, closed over ancestors when it was loaded.
#[derive(Debug, Default)]
pub struct Facts {
    known: HashMap<EntityUid, Arc<Fact>>,
}

/// One entity as the server has it.
#[derive(Debug, Clone)]
pub struct Fact {
    /// With all its ancestors within the server's data.
    pub entity: Closed,
    pub parents: Vec<EntityUid>,
    /// The entities that its attributes and tags name.
    pub references: Vec<EntityUid>,
    /// Nothing is known of it but its name: Cedar answers the same without it.
    pub is_bare: bool,
}

impl Facts {
    /// Parses a file of Cedar's JSON; the schema, if any, is enforced.
    ///
    /// # Errors
    /// All that is wrong with it.
    pub fn parse(file: &SourceFile, schema: Option<&cedar::Schema>, limits: &Limits) -> Result<Self, Vec<Problem>> {
        let elements = json_text::elements(&file.text).map_err(|fault| vec![in_json(file, &fault)])?;
        hierarchy::of_entities(&file.text, &elements)
            .check(limits)
            .map_err(|message| vec![Problem::in_file(&file.path, message)])?;
        let entities = cedar::Entities::from_json_str(&file.text, schema);
        let entities = entities.map_err(|error| faulty(file, &elements, schema, &with_causes(&error)))?;
        Self::of(&entities, schema).map_err(|(uid, message)| vec![at_entity(file, &uid, message)])
    }

    fn of(entities: &cedar::Entities, schema: Option<&cedar::Schema>) -> Result<Self, (EntityUid, String)> {
        let mut facts = Self::default();
        for entity in entities.iter() {
            let uid = domain_uid(&entity.uid());
            // With a schema, actions come from it and not from here.
            if schema.is_some() && is_action_type(&uid.type_name) {
                continue;
            }
            if is_service_type(&uid.type_name) {
                let message = format!("`{uid}`: the service's own entities cannot be supplied");
                return Err((uid, message));
            }
            facts.known.insert(uid, Arc::new(Fact::of(entity)));
        }
        Ok(facts)
    }

    pub fn len(&self) -> usize {
        self.known.len()
    }

    /// How many entities that are wanted the server knows to be one of these, or in one of these.
    pub fn count_within(&self, groups: &[&EntityUid], is_wanted: impl Fn(&EntityUid) -> bool) -> usize {
        let wanted = self.known.keys().filter(|uid| is_wanted(uid));
        wanted.filter(|uid| self.above([*uid]).iter().any(|above| groups.contains(above))).count()
    }

    pub fn get(&self, uid: &EntityUid) -> Option<&Fact> {
        self.known.get(uid).map(|fact| &**fact)
    }

    pub fn uids(&self) -> impl Iterator<Item = &EntityUid> {
        self.known.keys()
    }

    /// These facts with what other files say, which is about other entities.
    ///
    /// # Errors
    /// An entity that would be its own ancestor.
    pub fn joined(&self, other: &Self) -> Result<Self, EntityUid> {
        let more = other.known.iter().map(|(uid, fact)| (uid.clone(), Fact::clone(fact)));
        self.changed(more.collect(), &[])
    }

    /// Whether the hierarchy stays within its limits with some put and some gone; asked before anything is closed over it.
    ///
    /// # Errors
    /// Says which limit it exceeds.
    pub fn check_size_with(
        &self,
        put: &[(EntityUid, Fact)],
        gone: &[EntityUid],
        limits: &Limits,
    ) -> Result<(), String> {
        let replaced: HashSet<_> = put.iter().map(|(uid, _)| uid).chain(gone).collect();
        let kept = self.known.iter().filter(|(uid, _)| !replaced.contains(uid)).map(|(uid, fact)| (uid, &**fact));
        let mut hierarchy = hierarchy::Hierarchy::default();
        for (uid, fact) in kept.chain(put.iter().map(|(uid, fact)| (uid, fact))) {
            hierarchy.add(uid.to_string(), fact.parents.iter().map(ToString::to_string));
        }
        hierarchy.check(limits)
    }

    /// These facts with some put in the place of what was known, and some gone. Only what that touches is closed over its
    /// ancestors again.
    ///
    /// # Errors
    /// An entity that would be its own ancestor.
    pub fn changed(&self, put: Vec<(EntityUid, Fact)>, gone: &[EntityUid]) -> Result<Self, EntityUid> {
        let before = gone.iter().chain(put.iter().map(|(uid, _)| uid)).filter_map(|uid| self.get(uid));
        let new = put.iter().map(|(_, fact)| fact);
        let touched: HashSet<_> = before.chain(new).map(|fact| fact.entity.uid()).collect();
        // Whoever comes to stand below a touched entity stood below another touched one before.
        let below = |fact: &Fact| fact.entity.ancestors().any(|uid| touched.contains(&uid));
        let mut open: Vec<_> = self.known.iter().filter(|(_, fact)| below(fact)).map(|(uid, _)| uid.clone()).collect();
        let mut known = self.known.clone();
        gone.iter().for_each(|uid| drop(known.remove(uid)));
        for (uid, fact) in put {
            open.push(uid.clone());
            known.insert(uid, Arc::new(fact));
        }
        // What was put first: it is what a cycle is told of.
        for uid in open.into_iter().rev() {
            let Some(fact) = known.get(&uid) else { continue };
            let closed = fact.closed(&known).ok_or_else(|| uid.clone())?;
            known.insert(uid, Arc::new(closed));
        }
        Ok(Self { known })
    }

    /// Whether an entity is one of these or in one of these, by this data alone.
    pub fn is_within(&self, uid: &EntityUid, groups: &[EntityUid]) -> bool {
        let mut found = HashSet::new();
        let mut open = vec![uid];
        while let Some(uid) = open.pop() {
            if groups.contains(uid) {
                return true;
            }
            if found.insert(uid) {
                open.extend(self.get(uid).into_iter().flat_map(|fact| &fact.parents));
            }
        }
        false
    }

    /// The entities from which an identity's rights derive: itself, its token's groups, and all that these are in.
    pub fn standing<'a>(&'a self, identity: &'a Identity) -> HashSet<&'a EntityUid> {
        self.above(std::iter::once(&identity.uid).chain(&identity.groups))
    }

    /// These entities and all that they are in.
    fn above<'a>(&'a self, entities: impl IntoIterator<Item = &'a EntityUid>) -> HashSet<&'a EntityUid> {
        let mut found = HashSet::new();
        let mut open: Vec<_> = entities.into_iter().collect();
        while let Some(uid) = open.pop() {
            if found.insert(uid) {
                open.extend(self.get(uid).into_iter().flat_map(|fact| &fact.parents));
            }
        }
        found
    }
}

/// A problem with an entity, where it stands in its file.
pub fn at_entity(file: &SourceFile, uid: &EntityUid, message: String) -> Problem {
    let is_it = |span: &Range<usize>| {
        let found = json_text::parse::<Named>(&file.text, span).ok();
        found.is_some_and(|found| found.uid.type_name == *uid.type_name && found.uid.id == *uid.id)
    };
    let elements = json_text::elements(&file.text).unwrap_or_default();
    match elements.into_iter().find(is_it) {
        Some(span) => in_json(file, &JsonFault { span: head(file, &span), message }),
        None => Problem::in_file(&file.path, message),
    }
}

/// An entity in Cedar's JSON, as far as it is looked for.
#[derive(serde::Deserialize)]
struct Named {
    uid: NamedUid,
}

#[derive(serde::Deserialize)]
struct NamedUid {
    #[serde(rename = "type")]
    type_name: String,
    id: String,
}

/// The first line of an element.
fn head(file: &SourceFile, span: &Range<usize>) -> Range<usize> {
    let own = file.text.get(span.clone()).unwrap_or_default();
    span.start..span.start + own.lines().next().unwrap_or_default().trim_end().len()
}

/// The elements that are wrong by themselves; where none is, what Cedar says of the whole.
fn faulty(file: &SourceFile, elements: &[Range<usize>], schema: Option<&cedar::Schema>, of_all: &str) -> Vec<Problem> {
    let own = |span: &Range<usize>| file.text.get(span.clone()).unwrap_or_default();
    let judge = |span: &Range<usize>| {
        let error = cedar::Entity::from_json_str(own(span), schema).err()?;
        Some(in_json(file, &JsonFault { span: head(file, span), message: with_causes(&error) }))
    };
    let found: Vec<_> = elements.iter().filter_map(judge).take(FAULTS_MAX).collect();
    if found.is_empty() { vec![Problem::in_file(&file.path, of_all)] } else { found }
}

impl Fact {
    pub fn of(entity: &cedar::Entity) -> Self {
        let parents: Vec<_> = entity.as_ref().parents().map(|uid| domain_uid(&uid.clone().into())).collect();
        let mut references = Vec::new();
        for value in entity.attrs().chain(entity.tags()).filter_map(|(_, value)| value.ok()) {
            each_entity_of(&value, &mut |uid| references.push(uid));
        }
        let is_bare = parents.is_empty() && entity.attrs().next().is_none() && entity.tags().next().is_none();
        Self { entity: Closed::new(entity), parents, references, is_bare }
    }

    /// The same with all the ancestors that `known` leads to; `None` if it is one of them itself.
    fn closed(&self, known: &HashMap<EntityUid, Arc<Self>>) -> Option<Self> {
        let own = self.entity.uid();
        let mut open: Vec<_> = self.entity.parents().collect();
        let (mut seen, mut indirect): (HashSet<_>, _) = (open.iter().cloned().collect(), Vec::new());
        while let Some(uid) = open.pop() {
            if uid == own {
                return None;
            }
            let Some(fact) = known.get(&domain_uid(&uid)) else { continue };
            for parent in fact.entity.parents().filter(|parent| seen.insert(parent.clone())) {
                open.push(parent.clone());
                indirect.push(parent);
            }
        }
        Some(Self { entity: self.entity.closed_by(indirect), ..self.clone() })
    }
}

/// Whether a type is one of the service's own.
pub fn is_service_type(type_name: &str) -> bool {
    type_name.starts_with("Countersign::")
}

/// Whether a type is one of actions.
pub fn is_action_type(type_name: &str) -> bool {
    type_name == "Action" || type_name.ends_with("::Action")
}
