//! A Redis that was emptied or put back, and what `store reconcile` makes of it.

use super::*;

#[tokio::test(flavor = "multi_thread")]
async fn a_redis_that_was_emptied_is_not_believed_until_what_vanished_is_denied() {
    let server = Server::start().await;
    let dir = tempfile::tempdir().unwrap();
    let store = server.store(dir.path()).await;
    let (pending, granted) = (open(&store, 1).await, open(&store, 2).await);
    let approved = approve(&store, granted).await;
    server.tell(&["FLUSHALL"]).await;
    assert!(matches!(store.approval(pending).await, Err(StoreError::Unavailable(_))));
    assert!(redeem(&store, 2, &approved).await.is_err());
    for rows in 3..20 {
        let (_, fact) = opening(rows, store.now());
        assert!(store.commit(fact, Seen::Slot(None)).await.is_err(), "nor is anything begun in other shards");
    }
    assert!(store.trouble().is_some_and(|trouble| trouble.contains("emptied")), "{:?}", store.trouble());
    store.log().close();
    drop(store);
    let again = async || reconcile::reconcile(journal(dir.path()), &[], server.settings(), false).await.unwrap();
    let done = again().await;
    let mut denied = done.denied.clone();
    denied.sort_unstable();
    assert_eq!(denied, [(pending, "pending"), (granted, "approved")]);
    assert_eq!(transitions(dir.path(), pending), ["opened", "expired"]);
    assert_eq!(transitions(dir.path(), granted), ["opened", "approved", "lapsed"]);
    assert!(again().await.shards.is_empty(), "once is enough");
    let store = server.store(dir.path()).await;
    assert_eq!(store.approval(granted).await.unwrap(), None);
    open(&store, 1).await;
    assert_eq!(store.trouble(), None);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_grant_that_was_used_is_not_given_again_by_an_old_copy() {
    let mut server = Server::start().await;
    let (dir, fresh) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    let store = server.store(dir.path()).await;
    let id = open(&store, 1).await;
    let approved = approve(&store, id).await;
    server.tell(&["SAVE"]).await;
    redeem(&store, 1, &approved).await.unwrap();
    server.kill();
    server.run().await;
    // Whoever asks finds it out, if nobody did before.
    assert!(store.approval(id).await.is_err());
    let found_out = async || store.trouble().is_some_and(|trouble| trouble.contains("old copy"));
    until("the old copy is found out", found_out).await;
    assert!(redeem(&store, 1, &approved).await.is_err());
    store.log().close();
    drop(store);
    // After a start the journal remembers.
    let store = server.store(dir.path()).await;
    assert!(redeem(&store, 1, &approved).await.is_err());
    store.log().close();
    drop(store);
    let done = reconcile::reconcile(journal(dir.path()), &[], server.settings(), false).await.unwrap();
    assert_eq!((done.shards.len(), done.denied), (1, vec![]));
    let other = server.store(fresh.path()).await;
    assert_eq!(other.approval(id).await.unwrap(), None);
}

#[tokio::test(flavor = "multi_thread")]
async fn nothing_is_reconciled_while_a_journal_is_missing() {
    let server = Server::start().await;
    let (dir, other) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    let (one, two) = (server.store(dir.path()).await, server.store(other.path()).await);
    let id = open(&one, 1).await;
    let approved = approve(&two, id).await;
    redeem(&one, 1, &approved).await.unwrap();
    server.tell(&["FLUSHALL"]).await;
    one.log().close();
    two.log().close();
    drop((one, two));
    let alone = reconcile::reconcile(journal(dir.path()), &[], server.settings(), false).await;
    assert!(matches!(alone, Err(reconcile::ReconcileError::Missing { number: 2, .. })), "{alone:?}");
    let both =
        reconcile::reconcile(journal(dir.path()), &[other.path().to_owned()], server.settings(), false).await.unwrap();
    assert_eq!((both.shards.len(), both.denied), (1, vec![]));
}
