//! A bot of Teams: what the operator says of it, and the token by which it speaks.
//!
//! Source: Microsoft, "Authentication with the Bot Connector API", section "Authenticate requests from your bot to the Bot
//! Connector service".

use std::sync::Arc;
use std::time::Duration;

use reqwest::header::{AUTHORIZATION, CONTENT_TYPE, HeaderMap, HeaderValue};
use reqwest::{Method, Url};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::Value;
use tokio::sync::Mutex;
use tokio::time::Instant;

use super::channel::Failure;
use super::settings::Target;
use super::{dial, secret};

const SCOPE: &str = "https://api.botframework.com/.default";
/// A token is asked for anew so long before it ends.
const BEFORE_END: Duration = Duration::from_secs(300);

/// A bot's registration, as it is written.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct BotSettings {
    /// The Microsoft App ID.
    pub app_id: String,
    /// The directory (tenant) whose accounts decide, and in which the bot is registered.
    pub tenant: String,
    /// Where the bot logs in, if not at Microsoft's public cloud.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub login_url: Option<String>,
    /// Where the keys of the Bot Connector are, if not at Microsoft's public cloud.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub keys_url: Option<String>,
    /// Whether `keys_url` may be plain HTTP on this machine.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub allow_insecure_http_loopback: bool,
}

/// A bot that speaks in one conversation.
#[derive(Debug, Clone)]
pub struct Bot {
    pub settings: BotSettings,
    login: Url,
    held: Arc<Mutex<Option<Held>>>,
}

/// A token for as long as it is good.
#[derive(Debug)]
struct Held {
    authorization: HeaderValue,
    until: Instant,
}

#[derive(Deserialize)]
struct Issued {
    access_token: String,
    /// Seconds.
    expires_in: u64,
}

impl Bot {
    /// Reads what is written; the text says what is wrong with it.
    pub(super) fn read(settings: &BotSettings) -> Result<Self, String> {
        for (name, id) in [("app_id", &settings.app_id), ("tenant", &settings.tenant)] {
            let is_id = uuid::Uuid::try_parse(id).is_ok_and(|read| read.to_string() == *id);
            if !is_id {
                return Err(format!(
                    "`bot.{name}` is no id such as `0f0e0d0c-1234-4abc-8def-0123456789ab`, in lower case"
                ));
            }
        }
        let usual = || format!("https://login.microsoftonline.com/{}/oauth2/v2.0/token", settings.tenant);
        let login = settings.login_url.clone().unwrap_or_else(usual);
        let login = super::settings::url(&login).map_err(|problem| format!("`bot.login_url`: {problem}"))?;
        Ok(Self { settings: settings.clone(), login, held: Arc::default() })
    }

    /// One call of the connector with a JSON body, for this target. A token that is not taken is forgotten.
    pub(super) async fn call(
        &self,
        target: &Target,
        method: Method,
        url: &Url,
        body: &Value,
    ) -> Result<dial::Answer, Failure> {
        let authorization = self.authorization(target).await?;
        let json = HeaderValue::from_static("application/json; charset=utf-8");
        let headers = HeaderMap::from_iter([(AUTHORIZATION, authorization), (CONTENT_TYPE, json)]);
        let answer = dial::send(method, url, &target.allow, headers, body.to_string().into_bytes()).await?;
        if matches!(answer.status, 401 | 403) {
            *self.held.lock().await = None;
        }
        Ok(answer)
    }

    /// The token that is held, or a new one: one caller asks, the others wait for it.
    async fn authorization(&self, target: &Target) -> Result<HeaderValue, Failure> {
        let mut held = self.held.lock().await;
        if let Some(held) = held.as_ref().filter(|held| Instant::now() < held.until) {
            return Ok(held.authorization.clone());
        }
        let secret = secret::read_line(&target.secret_file).await.map_err(Failure::later)?;
        let form = [
            ("grant_type", "client_credentials"),
            ("client_id", &self.settings.app_id),
            ("client_secret", &secret),
            ("scope", SCOPE),
        ];
        let form = serde_urlencoded::to_string(form).map_err(|error| Failure::later(error.to_string()))?;
        let encoded = HeaderValue::from_static("application/x-www-form-urlencoded");
        let headers = HeaderMap::from_iter([(CONTENT_TYPE, encoded)]);
        let answer = dial::post(&self.login, &target.allow, headers, form.into_bytes()).await?;
        let not_issued = |cause: String| Failure::Later {
            after: answer.retry_after,
            cause: format!("the bot cannot log in: {cause}"),
        };
        // Whatever is wrong with the login is the operator's to put right, and no message's fault.
        answer.accepted().map_err(|failure| not_issued(failure.to_string()))?;
        let issued: Issued =
            serde_json::from_slice(&answer.body).map_err(|_| not_issued("no token came".to_owned()))?;
        let mut authorization = HeaderValue::from_str(&format!("Bearer {}", issued.access_token))
            .map_err(|_| not_issued("the token cannot stand in a header".to_owned()))?;
        authorization.set_sensitive(true);
        let good_for = Duration::from_secs(issued.expires_in).saturating_sub(BEFORE_END);
        let until = Instant::now().checked_add(good_for).unwrap_or_else(Instant::now);
        *held = Some(Held { authorization: authorization.clone(), until });
        Ok(authorization)
    }
}
