//! A query to Cedar's request, or the reason it is none, with the field named. Cedar validates against the schema; where it
//! refuses, we look for the field, because its own words may quote the caller's data.

use cedar_policy as cedar;
use cedar_policy::RestrictedExpression as Expression;

use super::convert::extension;
use super::facts::is_service_type;
use super::schema::{Action, Form, ServerFields};
use super::service_schema::unmasks;
use super::settings::OnError;
use super::shape;
use super::snapshot::PolicySnapshot;
use crate::domain::entity::Shown;
use crate::domain::{EntityUid, ExtensionFunction, Identity, Query, Timestamp};

/// Why a query cannot be asked: the caller's mistake, safe to tell.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{field}: {message}")]
pub struct QueryError {
    /// Such as `principal`, `context.rows` or `entities[3].attributes.owner`.
    pub field: String,
    pub message: String,
}

impl QueryError {
    pub(super) fn new(field: impl Into<String>, message: impl Into<String>) -> Self {
        Self { field: field.into(), message: message.into() }
    }
}

/// The fields of the context that are the server's to fill.
const RESERVED: [&str; 2] = ["server", "environment"];

impl PolicySnapshot {
    pub(super) fn question(
        &self,
        query: &Query,
        principal: &Identity,
        caller: &Identity,
        now: Timestamp,
    ) -> Result<cedar::Request, QueryError> {
        check_names(query, principal)?;
        let uid = |field: &str, uid: &EntityUid| {
            self.types().uid(uid).map_err(|unknown| QueryError::new(field, unknown.to_string()))
        };
        let actor = uid("principal", &query.principal)?;
        query.on_behalf_of.iter().try_for_each(|person| uid("on_behalf_of", person).map(drop))?;
        let action = self.declared(&query.action)?;
        let action_uid = action.map_or_else(|| uid("action", &query.action), |action| Ok(action.uid.clone()))?;
        let resource = uid("resource", &query.resource)?;
        let facts = ServerFacts { principal, caller, now, wanted: self.wanted(action) };
        let context = self.context(query, action, &facts)?;
        let schema = self.enforced_schema().map(|schema| &schema.cedar);
        cedar::Request::new(actor, action_uid, resource, context, schema).map_err(|error| self.refused(query, &error))
    }

    pub(super) fn wants_caller_entity(&self, action: &EntityUid) -> bool {
        let declared = self.schema.as_ref().and_then(|schema| schema.actions.get(action));
        self.wanted(declared).caller == Form::Entity
    }

    /// The action as the schema declares it; `None` without a schema.
    fn declared(&self, action: &EntityUid) -> Result<Option<&Action>, QueryError> {
        let Some(schema) = self.enforced_schema() else { return Ok(None) };
        let found = schema.actions.get(action);
        found.map(Some).ok_or_else(|| QueryError::new("action", format!("unknown action `{action}`")))
    }

    fn wanted(&self, action: Option<&Action>) -> ServerFields {
        match (self.on_error, action) {
            (OnError::Cedar, _) => ServerFields::default(),
            (OnError::FailClosed, Some(action)) => action.server,
            (OnError::FailClosed, None) => ServerFields::ALL,
        }
    }

    fn context(
        &self,
        query: &Query,
        action: Option<&Action>,
        facts: &ServerFacts<'_>,
    ) -> Result<cedar::Context, QueryError> {
        let mut pairs = Vec::with_capacity(query.context.len() + RESERVED.len());
        for (name, value) in &query.context {
            if RESERVED.contains(&&**name) {
                return Err(QueryError::new(format!("context.{name}"), "this field is the server's to fill"));
            }
            let unknown = |error: super::convert::UnknownType| field_error("context", name, error.to_string());
            pairs.push((name.to_string(), self.types().expression(value).map_err(unknown)?));
        }
        pairs.extend(self.environment(query, action)?.map(|record| ("environment".to_owned(), record)));
        pairs.extend(self.server(facts)?.map(|record| ("server".to_owned(), record)));
        cedar::Context::from_pairs(pairs).map_err(|_| self.malformed(query))
    }

    /// `context.environment`, where the action's context has it.
    fn environment(&self, query: &Query, action: Option<&Action>) -> Result<Option<Expression>, QueryError> {
        let is_given = !query.environment.is_empty();
        let is_wanted = action.map_or(is_given, |action| action.wants_environment);
        if is_given && !is_wanted {
            return Err(QueryError::new("environment", "the action's context has no `environment` in the schema"));
        }
        if !is_wanted {
            return Ok(None);
        }
        let pairs = self.types().pairs(&query.environment);
        let pairs = pairs.map_err(|unknown| QueryError::new("environment", unknown.to_string()))?;
        record(pairs, "environment").map(Some)
    }

    /// `context.server`: only the facts that the schema declares, because building a datetime costs microseconds.
    fn server(&self, facts: &ServerFacts<'_>) -> Result<Option<Expression>, QueryError> {
        if !facts.wanted.is_declared {
            return Ok(None);
        }
        let mut pairs = Vec::with_capacity(3);
        if facts.wanted.now {
            pairs.push(("now".to_owned(), extension(ExtensionFunction::Datetime, &facts.now.to_string())));
        }
        let person = facts.principal.on_behalf_of.as_deref().map(|person| &person.uid);
        let people = [
            ("caller", "caller", facts.wanted.caller, Some(&facts.caller.uid)),
            ("on_behalf_of", "on_behalf_of", facts.wanted.on_behalf_of, person),
        ];
        for (name, field, form, uid) in people {
            let Some(uid) = uid else { continue };
            let value = match form {
                Form::Absent => continue,
                Form::Text => Expression::new_string(uid.to_string()),
                Form::Entity => {
                    let uid = self.types().uid(uid).map_err(|error| QueryError::new(field, error.to_string()))?;
                    Expression::new_entity_uid(uid)
                }
            };
            pairs.push((name.to_owned(), value));
        }
        record(pairs, "context.server").map(Some)
    }

    /// Which field holds an extension that cannot be built.
    fn malformed(&self, query: &Query) -> QueryError {
        let named = [("context", &query.context), ("environment", &query.environment)];
        let wrong = named.iter().find_map(|(part, fields)| Some((*part, self.malformed_field(fields)?)));
        wrong.map_or_else(
            || QueryError::new("context", "is malformed"),
            |(part, name)| field_error(part, name, "is malformed"),
        )
    }

    /// Cedar's refusal, with the field.
    fn refused(&self, query: &Query, error: &cedar::RequestValidationError) -> QueryError {
        use cedar::RequestValidationError as Refusal;
        let action = &query.action;
        match error {
            Refusal::UndeclaredAction(_) | Refusal::ExternalAction(_) => {
                QueryError::new("action", format!("unknown action `{action}`"))
            }
            Refusal::UndeclaredPrincipalType(_) | Refusal::InvalidPrincipalType(_) => {
                QueryError::new("principal", format!("its type is not one that `{action}` applies to"))
            }
            Refusal::UndeclaredResourceType(_) | Refusal::InvalidResourceType(_) => {
                QueryError::new("resource", format!("its type is not one that `{action}` applies to"))
            }
            Refusal::InvalidEnumEntity(_) => QueryError::new("resource", "is not one of its type's declared entities"),
            // Non-exhaustive upstream: whatever else Cedar refuses, it refuses the context.
            _ => self.refused_context(query),
        }
    }

    fn refused_context(&self, query: &Query) -> QueryError {
        let declared = self.schema.as_ref().and_then(|schema| schema.shapes.actions.get(&query.action));
        let own = declared.map(|fields| {
            let own = fields.iter().filter(|(name, _)| !RESERVED.contains(&&***name));
            own.map(|(name, field)| (name.clone(), field.clone())).collect::<shape::Fields>()
        });
        if let Some(wrong) = own.and_then(|own| shape::mismatch(&own, &query.context)) {
            return QueryError::new(format!("context.{}", wrong.path), wrong.message);
        }
        let environment = declared.and_then(|fields| fields.get("environment")).map(|field| &field.shape);
        if let Some(shape::Shape::Record(fields)) = environment
            && let Some(wrong) = shape::mismatch(fields, &query.environment)
        {
            return QueryError::new(format!("environment.{}", wrong.path), wrong.message);
        }
        QueryError::new("context", "does not fit the schema")
    }
}

/// What goes into `context.server`.
struct ServerFacts<'a> {
    principal: &'a Identity,
    caller: &'a Identity,
    now: Timestamp,
    wanted: ServerFields,
}

/// The query must speak of the very identity that was proven.
fn check_names(query: &Query, principal: &Identity) -> Result<(), QueryError> {
    if query.principal != principal.uid {
        return Err(QueryError::new("principal", "is not the principal that was authenticated"));
    }
    if query.on_behalf_of.as_ref() != principal.on_behalf_of.as_deref().map(|person| &person.uid) {
        return Err(QueryError::new("on_behalf_of", "is not whom the principal was authenticated to act for"));
    }
    // Opening what was masked is asked for like any other action, so that gates apply to it.
    if is_service_type(&query.action.type_name) && !unmasks(&query.action) {
        return Err(QueryError::new("action", "the service's own actions cannot be asked about"));
    }
    Ok(())
}

fn record(pairs: Vec<(String, Expression)>, field: &str) -> Result<Expression, QueryError> {
    Expression::new_record(pairs).map_err(|_| QueryError::new(field, "is malformed"))
}

fn field_error(part: &str, name: &str, message: impl Into<String>) -> QueryError {
    QueryError::new(format!("{part}.{}", Shown(name)), message)
}

#[cfg(test)]
mod tests {
    use super::super::testing::{ask, attributes, bot, identity, load, query, uid};
    use super::*;
    use crate::domain::Value;

    const PERMIT: &str = "permit (principal, action, resource is Dataset);";

    /// What the bot's changed query on data set `d` is refused with.
    fn refused(action: &str, change: impl FnOnce(&mut Query)) -> String {
        let mut query = query(&bot(), action, ("Dataset", "d"));
        change(&mut query);
        ask(&load(PERMIT), &query, &bot()).err().map(|error| error.to_string()).unwrap_or_default()
    }

    fn context(name: &str, value: Value) -> String {
        refused("read", |query| query.context = attributes([(name, value)]))
    }

    fn extension(function: ExtensionFunction, argument: &str) -> Value {
        Value::Extension { function, argument: argument.into() }
    }

    #[test]
    fn a_query_against_the_schema_is_refused_with_the_field() {
        assert_eq!(refused("read", |_| {}), "");
        assert_eq!(refused("erase", |_| {}), "action: unknown action `Action::\"erase\"`");
        let unknown = refused("read", |query| query.resource = uid("Table", "d"));
        assert_eq!(unknown, "resource: unknown entity type `Table`");
        let malformed = refused("read", |query| query.resource = uid("Data\u{0}set", "d"));
        assert_eq!(malformed, "resource: unknown entity type `Data\\u{0}set`");
        let inapt = refused("read", |query| query.resource = uid("Folder", "d"));
        assert_eq!(inapt, "resource: its type is not one that `Action::\"read\"` applies to");
        let own = refused("read", |query| query.action = uid("Countersign::Action", "review"));
        assert_eq!(own, "action: the service's own actions cannot be asked about");
    }

    #[test]
    fn a_principal_of_the_wrong_type_is_refused() {
        let pipeline = identity("Workload", "ci", &[]);
        let found = ask(&load(PERMIT), &query(&pipeline, "look", ("Dataset", "d")), &pipeline).unwrap_err();
        assert_eq!(found.to_string(), "principal: its type is not one that `Action::\"look\"` applies to");
        let stranger = identity("Robot", "r", &[]);
        let found = ask(&load(PERMIT), &query(&stranger, "read", ("Dataset", "d")), &stranger).unwrap_err();
        assert_eq!(found.to_string(), "principal: unknown entity type `Robot`");
    }

    #[test]
    fn a_context_against_the_schema_is_refused_with_the_field() {
        assert_eq!(context("rows", Value::Long(1)), "");
        assert_eq!(context("rows", Value::string("1")), "context.rows: expected a long");
        assert_eq!(context("rowz", Value::Long(1)), "context.rowz: is not declared by the schema");
        assert_eq!(context("who", Value::Entity(uid("Agent", "a"))), "context.who: expected an entity of type `User`");
        assert_eq!(context("who", Value::Entity(uid("Nobody", "a"))), "context.who: unknown entity type `Nobody`");
        assert_eq!(
            context("tags", Value::Set(vec![Value::string("a"), Value::Long(1)])),
            "context.tags.1: expected a string"
        );
        let deep = Value::Record(attributes([("deep", Value::Long(1))]));
        assert_eq!(context("nested", deep), "context.nested.deep: expected a bool");
        let empty = Value::Record(attributes([]));
        assert_eq!(context("nested", empty), "context.nested.deep: is required by the schema");
    }

    #[test]
    fn a_malformed_extension_is_refused_with_the_field() {
        assert_eq!(context("from", extension(ExtensionFunction::Ip, "10.0.0.1")), "");
        assert_eq!(context("from", extension(ExtensionFunction::Ip, "10.0.0.256")), "context.from: is malformed");
        assert_eq!(
            context("from", extension(ExtensionFunction::Decimal, "1.0")),
            "context.from: expected a value made by `ip`"
        );
    }

    #[test]
    fn what_is_the_servers_to_say_is_refused() {
        for name in ["server", "environment"] {
            let found = context(name, Value::Record(attributes([])));
            assert_eq!(found, format!("context.{name}: this field is the server's to fill"));
        }
    }

    #[test]
    fn an_environment_reaches_only_actions_that_declare_it() {
        let session = || attributes([("session", Value::string("s"))]);
        let undeclared = refused("read", |query| query.environment = session());
        assert_eq!(undeclared, "environment: the action's context has no `environment` in the schema");
        assert_eq!(refused("look", |query| query.environment = session()), "");
        let wrong = refused("look", |query| query.environment = attributes([("session", Value::Long(1))]));
        assert_eq!(wrong, "environment.session: expected a string");
        let bad = extension(ExtensionFunction::Ip, "x");
        let malformed = refused("look", |query| query.environment = attributes([("address", bad)]));
        assert_eq!(malformed, "environment.address: is malformed");
    }

    #[test]
    fn a_query_speaks_only_of_whom_was_proven() {
        let other = refused("read", |query| query.principal = uid("Agent", "other"));
        assert_eq!(other, "principal: is not the principal that was authenticated");
        let added = refused("read", |query| query.on_behalf_of = Some(uid("User", "alice")));
        assert_eq!(added, "on_behalf_of: is not whom the principal was authenticated to act for");
        let mut agent = bot();
        agent.on_behalf_of = Some(Box::new(identity("User", "alice", &[])));
        let mut query = query(&agent, "read", ("Dataset", "d"));
        query.on_behalf_of = None;
        assert_eq!(ask(&load(PERMIT), &query, &agent).unwrap_err().field, "on_behalf_of");
    }

    #[test]
    fn without_a_schema_every_fact_is_given_and_any_well_formed_type_will_do() {
        let settings = crate::engine::Settings { allow_missing_schema: true, ..super::super::testing::settings() };
        let policies = "permit (principal, action, resource) when {
            context.server.caller in Group::\"peps\" && context.server.now > datetime(\"2020-01-01\")
            && !(context.server has on_behalf_of) && context.environment.session == \"s\" };";
        let files = vec![super::super::testing::file("p.cedar", policies)];
        let snapshot = PolicySnapshot::from_sources(&settings, files).unwrap();
        let pep = identity("Machine", "pep", &["peps"]);
        let mut query = query(&bot(), "anything", ("Some::Thing", "d"));
        query.environment = attributes([("session", Value::string("s"))]);
        let answer = snapshot.evaluate(&query, &bot(), &pep, super::super::testing::NOW).unwrap();
        assert_eq!(answer.verdict, crate::domain::RuleVerdict::Permitted, "{:?}", answer.errors);
        query.resource = uid("not a type", "d");
        let refused = snapshot.evaluate(&query, &bot(), &pep, super::super::testing::NOW).unwrap_err();
        assert_eq!(refused.to_string(), "resource: unknown entity type `not a type`");
    }
}
