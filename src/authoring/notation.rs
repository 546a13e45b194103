//! Entities and values as tests write them. `User::"alice"`, or `User::alice` where the id is plain; an action may leave out
//! `Action::` and a group `Group::`. Values are YAML's, typed as Cedar types them; what YAML has no type for is written as in
//! Cedar's JSON: `{ __entity: { type: User, id: alice } }`, `{ __extn: { fn: ip, arg: 10.0.0.1 } }`.

use std::collections::BTreeMap;

use serde_json::Value as Json;

use crate::domain::value::VALUE_DEPTH_MAX;
use crate::domain::{Attributes, Entity, EntityUid, ExtensionFunction, Value};

/// An entity whose type may be left out.
///
/// # Errors
/// What was expected.
pub fn uid(text: &str, default_type: Option<&str>) -> Result<EntityUid, String> {
    match default_type {
        Some(type_name) if !text.contains("::") => Ok(EntityUid::new(type_name, text)),
        Some(_) | None => {
            let uid = text.parse().ok().or_else(|| plain(text));
            uid.ok_or_else(|| format!("`{text}`: expected an entity such as `User::\"alice\"` or `User::alice`"))
        }
    }
}

/// `User::alice`.
fn plain(text: &str) -> Option<EntityUid> {
    let (type_name, id) = text.rsplit_once("::").filter(|(type_name, _)| !type_name.is_empty())?;
    (!text.contains('"')).then(|| EntityUid::new(type_name, id))
}

/// The fields of a record.
///
/// # Errors
/// Names the field.
pub fn attributes(fields: &BTreeMap<String, Json>) -> Result<Attributes, String> {
    let field = |(name, json): (&String, &Json)| match value(json, VALUE_DEPTH_MAX) {
        Ok(value) => Ok((name.as_str().into(), value)),
        Err(message) => Err(format!("`{name}`: {message}")),
    };
    fields.iter().map(field).collect()
}

/// Entities in the form of entities.json.
///
/// # Errors
/// Names the entity, by its position.
pub fn entities(entities: &[Json]) -> Result<Vec<Entity>, String> {
    let numbered = entities.iter().enumerate();
    numbered.map(|(at, json)| entity(json).map_err(|message| format!("entities[{at}]: {message}"))).collect()
}

fn entity(json: &Json) -> Result<Entity, String> {
    let members = json.as_object().ok_or("expected `uid`, `attrs`, `parents` and `tags`")?;
    if let Some(unknown) = members.keys().find(|name| !["uid", "attrs", "parents", "tags"].contains(&name.as_str())) {
        return Err(format!("`{unknown}`: expected `uid`, `attrs`, `parents` or `tags`"));
    }
    let record = |name: &str| match members.get(name).map(|fields| value(fields, VALUE_DEPTH_MAX)) {
        None => Ok(Attributes::new()),
        Some(Ok(Value::Record(fields))) => Ok(fields),
        Some(Ok(_)) => Err(format!("`{name}`: expected fields by name")),
        Some(Err(message)) => Err(format!("`{name}`: {message}")),
    };
    let parents = match members.get("parents") {
        None => Vec::new(),
        Some(Json::Array(parents)) => parents.iter().map(named).collect::<Result<_, _>>()?,
        Some(_) => return Err("`parents`: expected a list".to_owned()),
    };
    let uid = named(members.get("uid").ok_or("expected `uid`")?)?;
    Ok(Entity { uid, attributes: record("attrs")?, parents, tags: record("tags")? })
}

/// An entity's name: text, or Cedar's `{ type, id }`.
fn named(json: &Json) -> Result<EntityUid, String> {
    match json {
        Json::String(text) => uid(text, None),
        Json::Object(members) => reference(members).ok_or_else(|| "expected `type` and `id`".to_owned()),
        Json::Null | Json::Bool(_) | Json::Number(_) | Json::Array(_) => Err("expected an entity's name".to_owned()),
    }
}

fn reference(members: &serde_json::Map<String, Json>) -> Option<EntityUid> {
    let text = |name: &str| members.get(name).and_then(Json::as_str);
    (members.len() == 2).then_some(())?;
    Some(EntityUid::new(text("type")?, text("id")?))
}

fn value(json: &Json, depth: usize) -> Result<Value, String> {
    let depth = depth.checked_sub(1).ok_or("nests too deep")?;
    match json {
        Json::Null => Err("expected a value; Cedar has no null".to_owned()),
        Json::Bool(truth) => Ok(Value::Bool(*truth)),
        Json::Number(number) => {
            number.as_i64().map(Value::Long).ok_or_else(|| format!("`{number}`: expected a whole number of 64 bits"))
        }
        Json::String(text) => Ok(Value::string(text)),
        Json::Array(members) => {
            members.iter().map(|member| value(member, depth)).collect::<Result<_, _>>().map(Value::Set)
        }
        Json::Object(members) => match (members.get("__entity"), members.get("__extn")) {
            (Some(entity), None) if members.len() == 1 => named(entity).map(Value::Entity),
            (None, Some(call)) if members.len() == 1 => extension(call),
            (None, None) => {
                let field = |(name, member): (&String, &Json)| Ok((name.as_str().into(), value(member, depth)?));
                members.iter().map(field).collect::<Result<_, String>>().map(Value::Record)
            }
            (Some(_), _) | (_, Some(_)) => Err("expected nothing beside `__entity` or `__extn`".to_owned()),
        },
    }
}

fn extension(call: &Json) -> Result<Value, String> {
    let text = |name: &str| call.get(name).and_then(Json::as_str);
    let function = text("fn").and_then(ExtensionFunction::named);
    match (function, text("arg")) {
        (Some(function), Some(argument)) => Ok(Value::Extension { function, argument: argument.into() }),
        (None, _) => Err("`fn`: expected `ip`, `decimal`, `datetime` or `duration`".to_owned()),
        (Some(_), None) => Err("`arg`: expected a text".to_owned()),
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn of(json: Json) -> Result<Value, String> {
        value(&json, VALUE_DEPTH_MAX)
    }

    #[test]
    fn values_are_typed_as_cedar_types_them() {
        assert_eq!(of(json!(9_007_199_254_740_993_i64)), Ok(Value::Long(9_007_199_254_740_993)));
        assert_eq!(of(json!([true, "a"])), Ok(Value::Set(vec![Value::Bool(true), Value::string("a")])));
        let entity = Value::Entity(EntityUid::new("User", "alice"));
        assert_eq!(of(json!({"__entity": {"type": "User", "id": "alice"}})), Ok(entity.clone()));
        assert_eq!(of(json!({"__entity": "User::alice"})), Ok(entity));
        let ip = Value::Extension { function: ExtensionFunction::Ip, argument: "10.0.0.1".into() };
        assert_eq!(of(json!({"__extn": {"fn": "ip", "arg": "10.0.0.1"}})), Ok(ip));
    }

    #[test]
    fn what_cedar_has_no_type_for_is_refused() {
        for wrong in [
            json!(null),
            json!(1.5),
            json!(18_446_744_073_709_551_615_u64),
            json!({"__extn": {"fn": "unknown", "arg": "x"}}),
            json!({"__entity": {"type": "User"}}),
            json!({"__entity": {"type": "User", "id": "a"}, "more": 1}),
        ] {
            assert!(of(wrong.clone()).is_err(), "{wrong}");
        }
        let deep = (0..VALUE_DEPTH_MAX).fold(json!(1), |inner, _| json!([inner]));
        assert_eq!(of(deep), Err("nests too deep".to_owned()));
    }

    #[test]
    fn a_type_that_goes_without_saying_may_be_left_out() {
        assert_eq!(uid("export", Some("Action")), Ok(EntityUid::new("Action", "export")));
        assert_eq!(uid("My::Action::export", Some("Action")), Ok(EntityUid::new("My::Action", "export")));
        assert!(uid("alice", None).is_err());
    }
}
