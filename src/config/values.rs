//! What a value may be. Parsed once, here; the rest of the program holds types.

use std::fmt;
use std::net::{IpAddr, SocketAddr};
use std::path::PathBuf;
use std::time::Duration;

use schemars::{Schema, SchemaGenerator, json_schema};
use serde_json::Value;

/// A type that a key can have.
pub trait Setting: Sized {
    /// Whether it says where a secret lies, so that a variable with `_FILE` behind its name can say it as well.
    const IS_PLACE_OF_SECRET: bool = false;

    /// # Errors
    /// What was expected, as the end of the sentence "expected ..".
    fn read(raw: &Value) -> Result<Self, String>;
    /// As it would be written; null for nothing.
    fn show(&self) -> Value;
    /// What editors are told of it. Everything that [`Setting::read`] takes must pass; some of what it refuses may.
    fn schema(generator: &mut SchemaGenerator) -> Schema;
}

/// A span of time, written as `250ms`, `30s`, `15m` or `1h 30m`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct Span(pub Duration);

impl Span {
    /// The longest that can be written: ten years. Longer is a mistake.
    const MAX: Duration = Duration::from_secs(3_653 * 86_400);

    #[must_use]
    pub const fn get(self) -> Duration {
        self.0
    }
}

impl std::str::FromStr for Span {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let expected = || "a duration such as `250ms`, `30s`, `15m` or `8h`, at most ten years".to_owned();
        let span: jiff::SignedDuration = text.parse().map_err(|_| expected())?;
        let span = Duration::try_from(span).map_err(|_| expected())?;
        if span <= Self::MAX { Ok(Self(span)) } else { Err(expected()) }
    }
}

impl fmt::Display for Span {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match jiff::SignedDuration::try_from(self.0) {
            Ok(span) => write!(f, "{span:#}"),
            Err(_) => write!(f, "{}s", self.0.as_secs()),
        }
    }
}

impl Setting for Span {
    fn read(raw: &Value) -> Result<Self, String> {
        // A bare number would leave its unit to the reader's imagination: refused with the same words.
        raw.as_str().unwrap_or("a number without a unit").parse()
    }

    fn show(&self) -> Value {
        self.to_string().into()
    }

    fn schema(_: &mut SchemaGenerator) -> Schema {
        json_schema!({"type": "string", "pattern": "^[+0-9P]"})
    }
}

/// A number of things or bytes: at least 1, because a limit of nothing is a mistake.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct Count(u64);

impl Count {
    /// For defaults and tests.
    #[must_use]
    pub const fn of(number: u64) -> Self {
        Self(number)
    }

    #[must_use]
    pub const fn get(self) -> u64 {
        self.0
    }

    /// For sizes in memory.
    #[must_use]
    pub fn as_usize(self) -> usize {
        usize::try_from(self.0).unwrap_or(usize::MAX)
    }
}

impl Setting for Count {
    fn read(raw: &Value) -> Result<Self, String> {
        let number = raw.as_u64().filter(|number| (1..=1 << 53).contains(number));
        number.map(Self).ok_or_else(|| "a whole number from 1 on".to_owned())
    }

    fn show(&self) -> Value {
        self.0.into()
    }

    fn schema(_: &mut SchemaGenerator) -> Schema {
        json_schema!({"type": "integer", "minimum": 1})
    }
}

/// A part of all: from 0 (none) to 1 (all), in millionths.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Ratio(u32);

impl Ratio {
    #[must_use]
    pub const fn percent(percent: u32) -> Self {
        Self(percent * 10_000)
    }

    #[must_use]
    pub fn get(self) -> f64 {
        f64::from(self.0) / 1e6
    }
}

impl Setting for Ratio {
    fn read(raw: &Value) -> Result<Self, String> {
        let ratio = raw.as_f64().filter(|ratio| (0.0..=1.0).contains(ratio));
        #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "between 0 and a million")]
        ratio.map(|ratio| Self((ratio * 1e6).round() as u32)).ok_or_else(|| "a number from 0 to 1".to_owned())
    }

    fn show(&self) -> Value {
        self.get().into()
    }

    fn schema(_: &mut SchemaGenerator) -> Schema {
        json_schema!({"type": "number", "minimum": 0, "maximum": 1})
    }
}

/// A number of things of which there may be none.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct Amount(u64);

impl Amount {
    /// For defaults and tests.
    #[must_use]
    pub const fn of(number: u64) -> Self {
        Self(number)
    }

    /// For sizes in memory.
    #[must_use]
    pub fn as_usize(self) -> usize {
        usize::try_from(self.0).unwrap_or(usize::MAX)
    }
}

impl Setting for Amount {
    fn read(raw: &Value) -> Result<Self, String> {
        let number = raw.as_u64().filter(|number| *number <= 1 << 53);
        number.map(Self).ok_or_else(|| "a whole number".to_owned())
    }

    fn show(&self) -> Value {
        self.0.into()
    }

    fn schema(_: &mut SchemaGenerator) -> Schema {
        json_schema!({"type": "integer", "minimum": 0})
    }
}

impl<T: Setting> Setting for Option<T> {
    fn read(raw: &Value) -> Result<Self, String> {
        T::read(raw).map(Some)
    }

    fn show(&self) -> Value {
        self.as_ref().map_or(Value::Null, Setting::show)
    }

    fn schema(generator: &mut SchemaGenerator) -> Schema {
        T::schema(generator)
    }
}

impl Setting for bool {
    fn read(raw: &Value) -> Result<Self, String> {
        raw.as_bool().ok_or_else(|| "`true` or `false`".to_owned())
    }

    fn show(&self) -> Value {
        (*self).into()
    }

    fn schema(_: &mut SchemaGenerator) -> Schema {
        json_schema!({"type": "boolean"})
    }
}

impl Setting for SocketAddr {
    fn read(raw: &Value) -> Result<Self, String> {
        let address = raw.as_str().and_then(|text| text.parse().ok());
        address.ok_or_else(|| "an IP address and port such as `127.0.0.1:7443` or `[::1]:7443`".to_owned())
    }

    fn show(&self) -> Value {
        self.to_string().into()
    }

    fn schema(_: &mut SchemaGenerator) -> Schema {
        json_schema!({"type": "string", "pattern": "^.+:[0-9]+$"})
    }
}

impl Setting for PathBuf {
    fn read(raw: &Value) -> Result<Self, String> {
        let path = raw.as_str().filter(|text| !text.is_empty() && !text.contains('\0'));
        path.map(Self::from).ok_or_else(|| "a path".to_owned())
    }

    fn show(&self) -> Value {
        self.to_string_lossy().into()
    }

    fn schema(_: &mut SchemaGenerator) -> Schema {
        json_schema!({"type": "string", "minLength": 1})
    }
}

impl Setting for IpAddr {
    fn read(raw: &Value) -> Result<Self, String> {
        let address = raw.as_str().and_then(|text| text.parse().ok());
        address.ok_or_else(|| "an IP address such as `10.0.0.1`".to_owned())
    }

    fn show(&self) -> Value {
        self.to_string().into()
    }

    fn schema(_: &mut SchemaGenerator) -> Schema {
        json_schema!({"type": "string", "minLength": 2})
    }
}

/// A name, without blanks around it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Text(String);

impl Text {
    /// For defaults.
    #[must_use]
    pub fn of(text: &str) -> Self {
        Self(text.to_owned())
    }

    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl Setting for Text {
    fn read(raw: &Value) -> Result<Self, String> {
        let text = raw.as_str().filter(|text| !text.is_empty() && text.trim() == *text);
        text.map(Self::of).ok_or_else(|| "a text that is not empty, without blanks around it".to_owned())
    }

    fn show(&self) -> Value {
        self.0.clone().into()
    }

    fn schema(_: &mut SchemaGenerator) -> Schema {
        json_schema!({"type": "string", "pattern": "^\\S(.*\\S)?$"})
    }
}

macro_rules! list {
    ($($Type:ty),+) => {
        $(impl Setting for Vec<$Type> {
            fn read(raw: &Value) -> Result<Self, String> {
                raw.as_array().ok_or("a list")?.iter().map(<$Type>::read).collect()
            }

            fn show(&self) -> Value {
                self.iter().map(Setting::show).collect()
            }

            fn schema(generator: &mut SchemaGenerator) -> Schema {
                json_schema!({"type": "array", "items": <$Type>::schema(generator)})
            }
        })+
    };
}

list!(Text, IpAddr);

/// What is logged, by level and module.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LogFilter(String);

impl LogFilter {
    #[must_use]
    pub fn info() -> Self {
        Self("info".to_owned())
    }

    #[must_use]
    pub fn warn() -> Self {
        Self("warn".to_owned())
    }

    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl Setting for LogFilter {
    fn read(raw: &Value) -> Result<Self, String> {
        let expected = "`error`, `warn`, `info`, `debug` or `trace`, also by module: `info,countersign::journal=debug`";
        let is_level = |part: &str| matches!(part, "off" | "error" | "warn" | "info" | "debug" | "trace");
        // A word that is no level would be taken for a module's name, and silence everything else.
        let is_part = |part: &str| part.split_once('=').map_or(is_level(part), |(_, level)| is_level(level));
        let is_filter = |text: &&str| {
            text.split(',').all(|part| is_part(part.trim())) && tracing_subscriber::EnvFilter::try_new(text).is_ok()
        };
        raw.as_str().filter(is_filter).map(|text| Self(text.to_owned())).ok_or_else(|| expected.to_owned())
    }

    fn show(&self) -> Value {
        self.0.clone().into()
    }

    fn schema(_: &mut SchemaGenerator) -> Schema {
        json_schema!({"type": "string", "minLength": 1})
    }
}

macro_rules! choice {
    ($(#[$doc:meta])* $Name:ident { $($Variant:ident = $text:literal),+ $(,)? }) => {
        $(#[$doc])*
        #[derive(Debug, Clone, Copy, PartialEq, Eq)]
        pub enum $Name { $($Variant),+ }

        impl Setting for $Name {
            fn read(raw: &Value) -> Result<Self, String> {
                match raw.as_str() {
                    $( Some($text) => Ok(Self::$Variant), )+
                    _ => Err(format!("one of {}", [$(concat!("`", $text, "`")),+].join(", "))),
                }
            }

            fn show(&self) -> Value {
                match self { $( Self::$Variant => $text.into() ),+ }
            }

            fn schema(_: &mut SchemaGenerator) -> Schema {
                json_schema!({"enum": [$($text),+]})
            }
        }
    };
}

choice! {
    /// When an answer waits for the disk.
    Sync { Always = "always", Interval = "interval" }
}
choice! {
    /// What seals the journal.
    SealingMode { Keys = "keys", Kept = "kept", Off = "off" }
}
choice! {
    /// What a policy that cannot be evaluated does.
    OnError { Deny = "deny", Cedar = "cedar" }
}
choice! {
    /// Where approvals are.
    StoreKind { Embedded = "embedded", Redis = "redis" }
}
choice! {
    /// How log lines look.
    LogFormat { Auto = "auto", Json = "json", Pretty = "pretty" }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn check<T: Setting>(good: &[Value], bad: &[Value]) {
        for raw in good {
            assert!(T::read(raw).is_ok(), "{raw}");
        }
        for raw in bad {
            assert!(T::read(raw).is_err(), "{raw}");
        }
    }

    #[test]
    fn values_are_taken_as_written_or_not_at_all() {
        check::<Span>(
            &[json!("15m"), json!("0s"), json!("1h 30m"), json!("250ms")],
            &[json!(15), json!("15"), json!("-1s"), json!("1 month"), json!(""), json!("100000d")],
        );
        check::<Count>(&[json!(1), json!(1 << 30)], &[json!(0), json!(-1), json!(1.5), json!("12"), json!(null)]);
        check::<bool>(&[json!(true)], &[json!("yes"), json!(1), json!("true")]);
        check::<SocketAddr>(
            &[json!("[::1]:1"), json!("0.0.0.0:0")],
            &[json!("localhost:1"), json!("127.0.0.1"), json!(7443)],
        );
        check::<PathBuf>(&[json!("a b")], &[json!(""), json!("a\0b"), json!(7)]);
        check::<OnError>(&[json!("deny"), json!("cedar")], &[json!("allow"), json!("Deny"), json!(true)]);
        check::<LogFilter>(
            &[json!("info"), json!("warn,countersign=debug")],
            &[json!("infos"), json!("a=loud"), json!("")],
        );
    }

    #[test]
    fn a_duration_is_shown_as_it_would_be_written() {
        for text in ["15m", "1h", "250ms", "0s", "1h 30m"] {
            let span: Span = text.parse().unwrap();
            assert_eq!(span.to_string().parse::<Span>().unwrap(), span);
            assert_eq!(span.to_string(), text);
        }
    }
}
