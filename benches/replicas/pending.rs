//! What pending approvals cost: of Redis by kind of key, while nothing is due, and when they expire.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::{Duration, Instant, UNIX_EPOCH};

use countersign::wire::pb;
use futures_util::future::try_join_all;
use pb::transition::Kind;

use crate::figures::Spans;
use crate::lives::{Stage, export, phase, turn};
use crate::support::Client;
use crate::support::client::query;
use crate::{Failure, Ground, fleet};

const SHARDS: u8 = 16;
/// How long nothing is asked while what that costs is measured.
const IDLE: Duration = Duration::from_secs(10);
/// What each approval has that expires: time enough to open all of them.
const TIMEOUT: Duration = Duration::from_secs(30);
/// The kinds of keys of a shard, by the letter behind the hash tag.
const OF_A_SHARD: [(&str, &str); 6] = [
    ("h", "heads"),
    ("s", "slots: binding to approval"),
    ("d", "deadlines"),
    ("x", "ids in the order of time"),
    ("z", "settled ones by when they may go"),
    ("e", "streams of events"),
];
/// The kinds of which there is one for each of many, found by a look at some of all keys.
const OF_MANY: &str = "local found, cursor, of = 0, '0', {}
for _ = 1, 20 do
  local answer = redis.call('SCAN', cursor, 'COUNT', 1000)
  cursor = answer[1]
  for _, key in ipairs(answer[2]) do
    local kind = string.match(key, '^{[^}]*}(%a):')
    if kind then
      found = found + 1
      of[kind] = of[kind] or { 0, 0 }
      of[kind][1] = of[kind][1] + 1
      of[kind][2] = of[kind][2] + redis.call('MEMORY', 'USAGE', key, 'SAMPLES', '0')
    end
  end
  if cursor == '0' then break end
end
local told = {}
for kind, sums in pairs(of) do told[#told + 1] = kind .. ' ' .. sums[1] .. ' ' .. sums[2] end
return told";

/// Bytes of Redis for so many pending approvals, by kind of key; and what they cost while nothing is due.
pub async fn pending(approvals: usize) -> Result<(), Failure> {
    let ground = Ground::alone().await;
    let stage = Stage::set(2, &ground).await;
    let before = figure(&ground, "memory", "used_memory").await;
    let idle_before = idle(&ground, &stage).await;
    phase("open", approvals, |number| {
        let agent = turn(&stage.agents, number);
        async move { agent.authorize(export(number, "")).await.map(drop) }
    })
    .await?;
    let used = figure(&ground, "memory", "used_memory").await - before;
    let each = |bytes: f64| bytes / approvals.max(1) as f64;
    println!("{approvals} pending: {used:.0} bytes of Redis, {:.0} each", each(used));
    for (letter, name) in OF_A_SHARD {
        let mut bytes = 0.0;
        for shard in 0..SHARDS {
            let key = format!("{{countersign:{shard:x}}}{letter}");
            let of_key: Option<f64> = ground.redis().ask(&["MEMORY", "USAGE", &key, "SAMPLES", "0"]).await;
            bytes += of_key.unwrap_or_default();
        }
        println!("    {:6.0} each: {name}", each(bytes));
    }
    let of_many: Vec<String> = ground.redis().ask(&["EVAL", OF_MANY, "0"]).await;
    for line in of_many {
        let mut words = line.split(' ');
        let (kind, count, bytes) = (words.next(), words.next(), words.next());
        let number = |word: Option<&str>| word.and_then(|word| word.parse::<f64>().ok()).unwrap_or_default();
        println!("    {:6.0} for a key `{}:`", number(bytes) / number(count).max(1.0), kind.unwrap_or_default());
    }
    // What was opened within the last minute is counted until then.
    tokio::time::sleep(Duration::from_secs(61)).await;
    println!("while nothing is due, two servers, {IDLE:?}:");
    println!("    none pending: {idle_before}");
    println!("    {approvals} pending: {}", idle(&ground, &stage).await);
    Ok(())
}

async fn figure(ground: &Ground, section: &str, name: &str) -> f64 {
    let info = ground.redis().info(section).await;
    let line = info.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(':'));
    line.and_then(|value| value.trim().parse().ok()).unwrap_or_default()
}

/// What is done while nobody asks for anything.
async fn idle(ground: &Ground, stage: &Stage) -> String {
    let redis = async || {
        let commands = figure(ground, "stats", "total_commands_processed").await;
        let cpu = figure(ground, "cpu", "used_cpu_user").await + figure(ground, "cpu", "used_cpu_sys").await;
        (commands, cpu)
    };
    let servers = || (0..2).map(|place| stage.fleet.server(place).cpu().as_secs_f64()).sum::<f64>();
    let (before, of_servers) = (redis().await, servers());
    tokio::time::sleep(IDLE).await;
    let (after, seconds) = (redis().await, IDLE.as_secs_f64());
    format!(
        "{:.0} commands a second, {:.2} % of a core in Redis, {:.2} % in both servers",
        (after.0 - before.0) / seconds,
        100.0 * (after.1 - before.1) / seconds,
        100.0 * (servers() - of_servers) / seconds
    )
}

/// How late ten thousand expiries are told at either server: due as they were asked for, and all at once.
pub async fn expire(approvals: usize) -> Result<(), Failure> {
    for at_once in [false, true] {
        let ground = Ground::alone().await;
        let stage = Stage::lasting(2, &ground, TIMEOUT).await;
        let listeners = [follow(&stage.fleet, 0).await?, follow(&stage.fleet, 1).await?];
        let pipelines = [stage.fleet.client(0, "ci-pipeline").await, stage.fleet.client(1, "ci-pipeline").await];
        let opened = phase("open", approvals, |number| {
            let pipeline = turn(&pipelines, number);
            let request = query("rotate", "Secret", &format!("secret-{number}"));
            async move { pipeline.authorize(request).await }
        })
        .await?;
        let deadlines: HashMap<String, Duration> = opened.into_iter().filter_map(deadline).collect();
        let (first, last) = (deadlines.values().min().copied(), deadlines.values().max().copied());
        let (first, last) = (first.ok_or("nothing was opened")?, last.ok_or("nothing was opened")?);
        let mut from = None;
        if at_once {
            // Nobody is there while the deadlines pass.
            (0..2).for_each(|place| stage.fleet.server(place).pause());
            tokio::time::sleep((last + Duration::from_millis(100)).saturating_sub(UNIX_EPOCH.elapsed()?)).await;
            from = Some(UNIX_EPOCH.elapsed()?);
            (0..2).for_each(|place| stage.fleet.server(place).resume());
        }
        let what = if at_once { "at once".to_owned() } else { format!("within {:.1?}", last - first) };
        let deadlines = Arc::new(deadlines);
        let told = listeners.map(|events| tokio::spawn(lateness(events, deadlines.clone(), from)));
        for (place, spans) in try_join_all(told).await?.into_iter().enumerate() {
            println!("{approvals} due {what}: told by server {place} {} late", Spans::of(spans?));
        }
        drop(stage.fleet.end().await);
    }
    Ok(())
}

fn deadline(answer: pb::AuthorizeResponse) -> Option<(String, Duration)> {
    let approval = answer.approval?;
    let at = approval.deadline?;
    Some((approval.id, Duration::new(u64::try_from(at.seconds).ok()?, u32::try_from(at.nanos).ok()?)))
}

async fn follow(fleet: &fleet::Fleet, place: usize) -> Result<tonic::Streaming<pb::Event>, Failure> {
    let client: Client = fleet.client(place, "erin").await;
    Ok(client.stub.clone().subscribe(pb::SubscribeRequest::default()).await?.into_inner())
}

/// How long after its deadline, or after `from`, each expiry is told.
async fn lateness(
    mut events: tonic::Streaming<pb::Event>,
    deadlines: Arc<HashMap<String, Duration>>,
    from: Option<Duration>,
) -> Result<Vec<Duration>, Failure> {
    let (mut spans, patience) = (Vec::new(), Instant::now() + TIMEOUT * 4);
    while spans.len() < deadlines.len() {
        let left = patience.saturating_duration_since(Instant::now());
        let event = tokio::time::timeout(left, events.message()).await??.ok_or("the stream ended")?;
        let now = UNIX_EPOCH.elapsed()?;
        let Some(pb::record::Fact::Moved(moved)) = event.record.and_then(|record| record.fact) else { continue };
        let Some(Kind::Expired(_)) = moved.transition.and_then(|transition| transition.kind) else { continue };
        if let Some(deadline) = deadlines.get(&moved.approval_id) {
            spans.push(now.saturating_sub(from.unwrap_or(*deadline)));
        }
    }
    Ok(spans)
}
