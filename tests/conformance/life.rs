//! The life of one approval, step by step.

use countersign::domain::{ApprovalState, GrantTerms, Report, Transition};
use countersign::store::{CommitError, Seen};

use super::stage::{HOUR, Stage, assert_conflict};
use crate::support::facts::{self, approved, cancelled, consumption, fact, moved, rejected, reviewed, revoked, usage};

pub async fn an_opening_is_read_back_by_its_id_and_by_its_binding(stage: &Stage) {
    let query = facts::export("bot", 1);
    assert!(stage.other().standing(countersign::domain::Binding::of(&query)).await.unwrap().is_none());
    let requirement = facts::requirement(2, GrantTerms::Once);
    let opening = facts::opening(&query, stage.now(), HOUR, requirement.clone());
    let id = opening.approval.unwrap();
    assert!(stage.other().approval(id).await.unwrap().is_none());
    stage.commit(&fact(&opening), Seen::Slot(None)).await.unwrap();
    let read = stage.approval(id).await;
    assert_eq!((&read.state, read.version, read.reviews.len()), (&ApprovalState::Pending, 1, 0));
    assert_eq!((&*read.opening.query, &read.opening.requirement), (&*query, &requirement));
    assert_eq!(read.opening.deadline, read.opening.opened_at.after(HOUR));
    let standing = stage.other().standing(opening.binding).await.unwrap().expect("it stands");
    assert_eq!(standing, read);
}

pub async fn a_quorum_closes_vote_by_vote_and_each_vote_is_there(stage: &Stage) {
    let pending = stage.open(1, 2).await;
    let once = stage.advance(&pending, reviewed("alice", stage.now())).await;
    assert_eq!((&once.state, once.version), (&ApprovalState::Pending, 2));
    let twice = stage.advance(&once, approved("bob", &once, stage.now(), HOUR)).await;
    assert!(matches!(twice.state, ApprovalState::Approved(_)), "{}", twice.state);
    let voters: Vec<_> = twice.reviews.iter().map(|review| review.reviewer.uid.id.to_string()).collect();
    assert_eq!((twice.version, voters), (3, vec!["alice".to_owned(), "bob".to_owned()]));
}

pub async fn a_rejection_settles_and_nothing_follows(stage: &Stage) {
    let pending = stage.open(1, 1).await;
    let settled = stage.advance(&pending, rejected("alice", stage.now())).await;
    assert!(matches!(settled.state, ApprovalState::Rejected { .. }));
    for more in [approved("bob", &pending, stage.now(), HOUR), cancelled(stage.now()), rejected("bob", stage.now())] {
        assert_conflict(&stage.try_advance(&settled, more).await);
    }
    assert_conflict(&stage.redeem(&consumption(&settled, stage.now()), &settled).await);
    assert_eq!(stage.approval(settled.id()).await, settled);
}

pub async fn a_cancelled_approval_takes_no_vote(stage: &Stage) {
    let pending = stage.open(1, 1).await;
    let settled = stage.advance(&pending, cancelled(stage.now())).await;
    assert!(matches!(settled.state, ApprovalState::Cancelled { .. }));
    assert_conflict(&stage.try_advance(&settled, approved("bob", &settled, stage.now(), HOUR)).await);
    assert_conflict(&stage.try_advance(&pending, approved("bob", &pending, stage.now(), HOUR)).await);
}

pub async fn a_revoked_grant_cannot_be_used(stage: &Stage) {
    let granted = stage.granted(1, GrantTerms::Once).await;
    let settled = stage.advance(&granted, revoked(stage.now())).await;
    assert!(matches!(settled.state, ApprovalState::Revoked { .. }));
    for seen in [&granted, &settled] {
        assert_conflict(&stage.redeem(&consumption(seen, stage.now()), seen).await);
    }
}

pub async fn a_grant_for_one_use_is_used_once(stage: &Stage) {
    let granted = stage.granted(1, GrantTerms::Once).await;
    let use_of_it = consumption(&granted, stage.now());
    stage.redeem(&use_of_it, &granted).await.unwrap();
    let used = stage.approval(granted.id()).await;
    let ApprovalState::Consumed(usage) = &used.state else { panic!("{}", used.state) };
    assert_eq!((usage.decision, usage.report), (use_of_it.id, None));
    for seen in [&granted, &used] {
        assert_conflict(&stage.redeem(&consumption(seen, stage.now()), seen).await);
    }
}

pub async fn a_grant_for_a_time_is_used_again_and_again(stage: &Stage) {
    let granted = stage.granted(1, GrantTerms::For(HOUR)).await;
    let mut current = granted.clone();
    for _ in 0..3 {
        stage.redeem(&usage(&current, stage.now()), &current).await.unwrap();
        current = stage.approval(granted.id()).await;
    }
    assert_eq!((&current.state, current.version), (&granted.state, granted.version + 3));
    assert_conflict(&stage.redeem(&usage(&granted, stage.now()), &granted).await);
}

pub async fn a_report_is_taken_once_and_a_late_word_replaces_silence(stage: &Stage) {
    let granted = stage.granted(1, GrantTerms::Once).await;
    stage.redeem(&consumption(&granted, stage.now()), &granted).await.unwrap();
    let used = stage.approval(granted.id()).await;
    let told = stage.advance(&used, Transition::Reported(Report::Succeeded)).await;
    let ApprovalState::Consumed(usage) = &told.state else { panic!("{}", told.state) };
    assert_eq!(usage.report, Some(Report::Succeeded));
    assert_conflict(&stage.try_advance(&told, Transition::Reported(Report::Failed)).await);
}

pub async fn a_settled_approval_makes_way_for_a_new_one_that_saw_it(stage: &Stage) {
    let pending = stage.open(1, 1).await;
    let settled = stage.advance(&pending, rejected("alice", stage.now())).await;
    let again = |now| facts::opening(&pending.opening.query, now, HOUR, facts::requirement(1, GrantTerms::Once));
    let blind = again(stage.now());
    assert_conflict(&stage.commit(&fact(&blind), Seen::Slot(None)).await);
    let stale = again(stage.now());
    assert_conflict(&stage.commit(&fact(&stale), Seen::Slot(Some((pending.id(), pending.version)))).await);
    let sighted = again(stage.now());
    stage.commit(&fact(&sighted), Seen::Slot(Some((settled.id(), settled.version)))).await.unwrap();
    let standing = stage.other().standing(pending.opening.binding).await.unwrap().unwrap();
    assert_eq!(Some(standing.id()), sighted.approval);
    assert_eq!(stage.approval(settled.id()).await, settled, "the old one is as it was");
}

pub async fn what_no_approval_knows_changes_nothing(stage: &Stage) {
    let known = stage.open(1, 1).await;
    let mut opening = (*known.opening).clone();
    opening.id = facts::approval_id(opening.binding);
    let unknown = countersign::domain::Approval::opened(opening.into());
    let refused = stage.commit(&moved(&unknown, cancelled(stage.now())), Seen::Version(1)).await;
    assert!(matches!(refused, Err(CommitError::Closed)), "{refused:?}");
    assert!(stage.other().approval(unknown.id()).await.unwrap().is_none());
    assert_eq!(stage.approval(known.id()).await, known);
}

pub async fn settled_approvals_are_still_read_by_id(stage: &Stage) {
    let pending = stage.open(1, 1).await;
    let settled = stage.advance(&pending, cancelled(stage.now())).await;
    if stage.moves_time() {
        // Longer than it stays at hand.
        stage.reach(stage.now().after(25 * HOUR)).await;
        for rows in 2..8 {
            stage.open(rows, 1).await;
        }
    }
    assert_eq!(stage.approval(settled.id()).await.state, settled.state);
}
