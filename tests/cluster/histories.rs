//! The checker checked: a good history has nothing against it, and each bad one is found out for what is bad in it.

use std::sync::Arc;
use std::time::Duration;

use countersign::domain::{Approval, Change, Decided, Fact, GrantTerms, Outcome, Reason, Timestamp, Transition};

use super::checker::{History, Line, Place, Shown, Told};
use crate::support::facts::{
    self, approved, cancelled, consumption, decision, fact, moved, opening, rejected, reviewed, revoked,
};

const NOW: Timestamp = Timestamp::from_micros(1_800_000_000_000_000);
const HOUR: Duration = Duration::from_secs(3_600);

/// A life from the question to the use, over two journals, as the store ordered it.
struct Life {
    facts: Vec<(usize, Fact)>,
    approval: Arc<Approval>,
    used: Decided,
}

fn life() -> Life {
    let query = facts::export("bot", 1);
    let opened = opening(&query, NOW, HOUR, facts::requirement(2, GrantTerms::Once));
    let Change::Opened(opening) = &opened.change else { panic!("an opening") };
    let pending = Approval::opened(opening.clone());
    let first = reviewed("alice", NOW);
    let once = pending.apply(&first).unwrap();
    let second = approved("bob", &once, NOW, HOUR);
    let granted = once.apply(&second).unwrap();
    let used = consumption(&granted, NOW);
    let facts = vec![(0, fact(&opened)), (1, moved(&pending, first)), (0, moved(&once, second)), (1, fact(&used))];
    Life { facts, approval: Arc::new(granted), used }
}

fn history(facts: &[(usize, Fact)]) -> History {
    let place = |number: usize| Some(Place { shard: "0".into(), number: number as u64 + 1 });
    let line = |(number, (journal, fact)): (usize, &(usize, Fact))| Line {
        journal: *journal,
        place: place(number),
        fact: fact.clone(),
    };
    History { lines: facts.iter().enumerate().map(line).collect(), ..History::default() }
}

fn told(decided: &Decided) -> Told {
    Told::Decision { id: decided.id, outcome: decided.outcome, approval: decided.approval }
}

/// Asserts that exactly this is held against a history.
#[track_caller]
fn assert_found(history: &History, what: &str) {
    let violations = history.check().violations;
    assert!(violations.iter().any(|violation| violation.contains(what)), "{what}: {violations:?}");
}

#[test]
fn a_good_history_has_nothing_against_it() {
    let Life { facts, approval, used } = life();
    let mut history = history(&facts);
    history.lines.push(Line {
        journal: 1,
        place: None,
        fact: fact(&decision(&approval.opening.query, Outcome::Deny, Reason::GrantConsumed)),
    });
    let who = facts::person("alice").uid.to_string();
    history.told = vec![told(&used), Told::Vote { approval: approval.id(), who }];
    history.shown = vec![Shown { replica: 0, approval: approval.id(), state: "consumed".into() }];
    // The maker wrote it down, died before it could say so, and another one did as well.
    let again = Line { journal: 1, ..history.lines[0].clone() };
    history.lines.push(again);
    let findings = history.check();
    assert_eq!((findings.violations, findings.doubled, findings.approvals), (Vec::<String>::new(), 1, 1));
}

#[test]
fn two_uses_of_one_grant_are_found() {
    let mut life = life();
    let second = consumption(&life.approval, NOW);
    let mut told_twice = history(&life.facts);
    told_twice.told = vec![told(&life.used), told(&second)];
    assert_found(&told_twice, "two were let act on one grant");
    life.facts.push((0, fact(&second)));
    assert_found(&history(&life.facts), "cannot become consumed");
}

#[test]
fn two_settlements_are_found() {
    let Life { mut facts, approval, .. } = life();
    facts.insert(3, (1, moved(&approval, rejected("carol", NOW))));
    assert_found(&history(&facts), "cannot become rejected");
    let Life { mut facts, approval, .. } = life();
    facts.insert(1, (1, moved(&approval, Transition::Expired { at: approval.opening.deadline })));
    assert_found(&history(&facts), "cannot become reviewed");
}

#[test]
fn a_use_after_a_revocation_is_found() {
    let Life { mut facts, approval, .. } = life();
    facts.insert(3, (0, moved(&approval, revoked(NOW))));
    assert_found(&history(&facts), "cannot become consumed");
}

#[test]
fn a_quorum_of_one_person_twice_is_found() {
    let Life { mut facts, approval, .. } = life();
    facts[2].1 = moved(&approval, approved("alice", &approval, NOW, HOUR));
    assert_found(&history(&facts), "is there twice");
    assert_found(&history(&facts), "granted by 1 of 2 people");
}

#[test]
fn a_quorum_with_a_machine_or_too_few_is_found() {
    let Life { mut facts, approval, .. } = life();
    facts.remove(1);
    assert_found(&history(&facts), "granted by 1 of 2 people");
    let mut review = facts::review("bot", countersign::domain::Verdict::Approve, NOW);
    review.reviewer = facts::agent("helper");
    facts.insert(1, (0, moved(&approval, Transition::Reviewed(review))));
    assert_found(&history(&facts), "is no human");
}

#[test]
fn a_vote_or_a_use_that_is_too_late_is_found() {
    let Life { mut facts, approval, .. } = life();
    facts[1].1 = moved(&approval, reviewed("alice", approval.opening.deadline));
    assert_found(&history(&facts), "reviewed after the deadline");
    let Life { mut facts, approval, .. } = life();
    facts[3].1 = fact(&consumption(&approval, NOW.after(HOUR)));
    assert_found(&history(&facts), "consumed after the deadline");
}

#[test]
fn what_is_unlogged_is_found() {
    let Life { facts, approval, used } = life();
    assert_found(&history(&facts[1..]), "without an opening");
    let mut gap = history(&facts);
    gap.lines.remove(1);
    assert_found(&gap, "events 2 to 2 of shard 0 are in no journal");
    let mut short = history(&facts[..3]);
    short.told = vec![told(&used)];
    assert_found(&short, "was told and is in no journal");
    short.told = vec![Told::Vote { approval: approval.id(), who: facts::person("carol").uid.to_string() }];
    assert_found(&short, "was acknowledged and is in no journal");
    short.told = vec![Told::Settled { approval: approval.id(), state: "cancelled" }];
    assert_found(&short, "cancelled was told");
    short.told.clear();
    short.shown =
        vec![Shown { replica: 1, approval: facts::approval_id(approval.opening.binding), state: "pending".into() }];
    assert_found(&short, "is shown by replica 1 and is in no journal");
}

#[test]
fn an_acknowledged_write_that_the_store_lost_is_found() {
    let Life { facts, approval, .. } = life();
    for state in ["pending", "approved"] {
        let mut lost = history(&facts);
        lost.shown = vec![Shown { replica: 0, approval: approval.id(), state: state.into() }];
        assert_found(&lost, "is consumed on record");
    }
}

#[test]
fn what_a_store_lost_has_to_be_settled_on_record_and_a_shard_that_began_anew_counts_on() {
    let Life { facts, approval, .. } = life();
    let lost = |count: usize| {
        let mut history = history(&facts[..count]);
        history.lines.iter_mut().for_each(|line| line.place.as_mut().unwrap().shard = "0 of b".into());
        history.shown = vec![Shown { replica: 0, approval: approval.id(), state: "nothing".into() }];
        History { loses: true, ..history }
    };
    assert_found(&lost(3), "is open on record");
    let mut denied = lost(3);
    let lapsed = moved(&approval, Transition::Lapsed { at: NOW });
    let line =
        |number| Line { journal: 0, place: Some(Place { shard: "0 of a".into(), number }), fact: lapsed.clone() };
    denied.lines.push(line(4));
    assert_eq!(denied.check().violations, Vec::<String>::new());
    *denied.lines.last_mut().unwrap() = line(6);
    assert_found(&denied, "events 4 to 5 of shard 0 of a are in no journal");
}

#[test]
fn an_event_that_is_journaled_twice_or_differently_is_found() {
    let Life { facts, approval, .. } = life();
    let mut twice = history(&facts);
    twice.lines.push(twice.lines[0].clone());
    assert_found(&twice, "is twice in journal 0");
    let mut otherwise = history(&facts);
    let place = otherwise.lines[2].place.clone();
    otherwise.lines.push(Line { journal: 1, place, fact: moved(&approval, cancelled(NOW)) });
    assert_found(&otherwise, "one thing in one journal and another in the next");
    // Under another place it is another event.
    let mut again = facts.clone();
    again.push(facts[0].clone());
    assert_found(&history(&again), "opened twice");
}
