//! The whole life of an approval, over real gRPC.

use std::time::Duration;

use countersign::wire::pb;
use pb::Outcome;

use crate::support::TestServer;
use crate::support::client::{export, export_by_id, query, reason, wait};

#[tokio::test(flavor = "multi_thread")]
async fn an_agents_action_pauses_is_countersigned_and_runs_once() {
    let server = TestServer::start().await;
    let agent = server.client("report-bot").await;

    let read = agent.authorize(query("read", "Dataset", "weather")).await.unwrap();
    assert_eq!((read.outcome(), &*read.reason), (Outcome::Allow, "permitted"));

    let drop = agent.authorize(query("drop", "Database", "warehouse")).await.unwrap();
    assert_eq!((drop.outcome(), &*drop.reason), (Outcome::Deny, "forbidden"));

    let asked = agent.authorize(export()).await.unwrap();
    assert_eq!((asked.outcome(), &*asked.reason), (Outcome::Pending, "approval_required"));
    let approval = asked.approval.unwrap();
    assert_eq!(approval.binding, asked.binding);

    let waiting = tokio::spawn({
        let agent = agent.clone();
        let asked = pb::AuthorizeRequest { wait: wait(Duration::from_secs(55)), ..export_by_id(&approval.id) };
        async move { agent.authorize(asked).await }
    });
    let first = server.client("alice").await.approve(&approval).await.unwrap();
    assert_eq!(first.state(), pb::ApprovalState::Pending);
    let second = server.client("bob").await.approve(&approval).await.unwrap();
    assert_eq!(second.state(), pb::ApprovalState::Approved);

    let granted = waiting.await.unwrap().unwrap();
    assert_eq!((granted.outcome(), &*granted.reason), (Outcome::Allow, "granted"));

    let again = agent.authorize(export_by_id(&approval.id)).await.unwrap();
    assert_eq!((again.outcome(), &*again.reason), (Outcome::Deny, "grant_consumed"));

    let reported = agent.report(&approval.id, &granted.decision_id, pb::Report::Succeeded).await.unwrap();
    assert_eq!(reported.report(), pb::Report::Succeeded);

    let own = agent.approve(&approval).await.unwrap_err();
    assert_eq!((own.code(), &*reason(&own)), (tonic::Code::PermissionDenied, "not_human"));

    let records = server.client("erin").await.records_of(&approval.id).await;
    assert!(records.len() >= 6, "{records:#?}");
    server.stop().await;
}
