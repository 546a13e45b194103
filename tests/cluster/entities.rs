//! Entities put over the API at one server, and what the others decide from then on.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use countersign::domain::Fact;
use countersign::journal::Log;
use countersign::wire::pb;
use tonic::Code;
use tonic_health::pb::health_check_response::ServingStatus;

use super::fleet::{Fleet, Store};
use super::journaled;
use crate::support::client::{query, uid};
use crate::support::redis::{Redis, until};
use crate::support::sealed;

/// What a hint that is lost may cost, and a busy machine.
const HEALED: Duration = Duration::from_secs(4);
const PATIENCE: Duration = Duration::from_secs(20);

/// Nobody who was put into `suspended` reads anything.
const RULES: &str = r#"
@id("administrators") permit (
    principal == User::"erin",
    action == Countersign::Action::"administer",
    resource == Countersign::Service::"countersign"
);
@id("helpdesk") permit (
    principal == User::"erin",
    action == Countersign::Action::"end_sessions",
    resource is User
);
@id("suspended") forbid (principal in Group::"suspended", action == Action::"read", resource);
"#;

fn member(id: &str, group: &str) -> pb::Entity {
    pb::Entity { uid: Some(uid("Agent", id)), parents: vec![uid("Group", group)], ..pb::Entity::default() }
}

fn group(id: &str) -> pb::Entity {
    pb::Entity { uid: Some(uid("Group", id)), ..pb::Entity::default() }
}

async fn started(count: usize, redis: &Redis) -> Fleet {
    let store = Store::alone(&redis.url()).and("journal_lease = \"1s\"");
    let mut fleet = Fleet::prepare(count, &store, "").await;
    fleet.policies().write("rules.cedar", RULES);
    for place in 0..count {
        fleet.start_one(place, &[]).await;
    }
    fleet.ready().await;
    fleet
}

async fn answer(fleet: &Fleet, place: usize) -> Result<pb::Outcome, Code> {
    let agent = fleet.client(place, "report-bot").await;
    let answer = agent.authorize(query("read", "Dataset", "weather")).await;
    answer.map(|answer| answer.outcome()).map_err(|status| status.code())
}

async fn until_answered(fleet: &Fleet, place: usize, expected: pb::Outcome) {
    let began = Instant::now();
    until("what was put elsewhere counts", async || answer(fleet, place).await == Ok(expected)).await;
    assert!(began.elapsed() < HEALED, "after {:?}", began.elapsed());
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_put_at_one_server_the_others_decide_by_and_a_start_without_redis_does_not_forget_it() {
    let mut redis = Redis::start().await;
    let mut fleet = started(3, &redis).await;
    assert_eq!(answer(&fleet, 1).await, Ok(pb::Outcome::Allow));
    let put = fleet.admin(0).await.put(vec![member("report-bot", "suspended")]).await.unwrap();
    assert_eq!((put.changed, answer(&fleet, 0).await), (1, Ok(pb::Outcome::Deny)));
    until_answered(&fleet, 1, pb::Outcome::Deny).await;
    fleet.admin(1).await.delete(vec![uid("Agent", "report-bot")]).await.unwrap();
    until_answered(&fleet, 0, pb::Outcome::Allow).await;
    fleet.admin(1).await.put(vec![member("report-bot", "suspended")]).await.unwrap();
    until_answered(&fleet, 0, pb::Outcome::Deny).await;
    until_answered(&fleet, 2, pb::Outcome::Deny).await;

    // One that knows, one that lost its disk, and no Redis.
    fleet.kill(0).await;
    fleet.kill(2).await;
    std::fs::remove_dir_all(fleet.journal(2)).unwrap();
    redis.kill();
    fleet.start_one(0, &[]).await;
    fleet.start_one(2, &[]).await;
    until("issuer", async || fleet.health(0, "issuer.test").await == Some(ServingStatus::Serving)).await;
    until("issuer", async || fleet.health(2, "issuer.test").await == Some(ServingStatus::Serving)).await;
    assert_eq!(answer(&fleet, 0).await, Ok(pb::Outcome::Deny), "by its journal");
    assert_eq!(answer(&fleet, 1).await, Ok(pb::Outcome::Deny), "as before");
    assert_eq!(answer(&fleet, 2).await, Err(Code::Unavailable), "not as if there were none");
    assert_eq!(fleet.health(2, "entities").await, Some(ServingStatus::NotServing));
    assert_eq!(fleet.health(2, "").await, Some(ServingStatus::NotServing));
    let refused = fleet.admin(1).await.put(vec![group("new")]).await.unwrap_err();
    assert_eq!(refused.code(), Code::Unavailable, "{refused:?}");
    drop(fleet.end().await);
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_put_at_one_server_is_told_to_whoever_follows_another() {
    let redis = Redis::start().await;
    let fleet = started(2, &redis).await;
    let client = fleet.client(1, "erin").await;
    let followed = client.stub.clone().subscribe(pb::SubscribeRequest::default()).await.unwrap();
    let mut events = followed.into_inner();
    fleet.admin(0).await.put(vec![group("new")]).await.unwrap();
    fleet.admin(0).await.delete(vec![uid("Group", "new")]).await.unwrap();
    let mut told = Vec::new();
    while told.len() < 2 {
        let event = tokio::time::timeout(PATIENCE, events.message()).await.expect("in time").unwrap().expect("no end");
        let Some(record) = event.record else { continue };
        // What the followed server says of having taken it up has no origin.
        if let (Some(pb::record::Fact::EntitiesChanged(changed)), Some(_)) = (record.fact, record.origin) {
            let by = changed.by.and_then(|by| by.uid).map(|by| by.id);
            told.push((by, changed.put.len(), changed.deleted.len()));
        }
    }
    let by = Some("erin".to_owned());
    assert_eq!(told, [(by.clone(), 1, 0), (by, 0, 1)], "in their order, and by whom");
    drop(fleet.end().await);
}

/// Puts one after the other until the server is gone; what was acknowledged, and what may have been.
async fn putting(fleet: &Fleet, place: usize, round: usize) -> tokio::task::JoinHandle<(Vec<String>, Vec<String>)> {
    let admin = fleet.admin(place).await;
    tokio::spawn(async move {
        let (mut acknowledged, mut begun) = (Vec::new(), Vec::new());
        for number in 0.. {
            let name = format!("{round}-{number}");
            begun.push(name.clone());
            match admin.put(vec![group(&name)]).await {
                Ok(_) => acknowledged.push(name),
                Err(_) => break,
            }
        }
        (acknowledged, begun)
    })
}

#[tokio::test(flavor = "multi_thread")]
async fn kill_9_of_servers_that_put_entities_loses_none_and_journals_each_once() {
    let redis = Redis::start().await;
    let mut fleet = started(2, &redis).await;
    let (mut acknowledged, mut begun) = (Vec::new(), Vec::new());
    for round in 0..4 {
        let place = round % 2;
        let putting = putting(&fleet, place, round).await;
        tokio::time::sleep(Duration::from_millis(150)).await;
        fleet.kill(place).await;
        let (known, tried) = putting.await.unwrap();
        acknowledged.extend(known);
        begun.extend(tried);
        fleet.start_one(place, &[]).await;
        fleet.ready().await;
    }
    assert!(acknowledged.len() > 4, "{acknowledged:?}");
    journaled(&[&redis]).await;
    let ids = fleet.admin(0).await.ids().await;
    assert_eq!(ids, fleet.admin(1).await.ids().await);
    assert!(acknowledged.iter().all(|name| ids.contains(name)), "what was acknowledged stands");
    assert!(ids.iter().all(|name| begun.contains(name)), "and nothing else");
    let checked = fleet.store_command(0, &["fsck"]);
    assert!(checked.status.success(), "{}", String::from_utf8_lossy(&checked.stdout));
    let mut told = BTreeMap::new();
    for dir in fleet.end().await.journals() {
        let journal = countersign::journal::Settings { vault: sealed::of_kept(&dir), ..crate::cluster::small(&dir) };
        let log = Log::open(journal).expect("a journal that opens");
        for raw in log.read_raw(1, 100_000, 64 << 20).unwrap() {
            let record = raw.parse(log.vault()).unwrap();
            if let (Fact::EntitiesChanged(changed), Some(origin)) = (record.fact, record.origin) {
                let name = changed.put[0].uid.id.to_string();
                told.entry(name).or_insert_with(std::collections::BTreeSet::new).insert(origin.number);
            }
        }
        log.close();
    }
    assert!(ids.iter().all(|name| told.get(name).is_some_and(|events| events.len() == 1)), "{told:?}");
    assert_eq!(told.len(), ids.len(), "nothing is unlogged, and nothing is told that is not there");
}

#[tokio::test(flavor = "multi_thread")]
async fn sessions_that_are_ended_at_one_server_are_ended_at_the_others() {
    let redis = Redis::start().await;
    let fleet = started(2, &redis).await;
    fleet.admin(0).await.end_sessions(Some(uid("User", "alice"))).await.unwrap();
    // What ends them there is what this server decides by: on its own record as soon as it does.
    until("the end is known elsewhere", async || {
        let records = fleet.client(1, "erin").await.audit(pb::AuditRequest::default()).await.unwrap();
        records.iter().any(|record| match record.fact.as_ref() {
            Some(pb::record::Fact::EntitiesChanged(changed)) => changed.put.iter().any(|entity| {
                let uid = entity.uid.as_ref().unwrap();
                (&*uid.r#type, &*uid.id) == ("Countersign::SessionsEnded", r#"User::"alice""#)
            }),
            _ => false,
        })
    })
    .await;
}
