//! Redis out of reach: what needs approval is refused at once, what does not is answered, and all is well soon after.

use std::time::{Duration, Instant};

use countersign::wire::pb;
use tonic::{Code, Status};
use tonic_health::pb::health_check_response::ServingStatus;

use super::fleet::{Fleet, Store};
use super::load::{Load, export, rotation};
use super::{WORKERS, account, assert_sound, patiently, timed};
use crate::support::Client;
use crate::support::client::{query, wait};
use crate::support::redis::proxy::Mode;
use crate::support::redis::{Cluster, Proxy, Redis, until};

/// DESIGN: refused within 250 ms; the rest is what a busy machine takes.
const REFUSED: Duration = Duration::from_millis(250 + 500);
/// Once it is known that Redis is away nobody asks it.
const KNOWN: Duration = Duration::from_millis(150);
const RECOVERED: Duration = Duration::from_secs(5);

/// A Redis behind a proxy, and replicas that know only the proxy.
struct Scene {
    redis: Redis,
    way: Proxy,
    fleet: Fleet,
}

impl Scene {
    async fn of(replicas: usize) -> Self {
        let redis = Redis::start().await;
        let way = Proxy::to(redis.port).await;
        let fleet = Fleet::start(replicas, &Store::alone(&way.url()).prompt()).await;
        Self { redis, way, fleet }
    }
}

fn plain() -> pb::AuthorizeRequest {
    query("read", "Dataset", "weather")
}

#[track_caller]
fn assert_closed(result: Result<pb::AuthorizeResponse, Status>) {
    match result {
        Ok(answer) => panic!("answered {:?} {}", answer.outcome(), answer.reason),
        Err(status) => assert_eq!(status.code(), Code::Unavailable, "{status:?}"),
    }
}

/// While Redis is away: closed for what needs approval, within the time; open for what does not.
async fn assert_static_stability(agent: &Client) {
    let (first, took) = timed(agent.authorize(export(1_000, "away"))).await;
    assert_closed(first);
    assert!(took < REFUSED, "refused after {took:?}");
    let mut waits = Vec::new();
    for number in 0..5 {
        let (more, took) = timed(agent.authorize(export(1_001 + number, "away"))).await;
        assert_closed(more);
        waits.push(took);
    }
    waits.sort_unstable();
    assert!(waits[2] < KNOWN, "known to be away, and still: {waits:?}");
    for _ in 0..5 {
        let (answer, took) = timed(agent.authorize(plain())).await;
        assert_eq!(answer.unwrap().outcome(), pb::Outcome::Allow);
        assert!(took < KNOWN, "what needs no approval took {took:?}");
    }
}

async fn assert_recovers(agent: &Client, number: i64) {
    let back = Instant::now();
    until("recovered", async || agent.authorize(export(number, "back")).await.is_ok()).await;
    assert!(back.elapsed() < RECOVERED, "recovered after {:?}", back.elapsed());
}

#[tokio::test(flavor = "multi_thread")]
async fn fault_01_without_redis_a_server_starts_answers_what_needs_no_approval_and_finds_it_when_it_comes() {
    let mut redis = Redis::start().await;
    redis.kill();
    // Nobody puts entities: none have to be known.
    let none_put = "[limits]\nput_entities_max = 0\n";
    let mut fleet = Fleet::prepare(1, &Store::alone(&redis.url()).prompt(), none_put).await;
    fleet.start_one(0, &[]).await;
    until("issuer", async || fleet.health(0, "issuer.test").await == Some(ServingStatus::Serving)).await;
    assert_eq!(fleet.health(0, "store").await, Some(ServingStatus::NotServing));
    let agent = fleet.client(0, "report-bot").await;
    assert_static_stability(&agent).await;
    redis.start_again().await;
    assert_recovers(&agent, 1).await;
    fleet.until_store(ServingStatus::Serving).await;
}

/// One outage of a kind: before it people are waited for, during it is closed, after it who waited is answered.
async fn outage(away: Mode) {
    let Scene { redis: _redis, way, fleet } = Scene::of(2).await;
    let (agent, other) = (fleet.client(0, "report-bot").await, fleet.client(1, "report-bot").await);
    let approval = patiently(|| agent.authorize(export(1, "ask"))).await.approval.unwrap();
    let waiting = tokio::spawn({
        let agent = agent.clone();
        let request = pb::AuthorizeRequest {
            approval_id: approval.id.clone(),
            wait: wait(Duration::from_secs(30)),
            ..export(1, "use")
        };
        async move {
            // One whose call was ended by the outage comes again, under the same key.
            loop {
                match agent.authorize(request.clone()).await {
                    Ok(answer) => return answer,
                    Err(status) => assert_eq!(status.code(), Code::Unavailable, "{status:?}"),
                }
                tokio::time::sleep(Duration::from_millis(100)).await;
            }
        }
    });
    way.set(away);
    assert_static_stability(&other).await;
    let (alice, bob) = (fleet.client(0, "alice").await, fleet.client(1, "bob").await);
    let refused = alice.approve(&approval).await.expect_err("no vote without a store");
    assert_eq!(refused.code(), Code::Unavailable, "{refused:?}");
    way.set(Mode::Pass);
    assert_recovers(&other, 2).await;
    until("a vote", async || alice.approve(&approval).await.is_ok()).await;
    until("a vote", async || bob.approve(&approval).await.is_ok()).await;
    let (answer, took) = timed(waiting).await;
    assert_eq!(answer.unwrap().outcome(), pb::Outcome::Allow);
    assert!(took < RECOVERED, "the waiter was told {took:?} after the vote");
}

#[tokio::test(flavor = "multi_thread")]
async fn fault_02_redis_goes_and_comes_back_and_no_waiter_is_dropped() {
    outage(Mode::Refuse).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn fault_03_a_slow_redis_holds_up_nobody_who_does_not_need_it() {
    outage(Mode::Delay(Duration::from_secs(2))).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn fault_04_a_black_hole_is_noticed() {
    outage(Mode::Swallow).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn fault_08_scripts_flushed_and_slots_moved_away_are_not_noticed() {
    let cluster = Cluster::start().await;
    let fleet = Fleet::start(2, &Store::cluster(&cluster)).await;
    let running = Load::on(&fleet).run(WORKERS);
    running.load.more(5).await;
    for node in &cluster.nodes {
        node.ask::<()>(&["SCRIPT", "FLUSH"]).await;
    }
    running.load.more(5).await;
    // Every slot that holds something of the first node goes to the second, with all that is in it.
    cluster.hand_over(0, 1).await;
    running.load.more(10).await;
    let load = running.finish().await;
    assert_sound(&account(fleet, &load).await, &load);
}

#[tokio::test(flavor = "multi_thread")]
async fn fault_13_lost_hints_are_made_good_within_two_seconds() {
    let Scene { redis, way: _way, fleet } = Scene::of(2).await;
    let agent = fleet.client(0, "report-bot").await;
    let (alice, bob) = (fleet.client(1, "alice").await, fleet.client(1, "bob").await);
    for number in 0..3 {
        let approval = patiently(|| agent.authorize(export(number, "ask"))).await.approval.unwrap();
        let request = pb::AuthorizeRequest {
            approval_id: approval.id.clone(),
            wait: wait(Duration::from_secs(20)),
            ..export(number, "use")
        };
        let waiting = tokio::spawn({
            let agent = agent.clone();
            async move { agent.authorize(request).await }
        });
        patiently(|| alice.approve(&approval)).await;
        // Every connection that waits for hints is broken, just before the vote that matters.
        let clients: String = redis.ask(&["CLIENT", "LIST"]).await;
        for client in clients.lines().filter(|line| line.contains("cmd=xread")) {
            let id = client.split(' ').find_map(|field| field.strip_prefix("id=")).unwrap();
            let _: i64 = redis.ask(&["CLIENT", "KILL", "ID", id]).await;
        }
        patiently(|| bob.approve(&approval)).await;
        let (answer, took) = timed(waiting).await;
        assert_eq!(answer.unwrap().unwrap().outcome(), pb::Outcome::Allow);
        assert!(took < Duration::from_millis(2_500), "told {took:?} after the vote");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_redis_that_is_paused_again_and_again_loses_nothing() {
    let Scene { redis, way: _way, fleet } = Scene::of(3).await;
    let running = Load::on(&fleet).run(WORKERS);
    for _ in 0..3 {
        running.load.more(5).await;
        redis.pause();
        tokio::time::sleep(Duration::from_millis(700)).await;
        redis.resume();
    }
    running.load.more(10).await;
    let load = running.finish().await;
    super::journaled(&[&redis]).await;
    assert_sound(&account(fleet, &load).await, &load);
}

#[tokio::test(flavor = "multi_thread")]
async fn an_expiry_during_an_outage_is_told_after_it() {
    let Scene { redis: _redis, way, fleet } = Scene::of(2).await;
    let pipeline = fleet.client(0, "ci-pipeline").await;
    let approval = patiently(|| pipeline.authorize(rotation(1, "ask"))).await.approval.unwrap();
    way.set(Mode::Refuse);
    tokio::time::sleep(super::fleet::ROTATION).await;
    way.set(Mode::Pass);
    let by_id = pb::AuthorizeRequest { approval_id: approval.id.clone(), ..rotation(1, "use") };
    until("told", async || match pipeline.authorize(by_id.clone()).await {
        Ok(answer) => {
            assert_eq!(answer.reason, "approval_expired");
            true
        }
        Err(status) => status.code() != Code::Unavailable && panic!("{status:?}"),
    })
    .await;
    // The other server comes back in its own time.
    let dave = fleet.client(1, "dave").await;
    until("too late there as well", async || {
        let refused = dave.approve(&approval).await.unwrap_err();
        assert!(matches!(refused.code(), Code::FailedPrecondition | Code::Unavailable), "{refused:?}");
        refused.code() == Code::FailedPrecondition
    })
    .await;
}
