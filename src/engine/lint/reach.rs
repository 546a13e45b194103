//! What scopes can meet, by action and types: two policies whose scopes overlap here may still never meet, two that do not
//! never will. An entity that is `in` another is taken to be so wherever the schema lets it.

use std::collections::{HashMap, HashSet};

use cedar_policy as cedar;

use crate::domain::{EntityUid, GuardAction};
use crate::engine::convert::domain_uid;
use crate::engine::service_schema::{ACTION, APPROVAL};

/// Which entities a scope lets through, by their types.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
enum Who {
    Any,
    Type(cedar::EntityTypeName),
    /// Those in an entity of the type, and itself.
    Within(cedar::EntityTypeName),
    /// Those of a type in an entity of another.
    TypeWithin(cedar::EntityTypeName, cedar::EntityTypeName),
}

/// A scope, by its types.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
struct Scope {
    principal: Who,
    actions: Option<Vec<EntityUid>>,
    resource: Who,
}

/// An action and what it applies to.
struct Action<'s> {
    /// Itself and the groups that it is in.
    names: HashSet<EntityUid>,
    principals: Vec<&'s cedar::EntityTypeName>,
    resources: Vec<&'s cedar::EntityTypeName>,
}

/// What the permits allow.
pub struct Reach<'s> {
    actions: Vec<Action<'s>>,
    /// What entities of a type can be in, the type itself included.
    above: HashMap<&'s cedar::EntityTypeName, HashSet<&'s cedar::EntityTypeName>>,
    permitted: HashSet<(usize, &'s cedar::EntityTypeName, &'s cedar::EntityTypeName)>,
    /// The types that anybody must be of to be let review, and those whom a permit names.
    reviewing: HashSet<&'s cedar::EntityTypeName>,
    reviewing_by_name: HashSet<EntityUid>,
    /// The types that reviews can be asked of at all.
    people: HashSet<&'s cedar::EntityTypeName>,
}

impl<'s> Reach<'s> {
    pub fn of(schema: &'s cedar::Schema, permits: &[&cedar::Policy]) -> Self {
        let groups = schema.action_entities();
        let action = |uid: &'s cedar::EntityUid| {
            let above = groups.as_ref().ok().and_then(|groups| groups.ancestors(uid));
            Action {
                names: above.into_iter().flatten().chain([uid]).map(domain_uid).collect(),
                principals: schema.principals_for_action(uid).into_iter().flatten().collect(),
                resources: schema.resources_for_action(uid).into_iter().flatten().collect(),
            }
        };
        let above = |name: &'s cedar::EntityTypeName| {
            (name, schema.ancestors(name).into_iter().flatten().chain([name]).collect::<HashSet<_>>())
        };
        let review = EntityUid::new(ACTION, GuardAction::Review.name());
        let mut reach = Self {
            actions: schema.actions().map(action).collect(),
            above: schema.entity_types().map(above).collect(),
            permitted: HashSet::new(),
            reviewing: HashSet::new(),
            reviewing_by_name: HashSet::new(),
            people: HashSet::new(),
        };
        let of_review = |action: &&Action<'s>| action.names.contains(&review);
        reach.people = reach.actions.iter().filter(of_review).flat_map(|action| action.principals.clone()).collect();
        let mut seen = HashSet::new();
        for permit in permits {
            let scope = Scope::of(permit);
            if scope.reviews(&review)
                && let cedar::PrincipalConstraint::Eq(uid) = permit.principal_constraint()
            {
                let is_asked = reach.people.contains(uid.type_name());
                reach.reviewing_by_name.extend(is_asked.then(|| domain_uid(&uid)));
            }
            if seen.insert(scope.clone()) {
                reach.permit(&scope, permit, &review);
            }
        }
        reach
    }

    fn permit(&mut self, scope: &Scope, permit: &cedar::Policy, review: &EntityUid) {
        let found: Vec<_> = self.questions(scope).collect();
        let is_by_name = matches!(permit.principal_constraint(), cedar::PrincipalConstraint::Eq(_));
        for (at, principal, resource) in &found {
            let is_review = self.actions.get(*at).is_some_and(|action| action.names.contains(review));
            if is_review && !is_by_name && resource.to_string() == APPROVAL {
                self.reviewing.insert(*principal);
            }
        }
        self.permitted.extend(found);
    }

    /// All questions that a scope lets through.
    fn questions<'a>(
        &'a self,
        scope: &'a Scope,
    ) -> impl Iterator<Item = (usize, &'s cedar::EntityTypeName, &'s cedar::EntityTypeName)> + 'a {
        let wanted = |action: &Action<'_>| {
            scope.actions.as_ref().is_none_or(|any_of| any_of.iter().any(|one| action.names.contains(one)))
        };
        let actions = self.actions.iter().enumerate().filter(move |(_, action)| wanted(action));
        actions.flat_map(move |(at, action)| {
            let principals = action.principals.iter().filter(|name| self.lets(&scope.principal, name));
            principals.flat_map(move |principal| {
                let resources = action.resources.iter().filter(|name| self.lets(&scope.resource, name));
                resources.map(move |resource| (at, *principal, *resource))
            })
        })
    }

    fn lets(&self, who: &Who, name: &cedar::EntityTypeName) -> bool {
        match who {
            Who::Any => true,
            Who::Type(only) => only == name,
            Who::Within(group) => self.can_be_in(name, group),
            Who::TypeWithin(only, group) => only == name && self.can_be_in(name, group),
        }
    }

    fn can_be_in(&self, name: &cedar::EntityTypeName, group: &cedar::EntityTypeName) -> bool {
        self.above.get(name).is_some_and(|above| above.contains(group))
    }

    /// Whether anything that a policy's scope lets through is let through by a permit's.
    pub fn meets_a_permit(&self, policy: &cedar::Policy) -> bool {
        self.questions(&Scope::of(policy)).any(|question| self.permitted.contains(&question))
    }

    /// Whether a permit could let this entity review, or somebody who is in it.
    pub fn may_review(&self, reviewer: &EntityUid) -> bool {
        let can_be = |name: &cedar::EntityTypeName| {
            let above = self.above.get(name).into_iter().flatten();
            above.into_iter().any(|above| above.to_string() == *reviewer.type_name)
        };
        let by_name = |uid: &EntityUid| {
            let above = self.above.iter().find(|(name, _)| name.to_string() == *uid.type_name);
            uid == reviewer
                || uid.type_name != reviewer.type_name
                    && above.is_some_and(|(_, above)| above.iter().any(|name| name.to_string() == *reviewer.type_name))
        };
        self.reviewing.iter().any(|name| can_be(name)) || self.reviewing_by_name.iter().any(by_name)
    }

    /// Whether an entity is somebody who could review, and nobody can be in it.
    pub fn is_one(&self, uid: &EntityUid) -> bool {
        let is_it = |name: &cedar::EntityTypeName| name.to_string() == *uid.type_name;
        let is_above = |(name, above): (&&cedar::EntityTypeName, &HashSet<&cedar::EntityTypeName>)| {
            !is_it(name) && above.iter().any(|above| is_it(above))
        };
        self.people.iter().any(|name| is_it(name)) && !self.above.iter().any(is_above)
    }
}

impl Scope {
    fn of(policy: &cedar::Policy) -> Self {
        use cedar::{ActionConstraint, PrincipalConstraint as Principal, ResourceConstraint as Resource};
        let type_of = |uid: cedar::EntityUid| uid.type_name().clone();
        let principal = match policy.principal_constraint() {
            Principal::Any => Who::Any,
            Principal::Is(name) => Who::Type(name),
            Principal::Eq(uid) => Who::Type(type_of(uid)),
            Principal::In(uid) => Who::Within(type_of(uid)),
            Principal::IsIn(name, uid) => Who::TypeWithin(name, type_of(uid)),
        };
        let resource = match policy.resource_constraint() {
            Resource::Any => Who::Any,
            Resource::Is(name) => Who::Type(name),
            Resource::Eq(uid) => Who::Type(type_of(uid)),
            Resource::In(uid) => Who::Within(type_of(uid)),
            Resource::IsIn(name, uid) => Who::TypeWithin(name, type_of(uid)),
        };
        let actions = match policy.action_constraint() {
            ActionConstraint::Any => None,
            ActionConstraint::Eq(action) => Some(vec![domain_uid(&action)]),
            ActionConstraint::In(actions) => Some(actions.iter().map(domain_uid).collect()),
        };
        Self { principal, actions, resource }
    }

    /// Whether its action may be the one of reviews, by name or through a group.
    fn reviews(&self, review: &EntityUid) -> bool {
        let could_be = |action: &EntityUid| action == review || action.type_name == review.type_name;
        self.actions.as_ref().is_none_or(|actions| actions.iter().any(could_be))
    }
}
