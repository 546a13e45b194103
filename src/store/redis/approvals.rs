//! Reading approvals. What is read is told, so it must last: an approval whose last change this replica does not know to be
//! replicated is waited for, as the embedded store waits for the disk.

use std::sync::Arc;

use redis::{Cmd, Value};

use super::keys::Shard;
use super::settings::Durability;
use super::stored::Stored;
use super::trouble::Trouble;
use super::{Shared, answer};
use crate::domain::{Approval, ApprovalId, Binding};
use crate::store::StoreError;

impl Shared {
    pub(super) async fn approval(&self, id: ApprovalId) -> Result<Option<Arc<Approval>>, StoreError> {
        let Some(stored) = self.stored(id).await? else { return Ok(None) };
        self.lasting(Shard::of_approval(id), stored.head).await?;
        Ok(Some(Arc::new(stored.approval.clone())))
    }

    pub(super) async fn standing(&self, binding: Binding) -> Result<Option<Arc<Approval>>, StoreError> {
        let shard = Shard::of_binding(&binding);
        let mut slot = redis::cmd("HGET");
        slot.arg(self.links.keys.slots(shard)).arg(&binding.0[..]);
        let answer = self.links.read(shard, &[slot]).await?.pop().unwrap_or_default();
        match answer::approval_id(answer) {
            None => Ok(None),
            Some(id) => self.approval(id).await,
        }
    }

    /// The approval as it lies in Redis, whether or not that lasts.
    pub(super) async fn stored(&self, id: ApprovalId) -> Result<Option<Arc<Stored>>, StoreError> {
        let answer = self.links.read(Shard::of_approval(id), &[self.members(id)]).await?.pop().unwrap_or_default();
        self.parsed(id, answer)
    }

    pub(super) fn members(&self, id: ApprovalId) -> Cmd {
        let mut members = redis::cmd("LRANGE");
        members.arg(self.links.keys.approval(id)).arg(0).arg(-1);
        members
    }

    pub(super) fn parsed(&self, id: ApprovalId, members: Value) -> Result<Option<Arc<Stored>>, StoreError> {
        let stored = Stored::parse(id, members)?.map(Arc::new);
        if let Some(stored) = &stored {
            self.cache.insert(id, stored.clone());
        }
        Ok(stored)
    }

    /// Returns once the event is replicated as configured.
    pub(super) async fn lasting(&self, shard: Shard, head: u64) -> Result<(), StoreError> {
        if self.links.settings.durability == Durability::Primary {
            return Ok(());
        }
        if self.links.owner(shard).is_some_and(|node| node.has_lasting(shard, head)) {
            return Ok(());
        }
        // A write of its own, behind which a WAIT speaks for all before it.
        let (written, node) = self.links.write(shard, &self.touch(shard)?).await?;
        let (word, now, head) = answer::verdict(written.value)?;
        self.links.clock.heard(now, written.asked);
        if word != "ok" {
            return Err(Trouble::Lost("redis has another state than it had a moment ago".into()).into());
        }
        written.replicated?;
        node.lasts(shard, head);
        Ok(())
    }
}
