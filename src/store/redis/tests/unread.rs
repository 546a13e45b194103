//! An event that nobody can read: nobody is led past it, nobody is kept by it from what is behind, and everybody hears of it.

use super::*;
use crate::store::feed::{Feed, FeedError};

/// A store with an event in the middle that says nothing, made by a replica that is gone, and two that are as they should be.
struct Scene {
    server: Server,
    _dir: tempfile::TempDir,
    store: Redis,
    shard: Shard,
}

impl Scene {
    async fn begin() -> Self {
        let server = Server::start().await;
        let dir = tempfile::tempdir().unwrap();
        let store = server.store(dir.path()).await;
        let [first, last] = of_one_shard(2)[..] else { unreachable!() };
        let shard = Shard::of_approval(open(&store, first).await);
        until("it listens", async || store.shared.heard.borrow()[shard.index()] == 1).await;
        let (head, events) = (store.shared.links.keys.head(shard), store.shared.links.keys.events(shard));
        server.tell(&[&b"HINCRBY"[..], &head, b"head", b"1"]).await;
        server.tell(&[&b"XADD"[..], &events, b"2-0", b"what", b"ever"]).await;
        server.tell(&[&b"XCLAIM"[..], &events, b"journal", b"gone", b"0", b"2-0", b"FORCE"]).await;
        open(&store, last).await;
        Self { server, _dir: dir, store, shard }
    }

    async fn until_heard(&self) {
        until("what is behind it is heard of", async || self.store.shared.heard.borrow()[self.shard.index()] == 3)
            .await;
    }

    async fn numbers(&self, after: u64) -> Result<Vec<u64>, FeedError> {
        let events = self.store.after(self.shard.number(), after, 10).await?;
        Ok(events.into_iter().map(|event| event.origin.number).collect())
    }

    async fn connections(&self) -> u64 {
        let info = answer::text(self.server.tell(&["INFO", "stats"]).await).unwrap();
        let line = info.lines().find_map(|line| line.strip_prefix("total_connections_received:")).unwrap();
        line.parse().unwrap()
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_behind_an_event_that_cannot_be_read_is_heard_of_without_dialling_again_and_again() {
    let scene = Scene::begin().await;
    scene.until_heard().await;
    let before = scene.connections().await;
    tokio::time::sleep(Duration::from_secs(1)).await;
    assert_eq!(scene.connections().await, before + 1, "the one that asks");
}

#[tokio::test(flavor = "multi_thread")]
async fn nobody_is_led_past_an_event_that_cannot_be_read_or_is_missing() {
    let scene = Scene::begin().await;
    assert_eq!(scene.numbers(0).await.unwrap(), [1]);
    assert!(matches!(scene.numbers(1).await, Err(FeedError::Unreadable(_))));
    assert_eq!(scene.numbers(2).await.unwrap(), [3]);
    let events = scene.store.shared.links.keys.events(scene.shard);
    scene.server.tell(&[&b"XDEL"[..], &events, b"2-0"]).await;
    assert_eq!(scene.numbers(0).await.unwrap(), [1]);
    assert!(matches!(scene.numbers(1).await, Err(FeedError::Unreadable(_))));
}

#[tokio::test(flavor = "multi_thread")]
async fn an_event_that_cannot_be_read_shows_until_it_is_gone_and_is_taken_off_by_nobody() {
    let scene = Scene::begin().await;
    let (store, events) = (&scene.store, scene.store.shared.links.keys.events(scene.shard));
    let says = format!("event 2-0 of shard {}", scene.shard.number());
    until("it shows", async || store.trouble().is_some_and(|why| why.contains(&says))).await;
    // Several times as long as the lease.
    tokio::time::sleep(Duration::from_secs(1)).await;
    let waiting = scene.server.tell(&[&b"XPENDING"[..], &events, b"journal", b"2-0", b"2-0", b"1"]).await;
    assert_eq!(answer::array(waiting, "XPENDING").unwrap().len(), 1);
    assert_eq!(store.meters().unreadable.get(), 1, "once, however often it is found");
    let findings = fsck::check(scene.server.settings(), &Vault::default(), &[]).await.unwrap().findings;
    assert!(findings.iter().any(|finding| finding.contains("event 2-0")), "{findings:?}");
    scene.server.tell(&[&b"XDEL"[..], &events, b"2-0"]).await;
    until("it is gone", async || store.trouble().is_none()).await;
}
