//! Keys, and the two transforms that need one: pseudonyms (HMAC-SHA-256) and sealed tokens (AES-256-GCM).
//!
//! A plain hash is not offered: whoever can guess a telephone number can hash all of them.

use aws_lc_rs::hmac;

use super::MaskError;
use super::ff1::Ff1;
use super::formed;
use super::token::{CONSONANTS, PSEUDONYM_LETTERS, Payload, SEALED, Token};
use crate::aead;
pub use crate::aead::{KEY_BYTES, KeyError};
use crate::domain::{DataKind, KindGroup, Transform};

/// The keys of this deployment. An empty one serves every transform that needs none.
#[derive(Default)]
pub struct Keyring {
    pseudonym: Option<hmac::Key>,
    format: Option<Ff1>,
    sealing: aead::Keys,
}

impl Keyring {
    /// A key for pseudonyms. Another key makes other pseudonyms: it is not rotated.
    ///
    /// # Errors
    /// [`KeyError::Length`].
    pub fn with_pseudonym_key(mut self, key: &[u8]) -> Result<Self, KeyError> {
        if key.len() != KEY_BYTES {
            return Err(KeyError::Length);
        }
        self.pseudonym = Some(hmac::Key::new(hmac::HMAC_SHA256, key));
        Ok(self)
    }

    /// A key for what keeps its form. Another key makes other values: it is not rotated.
    ///
    /// # Errors
    /// [`KeyError::Length`].
    pub fn with_format_key(mut self, key: &[u8]) -> Result<Self, KeyError> {
        self.format = Some(Ff1::new(key).ok_or(KeyError::Length)?);
        Ok(self)
    }

    /// One more key for sealing. The first one that is given seals; those after it open what was sealed with them.
    ///
    /// # Errors
    /// What is wrong with the id or the key.
    pub fn with_sealing_key(mut self, id: &str, key: &[u8]) -> Result<Self, KeyError> {
        self.sealing.add(id, key)?;
        Ok(self)
    }

    #[must_use]
    pub fn can(&self, transform: Transform) -> bool {
        match transform {
            Transform::Pseudonym => self.pseudonym.is_some(),
            Transform::Format => self.format.is_some(),
            Transform::Seal => !self.sealing.is_empty(),
            Transform::Partial | Transform::Replace | Transform::Redact => true,
        }
    }

    /// The same for the same tenant, kind and value, however the value is written.
    ///
    /// # Errors
    /// [`MaskError::NoKey`].
    pub fn pseudonym(&self, tenant: &str, kind: DataKind, value: &str) -> Result<String, MaskError> {
        let key = self.pseudonym.as_ref().ok_or(MaskError::NoKey(Transform::Pseudonym))?;
        let mut context = hmac::Context::with_key(key);
        for part in [tenant, kind.as_str(), &normal(kind, value)] {
            context.update(&(part.len() as u64).to_be_bytes());
            context.update(part.as_bytes());
        }
        let tag = context.sign();
        let nibbles = tag.as_ref().iter().flat_map(|byte| [byte >> 4, byte & 15]);
        let letters = nibbles.take(PSEUDONYM_LETTERS).filter_map(|nibble| CONSONANTS.get(usize::from(nibble)));
        Ok(format!("<{kind}:{}>", letters.map(|letter| char::from(*letter)).collect::<String>()))
    }

    /// As many digits between the same separators, and nobody's number; with every `attempt` others. `None` where the value is no
    /// number of its kind.
    ///
    /// # Errors
    /// [`MaskError::NoKey`]; [`MaskError::Engine`] when AES fails.
    pub fn format(&self, tenant: &str, kind: DataKind, value: &str, attempt: u8) -> Result<Option<String>, MaskError> {
        formed::form(self.ff1()?, &tweak(tenant, kind), attempt, kind, value)
    }

    /// Whether [`Keyring::format`] made this value, or one that ends like it.
    ///
    /// # Errors
    /// As for [`Keyring::format`].
    pub fn is_formed(&self, tenant: &str, kind: DataKind, value: &str) -> Result<bool, MaskError> {
        formed::is_formed(self.ff1()?, &tweak(tenant, kind), kind, value)
    }

    fn ff1(&self) -> Result<&Ff1, MaskError> {
        self.format.as_ref().ok_or(MaskError::NoKey(Transform::Format))
    }

    /// A token that only this deployment opens, for this tenant and kind. Twice the same value gives two tokens.
    ///
    /// # Errors
    /// [`MaskError::NoKey`]; [`MaskError::Engine`] without randomness.
    pub fn seal(&self, tenant: &str, kind: DataKind, value: &str) -> Result<String, MaskError> {
        let (id, key) = self.sealing.first().ok_or(MaskError::NoKey(Transform::Seal))?;
        let sealed = key.seal_text(&bound_to(tenant, kind, id), value.as_bytes()).map_err(|_| MaskError::Engine)?;
        Ok(format!("<{kind}:{SEALED}{id}.{sealed}>"))
    }

    /// The value in a sealed token.
    ///
    /// # Errors
    /// [`MaskError::Unopened`] for any other token, tenant, kind or key.
    pub fn open(&self, tenant: &str, token: &Token<'_>) -> Result<String, MaskError> {
        let (Some(kind), Payload::Sealed { key: id, sealed }) = (token.kind, token.payload) else {
            return Err(MaskError::Unopened);
        };
        let key = self.sealing.get(id).ok_or(MaskError::Unopened)?;
        let opened = key.open_text(&bound_to(tenant, kind, id), sealed).ok_or(MaskError::Unopened)?;
        String::from_utf8(opened).map_err(|_| MaskError::Unopened)
    }

    /// Whether a token in a text stays as it is: one that we wrote. What merely looks sealed does not.
    #[must_use]
    pub fn wrote(&self, tenant: &str, token: &Token<'_>) -> bool {
        match token.payload {
            Payload::None | Payload::Pseudonym => true,
            Payload::Sealed { .. } => self.open(tenant, token).is_ok(),
        }
    }
}

/// Numbers of one tenant and kind say nothing about those of another.
fn tweak(tenant: &str, kind: DataKind) -> Vec<u8> {
    let mut tweak = Vec::new();
    for part in [tenant, kind.as_str()] {
        tweak.extend((part.len() as u64).to_be_bytes());
        tweak.extend(part.as_bytes());
    }
    tweak
}

/// What a sealed token is sealed for; it opens for nothing else.
fn bound_to(tenant: &str, kind: DataKind, id: &str) -> Vec<u8> {
    let mut bound = b"countersign sealed token 1".to_vec();
    for part in [tenant, kind.as_str(), id] {
        bound.extend((part.len() as u64).to_be_bytes());
        bound.extend(part.as_bytes());
    }
    bound
}

/// Letter case of an address and the spaces in a number do not make another one. Of a secret every byte counts.
fn normal(kind: DataKind, value: &str) -> String {
    match kind.group() {
        KindGroup::Secrets => value.to_owned(),
        KindGroup::Personal if kind == DataKind::EMAIL_ADDRESS => value.to_lowercase(),
        KindGroup::Personal => {
            value.chars().filter(|letter| letter.is_alphanumeric()).flat_map(char::to_uppercase).collect()
        }
    }
}
