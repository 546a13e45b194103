//! Policies by one part of their scope. Each stands in one bucket only: of those that its principal and its resource allow,
//! the one that fewest policies share. Within a bucket they are in the order of their actions.

use super::names::{Names, Number, Place};
use super::scope::{Actions, Asked, Constraint, Scope};

/// No entity has this number ([`super::names::number`]): stands for any action.
const ANY_ACTION: Number = Number::MAX;

#[derive(Debug, Default)]
pub struct Buckets {
    keys: Keys,
    /// Where each bucket begins; the next one's begin is its end.
    begins: Vec<u32>,
    /// All buckets, one after another.
    entries: Vec<Entry>,
}

/// One policy under one action.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
struct Entry {
    action: Number,
    policy: Number,
}

impl Buckets {
    pub fn new(scopes: &[(Number, &Scope)], names: &Names) -> Self {
        let keys = Keys { entities: names.entities(), types: names.types() };
        let mut population = vec![0_u32; keys.len()];
        for (_, scope) in scopes {
            for key in keys.possible(scope) {
                population.get_mut(key).into_iter().for_each(|count| *count += 1);
            }
        }
        let least = |scope: &Scope| {
            let count = |key: &usize| population.get(*key).copied().unwrap_or(u32::MAX);
            keys.possible(scope).into_iter().min_by_key(count).unwrap_or(keys.any())
        };
        let mut placed = Vec::with_capacity(scopes.len());
        for &(policy, scope) in scopes {
            let key = least(scope);
            placed.extend(actions(scope).iter().map(|&action| (key, Entry { action, policy })));
        }
        placed.sort_unstable();
        placed.dedup();
        let begins = (0..=keys.len()).map(|key| super::names::number(placed.partition_point(|(of, _)| *of < key)));
        Self { keys, begins: begins.collect(), entries: placed.into_iter().map(|(_, entry)| entry).collect() }
    }

    /// Every policy whose scope may hold, and a few more; sorted, each once.
    pub fn candidates(&self, asked: &Asked) -> Vec<Number> {
        let mut found = Vec::new();
        for key in self.keys.asked(asked) {
            self.collect(self.bucket(key), &asked.action, &mut found);
        }
        found.sort_unstable();
        found.dedup();
        found
    }

    fn bucket(&self, key: usize) -> &[Entry] {
        let begin = self.begins.get(key).copied().unwrap_or(0) as usize;
        let end = self.begins.get(key + 1).copied().unwrap_or(0) as usize;
        self.entries.get(begin..end).unwrap_or_default()
    }

    fn collect(&self, bucket: &[Entry], action: &Place, found: &mut Vec<Number>) {
        if bucket.is_empty() {
            return;
        }
        for &action in action.within.iter().chain([&ANY_ACTION]) {
            let begin = bucket.partition_point(|entry| entry.action < action);
            let same = bucket.iter().skip(begin).take_while(|entry| entry.action == action);
            found.extend(same.map(|entry| entry.policy));
        }
    }
}

/// The actions under which a policy is found.
fn actions(scope: &Scope) -> &[Number] {
    match &scope.action {
        Actions::Any => &[ANY_ACTION],
        Actions::Eq(action) => std::slice::from_ref(action),
        Actions::In(any_of) => any_of,
    }
}

/// The numbers of buckets: four for each entity, two for each type, and one for what is bound to neither.
#[derive(Debug, Default, Clone, Copy)]
struct Keys {
    entities: usize,
    types: usize,
}

#[derive(Debug, Clone, Copy)]
enum Side {
    Principal,
    Resource,
}

impl Keys {
    fn len(self) -> usize {
        self.any() + 1
    }

    fn any(self) -> usize {
        4 * self.entities + 2 * self.types
    }

    fn equals(self, side: Side, entity: Number) -> usize {
        4 * entity as usize + side as usize
    }

    fn within(self, side: Side, entity: Number) -> usize {
        4 * entity as usize + 2 + side as usize
    }

    fn of_type(self, side: Side, name: Number) -> usize {
        4 * self.entities + 2 * name as usize + side as usize
    }

    /// The buckets that a policy could stand in: a query that its scope lets through looks into each of them.
    fn possible(self, scope: &Scope) -> Vec<usize> {
        let sides = [(Side::Principal, scope.principal), (Side::Resource, scope.resource)];
        let keys: Vec<_> =
            sides.into_iter().filter_map(|(side, constraint)| self.constrained(side, constraint)).collect();
        if keys.is_empty() { vec![self.any()] } else { keys }
    }

    fn constrained(self, side: Side, constraint: Constraint) -> Option<usize> {
        match constraint {
            Constraint::Any => None,
            Constraint::Is(name) => Some(self.of_type(side, name)),
            Constraint::In(entity) | Constraint::IsIn(_, entity) => Some(self.within(side, entity)),
            Constraint::Eq(entity) => Some(self.equals(side, entity)),
        }
    }

    /// The buckets that a query looks into.
    fn asked(self, asked: &Asked) -> impl Iterator<Item = usize> {
        let sides = [(Side::Principal, &asked.principal), (Side::Resource, &asked.resource)];
        let keys = sides.into_iter().flat_map(move |(side, place)| {
            let equal = place.itself.map(|entity| self.equals(side, entity));
            let within = place.within.iter().map(move |&entity| self.within(side, entity));
            let of_type = place.type_name.map(|name| self.of_type(side, name));
            equal.into_iter().chain(within).chain(of_type)
        });
        keys.chain([self.any()])
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const FOLDERS: usize = 200;

    /// How many policies a query by a member of `Group::"all"` on a data set in `Folder::"f7"` is held against.
    fn found(policy: impl Fn(usize) -> String) -> usize {
        let mut names = Names::default();
        let policies: Vec<_> = (0..FOLDERS).map(|n| policy(n).parse::<cedar_policy::Policy>().unwrap()).collect();
        let scopes: Vec<_> = policies.iter().map(|policy| Scope::of(policy, &mut names)).collect();
        let numbered: Vec<_> =
            scopes.iter().enumerate().map(|(n, scope)| (super::super::names::number(n), scope)).collect();
        let buckets = Buckets::new(&numbered, &names);
        let entities = r#"[
            {"uid": {"type": "User", "id": "u"}, "attrs": {}, "parents": [{"type": "Group", "id": "all"}]},
            {"uid": {"type": "Dataset", "id": "d"}, "attrs": {}, "parents": [{"type": "Folder", "id": "f7"}]},
            {"uid": {"type": "Action", "id": "a7"}, "attrs": {}, "parents": [{"type": "Action", "id": "looking"}]}]"#;
        let entities = cedar_policy::Entities::from_json_str(entities, None).unwrap();
        let place = |uid: &str| names.place(&uid.parse().unwrap(), &entities);
        let asked = Asked {
            principal: place("User::\"u\""),
            action: place("Action::\"a7\""),
            resource: place("Dataset::\"d\""),
        };
        let candidates = buckets.candidates(&asked);
        let holding = scopes.iter().filter(|scope| scope.holds(&asked)).count();
        assert!(candidates.len() >= holding && holding > 0, "{candidates:?}");
        candidates.len()
    }

    #[test]
    fn a_query_is_held_against_few_policies_whatever_part_of_their_scopes_tells_them_apart() {
        let by_resource = |n| format!("permit (principal in Group::\"all\", action, resource in Folder::\"f{n}\");");
        assert_eq!(found(by_resource), 1);
        let by_principal = |n| {
            let group = if n == 7 { "all".to_owned() } else { format!("g{n}") };
            format!("permit (principal is User in Group::\"{group}\", action, resource is Dataset);")
        };
        assert_eq!(found(by_principal), 1);
        let by_action = |n| format!("permit (principal is User, action == Action::\"a{n}\", resource is Dataset);");
        assert_eq!(found(by_action), 1);
        let by_action_alone = |n| format!("permit (principal, action in [Action::\"a{n}\"], resource);");
        assert_eq!(found(by_action_alone), 1);
        let by_group_of_actions = |n| {
            let action = if n == 7 { "looking".to_owned() } else { format!("a{}", n + 7) };
            format!("permit (principal, action in Action::\"{action}\", resource);")
        };
        assert_eq!(found(by_group_of_actions), 2, "`a0` and its group");
        assert_eq!(found(|_| "permit (principal, action, resource);".to_owned()), FOLDERS);
    }
}
