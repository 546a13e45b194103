//! The index beside Cedar's own authorizer over the whole set: the same decision, the same determining policies, the same
//! errors, on random schemas, policies, links, entities and queries.
//!
//! 20,000 queries, the same on every run. `COUNTERSIGN_PROOF_QUERIES=1000000` asks that many, other ones on every run:
//! `make proof`, for the night.

mod world;

use std::cell::RefCell;
use std::collections::{BTreeMap, BTreeSet, HashMap, HashSet};

use cedar_policy as cedar;
use proptest::prelude::*;
use proptest::test_runner::{Config, RngAlgorithm, TestCaseError, TestRng, TestRunner};

use super::{Index, Judge};
use world::{CONDITIONS, FORMS, Form, Query, World, query, world};

const QUERIES: usize = 200;

/// A decision, its reasons, and what went wrong in which policy.
type Told = (bool, BTreeSet<String>, BTreeMap<String, String>);

/// Cedar's words for it.
fn by_cedar(set: &cedar::PolicySet, request: &cedar::Request, entities: &cedar::Entities) -> Told {
    let response = cedar::Authorizer::new().is_authorized(request, set, entities);
    let reasons = response.diagnostics().reason().map(ToString::to_string).collect();
    let errors = response.diagnostics().errors().map(|error| match error {
        cedar::AuthorizationError::PolicyEvaluationError(error) => {
            (error.policy_id().to_string(), error.inner().to_string())
        }
    });
    (response.decision() == cedar::Decision::Allow, reasons, errors.collect())
}

/// The index's, with none of the entities but those that the query leads to and those that its policies look at.
fn by_index(
    index: &Index,
    request: &cedar::Request,
    entities: &cedar::Entities,
    who: Option<cedar::EntityUid>,
) -> Told {
    let asked = [request.principal(), request.action(), request.resource()].into_iter().flatten().cloned().chain(who);
    let mut open: Vec<_> = asked.collect();
    let selected = index.select(request, &reached(entities, open.clone()));
    open.extend(selected.looked_at().map(|uid| uid.to_string().parse().unwrap()));
    let entities = &reached(entities, open);
    let answer = selected.ask(&Judge::new(request, entities));
    let reasons = if answer.forbids.is_empty() { &answer.permits } else { &answer.forbids };
    let reasons = reasons.iter().map(ToString::to_string).collect();
    let errors = answer.errors.iter().map(|(id, error)| (id.to_string(), error.to_string()));
    (answer.is_allowed(), reasons, errors.collect())
}

/// The entities that these lead to.
fn reached(entities: &cedar::Entities, mut open: Vec<cedar::EntityUid>) -> cedar::Entities {
    let mut reached = HashMap::new();
    while let Some(uid) = open.pop() {
        let Some(entity) = entities.get(&uid).filter(|_| !reached.contains_key(&uid)) else { continue };
        open.extend(entities.ancestors(&uid).into_iter().flatten().cloned());
        open.extend(entity.attrs().filter_map(|(_, value)| match value {
            Ok(cedar::EvalResult::EntityUid(uid)) => Some(uid),
            _ => None,
        }));
        reached.insert(uid, entity.clone());
    }
    cedar::Entities::from_entities(reached.into_values(), None).unwrap()
}

/// What a run has seen: that nothing is compared which never happens.
#[derive(Default)]
struct Seen {
    queries: usize,
    allowed: usize,
    errors: usize,
    /// Sides of scopes whose policies determined an answer.
    principals: BTreeSet<Form>,
    resources: BTreeSet<Form>,
    /// How many actions (two stand for more), and whether as a list.
    actions: BTreeSet<(usize, bool)>,
}

fn compare(world: &World, queries: &[Query], seen: &RefCell<Seen>) -> Result<(), TestCaseError> {
    let schema = world.has_schema.then(|| world.schema());
    let entities = cedar::Entities::from_json_str(&world.entities_json(), schema.as_ref()).unwrap();
    let set = world.policies();
    let index = Index::new(set.policies());
    prop_assert_eq!(index.len(), set.num_of_policies());
    let mut seen = seen.borrow_mut();
    for query in queries {
        let request = world.request(query, schema.as_ref());
        let expected = by_cedar(&set, &request, &entities);
        prop_assert_eq!(&by_index(&index, &request, &entities, world.who(query)), &expected, "{:?}", query);
        seen.queries += 1;
        seen.allowed += usize::from(expected.0);
        seen.errors += expected.2.len();
        let determining = expected.1.iter().filter_map(|id| id.strip_prefix('p')?.parse::<usize>().ok());
        for policy in determining.map(|n| &world.policies[n]) {
            seen.principals.insert(policy.principal.form);
            seen.resources.insert(policy.resource.form);
            seen.actions.insert((policy.actions.len().min(2), policy.is_list));
        }
    }
    Ok(())
}

#[test]
fn the_index_says_what_cedars_authorizer_says_over_the_whole_set() {
    let wanted = std::env::var("COUNTERSIGN_PROOF_QUERIES").ok();
    let queries: usize = wanted.as_ref().map_or(20_000, |text| text.parse().expect("a number of queries"));
    let cases = u32::try_from(queries.div_ceil(QUERIES)).unwrap();
    let config = Config { cases, max_shrink_iters: 300, failure_persistence: None, ..Config::default() };
    let mut runner = match wanted {
        Some(_) => TestRunner::new(config),
        None => TestRunner::new_with_rng(config, TestRng::deterministic_rng(RngAlgorithm::ChaCha)),
    };
    let seen = RefCell::new(Seen::default());
    let inputs = (world(), proptest::collection::vec(query(), QUERIES));
    runner.run(&inputs, |(world, queries)| compare(&world, &queries, &seen)).unwrap_or_else(|error| panic!("{error}"));
    let seen = seen.into_inner();
    println!("{} queries the same, {} allowed, {} errors", seen.queries, seen.allowed, seen.errors);
    let all: BTreeSet<_> = FORMS.into_iter().collect();
    assert_eq!((&seen.principals, &seen.resources), (&all, &all));
    assert_eq!(seen.actions.len(), 6);
    assert!(seen.allowed > queries / 20 && seen.errors > queries / 10, "the worlds are too dull");
}

#[test]
fn conditions_are_distinct_texts_that_parse() {
    let texts: HashSet<_> = CONDITIONS.iter().filter(|text| !text.is_empty()).collect();
    assert_eq!(texts.len(), CONDITIONS.len() - 3);
    for text in texts {
        let text = format!("permit (principal, action, resource) {};", text.replace("{}", "T0::\"e\""));
        cedar::Policy::parse(None, &text).unwrap_or_else(|error| panic!("{text}: {error:?}"));
    }
}
