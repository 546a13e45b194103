//! A data key: made here, never seen by anybody, and kept beside what it seals, wrapped under one of the operator's keys.

use aws_lc_rs::rand;

use super::{KEY_BYTES, Unsealable};
use crate::aead::Key;

pub(super) struct DataKey {
    /// The id of the key that wraps it.
    envelope: String,
    wrapped: Vec<u8>,
    key: Key,
}

impl DataKey {
    pub fn generate(envelope: &str, wrapping: &Key) -> Result<Self, Unsealable> {
        let mut bytes = [0; KEY_BYTES];
        rand::fill(&mut bytes).map_err(|_| Unsealable)?;
        let key = Key::new(&bytes).map_err(|_| Unsealable)?;
        let mut wrapped = bytes.to_vec();
        wrapping.seal(&bound_to(envelope), &mut wrapped)?;
        Ok(Self { envelope: envelope.to_owned(), wrapped, key })
    }

    /// `None` where it was wrapped under another key, or is no wrapped key.
    pub fn unwrap(envelope: &str, wrapping: &Key, wrapped: &[u8]) -> Option<Self> {
        let mut bytes = wrapped.to_vec();
        let key = Key::new(wrapping.open(&bound_to(envelope), &mut bytes)?).ok()?;
        Some(Self { envelope: envelope.to_owned(), wrapped: wrapped.to_vec(), key })
    }

    pub fn envelope(&self) -> &str {
        &self.envelope
    }

    pub fn wrapped(&self) -> &[u8] {
        &self.wrapped
    }

    /// Encrypts in place.
    pub fn seal(&self, bound: &[u8], secret: &mut Vec<u8>) -> Result<(), Unsealable> {
        Ok(self.key.seal(bound, secret)?)
    }

    pub fn open<'b>(&self, bound: &[u8], sealed: &'b mut [u8]) -> Option<&'b [u8]> {
        self.key.open(bound, sealed)
    }
}

fn bound_to(envelope: &str) -> Vec<u8> {
    [b"countersign data key 1:", envelope.as_bytes()].concat()
}
