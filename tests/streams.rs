//! `Subscribe` and `Audit` over real gRPC: what a client that comes and goes, lags, or lies about its place gets.

use std::time::Duration;

use countersign::service;
use countersign::wire::pb;
use tokio::time::timeout;
use tonic::{Code, Status, Streaming};

use crate::support::client::{export, field, query, reason};
use crate::support::{Client, Options, TestServer};

const HEARTBEAT: Duration = Duration::from_millis(50);
/// Far longer than anything here takes; only a hang reaches it.
const PATIENCE: Duration = Duration::from_secs(20);

fn with_heartbeat() -> Options {
    Options { limits: service::Limits { heartbeat: HEARTBEAT, ..service::Limits::default() }, ..Options::default() }
}

async fn subscribe(client: &Client, request: pb::SubscribeRequest) -> Result<Streaming<pb::Event>, Status> {
    client.stub.clone().subscribe(request).await.map(tonic::Response::into_inner)
}

fn beginning() -> pb::SubscribeRequest {
    pb::SubscribeRequest { from_beginning: true, ..pb::SubscribeRequest::default() }
}

fn after(cursor: &str) -> pb::SubscribeRequest {
    pb::SubscribeRequest { cursor: cursor.into(), ..pb::SubscribeRequest::default() }
}

async fn next(stream: &mut Streaming<pb::Event>) -> pb::Event {
    timeout(PATIENCE, stream.message()).await.expect("an event in time").expect("no error").expect("no end")
}

/// Events with records, up to and including the record `last`.
async fn records_through(stream: &mut Streaming<pb::Event>, last: u64) -> Vec<pb::Event> {
    let mut events: Vec<pb::Event> = Vec::new();
    while events.last().is_none_or(|event| event.record.as_ref().unwrap().sequence < last) {
        let event = next(stream).await;
        events.extend(event.record.is_some().then_some(event));
    }
    events
}

fn sequences(events: &[pb::Event]) -> Vec<u64> {
    events.iter().map(|event| event.record.as_ref().unwrap().sequence).collect()
}

/// Reads `weather` so many times: as many records.
async fn read_often(agent: &Client, times: usize) {
    for _ in 0..times {
        agent.authorize(query("read", "Dataset", "weather")).await.unwrap();
    }
}

/// The newest record there is, as an audit says.
async fn newest(auditor: &Client) -> u64 {
    let request = pb::AuditRequest { order: pb::Order::NewestFirst.into(), limit: 1, ..pb::AuditRequest::default() };
    auditor.audit(request).await.unwrap()[0].sequence
}

#[tokio::test(flavor = "multi_thread")]
async fn a_subscriber_gets_every_record_in_order_and_then_what_happens() {
    let server = TestServer::with(with_heartbeat()).await;
    let (agent, auditor) = (server.client("report-bot").await, server.client("erin").await);
    read_often(&agent, 5).await;
    let last = newest(&auditor).await;
    let mut stream = subscribe(&auditor, beginning()).await.unwrap();
    assert_eq!(sequences(&records_through(&mut stream, last).await), (1..=last).collect::<Vec<_>>());
    read_often(&agent, 3).await;
    let live = records_through(&mut stream, last + 3).await;
    assert_eq!(sequences(&live), [last + 1, last + 2, last + 3]);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_subscription_goes_on_after_any_event_also_over_a_restart() {
    let server = TestServer::with(with_heartbeat()).await;
    read_often(&server.client("report-bot").await, 300).await;
    let auditor = server.client("erin").await;
    let last = newest(&auditor).await;
    let all = records_through(&mut subscribe(&auditor, beginning()).await.unwrap(), last).await;
    for place in [0, 1, 63, 64, 65, 255, 256, 257] {
        let mut again = subscribe(&auditor, after(&all[place].cursor)).await.unwrap();
        let rest = records_through(&mut again, last).await;
        assert_eq!(sequences(&rest), (place as u64 + 2..=last).collect::<Vec<_>>(), "after {place}");
    }
    let (dir, clock) = server.stop().await;
    let server = TestServer::on(dir, clock, with_heartbeat()).await;
    let mut again = subscribe(&server.client("erin").await, after(&all[200].cursor)).await.unwrap();
    let rest = records_through(&mut again, last).await;
    assert_eq!(sequences(&rest), (202..=last).collect::<Vec<_>>());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_filter_passes_only_what_it_names_and_heartbeats_move_on_past_the_rest() {
    let server = TestServer::with(with_heartbeat()).await;
    let (agent, auditor) = (server.client("report-bot").await, server.client("erin").await);
    let asked = agent.authorize(export()).await.unwrap();
    read_often(&agent, 200).await;
    let filter = pb::Filter { outcomes: vec![pb::Outcome::Pending.into()], ..pb::Filter::default() };
    let request = pb::SubscribeRequest { filter: Some(filter), ..beginning() };
    let mut stream = subscribe(&auditor, request.clone()).await.unwrap();
    let only = next(&mut stream).await;
    let Some(pb::record::Fact::Decided(decided)) = only.record.unwrap().fact else { panic!("a decision") };
    assert_eq!(decided.decision_id, asked.decision_id);
    let heartbeat = next(&mut stream).await;
    assert!(heartbeat.record.is_none());
    assert_ne!(heartbeat.cursor, only.cursor, "the heartbeat is behind what was skipped");
    let mut resumed =
        subscribe(&auditor, pb::SubscribeRequest { from_beginning: false, cursor: heartbeat.cursor, ..request })
            .await
            .unwrap();
    let again = agent.authorize(export()).await.unwrap();
    let found = loop {
        if let Some(record) = next(&mut resumed).await.record {
            break record;
        }
    };
    let Some(pb::record::Fact::Decided(decided)) = found.fact else { panic!("a decision") };
    assert_eq!(decided.decision_id, again.decision_id);
}

#[tokio::test(flavor = "multi_thread")]
async fn fault_58_a_subscriber_that_lags_loses_nothing_and_slows_nobody() {
    let server = TestServer::with(with_heartbeat()).await;
    let (agent, auditor) = (server.client("report-bot").await, server.client("erin").await);
    let mut slow = subscribe(&auditor, beginning()).await.unwrap();
    let first = next(&mut slow).await.record.unwrap().sequence;
    // Far more than its window and every buffer between here and the disk hold.
    let batch = pb::AuthorizeBatchRequest { queries: vec![query("read", "Dataset", "weather"); 100] };
    for _ in 0..30 {
        agent.stub.clone().authorize_batch(batch.clone()).await.unwrap();
    }
    let last = newest(&auditor).await;
    assert!(last > 3_000);
    let late = records_through(&mut slow, last).await;
    assert_eq!(sequences(&late), (first + 1..=last).collect::<Vec<_>>());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_cursor_that_is_not_of_this_journal_is_refused() {
    let (server, other) = (TestServer::with(with_heartbeat()).await, TestServer::with(with_heartbeat()).await);
    let auditor = server.client("erin").await;
    let foreign = next(&mut subscribe(&other.client("erin").await, beginning()).await.unwrap()).await.cursor;
    read_often(&server.client("report-bot").await, 2).await;
    let future = format!("c1.{:016x}{}", 1_000_000, &foreign[19..]);
    let invented = format!("c1.{:016x}{:016x}", 2, 0);
    for wrong in [&*foreign, &*future, &*invented, "c1.", "not a cursor", "c9.00000000000000010000000000000001"] {
        let refused = subscribe(&auditor, after(wrong)).await.unwrap_err();
        assert_eq!((refused.code(), &*field(&refused)), (Code::InvalidArgument, "cursor"), "{wrong}");
        let request = pb::AuditRequest { cursor: wrong.into(), ..pb::AuditRequest::default() };
        let refused = auditor.audit(request).await.unwrap_err();
        assert_eq!((refused.code(), &*field(&refused)), (Code::InvalidArgument, "cursor"), "{wrong}");
    }
    let both = pb::SubscribeRequest { from_beginning: true, ..after(&foreign) };
    let refused = subscribe(&auditor, both).await.unwrap_err();
    assert_eq!((refused.code(), &*field(&refused)), (Code::InvalidArgument, "from_beginning"));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_cursor_into_what_retention_removed_is_told_apart_from_a_foreign_one() {
    let small = |settings: &mut countersign::journal::Settings| {
        settings.segment_bytes = 64 << 10;
        settings.record_bytes_max = 32 << 10;
    };
    let server = TestServer::with(Options { journal: small, ..with_heartbeat() }).await;
    let (agent, auditor) = (server.client("report-bot").await, server.client("erin").await);
    let pending = agent.authorize(export()).await.unwrap().approval.unwrap();
    let first = next(&mut subscribe(&auditor, beginning()).await.unwrap()).await;
    let batch = pb::AuthorizeBatchRequest { queries: vec![query("read", "Dataset", "weather"); 100] };
    for _ in 0..10 {
        agent.stub.clone().authorize_batch(batch.clone()).await.unwrap();
    }
    // The approval that is still open keeps the segment in which it was opened, and with it all that came after.
    let (dir, clock) = server.stop().await;
    let tiny = countersign::server::Retention { max_age: None, max_bytes: Some(1) };
    let server = TestServer::on(dir, clock, Options { journal: small, retention: tiny, ..with_heartbeat() }).await;
    let auditor = server.client("erin").await;
    subscribe(&auditor, after(&first.cursor)).await.expect("nothing is gone while the approval is open");
    server.client("report-bot").await.cancel(&pending.id).await.unwrap();
    let (dir, clock) = server.stop().await;
    let server = TestServer::on(dir, clock, Options { journal: small, retention: tiny, ..with_heartbeat() }).await;
    let auditor = server.client("erin").await;
    let refused = timeout(PATIENCE, async {
        loop {
            match subscribe(&auditor, after(&first.cursor)).await {
                Err(refused) => return refused,
                // Retention runs beside the start.
                Ok(stream) => drop(stream),
            }
        }
    });
    let refused = refused.await.expect("retention in time");
    assert_eq!((refused.code(), &*reason(&refused)), (Code::FailedPrecondition, "cursor_trimmed"));
    // It may still go on: what was the oldest a moment ago can be gone.
    let oldest = timeout(PATIENCE, async {
        loop {
            let event = subscribe(&auditor, beginning()).await.unwrap().message().await;
            match event {
                Ok(event) => return event.unwrap().record.unwrap().sequence,
                Err(status) => assert_eq!(reason(&status), "cursor_trimmed"),
            }
        }
    });
    let oldest = oldest.await.expect("retention in time");
    assert!(oldest > 1, "the beginning is the oldest record that is left");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_subscription_ends_with_its_token_and_with_the_server() {
    let server = TestServer::with(with_heartbeat()).await;
    let mut stream = subscribe(&server.client("erin").await, after("")).await.unwrap();
    server.advance(Duration::from_secs(2 * 3_600));
    let ended = timeout(PATIENCE, async {
        loop {
            if let Err(status) = stream.message().await {
                return status;
            }
        }
    });
    let ended = ended.await.unwrap();
    assert_eq!((ended.code(), &*reason(&ended)), (Code::Unauthenticated, "expired"));
    let mut stream = subscribe(&server.client("erin").await, after("")).await.unwrap();
    let stopped = tokio::spawn(server.stop());
    let ended = timeout(PATIENCE, async {
        loop {
            if let Err(status) = stream.message().await {
                return status;
            }
        }
    });
    let ended = ended.await.unwrap();
    assert_eq!((ended.code(), &*reason(&ended)), (Code::Unavailable, "shutting_down"));
    stopped.await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn only_those_whom_policy_lets_may_follow_or_audit() {
    let server = TestServer::start().await;
    for who in ["report-bot", "alice", "frank"] {
        let client = server.client(who).await;
        let refused = subscribe(&client, beginning()).await.unwrap_err();
        assert_eq!((refused.code(), &*reason(&refused)), (Code::PermissionDenied, "not_permitted"), "{who}");
        let refused = client.audit(pb::AuditRequest::default()).await.unwrap_err();
        assert_eq!((refused.code(), &*reason(&refused)), (Code::PermissionDenied, "not_permitted"), "{who}");
    }
}

/// Pages of an audit until nothing comes any more.
async fn pages(auditor: &Client, mut request: pb::AuditRequest) -> Vec<pb::Record> {
    let mut all = Vec::new();
    loop {
        let mut stream = auditor.stub.clone().audit(request.clone()).await.unwrap().into_inner();
        let mut count = 0;
        while let Some(answer) = stream.message().await.unwrap() {
            request.cursor = answer.cursor;
            all.extend(answer.record);
            count += 1;
        }
        if count == 0 {
            return all;
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn an_audit_pages_through_everything_once_in_either_order_by_index_or_by_scan() {
    let server = TestServer::start().await;
    let (agent, pipeline) = (server.client("report-bot").await, server.client("ci-pipeline").await);
    for _ in 0..10 {
        read_often(&agent, 2).await;
        read_often(&pipeline, 1).await;
        agent.authorize(query("drop", "Database", "warehouse")).await.unwrap();
    }
    let auditor = server.client("erin").await;
    let agents = Some(crate::support::client::uid("Agent", "report-bot"));
    let denied = vec![pb::Outcome::Deny.into()];
    let filters = [
        (pb::Filter { principal: agents.clone(), ..pb::Filter::default() }, 30),
        (pb::Filter { outcomes: denied.clone(), ..pb::Filter::default() }, 10),
        (pb::Filter { principal: agents, outcomes: denied, ..pb::Filter::default() }, 10),
    ];
    for (filter, count) in filters {
        let request = |order: pb::Order, limit| pb::AuditRequest {
            filter: Some(filter.clone()),
            order: order.into(),
            limit,
            ..pb::AuditRequest::default()
        };
        for limit in [1, 7, 10, 100] {
            let oldest = pages(&auditor, request(pb::Order::OldestFirst, limit)).await;
            assert_eq!(oldest.len(), count, "{filter:?} by {limit}");
            assert!(oldest.is_sorted_by(|one, next| one.sequence < next.sequence));
            let mut newest = pages(&auditor, request(pb::Order::NewestFirst, limit)).await;
            newest.reverse();
            assert_eq!(newest, oldest, "{filter:?} by {limit}");
        }
    }
}
