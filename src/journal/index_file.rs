//! The index of a sealed segment, on disk: offsets by record, and (key, record) pairs sorted for binary search.
//!
//! It is derived: deleted or damaged, it is built again from its segment. Nothing is held in memory between look-ups.
//! The file is blocks of 4096 bytes, each ending in a CRC-32C that also covers the journal id and the block's number.
//! Block 0 is the head; then 1023 offsets (u32) a block; then 341 pairs (key u64, ordinal u32) a block.

use std::fs::{self, File};
use std::io::{self, BufWriter, Write};
use std::ops::Range;
use std::path::Path;

use super::error::{IoFault, io_fault};
use super::format::{FORMAT_VERSION, JournalId, array};
use super::index::{MemoryIndex, Order, Ordinal};
use super::scan::read_up_to;

const MAGIC: [u8; 8] = *b"CSIGNIDX";
const BLOCK_BYTES: usize = 4096;
const BODY_BYTES: usize = BLOCK_BYTES - 4;
const OFFSETS_PER_BLOCK: u32 = 1023;
const PAIRS_PER_BLOCK: u32 = 341;
const PAIR_BYTES: usize = 12;

/// What the head of an index file says.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Shape {
    /// Records in the segment.
    pub count: Ordinal,
    /// Byte of the segment behind its last record.
    pub end: u32,
    pairs: u32,
}

impl Shape {
    fn offset_blocks(self) -> u32 {
        self.count.div_ceil(OFFSETS_PER_BLOCK)
    }

    fn blocks(self) -> u32 {
        1 + self.offset_blocks() + self.pairs.div_ceil(PAIRS_PER_BLOCK)
    }
}

/// An index file open for one look-up.
#[derive(Debug)]
pub(super) struct IndexFile {
    file: File,
    seed: u32,
    shape: Shape,
    cached: Option<(u32, Vec<u8>)>,
}

impl IndexFile {
    /// # Errors
    /// `InvalidData` when it is not the index of segment `first` of this journal, or is damaged: build it again.
    pub(super) fn open(path: &Path, journal: JournalId, first: u64) -> io::Result<Self> {
        let file = File::open(path)?;
        let length = file.metadata()?.len();
        let shape = Shape { count: 0, end: 0, pairs: 0 };
        let mut index = Self { file, seed: journal.seed(), shape, cached: None };
        let head = index.block(0)?;
        index.shape = shape_of(head, journal, first).ok_or_else(damaged)?;
        if length != u64::from(index.shape.blocks()) * BLOCK_BYTES as u64 {
            return Err(damaged());
        }
        Ok(index)
    }

    pub(super) fn shape(&self) -> Shape {
        self.shape
    }

    /// Byte of the segment where each record of `range` begins; one more, the end, if the range reaches it.
    pub(super) fn offsets(&mut self, range: Range<Ordinal>) -> io::Result<Vec<u32>> {
        range.map(|ordinal| self.offset(ordinal)).collect()
    }

    fn offset(&mut self, ordinal: Ordinal) -> io::Result<u32> {
        if ordinal >= self.shape.count {
            return Ok(self.shape.end);
        }
        let at = (ordinal % OFFSETS_PER_BLOCK) as usize * 4;
        let block = self.block(1 + ordinal / OFFSETS_PER_BLOCK)?;
        array(block, at).map(u32::from_le_bytes).ok_or_else(damaged)
    }

    /// At most `limit` records of `key` within `range`.
    pub(super) fn find(
        &mut self,
        key: u64,
        range: &Range<Ordinal>,
        order: Order,
        limit: usize,
    ) -> io::Result<Vec<Ordinal>> {
        let mut found = Vec::new();
        let mut place = match order {
            Order::OldestFirst => Some(self.lower_bound((key, range.start))?),
            Order::NewestFirst => self.lower_bound((key, range.end))?.checked_sub(1),
        };
        while let Some(number) = place.filter(|number| found.len() < limit && *number < self.shape.pairs) {
            let (found_key, ordinal) = self.pair(number)?;
            if found_key != key || !range.contains(&ordinal) {
                break;
            }
            found.push(ordinal);
            place = match order {
                Order::OldestFirst => number.checked_add(1),
                Order::NewestFirst => number.checked_sub(1),
            };
        }
        Ok(found)
    }

    /// The number of pairs below `wanted`.
    fn lower_bound(&mut self, wanted: (u64, Ordinal)) -> io::Result<u32> {
        let (mut low, mut high) = (0, self.shape.pairs);
        // First by whole blocks, so that the rest of the search stays within one.
        while high - low > PAIRS_PER_BLOCK {
            let middle = ((low + (high - low) / 2) / PAIRS_PER_BLOCK * PAIRS_PER_BLOCK).max(low + 1);
            if self.pair(middle)? < wanted { low = middle } else { high = middle }
        }
        while low < high {
            let middle = low + (high - low) / 2;
            if self.pair(middle)? < wanted { low = middle + 1 } else { high = middle }
        }
        Ok(low)
    }

    fn pair(&mut self, number: u32) -> io::Result<(u64, Ordinal)> {
        let at = (number % PAIRS_PER_BLOCK) as usize * PAIR_BYTES;
        let block = self.block(1 + self.shape.offset_blocks() + number / PAIRS_PER_BLOCK)?;
        let pair = array(block, at).zip(array(block, at + 8)).ok_or_else(damaged)?;
        Ok((u64::from_le_bytes(pair.0), u32::from_le_bytes(pair.1)))
    }

    fn block(&mut self, number: u32) -> io::Result<&[u8]> {
        if self.cached.as_ref().is_none_or(|(cached, _)| *cached != number) {
            let mut bytes = self.cached.take().map_or_else(|| vec![0; BLOCK_BYTES], |(_, bytes)| bytes);
            let got = read_up_to(&self.file, &mut bytes, u64::from(number) * BLOCK_BYTES as u64)?;
            let checksum = array(&bytes, BODY_BYTES).map(u32::from_le_bytes);
            let body = bytes.get(..BODY_BYTES).unwrap_or_default();
            if got != BLOCK_BYTES || checksum != Some(block_checksum(self.seed, number, body)) {
                return Err(damaged());
            }
            self.cached = Some((number, bytes));
        }
        Ok(self.cached.as_ref().map_or(&[], |(_, bytes)| bytes.as_slice()))
    }
}

/// Writes the index of segment `first`, in one step as others see it.
pub(super) fn build(path: &Path, journal: JournalId, first: u64, index: &MemoryIndex) -> Result<Shape, IoFault> {
    let entries = index.all_entries();
    let shape =
        Shape { count: index.count(), end: index.end(), pairs: u32::try_from(entries.len()).unwrap_or(u32::MAX) };
    let unfinished = path.with_extension("idx.new");
    write_all(&unfinished, journal, first, shape, index.offsets(), &entries)
        .map_err(io_fault("write", &unfinished))
        .inspect_err(|_| {
            // Best effort: frees the room it took; the next build overwrites it anyway.
            let _ = fs::remove_file(&unfinished);
        })?;
    fs::rename(&unfinished, path).map_err(io_fault("rename", &unfinished))?;
    Ok(shape)
}

fn write_all(
    path: &Path,
    journal: JournalId,
    first: u64,
    shape: Shape,
    offsets: &[u32],
    entries: &[(u64, Ordinal)],
) -> io::Result<()> {
    let mut out = BlockWriter { out: BufWriter::new(File::create(path)?), seed: journal.seed(), number: 0 };
    let mut head = Vec::with_capacity(BLOCK_BYTES);
    head.extend_from_slice(&MAGIC);
    head.extend_from_slice(&FORMAT_VERSION.to_le_bytes());
    head.extend_from_slice(&journal.0);
    head.extend_from_slice(&first.to_le_bytes());
    for field in [shape.count, shape.end, shape.pairs] {
        head.extend_from_slice(&field.to_le_bytes());
    }
    out.block(head)?;
    for part in offsets.chunks(OFFSETS_PER_BLOCK as usize) {
        out.block(part.iter().flat_map(|offset| offset.to_le_bytes()).collect())?;
    }
    for part in entries.chunks(PAIRS_PER_BLOCK as usize) {
        let mut body = Vec::with_capacity(BLOCK_BYTES);
        for (key, ordinal) in part {
            body.extend_from_slice(&key.to_le_bytes());
            body.extend_from_slice(&ordinal.to_le_bytes());
        }
        out.block(body)?;
    }
    out.out.into_inner()?.sync_all()
}

struct BlockWriter {
    out: BufWriter<File>,
    seed: u32,
    number: u32,
}

impl BlockWriter {
    fn block(&mut self, mut body: Vec<u8>) -> io::Result<()> {
        body.resize(BODY_BYTES, 0);
        let checksum = block_checksum(self.seed, self.number, &body);
        body.extend_from_slice(&checksum.to_le_bytes());
        self.number += 1;
        self.out.write_all(&body)
    }
}

fn block_checksum(seed: u32, number: u32, body: &[u8]) -> u32 {
    crc32c::crc32c_append(crc32c::crc32c_append(seed, &number.to_le_bytes()), body)
}

fn shape_of(head: &[u8], journal: JournalId, first: u64) -> Option<Shape> {
    let version = u32::from_le_bytes(array(head, 8)?);
    let same = array(head, 0)? == MAGIC
        && version == FORMAT_VERSION
        && array(head, 12)? == journal.0
        && u64::from_le_bytes(array(head, 28)?) == first;
    let field = |at| array(head, at).map(u32::from_le_bytes);
    if same { Some(Shape { count: field(36)?, end: field(40)?, pairs: field(44)? }) } else { None }
}

fn damaged() -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, "index file is damaged")
}

#[cfg(test)]
mod tests {
    use super::*;

    const ID: JournalId = JournalId([4; 16]);

    fn built(dir: &Path, records: u64) -> (std::path::PathBuf, MemoryIndex) {
        let mut index = MemoryIndex::empty(128);
        for n in 0..records {
            index.push(80 + (n % 5) as usize, &[n % 7, 1000 + n / 2]);
        }
        let path = dir.join("1.idx");
        build(&path, ID, 1, &index).unwrap();
        (path, index)
    }

    #[test]
    fn the_file_answers_as_the_index_in_memory_does() {
        let dir = tempfile::tempdir().unwrap();
        for records in [0, 1, 170, 171, 341, 1023, 5000] {
            let (path, memory) = built(dir.path(), records);
            let mut file = IndexFile::open(&path, ID, 1).unwrap();
            assert_eq!((file.shape().count, file.shape().end), (memory.count(), memory.end()));
            assert_eq!(file.offsets(0..memory.count()).unwrap(), memory.offsets());
            for key in (0..9).chain([999, 1000, 1001, 1000 + records / 2, u64::MAX]) {
                for order in [Order::OldestFirst, Order::NewestFirst] {
                    for (range, limit) in [(0..u32::MAX, usize::MAX), (3..100, 4), (50..51, 9), (7..7, 9)] {
                        let want = memory.find(key, &range, order, limit);
                        assert_eq!(file.find(key, &range, order, limit).unwrap(), want, "{records} {key} {range:?}");
                    }
                }
            }
        }
    }

    #[test]
    fn a_flipped_bit_in_any_block_is_noticed() {
        let dir = tempfile::tempdir().unwrap();
        let (path, _) = built(dir.path(), 2000);
        let good = fs::read(&path).unwrap();
        for block in 0..good.len() / BLOCK_BYTES {
            let mut bad = good.clone();
            bad[block * BLOCK_BYTES + 17] ^= 4;
            fs::write(&path, &bad).unwrap();
            let read = IndexFile::open(&path, ID, 1).and_then(|mut index| {
                index.offsets(0..2000)?;
                (0..7).try_for_each(|key| index.find(key, &(0..u32::MAX), Order::OldestFirst, usize::MAX).map(drop))?;
                (1000..2000).try_for_each(|key| index.find(key, &(0..9999), Order::OldestFirst, 9).map(drop))
            });
            assert_eq!(read.unwrap_err().kind(), io::ErrorKind::InvalidData, "block {block}");
        }
    }

    #[test]
    fn the_index_of_another_segment_or_journal_is_refused() {
        let dir = tempfile::tempdir().unwrap();
        let (path, _) = built(dir.path(), 10);
        assert!(IndexFile::open(&path, ID, 2).is_err());
        assert!(IndexFile::open(&path, JournalId([5; 16]), 1).is_err());
    }
}
