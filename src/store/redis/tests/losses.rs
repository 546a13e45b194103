//! Who notices that Redis lost something, and who hears of it.

use super::*;

/// Two replicas, a grant that the first has used, and a Redis that was put back to the time before.
struct Scene {
    server: Server,
    _dirs: [tempfile::TempDir; 2],
    maker: Redis,
    reader: Redis,
    id: ApprovalId,
    approved: Arc<Approval>,
}

impl Scene {
    async fn begin() -> Self {
        let server = Server::start().await;
        let dirs = [tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap()];
        let (maker, reader) = (server.store(dirs[0].path()).await, server.store(dirs[1].path()).await);
        let id = open(&maker, 1).await;
        let approved = approve(&maker, id).await;
        server.tell(&["SAVE"]).await;
        redeem(&maker, 1, &approved).await.unwrap();
        Self { server, _dirs: dirs, maker, reader, id, approved }
    }

    /// The maker is gone, and what Redis saved is all there is.
    async fn put_back(&mut self) {
        self.maker.log().close();
        for task in &self.maker._tasks.0 {
            task.abort();
        }
        self.server.kill();
        self.server.run().await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn an_old_copy_is_noticed_by_a_replica_that_only_read() {
    let mut scene = Scene::begin().await;
    let used = scene.reader.approval(scene.id).await.unwrap().unwrap();
    assert!(matches!(used.state, ApprovalState::Consumed(_)));
    scene.put_back().await;
    assert!(scene.reader.approval(scene.id).await.is_err());
    assert!(redeem(&scene.reader, 1, &scene.approved).await.is_err());
    let why = scene.reader.trouble().unwrap();
    assert!(why.contains("old copy"), "{why}");
}

#[tokio::test(flavor = "multi_thread")]
async fn an_old_copy_is_noticed_by_a_replica_that_only_heard_of_what_happened() {
    let mut scene = Scene::begin().await;
    let shard = Shard::of_approval(scene.id);
    let known = |store: &Redis| store.shared.links.guard.expected(shard);
    until("it knows what happened", async || known(&scene.reader) == known(&scene.maker)).await;
    scene.put_back().await;
    assert!(redeem(&scene.reader, 1, &scene.approved).await.is_err());
}

#[tokio::test(flavor = "multi_thread")]
async fn what_one_replica_found_lost_a_new_one_does_not_believe_either() {
    let mut scene = Scene::begin().await;
    scene.reader.approval(scene.id).await.unwrap();
    scene.put_back().await;
    assert!(scene.reader.approval(scene.id).await.is_err());
    let head = scene.reader.shared.links.keys.head(Shard::of_approval(scene.id));
    let lost = async || scene.server.tell(&[b"HGET", &head[..], b"lost"]).await;
    until("it is marked", async || answer::text(lost().await).is_some_and(|why| why.contains("old copy"))).await;
    let fresh = tempfile::tempdir().unwrap();
    let new = Redis::open(journal(fresh.path()), scene.server.settings(), Clock::system).unwrap();
    new.reach_out().await.unwrap();
    assert!(new.approval(scene.id).await.is_err());
    assert!(redeem(&new, 1, &scene.approved).await.is_err());
    // Nor do the scripts, whoever runs them.
    let links = &new.shared.links;
    let shard = Shard::of_approval(scene.id);
    let epoch = scene.reader.shared.links.guard.expected(shard).unwrap().0;
    let node = links.owner(shard).unwrap();
    let touched = node.write(new.shared.touch(shard, epoch, 0)).await.unwrap();
    assert_eq!(answer::verdict(touched.value).unwrap().0, "lost");
    let other = (2..).find(|rows| Shard::of_approval(opening(*rows, new.now()).0) != shard).unwrap();
    let (_, fact) = opening(other, new.now());
    assert!(new.commit(fact, Seen::Slot(None)).await.is_err(), "nor is anything begun in other shards");
}
