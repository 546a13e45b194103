//! The key of everything that leaves and must come back: ids of buttons, and what is kept of links (AES-256-GCM). It comes
//! from a file, so that a server that was started anew, and every replica, knows what another has made.

use std::path::Path;
use std::sync::Arc;

use aws_lc_rs::hkdf;
use base64::Engine;
use base64::engine::general_purpose::STANDARD;

use crate::aead::{self, KEY_BYTES};
use crate::domain::{Approval, ApprovalId, Binding, Verdict};

const BUTTON: &str = "button";
/// Of a button's content: its form.
const FORM: u8 = 1;

#[derive(Clone)]
pub struct Key(Arc<aead::Key>);

/// What one button is for. INVARIANT: good while the approval is of this version only, so that any vote, by whomever, ends
/// every button that was there before it, at every replica and without anything kept.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Button {
    pub approval: ApprovalId,
    pub binding: Binding,
    pub version: u64,
    pub verdict: Verdict,
    /// The name of the target it was sent to.
    pub target: String,
}

impl Key {
    /// The key in a file: the Base64 of 32 bytes. The error says nothing of what is in there.
    pub fn read(file: &Path) -> Result<Self, String> {
        let expected = "expected the Base64 of 32 random bytes, as `openssl rand -base64 32` writes them";
        let text = std::fs::read_to_string(file).map_err(|error| error.to_string())?;
        let bytes = STANDARD.decode(text.trim()).map_err(|_| expected)?;
        if bytes.len() != KEY_BYTES {
            return Err(expected.to_owned());
        }
        Self::of(&bytes).ok_or_else(|| expected.to_owned())
    }

    fn of(secret: &[u8]) -> Option<Self> {
        // A key of its own, should the file be used for something else as well.
        let derived = hkdf::Salt::new(hkdf::HKDF_SHA256, b"countersign.chat.v1").extract(secret);
        let mut key = [0; KEY_BYTES];
        derived.expand(&[b"aes-256-gcm"], hkdf::HKDF_SHA256).ok()?.fill(&mut key).ok()?;
        aead::Key::new(&key).ok().map(|key| Self(Arc::new(key)))
    }

    /// Seals for one purpose; `None` without randomness.
    pub fn close(&self, purpose: &str, plain: &[u8]) -> Option<String> {
        self.0.seal_text(purpose.as_bytes(), plain).ok()
    }

    /// What was sealed for this purpose by this key; `None` for anything else.
    pub fn open(&self, purpose: &str, sealed: &str) -> Option<Vec<u8>> {
        self.0.open_text(purpose.as_bytes(), sealed)
    }

    /// The id of a button below this approval, as it is.
    pub fn button(&self, approval: &Approval, verdict: Verdict, target: &str) -> Option<String> {
        let verdict = match verdict {
            Verdict::Approve => 1,
            Verdict::Reject => 2,
        };
        let mut plain = vec![FORM, verdict];
        plain.extend(approval.version.to_be_bytes());
        plain.extend(approval.id().as_bytes());
        plain.extend(approval.opening.binding.0);
        plain.extend(target.as_bytes());
        self.close(BUTTON, &plain)
    }

    /// The button of an id.
    pub fn read_button(&self, id: &str) -> Option<Button> {
        let plain = self.open(BUTTON, id)?;
        let (&[form, verdict], rest) = plain.split_first_chunk::<2>()?;
        let (version, rest) = rest.split_first_chunk::<8>()?;
        let (approval, rest) = rest.split_first_chunk::<16>()?;
        let (binding, target) = rest.split_first_chunk::<32>()?;
        let verdict = match (form, verdict) {
            (FORM, 1) => Verdict::Approve,
            (FORM, 2) => Verdict::Reject,
            _ => return None,
        };
        Some(Button {
            approval: ApprovalId::from_bytes(*approval),
            binding: Binding(*binding),
            version: u64::from_be_bytes(*version),
            verdict,
            target: String::from_utf8(target.to_vec()).ok()?,
        })
    }
}

#[cfg(test)]
impl Key {
    pub fn imagined(byte: u8) -> Self {
        Self::of(&[byte; KEY_BYTES]).unwrap()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn case_54_an_id_says_nothing_to_others_and_opens_for_its_purpose_only() {
        let key = Key::imagined(1);
        let sealed = key.close("button", b"approve").unwrap();
        assert_eq!(key.open("button", &sealed).as_deref(), Some(b"approve".as_slice()));
        assert_ne!(key.close("button", b"approve").unwrap(), sealed, "no two are the same");
        assert_eq!(key.open("link", &sealed), None);
        assert_eq!(Key::imagined(2).open("button", &sealed), None);
        for wrong in ["", "AAAA", "no base64!", &sealed[1..], &sealed[..sealed.len() - 2]] {
            assert_eq!(key.open("button", wrong), None);
        }
        assert_eq!(key.read_button(&sealed), None);
    }

    #[test]
    fn a_key_is_32_bytes_or_none() {
        let dir = tempfile::tempdir().unwrap();
        let file = dir.path().join("key");
        let read = |text: &str| {
            std::fs::write(&file, text).unwrap();
            Key::read(&file).map(|_| ())
        };
        assert_eq!(read(&STANDARD.encode([7; 32])), Ok(()));
        for wrong in ["", "secret", &STANDARD.encode([7; 31]), &STANDARD.encode([7; 33])] {
            assert!(read(wrong).is_err_and(|error| !error.contains("secret")), "{wrong}");
        }
        assert!(Key::read(&dir.path().join("none")).is_err());
    }
}
