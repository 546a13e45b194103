//! Policies by their scope: a query is held against those whose scope may hold, not against all.
//!
//! Sound because a policy's scope is a conjunction before its condition and cannot error: a policy whose scope does not hold
//! adds neither decision nor reason nor error. Every constraint of a scope is one that the query's own entities answer
//! (itself, what it is in, its type), so looking under all that they are finds every policy whose scope holds. What is found
//! is checked again, exactly; then Cedar evaluates its condition. `proof.rs` holds all of it against Cedar's authorizer.
//!
//! - [`names`]: entities and types to numbers; [`scope`]: a scope in numbers; [`buckets`]: where policies are found

mod buckets;

mod names;
#[cfg(test)]
mod proof;
mod scope;

use std::fmt;

use cedar_policy as cedar;

use buckets::Buckets;
use names::Names;

use scope::{Asked, Scope};

pub use super::cedar_core::Judge;
use super::cedar_core::{Compiler, Condition};
use crate::domain::EntityUid;

/// Policies, ready to be asked.
#[derive(Default)]
pub struct Index {
    names: Names,
    buckets: Buckets,
    policies: Vec<Compiled>,
}

struct Compiled {
    id: cedar::PolicyId,
    effect: cedar::Effect,
    scope: Scope,
    /// `None`: its scope is all there is.
    condition: Option<Condition>,
}

/// The policies whose scope a query is in, of one index. Their conditions were not looked at yet.
#[derive(Default)]
pub struct Selected<'i> {
    policies: Vec<&'i Compiled>,
}

/// What Cedar's authorizer would say; policies in the order in which they were loaded.
#[derive(Debug, Default)]
pub struct Answer<'i> {
    pub permits: Vec<&'i cedar::PolicyId>,
    pub forbids: Vec<&'i cedar::PolicyId>,
    pub errors: Vec<(&'i cedar::PolicyId, Box<cedar::EvaluationError>)>,
}

/// A policy for the query's action, and which parts of its scope hold.
#[derive(Debug, Clone, Copy)]
pub struct Scoped<'i> {
    pub id: &'i cedar::PolicyId,
    pub effect: cedar::Effect,
    pub principal: bool,
    pub resource: bool,
}

impl Index {
    /// Static policies and links alike. Their ids must differ, which the loader sees to.
    #[must_use]
    pub fn new<'p>(policies: impl IntoIterator<Item = &'p cedar::Policy>) -> Self {
        let (mut names, mut compiler) = (Names::default(), Compiler::default());
        let compiled = policies.into_iter().map(|policy| Compiled {
            id: policy.id().clone(),
            effect: policy.effect(),
            scope: Scope::of(policy, &mut names),
            condition: compiler.condition(policy),
        });
        let policies: Vec<_> = compiled.collect();
        let scopes = policies.iter().enumerate().map(|(at, policy)| (names::number(at), &policy.scope));
        let buckets = Buckets::new(&scopes.collect::<Vec<_>>(), &names);
        Self { names, buckets, policies }
    }

    #[must_use]
    pub fn len(&self) -> usize {
        self.policies.len()
    }

    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.policies.is_empty()
    }

    /// The policies that a request is held against, in the order in which they were loaded. Of its entities only what its
    /// principal, action and resource are in plays a part.
    #[must_use]
    pub fn select(&self, request: &cedar::Request, entities: &cedar::Entities) -> Selected<'_> {
        let Some(asked) = self.asked(request, entities) else { return Selected::default() };
        let candidates = self.buckets.candidates(&asked).into_iter();
        let candidates = candidates.filter_map(|number| self.policies.get(number as usize));
        Selected { policies: candidates.filter(|policy| policy.scope.holds(&asked)).collect() }
    }

    /// The policies whose scope names the query's action, in the order in which they were loaded: whether it names its
    /// principal and its resource as well. For explanations: this looks at every policy.
    pub fn scopes<'i>(
        &'i self,
        request: &cedar::Request,
        entities: &cedar::Entities,
    ) -> impl Iterator<Item = Scoped<'i>> + use<'i> {
        let asked = self.asked(request, entities);
        let scoped = move |policy: &'i Compiled| {
            let asked = asked.as_ref().filter(|asked| policy.scope.action.hold(&asked.action))?;
            Some(Scoped {
                id: &policy.id,
                effect: policy.effect,
                principal: policy.scope.principal.holds(&asked.principal),
                resource: policy.scope.resource.holds(&asked.resource),
            })
        };
        self.policies.iter().filter_map(scoped)
    }

    /// `None` where there is nothing to ask.
    fn asked(&self, request: &cedar::Request, entities: &cedar::Entities) -> Option<Asked> {
        if self.is_empty() {
            return None;
        }
        let place = |uid| self.names.place(uid, entities);
        // A request of ours names all three; one that does not is held against nothing, and so permitted nothing.
        Some(Asked {
            principal: place(request.principal()?),
            action: place(request.action()?),
            resource: place(request.resource()?),
        })
    }
}

impl<'i> Selected<'i> {
    /// The entities that the conditions name and look at.
    pub fn looked_at(&self) -> impl Iterator<Item = &'i EntityUid> + use<'i, '_> {
        self.policies.iter().filter_map(|policy| policy.condition.as_ref()).flat_map(Condition::looked_at)
    }

    /// What these policies say.
    #[must_use]
    pub fn ask(&self, judge: &Judge<'_>) -> Answer<'i> {
        let mut answer = Answer::default();
        for policy in &self.policies {
            match policy.condition.as_ref().map_or(Ok(true), |condition| judge.holds(condition)) {
                Ok(true) => match policy.effect {
                    cedar::Effect::Permit => answer.permits.push(&policy.id),
                    cedar::Effect::Forbid => answer.forbids.push(&policy.id),
                },
                Ok(false) => {}
                Err(error) => answer.errors.push((&policy.id, error)),
            }
        }
        answer
    }
}

impl Answer<'_> {
    /// Cedar's decision: a permit and no forbid.
    #[must_use]
    pub fn is_allowed(&self) -> bool {
        self.forbids.is_empty() && !self.permits.is_empty()
    }
}

impl fmt::Debug for Index {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Index({} policies)", self.len())
    }
}
