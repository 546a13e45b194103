//! Where keys lie: a key is never a value of the configuration, only its place is.

use std::borrow::Cow;
use std::path::PathBuf;

use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
use serde::{Deserialize, Serialize};
use serde_json::Value;

use super::values::Setting;
use crate::vault::source::{self, KeyCommand, KeyFile, KeySource, KeyVariable, SourceError};

/// `[[masking.sealing_keys]]` and `[[journal.sealing_keys]]`
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct KeySettings {
    pub id: String,
    pub from: KeyPlace,
}

/// Where a key of 32 bytes lies, as base64 or hexadecimal: `file:/path`, `env:NAME`, or a command that prints it, as a list of
/// the program and its arguments.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(try_from = "Value", into = "Value")]
pub enum KeyPlace {
    File(String),
    Env(String),
    Command(Vec<String>),
}

const EXPECTED: &str =
    "where a key lies: `file:/path`, `env:NAME`, or a command as a list: `[\"program\", \"argument\"]`";

impl KeyPlace {
    fn source(&self) -> Box<dyn KeySource> {
        match self {
            Self::File(path) => Box::new(KeyFile(PathBuf::from(path))),
            Self::Env(name) => Box::new(KeyVariable(name.clone())),
            Self::Command(words) => Box::new(KeyCommand(words.clone())),
        }
    }

    /// For messages.
    #[must_use]
    pub fn name(&self) -> String {
        self.source().place()
    }

    /// The key. Blocking: a command takes its time.
    ///
    /// # Errors
    /// Why it cannot be had; never with a part of it.
    pub fn read(&self) -> Result<Vec<u8>, SourceError> {
        source::read(&*self.source())
    }
}

impl TryFrom<Value> for KeyPlace {
    type Error = &'static str;

    fn try_from(written: Value) -> Result<Self, &'static str> {
        match written {
            Value::String(text) => match text.split_once(':') {
                Some(("file", path)) if !path.is_empty() => Ok(Self::File(path.to_owned())),
                Some(("env", name)) if !name.is_empty() => Ok(Self::Env(name.to_owned())),
                _ => Err(EXPECTED),
            },
            Value::Array(words) if !words.is_empty() => {
                let words = words.iter().map(|word| word.as_str().map(str::to_owned));
                words.collect::<Option<Vec<String>>>().map(Self::Command).ok_or(EXPECTED)
            }
            _ => Err(EXPECTED),
        }
    }
}

impl From<KeyPlace> for Value {
    fn from(place: KeyPlace) -> Self {
        match place {
            KeyPlace::File(path) => format!("file:{path}").into(),
            KeyPlace::Env(name) => format!("env:{name}").into(),
            KeyPlace::Command(words) => words.into(),
        }
    }
}

impl JsonSchema for KeyPlace {
    fn schema_name() -> Cow<'static, str> {
        "KeyPlace".into()
    }

    fn json_schema(_: &mut SchemaGenerator) -> Schema {
        json_schema!({
            "description": "Where a key lies: `file:/path`, `env:NAME`, or a command that prints it, as a list.",
            "anyOf": [
                {"type": "string", "pattern": "^(file|env):."},
                {"type": "array", "minItems": 1, "items": {"type": "string"}},
            ],
        })
    }
}

impl Setting for Option<KeyPlace> {
    const IS_PLACE_OF_SECRET: bool = true;

    fn read(raw: &Value) -> Result<Self, String> {
        Ok(Some(KeyPlace::try_from(raw.clone())?))
    }

    fn schema(generator: &mut SchemaGenerator) -> Schema {
        generator.subschema_for::<KeyPlace>()
    }

    fn show(&self) -> Value {
        self.clone().map_or(Value::Null, Value::from)
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn a_place_is_a_file_a_variable_or_a_command_and_nothing_else() {
        for good in [json!("file:/k"), json!("env:KEY"), json!(["kms", "decrypt", "--key", "x"])] {
            assert_eq!(Value::from(KeyPlace::try_from(good.clone()).unwrap()), good);
        }
        for bad in [json!("file:"), json!("sesame"), json!("https://x"), json!([]), json!([1]), json!({}), json!(7)] {
            assert_eq!(KeyPlace::try_from(bad), Err(EXPECTED));
        }
    }
}
