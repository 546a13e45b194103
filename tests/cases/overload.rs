//! More than the server takes on: what is turned away and how it is told, what goes on meanwhile, and that nothing comes of what was
//! turned away.

use std::path::Path;
use std::time::Duration;

use countersign::service;
use countersign::service::load;
use countersign::wire::pb;
use pb::{ApprovalState, Outcome};
use tonic::{Code, Request, Status};
use tonic_health::pb::health_check_response::ServingStatus;
use tonic_types::StatusExt;

use super::{asked, count, countersigned, history, said};
use crate::crash::child::{Child, Site};
use crate::metrics::scrape;
use crate::support::client::{Client, export, export_by_id, query, reason, wait};
use crate::support::{Options, TestServer};

fn read() -> pb::AuthorizeRequest {
    query("read", "Dataset", "weather")
}

fn with(load: load::Limits) -> Options {
    Options { limits: service::Limits { load, ..service::Limits::default() }, ..Options::default() }
}

/// What every call that is turned away is told: the reason, and when to ask again.
fn turned_away(refused: Status, code: Code, expected: &str) {
    assert_eq!((refused.code(), &*reason(&refused)), (code, expected), "{refused:?}");
    let pause =
        refused.get_error_details().retry_info().and_then(|retry| retry.retry_delay).expect("when to ask again");
    assert!(pause > Duration::ZERO && pause <= Duration::from_secs(5), "{pause:?}");
    let pushback = refused.metadata().get("grpc-retry-pushback-ms").unwrap().to_str().unwrap();
    assert_eq!(pushback, pause.as_millis().to_string());
}

#[tokio::test(flavor = "multi_thread")]
async fn fault_68_people_decide_while_agents_find_no_place_and_nothing_comes_of_what_is_turned_away() {
    let server = TestServer::start().await;
    let (_, approval) = asked(&server).await;
    let full = load::Limits { decisions_max: 0, ..load::Limits::default() };
    let server = server.restart_with(with(full)).await;
    let agent = server.client("report-bot").await;
    let erin = server.client("erin").await;
    let before = erin.audit(pb::AuditRequest::default()).await.unwrap().len();
    turned_away(agent.authorize(read()).await.unwrap_err(), Code::Unavailable, "busy");
    turned_away(agent.authorize(export_by_id(&approval.id)).await.unwrap_err(), Code::Unavailable, "busy");

    // What people do has places of its own, and so has health.
    server.client("alice").await.approve(&approval).await.unwrap();
    let approved = server.client("bob").await.approve(&approval).await.unwrap();
    assert_eq!(approved.state(), ApprovalState::Approved);
    assert_eq!(agent.get(&approval.id).await.unwrap().state(), ApprovalState::Approved);
    assert_eq!(server.health("").await, ServingStatus::Serving);

    // Two votes are new on record, and nothing of the queries; the grant is as it was.
    assert_eq!(erin.audit(pb::AuditRequest::default()).await.unwrap().len(), before + 2);
    let samples = scrape(&server).await;
    assert_eq!(samples["countersign_calls_turned_away_total{kind=\"decisions\",reason=\"full\"}"], 2.0);
    assert_eq!(samples["countersign_refusals_total{reason=\"busy\"}"], 2.0);
    let server = server.restart_with(Options::default()).await;
    let agent = server.client("report-bot").await;
    assert_eq!(said(&agent.authorize(export_by_id(&approval.id)).await.unwrap()), (Outcome::Allow, "granted"));
    assert_eq!(count(&history(&server, &approval.id).await, "consumed"), 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_kind_of_calls_that_is_full_keeps_no_query_waiting() {
    let full =
        load::Limits { reviews_max: 0, audits_max: 0, maskings_max: 0, administrations_max: 0, ..Default::default() };
    let server = TestServer::with(with(full)).await;
    let (agent, approval) = asked(&server).await;
    assert_eq!(said(&agent.authorize(read()).await.unwrap()), (Outcome::Allow, "permitted"));
    turned_away(agent.get(&approval.id).await.unwrap_err(), Code::Unavailable, "busy");
    let erin = server.client("erin").await;
    turned_away(erin.audit(pb::AuditRequest::default()).await.unwrap_err(), Code::Unavailable, "busy");
}

#[tokio::test(flavor = "multi_thread")]
async fn who_waits_for_people_takes_no_place_from_those_who_ask() {
    let one = load::Limits { decisions_max: 1, ..load::Limits::default() };
    let server = TestServer::with(with(one)).await;
    let (agent, approval) = asked(&server).await;
    let mut waiting = Vec::new();
    for number in 1..=8 {
        let agent = agent.clone();
        let asked = pb::AuthorizeRequest { wait: wait(Duration::from_secs(55)), ..export_by_id(&approval.id) };
        let call = tokio::spawn(async move { agent.authorize(asked).await.unwrap() });
        while scrape(&server).await["countersign_waits"] < f64::from(number) {
            assert!(!call.is_finished(), "the place was not given back");
        }
        waiting.push(call);
    }
    assert_eq!(agent.authorize(read()).await.unwrap().outcome(), Outcome::Allow);
    server.client("alice").await.approve(&approval).await.unwrap();
    server.client("bob").await.approve(&approval).await.unwrap();
    let mut allowed = 0;
    for call in waiting {
        allowed += usize::from(call.await.unwrap().outcome() == Outcome::Allow);
    }
    // All are answered though there is one place: what people decided is brought to its end. One of them has the grant.
    assert_eq!(allowed, 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_batch_says_of_each_query_that_it_was_turned_away() {
    let full = load::Limits { decisions_max: 1, ..load::Limits::default() };
    let server = TestServer::with(with(full)).await;
    let agent = server.client("report-bot").await;
    let batch = pb::AuthorizeBatchRequest { queries: vec![read(); 16] };
    let results = agent.stub.clone().authorize_batch(batch).await.unwrap().into_inner().results;
    let outcomes: Vec<_> = results.into_iter().map(|result| result.result.unwrap()).collect();
    for outcome in &outcomes {
        match outcome {
            pb::authorize_result::Result::Response(answer) => assert_eq!(answer.outcome(), Outcome::Allow),
            pb::authorize_result::Result::Error(error) => {
                assert_eq!((error.code, &*error.reason), (Code::Unavailable.into(), "busy"));
            }
        }
    }
    let answered = |outcome: &&_| matches!(outcome, pb::authorize_result::Result::Response(_));
    // The first has the place until its record is durable.
    assert!((1..16).contains(&outcomes.iter().filter(answered).count()), "{outcomes:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_caller_over_its_quota_is_told_when_there_is_more_and_others_have_theirs() {
    let quota = load::Limits { calls_per_second: Some(1), calls_burst: Some(3), ..load::Limits::default() };
    let server = TestServer::with(with(quota)).await;
    let (agent, alice) = (server.client("report-bot").await, server.client("alice").await);
    let mut answered = 0;
    let over = loop {
        match agent.authorize(read()).await {
            Ok(answer) => answered += usize::from(answer.outcome() == Outcome::Allow),
            Err(refused) => break refused,
        }
    };
    assert!(answered >= 3, "{answered}");
    let limit = over.get_details_error_info().unwrap().metadata["limit"].clone();
    assert_eq!(limit, "calls_per_second");
    turned_away(over, Code::ResourceExhausted, "limit_exceeded");
    // A batch is as many calls as it has queries.
    let batch = pb::AuthorizeBatchRequest { queries: vec![read(); 16] };
    alice.stub.clone().authorize_batch(batch).await.unwrap_err();
    let bob = server.client("bob").await;
    bob.stub.clone().list_approvals(pb::ListApprovalsRequest::default()).await.unwrap();
}

/// A control group of files.
struct Group(tempfile::TempDir);

impl Group {
    fn new() -> Self {
        let group = Self(tempfile::tempdir().unwrap());
        group.write("memory.max", "1000000");
        group.write("memory.stat", "inactive_file 0\nactive_file 0\n");
        group.uses(0);
        group
    }

    fn uses(&self, used: u64) {
        self.write("memory.current", &used.to_string());
    }

    fn write(&self, name: &str, text: &str) {
        let to: &Path = self.0.path();
        std::fs::write(to.join(".new"), text).unwrap();
        std::fs::rename(to.join(".new"), to.join(name)).unwrap();
    }

    /// Returns when the server has seen it.
    async fn seen(server: &TestServer, low: f64) {
        while (scrape(server).await["countersign_memory_low"] - low).abs() > 0.5 {
            tokio::task::yield_now().await;
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn fault_79_short_of_memory_nothing_new_is_opened_and_what_was_goes_on() {
    let group = Group::new();
    let limits = load::Limits { cgroup: Some(group.0.path().into()), ..load::Limits::default() };
    let server = TestServer::with(with(limits)).await;
    let (agent, approval) = countersigned(&server).await;
    let mut other = export();
    other.context.insert("rows".into(), crate::support::client::long(7));
    let pending = agent.authorize(other.clone()).await.unwrap().approval.unwrap();
    group.uses(850_000);
    Group::seen(&server, 1.0).await;

    let mut third = export();
    third.context.insert("rows".into(), crate::support::client::long(8));
    let exhausted = |refused| turned_away(refused, Code::ResourceExhausted, "low_memory");
    exhausted(agent.authorize(third.clone()).await.unwrap_err());
    let waits = pb::AuthorizeRequest { wait: wait(Duration::from_secs(55)), ..other.clone() };
    exhausted(agent.authorize(waits).await.unwrap_err());
    let erin = server.client("erin").await;
    exhausted(erin.stub.clone().subscribe(pb::SubscribeRequest::default()).await.map(drop).unwrap_err());
    let queries = futures_util::stream::empty();
    exhausted(agent.stub.clone().authorize_stream(Request::new(queries)).await.map(drop).unwrap_err());

    assert_eq!(said(&agent.authorize(read()).await.unwrap()), (Outcome::Allow, "permitted"));
    assert_eq!(said(&agent.authorize(export_by_id(&approval.id)).await.unwrap()), (Outcome::Allow, "granted"));
    server.client("alice").await.approve(&pending).await.unwrap();
    server.client("bob").await.approve(&pending).await.unwrap();
    assert_eq!(server.health("").await, ServingStatus::Serving);
    let samples = scrape(&server).await;
    assert_eq!(samples["countersign_memory_used_bytes"], 850_000.0);
    assert_eq!(samples["countersign_approvals_pending"], 0.0, "nothing was opened by what was turned away");

    group.uses(100_000);
    Group::seen(&server, 0.0).await;
    assert_eq!(agent.authorize(third).await.unwrap().outcome(), Outcome::Pending);
}

#[tokio::test(flavor = "multi_thread")]
async fn fault_67_a_deadline_shorter_than_the_work_leaves_all_of_it_or_nothing() {
    let server = TestServer::start().await;
    let agent = server.client("report-bot").await;
    let mut late = 0;
    for round in 0..60_u64 {
        let mut asked = pb::AuthorizeRequest { idempotency_key: format!("round-{round}"), ..export() };
        asked.context.insert("rows".into(), crate::support::client::long(round.try_into().unwrap()));
        // From shorter than anything to longer than most.
        let mut call = Request::new(asked.clone());
        call.set_timeout(Duration::from_micros(1 << (round % 15)));
        let first = agent.stub.clone().authorize(call).await;
        late += usize::from(first.is_err());
        // Whatever came of it: asked again under the same key, it is one request with one approval.
        let again = agent.authorize(asked.clone()).await.unwrap();
        let id = again.approval.unwrap().id;
        if let Ok(first) = first {
            assert_eq!(first.into_inner().approval.unwrap().id, id);
        }
        assert_eq!(count(&history(&server, &id).await, "opened"), 1);
        agent.cancel(&id).await.unwrap();
    }
    assert!(late > 0, "no deadline passed");
    assert_eq!(scrape(&server).await["countersign_approvals_pending"], 0.0);
}

#[tokio::test(flavor = "multi_thread")]
async fn fault_79_a_server_without_files_takes_connections_again_once_there_are_some() {
    let site = Site::new().await;
    let limited = ["sh", "-c", "ulimit -n 96; exec \"$0\" \"$@\""].map(str::to_owned);
    let server = Child::start(&site, &limited).await;
    let address = server.url.trim_start_matches("http://").to_owned();
    let token = site.token("report-bot");
    let agent = Client::connect(&server.url, &token).await;
    // As long as the keys of the issuer are on their way.
    while agent.authorize(read()).await.is_err() {
        tokio::task::yield_now().await;
    }
    let mut greedy = Vec::new();
    for _ in 0..200 {
        greedy.push(tokio::net::TcpStream::connect(&address).await.unwrap());
    }
    while !server.said().contains("a connection could not be taken") {
        // Who is there already is served.
        assert_eq!(agent.authorize(read()).await.unwrap().outcome(), Outcome::Allow);
    }
    drop(greedy);
    let late = Client::connect(&server.url, &token).await;
    assert_eq!(late.authorize(read()).await.unwrap().outcome(), Outcome::Allow);
    server.terminate().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn halves_of_large_messages_are_bounded_together_and_small_ones_go_on() {
    let little = load::Limits { messages_bytes_max: 1 << 20, ..load::Limits::default() };
    let server = TestServer::with(with(little)).await;
    let agent = server.client("report-bot").await;
    let mut large = export();
    large.context.insert("destination".into(), crate::support::client::string(&"x".repeat(200 << 10)));
    assert_eq!(agent.authorize(large.clone()).await.unwrap().outcome(), Outcome::Pending);

    // A stranger, who never sends the other half.
    let stream = tokio::net::TcpStream::connect(server.address()).await.unwrap();
    let (client, connection) = h2::client::handshake(stream).await.unwrap();
    let connection = tokio::spawn(connection);
    let head = http::Request::post(format!("http://{}/countersign.v1.Masking/Mask", server.address()))
        .header("content-type", "application/grpc")
        .body(())
        .unwrap();
    let (_, mut body) = client.ready().await.unwrap().send_request(head, false).unwrap();
    let half = [&[0][..], &(2_u32 << 20).to_be_bytes(), &vec![0; 1_040_000]].concat();
    body.send_data(half.into(), false).unwrap();
    let refused = loop {
        if let Err(refused) = agent.authorize(large.clone()).await {
            break refused;
        }
    };
    turned_away(refused, Code::Unavailable, "busy");
    assert_eq!(agent.authorize(read()).await.unwrap().outcome(), Outcome::Allow);
    connection.abort();
    while agent.authorize(large.clone()).await.is_err() {
        tokio::task::yield_now().await;
    }
}
