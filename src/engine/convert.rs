//! Domain values to Cedar's and back, without JSON. Type names are parsed once per snapshot, not per query: Cedar runs its
//! whole parser over each.

use std::collections::HashMap;
use std::str::FromStr;
use std::sync::Arc;

use cedar_policy as cedar;
use cedar_policy::RestrictedExpression as Expression;

use super::cedar_core::{bare_type, constructor_call};
use crate::domain::{EntityUid, ExtensionFunction, Value};

/// The entity types that may be named.
#[derive(Debug, Default)]
pub struct Types {
    known: HashMap<Arc<str>, cedar::EntityTypeName>,
    /// Without a schema any well-formed name will do.
    is_open: bool,
}

/// A type name that the schema does not declare, or that is none.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("unknown entity type `{}`", crate::domain::entity::Shown(.0))]
pub struct UnknownType(pub Arc<str>);

impl Types {
    /// Any well-formed type.
    pub fn open() -> Self {
        Self { known: HashMap::new(), is_open: true }
    }

    /// The types that a schema declares, its actions' included.
    pub fn declared_by(schema: &cedar::Schema) -> Self {
        let actions = schema.actions().map(cedar::EntityUid::type_name);
        let all = schema.entity_types().chain(actions);
        Self { known: all.map(|name| (name.to_string().into(), bare_type(name))).collect(), is_open: false }
    }

    pub fn has(&self, type_name: &str) -> bool {
        self.is_open || self.known.contains_key(type_name)
    }

    pub fn names(&self) -> impl Iterator<Item = &str> {
        self.known.keys().map(AsRef::as_ref)
    }

    pub fn uid(&self, uid: &EntityUid) -> Result<cedar::EntityUid, UnknownType> {
        let type_name = self.type_name(&uid.type_name)?;
        Ok(cedar::EntityUid::from_type_name_and_id(type_name, cedar::EntityId::new(&*uid.id)))
    }

    fn type_name(&self, name: &Arc<str>) -> Result<cedar::EntityTypeName, UnknownType> {
        let known = self.known.get(name).cloned();
        let parsed = || self.is_open.then(|| cedar::EntityTypeName::from_str(name).ok()).flatten();
        known.or_else(parsed).ok_or_else(|| UnknownType(name.clone()))
    }

    pub fn expression(&self, value: &Value) -> Result<Expression, UnknownType> {
        Ok(match value {
            Value::Bool(value) => Expression::new_bool(*value),
            Value::Long(value) => Expression::new_long(*value),
            Value::String(value) => Expression::new_string(value.to_string()),
            Value::Entity(uid) => Expression::new_entity_uid(self.uid(uid)?),
            Value::Set(elements) => {
                let elements = elements.iter().map(|element| self.expression(element));
                Expression::new_set(elements.collect::<Result<Vec<_>, _>>()?)
            }
            Value::Record(fields) => {
                let fields = self.pairs(fields)?;
                // Cedar refuses duplicate names only, and a map has none.
                Expression::new_record(fields).map_err(|_| UnknownType("record".into()))?
            }
            Value::Extension { function, argument } => extension(*function, argument),
        })
    }

    pub fn pairs(&self, fields: &crate::domain::Attributes) -> Result<Vec<(String, Expression)>, UnknownType> {
        fields.iter().map(|(name, value)| Ok((name.to_string(), self.expression(value)?))).collect()
    }
}

/// A call of a constructor; Cedar judges the argument when it evaluates the call.
pub fn extension(function: ExtensionFunction, argument: &str) -> Expression {
    constructor_call(function, argument).unwrap_or_else(|| match function {
        ExtensionFunction::Ip => Expression::new_ip(argument),
        ExtensionFunction::Decimal => Expression::new_decimal(argument),
        ExtensionFunction::Datetime => Expression::new_datetime(argument),
        ExtensionFunction::Duration => Expression::new_duration(argument),
    })
}

/// A Cedar uid as ours.
pub fn domain_uid(uid: &cedar::EntityUid) -> EntityUid {
    EntityUid::new(&uid.type_name().to_string(), uid.id().unescaped())
}

/// Calls `found` for every entity that a value names.
pub fn each_entity<'v>(value: &'v Value, found: &mut impl FnMut(&'v EntityUid)) {
    match value {
        Value::Entity(uid) => found(uid),
        Value::Set(elements) => elements.iter().for_each(|element| each_entity(element, found)),
        Value::Record(fields) => fields.values().for_each(|field| each_entity(field, found)),
        Value::Bool(_) | Value::Long(_) | Value::String(_) | Value::Extension { .. } => {}
    }
}

/// The same for a value of Cedar's.
pub fn each_entity_of(value: &cedar::EvalResult, found: &mut impl FnMut(EntityUid)) {
    match value {
        cedar::EvalResult::EntityUid(uid) => found(domain_uid(uid)),
        cedar::EvalResult::Set(set) => set.iter().for_each(|element| each_entity_of(element, found)),
        cedar::EvalResult::Record(record) => record.iter().for_each(|(_, field)| each_entity_of(field, found)),
        cedar::EvalResult::Bool(_)
        | cedar::EvalResult::Long(_)
        | cedar::EvalResult::String(_)
        | cedar::EvalResult::ExtensionValue(_) => {}
    }
}
