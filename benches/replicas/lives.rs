//! Lives of approvals, many at a time, at all the servers in turn.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::{Duration, Instant};

use countersign::wire::pb;
use futures_util::stream::{self, StreamExt};

use crate::figures::Spans;
use crate::fleet::Fleet;
use crate::support::Client;
use crate::support::client::{long, query, string, wait};
use crate::support::redis::until;
use crate::{Failure, Ground};

/// Calls under way at the same time.
const ABREAST: usize = 64;
const REPLICAS_MAX: usize = 3;
/// Everything that a bench may fill is large.
const LIMITS: &str = "[limits]\npending_per_principal_max = 10000000\nopenings_per_minute_max = 10000000\npending_max = 10000000\n\
                      waits_max = 200000\nwaits_per_caller_max = 200000\n";

fn export(number: usize, step: &str) -> pb::AuthorizeRequest {
    let rows = long(i64::try_from(number).unwrap_or(i64::MAX));
    pb::AuthorizeRequest {
        context: BTreeMap::from([("destination".into(), string("s3://partner")), ("rows".into(), rows)]),
        justification: "quarterly report".into(),
        idempotency_key: if step.is_empty() { String::new() } else { format!("{step}-{number}") },
        ..query("export", "Dataset", "customers")
    }
}

struct Stage {
    fleet: Fleet,
    agents: Vec<Client>,
    alices: Vec<Client>,
    bobs: Vec<Client>,
}

impl Stage {
    async fn set(replicas: usize, ground: &Ground) -> Self {
        let mut fleet = Fleet::prepare(replicas, &ground.store(), LIMITS).await;
        for place in 0..replicas {
            fleet.start_one(place, &[]).await;
        }
        fleet.ready().await;
        let (mut agents, mut alices, mut bobs) = (Vec::new(), Vec::new(), Vec::new());
        for place in 0..replicas {
            agents.push(fleet.client(place, "report-bot").await);
            alices.push(fleet.client(place, "alice").await);
            bobs.push(fleet.client(place, "bob").await);
        }
        Self { fleet, agents, alices, bobs }
    }
}

fn turn(clients: &[Client], number: usize) -> Client {
    clients[number % clients.len()].clone()
}

/// Makes so many calls, so many at a time; says how many a second, and how long each took.
async fn phase<T, F>(what: &str, count: usize, call: impl Fn(usize) -> F) -> Result<Vec<T>, Failure>
where
    F: Future<Output = Result<T, tonic::Status>>,
{
    let begun = Instant::now();
    let calls = stream::iter(0..count).map(|number| {
        let call = call(number);
        async move {
            let begun = Instant::now();
            let answer = call.await?;
            Ok::<_, tonic::Status>((answer, begun.elapsed()))
        }
    });
    let answers: Vec<_> = calls.buffered(ABREAST).collect().await;
    let took = begun.elapsed();
    let answers: Vec<(T, Duration)> = answers.into_iter().collect::<Result<_, _>>()?;
    let (answers, spans): (Vec<T>, Vec<Duration>) = answers.into_iter().unzip();
    println!("    {what:8} {:8.0} a second, {}", count as f64 / took.as_secs_f64(), Spans::of(spans));
    Ok(answers)
}

/// Openings, reviews and redemptions a second.
pub async fn rates(lives: usize) -> Result<(), Failure> {
    for ground in [Ground::alone().await, Ground::replicated().await] {
        for replicas in 1..=REPLICAS_MAX {
            println!("{}, {replicas} servers, {ABREAST} calls at a time:", ground.name());
            let stage = Stage::set(replicas, &ground).await;
            let from = replicas * lives;
            let opened = phase("open", lives, |number| {
                let agent = turn(&stage.agents, number);
                async move { agent.authorize(export(from + number, "ask")).await }
            })
            .await?;
            let approvals: Vec<_> = opened.into_iter().filter_map(|answer| answer.approval).collect();
            let approvals = Arc::new(approvals);
            for reviewers in [&stage.alices, &stage.bobs] {
                let approvals = approvals.clone();
                phase("review", lives, |number| {
                    let (reviewer, approval) = (turn(reviewers, number + 1), approvals[number].clone());
                    async move { reviewer.approve(&approval).await }
                })
                .await?;
            }
            let used = phase("redeem", lives, |number| {
                let agent = turn(&stage.agents, number + 2);
                let request =
                    pb::AuthorizeRequest { approval_id: approvals[number].id.clone(), ..export(from + number, "use") };
                async move { agent.authorize(request).await }
            })
            .await?;
            assert!(used.iter().all(|answer| answer.outcome() == pb::Outcome::Allow));
            drop(stage.fleet.end().await);
        }
    }
    Ok(())
}

/// From `Decide` on one server to the answer of `Authorize.wait` on the other, beside so many that wait as well.
pub async fn wake(waits: usize) -> Result<(), Failure> {
    const SAMPLES: usize = 300;
    let ground = Ground::alone().await;
    let stage = Stage::set(2, &ground).await;
    let hold = |number: usize| {
        let agent = turn(&stage.agents, 1);
        let request = pb::AuthorizeRequest { wait: wait(Duration::from_secs(600)), ..export(number, "") };
        tokio::spawn(async move { agent.authorize(request).await })
    };
    let held: Vec<_> = (0..waits).map(hold).collect();
    let mut spans = Vec::new();
    for number in waits..waits + SAMPLES {
        let opened = stage.agents[0].authorize(export(number, "ask")).await?;
        let approval = opened.approval.ok_or("no approval")?;
        stage.alices[0].approve(&approval).await?;
        let waiting = hold(number);
        tokio::time::sleep(Duration::from_millis(20)).await;
        let begun = Instant::now();
        stage.bobs[0].approve(&approval).await?;
        assert_eq!(waiting.await??.outcome(), pb::Outcome::Allow);
        spans.push(begun.elapsed());
    }
    println!("a vote at one server to the answer at the other, beside {waits} that wait: {}", Spans::of(spans));
    held.iter().for_each(tokio::task::JoinHandle::abort);
    Ok(())
}

/// Ten at two servers want one grant, again and again.
pub async fn rivals(rounds: usize) -> Result<(), Failure> {
    const REDEEMERS: usize = 10;
    let ground = Ground::alone().await;
    let stage = Stage::set(2, &ground).await;
    let begun = Instant::now();
    let all = stream::iter(0..rounds).map(|number| {
        let stage = &stage;
        async move {
            let opened = turn(&stage.agents, number).authorize(export(number, "ask")).await?;
            let approval = opened.approval.ok_or("no approval")?;
            turn(&stage.alices, number).approve(&approval).await?;
            turn(&stage.bobs, number + 1).approve(&approval).await?;
            let uses = (0..REDEEMERS).map(|who| {
                let request =
                    pb::AuthorizeRequest { approval_id: approval.id.clone(), ..export(number, &format!("use-{who}")) };
                let agent = turn(&stage.agents, who);
                async move { agent.authorize(request).await }
            });
            let answers = futures_util::future::try_join_all(uses).await?;
            Ok::<_, Failure>(answers.iter().filter(|answer| answer.outcome() == pb::Outcome::Allow).count())
        }
    });
    let winners: Vec<_> = all.buffer_unordered(ABREAST / REDEEMERS).collect().await;
    let winners = winners.into_iter().collect::<Result<Vec<_>, _>>()?;
    assert!(winners.iter().all(|winners| *winners == 1), "more or less than one winner");
    println!("{rounds} rounds of {REDEEMERS} redeemers, one winner each: {:.1?}", begun.elapsed());
    Ok(())
}

/// What so many pending approvals take of Redis, and how late ten thousand that expire at once are told.
pub async fn pending(approvals: usize) -> Result<(), Failure> {
    let ground = Ground::alone().await;
    let stage = Stage::set(2, &ground).await;
    let used = async || {
        let info = ground.redis().info("memory").await;
        let line = info.lines().find_map(|line| line.strip_prefix("used_memory:")).unwrap_or_default();
        line.trim().parse::<usize>().unwrap_or_default()
    };
    let before = used().await;
    phase("open", approvals, |number| {
        let agent = turn(&stage.agents, number);
        async move { agent.authorize(export(number, "")).await }
    })
    .await?;
    println!("{approvals} pending: {} bytes of Redis each", (used().await - before) / approvals.max(1));
    let due = 10_000.min(approvals);
    let rotate = |number: usize| query("rotate", "Secret", &format!("secret-{number}"));
    let mut last = None;
    let pipelines = [stage.fleet.client(0, "ci-pipeline").await, stage.fleet.client(1, "ci-pipeline").await];
    let opened = phase("rotate", due, |number| {
        let pipeline = turn(&pipelines, number);
        async move { pipeline.authorize(rotate(number)).await }
    })
    .await?;
    for answer in &opened {
        last =
            last.max(answer.approval.as_ref().and_then(|approval| approval.deadline).map(|at| (at.seconds, at.nanos)));
    }
    let (seconds, nanos) = last.ok_or("nothing was opened")?;
    let deadline = Duration::new(u64::try_from(seconds)?, u32::try_from(nanos)?);
    until("all expired", async || {
        let request = pb::ListApprovalsRequest {
            page_size: 1,
            states: vec![pb::ApprovalState::Pending.into()],
            ..Default::default()
        };
        let filter = pb::ListApprovalsRequest { resource: rotate(due - 1).resource, ..request };
        let listed = pipelines[0].stub.clone().list_approvals(filter).await;
        listed.is_ok_and(|listed| listed.into_inner().approvals.is_empty())
    })
    .await;
    let late = std::time::UNIX_EPOCH.elapsed()?.saturating_sub(deadline);
    println!("{due} expire within seconds: the last is told {late:.0?} after its deadline, looked at every 20 ms");
    Ok(())
}
