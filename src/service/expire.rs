//! What time makes due: expiry, lapse, and outcomes that nobody reported.
//!
//! One task sleeps until the next deadline. It decides nothing: every read and write judges deadlines by itself, and the
//! task only puts on record what is true already, so that those who wait are woken.

use std::sync::Arc;

use futures_util::StreamExt;

use super::{RequestId, Service, refusal::Refusal};
use crate::domain::{Approval, ApprovalState, Report, Timestamp, Transition};
use crate::store::{CommitError, Seen};

/// Approvals fetched, and commits under way, at a time.
const BATCH: usize = 512;

impl Service {
    /// Runs until the server stops.
    pub async fn keep_time(&self) {
        let mut stopping = self.shared.stopping.clone();
        loop {
            tokio::select! {
                _ = stopping.wait_for(|stopping| *stopping) => return,
                () = self.shared.store.until_due() => {}
            }
            if let Err(error) = self.settle_all_due().await {
                tracing::error!(error = %error, source = ?std::error::Error::source(&error), "what is due could not be recorded");
                // Not an expiry by sleep: whoever reads judges the deadline himself. This only spares a dying disk.
                tokio::time::sleep(std::time::Duration::from_secs(1)).await;
            }
        }
    }

    async fn settle_all_due(&self) -> Result<(), Refusal> {
        loop {
            let now = self.shared.store.now();
            let due = self.shared.store.due(now, BATCH).await?;
            if due.is_empty() {
                return Ok(());
            }
            let commits = futures_util::stream::iter(due).map(|approval| self.settle_due(approval, now));
            let results: Vec<_> = commits.buffer_unordered(BATCH).collect().await;
            let settled = results.into_iter().collect::<Result<Vec<_>, _>>()?;
            if !settled.contains(&true) {
                // Others were faster with all of it, or it cannot be done: the next look tells.
                return Ok(());
            }
        }
    }

    /// Records what time has made of an approval; false if nothing is due or somebody else was faster.
    async fn settle_due(&self, approval: Arc<Approval>, now: Timestamp) -> Result<bool, Refusal> {
        let Some(transition) = approval.due_at(now) else { return Ok(false) };
        if transition == Transition::Reported(Report::Unknown) {
            tracing::warn!(approval.id = %approval.id(), "nobody reported what became of an allowed action");
        }
        let fact = Self::moved(&approval.opening, transition.clone(), &RequestId("timer".into()));
        match self.shared.store.commit(fact, Seen::Version(approval.version)).await {
            Ok(_) => {
                self.shared.meters.moved(&transition);
                if let Transition::Expired { .. } = transition {
                    let late = approval.opening.deadline.until(self.shared.store.now());
                    self.shared.meters.expiries.record(late);
                }
                Ok(true)
            }
            Err(CommitError::Conflict) => Ok(false),
            Err(error) => Err(error.into()),
        }
    }

    /// The approval with everything on record that time has made of it.
    pub(super) async fn as_of_now(&self, approval: Arc<Approval>) -> Result<Arc<Approval>, Refusal> {
        let now = self.shared.store.now();
        if approval.due_at(now).is_none() {
            return Ok(approval);
        }
        let id = approval.id();
        match self.settle_due(approval.clone(), now).await {
            // What only tells people is not worth refusing a call: it changes nothing that anybody reads or decides.
            Err(_) if approval.state_at(now) == ApprovalState::Pending => Ok(approval),
            settled => {
                settled?;
                self.shared.store.approval(id).await?.ok_or(Refusal::NotFound)
            }
        }
    }
}
