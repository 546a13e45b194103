//! The way in: gives each record its sequence and its place on the disk, in the order of the calls, without I/O.
//!
//! Space is accounted here, in bytes of segments that are preallocated already: a record that is taken has its room. The
//! last spare segments are the reserve: only [`Class::Essential`] may begin one, and while the log is in the reserve,
//! [`Class::Normal`] is refused even where it would fit.

use std::collections::VecDeque;
use std::path::PathBuf;
use std::sync::Arc;

use super::error::AppendError;
use super::format::{HEADER_BYTES, encode_open, frame_bytes};
use super::key::Keys;
use super::recover::Recovered;
use super::settings::{Settings, SyncPolicy};
use super::ticket::{Completion, Progress, Ticket};

/// What is to be recorded.
#[derive(Debug, Clone, Default)]
pub struct Entry {
    /// When it happened, in microseconds since 1970. Time never goes backwards in a journal: an earlier time than the
    /// record's before is written as that one's.
    pub at_micros: i64,
    /// By what it can be found again.
    pub keys: Keys,
    /// The record itself; the journal does not look into it.
    pub payload: Vec<u8>,
}

/// Who may still write when the disk is full.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Class {
    /// Refused when the disk is full.
    Normal,
    /// May use the reserve: denials and expiry, which only narrow.
    Essential,
}

/// What a ticket waits for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Durability {
    /// The disk has it.
    Synced,
    /// Under [`SyncPolicy::Interval`] the operating system has it; under [`SyncPolicy::Always`] the same as `Synced`.
    Relaxed,
}

/// Records that go to the disk together.
#[derive(Debug, Default)]
pub(super) struct Batch {
    /// Open frames, back to back.
    pub bytes: Vec<u8>,
    /// Where in `bytes` a new segment begins, and which spare it will be.
    pub rolls: VecDeque<(usize, PathBuf)>,
    pub must_sync: bool,
    pub completion: Arc<Completion>,
}

impl Drop for Batch {
    /// Nobody waits for ever on a batch that the writer lost in a panic.
    fn drop(&mut self) {
        self.completion.abandon();
    }
}

/// The state behind the lock that every append takes.
#[derive(Debug)]
pub(super) struct Queue {
    pub next_sequence: u64,
    pub last_at_micros: i64,
    pub pending: Batch,
    /// Bytes left in the segment that the last queued record will lie in.
    pub room_bytes: u64,
    /// Preallocated segments; the last `reserve` of them are for essential records.
    pub spares: VecDeque<PathBuf>,
    pub reserve: usize,
    pub in_reserve: bool,
    /// The last attempt to preallocate found no room.
    pub disk_full: bool,
    pub writer_idle: bool,
    pub closing: bool,
    pub failed: bool,
}

impl Queue {
    /// The queue behind what `recovered` found.
    pub(super) fn new(settings: &Settings, recovered: &Recovered) -> Self {
        let active = &recovered.active;
        Self {
            next_sequence: active.sequence + 1,
            last_at_micros: active.at_micros,
            pending: Batch::default(),
            room_bytes: active.capacity.saturating_sub(u64::from(active.segment.end())),
            spares: recovered.spares.iter().cloned().collect(),
            reserve: settings.reserve_segments(),
            in_reserve: false,
            disk_full: false,
            writer_idle: false,
            closing: false,
            failed: false,
        }
    }

    /// Called once, when as many spares as possible are there: a reserve that cannot be filled up is one that the last
    /// run was already living on.
    pub(super) fn judge_reserve(&mut self) {
        self.in_reserve = self.spares.len() < self.reserve;
    }

    /// Takes the record, or leaves everything as it was. The second value tells that a spare was used up.
    pub(super) fn append(
        &mut self,
        settings: &Settings,
        entry: &Entry,
        class: Class,
        durability: Durability,
    ) -> Result<(Ticket, bool), AppendError> {
        let length = frame_bytes(entry.keys.as_slice().len(), entry.payload.len());
        if entry.payload.len() > settings.record_bytes_max {
            return Err(AppendError::TooLarge { bytes: entry.payload.len(), limit: settings.record_bytes_max });
        }
        if self.failed || self.closing {
            return Err(AppendError::Failed);
        }
        if !self.pending.bytes.is_empty() && self.pending.bytes.len() + length > settings.queue_bytes_max {
            return Err(AppendError::Busy);
        }
        let rolled = self.place(settings, length as u64, class)?;
        Ok((self.push(settings, entry, durability), rolled))
    }

    /// The place of the next record: its sequence, and its time, which never goes back.
    pub(super) fn next_place(&self, at_micros: i64) -> (u64, i64) {
        (self.next_sequence, self.last_at_micros.max(at_micros))
    }

    /// Whether a record of that length would be taken now.
    pub(super) fn check_room(&self, settings: &Settings, payload: usize, class: Class) -> Result<(), AppendError> {
        if self.failed || self.closing {
            return Err(AppendError::Failed);
        }
        let length = frame_bytes(super::key::KEYS_MAX, payload);
        if !self.pending.bytes.is_empty() && self.pending.bytes.len() + length > settings.queue_bytes_max {
            return Err(AppendError::Busy);
        }
        let beyond_reserve = self.spares.len() > self.reserve;
        let is_reserved = class == Class::Normal && !beyond_reserve;
        if is_reserved && (self.in_reserve || length as u64 > self.room_bytes) || self.lacks(length) {
            return Err(if self.disk_full { AppendError::Full } else { AppendError::Busy });
        }
        Ok(())
    }

    fn lacks(&self, length: usize) -> bool {
        length as u64 > self.room_bytes && self.spares.is_empty()
    }

    /// Accounts for the room of one record. True when it begins a new segment.
    fn place(&mut self, settings: &Settings, length: u64, class: Class) -> Result<bool, AppendError> {
        let beyond_reserve = self.spares.len() > self.reserve;
        let full = if self.disk_full { AppendError::Full } else { AppendError::Busy };
        if class == Class::Normal && self.in_reserve && !beyond_reserve {
            return Err(full);
        }
        if length <= self.room_bytes {
            self.room_bytes -= length;
            self.in_reserve &= !beyond_reserve;
            return Ok(false);
        }
        if class == Class::Normal && !beyond_reserve {
            return Err(full);
        }
        let spare = self.spares.pop_front().ok_or(full)?;
        self.in_reserve = !beyond_reserve;
        self.room_bytes = settings.segment_bytes - HEADER_BYTES - length;
        self.pending.rolls.push_back((self.pending.bytes.len(), spare));
        Ok(true)
    }

    fn push(&mut self, settings: &Settings, entry: &Entry, durability: Durability) -> Ticket {
        let wanted = match (settings.sync, durability) {
            (SyncPolicy::Interval(_), Durability::Relaxed) => Progress::Written,
            (SyncPolicy::Always, _) | (SyncPolicy::Interval(_), Durability::Synced) => Progress::Synced,
        };
        let (sequence, at_micros) = self.next_place(entry.at_micros);
        self.next_sequence += 1;
        self.last_at_micros = at_micros;
        self.pending.must_sync |= wanted == Progress::Synced;
        encode_open(&mut self.pending.bytes, sequence, self.last_at_micros, &entry.keys, &entry.payload);
        Ticket { sequence, at_micros: self.last_at_micros, wanted, completion: Arc::clone(&self.pending.completion) }
    }

    /// Takes what is queued; `spare` becomes the next buffer.
    pub(super) fn take(&mut self, spare: Vec<u8>) -> Batch {
        let mut next = Batch::default();
        next.bytes = spare;
        std::mem::replace(&mut self.pending, next)
    }
}
