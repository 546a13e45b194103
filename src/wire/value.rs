//! Values and entities.

use std::collections::BTreeMap;
use std::sync::Arc;

use super::{Malformed, pb};
use crate::domain::entity::Shown;
use crate::domain::value::VALUE_DEPTH_MAX;
use crate::domain::{Attributes, Entity, EntityUid, ExtensionFunction, Query, Value};

/// Members and fields in one message, over all its values: past it the message is refused before anything is built.
pub const VALUE_COUNT_MAX: usize = 10_000;

impl From<&EntityUid> for pb::EntityUid {
    fn from(uid: &EntityUid) -> Self {
        Self { r#type: uid.type_name.to_string(), id: uid.id.to_string() }
    }
}

impl From<&Entity> for pb::Entity {
    fn from(entity: &Entity) -> Self {
        Self {
            uid: Some((&entity.uid).into()),
            attributes: attributes(&entity.attributes),
            parents: entity.parents.iter().map(Into::into).collect(),
            tags: attributes(&entity.tags),
        }
    }
}

impl From<&Value> for pb::Value {
    fn from(value: &Value) -> Self {
        use pb::value::{Extension, Kind, Record, Set};
        let kind = match value {
            Value::Bool(truth) => Kind::Bool(*truth),
            Value::Long(number) => Kind::Long(*number),
            Value::String(text) => Kind::String(text.to_string()),
            Value::Entity(uid) => Kind::Entity(uid.into()),
            Value::Set(members) => Kind::Set(Set { values: members.iter().map(Into::into).collect() }),
            Value::Record(fields) => Kind::Record(Record { fields: attributes(fields) }),
            Value::Extension { function, argument } => {
                Kind::Extension(Extension { function: function.name().into(), argument: argument.to_string() })
            }
        };
        Self { kind: Some(kind) }
    }
}

/// Fields towards the wire.
#[must_use]
pub fn attributes(fields: &Attributes) -> BTreeMap<String, pb::Value> {
    fields.iter().map(|(name, value)| (name.to_string(), value.into())).collect()
}

/// A uid that must be there.
pub fn required_uid(field: &str, uid: Option<pb::EntityUid>) -> Result<EntityUid, Malformed> {
    parse_uid(uid.ok_or_else(|| Malformed::new(field, "missing"))?).map_err(|malformed| malformed.within(field))
}

/// A uid that may be absent.
pub fn optional_uid(field: &str, uid: Option<pb::EntityUid>) -> Result<Option<EntityUid>, Malformed> {
    uid.map(|uid| required_uid(field, Some(uid))).transpose()
}

/// A uid; its type must be a qualified name, its id may be anything.
pub fn parse_uid(uid: pb::EntityUid) -> Result<EntityUid, Malformed> {
    let named = |part: &str| {
        let mut letters = part.bytes();
        letters.next().is_some_and(|first| first.is_ascii_alphabetic() || first == b'_')
            && letters.all(|letter| letter.is_ascii_alphanumeric() || letter == b'_')
    };
    if uid.r#type.is_empty() {
        return Err(Malformed::new("type", "missing"));
    }
    if !uid.r#type.split("::").all(named) {
        return Err(Malformed::new("type", "expected an entity type such as `User` or `Acme::User`"));
    }
    Ok(EntityUid { type_name: uid.r#type.into(), id: uid.id.into() })
}

/// Parses the values of one message, counting them and how deep they nest.
pub struct ValueParser {
    left: usize,
}

impl Default for ValueParser {
    fn default() -> Self {
        Self { left: VALUE_COUNT_MAX }
    }
}

impl ValueParser {
    /// The entities of a query.
    pub fn entities(&mut self, field: &str, entities: Vec<pb::Entity>) -> Result<Vec<Entity>, Malformed> {
        let numbered = entities.into_iter().enumerate();
        numbered
            .map(|(index, entity)| {
                self.entity(entity).map_err(|malformed| malformed.within(format_args!("{field}[{index}]")))
            })
            .collect()
    }

    /// One entity.
    pub fn entity(&mut self, entity: pb::Entity) -> Result<Entity, Malformed> {
        let parents = entity.parents.into_iter().enumerate();
        Ok(Entity {
            uid: required_uid("uid", entity.uid)?,
            attributes: self.attributes("attributes", entity.attributes)?,
            parents: parents
                .map(|(index, parent)| {
                    self.count(1)?;
                    parse_uid(parent).map_err(|malformed| malformed.within(format_args!("parents[{index}]")))
                })
                .collect::<Result<_, _>>()?,
            tags: self.attributes("tags", entity.tags)?,
        })
    }

    /// The fields of a record at the top of a message.
    pub fn attributes(&mut self, field: &str, fields: BTreeMap<String, pb::Value>) -> Result<Attributes, Malformed> {
        self.record(fields, 1).map_err(|malformed| malformed.within(field))
    }

    fn record(&mut self, fields: BTreeMap<String, pb::Value>, depth: usize) -> Result<Attributes, Malformed> {
        self.count(fields.len())?;
        fields
            .into_iter()
            .map(|(name, value)| match self.value(value, depth) {
                Ok(value) => Ok((name.into(), value)),
                Err(malformed) => Err(malformed.within(Shown(&name))),
            })
            .collect()
    }

    fn value(&mut self, value: pb::Value, depth: usize) -> Result<Value, Malformed> {
        use pb::value::Kind;
        if depth > VALUE_DEPTH_MAX {
            return Err(Malformed::new("", format!("nested deeper than {VALUE_DEPTH_MAX}")));
        }
        Ok(match value.kind.ok_or_else(|| Malformed::new("", "a value without a kind"))? {
            Kind::Bool(truth) => Value::Bool(truth),
            Kind::Long(number) => Value::Long(number),
            Kind::String(text) => Value::String(text.into()),
            Kind::Entity(uid) => Value::Entity(parse_uid(uid)?),
            Kind::Set(set) => Value::Set(self.members(set.values, depth)?),
            Kind::Record(record) => Value::Record(self.record(record.fields, depth + 1)?),
            Kind::Extension(extension) => Value::Extension {
                function: ExtensionFunction::named(&extension.function)
                    .ok_or_else(|| Malformed::new("function", "expected `ip`, `decimal`, `datetime` or `duration`"))?,
                argument: extension.argument.into(),
            },
        })
    }

    fn members(&mut self, values: Vec<pb::Value>, depth: usize) -> Result<Vec<Value>, Malformed> {
        self.count(values.len())?;
        let numbered = values.into_iter().enumerate();
        numbered
            .map(|(index, value)| {
                self.value(value, depth + 1).map_err(|malformed| malformed.within(format_args!("[{index}]")))
            })
            .collect()
    }

    fn count(&mut self, more: usize) -> Result<(), Malformed> {
        let too_many = || Malformed::new("", format!("more than {VALUE_COUNT_MAX} values in one query"));
        self.left = self.left.checked_sub(more).ok_or_else(too_many)?;
        Ok(())
    }
}

/// Entities on record; they were counted when they came.
pub(super) fn recorded_entities(field: &str, entities: Vec<pb::Entity>) -> Result<Vec<Entity>, Malformed> {
    ValueParser { left: usize::MAX }.entities(field, entities)
}

/// The parts of a recorded query, as they lie in [`pb::Decided`].
pub(super) fn recorded_query(decided: &mut pb::Decided) -> Result<Arc<Query>, Malformed> {
    let mut values = ValueParser { left: usize::MAX };
    Ok(Arc::new(Query {
        principal: required_uid("principal", decided.principal.take())?,
        on_behalf_of: optional_uid("on_behalf_of", decided.on_behalf_of.take())?,
        action: required_uid("action", decided.action.take())?,
        resource: required_uid("resource", decided.resource.take())?,
        context: values.attributes("context", std::mem::take(&mut decided.context))?,
        environment: values.attributes("environment", std::mem::take(&mut decided.environment))?,
        entities: values.entities("entities", std::mem::take(&mut decided.entities))?,
    }))
}
