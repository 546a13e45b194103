//! What is counted of tokens.

use super::refusal::Reason;
use crate::measure::{Counter, Counters};

/// How many reasons there are for a refusal.
pub const REASONS: usize = Reason::ALL.len();

#[derive(Debug, Default)]
pub struct Meters {
    /// Accepted because the same token was examined before and nothing has changed since.
    pub remembered: Counter,
    /// Accepted after an examination.
    pub examined: Counter,
    /// By [`Reason`], in the order of [`Reason::ALL`].
    pub refused: Counters<REASONS>,
}

impl Meters {
    pub(super) fn refuse(&self, reason: Reason) {
        self.refused.count(reason as usize);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_reason_has_its_own_counter() {
        for (place, reason) in Reason::ALL.iter().enumerate() {
            assert_eq!(*reason as usize, place, "{reason}");
        }
    }
}
