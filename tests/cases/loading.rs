//! Faults of policies that loading must find: what it lets through would fail a query later, or for ever.

use std::time::{Duration, Instant};

use countersign::engine::{Level, PolicySnapshot, Problem, Settings};

use crate::support::PolicyDir;

/// What the set is refused with, a problem a line, without the directory.
fn refusal(policies: &PolicyDir) -> String {
    let refused = PolicySnapshot::load(&Settings::new(policies.path())).err();
    let dir = format!("{}/", policies.path().display());
    refused.map(|error| error.to_string().replace(&dir, "")).unwrap_or_default()
}

#[test]
fn fault_45_an_optional_attribute_that_nothing_guards_is_a_load_error_at_its_place() {
    let with = |condition: &str| {
        let policy =
            format!("@id(\"owned\")\nforbid (principal, action, resource is Dataset)\nwhen {{ {condition} }};");
        PolicyDir::shipped().and(&policy)
    };
    let found = refusal(&with("resource.owner == principal"));
    assert!(
        found.contains(".cedar:3: policy `owned`: unable to guarantee safety of access to optional attribute `owner`"),
        "{found}"
    );
    assert!(found.contains("`e has owner && ..`"), "what to do is said: {found}");
    assert_eq!(refusal(&with("resource has owner && resource.owner == principal")), "");
}

#[test]
fn fault_48_a_policy_bomb_is_refused_before_it_goes_off() {
    let started = Instant::now();
    let groups = |length: usize| {
        let uid = |at: usize| format!("{{\"type\":\"Group\",\"id\":\"{at}\"}}");
        let group = |at: usize| format!("{{\"uid\":{},\"attrs\":{{}},\"parents\":[{}]}}", uid(at), uid(at + 1));
        format!("[\n{}]", (0..length).map(group).collect::<Vec<_>>().join(",\n"))
    };
    let deep = PolicyDir::shipped();
    std::fs::write(deep.path().join("entities.json"), groups(50_000)).unwrap();
    assert_eq!(refusal(&deep), "entities.json: the hierarchy is deeper than 64");

    let doubled: String = (0..60).map(|at| format!("type T{at} = {{ a: T{0}, b: T{0} }};\n", at + 1)).collect();
    let laughs = PolicyDir::shipped();
    let schema = format!("{doubled} type T60 = Long; entity Laughing = {{ it: T0 }};");
    std::fs::write(laughs.path().join("laughs.cedarschema"), schema).unwrap();
    assert!(refusal(&laughs).contains("fields, common types written out"));

    let nested =
        format!("forbid (principal, action, resource) when {{ {}true{} }};", "(".repeat(9_999), ")".repeat(9_999));
    assert!(refusal(&PolicyDir::shipped().and(&nested)).contains("brackets nest deeper than 64"));

    let wide = PolicyDir::shipped().and(&"permit (principal, action, resource);".repeat(250_001));
    assert!(refusal(&wide).contains("holds more than 250000 policies"));
    assert!(started.elapsed() < Duration::from_secs(60), "{:?}", started.elapsed());
}

#[test]
fn case_42_a_gate_that_nobody_could_ever_open_is_told_at_load() {
    let closed = PolicyDir::shipped().but(
        "service.cedar",
        "action == Countersign::Action::\"review\"",
        "action == Countersign::Action::\"cancel\"",
    );
    let told = |problems: &[Problem], level: Level| {
        let of_gates = problems.iter().filter(|problem| problem.message.starts_with("no permit lets any"));
        of_gates.filter(|problem| problem.level == level && problem.excerpt.is_some()).count()
    };
    let settings = Settings::new(closed.path());
    let refused = PolicySnapshot::load(&settings).unwrap_err().problems;
    assert_eq!(told(&refused, Level::Error), 2, "{refused:?}");
    let allowed = PolicySnapshot::load(&Settings { allow_unreviewable_gates: true, ..settings }).unwrap();
    assert_eq!(told(allowed.warnings(), Level::Warning), 2, "{:?}", allowed.warnings());
}
