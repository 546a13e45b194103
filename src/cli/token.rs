//! `countersign token`: a token of the development issuer, as any client gets it: over HTTP from its token endpoint.

use std::time::Duration;

use clap::Args;
use serde_json::{Value, json};

use super::failure::Failure;
use super::screen::{Format, Screen};
use super::words::escaped;
use crate::identity::settings::Kind;
use crate::web::dev_issuer::{DEMO, DevPrincipal, EXCHANGE_GRANT, LOGIN_GRANT, find};

const TIMEOUT: Duration = Duration::from_secs(10);

#[derive(Debug, Args)]
pub struct Token {
    /// A demo person, agent or workload: alice, bob, carol, dave, erin, frank, report-bot, ci-pipeline
    who: String,
    /// The person for whom the agent acts
    #[arg(long = "for", value_name = "PERSON")]
    person: Option<String>,
    /// The development issuer of `serve --dev` or `demo`
    #[arg(long, env = "COUNTERSIGN_DEV_ISSUER", default_value = "http://127.0.0.1:7444", value_name = "URL")]
    issuer: String,
}

impl Token {
    pub async fn run(self, screen: &mut Screen) -> Result<(), Failure> {
        let issuer = DevIssuerClient::new(&self.issuer)?;
        let who = known(&self.who)?;
        let token = match self.person.as_deref().map(known).transpose()? {
            Some(person) => issuer.delegated(who, person).await?,
            None => issuer.token(who).await?,
        };
        match screen.format {
            Format::Json => screen.json(&json!({"access_token": token})),
            Format::Table => screen.line(&token),
        }
    }
}

/// The demo principal of that name.
pub fn known(who: &str) -> Result<&'static DevPrincipal, Failure> {
    find(who).ok_or_else(|| {
        let names: Vec<_> = DEMO.iter().map(|principal| principal.subject).collect();
        Failure::Usage(format!("the development issuer does not know `{}`, only {}", escaped(who), names.join(", ")))
    })
}

/// Talks to a development issuer.
#[derive(Debug, Clone)]
pub struct DevIssuerClient {
    url: String,
    http: reqwest::Client,
}

impl DevIssuerClient {
    pub fn new(url: &str) -> Result<Self, Failure> {
        // Loopback only, so never through a proxy.
        let http = reqwest::Client::builder().no_proxy().timeout(TIMEOUT).build();
        let http = http.map_err(|error| Failure::Failed(format!("cannot make an HTTP client: {error}")))?;
        Ok(Self { url: url.trim_end_matches('/').to_owned(), http })
    }

    /// A token of its own.
    pub async fn token(&self, who: &DevPrincipal) -> Result<String, Failure> {
        match who.kind {
            Kind::User => self.ask(format!("grant_type={LOGIN_GRANT}&username={}", who.subject)).await,
            Kind::Agent | Kind::Workload => {
                self.ask(format!("grant_type=client_credentials&{}", credentials(who))).await
            }
        }
    }

    /// A token with which `agent` acts for `person` (RFC 8693).
    pub async fn delegated(&self, agent: &DevPrincipal, person: &DevPrincipal) -> Result<String, Failure> {
        if agent.kind == Kind::User || person.kind != Kind::User {
            return Err(Failure::Usage(
                "an agent or workload acts for a person: `token report-bot --for alice`".into(),
            ));
        }
        let theirs = self.token(person).await?;
        self.ask(format!("grant_type={EXCHANGE_GRANT}&{}&subject_token={theirs}", credentials(agent))).await
    }

    /// All parts of the form are names and tokens of the issuer's own, which need no escaping.
    async fn ask(&self, form: String) -> Result<String, Failure> {
        let request = self.http.post(format!("{}/token", self.url)).body(form);
        let request = request.header("content-type", "application/x-www-form-urlencoded");
        let unreachable = |_| Failure::NoDevIssuer { url: self.url.clone() };
        let text = request.send().await.map_err(unreachable)?.text().await.map_err(unreachable)?;
        let answer: Value = serde_json::from_str(&text).unwrap_or(Value::Null);
        let token = answer.get("access_token").and_then(Value::as_str).map(str::to_owned);
        token.ok_or_else(|| {
            let error = answer.get("error").and_then(Value::as_str).unwrap_or("no token in its answer");
            Failure::Refused(format!("the development issuer at {} refused: {}", self.url, escaped(error)))
        })
    }
}

fn credentials(client: &DevPrincipal) -> String {
    format!("client_id={}&client_secret={}", client.subject, client.client_secret())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_names_in_the_help_are_those_the_issuer_knows() {
        let help = include_str!("token.rs").lines().find(|line| line.contains("A demo person")).unwrap();
        for principal in DEMO {
            assert!(help.contains(principal.subject), "{}", principal.subject);
        }
        assert!(known("mallory").unwrap_err().to_string().contains("report-bot"));
    }
}
