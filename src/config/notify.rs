//! `[notify]` and `[chat]`: the targets as tables, the address that links begin with, and the app that is believed.

use std::fmt;

use schemars::{Schema, SchemaGenerator, json_schema};
use serde_json::Value;

use super::values::Setting;
use crate::notify::settings::Level;
use crate::notify::{SlackApp, TargetSettings};

/// Where people open a page.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct WebAddress(String);

impl fmt::Display for WebAddress {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl Setting for WebAddress {
    fn read(raw: &Value) -> Result<Self, String> {
        let expected = "a web address such as `https://countersign.example`, without `?`, `#`, user and password";
        let text = raw.as_str().ok_or(expected)?;
        let url = reqwest::Url::parse(text).map_err(|_| expected)?;
        let is_web = matches!(url.scheme(), "https" | "http") && url.has_host();
        let is_plain = url.query().is_none() && url.fragment().is_none();
        let is_nobodys = url.username().is_empty() && url.password().is_none();
        if is_web && is_plain && is_nobodys { Ok(Self(url.to_string())) } else { Err(expected.to_owned()) }
    }

    fn show(&self) -> Value {
        self.0.clone().into()
    }

    fn schema(_: &mut SchemaGenerator) -> Schema {
        json_schema!({"type": "string", "pattern": "^https?://."})
    }
}

impl Setting for Vec<TargetSettings> {
    fn read(raw: &Value) -> Result<Self, String> {
        let expected = "tables such as `[[notify.targets]]` with `name`, `kind` and `secret_file`";
        let tables = raw.as_array().ok_or(expected)?;
        let read = |(index, table): (usize, &Value)| {
            let target = serde_json::from_value(table.clone());
            target.map_err(|error| format!("{expected}; number {} has: {error}", index + 1))
        };
        tables.iter().enumerate().map(read).collect()
    }

    fn show(&self) -> Value {
        serde_json::to_value(self).unwrap_or(Value::Null)
    }

    fn schema(generator: &mut SchemaGenerator) -> Schema {
        generator.subschema_for::<Self>()
    }
}

impl Setting for Level {
    fn read(raw: &Value) -> Result<Self, String> {
        let expected = "`low`, `medium`, `high` or `critical`";
        serde_json::from_value(raw.clone()).map_err(|_| expected.to_owned())
    }

    fn show(&self) -> Value {
        // A name always can be written.
        serde_json::to_value(self).unwrap_or(Value::Null)
    }

    fn schema(generator: &mut SchemaGenerator) -> Schema {
        generator.subschema_for::<Self>()
    }
}

impl Setting for SlackApp {
    fn read(raw: &Value) -> Result<Self, String> {
        let expected = "a table with `workspace` (such as `T0123456789`) and `signing_secret_file`";
        let app: Self = serde_json::from_value(raw.clone()).map_err(|error| format!("{expected}; it has: {error}"))?;
        let is_id =
            app.workspace.starts_with(['T', 'E']) && app.workspace.bytes().all(|byte| byte.is_ascii_alphanumeric());
        if is_id { Ok(app) } else { Err(expected.to_owned()) }
    }

    fn show(&self) -> Value {
        serde_json::to_value(self).unwrap_or(Value::Null)
    }

    fn schema(generator: &mut SchemaGenerator) -> Schema {
        generator.subschema_for::<Self>()
    }
}
