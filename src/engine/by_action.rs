//! Policies by the action they can apply to, so that a query is held against its own and not against all.
//!
//! Sound because a policy's scope is a conjunction that cannot error: one whose action scope does not match would add
//! neither decision nor reason nor error. An action that the schema does not declare is held against everything.

use std::collections::{HashMap, HashSet};

use cedar_policy as cedar;

use super::convert::domain_uid;
use crate::domain::EntityUid;

#[derive(Debug)]
pub(super) struct ByAction {
    all: cedar::PolicySet,
    of_action: HashMap<EntityUid, cedar::PolicySet>,
}

impl ByAction {
    /// # Errors
    /// Cedar's, where two policies have one id.
    pub fn new(
        policies: Vec<cedar::Policy>,
        schema: Option<&cedar::Schema>,
    ) -> Result<Self, Box<cedar::PolicySetError>> {
        let mut of_action = HashMap::new();
        for action in schema.into_iter().flat_map(cedar::Schema::actions) {
            let groups = schema.map(|schema| groups_of(schema, action)).unwrap_or_default();
            let applicable = policies.iter().filter(|policy| applies(policy, action, &groups)).cloned();
            of_action.insert(domain_uid(action), cedar::PolicySet::from_policies(applicable)?);
        }
        Ok(Self { all: cedar::PolicySet::from_policies(policies)?, of_action })
    }

    /// The policies that can say anything about an action.
    pub fn of(&self, action: &EntityUid) -> &cedar::PolicySet {
        self.of_action.get(action).unwrap_or(&self.all)
    }

    pub fn len(&self) -> usize {
        self.all.num_of_policies()
    }
}

fn groups_of(schema: &cedar::Schema, action: &cedar::EntityUid) -> HashSet<cedar::EntityUid> {
    let entities = schema.action_entities();
    let ancestors = entities.as_ref().ok().and_then(|entities| entities.ancestors(action));
    ancestors.into_iter().flatten().cloned().collect()
}

fn applies(policy: &cedar::Policy, action: &cedar::EntityUid, groups: &HashSet<cedar::EntityUid>) -> bool {
    match policy.action_constraint() {
        cedar::ActionConstraint::Any => true,
        cedar::ActionConstraint::Eq(only) => only == *action,
        cedar::ActionConstraint::In(any_of) => any_of.iter().any(|one| one == action || groups.contains(one)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SCHEMA: &str = "entity U; action all; action write in [all] appliesTo { principal: U, resource: U };
        action read in [all] appliesTo { principal: U, resource: U };";

    fn ids(index: &ByAction, action: &str) -> Vec<String> {
        let mut ids: Vec<_> =
            index.of(&EntityUid::new("Action", action)).policies().map(|p| p.id().to_string()).collect();
        ids.sort();
        ids
    }

    #[test]
    fn an_action_meets_its_own_policies_those_of_its_groups_and_those_of_any_action() {
        let (schema, _) = cedar::Schema::from_cedarschema_str(SCHEMA).unwrap();
        let policies: cedar::PolicySet = "permit (principal, action == Action::\"read\", resource);
            permit (principal, action in [Action::\"write\"], resource);
            forbid (principal, action in Action::\"all\", resource);
            forbid (principal, action, resource);"
            .parse()
            .unwrap();
        let index = ByAction::new(policies.policies().cloned().collect(), Some(&schema)).unwrap();
        assert_eq!(ids(&index, "read"), ["policy0", "policy2", "policy3"]);
        assert_eq!(ids(&index, "write"), ["policy1", "policy2", "policy3"]);
        assert_eq!(ids(&index, "unheard of").len(), 4);
    }
}
