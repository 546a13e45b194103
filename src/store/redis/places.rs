//! How much of one principal may wait for people: a set of places for each caller that asks for it, in the principal's shard.
//!
//! A place is taken before the approval is opened and given back when it is settled. The two are in different shards, so
//! that a crash may come in between; every place is free again at its deadline. There may be fewer places than approvals
//! that wait for a moment, never more.
//!
//! For each caller by itself: who may ask for others uses up nothing that these need. Openings are counted by the minute as well. One
//! that then failed counts all the same, and so does one in place of what its author has just taken back.

use std::time::Duration;

use super::keys::Name;
use super::trouble::Trouble;
use super::{Shared, answer};
use crate::domain::{ApprovalId, Opening};
use crate::store::{CommitError, StoreError};

/// What taking a place came to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Place {
    New,
    /// An opening of the same query has it.
    Shared,
}

impl Shared {
    /// A place for what is opened in place of `before`: an approval that stood for the query, as it was seen.
    pub(super) async fn reserve(
        &self,
        opening: &Opening,
        before: Option<(ApprovalId, u64)>,
    ) -> Result<Place, CommitError> {
        let principal = Name::of_entity(&opening.query.principal);
        let limits = &self.links.settings.limits;
        let (most, most_in_minute) = (limits.pending_per_principal_max, limits.openings_per_minute_max);
        let (names, caller) = (&self.links.keys, &opening.caller.uid);
        let keys =
            [names.places(&principal, caller), names.openings(&principal, caller), names.head(principal.shard())];
        let mut call = self.links.scripts.reserve.call(&keys);
        call.arg(&opening.binding.0[..]).arg(opening.deadline.as_micros()).arg(most).arg(most_in_minute);
        call.arg(before.map_or_else(Vec::new, |(id, version)| [&id.as_bytes()[..], &version.to_be_bytes()].concat()));
        let reserved = match self.links.read(principal.shard(), &[call]).await {
            Err(trouble) if trouble.is_out_of_memory() => return Err(CommitError::Busy),
            reserved => reserved.map_err(StoreError::from)?,
        };
        match reserved.into_iter().next().and_then(answer::number) {
            Some(1) => Ok(Place::New),
            Some(2) => Ok(Place::Shared),
            Some(3) => Err(StoreError::from(Trouble::OutOfReach("a shard is lost".into())).into()),
            Some(early @ ..=-1) => Err(CommitError::TooFast {
                limit: "openings_per_minute_max",
                most: most_in_minute,
                retry_after: Duration::from_micros(early.unsigned_abs()),
            }),
            Some(_) => Err(CommitError::TooMany { limit: "pending_per_principal_max", most }),
            None => Err(StoreError::from(Trouble::Unexpected("reserve")).into()),
        }
    }

    pub(super) async fn release(&self, opening: &Opening) {
        let principal = Name::of_entity(&opening.query.principal);
        let mut call = self.links.scripts.release.call(&[self.links.keys.places(&principal, &opening.caller.uid)]);
        call.arg(&opening.binding.0[..]).arg(opening.deadline.as_micros());
        // Where it fails the place is free at the approval's deadline: less is allowed until then, never more.
        let _ = self.links.read(principal.shard(), &[call]).await;
    }
}
