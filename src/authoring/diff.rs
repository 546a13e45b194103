//! Two sets of policies under the same questions: what would be answered otherwise. Questions come from tests, or from what
//! was asked and is on record. A recorded query is asked afresh, as its principal and at its time: what stood for it then (an
//! approval, a grant) plays no part, so that only the policies differ.

use std::collections::BTreeMap;
use std::sync::Arc;

use super::run::{Outcome, Sets};
use super::scenario::{Asked, Scenario, Seen, Terms};
use super::suite::Suite;
use crate::domain::{Decided, EntityUid, PolicyId, Timestamp};
use crate::engine::PolicySnapshot;

/// Examples kept of each kind of change.
const EXAMPLES_MAX: usize = 3;

/// What differs between two sets.
#[derive(Debug, Default)]
pub struct Difference {
    pub policies: Policies,
    pub tests: Vec<TestChange>,
    pub tests_compared: usize,
    /// By what was answered and what would be, and to what.
    pub recorded: BTreeMap<Kind, Group>,
    pub recorded_compared: usize,
}

/// Policies by id.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct Policies {
    pub added: Vec<PolicyId>,
    pub removed: Vec<PolicyId>,
    /// Their text differs.
    pub changed: Vec<PolicyId>,
}

/// A test that sees other answers.
#[derive(Debug, PartialEq, Eq)]
pub struct TestChange {
    pub name: String,
    pub place: String,
    /// The steps that differ, from 0 (the first question): before and after.
    pub steps: Vec<(usize, String, String)>,
}

/// A kind of change.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct Kind {
    pub before: String,
    pub after: String,
    pub action: EntityUid,
    pub resource_type: Arc<str>,
}

/// The recorded queries that change in one way.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct Group {
    pub count: usize,
    /// Records, with who asked for what.
    pub examples: Vec<Example>,
}

#[derive(Debug, PartialEq, Eq)]
pub struct Example {
    pub sequence: u64,
    pub principal: EntityUid,
    pub resource: EntityUid,
}

impl Difference {
    #[must_use]
    pub fn of_policies(old: &PolicySnapshot, new: &PolicySnapshot) -> Self {
        let ids = |snapshot: &PolicySnapshot| {
            let policies = snapshot.summary().policies.into_iter();
            policies.map(|entry| PolicyId(entry.id)).collect::<Vec<_>>()
        };
        let (before, after) = (ids(old), ids(new));
        let is_changed = |id: &&PolicyId| old.text(id).is_some_and(|text| new.text(id).is_some_and(|it| it != text));
        let policies = Policies {
            added: after.iter().filter(|id| old.text(id).is_none()).cloned().collect(),
            removed: before.iter().filter(|id| new.text(id).is_none()).cloned().collect(),
            changed: after.iter().filter(is_changed).cloned().collect(),
        };
        Self { policies, ..Self::default() }
    }

    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.tests.is_empty() && self.recorded.is_empty()
    }

    /// Runs the same tests under both.
    pub fn compare_tests(&mut self, old: &Sets, new: &Sets, suites: &[Suite]) {
        let run = |sets: &Sets| {
            let mut outcome = Outcome::default();
            suites.iter().for_each(|suite| sets.run(suite, &mut outcome));
            outcome.tested
        };
        for (before, after) in run(old).into_iter().zip(run(new)) {
            self.tests_compared += 1;
            let steps = before.seen.iter().zip(&after.seen).enumerate();
            let differing = steps.filter(|(_, (before, after))| before != after);
            let steps: Vec<_> =
                differing.map(|(step, (before, after))| (step, before.clone(), after.clone())).collect();
            if !steps.is_empty() {
                let place = format!("{}:{}", after.path.display(), after.line);
                self.tests.push(TestChange { name: after.name, place, steps });
            }
        }
    }

    /// Asks a recorded query of both.
    pub fn compare_recorded(
        &mut self,
        (old, new): (&PolicySnapshot, &PolicySnapshot),
        terms: &Terms,
        (sequence, at, decided): (u64, Timestamp, &Decided),
    ) {
        self.recorded_compared += 1;
        let ask = |snapshot| {
            let asked = Asked {
                caller: decided.caller.clone(),
                principal: decided.principal.clone(),
                query: decided.query.clone(),
                justification: decided.justification.clone(),
            };
            told(&Scenario::unwatched(snapshot, asked, terms.clone(), at).ask())
        };
        let (before, after) = (ask(old), ask(new));
        if before == after {
            return;
        }
        let query = &decided.query;
        let (action, resource_type) = (query.action.clone(), query.resource.type_name.clone());
        let group = self.recorded.entry(Kind { before, after, action, resource_type }).or_default();
        group.count += 1;
        if group.examples.len() < EXAMPLES_MAX {
            let (principal, resource) = (query.principal.clone(), query.resource.clone());
            group.examples.push(Example { sequence, principal, resource });
        }
    }
}

/// What counts as a difference: the outcome, its reason, the gates and the obligations.
fn told(seen: &Seen) -> String {
    let mut text = format!("{} {}", seen.outcome.name(), seen.reason);
    for (word, names) in [("gates", &seen.gates), ("mask", &seen.mask), ("advice", &seen.advice)] {
        if !names.is_empty() {
            text.push_str(&format!(" [{word}: {}]", names.join(", ")));
        }
    }
    text
}

#[cfg(test)]
mod tests {
    use std::path::Path;
    use std::time::Duration;

    use super::super::run::Settings;
    use super::*;
    use crate::domain::poll::ReviewRules;
    use crate::domain::{
        Attributes, Binding, Change, DecisionId, Identity, Outcome as Answered, PolicyDigest, Query, Reason,
    };
    use crate::engine;

    fn terms() -> Terms {
        let span = Duration::from_secs(60);
        Terms { redeem_within: span, outcome_lease: span, review: ReviewRules::default() }
    }

    fn shipped() -> std::path::PathBuf {
        Path::new(env!("CARGO_MANIFEST_DIR")).join("policies")
    }

    fn sets(change: impl Fn(String) -> String) -> (tempfile::TempDir, Sets) {
        let dir = tempfile::tempdir().unwrap();
        for entry in std::fs::read_dir(shipped()).unwrap() {
            let path = entry.unwrap().path();
            let text = std::fs::read_to_string(&path).unwrap();
            let is_changed = path.ends_with("warehouse.cedar");
            let text = if is_changed { change(text) } else { text };
            std::fs::write(dir.path().join(path.file_name().unwrap()), text).unwrap();
        }
        let settings = Settings { policies: engine::Settings::new(dir.path()), terms: terms(), filter: None };
        let loaded = Sets::load(settings).unwrap();
        (dir, loaded)
    }

    fn decided(action: &str, resource: (&str, &str)) -> Decided {
        let identity = Arc::new(Identity::imagined("User", "dave", &["sre"]));
        let query = Arc::new(Query {
            principal: identity.uid.clone(),
            on_behalf_of: None,
            action: EntityUid::new("Action", action),
            resource: EntityUid::new(resource.0, resource.1),
            context: Attributes::new(),
            environment: Attributes::new(),
            entities: Vec::new(),
        });
        Decided {
            revision: 0,
            id: DecisionId::from_bytes([1; 16]),
            binding: Binding::of(&query),
            query,
            principal: identity.clone(),
            caller: identity,
            outcome: Answered::Allow,
            reason: Reason::Permitted,
            determining: Vec::new(),
            errors: Vec::new(),
            obligations: Vec::new(),
            digest: PolicyDigest([0; 32]),
            justification: None,
            request_id: "r".into(),
            approval: None,
            change: Change::None,
            idempotency_key: None,
            repeats: None,
            follows: None,
        }
    }

    #[test]
    fn the_same_policies_differ_in_nothing() {
        let ((_a, old), (_b, new)) = (sets(|text| text), sets(|text| text));
        let mut difference = Difference::of_policies(&old.snapshot, &new.snapshot);
        difference.compare_tests(&old, &new, &Suite::read_all(&shipped()).unwrap());
        assert!(difference.is_empty() && difference.tests_compared >= 20, "{:?}", difference.tests);
        assert_eq!(difference.policies, Policies::default());
    }

    #[test]
    fn what_a_change_changes_is_told_by_test_and_by_kind_of_recorded_query() {
        let gate = "@id(\"drop-gate\") @approval(\"A database goes\") @reviewers(\"Group::\\\"dpo\\\"\")
            forbid (principal, action == Action::\"drop\", resource);";
        let change = |text: String| text.replace("@quorum(\"2\")", "@quorum(\"1\")") + gate;
        let ((_a, old), (_b, new)) = (sets(|text| text), sets(change));
        let mut difference = Difference::of_policies(&old.snapshot, &new.snapshot);
        let id = |name: &str| PolicyId(name.into());
        let expected = Policies { added: vec![id("drop-gate")], removed: Vec::new(), changed: vec![id("export-pii")] };
        assert_eq!(difference.policies, expected);
        difference.compare_tests(&old, &new, &Suite::read_all(&shipped()).unwrap());
        let names: Vec<_> = difference.tests.iter().map(|test| test.name.as_str()).collect();
        assert_eq!(
            names,
            [
                "personal data leaves once two people have countersigned, and leaves once",
                "an approved export can be taken back before it is used",
                "an engineer drops a database"
            ]
        );
        for (sequence, id) in [(7, "scratch"), (8, "warehouse")] {
            let record = decided("drop", ("Database", id));
            let both = (&*old.snapshot, &*new.snapshot);
            difference.compare_recorded(both, &terms(), (sequence, Timestamp::from_micros(0), &record));
        }
        let read = decided("read", ("Dataset", "weather"));
        difference.compare_recorded((&old.snapshot, &new.snapshot), &terms(), (9, Timestamp::from_micros(0), &read));
        let (kind, group) = difference.recorded.first_key_value().unwrap();
        assert_eq!((difference.recorded.len(), difference.recorded_compared, group.count), (1, 3, 2));
        assert_eq!(kind.before, "ALLOW permitted");
        assert_eq!(kind.after, "PENDING approval_required [gates: drop-gate]");
        assert_eq!((group.examples[0].sequence, &*group.examples[1].resource.id), (7, "warehouse"));
    }
}
