//! Entities that were put over the API, when Redis or a replica is not what it was.

use super::super::entities::BEHIND_MAX;
use super::*;
use crate::domain::{EntitiesChanged, Entity};

fn group(id: &str) -> Arc<Entity> {
    Arc::new(Entity::bare(EntityUid::new("Group", id), Vec::new()))
}

async fn change(store: &Redis, put: &[&str], deleted: &[&str]) -> Result<Committed, CommitError> {
    let version = store.newest_entities().await?.version;
    let put = put.iter().map(|id| group(id)).collect();
    let deleted = deleted.iter().map(|id| EntityUid::new("Group", id)).collect();
    let (by, request_id) = (Some(person("root")), "request".into());
    let changed = EntitiesChanged { by, put, deleted, request_id, version: 0, more_follows: false };
    store.commit(Fact::EntitiesChanged(changed), Seen::Entities(version)).await
}

/// All that is asked of Redis for it.
pub(super) async fn put_and_delete(store: &Redis) {
    change(store, &["a"], &[]).await.unwrap();
    change(store, &[], &["a"]).await.unwrap();
}

async fn known(store: &Redis) -> Option<Vec<String>> {
    let known = store.entities().await.ok()?;
    Some(known.data.keys().map(|uid| uid.id.to_string()).collect())
}

async fn until_known(store: &Redis, expected: &[&str]) {
    until("the entities are known", async || known(store).await.is_some_and(|known| known == *expected)).await;
}

/// Who changed what, by the events in a journal; what was taken up is left out.
fn told(dir: &Path) -> Vec<String> {
    let mut told = Vec::new();
    journal::replay(dir, &mut |raw| {
        if let Fact::EntitiesChanged(changed) = raw.parse(&Vault::default()).unwrap().fact
            && changed.by.is_some()
        {
            told.extend(changed.put.iter().map(|entity| entity.uid.id.to_string()));
        }
    })
    .unwrap();
    told
}

/// As if its process were gone.
async fn end(store: Redis) {
    store.log().close();
    store._tasks.0.iter().for_each(tokio::task::JoinHandle::abort);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_server_that_starts_without_redis_knows_what_its_journal_has_and_an_empty_journal_knows_nothing() {
    let mut server = Server::start().await;
    let (dir, other, fresh) =
        (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    let (one, two) = (server.store(dir.path()).await, server.store(other.path()).await);
    assert_eq!(known(&two).await, Some(vec![]), "that there are none is known as well");
    change(&one, &["a", "b"], &[]).await.unwrap();
    change(&one, &["c"], &["a"]).await.unwrap();
    until_known(&two, &["b", "c"]).await;
    server.kill();
    for store in [one, two] {
        end(store).await;
    }
    let open = |dir: &Path| Redis::open(journal(dir), server.settings(), Clock::system).unwrap();
    let (one, two, new) = (open(dir.path()), open(other.path()), open(fresh.path()));
    for store in [&one, &two] {
        assert_eq!(known(store).await.unwrap(), ["b", "c"]);
        assert!(change(store, &["d"], &[]).await.is_err(), "and nobody changes them alone");
    }
    let unknown = new.entities().await.unwrap_err();
    assert!(std::error::Error::source(&unknown).unwrap().to_string().contains("journal has none"), "{unknown}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_change_whose_hint_was_lost_is_taken_up_within_two_seconds() {
    let server = Server::start().await;
    let (dir, other) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    let (one, two) = (server.store(dir.path()).await, server.store(other.path()).await);
    // Nobody is told anything.
    server.tell(&["ACL", "SETUSER", "default", "-xread"]).await;
    tokio::time::sleep(Duration::from_millis(800)).await;
    change(&one, &["a"], &[]).await.unwrap();
    let began = std::time::Instant::now();
    until_known(&two, &["a"]).await;
    assert!(began.elapsed() < Duration::from_secs(2), "{:?}", began.elapsed());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_change_whose_maker_died_is_in_one_journal_and_undoes_nothing_that_came_after_it() {
    let server = Server::start().await;
    let (dir, other) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    let (one, two) = (server.store(dir.path()).await, server.store(other.path()).await);
    // Its disk is gone: Redis has the change, and no journal.
    one.log().close();
    assert!(change(&one, &["a"], &[]).await.is_err());
    // What Redis has done and the maker could not record is there to be done by the maker's own check alone.
    end(one).await;
    change(&two, &["b"], &[]).await.unwrap();
    let head = two.shared.links.keys.head(Shard::of_entities());
    let entities = answer::text(server.tell(&[&b"HGET"[..], &head, b"entities"]).await).unwrap();
    assert_eq!(entities, "2 1 1", "nothing was begun that no journal takes");
    let event = two.shared.links.keys.events(Shard::of_entities());
    server.tell(&[&b"XCLAIM"[..], &event, b"journal", b"gone", b"0", b"1-0", b"FORCE"]).await;
    change(&two, &[], &["b"]).await.unwrap();
    // It lies there for longer than the lease, and is in the journal that it is taken over into already.
    tokio::time::sleep(Duration::from_millis(800)).await;
    assert_eq!(told(other.path()), ["b"]);
    assert_eq!(known(&two).await.unwrap(), Vec::<String>::new());
}

#[tokio::test(flavor = "multi_thread")]
async fn what_others_left_lying_is_journaled_once_and_a_restart_does_not_take_it_for_new() {
    let mut server = Server::start().await;
    let (dir, other) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    let one = server.store(dir.path()).await;
    change(&one, &["a"], &[]).await.unwrap();
    let event = one.shared.links.keys.events(Shard::of_entities());
    server.tell(&[&b"XCLAIM"[..], &event, b"journal", b"gone", b"0", b"1-0", b"FORCE"]).await;
    end(one).await;
    let two = server.store(other.path()).await;
    until_known(&two, &["a"]).await;
    change(&two, &["b"], &["a"]).await.unwrap();
    until("it is taken over", async || told(other.path()) == ["b", "a"]).await;
    server.kill();
    end(two).await;
    let two = Redis::open(journal(other.path()), server.settings(), Clock::system).unwrap();
    assert_eq!(known(&two).await.unwrap(), ["b"], "what came late to the journal is older");
}

#[tokio::test(flavor = "multi_thread")]
async fn what_vanished_with_redis_is_put_back_from_the_journals() {
    let server = Server::start().await;
    let (dir, other) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    let (one, two) = (server.store(dir.path()).await, server.store(other.path()).await);
    change(&one, &["a"], &[]).await.unwrap();
    change(&two, &["b"], &["a"]).await.unwrap();
    until_known(&one, &["b"]).await;
    server.tell(&["FLUSHALL"]).await;
    assert!(change(&one, &["c"], &[]).await.is_err(), "nothing is put into what is lost");
    assert_eq!(known(&one).await.unwrap(), ["b"], "who runs goes on with what he knows");
    end(two).await;
    let done = reconcile::reconcile(journal(other.path()), &[dir.path().to_owned()], server.settings(), false).await;
    assert_eq!(done.unwrap().entities, Some(1));
    until("it goes on", async || change(&one, &["c"], &[]).await.is_ok()).await;
    let fresh = tempfile::tempdir().unwrap();
    until_known(&server.store(fresh.path()).await, &["b", "c"]).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_old_copy_whose_entities_are_older_is_not_believed() {
    let server = Server::start().await;
    let (dir, other) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    let (one, two) = (server.store(dir.path()).await, server.store(other.path()).await);
    change(&one, &["a"], &[]).await.unwrap();
    until_known(&two, &["a"]).await;
    change(&one, &[], &["a"]).await.unwrap();
    until_known(&two, &[]).await;
    // Counted on since, so that the number of events looks right.
    let head = one.shared.links.keys.head(Shard::of_entities());
    server.tell(&[&b"HSET"[..], &head, b"entities", b"2 1 1", b"head", b"9"]).await;
    until("it is noticed", async || two.trouble().is_some_and(|why| why.contains("changes of entities"))).await;
    assert_eq!(known(&two).await.unwrap(), Vec::<String>::new());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_replica_that_cannot_take_up_what_others_changed_does_not_go_on_for_long() {
    let server = Server::start().await;
    let (dir, other) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    let (one, two) = (server.store(dir.path()).await, server.store(other.path()).await);
    change(&one, &["a"], &[]).await.unwrap();
    until_known(&two, &["a"]).await;
    // As if its disk took nothing any more.
    two.log().close();
    change(&one, &[], &["a"]).await.unwrap();
    tokio::time::sleep(BEHIND_MAX).await;
    until("it knows that it is behind", async || known(&two).await.is_none()).await;
    assert_eq!(known(&one).await.unwrap(), Vec::<String>::new());
}

/// Two stores, the second of which knows of `a` and that there is something newer, which it cannot take up.
async fn one_behind(server: &Server, dir: &Path, other: &Path) -> (Redis, Redis) {
    let (one, two) = (server.store(dir).await, server.store(other).await);
    change(&one, &["a"], &[]).await.unwrap();
    until_known(&two, &["a"]).await;
    two.log().close();
    change(&one, &["b"], &[]).await.unwrap();
    until("it knows that it is behind", async || two.shared.kept.is_known_to_be_behind()).await;
    (one, two)
}

#[tokio::test(flavor = "multi_thread")]
async fn a_replica_that_saw_a_change_which_a_failover_then_lost_goes_on_with_what_is() {
    let server = Server::start().await;
    let (dir, other) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    let (one, two) = one_behind(&server, dir.path(), other.path()).await;
    // Who made it is gone: he would know that something is lost.
    end(one).await;
    until("it closes", async || known(&two).await.is_none()).await;
    let mut news = two.entity_news().unwrap();
    news.mark_unchanged();
    let head = two.shared.links.keys.head(Shard::of_entities());
    server.tell(&[&b"HSET"[..], &head, b"entities", b"2 1 1"]).await;
    until_known(&two, &["a"]).await;
    until("whoever decides is told", async || news.has_changed().unwrap()).await;
    assert_eq!(two.trouble(), None, "what was never acknowledged is no loss");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_replica_that_is_known_to_be_behind_closes_though_redis_is_gone() {
    let mut server = Server::start().await;
    let (dir, other) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    let (_one, two) = one_behind(&server, dir.path(), other.path()).await;
    let mut news = two.entity_news().unwrap();
    server.kill();
    until("it closes", async || known(&two).await.is_none()).await;
    // From here on nobody but the passing of time could tell.
    news.mark_unchanged();
    until("whoever decides is told", async || news.has_changed().unwrap()).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_replica_goes_by_what_it_knows_only_for_so_long_without_redis_over_starts_as_well() {
    let mut server = Server::start().await;
    let dir = tempfile::tempdir().unwrap();
    let one = server.store(dir.path()).await;
    change(&one, &["a"], &[]).await.unwrap();
    let kept = dir.path().join("entities-as-of");
    until("it is kept", async || kept.exists()).await;
    server.kill();
    end(one).await;
    let settings = Settings { entities_max_age: 2 * HOUR, ..server.settings() };
    let check = async |as_of: Option<Timestamp>, expected: Option<Vec<String>>| {
        match as_of {
            Some(as_of) => std::fs::write(&kept, as_of.as_micros().to_string()).unwrap(),
            None => std::fs::remove_file(&kept).unwrap(),
        }
        let one = Redis::open(journal(dir.path()), settings.clone(), Clock::system).unwrap();
        assert_eq!(known(&one).await, expected, "as of {as_of:?}");
        end(one).await;
    };
    let now = Clock::system(Timestamp::default()).now();
    let known_one = Some(vec!["a".to_owned()]);
    check(Some(now.before(HOUR)), known_one.clone()).await;
    check(Some(now.before(3 * HOUR)), None).await;
    check(Some(now.after(HOUR)), None).await;
    // What was not kept is as old as the newest record.
    check(None, known_one.clone()).await;
    std::fs::write(&kept, now.before(3 * HOUR).as_micros().to_string()).unwrap();
    let one = Redis::open(journal(dir.path()), settings, Clock::system).unwrap();
    let news = one.entity_news().unwrap();
    until("whoever decides is told", async || news.has_changed().unwrap()).await;
    let why = one.entities().await.unwrap_err().why();
    assert!(why.contains("entities_max_age"), "{why}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_change_that_is_taken_over_from_its_maker_comes_into_the_journal_behind_those_before_it() {
    let mut server = Server::start().await;
    let (dir, other) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    let (one, two) = (server.store(dir.path()).await, server.store(other.path()).await);
    // It is slow to take up the first change, and the second lies there for longer than the lease.
    let turn = two.shared.kept.turn.lock().await;
    change(&one, &["a"], &[]).await.unwrap();
    let first = two.shared.newest_change().await.unwrap();
    change(&one, &["b"], &[]).await.unwrap();
    let (epoch, event) =
        (two.shared.epoch(Shard::of_entities()).unwrap(), two.shared.links.keys.events(Shard::of_entities()));
    end(one).await;
    server.tell(&[&b"XCLAIM"[..], &event, b"journal", b"gone", b"0", b"2-0", b"FORCE"]).await;
    tokio::time::sleep(Duration::from_millis(1_000)).await;
    assert_eq!(told(other.path()), Vec::<String>::new());
    two.shared.take_up(epoch, Some(1), first).await.unwrap();
    drop(turn);
    until("it is taken over", async || told(other.path()) == ["b"]).await;
    until_known(&two, &["a", "b"]).await;
    server.kill();
    end(two).await;
    let two = Redis::open(journal(other.path()), server.settings(), Clock::system).unwrap();
    assert_eq!(known(&two).await.unwrap(), ["a", "b"]);
}

#[tokio::test(flavor = "multi_thread")]
async fn entities_outlive_what_the_journal_forgets() {
    let server = Server::start().await;
    let dir = tempfile::tempdir().unwrap();
    let store = server.store(dir.path()).await;
    change(&store, &["a", "b"], &[]).await.unwrap();
    change(&store, &["c"], &["a"]).await.unwrap();
    let last = store.log().durable_through();
    assert!(store.oldest_entity() <= Some(last));
    store.restate_entities(last + 1).await.unwrap();
    assert!(store.oldest_entity() > Some(last), "what is older may go now");
    assert_eq!(known(&store).await.unwrap(), ["b", "c"]);
}
