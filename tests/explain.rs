//! Asking why: whom policy lets know is told with the answer; nobody else, and nothing of the server's facts.

use countersign::wire::pb;
use pb::Outcome;
use tonic::Code;

use crate::support::TestServer;
use crate::support::client::{export, query, reason};

fn why(query: pb::AuthorizeRequest) -> pb::AuthorizeRequest {
    pb::AuthorizeRequest { explain: true, ..query }
}

#[tokio::test(flavor = "multi_thread")]
async fn an_answer_says_why_with_the_policies_text_and_place() {
    let server = TestServer::start().await;
    let frank = server.client("frank").await;
    let denied = frank.authorize(why(query("read", "Dataset", "customers"))).await.unwrap();
    assert_eq!((denied.outcome(), denied.reason.as_str()), (Outcome::Deny, "not_permitted"));
    let explanation = denied.explanation.unwrap();
    let is_it = |miss: &&pb::NearMiss| miss.permit.as_ref().is_some_and(|it| it.policy == "people-read-plain-data");
    let near = explanation.near_misses.iter().find(is_it).unwrap();
    let (permit, clause) = (near.permit.clone().unwrap(), near.clause.clone().unwrap());
    assert_eq!((permit.file.as_str(), near.lacks.as_str()), ("warehouse.cedar", "clause"));
    assert_eq!((clause.kind.as_str(), clause.text.as_str(), clause.number), ("unless", "resource.pii", 1));
    assert!(clause.line > permit.line && permit.source.contains("permit (principal is User"));
    let allowed = frank.authorize(why(query("read", "Dataset", "weather"))).await.unwrap();
    let determining = &allowed.explanation.unwrap().determining;
    assert_eq!((allowed.outcome, determining[0].policy.as_str()), (Outcome::Allow.into(), "people-read-plain-data"));
}

#[tokio::test(flavor = "multi_thread")]
async fn nobody_is_told_why_who_did_not_ask() {
    let server = TestServer::start().await;
    let frank = server.client("frank").await;
    assert_eq!(frank.authorize(query("read", "Dataset", "customers")).await.unwrap().explanation, None);
}

#[tokio::test(flavor = "multi_thread")]
async fn why_is_told_only_to_those_whom_policy_lets_know() {
    let server = TestServer::start().await;
    let agent = server.client("report-bot").await;
    let refused = agent.authorize(why(export())).await.unwrap_err();
    assert_eq!((refused.code(), reason(&refused).as_str()), (Code::PermissionDenied, "not_permitted"));
    assert!(refused.message().contains("explain"), "{}", refused.message());
    assert_eq!(agent.authorize(export()).await.unwrap().outcome(), Outcome::Pending);
}

#[tokio::test(flavor = "multi_thread")]
async fn an_explanation_holds_no_value_of_the_servers_facts() {
    let server = TestServer::start().await;
    let frank = server.client("frank").await;
    let denied = frank.authorize(why(query("read", "Dataset", "customers"))).await.unwrap();
    // What entities.json says of the data set: its owner.
    assert!(!format!("{:?}", denied.explanation).contains("carol"));
}
