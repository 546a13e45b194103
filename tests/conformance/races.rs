//! Writers at the same time, on all replicas: one wins, the others are told that they lost.

use std::sync::Arc;

use countersign::domain::{
    Approval, ApprovalState, Change, Decided, GrantTerms, IdempotencyKey, Outcome, Reason, Timestamp,
};
use countersign::store::{Answered, CommitError, Seen, Store};
use futures_util::future::join_all;

use super::stage::{HOUR, Stage, assert_conflict, is_conflict};
use crate::support::facts::{
    self, approved, cancelled, consumption, decision, fact, moved, rejected, reviewed, revoked,
};

const WRITERS: usize = 8;
const ROUNDS: i64 = 10;

/// Commits all at once, in turn on all replicas; says how many won. Nothing but a lost race may keep one from it.
async fn winners(stage: &Stage, facts: Vec<countersign::domain::Fact>, seen: Seen) -> usize {
    let commits = facts.into_iter().zip(stage.in_turn()).map(|(fact, replica)| {
        let replica = replica.clone();
        tokio::spawn(async move { replica.commit(fact, seen).await })
    });
    let results: Vec<_> = join_all(commits).await.into_iter().map(|ended| ended.expect("no panic")).collect();
    assert!(results.iter().all(|result| result.is_ok() || is_conflict(result)), "{results:?}");
    results.iter().filter(|result| result.is_ok()).count()
}

pub async fn of_many_openings_at_once_one_stands(stage: &Stage) {
    for rows in 0..5 {
        let query = facts::export("bot", rows);
        let opening = || facts::opening(&query, stage.now(), HOUR, facts::requirement(1, GrantTerms::Once));
        let all: Vec<_> = (0..WRITERS).map(|_| opening()).collect();
        assert_eq!(winners(stage, all.iter().map(fact).collect(), Seen::Slot(None)).await, 1);
        let standing = stage.other().standing(all[0].binding).await.unwrap().unwrap();
        let mut there = 0;
        for opening in &all {
            there += usize::from(stage.one().approval(opening.approval.unwrap()).await.unwrap().is_some());
        }
        assert!(there == 1 && all.iter().any(|opening| opening.approval == Some(standing.id())));
    }
}

pub async fn an_opening_that_saw_nothing_loses_to_one_that_stands(stage: &Stage) {
    let pending = stage.open(1, 1).await;
    let blind = facts::opening(&pending.opening.query, stage.now(), HOUR, facts::requirement(1, GrantTerms::Once));
    let lost = stage.other().commit(fact(&blind), Seen::Slot(None)).await;
    assert_conflict(&lost);
}

pub async fn of_two_votes_on_one_version_one_counts(stage: &Stage) {
    for rows in 0..ROUNDS {
        let pending = stage.open(rows, 3).await;
        let votes = ["alice", "bob", "carol"].map(|who| moved(&pending, reviewed(who, stage.now())));
        assert_eq!(winners(stage, votes.into(), Seen::Version(pending.version)).await, 1);
        let after = stage.approval(pending.id()).await;
        assert_eq!((after.reviews.len(), after.version), (1, 2));
        stage.advance(&after, cancelled(stage.now())).await;
    }
}

pub async fn of_many_redeemers_at_once_one_wins(stage: &Stage) {
    for rows in 0..ROUNDS {
        let granted = stage.granted(rows, GrantTerms::Once).await;
        let uses: Vec<_> = (0..WRITERS).map(|_| consumption(&granted, stage.now())).collect();
        assert_eq!(winners(stage, uses.iter().map(fact).collect(), Seen::Version(granted.version)).await, 1);
        let used = stage.approval(granted.id()).await;
        let ApprovalState::Consumed(usage) = &used.state else { panic!("{}", used.state) };
        assert!(uses.iter().any(|decided| decided.id == usage.decision));
    }
}

pub async fn of_a_vote_a_rejection_and_a_withdrawal_at_once_one_settles(stage: &Stage) {
    for rows in 0..ROUNDS {
        let pending = stage.open(rows, 1).await;
        let now = stage.now();
        let all = [approved("alice", &pending, now, HOUR), rejected("bob", now), cancelled(now)];
        let all = all.map(|transition| moved(&pending, transition)).into();
        assert_eq!(winners(stage, all, Seen::Version(pending.version)).await, 1);
        let after = stage.approval(pending.id()).await;
        assert!(after.version == 2 && after.state != ApprovalState::Pending);
    }
}

fn key(text: &str) -> IdempotencyKey {
    IdempotencyKey { caller: facts::agent("bot").uid.clone(), key: text.into() }
}

fn under(text: &str, decided: Decided) -> Decided {
    Decided { idempotency_key: Some(text.into()), ..decided }
}

async fn answered(store: &Arc<dyn Store>, text: &str, decided: &Decided) -> Option<Arc<Decided>> {
    match store.answered(key(text), decided.binding).await.unwrap() {
        Answered::Earlier(earlier) => Some(earlier),
        Answered::Nothing => None,
        Answered::OtherQuery => panic!("the key is this query's"),
    }
}

/// The answer of an opening, of a vote's effect, and of a redemption under keys of their own.
pub async fn an_answer_under_a_key_is_read_back_and_not_given_twice(stage: &Stage) {
    let query = facts::export("bot", 1);
    let opening = || under("ask", facts::opening(&query, stage.now(), HOUR, facts::requirement(1, GrantTerms::Once)));
    let first = opening();
    stage.commit(&fact(&first), Seen::Slot(None)).await.unwrap();
    assert_eq!(answered(stage.other(), "ask", &first).await.map(|decided| decided.id), Some(first.id));
    assert!(answered(stage.other(), "another", &first).await.is_none());
    let pending = stage.approval(first.approval.unwrap()).await;
    let standing = Seen::Slot(Some((pending.id(), pending.version)));
    assert_conflict(&stage.commit(&fact(&opening()), standing).await);
    let granted = stage.advance(&pending, approved("alice", &pending, stage.now(), HOUR)).await;
    let used = under("use", consumption(&granted, stage.now()));
    stage.redeem(&used, &granted).await.unwrap();
    let told = answered(stage.other(), "use", &used).await.expect("an answer");
    assert_eq!((told.id, told.outcome, told.approval), (used.id, Outcome::Allow, used.approval));
    // The same answer again, in sight of it, changes nothing.
    let after = stage.approval(granted.id()).await;
    let again = Decided { repeats: Some(used.id), follows: Some(used.id), change: Change::None, ..used.clone() };
    let again = Decided { id: decision(&query, Outcome::Allow, Reason::Granted).id, ..again };
    stage.other().commit(fact(&again), Seen::Version(after.version)).await.unwrap();
    assert_eq!(stage.approval(granted.id()).await, after);
}

pub async fn one_key_at_once_has_one_answer(stage: &Stage) {
    for rows in 0..5 {
        let query = facts::export("bot", rows);
        let text = format!("key-{rows}");
        let opening =
            || under(&text, facts::opening(&query, stage.now(), HOUR, facts::requirement(1, GrantTerms::Once)));
        let all: Vec<_> = (0..WRITERS).map(|_| opening()).collect();
        assert_eq!(winners(stage, all.iter().map(fact).collect(), Seen::Slot(None)).await, 1);
        let told = answered(stage.other(), &text, &all[0]).await.expect("an answer");
        let standing = stage.other().standing(told.binding).await.unwrap().unwrap();
        assert_eq!(told.approval, Some(standing.id()));
    }
}

pub async fn a_granted_answer_is_not_repeated_across_a_revocation(stage: &Stage) {
    let granted = stage.granted(1, GrantTerms::For(HOUR)).await;
    let first = under("key", facts::usage(&granted, stage.now()));
    stage.redeem(&first, &granted).await.unwrap();
    let used = stage.approval(granted.id()).await;
    let id = decision(&granted.opening.query, Outcome::Allow, Reason::Granted).id;
    let repeat =
        Decided { id, repeats: Some(first.id), follows: Some(first.id), change: Change::None, ..first.clone() };
    stage.advance(&used, revoked(stage.now())).await;
    assert_conflict(&stage.other().commit(fact(&repeat), Seen::Version(used.version)).await);
}

async fn try_open(stage: &Stage, rows: i64, now: Timestamp) -> Result<Arc<Approval>, CommitError> {
    try_open_as("busy", stage, rows, now).await
}

async fn try_open_as(who: &str, stage: &Stage, rows: i64, now: Timestamp) -> Result<Arc<Approval>, CommitError> {
    let query = facts::export(who, rows);
    let opening = facts::opening(&query, now, HOUR, facts::requirement(1, GrantTerms::Once));
    stage.commit(&fact(&opening), Seen::Slot(None)).await?;
    Ok(stage.approval(opening.approval.unwrap()).await)
}

pub async fn an_opening_over_a_limit_is_refused_by_the_limits_name_until_one_settles(stage: &Stage) {
    let most = super::stage::limits().pending_per_principal_max as i64;
    let mut all = Vec::new();
    for rows in 0..most {
        all.push(try_open(stage, rows, stage.now()).await.unwrap());
    }
    let over = try_open(stage, most, stage.now()).await;
    assert!(matches!(over, Err(CommitError::TooMany { limit: "pending_per_principal_max", .. })), "{over:?}");
    stage.open(1, 1).await;
    stage.advance(&all[0], cancelled(stage.now())).await;
    try_open(stage, most, stage.now()).await.expect("room again");
    let over = try_open(stage, most + 1, stage.now()).await;
    assert!(matches!(over, Err(CommitError::TooMany { limit: "pending_per_principal_max", .. })), "{over:?}");
}

pub async fn who_asks_for_another_fills_no_place_that_the_other_needs(stage: &Stage) {
    let most = super::stage::limits().pending_per_principal_max as i64;
    let open = async |caller: &str, rows: i64| {
        let query = facts::export("spoken-for", rows);
        let opening = facts::opening(&query, stage.now(), HOUR, facts::requirement(1, GrantTerms::Once));
        let opening = facts::asked_by(caller, opening);
        stage.commit(&fact(&opening), Seen::Slot(None)).await.map(|_| opening)
    };
    let first = open("gateway", 0).await.unwrap();
    for rows in 1..most {
        open("gateway", rows).await.unwrap();
    }
    let over = open("gateway", most).await;
    assert!(matches!(over, Err(CommitError::TooMany { limit: "pending_per_principal_max", .. })), "{over:?}");
    open("spoken-for", most).await.expect("its own places are its own");
    let first = stage.approval(first.approval.unwrap()).await;
    stage.advance(&first, cancelled(stage.now())).await;
    open("gateway", most + 1).await.expect("its place is given back");
}

pub async fn openings_are_counted_by_the_minute_whatever_becomes_of_them(stage: &Stage) {
    let most = super::stage::limits().openings_per_minute_max as i64;
    for rows in 0..most {
        let opened = try_open_as("hasty", stage, rows, stage.now()).await.unwrap();
        stage.advance(&opened, cancelled(stage.now())).await;
    }
    let over = try_open_as("hasty", stage, most, stage.now()).await;
    let Err(CommitError::TooFast { limit: "openings_per_minute_max", retry_after, .. }) = over else {
        panic!("{over:?}");
    };
    assert!((1..=60).contains(&retry_after.as_secs()), "{retry_after:?}");
    try_open_as("patient", stage, most, stage.now()).await.expect("nobody else notices");
    if stage.moves_time() {
        stage.reach(stage.now().after(retry_after)).await;
        try_open_as("hasty", stage, most, stage.now()).await.expect("room again");
    }
}

pub async fn asking_again_for_what_was_taken_back_is_another_opening(stage: &Stage) {
    let most = super::stage::limits().openings_per_minute_max;
    let query = facts::export("hasty", 1);
    let mut slot = None;
    for (number, store) in (0..=most).zip([stage.one(), stage.other()].into_iter().cycle()) {
        let opening = facts::opening(&query, stage.now(), HOUR, facts::requirement(1, GrantTerms::Once));
        let asked = store.commit(fact(&opening), Seen::Slot(slot)).await;
        if number == most {
            assert!(matches!(asked, Err(CommitError::TooFast { limit: "openings_per_minute_max", .. })), "{asked:?}");
            return;
        }
        asked.unwrap();
        // The answer to who takes it back may come after the next question.
        let opened = stage.approval(opening.approval.unwrap()).await;
        let taken_back = stage.advance(&opened, cancelled(stage.now())).await;
        slot = Some((taken_back.id(), taken_back.version));
    }
}
