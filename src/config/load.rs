//! The layers: file < environment < flags, merged by config-rs, then taken apart key by key. config-rs converts leniently
//! (`"yes"` is a true, a float is a number); nothing of that reaches us: values are read by [`super::values`].

use std::collections::{BTreeMap, HashMap};
use std::io::Read;
use std::path::PathBuf;

use config::builder::DefaultState;
use config::{ConfigBuilder, Environment, File, FileFormat, ValueKind};
use serde_json::Value;

use super::lines::Lines;
use super::problem::{ConfigError, Origin, Problem, nearest};
use super::sections::Config;

/// The file that is read if none is named and it is there.
pub const FILE_NAME: &str = "countersign.toml";

const PREFIX: &str = "COUNTERSIGN";
/// Between the prefix, the section and the key.
const SEPARATOR: &str = "__";
/// Behind the variable of a key that says where a secret lies: the variable holds the path of the secret's file.
const FILE_SUFFIX: &str = "_FILE";

/// What is in force.
#[derive(Debug, Clone, PartialEq)]
pub struct Loaded {
    pub config: Config,
    /// Of every key that somebody wrote, by its full name; all others are at their defaults.
    pub origins: BTreeMap<String, Origin>,
}

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
        self.load_with_origins().map(|loaded| loaded.config)
    }

    /// The settings in force, and where each of them comes from.
    ///
    /// # Errors
    /// As for [`Layers::load`].
    pub fn load_with_origins(&self) -> Result<Loaded, ConfigError> {
        let (environment, problems) = self.with_secret_files();
        let written = self.merged(environment)?;
        let mut reader = Reader {
            layers: self,
            lines: self.file.as_deref().map(Lines::of_file).unwrap_or_default(),
            known: known_keys(),
            config: Config::default(),
            origins: BTreeMap::new(),
            problems: problems.into_iter().chain(self.underscores()).collect(),
        };
        reader.table("", &written);
        reader.problems.extend(reader.config.check());
        let Reader { config, origins, problems, .. } = reader;
        if problems.is_empty() { Ok(Loaded { config, origins }) } else { Err(ConfigError { problems }) }
    }

    /// The environment with `.._FILE` as what it means, and what is wrong with it.
    fn with_secret_files(&self) -> (HashMap<String, String>, Vec<Problem>) {
        let mut environment = self.environment.clone();
        let mut problems = Vec::new();
        for variable in places_of_secrets() {
            let file_variable = format!("{variable}{FILE_SUFFIX}");
            let Some(file) = environment.remove(&file_variable) else { continue };
            if let Err(error) = std::fs::File::open(&file).and_then(|file| std::io::read_to_string(file.take(1))) {
                problems.push(Problem::Secret { file_variable, file, reason: error.to_string() });
            } else if environment.insert(variable.clone(), format!("file:{file}")).is_some() {
                problems.push(Problem::Both { variable, file_variable });
            }
        }
        (environment, problems)
    }

    fn merged(&self, environment: HashMap<String, String>) -> Result<config::Map<String, config::Value>, ConfigError> {
        let file = self.file.as_ref().map_or_else(String::new, |file| file.display().to_string());
        let unreadable = |error: config::ConfigError| {
            let problem = Problem::Unreadable { file: file.clone(), reason: error.to_string() };
            ConfigError { problems: vec![problem] }
        };
        let merged = self.builder(environment).and_then(ConfigBuilder::<DefaultState>::build).map_err(unreadable)?;
        match merged.cache.kind {
            ValueKind::Table(table) => Ok(table),
            // config-rs starts from a table; nothing written is nothing set.
            _ => Ok(config::Map::new()),
        }
    }

    fn builder(&self, variables: HashMap<String, String>) -> Result<ConfigBuilder<DefaultState>, config::ConfigError> {
        let environment = Environment::with_prefix(PREFIX).prefix_separator(SEPARATOR).separator(SEPARATOR);
        let mut builder = config::Config::builder();
        if let Some(file) = &self.file {
            builder = builder.add_source(File::from(file.clone()).format(FileFormat::Toml));
        }
        builder = builder.add_source(environment.source(Some(variables.into_iter().collect())));
        self.flags.iter().try_fold(builder, |builder, (key, value)| builder.set_override(*key, value.clone()))
    }

    fn origin_of(&self, key: &str, value: &config::Value, lines: &Lines) -> Origin {
        let of_file = |path: String| Origin::File { path, line: lines.of(key) };
        match (value.origin(), &self.file) {
            _ if self.flags.contains_key(key) => Origin::Flag,
            (Some("the environment"), _) => Origin::Environment(self.variable_used(key)),
            (Some(_), Some(file)) => of_file(file.display().to_string()),
            // A table has no origin: it is of the variable that sets a part of it, or of the file.
            (None, file) => match (self.variable_within(key), file) {
                (Some(variable), _) => Origin::Environment(variable),
                (None, Some(file)) => of_file(file.display().to_string()),
                (None, None) => Origin::Default,
            },
            (Some(_), None) => Origin::Default,
        }
    }

    /// The variable as it was written.
    fn variable_used(&self, key: &str) -> String {
        let file_variable = format!("{}{FILE_SUFFIX}", variable_of(key));
        let is_file = self.environment.contains_key(&file_variable);
        if is_file { file_variable } else { variable_of(key) }
    }

    /// A variable that sets a part of this table.
    fn variable_within(&self, key: &str) -> Option<String> {
        let prefix = format!("{}{SEPARATOR}", variable_of(key));
        self.environment.keys().filter(|name| name.starts_with(&prefix)).min().cloned()
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

/// The variables of the keys that say where a secret lies.
fn places_of_secrets() -> impl Iterator<Item = String> {
    let entries = Config::default().entries().into_iter();
    entries.filter(|entry| entry.is_place_of_secret).map(|entry| variable_of(&entry.key))
}

struct Reader<'a> {
    layers: &'a Layers,
    lines: Lines,
    config: Config,
    origins: BTreeMap<String, Origin>,
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
        let origin = self.layers.origin_of(key, value, &self.lines);
        let raw = plain(&value.kind);
        let problem = match self.set(key, &raw, &origin) {
            Some(Ok(())) => {
                self.origins.insert(key.to_owned(), origin);
                return;
            }
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
            Origin::File { .. } | Origin::Flag | Origin::Default => meant,
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
    fn every_value_is_known_with_its_place() {
        let (dir, mut layers) = file(
            "[journal]\n\ndir = 'j'\n[store]\nkind = 'redis'\n[store.redis]\nurls = ['redis://a']\n\n[[identity.issuers]]\nname = 'a'\nissuer = \
             'https://a.example'\naudiences = ['x']\nuser_clients = ['y']\n",
        );
        layers.environment.insert("COUNTERSIGN__LIMITS__WAITS_MAX".into(), "7".into());
        let origins = layers.flag("policy.dir", Some(&"p")).load_with_origins().unwrap().origins;
        let told: Vec<_> = origins.iter().map(|(key, origin)| format!("{key} {origin}")).collect();
        let told: Vec<_> = told.iter().map(|line| line.replace(&layers_dir(&dir), "")).collect();
        assert_eq!(
            told,
            [
                "identity.issuers countersign.toml:9",
                "journal.dir countersign.toml:3",
                "limits.waits_max environment variable `COUNTERSIGN__LIMITS__WAITS_MAX`",
                "policy.dir command line",
                "store.kind countersign.toml:5",
                "store.redis countersign.toml:6",
            ]
        );
    }

    fn layers_dir(dir: &tempfile::TempDir) -> String {
        format!("{}/", dir.path().display())
    }

    #[test]
    fn a_secret_is_in_the_file_that_a_variable_names_and_nowhere_else() {
        let secret = tempfile::NamedTempFile::new().unwrap();
        std::fs::write(secret.path(), format!("{}\n", "0f".repeat(32))).unwrap();
        let path = secret.path().to_str().unwrap();
        let (place, file) = ("COUNTERSIGN__MASKING__FORMAT_KEY", "COUNTERSIGN__MASKING__FORMAT_KEY_FILE");
        let loaded = with_variables(&[(file, path)]).load_with_origins().unwrap();
        assert_eq!(loaded.config.masking.format_key.as_ref().unwrap().read().unwrap(), [15; 32]);
        assert_eq!(loaded.origins["masking.format_key"], Origin::Environment(file.to_owned()));

        let both = refusal(&with_variables(&[(file, path), (place, "env:KEY")]));
        assert!(both.contains(&format!("`{place}` and `{file}` are both set")), "{both}");
        let missing = refusal(&with_variables(&[(file, "/no/such/secret")]));
        assert!(missing.starts_with(&format!("environment variable `{file}`: cannot read")), "{missing}");
        let elsewhere = refusal(&with_variables(&[("COUNTERSIGN__JOURNAL__SYNC_FILE", path)]));
        assert!(elsewhere.contains("unknown key"), "a file stands for secrets alone: {elsewhere}");
    }

    #[test]
    fn the_file_of_a_password_goes_beside_what_the_configuration_says_of_redis() {
        let (_dir, mut layers) = file("[store]\nkind = 'redis'\n[store.redis]\nurls = ['redis://a']\n");
        let variable = "COUNTERSIGN__STORE__REDIS__PASSWORD_FILE";
        layers.environment.insert(variable.into(), "/run/secrets/redis".into());
        let loaded = layers.load_with_origins().unwrap();
        let redis = loaded.config.store.redis.unwrap();
        assert_eq!((redis.urls.len(), redis.password_file), (1, Some("/run/secrets/redis".into())));
        assert_eq!(loaded.origins["store.redis"], Origin::Environment(variable.to_owned()));
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
