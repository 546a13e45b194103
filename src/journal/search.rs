//! Searching the journal: by the most selective key that the index knows, or record by record, a bounded step at a time.

use std::ops::Range;

use super::log::{ONE_BYTES, uid_key, vote};
use super::{Chain, Frame, Key, Log, LogError, Lookup, Order};
use crate::domain::{ApprovalId, EntityUid, Fact, Outcome, Record, Timestamp};

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
    /// Of the records that pass, as they are on disk.
    bytes: usize,
}

/// Records that one step of a search looks at, and bytes, unless a single record is larger.
const STEP_RECORDS: usize = 1_024;
const STEP_BYTES: usize = 128 << 10;
/// Bytes of what passes, as they are on disk, after which a step ends: a record takes several times as much in memory, and is held until
/// its reader takes it.
const FOUND_BYTES: usize = 4 << 10;

impl Log {
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
        let hits = self.journal().find(&lookup)?;
        let (mut found, mut bytes) = (Found::default(), 0);
        for (position, sequence) in hits.iter().enumerate() {
            for frame in &self.journal().read(*sequence, 1, ONE_BYTES)? {
                bytes += frame.payload.len();
                found.take(search, frame, self.parse(frame)?);
            }
            let last = position + 1 == hits.len() && hits.len() < STEP_RECORDS;
            found.more = (!last).then_some(*sequence);
            if bytes >= STEP_BYTES || found.is_enough(search) {
                break;
            }
        }
        Ok(found)
    }

    fn step_by_scan(&self, search: &Search) -> Result<Found, LogError> {
        let within = self.sequences(search)?;
        let (mut found, mut after, mut looked_at) = (Found::default(), search.after, 0);
        // Where everything passes, little is read in vain; where next to nothing does, there are few reads.
        let mut chunk = FOUND_BYTES;
        while looked_at < STEP_BYTES && !found.is_enough(search) {
            let frames = self.frames(search.order, &within, after, chunk)?;
            found.more = None;
            for frame in &frames {
                if !within.contains(&frame.sequence) {
                    found.more = None;
                    return Ok(found);
                }
                looked_at += frame.payload.len();
                found.take(search, frame, self.parse(frame)?);
                (found.more, after) = (Some(frame.sequence), Some(frame.sequence));
                if found.is_enough(search) {
                    break;
                }
            }
            if frames.is_empty() {
                break;
            }
            chunk = STEP_BYTES.min(chunk * 2);
        }
        Ok(found)
    }

    /// The next frames of a scan, as far as they fit.
    fn frames(
        &self,
        order: Order,
        within: &Range<u64>,
        after: Option<u64>,
        bytes: usize,
    ) -> Result<Vec<Frame>, LogError> {
        Ok(match (order, after) {
            (Order::OldestFirst, after) => {
                let place = after.map_or(within.start, |after| within.start.max(after + 1));
                self.journal().read(place, STEP_RECORDS, bytes)?
            }
            (Order::NewestFirst, after) => {
                let place = after.map_or(within.end, |after| within.end.min(after));
                self.journal().read_back(place, STEP_RECORDS, bytes)?
            }
        })
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
    fn take(&mut self, search: &Search, frame: &Frame, record: Record) {
        if search.filter.passes(&record) {
            self.records.push((record, frame.chain));
            self.bytes += frame.payload.len();
        }
    }

    fn is_enough(&self, search: &Search) -> bool {
        self.records.len() >= search.limit || self.bytes >= FOUND_BYTES
    }
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
