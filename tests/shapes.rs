//! The ground under the tests of many replicas: every shape of Redis starts, does what it is for, and is gone afterwards.

use std::time::Duration;

use tokio::time::timeout;

use crate::support::redis::proxy::Mode;
use crate::support::redis::server::ask;
use crate::support::redis::tls::{Guarded, PREFIX, USER};
use crate::support::redis::{Cluster, Proxy, Redis, Replicated, Sentinel, until};

const SOON: Duration = Duration::from_millis(300);

#[tokio::test(flavor = "multi_thread")]
async fn a_server_is_killed_paused_started_again_and_gone_with_its_owner() {
    let mut server = Redis::start().await;
    server.ask::<()>(&["SET", "key", "value"]).await;
    server.pause();
    assert!(timeout(SOON, server.try_ask::<String>(&["GET", "key"])).await.is_err());
    server.resume();
    assert_eq!(server.ask::<String>(&["GET", "key"]).await, "value");
    server.start_again().await;
    assert_eq!(server.ask::<Option<String>>(&["GET", "key"]).await, None);
    let url = server.url();
    drop(server);
    assert!(ask::<String>(&url, &["PING"]).await.is_err());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_proxy_passes_holds_swallows_and_refuses() {
    let server = Redis::start().await;
    let proxy = Proxy::to(server.port).await;
    let url = proxy.url();
    let ping = async || ask::<String>(&url, &["PING"]).await;
    assert_eq!(ping().await.unwrap(), "PONG");
    proxy.set(Mode::Hold);
    let held = tokio::spawn({
        let url = url.clone();
        async move { ask::<String>(&url, &["PING"]).await }
    });
    assert!(timeout(SOON, ping()).await.is_err());
    proxy.set(Mode::Pass);
    assert_eq!(held.await.unwrap().unwrap(), "PONG");
    proxy.set(Mode::Swallow);
    assert!(timeout(SOON, ping()).await.is_err());
    proxy.set(Mode::Refuse);
    assert!(ping().await.is_err());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_replica_that_is_cut_off_acknowledges_nothing_and_catches_up() {
    let group = Replicated::start(1).await;
    let replica = &group.replicas[0];
    group.link.set(Mode::Refuse);
    group.primary.ask::<()>(&["SET", "key", "value"]).await;
    assert_eq!(replica.ask::<Option<String>>(&["GET", "key"]).await, None);
    group.link.set(Mode::Pass);
    until("the write arrives", async || replica.ask::<Option<String>>(&["GET", "key"]).await.is_some()).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_sentinel_promotes_the_replica_of_a_dead_primary() {
    let mut sentinel = Sentinel::start(1).await;
    let replica = sentinel.group.replicas[0].port;
    assert_eq!(sentinel.fail_over().await, replica);
    sentinel.server(replica).ask::<()>(&["SET", "key", "value"]).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_cluster_of_three_divides_the_slots() {
    let cluster = Cluster::start().await;
    let mut moved = 0;
    for node in &cluster.nodes {
        moved += usize::from(node.try_ask::<()>(&["SET", "{tag}", "value"]).await.is_err());
    }
    assert_eq!(moved, 2, "one of the three has the slot");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_guarded_server_lets_in_whoever_has_todays_password_and_to_our_keys_only() {
    let guarded = Guarded::start("first").await;
    let ask_as = async |password: &str, key: &str| {
        let url = format!("redis://{USER}:{password}@127.0.0.1:{}", guarded.server.port);
        ask::<Option<String>>(&url, &["GET", key]).await
    };
    let ours = format!("{{{PREFIX}:0}}key");
    assert!(ask_as("first", &ours).await.is_ok());
    assert!(ask_as("first", "key").await.is_err());
    guarded.set_password("second").await;
    guarded.throw_out().await;
    assert!(ask_as("first", &ours).await.is_err() && ask_as("second", &ours).await.is_ok());
}
