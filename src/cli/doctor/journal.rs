//! The journal: whose it is, that its newest part is whole, and how much room it has.

use std::os::unix::fs::PermissionsExt;
use std::path::Path;

use super::finding::Finding;
use crate::config::Config;
use crate::journal::{self, examine as look};

const PART: &str = "journal";
/// Room for so many segments beside the reserve is little.
const SEGMENTS_LEFT_MIN: u64 = 4;

pub fn examine(config: &Config) -> Vec<Finding> {
    let dir = &config.journal.dir;
    let mut findings = Vec::new();
    if dir.is_dir() {
        findings.push(holder(dir));
        findings.push(tail(dir));
        findings.extend(permissions(dir));
    } else {
        findings.push(absent(dir));
    }
    findings.extend(room(config));
    findings
}

fn absent(dir: &Path) -> Finding {
    let shown = dir.display();
    match parent(dir).is_dir() {
        true => Finding::ok(PART, format!("`{shown}` is not there yet; the first start makes it")),
        false => Finding::fail(
            PART,
            format!("the directory above `{shown}` is not there"),
            "make it, or correct `journal.dir`",
        ),
    }
}

fn parent(dir: &Path) -> &Path {
    dir.parent().filter(|parent| !parent.as_os_str().is_empty()).unwrap_or(Path::new("."))
}

fn holder(dir: &Path) -> Finding {
    match look::held_by(dir) {
        Ok(None) => Finding::ok(PART, format!("nobody has `{}` open", dir.display())),
        Ok(Some(pid)) => Finding::ok(PART, format!("`{}` is open: process {pid} serves with it", dir.display())),
        Err(error) => Finding::fail(PART, error.to_string(), "run this as the user that runs the server"),
    }
}

fn tail(dir: &Path) -> Finding {
    if std::fs::read_dir(dir).is_ok_and(|mut entries| entries.all(|entry| !is_segment(entry))) {
        return Finding::ok(PART, "it has no record yet");
    }
    let evidence = "keep the directory as it is: what it holds is evidence. `countersign audit verify` proves all of it; restore from a \
                    backup into another directory (docs/operations.md)";
    match journal::verify_tail(dir) {
        Ok(report) => Finding::ok(PART, format!("its newest segment is whole, through record {}", report.last)),
        Err(error) => Finding::fail(PART, error.to_string(), evidence),
    }
}

fn is_segment(entry: std::io::Result<std::fs::DirEntry>) -> bool {
    entry.is_ok_and(|entry| entry.path().extension().is_some_and(|extension| extension == "seg"))
}

fn permissions(dir: &Path) -> Option<Finding> {
    let mode = dir.metadata().ok()?.permissions().mode() & 0o777;
    let advice = format!("chmod 700 {}", dir.display());
    (mode & 0o002 != 0)
        .then(|| Finding::fail(PART, format!("everybody may write into `{}` (mode {mode:03o})", dir.display()), advice))
}

fn room(config: &Config) -> Option<Finding> {
    let journal = &config.journal;
    let dir = if journal.dir.is_dir() { &*journal.dir } else { parent(&journal.dir) };
    let (free, all) = look::room(dir).ok()?;
    let segment = journal.segment_bytes.get();
    let least = journal.reserve_bytes.get().saturating_add(2 * segment);
    let says = format!("{} MiB of {} MiB are free on its disk", free >> 20, all >> 20);
    let advice =
        "make room: a larger volume, or `journal.retention_age` / `retention_bytes`; on a full disk nothing is allowed";
    Some(if free < least {
        Finding::fail(PART, format!("{says}: less than the reserve and two segments"), advice)
    } else if free < least.saturating_add(SEGMENTS_LEFT_MIN * segment) {
        Finding::warn(PART, says, advice)
    } else {
        Finding::ok(PART, says)
    })
}
