//! Deciding in chat: by a click in Slack or Teams, from an account that a person linked after logging in at the inbox.
//!
//! A click proves an account of a chat product, and no login. So it is taken for less than a token: only for what is of low
//! severity, wholly shown, unmasked, and demands nothing of the login; and only while the person's last login at the inbox is
//! recent enough for its groups to be believed. Everything else is the same path as any vote ([`super::review`]).
//!
//! [`key`] seals what leaves and must come back, [`links`] keeps who is linked, [`bot`] and [`seen`] say whose requests are heard,
//! [`decide`] votes, [`speak`] answers.

mod bot;
mod decide;
mod key;
pub mod links;
#[cfg(test)]
mod links_tests;
mod seen;
pub mod speak;

use std::path::PathBuf;
use std::sync::Arc;

use self::bot::Teams;
use self::key::Key;
use self::links::Links;
use self::seen::Seen;
use super::Service;
use crate::domain::{Approval, ApprovalState, GrantTerms, Identity, Severity, Timestamp, Verdict};
use crate::identity::Reason;
use crate::notify::settings::Kind;
use crate::notify::slack_signature::{SigningSecrets, Unproved};
use crate::notify::{Answer, Buttons, ChatSettings, Settings, SlackApp, Target, parameters, secret};

pub use self::bot::Place;
pub use self::links::{Account, Entered, Linked, Product};
pub use crate::notify::slack::{APPROVE, ENTER_CODE, FORM_FIELD, REJECT};
pub use crate::notify::teams;

/// Why people cannot decide in chat safely.
#[derive(Debug, thiserror::Error)]
pub enum ChatError {
    #[error("`chat.key_file` {}: {cause}", .path.display())]
    Key { path: PathBuf, cause: String },
    #[error("`chat.dir` {}: {cause}", .path.display())]
    Dir { path: PathBuf, cause: std::io::Error },
    #[error("`chat.slack.signing_secret_file`: {0}")]
    Secret(String),
    #[error("the target `{0}` has buttons: say who is believed, in `[chat]`, for Slack with `slack`")]
    Unsaid(String),
    #[error("the targets `{0}` and `{1}` have different bots: there is one")]
    TwoBots(String, String),
    #[error("the target `{0}`: `bot.keys_url`: {1}")]
    Keys(String, String),
    #[error(
        "the target `{0}` has buttons: people link their accounts at the inbox, so that `notify.inbox_url` is needed"
    )]
    NoInbox(String),
}

/// Why a request is not worked on.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum Unheard {
    #[error("no such app is configured")]
    NoApp,
    #[error(transparent)]
    Unproved(#[from] Unproved),
    #[error("the bot's request is not believed: {0}")]
    Disbelieved(Reason),
    #[error("the request is of another tenant or service than is configured")]
    Foreign,
    #[error("the request came before")]
    Replayed,
    #[error("what proves requests cannot be read, or too many requests came within five minutes")]
    Unavailable,
}

impl Unheard {
    /// The stable machine code.
    #[must_use]
    pub fn code(self) -> &'static str {
        match self {
            Self::NoApp => "no_app",
            Self::Unproved(Unproved::Signature) => "bad_signature",
            Self::Unproved(Unproved::Time) => "outside_window",
            Self::Disbelieved(reason) => reason.code(),
            Self::Foreign => "foreign_tenant",
            Self::Replayed => "replayed",
            Self::Unavailable => "unavailable",
        }
    }
}

/// What is needed to decide in chat.
pub struct Chat {
    key: Key,
    links: Links,
    seen: Seen,
    up_to: Severity,
    slack: Option<SlackApp>,
    teams: Option<Teams>,
    targets: Vec<Target>,
    /// Where accounts are linked.
    connect: String,
}

impl Chat {
    /// Opens what the settings say; `None` where no target has buttons. Blocking.
    ///
    /// # Errors
    /// [`ChatError`]: without every secret there are no buttons, and no start.
    pub fn open(settings: &Settings) -> Result<Option<Self>, ChatError> {
        let targets: Vec<Target> = settings.targets.iter().filter(|target| target.buttons).cloned().collect();
        let Some(first) = targets.first() else { return Ok(None) };
        let unsaid = || ChatError::Unsaid(first.name.clone());
        let ChatSettings { dir, key_file, up_to, slack } = settings.chat.clone().ok_or_else(unsaid)?;
        let in_slack = targets.iter().find(|target| target.kind == Kind::Slack);
        let slack = match (in_slack, slack) {
            (Some(target), None) => return Err(ChatError::Unsaid(target.name.clone())),
            (Some(_), app) => app,
            (None, _) => None,
        };
        let inbox = settings.inbox_url.as_ref().ok_or_else(|| ChatError::NoInbox(first.name.clone()))?;
        let key = Key::read(&key_file).map_err(|cause| ChatError::Key { path: key_file.clone(), cause })?;
        if let Some(slack) = &slack {
            let text = std::fs::read_to_string(&slack.signing_secret_file);
            let text = text.map_err(|error| ChatError::Secret(error.to_string()))?;
            SigningSecrets::parse(&text).map_err(ChatError::Secret)?;
        }
        let teams = Teams::of(&targets)?;
        let links = Links::open(&dir, key.clone()).map_err(|cause| ChatError::Dir { path: dir, cause })?;
        let connect = format!("{}/link", inbox.trim_end_matches('/'));
        Ok(Some(Self { key, links, seen: Seen::default(), up_to, slack, teams, targets, connect }))
    }

    /// Whether a request is Slack's, lately, and for the first time.
    ///
    /// # Errors
    /// [`Unheard`].
    pub async fn hear(&self, timestamp: &str, signature: &str, body: &[u8], now: Timestamp) -> Result<(), Unheard> {
        let app = self.slack.as_ref().ok_or(Unheard::NoApp)?;
        // Read anew, so that it is replaced without a restart.
        let read = secret::read(&app.signing_secret_file).await;
        let secrets = read.and_then(|text| SigningSecrets::parse(&text)).map_err(|cause| {
            tracing::error!(cause, "requests of Slack cannot be verified");
            Unheard::Unavailable
        })?;
        let proved = secrets.verify(timestamp, signature, body, now)?;
        self.seen.first(proved, now)
    }

    /// Whether an account is of the workspace or tenant that is believed.
    #[must_use]
    pub fn is_home(&self, account: &Account) -> bool {
        let home = match account.product {
            Product::Slack => self.slack.as_ref().map(|app| &app.workspace),
            Product::Teams => self.teams.as_ref().map(Teams::tenant),
        };
        home == Some(&account.workspace)
    }

    /// A target with buttons, by its name.
    #[must_use]
    pub fn target(&self, name: &str) -> Option<&Target> {
        self.targets.iter().find(|target| target.name == name)
    }

    /// Where people link their accounts.
    #[must_use]
    pub fn connect(&self) -> &str {
        &self.connect
    }

    #[must_use]
    pub fn links(&self) -> &Links {
        &self.links
    }
}

impl Service {
    /// Has people decide in chat. Once; a second one is not taken.
    pub fn decide_in(&self, chat: Arc<Chat>) {
        // The first one stays: there is one configuration.
        let _ = self.shared.chat.set(chat);
    }

    /// What deciding in chat needs, where that is configured.
    #[must_use]
    pub fn chat(&self) -> Option<&Arc<Chat>> {
        self.shared.chat.get()
    }

    /// How a message about this approval, seen through the veil with so much masked, can be answered at the target.
    pub(super) fn answerable(&self, target: &Target, approval: &Approval, masked: usize) -> Answer {
        let Some(chat) = self.chat().filter(|chat| chat.target(&target.name).is_some()) else { return Answer::Nowhere };
        if approval.state_at(self.shared.store.now()) != ApprovalState::Pending {
            return Answer::Nowhere;
        }
        if let Some(why) = self.inbox_only(chat, approval, masked) {
            return Answer::Inbox(why);
        }
        let button = |verdict| chat.key.button(approval, verdict, &target.name);
        match (button(Verdict::Approve), button(Verdict::Reject)) {
            (Some(approve), Some(reject)) => Answer::Buttons(Buttons { approve, reject }),
            (None, _) | (_, None) => Answer::Inbox("there are no buttons at the moment"),
        }
    }

    /// Why this is not decided in chat, whoever clicks.
    fn inbox_only(&self, chat: &Chat, approval: &Approval, masked: usize) -> Option<&'static str> {
        let severity = approval.opening.requirement.severity();
        let rules = &self.shared.limits.review;
        // Nobody in particular, of whose login nothing is known: what is demanded of logins is not met by a click.
        let nobody = Identity::imagined("User", "", &[]);
        if severity > chat.up_to {
            Some("its severity is too high for a click")
        } else if rules.unmet(&nobody, severity, self.shared.store.now()).is_some() {
            Some("it takes a fresh or stronger login")
        } else if masked > 0 {
            Some("some of it is masked")
        } else if approval.opening.requirement.grant() != GrantTerms::Once {
            Some("it would be good for longer than once")
        } else if !parameters::shows_whole(approval) {
            Some("it is too long for a message")
        } else if !parameters::is_plain(approval) {
            // A message has no badges: there one letter that looks like another is that other one.
            Some("it has letters that could be taken for others")
        } else {
            None
        }
    }
}
