//! What an approval is *for*: SHA-256 over the canonical form of a query.
//!
//! The canonical form is RFC 8785 JSON in which every value says its type, so that any language can recompute it and no
//! two different queries share it. `docs/binding.md` gives the form with test vectors. `environment` is not part of it.

use std::fmt;
use std::str::FromStr;

use sha2::{Digest, Sha256};

use super::entity::{Entity, EntityUid};
use super::query::Query;
use super::value::{Attributes, Value};

/// Names the canonical form; a change of form changes every binding.
const FORM: &str = "countersign.query.v1";

/// SHA-256 of the canonical query. Two queries with one binding are the same query.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Binding(pub [u8; 32]);

/// Why a text is not a binding.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("expected 64 lower-case hexadecimal digits")]
pub struct MalformedBinding;

impl Binding {
    #[must_use]
    pub fn of(query: &Query) -> Self {
        Self(Sha256::digest(canonical(query).as_bytes()).into())
    }
}

impl fmt::Display for Binding {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        super::hex::write(f, &self.0)
    }
}

impl FromStr for Binding {
    type Err = MalformedBinding;

    fn from_str(text: &str) -> Result<Self, MalformedBinding> {
        let nibble = |digit: u8| match digit {
            b'0'..=b'9' => Ok(digit - b'0'),
            b'a'..=b'f' => Ok(digit - b'a' + 10),
            _ => Err(MalformedBinding),
        };
        let (pairs, rest) = text.as_bytes().as_chunks::<2>();
        let mut bytes = [0; 32];
        if pairs.len() != bytes.len() || !rest.is_empty() {
            return Err(MalformedBinding);
        }
        for (byte, [high, low]) in bytes.iter_mut().zip(pairs) {
            *byte = nibble(*high)? << 4 | nibble(*low)?;
        }
        Ok(Self(bytes))
    }
}

/// The canonical query itself, as shown to those who want to check a binding by hand.
#[must_use]
pub fn canonical(query: &Query) -> String {
    let mut entities: Vec<String> =
        query.entities.iter().map(|entity| written(|out| write_entity(out, entity))).collect();
    entities.sort_unstable();
    let mut out = String::with_capacity(512);
    out.push_str("{\"action\":");
    write_uid(&mut out, &query.action);
    out.push_str(",\"context\":");
    write_attributes(&mut out, &query.context);
    out.push_str(",\"entities\":[");
    out.push_str(&entities.join(","));
    out.push_str("],\"form\":\"");
    out.push_str(FORM);
    if let Some(human) = &query.on_behalf_of {
        out.push_str("\",\"on_behalf_of\":");
        write_uid(&mut out, human);
        out.push_str(",\"principal\":");
    } else {
        out.push_str("\",\"principal\":");
    }
    write_uid(&mut out, &query.principal);
    out.push_str(",\"resource\":");
    write_uid(&mut out, &query.resource);
    out.push('}');
    out
}

fn write_entity(out: &mut String, entity: &Entity) {
    out.push_str("{\"attributes\":");
    write_attributes(out, &entity.attributes);
    out.push_str(",\"parents\":[");
    write_sorted(out, entity.parents.iter().map(|parent| written(|out| write_uid(out, parent))).collect());
    out.push_str("],\"tags\":");
    write_attributes(out, &entity.tags);
    out.push_str(",\"uid\":");
    write_uid(out, &entity.uid);
    out.push('}');
}

fn write_uid(out: &mut String, uid: &EntityUid) {
    out.push_str("{\"id\":");
    write_string(out, &uid.id);
    out.push_str(",\"type\":");
    write_string(out, &uid.type_name);
    out.push('}');
}

/// RFC 8785 section 3.2.3 orders names by their UTF-16 code units, which is not the order of their bytes.
fn write_attributes(out: &mut String, attributes: &Attributes) {
    let mut fields: Vec<_> = attributes.iter().collect();
    fields.sort_by(|(left, _), (right, _)| left.encode_utf16().cmp(right.encode_utf16()));
    out.push('{');
    for (position, (name, value)) in fields.into_iter().enumerate() {
        if position > 0 {
            out.push(',');
        }
        write_string(out, name);
        out.push(':');
        write_value(out, value);
    }
    out.push('}');
}

fn write_value(out: &mut String, value: &Value) {
    match value {
        Value::Bool(true) => out.push_str("{\"bool\":true"),
        Value::Bool(false) => out.push_str("{\"bool\":false"),
        Value::Long(number) => {
            out.push_str("{\"long\":\"");
            out.push_str(&number.to_string());
            out.push('"');
        }
        Value::String(text) => {
            out.push_str("{\"string\":");
            write_string(out, text);
        }
        Value::Entity(uid) => {
            out.push_str("{\"entity\":");
            write_uid(out, uid);
        }
        Value::Set(members) => {
            out.push_str("{\"set\":[");
            write_sorted(out, members.iter().map(|member| written(|out| write_value(out, member))).collect());
            out.push(']');
        }
        Value::Record(fields) => {
            out.push_str("{\"record\":");
            write_attributes(out, fields);
        }
        Value::Extension { function, argument } => {
            out.push_str("{\"extension\":{\"argument\":");
            write_string(out, argument);
            out.push_str(",\"function\":\"");
            out.push_str(function.name());
            out.push_str("\"}");
        }
    }
    out.push('}');
}

/// The members of a set: sorted by the bytes of their canonical text, each once.
fn write_sorted(out: &mut String, mut members: Vec<String>) {
    members.sort_unstable();
    members.dedup();
    out.push_str(&members.join(","));
}

fn written(write: impl FnOnce(&mut String)) -> String {
    let mut out = String::new();
    write(&mut out);
    out
}

/// RFC 8785 section 3.2.2.2.
fn write_string(out: &mut String, text: &str) {
    out.push('"');
    for character in text.chars() {
        match character {
            '"' => out.push_str("\\\""),
            '\\' => out.push_str("\\\\"),
            '\u{8}' => out.push_str("\\b"),
            '\t' => out.push_str("\\t"),
            '\n' => out.push_str("\\n"),
            '\u{c}' => out.push_str("\\f"),
            '\r' => out.push_str("\\r"),
            '\0'..='\u{1f}' => out.push_str(&format!("\\u{:04x}", u32::from(character))),
            _ => out.push(character),
        }
    }
    out.push('"');
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::domain::value::ExtensionFunction;

    fn query() -> Query {
        Query {
            principal: EntityUid::new("Agent", "report-bot"),
            on_behalf_of: Some(EntityUid::new("User", "alice")),
            action: EntityUid::new("Action", "export"),
            resource: EntityUid::new("Dataset", "customers"),
            context: [("rows".into(), Value::Long(9_007_199_254_740_993))].into(),
            environment: Attributes::new(),
            entities: Vec::new(),
        }
    }

    #[test]
    fn the_form_is_typed_sorted_json() {
        assert_eq!(
            canonical(&query()),
            r#"{"action":{"id":"export","type":"Action"},"context":{"rows":{"long":"9007199254740993"}},"entities":[],"form":"countersign.query.v1","on_behalf_of":{"id":"alice","type":"User"},"principal":{"id":"report-bot","type":"Agent"},"resource":{"id":"customers","type":"Dataset"}}"#
        );
    }

    #[test]
    fn the_environment_is_not_bound_and_everything_else_is() {
        let original = Binding::of(&query());
        let changes: [fn(&mut Query); 6] = [
            |q| q.principal = EntityUid::new("Agent", "other"),
            |q| q.on_behalf_of = None,
            |q| q.action = EntityUid::new("Action", "read"),
            |q| q.resource = EntityUid::new("Dataset", "customers "),
            |q| drop(q.context.insert("x".into(), Value::Bool(true))),
            |q| q.entities.push(Entity::bare(EntityUid::new("Dataset", "d"), vec![])),
        ];
        for change in changes {
            let mut changed = query();
            change(&mut changed);
            assert_ne!(Binding::of(&changed), original);
        }
        let mut elsewhere = query();
        elsewhere.environment.insert("ip".into(), Value::string("10.0.0.1"));
        assert_eq!(Binding::of(&elsewhere), original);
    }

    #[test]
    fn a_set_is_sorted_and_each_member_counts_once() {
        let set = |members: &[i64]| {
            written(|out| write_value(out, &Value::Set(members.iter().copied().map(Value::Long).collect())))
        };
        assert_eq!(set(&[3, 1, 3]), set(&[1, 3]));
        assert_eq!(set(&[1, 3]), r#"{"set":[{"long":"1"},{"long":"3"}]}"#);
    }

    #[test]
    fn values_of_different_types_never_look_alike() {
        let shown = |value: Value| written(|out| write_value(out, &value));
        let ip = Value::Extension { function: ExtensionFunction::Ip, argument: "10.0.0.1".into() };
        let all = [
            shown(Value::string("1")),
            shown(Value::Long(1)),
            shown(Value::string("10.0.0.1")),
            shown(ip),
            shown(Value::Set(vec![])),
            shown(Value::Record(Attributes::new())),
        ];
        for (position, one) in all.iter().enumerate() {
            assert!(all.iter().skip(position + 1).all(|other| other != one), "{one}");
        }
    }

    #[test]
    fn names_are_ordered_by_utf16_as_rfc_8785_says() {
        let fields: Attributes =
            [("\u{10000}".into(), Value::Bool(true)), ("\u{ffff}".into(), Value::Bool(true))].into();
        let text = written(|out| write_attributes(out, &fields));
        assert!(text.find('\u{10000}') < text.find('\u{ffff}'));
    }

    #[test]
    fn a_binding_has_one_spelling() {
        let binding = Binding::of(&query());
        assert_eq!(binding.to_string().parse(), Ok(binding));
        assert_eq!(binding.to_string().to_uppercase().parse::<Binding>(), Err(MalformedBinding));
        assert_eq!("".parse::<Binding>(), Err(MalformedBinding));
    }
}
