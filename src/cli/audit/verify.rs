//! `audit verify`: proves the journal's files, without a server and without trusting one.

use std::path::PathBuf;

use clap::Args;
use serde_json::json;

use crate::cli::failure::Failure;
use crate::cli::parse;
use crate::cli::screen::{Format, Screen, Style};
use crate::config::Layers;
use crate::journal::{self, Anchor, Report};

#[derive(Debug, Args)]
pub struct Verify {
    /// The journal; as configured if not named
    dir: Option<PathBuf>,
    /// A place that you kept from an earlier run: proves that nothing before it was rewritten and nothing cut
    #[arg(long, value_name = "SEQUENCE:HASH", value_parser = parse::anchor)]
    anchor: Option<Anchor>,
    /// The configuration that names the journal
    #[arg(long, value_name = "FILE")]
    config: Option<PathBuf>,
}

impl Verify {
    pub fn run(self, screen: &mut Screen) -> Result<(), Failure> {
        let dir = match self.dir {
            Some(dir) => dir,
            None => Layers::of_process(self.config).load()?.journal.dir,
        };
        if !dir.is_dir() {
            return Err(Failure::Usage(format!("`{}` is no directory", dir.display())));
        }
        let report = journal::verify(&dir, self.anchor, &mut |sequence| {
            if screen.is_terminal {
                screen.note(&format!("  through record {sequence}"));
            }
        })?;
        match screen.format {
            Format::Json => screen.json(&as_json(&report)),
            Format::Table => screen.line(&as_text(&report, screen.style)),
        }
    }
}

fn anchor_of(report: &Report) -> String {
    let chain: String = report.chain.iter().map(|byte| format!("{byte:02x}")).collect();
    format!("{}:{chain}", report.last)
}

fn as_text(report: &Report, style: Style) -> String {
    let count = (report.last + 1).saturating_sub(report.first);
    let whole = style.green("whole");
    let range = if count == 0 { String::new() } else { format!(" ({} to {})", report.first, report.last) };
    let kept = if report.anchored { "\nthe anchor was met: nothing before it was rewritten" } else { "" };
    format!(
        "{whole}: {count} records{range} in {} segments{kept}\nkeep this elsewhere, to prove later that nothing was \
         rewritten:\n  --anchor {}",
        report.segments,
        anchor_of(report)
    )
}

fn as_json(report: &Report) -> serde_json::Value {
    json!({
        "first": report.first.to_string(),
        "last": report.last.to_string(),
        "segments": report.segments,
        "anchored": report.anchored,
        "anchor": anchor_of(report),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_anchor_that_is_printed_is_one_that_is_taken() {
        let report = Report { first: 1, last: 42, chain: [0xab; 32], segments: 2, anchored: true };
        let text = as_text(&report, Style::Plain);
        assert!(text.starts_with("whole: 42 records (1 to 42) in 2 segments\nthe anchor was met"), "{text}");
        let printed = text.rsplit("--anchor ").next().unwrap();
        assert_eq!(parse::anchor(printed), Ok(Anchor { sequence: 42, chain: [0xab; 32] }));
        assert_eq!(as_json(&report)["last"], "42");
    }

    #[test]
    fn an_empty_journal_is_whole() {
        let report = Report { first: 1, last: 0, chain: [0; 32], segments: 1, anchored: false };
        assert!(as_text(&report, Style::Plain).starts_with("whole: 0 records in 1 segments"));
    }
}
