//! What an approved approval yields: permission for one binding, for one use or until a time.

use std::time::Duration;

use super::requirement::{GrantTerms, Requirement};
use super::time::Timestamp;

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Grant {
    pub terms: GrantTerms,
    pub granted_at: Timestamp,
    /// From this moment on it is worth nothing.
    pub lapses_at: Timestamp,
}

impl Grant {
    /// The grant that a closed quorum yields. A grant for one use still lapses if it is not redeemed within
    /// `redeem_within`.
    #[must_use]
    pub fn given(requirement: &Requirement, now: Timestamp, redeem_within: Duration) -> Self {
        let terms = requirement.grant();
        let span = match terms {
            GrantTerms::Once => redeem_within,
            GrantTerms::For(span) => span,
        };
        Self { terms, granted_at: now, lapses_at: now.after(span) }
    }

    #[must_use]
    pub fn is_live(&self, now: Timestamp) -> bool {
        !self.lapses_at.is_due(now)
    }
}
