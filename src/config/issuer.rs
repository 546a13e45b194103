//! The issuers in `[[identity.issuers]]`. What may stand in one is said by [`crate::identity`]; unknown fields are refused
//! there as well.

use schemars::{Schema, SchemaGenerator, json_schema};
use serde_json::{Value, json};

use super::values::Setting;
use crate::identity::IssuerSettings;

impl Setting for Vec<IssuerSettings> {
    fn read(raw: &Value) -> Result<Self, String> {
        let expected = "tables such as `[[identity.issuers]]` with `name`, `issuer` and `audiences`";
        let tables = raw.as_array().ok_or(expected)?;
        let read = |(index, table): (usize, &Value)| {
            let issuer = serde_json::from_value(table.clone());
            issuer.map_err(|error| format!("{expected}; number {} has: {error}", index + 1))
        };
        tables.iter().enumerate().map(read).collect()
    }

    fn show(&self) -> Value {
        // What is left out if it could not be written is the whole list, which the start then refuses.
        serde_json::to_value(self).unwrap_or(Value::Null)
    }

    fn schema(generator: &mut SchemaGenerator) -> Schema {
        let mut issuer = generator.subschema_for::<IssuerSettings>();
        // A preset may know the rest.
        issuer.insert("required".to_owned(), json!(["name"]));
        json_schema!({"type": "array", "items": issuer})
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::Layers;
    use crate::identity::Reason;
    use crate::identity::preset::Preset;

    /// What the tests with a real issuer run with.
    const EXAMPLE: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/clients/oidc-provider/countersign.toml");

    #[test]
    fn the_example_of_the_identity_page_is_the_one_that_is_tested_and_good() {
        let page = include_str!("../../docs/identity.md");
        let example = std::fs::read_to_string(EXAMPLE).unwrap();
        assert!(page.contains(&format!("```toml\n{example}```\n")), "docs/identity.md must show {EXAMPLE}");
        let config = Layers { file: Some(EXAMPLE.into()), ..Layers::default() }.load().unwrap();
        assert_eq!(config.identity.issuers.len(), 1);
    }

    #[test]
    fn the_identity_page_names_every_setting_of_an_issuer() {
        let page = include_str!("../../docs/identity.md");
        let issuer = serde_json::to_value(IssuerSettings::new("a", "https://a.example", "countersign")).unwrap();
        let tests = ["equals", "one_of", "contains", "starts_with", "ends_with", "same_as", "differs_from", "present"];
        for name in issuer.as_object().unwrap().keys().map(String::as_str).chain(tests) {
            assert!(page.contains(&format!("`{name}`")), "{name}");
        }
    }

    #[test]
    fn every_example_of_the_identity_page_is_a_configuration_that_works() {
        let page = include_str!("../../docs/identity.md");
        let examples: Vec<&str> = page.split("```toml\n").skip(1).filter_map(|rest| rest.split("```").next()).collect();
        let presets = examples.iter().filter(|example| example.contains("\npreset = ")).count();
        assert_eq!(presets, Preset::ALL.len());
        for example in examples.into_iter().filter(|example| example.contains("[[identity.issuers]]\n")) {
            // The certificates lie where the server runs, not where it is tested.
            let lines = example.lines().filter(|line| !line.starts_with("ca_file"));
            let file = tempfile::Builder::new().suffix(".toml").tempfile().unwrap();
            std::fs::write(file.path(), lines.collect::<Vec<_>>().join("\n")).unwrap();
            let loaded = Layers { file: Some(file.path().into()), ..Layers::default() }.load();
            assert!(loaded.is_ok(), "{example}\n{}", loaded.unwrap_err());
        }
    }

    #[test]
    fn the_identity_page_names_every_reason_of_a_refusal() {
        let page = include_str!("../../docs/identity.md");
        for reason in Reason::ALL {
            assert!(page.contains(&format!("`{reason}`")), "{reason}");
        }
    }

    #[test]
    fn an_issuer_with_an_unknown_field_is_refused_by_number() {
        let good = json!({"user_clients": ["inbox"], "name": "a", "issuer": "https://a.example", "audiences": ["countersign"]});
        let bad = json!({"name": "b", "issuer": "https://b.example", "audience": "countersign"});
        assert_eq!(Vec::<IssuerSettings>::read(&json!([good])).unwrap().len(), 1);
        let refused = Vec::<IssuerSettings>::read(&json!([good, bad])).unwrap_err();
        assert!(refused.contains("number 2 has: unknown field `audience`"), "{refused}");
        assert!(Vec::<IssuerSettings>::read(&json!({"name": "a"})).is_err());
    }
}
