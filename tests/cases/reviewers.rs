//! C. Reviewers: how they logged in, what their tokens said of groups and when, and accounts that are one human.

use std::time::Duration;

use countersign::domain::{EntityUid, Links, ReviewRules, StepUp};
use countersign::service::Limits;
use countersign::web::dev_issuer::find;
use countersign::wire::pb;
use pb::ApprovalState;
use serde_json::{Value, json};
use tokio::time::timeout;
use tonic::{Code, Status};
use tonic_types::StatusExt;

use super::{asked, count, history};
use crate::support::actors::person;
use crate::support::client::{export, export_by_id, query, reason, wait};
use crate::support::{Client, Options, PolicyDir, TestServer};

async fn demanding(rules: ReviewRules) -> TestServer {
    TestServer::with(options(rules)).await
}

fn options(review: ReviewRules) -> Options {
    Options { limits: Limits { review, ..Limits::default() }, ..Options::default() }
}

/// A person of the demo whose token says something else than usual.
async fn saying(server: &TestServer, who: &str, claims: &Value) -> Client {
    server.client_with(find(who).unwrap(), claims.as_object().unwrap()).await
}

fn refused_as(status: &Status) -> (Code, String) {
    (status.code(), reason(status))
}

fn unauthenticated(why: &str) -> (Code, String) {
    (Code::Unauthenticated, why.to_owned())
}

fn quarter_of_an_hour() -> StepUp {
    StepUp { max_authentication_age: Some(Duration::from_secs(900)), ..StepUp::default() }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_login_of_too_long_ago_reviews_nothing_that_is_severe() {
    let server = demanding(ReviewRules { high: quarter_of_an_hour(), ..ReviewRules::default() }).await;
    let (_, approval) = asked(&server).await;
    let now = server.clock.wall().as_seconds();
    for claims in [json!({"auth_time": now - 900}), json!({"auth_time": 1}), json!({"auth_time": null})] {
        let alice = saying(&server, "alice", &claims).await;
        for vote in [alice.approve(&approval).await, alice.reject(&approval).await] {
            let refused = vote.unwrap_err();
            assert_eq!(refused_as(&refused), unauthenticated("authentication_too_old"), "{claims}");
            let metadata = refused.get_details_error_info().unwrap().metadata;
            assert_eq!((&*metadata["max_age"], &*metadata["scheme"]), ("900", "Bearer"));
            assert_eq!(metadata["error"], "insufficient_user_authentication");
        }
    }
    assert_eq!(count(&history(&server, &approval.id).await, "refused Decide authentication_too_old"), 6);
    let records = server.client("erin").await.records_of(&approval.id).await;
    let by = records.iter().filter_map(|record| match record.fact.as_ref().unwrap() {
        pb::record::Fact::Refused(refused) => Some(refused.caller.as_ref().unwrap().subject.as_str()),
        _ => None,
    });
    assert_eq!(by.collect::<Vec<_>>(), ["alice"; 6], "each is on record, and whose it was");
    // A second less than too long ago, and as recorded.
    let alice = saying(&server, "alice", &json!({"auth_time": now - 899})).await;
    let voted = alice.approve(&approval).await.unwrap();
    assert_eq!(voted.reviews[0].reviewer.as_ref().unwrap().authenticated_at_micros, (now - 899) * 1_000_000);
    // What is less severe takes less.
    let pipeline = server.client("ci-pipeline").await;
    let rotate = pipeline.authorize(query("rotate", "Secret", "payments-api-key")).await.unwrap().approval.unwrap();
    let dave = saying(&server, "dave", &json!({"auth_time": null})).await;
    assert_eq!(dave.approve(&rotate).await.unwrap().state(), ApprovalState::Approved);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_login_must_be_as_strong_as_this_and_every_lower_severity_demands() {
    let strong = StepUp { acr: vec!["phr".into(), "phrh".into()], ..StepUp::default() };
    let medium = StepUp { amr: vec!["hwk".into(), "mfa".into()], ..StepUp::default() };
    let server = demanding(ReviewRules { medium, high: strong, ..ReviewRules::default() }).await;
    let (_, approval) = asked(&server).await;
    for (claims, demanded) in [
        (json!({}), "amr_values"),
        (json!({"acr": "phr"}), "amr_values"),
        (json!({"acr": "phr", "amr": ["pwd"]}), "amr_values"),
        (json!({"amr": ["hwk"]}), "acr_values"),
        (json!({"acr": "PHR", "amr": ["hwk"]}), "acr_values"),
        (json!({"acr": "phr phrh", "amr": ["hwk"]}), "acr_values"),
    ] {
        let refused = saying(&server, "alice", &claims).await.approve(&approval).await.unwrap_err();
        assert_eq!(refused_as(&refused), unauthenticated("stronger_authentication_required"), "{claims}");
        let metadata = refused.get_details_error_info().unwrap().metadata;
        let demands: Vec<_> = metadata.keys().filter(|key| key.ends_with("_values")).collect();
        assert_eq!(demands, [demanded], "{claims}");
    }
    let alice = saying(&server, "alice", &json!({"acr": "phrh", "amr": ["pwd", "hwk"]})).await;
    let voted = alice.approve(&approval).await.unwrap();
    let credential = voted.reviews[0].reviewer.as_ref().unwrap().credential.clone().unwrap();
    assert_eq!((credential.acr.as_str(), credential.amr), ("phrh", vec!["pwd".to_owned(), "hwk".to_owned()]));
}

/// `User::"alice"` and `User::"alice-admin"` are one human, and so are the bot and who answers for it.
fn linked() -> ReviewRules {
    let accounts = |names: [(&str, &str); 2]| names.map(|(kind, id)| EntityUid::new(kind, id)).to_vec();
    let sets =
        [accounts([("User", "alice"), ("User", "alice-admin")]), accounts([("Agent", "report-bot"), ("User", "bob")])];
    ReviewRules { links: Links::new(sets).unwrap(), ..ReviewRules::default() }
}

#[tokio::test(flavor = "multi_thread")]
async fn case_33_a_linked_account_does_not_countersign_its_own() {
    let policies = PolicyDir::extended();
    let server = TestServer::with(Options { policies: policies.path().into(), ..options(linked()) }).await;
    let own = server.client("alice").await.authorize(export()).await.unwrap().approval.unwrap();
    let other = server.client_of(&person("alice-admin", &["privacy", "dpo"])).await;
    for vote in [other.approve(&own).await, other.reject(&own).await] {
        assert_eq!(refused_as(&vote.unwrap_err()), (Code::PermissionDenied, "own_action".to_owned()));
    }
    let listed = pb::ListApprovalsRequest { reviewable: true, ..Default::default() };
    assert!(other.stub.clone().list_approvals(listed).await.unwrap().into_inner().approvals.is_empty());
    // Whom an enforcement point only names is linked as well.
    let gateway = server.client_of(&crate::support::actors::gateway()).await;
    let named = pb::AuthorizeRequest {
        principal: Some(crate::support::client::uid("User", "alice")),
        justification: "another".into(),
        ..export()
    };
    let hers = gateway.authorize(named).await.unwrap().approval.unwrap();
    assert_eq!(reason(&other.approve(&hers).await.unwrap_err()), "own_action");
    // An address is no link: somebody else with alice's is somebody else.
    let namesake = server
        .client_with(&person("carla", &["privacy"]), json!({"email": "alice@example.com"}).as_object().unwrap())
        .await;
    assert_eq!(namesake.approve(&own).await.unwrap().reviews.len(), 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn case_34_who_answers_for_an_agent_does_not_countersign_what_it_does() {
    let server = demanding(linked()).await;
    let (_, approval) = asked(&server).await;
    let refused = server.client("bob").await.approve(&approval).await.unwrap_err();
    assert_eq!(refused_as(&refused), (Code::PermissionDenied, "own_action".to_owned()));
}

#[tokio::test(flavor = "multi_thread")]
async fn case_33_linked_accounts_are_one_of_a_quorum() {
    let policies = PolicyDir::extended();
    let server = TestServer::with(Options { policies: policies.path().into(), ..options(linked()) }).await;
    let bot = server.client_of(&crate::support::actors::gateway()).await;
    let approval = bot.authorize(export()).await.unwrap().approval.unwrap();
    server.client("alice").await.approve(&approval).await.unwrap();
    let again = server.client_of(&person("alice-admin", &["dpo"])).await.approve(&approval).await.unwrap();
    assert_eq!((again.state(), again.reviews.len()), (ApprovalState::Pending, 1), "the same human once more");
    assert_eq!(server.client("carol").await.approve(&approval).await.unwrap().state(), ApprovalState::Approved);
}

#[tokio::test(flavor = "multi_thread")]
async fn invariant_02_what_a_token_said_of_groups_grows_old_before_the_quorum_closes() {
    let rules = ReviewRules { membership_max_age: Duration::from_secs(300), ..ReviewRules::default() };
    let server = demanding(rules).await;
    let (_, approval) = asked(&server).await;
    server.client("alice").await.approve(&approval).await.unwrap();
    server.advance(Duration::from_secs(300));
    let late = server.client("bob").await.approve(&approval).await.unwrap();
    assert_eq!((late.state(), late.reviews.len()), (ApprovalState::Pending, 2), "alice was a reviewer, long ago");
    // She is still: a fresh token says so. A vote that counts is not cast twice.
    let again = server.client("bob").await.approve(&late).await.unwrap();
    assert_eq!((again.state(), again.reviews.len()), (ApprovalState::Pending, 2));
    let done = server.client("alice").await.approve(&late).await.unwrap();
    assert_eq!((done.state(), done.reviews.len()), (ApprovalState::Approved, 3));
    let history = history(&server, &approval.id).await;
    assert_eq!((count(&history, "reviewed"), count(&history, "approved")), (2, 1));
}

#[tokio::test(flavor = "multi_thread")]
async fn what_the_server_knows_of_groups_itself_does_not_grow_old() {
    let policies = PolicyDir::shipped().but(
        "entities.json",
        "[\n",
        "[\n  { \"uid\": { \"type\": \"User\", \"id\": \"alice\" }, \"attrs\": {}, \"parents\": [{ \"type\": \"Group\", \"id\": \"privacy\" }] },\n",
    );
    let rules = ReviewRules { membership_max_age: Duration::from_secs(300), ..ReviewRules::default() };
    let server = TestServer::with(Options { policies: policies.path().into(), ..options(rules) }).await;
    let (_, approval) = asked(&server).await;
    server.client("alice").await.approve(&approval).await.unwrap();
    server.advance(Duration::from_secs(300));
    assert_eq!(server.client("bob").await.approve(&approval).await.unwrap().state(), ApprovalState::Approved);
}

#[tokio::test(flavor = "multi_thread")]
async fn the_journal_says_how_both_were_proved() {
    let policies = PolicyDir::extended();
    let server = policies.serve().await;
    let gateway = server.client_of(&crate::support::actors::gateway()).await;
    let named = pb::AuthorizeRequest { principal: Some(crate::support::client::uid("Agent", "worker")), ..export() };
    let decision = gateway.authorize(named).await.unwrap().approval.unwrap();
    let records = server.client("erin").await.records_of(&decision.id).await;
    let Some(pb::record::Fact::Decided(decided)) = &records[0].fact else { panic!("{records:?}") };
    let (principal, caller) = (decided.principal_identity.as_ref().unwrap(), decided.caller_identity.as_ref().unwrap());
    assert_eq!((principal.proof_method(), &principal.credential), (pb::ProofMethod::Asserted, &None));
    let credential = caller.credential.as_ref().unwrap();
    assert_eq!((caller.proof_method(), credential.issuer_name.as_str()), (pb::ProofMethod::Token, "dev"));
    assert_eq!((credential.profile.as_str(), credential.algorithm.as_str()), ("rfc9068", "EdDSA"));
    assert!(credential.key_id.starts_with("dev-") && !credential.token_id.is_empty());
    assert_eq!((credential.client.as_str(), credential.issuer_spelt.clone()), ("gateway", caller.issuer.clone()));
    // Of a delegation both, and older hops by name.
    let claims = json!({"act": {"sub": "gateway", "act": {"sub": "earlier-bot"}}});
    let server = policies.serve().await;
    let delegated = server.client_with(&person("alice", &["privacy"]), claims.as_object().unwrap()).await;
    let refused = delegated.authorize(export()).await.unwrap_err();
    assert_eq!(refused.code(), Code::PermissionDenied);
    // What is decided comes after what was refused.
    server.client("report-bot").await.authorize(query("read", "Dataset", "weather")).await.unwrap();
    let all = server.client("erin").await.audit(pb::AuditRequest::default()).await.unwrap();
    let last = all.into_iter().rev().find_map(|record| match record.fact.unwrap() {
        pb::record::Fact::Refused(refused) => refused.caller,
        _ => None,
    });
    let last = last.unwrap();
    assert_eq!((last.subject.as_str(), last.earlier_actors.as_slice()), ("gateway", &["earlier-bot".to_owned()][..]));
    assert_eq!(last.on_behalf_of.unwrap().credential.unwrap().client, "dev-login");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_wait_and_a_stream_of_queries_end_with_their_token_and_a_fresh_one_goes_on() {
    let server = TestServer::start().await;
    let soon = json!({"exp": server.clock.wall().as_seconds() + 30});
    let short = saying(&server, "report-bot", &soon).await;
    let (send, queries) = tokio::sync::mpsc::channel(1);
    let queries = tokio_stream::wrappers::ReceiverStream::new(queries);
    let mut answers = short.stub.clone().authorize_stream(queries).await.unwrap().into_inner();
    let waiting = tokio::spawn({
        let asked = pb::AuthorizeRequest { wait: wait(Duration::from_secs(50)), ..export() };
        let short = short.clone();
        async move { short.authorize(asked).await }
    });
    let (alice, mut listed) = (server.client("alice").await, Vec::new());
    let reviewable = pb::ListApprovalsRequest { reviewable: true, ..Default::default() };
    let opened = timeout(Duration::from_secs(20), async {
        while listed.is_empty() {
            listed = alice.stub.clone().list_approvals(reviewable.clone()).await.unwrap().into_inner().approvals;
        }
    });
    opened.await.expect("the approval that is waited for");
    // The leeway is a minute. What wakes the wait is a vote that does not settle it.
    server.advance(Duration::from_secs(90));
    alice.approve(&listed[0]).await.unwrap();
    assert_eq!(refused_as(&waiting.await.unwrap().unwrap_err()), unauthenticated("expired"));
    let query = pb::AuthorizeStreamRequest { correlation_id: 1, query: Some(export()) };
    send.send(query).await.unwrap();
    assert_eq!(refused_as(&answers.message().await.unwrap_err()), unauthenticated("expired"));
    let resumed = export_by_id(&listed[0].id);
    assert_eq!(refused_as(&short.authorize(resumed.clone()).await.unwrap_err()), unauthenticated("expired"));
    let fresh = server.client("report-bot").await.authorize(resumed).await.unwrap();
    assert_eq!((fresh.outcome(), fresh.approval.unwrap().id), (pb::Outcome::Pending, listed[0].id.clone()));
}
