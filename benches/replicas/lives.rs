//! Lives of approvals, many at a time, at all the servers in turn.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::{Duration, Instant, UNIX_EPOCH};

use ::redis::streams::{StreamId, StreamRangeReply};
use countersign::domain::ApprovalId;
use countersign::store::redis::SHARDS;
use countersign::wire::pb;
use futures_util::stream::{self, StreamExt};

use crate::figures::Spans;
use crate::fleet::{self, Fleet};
use crate::support::Client;
use crate::support::client::{long, query, string, wait};
use crate::{Failure, Ground};

/// Calls under way at the same time.
const ABREAST: usize = 64;
const REPLICAS_MAX: usize = 3;
/// Calls that wait on one connection: a server takes 256.
const WAITS_PER_CONNECTION: usize = 200;
/// So many calls at a time that come to wait, and so long until the next.
const BREATH: Duration = Duration::from_millis(50);
/// The file with the gate for rotations.
const GATE: &str = "warehouse.cedar";
/// Everything that a bench may fill is large.
const LIMITS: &str = "[limits]\npending_per_principal_max = 10000000\nopenings_per_minute_max = 10000000\npending_max = 10000000\n\
                      waits_max = 200000\nwaits_per_caller_max = 200000\n";

pub fn export(number: usize, step: &str) -> pb::AuthorizeRequest {
    let rows = long(i64::try_from(number).unwrap_or(i64::MAX));
    pb::AuthorizeRequest {
        context: BTreeMap::from([("destination".into(), string("s3://partner")), ("rows".into(), rows)]),
        justification: "quarterly report".into(),
        idempotency_key: if step.is_empty() { String::new() } else { format!("{step}-{number}") },
        ..query("export", "Dataset", "customers")
    }
}

pub struct Stage {
    pub fleet: Fleet,
    pub agents: Vec<Client>,
    alices: Vec<Client>,
    bobs: Vec<Client>,
}

impl Stage {
    pub async fn set(replicas: usize, ground: &Ground) -> Self {
        Self::lasting(replicas, ground, fleet::ROTATION).await
    }

    /// Where a rotation has to be countersigned within that time.
    pub async fn lasting(replicas: usize, ground: &Ground, rotation: Duration) -> Self {
        let mut fleet = Fleet::prepare(replicas, &ground.store(), LIMITS).await;
        let timeout = |span: Duration| format!("@timeout(\"{}s\")", span.as_secs());
        let text = std::fs::read_to_string(fleet.policies().path().join(GATE)).expect("the shipped policies");
        fleet.policies().write(GATE, &text.replace(&timeout(fleet::ROTATION), &timeout(rotation)));
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

pub fn turn(clients: &[Client], number: usize) -> Client {
    clients[number % clients.len()].clone()
}

/// Makes so many calls, so many at a time; says how many a second, and how long each took.
pub async fn phase<T, F>(what: &str, count: usize, call: impl Fn(usize) -> F) -> Result<Vec<T>, Failure>
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

/// One grant, from the vote that makes it to the answer of whoever waits for it at the other server.
struct Woken {
    /// Until Redis has carried out the vote.
    voted: Duration,
    /// From then until Redis has carried out the redemption that the hint of it led to: the wake itself.
    redeemed: Duration,
    /// From then until the caller has its answer: the sync of the journal, and the way back.
    answered: Duration,
}

/// From `Decide` on one server to the answer of `Authorize.wait` on the other, beside so many that wait as well. Redis keeps in its stream when it carried out what,
/// by the clock of this machine.
pub async fn wake(waits: usize) -> Result<(), Failure> {
    const SAMPLES: usize = 300;
    let ground = Ground::alone().await;
    let stage = Stage::set(2, &ground).await;
    let mut waiting = Vec::new();
    for _ in 0..=waits / WAITS_PER_CONNECTION {
        waiting.push(stage.fleet.client(1, "report-bot").await);
    }
    let hold = |number: usize| {
        let agent = waiting[number / WAITS_PER_CONNECTION % waiting.len()].clone();
        let request = pb::AuthorizeRequest { wait: wait(Duration::from_secs(600)), ..export(number, "") };
        tokio::spawn(async move { agent.authorize(request).await.map(|answer| (answer, UNIX_EPOCH.elapsed())) })
    };
    phase("open", waits, |number| {
        let agent = turn(&waiting, number);
        async move { agent.authorize(export(number, "")).await }
    })
    .await?;
    let mut held = Vec::with_capacity(waits);
    for number in 0..waits {
        held.push(hold(number));
        if number % ABREAST == ABREAST - 1 {
            tokio::time::sleep(BREATH).await;
        }
    }
    tokio::time::sleep(Duration::from_secs(3)).await;
    let (mut costs, mut woken) = (Costs::on(&ground).await?, Vec::new());
    for number in waits..waits + SAMPLES {
        let opened = stage.agents[0].authorize(export(number, "ask")).await?;
        let approval = opened.approval.ok_or("no approval")?;
        stage.alices[0].approve(&approval).await?;
        let waiting = hold(number);
        tokio::time::sleep(Duration::from_millis(20)).await;
        let begun = UNIX_EPOCH.elapsed()?;
        stage.bobs[0].approve(&approval).await?;
        let (answer, end) = waiting.await??;
        assert_eq!(answer.outcome(), pb::Outcome::Allow);
        let [voted, redeemed] = carried_out(&ground, &approval.id).await?;
        woken.push(Woken {
            voted: voted.saturating_sub(begun),
            redeemed: redeemed.saturating_sub(voted),
            answered: end?.saturating_sub(redeemed),
        });
        costs.take().await?;
    }
    let spans = |of: fn(&Woken) -> Duration| Spans::of(woken.iter().map(of).collect());
    println!("beside {waits} that wait, of {SAMPLES}:");
    println!(
        "    a vote sent at one server to the answer at the other: {}",
        spans(|of| of.voted + of.redeemed + of.answered)
    );
    println!("    until Redis has the vote: {}", spans(|of| of.voted));
    println!("    from then until Redis has the redemption: {}", spans(|of| of.redeemed));
    println!("    from then until the answer is there: {}", spans(|of| of.answered));
    println!("{costs}");
    assert!(held.iter().all(|call| !call.is_finished()), "a wait ended");
    held.iter().for_each(tokio::task::JoinHandle::abort);
    Ok(())
}

/// When Redis carried out the vote that approved, and the redemption: the two newest events of an approval.
async fn carried_out(ground: &Ground, approval: &str) -> Result<[Duration; 2], Failure> {
    let id: ApprovalId = approval.parse()?;
    let shard = id.as_bytes().last().copied().unwrap_or_default() % SHARDS;
    let stream = format!("{{countersign:{shard:x}}}e");
    let events: StreamRangeReply = ground.redis().ask(&["XREVRANGE", &stream, "+", "-", "COUNT", "20"]).await;
    let of_it = |event: &StreamId| event.get::<Vec<u8>>("a").is_some_and(|of| of == id.as_bytes());
    let at = |event: &StreamId| event.get::<u64>("t").map(Duration::from_micros);
    let mut newest = events.ids.iter().filter(|event| of_it(event)).filter_map(at);
    let redeemed = newest.next().ok_or("no redemption")?;
    Ok([newest.next().ok_or("no vote")?, redeemed])
}

/// What a round trip to Redis, what a server reads of it, and a sync of this disk cost here and now: each once after each
/// sample, so that nothing is warmer than it is for the servers.
struct Costs {
    connection: ::redis::aio::MultiplexedConnection,
    file: std::fs::File,
    trips: Vec<Duration>,
    syncs: Vec<Duration>,
}

impl Costs {
    async fn on(ground: &Ground) -> Result<Self, Failure> {
        let client = ::redis::Client::open(ground.redis().url())?;
        let connection = client.get_multiplexed_async_connection().await?;
        Ok(Self { connection, file: tempfile::tempfile()?, trips: Vec::new(), syncs: Vec::new() })
    }

    async fn take(&mut self) -> Result<(), Failure> {
        tokio::time::sleep(Duration::from_millis(5)).await;
        let begun = Instant::now();
        ::redis::cmd("PING").query_async::<String>(&mut self.connection).await?;
        self.trips.push(begun.elapsed());
        let begun = Instant::now();
        std::io::Write::write_all(&mut self.file, &[0; 600])?;
        self.file.sync_data()?;
        self.syncs.push(begun.elapsed());
        Ok(())
    }
}

impl std::fmt::Display for Costs {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let (trips, syncs) = (Spans::of(self.trips.clone()), Spans::of(self.syncs.clone()));
        write!(f, "    in between, a round trip to Redis: {trips}; a sync of the disk: {syncs}")
    }
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
