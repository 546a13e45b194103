//! Deadlines, by the store's clock and in the step that writes.

use std::time::Duration;

use countersign::domain::{ApprovalId, ApprovalState, GrantTerms, Report, Timestamp, Transition};
use tokio::time::timeout;

use super::stage::{HOUR, SPAN, Stage, assert_conflict};
use crate::support::facts::{self, approved, cancelled, consumption, reviewed};

/// Far longer than a wake-up takes.
const PATIENCE: Duration = Duration::from_secs(10);
const LIMIT: usize = 100;

pub async fn a_vote_at_the_deadline_is_too_late_and_expiry_is_not_early(stage: &Stage) {
    let pending = stage.open_for(1, 2, GrantTerms::Once, SPAN).await;
    let deadline = pending.opening.deadline;
    assert_conflict(&stage.try_advance(&pending, Transition::Expired { at: deadline }).await);
    let once = stage.advance(&pending, reviewed("alice", stage.now())).await;
    stage.reach(deadline).await;
    assert!(matches!(once.state_at(stage.now()), ApprovalState::Expired { .. }), "for every reader");
    // Whatever its author says the time is.
    assert_conflict(&stage.try_advance(&once, approved("bob", &once, deadline.before(SPAN), HOUR)).await);
    assert_conflict(&stage.try_advance(&once, cancelled(deadline.before(SPAN))).await);
    let expired = stage.advance(&once, Transition::Expired { at: deadline }).await;
    assert_eq!(expired.state, ApprovalState::Expired { at: deadline });
    assert_conflict(&stage.try_advance(&once, Transition::Expired { at: deadline }).await);
}

pub async fn a_grant_lapses_at_its_moment_and_not_before(stage: &Stage) {
    let pending = stage.open(1, 1).await;
    let granted = stage.advance(&pending, approved("alice", &pending, stage.now(), SPAN)).await;
    let ApprovalState::Approved(grant) = &granted.state else { panic!("{}", granted.state) };
    let at = grant.lapses_at;
    assert_conflict(&stage.try_advance(&granted, Transition::Lapsed { at }).await);
    stage.reach(at).await;
    assert_conflict(&stage.redeem(&consumption(&granted, at.before(SPAN)), &granted).await);
    let lapsed = stage.advance(&granted, Transition::Lapsed { at }).await;
    assert_eq!(lapsed.state, ApprovalState::Lapsed { at });
}

async fn due(stage: &Stage) -> Vec<ApprovalId> {
    let due = stage.other().due(stage.other().now(), LIMIT).await.unwrap();
    due.iter().map(|approval| approval.id()).collect()
}

pub async fn what_is_due_is_listed_by_everybody_until_somebody_settles_it(stage: &Stage) {
    let mut soon = Vec::new();
    for rows in 0..5 {
        soon.push(stage.open_for(rows, 1, GrantTerms::Once, SPAN).await);
    }
    let later = stage.open(9, 1).await;
    assert!(due(stage).await.is_empty());
    let last = soon.iter().map(|approval| approval.opening.deadline).max().unwrap();
    stage.reach(last).await;
    timeout(PATIENCE, stage.other().until_due()).await.expect("awake when something is due");
    let mut listed = due(stage).await;
    listed.sort_unstable();
    assert_eq!(listed, soon.iter().map(|approval| approval.id()).collect::<Vec<_>>());
    assert_eq!(stage.one().due(last, 2).await.unwrap().len(), 2);
    for approval in &soon {
        stage.advance(approval, Transition::Expired { at: approval.opening.deadline }).await;
    }
    assert!(due(stage).await.is_empty() && stage.approval(later.id()).await.state == ApprovalState::Pending);
}

pub async fn sleepers_wake_for_an_earlier_deadline(stage: &Stage) {
    stage.open(1, 1).await;
    let other = stage.other().clone();
    let sleeper = tokio::spawn(async move {
        loop {
            other.until_due().await;
            let due = other.due(other.now(), LIMIT).await.unwrap();
            if let Some(first) = due.first() {
                return first.id();
            }
        }
    });
    let sooner = stage.open_for(2, 1, GrantTerms::Once, SPAN).await;
    stage.reach(sooner.opening.deadline).await;
    let woken = timeout(PATIENCE, sleeper).await.expect("woken by the earlier one").unwrap();
    assert_eq!(woken, sooner.id());
}

pub async fn silence_about_a_use_is_recorded_after_the_lease(stage: &Stage) {
    let granted = stage.granted(1, GrantTerms::Once).await;
    let mut used = consumption(&granted, stage.now());
    let countersign::domain::Change::Redeemed(Transition::Consumed { report_by, .. }) = &mut used.change else {
        panic!("a use");
    };
    *report_by = stage.now().after(SPAN);
    let by = *report_by;
    stage.redeem(&used, &granted).await.unwrap();
    let consumed = stage.approval(granted.id()).await;
    assert_conflict(&stage.try_advance(&consumed, Transition::Reported(Report::Unknown)).await);
    stage.reach(by).await;
    let unknown = stage.advance(&consumed, Transition::Reported(Report::Unknown)).await;
    let late = stage.advance(&unknown, Transition::Reported(Report::Failed)).await;
    let ApprovalState::Consumed(usage) = &late.state else { panic!("{}", late.state) };
    assert_eq!(usage.report, Some(Report::Failed));
}

pub async fn the_clock_never_goes_back_and_is_the_same_for_all(stage: &Stage) {
    let mut last = Timestamp::default();
    for replica in stage.in_turn().take(1_000) {
        let now = replica.now();
        // Replicas estimate one clock, each a little differently.
        assert!(now >= last.before(Duration::from_millis(100)), "{now} after {last}");
        last = last.max(now);
    }
    let of_one: Vec<_> = (0..1_000).map(|_| stage.one().now()).collect();
    assert!(of_one.is_sorted());
}

pub async fn what_only_tells_people_is_recorded_once_before_anything_else_and_not_early(stage: &Stage) {
    let mut gate = facts::requirement(2, GrantTerms::Once).gates()[0].clone();
    gate.reminders = vec![SPAN];
    let requirement = countersign::domain::Requirement::new(vec![gate]).unwrap();
    let opening = facts::opening(&facts::export("bot", 1), stage.now(), HOUR, requirement);
    stage.commit(&facts::fact(&opening), countersign::store::Seen::Slot(None)).await.unwrap();
    let asked = stage.approval(opening.approval.unwrap()).await;
    let at = asked.opening.opened_at.after(SPAN);
    let reminded = Transition::Reminded { at };
    assert_conflict(&stage.try_advance(&asked, reminded.clone()).await);
    stage.reach(at).await;
    assert_conflict(&stage.try_advance(&asked, reviewed("alice", stage.now())).await);
    let due = stage.other().due(stage.now(), 10).await.unwrap();
    assert!(due.iter().any(|approval| approval.id() == asked.id()), "{due:?}");
    let told = stage.advance(&asked, reminded.clone()).await;
    assert_eq!((told.state.clone(), told.next_due()), (ApprovalState::Pending, Some(told.opening.deadline)));
    assert_conflict(&stage.try_advance(&asked, reminded).await);
    stage.advance(&told, reviewed("alice", stage.now())).await;
}
