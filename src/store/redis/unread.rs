//! Events that lie in Redis and that this replica cannot read: damaged, of a newer kind, or sealed with a key that it lacks.
//!
//! Nobody passes over one: it is taken off by nobody, those who follow stop in front of it, and what is behind it is only a reason to
//! look. It shows in the health until it is gone or can be read, and a counter that must be zero counts it, once each. What is decided does
//! not rest on events, and goes on.

use std::collections::BTreeSet;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use redis::Value;
use tokio::sync::Notify;

use super::Shared;
use super::answer;
use super::journaling::Entry;
use super::keys::Shard;
use super::links::jittered;
use crate::measure::Counter;
use crate::store::StoreError;

/// Remembered at a time: one is enough for the health.
const UNREAD_MAX: usize = 64;
/// Between two looks at those that are remembered; twice as long after each, up to the second.
const LOOK_AFTER: (Duration, Duration) = (Duration::from_secs(1), Duration::from_secs(30));

/// Where one lies: its shard, and its place there as Redis has it.
type Lying = (u8, String);

#[derive(Debug, Default)]
pub struct Unread {
    lying: Mutex<BTreeSet<Lying>>,
    noticed: Notify,
}

impl Unread {
    /// One was found. Told once, however often it is found.
    pub fn note(&self, shard: Shard, place: &str, why: &dyn std::error::Error, counter: &Counter) {
        let mut lying = self.lying();
        if lying.len() >= UNREAD_MAX || !lying.insert((shard.number(), place.to_owned())) {
            return;
        }
        drop(lying);
        counter.count();
        self.noticed.notify_one();
        tracing::error!(
            redis.shard = shard.number(),
            redis.event = place,
            error = %why,
            "an event in redis cannot be read: if it is in no journal nobody can put it into one, and who follows stops in front of it. A newer \
             server or another sealing key may have written it; `countersign store fsck` names what is damaged"
        );
    }

    /// What the health says while there is any.
    pub fn trouble(&self) -> Option<Arc<str>> {
        let lying = self.lying();
        let (shard, place) = lying.first()?;
        Some(
            format!("event {place} of shard {shard} in redis cannot be read: `countersign store fsck` says more")
                .into(),
        )
    }

    fn all(&self) -> Vec<Lying> {
        self.lying().iter().cloned().collect()
    }

    fn forget(&self, gone: &Lying) {
        if self.lying().remove(gone) {
            tracing::info!(
                redis.shard = gone.0,
                redis.event = gone.1,
                "an event that could not be read is gone, or can be read"
            );
        }
    }

    fn lying(&self) -> MutexGuard<'_, BTreeSet<Lying>> {
        // Whole after every statement: a panic elsewhere cannot have torn it.
        self.lying.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Looks whether what could not be read still lies there, for as long as the store lives.
pub(super) async fn look_after(shared: Arc<Shared>) {
    let (least, most) = LOOK_AFTER;
    let mut pause = least;
    loop {
        let all = shared.unread.all();
        if all.is_empty() {
            shared.unread.noticed.notified().await;
            pause = least;
        }
        tokio::time::sleep(jittered(pause)).await;
        pause = (pause * 2).min(most);
        for lying in shared.unread.all() {
            // Out of reach: it is looked at again.
            if shared.is_readable(&lying).await.unwrap_or(false) {
                shared.unread.forget(&lying);
            }
        }
    }
}

impl Shared {
    /// An entry of a stream, noted where it is none.
    pub(super) fn entry(&self, shard: Shard, value: Value) -> Result<Entry, super::Trouble> {
        let place = Entry::place(&value);
        Entry::parse(value).inspect_err(|trouble| self.cannot_read(shard, &place, trouble))
    }

    pub(super) fn cannot_read(&self, shard: Shard, place: &str, why: &dyn std::error::Error) {
        self.unread.note(shard, place, why, &self.links.meters.unreadable);
    }

    /// Also what is not there any more.
    async fn is_readable(&self, (shard, place): &Lying) -> Result<bool, StoreError> {
        let Some(shard) = Shard::all().find(|each| each.number() == *shard) else { return Ok(true) };
        let mut range = redis::cmd("XRANGE");
        range.arg(self.links.keys.events(shard)).arg(place).arg(place);
        let found = self.links.read(shard, &[range]).await?.pop().unwrap_or_default();
        let is_good = |entry: Value| {
            let entry = Entry::parse(entry).ok();
            entry.is_some_and(|entry| self.log.vault().open_shared(entry.at, &entry.record).is_ok())
        };
        Ok(answer::array(found, "XRANGE")?.into_iter().all(is_good))
    }
}
