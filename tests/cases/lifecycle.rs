//! E. Lifecycle and durability.

use std::time::Duration;

use countersign::engine::{PolicySnapshot, Settings};
use countersign::wire::pb;
use futures_util::StreamExt;
use futures_util::future::join_all;
use pb::{ApprovalState, Outcome};

use super::{asked, said};
use crate::support::client::{Client, export, long, query, wait};
use crate::support::{PolicyDir, TestServer};

fn rows(rows: i64) -> pb::AuthorizeRequest {
    let mut query = export();
    query.context.insert("rows".into(), long(rows));
    query
}

async fn ids(agent: &Client) -> Vec<String> {
    let all = pb::ListApprovalsRequest { page_size: 200, ..pb::ListApprovalsRequest::default() };
    let listed = agent.stub.clone().list_approvals(all).await.unwrap().into_inner();
    assert_eq!(listed.next_page_token, "");
    listed.approvals.into_iter().map(|approval| approval.id).collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn case_58_approvals_outlive_a_restart_and_waiters_come_back_by_id() {
    let server = TestServer::start().await;
    let agent = server.client("report-bot").await;
    let mut open = Vec::new();
    for number in 0..100 {
        open.push(agent.authorize(rows(number)).await.unwrap().approval.unwrap());
    }
    let waits = (0..100).zip(&open).map(|(number, approval)| {
        let agent = agent.clone();
        let asked = pb::AuthorizeRequest {
            approval_id: approval.id.clone(),
            wait: wait(Duration::from_secs(55)),
            ..rows(number)
        };
        tokio::spawn(async move { agent.authorize(asked).await })
    });
    let waits: Vec<_> = waits.collect();
    let before = ids(&agent).await;
    server.client("alice").await.approve(&open[7]).await.unwrap();
    let server = server.restart().await;
    for ended in join_all(waits).await {
        assert_eq!(ended.unwrap().unwrap_err().code(), tonic::Code::Unavailable);
    }
    let agent = server.client("report-bot").await;
    assert_eq!(ids(&agent).await, before, "none lost, none new");
    let waiting = tokio::spawn({
        let agent = agent.clone();
        let asked =
            pb::AuthorizeRequest { approval_id: open[7].id.clone(), wait: wait(Duration::from_secs(55)), ..rows(7) };
        async move { agent.authorize(asked).await }
    });
    let done = server.client("bob").await.approve(&open[7]).await.unwrap();
    assert_eq!(done.state(), ApprovalState::Approved, "alice's vote was remembered");
    assert_eq!(said(&waiting.await.unwrap().unwrap()), (Outcome::Allow, "granted"));
}

#[tokio::test(flavor = "multi_thread")]
async fn case_59_a_wait_that_times_out_leaves_the_approval_and_its_key_as_they_were() {
    let server = TestServer::start().await;
    let agent = server.client("report-bot").await;
    let keyed = |wait| pb::AuthorizeRequest { idempotency_key: "call-1".into(), wait, ..export() };
    let first = agent.authorize(keyed(wait(Duration::from_millis(30)))).await.unwrap();
    assert_eq!(first.outcome(), Outcome::Pending);
    let id = first.approval.unwrap().id;
    let again = agent.authorize(keyed(None)).await.unwrap();
    assert_eq!((again.outcome(), again.approval.clone().unwrap().id), (Outcome::Pending, id));
    let approval = again.approval.unwrap();
    server.client("alice").await.approve(&approval).await.unwrap();
    server.client("bob").await.approve(&approval).await.unwrap();
    let granted = agent.authorize(keyed(None)).await.unwrap();
    assert_eq!(said(&granted), (Outcome::Allow, "granted"));
    // The answer was lost on its way: the same key brings it again, and nothing is used twice.
    let repeated = agent.authorize(keyed(None)).await.unwrap();
    assert_eq!(said(&repeated), (Outcome::Allow, "granted"));
    assert!(repeated.repeated_answer && repeated.decision_id == granted.decision_id);
    assert_eq!(ids(&agent).await.len(), 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn case_61_a_grant_says_until_when_it_serves_and_serves_no_longer() {
    let server = TestServer::start().await;
    let pipeline = server.client("ci-pipeline").await;
    let rotate = query("rotate", "Secret", "payments-api-key");
    let approval = pipeline.authorize(rotate.clone()).await.unwrap().approval.unwrap();
    let approved = server.client("dave").await.approve(&approval).await.unwrap();
    let eight_hours = Duration::from_secs(8 * 3_600);
    let lapses_at = approved.grant_lapses_at.unwrap().seconds;
    assert_eq!(lapses_at, approved.settled_at.unwrap().seconds + 8 * 3_600);
    server.advance(eight_hours - Duration::from_micros(1));
    let pipeline = server.client("ci-pipeline").await;
    let last = pipeline.authorize(rotate.clone()).await.unwrap();
    assert_eq!(said(&last), (Outcome::Allow, "granted"));
    assert_eq!(last.approval.unwrap().grant_lapses_at.unwrap().seconds, lapses_at);
    server.advance(Duration::from_micros(1));
    let by_id = pb::AuthorizeRequest { approval_id: approval.id, ..rotate.clone() };
    assert_eq!(said(&pipeline.authorize(by_id).await.unwrap()), (Outcome::Deny, "grant_lapsed"));
    assert_eq!(said(&pipeline.authorize(rotate).await.unwrap()), (Outcome::Pending, "approval_required"));
}

#[tokio::test(flavor = "multi_thread")]
async fn case_61_an_approval_for_one_use_that_nobody_redeems_lapses() {
    let server = TestServer::start().await;
    let (_, approval) = super::countersigned(&server).await;
    server.advance(Duration::from_secs(3_600));
    let agent = server.client("report-bot").await;
    let late = agent.authorize(crate::support::client::export_by_id(&approval.id)).await.unwrap();
    assert_eq!(said(&late), (Outcome::Deny, "grant_lapsed"));
}

#[test]
fn case_64_a_misspelt_annotation_is_a_load_error_that_names_it() {
    for (right, wrong) in [
        ("@approval(\"Customer", "@aproval(\"Customer"),
        ("@reviewers(", "@reviewer("),
        ("@quorum(\"2\")", "@quorom(\"2\")"),
        ("@mask(\"EMAIL_ADDRESS, US_SSN\")", "@masks(\"EMAIL_ADDRESS, US_SSN\")"),
        ("@timeout(\"15m\")", "@timeout(\"15 minutes\")"),
        ("@timeout(\"15m\")", "@timeout(\"0s\")"),
        ("@severity(\"high\")", "@severity(\"urgent\")"),
    ] {
        let policies = PolicyDir::shipped().but("warehouse.cedar", right, wrong);
        let problems = PolicySnapshot::load(&Settings::new(policies.path())).unwrap_err().problems;
        let named = wrong.trim_start_matches('@').split('(').next().unwrap();
        let names = |problem: &&countersign::engine::Problem| {
            problem.annotation.as_ref().is_some_and(|annotation| annotation.name == named)
        };
        assert!(problems.iter().any(|problem| names(&problem)), "{wrong}: {problems:?}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn case_65_every_way_to_ask_passes_the_same_gate() {
    let server = TestServer::start().await;
    let (agent, approval) = asked(&server).await;
    let batch = pb::AuthorizeBatchRequest { queries: vec![export(), query("read", "Dataset", "weather"), export()] };
    let results = agent.stub.clone().authorize_batch(batch).await.unwrap().into_inner().results;
    let answers: Vec<_> = results.into_iter().map(response).collect();
    let outcomes: Vec<_> = answers.iter().map(pb::AuthorizeResponse::outcome).collect();
    assert_eq!(outcomes, [Outcome::Pending, Outcome::Allow, Outcome::Pending]);
    assert_eq!(answers[0].approval.as_ref().unwrap().id, approval.id);

    let queries = (1..=3).map(|correlation_id| pb::AuthorizeStreamRequest { correlation_id, query: Some(export()) });
    let stream = agent.stub.clone().authorize_stream(futures_util::stream::iter(queries)).await.unwrap().into_inner();
    let answers: Vec<_> = stream.map(Result::unwrap).collect().await;
    assert_eq!(answers.len(), 3);
    for answer in answers {
        assert_eq!(response(answer.result.unwrap()).outcome(), Outcome::Pending);
    }
    // Granted once, it is one use over all ways together.
    server.client("alice").await.approve(&approval).await.unwrap();
    server.client("bob").await.approve(&approval).await.unwrap();
    let by_id = pb::AuthorizeRequest { approval_id: approval.id, ..export() };
    let batch = pb::AuthorizeBatchRequest { queries: vec![by_id.clone(); 20] };
    let results = agent.stub.clone().authorize_batch(batch).await.unwrap().into_inner().results;
    let allowed = results.into_iter().filter(|result| response(result.clone()).outcome() == Outcome::Allow);
    assert_eq!(allowed.count(), 1);
}

fn response(result: pb::AuthorizeResult) -> pb::AuthorizeResponse {
    match result.result.unwrap() {
        pb::authorize_result::Result::Response(response) => response,
        pb::authorize_result::Result::Error(error) => panic!("{error:?}"),
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_server_that_stops_ends_the_streams_that_clients_keep_open() {
    let server = TestServer::start().await;
    let agent = server.client("report-bot").await;
    let (_keep_open, queries) = tokio::sync::mpsc::channel::<pb::AuthorizeStreamRequest>(1);
    let queries = tokio_stream::wrappers::ReceiverStream::new(queries);
    let mut answers = agent.stub.clone().authorize_stream(queries).await.unwrap().into_inner();
    let mut auditor = server.client("erin").await.stub;
    let mut events = auditor.subscribe(pb::SubscribeRequest::default()).await.unwrap().into_inner();
    let _ = server.stop().await;
    assert_eq!(answers.next().await.unwrap().unwrap_err().code(), tonic::Code::Unavailable);
    while let Some(event) = events.next().await {
        if let Err(status) = event {
            assert_eq!(status.code(), tonic::Code::Unavailable);
        }
    }
}
