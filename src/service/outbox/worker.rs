//! One target's walk through the journal.

use std::sync::Arc;
use std::time::Duration;

use super::board::{Board, Condition, Undelivered};
use super::place::Place;
use crate::domain::{Approval, ApprovalId, Change, Fact, Record, Timestamp};
use crate::journal::{LogError, RawRecord, ReadError};
use crate::notify::{Channel, Event, Failure, Message, Settings, Target};
use crate::service::Service;

/// Records and bytes taken from disk at a time.
const CHUNK_RECORDS: usize = 256;
const CHUNK_BYTES: usize = 256 << 10;
/// Records passed over before the place is written down without a delivery: what a restart reads again for nothing.
const PASSED_OVER_MAX: u64 = 4_096;
/// Before the journal or the store is asked again that could not answer.
const UNAVAILABLE_WAIT: Duration = Duration::from_secs(1);

pub struct Worker {
    service: Service,
    settings: Arc<Settings>,
    target: Target,
    index: usize,
    place: Place,
    /// The place that is on disk.
    saved: u64,
    failures_in_row: u32,
    board: Arc<Board>,
}

/// News before it is known for whom.
struct News {
    id: String,
    at: Timestamp,
    approval: ApprovalId,
    event: Event,
}

impl Worker {
    /// `None` if there is no such target.
    pub fn new(
        service: Service,
        settings: Arc<Settings>,
        index: usize,
        place: Place,
        board: Arc<Board>,
    ) -> Option<Self> {
        let target = settings.targets.get(index)?.clone();
        let saved = place.next;
        Some(Self { service, settings, target, index, place, saved, failures_in_row: 0, board })
    }

    /// Walks for ever.
    pub async fn run(mut self) {
        let mut durable = self.service.shared.log.subscribe();
        loop {
            let newest = *durable.borrow_and_update();
            let behind_records = newest.saturating_add(1).saturating_sub(self.place.next);
            self.board.change(self.index, |state| state.behind_records = behind_records);
            if behind_records > 0 {
                self.walk().await;
            } else if durable.changed().await.is_err() {
                return;
            }
        }
    }

    /// Looks at the next chunk.
    async fn walk(&mut self) {
        let from = self.place.next;
        let log = self.service.shared.log.clone();
        let first = log.first_sequence();
        let read = tokio::task::spawn_blocking(move || log.read_raw(from, CHUNK_RECORDS, CHUNK_BYTES)).await;
        match read {
            Ok(Ok(records)) => {
                for record in records {
                    self.look_at(&record).await;
                    self.place.next = record.sequence.saturating_add(1);
                    self.note_place().await;
                }
            }
            Ok(Err(LogError::Read(ReadError::Trimmed { .. }))) if first > from => {
                tracing::warn!(target.name = %self.target.name, journal.first = first, "records were removed unread");
                self.board.change(self.index, |state| state.trimmed_records += first - from);
                self.place.next = first;
            }
            Ok(Err(error)) => self.unavailable(&error).await,
            Err(error) => self.unavailable(&error).await,
        }
    }

    async fn look_at(&mut self, raw: &RawRecord) {
        let record = match raw.parse(self.service.shared.log.vault()) {
            Ok(record) => record,
            Err(error) => {
                tracing::error!(%error, target.name = %self.target.name, "a record cannot be told of");
                return;
            }
        };
        let Some(news) = News::of(&record, &raw.chain) else { return };
        let Some(approval) = self.approval(&news).await else { return };
        let message = self.message(&news, &approval);
        let is_for = message.approval.opening.requirement.gates().iter().any(|gate| self.target.is_for(gate));
        if (is_for || message.event.pages_everybody()) && Channel(&self.target).tells(&message) {
            self.deliver(&message).await;
            self.place.next = raw.sequence.saturating_add(1);
            self.save().await;
        }
    }

    /// The approval as it is by now; asked for until the store can say.
    async fn approval(&self, news: &News) -> Option<Arc<Approval>> {
        loop {
            match self.service.shared.store.approval(news.approval).await {
                Ok(Some(approval)) => return Some(approval),
                Ok(None) => {
                    tracing::error!(approval.id = %news.approval, "an approval on record is unknown to the store");
                    return None;
                }
                Err(error) => self.unavailable(&error).await,
            }
        }
    }

    fn message(&self, news: &News, approval: &Arc<Approval>) -> Message {
        let base = self.settings.inbox_url.as_ref();
        let link = base.map(|base| format!("{}/approvals/{}", base.trim_end_matches('/'), news.approval));
        // INVARIANT: what people wrote leaves masked, as everywhere.
        let shown = self.service.veiled(approval);
        let answer = self.service.answerable(&self.target, approval, shown.masked);
        Message { id: news.id.clone(), at: news.at, event: news.event, approval: shown.into_approval(), link, answer }
    }

    /// Until it arrived or is a dead letter.
    async fn deliver(&mut self, message: &Message) {
        let retry = &self.settings.retry;
        let (approval, too_old) = (message.approval.id().to_string(), too_old_at(message, retry.age_max));
        let mut attempts = 0;
        let why = loop {
            if too_old.is_due(self.service.now()) {
                break "too old to be news".to_owned();
            }
            let sent = Channel(&self.target).deliver(message, self.place.posted(&approval), self.service.now()).await;
            let (after, cause) = match sent {
                Ok(posted) => {
                    if let Some(posted) = posted {
                        self.place.post(approval, posted);
                    }
                    return self.delivered();
                }
                Err(Failure::Refused(cause)) => break cause,
                Err(Failure::Later { after, cause }) => (after, cause),
            };
            attempts += 1;
            self.failures_in_row = self.failures_in_row.saturating_add(1);
            let is_disabled = self.failures_in_row >= retry.failures_max;
            self.failed(message, &cause, is_disabled);
            if attempts >= retry.attempts_max {
                break cause;
            }
            let own = retry.wait(attempts, after, jitter());
            tokio::time::sleep(if is_disabled { own.max(retry.probe) } else { own }).await;
        };
        self.give_up(letter(message, &why));
    }

    fn delivered(&mut self) {
        self.failures_in_row = 0;
        self.board.change(self.index, |state| {
            state.delivered += 1;
            (state.condition, state.waiting) = (Condition::Working, None);
        });
    }

    fn failed(&self, message: &Message, cause: &str, is_disabled: bool) {
        let (name, id) = (&self.target.name, &message.id);
        tracing::warn!(target.name = %name, notification.id = %id, cause, "a notification was not delivered; it is tried again");
        self.board.change(self.index, |state| {
            state.failed += 1;
            state.condition = if is_disabled { Condition::Disabled } else { Condition::Failing };
            state.waiting = Some(letter(message, cause));
        });
    }

    fn give_up(&mut self, letter: Undelivered) {
        let (name, id) = (&self.target.name, &letter.id);
        tracing::error!(target.name = %name, notification.id = %id, cause = letter.why, "a notification is given up");
        self.place.give_up(letter);
        let undelivered = self.place.undelivered.clone();
        self.board.change(self.index, |state| {
            state.given_up += 1;
            (state.waiting, state.undelivered) = (None, undelivered);
        });
    }

    async fn note_place(&mut self) {
        if self.place.next.saturating_sub(self.saved) >= PASSED_OVER_MAX {
            self.save().await;
        }
    }

    /// Writes the place down. What is not written down is only told again.
    async fn save(&mut self) {
        let place = self.place.clone();
        let saved = tokio::task::spawn_blocking(move || place.save()).await.map_err(std::io::Error::other);
        match saved.and_then(|saved| saved) {
            Ok(()) => self.saved = self.place.next,
            Err(error) => tracing::warn!(%error, target.name = %self.target.name, "the outbox cannot keep its place"),
        }
    }

    async fn unavailable(&self, error: &(dyn std::error::Error + Send + Sync + 'static)) {
        tracing::warn!(%error, target.name = %self.target.name, "nothing can be told: the record cannot be read");
        tokio::time::sleep(UNAVAILABLE_WAIT).await;
    }
}

impl News {
    fn of(record: &Record, chain: &[u8; 32]) -> Option<Self> {
        let (approval, event) = match &record.fact {
            Fact::Decided(decided) => match &decided.change {
                Change::Opened(opening) => (opening.id, Event::Opened),
                Change::Redeemed(transition) => (decided.approval?, Event::of(transition)),
                Change::None => return None,
            },
            Fact::Moved(moved) => (moved.approval, Event::of(&moved.transition)),
            Fact::Started(_)
            | Fact::Refused(_)
            | Fact::PoliciesReloaded(_)
            | Fact::EntitiesChanged(_)
            | Fact::Revealed(_) => return None,
        };
        Some(Self { id: id(record, chain), at: record.at, approval, event })
    }
}

/// One event, one id: a shared store's own name for it, else the record's hash, which no other record has.
fn id(record: &Record, chain: &[u8; 32]) -> String {
    match &record.origin {
        Some(origin) => format!("evt_{}_{}_{}", hex(&origin.epoch), origin.shard, origin.number),
        None => format!("evt_{}", hex(&chain[..])),
    }
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

/// Who must still decide is not helped by word of it after the deadline.
fn too_old_at(message: &Message, age_max: Duration) -> Timestamp {
    let old = message.at.after(age_max);
    if message.event.waits_for_people() { old.min(message.approval.opening.deadline) } else { old }
}

fn letter(message: &Message, why: &str) -> Undelivered {
    Undelivered {
        approval_id: message.approval.id().to_string(),
        event: message.event.name().to_owned(),
        id: message.id.clone(),
        why: why.to_owned(),
    }
}

/// So that many servers do not return to an endpoint in step. Without randomness the whole wait is waited.
fn jitter() -> u8 {
    uuid::Uuid::now_v7().into_bytes().last().copied().unwrap_or_default()
}
