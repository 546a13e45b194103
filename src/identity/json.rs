//! Strict JSON: what a token or key set says, with no room for two readings. A member that occurs twice is an error
//! (parsers disagree on which one counts), integers stay exact, nesting has a limit. Nothing is coerced.

use std::cell::Cell;
use std::collections::BTreeMap;
use std::fmt;

use serde::de::{DeserializeSeed, Deserializer, Error, MapAccess, SeqAccess, Visitor};

/// How deeply arrays and objects may nest.
pub const NESTING_LEVELS_MAX: usize = 32;

/// An object's members by name.
pub type Members = BTreeMap<String, Json>;

/// A JSON value. `Fraction` stands for every number that is not an `i64`; its value is of no interest here.
#[derive(Clone, PartialEq)]
pub enum Json {
    Null,
    Bool(bool),
    Integer(i64),
    Fraction,
    Text(String),
    Array(Vec<Json>),
    Object(Members),
}

/// Claims are personal: not even a debug print shows them.
impl fmt::Debug for Json {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("***")
    }
}

/// Why bytes are not JSON that we accept.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum JsonError {
    /// Not JSON, not UTF-8, not an object, or with a member twice.
    Malformed,
    /// Nested beyond [`NESTING_LEVELS_MAX`].
    TooDeep,
}

/// Parses one object and nothing after it.
pub fn parse_object(bytes: &[u8]) -> Result<Members, JsonError> {
    let too_deep = Cell::new(false);
    let mut deserializer = serde_json::Deserializer::from_slice(bytes);
    let parsed = Strict { levels_left: NESTING_LEVELS_MAX, too_deep: &too_deep }
        .deserialize(&mut deserializer)
        .and_then(|json| deserializer.end().map(|()| json));
    match parsed {
        Ok(Json::Object(members)) => Ok(members),
        _ if too_deep.get() => Err(JsonError::TooDeep),
        _ => Err(JsonError::Malformed),
    }
}

impl Json {
    pub fn as_text(&self) -> Option<&str> {
        match self {
            Self::Text(text) => Some(text),
            _ => None,
        }
    }

    pub fn as_object(&self) -> Option<&Members> {
        match self {
            Self::Object(members) => Some(members),
            _ => None,
        }
    }
}

#[derive(Clone, Copy)]
struct Strict<'a> {
    levels_left: usize,
    too_deep: &'a Cell<bool>,
}

impl Strict<'_> {
    fn one_level_down<E: Error>(self) -> Result<Self, E> {
        match self.levels_left.checked_sub(1) {
            Some(levels_left) => Ok(Self { levels_left, ..self }),
            None => {
                self.too_deep.set(true);
                Err(E::custom("nested too deeply"))
            }
        }
    }
}

impl<'de> DeserializeSeed<'de> for Strict<'_> {
    type Value = Json;

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<Json, D::Error> {
        deserializer.deserialize_any(self)
    }
}

impl<'de> Visitor<'de> for Strict<'_> {
    type Value = Json;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a JSON value")
    }

    fn visit_unit<E>(self) -> Result<Json, E> {
        Ok(Json::Null)
    }

    fn visit_bool<E>(self, value: bool) -> Result<Json, E> {
        Ok(Json::Bool(value))
    }

    fn visit_i64<E>(self, value: i64) -> Result<Json, E> {
        Ok(Json::Integer(value))
    }

    fn visit_u64<E>(self, value: u64) -> Result<Json, E> {
        Ok(i64::try_from(value).map_or(Json::Fraction, Json::Integer))
    }

    fn visit_f64<E>(self, _: f64) -> Result<Json, E> {
        Ok(Json::Fraction)
    }

    fn visit_str<E>(self, value: &str) -> Result<Json, E> {
        Ok(Json::Text(value.to_owned()))
    }

    fn visit_string<E>(self, value: String) -> Result<Json, E> {
        Ok(Json::Text(value))
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut items: A) -> Result<Json, A::Error> {
        let inner = self.one_level_down()?;
        let mut array = Vec::new();
        while let Some(item) = items.next_element_seed(inner)? {
            array.push(item);
        }
        Ok(Json::Array(array))
    }

    fn visit_map<A: MapAccess<'de>>(self, mut entries: A) -> Result<Json, A::Error> {
        let inner = self.one_level_down()?;
        let mut members = Members::new();
        while let Some(name) = entries.next_key::<String>()? {
            let value = entries.next_value_seed(inner)?;
            if members.insert(name, value).is_some() {
                return Err(A::Error::custom("a member occurs twice"));
            }
        }
        Ok(Json::Object(members))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_member_that_occurs_twice_is_malformed_at_any_depth_and_spelling() {
        for text in [r#"{"a":1,"a":1}"#, r#"{"a":{"b":1,"b":2}}"#, r#"{"a":[{"b":1,"\u0062":2}]}"#] {
            assert_eq!(parse_object(text.as_bytes()), Err(JsonError::Malformed), "{text}");
        }
    }

    #[test]
    fn only_one_object_and_nothing_else_is_accepted() {
        for text in ["", "[]", "null", "\"a\"", "{} {}", "{}x", "\u{feff}{}", "{\"a\":NaN}", "{\"a\":\"\\ud800\"}"] {
            assert_eq!(parse_object(text.as_bytes()), Err(JsonError::Malformed), "{text}");
        }
        assert_eq!(parse_object(b"{\"a\":\"\xff\"}"), Err(JsonError::Malformed));
        assert_eq!(parse_object(b" {} \n"), Ok(Members::new()));
    }

    #[test]
    fn nesting_has_a_limit() {
        let nested = |levels: usize| format!("{{\"a\":{}{}}}", "[".repeat(levels - 1), "]".repeat(levels - 1));
        assert!(parse_object(nested(NESTING_LEVELS_MAX).as_bytes()).is_ok());
        assert_eq!(parse_object(nested(NESTING_LEVELS_MAX + 1).as_bytes()), Err(JsonError::TooDeep));
    }

    #[test]
    fn integers_stay_exact_and_other_numbers_are_told_apart() {
        let members = parse_object(br#"{"a":9007199254740993,"b":1.0,"c":9223372036854775808,"d":1e3}"#).unwrap();
        assert!(members["a"] == Json::Integer(9_007_199_254_740_993));
        for name in ["b", "c", "d"] {
            assert!(members[name] == Json::Fraction, "{name}");
        }
    }
}
