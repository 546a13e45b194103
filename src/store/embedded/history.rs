//! Approvals that memory has let go: read back from the journal and added up.

use std::io;
use std::sync::Arc;

use crate::domain::{Approval, ApprovalId, Change, Fact, Record};
use crate::journal::Log;
use crate::store::StoreError;

/// Changes read at a time.
const STEP_CHANGES: usize = 1_000;

/// The approval as its records tell it; `None` if there is none, or none any more.
pub(super) async fn approval(log: Log, id: ApprovalId) -> Result<Option<Arc<Approval>>, StoreError> {
    let folded = tokio::task::spawn_blocking(move || fold(&log, id)).await;
    folded
        .map_err(|_| super::unavailable(io::Error::other("a task panicked; the log says where")))?
        .map(|approval| approval.map(Arc::new))
}

/// All of its changes count: an approval that is folded half way would still look open.
fn fold(log: &Log, id: ApprovalId) -> Result<Option<Approval>, StoreError> {
    let (mut approval, mut after) = (None, None);
    loop {
        let changes = log.changes_of(id, after, STEP_CHANGES).map_err(super::unavailable)?;
        for change in &changes {
            approval = step(approval, id, change)?;
        }
        after = changes.last().map(|change| change.sequence);
        if changes.len() < STEP_CHANGES {
            return Ok(approval);
        }
    }
}

fn step(before: Option<Approval>, id: ApprovalId, record: &Record) -> Result<Option<Approval>, StoreError> {
    if record.fact.approval() != Some(id) {
        // Another approval whose index key happens to be the same.
        return Ok(before);
    }
    if let Fact::Decided(decided) = &record.fact
        && let Change::Opened(opening) = &decided.change
    {
        return Ok(Some(Approval::opened(opening.clone())));
    }
    let (Some(approval), Some((_, transition))) = (&before, record.fact.transition()) else { return Ok(before) };
    let damaged = |illegal| StoreError::Damaged { sequence: record.sequence, source: Box::new(illegal) };
    approval.apply(transition).map(Some).map_err(damaged)
}
