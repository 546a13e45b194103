//! A request of Microsoft's Bot Connector: the bearer token beside each activity that it sends to a bot. It proves the service,
//! not a person; who clicked stands in the activity, and is believed because the service sent it.
//!
//! Source: Microsoft, "Authentication with the Bot Connector API", section "Authenticate requests from the Bot Connector
//! service to your bot".

use std::sync::Arc;
use std::time::Duration;

use super::claims::{TimeRules, check_audience};
use super::compact::Compact;
use super::json::{self, Json};
use super::profile::TokenProfile;
use super::refusal::Reason;
use super::ring::{Need, Ring, RingSettings};
use super::settings::Algorithm;
use super::source;
use crate::domain::time::Timestamp;

/// Who signs, for bots of all kinds.
pub const ISSUER: &str = "https://api.botframework.com";
/// The keys of `https://login.botframework.com/v1/.well-known/openidconfiguration`.
pub const KEYS_URL: &str = "https://login.botframework.com/v1/.well-known/keys";
/// What the source grants to clocks.
const LEEWAY: Duration = Duration::from_secs(300);
/// The source wants keys that are a day old at most.
const KEYS_AGE_MAX: Duration = Duration::from_secs(24 * 3_600);

/// Whose requests are for us.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct BotSettings {
    /// The bot's Microsoft App ID, as tokens spell it.
    pub app_id: String,
    pub keys_url: String,
    /// Whether `keys_url` may be plain HTTP on this machine.
    pub allow_insecure_http_loopback: bool,
}

/// What an activity says of where it comes from, which its token must say as well.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Origin<'a> {
    /// Such as `msteams`: a key signs for some channels only.
    pub channel: &'a str,
    pub service_url: &'a str,
}

/// Verifies tokens of the Bot Connector for one bot.
pub struct BotVerifier {
    audiences: Vec<String>,
    ring: Arc<Ring>,
}

/// How far one can get without waiting.
enum Step {
    Done,
    KeysNeeded(Need),
}

impl BotVerifier {
    /// # Errors
    /// A text for the operator, if the keys' address is none or not secure.
    pub fn new(settings: &BotSettings) -> Result<Self, String> {
        let source = source::published(&settings.keys_url, settings.allow_insecure_http_loopback)?;
        let ring = RingSettings {
            issuer_name: "bot-connector".to_owned(),
            algorithms: vec![Algorithm::RS256],
            key_uses: TokenProfile::Oidc.key_uses(),
            refresh_interval: KEYS_AGE_MAX,
            max_stale: KEYS_AGE_MAX,
        };
        Ok(Self { audiences: vec![settings.app_id.clone()], ring: Ring::new(source, ring) })
    }

    /// Verifies the token of a request that says it is from there; fetches keys if there are none or one is missing.
    ///
    /// # Errors
    /// [`Reason`].
    pub async fn verify(&self, token: &str, origin: Origin<'_>, now: Timestamp) -> Result<(), Reason> {
        let compact = Compact::parse(token)?;
        let Step::KeysNeeded(need) = self.examine(&compact, origin, now)? else { return Ok(()) };
        if !self.ring.refresh(need).await {
            return Err(need.into());
        }
        match self.examine(&compact, origin, now)? {
            Step::Done => Ok(()),
            Step::KeysNeeded(need) => Err(need.into()),
        }
    }

    fn examine(&self, compact: &Compact<'_>, origin: Origin<'_>, now: Timestamp) -> Result<Step, Reason> {
        let header = &compact.header;
        let claims = json::parse_object(&compact.payload)?;
        let text = |name: &str| claims.get(name).and_then(Json::as_text);
        match () {
            () if text("iss") != Some(ISSUER) => return Err(Reason::WrongIssuer),
            () if header.algorithm != Algorithm::RS256 => return Err(Reason::AlgNotAllowed),
            () if header.token_type.as_deref().is_some_and(|name| name != "jwt") => return Err(Reason::WrongTyp),
            () => {}
        }
        let held = self.ring.current();
        let Some(held) = held.as_deref().and_then(Option::as_ref) else { return Ok(Step::KeysNeeded(Need::Keys)) };
        let key = match held.keys.find(header) {
            Ok(key) => key,
            Err(Reason::UntrustedKey) => return Ok(Step::KeysNeeded(Need::UnknownKey)),
            Err(reason) => return Err(reason),
        };
        key.verify(compact.signed, &compact.signature)?;
        check_audience(&claims, &self.audiences)?;
        TimeRules { leeway: LEEWAY, max_age: None }.check(&claims, now)?;
        // INVARIANT: a key that signs for another channel, or a token for another place, proves nothing of this one.
        match () {
            () if !key.is_endorsed_for(origin.channel) => Err(Reason::NotEndorsed),
            () if text("serviceurl") != Some(origin.service_url) => Err(Reason::WrongServiceUrl),
            () => Ok(Step::Done),
        }
    }
}
