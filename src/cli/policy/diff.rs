//! `policy diff`: what a change of policies changes, by the tests and by what was really asked. Reads the journal's files
//! without writing, so it may run beside the server.

use std::path::{Path, PathBuf};

use clap::Args;
use serde_json::{Value, json};

use super::settings;
use crate::authoring::Suite;
use crate::authoring::diff::{Difference, Group, Kind};
use crate::authoring::run::Sets;
use crate::cli::config::File;
use crate::cli::failure::Failure;
use crate::cli::screen::{Format, Screen};
use crate::cli::words::escaped;
use crate::config::{Config, Layers};
use crate::domain::{Fact, PolicyId};
use crate::journal;

#[derive(Debug, Args)]
pub struct Diff {
    /// The policies as they are
    old: PathBuf,
    /// The policies as they would be
    new: PathBuf,
    /// Ask every query on record in this journal of both
    #[arg(long, value_name = "DIR")]
    journal: Option<PathBuf>,
    /// Run the tests below this directory under both; those of NEW if neither this nor --journal is said
    #[arg(long, value_name = "DIR", num_args = 0..=1)]
    tests: Option<Option<PathBuf>>,
    /// Fail if any answer changes
    #[arg(long)]
    exit_code: bool,
    #[command(flatten)]
    file: File,
}

impl Diff {
    pub fn run(self, screen: &mut Screen) -> Result<(), Failure> {
        let config = Layers::of_process(self.file.config.clone()).load()?;
        let load = |dir: &PathBuf| {
            let mut config: Config = config.clone();
            config.policy.dir.clone_from(dir);
            Sets::load(settings(&config, None))
        };
        let (old, new) = (load(&self.old)?, load(&self.new)?);
        let mut difference = Difference::of_policies(&old.snapshot, &new.snapshot);
        if self.tests.is_some() || self.journal.is_none() {
            let dir = self.tests.clone().flatten().unwrap_or_else(|| self.new.clone());
            difference.compare_tests(&old, &new, &Suite::read_all(&dir)?);
        }
        if let Some(dir) = &self.journal {
            replay(dir, &old, &new, &config, &mut difference)?;
        }
        match screen.format {
            Format::Json => screen.json(&as_json(&difference))?,
            Format::Table => screen.text(&as_text(&difference, screen))?,
        }
        if self.exit_code && !difference.is_empty() {
            return Err(Failure::Failed("answers change".into()));
        }
        Ok(())
    }
}

fn replay(dir: &Path, old: &Sets, new: &Sets, config: &Config, found: &mut Difference) -> Result<(), Failure> {
    if !dir.is_dir() {
        return Err(Failure::Usage(format!("`{}` is no directory", dir.display())));
    }
    let terms = settings(config, None).terms;
    let vault = config.sealing().reading(std::iter::once(dir)).map_err(|error| Failure::Failed(error.to_string()))?;
    let mut unreadable = None;
    journal::replay(dir, &mut |raw| match raw.parse(&vault) {
        Ok(record) => {
            if let Fact::Decided(decided) = &record.fact {
                let both = (&*old.snapshot, &*new.snapshot);
                found.compare_recorded(both, &terms, (record.sequence, record.at, decided));
            }
        }
        Err(error) => unreadable = Some(error),
    })?;
    match unreadable {
        // A comparison that left something out would be read as "nothing else changes".
        Some(error) => Err(Failure::Failed(error.to_string())),
        None => Ok(()),
    }
}

fn as_text(difference: &Difference, screen: &Screen) -> String {
    let style = screen.style;
    let mut lines = Vec::new();
    let policies = &difference.policies;
    for (sign, ids) in [("+", &policies.added), ("-", &policies.removed), ("~", &policies.changed)] {
        lines.extend(ids.iter().map(|id| format!("{sign} {id}")));
    }
    if difference.tests_compared > 0 {
        lines.push(count(difference.tests.len(), difference.tests_compared, "tests see"));
        for test in &difference.tests {
            lines.push(format!("  {}  {}", escaped(&test.name), style.dim(&escaped(&test.place))));
            for (step, before, after) in &test.steps {
                let step = if *step == 0 { "at first".to_owned() } else { format!("step {step}") };
                lines.push(format!("    {step}: {} -> {}", escaped(before), style.bold(&escaped(after))));
            }
        }
    }
    if difference.recorded_compared > 0 {
        let changed = difference.recorded.values().map(|group| group.count).sum();
        lines.push(count(changed, difference.recorded_compared, "recorded queries get"));
        let mut groups: Vec<_> = difference.recorded.iter().collect();
        groups.sort_by_key(|(_, group)| std::cmp::Reverse(group.count));
        for (kind, group) in groups {
            lines.push(format!("  {} of {} on {}", group.count, kind.action, escaped(&kind.resource_type)));
            lines.push(format!("    {} -> {}", escaped(&kind.before), style.bold(&escaped(&kind.after))));
            lines.extend(group.examples.iter().map(|example| {
                let text =
                    format!("    such as record {}: {} {}", example.sequence, example.principal, example.resource);
                style.dim(&text)
            }));
        }
    }
    if difference.is_empty() {
        lines.push(style.green("no answer changes"));
    }
    lines.join("\n") + "\n"
}

fn count(changed: usize, all: usize, what: &str) -> String {
    format!("{changed} of {all} {what} another answer")
}

fn as_json(difference: &Difference) -> Value {
    let ids = |ids: &[PolicyId]| ids.iter().map(|id| id.0.to_string()).collect::<Vec<_>>();
    let steps = |steps: &[(usize, String, String)]| {
        let steps = steps.iter().map(|(step, before, after)| json!({"step": step, "before": before, "after": after}));
        steps.collect::<Vec<_>>()
    };
    let group = |(kind, group): (&Kind, &Group)| {
        let example = |example: &crate::authoring::diff::Example| {
            json!({
                "sequence": example.sequence.to_string(),
                "principal": example.principal.to_string(),
                "resource": example.resource.to_string(),
            })
        };
        json!({
            "count": group.count,
            "before": kind.before,
            "after": kind.after,
            "action": kind.action.to_string(),
            "resource_type": *kind.resource_type,
            "examples": group.examples.iter().map(example).collect::<Vec<_>>(),
        })
    };
    let tests = difference.tests.iter();
    let tests = tests.map(|test| json!({"name": test.name, "place": test.place, "steps": steps(&test.steps)}));
    json!({
        "policies": {
            "added": ids(&difference.policies.added),
            "removed": ids(&difference.policies.removed),
            "changed": ids(&difference.policies.changed),
        },
        "tests": {"compared": difference.tests_compared, "changed": tests.collect::<Vec<_>>()},
        "recorded": {
            "compared": difference.recorded_compared,
            "changed": difference.recorded.iter().map(group).collect::<Vec<_>>(),
        },
    })
}
