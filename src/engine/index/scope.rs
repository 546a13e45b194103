//! A policy's scope in numbers, and whether a query is in it. Says what Cedar's evaluator says of the same scope: a scope
//! cannot error, so nothing but true and false can come out.

use cedar_policy as cedar;

use super::names::{Names, Number, Place};

#[derive(Debug)]
pub struct Scope {
    pub principal: Constraint,
    pub resource: Constraint,
    pub action: Actions,
}

/// What a scope asks of a principal or resource.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Constraint {
    Any,
    Is(Number),
    In(Number),
    IsIn(Number, Number),
    Eq(Number),
}

/// What a scope asks of the action.
#[derive(Debug)]
pub enum Actions {
    Any,
    Eq(Number),
    /// Any of these, or in any of these.
    In(Box<[Number]>),
}

/// The principal, action and resource of a query.
#[derive(Debug)]
pub struct Asked {
    pub principal: Place,
    pub action: Place,
    pub resource: Place,
}

impl Scope {
    pub fn of(policy: &cedar::Policy, names: &mut Names) -> Self {
        use cedar::{PrincipalConstraint as P, ResourceConstraint as R};
        let principal = match policy.principal_constraint() {
            P::Any => Constraint::Any,
            P::Is(name) => Constraint::Is(names.type_name(&name)),
            P::In(uid) => Constraint::In(names.entity(&uid)),
            P::IsIn(name, uid) => Constraint::IsIn(names.type_name(&name), names.entity(&uid)),
            P::Eq(uid) => Constraint::Eq(names.entity(&uid)),
        };
        let resource = match policy.resource_constraint() {
            R::Any => Constraint::Any,
            R::Is(name) => Constraint::Is(names.type_name(&name)),
            R::In(uid) => Constraint::In(names.entity(&uid)),
            R::IsIn(name, uid) => Constraint::IsIn(names.type_name(&name), names.entity(&uid)),
            R::Eq(uid) => Constraint::Eq(names.entity(&uid)),
        };
        let action = match policy.action_constraint() {
            cedar::ActionConstraint::Any => Actions::Any,
            cedar::ActionConstraint::Eq(uid) => Actions::Eq(names.entity(&uid)),
            cedar::ActionConstraint::In(uids) => Actions::In(uids.iter().map(|uid| names.entity(uid)).collect()),
        };
        Self { principal, resource, action }
    }

    pub fn holds(&self, asked: &Asked) -> bool {
        self.action.hold(&asked.action)
            && self.principal.holds(&asked.principal)
            && self.resource.holds(&asked.resource)
    }
}

impl Constraint {
    pub fn holds(self, place: &Place) -> bool {
        match self {
            Self::Any => true,
            Self::Is(name) => place.is_of(name),
            Self::In(entity) => place.is_in(entity),
            Self::IsIn(name, entity) => place.is_of(name) && place.is_in(entity),
            Self::Eq(entity) => place.itself == Some(entity),
        }
    }
}

impl Actions {
    pub fn hold(&self, place: &Place) -> bool {
        match self {
            Self::Any => true,
            Self::Eq(action) => place.itself == Some(*action),
            Self::In(any_of) => any_of.iter().any(|action| place.is_in(*action)),
        }
    }
}

impl Place {
    fn is_of(&self, type_name: Number) -> bool {
        self.type_name == Some(type_name)
    }

    fn is_in(&self, entity: Number) -> bool {
        self.within.binary_search(&entity).is_ok()
    }
}
