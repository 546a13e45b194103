//! Whom the server has to reach: issuers for their keys, those who tell people, and the collector of traces.

use std::time::Duration;

use super::clock::Reading;
use super::finding::Finding;
use crate::config::Config;
use crate::domain::Timestamp;
use crate::identity::source::{self, FetchError, Outbound};
use crate::identity::{IssuerSettings, KeyLocation};
use crate::notify::{Channel, Target};
use crate::store::Clock;

/// For a collector to take a connection.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(5);

/// What was seen of one issuer.
pub struct Issuer {
    pub name: String,
    /// By the `Date` of its answer (RFC 9110, section 6.6.1).
    pub clock: Option<Reading>,
    pub finding: Finding,
}

pub async fn issuers(config: &Config) -> Vec<Issuer> {
    if config.identity.issuers.is_empty() {
        let finding = Finding::fail(
            "issuers",
            "there is no issuer: nobody is believed",
            "name one in [[identity.issuers]] (docs/identity.md), or try things out with `serve --dev`",
        );
        return vec![Issuer { name: String::new(), clock: None, finding }];
    }
    futures_util::future::join_all(config.identity.issuers.iter().map(issuer)).await
}

async fn issuer(settings: &IssuerSettings) -> Issuer {
    let mut clock = None;
    let finding = match keys(settings, &mut clock).await {
        Ok(0) => Finding::fail(
            "issuers",
            format!("issuer `{}` has no keys: its tokens are refused", settings.name),
            "look at its key set",
        ),
        Ok(keys) => Finding::ok("issuers", format!("issuer `{}` is reached and has {keys} keys", settings.name)),
        Err(why) => Finding::fail(
            "issuers",
            format!("issuer `{}`: {why}", settings.name),
            "look at `issuer`, `keys` and `ca_file`, and whether it is reached from here (docs/identity.md)",
        ),
    };
    Issuer { name: settings.name.clone(), clock, finding }
}

/// How many keys there are where the settings say; any of them may be of a kind that is not used.
async fn keys(settings: &IssuerSettings, clock: &mut Option<Reading>) -> Result<usize, String> {
    let document = match &settings.keys {
        KeyLocation::JwksFile(path) => std::fs::read(path).map_err(|error| format!("`{}`: {error}", path.display()))?,
        KeyLocation::JwksUrl(url) => get(settings, url, clock).await?,
        KeyLocation::Discovery => {
            let url = source::discovery_address(&settings.issuer);
            let found = get(settings, &url, clock).await?;
            let keys = source::keys_address(&settings.issuer, &found).map_err(|error| match error {
                FetchError::IssuerMismatch { .. } => format!("{url} is another issuer's"),
                error => error.to_string(),
            })?;
            get(settings, &keys, clock).await?
        }
    };
    Ok(json(&document)?.get("keys").and_then(serde_json::Value::as_array).map_or(0, Vec::len))
}

fn json(document: &[u8]) -> Result<serde_json::Value, String> {
    serde_json::from_slice(document).map_err(|error| format!("it answers no JSON: {error}"))
}

async fn get(settings: &IssuerSettings, url: &str, clock: &mut Option<Reading>) -> Result<Vec<u8>, String> {
    let machine = Clock::system(Timestamp::default());
    let request = http::Request::get(url).body(Vec::new()).map_err(|error| error.to_string())?;
    let asked = machine.now();
    let response = Outbound::to(settings)?.exchange(request).await.map_err(|error| error.to_string())?;
    let told = response.headers().get(http::header::DATE).and_then(|date| date.to_str().ok()).and_then(http_date);
    *clock = told.map(|told| Reading { asked, told, answered: machine.now(), grain: Duration::from_secs(1) });
    match response.status() {
        http::StatusCode::OK => Ok(response.into_body()),
        status => Err(format!("{url} answers {status}")),
    }
}

fn http_date(text: &str) -> Option<Timestamp> {
    let at = jiff::fmt::rfc2822::parse(text).ok()?.timestamp();
    Some(Timestamp::from_micros(at.as_microsecond()))
}

pub async fn targets(config: &Config) -> Vec<Finding> {
    // Targets that cannot work were refused with the configuration.
    let targets = Target::read_all(&config.notify.targets).unwrap_or_default();
    futures_util::future::join_all(targets.iter().map(target)).await
}

async fn target(target: &Target) -> Finding {
    let advice = "look at `url`, `secret_file` and `allow`, and whether it is reached from here (docs/notify.md)";
    match Channel(target).reach().await {
        Ok(()) => Finding::ok("targets", format!("target `{}` can be told", target.name)),
        Err(failure) => Finding::fail("targets", format!("target `{}`: {failure}", target.name), advice),
    }
}

/// A collector that is away costs traces and nothing else.
pub async fn collector(config: &Config) -> Option<Finding> {
    let address = config.telemetry.traces.as_ref()?.to_string();
    let advice = "traces are dropped until it is there; nothing else waits for it (docs/traces.md)";
    Some(match connect(&address).await {
        Ok(()) => Finding::ok("traces", format!("the collector at {address} takes connections")),
        Err(why) => Finding::warn("traces", format!("the collector at {address}: {why}"), advice),
    })
}

async fn connect(address: &str) -> Result<(), String> {
    let url = reqwest::Url::parse(address).map_err(|error| error.to_string())?;
    let host = url.host_str().ok_or("no host")?.trim_start_matches('[').trim_end_matches(']').to_owned();
    let port = url.port_or_known_default().ok_or("no port")?;
    let connecting = tokio::time::timeout(CONNECT_TIMEOUT, tokio::net::TcpStream::connect((host, port))).await;
    connecting.map_err(|_| "no answer".to_owned())?.map(drop).map_err(|error| error.to_string())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_date_of_an_answer_is_a_time() {
        let at = http_date("Sun, 06 Nov 1994 08:49:37 GMT").map(Timestamp::as_seconds);
        assert_eq!((at, http_date("yesterday")), (Some(784_111_777), None));
    }
}
