//! The ten invariants of the design, each seen from outside. `tests/twins` takes each protection away in turn and sees the
//! test of it fail.

use std::path::Path;
use std::time::Duration;

use countersign::engine::{PolicySnapshot, Settings};
use countersign::journal;
use countersign::service::Limits;
use countersign::service::authorize::AskedPrincipal;
use countersign::wire::pb;
use futures_util::future::join_all;
use pb::{ApprovalState, Outcome};
use tonic::Code;

use crate::support::actors::person;
use crate::support::client::{Client, export, export_by_id, query, reason, wait};
use crate::support::{Options, PolicyDir, TestServer};

async fn pending(server: &TestServer) -> (Client, pb::Approval) {
    let agent = server.client("report-bot").await;
    let approval = agent.authorize(export()).await.unwrap().approval.unwrap();
    (agent, approval)
}

async fn granted(server: &TestServer) -> (Client, pb::Approval) {
    let (agent, approval) = pending(server).await;
    server.client("alice").await.approve(&approval).await.unwrap();
    let approval = server.client("bob").await.approve(&approval).await.unwrap();
    assert_eq!(approval.state(), ApprovalState::Approved);
    (agent, approval)
}

fn said(answer: &pb::AuthorizeResponse) -> (Outcome, &str) {
    (answer.outcome(), &answer.reason)
}

/// A writer that lets records gather, so that an answer that does not wait for it comes first.
fn unhurried(settings: &mut journal::Settings) {
    settings.coalesce = Duration::from_millis(200);
}

fn on_disk(dir: &Path, text: &str) -> bool {
    let files = std::fs::read_dir(dir.join("journal")).unwrap().map(|file| file.unwrap().path());
    let mut segments = files.filter(|path| path.extension().is_some_and(|extension| extension == "seg"));
    segments.any(|path| std::fs::read(path).unwrap().windows(text.len()).any(|window| window == text.as_bytes()))
}

#[tokio::test(flavor = "multi_thread")]
async fn invariant_01_no_allow_leaves_before_its_record_is_on_disk() {
    let server = TestServer::with(Options { journal: unhurried, ..Options::default() }).await;
    let agent = server.client("report-bot").await;
    for _ in 0..3 {
        let allowed = agent.authorize(query("read", "Dataset", "weather")).await.unwrap();
        assert_eq!(allowed.outcome(), Outcome::Allow);
        assert!(on_disk(server.dir.path(), &allowed.decision_id), "answered before it was written");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn invariant_02_a_quorum_is_of_distinct_people() {
    let server = TestServer::start().await;
    let (agent, approval) = pending(&server).await;
    for session in 0..3 {
        // The same person with another session, and from another group of the gate.
        let groups: &'static [&'static str] = if session == 2 { &["dpo"] } else { &["privacy"] };
        let alice = server.client_of(&person("alice", groups)).await;
        let _ = alice.approve(&approval).await.unwrap();
    }
    assert_eq!(agent.get(&approval.id).await.unwrap().state(), ApprovalState::Pending);
    assert_ne!(agent.authorize(export_by_id(&approval.id)).await.unwrap().outcome(), Outcome::Allow);
}

#[tokio::test(flavor = "multi_thread")]
async fn invariant_02_two_votes_of_one_person_for_one_gate_are_one() {
    let pair = PolicyDir::shipped().and(
        r#"@id("rotate-pair") @approval("Two of the pair") @reviewers("Group::\"pair\"") @quorum("2")
           forbid (principal, action == Action::"rotate", resource == Secret::"shared");"#,
    );
    let server = pair.serve().await;
    let pipeline = server.client("ci-pipeline").await;
    let approval = pipeline.authorize(query("rotate", "Secret", "shared")).await.unwrap().approval.unwrap();
    let vote = |gates: &[&str]| pb::DecideRequest {
        approval_id: approval.id.clone(),
        verdict: pb::Verdict::Approve.into(),
        binding: approval.binding.clone(),
        gates: gates.iter().map(ToString::to_string).collect(),
        ..pb::DecideRequest::default()
    };
    // Two different votes, and both count for the gate that wants two people.
    let paul = server.client_of(&person("paul", &["pair", "sre"])).await;
    paul.stub.clone().decide(vote(&["rotate-pair"])).await.unwrap();
    let voted = paul.stub.clone().decide(vote(&[])).await.unwrap().into_inner();
    assert_eq!((voted.state(), voted.reviews.len()), (ApprovalState::Pending, 2));
    let other = server.client_of(&person("mary", &["pair"])).await;
    assert_eq!(other.approve(&approval).await.unwrap().state(), ApprovalState::Approved);
}

#[tokio::test(flavor = "multi_thread")]
async fn invariant_02_a_vote_counts_only_while_its_voter_may_review() {
    let server = TestServer::start().await;
    let (_, approval) = pending(&server).await;
    server.client("alice").await.approve(&approval).await.unwrap();
    let without_alice = PolicyDir::shipped().and(
        r#"@id("alice-left") forbid (principal == User::"alice", action == Countersign::Action::"review", resource);"#,
    );
    let server = server.restart_under(&without_alice).await;
    let second = server.client("bob").await.approve(&approval).await.unwrap();
    assert_eq!(second.state(), ApprovalState::Pending, "one of the two may not review any more");
    let third = server.client("carol").await.approve(&approval).await.unwrap();
    assert_eq!(third.state(), ApprovalState::Approved);
}

#[tokio::test(flavor = "multi_thread")]
async fn invariant_02_only_named_reviewers_review_whatever_policies_permit() {
    let server = PolicyDir::shipped().and("permit (principal, action, resource);").serve().await;
    let (_, approval) = pending(&server).await;
    for who in ["dave", "frank"] {
        let refused = server.client(who).await.approve(&approval).await.unwrap_err();
        assert_eq!((refused.code(), &*reason(&refused)), (Code::PermissionDenied, "not_reviewer"), "{who}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn invariant_03_nobody_countersigns_their_own() {
    let server = PolicyDir::extended().serve().await;
    let alice = server.client("alice").await;
    let approval = alice.authorize(export()).await.unwrap().approval.unwrap();
    let own = alice.approve(&approval).await.unwrap_err();
    assert_eq!((own.code(), &*reason(&own)), (Code::PermissionDenied, "own_action"));
}

#[tokio::test(flavor = "multi_thread")]
async fn invariant_03_an_agent_or_workload_never_reviews() {
    let everything = PolicyDir::shipped().and("permit (principal, action, resource);").but(
        "warehouse.cedar",
        "Group::\\\"privacy\\\", ",
        "Group::\\\"agents\\\", Group::\\\"pipelines\\\", ",
    );
    let server = everything.serve().await;
    let (_, approval) = pending(&server).await;
    for machine in [server.client("ci-pipeline").await, server.delegated("report-bot", "bob").await] {
        let refused = machine.approve(&approval).await.unwrap_err();
        assert_eq!((refused.code(), &*reason(&refused)), (Code::PermissionDenied, "not_human"));
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn invariant_04_once_is_once_by_id_by_binding_and_after_a_restart() {
    let server = TestServer::start().await;
    let (agent, approval) = granted(&server).await;
    let calls =
        (0..32).map(|number| agent.authorize(if number % 2 == 0 { export() } else { export_by_id(&approval.id) }));
    let answers: Vec<_> = join_all(calls).await.into_iter().map(Result::unwrap).collect();
    assert_eq!(answers.iter().filter(|answer| answer.outcome() == Outcome::Allow).count(), 1);
    let server = server.restart().await;
    let again = server.client("report-bot").await.authorize(export_by_id(&approval.id)).await.unwrap();
    assert_eq!(said(&again), (Outcome::Deny, "grant_consumed"));
}

#[tokio::test(flavor = "multi_thread")]
async fn invariant_04_a_grant_serves_one_binding() {
    let server = TestServer::start().await;
    let (agent, approval) = granted(&server).await;
    let mut other = export_by_id(&approval.id);
    other.context.remove("rows");
    let answer = agent.authorize(other).await.unwrap();
    assert_eq!(said(&answer), (Outcome::Deny, "binding_mismatch"));
}

#[tokio::test(flavor = "multi_thread")]
async fn invariant_04_a_lost_answer_comes_again_under_its_key_without_a_second_use() {
    let server = TestServer::start().await;
    let (agent, approval) = granted(&server).await;
    let keyed = pb::AuthorizeRequest { idempotency_key: "key".into(), ..export_by_id(&approval.id) };
    let calls = join_all((0..8).map(|_| agent.authorize(keyed.clone()))).await;
    let first = calls.iter().map(|call| call.as_ref().unwrap()).find(|answer| !answer.repeated_answer).unwrap();
    for answer in &calls {
        let answer = answer.as_ref().unwrap();
        assert_eq!((said(answer), &answer.decision_id), ((Outcome::Allow, "granted"), &first.decision_id));
    }
    let server = server.restart().await;
    let agent = server.client("report-bot").await;
    let again = agent.authorize(keyed).await.unwrap();
    assert_eq!((said(&again), &again.decision_id), ((Outcome::Allow, "granted"), &first.decision_id));
    let unkeyed = agent.authorize(export_by_id(&approval.id)).await.unwrap();
    assert_eq!(said(&unkeyed), (Outcome::Deny, "grant_consumed"));
}

#[tokio::test(flavor = "multi_thread")]
async fn invariant_05_every_transition_has_one_record_and_an_end_comes_once() {
    let server = TestServer::start().await;
    let (_, approval) = pending(&server).await;
    let voters = [server.client("alice").await, server.client("carol").await, server.client("bob").await];
    let votes = join_all(voters.iter().flat_map(|voter| (0..4).map(|_| voter.approve(&approval)))).await;
    let version = votes.iter().filter_map(|vote| vote.as_ref().ok()).map(|vote| vote.version).max().unwrap();
    let records = server.client("erin").await.records_of(&approval.id).await;
    let moved = records.iter().filter(|record| matches!(record.fact, Some(pb::record::Fact::Moved(_)))).count() as u64;
    // Opened is version 1; two votes were needed, whoever came third was too late.
    assert_eq!((version, moved), (3, 2));
    let approved = server.client("erin").await.get(&approval.id).await.unwrap();
    assert_eq!((approved.state(), approved.reviews.len()), (ApprovalState::Approved, 2));
}

#[tokio::test(flavor = "multi_thread")]
async fn invariant_06_a_wall_clock_that_jumps_neither_opens_nor_expires() {
    let server = TestServer::start().await;
    let (agent, approval) = pending(&server).await;
    let bob = server.client("bob").await;
    server.clock.jump(3_600_000_000);
    assert_eq!(agent.get(&approval.id).await.unwrap().state(), ApprovalState::Pending);
    server.clock.jump(-7_200_000_000);
    server.advance(Duration::from_secs(900));
    let late = bob.approve(&approval).await.unwrap_err();
    assert_eq!((late.code(), &*reason(&late)), (Code::FailedPrecondition, "already_settled"));
}

#[tokio::test(flavor = "multi_thread")]
async fn invariant_06_the_deadline_itself_is_too_late() {
    let server = TestServer::start().await;
    let (_, approval) = pending(&server).await;
    server.advance(Duration::from_secs(900));
    let late = server.client("bob").await.approve(&approval).await.unwrap_err();
    assert_eq!((late.code(), &*reason(&late)), (Code::FailedPrecondition, "already_settled"));
}

#[tokio::test(flavor = "multi_thread")]
async fn invariant_07_every_record_names_the_policies_it_was_decided_under() {
    let server = TestServer::start().await;
    let before = server.client("report-bot").await.authorize(query("read", "Dataset", "weather")).await.unwrap();
    let more = PolicyDir::shipped().and(r#"@id("more") forbid (principal, action == Action::"read", resource);"#);
    let server = server.restart_under(&more).await;
    let after = server.client("report-bot").await.authorize(query("read", "Dataset", "weather")).await.unwrap();
    assert_eq!(said(&after), (Outcome::Deny, "forbidden"));
    assert_ne!(before.policy_digest, after.policy_digest);
    let records = server.client("erin").await.audit(pb::AuditRequest::default()).await.unwrap();
    let digests: Vec<String> = records
        .into_iter()
        .filter_map(|record| match record.fact.unwrap() {
            pb::record::Fact::Decided(decided) => Some(decided.policy_digest),
            _ => None,
        })
        .map(|digest| digest.iter().map(|byte| format!("{byte:02x}")).collect())
        .collect();
    assert_eq!(digests, [before.policy_digest, after.policy_digest]);
    let expected = PolicySnapshot::load(&Settings::new(more.path())).unwrap().digest().to_string();
    assert_eq!(digests[1], expected);
}

#[tokio::test(flavor = "multi_thread")]
async fn invariant_08_a_forbid_that_cannot_be_evaluated_denies() {
    let erring = PolicyDir::shipped().and(
        r#"@id("errs") forbid (principal, action == Action::"read", resource is Dataset)
           when { 9223372036854775807 + (if resource.pii then 1 else 0) < 0 };"#,
    );
    let server = erring.serve().await;
    let agent = server.client("report-bot").await;
    let doubtful = agent.authorize(query("read", "Dataset", "customers")).await.unwrap();
    assert_eq!(said(&doubtful), (Outcome::Deny, "evaluation_error"));
    assert_eq!(doubtful.errors[0].policy, "errs");
    let clear = agent.authorize(query("read", "Dataset", "weather")).await.unwrap();
    assert_eq!(said(&clear), (Outcome::Allow, "permitted"));
}

#[test]
fn invariant_08_an_unknown_annotation_is_a_load_error() {
    let policies = PolicyDir::shipped().but("warehouse.cedar", "@approval(\"Customer", "@aproval(\"Customer");
    let problems = PolicySnapshot::load(&Settings::new(policies.path())).unwrap_err().problems;
    assert!(problems.iter().any(|problem| problem.annotation.as_ref().is_some_and(|name| name.name == "aproval")));
}

#[tokio::test(flavor = "multi_thread")]
async fn invariant_08_no_approval_lifts_a_hard_forbid() {
    let server = TestServer::start().await;
    let (_, approval) = granted(&server).await;
    let frozen = PolicyDir::shipped().and(r#"@id("freeze") forbid (principal, action == Action::"export", resource);"#);
    let server = server.restart_under(&frozen).await;
    let answer = server.client("report-bot").await.authorize(export_by_id(&approval.id)).await.unwrap();
    assert_eq!(said(&answer), (Outcome::Deny, "forbidden"));
}

#[test]
fn invariant_09_a_token_is_not_printed() {
    let printed = format!("{:?}", AskedPrincipal::Token("secret.bearer.token".into()));
    assert!(!printed.contains("secret"), "{printed}");
}

#[tokio::test(flavor = "multi_thread")]
async fn invariant_09_no_token_is_on_record() {
    let server = TestServer::start().await;
    let (token, alices) = (server.token("report-bot"), server.token("alice"));
    let agent = Client::connect(&server.url(), &token).await;
    let forwarded = pb::AuthorizeRequest { subject_token: alices.clone(), ..query("read", "Dataset", "weather") };
    let answer = agent.authorize(forwarded).await.unwrap();
    assert!(on_disk(server.dir.path(), &answer.decision_id));
    for token in [token, alices] {
        let signature = token.rsplit('.').next().unwrap();
        assert!(!on_disk(server.dir.path(), signature));
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn invariant_10_a_wait_past_the_limit_is_refused_and_nobody_else_notices() {
    let limits = Limits { waits_max: 1, ..Limits::default() };
    let server = TestServer::with(Options { limits, ..Options::default() }).await;
    let (agent, approval) = pending(&server).await;
    let waiting = |span| pb::AuthorizeRequest { wait: wait(span), ..export_by_id(&approval.id) };
    let long = Duration::from_secs(15);
    // Which of the two gets the one place is open; the other is told at once.
    let (one, other) = (agent.clone(), agent.clone());
    let mut one = tokio::spawn({
        let asked = waiting(long);
        async move { one.authorize(asked).await }
    });
    let mut other = tokio::spawn({
        let asked = waiting(long);
        async move { other.authorize(asked).await }
    });
    let (refused, held) = tokio::select! {
        refused = &mut one => (refused, other),
        refused = &mut other => (refused, one),
    };
    let refused = refused.unwrap().unwrap_err();
    assert_eq!((refused.code(), &*reason(&refused)), (Code::ResourceExhausted, "limit_exceeded"));
    let read = agent.authorize(query("read", "Dataset", "weather")).await.unwrap();
    assert_eq!(read.outcome(), Outcome::Allow);
    assert!(!held.is_finished());
    server.client("alice").await.approve(&approval).await.unwrap();
    server.client("bob").await.approve(&approval).await.unwrap();
    assert_eq!(said(&held.await.unwrap().unwrap()), (Outcome::Allow, "granted"));
}
