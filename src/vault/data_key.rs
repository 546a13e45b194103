//! A data key: made here, never seen by anybody, and kept beside what it seals, wrapped under one of the operator's keys.

use aws_lc_rs::aead::{AES_256_GCM, Aad, NONCE_LEN, Nonce, RandomizedNonceKey};
use aws_lc_rs::rand;

use super::{KEY_BYTES, Unsealable};

pub(super) struct DataKey {
    /// The id of the key that wraps it.
    envelope: String,
    wrapped: Vec<u8>,
    key: RandomizedNonceKey,
}

impl DataKey {
    pub fn generate(envelope: &str, wrapping: &RandomizedNonceKey) -> Result<Self, Unsealable> {
        let mut bytes = [0; KEY_BYTES];
        rand::fill(&mut bytes).map_err(|_| Unsealable)?;
        let key = RandomizedNonceKey::new(&AES_256_GCM, &bytes).map_err(|_| Unsealable)?;
        let mut wrapped = bytes.to_vec();
        seal(wrapping, &bound_to(envelope), &mut wrapped)?;
        Ok(Self { envelope: envelope.to_owned(), wrapped, key })
    }

    /// `None` where it was wrapped under another key, or is no wrapped key.
    pub fn unwrap(envelope: &str, wrapping: &RandomizedNonceKey, wrapped: &[u8]) -> Option<Self> {
        let mut bytes = wrapped.to_vec();
        let key = RandomizedNonceKey::new(&AES_256_GCM, open(wrapping, &bound_to(envelope), &mut bytes)?).ok()?;
        Some(Self { envelope: envelope.to_owned(), wrapped: wrapped.to_vec(), key })
    }

    pub fn envelope(&self) -> &str {
        &self.envelope
    }

    pub fn wrapped(&self) -> &[u8] {
        &self.wrapped
    }

    /// Encrypts in place: nonce, what it was, tag.
    pub fn seal(&self, bound: &[u8], secret: &mut Vec<u8>) -> Result<(), Unsealable> {
        seal(&self.key, bound, secret)
    }

    pub fn open<'b>(&self, bound: &[u8], sealed: &'b mut [u8]) -> Option<&'b [u8]> {
        open(&self.key, bound, sealed)
    }
}

fn seal(key: &RandomizedNonceKey, bound: &[u8], secret: &mut Vec<u8>) -> Result<(), Unsealable> {
    secret.reserve(AES_256_GCM.tag_len() + NONCE_LEN);
    let nonce = key.seal_in_place_append_tag(Aad::from(bound), secret).map_err(|_| Unsealable)?;
    secret.splice(..0, nonce.as_ref().iter().copied());
    Ok(())
}

fn open<'b>(key: &RandomizedNonceKey, bound: &[u8], sealed: &'b mut [u8]) -> Option<&'b [u8]> {
    let (nonce, body) = sealed.split_at_mut_checked(NONCE_LEN)?;
    let nonce = Nonce::try_assume_unique_for_key(nonce).ok()?;
    key.open_in_place(nonce, Aad::from(bound), body).ok().map(|opened| &*opened)
}

fn bound_to(envelope: &str) -> Vec<u8> {
    [b"countersign data key 1:", envelope.as_bytes()].concat()
}
