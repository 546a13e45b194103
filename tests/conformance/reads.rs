//! Lists, hints, and what the journals say.

use std::collections::HashMap;
use std::time::Duration;

use countersign::domain::{ApprovalId, ApprovalState, EntityUid, Fact, GrantTerms, Outcome, Reason};
use countersign::store::{Page, Seen};
use tokio::time::timeout;

use super::stage::{HOUR, Stage};
use crate::support::facts::{self, approved, cancelled, consumption, decision, fact, reviewed};

/// Within which a lost hint must be made good.
const HEALED: Duration = Duration::from_secs(3);

/// All that a page shows, page by page.
async fn listed(stage: &Stage, page: Page) -> Vec<ApprovalId> {
    let (mut all, mut page) = (Vec::new(), page);
    loop {
        let listed = stage.other().list(&page).await.unwrap();
        assert!(listed.approvals.len() <= page.size);
        all.extend(listed.approvals.iter().map(|approval| approval.id()));
        page.before = listed.more;
        if page.before.is_none() {
            return all;
        }
    }
}

async fn opened_by(stage: &Stage, principal: &str, rows: i64) -> ApprovalId {
    let query = facts::export(principal, rows);
    let opening = facts::opening(&query, stage.now(), HOUR, facts::requirement(1, GrantTerms::Once));
    stage.commit(&fact(&opening), Seen::Slot(None)).await.unwrap();
    opening.approval.unwrap()
}

pub async fn pages_go_from_the_newest_to_the_oldest_and_show_each_once(stage: &Stage) {
    let mut ids = Vec::new();
    for number in 0..23 {
        ids.push(opened_by(stage, &format!("bot-{}", number / 7), number).await);
    }
    ids.sort_unstable();
    ids.reverse();
    for size in [1, 5, 23, 100] {
        assert_eq!(listed(stage, Page { size, ..Page::default() }).await, ids, "by {size}");
    }
    let before = Page { size: 100, before: Some(ids[10]), ..Page::default() };
    assert_eq!(listed(stage, before).await, ids[11..]);
}

pub async fn a_page_shows_only_what_it_asks_for(stage: &Stage) {
    let (mine, others) = (opened_by(stage, "mine", 1).await, opened_by(stage, "other", 2).await);
    let settled = opened_by(stage, "mine", 3).await;
    let settled = stage.approval(settled).await;
    stage.advance(&settled, cancelled(stage.now())).await;
    let page = || Page { size: 10, ..Page::default() };
    let of_mine = Page { principal: Some(EntityUid::new("Agent", "mine")), ..page() };
    assert_eq!(listed(stage, of_mine.clone()).await, [settled.id(), mine]);
    let pending = Page { states: vec!["pending"], ..page() };
    assert_eq!(listed(stage, pending).await, [others, mine]);
    let both = Page { states: vec!["cancelled"], ..of_mine };
    assert_eq!(listed(stage, both).await, [settled.id()]);
    let nothing = Page { resource: Some(EntityUid::new("Dataset", "weather")), ..page() };
    assert!(listed(stage, nothing).await.is_empty());
}

pub async fn a_change_wakes_whoever_took_the_hint_before(stage: &Stage) {
    let pending = stage.open(1, 2).await;
    let other = stage.other().clone();
    let id = pending.id();
    let waiter = tokio::spawn(async move {
        loop {
            let changes = other.changes(id);
            let approval = other.approval(id).await.unwrap().unwrap();
            if approval.state != ApprovalState::Pending {
                return approval;
            }
            changes.changed().await;
        }
    });
    let once = stage.advance(&pending, reviewed("alice", stage.now())).await;
    let twice = stage.advance(&once, approved("bob", &once, stage.now(), HOUR)).await;
    let seen = timeout(HEALED, waiter).await.expect("woken").unwrap();
    assert_eq!(seen, twice);
}

pub async fn every_fact_is_in_exactly_one_journal(stage: &Stage) {
    let mut expected = Vec::new();
    for (rows, replica) in (0..6).zip(stage.in_turn()) {
        let query = facts::export("bot", rows);
        let opening = facts::opening(&query, stage.now(), HOUR, facts::requirement(1, GrantTerms::Once));
        replica.commit(fact(&opening), Seen::Slot(None)).await.unwrap();
        let pending = replica.approval(opening.approval.unwrap()).await.unwrap().unwrap();
        let granted = stage.advance(&pending, approved("alice", &pending, stage.now(), HOUR)).await;
        let used = consumption(&granted, stage.now());
        replica.commit(fact(&used), Seen::Version(granted.version)).await.unwrap();
        expected.extend([opening.id, used.id]);
    }
    let (mut decisions, mut moves) = (HashMap::new(), 0);
    for log in &stage.logs {
        let records = log.read_raw(1, 1_000, 1 << 20).unwrap();
        assert!(records.is_sorted_by_key(|raw| raw.at), "time never goes back in a journal");
        for raw in records {
            match raw.parse(log.vault()).unwrap().fact {
                Fact::Decided(decided) => *decisions.entry(decided.id).or_insert(0) += 1,
                Fact::Moved(_) => moves += 1,
                _ => {}
            }
        }
    }
    assert!(expected.iter().all(|id| decisions.get(id) == Some(&1)) && decisions.len() == expected.len());
    assert_eq!(moves, 6);
}

pub async fn plain_decisions_are_recorded_and_change_nothing(stage: &Stage) {
    let query = facts::export("bot", 1);
    let mut last = 0;
    for (outcome, reason) in [(Outcome::Allow, Reason::Permitted), (Outcome::Deny, Reason::Forbidden)] {
        let committed = stage.commit(&fact(&decision(&query, outcome, reason)), Seen::Nothing).await.unwrap();
        assert!(committed.sequence() > last);
        last = committed.sequence();
    }
    let binding = countersign::domain::Binding::of(&query);
    assert!(stage.other().standing(binding).await.unwrap().is_none());
    assert!(listed(stage, Page { size: 10, ..Page::default() }).await.is_empty());
}
