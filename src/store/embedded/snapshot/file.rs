//! The snapshot as a file, read and written as a stream, so that its size does not matter.
//!
//! All numbers little-endian: magic (8), the last sequence it accounts for (u64), the hash chain there (32); then per
//! record sequence (u64), microseconds (i64), length (u64), payload; last the number of records (u64) and the CRC-32C of
//! everything before it (u32).

use std::fs::{self, File};
use std::io::{self, BufReader, BufWriter, Read, Seek, SeekFrom, Take, Write};
use std::path::{Path, PathBuf};

use crate::domain::Timestamp;
use crate::journal::RawRecord;

const MAGIC: &[u8; 8] = b"CSSNAP01";
const NAME: &str = "snapshot";
const NEW_NAME: &str = "snapshot.new";
const HEADER_BYTES: u64 = 48;
const FOOTER_BYTES: u64 = 12;
const BUFFER_BYTES: usize = 256 << 10;

/// A snapshot that is whole, at its first record.
pub struct Reader {
    pub through: u64,
    pub chain: [u8; 32],
    /// How many records it holds.
    pub size: u64,
    rest: Take<BufReader<File>>,
}

impl Reader {
    pub fn open(dir: &Path) -> io::Result<Self> {
        let mut file = File::open(dir.join(NAME))?;
        let length = file.metadata()?.len();
        let content = length.checked_sub(HEADER_BYTES + FOOTER_BYTES).ok_or_else(torn)?;
        let size = check(&mut file, length)?;
        file.seek(SeekFrom::Start(0))?;
        let mut rest = BufReader::with_capacity(BUFFER_BYTES, file);
        if take::<8>(&mut rest)? != *MAGIC {
            return Err(torn());
        }
        let (through, chain) = (u64::from_le_bytes(take(&mut rest)?), take(&mut rest)?);
        Ok(Self { through, chain, size, rest: rest.take(content) })
    }

    /// The next record; `None` at the end.
    pub fn next(&mut self) -> io::Result<Option<RawRecord>> {
        if self.rest.limit() == 0 {
            return Ok(None);
        }
        let sequence = u64::from_le_bytes(take(&mut self.rest)?);
        let at = Timestamp::from_micros(i64::from_le_bytes(take(&mut self.rest)?));
        let length = u64::from_le_bytes(take(&mut self.rest)?);
        if length > self.rest.limit() {
            return Err(torn());
        }
        let mut payload = vec![0; usize::try_from(length).map_err(|_| torn())?];
        self.rest.read_exact(&mut payload)?;
        Ok(Some(RawRecord { sequence, at, chain: [0; 32], payload }))
    }
}

/// Reads it all against its checksum; the number of records.
fn check(file: &mut File, length: u64) -> io::Result<u64> {
    let mut body = file.take(length - 4);
    let (mut sum, mut tail, mut buffer) = (0, [0; 8], vec![0; BUFFER_BYTES]);
    loop {
        let count = body.read(&mut buffer)?;
        let read = buffer.get(..count).unwrap_or_default();
        if read.is_empty() {
            break;
        }
        sum = crc32c::crc32c_append(sum, read);
        let last: Vec<u8> = tail.iter().chain(read.iter().skip(count.saturating_sub(8))).copied().collect();
        tail = last.last_chunk().copied().ok_or_else(torn)?;
    }
    if sum != u32::from_le_bytes(take(file)?) {
        return Err(torn());
    }
    Ok(u64::from_le_bytes(tail))
}

fn take<const N: usize>(from: &mut impl Read) -> io::Result<[u8; N]> {
    let mut bytes = [0; N];
    from.read_exact(&mut bytes)?;
    Ok(bytes)
}

fn torn() -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, "torn or damaged")
}

/// A snapshot in the making; nobody sees it before [`Writer::finish`].
pub struct Writer {
    out: BufWriter<File>,
    path: PathBuf,
    sum: u32,
    size: u64,
}

impl Writer {
    pub fn create(dir: &Path, through: u64, chain: &[u8; 32]) -> io::Result<Self> {
        let path = dir.join(NEW_NAME);
        let out = BufWriter::with_capacity(BUFFER_BYTES, File::create(&path)?);
        let mut writer = Self { out, path, sum: 0, size: 0 };
        writer.put(MAGIC)?;
        writer.put(&through.to_le_bytes())?;
        writer.put(chain)?;
        Ok(writer)
    }

    pub fn add(&mut self, record: &RawRecord) -> io::Result<()> {
        self.size += 1;
        self.put(&record.sequence.to_le_bytes())?;
        self.put(&record.at.as_micros().to_le_bytes())?;
        self.put(&(record.payload.len() as u64).to_le_bytes())?;
        self.put(&record.payload)
    }

    /// Puts it in the place of the old one; the number of its records.
    pub fn finish(mut self, dir: &Path) -> io::Result<u64> {
        self.put(&self.size.to_le_bytes())?;
        self.out.write_all(&self.sum.to_le_bytes())?;
        self.out.into_inner().map_err(io::IntoInnerError::into_error)?.sync_all()?;
        fs::rename(&self.path, dir.join(NAME))?;
        File::open(dir)?.sync_all()?;
        Ok(self.size)
    }

    fn put(&mut self, bytes: &[u8]) -> io::Result<()> {
        self.sum = crc32c::crc32c_append(self.sum, bytes);
        self.out.write_all(bytes)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn record(sequence: u64) -> RawRecord {
        RawRecord { sequence, at: Timestamp::from_micros(7), chain: [0; 32], payload: vec![b'x'; 40] }
    }

    fn written(dir: &Path, records: u64) {
        let mut writer = Writer::create(dir, 99, &[5; 32]).unwrap();
        (1..=records).for_each(|sequence| writer.add(&record(sequence)).unwrap());
        assert_eq!(writer.finish(dir).unwrap(), records);
    }

    #[test]
    fn a_snapshot_is_read_as_it_was_written() {
        for records in [0, 1, 10_000] {
            let dir = tempfile::tempdir().unwrap();
            written(dir.path(), records);
            let mut reader = Reader::open(dir.path()).unwrap();
            assert_eq!((reader.through, reader.chain, reader.size), (99, [5; 32], records));
            for sequence in 1..=records {
                let read = reader.next().unwrap().unwrap();
                assert_eq!((read.sequence, read.payload), (sequence, vec![b'x'; 40]));
            }
            assert!(reader.next().unwrap().is_none());
        }
    }

    #[test]
    fn a_snapshot_with_a_changed_byte_or_a_cut_end_is_refused() {
        let dir = tempfile::tempdir().unwrap();
        written(dir.path(), 2);
        let whole = fs::read(dir.path().join(NAME)).unwrap();
        for place in 0..whole.len() {
            let mut spoiled = whole.clone();
            spoiled[place] ^= 1;
            fs::write(dir.path().join(NAME), &spoiled).unwrap();
            assert!(Reader::open(dir.path()).is_err(), "byte {place}");
            fs::write(dir.path().join(NAME), &whole[..place]).unwrap();
            assert!(Reader::open(dir.path()).is_err(), "cut at {place}");
        }
    }
}
