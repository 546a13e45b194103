//! What is heard of what happens elsewhere, and what is made of it where it was not heard.

use super::*;

/// An event as the script writes it, of an approval that nobody waits for.
async fn happens(server: &Server, stream: &[u8], number: u64) {
    let place = format!("{number}-0");
    let words: [&[u8]; 15] = [
        b"XADD",
        stream,
        place.as_bytes(),
        b"a",
        &[9; 16],
        b"b",
        &[9; 32],
        b"s",
        b"approved",
        b"d",
        b"0",
        b"t",
        b"1",
        b"r",
        b"x",
    ];
    server.tell(&words).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn who_waits_for_something_that_was_let_go_of_before_it_was_heard_looks_again() {
    let server = Server::start().await;
    let dir = tempfile::tempdir().unwrap();
    let store = server.store(dir.path()).await;
    let stream = store.shared.links.keys.events(Shard::of_entities());
    happens(&server, &stream, 1).await;
    until("it listens", async || store.shared.heard.borrow()[0] == 1).await;
    let changes = store.changes(ApprovalId::from_bytes([7; 16]));
    // Those in between may have been what is waited for.
    happens(&server, &stream, 50).await;
    let woken = tokio::time::timeout(Duration::from_secs(5), changes.changed()).await;
    assert!(woken.is_ok(), "nobody looks");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_grant_that_was_heard_of_and_lost_to_another_change_of_that_number_is_not_redeemed() {
    let server = Server::start().await;
    let dir = tempfile::tempdir().unwrap();
    let store = server.store(dir.path()).await;
    let id = open(&store, 1).await;
    let approved = approve(&store, id).await;
    assert_eq!(store.heard(id).as_ref(), Some(&approved));
    // A failover lost the vote, and somebody rejected instead.
    let list = store.shared.links.keys.approval(id);
    let is = answer::text(server.tell(&[&b"LINDEX"[..], &list, b"0"]).await).unwrap();
    let mut words: Vec<&str> = is.split(' ').collect();
    (words[1], words[2]) = ("0", "rejected");
    server.tell(&[&b"LSET"[..], &list, b"0", words.join(" ").as_bytes()]).await;
    let used = redeem(&store, 1, &approved).await;
    assert!(matches!(used, Err(CommitError::Conflict)), "{used:?}");
    assert_eq!(store.heard(id), None, "it is not tried again");
}

#[tokio::test(flavor = "multi_thread")]
async fn who_waits_elsewhere_has_heard_what_the_approval_has_become_when_he_is_woken() {
    let server = Server::start().await;
    let (dir, other) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    let (one, two) = (server.store(dir.path()).await, server.store(other.path()).await);
    let id = open(&one, 1).await;
    until("it listens", async || two.shared.heard.borrow()[Shard::of_approval(id).index()] == 1).await;
    let changes = two.changes(id);
    let pending = two.approval(id).await.unwrap().unwrap();
    let approved = approve(&one, id).await;
    assert!(tokio::time::timeout(Duration::from_secs(5), changes.changed()).await.is_ok());
    let heard = two.heard(id).unwrap();
    assert_eq!((&heard, pending.version + 1), (&approved, approved.version));
    assert!(redeem(&two, 1, &heard).await.is_ok());
}
