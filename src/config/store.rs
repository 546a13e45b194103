//! The `[store.redis]` table: where the Redis is that replicas share.

use std::path::PathBuf;
use std::time::Duration;

use http::Uri;
use schemars::{JsonSchema, Schema, SchemaGenerator};
use serde::{Deserialize, Serialize};
use serde_json::Value;

use super::values::{Setting, Span};
use crate::store::embedded::Limits;
use crate::store::redis::{Address, Durability, Encryption, Login, Settings, Shape};

/// As it is written. [`Redis::settings`] says what it means, or what is wrong with it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Redis {
    /// `redis://host:port`, or `rediss://` over TLS: one primary, the Sentinels, or some nodes of a Cluster.
    pub urls: Vec<String>,
    /// The name of the primary, where the URLs are Sentinels.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub master: Option<String>,
    /// The URLs are nodes of a Redis Cluster.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub cluster: bool,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub username: Option<String>,
    /// Read for every connection.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub password_file: Option<PathBuf>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub sentinel_username: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub sentinel_password_file: Option<PathBuf>,
    /// PEM: the CAs of the Redis servers.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub ca_file: Option<PathBuf>,
    /// What every key begins with.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub prefix: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub durability: Option<WrittenDurability>,
    /// With `replicated`: how many replicas must have a change.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub replicas: Option<usize>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub command_timeout: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub journal_lease: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub settled_retention: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub entities_max_age: Option<String>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum WrittenDurability {
    Replicated,
    Primary,
}

/// A prefix is part of every key, and of a hash tag.
const PREFIX_CHARS_MAX: usize = 64;
const REPLICAS_MAX: usize = 16;
const COMMAND_TIMEOUT_MIN: Duration = Duration::from_millis(20);
const COMMAND_TIMEOUT_MAX: Duration = Duration::from_secs(10);
const LEASE_MIN: Duration = Duration::from_secs(1);
const RETENTION_MIN: Duration = Duration::from_secs(60);
/// Longer than a failover takes.
const ENTITIES_AGE_MIN: Duration = Duration::from_secs(60);

impl Redis {
    /// What the store is made from.
    ///
    /// # Errors
    /// What is wrong, as a sentence that begins with the key.
    pub fn settings(&self, limits: Limits) -> Result<Settings, String> {
        let urls: Vec<Url> = self.urls.iter().map(|url| self.url(url)).collect::<Result<_, _>>()?;
        let first = urls.first().ok_or("`urls`: at least one")?;
        if urls.iter().any(|url| url.encrypted != first.encrypted) {
            return Err("`urls`: all `redis://` or all `rediss://`".to_owned());
        }
        if self.ca_file.is_some() && !first.encrypted {
            return Err("`ca_file`: only with `rediss://`".to_owned());
        }
        let encryption = first.encrypted.then(|| Encryption { ca_file: self.ca_file.clone() });
        let defaults = Settings::new(urls.into_iter().map(|url| url.address).collect());
        Ok(Settings {
            shape: self.shape()?,
            encryption,
            login: login(&self.username, &self.password_file),
            sentinel_login: login(&self.sentinel_username, &self.sentinel_password_file),
            prefix: self.prefix(&defaults)?,
            durability: self.durability()?,
            command_timeout: span(
                "command_timeout",
                self.command_timeout.as_deref(),
                defaults.command_timeout,
                |span| (COMMAND_TIMEOUT_MIN..=COMMAND_TIMEOUT_MAX).contains(&span),
            )?,
            lease: span("journal_lease", self.journal_lease.as_deref(), defaults.lease, |span| span >= LEASE_MIN)?,
            settled_retention: span(
                "settled_retention",
                self.settled_retention.as_deref(),
                defaults.settled_retention,
                |span| span >= RETENTION_MIN,
            )?,
            entities_max_age: span(
                "entities_max_age",
                self.entities_max_age.as_deref(),
                defaults.entities_max_age,
                |span| span >= ENTITIES_AGE_MIN,
            )?,
            limits,
            ..defaults
        })
    }

    fn shape(&self) -> Result<Shape, String> {
        match (&self.master, self.cluster) {
            (Some(_), true) => Err("`master`: not together with `cluster`".to_owned()),
            (Some(master), false) => Ok(Shape::Sentinel { master: master.clone() }),
            (None, true) => Ok(Shape::Cluster),
            (None, false) if self.urls.len() > 1 => {
                Err("`urls`: several are Sentinels (say `master`) or nodes of a Cluster (say `cluster`)".to_owned())
            }
            (None, false) => Ok(Shape::Single),
        }
    }

    fn prefix(&self, defaults: &Settings) -> Result<String, String> {
        let prefix = self.prefix.clone().unwrap_or_else(|| defaults.prefix.clone());
        let fits = |letter: char| letter.is_ascii_alphanumeric() || matches!(letter, '-' | '_' | '.' | ':');
        if prefix.is_empty() || prefix.len() > PREFIX_CHARS_MAX || !prefix.chars().all(fits) {
            return Err(format!("`prefix`: 1 to {PREFIX_CHARS_MAX} letters, digits, `-`, `_`, `.` or `:`"));
        }
        Ok(prefix)
    }

    fn durability(&self) -> Result<Durability, String> {
        match (self.durability, self.replicas) {
            (Some(WrittenDurability::Primary), None) => Ok(Durability::Primary),
            (Some(WrittenDurability::Primary), Some(_)) => Err("`replicas`: not with durability `primary`".to_owned()),
            (_, Some(replicas)) if !(1..=REPLICAS_MAX).contains(&replicas) => {
                Err(format!("`replicas`: 1 to {REPLICAS_MAX}; durability `primary` does without"))
            }
            (_, replicas) => Ok(Durability::Replicated { replicas: replicas.unwrap_or(1) }),
        }
    }

    fn url(&self, text: &str) -> Result<Url, String> {
        let expected = || format!("`urls`: expected `redis://host:port` or `rediss://host:port`, not `{text}`");
        // Not quoted back: it may hold a password.
        if text.contains('@') {
            return Err("`urls`: no user or password in them; write `username` and `password_file`".to_owned());
        }
        let uri: Uri = text.parse().map_err(|_| expected())?;
        let encrypted = match uri.scheme_str() {
            Some("redis") => false,
            Some("rediss") => true,
            _ => return Err(expected()),
        };
        let host = uri.host().filter(|host| !host.is_empty()).ok_or_else(expected)?;
        if !matches!(uri.path(), "" | "/") || uri.query().is_some() {
            return Err(expected());
        }
        let usual = if self.master.is_some() { 26_379 } else { 6_379 };
        let host = host.trim_start_matches('[').trim_end_matches(']').to_owned();
        Ok(Url { address: Address { host, port: uri.port_u16().unwrap_or(usual) }, encrypted })
    }
}

struct Url {
    address: Address,
    encrypted: bool,
}

fn login(username: &Option<String>, password_file: &Option<PathBuf>) -> Login {
    Login { username: username.clone(), password_file: password_file.clone() }
}

fn span(
    key: &str,
    written: Option<&str>,
    default: Duration,
    fits: impl Fn(Duration) -> bool,
) -> Result<Duration, String> {
    let Some(written) = written else { return Ok(default) };
    let span: Span = written.parse().map_err(|expected| format!("`{key}`: expected {expected}"))?;
    if fits(span.get()) { Ok(span.get()) } else { Err(format!("`{key}`: {span} is out of range")) }
}

impl Setting for Redis {
    fn read(raw: &Value) -> Result<Self, String> {
        let expected = "a table such as `[store.redis]` with `urls = [\"redis://redis.internal:6379\"]`";
        serde_json::from_value(raw.clone()).map_err(|error| format!("{expected}; it has: {error}"))
    }

    fn show(&self) -> Value {
        serde_json::to_value(self).unwrap_or(Value::Null)
    }

    fn schema(generator: &mut SchemaGenerator) -> Schema {
        generator.subschema_for::<Self>()
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn settings(table: Value) -> Result<Settings, String> {
        Redis::read(&table)?.settings(Limits::default())
    }

    #[test]
    fn one_url_is_a_primary_and_its_changes_are_replicated_unless_told_otherwise() {
        let one = settings(json!({"urls": ["redis://redis.internal"]})).unwrap();
        assert_eq!(one.seeds, [Address { host: "redis.internal".into(), port: 6379 }]);
        assert_eq!((one.shape, one.durability), (Shape::Single, Durability::Replicated { replicas: 1 }));
        assert_eq!(one.encryption, None);
        let alone = settings(json!({"urls": ["rediss://[::1]:7000"], "durability": "primary"})).unwrap();
        assert_eq!(alone.seeds, [Address { host: "::1".into(), port: 7000 }]);
        assert_eq!((alone.durability, alone.encryption), (Durability::Primary, Some(Encryption::default())));
    }

    #[test]
    fn sentinels_and_clusters_are_named() {
        let sentinels = json!({"urls": ["redis://a", "redis://b:1"], "master": "m"});
        let sentinels = settings(sentinels).unwrap();
        assert_eq!(sentinels.shape, Shape::Sentinel { master: "m".into() });
        assert_eq!(sentinels.seeds.iter().map(|seed| seed.port).collect::<Vec<_>>(), [26_379, 1]);
        let cluster = settings(json!({"urls": ["redis://a", "redis://b"], "cluster": true})).unwrap();
        assert_eq!(cluster.shape, Shape::Cluster);
    }

    #[test]
    fn what_cannot_work_is_refused_by_its_key() {
        let check = |table: Value, key: &str| {
            let refused = settings(table).unwrap_err();
            assert!(refused.contains(key), "{refused}");
        };
        check(json!({"urls": []}), "`urls`");
        check(json!({"urls": ["redis://a", "redis://b"]}), "`urls`");
        check(json!({"urls": ["http://a"]}), "`urls`");
        check(json!({"urls": ["redis://a/1"]}), "`urls`");
        check(json!({"urls": ["redis://a", "rediss://b"], "cluster": true}), "`urls`");
        check(json!({"urls": ["redis://a"], "ca_file": "x"}), "`ca_file`");
        check(json!({"urls": ["redis://a"], "replicas": 0}), "`replicas`");
        check(json!({"urls": ["redis://a"], "replicas": 1, "durability": "primary"}), "`replicas`");
        check(json!({"urls": ["redis://a"], "prefix": "{x}"}), "`prefix`");
        check(json!({"urls": ["redis://a"], "command_timeout": "1ms"}), "`command_timeout`");
        check(json!({"urls": ["redis://a"], "entities_max_age": "1s"}), "`entities_max_age`");
        check(json!({"urls": ["redis://a"], "password": "x"}), "unknown field");
        let with_password = settings(json!({"urls": ["redis://user:secret@a"]})).unwrap_err();
        assert!(with_password.contains("password_file") && !with_password.contains("secret"), "{with_password}");
    }
}
