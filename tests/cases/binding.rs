//! B. Binding: an approval is for one action, to the byte.

use std::collections::BTreeMap;
use std::time::Duration;

use countersign::wire::pb;
use pb::{ApprovalState, Outcome};
use tonic::Code;

use super::{asked, count, countersigned, extended, history, said};
use crate::support::actors::gateway;
use crate::support::client::{export, export_by_id, field, long, query, reason, string, uid};
use crate::support::{PolicyDir, TestServer};

fn set(values: &[&str]) -> pb::Value {
    let values = values.iter().map(|text| string(text)).collect();
    pb::Value { kind: Some(pb::value::Kind::Set(pb::value::Set { values })) }
}

fn with(name: &str, value: pb::Value) -> pb::AuthorizeRequest {
    let mut query = export();
    query.context.insert(name.into(), value);
    query
}

fn without(name: &str) -> pb::AuthorizeRequest {
    let mut query = export();
    query.context.remove(name);
    query
}

/// Every way in which an action can be another one.
fn changed() -> Vec<(&'static str, pb::AuthorizeRequest)> {
    vec![
        ("one byte", with("destination", string("s3://partnes"))),
        ("a trailing space", with("destination", string("s3://partner "))),
        ("a combining character", with("destination", string("s3://partner\u{301}"))),
        ("one more", with("rows", long(1_001))),
        ("a field less", without("rows")),
        ("another resource", pb::AuthorizeRequest { resource: Some(uid("Dataset", "customers2")), ..export() }),
        ("another case", pb::AuthorizeRequest { resource: Some(uid("Dataset", "Customers")), ..export() }),
        ("another action", pb::AuthorizeRequest { context: BTreeMap::new(), ..query("read", "Dataset", "customers") }),
    ]
}

#[tokio::test(flavor = "multi_thread")]
async fn case_15_a_changed_action_is_denied_as_tampering_and_the_approval_stays_good() {
    let server = TestServer::start().await;
    let (agent, approval) = countersigned(&server).await;
    let cases = changed();
    for (what, query) in &cases {
        let tampered = pb::AuthorizeRequest { approval_id: approval.id.clone(), ..query.clone() };
        let answer = agent.authorize(tampered).await.unwrap();
        assert_eq!(said(&answer), (Outcome::Deny, "binding_mismatch"), "{what}");
        assert_eq!(answer.approval, None, "{what}: nothing of the approval is shown");
    }
    let tampering = count(&history(&server, &approval.id).await, "decided binding_mismatch");
    assert_eq!(tampering, cases.len());
    let exact = agent.authorize(export_by_id(&approval.id)).await.unwrap();
    assert_eq!(said(&exact), (Outcome::Allow, "granted"));
}

#[tokio::test(flavor = "multi_thread")]
async fn case_15_another_principal_with_the_approvals_id_is_denied() {
    let server = TestServer::start().await;
    let (_, approval) = countersigned(&server).await;
    let other = server.client_of(&crate::support::actors::agent("other-bot")).await;
    let answer = other.authorize(export_by_id(&approval.id)).await.unwrap();
    assert_eq!(said(&answer), (Outcome::Deny, "binding_mismatch"));
}

#[tokio::test(flavor = "multi_thread")]
async fn case_16_order_and_duplicates_in_a_set_mean_nothing_and_integers_survive() {
    let server = TestServer::start().await;
    let agent = server.client("report-bot").await;
    let mut bindings = Vec::new();
    for columns in [&["a", "b"][..], &["b", "a"], &["a", "b", "a"]] {
        let mut read = query("read", "Dataset", "weather");
        read.context.insert("columns".into(), set(columns));
        bindings.push(agent.authorize(read).await.unwrap().binding);
    }
    bindings.dedup();
    assert_eq!(bindings.len(), 1);
    for rows in [i64::MAX, i64::MIN, (1 << 53) + 1, 1 << 53] {
        let approval = agent.authorize(with("rows", long(rows))).await.unwrap().approval.unwrap();
        assert_eq!(approval.context["rows"], long(rows));
        let canonical = agent.get(&approval.id).await.unwrap().canonical_query;
        assert!(canonical.contains(&format!("{{\"long\":\"{rows}\"}}")));
        assert!(!bindings.contains(&approval.binding));
        bindings.push(approval.binding);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn case_17_a_missing_parameter_is_refused_and_matches_nothing() {
    let server = TestServer::start().await;
    let (agent, approval) = countersigned(&server).await;
    let missing = agent.authorize(without("destination")).await.unwrap_err();
    assert_eq!((missing.code(), &*field(&missing)), (Code::InvalidArgument, "context.destination"));
    let bare = agent.authorize(pb::AuthorizeRequest { context: BTreeMap::new(), ..export() }).await.unwrap_err();
    assert_eq!(field(&bare), "context.destination");
    let optional = agent.authorize(without("rows")).await.unwrap();
    assert_eq!(optional.outcome(), Outcome::Pending);
    assert_ne!(optional.approval.unwrap().id, approval.id);
}

#[tokio::test(flavor = "multi_thread")]
async fn case_18_what_the_caller_says_of_an_entity_is_part_of_what_is_approved() {
    let server = extended().await;
    let gateway = server.client_of(&gateway()).await;
    let described = |owner: &str| {
        let owner = pb::Value { kind: Some(pb::value::Kind::Entity(uid("User", owner))) };
        let pii = pb::Value { kind: Some(pb::value::Kind::Bool(true)) };
        let entity = pb::Entity {
            uid: Some(uid("Dataset", "script")),
            attributes: [("pii".to_owned(), pii), ("owner".to_owned(), owner)].into(),
            ..pb::Entity::default()
        };
        pb::AuthorizeRequest { resource: Some(uid("Dataset", "script")), entities: vec![entity], ..export() }
    };
    let approval = gateway.authorize(described("carol")).await.unwrap().approval.unwrap();
    server.client("alice").await.approve(&approval).await.unwrap();
    server.client("bob").await.approve(&approval).await.unwrap();
    let mutated = pb::AuthorizeRequest { approval_id: approval.id.clone(), ..described("mallory") };
    assert_eq!(said(&gateway.authorize(mutated).await.unwrap()), (Outcome::Deny, "binding_mismatch"));
    let same = pb::AuthorizeRequest { approval_id: approval.id.clone(), ..described("carol") };
    assert_eq!(said(&gateway.authorize(same).await.unwrap()), (Outcome::Allow, "granted"));
}

#[tokio::test(flavor = "multi_thread")]
async fn case_19_a_parameter_that_nobody_declared_is_refused() {
    let server = TestServer::start().await;
    let agent = server.client("report-bot").await;
    let unknown = agent.authorize(with("cwd", string("/"))).await.unwrap_err();
    assert_eq!((unknown.code(), &*field(&unknown)), (Code::InvalidArgument, "context.cwd"));
    // What is volatile is seen by policies and is no part of the action.
    let session =
        |id: &str| pb::AuthorizeRequest { environment: BTreeMap::from([("session".into(), string(id))]), ..export() };
    let (one, other) = (agent.authorize(session("1")).await.unwrap(), agent.authorize(session("2")).await.unwrap());
    assert_eq!(one.binding, other.binding);
    assert_eq!(one.approval.unwrap().id, other.approval.unwrap().id);
}

#[tokio::test(flavor = "multi_thread")]
async fn case_21_arguments_rewritten_after_the_approval_do_not_run() {
    let server = TestServer::start().await;
    let (agent, approval) = countersigned(&server).await;
    // A gateway clamps the rows and asks without an id: that is another action.
    let clamped = agent.authorize(with("rows", long(100))).await.unwrap();
    assert_eq!(said(&clamped), (Outcome::Pending, "approval_required"));
    assert_ne!(clamped.approval.unwrap().id, approval.id);
    assert_eq!(agent.get(&approval.id).await.unwrap().state(), ApprovalState::Approved);
}

#[tokio::test(flavor = "multi_thread")]
async fn case_23_the_same_call_again_finds_its_grant_by_binding_and_uses_it_once() {
    let server = TestServer::start().await;
    let (agent, approval) = countersigned(&server).await;
    let found = agent.authorize(export()).await.unwrap();
    assert_eq!(said(&found), (Outcome::Allow, "granted"));
    assert_eq!(found.approval.unwrap().id, approval.id);
    let anew = agent.authorize(export()).await.unwrap();
    assert_eq!(said(&anew), (Outcome::Pending, "approval_required"));
    assert_ne!(anew.approval.unwrap().id, approval.id);
}

#[tokio::test(flavor = "multi_thread")]
async fn case_24_a_call_id_with_other_arguments_is_refused() {
    let server = TestServer::start().await;
    let agent = server.client("report-bot").await;
    let keyed = |query: pb::AuthorizeRequest| pb::AuthorizeRequest { idempotency_key: "call-7".into(), ..query };
    let first = agent.authorize(keyed(export())).await.unwrap();
    assert_eq!(first.outcome(), Outcome::Pending);
    for (what, query) in changed() {
        let reused = agent.authorize(keyed(query)).await.unwrap_err();
        let seen = (reused.code(), reason(&reused), field(&reused));
        let expected = (Code::FailedPrecondition, "idempotency_key_reused".to_owned(), "idempotency_key".to_owned());
        assert_eq!(seen, expected, "{what}");
    }
    // The key is the caller's own: another's same key is another key.
    let other = server.client_of(&crate::support::actors::agent("other-bot")).await;
    assert_eq!(other.authorize(keyed(query("read", "Dataset", "weather"))).await.unwrap().outcome(), Outcome::Allow);
}

#[tokio::test(flavor = "multi_thread")]
async fn case_25_an_approval_of_one_call_serves_no_later_call_of_the_same_tool() {
    let server = TestServer::start().await;
    let (agent, first) = countersigned(&server).await;
    let later = with("rows", long(5));
    let second = agent.authorize(later.clone()).await.unwrap();
    assert_eq!(second.outcome(), Outcome::Pending);
    let second = second.approval.unwrap();
    let by_id = pb::AuthorizeRequest { approval_id: second.id, ..later };
    assert_eq!(agent.authorize(by_id).await.unwrap().outcome(), Outcome::Pending);
    assert_eq!(agent.get(&first.id).await.unwrap().state(), ApprovalState::Approved);
}

#[tokio::test(flavor = "multi_thread")]
async fn case_26_an_edited_call_is_decided_as_what_it_became() {
    let server = TestServer::start().await;
    let (agent, approval) = asked(&server).await;
    let edited = pb::AuthorizeRequest { resource: Some(uid("Dataset", "weather")), ..export() };
    let edited = agent.authorize(edited).await.unwrap();
    assert_eq!(said(&edited), (Outcome::Allow, "permitted"), "plain data needs nobody");
    let worse = agent.authorize(query("drop", "Database", "warehouse")).await.unwrap();
    assert_eq!(said(&worse), (Outcome::Deny, "forbidden"));
    let wider = agent.authorize(with("destination", string("s3://elsewhere"))).await.unwrap();
    let wider = wider.approval.unwrap();
    assert!(wider.id != approval.id && wider.binding != approval.binding);
    assert_eq!(wider.reviews, []);
}

#[tokio::test(flavor = "multi_thread")]
async fn case_27_the_original_has_no_grant_after_an_edit_was_approved() {
    let server = TestServer::start().await;
    let (agent, original) = asked(&server).await;
    let edited = agent.authorize(with("rows", long(10))).await.unwrap().approval.unwrap();
    server.client("alice").await.approve(&edited).await.unwrap();
    server.client("bob").await.approve(&edited).await.unwrap();
    let unedited = agent.authorize(export()).await.unwrap();
    assert_eq!((unedited.outcome(), unedited.approval.unwrap().id), (Outcome::Pending, original.id));
}

#[tokio::test(flavor = "multi_thread")]
async fn case_28_policies_tightened_after_the_approval_deny() {
    let server = TestServer::start().await;
    let (_, approval) = countersigned(&server).await;
    let stop = PolicyDir::shipped().and(r#"@id("freeze") forbid (principal, action == Action::"export", resource);"#);
    let server = server.restart_under(&stop).await;
    let agent = server.client("report-bot").await;
    let frozen = agent.authorize(export_by_id(&approval.id)).await.unwrap();
    assert_eq!(said(&frozen), (Outcome::Deny, "forbidden"));
    assert_eq!(agent.get(&approval.id).await.unwrap().state(), ApprovalState::Approved, "nothing was used");

    let more = PolicyDir::shipped().and(
        r#"@id("legal") @approval("Legal looks as well") @reviewers("Group::\"legal\"")
           forbid (principal, action == Action::"export", resource is Dataset);"#,
    );
    let server = server.restart_under(&more).await;
    let agent = server.client("report-bot").await;
    let gated = agent.authorize(export_by_id(&approval.id)).await.unwrap();
    assert_eq!(said(&gated), (Outcome::Pending, "approval_required"));
    assert_ne!(gated.approval.unwrap().id, approval.id, "the old approval does not cover the new gate");
}

#[tokio::test(flavor = "multi_thread")]
async fn case_28_a_higher_quorum_or_fewer_reviewers_need_a_new_approval() {
    for (text, instead) in [
        ("@quorum(\"2\")", "@quorum(\"3\")"),
        ("Group::\\\"privacy\\\", Group::\\\"dpo\\\"", "Group::\\\"dpo\\\""),
        // Takes a better login to review.
        ("@severity(\"high\")", "@severity(\"critical\")"),
        // Some come later now than they did then.
        ("@escalate(\"after 5m:", "@escalate(\"after 10m:"),
    ] {
        let server = TestServer::start().await;
        let (_, approval) = countersigned(&server).await;
        let stricter = PolicyDir::shipped().but("warehouse.cedar", text, instead);
        let server = server.restart_under(&stricter).await;
        let agent = server.client("report-bot").await;
        let answer = agent.authorize(export_by_id(&approval.id)).await.unwrap();
        assert_eq!(said(&answer), (Outcome::Pending, "approval_required"), "{instead}");
        assert_ne!(answer.approval.unwrap().id, approval.id, "{instead}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn case_28_an_answer_is_not_repeated_under_its_key_once_a_new_gate_stands() {
    let server = TestServer::start().await;
    let (agent, approval) = countersigned(&server).await;
    let keyed = pb::AuthorizeRequest { idempotency_key: "call-8".into(), ..export_by_id(&approval.id) };
    let granted = agent.authorize(keyed.clone()).await.unwrap();
    assert_eq!(said(&granted), (Outcome::Allow, "granted"));
    let more = PolicyDir::shipped().and(
        r#"@id("legal") @approval("Legal looks as well") @reviewers("Group::\"legal\"")
           forbid (principal, action == Action::"export", resource is Dataset);"#,
    );
    let server = server.restart_under(&more).await;
    let again = server.client("report-bot").await.authorize(keyed).await.unwrap();
    assert_ne!(again.outcome(), Outcome::Allow, "{}", again.reason);
}

#[tokio::test(flavor = "multi_thread")]
async fn case_29_a_gate_deleted_or_loosened_meanwhile_approves_nothing() {
    let server = TestServer::start().await;
    let (_, approval) = asked(&server).await;
    let loose = PolicyDir::shipped().but("warehouse.cedar", "@quorum(\"2\")", "@quorum(\"1\")");
    let server = server.restart_under(&loose).await;
    let one = server.client("alice").await.approve(&approval).await.unwrap();
    assert_eq!(one.state(), ApprovalState::Pending, "two, as it stood when it was asked");

    let open = PolicyDir::shipped().but("warehouse.cedar", "when { resource.pii };", "when { false };");
    let server = server.restart_under(&open).await;
    let agent = server.client("report-bot").await;
    for query in [export(), export_by_id(&approval.id)] {
        let answer = agent.authorize(query).await.unwrap();
        assert_eq!((answer.outcome(), answer.approval.unwrap().id), (Outcome::Pending, approval.id.clone()));
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn case_31_a_grant_for_some_time_is_still_for_one_action() {
    let server = TestServer::start().await;
    let pipeline = server.client("ci-pipeline").await;
    let rotate = query("rotate", "Secret", "payments-api-key");
    let approval = pipeline.authorize(rotate.clone()).await.unwrap().approval.unwrap();
    server.client("dave").await.approve(&approval).await.unwrap();
    for _ in 0..3 {
        assert_eq!(said(&pipeline.authorize(rotate.clone()).await.unwrap()), (Outcome::Allow, "granted"));
        server.advance(Duration::from_secs(600));
    }
    let mut similar = rotate;
    similar.context.insert("reason".into(), string("leaked"));
    assert_eq!(pipeline.authorize(similar).await.unwrap().outcome(), Outcome::Pending);
    let other = pipeline.authorize(query("rotate", "Secret", "warehouse-password")).await.unwrap();
    assert_eq!(other.outcome(), Outcome::Pending);
}

#[tokio::test(flavor = "multi_thread")]
async fn case_32_a_caller_who_says_approved_is_not_believed() {
    let server = TestServer::start().await;
    let agent = server.client("report-bot").await;
    let truth = || pb::Value { kind: Some(pb::value::Kind::Bool(true)) };
    for name in ["approved", "decided_by", "server"] {
        let claimed = agent.authorize(with(name, truth())).await.unwrap_err();
        assert_eq!((claimed.code(), field(&claimed)), (Code::InvalidArgument, format!("context.{name}")));
    }
    let forged = agent.authorize(export_by_id("apr_01900000000070008000000000000000")).await.unwrap_err();
    assert_eq!((forged.code(), &*reason(&forged)), (Code::NotFound, "not_found"));
    // Naming somebody else in the body takes a permission that nobody has by default.
    let named = pb::AuthorizeRequest { principal: Some(uid("User", "alice")), ..export() };
    let named = agent.authorize(named).await.unwrap_err();
    assert_eq!((named.code(), &*reason(&named)), (Code::PermissionDenied, "not_permitted"));
}
