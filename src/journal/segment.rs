//! One segment as readers see it: its first sequence, and its index in memory (active) or on disk (sealed).
//!
//! No file stays open: a look-up opens what it needs, so the number of segments costs no descriptors.

use std::fs::{File, OpenOptions};
use std::io;
use std::ops::Range;
use std::path::PathBuf;
use std::sync::{PoisonError, RwLock};

use super::directory::Directory;
use super::error::{Finding, IoFault, Problem, ReadError, io_fault};
use super::format::{HEADER_BYTES, Header};
use super::index::{MemoryIndex, Order, Ordinal};
use super::index_file::{self, IndexFile, Shape};
use super::walk::{Walk, Walked};

/// A segment of the log.
#[derive(Debug)]
pub(super) struct Segment {
    pub header: Header,
    pub path: PathBuf,
    index_path: PathBuf,
    index: RwLock<Index>,
}

#[derive(Debug)]
enum Index {
    Memory(MemoryIndex),
    File(Shape),
}

impl Segment {
    /// A segment whose index is in memory.
    pub(super) fn in_memory(directory: &Directory, header: Header, index: MemoryIndex) -> Self {
        Self::of(directory, header, Index::Memory(index))
    }

    /// A segment without records.
    pub(super) fn empty(directory: &Directory, header: Header) -> Self {
        Self::in_memory(directory, header, MemoryIndex::empty(u32::try_from(HEADER_BYTES).unwrap_or(u32::MAX)))
    }

    /// A sealed segment that has a sound index file.
    pub(super) fn indexed(directory: &Directory, header: Header) -> io::Result<Self> {
        let path = directory.index(header.first_sequence);
        let shape = IndexFile::open(&path, header.journal, header.first_sequence)?.shape();
        Ok(Self::of(directory, header, Index::File(shape)))
    }

    fn of(directory: &Directory, header: Header, index: Index) -> Self {
        Self {
            header,
            path: directory.segment(header.first_sequence),
            index_path: directory.index(header.first_sequence),
            index: RwLock::new(index),
        }
    }

    pub(super) fn first(&self) -> u64 {
        self.header.first_sequence
    }

    pub(super) fn count(&self) -> Ordinal {
        match &*self.read_index() {
            Index::Memory(index) => index.count(),
            Index::File(shape) => shape.count,
        }
    }

    /// Byte behind the last record.
    pub(super) fn end(&self) -> u32 {
        match &*self.read_index() {
            Index::Memory(index) => index.end(),
            Index::File(shape) => shape.end,
        }
    }

    /// The sequence behind the last record.
    pub(super) fn next_sequence(&self) -> u64 {
        self.first() + u64::from(self.count())
    }

    pub(super) fn is_sealed(&self) -> bool {
        matches!(&*self.read_index(), Index::File(_))
    }

    /// The place of `sequence` here, cut to what is here.
    pub(super) fn ordinal(&self, sequence: u64) -> Ordinal {
        Ordinal::try_from(sequence.saturating_sub(self.first())).unwrap_or(Ordinal::MAX).min(self.count())
    }

    /// Adds records that were just written: their lengths and keys.
    pub(super) fn push<'a>(&self, records: impl Iterator<Item = (usize, &'a [u64])>) {
        let mut index = self.index.write().unwrap_or_else(PoisonError::into_inner);
        if let Index::Memory(index) = &mut *index {
            records.for_each(|(length, keys)| index.push(length, keys));
        }
    }

    /// Where each record of `range` begins, and where the last one ends.
    pub(super) fn offsets(&self, range: Range<Ordinal>) -> Result<Vec<u32>, ReadError> {
        let bounds = range.start..range.end.saturating_add(1);
        let from_memory = |index: &MemoryIndex| {
            let offset = |n: Ordinal| index.offsets().get(n as usize).copied().unwrap_or(index.end());
            bounds.clone().map(offset).collect()
        };
        self.look_up(from_memory, |index| index.offsets(bounds.clone()))
    }

    /// At most `limit` records of `key` within `range`.
    pub(super) fn find(
        &self,
        key: u64,
        range: &Range<Ordinal>,
        order: Order,
        limit: usize,
    ) -> Result<Vec<Ordinal>, ReadError> {
        self.look_up(|index| index.find(key, range, order, limit), |index| index.find(key, range, order, limit))
    }

    fn look_up<T>(
        &self,
        from_memory: impl Fn(&MemoryIndex) -> T,
        from_file: impl Fn(&mut IndexFile) -> io::Result<T>,
    ) -> Result<T, ReadError> {
        if let Index::Memory(index) = &*self.read_index() {
            return Ok(from_memory(index));
        }
        let found = IndexFile::open(&self.index_path, self.header.journal, self.first())
            .and_then(|mut index| from_file(&mut index));
        match found {
            Ok(found) => Ok(found),
            Err(error) if matches!(error.kind(), io::ErrorKind::InvalidData | io::ErrorKind::NotFound) => {
                Ok(from_memory(&self.rebuild()?))
            }
            Err(error) => Err(io_fault("read", &self.index_path)(error).into()),
        }
    }

    /// Reads the whole segment for its index, and leaves the index on disk for the next look-up.
    fn rebuild(&self) -> Result<MemoryIndex, ReadError> {
        let (index, _) = load(&self.path, &self.header)?;
        match index_file::build(&self.index_path, self.header.journal, self.first(), &index) {
            Ok(_) => {
                tracing::warn!(file.path = %self.index_path.display(), "journal index was unusable, built again")
            }
            Err(error) => {
                tracing::warn!(error = %error, "journal index is unusable and cannot be written")
            }
        }
        Ok(index)
    }

    /// Gives the unused end of a full segment back to the disk, and moves its index there.
    pub(super) fn finish(&self) -> Result<(), IoFault> {
        let shape = match &*self.read_index() {
            Index::File(_) => return Ok(()),
            Index::Memory(index) => {
                truncate(&self.path, index.end())?;
                index_file::build(&self.index_path, self.header.journal, self.first(), index)?
            }
        };
        *self.index.write().unwrap_or_else(PoisonError::into_inner) = Index::File(shape);
        Ok(())
    }

    fn read_index(&self) -> std::sync::RwLockReadGuard<'_, Index> {
        // Safe after a panic of a writer: an index only grows, a half-added record is one that find() does not show.
        self.index.read().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Reads a sealed segment in full. Returns its index and the walk at its end.
pub(super) fn load(path: &std::path::Path, header: &Header) -> Result<(MemoryIndex, Walk), ReadError> {
    let mut walk = Walk::open(path, header)?;
    let mut index = MemoryIndex::empty(u32::try_from(HEADER_BYTES).unwrap_or(u32::MAX));
    loop {
        match walk.next()? {
            Walked::Record(_, view) => index.push(view.length, view.keys.as_slice()),
            Walked::End => return Ok((index, walk)),
            Walked::Bad(finding) => return Err(ReadError::Damaged(finding)),
        }
    }
}

/// Cuts the preallocated zeros behind `end`.
fn truncate(path: &std::path::Path, end: u32) -> Result<(), IoFault> {
    let file = OpenOptions::new().write(true).open(path).map_err(io_fault("open", path))?;
    file.set_len(u64::from(end)).map_err(io_fault("truncate", path))
}

/// A finding in this segment.
pub(super) fn finding(segment: &Segment, offset: u32, sequence: u64, problem: Problem) -> Finding {
    Finding { file: segment.path.clone(), offset: u64::from(offset), sequence, problem }
}

/// The segment's file for reading.
pub(super) fn open(segment: &Segment) -> Result<File, IoFault> {
    File::open(&segment.path).map_err(io_fault("open", &segment.path))
}
