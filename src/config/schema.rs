//! The configuration as a JSON Schema, for editors: completion, explanations, and a red line under what is not a key. Made of the
//! same table as everything else. It takes whatever the server takes; the server may still refuse what it lets pass.

use schemars::SchemaGenerator;
use schemars::generate::SchemaSettings;
use serde_json::{Map, Value, json};

use super::section::Section;
use super::sections::Config;

/// What editors for TOML read.
const DIALECT: &str = "http://json-schema.org/draft-07/schema#";

/// The schema of `countersign.toml`.
#[must_use]
pub fn schema() -> Value {
    // Without references, so that an explanation can stand beside a type.
    let settings = SchemaSettings::draft07().with(|settings| settings.inline_subschemas = true);
    let mut generator = settings.into_generator();
    let config = Config::default();
    let sections = config.sections().into_iter();
    let sections: Map<String, Value> =
        sections.map(|section| (section.name().to_owned(), of_section(section, &mut generator))).collect();
    json!({
        "$schema": DIALECT,
        "title": "countersign.toml",
        "type": "object",
        "additionalProperties": false,
        "properties": sections,
    })
}

fn of_section(section: &dyn Section, generator: &mut SchemaGenerator) -> Value {
    let keys = section.entries().into_iter().zip(section.schemas(generator)).map(|(entry, schema)| {
        let mut schema = schema;
        schema.insert("description".to_owned(), text(entry.docs).into());
        if !entry.value.is_null() {
            schema.insert("default".to_owned(), entry.value);
        }
        (entry.key.rsplit('.').next().unwrap_or_default().to_owned(), schema.to_value())
    });
    json!({
        "type": "object",
        "description": text(section.about()),
        "additionalProperties": false,
        "properties": keys.collect::<Map<_, _>>(),
    })
}

fn text(lines: &[&str]) -> String {
    lines.concat().trim().to_owned()
}

/// The schema as the file that is beside the documentation.
#[must_use]
pub fn file() -> String {
    format!("{:#}\n", schema())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_schema_in_docs_is_the_table_of_keys() {
        let written = include_str!("../../docs/countersign.schema.json");
        assert!(written == file(), "docs/countersign.schema.json is out of date: run `make docs`");
    }

    #[test]
    fn every_key_is_there_with_its_meaning_and_a_type_and_no_table_takes_any_key() {
        let schema = schema();
        for entry in Config::default().entries() {
            let (section, key) = entry.key.split_once('.').unwrap();
            let found = &schema["properties"][section]["properties"][key];
            assert_eq!(found["description"], text(entry.docs), "{}", entry.key);
            let types = ["type", "enum", "anyOf", "oneOf"];
            assert!(types.iter().any(|word| found.get(word).is_some()), "{}: {found}", entry.key);
        }
        assert_closed(&schema, "");
    }

    /// Whatever has named keys refuses others.
    fn assert_closed(schema: &Value, path: &str) {
        if schema.get("properties").is_some_and(|properties| properties.is_object() && schema["type"] == "object") {
            assert_eq!(schema["additionalProperties"], false, "{path}");
        }
        for (key, value) in schema.as_object().into_iter().flatten() {
            assert_closed(value, &format!("{path}/{key}"));
        }
        for (index, value) in schema.as_array().into_iter().flatten().enumerate() {
            assert_closed(value, &format!("{path}/{index}"));
        }
    }
}
