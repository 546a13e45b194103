//! Servers that die or stop in the middle of everything, while the others go on.

use std::time::Duration;

use countersign::wire::pb;
use futures_util::future::join_all;
use tonic::Code;

use super::fleet::{Fleet, ROTATION, Store};
use super::load::{Load, export, rotation};
use super::{WORKERS, account, assert_sound, journaled, timed};
use crate::support::client::wait;
use crate::support::redis::{Redis, until};

const KILLS: usize = 4;
const BURST: i64 = 100;
const BURST_FROM: i64 = 1_000_000;

/// A store whose replicas take over from each other sooner than by default.
fn hasty(redis: &Redis) -> Store {
    Store::alone(&redis.url()).and("journal_lease = \"1s\"")
}

/// Many openings at once at a server, for which nobody waits: it dies with some of them between Redis and its disk.
async fn burst(fleet: &Fleet, place: usize, round: usize) {
    let agent = fleet.client(place, "report-bot").await;
    for number in 0..BURST {
        let agent = agent.clone();
        let number = BURST_FROM + (round as i64) * BURST + number;
        tokio::spawn(async move { agent.authorize(export(number, "burst")).await });
    }
    tokio::time::sleep(Duration::from_millis(15)).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn kill_9_of_one_replica_after_the_other_hides_nothing_and_doubles_nothing() {
    let redis = Redis::start().await;
    let mut fleet = Fleet::prepare(3, &hasty(&redis), "[limits]\npending_per_principal_max = 10000\n").await;
    for place in 0..3 {
        fleet.start_one(place, &[]).await;
    }
    fleet.ready().await;
    let running = Load::on(&fleet).run(WORKERS);
    for round in 0..KILLS {
        running.load.more(5).await;
        burst(&fleet, round % 3, round).await;
        fleet.kill(round % 3).await;
        // The next one dies while this one is still away.
        if round > 0 {
            fleet.start_one((round - 1) % 3, &[]).await;
        }
    }
    fleet.start_one((KILLS - 1) % 3, &[]).await;
    running.load.more(10).await;
    let load = running.finish().await;
    fleet.ready().await;
    journaled(&[&redis]).await;
    assert_sound(&account(fleet, &load).await, &load);
}

#[tokio::test(flavor = "multi_thread")]
async fn fault_57_whoever_is_left_expires_what_is_due_and_wakes_who_waits() {
    let redis = Redis::start().await;
    let mut fleet = Fleet::start(3, &hasty(&redis)).await;
    let waiting = {
        let pipeline = fleet.client(2, "ci-pipeline").await;
        let opened = (0..20).map(|number| {
            let pipeline = pipeline.clone();
            async move {
                let approval = pipeline.authorize(rotation(number, "ask")).await.unwrap().approval.unwrap();
                let request = pb::AuthorizeRequest {
                    approval_id: approval.id.clone(),
                    wait: wait(Duration::from_secs(20)),
                    ..rotation(number, "use")
                };
                (approval, pipeline.authorize(request).await)
            }
        });
        tokio::spawn(join_all(opened.collect::<Vec<_>>()))
    };
    tokio::time::sleep(ROTATION / 4).await;
    fleet.kill(0).await;
    fleet.kill(1).await;
    let (ended, took) = timed(waiting).await;
    assert!(took < ROTATION + Duration::from_secs(1), "told after {took:?}");
    for (approval, answer) in ended.unwrap() {
        let answer = answer.unwrap();
        assert_eq!((answer.outcome(), &*answer.reason), (pb::Outcome::Deny, "approval_expired"), "{}", approval.id);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_server_that_was_stopped_over_a_deadline_neither_takes_a_vote_nor_hands_out_a_grant() {
    let redis = Redis::start().await;
    let fleet = Fleet::start(2, &hasty(&redis)).await;
    let pipeline = fleet.client(1, "ci-pipeline").await;
    let approval = pipeline.authorize(rotation(1, "ask")).await.unwrap().approval.unwrap();
    let dave = fleet.client(0, "dave").await;
    fleet.server(0).pause();
    // Its vote arrives while it sleeps, in time; it wakes up too late.
    let vote = tokio::spawn({
        let (dave, approval) = (dave.clone(), approval.clone());
        async move { dave.approve(&approval).await }
    });
    until("expired", async || fleet.show(1, &approval.id).await.state() == pb::ApprovalState::Expired).await;
    fleet.server(0).resume();
    let late = vote.await.unwrap().expect_err("too late");
    assert_eq!(late.code(), Code::FailedPrecondition, "{late:?}");
    assert_eq!(fleet.show(0, &approval.id).await.state(), pb::ApprovalState::Expired);
}

#[tokio::test(flavor = "multi_thread")]
async fn servers_that_are_stopped_in_turn_lose_nothing() {
    let redis = Redis::start().await;
    let fleet = Fleet::start(3, &hasty(&redis)).await;
    let running = Load::on(&fleet).run(WORKERS);
    for round in 0..3 {
        running.load.more(4).await;
        fleet.server(round).pause();
        // Longer than its lease: others take over what it was about to journal.
        tokio::time::sleep(Duration::from_millis(1_500)).await;
        fleet.server(round).resume();
    }
    running.load.more(6).await;
    let load = running.finish().await;
    journaled(&[&redis]).await;
    assert_sound(&account(fleet, &load).await, &load);
}
