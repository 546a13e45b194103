//! What a browser keeps for us while it is at the login page: sealed, so that nobody reads or makes one (AES-256-GCM), by a
//! key that lives as long as the process. Nothing is kept here for a login that may never come back.

use aws_lc_rs::rand;
use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;

use crate::aead::{self, KEY_BYTES};

/// No random numbers are to be had.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("the system has no random numbers")]
pub struct NoRandomness;

/// A text that nobody can guess: 256 random bits in base64url.
pub fn secret_text() -> Result<String, NoRandomness> {
    let mut bytes = [0; KEY_BYTES];
    rand::fill(&mut bytes).map_err(|_| NoRandomness)?;
    Ok(URL_SAFE_NO_PAD.encode(bytes))
}

/// Whether two texts are the same, in a time that says nothing of where they differ.
#[must_use]
pub fn same(one: &str, other: &str) -> bool {
    aws_lc_rs::constant_time::verify_slices_are_equal(one.as_bytes(), other.as_bytes()).is_ok()
}

/// The key.
pub struct Seal(aead::Key);

impl Seal {
    pub fn new() -> Result<Self, NoRandomness> {
        let mut key = [0; KEY_BYTES];
        rand::fill(&mut key).map_err(|_| NoRandomness)?;
        aead::Key::new(&key).map(Self).map_err(|_| NoRandomness)
    }

    /// The text, sealed for one `purpose`; fit for a cookie.
    pub fn close(&self, purpose: &str, text: &str) -> Result<String, NoRandomness> {
        self.0.seal_text(purpose.as_bytes(), text.as_bytes()).map_err(|_| NoRandomness)
    }

    /// What was sealed here for this purpose; `None` for anything else.
    #[must_use]
    pub fn open(&self, purpose: &str, sealed: &str) -> Option<String> {
        String::from_utf8(self.0.open_text(purpose.as_bytes(), sealed)?).ok()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_what_was_sealed_here_for_this_purpose_opens() {
        let seal = Seal::new().unwrap();
        let sealed = seal.close("login", "state and nonce").unwrap();
        assert_eq!(seal.open("login", &sealed).as_deref(), Some("state and nonce"));
        assert_eq!(seal.open("other", &sealed), None);
        assert_eq!(Seal::new().unwrap().open("login", &sealed), None);
        let mut forged = sealed.into_bytes();
        let last = forged.last_mut().unwrap();
        *last = if *last == b'A' { b'Q' } else { b'A' };
        assert_eq!(seal.open("login", &String::from_utf8(forged).unwrap()), None);
        assert_eq!(seal.open("login", ""), None);
    }

    #[test]
    fn secrets_differ_and_are_compared_as_wholes() {
        assert_ne!(secret_text(), secret_text());
        assert!(same("abc", "abc") && !same("abc", "abd") && !same("abc", "ab"));
    }
}
