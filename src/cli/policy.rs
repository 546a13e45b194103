//! `countersign policy check`: everything that is wrong with a set of policies, or what is in it.

use std::path::PathBuf;

use clap::Subcommand;
use serde_json::json;

use super::config::File;
use super::failure::Failure;
use super::screen::{Format, Screen, table};
use super::words::escaped;
use crate::config::Layers;
use crate::engine::{PolicyKind, PolicySnapshot, Summary};

#[derive(Debug, Subcommand)]
pub enum Policy {
    /// Load policies as the server would, and say what is wrong with them or what they are
    Check {
        /// The directory; as configured if not named
        dir: Option<PathBuf>,
        #[command(flatten)]
        file: File,
    },
}

impl Policy {
    pub fn run(self, screen: &mut Screen) -> Result<(), Failure> {
        let Self::Check { dir, file } = self;
        let mut config = Layers::of_process(file.config).load()?;
        if let Some(dir) = dir {
            config.policy.dir = dir;
        }
        let snapshot = PolicySnapshot::load(&config.policy_settings())?;
        let (summary, digest) = (snapshot.summary(), snapshot.digest().to_string());
        match screen.format {
            Format::Json => screen.json(&as_json(&summary, &digest)),
            Format::Table => show(&summary, &digest, screen),
        }
    }
}

fn show(summary: &Summary, digest: &str, screen: &mut Screen) -> Result<(), Failure> {
    let mut rows = table(&["policy", "kind", "place"]);
    for policy in &summary.policies {
        let place = format!("{}:{}", escaped(&policy.file), policy.line);
        rows.add_row([escaped(&policy.id), kind(policy.kind).to_owned(), place]);
    }
    screen.table(&rows)?;
    for warning in &summary.warnings {
        screen.line(&format!("{} {}", screen.style.yellow("warning:"), escaped(&warning.to_string())))?;
    }
    let good = screen.style.green("good");
    screen.line(&format!(
        "\n{good}: {} rules, {} gates, {} entities; digest {digest}",
        summary.rules, summary.gates, summary.entities
    ))
}

fn kind(kind: PolicyKind) -> &'static str {
    match kind {
        PolicyKind::Permit => "permit",
        PolicyKind::Forbid => "forbid",
        PolicyKind::Gate => "gate",
    }
}

fn as_json(summary: &Summary, digest: &str) -> serde_json::Value {
    let policies = summary.policies.iter();
    let policies = policies
        .map(|policy| json!({"id": *policy.id, "kind": kind(policy.kind), "file": *policy.file, "line": policy.line}));
    json!({
        "digest": digest,
        "rules": summary.rules,
        "gates": summary.gates,
        "entities": summary.entities,
        "policies": policies.collect::<Vec<_>>(),
        "warnings": summary.warnings.iter().map(ToString::to_string).collect::<Vec<_>>(),
    })
}
