//! A look at JSON before it is read as a message. The mapping of proto3 lets the last of two fields of one name win, takes
//! `9007199254740993.0` for another number, and passes over nothing that is unknown only where it is told to. A query in which two readers
//! can see two things must not be decided, so that here each field is known, stands there once, and has the shape it should.

use std::collections::BTreeSet;
use std::fmt;

use prost_reflect::{FieldDescriptor, Kind, MessageDescriptor};
use serde::de::{DeserializeSeed, Deserializer, Error, MapAccess, SeqAccess, Unexpected, Visitor};

use super::Misread;

/// Objects, lists and single values of one text: what is read takes more room than its text.
pub const VALUES_MAX: usize = 250_000;
/// What is told of where something is wrong, and of what: both repeat what was sent.
const TOLD_CHARS_MAX: usize = 256;

/// Whether a text could be this message.
pub fn check(message: &MessageDescriptor, text: &[u8]) -> Result<(), Misread> {
    let mut reader = serde_json::Deserializer::from_slice(text);
    let mut seen = Seen { path: String::new(), left: VALUES_MAX };
    let shape = Shape::Message(message.clone());
    let checked = Looked { shape, seen: &mut seen }.deserialize(&mut reader).and_then(|()| reader.end());
    checked.map_err(|error| misread(seen.path, &error))
}

/// What is wrong with a text, and where.
pub fn misread(field: String, error: &serde_json::Error) -> Misread {
    let is_json = error.classify() == serde_json::error::Category::Data;
    let message = if is_json { error.to_string() } else { format!("not JSON: {error}") };
    Misread { field: shortened(&field), message: shortened(&message) }
}

fn shortened(text: &str) -> String {
    match text.char_indices().nth(TOLD_CHARS_MAX) {
        Some((end, _)) => format!("{}...", text.get(..end).unwrap_or_default()),
        None => text.to_owned(),
    }
}

/// Where the reader is. After an error, where that is.
struct Seen {
    path: String,
    left: usize,
}

impl Seen {
    fn count<E: Error>(&mut self) -> Result<(), E> {
        let too_many = || E::custom(format!("more than {VALUES_MAX} values"));
        self.left = self.left.checked_sub(1).ok_or_else(too_many)?;
        Ok(())
    }

    /// Goes into a field; what is returned leads back.
    fn enter(&mut self, name: &str) -> usize {
        let before = self.path.len();
        if before > 0 {
            self.path.push('.');
        }
        self.path.extend(name.escape_debug());
        before
    }

    fn enter_place(&mut self, place: usize) -> usize {
        let before = self.path.len();
        self.path.push_str(&format!("[{place}]"));
        before
    }
}

/// What a value must look like.
enum Shape {
    Message(MessageDescriptor),
    Map(Kind),
    List(Kind),
    Single(Kind),
    /// Moments and spans, which are messages and written as texts.
    Written,
}

impl Shape {
    fn of(field: &FieldDescriptor) -> Self {
        match field.kind() {
            Kind::Message(entry) if field.is_map() => Self::Map(entry.map_entry_value_field().kind()),
            kind if field.is_list() => Self::List(kind),
            kind => Self::of_kind(kind),
        }
    }

    fn of_kind(kind: Kind) -> Self {
        match kind {
            Kind::Message(message) if message.package_name() == "google.protobuf" => Self::Written,
            Kind::Message(message) => Self::Message(message),
            single => Self::Single(single),
        }
    }

    fn is_integer(&self) -> bool {
        matches!(
            self,
            Self::Single(
                Kind::Int32
                    | Kind::Sint32
                    | Kind::Sfixed32
                    | Kind::Uint32
                    | Kind::Fixed32
                    | Kind::Int64
                    | Kind::Sint64
                    | Kind::Sfixed64
                    | Kind::Uint64
                    | Kind::Fixed64
            )
        )
    }

    /// Whether a number may stand for it that has neither fraction nor exponent.
    fn is_number(&self) -> bool {
        self.is_integer() || matches!(self, Self::Single(Kind::Enum(_) | Kind::Double | Kind::Float))
    }
}

struct Looked<'s> {
    shape: Shape,
    seen: &'s mut Seen,
}

impl Looked<'_> {
    fn only<E: Error>(self, fits: bool, what: Unexpected<'_>) -> Result<(), E> {
        if fits { Ok(()) } else { Err(E::invalid_type(what, &self)) }
    }

    fn fields<'de, A: MapAccess<'de>>(self, message: &MessageDescriptor, mut map: A) -> Result<(), A::Error> {
        let (mut given, mut chosen) = (BTreeSet::new(), BTreeSet::new());
        while let Some(key) = map.next_key::<String>()? {
            let found = message.get_field_by_json_name(&key).or_else(|| message.get_field_by_name(&key));
            let before = self.seen.enter(found.as_ref().map_or(&*key, FieldDescriptor::name));
            let field = found.ok_or_else(|| A::Error::custom("unknown field"))?;
            if !given.insert(field.number()) {
                return Err(A::Error::custom("given twice"));
            }
            if let Some(choice) = field.containing_oneof()
                && !chosen.insert(choice.name().to_owned())
            {
                return Err(A::Error::custom(format!("more than one of `{}`", choice.name())));
            }
            map.next_value_seed(Field(Looked { shape: Shape::of(&field), seen: self.seen }))?;
            self.seen.path.truncate(before);
        }
        Ok(())
    }

    fn entries<'de, A: MapAccess<'de>>(self, kind: &Kind, mut map: A) -> Result<(), A::Error> {
        let mut given = BTreeSet::new();
        while let Some(key) = map.next_key::<String>()? {
            let before = self.seen.enter(&key);
            if !given.insert(key) {
                return Err(A::Error::custom("given twice"));
            }
            map.next_value_seed(Looked { shape: Shape::of_kind(kind.clone()), seen: self.seen })?;
            self.seen.path.truncate(before);
        }
        Ok(())
    }
}

impl<'de> DeserializeSeed<'de> for Looked<'_> {
    type Value = ();

    fn deserialize<D: Deserializer<'de>>(self, reader: D) -> Result<(), D::Error> {
        self.seen.count()?;
        reader.deserialize_any(self)
    }
}

impl<'de> Visitor<'de> for Looked<'_> {
    type Value = ();

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match &self.shape {
            Shape::Message(_) | Shape::Map(_) => "an object",
            Shape::List(_) => "a list",
            single if single.is_integer() => "an integer, without fraction or exponent, or as a string",
            Shape::Single(Kind::Bool) => "true or false",
            Shape::Single(Kind::Enum(_)) => "one of its names, as a string",
            Shape::Single(Kind::Double | Kind::Float) => "a number",
            Shape::Single(_) | Shape::Written => "a string",
        })
    }

    fn visit_map<A: MapAccess<'de>>(self, map: A) -> Result<(), A::Error> {
        match &self.shape {
            Shape::Message(message) => {
                let message = message.clone();
                self.fields(&message, map)
            }
            Shape::Map(kind) => {
                let kind = kind.clone();
                self.entries(&kind, map)
            }
            Shape::List(_) | Shape::Single(_) | Shape::Written => self.only(false, Unexpected::Map),
        }
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut list: A) -> Result<(), A::Error> {
        let Shape::List(kind) = &self.shape else { return self.only(false, Unexpected::Seq) };
        let mut place = 0;
        loop {
            let before = self.seen.enter_place(place);
            let element = Looked { shape: Shape::of_kind(kind.clone()), seen: self.seen };
            let found = list.next_element_seed(element)?;
            self.seen.path.truncate(before);
            if found.is_none() {
                return Ok(());
            }
            place += 1;
        }
    }

    fn visit_str<E: Error>(self, text: &str) -> Result<(), E> {
        let fits = match &self.shape {
            Shape::Written | Shape::Single(Kind::String | Kind::Bytes | Kind::Double | Kind::Float) => true,
            Shape::Single(Kind::Enum(names)) => names.get_value_by_name(text).is_some(),
            other => other.is_integer(),
        };
        self.only(fits, Unexpected::Str(text))
    }

    fn visit_bool<E: Error>(self, value: bool) -> Result<(), E> {
        let fits = matches!(self.shape, Shape::Single(Kind::Bool));
        self.only(fits, Unexpected::Bool(value))
    }

    fn visit_u64<E: Error>(self, number: u64) -> Result<(), E> {
        let fits = self.shape.is_number();
        self.only(fits, Unexpected::Unsigned(number))
    }

    fn visit_i64<E: Error>(self, number: i64) -> Result<(), E> {
        let fits = self.shape.is_number();
        self.only(fits, Unexpected::Signed(number))
    }

    fn visit_f64<E: Error>(self, number: f64) -> Result<(), E> {
        let fits = matches!(self.shape, Shape::Single(Kind::Double | Kind::Float));
        self.only(fits, Unexpected::Float(number))
    }

    fn visit_unit<E: Error>(self) -> Result<(), E> {
        self.only(false, Unexpected::Unit)
    }
}

/// A field may be null, which is as if it were not there; what is in a list or a map may not.
struct Field<'s>(Looked<'s>);

impl<'de> DeserializeSeed<'de> for Field<'_> {
    type Value = ();

    fn deserialize<D: Deserializer<'de>>(self, reader: D) -> Result<(), D::Error> {
        reader.deserialize_option(self)
    }
}

impl<'de> Visitor<'de> for Field<'_> {
    type Value = ();

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.expecting(f)
    }

    fn visit_none<E: Error>(self) -> Result<(), E> {
        self.0.seen.count()
    }

    fn visit_unit<E: Error>(self) -> Result<(), E> {
        self.0.seen.count()
    }

    fn visit_some<D: Deserializer<'de>>(self, reader: D) -> Result<(), D::Error> {
        self.0.deserialize(reader)
    }
}
