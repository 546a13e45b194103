//! Certificates of those whom the server reaches over TLS: for how long they are good, for which name, and by whose word.
//! Where no `ca_file` is named, the authorities are the system's, and whether they vouch is said where the server is reached.

use std::path::PathBuf;
use std::time::Duration;

use reqwest::Url;

use super::certificates::{Terms, by_time};
use super::finding::Finding;
use crate::config::Config;
use crate::domain::Timestamp;
use crate::grpc::tls::{Presented, presented};
use crate::identity::KeyLocation;
use crate::identity::certificate::validity;
use crate::store::Clock;

const PART: &str = "certificates";
/// It is somebody else's to renew, who has to be told first.
const SOON: Duration = Duration::from_secs(21 * 86_400);
const ADVICE: &str = "tell whoever runs it: nothing is sent there once it is over";

struct Endpoint {
    what: String,
    host: String,
    port: u16,
    ca_file: Option<PathBuf>,
}

pub async fn examine(config: &Config) -> Vec<Finding> {
    let all = endpoints(config);
    let findings = futures_util::future::join_all(all.iter().map(look)).await;
    findings.into_iter().flatten().collect()
}

/// Those that are called over TLS by an address of the configuration.
fn endpoints(config: &Config) -> Vec<Endpoint> {
    let issuers = config.identity.issuers.iter().filter_map(|issuer| {
        let url = match &issuer.keys {
            KeyLocation::Discovery => &issuer.issuer,
            KeyLocation::JwksUrl(url) => url,
            KeyLocation::JwksFile(_) => return None,
        };
        endpoint(format!("issuer `{}`", issuer.name), url, issuer.ca_file.clone())
    });
    let targets = config.notify.targets.iter().filter_map(|target| {
        endpoint(format!("target `{}`", target.name), target.url.as_ref()?, target.ca_file.clone())
    });
    let redis =
        config.store.redis.iter().flat_map(|redis| {
            redis.urls.iter().filter_map(|url| endpoint("redis".to_owned(), url, redis.ca_file.clone()))
        });
    let traces = config.telemetry.traces.iter();
    let traces = traces.filter_map(|url| endpoint("the collector".to_owned(), &url.to_string(), None));
    issuers.chain(targets).chain(redis).chain(traces).collect()
}

fn endpoint(what: String, url: &str, ca_file: Option<PathBuf>) -> Option<Endpoint> {
    let url = Url::parse(url).ok()?;
    let usual = match url.scheme() {
        "https" => 443,
        "smtps" => 465,
        "rediss" => 6_379,
        _ => return None,
    };
    let host = url.host_str()?.trim_start_matches('[').trim_end_matches(']').to_owned();
    let port = url.port().unwrap_or(usual);
    Some(Endpoint { what: format!("{what} at {host}:{port}"), host, port, ca_file })
}

/// `None` where nobody is there, which is said where it is reached.
async fn look(endpoint: &Endpoint) -> Option<Finding> {
    let what = &endpoint.what;
    // One that cannot be read is said to be so where files are looked at.
    let authorities = endpoint.ca_file.as_ref().and_then(|path| std::fs::read(path).ok());
    let shown = match presented(&endpoint.host, endpoint.port, authorities.as_deref()).await {
        Ok(shown) => shown?,
        Err(why) => {
            let advice = "look at the address, and whether TLS is spoken there";
            return Some(Finding::warn(PART, format!("{what} shows no certificate: {why}"), advice));
        }
    };
    Some(judge(what, &shown))
}

fn judge(what: &str, shown: &Presented) -> Finding {
    let now = Clock::system(Timestamp::default()).now();
    let one = match validity(&shown.certificate) {
        Ok(one) => one,
        Err(why) => return Finding::fail(PART, format!("the certificate of {what} cannot be read: {why}"), ADVICE),
    };
    let says = format!("the certificate of {what} ({})", one.subject);
    let by_time = by_time(&says, &one, now, Terms { soon: SOON, advice: ADVICE });
    match (&shown.other_name, &shown.untrusted) {
        // Why it is not trusted, then.
        _ if one.until.is_due(now) || !one.from.is_due(now) => by_time,
        (Some(why), _) => Finding::fail(
            PART,
            format!("{says} is for another name: {why}"),
            "call it by a name that the certificate has, or have it made out to this one",
        ),
        (None, Some(why)) => Finding::fail(
            PART,
            format!("{says} is from nobody in its `ca_file`: {why}"),
            "put the authority that signs it now into `ca_file`",
        ),
        (None, None) => by_time,
    }
}
