//! Readers: records in order, newest first, or by key. Blocking; only what is durable; nothing held between calls.
//!
//! Every record is checked (checksum and place) before it is handed out. The chain is the business of `verify`.

use std::ops::Range;
use std::sync::Arc;

use super::error::{Problem, ReadError, io_fault};
use super::format::{Chain, decode};
use super::index::{Order, Ordinal};
use super::key::Keys;
use super::scan::read_up_to;
use super::segment::{self, Segment};
use super::shared::Shared;

/// Most records, and bytes unless a single record is larger, that one disk read takes.
const SPAN_RECORDS: usize = 1024;
const SPAN_BYTES: usize = 1 << 20;

/// A durable record.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Frame {
    /// Its place in the journal, from 1.
    pub sequence: u64,
    /// When it happened, microseconds since 1970; never less than the record's before.
    pub at_micros: i64,
    /// Its index keys.
    pub keys: Keys,
    /// The record itself.
    pub payload: Vec<u8>,
    /// The hash chain up to and including it.
    pub chain: Chain,
}

/// What to look up. Bounds are half open; the default ones leave everything in.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Lookup {
    /// The key. Another value may share it: compare the record.
    pub key: u64,
    /// Sequences.
    pub sequences: Range<u64>,
    /// Microseconds since 1970.
    pub at_micros: Range<i64>,
    /// Which end first.
    pub order: Order,
    /// The last sequence of the page before.
    pub cursor: Option<u64>,
    /// Most sequences wanted.
    pub limit: usize,
}

impl Lookup {
    /// At most `limit` records of `key`, from the whole journal.
    #[must_use]
    pub fn of(key: u64, order: Order, limit: usize) -> Self {
        Self { key, sequences: 0..u64::MAX, at_micros: i64::MIN..i64::MAX, order, cursor: None, limit }
    }
}

/// How much a read may bring. At least one record comes, however large.
#[derive(Debug, Clone, Copy)]
struct Budget {
    records: usize,
    bytes: usize,
}

impl Budget {
    fn spend(&mut self, frames: &[Frame]) {
        let bytes: usize = frames.iter().map(|frame| frame.payload.len()).sum();
        self.records = self.records.saturating_sub(frames.len());
        self.bytes = self.bytes.saturating_sub(bytes);
    }

    fn is_spent(self) -> bool {
        self.records == 0 || self.bytes == 0
    }

    /// The number of records to try in one disk read, and its bytes.
    fn span(self) -> (Ordinal, u32) {
        let records = self.records.min(SPAN_RECORDS);
        let bytes = self.bytes.min(SPAN_BYTES);
        (Ordinal::try_from(records).unwrap_or(Ordinal::MAX), u32::try_from(bytes).unwrap_or(u32::MAX))
    }
}

pub(super) fn forward(shared: &Shared, from: u64, records: usize, bytes: usize) -> Result<Vec<Frame>, ReadError> {
    let durable = *shared.durable.borrow();
    let (mut next, mut budget, mut frames) = (from.max(1), Budget { records, bytes }, Vec::new());
    while next <= durable && !budget.is_spent() {
        let segment = shared.holding(next)?;
        let (most, span_bytes) = budget.span();
        let start = segment.ordinal(next);
        let end = segment.ordinal(durable + 1).min(start.saturating_add(most));
        let found = shared.unless_trimmed(next, || {
            let offsets = segment.offsets(start..end)?;
            let base = offsets.first().copied().unwrap_or_default();
            let fit =
                offsets.partition_point(|offset| offset.saturating_sub(base) <= span_bytes).saturating_sub(1).max(1);
            span(&segment, start, offsets.get(..=fit).unwrap_or(&offsets))
        })?;
        if found.is_empty() {
            break;
        }
        budget.spend(&found);
        next += found.len() as u64;
        frames.extend(found);
    }
    Ok(frames)
}

pub(super) fn backward(shared: &Shared, before: u64, records: usize, bytes: usize) -> Result<Vec<Frame>, ReadError> {
    let mut before = before.min(shared.durable.borrow().saturating_add(1));
    let (mut budget, mut frames) = (Budget { records, bytes }, Vec::new());
    while before > shared.first_sequence() && !budget.is_spent() {
        let segment = shared.holding(before - 1)?;
        let (most, span_bytes) = budget.span();
        let end = segment.ordinal(before);
        let start = end.saturating_sub(most);
        let mut found = shared.unless_trimmed(before - 1, || {
            let offsets = segment.offsets(start..end)?;
            let last = offsets.last().copied().unwrap_or_default();
            let skip = offsets
                .partition_point(|offset| last.saturating_sub(*offset) > span_bytes)
                .min(offsets.len().saturating_sub(2));
            let skipped = Ordinal::try_from(skip).unwrap_or_default();
            span(&segment, start + skipped, offsets.get(skip..).unwrap_or_default())
        })?;
        if found.is_empty() {
            break;
        }
        budget.spend(&found);
        before -= found.len() as u64;
        found.reverse();
        frames.extend(found);
    }
    Ok(frames)
}

/// The records between consecutive `offsets`; the first is number `start` of the segment.
fn span(segment: &Segment, start: Ordinal, offsets: &[u32]) -> Result<Vec<Frame>, ReadError> {
    let (Some(&low), Some(&high)) = (offsets.first(), offsets.last()) else {
        return Ok(Vec::new());
    };
    let mut bytes = vec![0; high.saturating_sub(low) as usize];
    let file = segment::open(segment)?;
    read_up_to(&file, &mut bytes, u64::from(low)).map_err(io_fault("read", &segment.path))?;
    let mut frames = Vec::with_capacity(offsets.len());
    for (&offset, sequence) in offsets.iter().take(offsets.len() - 1).zip(segment.first() + u64::from(start)..) {
        let rest = bytes.get(offset.saturating_sub(low) as usize..).unwrap_or_default();
        let damaged = |problem| ReadError::Damaged(segment::finding(segment, offset, sequence, problem));
        let view = decode(rest, segment.header.journal.seed()).map_err(damaged)?;
        if view.sequence != sequence {
            return Err(damaged(Problem::Sequence { found: view.sequence }));
        }
        frames.push(Frame {
            sequence,
            at_micros: view.at_micros,
            keys: view.keys,
            payload: view.payload.to_vec(),
            chain: view.chain,
        });
    }
    Ok(frames)
}

pub(super) fn find(shared: &Shared, lookup: &Lookup) -> Result<Vec<u64>, ReadError> {
    let within = bounds(shared, lookup)?;
    let segments: Vec<_> = overlapping(shared, &within);
    let mut found = Vec::new();
    let mut search = |segment: &Arc<Segment>| -> Result<bool, ReadError> {
        let range = segment.ordinal(within.start)..segment.ordinal(within.end);
        let room = lookup.limit - found.len();
        match segment.find(lookup.key, &range, lookup.order, room) {
            Ok(ordinals) => found.extend(ordinals.into_iter().map(|n| segment.first() + u64::from(n))),
            // Retention took it while we looked: its records are gone, the others are not.
            Err(_) if segment.first() < shared.first_sequence() => {}
            Err(error) => return Err(error),
        }
        Ok(found.len() < lookup.limit)
    };
    let mut oldest_first = segments.iter();
    let mut newest_first = segments.iter().rev();
    let next: &mut dyn Iterator<Item = &Arc<Segment>> = match lookup.order {
        Order::OldestFirst => &mut oldest_first,
        Order::NewestFirst => &mut newest_first,
    };
    for segment in next {
        if !search(segment)? {
            break;
        }
    }
    Ok(found)
}

fn bounds(shared: &Shared, lookup: &Lookup) -> Result<Range<u64>, ReadError> {
    let end = shared.durable.borrow().saturating_add(1);
    let mut within = lookup.sequences.start.max(shared.first_sequence())..lookup.sequences.end.min(end);
    if lookup.at_micros.start > i64::MIN {
        within.start = within.start.max(first_at(shared, lookup.at_micros.start, end)?);
    }
    if lookup.at_micros.end < i64::MAX {
        within.end = within.end.min(first_at(shared, lookup.at_micros.end, end)?);
    }
    match (lookup.order, lookup.cursor) {
        (_, None) => {}
        (Order::OldestFirst, Some(cursor)) => within.start = within.start.max(cursor.saturating_add(1)),
        (Order::NewestFirst, Some(cursor)) => within.end = within.end.min(cursor),
    }
    within.end = within.end.max(within.start);
    Ok(within)
}

/// The first sequence at or after a time; `end` when there is none. Times never fall, so a binary search finds it.
fn first_at(shared: &Shared, at_micros: i64, end: u64) -> Result<u64, ReadError> {
    let (mut low, mut high) = (shared.first_sequence(), end);
    while low < high {
        let middle = low + (high - low) / 2;
        let earlier = match forward(shared, middle, 1, 1) {
            Ok(frames) => frames.first().is_some_and(|frame| frame.at_micros < at_micros),
            Err(ReadError::Trimmed { first }) if first <= high => {
                low = first;
                continue;
            }
            Err(error) => return Err(error),
        };
        if earlier { low = middle + 1 } else { high = middle }
    }
    Ok(low)
}

fn overlapping(shared: &Shared, within: &Range<u64>) -> Vec<Arc<Segment>> {
    let segments = shared.segments();
    let start = segments.partition_point(|segment| segment.first() <= within.start).saturating_sub(1);
    let end = segments.partition_point(|segment| segment.first() < within.end);
    segments.get(start..end).unwrap_or_default().to_vec()
}

impl Shared {
    pub(super) fn first_sequence(&self) -> u64 {
        self.segments().first().map_or(1, |segment| segment.first())
    }

    /// The segment that holds, or will hold, `sequence`.
    fn holding(&self, sequence: u64) -> Result<Arc<Segment>, ReadError> {
        let segments = self.segments();
        let after = segments.partition_point(|segment| segment.first() <= sequence);
        let found = after.checked_sub(1).and_then(|place| segments.get(place)).cloned();
        let first = segments.first().map_or(1, |segment| segment.first());
        found.ok_or(ReadError::Trimmed { first })
    }

    /// An error that comes from retention having removed the file says so.
    fn unless_trimmed<T>(&self, sequence: u64, read: impl FnOnce() -> Result<T, ReadError>) -> Result<T, ReadError> {
        read().map_err(|error| match self.first_sequence() {
            first if first > sequence => ReadError::Trimmed { first },
            _ => error,
        })
    }
}
