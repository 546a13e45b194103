//! What happens in a store that replicas share, for those who follow it: each event once, in the order of its shard, and
//! only when it lasts.

use std::sync::Arc;

use futures_util::future::BoxFuture;
use tokio::sync::watch;

use super::StoreError;
use crate::domain::{Origin, Record, Timestamp};
use crate::vault::{OpenError, Vault};

/// An event as it lies in the store.
#[derive(Debug, Clone)]
pub struct Happened {
    pub origin: Origin,
    pub at: Timestamp,
    pub payload: Vec<u8>,
}

/// What the store still has of a shard.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Reach {
    pub epoch: [u8; 16],
    /// The oldest event that is left; one more than `head` where none is.
    pub first: u64,
    /// The newest.
    pub head: u64,
}

#[derive(Debug, thiserror::Error)]
pub enum FeedError {
    /// The events before `first` are not in the store any more; journals have them.
    #[error("events before {} are trimmed", .0.first)]
    Trimmed(Reach),
    #[error(transparent)]
    Store(#[from] StoreError),
}

/// The events of all replicas.
pub trait Feed: Send + Sync {
    /// Every shard, in order.
    fn reach(&self) -> BoxFuture<'_, Result<Vec<Reach>, StoreError>>;

    /// Events of a shard behind a number, at most `limit`, all of which last.
    fn after(&self, shard: u8, number: u64, limit: usize) -> BoxFuture<'_, Result<Vec<Happened>, FeedError>>;

    /// The newest event heard of, of each shard. A hint that is never lost: what is missed is heard later.
    fn heard(&self) -> watch::Receiver<Arc<[u64]>>;
}

impl Happened {
    /// What it says. It has a place in its shard and none in a journal.
    pub fn parse(&self, vault: &Vault) -> Result<Record, OpenError> {
        let record = vault.open_shared(self.at, &self.payload)?;
        Ok(Record { origin: Some(self.origin), ..record })
    }
}
