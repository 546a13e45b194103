//! How much of one principal may wait for people: a set of places, in a shard of its own.
//!
//! A place is taken before the approval is opened and given back when it is settled. The two are in different shards, so
//! that a crash may come in between; every place is free again at its deadline. There may be fewer places than approvals
//! that wait for a moment, never more.

use super::keys::Name;
use super::trouble::Trouble;
use super::{Shared, answer};
use crate::domain::Opening;
use crate::store::{CommitError, StoreError};

/// What taking a place came to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Place {
    New,
    /// An opening of the same query has it.
    Shared,
}

impl Shared {
    pub(super) async fn reserve(&self, opening: &Opening) -> Result<Place, CommitError> {
        let principal = Name::of_principal(&opening.query.principal);
        let most = self.links.settings.limits.pending_per_principal_max;
        let keys = [self.links.keys.places(&principal), self.links.keys.head(principal.shard())];
        let mut call = self.links.scripts.reserve.call(&keys);
        call.arg(&opening.binding.0[..]).arg(opening.deadline.as_micros()).arg(most);
        let reserved = match self.links.read(principal.shard(), &[call]).await {
            Err(trouble) if trouble.is_out_of_memory() => return Err(CommitError::Busy),
            reserved => reserved.map_err(StoreError::from)?,
        };
        match reserved.into_iter().next().and_then(answer::number) {
            Some(1) => Ok(Place::New),
            Some(2) => Ok(Place::Shared),
            Some(-1) => Err(StoreError::from(Trouble::OutOfReach("a shard is lost".into())).into()),
            Some(_) => Err(CommitError::TooMany { limit: "pending_per_principal_max", most }),
            None => Err(StoreError::from(Trouble::Unexpected("reserve")).into()),
        }
    }

    pub(super) async fn release(&self, opening: &Opening) {
        let principal = Name::of_principal(&opening.query.principal);
        let mut call = self.links.scripts.release.call(&[self.links.keys.places(&principal)]);
        call.arg(&opening.binding.0[..]).arg(opening.deadline.as_micros());
        // Where it fails the place is free at the approval's deadline: less is allowed until then, never more.
        let _ = self.links.read(principal.shard(), &[call]).await;
    }
}
