//! Messages as JSON for people and scripts: the proto3 JSON mapping, driven by the compiled descriptors, so that a field
//! added to the protos is in the output the same day.
//!
//! Names are lowerCamelCase, 64-bit integers are texts, enumerations their names, absent and default fields are left out.
//! One deviation: `bytes` are hexadecimal, as digests are written everywhere else in Countersign.

use std::collections::HashMap;
use std::sync::LazyLock;

use prost::Message;
use prost_types::field_descriptor_proto::{Label, Type};
use prost_types::{DescriptorProto, EnumDescriptorProto, FieldDescriptorProto, FileDescriptorSet};
use serde_json::{Map, Value, json};

/// A message of this API by its name in the protos.
pub trait Named: Message {
    /// Such as `.countersign.v1.Approval`.
    const NAME: &'static str;
}

macro_rules! named {
    ($($message:ident),+) => {
        $( impl Named for super::pb::$message {
            const NAME: &'static str = concat!(".countersign.v1.", stringify!($message));
        } )+
    };
}

named!(
    Absence,
    Approval,
    AuthorizeResponse,
    AuditResponse,
    DeleteEntitiesResponse,
    EndAbsenceResponse,
    EndSessionsResponse,
    Entity,
    Event,
    Identity,
    ListAbsencesResponse,
    ListApprovalsResponse,
    PutEntitiesResponse,
    Record,
    ReloadPoliciesResponse,
    Value
);

/// The message as JSON. Null if it does not fit the descriptors, which the tests rule out.
#[must_use]
pub fn to_json<M: Named>(message: &M) -> Value {
    object(M::NAME, &message.encode_to_vec()).unwrap_or(Value::Null)
}

#[derive(Default)]
struct Types {
    messages: HashMap<String, DescriptorProto>,
    enums: HashMap<String, EnumDescriptorProto>,
}

static TYPES: LazyLock<Types> = LazyLock::new(|| {
    let mut types = Types::default();
    let set = FileDescriptorSet::decode(super::DESCRIPTORS).unwrap_or_default();
    for file in set.file {
        let package = format!(".{}", file.package());
        types.enums.extend(file.enum_type.iter().map(|it| (format!("{package}.{}", it.name()), it.clone())));
        for message in file.message_type {
            types.message(&package, message);
        }
    }
    types
});

impl Types {
    fn message(&mut self, within: &str, message: DescriptorProto) {
        let name = format!("{within}.{}", message.name());
        self.enums.extend(message.enum_type.iter().map(|it| (format!("{name}.{}", it.name()), it.clone())));
        for nested in &message.nested_type {
            self.message(&name, nested.clone());
        }
        self.messages.insert(name, message);
    }
}

/// A field's content as it lies in the bytes.
enum Wire<'a> {
    Number(u64),
    Bytes(&'a [u8]),
}

fn object(name: &str, mut bytes: &[u8]) -> Option<Value> {
    let descriptor = TYPES.messages.get(name)?;
    let mut fields = Map::new();
    while !bytes.is_empty() {
        let (number, wire) = next(&mut bytes)?;
        let Some(field) = descriptor.field.iter().find(|field| field.number() == number) else { continue };
        add(&mut fields, field, &wire)?;
    }
    match name {
        ".google.protobuf.Timestamp" => Some(moment(&fields)),
        ".google.protobuf.Duration" => Some(span(&fields)),
        _ => Some(Value::Object(fields)),
    }
}

fn add(fields: &mut Map<String, Value>, field: &FieldDescriptorProto, wire: &Wire<'_>) -> Option<()> {
    let name = field.json_name.clone().unwrap_or_else(|| camel(field.name()));
    if let Some(entry) = map_entry(field) {
        let Wire::Bytes(bytes) = wire else { return None };
        let pair = object(entry, bytes)?;
        let key = pair.get("key").and_then(Value::as_str).unwrap_or_default().to_owned();
        let map = fields.entry(name).or_insert_with(|| json!({})).as_object_mut()?;
        map.insert(key, pair.get("value").cloned().unwrap_or(Value::Null));
    } else if field.label() == Label::Repeated {
        let list = fields.entry(name).or_insert_with(|| json!([])).as_array_mut()?;
        match wire {
            Wire::Bytes(packed) if is_number(field) => {
                let mut packed = *packed;
                while !packed.is_empty() {
                    list.push(single(field, &Wire::Number(varint(&mut packed)?))?);
                }
            }
            Wire::Bytes(_) | Wire::Number(_) => list.push(single(field, wire)?),
        }
    } else {
        fields.insert(name, single(field, wire)?);
    }
    Some(())
}

fn single(field: &FieldDescriptorProto, wire: &Wire<'_>) -> Option<Value> {
    Some(match (field.r#type(), wire) {
        (Type::Message, Wire::Bytes(bytes)) => object(field.type_name(), bytes)?,
        (Type::String, Wire::Bytes(bytes)) => String::from_utf8_lossy(bytes).into(),
        (Type::Bytes, Wire::Bytes(bytes)) => hexadecimal(bytes).into(),
        (Type::Bool, Wire::Number(number)) => (*number != 0).into(),
        (Type::Enum, Wire::Number(number)) => enumeration(field.type_name(), *number),
        (Type::Int64, Wire::Number(number)) => number.cast_signed().to_string().into(),
        (Type::Uint64, Wire::Number(number)) => number.to_string().into(),
        (Type::Int32, Wire::Number(number)) => number.cast_signed().into(),
        (Type::Uint32, Wire::Number(number)) => (*number).into(),
        // No other type is in the protos; the test over all of them says so when one comes.
        _ => return None,
    })
}

fn is_number(field: &FieldDescriptorProto) -> bool {
    matches!(field.r#type(), Type::Bool | Type::Enum | Type::Int64 | Type::Uint64 | Type::Int32 | Type::Uint32)
}

fn map_entry(field: &FieldDescriptorProto) -> Option<&str> {
    let entry = TYPES.messages.get(field.type_name())?;
    entry.options.as_ref().is_some_and(|options| options.map_entry()).then(|| field.type_name())
}

fn enumeration(name: &str, number: u64) -> Value {
    let values = TYPES.enums.get(name).into_iter().flat_map(|it| &it.value);
    let named = values.into_iter().find(|value| i64::from(value.number()) == number.cast_signed());
    named.map_or_else(|| number.into(), |value| value.name().into())
}

fn moment(fields: &Map<String, Value>) -> Value {
    let (seconds, nanos) = parts(fields);
    let moment = jiff::Timestamp::new(seconds, nanos);
    moment.map_or_else(|_| Value::from(format!("{seconds}s after 1970")), |moment| moment.to_string().into())
}

fn span(fields: &Map<String, Value>) -> Value {
    let (seconds, nanos) = parts(fields);
    let fraction = format!("{:09}", nanos.unsigned_abs());
    match fraction.trim_end_matches('0') {
        "" => format!("{seconds}s").into(),
        fraction => format!("{seconds}.{fraction}s").into(),
    }
}

fn parts(fields: &Map<String, Value>) -> (i64, i32) {
    let seconds = fields.get("seconds").and_then(Value::as_str).and_then(|text| text.parse().ok());
    let nanos = fields.get("nanos").and_then(Value::as_i64).and_then(|nanos| i32::try_from(nanos).ok());
    (seconds.unwrap_or(0), nanos.unwrap_or(0))
}

fn hexadecimal(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

fn camel(name: &str) -> String {
    let mut words = name.split('_');
    let first = words.next().unwrap_or_default().to_owned();
    words.fold(first, |mut camel, word| {
        let mut letters = word.chars();
        camel.extend(letters.next().map(|letter| letter.to_ascii_uppercase()));
        camel + letters.as_str()
    })
}

/// The next field's number and content.
fn next<'a>(bytes: &mut &'a [u8]) -> Option<(i32, Wire<'a>)> {
    let tag = varint(bytes)?;
    let wire = match tag & 7 {
        0 => Wire::Number(varint(bytes)?),
        1 => Wire::Bytes(take(bytes, 8)?),
        2 => {
            let length = usize::try_from(varint(bytes)?).ok()?;
            Wire::Bytes(take(bytes, length)?)
        }
        5 => Wire::Bytes(take(bytes, 4)?),
        _ => return None,
    };
    Some((i32::try_from(tag >> 3).ok()?, wire))
}

fn take<'a>(bytes: &mut &'a [u8], length: usize) -> Option<&'a [u8]> {
    let (taken, rest) = bytes.split_at_checked(length)?;
    *bytes = rest;
    Some(taken)
}

fn varint(bytes: &mut &[u8]) -> Option<u64> {
    let mut number = 0;
    for shift in (0..64).step_by(7) {
        let (byte, rest) = bytes.split_first()?;
        *bytes = rest;
        number |= u64::from(byte & 0x7f) << shift;
        if byte & 0x80 == 0 {
            return Some(number);
        }
    }
    None
}

#[cfg(test)]
mod tests {
    use super::super::pb;
    use super::*;

    #[test]
    fn every_field_type_in_the_protos_is_known() {
        for message in TYPES.messages.values().flat_map(|message| &message.field) {
            let known = is_number(message) || matches!(message.r#type(), Type::Message | Type::String | Type::Bytes);
            assert!(known, "{message:?}");
        }
        assert!(TYPES.messages.contains_key(".countersign.v1.Transition.Approved"));
    }

    #[test]
    fn values_keep_their_type_and_64_bit_integers_are_texts() {
        use pb::value::{Kind, Record, Set};
        let value = |kind| pb::Value { kind: Some(kind) };
        let fields = [
            ("long".to_owned(), value(Kind::Long(9_007_199_254_740_993))),
            ("negative".to_owned(), value(Kind::Long(-1))),
            ("no".to_owned(), value(Kind::Bool(false))),
            ("set".to_owned(), value(Kind::Set(Set { values: vec![value(Kind::String("é\u{0}".into()))] }))),
        ];
        let record = value(Kind::Record(Record { fields: fields.into() }));
        assert_eq!(
            to_json(&record),
            json!({"record": {"fields": {
                "long": {"long": "9007199254740993"}, "negative": {"long": "-1"}, "no": {"bool": false},
                "set": {"set": {"values": [{"string": "é\u{0}"}]}},
            }}})
        );
    }

    #[test]
    fn an_approval_has_names_moments_and_spans() {
        let approval = pb::Approval {
            id: "apr_1".into(),
            state: pb::ApprovalState::Approved.into(),
            opened_at: Some(prost_types::Timestamp { seconds: 1_700_000_000, nanos: 5_000_000 }),
            grant_for: Some(prost_types::Duration { seconds: 28_800, nanos: 500_000_000 }),
            consumed_by_decision_id: "dec_1".into(),
            version: 3,
            gates: vec![pb::GateStatus { gate: None, approvals: 2 }],
            ..pb::Approval::default()
        };
        assert_eq!(
            to_json(&approval),
            json!({
                "id": "apr_1", "state": "APPROVAL_STATE_APPROVED", "openedAt": "2023-11-14T22:13:20.005Z",
                "grantFor": "28800.5s", "consumedByDecisionId": "dec_1", "version": "3", "gates": [{"approvals": 2}],
            })
        );
    }

    #[test]
    fn bytes_are_hexadecimal_and_enumerations_in_lists_are_named() {
        let record = pb::Record {
            sequence: 7,
            at_micros: -1,
            fact: Some(pb::record::Fact::Started(pb::Started { version: String::new(), policy_digest: vec![0, 255] })),
            origin: None,
        };
        assert_eq!(to_json(&record), json!({"sequence": "7", "atMicros": "-1", "started": {"policyDigest": "00ff"}}));
    }
}
