//! What was seen against what was expected; every difference is a sentence.

use std::collections::BTreeSet;
use std::sync::Arc;

use super::cast::Cast;
use super::scenario::{Scenario, Seen};
use super::suite::{Deed, Expected};

impl Expected {
    /// Whether an answer is wanted, or only a look at what stands.
    pub(super) fn wants_answer(&self) -> bool {
        self.outcome.is_some()
            || self.reason.is_some()
            || [&self.determining, &self.gates, &self.mask, &self.advice].iter().any(|list| list.is_some())
    }
}

/// What the answer should have been.
pub(super) fn answer(expected: &Expected, seen: &Seen) -> Vec<String> {
    let mut failures = Vec::new();
    if let Some(outcome) = expected.outcome.filter(|outcome| *outcome != seen.outcome) {
        failures.push(format!("outcome: expected {}, was {}", outcome.name(), told(seen)));
    }
    if let Some(reason) = expected.reason.as_ref().filter(|reason| **reason != seen.reason) {
        failures.push(format!("reason: expected {reason}, was {}", told(seen)));
    }
    let lists = [
        ("determining", &expected.determining, &seen.determining),
        ("gates", &expected.gates, &seen.gates),
        ("mask", &expected.mask, &seen.mask),
        ("advice", &expected.advice, &seen.advice),
    ];
    failures.extend(lists.into_iter().filter_map(|(name, expected, seen)| same(name, expected.as_ref()?, seen)));
    failures
}

fn same(name: &str, expected: &[String], seen: &[String]) -> Option<String> {
    let sorted = |list: &[String]| list.iter().cloned().collect::<BTreeSet<_>>();
    let (expected, seen) = (sorted(expected), sorted(seen));
    (expected != seen).then(|| format!("{name}: expected {}, was {}", listed(&expected), listed(&seen)))
}

fn listed(names: &BTreeSet<String>) -> String {
    if names.is_empty() { "nothing".to_owned() } else { names.iter().cloned().collect::<Vec<_>>().join(", ") }
}

/// The answer, with what made it.
fn told(seen: &Seen) -> String {
    let mut text = format!("{} ({}", seen.outcome.name(), seen.reason);
    for (word, names) in
        [(", by ", &seen.determining), (", gates ", &seen.gates), (", could not be evaluated: ", &seen.errors)]
    {
        if !names.is_empty() {
            text.push_str(word);
            text.push_str(&names.join(", "));
        }
    }
    text.push(')');
    if let Some(message) = &seen.message {
        text.push_str(": ");
        text.push_str(message);
    }
    text
}

/// What should stand: the approval's state, and who may do what with it.
pub(super) fn standing(expected: &Expected, scenario: &mut Scenario<'_>, cast: &Cast<'_>) -> Vec<String> {
    let mut failures = Vec::new();
    let state = scenario.approval().map_or("none", |approval| approval.state.name());
    if let Some(wanted) = expected.state.as_ref().filter(|wanted| *wanted != state) {
        failures.push(format!("state: expected {wanted}, was {state}"));
    }
    for (lists, may) in [(&expected.may, true), (&expected.may_not, false)] {
        for (deed, people) in lists {
            failures.extend(people.iter().filter_map(|name| right(scenario, cast, *deed, name, may)));
        }
    }
    failures
}

fn right(scenario: &mut Scenario<'_>, cast: &Cast<'_>, deed: Deed, name: &str, expected: bool) -> Option<String> {
    let person = match cast.identity(name) {
        Ok(person) => Arc::new(person),
        Err(message) => return Some(message),
    };
    if scenario.approval().is_none() {
        return Some(format!("{}: there is no approval", deed.name()));
    }
    let may = scenario.may(&person, deed);
    let word = |may| if may { "may" } else { "may not" };
    (may != expected).then(|| format!("`{name}` {} {}: expected the contrary", word(may), deed.name()))
}
