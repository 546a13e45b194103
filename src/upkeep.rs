//! Housekeeping that nobody waits for: snapshots, retention, and telling when the clock was moved.

use std::time::Duration;

use tokio::sync::watch;

use crate::journal;
use crate::server::Retention;
use crate::store::{Embedded, Redis, Store};

const INTERVAL: Duration = Duration::from_secs(10);
/// Deletions of entities in memory, past which older records are made to matter no more.
const DELETED_ENTITIES_MAX: usize = 10_000;
/// How far the machine's clock may be off that of a shared store before it is told.
const SKEW_MAX_MICROS: u64 = 1_000_000;
/// Rounds between two looks at what may be forgotten.
const RETENTION_ROUNDS: u32 = 360;

/// How long a broken glass may wait to be examined before it is told of, with every look at what may be forgotten.
const UNEXAMINED_MAX: Duration = Duration::from_secs(24 * 3_600);

/// Runs until the server stops.
pub async fn keep(store: Embedded, retention: Retention, mut stopping: watch::Receiver<bool>) {
    let mut compaction = store.compaction();
    let mut jumped = false;
    for round in 0_u32.. {
        jumped = tell_of_jumps(&store, jumped);
        if compaction.is_due() {
            let run = tokio::task::spawn_blocking(move || {
                if let Err(error) = compaction.run() {
                    tracing::warn!(%error, "no snapshot was written; the next start reads more of the journal");
                }
                compaction
            });
            match run.await {
                Ok(back) => compaction = back,
                Err(_) => return,
            }
        }
        if store.entities_deleted() > DELETED_ENTITIES_MAX {
            restate_entities(&store, store.log().durable_through().saturating_add(1)).await;
        }
        if round.is_multiple_of(RETENTION_ROUNDS) {
            tell_of_unexamined(&store);
            if retention.max_age.is_some() || retention.max_bytes.is_some() {
                forget(store.clone(), retention).await;
            }
        }
        tokio::select! {
            () = tokio::time::sleep(INTERVAL) => {}
            _ = stopping.wait_for(|stopping| *stopping) => return,
        }
    }
}

/// The same for a store that replicas share: here is only the journal to look after, and the clock.
pub async fn keep_shared(store: Redis, retention: Retention, mut stopping: watch::Receiver<bool>) {
    let mut told = false;
    for round in 0_u32.. {
        told = tell_of_skew(&store, told);
        if round.is_multiple_of(RETENTION_ROUNDS) && (retention.max_age.is_some() || retention.max_bytes.is_some()) {
            forget_shared(store.clone(), retention).await;
        }
        tokio::select! {
            () = tokio::time::sleep(INTERVAL) => {}
            _ = stopping.wait_for(|stopping| *stopping) => return,
        }
    }
}

fn tell_of_skew(store: &Redis, told: bool) -> bool {
    let skew = store.clock_skew().unwrap_or(0);
    let is_off = skew.unsigned_abs() > SKEW_MAX_MICROS;
    if is_off && !told {
        let seconds = skew / 1_000_000;
        tracing::warn!(
            clock.skew_seconds = seconds,
            "this machine's clock is not that of redis: approvals go by redis; set the clocks right"
        );
    }
    is_off
}

/// Approvals are in Redis: no open one needs this journal. Entities are as well, and a server that starts without Redis knows
/// those of its journal.
async fn forget_shared(store: Redis, retention: Retention) {
    let (first, last) = (store.log().first_sequence(), store.log().durable_through());
    if let Err(error) = store.restate_entities(first + last.saturating_sub(first) / 2).await {
        tracing::warn!(%error, "entities could not be stated again; the records that put them are kept");
    }
    let forgotten = tokio::task::spawn_blocking(move || {
        let log = store.log();
        let newest = log.durable_through();
        let keep_from = store.oldest_entity().map_or(newest, |oldest| oldest.min(newest));
        let retention = journal::Retention { keep_from, max_age: retention.max_age, max_bytes: retention.max_bytes };
        log.retain(&retention, store.now())
    });
    tell_of_removed(forgotten.await);
}

fn tell_of_jumps(store: &Embedded, told: bool) -> bool {
    match store.clock().jump() {
        Some(jump) if !told => {
            let seconds = jump.micros / 1_000_000;
            tracing::error!(
                clock.jump_seconds = seconds,
                "the wall clock jumped: deadlines go by the time that really passed; set the clock right"
            );
            true
        }
        Some(_) => true,
        None => {
            if told {
                tracing::info!("the wall clock is believed again");
            }
            false
        }
    }
}

/// Nobody else says so, and records are kept for it from its opening on.
fn tell_of_unexamined(store: &Embedded) {
    let now = store.now();
    for (approval, broken_at) in store.unexamined().into_iter().filter(|(_, at)| at.after(UNEXAMINED_MAX).is_due(now)) {
        tracing::warn!(
            approval.id = %approval,
            broken.hours_ago = broken_at.until(now).as_secs() / 3_600,
            "a broken glass was not examined by two people; the journal is kept from its opening on: see `countersign \
             approvals list --to-be-examined`"
        );
    }
}

async fn restate_entities(store: &Embedded, before: u64) {
    if let Err(error) = store.restate_entities(before).await {
        tracing::warn!(%error, "entities could not be stated again; the records that put them are kept");
    }
}

/// Removes whole old segments, never one that an open approval began in.
async fn forget(store: Embedded, retention: Retention) {
    // Entities stand for as long as nobody changes them: those in the older half of the journal are stated again.
    let (first, last) = (store.log().first_sequence(), store.log().durable_through());
    restate_entities(&store, first + last.saturating_sub(first) / 2).await;
    let forgotten = tokio::task::spawn_blocking(move || {
        let log = store.log();
        let keep_from = match store.oldest_opening() {
            Some(moment) => log.sequence_at(moment)?,
            None => log.durable_through(),
        };
        let keep_from = store.oldest_entity().map_or(keep_from, |oldest| oldest.min(keep_from));
        let retention = journal::Retention { keep_from, max_age: retention.max_age, max_bytes: retention.max_bytes };
        log.retain(&retention, store.now())
    });
    tell_of_removed(forgotten.await);
}

fn tell_of_removed(forgotten: Result<Result<Vec<journal::Removed>, journal::LogError>, tokio::task::JoinError>) {
    match forgotten {
        Ok(Ok(removed)) => {
            for segment in removed {
                tracing::info!(journal.first = segment.first, journal.last = segment.last, "an old segment is gone");
            }
        }
        Ok(Err(error)) => tracing::warn!(%error, "retention could not be applied"),
        Err(error) => tracing::warn!(%error, "retention broke off"),
    }
}
