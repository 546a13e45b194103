//! Reading forward and back, looking up, and retention, across segments.

use std::fs;
use std::time::Duration;

use super::support::{entry, fill, open, payload, segments, small, wait, written};
use crate::journal::{Failed, Journal, JournalError, Lookup, Order, ReadError, Retention};

#[test]
fn records_come_back_in_order_across_segments_and_after_a_restart() {
    let dir = tempfile::tempdir().unwrap();
    let journal = open(dir.path());
    fill(&journal, 1, 301);
    for journal in [journal.clone(), {
        journal.close();
        open(dir.path())
    }] {
        assert!(segments(dir.path()).len() > 3);
        let all = journal.read(1, usize::MAX, usize::MAX).unwrap();
        assert_eq!(all.len(), 300);
        for (frame, n) in all.iter().zip(1..) {
            assert_eq!((frame.sequence, frame.at_micros, &frame.payload), (n, n as i64 * 1000, &payload(n)));
            assert_eq!(frame.keys, entry(n).keys);
        }
        let mut back = journal.read_back(u64::MAX, usize::MAX, usize::MAX).unwrap();
        back.reverse();
        assert_eq!(back, all);
        assert_eq!(journal.head().chain, all[299].chain);
    }
}

#[test]
fn limits_end_a_read_but_one_record_always_comes() {
    let dir = tempfile::tempdir().unwrap();
    let journal = open(dir.path());
    fill(&journal, 1, 101);
    let sequences = |frames: Vec<crate::journal::Frame>| frames.iter().map(|frame| frame.sequence).collect::<Vec<_>>();
    assert_eq!(sequences(journal.read(7, 3, usize::MAX).unwrap()), [7, 8, 9]);
    assert_eq!(sequences(journal.read(7, 100, 1).unwrap()), [7]);
    assert_eq!(sequences(journal.read_back(7, 3, usize::MAX).unwrap()), [6, 5, 4]);
    assert_eq!(sequences(journal.read_back(7, 100, 1).unwrap()), [6]);
    assert_eq!(sequences(journal.read(101, 9, 9).unwrap()), [0; 0]);
    assert_eq!(sequences(journal.read_back(1, 9, 9).unwrap()), [0; 0]);
}

#[test]
fn a_key_is_found_in_both_orders_page_by_page() {
    let dir = tempfile::tempdir().unwrap();
    let journal = open(dir.path());
    fill(&journal, 1, 301);
    journal.close();
    let journal = open(dir.path());
    fill(&journal, 301, 401);
    let want: Vec<u64> = (1..401).filter(|n| n % 3 == 2).collect();
    let pages = |order| {
        let (mut all, mut lookup) = (Vec::new(), Lookup::of(2, order, 7));
        loop {
            let page = journal.find(&lookup).unwrap();
            let Some(&last) = page.last() else { return all };
            lookup.cursor = Some(last);
            all.extend(page);
        }
    };
    assert_eq!(pages(Order::OldestFirst), want);
    let mut newest = pages(Order::NewestFirst);
    newest.reverse();
    assert_eq!(newest, want);
    for n in 1..401 {
        assert_eq!(journal.find(&Lookup::of(1000 + n, Order::NewestFirst, 9)).unwrap(), [n]);
    }
    assert!(journal.find(&Lookup::of(999, Order::OldestFirst, 9)).unwrap().is_empty());
}

#[test]
fn a_lookup_keeps_within_its_sequences_and_times() {
    let dir = tempfile::tempdir().unwrap();
    let journal = open(dir.path());
    fill(&journal, 1, 301);
    let mut lookup = Lookup::of(0, Order::OldestFirst, 99);
    lookup.sequences = 100..109;
    assert_eq!(journal.find(&lookup).unwrap(), [102, 105, 108]);
    lookup.sequences = 0..u64::MAX;
    lookup.at_micros = 201_000..207_000;
    assert_eq!(journal.find(&lookup).unwrap(), [201, 204]);
    lookup.at_micros = 201_001..207_001;
    assert_eq!(journal.find(&lookup).unwrap(), [204, 207]);
    lookup.at_micros.end = 101_000;
    assert!(journal.find(&lookup).unwrap().is_empty());
}

#[test]
fn a_deleted_or_spoiled_index_is_built_again() {
    let dir = tempfile::tempdir().unwrap();
    written(dir.path(), 300);
    let index = segments(dir.path())[1].with_extension("idx");
    fs::remove_file(&index).unwrap();
    let journal = open(dir.path());
    assert!(index.exists());
    let good = fs::read(&index).unwrap();
    let want = journal.find(&Lookup::of(1, Order::OldestFirst, 999)).unwrap();
    let mut bad = good.clone();
    bad[4096 * 2 + 5] ^= 1;
    fs::write(&index, &bad).unwrap();
    assert_eq!(journal.find(&Lookup::of(1, Order::OldestFirst, 999)).unwrap(), want);
    assert_eq!(fs::read(&index).unwrap(), good);
}

#[test]
fn time_in_the_journal_never_goes_back() {
    let dir = tempfile::tempdir().unwrap();
    let journal = open(dir.path());
    fill(&journal, 9, 10);
    journal.close();
    let journal = open(dir.path());
    fill(&journal, 3, 4);
    let times: Vec<_> = journal.read(1, 9, 999).unwrap().iter().map(|frame| frame.at_micros).collect();
    assert_eq!(times, [9000, 9000]);
}

#[test]
fn retention_removes_whole_old_segments_and_nothing_that_is_still_needed() {
    let dir = tempfile::tempdir().unwrap();
    written(dir.path(), 300);
    let journal = open(dir.path());
    let before = segments(dir.path()).len();
    let old = Retention { keep_from: u64::MAX, max_age: Some(Duration::from_micros(100_000)), max_bytes: None };
    assert!(journal.retain(&Retention { max_age: None, ..old }, 250_000).unwrap().is_empty());
    assert!(journal.retain(&Retention { keep_from: 5, ..old }, 250_000).unwrap().is_empty());
    let removed = journal.retain(&old, 250_000).unwrap();
    let first = journal.first_sequence();
    assert_eq!(segments(dir.path()).len(), before - removed.len());
    assert!(
        (removed[0].first, removed.last().unwrap().last) == (1, first - 1) && first <= 150 && first > 60,
        "{first}"
    );
    match journal.read(first - 1, 1, 1) {
        Err(ReadError::Trimmed { first: told }) => assert_eq!(told, first),
        other => panic!("{other:?}"),
    }
    assert_eq!(journal.find(&Lookup::of(0, Order::OldestFirst, 1)).unwrap()[0], first.next_multiple_of(3));
    assert_eq!(journal.read_back(u64::MAX, 999, usize::MAX).unwrap().len() as u64, 301 - first);
    journal.close();
    assert_eq!(open(dir.path()).first_sequence(), first);
}

#[test]
fn retention_by_size_leaves_the_active_segment() {
    let dir = tempfile::tempdir().unwrap();
    written(dir.path(), 300);
    let journal = open(dir.path());
    journal.retain(&Retention { keep_from: u64::MAX, max_age: None, max_bytes: Some(0) }, 0).unwrap();
    assert_eq!(segments(dir.path()).len(), 1);
    fill(&journal, 301, 302);
    assert_eq!(journal.head().sequence, 301);
}

#[test]
fn a_removed_head_is_not_taken_for_retention() {
    let dir = tempfile::tempdir().unwrap();
    written(dir.path(), 300);
    fs::remove_file(&segments(dir.path())[0]).unwrap();
    let Err(JournalError::Damaged(finding)) = Journal::open(small(dir.path())) else { panic!() };
    assert_eq!(finding.sequence, 1);
}

#[test]
fn waiting_for_a_sequence_ends_when_it_is_durable() {
    let dir = tempfile::tempdir().unwrap();
    let journal = open(dir.path());
    fill(&journal, 1, 4);
    wait(journal.wait_durable(3)).unwrap();
    assert_eq!((journal.durable_through(), *journal.subscribe().borrow()), (3, 3));
    journal.close();
    assert_eq!(wait(journal.wait_durable(3)), Ok(()));
    assert_eq!(wait(journal.wait_durable(4)), Err(Failed));
}
