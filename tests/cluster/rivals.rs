//! Callers who want the same thing at the same moment, at different replicas.

use std::time::Duration;

use countersign::wire::pb;
use futures_util::future::join_all;
use tonic::{Code, Status};

use super::checker::History;
use super::fleet::{Fleet, Store};
use super::load::{export, rotation};
use super::timed;
use crate::support::Client;
use crate::support::client::wait;
use crate::support::redis::Redis;

const REDEEMERS: usize = 10;
const ROUNDS: i64 = 300;
/// Rounds under way at the same time.
const ABREAST: i64 = 10;

async fn everywhere(fleet: &Fleet, who: &str) -> Vec<Client> {
    join_all((0..fleet.size()).map(|place| fleet.client(place, who))).await
}

/// One approval, countersigned at two replicas, and wanted by ten at all of them: who is let act?
async fn round(clients: &Clients, number: i64) -> usize {
    let approval = clients.agents[0].authorize(export(number, "ask")).await.unwrap().approval.unwrap();
    clients.alices[1].approve(&approval).await.unwrap();
    clients.bobs[0].approve(&approval).await.unwrap();
    let uses = (0..REDEEMERS).zip(clients.agents.iter().cycle()).map(|(who, agent)| {
        let step = format!("use-{who}");
        let request = pb::AuthorizeRequest { approval_id: approval.id.clone(), ..export(number, &step) };
        async move { agent.authorize(request).await.expect("an answer") }
    });
    let answers = join_all(uses).await;
    let allowed = answers.iter().filter(|answer| answer.outcome() == pb::Outcome::Allow).count();
    let denied = answers.iter().filter(|answer| answer.reason == "grant_consumed").count();
    assert_eq!(allowed + denied, REDEEMERS);
    allowed
}

struct Clients {
    agents: Vec<Client>,
    alices: Vec<Client>,
    bobs: Vec<Client>,
}

#[tokio::test(flavor = "multi_thread")]
async fn fault_52_of_ten_redeemers_at_two_replicas_one_wins_every_time() {
    let redis = Redis::start().await;
    let fleet = Fleet::start(2, &Store::alone(&redis.url())).await;
    let clients = Clients {
        agents: everywhere(&fleet, "report-bot").await,
        alices: everywhere(&fleet, "alice").await,
        bobs: everywhere(&fleet, "bob").await,
    };
    let mut all = Vec::new();
    for first in (0..ROUNDS).step_by(ABREAST as usize) {
        let winners = join_all((first..first + ABREAST).map(|number| round(&clients, number))).await;
        all.extend(winners);
    }
    let ended = fleet.end().await;
    let violations = History::of_journals(&ended.journals()).check().violations;
    assert!(violations.is_empty(), "{violations:#?}");
    assert!(all.iter().all(|winners| *winners == 1), "{all:?}");
}

/// What a vote or a withdrawal came to: what it made of the approval, or what it found.
fn outcome(result: Result<pb::Approval, Status>) -> Option<pb::ApprovalState> {
    match result {
        Ok(approval) => Some(approval.state()),
        Err(status) => {
            assert_eq!(status.code(), Code::FailedPrecondition, "{status:?}");
            None
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn fault_50_approval_rejection_and_withdrawal_at_three_replicas_have_one_outcome() {
    let redis = Redis::start().await;
    let fleet = Fleet::start(3, &Store::alone(&redis.url())).await;
    let (agents, alices, bobs) =
        (everywhere(&fleet, "report-bot").await, everywhere(&fleet, "alice").await, everywhere(&fleet, "bob").await);
    let mut seen = std::collections::BTreeSet::new();
    for number in 0..60 {
        let at = |all: &[Client], shift: i64| all[((number + shift) % 3) as usize].clone();
        let approval = agents[0].authorize(export(number, "ask")).await.unwrap().approval.unwrap();
        at(&alices, 0).approve(&approval).await.unwrap();
        let (approve, cancel, agent) = (at(&bobs, 1), at(&agents, 2), at(&agents, 1));
        let by_id = pb::AuthorizeRequest { approval_id: approval.id.clone(), ..export(number, "use") };
        let (voted, cancelled, used) =
            tokio::join!(approve.approve(&approval), cancel.cancel(&approval.id), agent.authorize(by_id));
        let (voted, cancelled, used) = (outcome(voted), outcome(cancelled), used.unwrap());
        assert!(voted.is_some() != cancelled.is_some(), "round {number}: {voted:?} and {cancelled:?}");
        assert!(cancelled.is_none() || used.outcome() != pb::Outcome::Allow, "round {number}");
        let mut states = Vec::new();
        for place in 0..3 {
            states.push(fleet.show(place, &approval.id).await.state());
        }
        assert!(states.windows(2).all(|pair| pair[0] == pair[1]), "round {number}: {states:?}");
        seen.insert(format!("{:?}", states[0]));
    }
    assert!(seen.len() > 1, "every outcome was met: {seen:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn fault_55_many_pending_cost_redis_little_and_the_next_one_nothing_more() {
    const PENDING: i64 = 1_000;
    let redis = Redis::start().await;
    let limits = "[limits]\npending_per_principal_max = 100000\n";
    let mut fleet = Fleet::prepare(2, &Store::alone(&redis.url()), limits).await;
    for place in 0..2 {
        fleet.start_one(place, &[]).await;
    }
    fleet.ready().await;
    let agents = everywhere(&fleet, "report-bot").await;
    let used = async || {
        let info = redis.info("memory").await;
        let line = info.lines().find_map(|line| line.strip_prefix("used_memory_dataset:")).unwrap().trim().to_owned();
        line.parse::<i64>().unwrap()
    };
    let open = async |from: i64, count: i64| {
        for first in (from..from + count).step_by(50) {
            let opening = (first..first + 50).zip(agents.iter().cycle());
            let all = opening.map(|(number, agent)| async move {
                let request = pb::AuthorizeRequest { idempotency_key: String::new(), ..export(number, "") };
                timed(agent.authorize(request)).await
            });
            join_all(all).await.into_iter().for_each(|(answer, _)| drop(answer.expect("an approval")));
        }
    };
    open(0, 100).await;
    let (before, (_, at_first)) = (used().await, timed(open(100, 100)).await);
    open(200, PENDING - 200).await;
    let (_, at_last) = timed(open(PENDING, 100)).await;
    let each = (used().await - before) / PENDING;
    assert!(at_last < at_first * 4 + Duration::from_millis(500), "{at_first:?} for 100 at first, {at_last:?} at last");
    // An approval is kept twice: as what it is, and as an event in the stream.
    assert!(each < 8 << 10, "{each} bytes of Redis for each");
}

#[tokio::test(flavor = "multi_thread")]
async fn fault_56_many_who_wait_for_one_expiry_are_all_told_at_once() {
    const WAITERS: usize = 300;
    let redis = Redis::start().await;
    let fleet = Fleet::start(2, &Store::alone(&redis.url())).await;
    let pipelines = everywhere(&fleet, "ci-pipeline").await;
    let approval = pipelines[0].authorize(rotation(1, "ask")).await.unwrap().approval.unwrap();
    let waits = (0..WAITERS).zip(pipelines.iter().cycle()).map(|(who, pipeline)| {
        let request = pb::AuthorizeRequest {
            approval_id: approval.id.clone(),
            wait: wait(Duration::from_secs(20)),
            ..rotation(1, &format!("use-{who}"))
        };
        async move { pipeline.authorize(request).await.expect("an answer").reason }
    });
    let (reasons, took) = timed(join_all(waits)).await;
    assert!(reasons.iter().all(|reason| reason == "approval_expired"));
    assert!(took < super::fleet::ROTATION + Duration::from_secs(3), "all told after {took:?}");
}
