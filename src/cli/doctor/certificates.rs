//! TLS of our own listener, and the authorities that are believed: that they are good now, and for how long.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use super::finding::{Finding, days};
use crate::config::Config;
use crate::domain::Timestamp;
use crate::grpc::tls::{Now, Settings, Tls};
use crate::identity::Certificates;
use crate::identity::certificate::{Validity, validities};
use crate::store::Clock;

const PART: &str = "certificates";
/// Less of its life than this is a reason to look whether somebody renews it.
const SOON: Duration = Duration::from_secs(14 * 86_400);
const ADVICE: &str = "renew it: put the new one in its place, which is noticed within 30 s";

pub fn examine(config: &Config) -> Vec<Finding> {
    let now = Clock::system(Timestamp::default()).now();
    let mut findings = vec![own(config, now)];
    findings.extend(files(config).into_iter().map(|(key, path)| judge(&key, &path, now)));
    findings
}

/// Whether the server could serve with what `grpc.tls` names.
fn own(config: &Config, now: Timestamp) -> Finding {
    let Some(files) = &config.grpc.tls else {
        return match config.grpc.listen.ip().is_loopback() {
            true => Finding::ok(PART, "gRPC is in clear, on a loopback address"),
            false => Finding::warn(
                PART,
                "gRPC is in clear where other machines reach it (`grpc.allow_plaintext`)",
                "make sure that a mesh or tunnel encrypts it, or set `grpc.tls`",
            ),
        };
    };
    let clock = Now(Arc::new(move || now));
    match Tls::load(Settings::new(files.clone()), Certificates::default(), clock) {
        Ok(_) => Finding::ok(PART, "certificate and key of gRPC belong together"),
        Err(error) => Finding::fail(
            PART,
            format!("gRPC cannot be served: {error}"),
            "put certificate and key right (docs/configuration.md, `grpc.tls`)",
        ),
    }
}

/// Every file with certificates, by the key that names it.
fn files(config: &Config) -> Vec<(String, PathBuf)> {
    let tls = config.grpc.tls.iter().flat_map(|files| {
        let own = ("grpc.tls.certificate".to_owned(), files.certificate.clone());
        [Some(own), files.client_ca.clone().map(|path| ("grpc.tls.client_ca".to_owned(), path))]
    });
    let issuers = config
        .identity
        .issuers
        .iter()
        .map(|issuer| Some((format!("ca_file of issuer `{}`", issuer.name), issuer.ca_file.clone()?)));
    let targets = config
        .notify
        .targets
        .iter()
        .map(|target| Some((format!("ca_file of target `{}`", target.name), target.ca_file.clone()?)));
    let redis = config.store.redis.iter().map(|redis| Some(("store.redis.ca_file".to_owned(), redis.ca_file.clone()?)));
    tls.chain(issuers).chain(targets).chain(redis).flatten().collect()
}

fn judge(key: &str, path: &Path, now: Timestamp) -> Finding {
    let read = std::fs::read(path).map_err(|error| error.to_string()).and_then(|pem| validities(&pem));
    let found = match read {
        Ok(found) => found,
        Err(error) => {
            return Finding::fail(PART, format!("{key}, `{}`: {error}", path.display()), "put it there, in PEM");
        }
    };
    // A bundle may hold authorities that are gone; a chain is as good as its first certificate.
    let chain = key == "grpc.tls.certificate";
    let first = if chain { found.first() } else { found.iter().max_by_key(|one| one.until) };
    let terms = Terms { soon: SOON, advice: ADVICE };
    first.map_or_else(
        || Finding::fail(PART, format!("{key}: no certificate"), ADVICE),
        |one| by_time(&format!("{key} ({})", one.subject), one, now, terms),
    )
}

/// What is soon, and what to do then.
#[derive(Clone, Copy)]
pub struct Terms {
    pub soon: Duration,
    pub advice: &'static str,
}

pub fn by_time(says: &str, one: &Validity, now: Timestamp, terms: Terms) -> Finding {
    let left = now.until(one.until);
    if one.until.is_due(now) {
        Finding::fail(PART, format!("{says} expired {} days ago", days(one.until.until(now))), terms.advice)
    } else if !one.from.is_due(now) {
        Finding::fail(PART, format!("{says} is not yet good"), "look at the clock, and at the certificate")
    } else if left <= terms.soon {
        Finding::warn(PART, format!("{says} expires in {} days", days(left)), terms.advice)
    } else {
        Finding::ok(PART, format!("{says} is good for {} more days", days(left)))
    }
}
