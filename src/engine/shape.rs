//! What the schema says a record looks like: to know which of the server's facts an action wants, and to say *which* field
//! of a query is wrong. Cedar's own validation decides; this only explains.

use std::collections::BTreeMap;
use std::sync::Arc;

use serde_json::Value as Json;

use crate::domain::entity::Shown;
use crate::domain::{Attributes, EntityUid, ExtensionFunction, Value};

/// The type of a value.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Shape {
    Bool,
    Long,
    String,
    Entity(Arc<str>),
    Set(Box<Shape>),
    Record(Fields),
    Extension(ExtensionFunction),
    /// One that we do not know how to describe: never found at fault.
    Any,
}

/// A record's fields.
pub type Fields = BTreeMap<Arc<str>, Field>;

#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Field {
    pub shape: Shape,
    pub is_required: bool,
}

/// The records of a schema.
#[derive(Debug, Default)]
pub struct Shapes {
    pub entities: BTreeMap<Arc<str>, EntityShape>,
    /// The contexts.
    pub actions: BTreeMap<EntityUid, Fields>,
}

#[derive(Debug, Default)]
pub struct EntityShape {
    pub attributes: Fields,
    pub tags: Option<Shape>,
}

/// Where a value departs from its shape.
#[derive(Debug, PartialEq, Eq)]
pub struct Mismatch {
    /// The field, dotted, below the record it was found in.
    pub path: String,
    pub message: String,
}

impl Shapes {
    /// From Cedar's JSON schema with resolved type names. What is not understood is left out.
    pub fn from_json(schema: &Json) -> Self {
        let mut shapes = Self::default();
        for (namespace, declared) in object(schema) {
            for (name, entity) in object(&declared["entityTypes"]) {
                let type_name = qualified(namespace, name);
                let attributes = fields(schema, &entity["shape"], RESOLVE_DEPTH_MAX);
                let tags = entity.get("tags").map(|tags| shape(schema, tags, RESOLVE_DEPTH_MAX));
                shapes.entities.insert(type_name.into(), EntityShape { attributes, tags });
            }
            for (id, action) in object(&declared["actions"]) {
                let uid = EntityUid::new(&qualified(namespace, "Action"), id);
                let context = action.pointer("/appliesTo/context").unwrap_or(&Json::Null);
                shapes.actions.insert(uid, fields(schema, context, RESOLVE_DEPTH_MAX));
            }
        }
        shapes
    }
}

/// How many common types deep we follow; the rest is `Any`.
const RESOLVE_DEPTH_MAX: usize = 64;

fn object(json: &Json) -> impl Iterator<Item = (&String, &Json)> {
    json.as_object().into_iter().flatten()
}

fn qualified(namespace: &str, name: &str) -> String {
    if namespace.is_empty() { name.to_owned() } else { format!("{namespace}::{name}") }
}

fn fields(schema: &Json, json: &Json, depth: usize) -> Fields {
    match shape(schema, json, depth) {
        Shape::Record(fields) => fields,
        _ => Fields::new(),
    }
}

fn shape(schema: &Json, json: &Json, depth: usize) -> Shape {
    let Some(depth) = depth.checked_sub(1) else { return Shape::Any };
    let name = json["type"].as_str().unwrap_or_default();
    match name.strip_prefix("__cedar::").unwrap_or(name) {
        "Boolean" | "Bool" => Shape::Bool,
        "Long" => Shape::Long,
        "String" => Shape::String,
        "Entity" => Shape::Entity(json["name"].as_str().unwrap_or_default().into()),
        "Set" => Shape::Set(Box::new(shape(schema, &json["element"], depth))),
        "Record" => Shape::Record(
            object(&json["attributes"])
                .map(|(name, field)| {
                    (
                        name.as_str().into(),
                        Field {
                            shape: shape(schema, field, depth),
                            is_required: field["required"].as_bool().unwrap_or(true),
                        },
                    )
                })
                .collect(),
        ),
        "Extension" => extension(json["name"].as_str().unwrap_or_default()).unwrap_or(Shape::Any),
        other => common(schema, name, depth).or_else(|| extension(other)).unwrap_or(Shape::Any),
    }
}

fn extension(name: &str) -> Option<Shape> {
    let function = if name == "ipaddr" { "ip" } else { name };
    ExtensionFunction::named(function).map(Shape::Extension)
}

/// A common type by its qualified name.
fn common(schema: &Json, name: &str, depth: usize) -> Option<Shape> {
    let (namespace, basename) = name.rsplit_once("::").unwrap_or(("", name));
    let declared = schema.get(namespace)?.get("commonTypes")?.get(basename)?;
    Some(shape(schema, declared, depth))
}

/// The first field that departs from the declared ones.
pub fn mismatch(declared: &Fields, given: &Attributes) -> Option<Mismatch> {
    let wrong = given.iter().find_map(|(name, value)| match declared.get(name) {
        Some(field) => value_mismatch(&field.shape, value).map(|inner| inner.under(name)),
        None => Some(Mismatch::new("is not declared by the schema").under(name)),
    });
    let is_missing = |(name, field): &(&Arc<str>, &Field)| field.is_required && !given.contains_key(*name);
    let missing = || declared.iter().find(is_missing);
    wrong.or_else(|| missing().map(|(name, _)| Mismatch::new("is required by the schema").under(name)))
}

/// Where one value departs from its shape.
pub fn value_mismatch(shape: &Shape, value: &Value) -> Option<Mismatch> {
    match (shape, value) {
        (Shape::Any, _)
        | (Shape::Bool, Value::Bool(_))
        | (Shape::Long, Value::Long(_))
        | (Shape::String, Value::String(_)) => None,
        (Shape::Entity(wanted), Value::Entity(uid)) if *wanted == uid.type_name => None,
        (Shape::Extension(wanted), Value::Extension { function, .. }) if wanted == function => None,
        (Shape::Set(wanted), Value::Set(elements)) => {
            let wrong = elements.iter().enumerate();
            wrong.filter_map(|(at, element)| Some(value_mismatch(wanted, element)?.under(&at.to_string()))).next()
        }
        (Shape::Record(declared), Value::Record(given)) => mismatch(declared, given),
        _ => Some(Mismatch::new(format!("expected {}", describe(shape)))),
    }
}

impl Mismatch {
    fn new(message: impl Into<String>) -> Self {
        Self { path: String::new(), message: message.into() }
    }

    fn under(self, name: &str) -> Self {
        let separator = if self.path.is_empty() { "" } else { "." };
        Self { path: format!("{}{separator}{}", Shown(name), self.path), message: self.message }
    }
}

fn describe(shape: &Shape) -> String {
    match shape {
        Shape::Bool => "a bool".to_owned(),
        Shape::Long => "a long".to_owned(),
        Shape::String => "a string".to_owned(),
        Shape::Entity(name) => format!("an entity of type `{name}`"),
        Shape::Set(_) => "a set".to_owned(),
        Shape::Record(_) => "a record".to_owned(),
        Shape::Extension(function) => format!("a value made by `{}`", function.name()),
        Shape::Any => "another value".to_owned(),
    }
}
