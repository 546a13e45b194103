//! Retention: removes whole old segments, never one that the caller still needs.
//!
//! What goes is first written to the mark `retained`, so that a removal is told apart from a loss, and one that a crash
//! interrupted is finished at the next start.

use std::fs;
use std::io;
use std::path::Path;
use std::sync::PoisonError;
use std::time::Duration;

use super::error::{IoFault, ReadError, io_fault};
use super::mark::Mark;
use super::read;
use super::segment::Segment;
use super::shared::Shared;

/// What may go. Without an age and a size nothing does.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Retention {
    /// No record at or after this sequence goes.
    pub keep_from: u64,
    /// Records older than this go.
    pub max_age: Option<Duration>,
    /// While all records take more bytes than this, the oldest go.
    pub max_bytes: Option<u64>,
}

/// A segment that went.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Removed {
    /// Its oldest record.
    pub first: u64,
    /// Its newest record.
    pub last: u64,
    /// Its size.
    pub bytes: u64,
}

pub(super) fn retain(
    shared: &Shared,
    retained: &Mark,
    retention: &Retention,
    now_micros: i64,
) -> Result<Vec<Removed>, ReadError> {
    let mut removed = Vec::new();
    while let Some(oldest) = next_to_go(shared, retention, now_micros)? {
        let next = oldest.last + 1;
        retained.write(next)?;
        retained.sync()?;
        shared.segments.write().unwrap_or_else(PoisonError::into_inner).retain(|segment| segment.first() >= next);
        remove(&shared.directory.segment(oldest.first))?;
        remove(&shared.directory.index(oldest.first))?;
        removed.push(oldest);
    }
    if !removed.is_empty() {
        shared.directory.sync()?;
        shared.nudge();
    }
    Ok(removed)
}

fn next_to_go(shared: &Shared, retention: &Retention, now_micros: i64) -> Result<Option<Removed>, ReadError> {
    let (oldest, total) = {
        let segments = shared.segments();
        let total = segments.iter().map(|segment| u64::from(segment.end())).sum::<u64>();
        match segments.as_slice() {
            // INVARIANT: the active segment stays, and so does one whose index is being written.
            [oldest, _, ..] if oldest.is_sealed() => (std::sync::Arc::clone(oldest), total),
            _ => return Ok(None),
        }
    };
    let last = oldest.next_sequence() - 1;
    let too_large = retention.max_bytes.is_some_and(|limit| total > limit);
    if last >= retention.keep_from || !(too_large || too_old(shared, &oldest, retention, now_micros)?) {
        return Ok(None);
    }
    Ok(Some(Removed { first: oldest.first(), last, bytes: u64::from(oldest.end()) }))
}

fn too_old(shared: &Shared, oldest: &Segment, retention: &Retention, now_micros: i64) -> Result<bool, ReadError> {
    let Some(age) = retention.max_age else {
        return Ok(false);
    };
    let limit = now_micros.saturating_sub(i64::try_from(age.as_micros()).unwrap_or(i64::MAX));
    let newest = read::forward(shared, oldest.next_sequence() - 1, 1, 1)?;
    Ok(newest.first().is_some_and(|frame| frame.at_micros < limit))
}

fn remove(path: &Path) -> Result<(), IoFault> {
    match fs::remove_file(path) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => Err(io_fault("remove", path)(error)),
        _ => Ok(()),
    }
}
