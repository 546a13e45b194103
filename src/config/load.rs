//! The layers: file < environment < flags, merged by config-rs, then taken apart key by key. config-rs converts leniently
//! (`"yes"` is a true, a float is a number); nothing of that reaches us: values are read by [`super::values`].

use std::collections::{BTreeMap, HashMap};
use std::path::PathBuf;

use config::builder::DefaultState;
use config::{ConfigBuilder, Environment, File, FileFormat, ValueKind};
use serde_json::Value;

use super::problem::{ConfigError, Origin, Problem, nearest};
use super::sections::Config;

/// The file that is read if none is named and it is there.
pub const FILE_NAME: &str = "countersign.toml";

const PREFIX: &str = "COUNTERSIGN";
/// Between the prefix, the section and the key.
const SEPARATOR: &str = "__";

/// Where settings come from; later fields win.
#[derive(Debug, Clone, Default)]
pub struct Layers {
    /// Must exist if it is named.
    pub file: Option<PathBuf>,
    /// The variables; only `COUNTERSIGN__*` are looked at.
    pub environment: HashMap<String, String>,
    /// Keys by their full name.
    pub flags: BTreeMap<&'static str, String>,
}

impl Layers {
    /// The process's environment and the named file, or `countersign.toml` if there is one here.
    #[must_use]
    pub fn of_process(file: Option<PathBuf>) -> Self {
        let here = PathBuf::from(FILE_NAME);
        let file = file.or_else(|| here.exists().then_some(here));
        // A variable that is not text cannot be one of ours.
        let environment =
            std::env::vars_os().filter_map(|(name, value)| Some((name.into_string().ok()?, value.into_string().ok()?)));
        Self { file, environment: environment.collect(), flags: BTreeMap::new() }
    }

    /// A flag, if it was given.
    #[must_use]
    pub fn flag(mut self, key: &'static str, value: Option<&impl ToString>) -> Self {
        self.flags.extend(value.map(|value| (key, value.to_string())));
        self
    }

    /// The settings in force.
    ///
    /// # Errors
    /// Everything that is wrong with any layer.
    pub fn load(&self) -> Result<Config, ConfigError> {
        let written = self.merged()?;
        let known = known_keys();
        let mut reader = Reader { layers: self, config: Config::default(), known, problems: self.underscores() };
        reader.table("", &written);
        reader.problems.extend(reader.config.check());
        if reader.problems.is_empty() { Ok(reader.config) } else { Err(ConfigError { problems: reader.problems }) }
    }

    fn merged(&self) -> Result<config::Map<String, config::Value>, ConfigError> {
        let file = self.file.as_ref().map_or_else(String::new, |file| file.display().to_string());
        let unreadable = |error: config::ConfigError| {
            let problem = Problem::Unreadable { file: file.clone(), reason: error.to_string() };
            ConfigError { problems: vec![problem] }
        };
        let merged = self.builder().and_then(ConfigBuilder::<DefaultState>::build).map_err(unreadable)?;
        match merged.cache.kind {
            ValueKind::Table(table) => Ok(table),
            // config-rs starts from a table; nothing written is nothing set.
            _ => Ok(config::Map::new()),
        }
    }

    fn builder(&self) -> Result<ConfigBuilder<DefaultState>, config::ConfigError> {
        let environment = Environment::with_prefix(PREFIX).prefix_separator(SEPARATOR).separator(SEPARATOR);
        let mut builder = config::Config::builder();
        if let Some(file) = &self.file {
            builder = builder.add_source(File::from(file.clone()).format(FileFormat::Toml));
        }
        builder = builder.add_source(environment.source(Some(self.environment.clone().into_iter().collect())));
        self.flags.iter().try_fold(builder, |builder, (key, value)| builder.set_override(*key, value.clone()))
    }

    fn origin_of(&self, key: &str, value: &config::Value) -> Origin {
        match (value.origin(), &self.file) {
            _ if self.flags.contains_key(key) => Origin::Flag,
            (Some("the environment"), _) => Origin::Environment(variable_of(key)),
            (Some(file), _) => Origin::File(file.to_owned()),
            // A table has no origin; only a file can hold an empty one.
            (None, Some(file)) => Origin::File(file.display().to_string()),
            (None, None) => Origin::Default,
        }
    }

    /// Variables that would silently mean nothing: one underscore where two belong.
    fn underscores(&self) -> Vec<Problem> {
        let near = |key: &String| {
            let variable = format!("{PREFIX}_{}", key.replace('.', "_").to_uppercase());
            let meant = variable_of(key);
            self.environment.contains_key(&variable).then_some(Problem::Underscore { variable, meant })
        };
        known_keys().iter().filter_map(near).collect()
    }
}

/// The variable that sets a key.
#[must_use]
pub fn variable_of(key: &str) -> String {
    format!("{PREFIX}{SEPARATOR}{}", key.replace('.', SEPARATOR).to_uppercase())
}

fn known_keys() -> Vec<String> {
    Config::default().entries().into_iter().map(|entry| entry.key).collect()
}

struct Reader<'a> {
    layers: &'a Layers,
    config: Config,
    known: Vec<String>,
    problems: Vec<Problem>,
}

impl Reader<'_> {
    fn table(&mut self, path: &str, table: &config::Map<String, config::Value>) {
        let sorted: BTreeMap<_, _> = table.iter().collect();
        for (name, value) in sorted {
            let key = if path.is_empty() { name.clone() } else { format!("{path}.{name}") };
            match &value.kind {
                ValueKind::Table(inner)
                    if !self.known.contains(&key) && (!inner.is_empty() || self.is_section(&key)) =>
                {
                    self.table(&key, inner);
                }
                _ => self.leaf(&key, value),
            }
        }
    }

    fn is_section(&self, key: &str) -> bool {
        self.config.sections().iter().any(|section| section.name() == key)
    }

    fn leaf(&mut self, key: &str, value: &config::Value) {
        let origin = self.layers.origin_of(key, value);
        let raw = plain(&value.kind);
        let problem = match self.set(key, &raw, &origin) {
            Some(Ok(())) => return,
            Some(Err(expected)) => Problem::Value { origin, key: key.to_owned(), value: raw, expected },
            None => self.unknown(origin, key),
        };
        self.problems.push(problem);
    }

    /// A variable or flag is text: what is no text to the key (a number, a list) is written as in JSON.
    fn set(&mut self, key: &str, raw: &Value, origin: &Origin) -> Option<Result<(), String>> {
        let first = self.config.set(key, raw)?;
        let untyped = matches!(origin, Origin::Environment(_) | Origin::Flag);
        let typed = raw.as_str().filter(|_| untyped).and_then(|text| serde_json::from_str::<Value>(text).ok());
        match (first, typed) {
            (Err(_), Some(typed)) => self.config.set(key, &typed),
            (first, _) => Some(first),
        }
    }

    fn unknown(&self, origin: Origin, key: &str) -> Problem {
        let meant = nearest(key, &self.known);
        let nearest = match &origin {
            Origin::Environment(_) => meant.map(|key| variable_of(&key)),
            Origin::File(_) | Origin::Flag | Origin::Default => meant,
        };
        Problem::Unknown { origin, key: key.to_owned(), nearest }
    }
}

/// The value without config-rs's conversions.
fn plain(kind: &ValueKind) -> Value {
    match kind {
        ValueKind::Nil => Value::Null,
        ValueKind::Boolean(truth) => (*truth).into(),
        ValueKind::I64(number) => (*number).into(),
        ValueKind::U64(number) => (*number).into(),
        ValueKind::I128(number) => number.to_string().into(),
        ValueKind::U128(number) => number.to_string().into(),
        ValueKind::Float(number) => (*number).into(),
        ValueKind::String(text) => text.clone().into(),
        ValueKind::Table(table) => table.iter().map(|(key, value)| (key.clone(), plain(&value.kind))).collect(),
        ValueKind::Array(values) => values.iter().map(|value| plain(&value.kind)).collect(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::{OnError, Sync};

    fn file(text: &str) -> (tempfile::TempDir, Layers) {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join(FILE_NAME);
        std::fs::write(&path, text).unwrap();
        (dir, Layers { file: Some(path), ..Layers::default() })
    }

    fn with_variables(variables: &[(&str, &str)]) -> Layers {
        let environment = variables.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect();
        Layers { environment, ..Layers::default() }
    }

    fn refusal(layers: &Layers) -> String {
        layers.load().unwrap_err().to_string()
    }

    #[test]
    fn nothing_written_is_the_defaults() {
        assert_eq!(Layers::default().load(), Ok(Config::default()));
        assert_eq!(file("").1.load(), Err(ConfigError { problems: vec![] }).or(Layers::default().load()));
    }

    #[test]
    fn flags_win_over_variables_and_variables_over_the_file() {
        let (_dir, mut layers) = file("[journal]\ndir = 'of-file'\nsync = 'interval'\n[policy]\ndir = 'p-file'\n");
        layers.environment.insert("COUNTERSIGN__JOURNAL__DIR".into(), "of-variable".into());
        layers.environment.insert("COUNTERSIGN__POLICY__DIR".into(), "p-variable".into());
        let config = layers.flag("policy.dir", Some(&"p-flag")).load().unwrap();
        assert_eq!(config.journal.sync, Sync::Interval);
        assert_eq!(config.journal.dir, PathBuf::from("of-variable"));
        assert_eq!(config.policy.dir, PathBuf::from("p-flag"));
    }

    #[test]
    fn variables_carry_numbers_truths_and_lists() {
        let config = with_variables(&[
            ("COUNTERSIGN__LIMITS__WAITS_MAX", "7"),
            ("COUNTERSIGN__POLICY__ALLOW_EMPTY", "true"),
            ("COUNTERSIGN__POLICY__ON_ERROR", "cedar"),
            ("COUNTERSIGN__POLICY__DIR", "12"),
            ("COUNTERSIGN_TOKEN", "not ours"),
            ("COUNTERSIGN_SERVICE_HOST", "10.0.0.1"),
        ]);
        let config = config.load().unwrap();
        assert_eq!(config.limits.waits_max.get(), 7);
        assert!(config.policy.allow_empty);
        assert_eq!((config.policy.on_error, config.policy.dir), (OnError::Cedar, PathBuf::from("12")));
    }

    #[test]
    fn an_unknown_key_is_refused_with_its_file_and_the_nearest_known_one() {
        for (text, key, meant) in [
            ("[journal]\ndri = 'x'", "journal.dri", "`journal.dir`"),
            ("[jurnal]\ndir = 'x'", "jurnal.dir", "`journal.dir`"),
            ("[approvals]\npending_max = 3", "approvals.pending_max", "`limits.pending_max`"),
            ("verbose = true", "verbose", "config print"),
            ("[extra]", "extra", "config print"),
            ("[journal.deep]\nx = 1", "journal.deep.x", "config print"),
        ] {
            let (_dir, layers) = file(text);
            let refusal = refusal(&layers);
            assert!(refusal.contains(FILE_NAME) && refusal.contains(&format!("unknown key `{key}`")), "{refusal}");
            assert!(refusal.contains(meant), "{refusal}");
        }
    }

    #[test]
    fn an_unknown_variable_is_refused_with_the_nearest_known_one() {
        let refused = refusal(&with_variables(&[("COUNTERSIGN__JOURNAL__DRI", "x")]));
        assert!(refused.contains("`COUNTERSIGN__JOURNAL__DRI`"), "{refused}");
        assert!(refused.contains("did you mean `COUNTERSIGN__JOURNAL__DIR`?"), "{refused}");
        let single = refusal(&with_variables(&[("COUNTERSIGN_JOURNAL_DIR", "x")]));
        assert!(single.contains("did you mean `COUNTERSIGN__JOURNAL__DIR`"), "{single}");
    }

    #[test]
    fn a_bad_value_is_named_with_its_key_its_place_and_what_was_expected() {
        let (_dir, layers) = file("[approvals]\nredeem_within = 60\n[policy]\nallow_empty = 'yes'\non_error = 'allow'");
        let refused = refusal(&layers);
        assert!(refused.contains("`approvals.redeem_within` is `60`, expected a duration"), "{refused}");
        assert!(refused.contains("`policy.allow_empty` is `yes`, expected `true` or `false`"), "{refused}");
        assert!(refused.contains("`policy.on_error` is `allow`, expected one of `deny`, `cedar`"), "{refused}");
        let refused = refusal(&with_variables(&[("COUNTERSIGN__GRPC__LISTEN", "localhost")]));
        assert!(refused.starts_with("environment variable `COUNTERSIGN__GRPC__LISTEN`: `grpc.listen`"), "{refused}");
        let refused = refusal(&Layers::default().flag("grpc.listen", Some(&"here")));
        assert!(refused.starts_with("command line: `grpc.listen` is `here`"), "{refused}");
    }

    #[test]
    fn a_file_that_is_absent_or_no_toml_is_named() {
        let absent = Layers { file: Some("no/such.toml".into()), ..Layers::default() };
        assert!(refusal(&absent).contains("no/such.toml"));
        let (_dir, broken) = file("[journal\n");
        assert!(refusal(&broken).contains(FILE_NAME));
    }
}
