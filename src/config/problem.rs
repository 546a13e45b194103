//! Everything that is wrong with a configuration, at once, each with its place, what was expected, and what may have been
//! meant.

use std::fmt;

use serde_json::Value;

use crate::domain::entity::Shown;

/// The configuration cannot be used; never empty.
#[derive(Debug, Clone, PartialEq, thiserror::Error)]
#[error("{}", .problems.iter().map(ToString::to_string).collect::<Vec<_>>().join("\n"))]
pub struct ConfigError {
    pub problems: Vec<Problem>,
}

/// Where a value was written.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Origin {
    File {
        path: String,
        /// From 1, where the key stands; `None` where the file does not tell.
        line: Option<usize>,
    },
    /// The variable.
    Environment(String),
    Flag,
    /// Nowhere: it is the default, or absent.
    Default,
}

/// One thing that is wrong.
#[derive(Debug, Clone, PartialEq, thiserror::Error)]
pub enum Problem {
    #[error("cannot read `{file}`: {reason}")]
    Unreadable { file: String, reason: String },
    #[error("{origin}: unknown key `{}`{}", Shown(.key), did_you_mean(.nearest.as_deref()))]
    Unknown { origin: Origin, key: String, nearest: Option<String> },
    #[error("{origin}: `{key}` is {}, expected {expected}", ShownValue(.value))]
    Value { origin: Origin, key: String, value: Value, expected: String },
    #[error("`{variable}` and `{file_variable}` are both set, and only one of them can be meant: unset the other")]
    Both { variable: String, file_variable: String },
    #[error("environment variable `{file_variable}`: cannot read the secret in `{file}`: {reason}")]
    Secret { file_variable: String, file: String, reason: String },
    #[error("environment variable `{variable}` means nothing; did you mean `{meant}` (two underscores)?")]
    Underscore { variable: String, meant: String },
    /// Values that are good by themselves and cannot work together.
    #[error("`{key}`: {message}")]
    Together { key: &'static str, message: String },
}

impl fmt::Display for Origin {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::File { path, line: Some(line) } => write!(f, "{path}:{line}"),
            Self::File { path, line: None } => f.write_str(path),
            Self::Environment(variable) => write!(f, "environment variable `{}`", Shown(variable)),
            Self::Flag => f.write_str("command line"),
            Self::Default => f.write_str("default"),
        }
    }
}

fn did_you_mean(nearest: Option<&str>) -> String {
    nearest.map_or_else(
        || "; `countersign config print` lists all keys".to_owned(),
        |nearest| format!("; did you mean `{nearest}`?"),
    )
}

/// A value as it was written, within limits: somebody may have put a secret or a novel there.
struct ShownValue<'a>(&'a Value);

impl fmt::Display for ShownValue<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.0 {
            Value::String(text) if text.chars().count() > 60 => {
                write!(f, "a text of {} characters", text.chars().count())
            }
            Value::String(text) => write!(f, "`{}`", Shown(text)),
            Value::Array(_) => f.write_str("a list"),
            Value::Object(_) => f.write_str("a table"),
            Value::Null | Value::Bool(_) | Value::Number(_) => write!(f, "`{}`", self.0),
        }
    }
}

/// The known key that was probably meant: the same name in another section, or one that is a few letters away.
#[must_use]
pub fn nearest(unknown: &str, known: &[String]) -> Option<String> {
    let last = |key: &str| key.rsplit('.').next().map(str::to_owned);
    let elsewhere = known.iter().find(|key| last(key) == last(unknown));
    let scored = known.iter().map(|key| (strsim::damerau_levenshtein(unknown, key), key));
    let close = scored.min().filter(|(distance, _)| *distance <= 1 + unknown.chars().count() / 4);
    match close {
        Some((distance, key)) if distance <= 2 || elsewhere.is_none() => Some(key.clone()),
        Some(_) | None => elsewhere.cloned(),
    }
}
