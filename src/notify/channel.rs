//! A target's channel: a closed set of kinds, one file each.

use serde::{Deserialize, Serialize};

use super::message::Message;
use super::settings::{Kind, Target};
use super::{email, slack, teams, teams_bot, webhook};
use crate::domain::Timestamp;

/// A way to tell people.
pub struct Channel<'a>(pub &'a Target);

impl Channel<'_> {
    /// Whether a message could be delivered now, as far as can be said without sending one: the secret is there, the address may be
    /// reached and speaks TLS where it must; of a mail server also that it lets us in.
    ///
    /// # Errors
    /// Why not.
    pub async fn reach(&self) -> Result<(), Failure> {
        super::secret::read(&self.0.secret_file).await.map_err(Failure::later)?;
        match self.0.kind {
            Kind::Email => email::reach(self.0).await,
            Kind::Webhook | Kind::Slack | Kind::Teams => {
                let url = self.0.url().await.map_err(Failure::later)?;
                super::dial::knock(&url, &self.0.allow).await
            }
        }
    }
}

/// A message that can be changed later.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Posted {
    pub channel: String,
    pub ts: String,
}

/// Why a message did not arrive, as far as anybody knows: it may have.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Failure {
    /// Worth another try, not before `after` if the endpoint asked for that.
    #[error("{cause}")]
    Later { after: Option<std::time::Duration>, cause: String },
    /// The message itself was refused.
    #[error("{0}")]
    Refused(String),
}

impl Failure {
    pub(super) fn later(cause: String) -> Self {
        Self::Later { after: None, cause }
    }
}

impl Channel<'_> {
    /// Whether this channel tells of such an event at all.
    #[must_use]
    pub fn tells(&self, message: &Message) -> bool {
        match self.0.kind {
            Kind::Webhook | Kind::Slack => true,
            Kind::Teams if self.0.bot.is_some() => true,
            Kind::Teams | Kind::Email => teams::tells(message.event),
        }
    }

    /// Delivers once. `before` is what was posted about the same approval earlier; what is returned takes its place.
    ///
    /// # Errors
    /// [`Failure`]. Nothing of a secret or a URL is in it.
    pub async fn deliver(
        &self,
        message: &Message,
        before: Option<&Posted>,
        now: Timestamp,
    ) -> Result<Option<Posted>, Failure> {
        match self.0.kind {
            Kind::Webhook => webhook::deliver(self.0, message, now).await.map(|()| None),
            Kind::Slack => slack::deliver(self.0, message, before, now).await.map(Some),
            Kind::Teams => match &self.0.bot {
                None => teams::deliver(self.0, message, now).await.map(|()| None),
                Some(bot) => teams_bot::deliver((self.0, bot), message, before, now).await.map(Some),
            },
            Kind::Email => email::deliver(self.0, message).await.map(|()| None),
        }
    }
}
