//! Housekeeping that nobody waits for: snapshots, retention, and telling when the clock was moved.

use std::time::Duration;

use tokio::sync::watch;

use crate::journal;
use crate::server::Retention;
use crate::store::{Embedded, Store};

const INTERVAL: Duration = Duration::from_secs(10);
/// Deletions of entities in memory, past which older records are made to matter no more.
const DELETED_ENTITIES_MAX: usize = 10_000;
/// Rounds between two looks at what may be forgotten.
const RETENTION_ROUNDS: u32 = 360;

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
        if round.is_multiple_of(RETENTION_ROUNDS) && (retention.max_age.is_some() || retention.max_bytes.is_some()) {
            forget(store.clone(), retention).await;
        }
        tokio::select! {
            () = tokio::time::sleep(INTERVAL) => {}
            _ = stopping.wait_for(|stopping| *stopping) => return,
        }
    }
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
    match forgotten.await {
        Ok(Ok(removed)) => {
            for segment in removed {
                tracing::info!(journal.first = segment.first, journal.last = segment.last, "an old segment is gone");
            }
        }
        Ok(Err(error)) => tracing::warn!(%error, "retention could not be applied"),
        Err(error) => tracing::warn!(%error, "retention broke off"),
    }
}
