//! A. Races and atomicity.

use std::time::Duration;

use countersign::wire::pb;
use futures_util::future::join_all;
use pb::{ApprovalState, Outcome};
use tonic::{Code, Status};

use super::{asked, count, countersigned, extended, history, said};
use crate::support::TestServer;
use crate::support::client::{Client, export, export_by_id, long, query, reason, wait};

const MINUTE: Duration = Duration::from_secs(60);
const ROUNDS: i64 = 20;

/// The export of so many rows: another query, another approval.
fn rows(rows: i64) -> pb::AuthorizeRequest {
    let mut query = export();
    query.context.insert("rows".into(), long(rows));
    query
}

async fn opened(agent: &Client, rows_: i64) -> pb::Approval {
    agent.authorize(rows(rows_)).await.unwrap().approval.unwrap()
}

async fn approved(server: &TestServer, agent: &Client, rows: i64) -> pb::Approval {
    let approval = opened(agent, rows).await;
    server.client("alice").await.approve(&approval).await.unwrap();
    server.client("bob").await.approve(&approval).await.unwrap()
}

fn settled_as(status: &Status) -> String {
    use tonic_types::StatusExt;
    assert_eq!((status.code(), &*reason(status)), (Code::FailedPrecondition, "already_settled"));
    status.get_details_error_info().unwrap().metadata["state"].clone()
}

#[tokio::test(flavor = "multi_thread")]
async fn case_01_of_an_approval_and_a_rejection_at_once_one_wins_and_the_loser_is_told() {
    let server = TestServer::start().await;
    let agent = server.client("report-bot").await;
    let (alice, bob, carol) = (server.client("alice").await, server.client("bob").await, server.client("carol").await);
    for round in 0..ROUNDS {
        let approval = opened(&agent, round).await;
        carol.approve(&approval).await.unwrap();
        let (yes, no) = tokio::join!(alice.approve(&approval), bob.reject(&approval));
        let end = agent.get(&approval.id).await.unwrap().state();
        let (lost, won) = match end {
            ApprovalState::Approved => (no.unwrap_err(), "APPROVED"),
            ApprovalState::Rejected => (yes.unwrap_err(), "REJECTED"),
            other => panic!("{other:?}"),
        };
        assert_eq!(settled_as(&lost), won);
        let history = history(&server, &approval.id).await;
        assert_eq!(count(&history, "approved") + count(&history, "rejected"), 1, "{history:?}");
        assert_eq!(count(&history, "refused Decide already_settled"), 1, "{history:?}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn case_02_two_last_votes_at_once_approve_once_and_are_both_recorded() {
    let server = TestServer::start().await;
    let agent = server.client("report-bot").await;
    let (alice, bob) = (server.client("alice").await, server.client("bob").await);
    for round in 0..ROUNDS {
        let approval = opened(&agent, round).await;
        let (one, other) = tokio::join!(alice.approve(&approval), bob.approve(&approval));
        let states = [one.unwrap().state(), other.unwrap().state()];
        assert!(states.contains(&ApprovalState::Approved) && states.contains(&ApprovalState::Pending), "{states:?}");
        assert_eq!(agent.get(&approval.id).await.unwrap().reviews.len(), 2);
        assert_eq!(history(&server, &approval.id).await, ["opened", "reviewed", "approved"]);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn case_03_a_vote_delivered_twice_is_one_vote_with_one_answer() {
    let server = TestServer::start().await;
    let (agent, approval) = asked(&server).await;
    let alice = server.client("alice").await;
    let first = alice.approve(&approval).await.unwrap();
    assert_eq!(alice.approve(&approval).await.unwrap(), first);
    let bob = server.client("bob").await;
    let second = bob.approve(&approval).await.unwrap();
    assert_eq!(bob.approve(&approval).await.unwrap(), second);
    assert_eq!(alice.approve(&approval).await.unwrap(), second);
    assert_eq!(agent.get(&approval.id).await.unwrap().reviews.len(), 2);
    assert_eq!(history(&server, &approval.id).await, ["opened", "reviewed", "approved"]);
}

#[tokio::test(flavor = "multi_thread")]
async fn case_04_of_many_who_redeem_one_grant_at_once_one_may_act() {
    let server = TestServer::start().await;
    let (agent, approval) = countersigned(&server).await;
    let calls = (0..32).map(|_| agent.authorize(export_by_id(&approval.id)));
    let answers: Vec<_> = join_all(calls).await.into_iter().map(Result::unwrap).collect();
    let allowed = answers.iter().filter(|answer| said(answer) == (Outcome::Allow, "granted")).count();
    let denied = answers.iter().filter(|answer| said(answer) == (Outcome::Deny, "grant_consumed")).count();
    assert_eq!((allowed, denied), (1, 31));
    assert_eq!(count(&history(&server, &approval.id).await, "consumed"), 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn case_06_of_expiry_and_a_rejection_at_once_one_stands() {
    let server = TestServer::start().await;
    for round in 0..ROUNDS {
        // A quarter of an hour passes each round, and tokens last for one.
        let (agent, bob) = (server.client("report-bot").await, server.client("bob").await);
        let approval = opened(&agent, round).await;
        server.advance(15 * MINUTE - Duration::from_micros(1));
        let voted = approval.clone();
        let vote = tokio::spawn(async move { bob.reject(&voted).await });
        if round % 2 == 0 {
            tokio::task::yield_now().await;
        }
        server.advance(Duration::from_micros(1));
        let vote = vote.await.unwrap();
        let end = agent.get(&approval.id).await.unwrap().state();
        match vote {
            Ok(voted) => assert_eq!((voted.state(), end), (ApprovalState::Rejected, ApprovalState::Rejected)),
            Err(late) => {
                assert_eq!((&*settled_as(&late), end), ("EXPIRED", ApprovalState::Expired));
            }
        }
        let history = history(&server, &approval.id).await;
        assert_eq!(count(&history, "expired") + count(&history, "rejected"), 1, "{history:?}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn case_07_silence_after_a_use_is_an_unknown_outcome_and_never_a_second_use() {
    let server = TestServer::start().await;
    let (agent, approval) = countersigned(&server).await;
    let granted = agent.authorize(export_by_id(&approval.id)).await.unwrap();
    assert_eq!(granted.outcome(), Outcome::Allow);
    server.advance(15 * MINUTE);
    let after = agent.get(&approval.id).await.unwrap();
    assert_eq!((after.state(), after.report()), (ApprovalState::Consumed, pb::Report::Unknown));
    let again = agent.authorize(export_by_id(&approval.id)).await.unwrap();
    assert_eq!(said(&again), (Outcome::Deny, "grant_consumed"));
    let late = agent.report(&approval.id, &granted.decision_id, pb::Report::Failed).await.unwrap();
    assert_eq!(late.report(), pb::Report::Failed);
    let changed = agent.report(&approval.id, &granted.decision_id, pb::Report::Succeeded).await.unwrap_err();
    assert_eq!(settled_as(&changed), "CONSUMED");
}

#[tokio::test(flavor = "multi_thread")]
async fn case_08_a_partial_quorum_wakes_nobody_for_good() {
    let server = TestServer::start().await;
    let (agent, approval) = asked(&server).await;
    let waiting = tokio::spawn({
        let (agent, id) = (agent.clone(), approval.id.clone());
        async move { agent.authorize(pb::AuthorizeRequest { wait: wait(MINUTE), ..export_by_id(&id) }).await }
    });
    server.client("alice").await.approve(&approval).await.unwrap();
    let brief = pb::AuthorizeRequest { wait: wait(Duration::from_millis(50)), ..export_by_id(&approval.id) };
    let still = agent.authorize(brief).await.unwrap();
    assert_eq!(said(&still), (Outcome::Pending, "approval_required"));
    assert!(!waiting.is_finished());
    server.client("bob").await.approve(&approval).await.unwrap();
    assert_eq!(said(&waiting.await.unwrap().unwrap()), (Outcome::Allow, "granted"));
}

#[tokio::test(flavor = "multi_thread")]
async fn case_09_one_person_in_several_of_the_groups_is_one_person() {
    let server = TestServer::start().await;
    let (_, approval) = asked(&server).await;
    let carol = server.client("carol").await;
    let voted = carol.approve(&approval).await.unwrap();
    assert_eq!((voted.state(), voted.gates[0].approvals), (ApprovalState::Pending, 1));
    server.advance(5 * MINUTE); // The leads are asked as well, and she is one.
    let voted = carol.approve(&approval).await.unwrap();
    assert_eq!((voted.state(), voted.gates[0].approvals, voted.reviews.len()), (ApprovalState::Pending, 1, 1));
    let voted = server.client("bob").await.approve(&approval).await.unwrap();
    assert_eq!(voted.state(), ApprovalState::Approved);
}

#[tokio::test(flavor = "multi_thread")]
async fn case_09_more_votes_than_the_quorum_needs_never_leave_it_pending() {
    let server = extended().await;
    let pipeline = server.client("ci-pipeline").await;
    let approval = pipeline.authorize(query("rotate", "Secret", "root")).await.unwrap().approval.unwrap();
    // Alice approves her gate twice over before dave closes the other.
    server.client("alice").await.approve(&approval).await.unwrap();
    let more = server.client("carol").await.approve(&approval).await.unwrap();
    assert_eq!(more.state(), ApprovalState::Pending);
    let gates: Vec<_> = more.gates.iter().map(|gate| gate.approvals).collect();
    assert!(gates.contains(&2) && gates.contains(&0), "{gates:?}");
    let done = server.client("dave").await.approve(&approval).await.unwrap();
    assert_eq!(done.state(), ApprovalState::Approved);
}

#[tokio::test(flavor = "multi_thread")]
async fn case_11_of_two_pending_the_one_that_was_clicked_is_settled() {
    let server = TestServer::start().await;
    let agent = server.client("report-bot").await;
    let (first, second) = (opened(&agent, 1).await, opened(&agent, 2).await);
    assert_ne!(first.id, second.id);
    server.client("bob").await.reject(&second).await.unwrap();
    assert_eq!(agent.get(&first.id).await.unwrap().state(), ApprovalState::Pending);
    assert_eq!(agent.get(&second.id).await.unwrap().state(), ApprovalState::Rejected);
    // Both ids with the other one's binding: what was seen is not what is there.
    let crossed = pb::Approval { id: first.id.clone(), ..second };
    let refused = server.client("bob").await.approve(&crossed).await.unwrap_err();
    assert_eq!((refused.code(), &*reason(&refused)), (Code::Aborted, "binding_mismatch"));
}

#[tokio::test(flavor = "multi_thread")]
async fn case_12_a_click_at_the_deadline_is_too_late_and_nothing_runs() {
    let server = TestServer::start().await;
    let (agent, approval) = asked(&server).await;
    server.client("alice").await.approve(&approval).await.unwrap();
    server.advance(15 * MINUTE);
    let late = server.client("bob").await.approve(&approval).await.unwrap_err();
    assert_eq!(settled_as(&late), "EXPIRED");
    let answer = agent.authorize(export_by_id(&approval.id)).await.unwrap();
    assert_eq!(said(&answer), (Outcome::Deny, "approval_expired"));
    assert_eq!(
        history(&server, &approval.id).await,
        ["opened", "reviewed", "expired", "refused Decide already_settled", "decided approval_expired"]
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn case_12_a_click_a_moment_before_the_deadline_counts() {
    let server = TestServer::start().await;
    let (_, approval) = asked(&server).await;
    server.client("alice").await.approve(&approval).await.unwrap();
    server.advance(15 * MINUTE - Duration::from_micros(1));
    let voted = server.client("bob").await.approve(&approval).await.unwrap();
    assert_eq!(voted.state(), ApprovalState::Approved);
}

#[tokio::test(flavor = "multi_thread")]
async fn case_14_of_a_revocation_and_a_use_at_once_one_stands() {
    let server = TestServer::start().await;
    let agent = server.client("report-bot").await;
    let bob = server.client("bob").await;
    for round in 0..ROUNDS {
        let approval = approved(&server, &agent, round).await;
        let by_id = pb::AuthorizeRequest { approval_id: approval.id.clone(), ..rows(round) };
        let (used, revoked) = tokio::join!(agent.authorize(by_id.clone()), bob.revoke(&approval.id));
        let used = used.unwrap();
        match revoked {
            Ok(_) => assert_eq!(said(&used), (Outcome::Deny, "approval_revoked")),
            Err(late) => {
                assert_eq!((&*settled_as(&late), said(&used)), ("CONSUMED", (Outcome::Allow, "granted")));
            }
        }
        assert_ne!(agent.authorize(by_id).await.unwrap().outcome(), Outcome::Allow);
    }
}
