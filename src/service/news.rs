//! That an approval changed which the caller may see: what a page that shows approvals follows. It says that, and not what:
//! whoever hears it looks again, with his own rights.
//!
//! All who listen share one reader of the journal, which reads only while somebody listens.

use std::sync::{Arc, Mutex, PoisonError, Weak};
use std::time::Duration;

use tokio::sync::{OwnedSemaphorePermit, broadcast};

use super::{Caller, Refusal, Service};
use crate::domain::{ApprovalId, GuardAction, Guarded, Record};

/// Changes that a listener may be behind; past it, it is told that something changed.
const BEHIND_MAX: usize = 256;
/// The reader rests between two looks: many changes are told at once.
const REST: Duration = Duration::from_millis(100);
const CHUNK_RECORDS: usize = 256;
const CHUNK_BYTES: usize = 256 << 10;

/// `None`: something that could not be read; whoever listens looks.
type Changes = broadcast::Sender<Option<ApprovalId>>;

/// The reader, while there is one.
#[derive(Debug, Default)]
pub(super) struct Newsroom(Mutex<Weak<Changes>>);

/// What one listener hears.
pub struct News {
    service: Service,
    caller: Caller,
    changes: broadcast::Receiver<Option<ApprovalId>>,
    /// The reader lives as long as somebody holds this.
    _room: Arc<Changes>,
    _permit: OwnedSemaphorePermit,
}

impl Service {
    /// Begins to listen. Whoever calls looks once after that, and misses nothing.
    pub fn news(&self, caller: &Caller) -> Result<News, Refusal> {
        let permit = self.reader()?;
        let room = self.newsroom();
        Ok(News {
            service: self.clone(),
            caller: caller.clone(),
            changes: room.subscribe(),
            _room: room,
            _permit: permit,
        })
    }

    fn newsroom(&self) -> Arc<Changes> {
        // A pointer that is whole after every statement.
        let mut kept = self.shared.newsroom.0.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(room) = kept.upgrade() {
            return room;
        }
        let room = Arc::new(broadcast::channel(BEHIND_MAX).0);
        *kept = Arc::downgrade(&room);
        let (service, listened) = (self.clone(), Arc::downgrade(&room));
        // Ends with the last listener.
        tokio::spawn(async move { service.read_for(listened).await });
        room
    }

    async fn read_for(&self, listened: Weak<Changes>) {
        let mut durable = self.shared.log.subscribe();
        let mut next = durable.borrow_and_update().saturating_add(1);
        let mut stopping = self.shared.stopping.clone();
        loop {
            let chunk = self.on_disk(move |log| log.read_raw(next, CHUNK_RECORDS, CHUNK_BYTES)).await;
            let Some(room) = listened.upgrade() else { return };
            match chunk {
                Ok(records) if records.is_empty() => {}
                Ok(records) => {
                    next = records.last().map_or(next, |record| record.sequence.saturating_add(1));
                    let vault = self.shared.log.vault();
                    let changed = records.iter().filter_map(|record| changed(&record.parse(vault).ok()?));
                    // Nobody listens at this moment: then nobody misses it.
                    changed.for_each(|id| drop(room.send(Some(id))));
                    continue;
                }
                Err(error) => {
                    tracing::warn!(%error, "a part of the journal could not be followed");
                    next = durable.borrow().saturating_add(1);
                    drop(room.send(None));
                }
            }
            drop(room);
            tokio::select! {
                changed = durable.changed() => if changed.is_err() { return },
                _ = stopping.wait_for(|stopping| *stopping) => return,
            }
            tokio::time::sleep(REST).await;
        }
    }
}

/// The approval that a record changes, or tells of.
fn changed(record: &Record) -> Option<ApprovalId> {
    use crate::domain::{Change, Fact};
    match &record.fact {
        Fact::Decided(decided) => match &decided.change {
            Change::None => None,
            Change::Opened(_) | Change::Redeemed(_) => decided.approval,
        },
        Fact::Moved(moved) => Some(moved.approval),
        Fact::Started(_)
        | Fact::Refused(_)
        | Fact::PoliciesReloaded(_)
        | Fact::EntitiesChanged(_)
        | Fact::Revealed(_) => None,
    }
}

impl News {
    /// Waits for the next change of something that the caller may see.
    pub async fn changed(&mut self) -> Result<(), Refusal> {
        loop {
            match self.changes.recv().await {
                Ok(Some(id)) if self.is_visible(id).await? => return Ok(()),
                Ok(Some(_)) => {}
                // Too far behind to know: looking again is never wrong.
                Ok(None) | Err(broadcast::error::RecvError::Lagged(_)) => return Ok(()),
                Err(broadcast::error::RecvError::Closed) => return Err(Refusal::ShuttingDown),
            }
        }
    }

    async fn is_visible(&self, id: ApprovalId) -> Result<bool, Refusal> {
        let Some(approval) = self.service.shared.store.approval(id).await? else { return Ok(false) };
        let facts = approval.facts(None, self.service.now());
        let snapshot = self.service.in_force()?;
        Ok(snapshot.permits(&self.caller.identity, GuardAction::ReadApproval, Guarded::Approval(&facts)))
    }
}
