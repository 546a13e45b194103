//! What is demanded of reviewers, as it is written: accounts that are one human, and how people must have logged in.

use std::sync::Arc;

use schemars::{Schema, SchemaGenerator, json_schema};
use serde_json::{Map, Value, json};

use super::values::{Setting, Span};
use crate::domain::{EntityUid, Links, StepUp};

impl Setting for Links {
    fn read(raw: &Value) -> Result<Self, String> {
        let expected =
            || "lists of accounts of one human, such as `[[\"User::\\\"a\\\"\", \"User::\\\"b\\\"\"]]`".to_owned();
        let account = |text: &Value| {
            let uid = text.as_str().ok_or_else(expected)?.parse::<EntityUid>();
            uid.map_err(|error| format!("{}; {text} is {error}", expected()))
        };
        let set = |set: &Value| set.as_array().ok_or_else(expected)?.iter().map(account).collect::<Result<Vec<_>, _>>();
        let sets: Vec<_> = raw.as_array().ok_or_else(expected)?.iter().map(set).collect::<Result<_, _>>()?;
        Self::new(sets).map_err(|error| format!("{}; {error}", expected()))
    }

    fn show(&self) -> Value {
        let shown = |set: Vec<&EntityUid>| set.into_iter().map(ToString::to_string).collect::<Vec<_>>();
        json!(self.sets().into_iter().map(shown).collect::<Vec<_>>())
    }

    fn schema(_: &mut SchemaGenerator) -> Schema {
        json_schema!({"type": "array", "items": {"type": "array", "minItems": 2, "items": {"type": "string"}}})
    }
}

impl Setting for StepUp {
    fn read(raw: &Value) -> Result<Self, String> {
        let expected = "a table such as `{ max_authentication_age = \"15m\", acr = [\"phr\"], amr = [\"hwk\"] }`";
        let table = raw.as_object().ok_or(expected)?;
        let mut demand = Self::default();
        for (key, value) in table {
            match key.as_str() {
                "max_authentication_age" => {
                    let age = Span::read(value).map_err(|error| format!("{expected}; `{key}` is {error}"))?;
                    demand.max_authentication_age = Some(age.get());
                }
                "acr" => demand.acr = texts(value).ok_or(expected)?,
                "amr" => demand.amr = texts(value).ok_or(expected)?,
                _ => return Err(format!("{expected}, without `{}`", crate::domain::entity::Shown(key))),
            }
        }
        Ok(demand)
    }

    fn show(&self) -> Value {
        let age = self.max_authentication_age.map(|age| ("max_authentication_age", Span(age).show()));
        let listed = |name, values: &[Arc<str>]| (!values.is_empty()).then(|| (name, json!(values)));
        let parts = [age, listed("acr", &self.acr), listed("amr", &self.amr)];
        let parts: Map<String, Value> =
            parts.into_iter().flatten().map(|(name, value)| (name.to_owned(), value)).collect();
        Value::Object(parts)
    }

    fn schema(generator: &mut SchemaGenerator) -> Schema {
        let texts = json!({"type": "array", "minItems": 1, "items": {"type": "string", "minLength": 1}});
        json_schema!({
            "type": "object",
            "additionalProperties": false,
            "properties": {"max_authentication_age": Span::schema(generator), "acr": texts, "amr": texts},
        })
    }
}

/// A list of texts; an empty one would demand nothing, and one that is empty in a part could not be met.
fn texts(raw: &Value) -> Option<Vec<Arc<str>>> {
    let values = raw.as_array().filter(|values| !values.is_empty())?;
    values.iter().map(|value| value.as_str().filter(|text| !text.is_empty()).map(Arc::from)).collect()
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    #[test]
    fn what_is_demanded_is_read_as_it_is_written_or_not_at_all() {
        let raw = json!({"max_authentication_age": "15m", "acr": ["phr", "phrh"], "amr": ["hwk"]});
        let demand = StepUp::read(&raw).unwrap();
        assert_eq!(demand.max_authentication_age, Some(Duration::from_secs(900)));
        assert_eq!((demand.show(), StepUp::read(&json!({})).unwrap()), (raw, StepUp::default()));
        for wrong in [
            json!("15m"),
            json!({"max_authentication_age": 15}),
            json!({"max_age": "15m"}),
            json!({"acr": "phr"}),
            json!({"acr": []}),
            json!({"amr": [""]}),
            json!({"amr": [1]}),
        ] {
            assert!(StepUp::read(&wrong).is_err(), "{wrong}");
        }
    }

    #[test]
    fn links_are_lists_of_accounts_each_in_one_list() {
        let raw = json!([["Agent::\"bot\"", "User::\"a \\\"b\\\"\""], ["User::\"x\"", "User::\"y\""]]);
        assert_eq!(Links::read(&raw).unwrap().show(), raw);
        for wrong in [
            json!(["User::\"a\"", "User::\"b\""]),
            json!([["User::\"a\""]]),
            json!([["User::\"a\"", "User::\"a\""]]),
            json!([["User::\"a\"", "User::\"b\""], ["User::\"b\"", "User::\"c\""]]),
            json!([["alice", "bob"]]),
            json!([["User::\"a\" || \"b\"", "User::\"c\""]]),
            json!([[1, 2]]),
        ] {
            assert!(Links::read(&wrong).is_err(), "{wrong}");
        }
    }
}
