//! Tampering of every kind is found by `verify`, and named.

use std::fs;
use std::path::{Path, PathBuf};

use sha2::{Digest, Sha256};

use super::support::{change, copy, fill, offsets, open, segments, small, written};
use crate::journal::{Anchor, Finding, Journal, JournalError, Problem, Report, Retention, replay, verify};

fn verified(dir: &Path, anchor: Option<Anchor>) -> Result<Report, Finding> {
    verify(&dir.join("j"), anchor, &mut |_| {}).map_err(|error| match error {
        JournalError::Damaged(finding) => finding,
        other => panic!("{other}"),
    })
}

/// Writes a frame's chain and checksum anew after its content was changed; returns its link.
fn reseal(segment: &mut [u8], frame: std::ops::Range<usize>, previous: [u8; 32]) -> [u8; 32] {
    let seed = crc32c::crc32c(&segment[64..80]);
    let bytes = &mut segment[frame];
    let chained = bytes.len() - 36;
    let link: [u8; 32] = Sha256::new().chain_update(previous).chain_update(&bytes[..chained]).finalize().into();
    bytes[chained..chained + 32].copy_from_slice(&link);
    let checksum = crc32c::crc32c_append(seed, &bytes[..chained + 32]);
    bytes[chained + 32..].copy_from_slice(&checksum.to_le_bytes());
    link
}

#[test]
fn a_sound_journal_is_proved_to_its_head() {
    let dir = tempfile::tempdir().unwrap();
    let journal = open(dir.path());
    fill(&journal, 1, 301);
    let head = journal.head();
    let anchor = Anchor { sequence: head.sequence, chain: head.chain };
    // Beside the running journal, and after it.
    for _ in 0..2 {
        let report = verified(dir.path(), Some(anchor)).unwrap();
        assert_eq!((report.first, report.last, report.chain, report.anchored), (1, 300, head.chain, true));
        assert_eq!(report.segments, segments(dir.path()).len());
        journal.close();
    }
}

#[test]
fn a_replay_shows_every_record_once_beside_the_running_journal() {
    let dir = tempfile::tempdir().unwrap();
    let journal = open(dir.path());
    fill(&journal, 1, 301);
    let mut shown = Vec::new();
    let report = replay(&dir.path().join("j"), &mut |raw| shown.push((raw.sequence, raw.payload))).unwrap();
    let read = journal.read(1, 1_000, 1 << 20).unwrap().into_iter().map(|frame| (frame.sequence, frame.payload));
    assert_eq!((report.last, shown), (300, read.collect()));
}

/// Spoils a copy of the journal and compares what is found.
fn named(dir: &Path, sequence: u64, problem: Problem, spoil: impl FnOnce(&[PathBuf])) {
    let copied = tempfile::tempdir().unwrap();
    copy(dir, copied.path());
    spoil(&segments(copied.path()));
    let finding = verified(copied.path(), None).unwrap_err();
    assert_eq!((finding.sequence, &finding.problem), (sequence, &problem), "{finding}");
}

fn first(segment: &Path) -> u64 {
    segment.file_stem().unwrap().to_str().unwrap().parse().unwrap()
}

#[test]
fn a_record_changed_removed_or_moved_is_named() {
    let dir = tempfile::tempdir().unwrap();
    written(dir.path(), 300);
    let segment = &segments(dir.path())[1];
    let (starts, bad) = (offsets(segment), first(segment) + 2);
    let third = starts[2]..starts[3];
    let in_its_place = Problem::Sequence { found: bad + 1 };

    named(dir.path(), bad, Problem::Checksum, |all| change(&all[1], |bytes| bytes[starts[2] + 50] ^= 1));
    named(dir.path(), bad, Problem::Chain, |all| {
        change(&all[1], |bytes| {
            bytes[starts[2] + 50] ^= 1;
            reseal(bytes, third.clone(), [0; 32]);
        });
    });
    named(dir.path(), bad, in_its_place.clone(), |all| change(&all[1], |bytes| drop(bytes.drain(third.clone()))));
    named(dir.path(), bad, in_its_place, |all| {
        change(&all[1], |bytes| bytes[starts[2]..starts[4]].rotate_left(third.len()));
    });
}

#[test]
fn a_missing_segment_and_a_cut_tail_are_named() {
    let dir = tempfile::tempdir().unwrap();
    written(dir.path(), 300);
    let all = segments(dir.path());
    let last = all.len() - 1;
    let missing = |next: usize| Problem::MissingSegment { next: first(&all[next]) };
    let cut = Problem::CutTail { acknowledged: 300 };
    let end = offsets(&all[last]).into_iter().rev().nth(1).unwrap();

    named(dir.path(), 1, missing(1), |all| fs::remove_file(&all[0]).unwrap());
    named(dir.path(), first(&all[2]), missing(3), |all| fs::remove_file(&all[2]).unwrap());
    named(dir.path(), first(&all[last]), cut.clone(), |all| fs::remove_file(&all[last]).unwrap());
    named(dir.path(), 300, cut, |all| change(&all[last], |bytes| bytes[end..].fill(0)));
}

#[test]
fn a_log_rewritten_as_a_whole_is_found_only_against_an_anchor() {
    let dir = tempfile::tempdir().unwrap();
    written(dir.path(), 9);
    let head = open(dir.path()).head();
    let anchor = Some(Anchor { sequence: head.sequence, chain: head.chain });
    let segment = segments(dir.path()).remove(0);
    let starts = offsets(&segment);
    change(&segment, |bytes| {
        bytes[starts[4] + 50] ^= 1;
        let mut link = bytes[starts[4] - 36..starts[4] - 4].try_into().unwrap();
        for frame in 4..9 {
            link = reseal(bytes, starts[frame]..starts[frame + 1], link);
        }
    });
    assert!(!verified(dir.path(), None).unwrap().anchored);
    let finding = verified(dir.path(), anchor).unwrap_err();
    assert_eq!((finding.sequence, finding.problem), (9, Problem::Anchor));
}

#[test]
fn a_tail_cut_together_with_the_mark_is_found_against_an_anchor() {
    let dir = tempfile::tempdir().unwrap();
    written(dir.path(), 9);
    let head = open(dir.path()).head();
    let segment = segments(dir.path()).remove(0);
    let starts = offsets(&segment);
    change(&segment, |bytes| bytes[starts[6]..].fill(0));
    super::support::acknowledge(dir.path(), 6);
    assert_eq!(verified(dir.path(), None).unwrap().last, 6);
    let anchor = Anchor { sequence: head.sequence, chain: head.chain };
    let finding = verified(dir.path(), Some(anchor)).unwrap_err();
    assert_eq!((finding.sequence, finding.problem), (7, Problem::CutTail { acknowledged: 9 }));
}

#[test]
fn an_anchor_at_the_edge_of_retention_counts_and_an_older_one_is_said_to_be_gone() {
    let dir = tempfile::tempdir().unwrap();
    written(dir.path(), 300);
    let journal = Journal::open(small(dir.path())).unwrap();
    let frames = journal.read(1, 999, usize::MAX).unwrap();
    journal.retain(&Retention { keep_from: 150, max_age: None, max_bytes: Some(0) }, 0).unwrap();
    let first = journal.first_sequence();
    assert!(first > 2);
    let anchor = |sequence: u64| Some(Anchor { sequence, chain: frames[sequence as usize - 1].chain });
    assert!(verified(dir.path(), anchor(first - 1)).unwrap().anchored);
    assert_eq!(verified(dir.path(), anchor(first - 2)).unwrap_err().problem, Problem::AnchorTrimmed);
}
