//! One contract, `trait Store`, and every store held against it: the same behaviours on the embedded store, on Redis, on
//! Redis through Sentinel and on a Redis Cluster. Where there are replicas, one of them writes and another one looks.
//!
//! What a store does otherwise stands in [`EXCEPTIONS`], with its reason.

mod entities;
mod life;
mod races;
mod reads;
mod stage;
mod time;

use std::time::Duration;

use countersign::store::redis;
use futures_util::future::BoxFuture;
use futures_util::stream::{self, StreamExt};

use self::stage::{Shape, Stage};
use crate::support::redis::sentinel::MASTER;
use crate::support::redis::{Cluster, Replicated, Sentinel};

/// Behaviours that are shown at the same time.
const ABREAST: usize = 16;

type Behaviour = for<'a> fn(&'a Stage) -> BoxFuture<'a, ()>;

/// Behaviours by their names.
macro_rules! behaviours {
    ($($module:ident::$name:ident,)*) => {
        &[$((stringify!($name), |stage| Box::pin($module::$name(stage)))),*]
    };
}

const BEHAVIOURS: &[(&str, Behaviour)] = behaviours![
    life::an_opening_is_read_back_by_its_id_and_by_its_binding,
    life::a_quorum_closes_vote_by_vote_and_each_vote_is_there,
    life::a_rejection_settles_and_nothing_follows,
    life::a_cancelled_approval_takes_no_vote,
    life::a_revoked_grant_cannot_be_used,
    life::a_grant_for_one_use_is_used_once,
    life::a_grant_for_a_time_is_used_again_and_again,
    life::a_report_is_taken_once_and_a_late_word_replaces_silence,
    life::a_settled_approval_makes_way_for_a_new_one_that_saw_it,
    life::what_no_approval_knows_changes_nothing,
    life::settled_approvals_are_still_read_by_id,
    races::of_many_openings_at_once_one_stands,
    races::an_opening_that_saw_nothing_loses_to_one_that_stands,
    races::of_two_votes_on_one_version_one_counts,
    races::of_many_redeemers_at_once_one_wins,
    races::of_a_vote_a_rejection_and_a_withdrawal_at_once_one_settles,
    races::an_answer_under_a_key_is_read_back_and_not_given_twice,
    races::one_key_at_once_has_one_answer,
    races::a_granted_answer_is_not_repeated_across_a_revocation,
    races::an_opening_over_a_limit_is_refused_by_the_limits_name_until_one_settles,
    races::who_asks_for_another_fills_no_place_that_the_other_needs,
    races::openings_are_counted_by_the_minute_whatever_becomes_of_them,
    races::asking_again_for_what_was_taken_back_is_another_opening,
    time::a_vote_at_the_deadline_is_too_late_and_expiry_is_not_early,
    time::what_only_tells_people_is_recorded_once_before_anything_else_and_not_early,
    time::a_grant_lapses_at_its_moment_and_not_before,
    time::what_is_due_is_listed_by_everybody_until_somebody_settles_it,
    time::sleepers_wake_for_an_earlier_deadline,
    time::silence_about_a_use_is_recorded_after_the_lease,
    time::the_clock_never_goes_back_and_is_the_same_for_all,
    reads::pages_go_from_the_newest_to_the_oldest_and_show_each_once,
    reads::a_page_shows_only_what_it_asks_for,
    reads::a_change_wakes_whoever_took_the_hint_before,
    reads::every_fact_is_in_exactly_one_journal,
    reads::plain_decisions_are_recorded_and_change_nothing,
    entities::what_is_put_or_deleted_anywhere_is_known_everywhere_within_seconds,
    entities::of_two_changes_that_saw_the_same_one_counts,
    entities::changes_at_the_same_time_are_all_kept_and_each_is_on_record_once,
];

/// What a store does otherwise, and why.
const EXCEPTIONS: &[(&[Shape], &str, &str)] = &[];

/// Runs every behaviour, many at the same time, each on a stage of its own.
async fn conform(shape: Shape, stage: impl AsyncFn() -> Stage) {
    let excepted = |name: &str| EXCEPTIONS.iter().any(|(of, exception, _)| of.contains(&shape) && *exception == name);
    let shown = stream::iter(BEHAVIOURS.iter().filter(|(name, _)| !excepted(name))).map(|(name, behaviour)| {
        let stage = &stage;
        async move {
            let stage = stage().await;
            // A task, so that what one of them finds keeps nobody else from looking.
            (*name, tokio::spawn(async move { behaviour(&stage).await }).await)
        }
    });
    let ended: Vec<_> = shown.buffer_unordered(ABREAST).collect().await;
    let failed: Vec<_> = ended.iter().filter(|(_, ended)| ended.is_err()).map(|(name, _)| *name).collect();
    assert!(failed.is_empty(), "{shape:?} does not conform: {failed:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn the_embedded_store_conforms() {
    conform(Shape::Embedded, Stage::embedded).await;
}

/// How replicas find a Redis of this shape, with acknowledged writes on a replica or not.
fn settings(shape: redis::Shape, ports: &[u16], durability: redis::Durability) -> redis::Settings {
    let address = |port: &u16| redis::Address { host: "127.0.0.1".into(), port: *port };
    let seeds = ports.iter().map(address).collect();
    // Longer than by default: here a busy machine is no fault.
    let command_timeout = Duration::from_secs(2);
    redis::Settings { shape, durability, command_timeout, ..redis::Settings::new(seeds) }
}

#[tokio::test(flavor = "multi_thread")]
async fn redis_with_a_replica_conforms() {
    let group = Replicated::start(1).await;
    let settings = settings(redis::Shape::Single, &[group.primary.port], redis::Durability::Replicated { replicas: 1 });
    conform(Shape::Redis, async || Stage::redis(&settings).await).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn redis_through_sentinel_conforms() {
    let sentinel = Sentinel::start(1).await;
    let shape = redis::Shape::Sentinel { master: MASTER.into() };
    let settings = settings(shape, &[sentinel.port], redis::Durability::Replicated { replicas: 1 });
    conform(Shape::Sentinel, async || Stage::redis(&settings).await).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn redis_cluster_conforms() {
    let cluster = Cluster::start().await;
    let ports: Vec<_> = cluster.nodes.iter().map(|node| node.port).collect();
    let settings = settings(redis::Shape::Cluster, &ports, redis::Durability::Primary);
    conform(Shape::Cluster, async || Stage::redis(&settings).await).await;
}
