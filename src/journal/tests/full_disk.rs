//! A full disk (here: the quota) refuses normal records, keeps the reserve for essential ones, and heals by itself.

use super::support::{SEGMENT_BYTES, entry, fill, open, small, wait};
use crate::journal::{AppendError, Class, Durability, Entry, Journal, Retention, Settings, Ticket};

/// One reserve segment; room for three others, some index files and marks.
fn tight(dir: &std::path::Path) -> Journal {
    let settings = Settings { reserve_bytes: SEGMENT_BYTES, quota_bytes: Some(5 * SEGMENT_BYTES), ..small(dir) };
    Journal::open(settings).unwrap()
}

fn append(journal: &Journal, class: Class) -> Result<Ticket, AppendError> {
    let entry = Entry { payload: vec![7; 900], ..entry(1) };
    loop {
        match journal.append(entry.clone(), class, Durability::Synced) {
            Err(AppendError::Busy) => std::thread::yield_now(),
            other => return other,
        }
    }
}

/// Appends until refused; the number taken.
fn exhaust(journal: &Journal, class: Class) -> u64 {
    for taken in 0.. {
        match append(journal, class) {
            Ok(ticket) => wait(ticket.durable()).unwrap(),
            Err(AppendError::Full) => return taken,
            Err(other) => panic!("{other}"),
        }
    }
    0
}

#[test]
fn a_full_disk_refuses_normal_records_and_takes_essential_ones_from_the_reserve() {
    let dir = tempfile::tempdir().unwrap();
    let journal = tight(dir.path());
    let normal = exhaust(&journal, Class::Normal);
    assert!(normal >= 16, "{normal}");
    let essential = exhaust(&journal, Class::Essential);
    assert!((8..17).contains(&essential), "{essential}");
    assert_eq!(append(&journal, Class::Normal).unwrap_err(), AppendError::Full);
    // No sequence was lost on a refusal, and nothing that was taken is missing.
    let frames = journal.read(1, 999, usize::MAX).unwrap();
    assert_eq!(frames.len() as u64, normal + essential);
    assert_eq!(journal.head().sequence, normal + essential);
}

#[test]
fn normal_records_do_not_eat_what_is_left_of_the_reserve() {
    let dir = tempfile::tempdir().unwrap();
    let journal = tight(dir.path());
    exhaust(&journal, Class::Normal);
    while append(&journal, Class::Normal).is_err() && journal.first_sequence() == 1 {
        let before = super::support::segments(dir.path()).len();
        wait(append(&journal, Class::Essential).unwrap().durable()).unwrap();
        if super::support::segments(dir.path()).len() > before {
            break;
        }
    }
    // The log is in the reserve now, with room for several records.
    assert_eq!(append(&journal, Class::Normal).unwrap_err(), AppendError::Full);
    wait(append(&journal, Class::Essential).unwrap().durable()).unwrap();
}

#[test]
fn the_journal_goes_on_without_a_restart_once_there_is_room() {
    let dir = tempfile::tempdir().unwrap();
    let journal = tight(dir.path());
    let taken = exhaust(&journal, Class::Normal) + exhaust(&journal, Class::Essential);
    let all = Retention { keep_from: u64::MAX, max_age: None, max_bytes: Some(0) };
    // The last full segment may still be getting its index; retention leaves it until then.
    while journal.retain(&all, 0).unwrap().is_empty() {
        std::thread::yield_now();
    }
    let next = loop {
        match append(&journal, Class::Normal) {
            Ok(ticket) => break ticket,
            Err(AppendError::Full) => drop(journal.retain(&all, 0).unwrap()),
            Err(other) => panic!("{other}"),
        }
    };
    assert_eq!(next.sequence, taken + 1);
    wait(next.durable()).unwrap();
}

#[test]
fn a_start_with_a_full_disk_reads_and_refuses() {
    let dir = tempfile::tempdir().unwrap();
    let journal = tight(dir.path());
    let taken = exhaust(&journal, Class::Normal) + exhaust(&journal, Class::Essential);
    journal.close();
    let journal = tight(dir.path());
    assert_eq!(journal.read(1, 999, usize::MAX).unwrap().len() as u64, taken);
    assert_eq!(append(&journal, Class::Normal).unwrap_err(), AppendError::Full);
    journal.close();
    let journal = open(dir.path());
    fill(&journal, taken + 1, taken + 9);
}
