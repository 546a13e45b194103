//! What `store fsck` finds.

use super::*;

#[tokio::test(flavor = "multi_thread")]
async fn fsck_tells_of_what_does_not_add_up() {
    let server = Server::start().await;
    let dir = tempfile::tempdir().unwrap();
    let store = server.store(dir.path()).await;
    let id = open(&store, 1).await;
    let findings = async || fsck::check(server.settings(), &Vault::default()).await.unwrap().findings;
    assert_eq!(findings().await, Vec::<String>::new());
    let links = &store.shared.links;
    let shard = Shard::of_approval(id);
    let due = links.keys.due(shard);
    server.tell(&[b"ZADD", &due[..], b"7", &id.as_bytes()[..]]).await;
    assert!(findings().await.concat().contains("time moves it on"));
    server.tell(&[b"ZREM", &due[..], &id.as_bytes()[..]]).await;
    let told = findings().await;
    assert!(told.len() == 2 && told.concat().contains("0 approvals are pending, and 1 are counted"), "{told:?}");
    let list = links.keys.approval(id);
    server.tell(&[b"LSET", &list[..], b"0", b"1 7 approved 0 1"]).await;
    assert!(findings().await.concat().contains("do not add up"));
    assert!(store.approval(id).await.is_err(), "and nobody is told that it is approved");
}

#[tokio::test(flavor = "multi_thread")]
async fn fsck_names_marks_lives_events_and_entities_that_are_not_as_they_must_be() {
    let server = Server::start().await;
    let dir = tempfile::tempdir().unwrap();
    let store = server.store(dir.path()).await;
    entities::put_and_delete(&store).await;
    entities::put_and_delete(&store).await;
    let keys = &store.shared.links.keys;
    let (head, events, hash) = (keys.head(Shard::of_entities()), keys.events(Shard::of_entities()), keys.entities());
    let findings = async || fsck::check(server.settings(), &Vault::default()).await.unwrap().findings;
    assert_eq!(findings().await, Vec::<String>::new());
    // Nobody marks or takes up what is damaged here.
    store._tasks.0.iter().for_each(JoinHandle::abort);
    let field = async |name: &str| answer::bytes(server.tell(&[&b"HGET"[..], &head, name.as_bytes()]).await).unwrap();
    for (name, value, told) in [
        ("lost", &b"an old copy"[..], "marked as lost: an old copy"),
        ("epoch", b"short", "its epoch is none"),
        ("after", &field("epoch").await, "one of those that it took the place of"),
        ("head", b"3", "and it has an event 4"),
        ("head", b"7", "its last event is 4"),
        ("entities", b"5 4 2", "2 are counted, and 0 are there"),
        ("entities", b"4 4 0", "event 4 is not change 4"),
        ("entities", b"many", "changes is none"),
    ] {
        let before = server.tell(&[&b"HGET"[..], &head, name.as_bytes()]).await;
        server.tell(&[&b"HSET"[..], &head, name.as_bytes(), value]).await;
        let findings = findings().await.concat();
        assert!(findings.contains(told), "{name}: {findings}");
        match answer::bytes(before) {
            Some(before) => server.tell(&[&b"HSET"[..], &head, name.as_bytes(), &before]).await,
            None => server.tell(&[&b"HDEL"[..], &head, name.as_bytes()]).await,
        };
    }
    server.tell(&[&b"HSET"[..], &hash, b"somebody", b"something"]).await;
    assert!(findings().await.concat().contains("is not that entity"));
    server.tell(&[&b"HDEL"[..], &hash, b"somebody"]).await;
    assert_eq!(findings().await, Vec::<String>::new());
    server.tell(&[&b"XDEL"[..], &events, b"2-0"]).await;
    assert!(findings().await.concat().contains("event 3 follows event 1"));
}
