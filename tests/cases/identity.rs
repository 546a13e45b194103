//! C. Identity, self-approval, delegation; gates that nobody or everybody could satisfy.

use std::time::Duration;

use countersign::engine::{PolicySnapshot, Settings};
use countersign::wire::pb;
use pb::{ApprovalState, Outcome};
use serde_json::json;
use tonic::{Code, Status};
use tonic_types::StatusExt;

use super::{asked, count, extended, history, said};
use crate::support::actors::{agent, gateway, person};
use crate::support::client::{export, export_by_id, query, reason, uid};
use crate::support::{Client, PolicyDir, TestServer};

fn refused_as(status: &Status) -> (Code, String) {
    (status.code(), reason(status))
}

fn denied(why: &str) -> (Code, String) {
    (Code::PermissionDenied, why.to_owned())
}

fn unseen() -> (Code, String) {
    (Code::NotFound, "not_found".to_owned())
}

#[tokio::test(flavor = "multi_thread")]
async fn case_33_nobody_countersigns_their_own_by_any_alias_or_session() {
    let server = extended().await;
    let alice = server.client("alice").await;
    let approval = alice.authorize(export()).await.unwrap().approval.unwrap();
    let aliases = [
        json!({}),
        json!({"email": "ALICE@example.com", "name": "Somebody else"}),
        json!({"email": "alice+2@example.com", "client_id": "another-app", "jti": "another-session"}),
        json!({"groups": ["privacy", "dpo", "privacy-leads"], "auth_time": 1}),
    ];
    for claims in aliases {
        let again = server.client_with(&person("alice", &["privacy"]), claims.as_object().unwrap()).await;
        for vote in [again.approve(&approval).await, again.reject(&approval).await] {
            assert_eq!(refused_as(&vote.unwrap_err()), denied("own_action"), "{claims}");
        }
    }
    let after = server.client("bob").await.approve(&approval).await.unwrap();
    assert_eq!((after.reviews.len(), after.state()), (1, ApprovalState::Pending));
    assert_eq!(count(&history(&server, &approval.id).await, "refused Decide own_action"), 8);
}

#[tokio::test(flavor = "multi_thread")]
async fn case_33_another_subject_that_looks_alike_is_another_person() {
    let server = extended().await;
    let approval = server.client("alice").await.authorize(export()).await.unwrap().approval.unwrap();
    let mut last = approval.state();
    for subject in ["Alice", "alice "] {
        let other = server.client_of(&person(subject, &["privacy"])).await;
        last = other.approve(&approval).await.unwrap().state();
    }
    assert_eq!(last, ApprovalState::Approved);
}

#[tokio::test(flavor = "multi_thread")]
async fn case_34_whom_the_agent_acts_for_does_not_countersign_it() {
    let server = TestServer::start().await;
    let for_alice = server.delegated("report-bot", "alice").await;
    let answer = for_alice.authorize(export()).await;
    // The shipped policies know agents by their token's groups, and a delegated token has none of the agent's.
    assert_eq!(refused_as(&answer.unwrap_err()), denied("not_permitted"));

    let server = delegation().await;
    let for_alice = server.delegated("report-bot", "alice").await;
    let approval = for_alice.authorize(export()).await.unwrap().approval.unwrap();
    assert_eq!(approval.principal.as_ref().unwrap().on_behalf_of.as_ref().unwrap().subject, "alice");
    let own = server.client("alice").await.approve(&approval).await.unwrap_err();
    assert_eq!(refused_as(&own), denied("own_action"));
    assert_eq!(count(&history(&server, &approval.id).await, "refused Decide own_action"), 1);
    server.client("carol").await.approve(&approval).await.unwrap();
    let done = server.client("bob").await.approve(&approval).await.unwrap();
    assert_eq!(done.state(), ApprovalState::Approved);
    // For bob it would be another action: the grant is alice's.
    let for_bob = server.delegated("report-bot", "bob").await;
    let other = for_bob.authorize(export_by_id(&approval.id)).await.unwrap();
    assert_eq!(said(&other), (Outcome::Deny, "binding_mismatch"));
    let exact = for_alice.authorize(export_by_id(&approval.id)).await.unwrap();
    assert_eq!(said(&exact), (Outcome::Allow, "granted"));
}

/// Policies under which the report bot may ask on behalf of people, where its token names no groups of its own.
async fn delegation() -> TestServer {
    let more = r#"
        @id("delegated-ask") permit (principal == Agent::"report-bot",
            action == Countersign::Action::"authorize", resource == Countersign::Service::"countersign");
        @id("delegated-export") permit (principal == Agent::"report-bot", action == Action::"export", resource is Dataset);
    "#;
    PolicyDir::extended().and(more).serve().await
}

#[tokio::test(flavor = "multi_thread")]
async fn case_34_a_gate_may_let_the_beneficiary_countersign_and_that_is_on_record() {
    let server = delegation().await;
    let for_dave = server.delegated("report-bot", "dave").await;
    let approval = for_dave.authorize(query("rotate", "Secret", "own")).await.unwrap().approval.unwrap();
    let gates: Vec<_> = approval.gates.iter().map(|status| status.gate.clone().unwrap()).collect();
    assert!(gates.iter().any(|gate| gate.self_review_allowed) && gates.iter().any(|gate| !gate.self_review_allowed));
    // He may countersign the gate that opts in, and still not the other.
    let voted = server.client("dave").await.approve(&approval).await.unwrap();
    assert_eq!(
        (voted.state(), voted.reviews[0].gates.as_slice()),
        (ApprovalState::Pending, &["rotate-own".to_owned()][..])
    );
    let reviewer = voted.reviews[0].reviewer.as_ref().unwrap();
    let beneficiary = voted.principal.as_ref().unwrap().on_behalf_of.as_ref().unwrap();
    assert_eq!(reviewer.uid, beneficiary.uid);
    let other = server.client_of(&person("dora", &["sre"])).await;
    assert_eq!(other.approve(&voted).await.unwrap().state(), ApprovalState::Approved);
}

#[tokio::test(flavor = "multi_thread")]
async fn case_35_an_agent_never_reviews_and_may_take_back_its_own() {
    let server = PolicyDir::extended().and("permit (principal, action, resource);").serve().await;
    let (bot, approval) = asked(&server).await;
    let machines = [
        bot.clone(),
        server.client_of(&agent("other-bot")).await,
        server.client("ci-pipeline").await,
        server.delegated("report-bot", "bob").await,
        server
            .client_of(&countersign::web::dev_issuer::DevPrincipal { groups: &["privacy", "dpo"], ..agent("mole") })
            .await,
    ];
    for machine in &machines {
        for vote in [machine.approve(&approval).await, machine.reject(&approval).await] {
            assert_eq!(refused_as(&vote.unwrap_err()), denied("not_human"));
        }
    }
    // A person's token that says that somebody acts with it is no person at the keyboard either.
    let acting = json!({"act": {"sub": "bob"}});
    let acting = server.client_with(&person("bob", &["dpo"]), acting.as_object().unwrap()).await;
    assert_eq!(refused_as(&acting.approve(&approval).await.unwrap_err()), denied("not_human"));
    let cancelled = bot.cancel(&approval.id).await.unwrap();
    assert_eq!(cancelled.state(), ApprovalState::Cancelled);
    let history = history(&server, &approval.id).await;
    assert_eq!((count(&history, "opened"), count(&history, "cancelled")), (1, 1));
    let late = server.client("alice").await.approve(&approval).await.unwrap_err();
    assert_eq!(late.code(), Code::FailedPrecondition);
}

#[tokio::test(flavor = "multi_thread")]
async fn case_36_no_right_lets_anybody_countersign_what_they_asked_for() {
    let server = extended().await;
    let admin = server.client_of(&person("root", &["admins", "privacy", "dpo"])).await;
    let own = admin.authorize(export()).await.unwrap().approval.unwrap();
    assert_eq!(refused_as(&admin.approve(&own).await.unwrap_err()), denied("own_action"));
    // Nor by asking in another's name.
    let named = pb::AuthorizeRequest { principal: Some(uid("Agent", "worker")), ..export() };
    let other = admin.authorize(named).await.unwrap().approval.unwrap();
    assert_eq!(other.principal.as_ref().unwrap().uid, Some(uid("Agent", "worker")));
    assert_eq!(refused_as(&admin.approve(&other).await.unwrap_err()), denied("own_action"));
    // And whom the enforcement point speaks for is a party, though only named.
    let gateway = server.client_of(&gateway()).await;
    let named = pb::AuthorizeRequest { principal: Some(uid("User", "alice")), ..export() };
    let hers = gateway.authorize(named).await.unwrap().approval.unwrap();
    let alice = server.client("alice").await;
    assert_eq!(refused_as(&alice.approve(&hers).await.unwrap_err()), denied("own_action"));
}

#[tokio::test(flavor = "multi_thread")]
async fn case_36_an_administrator_who_is_no_named_reviewer_reviews_nothing() {
    let server = extended().await;
    let (_, approval) = asked(&server).await;
    let admin = server.client_of(&person("root", &["admins"])).await;
    assert_eq!(refused_as(&admin.approve(&approval).await.unwrap_err()), denied("not_reviewer"));
}

#[tokio::test(flavor = "multi_thread")]
async fn case_40_a_reviewer_of_another_rule_is_not_a_reviewer_of_this_one() {
    let server = extended().await;
    let (_, approval) = asked(&server).await;
    let dave = server.client("dave").await;
    assert_eq!(refused_as(&dave.approve(&approval).await.unwrap_err()), unseen());
    assert_eq!(refused_as(&dave.get(&approval.id).await.unwrap_err()), unseen());
    // Of two gates on one action, each is opened by its own reviewers only.
    let pipeline = server.client("ci-pipeline").await;
    let both = pipeline.authorize(query("rotate", "Secret", "root")).await.unwrap().approval.unwrap();
    let foreign = pb::DecideRequest {
        approval_id: both.id.clone(),
        verdict: pb::Verdict::Approve.into(),
        binding: both.binding.clone(),
        gates: vec!["rotate-root".into()],
        ..pb::DecideRequest::default()
    };
    let refused = dave.stub.clone().decide(foreign.clone()).await.unwrap_err();
    assert_eq!(refused_as(&refused), denied("not_reviewer"));
    let mixed = pb::DecideRequest { gates: vec!["rotate-secret".into(), "rotate-root".into()], ..foreign.clone() };
    assert_eq!(refused_as(&dave.stub.clone().decide(mixed).await.unwrap_err()), denied("not_reviewer"));
    let voted = dave.approve(&both).await.unwrap();
    assert_eq!(
        (voted.state(), voted.reviews[0].gates.as_slice()),
        (ApprovalState::Pending, &["rotate-secret".to_owned()][..])
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn case_40_who_may_not_see_an_approval_learns_nothing_of_its_gates() {
    let server = TestServer::start().await;
    let (_, approval) = asked(&server).await;
    let frank = server.client("frank").await;
    for gates in [vec![], vec!["export-pii".to_owned()], vec!["no-such-gate".to_owned()]] {
        for binding in [approval.binding.clone(), "00".repeat(32)] {
            let vote = pb::DecideRequest {
                approval_id: approval.id.clone(),
                verdict: pb::Verdict::Reject.into(),
                binding,
                gates: gates.clone(),
                ..pb::DecideRequest::default()
            };
            assert_eq!(refused_as(&frank.stub.clone().decide(vote).await.unwrap_err()), unseen(), "{gates:?}");
        }
    }
    for refused in [frank.get(&approval.id).await, frank.cancel(&approval.id).await, frank.revoke(&approval.id).await] {
        assert_eq!(refused_as(&refused.unwrap_err()), unseen());
    }
    let report = frank.report(&approval.id, "dec_01900000000070008000000000000000", pb::Report::Succeeded).await;
    assert_eq!(refused_as(&report.unwrap_err()), unseen());
}

#[tokio::test(flavor = "multi_thread")]
async fn case_42_a_group_that_nobody_is_in_countersigns_nothing() {
    let server = extended().await;
    let pipeline = server.client("ci-pipeline").await;
    let orphan = query("rotate", "Secret", "orphan");
    let approval = pipeline.authorize(orphan.clone()).await.unwrap().approval.unwrap();
    for who in ["alice", "bob", "carol", "dave"] {
        let _ = server.client(who).await.approve(&approval).await;
    }
    // Groups of the same name in another case, with a space, or nested under a name of ours, are other groups.
    for groups in [&["Disbanded"][..], &["disbanded "], &["Group::disbanded"], &["x/disbanded"]] {
        let near = server.client_of(&person("nearby", groups)).await;
        assert_eq!(refused_as(&near.approve(&approval).await.unwrap_err()), unseen(), "{groups:?}");
    }
    let after = pipeline.get(&approval.id).await.unwrap();
    assert_eq!(after.state(), ApprovalState::Pending);
    server.advance(Duration::from_secs(3_600));
    let expired = pipeline.authorize(pb::AuthorizeRequest { approval_id: approval.id, ..orphan }).await.unwrap();
    assert_eq!(said(&expired), (Outcome::Deny, "approval_expired"));
}

#[test]
fn case_43_a_quorum_that_is_no_quorum_is_a_load_error() {
    for quorum in ["0", "-1", "", "two", "1.5", "99999999999999999999", " 1"] {
        let policies = PolicyDir::shipped().but("warehouse.cedar", "@quorum(\"2\")", &format!("@quorum(\"{quorum}\")"));
        let problems = PolicySnapshot::load(&Settings::new(policies.path())).unwrap_err().problems;
        let problem = &problems[0];
        assert!(problem.file.ends_with("warehouse.cedar"), "{problem:?}");
        assert_eq!(problem.policy.as_deref(), Some("export-pii"), "{quorum}");
        assert_eq!(problem.annotation.as_ref().unwrap().name, "quorum");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn case_43_a_quorum_larger_than_the_people_there_are_expires() {
    let server = PolicyDir::shipped().but("warehouse.cedar", "@quorum(\"2\")", "@quorum(\"4\")").serve().await;
    let (agent, approval) = asked(&server).await;
    for who in ["alice", "bob", "carol"] {
        let voted = server.client(who).await.approve(&approval).await.unwrap();
        assert_eq!(voted.state(), ApprovalState::Pending);
    }
    server.advance(Duration::from_secs(15 * 60));
    let answer = agent.authorize(export_by_id(&approval.id)).await.unwrap();
    assert_eq!(said(&answer), (Outcome::Deny, "approval_expired"));
}

#[tokio::test(flavor = "multi_thread")]
async fn who_is_not_known_is_told_what_would_be_taken() {
    let server = extended().await;
    let bot = server.client("report-bot").await;
    let wrong_scheme = format!("DPoP {}", server.token("report-bot"));
    let nobody = |header: Option<String>| {
        let channel = server.endpoint(None).connect_lazy();
        async move {
            header.map_or_else(
                || Client::over(channel.clone(), None),
                |header| Client::with_header(channel.clone(), Some(header)),
            )
        }
    };
    server.advance(Duration::from_secs(24 * 3_600));
    for (client, wanted, error) in [
        (nobody(None).await, "missing_token", None),
        (nobody(Some(wrong_scheme)).await, "missing_token", None),
        (nobody(Some("Bearer x".to_owned())).await, "malformed", Some("invalid_token")),
        (bot, "expired", Some("invalid_token")),
    ] {
        let refused = client.authorize(query("read", "Dataset", "weather")).await.unwrap_err();
        assert_eq!(refused_as(&refused), (Code::Unauthenticated, wanted.to_owned()));
        let metadata = refused.get_details_error_info().unwrap().metadata;
        assert_eq!((&*metadata["scheme"], metadata.get("error").map(String::as_str)), ("Bearer", error), "{wanted}");
    }
}
