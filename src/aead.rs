//! Sealing and opening, by AES-256-GCM with a random nonce before what it seals. Whatever is sealed is bound to what it is for, and
//! opens for nothing else. Several keys have names: the first seals, all open, so that a key is replaced without losing anything.

use aws_lc_rs::aead::{AES_256_GCM, Aad, NONCE_LEN, Nonce, RandomizedNonceKey};
use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;

/// Length of every key, in bytes.
pub const KEY_BYTES: usize = 32;
/// Longest id of a key, in bytes.
pub const ID_BYTES_MAX: usize = 32;

#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum KeyError {
    #[error("expected {KEY_BYTES} bytes")]
    Length,
    #[error("expected an id of 1 to {ID_BYTES_MAX} letters, digits, `-` or `_`")]
    Id,
    #[error("two keys have the id `{0}`")]
    Twice(String),
}

/// There is no randomness, or what is to be sealed is too long.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Unsealable;

/// One key.
pub struct Key(RandomizedNonceKey);

impl Key {
    /// # Errors
    /// [`KeyError::Length`].
    pub fn new(bytes: &[u8]) -> Result<Self, KeyError> {
        RandomizedNonceKey::new(&AES_256_GCM, bytes).map(Self).map_err(|_| KeyError::Length)
    }

    /// Encrypts in place: nonce, what it was, tag. Never twice the same.
    ///
    /// # Errors
    /// [`Unsealable`].
    pub fn seal(&self, bound: &[u8], secret: &mut Vec<u8>) -> Result<(), Unsealable> {
        secret.reserve(AES_256_GCM.tag_len() + NONCE_LEN);
        let nonce = self.0.seal_in_place_append_tag(Aad::from(bound), secret).map_err(|_| Unsealable)?;
        secret.splice(..0, nonce.as_ref().iter().copied());
        Ok(())
    }

    /// Decrypts in place; `None` for what this key did not seal for this.
    #[must_use]
    pub fn open<'b>(&self, bound: &[u8], sealed: &'b mut [u8]) -> Option<&'b [u8]> {
        let (nonce, body) = sealed.split_at_mut_checked(NONCE_LEN)?;
        let nonce = Nonce::try_assume_unique_for_key(nonce).ok()?;
        self.0.open_in_place(nonce, Aad::from(bound), body).ok().map(|opened| &*opened)
    }

    /// The same as text, in base64url.
    ///
    /// # Errors
    /// [`Unsealable`].
    pub fn seal_text(&self, bound: &[u8], secret: &[u8]) -> Result<String, Unsealable> {
        let mut bytes = secret.to_vec();
        self.seal(bound, &mut bytes)?;
        Ok(URL_SAFE_NO_PAD.encode(bytes))
    }

    /// What [`seal_text`](Self::seal_text) sealed for this; `None` for anything else.
    #[must_use]
    pub fn open_text(&self, bound: &[u8], sealed: &str) -> Option<Vec<u8>> {
        let mut bytes = URL_SAFE_NO_PAD.decode(sealed).ok()?;
        self.open(bound, &mut bytes).map(<[u8]>::to_vec)
    }
}

/// Keys by their ids. Empty without any.
#[derive(Default)]
pub struct Keys(Vec<(String, Key)>);

impl Keys {
    /// One more, behind those that are there.
    ///
    /// # Errors
    /// What is wrong with the id or the key.
    pub fn add(&mut self, id: &str, bytes: &[u8]) -> Result<(), KeyError> {
        let is_id = |byte: u8| byte.is_ascii_alphanumeric() || byte == b'-' || byte == b'_';
        if !(1..=ID_BYTES_MAX).contains(&id.len()) || !id.bytes().all(is_id) {
            return Err(KeyError::Id);
        }
        if self.get(id).is_some() {
            return Err(KeyError::Twice(id.to_owned()));
        }
        self.0.push((id.to_owned(), Key::new(bytes)?));
        Ok(())
    }

    /// The one that seals.
    #[must_use]
    pub fn first(&self) -> Option<(&str, &Key)> {
        self.0.first().map(|(id, key)| (id.as_str(), key))
    }

    #[must_use]
    pub fn get(&self, id: &str) -> Option<&Key> {
        self.0.iter().find(|(known, _)| known == id).map(|(_, key)| key)
    }

    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    pub fn ids(&self) -> impl Iterator<Item = &str> {
        self.0.iter().map(|(id, _)| id.as_str())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_sealed_opens_for_what_it_was_sealed_for_and_by_its_key() {
        let (key, other) = (Key::new(&[1; KEY_BYTES]).unwrap(), Key::new(&[2; KEY_BYTES]).unwrap());
        let mut sealed = b"sesame".to_vec();
        key.seal(b"this", &mut sealed).unwrap();
        assert_eq!(key.open(b"this", &mut sealed.clone()), Some(b"sesame".as_slice()));
        assert_eq!(key.open(b"that", &mut sealed.clone()), None);
        assert_eq!(other.open(b"this", &mut sealed.clone()), None);
        for length in 0..sealed.len() {
            assert_eq!(key.open(b"this", &mut sealed[..length].to_vec()), None);
        }
    }

    #[test]
    fn keys_have_a_length_and_names_of_their_own() {
        let mut keys = Keys::default();
        assert_eq!(keys.add("a", &[1; KEY_BYTES]), Ok(()));
        assert_eq!(keys.add("a", &[2; KEY_BYTES]), Err(KeyError::Twice("a".into())));
        assert_eq!(keys.add("b", &[2; KEY_BYTES - 1]), Err(KeyError::Length));
        for id in ["", "a.b", &"a".repeat(ID_BYTES_MAX + 1)] {
            assert_eq!(keys.add(id, &[2; KEY_BYTES]), Err(KeyError::Id));
        }
        assert_eq!(keys.first().map(|(id, _)| id), Some("a"));
    }
}
