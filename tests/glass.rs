//! Breaking the glass: who may, what it opens, who is told, and what stays open afterwards.

use std::time::Duration;

use countersign::web::dev_issuer::find;
use countersign::wire::pb;
use pb::{ApprovalState, Outcome, Verdict};
use serde_json::json;
use tonic::{Code, Status};

use crate::cases::history;
use crate::support::client::{Client, field, query, reason};
use crate::support::{Options, PolicyDir, TestServer};

/// Two people of either group, for eight hours; dave may let it pass alone.
const GATE: &str = "@id(\"glassy\") @approval(\"why\") @reviewers(\"Group::\\\"privacy\\\", Group::\\\"dpo\\\"\")\n\
    @quorum(\"2\") @grant(\"8h\") @break_glass(\"User::\\\"dave\\\"\")\n\
    forbid (principal, action == Action::\"read\", resource == Dataset::\"weather\");";
/// A gate of the same action, which names nobody for that.
const PLAIN: &str = "@id(\"plain\") @approval(\"why\") @reviewers(\"Group::\\\"privacy\\\"\")\n\
    forbid (principal, action == Action::\"read\", resource == Dataset::\"weather\");";

impl Client {
    async fn break_glass(&self, approval: &pb::Approval, reason: &str) -> Result<pb::Approval, Status> {
        let (approval_id, binding) = (approval.id.clone(), approval.binding.clone());
        let blow = pb::BreakGlassRequest { approval_id, binding, reason: reason.into() };
        self.stub.clone().break_glass(blow).await.map(tonic::Response::into_inner)
    }

    async fn examine(&self, approval: &pb::Approval, verdict: Verdict) -> Result<pb::Approval, Status> {
        let look = pb::ExamineBreakGlassRequest {
            approval_id: approval.id.clone(),
            binding: approval.binding.clone(),
            verdict: verdict.into(),
            comment: "I looked".into(),
        };
        self.stub.clone().examine_break_glass(look).await.map(tonic::Response::into_inner)
    }

    async fn to_be_examined(&self) -> Vec<String> {
        let wanted = pb::ListApprovalsRequest { to_be_examined: true, ..pb::ListApprovalsRequest::default() };
        let listed = self.stub.clone().list_approvals(wanted).await.unwrap().into_inner();
        listed.approvals.into_iter().map(|approval| approval.id).collect()
    }
}

fn reading() -> pb::AuthorizeRequest {
    query("read", "Dataset", "weather")
}

async fn waiting(gates: &str) -> (TestServer, PolicyDir, pb::Approval) {
    let policies = PolicyDir::shipped().and(gates);
    let server = TestServer::with(Options { policies: policies.path().into(), ..Options::default() }).await;
    let asked = server.client("report-bot").await.authorize(reading()).await.unwrap();
    (server, policies, asked.approval.expect("it is pending"))
}

#[tokio::test(flavor = "multi_thread")]
async fn case_45_a_person_breaks_it_for_one_use_and_it_stays_open_until_two_others_have_looked() {
    let (server, _policies, approval) = waiting(GATE).await;
    let dave = server.client("dave").await;
    let broken = dave.break_glass(&approval, "  the pager is on fire ").await.unwrap();
    let glass = broken.break_glass.clone().unwrap();
    assert_eq!((broken.state(), &*glass.reason, glass.open), (ApprovalState::Approved, "the pager is on fire", true));
    assert_eq!((broken.grant_for, broken.reviews.len()), (None, 0), "once, whatever the gate grants");
    let bot = server.client("report-bot").await;
    let first = bot.authorize(reading()).await.unwrap();
    assert_eq!((first.outcome(), &*first.reason), (Outcome::Allow, "granted"));
    let second = bot.authorize(reading()).await.unwrap();
    assert_eq!(second.outcome(), Outcome::Pending, "once");
    assert_ne!(second.approval.unwrap().id, approval.id);
    // Long after everything else about it is settled, and in another life of the server.
    server.advance(Duration::from_secs(2 * 3_600));
    while !history(&server, &approval.id).await.contains(&"reported".to_owned()) {
        tokio::task::yield_now().await;
    }
    server.advance(Duration::from_secs(2 * 3_600));
    let bot = server.client("report-bot").await;
    assert_eq!(
        bot.authorize(reading()).await.unwrap().outcome(),
        Outcome::Pending,
        "a write, at which the store forgets"
    );
    assert_eq!(server.client("erin").await.to_be_examined().await, std::slice::from_ref(&approval.id));
    let server = server.restart().await;
    assert_eq!(server.client("erin").await.to_be_examined().await, std::slice::from_ref(&approval.id));
    let (dave, alice, bob) = (server.client("dave").await, server.client("alice").await, server.client("bob").await);
    for (who, code) in [(&dave, "not_reviewer"), (&server.client("report-bot").await, "not_human")] {
        let refused = who.examine(&approval, Verdict::Approve).await.unwrap_err();
        assert_eq!((refused.code(), &*reason(&refused)), (Code::PermissionDenied, code));
    }
    assert!(alice.examine(&approval, Verdict::Approve).await.unwrap().break_glass.unwrap().open);
    let again = alice.examine(&approval, Verdict::Reject).await.unwrap().break_glass.unwrap();
    assert_eq!((again.open, again.examinations.len()), (true, 1), "one person looks once");
    let closed = bob.examine(&approval, Verdict::Reject).await.unwrap();
    assert_eq!((closed.state(), closed.break_glass.unwrap().open), (ApprovalState::Consumed, false));
    assert_eq!(server.client("erin").await.to_be_examined().await, Vec::<String>::new());
    let told = history(&server, &approval.id).await;
    let steps: Vec<_> = told.iter().filter(|step| !step.starts_with("refused")).collect();
    assert_eq!(steps, ["opened", "broken_glass", "consumed", "reported", "examined", "examined"]);
}

#[tokio::test(flavor = "multi_thread")]
async fn case_45_no_agent_breaks_it_nobody_who_is_not_named_and_nobody_without_a_reason_or_a_fresh_login() {
    let (server, _policies, approval) = waiting(GATE).await;
    let now = server.clock.wall().as_seconds();
    let login = |claims: serde_json::Value| async move { claims.as_object().unwrap().clone() };
    let dave = find("dave").unwrap();
    let stale = server.client_with(dave, &login(json!({"auth_time": now - 300})).await).await;
    let unsaid = server.client_with(dave, &login(json!({"auth_time": null})).await).await;
    let refusals = [
        (server.client("report-bot").await, Code::PermissionDenied, "not_human"),
        (server.delegated("report-bot", "dave").await, Code::PermissionDenied, "not_human"),
        (server.client("ci-pipeline").await, Code::NotFound, "not_found"),
        (server.client("frank").await, Code::NotFound, "not_found"),
        (server.client("alice").await, Code::PermissionDenied, "not_reviewer"),
        (server.client("erin").await, Code::PermissionDenied, "not_reviewer"),
        (stale, Code::Unauthenticated, "authentication_too_old"),
        (unsaid, Code::Unauthenticated, "authentication_too_old"),
    ];
    for (who, code, why) in refusals {
        let refused = who.break_glass(&approval, "now").await.unwrap_err();
        assert_eq!((refused.code(), &*reason(&refused)), (code, why));
    }
    let dave = server.client_with(dave, &login(json!({"auth_time": now - 299})).await).await;
    for (words, wanted) in [(" \n", "reason"), (&*"x".repeat(2_001), "reason")] {
        let refused = dave.break_glass(&approval, words).await.unwrap_err();
        assert_eq!((refused.code(), &*field(&refused)), (Code::InvalidArgument, wanted));
    }
    let other = pb::Approval { binding: "0".repeat(64), ..approval.clone() };
    assert_eq!(dave.break_glass(&other, "now").await.unwrap_err().code(), Code::Aborted);
    assert_eq!(dave.get(&approval.id).await.unwrap().state(), ApprovalState::Pending);
    dave.break_glass(&approval, "now").await.unwrap();
    let late = dave.break_glass(&approval, "now").await.unwrap_err();
    assert_eq!((late.code(), &*reason(&late)), (Code::FailedPrecondition, "already_settled"));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_gate_that_names_nobody_for_it_keeps_it_shut_also_one_of_today() {
    let (server, _policies, approval) = waiting(&format!("{GATE}\n{PLAIN}")).await;
    let refused = server.client("dave").await.break_glass(&approval, "now").await.unwrap_err();
    assert_eq!((refused.code(), &*reason(&refused)), (Code::PermissionDenied, "not_reviewer"));
    // Named when it was asked, and not today.
    let (server, _policies, approval) = waiting(GATE).await;
    let today = PolicyDir::shipped().and(&GATE.replace("dave", "frank"));
    let server = server.restart_under(&today).await;
    let refused = server.client("dave").await.break_glass(&approval, "now").await.unwrap_err();
    assert_eq!((refused.code(), &*reason(&refused)), (Code::FailedPrecondition, "requirement_raised"));
}

#[tokio::test(flavor = "multi_thread")]
async fn who_broke_it_and_for_whom_it_was_done_close_nothing() {
    // Alice is a reviewer as well as one who may break it; the agent acts for bob.
    let delegates = "@id(\"d1\") permit (principal is Agent, action == Action::\"read\", resource);\n\
        @id(\"d2\") permit (principal is Agent, action == Countersign::Action::\"authorize\", \
        resource == Countersign::Service::\"countersign\");";
    let policies = PolicyDir::shipped().and(&format!("{}\n{delegates}", GATE.replace("dave", "alice")));
    let server = TestServer::with(Options { policies: policies.path().into(), ..Options::default() }).await;
    let asked = server.delegated("report-bot", "bob").await.authorize(reading()).await.unwrap();
    let approval = asked.approval.expect("it is pending");
    server.client("alice").await.break_glass(&approval, "now").await.unwrap();
    for who in ["alice", "bob"] {
        let refused = server.client(who).await.examine(&approval, Verdict::Approve).await.unwrap_err();
        assert_eq!((refused.code(), &*reason(&refused)), (Code::PermissionDenied, "own_action"), "{who}");
    }
}
