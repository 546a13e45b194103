//! Index keys: 64 bits by which records are found again.
//!
//! A key is the head of a hash, so two values may share one. Whoever looks up by key compares the record itself.

use sha2::{Digest, Sha256};

/// Most keys one record can carry.
pub const KEYS_MAX: usize = 8;

/// Derives index keys.
#[derive(Debug)]
pub struct Key;

impl Key {
    /// The key of `value` among values of one `kind` ("principal", "approval"). Stable for ever: the first 8 bytes,
    /// little-endian, of SHA-256 over the kind's length (u32 LE), the kind and the value.
    #[must_use]
    pub fn of(kind: &str, value: &[u8]) -> u64 {
        let length = u32::try_from(kind.len()).unwrap_or(u32::MAX);
        let mut hash = Sha256::new();
        hash.update(length.to_le_bytes());
        hash.update(kind.as_bytes());
        hash.update(value);
        let digest: [u8; 32] = hash.finalize().into();
        let [a, b, c, d, e, f, g, h, ..] = digest;
        u64::from_le_bytes([a, b, c, d, e, f, g, h])
    }
}

/// The keys of one record: at most [`KEYS_MAX`], each once, no heap.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Keys {
    length: usize,
    keys: [u64; KEYS_MAX],
}

/// A ninth key.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("a record carries at most {KEYS_MAX} index keys")]
pub struct TooManyKeys;

impl Keys {
    /// These keys, doubles dropped. More than [`KEYS_MAX`] do not compile.
    #[must_use]
    pub fn new<const N: usize>(keys: [u64; N]) -> Self {
        const { assert!(N <= KEYS_MAX, "too many index keys") }
        let mut all = Self::default();
        for key in keys {
            all.insert(key);
        }
        all
    }

    /// Adds a key unless it is there.
    ///
    /// # Errors
    /// When there are [`KEYS_MAX`] others already.
    pub fn push(&mut self, key: u64) -> Result<(), TooManyKeys> {
        if self.insert(key) { Ok(()) } else { Err(TooManyKeys) }
    }

    /// The keys, in the order they were added.
    #[must_use]
    pub fn as_slice(&self) -> &[u64] {
        self.keys.get(..self.length).unwrap_or(&self.keys)
    }

    fn insert(&mut self, key: u64) -> bool {
        if self.as_slice().contains(&key) {
            return true;
        }
        let Some(place) = self.keys.get_mut(self.length) else {
            return false;
        };
        *place = key;
        self.length += 1;
        true
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_key_is_stable_and_depends_on_kind_and_value() {
        assert_eq!(Key::of("principal", b"alice"), 0xedcf0d1456303865);
        assert_ne!(Key::of("ab", b"c"), Key::of("a", b"bc"));
    }

    #[test]
    fn a_key_twice_counts_once_and_the_ninth_is_refused() {
        let mut keys = Keys::new([1, 1, 2, 3, 4, 5, 6, 7]);
        assert_eq!(keys.as_slice(), [1, 2, 3, 4, 5, 6, 7]);
        assert_eq!(keys.push(8), Ok(()));
        assert_eq!(keys.push(8), Ok(()));
        assert_eq!(keys.push(9), Err(TooManyKeys));
    }
}
