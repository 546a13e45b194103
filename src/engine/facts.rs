//! The server's own entity data: what `entities.json` says. It wins over what a caller says of the same entity.

use std::collections::{HashMap, HashSet};

use cedar_policy as cedar;

use super::cedar_core::Closed;
use super::convert::{domain_uid, each_entity_of};
use super::problem::with_causes;
use crate::domain::{EntityUid, Identity};

/// What the server knows, closed over ancestors when it was loaded.
#[derive(Debug, Default)]
pub struct Facts {
    known: HashMap<EntityUid, Fact>,
}

/// One entity as the server has it.
#[derive(Debug)]
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
    /// Parses Cedar's JSON; the schema, if any, is enforced.
    ///
    /// # Errors
    /// Says what is wrong, in one line.
    pub fn parse(json: &str, schema: Option<&cedar::Schema>) -> Result<Self, String> {
        let entities = cedar::Entities::from_json_str(json, schema).map_err(|error| with_causes(&error))?;
        let mut facts = Self::default();
        for entity in entities.iter() {
            let uid = domain_uid(&entity.uid());
            // With a schema, actions come from it and not from here.
            if schema.is_some() && is_action_type(&uid.type_name) {
                continue;
            }
            if is_service_type(&uid.type_name) {
                return Err(format!("`{uid}`: the service's own entities cannot be supplied"));
            }
            facts.known.insert(uid, Fact::of(entity));
        }
        Ok(facts)
    }

    pub fn len(&self) -> usize {
        self.known.len()
    }

    pub fn get(&self, uid: &EntityUid) -> Option<&Fact> {
        self.known.get(uid)
    }

    /// The entities from which an identity's rights derive: itself, its token's groups, and all that these are in.
    pub fn standing<'a>(&'a self, identity: &'a Identity) -> HashSet<&'a EntityUid> {
        let mut found = HashSet::new();
        let mut open: Vec<_> = std::iter::once(&identity.uid).chain(&identity.groups).collect();
        while let Some(uid) = open.pop() {
            if found.insert(uid) {
                open.extend(self.get(uid).into_iter().flat_map(|fact| &fact.parents));
            }
        }
        found
    }
}

impl Fact {
    fn of(entity: &cedar::Entity) -> Self {
        let parents: Vec<_> = entity.as_ref().parents().map(|uid| domain_uid(&uid.clone().into())).collect();
        let mut references = Vec::new();
        for value in entity.attrs().chain(entity.tags()).filter_map(|(_, value)| value.ok()) {
            each_entity_of(&value, &mut |uid| references.push(uid));
        }
        let is_bare = parents.is_empty() && entity.attrs().next().is_none() && entity.tags().next().is_none();
        Self { entity: Closed::new(entity), parents, references, is_bare }
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
