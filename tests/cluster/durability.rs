//! Nothing that was acknowledged is lost: over failovers, too few replicas, a full Redis and one that forgot everything.

use std::time::Duration;

use countersign::wire::pb;
use futures_util::future::join_all;
use tonic::Code;
use tonic_health::pb::health_check_response::ServingStatus;

use super::fleet::{Fleet, Store};
use super::load::{Load, export};
use super::{SHARDS, WORKERS, account, assert_sound, journaled, patiently};
use crate::support::client::{query, reason};
use crate::support::redis::proxy::Mode;
use crate::support::redis::{Redis, Replicated, Sentinel, Spec, until};

/// Openings that are asked for while no replica of Redis can have them.
const ALONE: i64 = 8;

#[tokio::test(flavor = "multi_thread")]
async fn fault_05_a_failover_loses_nothing_that_was_acknowledged() {
    let mut sentinel = Sentinel::start(1).await;
    let fleet = Fleet::start(2, &Store::sentinel(&sentinel)).await;
    let load = Load::on(&fleet);
    let agent = fleet.client(0, "report-bot").await;
    // What the primary takes from now on dies with it.
    sentinel.group.link.set(Mode::Swallow);
    let alone = (0..ALONE).map(|number| agent.authorize(export(2_000_000 + number, "alone")));
    let acknowledged: Vec<_> = join_all(alone).await.into_iter().filter_map(Result::ok).collect();
    acknowledged.iter().for_each(|answer| load.note(answer));
    let running = load.run(WORKERS);
    sentinel.group.link.set(Mode::Refuse);
    let promoted = sentinel.fail_over().await;
    // Nobody is left to replicate to, until somebody is.
    let replacement = Redis::with(&Spec::default().following(promoted)).await;
    fleet.until_store(ServingStatus::Serving).await;
    running.load.more(20).await;
    let load = running.finish().await;
    journaled(&[sentinel.server(promoted)]).await;
    assert_sound(&account(fleet, &load).await, &load);
    assert!(acknowledged.is_empty(), "no replica had them: {acknowledged:?}");
    drop(replacement);
}

#[tokio::test(flavor = "multi_thread")]
async fn fault_06_too_few_acknowledgements_are_no_answer_and_the_same_question_finds_the_same_approval() {
    let group = Replicated::start(1).await;
    let fleet = Fleet::start(2, &Store::replicated(&group.primary.url())).await;
    let (agent, other) = (fleet.client(0, "report-bot").await, fleet.client(1, "report-bot").await);
    let approval = agent.authorize(export(1, "ask")).await.unwrap().approval.unwrap();
    fleet.client(0, "alice").await.approve(&approval).await.unwrap();
    let bob = fleet.client(1, "bob").await;
    group.link.set(Mode::Swallow);
    let vote = bob.approve(&approval).await.unwrap_err();
    assert_eq!(vote.code(), Code::Unavailable, "{vote:?}");
    // The vote may have counted at the primary; a grant that no replica knows of is not handed out.
    let by_id = pb::AuthorizeRequest { approval_id: approval.id.clone(), ..export(1, "use") };
    for client in [&agent, &other] {
        let unknown = client.authorize(by_id.clone()).await.expect_err("no grant");
        assert_eq!(unknown.code(), Code::Unavailable, "{unknown:?}");
        let unknown = client.authorize(export(2, "ask")).await.expect_err("no approval");
        assert_eq!(unknown.code(), Code::Unavailable, "{unknown:?}");
    }
    group.link.set(Mode::Refuse);
    group.link.set(Mode::Pass);
    group.in_step().await;
    until("the vote again", async || bob.approve(&approval).await.is_ok()).await;
    let answer = patiently(|| other.authorize(by_id.clone())).await;
    assert_eq!((answer.outcome(), &*answer.reason), (pb::Outcome::Allow, "granted"));
    let again = patiently(|| agent.authorize(by_id.clone())).await;
    assert_eq!(again.decision_id, answer.decision_id);
    let first = patiently(|| agent.authorize(export(2, "ask"))).await.approval.unwrap();
    let second = patiently(|| other.authorize(export(2, "ask again"))).await.approval.unwrap();
    assert_eq!(first.id, second.id, "what was unknown is one approval");
}

#[tokio::test(flavor = "multi_thread")]
async fn replicated_without_a_replica_does_not_serve_what_needs_approval() {
    let redis = Redis::start().await;
    let fleet = Fleet::prepare(1, &Store::replicated(&redis.url()), "").await;
    let said = fleet.refused(0).await;
    assert!(said.contains("replica"), "{said}");
}

#[tokio::test(flavor = "multi_thread")]
async fn fault_10_a_redis_that_forgets_when_memory_is_short_is_refused_at_the_start() {
    let spec = Spec::default().set("maxmemory", "100mb").set("maxmemory-policy", "allkeys-lru");
    let redis = Redis::with(&spec).await;
    let fleet = Fleet::prepare(1, &Store::alone(&redis.url()), "").await;
    let said = fleet.refused(0).await;
    assert!(said.contains("noeviction"), "{said}");
}

#[tokio::test(flavor = "multi_thread")]
async fn fault_09_a_full_redis_opens_nothing_more_and_still_takes_votes_uses_and_expiries() {
    let redis = Redis::start().await;
    let fleet = Fleet::start(2, &Store::alone(&redis.url())).await;
    let (agent, pipeline) = (fleet.client(0, "report-bot").await, fleet.client(1, "ci-pipeline").await);
    let approval = agent.authorize(export(1, "ask")).await.unwrap().approval.unwrap();
    let rotating = pipeline.authorize(super::load::rotation(1, "ask")).await.unwrap().approval.unwrap();
    redis.ask::<()>(&["CONFIG", "SET", "maxmemory", "1mb"]).await;
    let full = agent.authorize(export(2, "ask")).await.unwrap_err();
    assert_eq!(full.code(), Code::ResourceExhausted, "{full:?}");
    fleet.client(1, "alice").await.approve(&approval).await.expect("a vote");
    fleet.client(0, "bob").await.approve(&approval).await.expect("a vote");
    let by_id = pb::AuthorizeRequest { approval_id: approval.id.clone(), ..export(1, "use") };
    assert_eq!(agent.authorize(by_id).await.unwrap().outcome(), pb::Outcome::Allow);
    until("expired", async || fleet.show(0, &rotating.id).await.state() == pb::ApprovalState::Expired).await;
    assert_eq!(agent.authorize(query("read", "Dataset", "weather")).await.unwrap().outcome(), pb::Outcome::Allow);
    redis.ask::<()>(&["CONFIG", "SET", "maxmemory", "0"]).await;
    until("room again", async || agent.authorize(export(2, "ask")).await.is_ok()).await;
}

/// Approvals that wait for people, by what Redis counts.
async fn pending(redis: &Redis) -> i64 {
    let mut pending = 0;
    for shard in 0..SHARDS {
        let head = format!("{{countersign:{shard:x}}}h");
        pending += redis.ask::<Option<i64>>(&["HGET", &head, "pending"]).await.unwrap_or_default();
    }
    pending
}

#[tokio::test(flavor = "multi_thread")]
async fn fault_09_under_load_what_was_open_comes_to_its_end_in_a_full_redis_and_all_goes_on_with_room() {
    let redis = Redis::start().await;
    let fleet = Fleet::start(2, &Store::alone(&redis.url())).await;
    let running = Load::on(&fleet).run(WORKERS);
    running.load.more(10).await;
    for _ in 0..2 {
        redis.ask::<()>(&["CONFIG", "SET", "maxmemory", "1mb"]).await;
        let refused = |load: &Load| load.failures().keys().any(|why| why.starts_with("ResourceExhausted"));
        until("openings are refused", async || refused(&running.load)).await;
        // Votes, withdrawals, expiries and uses go on, whatever else is asked for meanwhile.
        until("nothing is open any more", async || pending(&redis).await == 0).await;
        for place in 0..2 {
            let plain = fleet.client(place, "report-bot").await.authorize(query("read", "Dataset", "weather")).await;
            assert_eq!(plain.unwrap().outcome(), pb::Outcome::Allow);
        }
        redis.ask::<()>(&["CONFIG", "SET", "maxmemory", "0"]).await;
        running.load.more(10).await;
    }
    let load = running.finish().await;
    journaled(&[&redis]).await;
    assert_sound(&account(fleet, &load).await, &load);
}

#[tokio::test(flavor = "multi_thread")]
async fn fault_29_under_load_an_old_copy_of_redis_is_found_out_and_what_it_lacks_is_denied_on_record() {
    let mut redis = Redis::start().await;
    let mut fleet = Fleet::start(2, &Store::alone(&redis.url())).await;
    let running = Load::on(&fleet).over_a_loss().run(WORKERS);
    running.load.more(10).await;
    // What it starts again from.
    redis.ask::<()>(&["SAVE"]).await;
    running.load.more(20).await;
    redis.start_again().await;
    fleet.until_store(ServingStatus::NotServing).await;
    // The load goes on asking, at both; nothing that needs approval is answered by what is there.
    let told = running.load.told().len();
    tokio::time::sleep(Duration::from_millis(500)).await;
    assert_eq!(running.load.told().len(), told, "nothing is told");
    fleet.terminate(0).await;
    let other = fleet.journal(1).display().to_string();
    let output = fleet.store_command(0, &["reconcile", "--journal", &other]);
    let said = String::from_utf8_lossy(&output.stdout).into_owned() + &String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{said}");
    fleet.start_one(0, &[]).await;
    fleet.ready().await;
    running.load.more(20).await;
    let load = running.finish().await;
    journaled(&[&redis]).await;
    let checked = fleet.store_command(0, &["fsck"]);
    assert!(checked.status.success(), "{}", String::from_utf8_lossy(&checked.stdout));
    assert_sound(&account(fleet, &load).await, &load);
}

#[tokio::test(flavor = "multi_thread")]
async fn fault_29_a_redis_that_forgot_everything_opens_nothing_until_somebody_reconciles() {
    let redis = Redis::start().await;
    let mut fleet = Fleet::start(2, &Store::alone(&redis.url())).await;
    let agent = fleet.client(0, "report-bot").await;
    let (pending, granted) = (
        agent.authorize(export(1, "ask")).await.unwrap().approval.unwrap(),
        agent.authorize(export(2, "ask")).await.unwrap().approval.unwrap(),
    );
    fleet.client(0, "alice").await.approve(&granted).await.unwrap();
    fleet.client(1, "bob").await.approve(&granted).await.unwrap();
    redis.ask::<()>(&["FLUSHALL"]).await;
    fleet.until_store(ServingStatus::NotServing).await;
    for place in 0..2 {
        let agent = fleet.client(place, "report-bot").await;
        // Neither the one that was granted nor a new one in its place.
        for request in [pb::AuthorizeRequest { approval_id: granted.id.clone(), ..export(2, "use") }, export(2, "anew")]
        {
            let closed = agent.authorize(request).await.expect_err("nothing is known");
            assert_eq!(closed.code(), Code::Unavailable, "{closed:?}");
        }
        let answer = agent.authorize(query("read", "Dataset", "weather")).await.unwrap();
        assert_eq!(answer.outcome(), pb::Outcome::Allow);
    }
    // A server that starts on it now knows from its journal.
    fleet.kill(0).await;
    fleet.start_one(0, &[]).await;
    until("the store of the new one", async || fleet.health(0, "store").await == Some(ServingStatus::NotServing)).await;
    until("the issuer", async || fleet.health(0, "issuer.test").await == Some(ServingStatus::Serving)).await;
    let agent = fleet.client(0, "report-bot").await;
    assert_eq!(agent.authorize(export(2, "anew")).await.expect_err("still").code(), Code::Unavailable);
    reconcile(fleet, &pending.id, &granted.id).await;
}

/// What vanished is said and denied; then all goes on.
async fn reconcile(mut fleet: Fleet, pending: &str, granted: &str) {
    fleet.terminate(0).await;
    fleet.terminate(1).await;
    let other = fleet.journal(1).display().to_string();
    let output = fleet.store_command(0, &["reconcile", "--journal", &other]);
    let said = String::from_utf8_lossy(&output.stdout).into_owned() + &String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success() && said.contains(pending) && said.contains(granted), "{said}");
    for place in 0..2 {
        fleet.start_one(place, &[]).await;
    }
    fleet.ready().await;
    let agent = fleet.client(1, "report-bot").await;
    for (number, id) in [(1, pending), (2, granted)] {
        let by_id = pb::AuthorizeRequest { approval_id: id.into(), ..export(number, "after") };
        match agent.authorize(by_id).await {
            Ok(answer) => assert_eq!(answer.outcome(), pb::Outcome::Deny, "{}", answer.reason),
            Err(status) => assert_eq!(&*reason(&status), "not_found", "{status:?}"),
        }
    }
    agent.authorize(export(5, "ask")).await.expect("all goes on");
    let checked = fleet.store_command(0, &["fsck"]);
    assert!(checked.status.success(), "{}", String::from_utf8_lossy(&checked.stdout));
}
