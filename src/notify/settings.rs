//! What the operator says of notifications: targets, each strictly read. Secrets are in files and never here.

use std::path::PathBuf;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::address::Network;
use super::backoff::Retry;
use super::bot::{Bot, BotSettings};
use super::{email, secret};
use crate::domain::{Gate, Severity, is_target_name};

const TARGETS_MAX: usize = 32;
const SLACK_API: &str = "https://slack.com/api/";

/// All of it; without targets nothing is sent.
#[derive(Debug, Clone, Default)]
pub struct Settings {
    /// Where the outbox keeps its places; made if it is missing.
    pub dir: PathBuf,
    pub targets: Vec<Target>,
    /// The start of links, such as `https://countersign.example`.
    pub inbox_url: Option<String>,
    pub retry: Retry,
    /// What targets with buttons need.
    pub chat: Option<ChatSettings>,
}

/// How people decide by buttons in chat.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ChatSettings {
    /// Where links between accounts and people are kept; replicas may share it.
    pub dir: PathBuf,
    /// The key of buttons and links; the same at every replica.
    pub key_file: PathBuf,
    /// The highest severity that has buttons.
    pub up_to: Severity,
    pub slack: Option<SlackApp>,
}

/// The Slack app whose requests are believed, and in which workspace.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct SlackApp {
    /// The id of the workspace, `T...`: accounts of others never decide.
    pub workspace: String,
    /// The app's signing secret. While it is replaced, the old and the new one, a line each.
    pub signing_secret_file: PathBuf,
}

/// One target as it is written; unknown keys are refused.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct TargetSettings {
    /// What `@notify` calls it.
    pub name: String,
    pub kind: Kind,
    /// Where to. Of Slack: another API than Slack's own. Of Teams: the service URL of the bot; absent without one, for then it is
    /// a secret.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub url: Option<String>,
    /// Webhook: one `whsec_` secret a line. Slack: the bot's token. Teams: the bot's client secret, or without a bot the
    /// URL of the workflow. E-mail: user and password, a
    /// line each.
    pub secret_file: PathBuf,
    /// Slack, and Teams with a bot: the id of the channel.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub channel: Option<String>,
    /// Teams: the bot that posts, changes what it posted, and hears clicks.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub bot: Option<BotSettings>,
    /// Told of gates without `@notify` from this severity on. Absent: only of those that name it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub from: Option<Level>,
    /// Networks that are not the public internet and may be reached all the same, also in clear.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub allow: Vec<String>,
    /// Webhook: the `source` of its events.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub source: Option<String>,
    /// Slack, and Teams with a bot: its messages have buttons, and show parameters (`[chat]`).
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub buttons: bool,
    /// E-mail: who it is from.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub sender: Option<String>,
    /// E-mail: who gets it.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub to: Vec<String>,
    /// E-mail: PEM, the CA of the mail server, if it is not one of the system's.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub ca_file: Option<PathBuf>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Kind {
    Webhook,
    Slack,
    Teams,
    Email,
}

/// A severity as it is written.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Level {
    Low,
    Medium,
    High,
    Critical,
}

/// One target, checked.
#[derive(Debug, Clone)]
pub struct Target {
    pub name: String,
    pub kind: Kind,
    url: Option<reqwest::Url>,
    pub secret_file: PathBuf,
    /// Empty but for Slack, and Teams with a bot.
    pub channel: String,
    pub bot: Option<Bot>,
    pub from: Option<Severity>,
    pub allow: Vec<Network>,
    pub source: String,
    /// Whether it shows what people can decide there, and lets them.
    pub buttons: bool,
    /// Of e-mail, and of nothing else.
    pub(super) letter: Option<email::Letter>,
}

#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("target `{name}`: {problem}")]
pub struct SettingsError {
    name: String,
    problem: String,
}

impl Target {
    /// Reads all targets. Does not look at their files: those may be replaced at any time.
    ///
    /// # Errors
    /// The first that cannot work.
    pub fn read_all(written: &[TargetSettings]) -> Result<Vec<Self>, SettingsError> {
        let wrong = |name: &str, problem: &str| SettingsError { name: name.to_owned(), problem: problem.to_owned() };
        if let Some(over) = written.get(TARGETS_MAX) {
            return Err(wrong(&over.name, "at most 32 targets"));
        }
        for (index, target) in written.iter().enumerate() {
            if written.iter().take(index).any(|before| before.name == target.name) {
                return Err(wrong(&target.name, "there are two of that name"));
            }
        }
        written.iter().map(|target| Self::read(target).map_err(|problem| wrong(&target.name, &problem))).collect()
    }

    fn read(written: &TargetSettings) -> Result<Self, String> {
        if !is_target_name(&written.name) {
            return Err("expected a name of lower-case letters, digits and `-`, 64 at most".to_owned());
        }
        let allow = written
            .allow
            .iter()
            .map(|text| text.parse::<Network>().map_err(|error| format!("`allow` has `{text}`: {error}")));
        let allow: Vec<Network> = allow.collect::<Result<_, _>>()?;
        let url = match (written.kind, &written.url) {
            (Kind::Webhook, Some(text)) => Some(url(text)?),
            (Kind::Webhook, None) => return Err("needs `url`".to_owned()),
            (Kind::Slack, text) => Some(url(text.as_deref().unwrap_or(SLACK_API))?),
            (Kind::Email, Some(text)) => Some(email::server(text)?),
            (Kind::Email, None) => return Err("needs `url`, such as `smtps://mail.example`".to_owned()),
            (Kind::Teams, text) => match (&written.bot, text) {
                (Some(_), Some(text)) => Some(url(text)?),
                (Some(_), None) => return Err("needs the `url` of the bot's service".to_owned()),
                (None, None) => None,
                (None, Some(_)) => return Err("has its URL in `secret_file`: whoever knows it can post".to_owned()),
            },
        };
        if written.bot.is_some() && written.kind != Kind::Teams {
            return Err("`bot` is for Teams".to_owned());
        }
        let has_channels = written.kind == Kind::Slack || written.bot.is_some();
        if has_channels != written.channel.is_some() {
            return Err("`channel` is needed for Slack and for a bot of Teams, and only there".to_owned());
        }
        if written.source.is_some() && written.kind != Kind::Webhook {
            return Err("`source` is for webhooks".to_owned());
        }
        if written.buttons && !has_channels {
            return Err("`buttons` are for Slack, and for Teams with a `bot`".to_owned());
        }
        let is_letter = written.sender.is_some() || !written.to.is_empty() || written.ca_file.is_some();
        if is_letter && written.kind != Kind::Email {
            return Err("`sender`, `to` and `ca_file` are for e-mail".to_owned());
        }
        let letter = (written.kind == Kind::Email)
            .then(|| email::Letter::read(written.sender.as_deref(), &written.to, written.ca_file.clone()));
        Ok(Self {
            letter: letter.transpose()?,
            buttons: written.buttons,
            bot: written.bot.as_ref().map(Bot::read).transpose()?,
            name: written.name.clone(),
            kind: written.kind,
            url,
            secret_file: written.secret_file.clone(),
            channel: written.channel.clone().unwrap_or_default(),
            from: written.from.map(Into::into),
            allow,
            source: written.source.clone().unwrap_or_else(|| "/countersign".to_owned()),
        })
    }

    /// Whether it is told of approvals that this gate asked for.
    #[must_use]
    pub fn is_for(&self, gate: &Gate) -> bool {
        if gate.notify.is_empty() {
            return self.from.is_some_and(|from| gate.severity >= from);
        }
        gate.notify.iter().any(|name| **name == *self.name)
    }

    /// Whether a service that says it is at this address is the one that is configured, or below it.
    #[must_use]
    pub fn serves(&self, service_url: &str) -> bool {
        let Some(base) = &self.url else { return false };
        let base = base.as_str().trim_end_matches('/');
        service_url.strip_prefix(base).is_some_and(|rest| rest.is_empty() || rest.starts_with('/'))
    }

    /// Where to; of Teams, read from the file.
    pub(super) async fn url(&self) -> Result<reqwest::Url, String> {
        match &self.url {
            Some(url) => Ok(url.clone()),
            None => url(&secret::read_line(&self.secret_file).await?),
        }
    }
}

impl From<Level> for Severity {
    fn from(level: Level) -> Self {
        match level {
            Level::Low => Self::Low,
            Level::Medium => Self::Medium,
            Level::High => Self::High,
            Level::Critical => Self::Critical,
        }
    }
}

/// An address on the web, without a password in it. The error does not repeat it.
pub(super) fn url(text: &str) -> Result<reqwest::Url, String> {
    let expected = || "expected a URL such as `https://siem.example/hooks`, without user or password".to_owned();
    let url = reqwest::Url::parse(text).map_err(|_| expected())?;
    let is_web = matches!(url.scheme(), "https" | "http") && url.has_host();
    if is_web && url.username().is_empty() && url.password().is_none() { Ok(url) } else { Err(expected()) }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(json: serde_json::Value) -> Result<Target, String> {
        let written: TargetSettings = serde_json::from_value(json).map_err(|error| error.to_string())?;
        Target::read_all(&[written]).map(|mut all| all.remove(0)).map_err(|error| error.to_string())
    }

    #[test]
    fn a_target_is_taken_as_written_or_not_at_all() {
        let whole = serde_json::json!({"name": "siem", "kind": "webhook", "url": "https://siem.example/in",
            "secret_file": "s", "from": "high", "allow": ["10.1.0.0/16"], "source": "/prod"});
        assert_eq!(read(whole.clone()).unwrap().from, Some(Severity::High));
        let with = |key: &str, value: serde_json::Value| {
            let mut changed = whole.clone();
            changed[key] = value;
            read(changed).err().unwrap_or_default()
        };
        for (key, value, said) in [
            ("name", "#siem".into(), "expected a name"),
            ("name", "".into(), "expected a name"),
            ("kind", "pigeon".into(), "unknown variant"),
            ("kind", "teams".into(), "in `secret_file`"),
            ("kind", "slack".into(), "`channel` is needed"),
            ("url", serde_json::Value::Null, "needs `url`"),
            ("url", "ftp://siem.example".into(), "expected a URL"),
            ("url", "https://a:b@siem.example".into(), "expected a URL"),
            ("url", "siem.example".into(), "expected a URL"),
            ("from", "urgent".into(), "unknown variant"),
            ("allow", serde_json::json!(["localhost"]), "expected a network"),
            ("channel", "C1".into(), "`channel` is needed for Slack and for a bot of Teams, and only there"),
            ("secret", "whsec_x".into(), "unknown field"),
            ("buttons", true.into(), "`buttons` are for Slack"),
            ("bot", serde_json::json!({"app_id": "a", "tenant": "b"}), "`bot` is for Teams"),
            ("bot", serde_json::json!({"app_id": "a"}), "missing field `tenant`"),
        ] {
            let refused = with(key, value);
            assert!(refused.contains(said), "{key}: {refused}");
        }
    }

    #[test]
    fn two_targets_of_one_name_are_refused() {
        let json = serde_json::json!({"name": "t", "kind": "teams", "secret_file": "s"});
        let one: TargetSettings = serde_json::from_value(json).unwrap();
        let refused = Target::read_all(&[one.clone(), one]).unwrap_err();
        assert_eq!(refused.to_string(), "target `t`: there are two of that name");
    }
}
