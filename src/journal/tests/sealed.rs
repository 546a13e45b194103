//! Sealed records in a real journal: with another key, and with a byte that somebody changed.

use super::support::small;
use crate::domain::{Fact, Refused, Timestamp};
use crate::journal::{JournalError, Log, LogError, Problem, Settings, verify};
use crate::vault::{OpenError, Vault};

fn settings(dir: &std::path::Path, key: Option<u8>) -> Settings {
    let bytes = [key.unwrap_or_default(); 32];
    let vault = key.map_or_else(Vault::default, |_| Vault::new([("one", &bytes[..])]).unwrap());
    Settings { vault, ..small(dir) }
}

fn fact(field: &str) -> Fact {
    let (method, reason, request_id) = ("Authorize".into(), "invalid_argument".into(), "r".into());
    Fact::Refused(Refused { method, reason, field: Some(field.into()), caller: None, approval: None, request_id })
}

/// A journal of three records.
fn written(dir: &std::path::Path) {
    let log = Log::open(settings(dir, Some(1))).unwrap();
    for number in 0..3 {
        let fact = fact(&format!("sesame-{number}"));
        log.append(&fact, log.vault().draft(&fact), Timestamp::from_micros(number)).unwrap();
    }
    log.close();
}

#[test]
fn a_journal_whose_newest_seal_does_not_open_is_not_opened() {
    let dir = tempfile::tempdir().unwrap();
    written(dir.path());
    for (key, says) in [(None, "is not among"), (Some(2), "is not the one that sealed it")] {
        match Log::open(settings(dir.path(), key)) {
            Err(error @ JournalError::Sealed { sequence: 3, .. }) => {
                assert!(error.to_string().contains(says), "{error}")
            }
            Err(other) => panic!("{other}"),
            Ok(_) => panic!("opened with {key:?}"),
        }
    }
    let log = Log::open(settings(dir.path(), Some(1))).unwrap();
    let records = log.read_raw(1, 9, 1 << 20).unwrap();
    for (number, raw) in records.iter().enumerate() {
        assert_eq!(raw.parse(log.vault()).unwrap().fact, fact(&format!("sesame-{number}")));
    }
    assert_eq!(records.len(), 3);
}

#[test]
fn a_sealed_record_in_the_place_of_another_is_named() {
    let dir = tempfile::tempdir().unwrap();
    written(dir.path());
    let log = Log::open(settings(dir.path(), Some(1))).unwrap();
    let mut records = log.read_raw(1, 9, 1 << 20).unwrap();
    records[0].payload = records[1].payload.clone();
    match records[0].parse(log.vault()) {
        Err(LogError::Sealed { sequence: 1, source: OpenError::Broken }) => {}
        other => panic!("{other:?}"),
    }
}

#[test]
fn a_bit_that_flipped_in_a_seal_is_found_without_the_key_and_its_place_is_named() {
    let dir = tempfile::tempdir().unwrap();
    written(dir.path());
    let file = dir.path().join("j/00000000000000000001.seg");
    let whole = std::fs::read(&file).unwrap();
    verify(&dir.path().join("j"), None, &mut |_| {}).unwrap();
    let end = whole.iter().rposition(|byte| *byte != 0).unwrap();
    for place in (200..end).step_by(7) {
        let mut spoiled = whole.clone();
        spoiled[place] ^= 4;
        std::fs::write(&file, &spoiled).unwrap();
        match verify(&dir.path().join("j"), None, &mut |_| {}) {
            Err(JournalError::Damaged(finding)) => {
                assert_eq!(finding.file, file);
                assert!(finding.problem != Problem::Absent && (1..=3).contains(&finding.sequence), "{finding}");
            }
            other => panic!("byte {place}: {other:?}"),
        }
    }
}
