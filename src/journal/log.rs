//! The journal in the domain's words: facts in, records out.
//!
//! [`Journal`] keeps bytes in order; this says which facts may use the reserve of a full disk, which may be answered
//! before they are synced, under which keys a record is found again, and how a search walks the index.

use std::sync::Arc;

use tokio::sync::watch;

use super::{
    AppendError, Class, Durability, Failed, Frame, Head, Journal, JournalError, Key, Keys, Lookup, Order, ReadError,
    Removed, Retention, Settings, Ticket,
};
use crate::domain::{
    ApprovalId, Change, Decided, DecisionId, EntityUid, Fact, Origin, Outcome, Record, Review, Timestamp, Transition,
};
use crate::vault::{self, Draft, OpenError, Place, Vault};
use crate::wire::Malformed;

/// A record as it lies in the journal.
#[derive(Debug, Clone)]
pub struct RawRecord {
    pub sequence: u64,
    pub at: Timestamp,
    /// The hash chain up to and including it.
    pub chain: [u8; 32],
    pub payload: Vec<u8>,
}

#[derive(Debug, thiserror::Error)]
pub enum LogError {
    #[error(transparent)]
    Read(#[from] ReadError),
    #[error("record {sequence} cannot be understood")]
    Unreadable {
        sequence: u64,
        #[source]
        source: Malformed,
    },
    #[error("record {sequence}: {source}")]
    Sealed { sequence: u64, source: OpenError },
    #[error("cannot read or write the snapshot")]
    Snapshot(#[source] std::io::Error),
}

/// Bytes of one look at the end.
const STEP_BYTES: usize = 128 << 10;
/// Enough for one record, which comes however large it is.
pub(super) const ONE_BYTES: usize = 1;
/// Records looked at for one event: its own, and those whose key happens to be the same.
const ONE_EVENT_MAX: usize = 8;
/// Records at the end among which a start looks for one that is sealed.
const SEALED_LOOK: usize = 4_096;
/// Events of a shard that a start looks at.
const SHARD_EVENTS: usize = 1_024;

#[derive(Clone)]
pub struct Log {
    journal: Journal,
}

impl Log {
    /// Opens the journal. Blocking.
    ///
    /// # Errors
    /// As for [`Journal::open`], and when what is in it cannot be opened with the keys that are there.
    pub fn open(settings: Settings) -> Result<Self, JournalError> {
        let dir = settings.dir.clone();
        let log = Self { journal: Journal::open(settings)? };
        match log.check_keys() {
            Ok(()) => Ok(log),
            Err((sequence, source)) => {
                log.close();
                Err(JournalError::Sealed { dir, sequence, source })
            }
        }
    }

    /// INVARIANT: a server whose keys are not those of its journal never begins to write.
    fn check_keys(&self) -> Result<(), (u64, OpenError)> {
        // What cannot be read is found and named by whoever adds the journal up.
        let newest = self.journal.read_back(u64::MAX, SEALED_LOOK, STEP_BYTES * 8).unwrap_or_default();
        let is_sealed = |frame: &&Frame| vault::is_sealed(&frame.payload);
        newest.iter().find(is_sealed).map_or(Ok(()), |frame| match parse(self.vault(), frame) {
            Err(LogError::Sealed { sequence, source }) => Err((sequence, source)),
            _ => Ok(()),
        })
    }

    /// What seals its records: a fact is written by it before any lock is taken.
    #[must_use]
    pub fn vault(&self) -> &Vault {
        self.journal.vault()
    }

    /// Queues a fact; `draft` is its encoding, by [`vault`](Self::vault).
    pub fn append(&self, fact: &Fact, draft: Draft, at: Timestamp) -> Result<Ticket, AppendError> {
        self.seal_and_append(keys(fact), draft, at, class(fact), durability(fact))
    }

    fn seal_and_append(
        &self,
        keys: Keys,
        draft: Draft,
        at: Timestamp,
        class: Class,
        durability: Durability,
    ) -> Result<Ticket, AppendError> {
        let seal = |sequence, at| {
            let place = Place::Journal { sequence, at: Timestamp::from_micros(at) };
            self.vault().seal(draft, place).map_err(|_| AppendError::Unsealable)
        };
        self.journal.append_at(at.as_micros(), keys, seal, class, durability)
    }

    /// Whether a fact of so many bytes would be taken now: to be asked before it is made true elsewhere.
    ///
    /// # Errors
    /// What [`append`](Self::append) would say.
    pub fn check_room(&self, fact: &Fact, bytes: usize) -> Result<(), AppendError> {
        self.journal.check_room(bytes, class(fact))
    }

    /// Queues a fact that is an event of a shared store. It is true already, so that it may use the reserve of a full disk.
    pub fn append_event(
        &self,
        fact: &Fact,
        origin: &Origin,
        mut draft: Draft,
        at: Timestamp,
    ) -> Result<Ticket, AppendError> {
        draft.add_origin(origin);
        let mut keys = keys(fact);
        // Seven keys at the most, of eight that a record may have.
        let _ = keys.push(origin_key(origin));
        let _ = keys.push(shard_key(origin.shard));
        self.seal_and_append(keys, draft, at, Class::Essential, durability(fact))
    }

    /// The durable records of an event of a shared store: one, unless the store told two events by one name. Blocking.
    pub fn records_of(&self, origin: &Origin) -> Result<Vec<RawRecord>, LogError> {
        let lookup = Lookup::of(origin_key(origin), Order::NewestFirst, ONE_EVENT_MAX);
        let mut records = Vec::new();
        for sequence in self.journal.find(&lookup)? {
            for frame in self.journal.read(sequence, 1, ONE_BYTES)? {
                if self.parse(&frame)?.origin.as_ref() == Some(origin) {
                    records.push(frame.into());
                }
            }
        }
        Ok(records)
    }

    /// The durable event with the highest number of a shard of a shared store, of the newest [`SHARD_EVENTS`]: those that
    /// others left lying may be taken over long after newer ones. Blocking.
    pub fn highest_of(&self, shard: u8) -> Result<Option<Origin>, LogError> {
        let lookup = Lookup::of(shard_key(shard), Order::NewestFirst, SHARD_EVENTS);
        let mut highest: Option<Origin> = None;
        for sequence in self.journal.find(&lookup)? {
            for frame in &self.journal.read(sequence, 1, ONE_BYTES)? {
                let origin = self.parse(frame)?.origin.filter(|origin| origin.shard == shard);
                let is_higher = |origin: &Origin| highest.as_ref().is_none_or(|known| origin.number > known.number);
                if let Some(origin) = origin.filter(is_higher) {
                    highest = Some(origin);
                }
            }
        }
        Ok(highest)
    }

    /// A durable decision by the id that its caller was told. Found are those that oblige to mask, as whoever masks asks for
    /// them. Blocking.
    pub fn decision(&self, id: DecisionId) -> Result<Option<Arc<Decided>>, LogError> {
        let lookup = Lookup::of(decision_key(id), Order::NewestFirst, ONE_EVENT_MAX);
        for sequence in self.journal.find(&lookup)? {
            for frame in &self.journal.read(sequence, 1, ONE_BYTES)? {
                if let Fact::Decided(decided) = self.parse(frame)?.fact
                    && answers_as(&decided) == id
                {
                    return Ok(Some(decided));
                }
            }
        }
        Ok(None)
    }

    /// The journal below, for what it says of itself.
    #[must_use]
    pub fn journal(&self) -> &Journal {
        &self.journal
    }

    #[must_use]
    pub fn durable_through(&self) -> u64 {
        self.journal.durable_through()
    }

    pub async fn wait_durable(&self, sequence: u64) -> Result<(), Failed> {
        self.journal.wait_durable(sequence).await
    }

    /// Follows the newest durable sequence.
    #[must_use]
    pub fn subscribe(&self) -> watch::Receiver<u64> {
        self.journal.subscribe()
    }

    #[must_use]
    pub fn first_sequence(&self) -> u64 {
        self.journal.first_sequence()
    }

    /// The newest durable record and the chain there: what an anchor needs.
    #[must_use]
    pub fn head(&self) -> Head {
        self.journal.head()
    }

    pub fn retain(&self, retention: &Retention, now: Timestamp) -> Result<Vec<Removed>, LogError> {
        Ok(self.journal.retain(retention, now.as_micros())?)
    }

    /// Writes and syncs what is queued. Blocking.
    pub fn close(&self) {
        self.journal.close();
    }

    pub(super) fn parse(&self, frame: &Frame) -> Result<Record, LogError> {
        parse(self.vault(), frame)
    }

    /// Durable records from `from` on. Blocking.
    pub fn read_raw(&self, from: u64, records: usize, bytes: usize) -> Result<Vec<RawRecord>, LogError> {
        Ok(self.journal.read(from, records, bytes)?.into_iter().map(RawRecord::from).collect())
    }

    /// The first record at or after a moment; one past the newest if there is none. Blocking.
    pub fn sequence_at(&self, moment: Timestamp) -> Result<u64, LogError> {
        let (mut low, mut high) = (self.first_sequence(), self.durable_through() + 1);
        while low < high {
            let middle = low + (high - low) / 2;
            let frame = self.journal.read(middle, 1, ONE_BYTES)?;
            match frame.first() {
                Some(frame) if frame.at_micros < moment.as_micros() => low = middle + 1,
                Some(_) | None => high = middle,
            }
        }
        Ok(low)
    }

    /// The records that made an approval what it is (its opening and every transition), oldest first, at most `limit`,
    /// from behind `after` on. Blocking.
    pub fn changes_of(&self, id: ApprovalId, after: Option<u64>, limit: usize) -> Result<Vec<Record>, LogError> {
        self.records_under(change_key(id), after, limit)
    }

    /// The records that tell of entities put over the API, oldest first, at most `limit`, from behind `after` on. Those of
    /// before replicas shared entities are not found. Blocking.
    pub fn changes_of_entities(&self, after: Option<u64>, limit: usize) -> Result<Vec<Record>, LogError> {
        self.records_under(entities_key(), after, limit)
    }

    fn records_under(&self, key: u64, after: Option<u64>, limit: usize) -> Result<Vec<Record>, LogError> {
        let mut lookup = Lookup::of(key, Order::OldestFirst, limit);
        lookup.cursor = after;
        let mut changes = Vec::new();
        for sequence in self.journal.find(&lookup)? {
            for frame in &self.journal.read(sequence, 1, ONE_BYTES)? {
                changes.push(self.parse(frame)?);
            }
        }
        Ok(changes)
    }
}

impl RawRecord {
    /// What the record says, to whom has the keys.
    pub fn parse(&self, vault: &Vault) -> Result<Record, LogError> {
        open(vault, self.sequence, self.at, &self.payload)
    }
}

fn parse(vault: &Vault, frame: &Frame) -> Result<Record, LogError> {
    open(vault, frame.sequence, Timestamp::from_micros(frame.at_micros), &frame.payload)
}

fn open(vault: &Vault, sequence: u64, at: Timestamp, payload: &[u8]) -> Result<Record, LogError> {
    vault.open(sequence, at, payload, Place::Journal { sequence, at }).map_err(|error| match error {
        OpenError::Malformed(source) => LogError::Unreadable { sequence, source },
        source => LogError::Sealed { sequence, source },
    })
}

impl From<Frame> for RawRecord {
    fn from(frame: Frame) -> Self {
        let at = Timestamp::from_micros(frame.at_micros);
        Self { sequence: frame.sequence, at, chain: frame.chain, payload: frame.payload }
    }
}

/// Who may use the reserve of a full disk: what only narrows.
fn class(fact: &Fact) -> Class {
    match fact {
        Fact::Decided(decided) => match decided.outcome {
            Outcome::Deny => Class::Essential,
            Outcome::Allow | Outcome::Pending => Class::Normal,
        },
        Fact::Moved(moved) => match moved.transition {
            Transition::Expired { .. } | Transition::Lapsed { .. } | Transition::Reported(_) => Class::Essential,
            // It only tells people. Without it they may still review.
            Transition::Escalated { .. } | Transition::Reminded { .. } => Class::Normal,
            Transition::Reviewed(_)
            | Transition::Approved(..)
            | Transition::Rejected(_)
            | Transition::Cancelled { .. }
            | Transition::Revoked { .. }
            | Transition::BrokenGlass(..)
            | Transition::Examined(_)
            | Transition::Consumed { .. }
            | Transition::Used { .. } => Class::Normal,
        },
        // A start narrows nothing, but a server that cannot start on a full disk cannot deny either.
        Fact::Started(_) => Class::Essential,
        // Nor do policies, but a set that forbids more must not wait for somebody to make room.
        Fact::PoliciesReloaded(_) => Class::Essential,
        Fact::Refused(_) | Fact::EntitiesChanged(_) | Fact::Revealed(_) => Class::Normal,
    }
}

/// INVARIANT: opening, reviewing, granting and consuming never opt out of the sync.
fn durability(fact: &Fact) -> Durability {
    match fact {
        Fact::Decided(decided) => match (&decided.change, decided.outcome) {
            (Change::None, Outcome::Allow | Outcome::Deny) if decided.approval.is_none() => Durability::Relaxed,
            (Change::None | Change::Opened(_) | Change::Redeemed(_), _) => Durability::Synced,
        },
        Fact::Moved(_)
        | Fact::Started(_)
        | Fact::PoliciesReloaded(_)
        | Fact::EntitiesChanged(_)
        | Fact::Revealed(_) => Durability::Synced,
        Fact::Refused(_) => Durability::Relaxed,
    }
}

/// Under what a record is found again.
fn keys(fact: &Fact) -> Keys {
    let (principal, action, resource) = match fact {
        Fact::Decided(decided) => {
            (Some(&decided.query.principal), Some(&decided.query.action), Some(&decided.query.resource))
        }
        Fact::Moved(moved) => (Some(&moved.principal), Some(&moved.action), Some(&moved.resource)),
        Fact::Refused(refused) => (refused.caller.as_ref().map(|caller| &caller.uid), None, None),
        Fact::PoliciesReloaded(reloaded) => (reloaded.by(), None, None),
        Fact::EntitiesChanged(changed) => (changed.by.as_ref().map(|by| &by.uid), None, None),
        Fact::Revealed(revealed) => (Some(&revealed.to.uid), None, None),
        Fact::Started(_) => (None, None, None),
    };
    let named = [("principal", principal), ("action", action), ("resource", resource)];
    let mut keys = Keys::default();
    for key in named.into_iter().filter_map(|(kind, uid)| Some(uid_key(kind, uid?))) {
        // Six keys at the most, of eight that a record may have; those of a shared store need two.
        let _ = keys.push(key);
    }
    if let Fact::EntitiesChanged(_) = fact {
        let _ = keys.push(entities_key());
    }
    if let Some(review) = vote(fact) {
        let _ = keys.push(uid_key("reviewer", &review.reviewer.uid));
    }
    if let Fact::Decided(decided) = fact
        && decided.must_mask()
    {
        let _ = keys.push(decision_key(answers_as(decided)));
    }
    if let Some(id) = fact.approval() {
        let _ = keys.push(Key::of("approval", id.as_bytes()));
        if changes(fact) {
            let _ = keys.push(change_key(id));
        }
    }
    keys
}

/// The vote that a fact is.
pub(super) fn vote(fact: &Fact) -> Option<&Review> {
    match fact {
        Fact::Moved(moved) => moved.transition.review(),
        Fact::Started(_)
        | Fact::Decided(_)
        | Fact::Refused(_)
        | Fact::PoliciesReloaded(_)
        | Fact::EntitiesChanged(_)
        | Fact::Revealed(_) => None,
    }
}

/// Whether a fact made its approval what it is, rather than only being about it.
fn changes(fact: &Fact) -> bool {
    match fact {
        Fact::Decided(decided) => decided.change != Change::None,
        Fact::Moved(_) => true,
        Fact::Started(_)
        | Fact::Refused(_)
        | Fact::PoliciesReloaded(_)
        | Fact::EntitiesChanged(_)
        | Fact::Revealed(_) => false,
    }
}

/// The id that the caller was told: a repeated answer has that of the first.
fn answers_as(decided: &Decided) -> DecisionId {
    decided.repeats.unwrap_or(decided.id)
}

fn decision_key(id: DecisionId) -> u64 {
    Key::of("decision", id.as_bytes())
}

fn change_key(id: ApprovalId) -> u64 {
    Key::of("change", id.as_bytes())
}

fn entities_key() -> u64 {
    Key::of("entities", b"")
}

fn origin_key(origin: &Origin) -> u64 {
    Key::of("event", &[&origin.epoch[..], &[origin.shard], &origin.number.to_be_bytes()].concat())
}

fn shard_key(shard: u8) -> u64 {
    Key::of("shard", &[shard])
}

pub(super) fn uid_key(kind: &str, uid: &EntityUid) -> u64 {
    Key::of(kind, [&*uid.type_name, &*uid.id].join("\0").as_bytes())
}
