//! Arguments to types.

use std::time::Duration;

use crate::config::Span;
use crate::domain::EntityUid;
use crate::wire::{pb, well_known};

/// An entity: `User::"alice"` or, where the id is plain, `User::alice`. Escapes are those with which ids are shown.
///
/// # Errors
/// What was expected.
pub fn uid(text: &str) -> Result<pb::EntityUid, String> {
    let expected = || "expected an entity such as `User::\"alice\"` or `User::alice`".to_owned();
    if let Ok(uid) = text.parse::<EntityUid>() {
        return Ok((&uid).into());
    }
    let (type_name, id) = text.rsplit_once("::").ok_or_else(expected)?;
    if type_name.is_empty() || text.contains('"') {
        return Err(expected());
    }
    Ok(pb::EntityUid { r#type: type_name.to_owned(), id: id.to_owned() })
}

/// A moment on the command line.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Moment {
    At(jiff::Timestamp),
    Ago(Duration),
    In(Duration),
}

impl Moment {
    /// The moment, by this machine's clock: it only chooses what to look at.
    #[must_use]
    pub fn at(self, now: jiff::Timestamp) -> well_known::Timestamp {
        let moment = match self {
            Self::At(moment) => moment,
            Self::Ago(span) => now.checked_sub(span).unwrap_or(jiff::Timestamp::MIN),
            Self::In(span) => now.checked_add(span).unwrap_or(jiff::Timestamp::MAX),
        };
        well_known::Timestamp { seconds: moment.as_second(), nanos: moment.subsec_nanosecond() }
    }
}

/// `2026-01-31T12:00:00Z`, or `2h` for two hours ago.
///
/// # Errors
/// What was expected.
pub fn moment(text: &str) -> Result<Moment, String> {
    if let Ok(moment) = text.parse() {
        return Ok(Moment::At(moment));
    }
    let ago: Result<Span, _> = text.trim_end_matches(" ago").parse();
    ago.map(|span| Moment::Ago(span.get()))
        .map_err(|_| "expected a moment such as `2026-01-31T12:00:00Z`, or `2h` for two hours ago".to_owned())
}

/// `2026-01-31T12:00:00Z`, or `14d` for fourteen days from now.
///
/// # Errors
/// What was expected.
pub fn coming(text: &str) -> Result<Moment, String> {
    if let Ok(moment) = text.parse() {
        return Ok(Moment::At(moment));
    }
    let days = text.strip_suffix('d').and_then(|days| days.parse::<u16>().ok());
    let span =
        days.map_or_else(|| text.parse::<Span>(), |days| Ok(Span(Duration::from_secs(u64::from(days) * 86_400))));
    span.map(|span| Moment::In(span.get()))
        .map_err(|_| "expected a moment such as `2026-01-31T12:00:00Z`, or `14d` for fourteen days from now".to_owned())
}

/// `sequence:hash` as `audit verify` prints it.
///
/// # Errors
/// What was expected.
pub fn anchor(text: &str) -> Result<crate::journal::Anchor, String> {
    let parsed = || {
        let (sequence, hash) = text.split_once(':')?;
        let digits = hash.as_bytes().chunks(2).map(|pair| u8::from_str_radix(std::str::from_utf8(pair).ok()?, 16).ok());
        let bytes: Option<Vec<u8>> = if hash.len() == 64 { digits.collect() } else { None };
        Some(crate::journal::Anchor { sequence: sequence.parse().ok()?, chain: bytes?.try_into().ok()? })
    };
    parsed().ok_or_else(|| "expected `SEQUENCE:HASH` as `audit verify` prints it (64 hexadecimal digits)".to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_entity_is_read_as_it_is_shown() {
        for id in ["alice", "a b", "", "a\u{0}\u{202e}\"\\é", "x::\"y"] {
            let shown = EntityUid::new("Acme::User", id).to_string();
            assert_eq!(uid(&shown), Ok(pb::EntityUid { r#type: "Acme::User".into(), id: id.into() }), "{shown}");
        }
        assert_eq!(uid("Acme::User::alice").unwrap().r#type, "Acme::User");
        for wrong in ["alice", "::\"a\"", "User::\"a\\q\"", "User::\"\\u{110000}\""] {
            assert!(uid(wrong).is_err(), "{wrong}");
        }
    }

    #[test]
    fn moments_are_absolute_or_ago() {
        let now: jiff::Timestamp = "2026-01-31T12:00:00Z".parse().unwrap();
        assert_eq!(moment("2h").unwrap().at(now).seconds, now.as_second() - 7_200);
        assert_eq!(moment("2026-01-31T13:00:00+01:00").unwrap().at(now).seconds, now.as_second());
        assert!(moment("yesterday").is_err() && moment("2026-01-31").is_err());
    }

    #[test]
    fn an_anchor_is_a_place_and_a_whole_hash() {
        let parsed = anchor(&format!("7:{}", "0f".repeat(32))).unwrap();
        assert_eq!((parsed.sequence, parsed.chain), (7, [15; 32]));
        for wrong in ["7", "x:00", "7:00", &format!("7:{}", "é0".repeat(21) + "0")] {
            assert!(anchor(wrong).is_err(), "{wrong}");
        }
    }
}
