//! Places of principals, and their openings by the minute, where replicas do not know yet what others did.

use super::*;
use crate::store::redis::places::Place;

async fn limited(server: &Server, dir: &Path, limits: embedded::Limits) -> Redis {
    let settings = Settings { limits, ..server.settings() };
    let store = Redis::open(journal(dir), settings, Clock::system).unwrap();
    store.reach_out().await.unwrap();
    store
}

fn asked(rows: i64, deadline: Timestamp) -> Arc<Opening> {
    let (_, fact) = opening_until(rows, deadline.before(HOUR), deadline);
    match fact {
        Fact::Decided(decided) => match &decided.change {
            Change::Opened(opening) => opening.clone(),
            _ => unreachable!(),
        },
        _ => unreachable!(),
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn who_asks_again_before_the_place_is_given_back_opens_once_more() {
    let server = Server::start().await;
    let dir = tempfile::tempdir().unwrap();
    let limits = embedded::Limits { openings_per_minute_max: 3, ..embedded::Limits::default() };
    let store = limited(&server, dir.path(), limits).await;
    let deadline = store.now().after(HOUR);
    let mut before = None;
    for nth in 0..3 {
        let opening = asked(1, deadline.after(Duration::from_secs(nth)));
        let place = store.shared.reserve(&opening, before).await.unwrap();
        assert_eq!(place, if nth == 0 { Place::New } else { Place::Shared });
        // Another replica opens the same at the same time: that is one opening.
        assert_eq!(store.shared.reserve(&opening, before).await.unwrap(), Place::Shared);
        // It is taken back, and whoever did that has not come to giving the place back.
        before = Some((opening.id, 2));
    }
    let over = store.shared.reserve(&asked(1, deadline), before).await;
    assert!(matches!(over, Err(CommitError::TooFast { limit: "openings_per_minute_max", .. })), "{over:?}");
    let over = store.shared.reserve(&asked(2, deadline), None).await;
    assert!(matches!(over, Err(CommitError::TooFast { limit: "openings_per_minute_max", .. })), "{over:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_place_is_given_back_by_whoever_has_it_however_late_others_come() {
    let server = Server::start().await;
    let dir = tempfile::tempdir().unwrap();
    let limits = embedded::Limits { pending_per_principal_max: 1, ..embedded::Limits::default() };
    let store = limited(&server, dir.path(), limits).await;
    let deadline = store.now().after(HOUR);
    let second = Duration::from_secs(1);
    let (first, next) = (asked(1, deadline), asked(1, deadline.after(second)));
    let is_taken = async || {
        let other = store.shared.reserve(&asked(2, deadline), None).await;
        matches!(other, Err(CommitError::TooMany { limit: "pending_per_principal_max", .. }))
    };
    store.shared.reserve(&first, None).await.unwrap();
    store.shared.reserve(&next, Some((first.id, 2))).await.unwrap();
    store.shared.release(&first).await;
    assert!(is_taken().await, "it is that of the next by now");
    store.shared.release(&next).await;
    // Two that open the same: whichever stands gives it back.
    for stands in [0, 1] {
        let both = [asked(3, deadline), asked(3, deadline.after(second))];
        for opening in &both {
            store.shared.reserve(opening, None).await.unwrap();
        }
        assert!(is_taken().await);
        store.shared.release(&both[stands]).await;
    }
    assert!(!is_taken().await);
}
