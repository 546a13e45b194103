//! Fills every field that the proto has, whichever it is, and looks on which side of a sealed record it ends up.

use prost::Message;
use prost_types::field_descriptor_proto::{Label, Type};
use prost_types::{DescriptorProto, FieldDescriptorProto, FileDescriptorSet};

use super::{pb, secret};

/// What stays readable: ids and names, what policies say, and what the service itself writes. All else is sealed.
const SHOWN: [&str; 40] = [
    "Consumed.decision_id",
    "Decided.approval_id",
    "Decided.decision_id",
    "Decided.determining_policies",
    "Decided.follows_decision_id",
    "Decided.policy_digest",
    "Decided.reason",
    "Decided.repeats_decision_id",
    "Decided.request_id",
    "EntitiesChanged.request_id",
    "EntityUid.id",
    "EntityUid.type",
    "Gate.id",
    "Gate.notify",
    "Gate.text",
    "Moved.approval_id",
    "Moved.request_id",
    "Obligation.advice",
    "Obligation.mask",
    "Obligation.policy",
    "PoliciesReloaded.policy_digest",
    "PoliciesReloaded.previous_digest",
    "PoliciesReloaded.problems",
    "PoliciesReloaded.request_id",
    "Refused.approval_id",
    "Refused.method",
    "Refused.reason",
    "Refused.request_id",
    "Revealed.approval_id",
    "Revealed.request_id",
    "Review.gates",
    "Started.policy_digest",
    "Started.version",
    "Used.decision_id",
    "Opened.trace_parent",
    "Origin.epoch",
    "Sealed.key_id",
    "Sealed.data_key",
    "Sealed.shown",
    "Sealed.sealed",
];

/// How deep messages that hold themselves are filled.
const DEPTH_MAX: usize = 6;

struct Filler {
    messages: Vec<(String, DescriptorProto)>,
    /// Which of several alternatives is taken.
    turn: usize,
    /// What was planted, and in which field.
    planted: Vec<(String, String)>,
}

impl Filler {
    fn new(turn: usize) -> Self {
        let set = FileDescriptorSet::decode(super::DESCRIPTORS).unwrap();
        let mut messages = Vec::new();
        let of_ours = set.file.into_iter().filter(|file| file.package() == "countersign.v1");
        for message in of_ours.flat_map(|file| file.message_type) {
            flatten(".countersign.v1", message, &mut messages);
        }
        Self { messages, turn, planted: Vec::new() }
    }

    fn message_named(&self, name: &str) -> DescriptorProto {
        let found = self.messages.iter().find(|(known, _)| known == name);
        found.unwrap_or_else(|| panic!("no message `{name}`")).1.clone()
    }

    fn message(&mut self, name: &str, depth: usize) -> Vec<u8> {
        let message = self.message_named(name);
        let mut bytes = Vec::new();
        for (index, field) in message.field.iter().enumerate() {
            let alternatives = |of: i32| message.field.iter().filter(|other| other.oneof_index == Some(of)).count();
            if let Some(of) = field.oneof_index {
                let before = message.field[..index].iter().filter(|other| other.oneof_index == Some(of)).count();
                if before != self.turn % alternatives(of) {
                    continue;
                }
            }
            let times = if field.label() == Label::Repeated { 2 } else { 1 };
            (0..times).for_each(|_| self.field(&message, field, depth, &mut bytes));
        }
        bytes
    }

    fn field(&mut self, message: &DescriptorProto, field: &FieldDescriptorProto, depth: usize, bytes: &mut Vec<u8>) {
        let tag = (field.number() as u64) << 3;
        match field.r#type() {
            Type::Message if depth == DEPTH_MAX => {}
            Type::Message => {
                let inner = self.message(field.type_name(), depth + 1);
                delimited(tag, &inner, bytes);
            }
            Type::String | Type::Bytes => {
                let text = format!("<planted-{}-{}>", self.turn, self.planted.len());
                self.planted.push((format!("{}.{}", message.name(), field.name()), text.clone()));
                delimited(tag, text.as_bytes(), bytes);
            }
            Type::Fixed64 | Type::Sfixed64 | Type::Double | Type::Fixed32 | Type::Sfixed32 | Type::Float => {
                panic!("`{}` is of a type that records do not have", field.name())
            }
            _ => {
                varint(tag, bytes);
                varint(1, bytes);
            }
        }
    }
}

/// Messages with their full names, those within others as well.
fn flatten(within: &str, message: DescriptorProto, messages: &mut Vec<(String, DescriptorProto)>) {
    let name = format!("{within}.{}", message.name());
    message.nested_type.iter().for_each(|inner| flatten(&name, inner.clone(), messages));
    messages.push((name, message));
}

fn delimited(tag: u64, inner: &[u8], bytes: &mut Vec<u8>) {
    varint(tag | 2, bytes);
    varint(inner.len() as u64, bytes);
    bytes.extend(inner);
}

fn varint(mut number: u64, bytes: &mut Vec<u8>) {
    while number >= 128 {
        bytes.push(number as u8 | 128);
        number >>= 7;
    }
    bytes.push(number as u8);
}

#[test]
fn every_field_of_a_record_is_sealed_unless_it_is_listed_as_shown() {
    let facts = Filler::new(0).message_named(".countersign.v1.Record").field;
    let facts: Vec<_> = facts.into_iter().filter(|field| field.oneof_index.is_some()).collect();
    for variant in &facts {
        for turn in 0..16 {
            let mut filler = Filler::new(turn);
            let inner = filler.message(variant.type_name(), 0);
            let mut bytes = Vec::new();
            delimited((variant.number() as u64) << 3, &inner, &mut bytes);
            let whole = pb::Record::decode(&*bytes).unwrap();
            let mut shown = whole.fact.clone().unwrap();
            let taken = secret::take_from(&mut shown);
            let encoded = |fact| pb::Record { fact: Some(fact), ..pb::Record::default() }.encode_to_vec();
            let shown = encoded(shown);
            for (field, text) in &filler.planted {
                assert!(
                    SHOWN.contains(&&**field) || !holds(&shown, text),
                    "`{field}` of `{}` is neither sealed (`wire::secret`) nor listed as shown: {shown:?}",
                    variant.name(),
                    shown = pb::Record::decode(&*shown).unwrap()
                );
            }
            let joined = [shown, taken.map(encoded).unwrap_or_default()].concat();
            assert_eq!(pb::Record::decode(&*joined).unwrap(), whole, "`{}`: both parts are the whole", variant.name());
        }
    }
    assert!(facts.len() >= 8);
}

fn holds(bytes: &[u8], text: &str) -> bool {
    bytes.windows(text.len()).any(|window| window == text.as_bytes())
}
