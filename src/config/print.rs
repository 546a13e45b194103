//! The configuration for people: as a commented file, and as the reference in `docs/configuration.md`.

use serde_json::Value;

use super::load::{Loaded, variable_of};
use super::problem::Origin;
use super::redact::redacted;
use super::section::{Entry, Section};
use super::sections::Config;

/// Whether what may be a secret is shown.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Secrets {
    LeftOut,
    Shown,
}

impl Secrets {
    /// The value as it may be shown.
    #[must_use]
    pub fn show(self, entry: Entry) -> Entry {
        match self {
            Self::LeftOut => Entry { value: redacted(&entry.key, entry.value), ..entry },
            Self::Shown => entry,
        }
    }
}

/// Every key with the value it has and where that comes from, a line each.
#[must_use]
pub fn with_origins(loaded: &Loaded, secrets: Secrets) -> String {
    let line = |entry: Entry| {
        let Entry { key, value, .. } = secrets.show(entry);
        let value = if value.is_null() { "(not set)".to_owned() } else { literal(&value) };
        let origin = loaded.origins.get(&key).unwrap_or(&Origin::Default);
        format!("{key} = {value}  # {origin}\n")
    };
    loaded.config.entries().into_iter().map(line).collect()
}

/// The settings in force as a `countersign.toml` with every key, its meaning and its default.
#[must_use]
pub fn to_toml(config: &Config, secrets: Secrets) -> String {
    let defaults = Config::default();
    let sections = config.sections().into_iter().zip(defaults.sections());
    sections.map(|(section, defaults)| section_toml(section, defaults, secrets)).collect::<Vec<_>>().join("\n")
}

fn section_toml(section: &dyn Section, defaults: &dyn Section, secrets: Secrets) -> String {
    let entries = section.entries().into_iter().map(|entry| secrets.show(entry)).zip(defaults.entries());
    let (tables, plain): (Vec<_>, Vec<_>) = entries.partition(|(entry, _)| is_tables(&entry.value));
    let keys: String = plain.iter().map(|(entry, default)| entry_toml(entry, &default.value)).collect();
    let tables: String = tables.iter().map(|(entry, _)| tables_toml(entry)).collect();
    format!("{}[{}]\n{keys}{tables}", comment(section.about()), section.name())
}

fn entry_toml(entry: &Entry, default: &Value) -> String {
    let key = entry.key.rsplit('.').next().unwrap_or(&entry.key);
    let default = if default.is_null() { "not set".to_owned() } else { literal(default) };
    let line = if entry.value.is_null() { format!("# {key} =") } else { format!("{key} = {}", literal(&entry.value)) };
    format!("\n{}# Default: {default}\n{line}\n", comment(entry.docs))
}

fn tables_toml(entry: &Entry) -> String {
    let tables = entry.value.as_array().into_iter().flatten().filter_map(Value::as_object);
    let fields = |table: &serde_json::Map<String, Value>| -> String {
        let set = table.iter().filter(|(_, value)| !value.is_null());
        set.map(|(name, value)| format!("{} = {}\n", key_literal(name), literal(value))).collect()
    };
    tables.map(|table| format!("\n{}[[{}]]\n{}", comment(entry.docs), entry.key, fields(table))).collect()
}

fn is_tables(value: &Value) -> bool {
    value.as_array().is_some_and(|values| !values.is_empty() && values.iter().all(Value::is_object))
}

fn comment(lines: &[&str]) -> String {
    lines.iter().map(|line| format!("#{line}\n")).collect()
}

fn key_literal(name: &str) -> String {
    let is_bare = !name.is_empty() && name.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"_-".contains(&byte));
    if is_bare { name.to_owned() } else { text_literal(name) }
}

/// JSON's escapes are TOML's; only DEL must be escaped in addition.
fn text_literal(text: &str) -> String {
    Value::from(text).to_string().replace('\u{7f}', "\\u007f")
}

/// A value as TOML writes it, on one line.
fn literal(value: &Value) -> String {
    match value {
        Value::Null => "\"\"".to_owned(),
        Value::Bool(_) | Value::Number(_) => value.to_string(),
        Value::String(text) => text_literal(text),
        Value::Array(values) => format!("[{}]", values.iter().map(literal).collect::<Vec<_>>().join(", ")),
        Value::Object(fields) => {
            let set = fields.iter().filter(|(_, value)| !value.is_null());
            let fields: Vec<_> =
                set.map(|(name, value)| format!("{} = {}", key_literal(name), literal(value))).collect();
            format!("{{ {} }}", fields.join(", "))
        }
    }
}

const REFERENCE_HEAD: &str = "# Configuration

Written by `make docs` from the table of keys in `src/config/sections.rs`; do not edit.

Settings come from `countersign.toml` (or `--config FILE`), then from environment variables, then from flags; the later
wins. A key or variable that is not listed here is an error, and so is a value that is not exactly what is expected.
Durations are written as `250ms`, `30s`, `15m` or `8h`; sizes are in bytes. `countersign config print` shows what is in
force (`--origin`: and which file and line, variable or flag said so), `countersign config check` says what is wrong, and
`countersign config schema` writes a JSON Schema, which is also in [countersign.schema.json](countersign.schema.json): a first line
`#:schema ./countersign.schema.json` (where you put it) has editors complete and check the file.

No secret is a value of the configuration. A secret is in a file that a key names, which holds it and, if you like, the end of its
line; of keys that say *where* a secret lies (`file:/path`, `env:NAME`, a command) the variable with `_FILE` behind it takes the
path alone. Both variables at once, or a file that cannot be read, are errors. Keys of a table are variables as well, beside what the
file says (`COUNTERSIGN__STORE__REDIS__PASSWORD_FILE`); a list is written as JSON
(`COUNTERSIGN__JOURNAL__SEALING_KEYS='[{\"id\": \"2026a\", \"from\": \"file:/run/secrets/sealing\"}]'`).

No key takes effect before the next start. What it *names* may be read again without one: the last column says what, and when. Where it
says nothing, nothing is.
";

/// The reference, as Markdown.
#[must_use]
pub fn reference() -> String {
    let defaults = Config::default();
    let sections: String = defaults.sections().into_iter().map(section_reference).collect();
    format!("{REFERENCE_HEAD}{sections}")
}

fn section_reference(section: &dyn Section) -> String {
    let about = section.about().concat();
    let rows: String = section.entries().iter().map(row).collect();
    let head = "| key | default | variable | meaning | read again |\n|---|---|---|---|---|\n";
    format!("\n## `[{}]`\n\n{}\n\n{head}{rows}", section.name(), about.trim())
}

fn row(entry: &Entry) -> String {
    let default = if entry.value.is_null() { "not set".to_owned() } else { format!("`{}`", literal(&entry.value)) };
    let variable = variable_of(&entry.key);
    let file = if entry.is_place_of_secret { format!(", or `{variable}_FILE`") } else { String::new() };
    let again = entry.read_again.map_or(String::new(), |again| format!(" {again}"));
    format!("| `{}` | {default} | `{variable}`{file} | {} |{again} |\n", entry.key, entry.docs.concat().trim())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::Layers;

    #[test]
    fn what_is_printed_is_what_is_read() {
        let mut config = Config::default();
        for (key, value) in [
            ("journal.dir", serde_json::json!("a \"b\"\\ \u{7f}\n")),
            ("journal.retention_age", serde_json::json!("90h")),
            ("limits.waits_max", serde_json::json!(12)),
            (
                "identity.issuers",
                serde_json::json!([{
                    "name": "a", "issuer": "https://a.example", "audiences": ["x", "y"],
                    "user_clients": ["inbox"], "aliases": ["https://b.example"], "max_age": "1h",
                    "keys": {"jwks_url": "https://a.example/keys"},
                }]),
            ),
        ] {
            config.set(key, &value).unwrap().unwrap();
        }
        let dir = tempfile::tempdir().unwrap();
        let file = dir.path().join("c.toml");
        std::fs::write(&file, to_toml(&config, Secrets::LeftOut)).unwrap();
        assert_eq!(Layers { file: Some(file), ..Layers::default() }.load().unwrap(), config);
    }

    #[test]
    fn every_key_is_printed_with_its_meaning_and_default() {
        let printed = to_toml(&Config::default(), Secrets::LeftOut);
        for entry in Config::default().entries() {
            let first = entry.docs.first().unwrap();
            assert!(printed.contains(&format!("#{first}\n")), "{}", entry.key);
        }
        assert!(printed.contains("# Default: \"15m\"\ndefault_timeout = \"15m\"\n"), "{printed}");
        assert!(printed.contains("# Default: not set\n# retention_age =\n"));
    }

    #[test]
    fn the_reference_in_docs_is_the_table_of_keys() {
        let written = include_str!("../../docs/configuration.md");
        assert!(written == reference(), "docs/configuration.md is out of date: run `make docs`");
    }
}
