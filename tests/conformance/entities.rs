//! Entities that were put over the API: one truth for all replicas.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use countersign::domain::{EntitiesChanged, Entity, EntityUid, Fact};
use countersign::store::{CommitError, Committed, Seen, Store};
use futures_util::future::join_all;
use tokio::time::timeout;

use super::stage::{Stage, assert_conflict};
use crate::support::facts;

/// What a hint that was lost may cost, on a busy machine.
const HEALED: Duration = Duration::from_secs(10);

fn group(id: &str, parent: &str) -> Arc<Entity> {
    Arc::new(Entity::bare(EntityUid::new("Group", id), vec![EntityUid::new("Group", parent)]))
}

fn change(put: &[Arc<Entity>], deleted: &[&str]) -> Fact {
    let deleted = deleted.iter().map(|id| EntityUid::new("Group", id)).collect();
    let (by, request_id) = (Some(facts::person("root")), "request".into());
    Fact::EntitiesChanged(EntitiesChanged {
        by,
        put: put.to_vec(),
        deleted,
        request_id,
        version: 0,
        more_follows: false,
    })
}

/// Changes them at a replica as they are by now.
async fn changed(replica: &dyn Store, put: &[Arc<Entity>], deleted: &[&str]) -> Result<Committed, CommitError> {
    let version = replica.newest_entities().await?.version;
    replica.commit(change(put, deleted), Seen::Entities(version)).await
}

/// Returns when a replica decides by exactly these, by itself.
async fn until_known(replica: &dyn Store, expected: &[(&str, &str)]) {
    let expected: BTreeMap<_, _> =
        expected.iter().map(|(id, parent)| group(id, parent)).map(|entity| (entity.uid.clone(), entity)).collect();
    let known = async {
        while replica.entities().await.ok().is_none_or(|known| *known.data != expected) {
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    };
    timeout(HEALED, known).await.expect("what was put elsewhere is known here");
}

pub async fn what_is_put_or_deleted_anywhere_is_known_everywhere_within_seconds(stage: &Stage) {
    let (one, other) = (&**stage.one(), &**stage.other());
    changed(one, &[group("a", "x"), group("b", "x")], &[]).await.unwrap();
    until_known(other, &[("a", "x"), ("b", "x")]).await;
    changed(other, &[group("a", "y")], &["b"]).await.unwrap();
    until_known(one, &[("a", "y")]).await;
    let known = one.newest_entities().await.unwrap();
    assert!(known.sequence > 0, "it is on record by which entities this replica decides");
    assert!(known.sequence <= stage.logs[0].durable_through());
}

pub async fn of_two_changes_that_saw_the_same_one_counts(stage: &Stage) {
    let seen = stage.one().newest_entities().await.unwrap().version;
    assert_eq!(stage.other().newest_entities().await.unwrap().version, seen);
    let puts = [change(&[group("a", "one")], &[]), change(&[group("a", "other")], &[])];
    let (one, other) = tokio::join!(
        stage.one().commit(puts[0].clone(), Seen::Entities(seen)),
        stage.other().commit(puts[1].clone(), Seen::Entities(seen)),
    );
    assert_eq!(one.is_ok() as u8 + other.is_ok() as u8, 1, "{one:?} {other:?}");
    assert_conflict(if one.is_ok() { &other } else { &one });
    assert_conflict(&stage.commit(&change(&[group("b", "x")], &[]), Seen::Nothing).await);
    let winner = if one.is_ok() { "one" } else { "other" };
    stage.one().newest_entities().await.unwrap();
    until_known(&**stage.one(), &[("a", winner)]).await;
    until_known(&**stage.other(), &[("a", winner)]).await;
}

pub async fn changes_at_the_same_time_are_all_kept_and_each_is_on_record_once(stage: &Stage) {
    const CHANGES: usize = 12;
    let puts = stage.in_turn().take(CHANGES).enumerate().map(|(number, replica)| async move {
        loop {
            match changed(&**replica, &[group(&number.to_string(), "g")], &[]).await {
                Ok(_) => return,
                Err(CommitError::Conflict) => {}
                Err(error) => panic!("{error}"),
            }
        }
    });
    join_all(puts).await;
    let names: Vec<_> = (0..CHANGES).map(|number| number.to_string()).collect();
    let expected: Vec<_> = names.iter().map(|name| (&**name, "g")).collect();
    until_known(&**stage.one(), &expected).await;
    until_known(&**stage.other(), &expected).await;
    let mut told = BTreeMap::new();
    for log in &stage.logs {
        for raw in log.read_raw(1, 1_000, 1 << 20).unwrap() {
            if let Fact::EntitiesChanged(EntitiesChanged { by: Some(_), put, .. }) =
                raw.parse(log.vault()).unwrap().fact
            {
                *told.entry(put[0].uid.id.to_string()).or_insert(0) += 1;
            }
        }
    }
    assert_eq!(told, names.into_iter().map(|name| (name, 1)).collect());
}
