//! `countersign doctor`: what would keep the server from doing its work, today or soon, and what to do about it.
//!
//! It takes the server's own configuration and looks for itself: it changes nothing, sends nobody a message, and may run before
//! the first start as well as beside a running server. Unlike `healthcheck` it does not ask the server.

mod certificates;
mod clock;
mod finding;
mod journal;
mod keys;
mod policies;
mod reach;
mod remote;
mod secrets;
mod store;

use clap::Args;
use serde_json::json;

use self::finding::{Finding, Verdict};
use super::config::{File, Flags};
use super::failure::Failure;
use super::screen::{Format, Screen, Style};
use super::words::escaped;
use crate::config::Config;

#[derive(Debug, Args)]
pub struct Doctor {
    #[command(flatten)]
    file: File,
    #[command(flatten)]
    flags: Flags,
}

impl Doctor {
    /// Exit code 1 where anything fails; what is only worth a look does not.
    pub async fn run(self, screen: &mut Screen) -> Result<(), Failure> {
        let config = self.flags.layers(&self.file).load()?;
        let findings = examine(&config).await;
        for finding in &findings {
            match screen.format {
                Format::Json => screen.json(&as_json(finding))?,
                Format::Table => screen.line(&as_text(finding, screen.style))?,
            }
        }
        let count = |verdict| findings.iter().filter(|finding| finding.verdict == verdict).count();
        let (failed, warned) = (count(Verdict::Fail), count(Verdict::Warn));
        if failed > 0 {
            return Err(Failure::Failed(format!("{failed} of {} checks failed, {warned} warn", findings.len())));
        }
        match screen.format {
            Format::Json => Ok(()),
            Format::Table => screen.line(&format!("nothing failed in {} checks, {warned} warn", findings.len())),
        }
    }
}

/// Everything, in the order in which it would be put right.
async fn examine(config: &Config) -> Vec<Finding> {
    let seen = reach::issuers(config).await;
    let redis = store::look(config).await;
    let mut findings = clock::examine(&seen, redis.as_ref());
    findings.extend(secrets::examine(config));
    findings.extend(keys::examine(config));
    findings.extend(certificates::examine(config));
    findings.extend(remote::examine(config).await);
    findings.extend(policies::examine(config));
    findings.extend(journal::examine(config));
    findings.extend(store::examine(config, redis.as_ref()));
    findings.extend(seen.into_iter().map(|issuer| issuer.finding));
    findings.extend(reach::targets(config).await);
    findings.extend(reach::collector(config).await);
    findings
}

fn as_text(finding: &Finding, style: Style) -> String {
    let verdict = match finding.verdict {
        Verdict::Ok => style.green("ok  "),
        Verdict::Warn => style.yellow("warn"),
        Verdict::Fail => style.red("FAIL"),
    };
    let line = format!("{verdict}  {:<12} {}", finding.part, escaped(&finding.says));
    let advice = finding.advice.iter().map(|advice| format!("\n      {:<12} -> {}", "", escaped(advice)));
    advice.fold(line, |line, advice| line + &advice)
}

fn as_json(finding: &Finding) -> serde_json::Value {
    json!({
        "part": finding.part,
        "verdict": finding.verdict.name(),
        "says": finding.says,
        "advice": finding.advice,
    })
}
