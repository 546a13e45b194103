//! Reading approvals. What is read is told, so it must last: an approval whose last change this replica does not know to be
//! replicated is waited for, as the embedded store waits for the disk.

use std::sync::Arc;

use redis::{Cmd, Value};

use super::answer::Verdict;
use super::commit::never_reached;
use super::guard::Epoch;
use super::keys::Shard;
use super::settings::Durability;
use super::stored::Stored;
use super::trouble::Trouble;
use super::{Shared, answer};
use crate::domain::{Approval, ApprovalId, Binding};
use crate::store::StoreError;

impl Shared {
    pub(super) async fn approval(&self, id: ApprovalId) -> Result<Option<Arc<Approval>>, StoreError> {
        let shard = Shard::of_approval(id);
        let epoch = self.epoch(shard)?;
        let Some(stored) = self.stored(id).await? else { return Ok(None) };
        self.lasting(shard, epoch, stored.head).await?;
        Ok(Some(Arc::new(stored.approval.clone())))
    }

    pub(super) async fn standing(&self, binding: Binding) -> Result<Option<Arc<Approval>>, StoreError> {
        let shard = Shard::of_binding(&binding);
        let mut slot = redis::cmd("HGET");
        slot.arg(self.links.keys.slots(shard)).arg(&binding.0[..]);
        let answer = self.links.read(shard, &[slot]).await?.pop().unwrap_or_default();
        match answer::approval_id(answer) {
            None => Ok(None),
            Some(id) => match self.approval(id).await? {
                Some(approval) => Ok(Some(approval)),
                None => self.heal(shard, &binding, id).await.map(|()| None),
            },
        }
    }

    /// A slot that leads nowhere is empty, or nothing could be opened in it for ever.
    async fn heal(&self, shard: Shard, binding: &Binding, id: ApprovalId) -> Result<(), StoreError> {
        let keys = &self.links.keys;
        let mut heal = self.links.scripts.heal.call(&[keys.slots(shard), keys.approval(id)]);
        heal.arg(&binding.0[..]).arg(&id.as_bytes()[..]);
        self.links.read(shard, &[heal]).await?;
        Ok(())
    }

    /// The approval as it lies in Redis, whether or not that lasts.
    pub(super) async fn stored(&self, id: ApprovalId) -> Result<Option<Arc<Stored>>, StoreError> {
        let answer = self.links.read(Shard::of_approval(id), &[self.members(id)]).await?.pop().unwrap_or_default();
        self.parsed(id, answer)
    }

    pub(super) fn members(&self, id: ApprovalId) -> Cmd {
        Stored::question(&self.links.keys, id)
    }

    pub(super) fn parsed(&self, id: ApprovalId, members: Value) -> Result<Option<Arc<Stored>>, StoreError> {
        let stored = Stored::parse(self.log.vault(), id, members)?.map(Arc::new);
        if let Some(stored) = &stored {
            self.cache.insert(id, stored.clone());
        }
        Ok(stored)
    }

    /// The epoch of a shard, to be taken before it is read.
    pub(super) fn epoch(&self, shard: Shard) -> Result<Epoch, StoreError> {
        self.links.guard.expected(shard).map(|(epoch, _)| epoch).ok_or_else(never_reached)
    }

    /// Returns once the event of that epoch is replicated as configured. From then on it must not be lost, whoever made it.
    pub(super) async fn lasting(&self, shard: Shard, epoch: Epoch, head: u64) -> Result<(), StoreError> {
        let is_known = || self.links.owner(shard).is_some_and(|node| node.has_lasting(shard, epoch, head));
        if self.links.settings.durability == Durability::Primary || is_known() {
            self.links.guard.lasts(shard, epoch, head);
            return Ok(());
        }
        self.all_lasting(shard).await
    }

    /// Returns once everything so far in the shard is replicated as configured.
    pub(super) async fn all_lasting(&self, shard: Shard) -> Result<(), StoreError> {
        let (epoch, known) = self.links.guard.expected(shard).ok_or_else(never_reached)?;
        // A write of its own, behind which a WAIT speaks for all before it.
        let (written, node) = self.links.write(shard, &self.touch(shard, epoch, known)?).await?;
        let Verdict { word, now, head, clock } = answer::verdict(written.value)?;
        self.links.clock.heard(clock, written.asked)?;
        self.links.clock.told(now, clock)?;
        if word != "ok" {
            self.links.read(shard, &[]).await?;
            return Err(Trouble::Lost("redis has another state than it had a moment ago".into()).into());
        }
        written.replicated?;
        node.lasts(shard, epoch, head);
        self.links.guard.lasts(shard, epoch, head);
        Ok(())
    }
}
