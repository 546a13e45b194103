//! Personal data and secrets stay where they were asked (invariant 9): planted in every field of a query and in every comment,
//! they are looked for in every view, and found only by those whom policy lets see them, on record.

use countersign::wire::pb;
use tonic::Code;

use crate::support::browser::Browser;
use crate::support::client::{Client, export, export_by_id, reason, string, uid};
use crate::support::{Options, PolicyDir, TestServer};

/// One of each for every place, so that a leak says where it came from.
const CONTEXT: &str = "context.person@secret.example";
const ENVIRONMENT: &str = "environment.person@secret.example";
const ATTRIBUTE: &str = "attribute.person@secret.example";
const JUSTIFICATION: &str = "219-09-9999";
const COMMENT: &str = "AKIAIOSFODNN7EXAMPLE";
const NOT_SHOWN: [&str; 5] = ["context.person", "environment.person", "attribute.person", JUSTIFICATION, COMMENT];

/// Whoever asks may also send along what it knows of data sets; else as shipped.
fn policies() -> PolicyDir {
    PolicyDir::shipped().and(
        r#"@id("bot-supplies")
        permit (principal in Group::"agents", action == Countersign::Action::"supply_entities",
            resource == Countersign::EntityType::"Dataset");"#,
    )
}

fn planted() -> pb::AuthorizeRequest {
    let mut query = export();
    query.context.insert("destination".into(), string(CONTEXT));
    query.justification = format!("the owner's SSN is {JUSTIFICATION}");
    query
}

async fn serve() -> TestServer {
    let policies = policies();
    crate::inbox::serve(Options { policies: policies.path().into(), ..Options::default() }).await
}

async fn asked(server: &TestServer) -> (Client, pb::Approval) {
    let bot = server.client("report-bot").await;
    let approval = bot.authorize(planted()).await.unwrap().approval.unwrap();
    (bot, approval)
}

fn holds_none(view: &str, what: &str) {
    for secret in NOT_SHOWN {
        assert!(!what.contains(secret), "{view} shows {secret}: {what}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn every_view_of_a_query_is_masked_and_its_binding_is_that_of_the_query() {
    let server = serve().await;
    let bot = server.client("report-bot").await;
    let answer = bot.authorize(planted()).await.unwrap();
    let approval = answer.approval.clone().unwrap();
    holds_none("the answer to whoever asked", &format!("{answer:?}"));
    let alice = server.client("alice").await;
    let seen = alice.get(&approval.id).await.unwrap();
    assert_eq!((seen.masked_values, &*seen.canonical_query), (2, ""));
    assert_eq!(seen.context["destination"], string("***@secret.example"), "where it goes is what is decided about");
    assert_eq!(seen.justification, "the owner's SSN is **** 9999");
    assert_eq!(seen.binding, answer.binding);
    let listed = alice.stub.clone().list_approvals(pb::ListApprovalsRequest::default()).await.unwrap();
    holds_none("a list", &format!("{listed:?}"));
    // A vote on what was seen masked is a vote on the action as it is.
    let mut vote = pb::DecideRequest {
        approval_id: approval.id.clone(),
        verdict: pb::Verdict::Reject.into(),
        comment: format!("never send {COMMENT} anywhere"),
        binding: seen.binding,
        ..pb::DecideRequest::default()
    };
    let voted = alice.stub.clone().decide(vote.clone()).await.unwrap().into_inner();
    assert_eq!(voted.reviews[0].comment, "never send <REDACTED> anywhere");
    let told = bot.authorize(export_by_id_of(&approval)).await;
    holds_none("the refusal that whoever asked is told", &format!("{told:?}"));
    vote.binding = "0".repeat(64);
    holds_none("an error", &format!("{:?}", alice.stub.clone().decide(vote).await.unwrap_err()));
    let erin = server.client("erin").await;
    let audited = erin.audit(pb::AuditRequest::default()).await.unwrap();
    assert!(format!("{audited:?}").contains("***@secret.example"));
    holds_none("the audit", &format!("{audited:?}"));
    let from_beginning = pb::SubscribeRequest { from_beginning: true, ..pb::SubscribeRequest::default() };
    let mut events = erin.stub.clone().subscribe(from_beginning).await.unwrap().into_inner();
    for _ in 0..audited.len() {
        let event = events.message().await.unwrap().unwrap();
        assert!(event.record.is_some());
        holds_none("the stream", &format!("{event:?}"));
    }
}

fn export_by_id_of(approval: &pb::Approval) -> pb::AuthorizeRequest {
    let mut query = planted();
    query.approval_id = export_by_id(&approval.id).approval_id;
    query
}

#[tokio::test(flavor = "multi_thread")]
async fn what_comes_along_is_masked_and_names_stay() {
    let server = serve().await;
    let bot = server.client("report-bot").await;
    let mut query = planted();
    query.environment.insert("session".into(), string(ENVIRONMENT));
    let value = |kind| pb::Value { kind: Some(kind) };
    let owner = value(pb::value::Kind::Entity(uid("User", ATTRIBUTE)));
    let attributes = [("pii".into(), value(pb::value::Kind::Bool(true))), ("owner".into(), owner.clone())];
    query.resource = Some(uid("Dataset", "late.person@named.example"));
    query.entities =
        vec![pb::Entity { uid: query.resource.clone(), attributes: attributes.into(), ..pb::Entity::default() }];
    let approval = bot.authorize(query).await.unwrap().approval.unwrap();
    let alice = server.client("alice").await;
    let seen = alice.get(&approval.id).await.unwrap();
    holds_none("the approval", &format!("{seen:?}"));
    assert_eq!(seen.resource.unwrap().id, "late.person@named.example", "who, what and on what are names");
    let audited = server.client("erin").await.audit(pb::AuditRequest::default()).await.unwrap();
    holds_none("the audit", &format!("{audited:?}"));
    let revealed = reveal(&alice, &approval.id).await.unwrap();
    assert_eq!((revealed.masked_values, &revealed.entities[0].attributes["owner"]), (0, &owner));
}

async fn reveal(client: &Client, id: &str) -> Result<pb::Approval, tonic::Status> {
    let request = pb::GetApprovalRequest { approval_id: id.into(), reveal: true };
    Ok(client.stub.clone().get_approval(request).await?.into_inner())
}

#[tokio::test(flavor = "multi_thread")]
async fn who_may_by_policy_sees_it_as_it_is_and_that_is_on_record_first() {
    let server = serve().await;
    let (bot, approval) = asked(&server).await;
    let alice = server.client("alice").await;
    let revealed = reveal(&alice, &approval.id).await.unwrap();
    assert_eq!((revealed.masked_values, &revealed.context["destination"]), (0, &string(CONTEXT)));
    assert!(revealed.canonical_query.contains(CONTEXT), "the binding can be checked");
    let erin = server.client("erin").await;
    let shown: Vec<_> = erin
        .records_of(&approval.id)
        .await
        .into_iter()
        .filter_map(|record| match record.fact {
            Some(pb::record::Fact::Revealed(revealed)) => Some(revealed.to.unwrap().uid.unwrap().id),
            _ => None,
        })
        .collect();
    assert_eq!(shown, ["alice"]);
    // Whoever asked knows it already, and may be a model: it is not told again. Nor are auditors.
    for (who, client) in [("the agent", &bot), ("an auditor", &erin)] {
        let refused = reveal(client, &approval.id).await.unwrap_err();
        assert_eq!((refused.code(), &*reason(&refused)), (Code::PermissionDenied, "not_permitted"), "{who}");
    }
    // Whom it does not concern does not learn that it is there.
    let refused = reveal(&server.client("dave").await, &approval.id).await.unwrap_err();
    assert_eq!(refused.code(), Code::NotFound);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_search_does_not_tell_what_is_masked() {
    let server = serve().await;
    asked(&server).await;
    let mut alice = Browser::new(server.inbox.as_ref().unwrap()).login("alice").await;
    assert!(alice.get("/?q=owner").await.says("customers"));
    for guess in ["219", "219-09", "219-09-9999"] {
        assert!(!alice.get(&format!("/?q={guess}")).await.says("customers"), "{guess}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn the_inbox_masks_until_it_is_asked_and_demands_a_look_where_much_is_at_stake() {
    let server = serve().await;
    let (_, approval) = asked(&server).await;
    let mut alice = Browser::new(server.inbox.as_ref().unwrap()).login("alice").await;
    holds_none("the list", &alice.get("/").await.body);
    let path = format!("/approvals/{}", approval.id);
    let page = alice.get(&path).await;
    holds_none("the page", &page.body);
    assert!(page.says("***@secret.example") && page.says("2 values hold personal data or secrets"));
    // The export of personal data is of high severity: nobody approves what he did not see.
    assert!(page.says("id=\"reveal-button\"") && !page.says("id=\"approve\"") && page.says("id=\"reject\""));
    let shown = alice.post(&format!("{path}/reveal"), &[("form_token", &page.hidden("form_token"))]).await;
    assert!(shown.says(CONTEXT) && shown.says(JUSTIFICATION) && shown.says("id=\"approve\""), "{}", shown.body);
    // A form written by hand, without the look, is not taken either; from the page that showed it, it is.
    let by_hand = [("object", "customers"), ("shown", &*page.hidden("shown"))];
    let unseen = alice.decide(&approval.id, "approve", &by_hand).await;
    assert!(unseen.status == 422 && unseen.says("only what was seen as it is"), "{}", unseen.status);
    let seen = [("object", "customers"), ("shown", &*shown.hidden("shown"))];
    assert_eq!(alice.decide(&approval.id, "approve", &seen).await.status, 303);
    // Without the form's token it is nobody's wish; by its address alone it is not shown.
    let forged = alice.post(&format!("{path}/reveal"), &[("form_token", "guessed")]).await;
    assert!(!forged.says(CONTEXT) && forged.status == 403, "{}", forged.status);
    let again = alice.get(&format!("{path}/reveal")).await;
    assert_eq!((again.status, again.location()), (303, path));
}
