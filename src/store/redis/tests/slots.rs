//! What is damaged, or cannot be read for a moment, holds up nothing else.

use super::*;

#[tokio::test(flavor = "multi_thread")]
async fn a_slot_that_leads_nowhere_is_empty() {
    let server = Server::start().await;
    let dir = tempfile::tempdir().unwrap();
    let store = server.store(dir.path()).await;
    let (id, fact) = opening(1, store.now());
    let binding = decided(1, Outcome::Pending, Reason::ApprovalRequired).binding;
    let slots = store.shared.links.keys.slots(Shard::of_approval(id));
    server.tell(&[&b"HSET"[..], &slots, &binding.0, &[9; 16]]).await;
    assert_eq!(store.standing(binding).await.unwrap(), None);
    store.commit(fact, Seen::Slot(None)).await.unwrap();
    assert_eq!(store.standing(binding).await.unwrap().unwrap().id(), id);
}

#[tokio::test(flavor = "multi_thread")]
async fn what_cannot_be_read_is_not_retired_into_a_slot_that_leads_nowhere() {
    let server = Server::start().await;
    let dir = tempfile::tempdir().unwrap();
    let store = server.store(dir.path()).await;
    let id = open(&store, 1).await;
    let approved = approve(&store, id).await;
    redeem(&store, 1, &approved).await.unwrap();
    let (links, shard) = (&store.shared.links, Shard::of_approval(id));
    let (list, settled) = (links.keys.approval(id), links.keys.settled(shard));
    server.tell(&[&b"LSET"[..], &list, b"0", b"damaged"]).await;
    server.tell(&[&b"ZREM"[..], &links.keys.due(shard), &id.as_bytes()[..]]).await;
    server.tell(&[&b"ZADD"[..], &settled, b"1", &id.as_bytes()[..]]).await;
    assert_eq!(store.shared.retire(shard).await.unwrap(), 0);
    assert_eq!(answer::number(server.tell(&[&b"EXISTS"[..], &list]).await), Some(1));
}

#[tokio::test(flavor = "multi_thread")]
async fn an_approval_that_cannot_be_read_stops_the_time_of_no_other() {
    let server = Server::start().await;
    let dir = tempfile::tempdir().unwrap();
    let store = server.store(dir.path()).await;
    let rows = of_one_shard(2);
    let deadline = store.now().after(Duration::from_millis(300));
    let mut ids = Vec::new();
    for rows in rows {
        let (id, fact) = opening_until(rows, store.now(), deadline);
        store.commit(fact, Seen::Slot(None)).await.unwrap();
        ids.push(id);
    }
    let list = store.shared.links.keys.approval(ids[0]);
    server.tell(&[&b"LSET"[..], &list, b"0", b"damaged"]).await;
    store.until_due().await;
    let due = store.due(store.now(), 10).await.unwrap();
    assert_eq!(due.iter().map(|approval| approval.id()).collect::<Vec<_>>(), [ids[1]]);
    moved(&store, &due[0], Transition::Expired { at: store.now() }).await.unwrap();
    assert!(store.due(store.now(), 10).await.unwrap().is_empty());
    // Nor does the timer run in circles for what it can do nothing about.
    let again = tokio::time::timeout(Duration::from_millis(400), store.until_due()).await;
    assert!(again.is_err());
    let page = Page { size: 10, ..Page::default() };
    assert!(store.list(&page).await.is_err(), "a list does not pretend to be whole");
}

#[tokio::test(flavor = "multi_thread")]
async fn an_event_that_cannot_be_taken_over_keeps_nobody_from_the_next() {
    let server = Server::start().await;
    let (dir, other) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    let (one, two) = (server.store(dir.path()).await, server.store(other.path()).await);
    let rows = of_one_shard(2);
    let first = open(&one, rows[0]).await;
    let events = one.shared.links.keys.events(Shard::of_approval(first));
    server.tell(&[&b"XADD"[..], &events, b"1-5", b"a", b"x", b"t", b"1", b"r", b"no record"]).await;
    let id = open(&one, rows[1]).await;
    one.log().close();
    drop(one);
    left_lying(&server, &two, id, b"1-5").await;
    left_lying(&server, &two, id, b"2-0").await;
    until("it is taken over", async || transitions(other.path(), id) == ["opened"]).await;
    drop(two);
}
