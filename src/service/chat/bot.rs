//! The bot of Teams: whose requests are heard, and of which tenant.

use super::{Chat, ChatError, Unheard};
use crate::domain::Timestamp;
use crate::identity::{self, BotVerifier, Origin, Reason};
use crate::notify::settings::Kind;
use crate::notify::{BotSettings, Target};

/// Where an activity says that it comes from.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Place<'a> {
    pub origin: Origin<'a>,
    pub tenant: &'a str,
    /// The conversation's id, that of a message in it behind a `;`.
    pub conversation: &'a str,
}

/// The one bot that is heard.
pub struct Teams {
    settings: BotSettings,
    verifier: BotVerifier,
}

impl Teams {
    /// The bot of these targets, if one of them has one.
    pub fn of(targets: &[Target]) -> Result<Option<Self>, ChatError> {
        let mut bots = targets.iter().filter_map(|target| Some((&target.name, &target.bot.as_ref()?.settings)));
        let Some((name, bot)) = bots.next() else { return Ok(None) };
        if let Some((other, _)) = bots.find(|(_, other)| *other != bot) {
            return Err(ChatError::TwoBots(name.clone(), other.clone()));
        }
        let verifier = BotVerifier::new(&identity::BotSettings {
            app_id: bot.app_id.clone(),
            keys_url: bot.keys_url.clone().unwrap_or_else(|| identity::bot::KEYS_URL.to_owned()),
            allow_insecure_http_loopback: bot.allow_insecure_http_loopback,
        });
        let verifier = verifier.map_err(|problem| ChatError::Keys(name.clone(), problem))?;
        Ok(Some(Self { settings: bot.clone(), verifier }))
    }

    pub fn tenant(&self) -> &String {
        &self.settings.tenant
    }
}

impl Chat {
    /// Whether a request is of the Bot Connector, for our bot, of our tenant, from a service and a conversation that targets
    /// with buttons name; and which of them that is.
    ///
    /// # Errors
    /// [`Unheard`].
    pub async fn hear_bot(&self, token: &str, place: Place<'_>, now: Timestamp) -> Result<&Target, Unheard> {
        let teams = self.teams.as_ref().ok_or(Unheard::NoApp)?;
        teams.verifier.verify(token, place.origin, now).await.map_err(|reason| match reason {
            Reason::JwksUnavailable => Unheard::Unavailable,
            reason => Unheard::Disbelieved(reason),
        })?;
        // INVARIANT: the token proves the service alone; which tenants it serves is everybody's choice.
        let is_home = place.tenant == teams.settings.tenant;
        let target = self.targets.iter().find(|target| target.kind == Kind::Teams && target.is_at(&place));
        target.filter(|_| is_home).ok_or(Unheard::Foreign)
    }
}

impl Target {
    fn is_at(&self, place: &Place<'_>) -> bool {
        let channel = place.conversation.split(';').next().unwrap_or_default();
        channel == self.channel && self.serves(place.origin.service_url)
    }
}
