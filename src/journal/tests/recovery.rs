//! What a start makes of a spoiled journal: torn tails are cut, damage is refused and left as it is.

use std::fs;
use std::path::Path;

use super::support::{acknowledge, change, copy, damage, fill, offsets, open, quick_dir, segments, small, written};
use crate::journal::{Journal, JournalError, Problem};

/// A copy of the journal with its active segment changed and only `acknowledged` records answered for.
fn spoiled(dir: &Path, acknowledged: u64, spoil: impl FnOnce(&mut Vec<u8>)) -> tempfile::TempDir {
    let copied = quick_dir();
    copy(dir, copied.path());
    acknowledge(copied.path(), acknowledged);
    change(segments(copied.path()).last().unwrap(), spoil);
    copied
}

fn reopen(dir: &Path, acknowledged: u64, spoil: impl FnOnce(&mut Vec<u8>)) -> Result<Journal, JournalError> {
    Journal::open(small(spoiled(dir, acknowledged, spoil).path()))
}

/// Records 1 to 3 in a first batch, 4 to 6 in a last one that was written and not yet answered for.
fn two_batches(dir: &Path) {
    let journal = open(dir);
    fill(&journal, 1, 4);
    journal.close();
    let journal = Journal::open(super::support::interval(dir)).unwrap();
    for n in 4..7 {
        let entry = super::support::entry(n);
        journal.append(entry, crate::journal::Class::Normal, crate::journal::Durability::Relaxed).unwrap();
    }
    journal.close();
}

#[test]
fn a_last_batch_torn_at_any_byte_loses_only_what_was_torn() {
    let dir = tempfile::tempdir().unwrap();
    two_batches(dir.path());
    let starts = offsets(&segments(dir.path())[0]);
    for torn in starts[3]..starts[6] {
        let copied = spoiled(dir.path(), 3, |bytes| bytes[torn..].fill(0));
        let journal = open(copied.path());
        let whole = starts.iter().filter(|&&start| start <= torn && start > 128).count() as u64;
        // A frame whose last bytes are zeros anyway may be whole although torn.
        assert!((whole..=whole + 1).contains(&journal.head().sequence), "byte {torn}");
        let next = journal.head().sequence + 1;
        fill(&journal, next, 8);
        assert_eq!(journal.read(1, 99, usize::MAX).unwrap().len(), 7, "byte {torn}");
    }
}

#[test]
fn a_last_batch_of_which_only_the_end_arrived_is_cut() {
    let dir = tempfile::tempdir().unwrap();
    two_batches(dir.path());
    let starts = offsets(&segments(dir.path())[0]);
    for lost in starts[3]..starts[5] {
        let journal = reopen(dir.path(), 3, |bytes| bytes[starts[3]..=lost].fill(0)).unwrap();
        assert_eq!(journal.head().sequence, 3, "byte {lost}");
    }
}

#[test]
fn a_cut_tail_leaves_nothing_behind() {
    let dir = tempfile::tempdir().unwrap();
    two_batches(dir.path());
    let segment = &segments(dir.path())[0];
    let starts = offsets(segment);
    acknowledge(dir.path(), 3);
    change(segment, |bytes| bytes[starts[4]] ^= 1);
    let journal = open(dir.path());
    assert_eq!(journal.head().sequence, 4);
    journal.close();
    assert!(fs::read(segment).unwrap()[starts[4]..].iter().all(|&byte| byte == 0));
    assert_eq!(open(dir.path()).head().sequence, 4);
}

#[test]
fn the_same_torn_bytes_are_damage_once_the_record_was_acknowledged() {
    let dir = tempfile::tempdir().unwrap();
    two_batches(dir.path());
    let starts = offsets(&segments(dir.path())[0]);
    for sequence in 4..7 {
        let start = starts[sequence - 1];
        let torn = |bytes: &mut Vec<u8>| bytes[start + 9..].fill(0);
        assert_eq!(reopen(dir.path(), sequence as u64 - 1, torn).unwrap().head().sequence, sequence as u64 - 1);
        let finding = damage(reopen(dir.path(), sequence as u64, torn));
        assert_eq!((finding.sequence, finding.offset), (sequence as u64, start as u64));
        assert!(finding.file.ends_with("00000000000000000001.seg"));
    }
}

#[test]
fn a_tail_of_zeros_is_clean_unless_more_was_acknowledged() {
    let dir = tempfile::tempdir().unwrap();
    two_batches(dir.path());
    let starts = offsets(&segments(dir.path())[0]);
    let cut = |bytes: &mut Vec<u8>| bytes[starts[4]..].fill(0);
    assert_eq!(reopen(dir.path(), 4, cut).unwrap().head().sequence, 4);
    let finding = damage(reopen(dir.path(), 5, cut));
    assert_eq!((finding.sequence, finding.problem), (5, Problem::CutTail { acknowledged: 5 }));
}

#[test]
fn a_later_frame_proves_damage_even_when_the_mark_was_lost() {
    let dir = tempfile::tempdir().unwrap();
    two_batches(dir.path());
    let starts = offsets(&segments(dir.path())[0]);
    // Records 4 to 6 were written when 3 was on disk, so a bad 3 is damage and a bad 4 is not.
    let flip = |record: usize| move |bytes: &mut Vec<u8>| bytes[record] ^= 0x10;
    let finding = damage(reopen(dir.path(), 0, flip(starts[2] + 40)));
    assert_eq!((finding.sequence, finding.problem), (3, Problem::Checksum));
    assert_eq!(reopen(dir.path(), 0, flip(starts[3] + 40)).unwrap().head().sequence, 3);
}

#[test]
fn every_flipped_bit_of_an_acknowledged_record_is_refused_and_named() {
    let dir = tempfile::tempdir().unwrap();
    two_batches(dir.path());
    let segment = segments(dir.path()).remove(0);
    let starts = offsets(&segment);
    for byte in starts[4]..starts[5] {
        let finding = damage(reopen(dir.path(), 6, |bytes| bytes[byte] ^= 1 << (byte % 8)));
        assert_eq!((finding.sequence, finding.offset), (5, starts[4] as u64), "byte {byte}");
    }
}

#[test]
fn a_refused_start_changes_nothing() {
    let dir = tempfile::tempdir().unwrap();
    two_batches(dir.path());
    let segment = segments(dir.path()).remove(0);
    change(&segment, |bytes| bytes[200] ^= 1);
    let (before, mark) = (fs::read(&segment).unwrap(), fs::read(dir.path().join("j/acknowledged")).unwrap());
    damage(Journal::open(small(dir.path())));
    assert_eq!(fs::read(&segment).unwrap(), before);
    assert_eq!(fs::read(dir.path().join("j/acknowledged")).unwrap(), mark);
}

#[test]
fn a_spoiled_header_or_sealed_segment_is_refused() {
    let dir = tempfile::tempdir().unwrap();
    written(dir.path(), 300);
    let check = |spoil: &dyn Fn(&Path), sequence: u64| {
        let copied = tempfile::tempdir().unwrap();
        copy(dir.path(), copied.path());
        spoil(copied.path());
        assert_eq!(damage(Journal::open(small(copied.path()))).sequence, sequence);
    };
    let all = segments(dir.path());
    let first = |n: usize| all[n].file_stem().unwrap().to_str().unwrap().parse::<u64>().unwrap();
    let last = all.len() - 1;
    check(&|dir| change(&segments(dir)[2], |bytes| bytes[30] ^= 1), first(2));
    check(&|dir| change(&segments(dir)[last], |bytes| bytes[30] ^= 1), first(last));
    check(&|dir| change(&segments(dir)[1], |bytes| bytes[200] ^= 1), first(1));
    check(&|dir| fs::remove_file(&segments(dir)[2]).unwrap(), first(2));
    check(&|dir| fs::remove_file(&segments(dir)[last]).unwrap(), first(last));
    check(&|dir| fs::remove_file(dir.join("j/acknowledged")).unwrap(), 0);
    check(&|dir| fs::remove_file(dir.join("j/retained")).unwrap(), 0);
}

#[test]
fn a_segment_of_a_newer_format_is_refused_by_its_version() {
    let dir = tempfile::tempdir().unwrap();
    written(dir.path(), 3);
    change(&segments(dir.path())[0], |bytes| bytes[8] = 9);
    let error = Journal::open(small(dir.path())).unwrap_err();
    assert!(matches!(error, JournalError::Newer { version: 9, supported: 1, .. }), "{error}");
}

#[test]
fn a_crash_while_a_segment_or_index_is_made_is_no_loss() {
    let dir = tempfile::tempdir().unwrap();
    written(dir.path(), 300);
    let all = segments(dir.path());
    // The next segment: a header in a spare, not yet renamed.
    fs::copy(&all[0], dir.path().join("j/spare-77.new")).unwrap();
    // A full segment, not yet cut to its length; its index half written.
    change(&all[1], |bytes| bytes.resize(8192, 0));
    let index = all[1].with_extension("idx");
    fs::rename(&index, index.with_extension("idx.new")).unwrap();
    let journal = open(dir.path());
    assert_eq!(journal.read(1, 999, usize::MAX).unwrap().len(), 300);
    assert!(index.exists() && !index.with_extension("idx.new").exists());
    fill(&journal, 301, 500);
    journal.close();
    assert_eq!(open(dir.path()).head().sequence, 499);
}

#[test]
fn an_interrupted_first_start_is_done_again() {
    let dir = tempfile::tempdir().unwrap();
    written(dir.path(), 0);
    fs::remove_file(&segments(dir.path())[0]).unwrap();
    fs::remove_file(dir.path().join("j/retained")).unwrap();
    let journal = open(dir.path());
    fill(&journal, 1, 3);
    assert_eq!(journal.head().sequence, 2);
}

#[test]
fn the_chain_goes_on_over_a_restart() {
    let dir = tempfile::tempdir().unwrap();
    let mut heads = Vec::new();
    for n in 1..6 {
        let journal = open(dir.path());
        heads.extend((n > 1).then(|| journal.head()));
        fill(&journal, n, n + 1);
    }
    let frames = open(dir.path()).read(1, 99, usize::MAX).unwrap();
    for (head, frame) in heads.iter().zip(&frames) {
        assert_eq!((head.sequence, head.chain), (frame.sequence, frame.chain));
    }
    assert!(crate::journal::verify(&dir.path().join("j"), None, &mut |_| {}).is_ok());
}
