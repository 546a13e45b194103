//! Where a subscription is: in this journal, or, where replicas share a store, in every shard of that and in this journal.
//!
//! A place of the second kind leads on at any replica: the shards are the same everywhere, and where the journal is another
//! one it is read from the moment of the last event on.

use std::fmt;
use std::str::FromStr;

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use sha2::{Digest, Sha256};

use super::cursor::{Cursor, MalformedCursor};
use crate::domain::Timestamp;
use crate::store::feed::Reach;

/// A place, opaque to clients.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Place {
    /// Of one process: the place in its journal.
    Own(Cursor),
    Shared(Box<SharedPlace>),
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SharedPlace {
    /// Which store, and which life of it.
    pub(super) life: Life,
    /// The last event seen of each shard.
    pub(super) numbers: Vec<u64>,
    /// When the last event seen was.
    pub(super) at: Timestamp,
    /// The last record seen of the replica's own journal.
    pub(super) own: Cursor,
}

/// The beginning of a hash over the epochs of all shards.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Life([u8; 8]);

impl Life {
    pub(super) fn of(shards: &[Reach]) -> Self {
        let mut hash = Sha256::new();
        shards.iter().for_each(|shard| hash.update(shard.epoch));
        Self(hash.finalize().first_chunk().copied().unwrap_or_default())
    }
}

const SHARED: &str = "c2.";
/// More shards than any store has.
const SHARDS_MAX: usize = 64;

impl fmt::Display for Place {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Own(cursor) => write!(f, "{cursor}"),
            Self::Shared(place) => {
                let mut bytes = place.life.0.to_vec();
                bytes.extend(place.at.as_micros().to_be_bytes());
                bytes.extend(place.own.to_bytes());
                place.numbers.iter().for_each(|number| bytes.extend(number.to_be_bytes()));
                write!(f, "{SHARED}{}", URL_SAFE_NO_PAD.encode(bytes))
            }
        }
    }
}

impl FromStr for Place {
    type Err = MalformedCursor;

    fn from_str(text: &str) -> Result<Self, MalformedCursor> {
        let Some(text) = text.strip_prefix(SHARED) else { return text.parse().map(Self::Own) };
        let bytes = URL_SAFE_NO_PAD.decode(text).map_err(|_| MalformedCursor)?;
        let (words, rest) = bytes.as_chunks::<8>();
        let [life, at, sequence, chain, numbers @ ..] = words else { return Err(MalformedCursor) };
        if !rest.is_empty() || numbers.is_empty() || numbers.len() > SHARDS_MAX {
            return Err(MalformedCursor);
        }
        Ok(Self::Shared(Box::new(SharedPlace {
            life: Life(*life),
            at: Timestamp::from_micros(i64::from_be_bytes(*at)),
            own: Cursor::from_bytes(*sequence, *chain),
            numbers: numbers.iter().map(|number| u64::from_be_bytes(*number)).collect(),
        })))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_place_survives_being_written() {
        let own = Cursor::new(7, &[9; 32]);
        let shared = SharedPlace {
            life: Life([3; 8]),
            numbers: (0..16).collect(),
            at: Timestamp::from_micros(1_800_000_000_000_000),
            own: own.clone(),
        };
        for place in [Place::Own(own), Place::Shared(Box::new(shared))] {
            let text = place.to_string();
            assert_eq!(text.parse(), Ok(place));
            assert!(text.len() < 256 && text.bytes().all(|byte| byte.is_ascii_graphic()));
            for wrong in [&text[..text.len() - 1], &format!("{text}A"), &format!("{text}=")] {
                assert_eq!(wrong.parse::<Place>(), Err(MalformedCursor), "{wrong}");
            }
        }
    }
}
