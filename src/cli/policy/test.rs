//! `policy test`: the tests beside the policies, and what they did not see.

use std::path::PathBuf;

use clap::Args;
use serde_json::{Value, json};

use super::{Place, settings};
use crate::authoring::coverage::{FileCoverage, Gap, Share};
use crate::authoring::run::{Outcome, Sets, Tested};
use crate::authoring::{Coverage, Suite};
use crate::cli::failure::Failure;
use crate::cli::screen::{Format, Screen, table};
use crate::cli::words::escaped;

#[derive(Debug, Args)]
pub struct Test {
    #[command(flatten)]
    place: Place,
    /// Only tests whose name holds this
    #[arg(long, value_name = "TEXT")]
    filter: Option<String>,
    /// Write the results as JUnit XML as well
    #[arg(long, value_name = "FILE")]
    junit: Option<PathBuf>,
    /// Fail where the tests see less than so many percent of policies and conditions together
    #[arg(long, value_name = "PERCENT", value_parser = clap::value_parser!(u8).range(0..=100))]
    min_coverage: Option<u8>,
}

impl Test {
    pub fn run(self, screen: &mut Screen) -> Result<(), Failure> {
        let config = self.place.config()?;
        let suites = Suite::read_all(&config.policy.dir)?;
        let sets = Sets::load(settings(&config, self.filter.clone()))?;
        let mut outcome = Outcome::default();
        suites.iter().for_each(|suite| sets.run(suite, &mut outcome));
        let coverage = outcome.sightings.of(&sets.snapshot);
        if let Some(file) = &self.junit {
            std::fs::write(file, junit(&outcome.tested)?)?;
        }
        match screen.format {
            Format::Json => screen.json(&as_json(&outcome, &coverage))?,
            Format::Table => show(&outcome, &coverage, screen)?,
        }
        self.verdict(&outcome, &coverage)
    }

    /// A run that tested nothing is no success.
    fn verdict(&self, outcome: &Outcome, coverage: &Coverage) -> Result<(), Failure> {
        let failed = outcome.tested.iter().filter(|test| !test.failures.is_empty()).count();
        if outcome.tested.is_empty() {
            return Err(Failure::Failed("no test was run: there is no `*.test.yaml` with such a test".into()));
        }
        if failed > 0 {
            return Err(Failure::Failed(format!("{failed} of {} tests failed", outcome.tested.len())));
        }
        match self.min_coverage.map(usize::from) {
            Some(least) if coverage.percent() < least => Err(Failure::Failed(format!(
                "the tests see {} % of the policies, of {least} wanted",
                coverage.percent()
            ))),
            Some(_) | None => Ok(()),
        }
    }
}

fn show(outcome: &Outcome, coverage: &Coverage, screen: &mut Screen) -> Result<(), Failure> {
    let mut file = None;
    for test in &outcome.tested {
        if file != Some(&test.path) {
            screen.line(&screen.style.bold(&escaped(&test.path.to_string_lossy())))?;
            file = Some(&test.path);
        }
        show_test(test, screen)?;
    }
    let failed = outcome.tested.iter().filter(|test| !test.failures.is_empty()).count();
    let passed = screen.style.green(&format!("{} passed", outcome.tested.len() - failed));
    let failed = if failed == 0 { String::new() } else { screen.style.red(&format!(", {failed} failed")) };
    screen.line(&format!("\n{passed}{failed}\n"))?;
    show_coverage(coverage, screen)
}

fn show_test(test: &Tested, screen: &mut Screen) -> Result<(), Failure> {
    if test.failures.is_empty() {
        return screen.line(&format!("  {}  {}", screen.style.green("ok  "), escaped(&test.name)));
    }
    screen.line(&format!("  {}  {}", screen.style.red("FAIL"), escaped(&test.name)))?;
    for failure in &test.failures {
        let place = format!("{}:{}", test.path.display(), failure.line);
        screen.line(&format!("        {}: {}", screen.style.dim(&escaped(&place)), escaped(&failure.message)))?;
    }
    Ok(())
}

fn show_coverage(coverage: &Coverage, screen: &mut Screen) -> Result<(), Failure> {
    let mut rows = table(&["coverage", "policies", "conditions"]);
    for file in &coverage.files {
        rows.add_row([escaped(&file.file), share(file.policies), share(file.conditions)]);
    }
    let total = format!("{} %", coverage.percent());
    rows.add_row([total, share(coverage.policies()), share(coverage.conditions())]);
    screen.table(&rows)?;
    for file in &coverage.files {
        for gap in &file.gaps {
            screen.line(&gap_line(file, gap, screen))?;
        }
    }
    Ok(())
}

fn share(share: Share) -> String {
    format!("{}/{}", share.seen, share.all)
}

fn gap_line(file: &FileCoverage, gap: &Gap, screen: &Screen) -> String {
    let place = screen.style.dim(&format!("{}:{}:", escaped(&file.file), gap.line));
    let missing = screen.style.yellow(gap.missing);
    let clause = gap.clause.as_ref().map(|(kind, text)| format!(": {} {{ {} }}", kind.name(), one_line(text)));
    format!("{place} policy `{}` {missing}{}", gap.policy, clause.unwrap_or_default())
}

/// A condition, short enough for a line.
pub(super) fn one_line(text: &str) -> String {
    const CHARS_MAX: usize = 100;
    let words = text.split_whitespace().collect::<Vec<_>>().join(" ");
    let short: String = words.chars().take(CHARS_MAX).collect();
    escaped(&if short.len() < words.len() { format!("{short} ...") } else { words })
}

fn as_json(outcome: &Outcome, coverage: &Coverage) -> Value {
    let test = |test: &Tested| {
        let failures = test.failures.iter().map(|failure| json!({"line": failure.line, "message": failure.message}));
        json!({
            "name": test.name,
            "file": test.path.to_string_lossy(),
            "line": test.line,
            "passed": test.failures.is_empty(),
            "failures": failures.collect::<Vec<_>>(),
        })
    };
    let file = |file: &FileCoverage| {
        json!({
            "file": *file.file,
            "policies": counted(file.policies),
            "conditions": counted(file.conditions),
            "gaps": file.gaps.iter().map(gap_json).collect::<Vec<_>>(),
        })
    };
    json!({
        "tests": outcome.tested.iter().map(test).collect::<Vec<_>>(),
        "coverage": {
            "percent": coverage.percent(),
            "policies": counted(coverage.policies()),
            "conditions": counted(coverage.conditions()),
            "files": coverage.files.iter().map(file).collect::<Vec<_>>(),
        },
    })
}

fn counted(share: Share) -> Value {
    json!({"seen": share.seen, "all": share.all})
}

fn gap_json(gap: &Gap) -> Value {
    let clause = gap.clause.as_ref().map(|(kind, text)| json!({"kind": kind.name(), "text": **text}));
    json!({"line": gap.line, "policy": *gap.policy.0, "missing": gap.missing, "clause": clause})
}

/// One suite a file, one case a test.
fn junit(tested: &[Tested]) -> Result<String, Failure> {
    use quick_junit::{NonSuccessKind, Report, TestCase, TestCaseStatus, TestSuite};
    let mut report = Report::new("countersign policy test");
    let mut suites: Vec<(&PathBuf, TestSuite)> = Vec::new();
    for test in tested {
        let status = if test.failures.is_empty() {
            TestCaseStatus::success()
        } else {
            let lines = test
                .failures
                .iter()
                .map(|failure| format!("{}:{}: {}", test.path.display(), failure.line, failure.message));
            let mut status = TestCaseStatus::non_success(NonSuccessKind::Failure);
            status.set_message(lines.collect::<Vec<_>>().join("\n"));
            status
        };
        if suites.last().is_none_or(|(path, _)| **path != test.path) {
            suites.push((&test.path, TestSuite::new(test.path.to_string_lossy().into_owned())));
        }
        if let Some((_, suite)) = suites.last_mut() {
            suite.add_test_case(TestCase::new(test.name.clone(), status));
        }
    }
    report.add_test_suites(suites.into_iter().map(|(_, suite)| suite));
    report.to_string().map_err(|error| Failure::Failed(format!("cannot write the JUnit report: {error}")))
}
