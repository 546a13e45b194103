//! Ending all sessions that somebody has in the inbox: his own, or another's by whoever may.

use countersign::wire::pb;
use tonic::Code;

use crate::inbox::serve;
use crate::support::browser::Browser;
use crate::support::client::{export, field, reason, uid};
use crate::support::{Admin, Options, PolicyDir, TestServer};

const KEPT: &str = "Countersign::SessionsEnded";

/// The extended policies, whose administrator may do what can be permitted, and people who may end sessions and no more.
fn policies() -> PolicyDir {
    PolicyDir::extended().and(
        r#"@id("helpdesk") permit (principal == User::"dave", action == Countersign::Action::"end_sessions", resource is User)
           unless { resource == User::"erin" };"#,
    )
}

async fn start(policies: &PolicyDir) -> TestServer {
    serve(Options { policies: policies.path().into(), ..Options::default() }).await
}

async fn person(server: &TestServer, who: &str) -> Browser {
    Browser::new(server.inbox.as_ref().unwrap()).login(who).await
}

async fn is_in(browser: &Browser) -> bool {
    browser.clone().get("/").await.status == 200
}

async fn ended(admin: &Admin, who: &str) -> Result<u64, (Code, String)> {
    let ended = admin.end_sessions(Some(uid("User", who))).await;
    ended.map(|answer| answer.policy_revision).map_err(|status| (status.code(), reason(&status)))
}

/// What the journal says of ends of sessions: by whom, of whom.
async fn on_record(server: &TestServer) -> Vec<(String, String)> {
    let records = server.client("erin").await.audit(pb::AuditRequest::default()).await.unwrap();
    let changes = records.into_iter().filter_map(|record| match record.fact {
        Some(pb::record::Fact::EntitiesChanged(changed)) => Some(changed),
        _ => None,
    });
    let of = |changed: pb::EntitiesChanged| {
        let put = changed.put[0].uid.clone().unwrap();
        assert_eq!((changed.put.len(), changed.deleted.len(), &*put.r#type), (1, 0, KEPT));
        (changed.by.unwrap().uid.unwrap().id, put.id)
    };
    changes.map(of).collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn all_sessions_of_a_person_are_ended_at_once_and_nobody_elses_and_a_cookie_that_was_taken_is_refused() {
    let policies = policies();
    let server = start(&policies).await;
    let approval = server.client("report-bot").await.authorize(export()).await.unwrap().approval.unwrap();
    let (mut alice, phone, bob) =
        (person(&server, "alice").await, person(&server, "alice").await, person(&server, "bob").await);
    let page = alice.get(&format!("/approvals/{}", approval.id)).await;
    let stolen = alice.clone();
    let mut follows = alice.clone().follow().await;
    let revision = ended(&server.admin().await, "alice").await.unwrap();
    assert!(revision > 0 && !is_in(&alice).await && !is_in(&phone).await && is_in(&bob).await);
    // What her page had open decides nothing any more.
    let (token, binding, gate) = (page.hidden("form_token"), page.hidden("binding"), page.hidden("gate"));
    let vote = [
        ("form_token", &*token),
        ("binding", &binding),
        ("gate", &gate),
        ("verdict", "approve"),
        ("object", "customers"),
    ];
    let late = alice.post(&format!("/approvals/{}/decision", approval.id), &vote).await;
    assert!(late.status == 401 && late.says("Your session has ended"), "{}", late.body);
    assert!(server.client("erin").await.get(&approval.id).await.unwrap().reviews.is_empty());
    server.client("bob").await.approve(&approval).await.unwrap();
    follows.until("event: over").await;
    // Nobody is suspended: she signs in again, which makes no older cookie good.
    let again = person(&server, "alice").await;
    assert!(is_in(&again).await && !is_in(&stolen).await && !is_in(&phone).await);
    ended(&server.admin().await, "alice").await.unwrap();
    assert!(!is_in(&again).await && !is_in(&stolen).await);
    let alices = ("root".to_owned(), r#"User::"alice""#.to_owned());
    assert_eq!(on_record(&server).await, [alices.clone(), alices]);
}

#[tokio::test(flavor = "multi_thread")]
async fn whoever_may_end_sessions_is_policy_by_person_and_whoever_may_not_changes_nothing() {
    let policies = policies();
    let server = start(&policies).await;
    let (alice, erin) = (person(&server, "alice").await, person(&server, "erin").await);
    for (who, whose) in
        [("alice", "erin"), ("alice", "alice"), ("erin", "alice"), ("dave", "erin"), ("report-bot", "alice")]
    {
        let admin = Admin::connect(&server.url(), &server.token(who)).await;
        let refused = ended(&admin, whose).await;
        assert_eq!(refused, Err((Code::PermissionDenied, "not_permitted".to_owned())), "{who} of {whose}");
    }
    assert!(is_in(&alice).await && is_in(&erin).await && on_record(&server).await.is_empty());
    let dave = Admin::connect(&server.url(), &server.token("dave")).await;
    ended(&dave, "alice").await.unwrap();
    assert!(!is_in(&alice).await && is_in(&erin).await);
    let nobody = dave.end_sessions(None).await.unwrap_err();
    assert_eq!((nobody.code(), field(&nobody)), (Code::InvalidArgument, "principal".into()));
}

#[tokio::test(flavor = "multi_thread")]
async fn who_signs_out_everywhere_needs_nobodys_leave_and_a_form_of_his_own() {
    let policies = policies();
    let server = start(&policies).await;
    let (mut alice, phone, bob) =
        (person(&server, "alice").await, person(&server, "alice").await, person(&server, "bob").await);
    let page = alice.get("/sessions").await;
    assert!(page.says("You have 2 sessions") && page.body.matches("(this one)").count() == 1, "{}", page.body);
    assert!(bob.clone().get("/sessions").await.says("You have 1 session at"));
    for token in ["", &bob.clone().get("/").await.hidden("form_token")] {
        let forged = alice.post("/logout", &[("form_token", token), ("everywhere", "1")]).await;
        assert_eq!(forged.status, 403);
    }
    assert!(is_in(&alice).await && is_in(&phone).await && on_record(&server).await.is_empty());
    let kept = alice.clone();
    let form = [("form_token", &*page.hidden("form_token")), ("everywhere", "1")];
    assert_eq!(alice.post("/logout", &form).await.location(), "/signed-out");
    assert!(!is_in(&kept).await && !is_in(&phone).await && is_in(&bob).await);
    assert_eq!(on_record(&server).await, [("alice".to_owned(), r#"User::"alice""#.to_owned())]);
}

#[tokio::test(flavor = "multi_thread")]
async fn what_ends_sessions_is_nobodys_to_put_or_delete_or_see_and_outlives_the_process() {
    let policies = policies();
    let server = start(&policies).await;
    let admin = server.admin().await;
    let mut alice = person(&server, "alice").await;
    ended(&admin, "alice").await.unwrap();
    let kept = uid(KEPT, r#"User::"alice""#);
    let put = admin.put(vec![pb::Entity { uid: Some(kept.clone()), ..pb::Entity::default() }]).await.unwrap_err();
    assert_eq!((put.code(), field(&put)), (Code::InvalidArgument, "entities[0]".into()));
    let deleted = admin.delete(vec![kept]).await.unwrap_err();
    assert_eq!((deleted.code(), field(&deleted)), (Code::InvalidArgument, "uids[0]".into()));
    assert!(!is_in(&alice).await && admin.ids().await.is_empty());
    let server = server.restart().await;
    alice.origin = server.inbox.clone().unwrap();
    assert!(!is_in(&alice).await);
    let again = person(&server, "alice").await;
    assert!(is_in(&again).await && server.admin().await.ids().await.is_empty());
    ended(&server.admin().await, "alice").await.unwrap();
    assert!(!is_in(&again).await);
}
