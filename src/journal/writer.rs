//! The one thread that writes: takes what is queued, links and seals the frames, writes once, syncs once, and only then
//! answers.
//!
//! An error of a write or a sync is final (the kernel may have dropped the pages, so a second sync that succeeds proves
//! nothing): the journal is marked failed, everybody who waits is told, and nothing is written any more.

use std::fs::File;
use std::io;
use std::os::unix::fs::FileExt;
use std::path::Path;
use std::sync::{Arc, PoisonError};
use std::time::{Duration, Instant};

use rustix::fs::fdatasync;

use super::error::{IoFault, io_fault};
use super::format::{self, HEADER_BYTES, Header, length_at};
use super::key::Keys;
use super::mark::Mark;
use super::queue::Batch;
use super::recover::{Active, begin_segment};
use super::segment::Segment;
use super::settings::SyncPolicy;
use super::shared::{Head, Shared, lock};
use super::ticket::Progress;

/// A buffer that a burst has grown beyond this is given back.
const KEPT_BUFFER_BYTES: usize = 4 << 20;

/// What the writer thread owns.
#[derive(Debug)]
pub(super) struct Writer {
    shared: Arc<Shared>,
    acknowledged: Mark,
    segment: Arc<Segment>,
    file: File,
    /// Byte of the file where the next frame goes.
    offset: u64,
    /// The newest written record.
    head: Head,
    synced: u64,
    /// Since when something is written and not synced.
    dirty_since: Option<Instant>,
}

enum Work {
    Write(Batch),
    Sync,
    Stop,
}

impl Writer {
    pub(super) fn new(shared: Arc<Shared>, acknowledged: Mark, active: Active) -> Self {
        let head = Head { sequence: active.sequence, chain: active.chain };
        Self {
            shared,
            acknowledged,
            offset: u64::from(active.segment.end()),
            segment: active.segment,
            file: active.file,
            head,
            synced: head.sequence,
            dirty_since: None,
        }
    }

    /// Works until the journal is closed or fails.
    pub(super) fn run(mut self) {
        let guard = FailUnlessClosed::of(&self.shared);
        let mut buffer = Vec::new();
        loop {
            let done = match self.next_work(std::mem::take(&mut buffer)) {
                Work::Write(mut batch) => {
                    let done = self.commit(&mut batch);
                    let reached = if done.is_err() { Progress::Failed } else { self.reached() };
                    batch.completion.reach(reached);
                    batch.bytes.clear();
                    batch.bytes.shrink_to(KEPT_BUFFER_BYTES);
                    buffer = std::mem::take(&mut batch.bytes);
                    done
                }
                Work::Sync => self.sync(),
                Work::Stop => break,
            };
            if let Err(fault) = done {
                tracing::error!(error = %fault, "journal failed, nothing is written any more");
                return;
            }
        }
        match self.sync() {
            Ok(()) => guard.closed(),
            Err(fault) => tracing::error!(error = %fault, "journal failed at its end"),
        }
    }

    fn reached(&self) -> Progress {
        if self.dirty_since.is_some() { Progress::Written } else { Progress::Synced }
    }

    fn next_work(&mut self, buffer: Vec<u8>) -> Work {
        let shared = Arc::clone(&self.shared);
        let mut queue = lock(&shared.queue);
        loop {
            if !queue.pending.bytes.is_empty() {
                break;
            }
            if queue.closing {
                return Work::Stop;
            }
            queue.writer_idle = true;
            let Some(left) = self.until_sync() else {
                queue = shared.work.wait(queue).unwrap_or_else(PoisonError::into_inner);
                continue;
            };
            if left.is_zero() {
                return Work::Sync;
            }
            queue = shared.work.wait_timeout(queue, left).unwrap_or_else(PoisonError::into_inner).0;
        }
        queue.writer_idle = false;
        if !shared.settings.coalesce.is_zero() && !queue.closing {
            drop(queue);
            std::thread::sleep(shared.settings.coalesce);
            queue = lock(&shared.queue);
        }
        Work::Write(queue.take(buffer))
    }

    /// How long the interval still allows to wait; `None` when nothing waits for a sync.
    fn until_sync(&self) -> Option<Duration> {
        let SyncPolicy::Interval(interval) = self.shared.settings.sync else {
            return None;
        };
        self.dirty_since.map(|since| interval.saturating_sub(since.elapsed()))
    }

    fn commit(&mut self, batch: &mut Batch) -> Result<(), IoFault> {
        let began = Instant::now();
        let mut rest = batch.bytes.as_mut_slice();
        let mut done = 0;
        while let Some((at, spare)) = batch.rolls.pop_front() {
            let (part, next) = rest.split_at_mut_checked(at - done).ok_or_else(|| self.broken())?;
            self.write(part)?;
            self.roll(&spare, next)?;
            (rest, done) = (next, at);
        }
        self.write(rest)?;
        self.dirty_since.get_or_insert_with(Instant::now);
        let overdue = self.until_sync().is_none_or(|left| left.is_zero());
        if batch.must_sync || overdue {
            self.sync()?;
            self.shared.meters.batches.record(began.elapsed());
        }
        Ok(())
    }

    /// Seals and writes whole frames.
    fn write(&mut self, frames: &mut [u8]) -> Result<(), IoFault> {
        let seed = self.segment.header.journal.seed();
        let (mut at, mut records) = (0, Vec::<(usize, Keys)>::new());
        while at < frames.len() {
            let rest = frames.get_mut(at..).unwrap_or_default();
            let length = length_at(rest).ok_or_else(|| self.broken())?;
            let frame = rest.get_mut(..length).ok_or_else(|| self.broken())?;
            self.head.chain = format::seal(frame, self.synced, &self.head.chain, seed).ok_or_else(|| self.broken())?;
            self.head.sequence += 1;
            records.push((length, format::keys_of(frame).ok_or_else(|| self.broken())?));
            at += length;
        }
        self.file.write_all_at(frames, self.offset).map_err(io_fault("write", &self.segment.path))?;
        self.offset += frames.len() as u64;
        self.shared.meters.written_bytes.add(frames.len() as u64);
        self.segment.push(records.iter().map(|(length, keys)| (*length, keys.as_slice())));
        Ok(())
    }

    /// Goes on in the next segment. INVARIANT: the full one is synced before the next one exists, so that a bad place in
    /// it is never a torn tail.
    fn roll(&mut self, spare: &Path, next: &[u8]) -> Result<(), IoFault> {
        fdatasync(&self.file).map_err(io_fault("sync", &self.segment.path))?;
        let header = Header {
            first_sequence: self.head.sequence + 1,
            chain_before: self.head.chain,
            created_micros: format::at_micros_of(next).ok_or_else(|| self.broken())?,
            journal: self.segment.header.journal,
        };
        self.file = begin_segment(&self.shared.directory, spare, &header)?;
        self.offset = HEADER_BYTES;
        let segment = Arc::new(Segment::empty(&self.shared.directory, header));
        let full = std::mem::replace(&mut self.segment, Arc::clone(&segment));
        self.shared.segments.write().unwrap_or_else(PoisonError::into_inner).push(segment);
        self.shared.finish_later(full);
        Ok(())
    }

    /// Makes everything written so far last, then tells: first the mark, then the readers. The caller answers tickets.
    fn sync(&mut self) -> Result<(), IoFault> {
        if self.dirty_since.is_none() {
            return Ok(());
        }
        let began = Instant::now();
        fdatasync(&self.file).map_err(io_fault("sync", &self.segment.path))?;
        self.shared.meters.syncs.record(began.elapsed());
        self.dirty_since = None;
        self.synced = self.head.sequence;
        self.acknowledged.write(self.synced)?;
        *lock(&self.shared.head) = self.head;
        self.shared.durable.send_replace(self.synced);
        Ok(())
    }

    /// For what cannot be: the queue holds something else than frames.
    fn broken(&self) -> IoFault {
        io_fault::<io::Error>("frame the queue for", &self.segment.path)(io::ErrorKind::InvalidData.into())
    }
}

/// Marks the journal failed unless the writer ends in order; also when it panics.
struct FailUnlessClosed {
    shared: Arc<Shared>,
    in_order: bool,
}

impl FailUnlessClosed {
    fn of(shared: &Arc<Shared>) -> Self {
        Self { shared: Arc::clone(shared), in_order: false }
    }

    fn closed(mut self) {
        self.in_order = true;
    }
}

impl Drop for FailUnlessClosed {
    fn drop(&mut self) {
        if !self.in_order {
            self.shared.fail();
        }
    }
}
