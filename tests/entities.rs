//! The server's own entity data, put over the API: in force at once, durable, and nobody's but the administrator's.

use std::collections::BTreeMap;
use std::sync::Arc;

use countersign::domain::{EntitiesChanged, Entity, EntityUid, Fact};
use countersign::store::{Clock, Embedded, ManualClock, Seen, Store, embedded};
use countersign::wire::pb;
use countersign::{journal, service};
use pb::Outcome;
use tonic::Code;

use crate::support::actors::{agent, gateway};
use crate::support::client::{export, field, query, reason, uid};
use crate::support::{Admin, Options, PolicyDir, TestServer, today};

/// Only who is in the group of readers reads what is in the library.
const LIBRARY: &str =
    r#"@id("readers") permit (principal in Group::"readers", action == Action::"read", resource is Dataset);"#;

fn member(id: &str, group: &str) -> pb::Entity {
    pb::Entity { uid: Some(uid("Agent", id)), parents: vec![uid("Group", group)], ..pb::Entity::default() }
}

fn dataset(id: &str, pii: bool) -> pb::Entity {
    let pii = pb::Value { kind: Some(pb::value::Kind::Bool(pii)) };
    let attributes = BTreeMap::from([("pii".to_owned(), pii)]);
    pb::Entity { uid: Some(uid("Dataset", id)), attributes, ..pb::Entity::default() }
}

/// The extended policies, where reading takes more than being an agent.
fn library() -> PolicyDir {
    PolicyDir::extended().and(LIBRARY).and(
        r#"@id("library") forbid (principal is Agent, action == Action::"read", resource is Dataset)
           unless { principal in Group::"readers" };"#,
    )
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_put_counts_for_the_next_answer_survives_a_restart_and_ends_when_it_is_deleted() {
    let policies = library();
    let server = policies.serve().await;
    let worker = agent("worker");
    let read = || query("read", "Dataset", "weather");
    let (admin, client) = (server.admin().await, server.client_of(&worker).await);
    assert_eq!(client.authorize(read()).await.unwrap().outcome(), Outcome::Deny);
    let put = admin.put(vec![member("worker", "desk"), member("other", "desk")]).await.unwrap();
    assert_eq!(put.changed, 2);
    let desk =
        pb::Entity { uid: Some(uid("Group", "desk")), parents: vec![uid("Group", "readers")], ..Default::default() };
    let put = admin.put(vec![desk]).await.unwrap();
    let answer = client.authorize(read()).await.unwrap();
    assert_eq!((answer.outcome(), answer.policy_revision), (Outcome::Allow, put.policy_revision));

    let same = admin.put(vec![member("worker", "desk")]).await.unwrap();
    assert_eq!((same.changed, same.policy_revision), (0, put.policy_revision));
    let server = server.restart().await;
    let (admin, client) = (server.admin().await, server.client_of(&worker).await);
    assert_eq!(client.authorize(read()).await.unwrap().outcome(), Outcome::Allow);
    assert_eq!(admin.ids().await, ["other", "worker", "desk"]);
    let gone = admin.delete(vec![uid("Group", "desk"), uid("Group", "nobody")]).await.unwrap();
    assert_eq!(gone.deleted, 1);
    let answer = client.authorize(read()).await.unwrap();
    assert_eq!((answer.outcome(), answer.policy_revision), (Outcome::Deny, gone.policy_revision));

    let records = server.client("erin").await.audit(pb::AuditRequest::default()).await.unwrap();
    let changes = records.iter().filter_map(|record| match record.fact.as_ref() {
        Some(pb::record::Fact::EntitiesChanged(changed)) => Some((record.sequence, changed)),
        _ => None,
    });
    let changes: Vec<_> = changes.collect();
    assert_eq!(changes.len(), 3, "one record for each change");
    assert!(changes.iter().all(|(_, changed)| changed.by.as_ref().unwrap().uid.as_ref().unwrap().id == "root"));
    assert_eq!(changes[2].0, gone.policy_revision);
}

#[tokio::test(flavor = "multi_thread")]
async fn the_servers_facts_win_over_the_callers_from_the_moment_they_are_put() {
    let server = PolicyDir::extended().serve().await;
    let gateway = server.client_of(&gateway()).await;
    let claim = || pb::AuthorizeRequest {
        entities: vec![dataset("new", false)],
        context: export().context,
        ..query("export", "Dataset", "new")
    };
    assert_ne!(gateway.authorize(claim()).await.unwrap().outcome(), Outcome::Pending, "by the caller's word");
    server.admin().await.put(vec![dataset("new", true)]).await.unwrap();
    let gated = gateway.authorize(pb::AuthorizeRequest { justification: "because".into(), ..claim() }).await.unwrap();
    assert_eq!(gated.outcome(), Outcome::Pending, "{}", gated.reason);
}

#[tokio::test(flavor = "multi_thread")]
async fn only_whom_policy_lets_administer_may_put_delete_and_list() {
    let server = PolicyDir::extended().serve().await;
    for token in [server.token("alice"), server.token("erin"), server.token_of(&gateway())] {
        let admin = Admin::connect(&server.url(), &token).await;
        let refused = [
            admin.put(vec![member("a", "admins")]).await.unwrap_err(),
            admin.delete(vec![uid("Agent", "a")]).await.unwrap_err(),
            admin.list(pb::ListEntitiesRequest::default()).await.unwrap_err(),
        ];
        for refused in refused {
            assert_eq!((refused.code(), &*reason(&refused)), (Code::PermissionDenied, "not_permitted"));
        }
    }
    assert!(server.admin().await.ids().await.is_empty());
}

#[tokio::test(flavor = "multi_thread")]
async fn what_may_not_be_put_changes_nothing_and_is_named() {
    let limits = service::Limits { put_entities_max: 3, put_entities_per_call_max: 5, ..service::Limits::default() };
    let policies = PolicyDir::extended();
    let server = TestServer::with(Options { policies: policies.path().into(), limits, ..Options::default() }).await;
    let admin = server.admin().await;
    let wrong = pb::Entity { parents: vec![uid("Shelf", "s")], ..member("a", "g") };
    let own = pb::Entity { uid: Some(uid("Countersign::Service", "countersign")), ..Default::default() };
    let large = pb::Entity {
        tags: BTreeMap::from([("t".to_owned(), crate::support::client::string(&"x".repeat(70_000)))]),
        ..member("a", "g")
    };
    let shipped = dataset("customers", false);
    for (entities, place) in [
        (vec![member("a", "g"), pb::Entity::default()], "entities[1].uid"),
        (vec![member("a", "g"), own], "entities[1].uid"),
        (vec![wrong], "entities[0].parents[0]"),
        (vec![shipped], "entities[0].uid"),
        (vec![large], "entities[0]"),
        (vec![member("a", "g"), member("a", "h")], "entities[1].uid"),
        ((0..6).map(|n| member(&n.to_string(), "g")).collect(), "entities"),
    ] {
        let refused = admin.put(entities).await.unwrap_err();
        assert_eq!((refused.code(), field(&refused)), (Code::InvalidArgument, place.to_owned()), "{refused}");
    }
    let of_file = admin.delete(vec![uid("Dataset", "customers")]).await.unwrap_err();
    assert_eq!((of_file.code(), field(&of_file)), (Code::InvalidArgument, "uids[0]".to_owned()));
    let full = admin.put((0..4).map(|n| member(&n.to_string(), "g")).collect()).await.unwrap_err();
    assert_eq!((full.code(), &*reason(&full)), (Code::ResourceExhausted, "limit_exceeded"));
    assert!(admin.ids().await.is_empty());
    admin.put((0..3).map(|n| member(&n.to_string(), "g")).collect()).await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_set_that_what_was_put_does_not_fit_is_refused() {
    let policies = PolicyDir::extended();
    let server = policies.serve().await;
    let admin = server.admin().await;
    admin.put(vec![dataset("new", true)]).await.unwrap();
    let also = r#"[{"uid": {"type": "Dataset", "id": "new"}, "attrs": {"pii": false}, "parents": []}]"#;
    policies.write("more.entities.json", also);
    let refused = admin.reload().await.unwrap();
    assert_eq!(refused.result(), pb::ReloadResult::Refused);
    assert!(refused.problems[0].contains(r#"`Dataset::"new"`"#), "{:?}", refused.problems);
    admin.delete(vec![uid("Dataset", "new")]).await.unwrap();
    assert_eq!(admin.reload().await.unwrap().result(), pb::ReloadResult::Loaded);
}

#[tokio::test(flavor = "multi_thread")]
async fn changes_at_the_same_time_are_all_kept_whatever_their_order() {
    let server = PolicyDir::extended().serve().await;
    let admin = server.admin().await;
    let puts = (0..40).map(|n| admin.put(vec![member(&format!("{n:02}"), "g"), member("shared", &n.to_string())]));
    let reloads = (0..5).map(|_| admin.reload());
    let (puts, reloads) = tokio::join!(futures_util::future::join_all(puts), futures_util::future::join_all(reloads));
    assert!(reloads.iter().all(Result::is_ok));
    let newest =
        puts.into_iter().map(|put| put.unwrap().policy_revision).enumerate().max_by_key(|(_, at)| *at).unwrap();
    let listed = admin.list(pb::ListEntitiesRequest { page_size: 200, ..Default::default() }).await.unwrap();
    assert_eq!((listed.entities.len(), listed.policy_revision), (41, newest.1));
    let shared = listed.entities.iter().find(|entity| entity.uid.as_ref().unwrap().id == "shared").unwrap();
    assert_eq!(shared.parents, [uid("Group", &newest.0.to_string())], "the last on record is what stands");
}

fn open(dir: &std::path::Path) -> Embedded {
    let clock = ManualClock::starting_at(today());
    let mut settings = journal::Settings::new(dir.join("journal"));
    settings.segment_bytes = 1 << 20;
    settings.record_bytes_max = 512 << 10;
    settings.reserve_bytes = 0;
    Embedded::open(settings, embedded::Limits::default(), |floor| Clock::manual(&clock, floor)).unwrap()
}

async fn commit(store: &Embedded, put: &[&str], deleted: &[&str]) {
    let uid = |id: &&str| EntityUid::new("Group", id);
    let put = put.iter().map(|id| Arc::new(Entity::bare(uid(id), vec![]))).collect();
    let deleted = deleted.iter().map(uid).collect();
    let fact = EntitiesChanged { by: None, put, deleted, request_id: "test".into(), version: 0, more_follows: false };
    let seen = store.entities().await.unwrap().version;
    store.commit(Fact::EntitiesChanged(fact), Seen::Entities(seen)).await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn entities_outlive_snapshots_and_retention() {
    let dir = tempfile::tempdir().unwrap();
    let store = open(dir.path());
    commit(&store, &["a", "b"], &[]).await;
    commit(&store, &["c"], &["a"]).await;
    store.compaction().run().unwrap();
    commit(&store, &["d"], &["c"]).await;
    let expected = store.entity_data();
    store.log().close();
    drop(store);

    let store = open(dir.path());
    assert_eq!(store.entity_data(), expected);
    let last = store.log().durable_through();
    assert_eq!(store.oldest_entity(), Some(1));
    store.restate_entities(last + 1).await.unwrap();
    assert!(store.oldest_entity() > Some(last), "what is older may go now");
    store.compaction().run().unwrap();
    store.log().close();
    drop(store);
    let store = open(dir.path());
    assert_eq!(store.entity_data(), expected);
}
