//! The entities and types that scopes name, as numbers. What no scope names has none: of a query's ancestors, mostly few
//! are left.

use std::collections::HashMap;

use cedar_policy as cedar;

use super::super::cedar_core::{bare_type, bare_uid};

/// An entity's or a type's number.
pub type Number = u32;

#[derive(Debug, Default)]
pub struct Names {
    entities: HashMap<cedar::EntityUid, Number>,
    types: HashMap<cedar::EntityTypeName, Number>,
}

impl Names {
    /// The number of an entity, a new one where it has none.
    pub fn entity(&mut self, uid: &cedar::EntityUid) -> Number {
        let next = number(self.entities.len());
        match self.entities.get(uid) {
            Some(known) => *known,
            None => *self.entities.entry(bare_uid(uid)).or_insert(next),
        }
    }

    /// The same for a type.
    pub fn type_name(&mut self, name: &cedar::EntityTypeName) -> Number {
        let next = number(self.types.len());
        match self.types.get(name) {
            Some(known) => *known,
            None => *self.types.entry(bare_type(name)).or_insert(next),
        }
    }

    pub fn entities(&self) -> usize {
        self.entities.len()
    }

    pub fn types(&self) -> usize {
        self.types.len()
    }

    /// An entity of a query as scopes see it, by the entities that the query is evaluated with.
    pub fn place(&self, uid: &cedar::EntityUid, entities: &cedar::Entities) -> Place {
        let itself = self.entities.get(uid).copied();
        let ancestors = entities.ancestors(uid).into_iter().flatten();
        let mut within: Vec<_> = ancestors.filter_map(|ancestor| self.entities.get(ancestor).copied()).collect();
        within.extend(itself);
        within.sort_unstable();
        within.dedup();
        Place { itself, within, type_name: self.types.get(uid.type_name()).copied() }
    }
}

/// Where an entity of a query stands, in the numbers of what scopes name.
#[derive(Debug)]
pub struct Place {
    pub itself: Option<Number>,
    /// What it is `in`, itself included; sorted.
    pub within: Vec<Number>,
    pub type_name: Option<Number>,
}

/// Lists shorter than 2^32 are all that memory holds: text is bounded to far less ([`super::super::Limits`]).
pub fn number(index: usize) -> Number {
    Number::try_from(index).unwrap_or(Number::MAX)
}
