//! `countersign policy check`: everything that is wrong with a set of policies, shown in its text, or what is in it.

use std::path::PathBuf;

use clap::Args;
use serde_json::{Value, json};

use super::diagnostic;
use super::progress::Progress;
use crate::cli::config::File;
use crate::cli::failure::Failure;
use crate::cli::screen::{Format, Screen, table};
use crate::cli::words::escaped;
use crate::config::Layers;
use crate::engine::{PolicyEntry, PolicyKind, PolicySnapshot, Problem, Summary};

/// How many policies are listed for people; all are in the JSON.
const LISTED_MAX: usize = 200;

#[derive(Debug, Args)]
pub struct Check {
    /// The directory; as configured if not named
    dir: Option<PathBuf>,
    /// Fail where there is as much as a warning
    #[arg(long)]
    deny_warnings: bool,
    /// Load without a schema, as `policy.allow_missing_schema`
    #[arg(long)]
    allow_missing_schema: bool,
    /// Load without a policy, as `policy.allow_empty`
    #[arg(long)]
    allow_empty: bool,
    /// Load gates that nobody could open, as `policy.allow_unreviewable_gates`
    #[arg(long)]
    allow_unreviewable_gates: bool,
    #[command(flatten)]
    file: File,
}

impl Check {
    pub fn run(self, screen: &mut Screen) -> Result<(), Failure> {
        let mut config = Layers::of_process(self.file.config).load()?;
        if let Some(dir) = self.dir {
            config.policy.dir = dir;
        }
        let mut settings = config.policy_settings();
        settings.allow_missing_schema |= self.allow_missing_schema;
        settings.allow_empty |= self.allow_empty;
        settings.allow_unreviewable_gates |= self.allow_unreviewable_gates;
        let progress = Progress::on(screen);
        let loaded = PolicySnapshot::load_telling(&settings, &|done, total| progress.tell(done, total));
        progress.end();
        match loaded {
            Ok(snapshot) => {
                let (summary, digest) = (snapshot.summary(), snapshot.digest().to_string());
                let is_refused = self.deny_warnings && !summary.warnings.is_empty();
                match screen.format {
                    Format::Json => screen.json(&as_json(&summary, &digest, is_refused))?,
                    Format::Table => show(&summary, &digest, is_refused, screen)?,
                }
                if is_refused { Err(Failure::Failed(count(&summary.warnings, "warning"))) } else { Ok(()) }
            }
            Err(error) => {
                match screen.format {
                    Format::Json => screen.json(&json!({"good": false, "problems": problems(&error.problems)}))?,
                    Format::Table => diagnostic::show(&error.problems, screen),
                }
                Err(Failure::Failed(count(&error.problems, "error")))
            }
        }
    }
}

fn count(problems: &[Problem], what: &str) -> String {
    let plural = if problems.len() == 1 { "" } else { "s" };
    format!("{} {what}{plural} in the policies", problems.len())
}

fn show(summary: &Summary, digest: &str, is_refused: bool, screen: &mut Screen) -> Result<(), Failure> {
    diagnostic::show(&summary.warnings, screen);
    if is_refused {
        return Ok(());
    }
    let mut rows = table(&["policy", "kind", "place"]);
    for policy in summary.policies.iter().take(LISTED_MAX) {
        let place = format!("{}:{}", escaped(&policy.file), policy.line);
        rows.add_row([escaped(&policy.id), words(policy), place]);
    }
    screen.table(&rows)?;
    if let Some(more) = summary.policies.len().checked_sub(LISTED_MAX + 1) {
        screen.line(&format!("... and {} more; all of them with -o json", more + 1))?;
    }
    let good = screen.style.green("good");
    screen.line(&format!(
        "\n{good}: {} rules, {} gates, {} entities; digest {digest}",
        summary.rules, summary.gates, summary.entities
    ))
}

fn words(policy: &PolicyEntry) -> String {
    let of = policy.template.iter().map(|template| format!(" of {}", escaped(template)));
    format!("{}{}", kind(policy.kind), of.collect::<String>())
}

fn kind(kind: PolicyKind) -> &'static str {
    match kind {
        PolicyKind::Permit => "permit",
        PolicyKind::Forbid => "forbid",
        PolicyKind::Gate => "gate",
    }
}

fn as_json(summary: &Summary, digest: &str, is_refused: bool) -> Value {
    let policy = |policy: &PolicyEntry| {
        json!({
            "id": *policy.id,
            "kind": kind(policy.kind),
            "template": policy.template.as_deref(),
            "file": *policy.file,
            "line": policy.line,
        })
    };
    json!({
        "good": !is_refused,
        "digest": digest,
        "rules": summary.rules,
        "gates": summary.gates,
        "entities": summary.entities,
        "policies": summary.policies.iter().map(policy).collect::<Vec<_>>(),
        "problems": problems(&summary.warnings),
    })
}

/// As editors and code hosts take them: lines and columns from 1.
fn problems(problems: &[Problem]) -> Value {
    let problem = |problem: &Problem| {
        json!({
            "severity": problem.level.name(),
            "file": *problem.file,
            "line": problem.line,
            "column": problem.excerpt.as_ref().map(crate::engine::Excerpt::column),
            "policy": problem.policy.as_deref(),
            "annotation": problem.annotation.as_ref().map(|annotation| &annotation.name),
            "message": problem.message,
            "help": problem.help,
        })
    };
    problems.iter().map(problem).collect()
}
