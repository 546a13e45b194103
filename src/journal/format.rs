//! The bytes of a segment: its header and its frames. Pure: slices in, slices out.
//!
//! The layout is told in the head of the module (`journal`). The checksum of everything starts from the journal's random
//! id, so that bytes of another journal, or a payload that imitates a frame, never pass for a record of this one.

use sha2::{Digest, Sha256};

use super::error::Problem;
use super::key::{KEYS_MAX, Keys};

/// The format written here, and the newest one read.
pub const FORMAT_VERSION: u32 = 1;
pub(super) const HEADER_BYTES: u64 = 128;
/// Largest frame of any journal: 16 MiB of payload, its keys and fields.
pub(super) const FRAME_BYTES_MAX: usize = (16 << 20) + FRAME_BYTES_MIN + 8 * KEYS_MAX;
/// A frame without keys and payload.
pub(super) const FRAME_BYTES_MIN: usize = FIXED_BYTES + TRAILER_BYTES;

const MAGIC: [u8; 8] = *b"CSIGNLOG";
const FIXED_BYTES: usize = 32;
const CHAIN_BYTES: usize = 32;
const CHECKSUM_BYTES: usize = 4;
const TRAILER_BYTES: usize = CHAIN_BYTES + CHECKSUM_BYTES;

/// A link of the hash chain.
pub type Chain = [u8; 32];

/// The random id of a journal, and what its checksums start from.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct JournalId(pub [u8; 16]);

impl JournalId {
    pub(super) fn seed(self) -> u32 {
        crc32c::crc32c(&self.0)
    }

    /// The link before the first record: chains of two journals never meet.
    pub(super) fn genesis(self) -> Chain {
        Sha256::digest(self.0).into()
    }
}

/// The first bytes of a segment.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Header {
    pub first_sequence: u64,
    pub chain_before: Chain,
    pub created_micros: i64,
    pub journal: JournalId,
}

/// Why a header is refused.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum HeaderFault {
    Newer(u32),
    Unreadable,
}

impl Header {
    pub(super) fn encode(&self) -> Vec<u8> {
        let size = usize::try_from(HEADER_BYTES).unwrap_or_default();
        let mut bytes = Vec::with_capacity(size);
        bytes.extend_from_slice(&MAGIC);
        bytes.extend_from_slice(&FORMAT_VERSION.to_le_bytes());
        bytes.extend_from_slice(&[0; 4]);
        bytes.extend_from_slice(&self.first_sequence.to_le_bytes());
        bytes.extend_from_slice(&self.chain_before);
        bytes.extend_from_slice(&self.created_micros.to_le_bytes());
        bytes.extend_from_slice(&self.journal.0);
        bytes.resize(size - CHECKSUM_BYTES, 0);
        let checksum = crc32c::crc32c(&bytes);
        bytes.extend_from_slice(&checksum.to_le_bytes());
        bytes
    }

    /// # Errors
    /// A newer version is told before anything else is judged: its layout is not ours to read.
    pub(super) fn decode(bytes: &[u8]) -> Result<Self, HeaderFault> {
        Self::fields(bytes).ok_or(HeaderFault::Unreadable)?
    }

    fn fields(bytes: &[u8]) -> Option<Result<Self, HeaderFault>> {
        if array::<8>(bytes, 0)? != MAGIC {
            return None;
        }
        let version = u32::from_le_bytes(array(bytes, 8)?);
        if version > FORMAT_VERSION {
            return Some(Err(HeaderFault::Newer(version)));
        }
        let checksum = u32::from_le_bytes(array(bytes, 124)?);
        if version == 0 || checksum != crc32c::crc32c(bytes.get(..124)?) {
            return None;
        }
        Some(Ok(Self {
            first_sequence: u64::from_le_bytes(array(bytes, 16)?),
            chain_before: array(bytes, 24)?,
            created_micros: i64::from_le_bytes(array(bytes, 56)?),
            journal: JournalId(array(bytes, 64)?),
        }))
    }
}

/// A frame in a buffer, checked except for its place in the chain.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct View<'a> {
    pub length: usize,
    pub sequence: u64,
    pub at_micros: i64,
    pub durable_before: u64,
    pub keys: Keys,
    pub payload: &'a [u8],
    pub chain: Chain,
    chained: &'a [u8],
}

impl View<'_> {
    /// Whether this frame follows the link `previous`.
    pub(super) fn follows(&self, previous: &Chain) -> bool {
        link(previous, self.chained) == self.chain
    }
}

/// Size of a frame.
pub(super) const fn frame_bytes(keys: usize, payload: usize) -> usize {
    FRAME_BYTES_MIN + 8 * keys + payload
}

/// The length field at the head of `bytes`.
pub(super) fn length_at(bytes: &[u8]) -> Option<usize> {
    usize::try_from(u32::from_le_bytes(array(bytes, 0)?)).ok()
}

/// Sequence and `durable_before` of what may or may not be a frame, unchecked.
pub(super) fn peek(bytes: &[u8]) -> Option<(u64, u64)> {
    Some((u64::from_le_bytes(array(bytes, 8)?), u64::from_le_bytes(array(bytes, 24)?)))
}

/// Writes a frame behind `buffer`, its `durable_before`, chain and checksum left zero for [`seal`].
pub(super) fn encode_open(buffer: &mut Vec<u8>, sequence: u64, at_micros: i64, keys: &Keys, payload: &[u8]) {
    let keys = keys.as_slice();
    // Both fit: `record_bytes_max` is at most 16 MiB and there are at most eight keys.
    let length = u32::try_from(frame_bytes(keys.len(), payload.len())).unwrap_or(u32::MAX);
    let count = u8::try_from(keys.len()).unwrap_or(u8::MAX);
    buffer.extend_from_slice(&length.to_le_bytes());
    buffer.extend_from_slice(&[count, 0, 0, 0]);
    buffer.extend_from_slice(&sequence.to_le_bytes());
    buffer.extend_from_slice(&at_micros.to_le_bytes());
    buffer.extend_from_slice(&[0; 8]);
    for key in keys {
        buffer.extend_from_slice(&key.to_le_bytes());
    }
    buffer.extend_from_slice(payload);
    buffer.extend_from_slice(&[0; TRAILER_BYTES]);
}

/// Fills in what only the writer knows. Returns the new link; `None` if `frame` is not one whole open frame.
pub(super) fn seal(frame: &mut [u8], durable_before: u64, previous: &Chain, seed: u32) -> Option<Chain> {
    frame.get_mut(24..32)?.copy_from_slice(&durable_before.to_le_bytes());
    let chained = frame.len().checked_sub(TRAILER_BYTES)?;
    let chain = link(previous, frame.get(..chained)?);
    let summed = chained + CHAIN_BYTES;
    frame.get_mut(chained..summed)?.copy_from_slice(&chain);
    let checksum = crc32c::crc32c_append(seed, frame.get(..summed)?);
    frame.get_mut(summed..)?.copy_from_slice(&checksum.to_le_bytes());
    Some(chain)
}

/// Reads the frame at the head of `bytes`, which may go on behind it.
///
/// # Errors
/// What is wrong with it.
pub(super) fn decode(bytes: &[u8], seed: u32) -> Result<View<'_>, Problem> {
    let length = length_at(bytes).ok_or(Problem::Incomplete)?;
    if length == 0 {
        return Err(Problem::Missing);
    }
    if !(FRAME_BYTES_MIN..=FRAME_BYTES_MAX).contains(&length) {
        return Err(Problem::Length);
    }
    let frame = bytes.get(..length).ok_or(Problem::Incomplete)?;
    let (summed, checksum) = frame.split_last_chunk::<CHECKSUM_BYTES>().ok_or(Problem::Length)?;
    if u32::from_le_bytes(*checksum) != crc32c::crc32c_append(seed, summed) {
        return Err(Problem::Checksum);
    }
    let (chained, chain) = summed.split_last_chunk::<CHAIN_BYTES>().ok_or(Problem::Length)?;
    fields(chained, *chain, length).ok_or(Problem::Malformed)
}

fn fields(chained: &[u8], chain: Chain, length: usize) -> Option<View<'_>> {
    let [count, 0, 0, 0] = array(chained, 4)? else {
        return None;
    };
    let payload = chained.get(FIXED_BYTES + 8 * usize::from(count)..)?;
    Some(View {
        length,
        sequence: u64::from_le_bytes(array(chained, 8)?),
        at_micros: i64::from_le_bytes(array(chained, 16)?),
        durable_before: u64::from_le_bytes(array(chained, 24)?),
        keys: keys_of(chained)?,
        payload,
        chain,
        chained,
    })
}

/// The keys of an encoded frame.
pub(super) fn keys_of(frame: &[u8]) -> Option<Keys> {
    let count = usize::from(*frame.get(4)?);
    let mut keys = Keys::default();
    for number in 0..count {
        keys.push(u64::from_le_bytes(array(frame, FIXED_BYTES + 8 * number)?)).ok()?;
    }
    Some(keys)
}

/// The time of an encoded frame.
pub(super) fn at_micros_of(frame: &[u8]) -> Option<i64> {
    array(frame, 16).map(i64::from_le_bytes)
}

fn link(previous: &Chain, bytes: &[u8]) -> Chain {
    let mut hash = Sha256::new();
    hash.update(previous);
    hash.update(bytes);
    hash.finalize().into()
}

/// `N` bytes from `at`, if they are there.
pub(super) fn array<const N: usize>(bytes: &[u8], at: usize) -> Option<[u8; N]> {
    bytes.get(at..)?.first_chunk::<N>().copied()
}

#[cfg(test)]
mod tests {
    use super::*;

    const ID: JournalId = JournalId([7; 16]);

    fn frame() -> Vec<u8> {
        let mut bytes = Vec::new();
        encode_open(&mut bytes, 5, -3, &Keys::new([1, u64::MAX]), b"payload");
        seal(&mut bytes, 4, &ID.genesis(), ID.seed()).unwrap();
        bytes
    }

    #[test]
    fn a_frame_comes_back_as_it_was_written() {
        let bytes = frame();
        let view = decode(&bytes, ID.seed()).unwrap();
        assert_eq!((view.sequence, view.at_micros, view.durable_before), (5, -3, 4));
        assert_eq!((view.keys, view.payload), (Keys::new([1, u64::MAX]), &b"payload"[..]));
        assert_eq!(view.length, frame_bytes(2, 7));
        assert!(view.follows(&ID.genesis()));
        assert!(!view.follows(&[0; 32]));
    }

    #[test]
    fn every_flipped_bit_of_a_frame_is_noticed() {
        let good = frame();
        for bit in 0..good.len() * 8 {
            let mut bad = good.clone();
            bad[bit / 8] ^= 1 << (bit % 8);
            assert!(decode(&bad, ID.seed()).is_err(), "bit {bit}");
        }
    }

    #[test]
    fn every_shortened_frame_is_incomplete() {
        let good = frame();
        for length in 0..good.len() {
            assert_eq!(decode(&good[..length], ID.seed()), Err(Problem::Incomplete));
        }
    }

    #[test]
    fn a_frame_of_another_journal_is_not_ours() {
        assert_eq!(decode(&frame(), JournalId([8; 16]).seed()), Err(Problem::Checksum));
    }

    #[test]
    fn a_header_comes_back_and_every_flipped_bit_is_noticed() {
        let header = Header { first_sequence: 9, chain_before: [3; 32], created_micros: 1, journal: ID };
        let good = header.encode();
        assert_eq!(good.len() as u64, HEADER_BYTES);
        assert_eq!(Header::decode(&good), Ok(header));
        for bit in 0..good.len() * 8 {
            let mut bad = good.clone();
            bad[bit / 8] ^= 1 << (bit % 8);
            assert!(Header::decode(&bad).is_err(), "bit {bit}");
        }
    }

    #[test]
    fn a_newer_version_is_told_apart_from_damage() {
        let mut bytes = Header { first_sequence: 1, chain_before: [0; 32], created_micros: 0, journal: ID }.encode();
        bytes[8] = 2;
        assert_eq!(Header::decode(&bytes), Err(HeaderFault::Newer(2)));
    }
}
