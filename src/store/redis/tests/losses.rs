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
        silence(&self.maker);
        self.server.kill();
        self.server.run().await;
    }
}

/// As if its process were gone: it looks at Redis no more.
fn silence(store: &Redis) {
    store.log().close();
    store._tasks.0.iter().for_each(tokio::task::JoinHandle::abort);
}

#[tokio::test(flavor = "multi_thread")]
async fn an_old_copy_is_noticed_by_a_replica_that_only_read() {
    let mut scene = Scene::begin().await;
    let used = scene.reader.approval(scene.id).await.unwrap().unwrap();
    assert!(matches!(used.state, ApprovalState::Consumed(_)));
    scene.put_back().await;
    assert!(scene.reader.approval(scene.id).await.is_err());
    assert!(redeem(&scene.reader, 1, &scene.approved).await.is_err());
    until("it is noticed", async || scene.reader.trouble().is_some_and(|why| why.contains("old copy"))).await;
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
async fn what_a_replica_only_heard_of_it_still_knows_when_it_starts_anew() {
    let mut scene = Scene::begin().await;
    let shard = Shard::of_approval(scene.id);
    let dir = scene._dirs[1].path().to_owned();
    let known = scene.maker.shared.links.guard.expected(shard).map(|(_, head)| head);
    let kept = || seen::read(&dir).unwrap().into_iter().find(|seen| seen.shard == shard.number());
    until("it is kept", async || kept().map(|seen| seen.number) == known).await;
    // Or it would find the loss itself, and mark it for its next life.
    silence(&scene.reader);
    scene.put_back().await;
    drop(scene.reader);
    let again = scene.server.store(&dir).await;
    assert!(again.approval(scene.id).await.is_err());
    assert!(redeem(&again, 1, &scene.approved).await.is_err());
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
    let touched = node.write(new.shared.touch(shard, epoch, 0).unwrap()).await.unwrap();
    assert_eq!(answer::verdict(touched.value).unwrap().word, "lost");
    let other = (2..).find(|rows| Shard::of_approval(opening(*rows, new.now()).0) != shard).unwrap();
    let (_, fact) = opening(other, new.now());
    assert!(new.commit(fact, Seen::Slot(None)).await.is_err(), "nor is anything begun in other shards");
}

async fn used(store: &Redis, rows: i64) {
    let id = open(store, rows).await;
    let approved = approve(store, id).await;
    redeem(store, rows, &approved).await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_missing_from_before_the_oldest_open_approval_holds_up_nobody() {
    let server = Server::start().await;
    let (dir, other) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    let (one, two) = (server.store(dir.path()).await, server.store(other.path()).await);
    let rows = of_one_shard(4);
    used(&one, rows[0]).await;
    used(&two, rows[1]).await;
    used(&one, rows[2]).await;
    let pending = open(&one, rows[3]).await;
    server.tell(&["FLUSHALL"]).await;
    one.log().close();
    drop(one);
    let done = reconcile::reconcile(journal(dir.path()), &[], server.settings(), false).await.unwrap();
    assert_eq!(done.denied, [(pending, "pending")]);
    assert_eq!(done.missing, []);
    drop(two);
}

#[tokio::test(flavor = "multi_thread")]
async fn journals_with_a_hole_are_reconciled_where_somebody_says_so() {
    let server = Server::start().await;
    let (dir, other) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    let (one, two) = (server.store(dir.path()).await, server.store(other.path()).await);
    let id = open(&one, 1).await;
    let approved = approve(&two, id).await;
    redeem(&one, 1, &approved).await.unwrap();
    server.tell(&["FLUSHALL"]).await;
    one.log().close();
    drop((one, two));
    let strict = reconcile::reconcile(journal(dir.path()), &[], server.settings(), false).await;
    assert!(matches!(strict, Err(reconcile::ReconcileError::Missing { number: 2, .. })), "{strict:?}");
    let done = reconcile::reconcile(journal(dir.path()), &[], server.settings(), true).await.unwrap();
    assert_eq!(done.denied, [(id, "pending")]);
    assert_eq!(done.missing, [(Shard::of_approval(id).number(), 2)]);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_server_that_runs_while_somebody_reconciles_goes_on_with_what_is_new_alone() {
    let server = Server::start().await;
    let (dir, other) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    let (one, two) = (server.store(dir.path()).await, server.store(other.path()).await);
    let id = open(&one, 1).await;
    let approved = approve(&one, id).await;
    two.log().close();
    drop(two);
    let shard = Shard::of_approval(id);
    let links = &one.shared.links;
    let (epoch, head) = links.guard.expected(shard).unwrap();
    server.tell(&["FLUSHALL"]).await;
    let others = [dir.path().to_owned()];
    // The journal of the one that reconciles knows nothing of this shard; those of others count.
    let done = reconcile::reconcile(journal(other.path()), &others, server.settings(), false).await.unwrap();
    assert_eq!(done.denied, [(id, "approved")]);
    let node = links.owner(shard).unwrap();
    let stale = node.write(one.shared.touch(shard, epoch, head).unwrap()).await.unwrap();
    assert_eq!(answer::verdict(stale.value).unwrap().word, "epoch");
    until("it takes up what is new", async || one.approval(id).await.is_ok()).await;
    assert_eq!(one.approval(id).await.unwrap(), None);
    assert!(redeem(&one, 1, &approved).await.is_err());
    open(&one, 1).await;
    assert_eq!(one.trouble(), None);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_shard_begins_anew_only_as_it_was_found() {
    let server = Server::start().await;
    let dir = tempfile::tempdir().unwrap();
    let store = server.store(dir.path()).await;
    let id = open(&store, 1).await;
    let (links, shard) = (&store.shared.links, Shard::of_approval(id));
    let (epoch, head) = links.guard.expected(shard).unwrap();
    let all = links.keys.of_shard(shard);
    let renew = async |of: &[u8], found: u64| {
        let mut call = links.scripts.renew.call(&all);
        call.arg(&[7_u8; 16][..]).arg(&epoch[..]).arg(head).arg(of).arg(found).arg("");
        answer::number(links.write(shard, &call).await.unwrap().0.value)
    };
    assert_eq!(renew(&epoch, head + 1).await, Some(0));
    assert_eq!(renew(&[8; 16], head).await, Some(0));
    assert!(store.approval(id).await.unwrap().is_some(), "all is as it was");
    assert_eq!(renew(&epoch, head).await, Some(1));
    store.standing(store.approval(id).await.unwrap().unwrap().opening.binding).await.unwrap();
    assert_eq!(links.guard.expected(shard).map(|(epoch, _)| epoch), Some([7; 16]));
}

#[tokio::test(flavor = "multi_thread")]
async fn what_went_on_with_an_old_copy_is_told_and_no_new_fact_has_the_name_of_another() {
    let mut scene = Scene::begin().await;
    let shard = Shard::of_approval(scene.id);
    for task in &scene.reader._tasks.0 {
        task.abort();
    }
    scene.put_back().await;
    // Nobody is left who knows better.
    let fresh = tempfile::tempdir().unwrap();
    let new = scene.server.store(fresh.path()).await;
    let other = open(&new, of_one_shard(2)[1]).await;
    new.log().close();
    drop(new);
    let others = [fresh.path().to_owned()];
    let own = tempfile::tempdir().unwrap();
    let old: Vec<_> = scene._dirs.iter().map(|dir| dir.path().to_owned()).collect();
    // Only the maker's journal tells that there was more.
    let both = [&old[..1], &others[..]].concat();
    let shard_lost = [&b"HSET"[..], &scene.reader.shared.links.keys.head(shard), b"lost", b"an old copy"];
    scene.server.tell(&shard_lost).await;
    let done = reconcile::reconcile(journal(own.path()), &both, scene.server.settings(), false).await.unwrap();
    assert_eq!(done.forked, [(shard.number(), 3)]);
    assert_eq!(done.denied, [(other, "pending")], "and what was used in either is not denied");
    let mut named = std::collections::HashMap::new();
    for dir in both.iter().chain([&own.path().to_owned()]) {
        journal::replay(dir, &mut |raw| {
            let record = raw.parse(&Vault::default()).unwrap();
            if let Some(origin) = record.origin.filter(|origin| origin.number > 3) {
                assert!(named.insert((origin.epoch, origin.number), record.fact).is_none());
            }
        })
        .unwrap();
    }
    assert_eq!(named.len(), 1);
}
