//! A place in the journal, opaque to clients: the sequence of a record and the beginning of the hash chain there, so that
//! a cursor of another journal is told apart.

use std::fmt;
use std::str::FromStr;

#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Cursor {
    /// The last record seen; 0 before the first.
    pub(super) sequence: u64,
    chain: [u8; 8],
}

/// Why a text is not a cursor.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("not a cursor of this service")]
pub struct MalformedCursor;

/// Stands for the chain where a cursor is not of a record but of the beginning.
const START: [u8; 8] = [0; 8];

impl Cursor {
    pub(super) fn new(sequence: u64, chain: &[u8; 32]) -> Self {
        let [a, b, c, d, e, f, g, h, ..] = *chain;
        Self { sequence, chain: if sequence == 0 { START } else { [a, b, c, d, e, f, g, h] } }
    }

    /// Before the oldest record there is.
    pub(super) fn before(first: u64) -> Self {
        Self { sequence: first.saturating_sub(1), chain: START }
    }

    /// The sequence and the chain, as part of a longer place.
    pub(super) fn to_bytes(&self) -> [u8; 16] {
        let mut bytes = [0; 16];
        let (sequence, chain) = bytes.split_at_mut(8);
        sequence.copy_from_slice(&self.sequence.to_be_bytes());
        chain.copy_from_slice(&self.chain);
        bytes
    }

    pub(super) const fn from_bytes(sequence: [u8; 8], chain: [u8; 8]) -> Self {
        Self { sequence: u64::from_be_bytes(sequence), chain }
    }

    pub(super) fn is_start(&self) -> bool {
        self.chain == START
    }
}

impl fmt::Display for Cursor {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "c1.{:016x}{:016x}", self.sequence, u64::from_be_bytes(self.chain))
    }
}

impl FromStr for Cursor {
    type Err = MalformedCursor;

    fn from_str(text: &str) -> Result<Self, MalformedCursor> {
        let digits = text.strip_prefix("c1.").filter(|digits| digits.len() == 32).ok_or(MalformedCursor)?;
        let canonical = digits.bytes().all(|digit| matches!(digit, b'0'..=b'9' | b'a'..=b'f'));
        let (sequence, chain) = digits.split_at_checked(16).filter(|_| canonical).ok_or(MalformedCursor)?;
        let number = |text| u64::from_str_radix(text, 16).map_err(|_| MalformedCursor);
        Ok(Self { sequence: number(sequence)?, chain: number(chain)?.to_be_bytes() })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_cursor_survives_being_written() {
        let cursor = Cursor::new(7, &[9; 32]);
        assert_eq!(cursor.to_string().parse(), Ok(cursor));
        for wrong in ["", "c1.", "c1.zz", "c1.00000000000000070909090909090909x", "c2.00000000000000070909090909090909"]
        {
            assert_eq!(wrong.parse::<Cursor>(), Err(MalformedCursor), "{wrong}");
        }
    }
}
