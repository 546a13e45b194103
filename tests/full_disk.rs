//! Fault 22 over gRPC: a journal that may not grow any more (its quota stands for the disk).

use std::time::Duration;

use countersign::journal;
use countersign::wire::pb;
use tonic::Code;

use crate::support::client::{export, long, query, string};
use crate::support::{Client, Options, TestServer};

/// Room for two segments, one of which is the reserve.
fn small_disk(settings: &mut journal::Settings) {
    settings.segment_bytes = 256 << 10;
    settings.record_bytes_max = 128 << 10;
    settings.reserve_bytes = 256 << 10;
    settings.quota_bytes = Some(3 * (256 << 10));
}

/// One of many exports with a record of many kilobytes.
fn large(number: i64) -> pb::AuthorizeRequest {
    let destination = ("destination".into(), string(&"x".repeat(20 << 10)));
    pb::AuthorizeRequest { context: [destination, ("rows".into(), long(number))].into(), ..export() }
}

/// Asks until the disk is full: first for much, then for what still fits behind it.
async fn fill(agent: &Client) {
    until_full(agent, (0..90).map(large)).await;
    until_full(agent, (0..200).map(|_| query("read", "Dataset", "weather"))).await;
}

async fn until_full(agent: &Client, queries: impl Iterator<Item = pb::AuthorizeRequest>) {
    for query in queries {
        match agent.authorize(query).await {
            Ok(_) => {}
            Err(status) if status.code() == Code::Unavailable => return,
            // The next segment is being made.
            Err(status) => assert_eq!(status.code(), Code::ResourceExhausted, "{status}"),
        }
    }
    panic!("the disk does not fill");
}

#[tokio::test(flavor = "multi_thread")]
async fn fault_22_a_full_disk_closes_what_opens_doors_and_goes_on_denying() {
    let server = TestServer::with(Options { journal: small_disk, ..Options::default() }).await;
    let agent = server.client("report-bot").await;
    let pending = agent.authorize(export()).await.unwrap().approval.unwrap();
    fill(&agent).await;
    for opens in [query("read", "Dataset", "weather"), large(1_000)] {
        let closed = agent.authorize(opens).await.unwrap_err();
        assert_eq!(closed.code(), Code::Unavailable, "{closed}");
    }
    let vote = server.client("alice").await.approve(&pending).await.unwrap_err();
    assert_eq!(vote.code(), Code::Unavailable, "{vote}");
    let denied = agent.authorize(query("drop", "Database", "warehouse")).await.unwrap();
    assert_eq!(denied.outcome(), pb::Outcome::Deny);
    // Expiry goes on from the reserve, and is on record.
    server.advance(Duration::from_secs(15 * 60));
    let expired = server.client("alice").await.get(&pending.id).await.unwrap();
    assert_eq!(expired.state(), pb::ApprovalState::Expired);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_disk_with_room_again_is_used_again() {
    let server = TestServer::with(Options { journal: small_disk, ..Options::default() }).await;
    fill(&server.client("report-bot").await).await;
    let (dir, clock) = server.stop().await;
    let roomy = |settings: &mut journal::Settings| {
        small_disk(settings);
        settings.quota_bytes = None;
    };
    let server = TestServer::on(dir, clock, Options { journal: roomy, ..Options::default() }).await;
    let allowed = server.client("report-bot").await.authorize(query("read", "Dataset", "weather")).await.unwrap();
    assert_eq!(allowed.outcome(), pb::Outcome::Allow);
}

#[tokio::test(flavor = "multi_thread")]
async fn time_goes_on_after_a_restart_where_it_was_though_the_wall_clock_is_behind() {
    let server = TestServer::start().await;
    let agent = server.client("report-bot").await;
    let pending = agent.authorize(export()).await.unwrap().approval.unwrap();
    server.advance(Duration::from_secs(14 * 60));
    agent.authorize(query("read", "Dataset", "weather")).await.unwrap();
    let (dir, clock) = server.stop().await;
    clock.jump(-3_600_000_000);
    let server = TestServer::on(dir, clock, Options::default()).await;
    server.advance(Duration::from_secs(60));
    let alice = countersign::web::dev_issuer::find("alice").unwrap();
    let token = server.minter().mint(alice, crate::support::today(), &serde_json::Map::new());
    let expired = Client::connect(&server.url(), &token).await.get(&pending.id).await.unwrap();
    assert_eq!(expired.state(), pb::ApprovalState::Expired, "an hour back gives nobody an hour more");
}
