//! The entities of one question as they are gathered: few at first, and more once it is known which policies are asked.

use std::collections::HashSet;

use cedar_policy as cedar;

use super::cedar_core::{self, Closed};
use super::convert::each_entity;
use super::question::QueryError;
use super::snapshot::PolicySnapshot;
use crate::domain::{Entity, EntityUid, Identity};

/// Collects entities, each once; the server's copy first.
pub(super) struct Gathered<'a> {
    snapshot: &'a PolicySnapshot,
    pub out: Vec<Closed>,
    seen: HashSet<&'a EntityUid>,
    /// Entities that were named and may be known to the server.
    pub open: Vec<&'a EntityUid>,
}

impl<'a> Gathered<'a> {
    pub fn new(snapshot: &'a PolicySnapshot) -> Self {
        Self { snapshot, out: Vec::new(), seen: HashSet::new(), open: Vec::new() }
    }

    /// A proven principal: its groups from the token and the server, its attributes from the server, else the caller.
    pub fn identity(&mut self, identity: &'a Identity, supplied: &'a [Entity]) -> Result<(), QueryError> {
        if !self.seen.insert(&identity.uid) {
            return Ok(());
        }
        let types = self.snapshot.types();
        // A group of a type that the schema does not know matches no policy: leaving it out only narrows what permits
        // give, and no forbid can name it.
        let groups: Vec<_> = identity.groups.iter().filter_map(|group| types.uid(group).ok()).collect();
        self.open.extend(&identity.groups);
        let entity = match self.snapshot.facts.get(&identity.uid) {
            Some(fact) => {
                self.open.extend(&fact.references);
                fact.entity.clone()
            }
            None => Closed::new(&self.unknown_identity(identity, supplied)?),
        };
        self.out.push(entity.with_ancestors(groups, self.indirect(identity)));
        Ok(())
    }

    /// All that the identity is in, not only directly: nothing has to be worked out from the hierarchy again.
    fn indirect(&self, identity: &Identity) -> Vec<cedar::EntityUid> {
        let standing = self.snapshot.facts.standing(identity).into_iter();
        let indirect = standing.filter(|uid| **uid != identity.uid && !identity.groups.contains(uid));
        indirect.filter_map(|uid| self.snapshot.types().uid(uid).ok()).collect()
    }

    fn unknown_identity(
        &mut self,
        identity: &'a Identity,
        supplied: &'a [Entity],
    ) -> Result<cedar::Entity, QueryError> {
        let copy = supplied.iter().enumerate().find(|(_, entity)| entity.uid == identity.uid);
        if let Some((position, entity)) = copy {
            self.open_fields(entity);
            let described = self.snapshot.describe(&identity.uid, entity, Vec::new());
            return described.map_err(|fault| fault.of_entity(position));
        }
        let uid = self.snapshot.types().uid(&identity.uid);
        let uid = uid.map_err(|unknown| QueryError::new("principal", unknown.to_string()))?;
        Ok(cedar::Entity::new_no_attrs(uid, HashSet::new()))
    }

    pub fn supplied(&mut self, position: usize, entity: &'a Entity) -> Result<(), QueryError> {
        let is_known = self.snapshot.facts.get(&entity.uid).is_some();
        if is_known || !self.seen.insert(&entity.uid) {
            return Ok(());
        }
        self.open.extend(&entity.parents);
        self.open_fields(entity);
        self.out.push(Closed::new(&self.snapshot.convert(position, entity)?));
        Ok(())
    }

    fn open_fields(&mut self, entity: &'a Entity) {
        for value in entity.attributes.values().chain(entity.tags.values()) {
            each_entity(value, &mut |uid| self.open.push(uid));
        }
    }

    /// The action, as the schema declares it.
    pub fn action(&mut self, action: &EntityUid) {
        let declared = self.snapshot.schema.as_ref().and_then(|schema| schema.actions.get(action));
        self.out.extend(declared.and_then(|action| action.entity.clone()));
    }

    /// Follows what was named through the server's data; gives what was found since the last time.
    fn take(&mut self) -> Vec<Closed> {
        while let Some(uid) = self.open.pop() {
            let Some(fact) = self.snapshot.facts.get(uid).filter(|fact| !fact.is_bare) else { continue };
            if self.seen.insert(uid) {
                self.open.extend(&fact.references);
                self.out.push(fact.entity.clone());
            }
        }
        std::mem::take(&mut self.out)
    }
}

/// The entities of a question. What its principal, action and resource are in is complete; of the entities that policies
/// name, those that its policies look at are added once it is known which these are, or a query would pay for all policies.
pub(super) struct Known<'a> {
    gathered: Gathered<'a>,
    /// Those whose tokens add groups; `None` where what the caller supplied has to be closed over its ancestors.
    principals: Option<Vec<cedar::EntityUid>>,
    entities: cedar::Entities,
}

impl<'a> Known<'a> {
    /// `None` where Cedar refuses them.
    pub fn new(mut gathered: Gathered<'a>, principals: Option<Vec<cedar::EntityUid>>) -> Option<Self> {
        let found = gathered.take();
        let entities = match &principals {
            Some(principals) => cedar_core::store(found, principals),
            None => cedar_core::computed(found),
        };
        Some(Self { gathered, principals, entities: entities? })
    }

    pub fn entities(&self) -> &cedar::Entities {
        &self.entities
    }

    /// Adds what the server knows of these and of all that they lead to. `None` where Cedar refuses them.
    pub fn add(&mut self, named: impl IntoIterator<Item = &'a EntityUid>) -> Option<()> {
        self.gathered.open.extend(named);
        let found = self.gathered.take();
        if !found.is_empty() {
            self.entities = cedar_core::grown(&self.entities, found, self.principals.as_deref())?;
        }
        Some(())
    }
}
