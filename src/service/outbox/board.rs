//! What is known of each target: for health, the inbox and metrics.

use std::sync::{Mutex, MutexGuard, PoisonError};

use serde::{Deserialize, Serialize};

use crate::domain::ApprovalId;

/// Dead letters remembered of each target, the newest.
pub const UNDELIVERED_MAX: usize = 100;

/// How a target does.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Condition {
    #[default]
    Working,
    /// The last attempt failed; the next is on its way.
    Failing,
    /// It failed so often in a row that it is only probed.
    Disabled,
}

/// News that did not arrive.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Undelivered {
    pub approval_id: String,
    /// Such as `opened`.
    pub event: String,
    /// The id that it was or would have been sent under.
    pub id: String,
    pub why: String,
}

/// One target's state. Counters are of this process.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct TargetState {
    pub name: String,
    pub condition: Condition,
    pub delivered: u64,
    /// Attempts that failed.
    pub failed: u64,
    /// Dead letters.
    pub given_up: u64,
    /// Records that retention removed before they were looked at.
    pub trimmed_records: u64,
    /// Durable records that were not looked at yet.
    pub behind_records: u64,
    /// What is being tried again.
    pub waiting: Option<Undelivered>,
    /// The newest dead letters, oldest first, those of earlier processes included.
    pub undelivered: Vec<Undelivered>,
}

impl TargetState {
    /// Whether news of this approval did not get there (yet).
    #[must_use]
    pub fn lacks(&self, approval: ApprovalId) -> bool {
        let id = approval.to_string();
        self.waiting.iter().chain(&self.undelivered).any(|lacking| lacking.approval_id == id)
    }
}

/// All targets' states.
#[derive(Debug, Default)]
pub struct Board(Vec<Mutex<TargetState>>);

impl Board {
    pub(super) fn new(targets: impl Iterator<Item = (String, Vec<Undelivered>)>) -> Self {
        let state = |(name, undelivered)| Mutex::new(TargetState { name, undelivered, ..TargetState::default() });
        Self(targets.map(state).collect())
    }

    #[must_use]
    pub fn states(&self) -> Vec<TargetState> {
        self.0.iter().map(|state| lock(state).clone()).collect()
    }

    pub(super) fn change(&self, target: usize, change: impl FnOnce(&mut TargetState)) {
        if let Some(state) = self.0.get(target) {
            change(&mut lock(state));
        }
    }
}

/// Counters stay usable whatever happened to their last holder.
fn lock(state: &Mutex<TargetState>) -> MutexGuard<'_, TargetState> {
    state.lock().unwrap_or_else(PoisonError::into_inner)
}
