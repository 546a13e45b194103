//! Many writers, the order of calls, the two durabilities, and who owns the directory.

use std::process::{Command, Stdio};
use std::sync::{Arc, Mutex};

use super::support::{entry, fill, interval, open, put, segments, small, wait};
use crate::journal::{AppendError, Class, Durability, Entry, Failed, Journal, JournalError, Settings};

#[test]
fn sixty_four_writers_keep_the_order_of_their_calls() {
    let dir = tempfile::tempdir().unwrap();
    let journal = open(dir.path());
    let calls = Arc::new(Mutex::new(Vec::new()));
    std::thread::scope(|scope| {
        for writer in 0..64 {
            let (journal, calls) = (journal.clone(), Arc::clone(&calls));
            scope.spawn(move || {
                for n in 0..20 {
                    let ticket = {
                        let mut calls = calls.lock().unwrap();
                        calls.push(writer * 100 + n);
                        put(&journal, writer * 100 + n)
                    };
                    wait(ticket.durable()).unwrap();
                    assert!(journal.durable_through() >= ticket.sequence);
                }
            });
        }
    });
    let calls = calls.lock().unwrap();
    let frames = journal.read(1, usize::MAX, usize::MAX).unwrap();
    assert_eq!(frames.len(), 64 * 20);
    for (frame, n) in frames.iter().zip(calls.iter()) {
        assert_eq!(frame.keys, entry(*n).keys);
    }
}

#[test]
fn a_relaxed_ticket_does_not_wait_for_the_interval_and_a_synced_one_forces_it() {
    let dir = tempfile::tempdir().unwrap();
    let journal = Journal::open(interval(dir.path())).unwrap();
    let relaxed = journal.append(entry(1), Class::Normal, Durability::Relaxed).unwrap();
    wait(relaxed.durable()).unwrap();
    assert_eq!(journal.durable_through(), 0);
    let synced = journal.append(entry(2), Class::Normal, Durability::Synced).unwrap();
    wait(synced.durable()).unwrap();
    assert_eq!(journal.durable_through(), 2);
    let last = journal.append(entry(3), Class::Normal, Durability::Relaxed).unwrap();
    journal.close();
    assert_eq!((last.sequence, journal.durable_through()), (3, 3));
}

#[test]
fn closing_writes_what_is_queued_and_later_appends_fail() {
    let dir = tempfile::tempdir().unwrap();
    let journal =
        Journal::open(Settings { coalesce: std::time::Duration::from_millis(1), ..small(dir.path()) }).unwrap();
    let tickets: Vec<_> = (1..20).map(|n| put(&journal, n)).collect();
    journal.close();
    for ticket in tickets {
        wait(ticket.durable()).unwrap();
    }
    let late = journal.append(entry(20), Class::Essential, Durability::Synced);
    assert_eq!(late.unwrap_err(), AppendError::Failed);
    assert_eq!(journal.read(1, 99, usize::MAX).unwrap().len(), 19);
}

#[test]
fn a_record_over_the_limit_is_refused_and_uses_no_sequence() {
    let dir = tempfile::tempdir().unwrap();
    let journal = open(dir.path());
    let large = |bytes| Entry { payload: vec![1; bytes], ..Entry::default() };
    let refused = journal.append(large(4097), Class::Normal, Durability::Synced);
    assert_eq!(refused.unwrap_err(), AppendError::TooLarge { bytes: 4097, limit: 4096 });
    assert_eq!(journal.append(large(4096), Class::Normal, Durability::Synced).unwrap().sequence, 1);
}

#[test]
fn a_full_queue_refuses_and_uses_no_sequence() {
    let dir = tempfile::tempdir().unwrap();
    let coalesce = std::time::Duration::from_millis(200);
    let journal = Journal::open(Settings { queue_bytes_max: 300, coalesce, ..small(dir.path()) }).unwrap();
    let taken = (1..).find(|n| journal.append(entry(*n), Class::Normal, Durability::Synced).is_err()).unwrap() - 1;
    assert!((2..4).contains(&taken), "{taken}");
    let refused = journal.append(entry(9), Class::Essential, Durability::Synced);
    assert_eq!(refused.unwrap_err(), AppendError::Busy);
    wait(journal.wait_durable(taken)).unwrap();
    assert_eq!(put(&journal, 1).sequence, taken + 1);
}

#[test]
fn the_second_handle_on_a_directory_is_refused_with_the_first_ones_process_id() {
    let dir = tempfile::tempdir().unwrap();
    let journal = open(dir.path());
    match Journal::open(small(dir.path())) {
        Err(JournalError::Locked { pid, .. }) => assert_eq!(pid, std::process::id()),
        other => panic!("{other:?}"),
    }
    journal.close();
    open(dir.path());
}

#[test]
fn a_journal_that_cannot_write_fails_everybody_and_stays_failed() {
    let dir = tempfile::tempdir().unwrap();
    let journal = open(dir.path());
    fill(&journal, 1, 6);
    // The next segment cannot be begun: its file is gone.
    for entry in std::fs::read_dir(dir.path().join("j")).unwrap() {
        let path = entry.unwrap().path();
        if path.extension().is_some_and(|extension| extension == "new") {
            std::fs::remove_file(path).unwrap();
        }
    }
    let mut tickets = Vec::new();
    let refused = loop {
        match journal.append(entry(6), Class::Normal, Durability::Synced) {
            Ok(ticket) => tickets.push(ticket),
            Err(AppendError::Busy) => std::thread::yield_now(),
            Err(error) => break error,
        }
    };
    assert_eq!(refused, AppendError::Failed);
    wait(journal.failed());
    let durable = journal.durable_through();
    for ticket in &tickets {
        // In the failed batch, even what was written already is not answered for.
        assert_eq!(wait(ticket.durable()).is_ok(), ticket.sequence <= durable, "{}", ticket.sequence);
    }
    let last = tickets.last().unwrap().sequence;
    assert_eq!((wait(journal.wait_durable(last)), wait(tickets.last().unwrap().durable())), (Err(Failed), Err(Failed)));
    assert_eq!(journal.read(1, 999, usize::MAX).unwrap().len() as u64, durable);
    journal.close();
    let reopened = open(dir.path());
    assert!(reopened.head().sequence >= durable);
}

const HOLD: &str = "COUNTERSIGN_TEST_HOLD_JOURNAL";

/// Run by the test below in a second process; does nothing otherwise.
#[test]
fn hold_a_journal_until_standard_input_ends() {
    let Some(dir) = std::env::var_os(HOLD) else {
        return;
    };
    let journal = open(dir.as_ref());
    fill(&journal, 1, 6);
    std::fs::write(std::path::Path::new(&dir).join("ready"), "").unwrap();
    std::io::read_to_string(std::io::stdin()).unwrap();
}

#[test]
fn a_journal_held_by_another_process_is_refused_until_that_one_is_killed() {
    let dir = tempfile::tempdir().unwrap();
    let mut child = Command::new(std::env::current_exe().unwrap())
        .args(["--exact", "journal::tests::concurrency::hold_a_journal_until_standard_input_ends"])
        .env(HOLD, dir.path())
        .stdin(Stdio::piped())
        .stdout(Stdio::null())
        .spawn()
        .unwrap();
    while !dir.path().join("ready").exists() {
        assert_eq!(child.try_wait().unwrap(), None);
        std::thread::yield_now();
    }
    match Journal::open(small(dir.path())) {
        Err(JournalError::Locked { pid, .. }) => assert_eq!(pid, child.id()),
        other => panic!("{other:?}"),
    }
    child.kill().unwrap();
    child.wait().unwrap();
    let journal = open(dir.path());
    assert_eq!((journal.head().sequence, segments(dir.path()).len()), (5, 1));
}
