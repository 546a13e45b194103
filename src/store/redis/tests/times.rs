//! A Redis that took over from one whose clock was ahead: it finds the times that were told there.

use super::*;

/// As the last script of the one before left it.
async fn told_before(server: &Server, store: &Redis, shard: Shard, time: Timestamp) {
    let head = store.shared.links.keys.head(shard);
    let micros = time.as_micros().to_string();
    server.tell(&[&b"HSET"[..], &head, b"time", micros.as_bytes()]).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_time_has_ended_stays_ended_when_the_clock_of_redis_goes_back() {
    let server = Server::start().await;
    let (dir, other) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    let one = server.store(dir.path()).await;
    let deadline = one.now().after(Duration::from_secs(20));
    let (id, fact) = opening_until(1, one.now(), deadline);
    one.commit(fact, Seen::Slot(None)).await.unwrap();
    let pending = one.approval(id).await.unwrap().unwrap();
    told_before(&server, &one, Shard::of_approval(id), deadline).await;
    let late = vote(&one, &pending).await;
    assert!(matches!(late, Err(CommitError::Conflict)), "{late:?}");
    assert!(deadline.is_due(one.now()), "from now on it knows");
    let two = server.store(other.path()).await;
    assert!(deadline.is_due(two.now()), "also one that was not there before");
    let late = vote(&two, &pending).await;
    assert!(matches!(late, Err(CommitError::Conflict)), "{late:?}");
    moved(&two, &pending, Transition::Expired { at: two.now() }).await.expect("time can put on record what it did");
    // A look at the clock that is behind changes nothing.
    let told = two.now();
    tokio::time::sleep(Duration::from_secs(1)).await;
    assert!(two.now() >= told);
    open(&two, 2).await;
    assert!(two.now() >= told);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_time_far_ahead_of_the_clock_is_refused_by_name_and_not_waited_for() {
    let server = Server::start().await;
    let (dir, other) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    let one = server.store(dir.path()).await;
    let id = open(&one, 1).await;
    let pending = one.approval(id).await.unwrap().unwrap();
    told_before(&server, &one, Shard::of_approval(id), one.now().after(Duration::from_secs(120))).await;
    let refused = vote(&one, &pending).await;
    assert!(matches!(refused, Err(CommitError::Store(StoreError::Unavailable(_)))), "{refused:?}");
    let two = server.store(other.path()).await;
    assert!(two.trouble().is_some_and(|trouble| trouble.contains("clock")), "{:?}", two.trouble());
    assert!(two.approval(id).await.is_err());
    told_before(&server, &one, Shard::of_approval(id), one.now()).await;
    until("it is near again", async || two.trouble().is_none()).await;
    vote(&one, &pending).await.unwrap();
}
