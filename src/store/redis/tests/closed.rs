//! What is refused before anything is used up, and until it is known.

use super::*;

#[tokio::test(flavor = "multi_thread")]
async fn a_grant_is_not_used_up_where_the_disk_is_full() {
    const SEGMENT: u64 = 64 << 10;
    let server = Server::start().await;
    let (dir, other) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    let small = journal::Settings {
        segment_bytes: SEGMENT,
        reserve_bytes: SEGMENT,
        record_bytes_max: 16 << 10,
        quota_bytes: Some(6 * SEGMENT),
        ..journal::Settings::new(dir.path())
    };
    let full = Redis::open(small, server.settings(), Clock::system).unwrap();
    full.reach_out().await.unwrap();
    let good = server.store(other.path()).await;
    let id = open(&good, 1).await;
    let approved = approve(&good, id).await;
    let mut plain = 0;
    until("the disk is full", async || {
        let fact = Fact::Decided(Arc::new(decided(plain, Outcome::Allow, Reason::Permitted)));
        plain += 1;
        while full.commit(fact.clone(), Seen::Nothing).await.is_ok() {}
        full.log().check_room(&fact, 1_000) == Err(journal::AppendError::Full)
    })
    .await;
    let refused = redeem(&full, 1, &approved).await;
    assert!(matches!(refused, Err(CommitError::Store(StoreError::Unavailable(_)))), "{refused:?}");
    let still = good.approval(id).await.unwrap().unwrap();
    assert!(matches!(still.state, ApprovalState::Approved(_)), "{:?}", still.state);
    redeem(&good, 1, &approved).await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_change_that_a_minority_of_servers_has_is_not_enough() {
    let prompt = || vec!["--repl-diskless-sync-delay".to_owned(), "0".to_owned()];
    let server = Server::with(prompt()).await;
    let of = ["--replicaof".to_owned(), "127.0.0.1".to_owned(), server.port.to_string()];
    let mut replicas = Vec::new();
    for _ in 0..3 {
        replicas.push(Server::with([prompt(), of.to_vec()].concat()).await);
    }
    until("three replicas", async || {
        let info = answer::text(server.tell(&["INFO", "replication"]).await).unwrap();
        info.matches("state=online").count() == 3
    })
    .await;
    for (wanted, is_enough) in [(1, false), (2, true)] {
        let dir = tempfile::tempdir().unwrap();
        let settings = Settings { durability: Durability::Replicated { replicas: wanted }, ..server.settings() };
        let store = Redis::open(journal(dir.path()), settings, Clock::system).unwrap();
        let reached = store.reach_out().await;
        if is_enough {
            reached.unwrap();
            open(&store, 1).await;
        } else {
            assert!(matches!(reached, Err(OpenError::Unfit(Trouble::Minority { least: 2, .. }))), "{reached:?}");
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn until_a_replica_has_looked_through_redis_any_query_may_be_waited_for() {
    let server = Server::start().await;
    let (dir, other) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    let one = server.store(dir.path()).await;
    open(&one, 1).await;
    let binding = |rows| decided(rows, Outcome::Allow, Reason::Permitted).binding;
    let [waiting, free] = [binding(1), binding(2)];
    until("nothing else is waited for", async || !one.here(&free, None).may_be_pending).await;
    server.tell(&["ACL", "SETUSER", "default", "-hscan"]).await;
    let two = server.store(other.path()).await;
    // Longer than a scan takes, and its repetition.
    for _ in 0..20 {
        assert!(two.here(&waiting, None).may_be_pending && two.here(&free, None).may_be_pending);
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    server.tell(&["ACL", "SETUSER", "default", "+hscan"]).await;
    until("it has looked", async || !two.here(&free, None).may_be_pending).await;
    assert!(two.here(&waiting, None).may_be_pending);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_redis_that_forgets_or_has_no_replica_is_not_used() {
    let server = Server::start().await;
    let dir = tempfile::tempdir().unwrap();
    let replicated = Settings { durability: Durability::Replicated { replicas: 1 }, ..server.settings() };
    let store = Redis::open(journal(dir.path()), replicated, Clock::system).unwrap();
    assert!(matches!(store.reach_out().await, Err(OpenError::Unfit(Trouble::TooFewReplicas { .. }))));
    let (_, fact) = opening(1, store.now());
    assert!(store.commit(fact, Seen::Slot(None)).await.is_err());
    drop(store);
    server.tell(&["CONFIG", "SET", "maxmemory-policy", "allkeys-lru"]).await;
    let dir = tempfile::tempdir().unwrap();
    let store = Redis::open(journal(dir.path()), server.settings(), Clock::system).unwrap();
    assert!(matches!(store.reach_out().await, Err(OpenError::Unfit(Trouble::Evicts(_)))));
}
