//! `countersign entities`: what the server knows of users, groups and resources, beside what files say.
//!
//! `put` takes Cedar's JSON of entities, as `entities.json` has it, and sends typed values.

use std::collections::BTreeMap;
use std::io::Read;
use std::path::{Path, PathBuf};

use clap::Subcommand;
use serde_json::{Map, Value};

use super::failure::Failure;
use super::parse;
use super::remote::Remote;
use super::screen::{Format, Screen, table};
use super::words::{uid, uids, value};
use crate::wire::json::to_json;
use crate::wire::pb;
use crate::wire::pb::value::{Extension, Kind, Record, Set};

/// Entities in one call.
const PUT_MAX: usize = 1_000;
const PAGE: u32 = 200;

#[derive(Debug, Subcommand)]
pub enum Entities {
    /// Make entities known, or replace what is known of them
    Put {
        /// A file of Cedar's JSON entities; `-` reads standard input
        file: PathBuf,
    },
    /// Forget entities that were put
    Delete {
        /// Such as `User::"alice"`
        #[arg(required = true, value_parser = parse::uid, value_name = "ENTITY")]
        uids: Vec<pb::EntityUid>,
    },
    /// Show the entities that were put
    List {
        /// Only of this type
        #[arg(long = "type", value_name = "TYPE")]
        kind: Option<String>,
    },
}

impl Entities {
    pub async fn run(self, remote: &Remote, screen: &mut Screen) -> Result<(), Failure> {
        match self {
            Self::Put { file } => put(&file, remote, screen).await,
            Self::Delete { uids } => {
                let answer = remote.connect().await?.delete_entities(pb::DeleteEntitiesRequest { uids }).await?;
                screen.message(&answer, |answer, _| {
                    format!("{} forgotten, revision {}", answer.deleted, answer.policy_revision)
                })
            }
            Self::List { kind } => list(kind.unwrap_or_default(), remote, screen).await,
        }
    }
}

async fn put(file: &Path, remote: &Remote, screen: &mut Screen) -> Result<(), Failure> {
    let entities = entities(&read(file)?).map_err(|wrong| Failure::Usage(format!("{}: {wrong}", file.display())))?;
    let client = remote.connect().await?;
    for some in entities.chunks(PUT_MAX) {
        let answer = client.put_entities(pb::PutEntitiesRequest { entities: some.to_vec() }).await?;
        screen.message(&answer, |answer, _| {
            format!("{} of {} new or different, revision {}", answer.changed, some.len(), answer.policy_revision)
        })?;
    }
    Ok(())
}

async fn list(kind: String, remote: &Remote, screen: &mut Screen) -> Result<(), Failure> {
    let client = remote.connect().await?;
    let mut rows = table(&["entity", "in", "attributes"]);
    let mut after = None;
    loop {
        let request = pb::ListEntitiesRequest { r#type: kind.clone(), after, page_size: PAGE };
        let page = client.list_entities(request).await?;
        for entity in &page.entities {
            match screen.format {
                Format::Json => screen.json(&to_json(entity))?,
                Format::Table => {
                    rows.add_row([uid(entity.uid.as_ref()), uids(&entity.parents), attributes(entity)]);
                }
            }
        }
        after = page.next_after;
        if after.is_none() {
            return if screen.format == Format::Table { screen.table(&rows) } else { Ok(()) };
        }
    }
}

fn attributes(entity: &pb::Entity) -> String {
    let record = Record { fields: entity.attributes.clone() };
    value(&pb::Value { kind: Some(Kind::Record(record)) }).1
}

fn read(file: &Path) -> Result<String, Failure> {
    let unreadable = |error: std::io::Error| Failure::Usage(format!("cannot read `{}`: {error}", file.display()));
    let mut text = String::new();
    if file.as_os_str() == "-" {
        std::io::stdin().read_to_string(&mut text).map_err(unreadable)?;
        return Ok(text);
    }
    std::fs::read_to_string(file).map_err(unreadable)
}

/// Cedar's JSON of entities: a list of `{"uid": .., "attrs": {..}, "parents": [..], "tags": {..}}`.
fn entities(text: &str) -> Result<Vec<pb::Entity>, String> {
    let all: Value = serde_json::from_str(text).map_err(|error| error.to_string())?;
    let all = all.as_array().ok_or("expected a list of entities")?;
    let numbered = all.iter().enumerate();
    numbered.map(|(position, json)| entity(json).map_err(|wrong| format!("entity {position}: {wrong}"))).collect()
}

fn entity(json: &Value) -> Result<pb::Entity, String> {
    let fields = json.as_object().ok_or("expected an object")?;
    if let Some(unknown) = fields.keys().find(|name| !["uid", "attrs", "parents", "tags"].contains(&&***name)) {
        return Err(format!("unknown field `{unknown}`"));
    }
    let parents = fields
        .get("parents")
        .map_or(Ok(&[][..]), |parents| parents.as_array().map(Vec::as_slice).ok_or("parents: expected a list"))?;
    let part = |name: &str| {
        let fields =
            fields.get(name).map_or(Ok(None), |fields| fields.as_object().map(Some).ok_or("expected an object"));
        fields
            .map_err(String::from)
            .and_then(|fields| fields.map_or_else(|| Ok(BTreeMap::new()), record))
            .map_err(|wrong| format!("{name}: {wrong}"))
    };
    Ok(pb::Entity {
        uid: Some(entity_uid(fields.get("uid").ok_or("no `uid`")?)?),
        attributes: part("attrs")?,
        parents: parents.iter().map(entity_uid).collect::<Result<_, _>>()?,
        tags: part("tags")?,
    })
}

/// `{"type": .., "id": ..}`, also within `__entity`.
fn entity_uid(json: &Value) -> Result<pb::EntityUid, String> {
    let json = json.get("__entity").unwrap_or(json);
    let text = |name: &str| json.get(name).and_then(Value::as_str).map(str::to_owned);
    match (text("type"), text("id")) {
        (Some(r#type), Some(id)) => Ok(pb::EntityUid { r#type, id }),
        _ => Err("expected an entity such as {\"type\": \"User\", \"id\": \"alice\"}".into()),
    }
}

fn record(fields: &Map<String, Value>) -> Result<BTreeMap<String, pb::Value>, String> {
    let field = |(name, json): (&String, &Value)| {
        cedar_value(json).map(|value| (name.clone(), value)).map_err(|wrong| format!("{name}: {wrong}"))
    };
    fields.iter().map(field).collect()
}

fn cedar_value(json: &Value) -> Result<pb::Value, String> {
    let kind = match json {
        Value::Bool(truth) => Kind::Bool(*truth),
        Value::Number(number) => Kind::Long(number.as_i64().ok_or("expected a 64-bit integer")?),
        Value::String(text) => Kind::String(text.clone()),
        Value::Array(members) => Kind::Set(Set { values: members.iter().map(cedar_value).collect::<Result<_, _>>()? }),
        Value::Object(fields) if fields.contains_key("__entity") => Kind::Entity(entity_uid(json)?),
        Value::Object(fields) => match fields.get("__extn") {
            Some(call) => Kind::Extension(extension(call)?),
            None => Kind::Record(Record { fields: record(fields)? }),
        },
        Value::Null => return Err("null is no value".into()),
    };
    Ok(pb::Value { kind: Some(kind) })
}

fn extension(call: &Value) -> Result<Extension, String> {
    let text = |name: &str| call.get(name).and_then(Value::as_str).map(str::to_owned);
    match (text("fn"), text("arg")) {
        (Some(function), Some(argument)) => Ok(Extension { function, argument }),
        _ => Err("expected {\"fn\": .., \"arg\": ..}".into()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn cedars_json_becomes_typed_values_to_the_last_bit() {
        let text = r#"[{"uid": {"type": "User", "id": "a"}, "parents": [{"__entity": {"type": "Group", "id": "g"}}],
            "attrs": {"n": 9007199254740993, "who": {"__entity": {"type": "User", "id": "b"}}, "set": [true, "x"],
                      "from": {"__extn": {"fn": "ip", "arg": "10.0.0.1"}}, "in": {"deep": -1}}}]"#;
        let found = entities(text).unwrap();
        assert_eq!(uids(&found[0].parents), "Group::\"g\"");
        let expected = r#"{"from": ip("10.0.0.1"), "in": {"deep": -1}, "n": 9007199254740993, "set": [true, "x"], "who": User::"b"}"#;
        assert_eq!(attributes(&found[0]), expected);
    }

    #[test]
    fn what_is_no_entity_is_refused_with_its_place() {
        let with =
            |fields: &str| entities(&format!(r#"[{{"uid": {{"type": "U", "id": "a"}}, {fields}}}]"#)).unwrap_err();
        assert_eq!(with(r#""attrs": {"a": 1.5}"#), "entity 0: attrs: a: expected a 64-bit integer");
        assert_eq!(with(r#""attrs": {"a": {"b": null}}"#), "entity 0: attrs: a: b: null is no value");
        assert_eq!(with(r#""attributes": {}"#), "entity 0: unknown field `attributes`");
        assert!(with(r#""parents": ["g"]"#).starts_with("entity 0: expected an entity such as"));
        assert_eq!(with(r#""parents": {}"#), "entity 0: parents: expected a list");
        assert_eq!(entities("{}").unwrap_err(), "expected a list of entities");
    }
}
