//! What became of an allowed action: who may say so, and until when.

use std::time::Duration;

use countersign::wire::pb;
use pb::Outcome;
use tonic::Code;

use crate::support::actors::gateway;
use crate::support::client::{export, export_by_id, reason, uid};
use crate::support::{PolicyDir, TestServer};

const HOUR: Duration = Duration::from_secs(3_600);

const SECOND: &str = "permit (principal == Workload::\"second-gateway\",
    action in [Countersign::Action::\"authorize\", Countersign::Action::\"authorize_as\"], resource);";

fn for_worker(query: pb::AuthorizeRequest) -> pb::AuthorizeRequest {
    pb::AuthorizeRequest { principal: Some(uid("Agent", "worker")), ..query }
}

#[tokio::test(flavor = "multi_thread")]
async fn the_gateway_that_redeemed_reports_though_another_asked() {
    let policies = PolicyDir::extended().and(SECOND);
    let server = policies.serve().await;
    let first = server.client_of(&gateway()).await;
    let mut second = gateway();
    (second.subject, second.name) = ("second-gateway", "second-gateway");
    let second = server.client_of(&second).await;
    let approval = first.authorize(for_worker(export())).await.unwrap().approval.unwrap();
    server.client("alice").await.approve(&approval).await.unwrap();
    server.client("bob").await.approve(&approval).await.unwrap();
    let granted = second.authorize(for_worker(export_by_id(&approval.id))).await.unwrap();
    assert_eq!(granted.outcome(), Outcome::Allow);
    let stranger = server.client("report-bot").await;
    let refused = stranger.report(&approval.id, &granted.decision_id, pb::Report::Failed).await.unwrap_err();
    assert_eq!(refused.code(), Code::NotFound);
    let reported = second.report(&approval.id, &granted.decision_id, pb::Report::Succeeded).await.unwrap();
    assert_eq!(reported.report(), pb::Report::Succeeded);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_report_long_after_the_lease_is_told_that_it_is_too_late() {
    let server = TestServer::start().await;
    let agent = server.client("report-bot").await;
    let approval = agent.authorize(export()).await.unwrap().approval.unwrap();
    server.client("alice").await.approve(&approval).await.unwrap();
    server.client("bob").await.approve(&approval).await.unwrap();
    let granted = agent.authorize(export_by_id(&approval.id)).await.unwrap();
    server.advance(HOUR);
    let agent = server.client("report-bot").await;
    assert_eq!(agent.get(&approval.id).await.unwrap().report(), pb::Report::Unknown);
    // Memory lets go of what was settled an hour ago, with the next things that happen.
    server.advance(2 * HOUR);
    let agent = server.client("report-bot").await;
    agent.authorize(export()).await.unwrap();
    let late = agent.report(&approval.id, &granted.decision_id, pb::Report::Succeeded).await.unwrap_err();
    assert_eq!((late.code(), &*reason(&late)), (Code::FailedPrecondition, "too_late"));
    assert_eq!(agent.get(&approval.id).await.unwrap().report(), pb::Report::Unknown);
}
