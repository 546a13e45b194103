//! What seals records where they lie: personal data and secrets are encrypted on disk, and in a store that is shared.
//!
//! A record is written in two parts (`wire::record::split`). The second is encrypted with AES-256-GCM under a data key, which
//! lies beside it, wrapped under one of the operator's keys; the first stays readable and is bound to it, as is the record's
//! place. So each record is opened by itself, wherever it is copied to, and neither part can be changed, or put into another
//! record or another place, without being noticed by who has the key.
//!
//! Without a key a record is written in clear, and one that is sealed cannot be read: that is an error, never a record
//! without a context. The keys themselves come from [`source`]; a server of its own keeps one in a file ([`kept`]).

mod data_key;
pub mod kept;
pub mod source;

use std::collections::HashMap;
use std::fmt;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use self::data_key::DataKey;
use crate::aead;
pub use crate::aead::{KEY_BYTES, KeyError};
use crate::domain::{Fact, Origin, Record, Timestamp};
use crate::wire::record::{self, Written};
use crate::wire::{Malformed, pb};

/// What sealing adds to a record at most, in bytes: the wrapped key, nonces, tags, the key's id, and the fields' tags.
pub const SEAL_BYTES_MAX: usize = 192;
/// Records under one data key: far below what random nonces allow, and about what a segment holds.
const RECORDS_PER_DATA_KEY: u64 = 65_536;
/// Data keys of others that are kept unwrapped.
const OPENED_MAX: usize = 1_024;

/// Why a record cannot be opened.
#[derive(Debug, thiserror::Error)]
pub enum OpenError {
    #[error(transparent)]
    Malformed(#[from] Malformed),
    #[error(
        "it is sealed with the key `{0}`, which is not among `journal.sealing_keys`: put it there, behind those that seal"
    )]
    NoKey(String),
    #[error("the key `{0}` is not the one that sealed it: another key has its id, or the record was changed")]
    OtherKey(String),
    #[error("its seal does not open: it was changed, or is not in its place")]
    Broken,
}

/// There is no randomness, or what is to be sealed is too long.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("a record cannot be sealed")]
pub struct Unsealable;

impl From<aead::Unsealable> for Unsealable {
    fn from(_: aead::Unsealable) -> Self {
        Self
    }
}

/// Where a record is: what it is bound to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Place {
    /// In a journal, at this sequence and moment.
    Journal { sequence: u64, at: Timestamp },
    /// In the store that replicas share, where what it is about is in what it shows.
    Shared,
}

/// A fact that is encoded and not sealed yet: that needs its place.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Draft {
    shown: Vec<u8>,
    /// Empty where nothing is to be sealed.
    secret: Vec<u8>,
}

/// The keys of this deployment, shared by cloning. The default has none, and writes in clear.
#[derive(Clone, Default)]
pub struct Vault(Arc<Keys>);

#[derive(Default)]
struct Keys {
    envelopes: aead::Keys,
    seals: bool,
    /// Whether these are one server's keys, which the others have not.
    alone: bool,
    current: Mutex<Option<Current>>,
    opened: Mutex<HashMap<Vec<u8>, Arc<DataKey>>>,
}

struct Current {
    key: Arc<DataKey>,
    records: u64,
}

impl Vault {
    /// The first key seals, all open. Without one, records are written in clear.
    ///
    /// # Errors
    /// What is wrong with an id or a key.
    pub fn new<'k>(keys: impl IntoIterator<Item = (&'k str, &'k [u8])>) -> Result<Self, KeyError> {
        let mut envelopes = aead::Keys::default();
        for (id, key) in keys {
            envelopes.add(id, key)?;
        }
        let seals = !envelopes.is_empty();
        Ok(Self(Arc::new(Keys { envelopes, seals, ..Keys::default() })))
    }

    /// The keys open what is sealed; what is new is written in clear.
    ///
    /// # Errors
    /// As for [`Vault::new`].
    pub fn opening_only<'k>(keys: impl IntoIterator<Item = (&'k str, &'k [u8])>) -> Result<Self, KeyError> {
        let Self(keys) = Self::new(keys)?;
        // Nobody else has it yet.
        let keys = Arc::into_inner(keys).unwrap_or_default();
        Ok(Self(Arc::new(Keys { seals: false, ..keys })))
    }

    /// The same keys, which no other server has: nothing is sealed with them where others read it.
    #[must_use]
    pub fn alone(self) -> Self {
        // Nobody else has it yet; else there would be no keys at all.
        let keys = Arc::into_inner(self.0).unwrap_or_default();
        Self(Arc::new(Keys { alone: true, ..keys }))
    }

    #[must_use]
    pub fn seals(&self) -> bool {
        self.0.seals
    }

    /// Encodes a fact; to be done before any lock is taken.
    #[must_use]
    pub fn draft(&self, fact: &Fact) -> Draft {
        if self.0.seals {
            let (shown, secret) = record::split(fact);
            Draft { shown, secret }
        } else {
            Draft { shown: record::encode(fact), secret: Vec::new() }
        }
    }

    /// The bytes to be kept at a place.
    ///
    /// # Errors
    /// Without randomness.
    pub fn seal(&self, draft: Draft, place: Place) -> Result<Vec<u8>, Unsealable> {
        let Draft { mut shown, mut secret } = draft;
        if secret.is_empty() || place == Place::Shared && self.0.alone {
            shown.append(&mut secret);
            return Ok(shown);
        }
        let key = self.current()?;
        key.seal(&place.bound_to(&shown), &mut secret)?;
        let (key_id, data_key) = (key.envelope().to_owned(), key.wrapped().to_vec());
        Ok(record::envelope(pb::Sealed { key_id, data_key, shown, sealed: secret }))
    }

    /// The same for the store that replicas share.
    ///
    /// # Errors
    /// Without randomness.
    pub fn share(&self, draft: Draft) -> Result<Vec<u8>, Unsealable> {
        self.seal(draft, Place::Shared)
    }

    /// What lies in the store that replicas share.
    ///
    /// # Errors
    /// As for [`open`](Self::open).
    pub fn open_shared(&self, at: Timestamp, payload: &[u8]) -> Result<Record, OpenError> {
        self.open(0, at, payload, Place::Shared)
    }

    /// A record from the bytes that were kept at a place, sealed or not.
    ///
    /// # Errors
    /// Where the key is not there or is another one, and where the bytes are not what was written at that place.
    pub fn open(&self, sequence: u64, at: Timestamp, payload: &[u8], place: Place) -> Result<Record, OpenError> {
        match record::look(sequence, at, payload)? {
            Written::Clear(record) => Ok(*record),
            Written::Sealed(sealed) => {
                let pb::Sealed { key_id, data_key, shown, mut sealed } = sealed;
                let key = self.opened(&key_id, data_key)?;
                let secret = key.open(&place.bound_to(&shown), &mut sealed).ok_or(OpenError::Broken)?;
                Ok(record::join(sequence, at, &shown, secret)?)
            }
        }
    }

    fn current(&self) -> Result<Arc<DataKey>, Unsealable> {
        let mut current = lock(&self.0.current);
        if let Some(current) = &mut *current
            && current.records < RECORDS_PER_DATA_KEY
        {
            current.records += 1;
            return Ok(current.key.clone());
        }
        let (id, envelope) = self.0.envelopes.first().ok_or(Unsealable)?;
        let key = Arc::new(DataKey::generate(id, envelope)?);
        *current = Some(Current { key: key.clone(), records: 1 });
        Ok(key)
    }

    /// The data key that lies wrapped beside a record.
    fn opened(&self, id: &str, wrapped: Vec<u8>) -> Result<Arc<DataKey>, OpenError> {
        if let Some(known) = lock(&self.0.opened).get(&wrapped).filter(|known| known.envelope() == id) {
            return Ok(known.clone());
        }
        let envelope = self.0.envelopes.get(id).ok_or_else(|| OpenError::NoKey(id.to_owned()))?;
        let key = DataKey::unwrap(id, envelope, &wrapped).ok_or_else(|| OpenError::OtherKey(id.to_owned()))?;
        let key = Arc::new(key);
        let mut opened = lock(&self.0.opened);
        if opened.len() >= OPENED_MAX {
            // Those that are still needed are unwrapped again, a microsecond each.
            opened.clear();
        }
        opened.insert(wrapped, key.clone());
        Ok(key)
    }
}

impl fmt::Debug for Vault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let ids: Vec<&str> = self.0.envelopes.ids().collect();
        f.debug_struct("Vault").field("keys", &ids).field("seals", &self.0.seals).finish()
    }
}

impl Draft {
    /// Which event of a shared store it is. Stays readable.
    pub fn add_origin(&mut self, origin: &Origin) {
        record::add_origin(&mut self.shown, origin);
    }

    /// What it takes where it is kept, at most, in bytes.
    #[must_use]
    pub fn bytes_max(&self) -> usize {
        let seal = if self.secret.is_empty() { 0 } else { SEAL_BYTES_MAX };
        self.shown.len() + self.secret.len() + seal
    }
}

impl Place {
    /// INVARIANT: no two places, and no two texts that are shown, give the same bytes.
    fn bound_to(self, shown: &[u8]) -> Vec<u8> {
        let mut bound = Vec::with_capacity(64 + shown.len());
        bound.extend(b"countersign sealed record 1");
        match self {
            Self::Journal { sequence, at } => {
                bound.push(1);
                bound.extend(sequence.to_be_bytes());
                bound.extend(at.as_micros().to_be_bytes());
            }
            Self::Shared => bound.push(2),
        }
        bound.extend(shown);
        bound
    }
}

/// Whether what was kept is sealed.
#[must_use]
pub fn is_sealed(payload: &[u8]) -> bool {
    matches!(record::look(0, Timestamp::default(), payload), Ok(Written::Sealed(_)))
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    // Plain values: a panic elsewhere cannot have torn them.
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(test)]
mod tests;
