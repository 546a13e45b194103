//! Where a subscription is: in this journal, or, where replicas share a store, in every shard of that and in this journal.
//!
//! A place of the second kind leads on at any replica: the shards are the same everywhere, and where the journal is another
//! one it is read from the moment of the last event on.

use std::fmt;
use std::str::FromStr;

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;

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
    /// Of each shard.
    pub(super) shards: Vec<InShard>,
    /// When the last event seen was.
    pub(super) at: Timestamp,
    /// The last record seen of the replica's own journal.
    pub(super) own: Cursor,
}

/// A place in one shard.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct InShard {
    life: Life,
    /// The last event seen.
    pub(super) number: u64,
}

/// The beginning of a shard's epoch: one cannot tell one life from another by chance.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Life([u8; 4]);

impl Life {
    fn of(epoch: &[u8; 16]) -> Self {
        let [a, b, c, d, ..] = *epoch;
        Self([a, b, c, d])
    }
}

/// A place that does not lead on: of another store, or ahead of this one.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Foreign;

impl InShard {
    /// Behind an event.
    pub(super) fn of(shard: &Reach, number: u64) -> Self {
        Self { life: Life::of(&shard.epoch), number }
    }

    pub(super) fn is_of(&self, epoch: &[u8; 16]) -> bool {
        self.life == Life::of(epoch)
    }

    /// The same in the shard as it is now. Where that began anew since, its events go on behind the last one of the life before that counts:
    /// whoever has seen more than that goes back to it.
    fn leads_on(self, shard: &Reach) -> Result<Self, Foreign> {
        let before = || shard.before.iter().find(|(epoch, _)| self.is_of(epoch)).map(|(_, last)| *last);
        let number = if self.is_of(&shard.epoch) {
            self.number
        } else if let Some(last) = before() {
            self.number.min(last)
        } else if self.number == 0 {
            // Nothing of it was seen, and nothing of a life without events is known.
            0
        } else {
            return Err(Foreign);
        };
        if number <= shard.head { Ok(Self::of(shard, number)) } else { Err(Foreign) }
    }

    fn is_known(self, shard: &Reach) -> bool {
        self.is_of(&shard.epoch) || shard.before.iter().any(|(epoch, _)| self.is_of(epoch))
    }
}

impl SharedPlace {
    /// Goes on with the shards as they are now.
    pub(super) fn lead_on(&mut self, shards: &[Reach]) -> Result<(), Foreign> {
        let pairs = || self.shards.iter().zip(shards);
        if self.shards.len() != shards.len() || !pairs().any(|(place, shard)| place.is_known(shard)) {
            return Err(Foreign);
        }
        self.shards = pairs().map(|(place, shard)| place.leads_on(shard)).collect::<Result<_, _>>()?;
        Ok(())
    }
}

const SHARED: &str = "c3.";
/// More shards than any store has.
const SHARDS_MAX: usize = 64;
/// A shard in a cursor: its life and its number.
const SHARD_BYTES: usize = 12;
/// Its time, and the place in the journal.
const HEAD_BYTES: usize = 24;

impl fmt::Display for Place {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Own(cursor) => write!(f, "{cursor}"),
            Self::Shared(place) => {
                let mut bytes = place.at.as_micros().to_be_bytes().to_vec();
                bytes.extend(place.own.to_bytes());
                for shard in &place.shards {
                    bytes.extend(shard.life.0);
                    bytes.extend(shard.number.to_be_bytes());
                }
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
        let Some((head, shards)) = bytes.split_at_checked(HEAD_BYTES) else { return Err(MalformedCursor) };
        let (words, []) = head.as_chunks::<8>() else { return Err(MalformedCursor) };
        let [at, sequence, chain] = *words else { return Err(MalformedCursor) };
        let (shards, rest) = shards.as_chunks::<SHARD_BYTES>();
        if !rest.is_empty() || shards.is_empty() || shards.len() > SHARDS_MAX {
            return Err(MalformedCursor);
        }
        let shard = |[a, b, c, d, number @ ..]: [u8; SHARD_BYTES]| InShard {
            life: Life([a, b, c, d]),
            number: u64::from_be_bytes(number),
        };
        Ok(Self::Shared(Box::new(SharedPlace {
            shards: shards.iter().copied().map(shard).collect(),
            at: Timestamp::from_micros(i64::from_be_bytes(at)),
            own: Cursor::from_bytes(sequence, chain),
        })))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const ONE: [u8; 16] = [1; 16];
    const OTHER: [u8; 16] = [2; 16];

    fn reach(epoch: [u8; 16], head: u64) -> Reach {
        Reach { epoch, before: Vec::new(), first: 1, head }
    }

    fn place(shards: &[([u8; 16], u64)]) -> SharedPlace {
        let shard = |(epoch, number): &([u8; 16], u64)| InShard::of(&reach(*epoch, 0), *number);
        let shards = shards.iter().map(shard).collect();
        SharedPlace { shards, at: Timestamp::from_micros(1_800_000_000_000_000), own: Cursor::new(7, &[9; 32]) }
    }

    #[test]
    fn a_place_survives_being_written() {
        let own = Cursor::new(7, &[9; 32]);
        let shared = place(&[(ONE, 1), (OTHER, u64::MAX)].repeat(8));
        for place in [Place::Own(own), Place::Shared(Box::new(shared))] {
            let text = place.to_string();
            assert_eq!(text.parse(), Ok(place));
            assert!(text.len() < 300 && text.bytes().all(|byte| byte.is_ascii_graphic()));
            for wrong in [&text[..text.len() - 1], &format!("{text}A"), &format!("{text}=")] {
                assert_eq!(wrong.parse::<Place>(), Err(MalformedCursor), "{wrong}");
            }
        }
        assert_eq!("c3.AAAA".parse::<Place>(), Err(MalformedCursor));
    }

    #[test]
    fn a_place_leads_on_in_what_took_the_place_of_its_shard_behind_the_last_event_that_counts() {
        let renewed = Reach { before: vec![(ONE, 9)], ..reach(OTHER, 12) };
        let check = |seen: u64, goes_on: Result<u64, Foreign>| {
            let mut place = place(&[(ONE, seen), (ONE, 4)]);
            let led = place.lead_on(&[renewed.clone(), reach(ONE, 4)]);
            assert_eq!(led.map(|()| place.shards[0].number), goes_on, "{seen}");
        };
        check(0, Ok(0));
        check(7, Ok(7));
        check(9, Ok(9));
        // What it has seen behind it counts no more, and its numbers were given again.
        check(11, Ok(9));
        check(40, Ok(9));
    }

    #[test]
    fn a_place_of_another_store_or_ahead_of_this_one_does_not_lead_on() {
        let here = [reach(ONE, 4), reach(ONE, 4)];
        for (shards, leads) in [
            (vec![(ONE, 4), (ONE, 0)], Ok(())),
            (vec![(ONE, 5), (ONE, 0)], Err(Foreign)),
            (vec![(OTHER, 1), (ONE, 1)], Err(Foreign)),
            // Emptied before anything happened in it.
            (vec![(OTHER, 0), (ONE, 1)], Ok(())),
            (vec![(OTHER, 0), (OTHER, 0)], Err(Foreign)),
            (vec![(ONE, 1)], Err(Foreign)),
        ] {
            assert_eq!(place(&shards).lead_on(&here), leads, "{shards:?}");
        }
    }
}
