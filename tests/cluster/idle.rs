//! What approvals cost while they only wait: no more than none of them; and what somebody costs who is woken.

use std::collections::BTreeMap;
use std::time::Duration;

use countersign::wire::pb;
use futures_util::future::join_all;

use super::fleet::{Fleet, Store};
use super::load::export;
use crate::support::client::wait;
use crate::support::redis::{Redis, until};

const PENDING: i64 = 400;
const SPAN: Duration = Duration::from_secs(4);
/// Looks that fall into one span and not into the other.
const SLACK: u64 = 40;

/// How often Redis was asked for what so far.
async fn calls(redis: &Redis) -> BTreeMap<String, u64> {
    let stats = redis.info("commandstats").await;
    let call = |line: &str| {
        let (name, rest) = line.strip_prefix("cmdstat_")?.split_once(":calls=")?;
        Some((name.to_owned(), rest.split(',').next()?.parse::<u64>().ok()?))
    };
    stats.lines().filter_map(call).collect()
}

/// How often approvals were read so far.
async fn reads(redis: &Redis) -> u64 {
    calls(redis).await.get("lrange").copied().unwrap_or(0)
}

/// How often Redis was asked for what within a while, and what the servers used of a processor meanwhile.
async fn meanwhile(redis: &Redis, fleet: &Fleet) -> (BTreeMap<String, u64>, Duration) {
    let cpu = || (0..fleet.size()).map(|place| fleet.server(place).cpu()).sum::<Duration>();
    let (before, used) = (calls(redis).await, cpu());
    tokio::time::sleep(SPAN).await;
    let (mut after, used) = (calls(redis).await, cpu() - used);
    for (name, calls) in &mut after {
        *calls -= before.get(name).copied().unwrap_or(0);
    }
    (after, used)
}

#[tokio::test(flavor = "multi_thread")]
async fn while_nothing_is_due_many_pending_cost_no_more_than_none() {
    let redis = Redis::start().await;
    let mut fleet =
        Fleet::prepare(2, &Store::alone(&redis.url()), "[limits]\npending_per_principal_max = 1000\n").await;
    for place in 0..2 {
        fleet.start_one(place, &[]).await;
    }
    fleet.ready().await;
    let (none, _) = meanwhile(&redis, &fleet).await;
    let agent = fleet.client(0, "report-bot").await;
    for first in (0..PENDING).step_by(50) {
        let opening = (first..first + 50).map(|number| {
            agent.authorize(pb::AuthorizeRequest { idempotency_key: String::new(), ..export(number, "") })
        });
        join_all(opening).await.into_iter().for_each(|answer| drop(answer.expect("an approval")));
    }
    super::journaled(&[&redis]).await;
    tokio::time::sleep(Duration::from_secs(1)).await;
    let (many, used) = meanwhile(&redis, &fleet).await;
    for (name, calls) in &many {
        let before = none.get(name).copied().unwrap_or(0);
        assert!(*calls <= before * 3 / 2 + SLACK, "{name}: {calls} times, {before} times when none was pending");
    }
    assert_eq!(many.get("lrange").copied().unwrap_or(0), 0, "nobody reads an approval that nobody asks for");
    assert!(used < SPAN / 2, "{used:?} of processors within {SPAN:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn who_is_woken_at_another_server_goes_straight_to_what_compares() {
    let redis = Redis::start().await;
    let fleet = Fleet::start(2, &Store::alone(&redis.url())).await;
    let export = || pb::AuthorizeRequest { idempotency_key: String::new(), ..export(1, "") };
    let approval = fleet.client(0, "report-bot").await.authorize(export()).await.unwrap().approval.unwrap();
    fleet.client(0, "alice").await.approve(&approval).await.unwrap();
    let bob = fleet.client(0, "bob").await;
    let before = reads(&redis).await;
    let waiting = tokio::spawn({
        let agent = fleet.client(1, "report-bot").await;
        let request = pb::AuthorizeRequest { wait: wait(Duration::from_secs(30)), ..export() };
        async move { agent.authorize(request).await }
    });
    // What stands for the query, and whether it is still pending.
    until("it waits", async || reads(&redis).await == before + 2).await;
    bob.approve(&approval).await.unwrap();
    assert_eq!(waiting.await.unwrap().unwrap().outcome(), pb::Outcome::Allow);
    assert_eq!(reads(&redis).await, before + 3, "once for the vote");
}
