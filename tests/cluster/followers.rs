//! `Subscribe` at any replica sees what happens to approvals at all of them, and goes on at another one.

use std::collections::BTreeMap;
use std::time::Duration;

use countersign::wire::pb;
use tokio::time::timeout;
use tonic::{Code, Status, Streaming};

use super::fleet::{Fleet, Store};
use super::load::{Load, export};
use super::{WORKERS, account, assert_sound, journaled};
use crate::support::client::{query, reason};
use crate::support::redis::Redis;

const PATIENCE: Duration = Duration::from_secs(20);
/// Silence after which all is there.
const QUIET: Duration = Duration::from_secs(2);

type Place = (Vec<u8>, u32, u64);

async fn subscribe(fleet: &Fleet, at: usize, request: pb::SubscribeRequest) -> Result<Streaming<pb::Event>, Status> {
    let client = fleet.client(at, "erin").await;
    client.stub.clone().subscribe(request).await.map(tonic::Response::into_inner)
}

fn beginning() -> pb::SubscribeRequest {
    pb::SubscribeRequest { from_beginning: true, ..pb::SubscribeRequest::default() }
}

fn after(cursor: &str) -> pb::SubscribeRequest {
    pb::SubscribeRequest { cursor: cursor.into(), ..pb::SubscribeRequest::default() }
}

/// Every event with a record until nothing comes for a while.
async fn all(stream: &mut Streaming<pb::Event>) -> Vec<pb::Event> {
    let mut events = Vec::new();
    while let Ok(event) = timeout(QUIET, stream.message()).await {
        let event = event.expect("no error").expect("no end");
        events.extend(event.record.is_some().then_some(event));
    }
    events
}

async fn some(stream: &mut Streaming<pb::Event>, count: usize) -> Vec<pb::Event> {
    let mut events = Vec::new();
    while events.len() < count {
        let event = timeout(PATIENCE, stream.message()).await.expect("in time").expect("no error").expect("no end");
        events.extend(event.record.is_some().then_some(event));
    }
    events
}

/// The shared ones, by the place that the store gave them.
fn places(events: &[pb::Event]) -> Vec<Place> {
    let origins = events.iter().filter_map(|event| event.record.as_ref()?.origin.clone());
    origins.map(|origin| (origin.epoch, origin.shard, origin.number)).collect()
}

/// Asserts that every shard's events are there from the first to the last, in order.
#[track_caller]
fn assert_whole(places: &[Place]) -> BTreeMap<u32, u64> {
    let mut last = BTreeMap::new();
    for (_, shard, number) in places {
        let before = last.insert(*shard, *number).unwrap_or(0);
        assert_eq!(*number, before + 1, "of shard {shard}");
    }
    last
}

#[tokio::test(flavor = "multi_thread")]
async fn a_subscription_at_any_replica_sees_the_approvals_of_all_and_goes_on_at_another() {
    let redis = Redis::start().await;
    let fleet = Fleet::start(3, &Store::alone(&redis.url())).await;
    let mut first = subscribe(&fleet, 0, beginning()).await.unwrap();
    let running = Load::on(&fleet).run(WORKERS);
    running.load.more(10).await;
    let begun = some(&mut first, 20).await;
    drop(first);
    running.load.more(10).await;
    let load = running.finish().await;
    journaled(&[&redis]).await;
    // On at the other two, from the same place.
    let cursor = begun.last().unwrap().cursor.clone();
    let mut rest = Vec::new();
    for place in 1..3 {
        let mut stream = subscribe(&fleet, place, after(&cursor)).await.unwrap();
        rest.push(places(&all(&mut stream).await));
    }
    let whole: Vec<Place> = places(&begun).into_iter().chain(rest[0].clone()).collect();
    let last = assert_whole(&whole);
    let mut sorted = rest.clone();
    sorted.iter_mut().for_each(|places| places.sort_unstable());
    assert_eq!(sorted[0], sorted[1], "the same events at every replica");
    // And as many as the store has.
    for (shard, number) in last {
        let head: u64 = redis.ask(&["HGET", &format!("{{countersign:{shard:x}}}h"), "head"]).await;
        assert_eq!(number, head, "of shard {shard}");
    }
    assert_sound(&account(fleet, &load).await, &load);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_subscription_goes_on_after_every_event_and_with_what_its_replica_alone_does() {
    let redis = Redis::start().await;
    let fleet = Fleet::start(2, &Store::alone(&redis.url())).await;
    let (here, there) = (fleet.client(0, "report-bot").await, fleet.client(1, "report-bot").await);
    let mut stream = subscribe(&fleet, 0, after("")).await.unwrap();
    for number in 0..5 {
        here.authorize(export(number, "here")).await.unwrap();
        there.authorize(export(100 + number, "there")).await.unwrap();
        here.authorize(query("read", "Dataset", "weather")).await.unwrap();
        there.authorize(query("read", "Dataset", "weather")).await.unwrap();
    }
    let events = all(&mut stream).await;
    let shared = places(&events).len();
    assert_eq!((shared, events.len() - shared), (10, 5), "the approvals of both, and what is plain of this one");
    for (place, event) in events.iter().enumerate() {
        let mut again = subscribe(&fleet, 0, after(&event.cursor)).await.unwrap();
        let left = events.len() - place - 1;
        let rest = if left == 0 { Vec::new() } else { some(&mut again, left).await };
        let names = |events: &[pb::Event]| {
            events.iter().map(|event| format!("{:?}", event.record)).collect::<std::collections::BTreeSet<_>>()
        };
        assert_eq!(names(&rest), names(&events[place + 1..]), "after {place}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_cursor_of_another_cluster_or_of_one_process_is_refused() {
    let (redis, foreign) = (Redis::start().await, Redis::start().await);
    let fleet = Fleet::start(1, &Store::alone(&redis.url())).await;
    let other = Fleet::start(1, &Store::alone(&foreign.url())).await;
    let agent = other.client(0, "report-bot").await;
    let mut stream = subscribe(&other, 0, after("")).await.unwrap();
    agent.authorize(export(1, "ask")).await.unwrap();
    let cursor = some(&mut stream, 1).await[0].cursor.clone();
    subscribe(&other, 0, after(&cursor)).await.expect("a cursor of its own");
    for wrong in [&*cursor, "c1.00000000000000010000000000000001", "c2.", "c2.AAAA"] {
        let refused = subscribe(&fleet, 0, after(wrong)).await.unwrap_err();
        assert_eq!(refused.code(), Code::InvalidArgument, "{wrong}: {refused:?}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn what_redis_has_trimmed_comes_from_the_journal_of_whoever_has_it() {
    let redis = Redis::start().await;
    let fleet = Fleet::start(2, &Store::alone(&redis.url())).await;
    let here = fleet.client(0, "report-bot").await;
    let mut stream = subscribe(&fleet, 0, after("")).await.unwrap();
    for number in 0..40 {
        here.authorize(export(number, "here")).await.unwrap();
    }
    let events = some(&mut stream, 40).await;
    journaled(&[&redis]).await;
    for shard in 0..super::SHARDS {
        let stream = format!("{{countersign:{shard:x}}}e");
        let _: redis::Value = redis.ask(&["XTRIM", &stream, "MAXLEN", "0"]).await;
    }
    let mut again = subscribe(&fleet, 0, after(&events[0].cursor)).await.unwrap();
    let rest = places(&some(&mut again, 39).await);
    let mut wanted = places(&events[1..]);
    let mut got = rest.clone();
    wanted.sort_unstable();
    got.sort_unstable();
    assert_eq!(got, wanted);
    let mut elsewhere = subscribe(&fleet, 1, after(&events[0].cursor)).await.unwrap();
    let ended = loop {
        match timeout(PATIENCE, elsewhere.message()).await.expect("in time") {
            Err(status) => break status,
            Ok(event) => assert!(event.expect("no end").record.is_none_or(|record| record.origin.is_none())),
        }
    };
    assert_eq!((ended.code(), &*reason(&ended)), (Code::FailedPrecondition, "cursor_trimmed"));
}
