//! What is asked: may this principal, acting for this person, do this action on this resource, in this context?

use super::entity::{Entity, EntityUid};
use super::value::{Attributes, fields_size};

/// One query, complete and canonical: all of it but `environment` is bound (see [`super::binding`]).
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Query {
    pub principal: EntityUid,
    /// The human or workload the principal acts for, if it does.
    pub on_behalf_of: Option<EntityUid>,
    pub action: EntityUid,
    pub resource: EntityUid,
    /// The parameters of the action. Bound.
    pub context: Attributes,
    /// Volatile facts (address, session): seen by Cedar as `context.environment`, not bound.
    pub environment: Attributes,
    /// Entities that the caller supplied. Bound.
    pub entities: Vec<Entity>,
}

impl Query {
    /// About how many bytes of memory it takes: for budgets, not for accounts.
    #[must_use]
    pub fn size(&self) -> usize {
        let entities = self.entities.iter().map(Entity::size);
        size_of::<Self>() + fields_size(&self.context) + fields_size(&self.environment) + entities.sum::<usize>()
    }
}
