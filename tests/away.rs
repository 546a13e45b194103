//! Out of office: a reviewer who is away has one other person stand in for him.

use std::time::Duration;

use countersign::wire::pb::{self, ApprovalState};
use serde_json::json;
use tonic::Code;

use crate::support::actors::person;
use crate::support::browser::Browser;
use crate::support::client::{export, reason, uid};
use crate::support::{Client, Options, PolicyDir, TestServer};

const DAY: Duration = Duration::from_secs(24 * 3_600);

async fn start() -> TestServer {
    TestServer::with(Options { policies: policies().path().into(), ..Options::default() }).await
}

/// The shipped ones with an administrator. They outlive the test.
fn policies() -> &'static PolicyDir {
    static POLICIES: std::sync::OnceLock<PolicyDir> = std::sync::OnceLock::new();
    POLICIES.get_or_init(PolicyDir::extended)
}

/// `person` is away for so long, from now on.
async fn away(server: &TestServer, client: &Client, to: &str, span: Duration) -> Result<pb::Absence, tonic::Status> {
    let until = server.clock.wall().after(span);
    let request = pb::StartAbsenceRequest {
        stands_in: Some(uid("User", to)),
        until: Some(countersign::wire::approval::timestamp(until)),
        ..pb::StartAbsenceRequest::default()
    };
    client.stub.clone().start_absence(request).await.map(tonic::Response::into_inner)
}

async fn back(client: &Client) -> bool {
    client.stub.clone().end_absence(pb::EndAbsenceRequest::default()).await.unwrap().into_inner().ended
}

async fn asked(server: &TestServer) -> pb::Approval {
    server.client("report-bot").await.authorize(export()).await.unwrap().approval.unwrap()
}

/// Somebody whom no gate names.
async fn carol(server: &TestServer) -> Client {
    server.client_of(&person("carol", &["finance"])).await
}

async fn state(server: &TestServer, approval: &pb::Approval) -> ApprovalState {
    server.client("erin").await.get(&approval.id).await.unwrap().state()
}

#[tokio::test(flavor = "multi_thread")]
async fn whoever_stands_in_sees_and_decides_what_the_other_could_and_the_record_says_for_whom() {
    let server = start().await;
    let approval = asked(&server).await;
    let carol = carol(&server).await;
    assert_eq!(carol.get(&approval.id).await.unwrap_err().code(), Code::NotFound);
    assert_eq!(carol.approve(&approval).await.unwrap_err().code(), Code::NotFound);
    away(&server, &server.client("alice").await, "carol", DAY).await.unwrap();
    let seen = carol.get(&approval.id).await.unwrap();
    let yours = seen.yours.unwrap();
    assert_eq!((yours.gates, yours.stands_in_for), (vec!["export-pii".to_owned()], vec![uid("User", "alice")]));
    let reviewable = pb::ListApprovalsRequest { reviewable: true, ..pb::ListApprovalsRequest::default() };
    let listed = carol.stub.clone().list_approvals(reviewable).await.unwrap().into_inner();
    assert_eq!(listed.approvals.len(), 1);
    // A restart changes nothing.
    let server = server.restart().await;
    let carol = self::carol(&server).await;
    let voted = carol.approve(&approval).await.unwrap();
    let review = &voted.reviews[0];
    assert_eq!(review.reviewer.as_ref().unwrap().uid, Some(uid("User", "carol")), "it is her own vote");
    let stood_in = &review.stands_in[0];
    assert_eq!(
        (&*stood_in.gate, stood_in.person.as_ref().unwrap().uid.clone()),
        ("export-pii", Some(uid("User", "alice")))
    );
    assert_eq!(state(&server, &approval).await, ApprovalState::Pending);
    let done = server.client("bob").await.approve(&approval).await.unwrap();
    assert_eq!(done.state(), ApprovalState::Approved);
    let records = format!("{:?}", server.client("erin").await.records_of(&approval.id).await);
    assert!(records.contains("StoodIn"), "{records}");
}

#[tokio::test(flavor = "multi_thread")]
async fn nobody_is_behind_two_votes_that_count() {
    let server = start().await;
    let approval = asked(&server).await;
    let (alice, carol) = (server.client("alice").await, carol(&server).await);
    away(&server, &alice, "carol", DAY).await.unwrap();
    carol.approve(&approval).await.unwrap();
    // She is not so far away after all.
    let both = alice.approve(&approval).await.unwrap();
    assert_eq!(both.state(), ApprovalState::Pending, "one right, and two who used it");
    assert_eq!(server.client("bob").await.approve(&approval).await.unwrap().state(), ApprovalState::Approved);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_reviewer_who_stands_in_for_another_counts_once() {
    let server = start().await;
    let approval = asked(&server).await;
    away(&server, &server.client("alice").await, "bob", DAY).await.unwrap();
    let bob = server.client("bob").await;
    let voted = bob.approve(&approval).await.unwrap();
    assert!(voted.reviews[0].stands_in.is_empty(), "his own right comes first");
    bob.approve(&approval).await.unwrap();
    assert_eq!(state(&server, &approval).await, ApprovalState::Pending);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_right_that_was_lent_ends_with_its_time_and_with_its_owner_s_return() {
    let server = start().await;
    let approval = asked(&server).await;
    let (alice, carol) = (server.client("alice").await, carol(&server).await);
    away(&server, &alice, "carol", Duration::from_secs(60)).await.unwrap();
    carol.approve(&approval).await.unwrap();
    server.advance(Duration::from_secs(60));
    // Her vote is asked again when the quorum could close, and she stands in for nobody any more.
    assert_eq!(server.client("bob").await.approve(&approval).await.unwrap().state(), ApprovalState::Pending);
    assert_eq!(carol.get(&approval.id).await.unwrap_err().code(), Code::NotFound);
    away(&server, &alice, "carol", DAY).await.unwrap();
    assert!(carol.get(&approval.id).await.is_ok());
    assert!(back(&alice).await && !back(&alice).await);
    assert_eq!(carol.approve(&approval).await.unwrap_err().code(), Code::NotFound);
    assert_eq!(alice.approve(&approval).await.unwrap().state(), ApprovalState::Approved);
}

#[tokio::test(flavor = "multi_thread")]
async fn nobody_stands_in_for_a_party_to_the_action() {
    let agents = "@id(\"delegated-ask\") permit (principal == Agent::\"report-bot\", action == Countersign::Action::\"authorize\", resource);
        @id(\"delegated-export\") permit (principal == Agent::\"report-bot\", action == Action::\"export\", resource is Dataset);";
    let policies = PolicyDir::shipped().and(agents);
    let server = TestServer::with(Options { policies: policies.path().into(), ..Options::default() }).await;
    let (alice, carol) = (server.client("alice").await, carol(&server).await);
    away(&server, &alice, "carol", DAY).await.unwrap();
    let own = server.delegated("report-bot", "alice").await.authorize(export()).await.unwrap().approval.unwrap();
    assert_eq!(carol.approve(&own).await.unwrap_err().code(), Code::NotFound, "by the right of whoever asked");
    assert!(back(&alice).await);
    let frank = server.client("frank").await;
    away(&server, &alice, "frank", DAY).await.unwrap();
    let his = server.delegated("report-bot", "frank").await.authorize(export()).await.unwrap().approval.unwrap();
    let refused = frank.approve(&his).await.unwrap_err();
    assert_eq!(
        (refused.code(), &*reason(&refused)),
        (Code::PermissionDenied, "not_reviewer"),
        "his own, by another's right"
    );
    assert!(server.client("erin").await.get(&his.id).await.unwrap().reviews.is_empty());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_right_that_was_lent_is_not_lent_on_and_nobody_stands_in_who_is_away() {
    let server = start().await;
    let approval = asked(&server).await;
    let (alice, carol) = (server.client("alice").await, carol(&server).await);
    let gina = server.client_of(&person("gina", &["finance"])).await;
    // One hop: what carol has of alice does not go on to gina.
    away(&server, &carol, "gina", DAY).await.unwrap();
    let refused = away(&server, &alice, "carol", DAY).await.unwrap_err();
    assert_eq!((refused.code(), &*reason(&refused)), (Code::InvalidArgument, "invalid_argument"));
    assert!(refused.message().contains("is away until"), "{refused}");
    assert!(back(&carol).await);
    away(&server, &alice, "carol", DAY).await.unwrap();
    let circle = away(&server, &carol, "alice", DAY).await.unwrap_err();
    assert!(circle.message().contains("is away until"), "{circle}");
    away(&server, &carol, "gina", DAY).await.unwrap();
    assert_eq!(gina.approve(&approval).await.unwrap_err().code(), Code::NotFound);
}

#[tokio::test(flavor = "multi_thread")]
async fn only_a_person_with_a_fresh_login_lends_and_only_his_own_right_to_somebody_else() {
    let server = start().await;
    let alice = server.client("alice").await;
    let mut refusals = Vec::new();
    let agent = server.client("report-bot").await;
    refusals.push(away(&server, &agent, "carol", DAY).await.unwrap_err());
    refusals.push(away(&server, &alice, "alice", DAY).await.unwrap_err());
    refusals.push(away(&server, &alice, "carol", 31 * DAY).await.unwrap_err());
    refusals.push(away(&server, &alice, "carol", Duration::ZERO).await.unwrap_err());
    let old = json!({"auth_time": server.clock.wall().as_seconds() - 900});
    let stale =
        server.client_with(countersign::web::dev_issuer::find("alice").unwrap(), old.as_object().unwrap()).await;
    refusals.push(away(&server, &stale, "carol", DAY).await.unwrap_err());
    let until = countersign::wire::approval::timestamp(server.clock.wall().after(DAY));
    let of_another = pb::StartAbsenceRequest {
        person: Some(uid("User", "bob")),
        stands_in: Some(uid("User", "carol")),
        until: Some(until),
        from: None,
    };
    refusals.push(alice.stub.clone().start_absence(of_another.clone()).await.unwrap_err());
    let of_bob = pb::EndAbsenceRequest { person: Some(uid("User", "bob")) };
    refusals.push(alice.stub.clone().end_absence(of_bob.clone()).await.unwrap_err());
    let codes: Vec<_> = refusals.iter().map(|refused| refused.code()).collect();
    use Code::{InvalidArgument, PermissionDenied, Unauthenticated};
    let expected = [
        PermissionDenied,
        InvalidArgument,
        PermissionDenied,
        InvalidArgument,
        Unauthenticated,
        PermissionDenied,
        PermissionDenied,
    ];
    assert_eq!(codes, expected, "{refusals:?}");
    // An administrator may, by policy; of the groups of a token nothing is known then.
    let root = server.client_of(&person("root", &["admins"])).await;
    root.stub.clone().start_absence(of_another).await.unwrap();
    let approval = asked(&server).await;
    assert_eq!(carol(&server).await.approve(&approval).await.unwrap_err().code(), Code::NotFound);
    let listed = root.stub.clone().list_absences(pb::ListAbsencesRequest {}).await.unwrap().into_inner();
    assert_eq!(listed.absences.len(), 1);
    let none = alice.stub.clone().list_absences(pb::ListAbsencesRequest {}).await.unwrap().into_inner();
    assert!(none.absences.is_empty(), "no affair of hers");
    root.stub.clone().end_absence(of_bob).await.unwrap();
    // Nor does anybody get past this by putting entities.
    let admin = server.admin().await;
    let kept = pb::Entity { uid: Some(uid("Countersign::Absence", "x")), ..pb::Entity::default() };
    assert_eq!(admin.put(vec![kept]).await.unwrap_err().code(), Code::InvalidArgument);
    away(&server, &alice, "carol", DAY).await.unwrap();
    assert!(admin.ids().await.iter().all(|id| !id.contains("alice")), "they are no entities of policies");
}

#[tokio::test(flavor = "multi_thread")]
async fn in_the_inbox_one_says_who_stands_in_and_whoever_does_is_told_for_whom() {
    let server = crate::inbox::serve(Options::default()).await;
    let approval = asked(&server).await;
    let mut alice = Browser::new(server.inbox.as_ref().unwrap()).login("alice").await;
    let token = alice.get("/away").await.hidden("form_token");
    let day = jiff::Timestamp::from_second(server.clock.wall().as_seconds() + 10 * 86_400)
        .unwrap()
        .strftime("%Y-%m-%d")
        .to_string();
    let form = |to, until| [("form_token", &*token), ("to", to), ("until", until)];
    for (to, until, why) in
        [("", &*day, "Say who stands in"), ("frank", "soon", "as a date"), ("alice", &*day, "somebody else")]
    {
        let page = alice.post("/away/start", &form(to, until)).await;
        assert!(page.status == 422 && page.says(why), "{why}: {}", page.body);
    }
    let fields = form("frank", &day);
    assert_eq!(alice.post("/away/start", &fields[1..]).await.status, 403, "a form from elsewhere");
    assert_eq!(alice.post("/away/start", &fields).await.status, 303);
    assert!(alice.get("/away").await.says("<strong><bdi>frank</bdi></strong> stands in for you"));
    let mut frank = Browser::new(server.inbox.as_ref().unwrap()).login("frank").await;
    assert!(frank.get("/away").await.says("for <strong><bdi>alice</bdi></strong>"));
    let page = frank.get(&format!("/approvals/{}", approval.id)).await;
    assert!(
        page.status == 200 && page.says("You decide in the place of <bdi>alice</bdi>, who is away"),
        "{}",
        page.body
    );
    assert_eq!(alice.post("/away/end", &[("form_token", &token)]).await.status, 303);
    assert_eq!(frank.get(&format!("/approvals/{}", approval.id)).await.status, 404);
}
