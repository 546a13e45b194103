//! The schema, and what it says each action wants to know from the server.

use std::collections::HashMap;
use std::sync::Arc;

use cedar_policy as cedar;
use miette::Diagnostic;

use super::cedar_core::{Closed, bare_uid};
use super::convert::{Types, domain_uid};
use super::problem::{Problem, line_at, with_causes};
use super::scan;
use super::schema_size::Fragments;
use super::settings::Limits;
use super::shape::{Field, Fields, Shape, Shapes};
use super::source::SourceFile;
use crate::domain::{EntityUid, ExtensionFunction};

/// A schema, ready for queries.
#[derive(Debug)]
pub struct LoadedSchema {
    pub cedar: cedar::Schema,
    pub types: Types,
    pub shapes: Shapes,
    pub actions: HashMap<EntityUid, Action>,
}

/// One action that the schema declares.
#[derive(Debug)]
pub struct Action {
    pub uid: cedar::EntityUid,
    /// With its action groups; absent where it has none.
    pub entity: Option<Closed>,
    /// Whether its context has `environment`.
    pub wants_environment: bool,
    pub server: ServerFields,
}

/// Which of the server's facts an action's context declares under `server`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct ServerFields {
    /// Whether there is a `server` record at all.
    pub is_declared: bool,
    /// `now: datetime`.
    pub now: bool,
    pub caller: Form,
    pub on_behalf_of: Form,
}

/// How a principal is given: Cedar has no type for "any principal", so a schema chooses.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Form {
    #[default]
    Absent,
    /// As `String`: the text `User::"alice"`. For any type of principal.
    Text,
    /// As an entity of one declared type: a query with another type is refused.
    Entity,
}

impl ServerFields {
    /// All there is, for policies without a schema.
    pub const ALL: Self = Self { is_declared: true, now: true, caller: Form::Entity, on_behalf_of: Form::Entity };

    fn from_context(context: &Fields) -> Result<Self, String> {
        let Some(server) = context.get("server") else { return Ok(Self::default()) };
        let Shape::Record(fields) = &server.shape else { return Err("expected `server` to be a record".to_owned()) };
        let mut wanted = Self { is_declared: true, ..Self::default() };
        for (name, field) in fields {
            match (&**name, &field.shape) {
                ("now", Shape::Extension(ExtensionFunction::Datetime)) => wanted.now = true,
                ("caller", shape) => wanted.caller = Form::of(shape)?,
                ("on_behalf_of", Shape::String | Shape::Entity(_)) if field.is_required => {
                    return Err("expected `server.on_behalf_of` to be optional (`on_behalf_of?`)".to_owned());
                }
                ("on_behalf_of", shape) => wanted.on_behalf_of = Form::of(shape)?,
                _ => return Err(format!("`server.{name}` is not a fact that the server has: {}", Self::EXPECTED)),
            }
        }
        Ok(wanted)
    }

    const EXPECTED: &str =
        "expected `now: datetime`, `caller: String` or an entity type, `on_behalf_of?: String` or an entity type";
}

impl Form {
    fn of(shape: &Shape) -> Result<Self, String> {
        match shape {
            Shape::String => Ok(Self::Text),
            Shape::Entity(_) => Ok(Self::Entity),
            Shape::Bool | Shape::Long | Shape::Set(_) | Shape::Record(_) | Shape::Extension(_) | Shape::Any => {
                Err(format!("`server`: {}", ServerFields::EXPECTED))
            }
        }
    }
}

impl LoadedSchema {
    /// Parses all schema files as one schema; `None` after adding what is wrong.
    pub fn parse(files: &[&SourceFile], limits: &Limits, problems: &mut Vec<Problem>) -> Option<Self> {
        let first = files.first()?;
        if files.iter().map(|file| file.text.len()).sum::<usize>() > limits.schema_bytes_max {
            let message = format!("the schema exceeds {} bytes", limits.schema_bytes_max);
            problems.push(Problem::in_file(&first.path, message));
            return None;
        }
        let fragments: Vec<_> = files.iter().filter_map(|file| fragment(file, limits, problems)).collect();
        if fragments.len() < files.len() {
            return None;
        }
        if let Err(message) = size(&fragments, limits) {
            problems.push(Problem::in_file(&first.path, message));
            return None;
        }
        let schema = cedar::Schema::from_schema_fragments(fragments);
        let schema = schema.map_err(|error| problems.push(diagnosed(files, &error, &with_causes(&error))));
        let text = files.iter().map(|file| &*file.text).collect::<Vec<_>>().join("\n");
        let resolved = cedar::schema_str_to_json_with_resolved_types(&text);
        let schema = schema.ok()?;
        let resolved = resolved.map_err(|error| problems.push(Problem::in_file(&first.path, with_causes(&error))));
        Self::describe(schema, Shapes::from_json(&resolved.ok()?.0), &first.path, problems)
    }

    fn describe(cedar: cedar::Schema, shapes: Shapes, file: &Arc<str>, problems: &mut Vec<Problem>) -> Option<Self> {
        let groups = cedar.action_entities().ok()?;
        let empty = Fields::new();
        let mut actions = HashMap::new();
        for uid in cedar.actions() {
            let name = domain_uid(uid);
            let context = shapes.actions.get(&name).unwrap_or(&empty);
            let wants_environment = matches!(context.get("environment"), Some(Field { .. }));
            let entity = groups.get(uid).filter(|entity| entity.as_ref().ancestors().next().is_some()).map(Closed::new);
            match ServerFields::from_context(context) {
                Ok(server) => {
                    actions.insert(name, Action { uid: bare_uid(uid), entity, wants_environment, server });
                }
                Err(message) => problems.push(Problem::in_file(file, format!("context of `{name}`: {message}"))),
            }
        }
        Some(Self { types: Types::declared_by(&cedar), cedar, shapes, actions })
    }
}

fn fragment(file: &SourceFile, limits: &Limits, problems: &mut Vec<Problem>) -> Option<cedar::SchemaFragment> {
    if let Err(refused) = scan::check_depth(&file.text, limits) {
        let problem = Problem::in_file(&file.path, refused.message).at_line(refused.line);
        problems.push(problem.marking(&file.text, refused.span));
        return None;
    }
    let parsed = cedar::SchemaFragment::from_cedarschema_str(&file.text);
    let parsed = parsed.map_err(|error| problems.push(diagnosed(&[file], &error, &with_causes(&error))));
    parsed.ok().map(|(fragment, _)| fragment)
}

/// Refuses what Cedar would need too long for, before it begins.
fn size(fragments: &[cedar::SchemaFragment], limits: &Limits) -> Result<(), String> {
    let json = fragments.iter().cloned().map(cedar::SchemaFragment::to_json_value);
    let json = json.collect::<Result<Vec<_>, _>>().map_err(|error| with_causes(&error))?;
    Fragments(&json).check(limits)
}

/// What Cedar found, at the place that it or its causes name: in the file whose text stands there.
fn diagnosed(files: &[&SourceFile], error: &dyn Diagnostic, message: &str) -> Problem {
    let mut all = std::iter::successors(Some(error), |error| error.diagnostic_source());
    let spans = all.find_map(|error| Some((error, error.labels()?.next()?)));
    let related = || {
        let found = error.related()?.next()?;
        Some((found, found.labels()?.next()?))
    };
    let placed = spans.or_else(related).and_then(|(error, label)| {
        let span = label.offset()..label.offset().checked_add(label.len())?;
        let is_there = |file: &&&SourceFile| match error.source_code() {
            Some(code) => code
                .read_span(label.inner(), 0, 0)
                .is_ok_and(|found| file.text.get(span.clone()).is_some_and(|text| text.as_bytes() == found.data())),
            None => files.len() == 1 && file.text.get(span.clone()).is_some(),
        };
        Some((*files.iter().find(is_there)?, span))
    });
    match (placed, files.first()) {
        (Some((file, span)), _) => {
            Problem::in_file(&file.path, message).at_line(line_at(&file.text, span.start)).marking(&file.text, span)
        }
        (None, Some(file)) => Problem::in_file(&file.path, message),
        (None, None) => Problem::in_file(&"schema".into(), message),
    }
}
