//! Replicas under load with nothing wrong, on every shape of Redis.

use super::fleet::{Fleet, Store};
use super::load::Load;
use super::{WORKERS, account, assert_sound, journaled};
use crate::support::redis::tls::{Guarded, USER};
use crate::support::redis::{Cluster, Redis, Replicated, Sentinel};

const LIVES: usize = 40;

/// Lives on so many replicas, and the account of them: nothing is there twice.
async fn share(replicas: usize, store: &Store, nodes: &[&Redis]) {
    let fleet = Fleet::start(replicas, store).await;
    let running = Load::on(&fleet).run(WORKERS);
    running.load.more(LIVES).await;
    let load = running.finish().await;
    // What was too slow for its caller is recorded by whoever notices.
    journaled(nodes).await;
    // Beside servers that run: Redis and all journals tell the same.
    let others: Vec<String> = (1..replicas).map(|place| fleet.journal(place).display().to_string()).collect();
    let words = others.iter().flat_map(|dir| ["--journal", dir]);
    let checked = fleet.store_command(0, &std::iter::once("fsck").chain(words).collect::<Vec<_>>());
    let said = String::from_utf8_lossy(&checked.stdout).into_owned() + &String::from_utf8_lossy(&checked.stderr);
    assert!(checked.status.success(), "{said}");
    let findings = account(fleet, &load).await;
    assert_sound(&findings, &load);
    assert_eq!(findings.doubled, 0, "nobody had to take over anything");
}

#[tokio::test(flavor = "multi_thread")]
async fn three_replicas_share_one_redis() {
    let redis = Redis::start().await;
    share(3, &Store::alone(&redis.url()), &[&redis]).await;
    let foreign: Vec<_> = redis.keys().await.into_iter().filter(|key| !key.starts_with("{countersign:")).collect();
    assert!(foreign.is_empty(), "keys without our prefix: {foreign:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn two_replicas_share_a_primary_whose_replica_has_all_that_is_acknowledged() {
    let group = Replicated::start(1).await;
    share(2, &Store::replicated(&group.primary.url()), &[&group.primary]).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn two_replicas_share_what_a_sentinel_watches() {
    let sentinel = Sentinel::start(1).await;
    share(2, &Store::sentinel(&sentinel), &[&sentinel.group.primary]).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn two_replicas_share_a_cluster_and_all_of_its_nodes_have_work() {
    let cluster = Cluster::start().await;
    share(2, &Store::cluster(&cluster), &cluster.nodes.iter().collect::<Vec<_>>()).await;
    for node in &cluster.nodes {
        assert!(!node.keys().await.is_empty(), "a node without a shard");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn fault_14_a_password_is_rotated_without_a_restart_over_tls() {
    let guarded = Guarded::start("first").await;
    let store = Store::alone(&guarded.url())
        .and(&format!("username = \"{USER}\""))
        .and(&format!("password_file = {:?}", guarded.password_file()))
        .and(&format!("ca_file = {:?}", guarded.ca_file()));
    let fleet = Fleet::start(2, &store).await;
    let running = Load::on(&fleet).run(WORKERS);
    running.load.more(5).await;
    guarded.set_password("second").await;
    running.load.more(5).await;
    guarded.throw_out().await;
    running.load.more(20).await;
    let load = running.finish().await;
    journaled(&[&guarded.server]).await;
    let findings = account(fleet, &load).await;
    assert_sound(&findings, &load);
}
