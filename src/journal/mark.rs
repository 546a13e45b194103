//! Two small files that remember one number each: `acknowledged`, the newest sequence that somebody was answered for,
//! and `retained`, the oldest sequence that retention left.
//!
//! They are what makes a removed tail and a removed head visible. A mark is 44 bytes, within one disk sector, written in
//! place: magic (8), version (4), journal id (16), number (8), zero (4), CRC-32C (4).
//! `acknowledged` is never synced: it may lag behind after a power cut, and then less is called damage, never more.

use std::fs::{self, File, OpenOptions};
use std::io;
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};

use super::error::{Finding, IoFault, JournalError, Problem, io_fault};
use super::format::{FORMAT_VERSION, JournalId, array};

pub(super) const ACKNOWLEDGED: &str = "acknowledged";
pub(super) const RETAINED: &str = "retained";

const MAGIC: [u8; 8] = *b"CSIGNMRK";
const SUMMED_BYTES: usize = 40;

/// An open mark file.
#[derive(Debug)]
pub(super) struct Mark {
    file: File,
    path: PathBuf,
    journal: JournalId,
}

impl Mark {
    pub(super) fn create(dir: &Path, name: &str, journal: JournalId, number: u64) -> Result<Self, IoFault> {
        let path = dir.join(name);
        let file = super::directory::create(&path)?;
        let mark = Self { file, path, journal };
        mark.write(number)?;
        mark.sync()?;
        Ok(mark)
    }

    pub(super) fn open(dir: &Path, name: &str, journal: JournalId) -> Result<Self, IoFault> {
        let path = dir.join(name);
        let file = OpenOptions::new().write(true).open(&path).map_err(io_fault("open", &path))?;
        Ok(Self { file, path, journal })
    }

    pub(super) fn write(&self, number: u64) -> Result<(), IoFault> {
        self.file.write_all_at(&encode(self.journal, number), 0).map_err(io_fault("write", &self.path))
    }

    pub(super) fn sync(&self) -> Result<(), IoFault> {
        self.file.sync_all().map_err(io_fault("sync", &self.path))
    }
}

/// What a mark file says: whose it is, and its number. `None` when there is no such file.
///
/// # Errors
/// A file that is there and cannot be read as a mark is damage.
pub(super) fn read(dir: &Path, name: &str) -> Result<Option<(JournalId, u64)>, JournalError> {
    let path = dir.join(name);
    let bytes = match fs::read(&path) {
        Ok(bytes) => bytes,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
        Err(error) => return Err(io_fault("read", &path)(error).into()),
    };
    if let (Some(MAGIC), Some(version)) = (array(&bytes, 0), array(&bytes, 8).map(u32::from_le_bytes))
        && version > FORMAT_VERSION
    {
        return Err(JournalError::Newer { file: path, version, supported: FORMAT_VERSION });
    }
    match decode(&bytes) {
        Some(mark) => Ok(Some(mark)),
        None => Err(JournalError::Damaged(Finding { file: path, offset: 0, sequence: 0, problem: Problem::Header })),
    }
}

fn encode(journal: JournalId, number: u64) -> Vec<u8> {
    let mut bytes = Vec::with_capacity(SUMMED_BYTES + 4);
    bytes.extend_from_slice(&MAGIC);
    bytes.extend_from_slice(&FORMAT_VERSION.to_le_bytes());
    bytes.extend_from_slice(&journal.0);
    bytes.extend_from_slice(&number.to_le_bytes());
    bytes.extend_from_slice(&[0; 4]);
    let checksum = crc32c::crc32c(&bytes);
    bytes.extend_from_slice(&checksum.to_le_bytes());
    bytes
}

fn decode(bytes: &[u8]) -> Option<(JournalId, u64)> {
    let checksum = u32::from_le_bytes(array(bytes, SUMMED_BYTES)?);
    let whole = bytes.len() == SUMMED_BYTES + 4 && array(bytes, 0)? == MAGIC;
    if !whole || checksum != crc32c::crc32c(bytes.get(..SUMMED_BYTES)?) {
        return None;
    }
    Some((JournalId(array(bytes, 12)?), u64::from_le_bytes(array(bytes, 28)?)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_mark_comes_back_and_every_flipped_bit_is_noticed() {
        let good = encode(JournalId([1; 16]), 77);
        assert_eq!(decode(&good), Some((JournalId([1; 16]), 77)));
        for bit in 0..good.len() * 8 {
            let mut bad = good.clone();
            bad[bit / 8] ^= 1 << (bit % 8);
            assert_eq!(decode(&bad), None, "bit {bit}");
        }
    }
}
