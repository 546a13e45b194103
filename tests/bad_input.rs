//! Bad input gets the right code, the stable reason, the field at fault, and leaves no trace but the record of its refusal.

use std::collections::BTreeMap;

use countersign::wire::pb;
use pb::value::{Extension, Kind, Record, Set};
use tonic::{Code, Status};
use tonic_types::StatusExt;

use crate::support::actors::gateway;
use crate::support::client::{Client, export, field, query, reason, string, uid};
use crate::support::{PolicyDir, TestServer};

/// 32 records within `context`, and one too many.
const DEEP: &str = "context.rows.f.f.f.f.f.f.f.f.f.f.f.f.f.f.f.f.f.f.f.f.f.f.f.f.f.f.f.f.f.f.f.f";

fn value(kind: Kind) -> pb::Value {
    pb::Value { kind: Some(kind) }
}

fn context(name: &str, value: pb::Value) -> pb::AuthorizeRequest {
    let mut query = export();
    query.context.insert(name.into(), value);
    query
}

fn entity(type_name: &str, id: &str, parents: &[&str]) -> pb::Entity {
    let parents = parents.iter().map(|parent| uid("Group", parent)).collect();
    pb::Entity { uid: Some(uid(type_name, id)), parents, ..pb::Entity::default() }
}

fn dataset(id: &str, pii: pb::Value) -> pb::Entity {
    pb::Entity { attributes: BTreeMap::from([("pii".into(), pii)]), ..entity("Dataset", id, &[]) }
}

fn supplying(entities: Vec<pb::Entity>) -> pb::AuthorizeRequest {
    pb::AuthorizeRequest { entities, ..export() }
}

fn truth() -> pb::Value {
    value(Kind::Bool(true))
}

fn extension(function: &str, argument: &str) -> pb::Value {
    value(Kind::Extension(Extension { function: function.into(), argument: argument.into() }))
}

fn nested_records(depth: usize) -> pb::Value {
    (1..depth).fold(string("deepest"), |inner, _| {
        value(Kind::Record(Record { fields: BTreeMap::from([("f".into(), inner)]) }))
    })
}

fn waiting(seconds: i64, nanos: i32) -> pb::AuthorizeRequest {
    pb::AuthorizeRequest { wait: Some(prost_types::Duration { seconds, nanos }), ..export() }
}

/// Queries that are wrong, with the field that is.
fn wrong_queries() -> Vec<(&'static str, pb::AuthorizeRequest, &'static str)> {
    vec![
        ("no action", pb::AuthorizeRequest { action: None, ..export() }, "action"),
        ("no resource", pb::AuthorizeRequest { resource: None, ..export() }, "resource"),
        ("empty type", pb::AuthorizeRequest { resource: Some(uid("", "x")), ..export() }, "resource.type"),
        ("no type", pb::AuthorizeRequest { resource: Some(uid("a b", "x")), ..export() }, "resource.type"),
        ("NUL type", pb::AuthorizeRequest { resource: Some(uid("Data\0set", "x")), ..export() }, "resource.type"),
        ("unknown type", pb::AuthorizeRequest { resource: Some(uid("Table", "x")), ..export() }, "resource"),
        ("inapt type", pb::AuthorizeRequest { resource: Some(uid("Database", "x")), ..export() }, "resource"),
        ("unknown action", pb::AuthorizeRequest { action: Some(uid("Action", "erase")), ..export() }, "action"),
        ("no action at all", pb::AuthorizeRequest { action: Some(uid("Dataset", "x")), ..export() }, "action"),
        ("the service's own action", own_action(), "action"),
        ("context: undeclared", context("cwd", string("/")), "context.cwd"),
        ("context: wrong type", context("rows", string("1")), "context.rows"),
        ("context: no kind", context("rows", pb::Value { kind: None }), "context.rows"),
        ("context: required field missing", query("export", "Dataset", "customers"), "context.destination"),
        ("context: server", context("server", truth()), "context.server"),
        ("context: environment", context("environment", truth()), "context.environment"),
        ("context: unknown extension", context("rows", extension("float", "NaN")), "context.rows.function"),
        ("context: malformed decimal", context("rows", extension("decimal", "NaN")), "context.rows"),
        ("context: bad uid", context("rows", value(Kind::Entity(uid("", "x")))), "context.rows.type"),
        ("context: hostile name", context("\u{202e}x\0", truth()), "context.\\u{202e}x\\u{0}"),
        ("context: 33 deep", context("rows", nested_records(33)), DEEP),
        ("environment: undeclared", environment("cwd", string("/")), "environment.cwd"),
        ("environment: malformed", environment("address", extension("ip", "10.0.0.256")), "environment.address"),
        ("justification too long", justified(&"x".repeat(2_001)), "justification"),
        ("key too long", keyed(&"k".repeat(129)), "idempotency_key"),
        ("wait: negative", waiting(-1, 0), "wait"),
        ("wait: a little negative", waiting(0, -1), "wait"),
        ("wait: mixed signs", waiting(-5, 999), "wait"),
        ("approval id", pb::AuthorizeRequest { approval_id: "../apr_1".into(), ..export() }, "approval_id"),
        ("two principals", two_principals(), "subject_token"),
        ("entities: no uid", supplying(vec![pb::Entity::default()]), "entities[0].uid"),
        (
            "entities: unknown type",
            supplying(vec![
                entity("Group", "a", &[]),
                dataset("d", truth()),
                entity("Group", "b", &["a"]),
                duplicate(),
            ]),
            "entities[3].uid",
        ),
        ("entities: attribute", supplying(vec![dataset("d", string("yes"))]), "entities[0].attributes.pii"),
        ("entities: missing attribute", supplying(vec![entity("Dataset", "d", &[])]), "entities[0].attributes.pii"),
        ("entities: wrong parent type", supplying(vec![wrong_parent()]), "entities[0].parents"),
        ("entities: own parent", supplying(vec![entity("Group", "a", &["a"])]), "entities[0].parents"),
        (
            "entities: cycle",
            supplying(vec![entity("Group", "a", &["b"]), entity("Group", "b", &["a"])]),
            "entities[0].parents",
        ),
        ("entities: 101", supplying((0..101).map(|n| entity("Group", &n.to_string(), &[])).collect()), "entities"),
        ("entities: an action", supplying(vec![entity("Action", "read", &[])]), "entities[0].uid"),
        ("10,001 values", context("rows", value(Kind::Set(Set { values: vec![truth(); 10_001] }))), "context.rows"),
        ("257 KiB", context("destination", string(&"x".repeat(257 << 10))), "context"),
        (
            "a huge id",
            pb::AuthorizeRequest { resource: Some(uid("Dataset", &"x".repeat(300 << 10))), ..export() },
            "resource",
        ),
    ]
}

fn own_action() -> pb::AuthorizeRequest {
    pb::AuthorizeRequest { action: Some(uid("Countersign::Action", "review")), ..export() }
}

fn environment(name: &str, value: pb::Value) -> pb::AuthorizeRequest {
    pb::AuthorizeRequest { environment: BTreeMap::from([(name.into(), value)]), ..export() }
}

fn justified(text: &str) -> pb::AuthorizeRequest {
    pb::AuthorizeRequest { justification: text.into(), ..export() }
}

fn keyed(key: &str) -> pb::AuthorizeRequest {
    pb::AuthorizeRequest { idempotency_key: key.into(), ..export() }
}

fn two_principals() -> pb::AuthorizeRequest {
    pb::AuthorizeRequest { principal: Some(uid("Agent", "worker")), subject_token: "x".into(), ..export() }
}

fn duplicate() -> pb::Entity {
    dataset("d", value(Kind::Bool(false)))
}

fn wrong_parent() -> pb::Entity {
    pb::Entity { parents: vec![uid("Group", "a")], ..dataset("d", truth()) }
}

/// What a refused call must have left: one record more, then a marker's.
async fn left_only_a_refusal(client: &Client, auditor: &Client, before: u64, what: &str) -> pb::Refused {
    client.authorize(query("read", "Dataset", "weather")).await.unwrap();
    let request = pb::AuditRequest { order: pb::Order::NewestFirst.into(), limit: 2, ..pb::AuditRequest::default() };
    let records = auditor.audit(request).await.unwrap();
    assert_eq!(records[0].sequence, before + 2, "{what}: {records:#?}");
    match records[1].fact.clone().unwrap() {
        pb::record::Fact::Refused(refused) => refused,
        other => panic!("{what} left {other:?}"),
    }
}

async fn last_sequence(auditor: &Client) -> u64 {
    let request = pb::AuditRequest { order: pb::Order::NewestFirst.into(), limit: 1, ..pb::AuditRequest::default() };
    auditor.audit(request).await.unwrap()[0].sequence
}

fn check(what: &str, refused: &Status, code: Code, why: &str, at: &str) {
    let seen = (refused.code(), reason(refused), field(refused));
    assert_eq!(seen, (code, why.to_owned(), at.to_owned()), "{what}: {}", refused.message());
    assert_eq!(refused.get_details_error_info().unwrap().domain, "countersign", "{what}");
    assert!(refused.message().len() < 1_000, "{what}");
}

async fn extended() -> (TestServer, Client, Client) {
    let server = PolicyDir::extended().serve().await;
    let (client, auditor) = (server.client_of(&gateway()).await, server.client("erin").await);
    (server, client, auditor)
}

#[tokio::test(flavor = "multi_thread")]
async fn a_wrong_query_names_its_field_and_leaves_only_its_refusal() {
    let (server, client, auditor) = extended().await;
    for (what, query, at) in wrong_queries() {
        let before = last_sequence(&auditor).await;
        let refused = client.authorize(query).await.unwrap_err();
        check(what, &refused, Code::InvalidArgument, "invalid_argument", at);
        let record = left_only_a_refusal(&client, &auditor, before, what).await;
        assert_eq!((&*record.method, &*record.reason, &*record.field), ("Authorize", "invalid_argument", at));
        assert_eq!(record.caller.unwrap().subject, "gateway");
    }
    let listed = client.stub.clone().list_approvals(pb::ListApprovalsRequest::default()).await.unwrap();
    assert_eq!(listed.into_inner().approvals, []);
    let _ = server.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_wrong_query_of_a_batch_fails_alone_and_as_it_would_by_itself() {
    let (_server, client, _) = extended().await;
    let read = || query("read", "Dataset", "weather");
    let wrong: Vec<_> = wrong_queries().into_iter().filter(|(what, ..)| !what.contains("KiB")).collect();
    for (what, query, at) in wrong {
        let batch = pb::AuthorizeBatchRequest { queries: vec![read(), query, read()] };
        let results = client.stub.clone().authorize_batch(batch).await.unwrap().into_inner().results;
        let results: Vec<_> = results.into_iter().map(|result| result.result.unwrap()).collect();
        use pb::authorize_result::Result::{Error, Response};
        let [Response(_), Error(error), Response(_)] = &results[..] else { panic!("{what}: {results:#?}") };
        assert_eq!((error.code, &*error.reason, &*error.field), (3, "invalid_argument", at), "{what}");
    }
    let wait = pb::AuthorizeBatchRequest { queries: vec![waiting(1, 0)] };
    let results = client.stub.clone().authorize_batch(wait).await.unwrap().into_inner().results;
    let Some(pb::authorize_result::Result::Error(error)) = &results[0].result else { panic!("{results:?}") };
    assert_eq!((error.code, &*error.field), (3, "wait"));
    let crowd = pb::AuthorizeBatchRequest { queries: vec![read(); 101] };
    let crowd = client.stub.clone().authorize_batch(crowd).await.unwrap_err();
    check("101 queries", &crowd, Code::InvalidArgument, "invalid_argument", "queries");
    let large = || context("destination", string(&"x".repeat(200 << 10)));
    let heavy = pb::AuthorizeBatchRequest { queries: vec![large(); 6] };
    let heavy = client.stub.clone().authorize_batch(heavy).await.unwrap_err();
    check("1.2 MiB", &heavy, Code::InvalidArgument, "invalid_argument", "queries");
}

#[tokio::test(flavor = "multi_thread")]
async fn what_cannot_even_be_read_is_refused_by_its_field_and_leaves_nothing() {
    let (_server, client, auditor) = extended().await;
    let deep = (1..200).fold(string(""), |inner, _| value(Kind::Set(Set { values: vec![inner] })));
    for (what, query, why) in [
        ("200 deep", context("rows", deep.clone()), "malformed_message"),
        ("200 records deep", context("rows", nested_records(200)), "malformed_message"),
    ] {
        let before = last_sequence(&auditor).await;
        let refused = client.authorize(query).await.unwrap_err();
        check(what, &refused, Code::InvalidArgument, why, "context");
        client.authorize(crate::support::client::query("read", "Dataset", "weather")).await.unwrap();
        assert_eq!(last_sequence(&auditor).await, before + 1, "{what}");
    }
    let mut attributes = dataset("d", truth());
    attributes.attributes.insert("deep".into(), deep);
    let refused = client.authorize(supplying(vec![attributes])).await.unwrap_err();
    check("200 deep in an entity", &refused, Code::InvalidArgument, "malformed_message", "entities");
    let huge = client.authorize(context("destination", string(&"x".repeat(5 << 20)))).await.unwrap_err();
    assert_eq!((huge.code(), &*reason(&huge)), (Code::InvalidArgument, "message_too_large"));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_wrong_vote_or_report_names_its_field() {
    let (server, client, _) = extended().await;
    let approval = client.authorize(export()).await.unwrap().approval.unwrap();
    let vote = || pb::DecideRequest {
        approval_id: approval.id.clone(),
        verdict: pb::Verdict::Approve.into(),
        binding: approval.binding.clone(),
        ..pb::DecideRequest::default()
    };
    let alice = server.client("alice").await;
    let upper = approval.binding.to_uppercase();
    for (what, vote, at) in [
        ("no verdict", pb::DecideRequest { verdict: 0, ..vote() }, "verdict"),
        ("an unknown verdict", pb::DecideRequest { verdict: 99, ..vote() }, "verdict"),
        ("a negative verdict", pb::DecideRequest { verdict: -1, ..vote() }, "verdict"),
        ("no id", pb::DecideRequest { approval_id: String::new(), ..vote() }, "approval_id"),
        ("no binding", pb::DecideRequest { binding: String::new(), ..vote() }, "binding"),
        ("a binding in capitals", pb::DecideRequest { binding: upper, ..vote() }, "binding"),
        ("an unknown gate", pb::DecideRequest { gates: vec!["no-such-gate".into()], ..vote() }, "gates"),
        ("a long comment", pb::DecideRequest { comment: "c".repeat(2_001), ..vote() }, "comment"),
    ] {
        let refused = alice.stub.clone().decide(vote).await.unwrap_err();
        check(what, &refused, Code::InvalidArgument, "invalid_argument", at);
    }
    let other = pb::DecideRequest { binding: "ab".repeat(32), ..vote() };
    let other = alice.stub.clone().decide(other).await.unwrap_err();
    check("another binding", &other, Code::Aborted, "binding_mismatch", "binding");
    for number in [0, 3, 99] {
        let report = pb::ReportOutcomeRequest {
            approval_id: approval.id.clone(),
            decision_id: "dec_01900000000070008000000000000000".into(),
            report: number,
        };
        let refused = client.stub.clone().report_outcome(report).await.unwrap_err();
        check("report", &refused, Code::InvalidArgument, "invalid_argument", "report");
    }
    assert_eq!(client.get(&approval.id).await.unwrap().version, 1, "nothing happened to it");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_wrong_search_names_its_field() {
    let (_server, client, auditor) = extended().await;
    let audit = pb::AuditRequest::default;
    let filter = |filter: pb::Filter| pb::AuditRequest { filter: Some(filter), ..audit() };
    let at = |seconds| Some(prost_types::Timestamp { seconds, nanos: 0 });
    let cursor = |text: &str| pb::AuditRequest { cursor: text.into(), ..audit() };
    let future = format!("c1.{}{}", "f".repeat(16), "1".repeat(16));
    let start = format!("c1.{}{}", "f".repeat(16), "0".repeat(16));
    let foreign = format!("c1.{:016x}{}", 1, "1".repeat(16));
    for (what, request, at) in [
        ("limit", pb::AuditRequest { limit: 10_001, ..audit() }, "limit"),
        ("order", pb::AuditRequest { order: 9, ..audit() }, "order"),
        ("range", pb::AuditRequest { from: at(2), until: at(1), ..audit() }, "until"),
        ("cursor", cursor("nonsense"), "cursor"),
        ("a cursor of the future", cursor(&future), "cursor"),
        ("a forged beginning", cursor(&start), "cursor"),
        ("a cursor of another journal", cursor(&foreign), "cursor"),
        ("outcome", filter(pb::Filter { outcomes: vec![0], ..pb::Filter::default() }), "filter.outcomes"),
        ("unknown outcome", filter(pb::Filter { outcomes: vec![44], ..pb::Filter::default() }), "filter.outcomes"),
        ("approval", filter(pb::Filter { approval_id: "x".into(), ..pb::Filter::default() }), "filter.approval_id"),
        (
            "principal",
            filter(pb::Filter { principal: Some(uid("", "x")), ..pb::Filter::default() }),
            "filter.principal.type",
        ),
    ] {
        let refused = auditor.audit(request).await.unwrap_err();
        check(what, &refused, Code::InvalidArgument, "invalid_argument", at);
    }
    for text in [&*future, &start, &foreign, "c1."] {
        let request = pb::SubscribeRequest { cursor: text.into(), ..pb::SubscribeRequest::default() };
        let refused = auditor.stub.clone().subscribe(request).await.unwrap_err();
        check(text, &refused, Code::InvalidArgument, "invalid_argument", "cursor");
    }
    let list = pb::ListApprovalsRequest::default;
    for (request, at) in [
        (pb::ListApprovalsRequest { page_size: 201, ..list() }, "page_size"),
        (pb::ListApprovalsRequest { page_token: "7".into(), ..list() }, "page_token"),
        (pb::ListApprovalsRequest { states: vec![77], ..list() }, "states"),
        (pb::ListApprovalsRequest { states: vec![0], ..list() }, "states"),
    ] {
        let refused = client.stub.clone().list_approvals(request).await.unwrap_err();
        check(at, &refused, Code::InvalidArgument, "invalid_argument", at);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn every_refusal_of_a_caller_says_why_with_a_stable_reason() {
    let (server, client, _) = extended().await;
    let nobody = Client::connect(&server.url(), "not-a-token").await;
    let refused = nobody.authorize(export()).await.unwrap_err();
    assert_eq!((refused.code(), &*reason(&refused)), (Code::Unauthenticated, "malformed"));
    let stranger =
        server.client_of(&countersign::web::dev_issuer::DevPrincipal { groups: &[], ..gateway_like() }).await;
    let refused = stranger.authorize(export()).await.unwrap_err();
    assert_eq!((refused.code(), &*reason(&refused)), (Code::PermissionDenied, "not_permitted"));
    let refused = client.audit(pb::AuditRequest::default()).await.unwrap_err();
    assert_eq!((refused.code(), &*reason(&refused)), (Code::PermissionDenied, "not_permitted"));
    let robot = pb::AuthorizeRequest { principal: Some(uid("Robot", "r")), ..export() };
    let refused = client.authorize(robot).await.unwrap_err();
    assert_eq!((refused.code(), &*reason(&refused)), (Code::PermissionDenied, "not_permitted"));
    let forged = pb::AuthorizeRequest { subject_token: "a.b.c".into(), ..export() };
    let refused = client.authorize(forged).await.unwrap_err();
    assert_eq!(refused.code(), Code::Unauthenticated);
    assert!(!reason(&refused).is_empty());
    // What no handler of ours answers says the same.
    let mut grpc = tonic::client::Grpc::new(
        tonic::transport::Channel::from_shared(server.url()).unwrap().connect().await.unwrap(),
    );
    grpc.ready().await.unwrap();
    let path = "/countersign.v1.DecisionPoint/NoSuchMethod".parse().unwrap();
    let codec = tonic_prost::ProstCodec::<pb::AuthorizeRequest, pb::AuthorizeResponse>::default();
    let refused = grpc.unary(tonic::Request::new(export()), path, codec).await.unwrap_err();
    assert_eq!((refused.code(), &*reason(&refused)), (Code::Unimplemented, "unimplemented"));
}

fn gateway_like() -> countersign::web::dev_issuer::DevPrincipal {
    countersign::web::dev_issuer::DevPrincipal { subject: "stranger", ..gateway() }
}

#[tokio::test(flavor = "multi_thread")]
async fn what_the_server_knows_of_an_entity_is_not_the_callers_to_change() {
    let (_server, client, _) = extended().await;
    let harmless = pb::Entity { ..dataset("customers", value(Kind::Bool(false))) };
    let answer = client.authorize(supplying(vec![harmless])).await.unwrap();
    assert_eq!(answer.outcome(), pb::Outcome::Pending, "personal data, whatever the caller says");
}
