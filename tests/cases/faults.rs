//! Faults of the clock, of concurrency and of size, as far as a client sees them.

use std::time::Duration;

use countersign::wire::pb;
use futures_util::future::join_all;
use pb::{ApprovalState, Outcome};
use tonic::Code;

use super::{asked, count, countersigned, history, said};
use crate::support::TestServer;
use crate::support::client::{export, export_by_id, field, query, reason, string};

const HOUR: i64 = 3_600_000_000;
const MINUTE: Duration = Duration::from_secs(60);

#[tokio::test(flavor = "multi_thread")]
async fn fault_30_a_clock_set_back_prolongs_no_approval_and_no_grant() {
    let server = TestServer::start().await;
    let (agent, approval) = asked(&server).await;
    let bob = server.client("bob").await;
    server.clock.jump(-HOUR);
    server.advance(15 * MINUTE);
    let late = bob.approve(&approval).await.unwrap_err();
    assert_eq!(late.code(), Code::FailedPrecondition);
    let answer = agent.authorize(export_by_id(&approval.id)).await.unwrap();
    assert_eq!(said(&answer), (Outcome::Deny, "approval_expired"));
    let records = server.client("erin").await;
    let _ = records.audit(pb::AuditRequest::default()).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn fault_30_the_times_on_record_never_go_back() {
    let server = TestServer::start().await;
    let (agent, erin) = (server.client("report-bot").await, server.client("erin").await);
    for jump in [-HOUR, HOUR, -5_000_000, 5_000_000, -2 * HOUR] {
        server.clock.jump(jump);
        server.advance(Duration::from_secs(1));
        agent.authorize(query("read", "Dataset", "weather")).await.unwrap();
    }
    let records = erin.audit(pb::AuditRequest::default()).await.unwrap();
    assert!(records.windows(2).all(|pair| pair[0].at_micros <= pair[1].at_micros), "{records:#?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn fault_31_a_clock_set_forward_expires_nothing() {
    let server = TestServer::start().await;
    let (agent, approval) = asked(&server).await;
    let (alice, bob) = (server.client("alice").await, server.client("bob").await);
    server.clock.jump(HOUR);
    assert_eq!(agent.get(&approval.id).await.unwrap().state(), ApprovalState::Pending);
    server.advance(15 * MINUTE - Duration::from_micros(1));
    alice.approve(&approval).await.unwrap();
    let voted = bob.approve(&approval).await.unwrap();
    assert_eq!(voted.state(), ApprovalState::Approved);
    server.clock.jump(-HOUR);
    server.advance(59 * MINUTE);
    let (agent, by_id) = (server.client("report-bot").await, export_by_id(&approval.id));
    assert_eq!(said(&agent.authorize(by_id).await.unwrap()), (Outcome::Allow, "granted"));
}

#[tokio::test(flavor = "multi_thread")]
async fn fault_49_a_double_click_gets_the_recorded_outcome_and_leaves_no_second_record() {
    let server = TestServer::start().await;
    let (_, approval) = asked(&server).await;
    let bob = server.client("bob").await;
    let clicks = join_all((0..8).map(|_| bob.reject(&approval))).await;
    for click in clicks {
        assert_eq!(click.unwrap().state(), ApprovalState::Rejected);
    }
    assert_eq!(history(&server, &approval.id).await, ["opened", "rejected"]);
}

#[tokio::test(flavor = "multi_thread")]
async fn fault_50_of_approval_rejection_cancellation_and_expiry_at_once_one_wins() {
    let server = TestServer::start().await;
    for round in 0..40 {
        // A quarter of an hour passes each round, and tokens last for one.
        let agent = server.client("report-bot").await;
        let (alice, bob) = (server.client("alice").await, server.client("bob").await);
        let approval = agent.authorize(export()).await.unwrap().approval.unwrap();
        let carol = server.client("carol").await;
        carol.approve(&approval).await.unwrap();
        server.advance(15 * MINUTE - Duration::from_micros(1));
        let id = approval.id.clone();
        let race = tokio::spawn({
            let (approval, agent) = (approval.clone(), agent.clone());
            async move { tokio::join!(alice.approve(&approval), bob.reject(&approval), agent.cancel(&approval.id)) }
        });
        if round % 4 != 0 {
            tokio::task::yield_now().await;
        }
        server.advance(Duration::from_micros(1));
        let (yes, no, cancelled) = race.await.unwrap();
        let won = [yes.is_ok(), no.is_ok(), cancelled.is_ok()].iter().filter(|won| **won).count();
        assert!(won <= 1, "{yes:?} {no:?} {cancelled:?}");
        for lost in [yes, no, cancelled].into_iter().filter_map(Result::err) {
            assert_eq!(reason(&lost), "already_settled");
        }
        let end = agent.get(&id).await.unwrap().state();
        assert_eq!(won == 0, end == ApprovalState::Expired, "{end:?}");
        let history = history(&server, &id).await;
        let ends = ["approved", "rejected", "cancelled", "expired"].map(|end| count(&history, end));
        assert_eq!(ends.iter().sum::<usize>(), 1, "{history:?}");
        if end == ApprovalState::Approved {
            bob_revokes(&server, &id).await;
        }
    }
}

/// A grant left over would answer the next round's query.
async fn bob_revokes(server: &TestServer, id: &str) {
    server.client("bob").await.revoke(id).await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn fault_51_the_same_request_under_its_key_is_one_request() {
    let server = TestServer::start().await;
    let agent = server.client("report-bot").await;
    let keyed = pb::AuthorizeRequest { idempotency_key: "retry".into(), ..export() };
    let answers = join_all((0..16).map(|_| agent.authorize(keyed.clone()))).await;
    let mut ids: Vec<_> = answers.into_iter().map(|answer| answer.unwrap().approval.unwrap().id).collect();
    ids.dedup();
    assert_eq!(ids.len(), 1);
    assert_eq!(count(&history(&server, &ids[0]).await, "opened"), 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn fault_52_two_enforcement_points_at_once_use_a_grant_once_even_without_its_id() {
    let server = TestServer::start().await;
    let (agent, approval) = countersigned(&server).await;
    let other = server.client("report-bot").await;
    let calls = (0..16).map(|number| if number % 2 == 0 { &agent } else { &other }.authorize(export()));
    let answers: Vec<_> = join_all(calls).await.into_iter().map(Result::unwrap).collect();
    let allowed = answers.iter().filter(|answer| answer.outcome() == Outcome::Allow).count();
    let pending = answers.iter().filter(|answer| answer.outcome() == Outcome::Pending).count();
    assert_eq!((allowed, pending), (1, 15));
    assert_eq!(count(&history(&server, &approval.id).await, "consumed"), 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn fault_53_one_person_over_two_sessions_is_one_person() {
    let server = TestServer::start().await;
    let (_, approval) = asked(&server).await;
    let (one, other) = (server.client("alice").await, server.client("alice").await);
    let (first, second) = tokio::join!(one.approve(&approval), other.approve(&approval));
    for voted in [first.unwrap(), second.unwrap()] {
        assert_eq!((voted.state(), voted.gates[0].approvals), (ApprovalState::Pending, 1));
    }
    assert_eq!(history(&server, &approval.id).await, ["opened", "reviewed"]);
}

#[tokio::test(flavor = "multi_thread")]
async fn fault_60_a_huge_query_is_refused_with_the_limit_and_its_largest_part() {
    let server = TestServer::start().await;
    let agent = server.client("report-bot").await;
    let sized = |bytes: usize| {
        let mut query = export();
        query.context.insert("destination".into(), string(&"x".repeat(bytes)));
        query
    };
    assert_eq!(agent.authorize(sized(250 << 10)).await.unwrap().outcome(), Outcome::Pending);
    let over = agent.authorize(sized(257 << 10)).await.unwrap_err();
    assert_eq!((over.code(), &*field(&over)), (Code::InvalidArgument, "context"));
    assert!(over.message().contains("query_bytes_max"), "{}", over.message());
    let huge = agent.authorize(sized(5 << 20)).await.unwrap_err();
    assert_eq!((huge.code(), &*reason(&huge)), (Code::InvalidArgument, "message_too_large"));
    assert!(huge.message().contains("message_bytes_max"), "{}", huge.message());
}

#[tokio::test(flavor = "multi_thread")]
async fn fault_61_deep_and_crowded_values_are_refused() {
    let server = TestServer::start().await;
    let agent = server.client("report-bot").await;
    for depth in [33, 40, 200] {
        let mut query = export();
        query.context.insert("destination".into(), nested(depth));
        let deep = agent.authorize(query).await.unwrap_err();
        assert_eq!(deep.code(), Code::InvalidArgument, "{depth}: {deep:?}");
        assert!(field(&deep).starts_with("context"), "{depth}: {}", field(&deep));
    }
    let values = (0..10_001).map(|_| string("")).collect();
    let crowd = pb::Value { kind: Some(pb::value::Kind::Set(pb::value::Set { values })) };
    let mut query = query("read", "Dataset", "weather");
    query.context.insert("columns".into(), crowd);
    let crowded = agent.authorize(query).await.unwrap_err();
    assert_eq!((crowded.code(), &*field(&crowded)), (Code::InvalidArgument, "context.columns"));
}

/// Stands for `AuthorizeRequest`, with bytes of our own where values are.
#[derive(Clone, PartialEq, prost::Message)]
struct Raw {
    #[prost(bytes = "vec", repeated, tag = "5")]
    context: Vec<Vec<u8>>,
}

#[tokio::test(flavor = "multi_thread")]
async fn fault_61_a_message_nested_deeper_than_any_stack_is_refused_and_the_server_lives() {
    let server = TestServer::start().await;
    let agent = server.client("report-bot").await;
    let field = |number: u8, bytes: &[u8]| {
        let mut out = vec![number << 3 | 2];
        prost::encode_length_delimiter(bytes.len(), &mut out).unwrap();
        [&out, bytes].concat()
    };
    // Value.set = 5, Set.values = 1; a map's entry is a message of key 1 and value 2.
    let value = (0..5_000).fold(Vec::new(), |inner, _| field(5, &field(1, &inner)));
    let context = vec![[field(1, b"destination"), field(2, &value)].concat()];
    let channel = tonic::transport::Channel::from_shared(server.url()).unwrap().connect().await.unwrap();
    let mut grpc = tonic::client::Grpc::new(channel);
    grpc.ready().await.unwrap();
    let path = "/countersign.v1.DecisionPoint/Authorize".parse().unwrap();
    let codec = tonic_prost::ProstCodec::<Raw, pb::AuthorizeResponse>::default();
    let deep = grpc.unary(tonic::Request::new(Raw { context }), path, codec).await.unwrap_err();
    assert_eq!((deep.code(), &*reason(&deep)), (Code::InvalidArgument, "malformed_message"));
    assert_eq!(agent.authorize(query("read", "Dataset", "weather")).await.unwrap().outcome(), Outcome::Allow);
}

/// Sets within sets.
fn nested(depth: usize) -> pb::Value {
    (1..depth).fold(string("deepest"), |inner, _| pb::Value {
        kind: Some(pb::value::Kind::Set(pb::value::Set { values: vec![inner] })),
    })
}
