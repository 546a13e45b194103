//! The journal in the domain's words: facts in, records out.
//!
//! [`Journal`] keeps bytes in order; this says which facts may use the reserve of a full disk, which may be answered
//! before they are synced, under which keys a record is found again, and how a search walks the index.

use std::ops::Range;

use tokio::sync::watch;

use super::{
    AppendError, Chain, Class, Durability, Entry, Failed, Frame, Head, Journal, JournalError, Key, Keys, Lookup, Order,
    ReadError, Removed, Retention, Settings, Ticket,
};
use crate::domain::{ApprovalId, Change, EntityUid, Fact, Origin, Outcome, Record, Review, Timestamp, Transition};
use crate::wire::{self, Malformed};

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
    #[error("cannot read or write the snapshot")]
    Snapshot(#[source] std::io::Error),
}

/// A record passes if it matches every part that is set.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Filter {
    pub principal: Option<EntityUid>,
    pub action: Option<EntityUid>,
    pub resource: Option<EntityUid>,
    pub approval: Option<ApprovalId>,
    /// Only this person's votes. Those from before votes were indexed by who cast them are not found.
    pub reviewer: Option<EntityUid>,
    /// Only decisions with one of these outcomes; empty: everything.
    pub outcomes: Vec<Outcome>,
}

/// A walk through the journal.
#[derive(Debug, Clone)]
pub struct Search {
    pub filter: Filter,
    /// Not before.
    pub from: Timestamp,
    /// Before.
    pub until: Timestamp,
    pub order: Order,
    /// The last sequence that the step before looked at.
    pub after: Option<u64>,
    /// Most records wanted.
    pub limit: usize,
}

impl Search {
    /// Every record that passes, oldest first.
    #[must_use]
    pub fn whole(filter: Filter) -> Self {
        let (from, until) = (Timestamp::from_micros(i64::MIN), Timestamp::MAX);
        Self { filter, from, until, order: Order::OldestFirst, after: None, limit: usize::MAX }
    }
}

/// What one step of a search brought.
#[derive(Debug, Default)]
pub struct Found {
    /// The records that pass, each with the hash chain at it.
    pub records: Vec<(Record, Chain)>,
    /// The last sequence looked at, where there may be more behind it.
    pub more: Option<u64>,
}

/// Records that one step of a search looks at, and bytes, unless a single record is larger.
const STEP_RECORDS: usize = 1_024;
const STEP_BYTES: usize = 128 << 10;
/// Enough for one record, which comes however large it is.
const ONE_BYTES: usize = 1;
/// Records looked at for one event: its own, and those whose key happens to be the same.
const ONE_EVENT_MAX: usize = 8;
/// Events of a shard that a start looks at.
const SHARD_EVENTS: usize = 1_024;

#[derive(Clone)]
pub struct Log {
    journal: Journal,
}

impl Log {
    /// Opens the journal. Blocking.
    pub fn open(settings: Settings) -> Result<Self, JournalError> {
        Ok(Self { journal: Journal::open(settings)? })
    }

    /// Queues a fact; `payload` is its encoding, made before any lock was taken.
    pub fn append(&self, fact: &Fact, payload: Vec<u8>, at: Timestamp) -> Result<Ticket, AppendError> {
        let entry = Entry { at_micros: at.as_micros(), keys: keys(fact), payload };
        self.journal.append(entry, class(fact), durability(fact))
    }

    /// Whether a fact of so many bytes would be taken now: to be asked before it is made true elsewhere.
    ///
    /// # Errors
    /// What [`append`](Self::append) would say.
    pub fn check_room(&self, fact: &Fact, bytes: usize) -> Result<(), AppendError> {
        self.journal.check_room(bytes, class(fact))
    }

    /// Queues a fact that is an event of a shared store. `payload` names its origin. It is true already, so that it may use
    /// the reserve of a full disk.
    pub fn append_event(
        &self,
        fact: &Fact,
        origin: &Origin,
        payload: Vec<u8>,
        at: Timestamp,
    ) -> Result<Ticket, AppendError> {
        let mut keys = keys(fact);
        // Seven keys at the most, of eight that a record may have.
        let _ = keys.push(origin_key(origin));
        let _ = keys.push(shard_key(origin.shard));
        self.journal.append(Entry { at_micros: at.as_micros(), keys, payload }, Class::Essential, durability(fact))
    }

    /// The durable records of an event of a shared store: one, unless the store told two events by one name. Blocking.
    pub fn records_of(&self, origin: &Origin) -> Result<Vec<RawRecord>, LogError> {
        let lookup = Lookup::of(origin_key(origin), Order::NewestFirst, ONE_EVENT_MAX);
        let mut records = Vec::new();
        for sequence in self.journal.find(&lookup)? {
            for frame in self.journal.read(sequence, 1, ONE_BYTES)? {
                if parse(&frame)?.origin.as_ref() == Some(origin) {
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
                let origin = parse(frame)?.origin.filter(|origin| origin.shard == shard);
                let is_higher = |origin: &Origin| highest.as_ref().is_none_or(|known| origin.number > known.number);
                if let Some(origin) = origin.filter(is_higher) {
                    highest = Some(origin);
                }
            }
        }
        Ok(highest)
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
        let mut lookup = Lookup::of(change_key(id), Order::OldestFirst, limit);
        lookup.cursor = after;
        let mut changes = Vec::new();
        for sequence in self.journal.find(&lookup)? {
            for frame in &self.journal.read(sequence, 1, ONE_BYTES)? {
                changes.push(parse(frame)?);
            }
        }
        Ok(changes)
    }

    /// One step of a search: looks at a bounded number of records, so that whoever searches can stop, and holds little.
    /// Blocking.
    pub fn search(&self, search: &Search) -> Result<Found, LogError> {
        match search.filter.key() {
            Some(key) => self.step_by_index(search, key),
            None => self.step_by_scan(search),
        }
    }

    fn step_by_index(&self, search: &Search, key: u64) -> Result<Found, LogError> {
        // A page of hits is asked for even where one record is wanted: the rest of the filter may refuse many.
        let mut lookup = Lookup::of(key, search.order, STEP_RECORDS);
        lookup.at_micros = search.from.as_micros()..search.until.as_micros();
        lookup.cursor = search.after;
        let hits = self.journal.find(&lookup)?;
        let (mut found, mut bytes) = (Found::default(), 0);
        for (position, sequence) in hits.iter().enumerate() {
            for frame in &self.journal.read(*sequence, 1, ONE_BYTES)? {
                bytes += frame.payload.len();
                found.take(search, frame)?;
            }
            let last = position + 1 == hits.len() && hits.len() < STEP_RECORDS;
            found.more = (!last).then_some(*sequence);
            if bytes >= STEP_BYTES || found.records.len() >= search.limit {
                break;
            }
        }
        Ok(found)
    }

    fn step_by_scan(&self, search: &Search) -> Result<Found, LogError> {
        let within = self.sequences(search)?;
        let frames = match (search.order, search.after) {
            (Order::OldestFirst, after) => {
                let place = after.map_or(within.start, |after| within.start.max(after + 1));
                self.journal.read(place, STEP_RECORDS, STEP_BYTES)?
            }
            (Order::NewestFirst, after) => {
                let place = after.map_or(within.end, |after| within.end.min(after));
                self.journal.read_back(place, STEP_RECORDS, STEP_BYTES)?
            }
        };
        let mut found = Found::default();
        for frame in &frames {
            if !within.contains(&frame.sequence) {
                found.more = None;
                break;
            }
            found.take(search, frame)?;
            found.more = Some(frame.sequence);
            if found.records.len() >= search.limit {
                break;
            }
        }
        Ok(found)
    }

    /// The sequences that lie in the time searched.
    fn sequences(&self, search: &Search) -> Result<Range<u64>, LogError> {
        let begin = match search.from.as_micros() {
            i64::MIN => self.first_sequence(),
            _ => self.sequence_at(search.from)?,
        };
        let end = match search.until {
            Timestamp::MAX => self.durable_through() + 1,
            until => self.sequence_at(until)?,
        };
        Ok(begin..end)
    }
}

impl Found {
    fn take(&mut self, search: &Search, frame: &Frame) -> Result<(), LogError> {
        let record = parse(frame)?;
        if search.filter.passes(&record) {
            self.records.push((record, frame.chain));
        }
        Ok(())
    }
}

impl RawRecord {
    /// What the record says.
    pub fn parse(&self) -> Result<Record, LogError> {
        wire::record::decode(self.sequence, self.at, &self.payload)
            .map_err(|source| LogError::Unreadable { sequence: self.sequence, source })
    }
}

fn parse(frame: &Frame) -> Result<Record, LogError> {
    wire::record::decode(frame.sequence, Timestamp::from_micros(frame.at_micros), &frame.payload)
        .map_err(|source| LogError::Unreadable { sequence: frame.sequence, source })
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
        // Six keys at the most, of eight that a record may have.
        let _ = keys.push(key);
    }
    if let Some(review) = vote(fact) {
        let _ = keys.push(uid_key("reviewer", &review.reviewer.uid));
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
fn vote(fact: &Fact) -> Option<&Review> {
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

fn change_key(id: ApprovalId) -> u64 {
    Key::of("change", id.as_bytes())
}

fn origin_key(origin: &Origin) -> u64 {
    Key::of("event", &[&origin.epoch[..], &[origin.shard], &origin.number.to_be_bytes()].concat())
}

fn shard_key(shard: u8) -> u64 {
    Key::of("shard", &[shard])
}

fn uid_key(kind: &str, uid: &EntityUid) -> u64 {
    Key::of(kind, [&*uid.type_name, &*uid.id].join("\0").as_bytes())
}

impl Filter {
    /// The most selective key that the index knows.
    fn key(&self) -> Option<u64> {
        let approval = self.approval.map(|id| Key::of("approval", id.as_bytes()));
        let principal = self.principal.as_ref().map(|uid| uid_key("principal", uid));
        let resource = self.resource.as_ref().map(|uid| uid_key("resource", uid));
        let action = self.action.as_ref().map(|uid| uid_key("action", uid));
        let reviewer = self.reviewer.as_ref().map(|uid| uid_key("reviewer", uid));
        approval.or(reviewer).or(principal).or(resource).or(action)
    }

    /// Whether a record matches every part that is set.
    #[must_use]
    pub fn passes(&self, record: &Record) -> bool {
        let (principal, action, resource, outcome) = match &record.fact {
            Fact::Decided(decided) => {
                let query = &decided.query;
                (Some(&query.principal), Some(&query.action), Some(&query.resource), Some(decided.outcome))
            }
            Fact::Moved(moved) => (Some(&moved.principal), Some(&moved.action), Some(&moved.resource), None),
            Fact::Refused(refused) => (refused.caller.as_ref().map(|caller| &caller.uid), None, None, None),
            Fact::PoliciesReloaded(reloaded) => (reloaded.by(), None, None, None),
            Fact::EntitiesChanged(changed) => (changed.by.as_ref().map(|by| &by.uid), None, None, None),
            Fact::Revealed(revealed) => (Some(&revealed.to.uid), None, None, None),
            Fact::Started(_) => (None, None, None, None),
        };
        let matches = |wanted: &Option<EntityUid>, is: Option<&EntityUid>| wanted.is_none() || wanted.as_ref() == is;
        matches(&self.principal, principal)
            && matches(&self.action, action)
            && matches(&self.resource, resource)
            && matches(&self.reviewer, vote(&record.fact).map(|review| &review.reviewer.uid))
            && (self.approval.is_none() || self.approval == record.fact.approval())
            && (self.outcomes.is_empty() || outcome.is_some_and(|outcome| self.outcomes.contains(&outcome)))
    }
}
