//! What `store fsck` finds.

use super::*;

#[tokio::test(flavor = "multi_thread")]
async fn fsck_tells_of_what_does_not_add_up() {
    let server = Server::start().await;
    let dir = tempfile::tempdir().unwrap();
    let store = server.store(dir.path()).await;
    let id = open(&store, 1).await;
    let findings = async || fsck::check(server.settings(), &Vault::default(), &[]).await.unwrap().findings;
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
    let findings = async || fsck::check(server.settings(), &Vault::default(), &[]).await.unwrap().findings;
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

#[tokio::test(flavor = "multi_thread")]
async fn fsck_holds_the_journals_of_all_replicas_against_each_other_and_against_redis() {
    let server = Server::start().await;
    let dirs = [tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap()];
    let (one, other) = (server.store(dirs[0].path()).await, server.store(dirs[1].path()).await);
    for rows in 1..20 {
        let id = open(&one, rows).await;
        let approved = approve(&other, id).await;
        if rows % 2 == 0 {
            redeem(&one, rows, &approved).await.unwrap();
        }
    }
    let findings = async |dirs: &[tempfile::TempDir]| {
        let dirs: Vec<_> = dirs.iter().map(|dir| dir.path().to_owned()).collect();
        fsck::check(server.settings(), &Vault::default(), &dirs).await.unwrap().findings
    };
    let waiting = async |store: &Redis, shard: Shard| {
        let asked = server.tell(&[&b"XPENDING"[..], &store.shared.links.keys.events(shard), b"journal"]).await;
        answer::array(asked, "XPENDING").unwrap().into_iter().next().and_then(answer::unsigned)
    };
    until("all is on record", async || {
        for shard in Shard::all() {
            if waiting(&one, shard).await.unwrap_or(0) > 0 {
                return false;
            }
        }
        true
    })
    .await;
    assert_eq!(findings(&dirs).await, Vec::<String>::new());
    let half = findings(&dirs[..1]).await;
    assert_eq!(half.len(), 19, "what the other did is in none of these: {half:?}");
    assert!(half.iter().all(|finding| finding.contains("in none of the journals")), "{half:?}");
    // One settlement is another in Redis than in the journals, by an event that looks like any other.
    let id = open(&one, 100).await;
    let pending = one.approval(id).await.unwrap().unwrap();
    moved(&one, &pending, Transition::Expired { at: pending.opening.deadline }).await.unwrap_err();
    vote(&other, &pending).await.unwrap();
    let (keys, vault) = (&one.shared.links.keys, Vault::default());
    let rejected = {
        let gates = vec![PolicyId("gate".into())];
        let review = Review {
            reviewer: person("bob"),
            verdict: Verdict::Reject,
            gates,
            comment: None,
            at: one.now(),
            stands_in: Vec::new(),
        };
        Transition::Rejected(review)
    };
    let record = crate::store::redis::stored::kept(&vault, &pending, &rejected).unwrap();
    let list = keys.approval(id);
    server.tell(&[&b"RPOP"[..], &list]).await;
    server.tell(&[&b"RPUSH"[..], &list, &record]).await;
    let now = format!("{} 0 rejected 0 2", pending.version + 1);
    server.tell(&[&b"LSET"[..], &list, b"0", now.as_bytes()]).await;
    let forked = findings(&dirs).await.concat();
    assert!(forked.contains("is rejected in redis, and approved by the journals"), "{forked}");
}

#[tokio::test(flavor = "multi_thread")]
async fn fsck_names_two_settlements_of_one_approval_in_two_journals() {
    let mut server = Server::start().await;
    let dirs = [tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap()];
    let store = server.store(dirs[0].path()).await;
    let id = open(&store, 1).await;
    let pending = store.approval(id).await.unwrap().unwrap();
    server.tell(&["SAVE"]).await;
    vote(&store, &pending).await.unwrap();
    // Redis is put back to before the vote, and nobody is left who knows of it.
    store.log().close();
    drop(store);
    server.kill();
    server.run().await;
    let other = server.store(dirs[1].path()).await;
    let withdrawn = Transition::Cancelled { by: person("agent"), comment: None, at: other.now() };
    moved(&other, &pending, withdrawn).await.unwrap();
    let dirs: Vec<_> = dirs.iter().map(|dir| dir.path().to_owned()).collect();
    let findings = fsck::check(server.settings(), &Vault::default(), &dirs).await.unwrap().findings;
    let told = findings.concat();
    assert!(told.contains("is told in 2 ways") && told.contains(&format!("{id}: by the journals")), "{findings:?}");
}
