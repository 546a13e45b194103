//! Clocks that disagree: those of the servers with each other, and all of them with the one that decides, Redis's.

use std::path::Path;
use std::time::Duration;

use countersign::wire::pb;
use tonic::Code;

use super::fleet::{Fleet, ROTATION, Store};
use super::load::{Load, export, rotation};
use super::{WORKERS, account, assert_sound, journaled};
use crate::support::client::wait;
use crate::support::redis::{Redis, until};

/// As the dynamic linker finds it.
const FAKETIME: &str = "/usr/$LIB/faketime/libfaketime.so.1";

/// What `$LIB` may stand for.
fn libraries() -> impl Iterator<Item = String> {
    ["lib", "lib64"].map(str::to_owned).into_iter().chain([format!("lib/{}-linux-gnu", std::env::consts::ARCH)])
}

/// Three servers whose clocks are so far from the machine's.
async fn askew(redis: &Redis, offsets: [&str; 3]) -> Fleet {
    askew_with(redis, offsets, "").await
}

/// The same with more of the configuration.
async fn askew_with(redis: &Redis, offsets: [&str; 3], sections: &str) -> Fleet {
    let mut fleet = Fleet::prepare(3, &Store::alone(&redis.url()), sections).await;
    let preload = format!("LD_PRELOAD={FAKETIME}");
    assert!(
        libraries().any(|dir| Path::new(&FAKETIME.replace("$LIB", &dir)).exists()),
        "install what tests/tools names"
    );
    for (place, offset) in offsets.into_iter().enumerate() {
        // Not by the command `faketime`: that is a process of its own, and signals are meant for the server.
        fleet.start_one(place, &["/usr/bin/env", &preload, &format!("FAKETIME={offset}")]).await;
    }
    fleet.ready().await;
    fleet
}

#[tokio::test(flavor = "multi_thread")]
async fn fault_33_replicas_200_ms_and_5_s_apart_agree_on_every_deadline() {
    let redis = Redis::start().await;
    let fleet = askew(&redis, ["+0.2s", "-5s", "+5s"]).await;
    let running = Load::on(&fleet).run(WORKERS);
    running.load.more(25).await;
    let load = running.finish().await;
    journaled(&[&redis]).await;
    assert_sound(&account(fleet, &load).await, &load);
}

#[tokio::test(flavor = "multi_thread")]
async fn fault_12_a_server_an_hour_ahead_or_behind_expires_nothing_early_or_late() {
    let redis = Redis::start().await;
    let fleet = askew(&redis, ["+1h", "-1h", "+0s"]).await;
    // Each server judges credentials by its own clock, and approvals by Redis'.
    let client = async |place: usize, who: &str| fleet.client_ahead(place, who, [3_600, -3_600, 0][place]).await;
    let pipeline = client(2, "ci-pipeline").await;
    let open = pipeline.authorize(rotation(1, "ask")).await.unwrap().approval.unwrap();
    for place in 0..3 {
        let shown = client(place, "erin").await.get(&open.id).await.expect("an approval");
        assert_eq!(shown.state(), pb::ApprovalState::Pending, "at replica {place}");
    }
    // Opened by the one whose clock is ahead, approved by the one whose clock is behind.
    let ahead = client(0, "report-bot").await;
    let approval = ahead.authorize(export(1, "ask")).await.unwrap().approval.unwrap();
    let mut voted = None;
    for who in ["alice", "bob"] {
        voted = Some(client(1, who).await.approve(&approval).await.unwrap());
    }
    assert_eq!(voted.unwrap().state(), pb::ApprovalState::Approved);
    let request = pb::AuthorizeRequest {
        approval_id: open.id.clone(),
        wait: wait(ROTATION + Duration::from_secs(5)),
        ..rotation(1, "use")
    };
    let answer = pipeline.authorize(request).await.unwrap();
    assert_eq!(answer.reason, "approval_expired");
    for place in 0..3 {
        let late = client(place, "dave").await.approve(&open).await.unwrap_err();
        assert_eq!(late.code(), Code::FailedPrecondition, "{late:?}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn expiry_is_told_everywhere_soon_after_the_deadline() {
    let redis = Redis::start().await;
    let fleet = Fleet::start(2, &Store::alone(&redis.url())).await;
    let pipeline = fleet.client(0, "ci-pipeline").await;
    let approval = pipeline.authorize(rotation(1, "ask")).await.unwrap().approval.unwrap();
    let at = |approval: &pb::Approval| approval.deadline.map(|at| at.seconds * 1_000 + i64::from(at.nanos) / 1_000_000);
    let deadline = at(&approval).expect("a deadline");
    let request = pb::AuthorizeRequest {
        approval_id: approval.id.clone(),
        wait: wait(Duration::from_secs(10)),
        ..rotation(1, "use")
    };
    let other = fleet.client(1, "ci-pipeline").await;
    assert_eq!(other.authorize(request).await.unwrap().reason, "approval_expired");
    let now = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).unwrap().as_millis() as i64;
    // 100 ms by design; the rest is what a busy machine takes.
    assert!((0..1_000).contains(&(now - deadline)), "told {} ms after the deadline", now - deadline);
    until("shown", async || fleet.show(0, &approval.id).await.state() == pb::ApprovalState::Expired).await;
}

/// Who logged in must not be held to be fresh because the clock that decides about approvals is behind: the other one counts too.
#[tokio::test(flavor = "multi_thread")]
async fn a_login_that_is_too_old_by_the_servers_clock_or_by_redis_reviews_nothing() {
    const MINUTE: i64 = 60;
    let redis = Redis::start().await;
    let rules = "[review]\nlow = { max_authentication_age = \"15m\" }\n";
    let fleet = askew_with(&redis, ["+1h", "-1h", "+0s"], rules).await;
    let agent = fleet.client(2, "report-bot").await;
    let approval = agent.authorize(export(1, "ask")).await.unwrap().approval.unwrap();
    for (place, logged_in, what) in [
        (0, 40 * MINUTE, "20 minutes ago by the server, and yet to come by redis"),
        (1, -60 * MINUTE, "now by the server, and an hour ago by redis"),
        (2, -20 * MINUTE, "20 minutes ago by both"),
    ] {
        let alice = fleet.client_ahead(place, "alice", logged_in).await;
        let refused = alice.approve(&approval).await.expect_err(what);
        assert!(format!("{refused:?}").contains("max_age"), "{what}: {refused:?}");
    }
    let votes = [(0, "alice", 60 * MINUTE), (2, "bob", 0)];
    for (place, who, logged_in) in votes {
        fleet.client_ahead(place, who, logged_in).await.approve(&approval).await.expect("a fresh login by both clocks");
    }
}
