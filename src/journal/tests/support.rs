//! What the journal's tests share: a small journal in a temporary directory, and ways to spoil it.

use std::fs;
use std::path::{Path, PathBuf};

use crate::journal::{
    AppendError, Class, Durability, Entry, Finding, Journal, JournalError, Keys, Settings, SyncPolicy, Ticket,
};

pub(super) const SEGMENT_BYTES: u64 = 8192;

/// Small segments, no reserve.
pub(super) fn small(dir: &Path) -> Settings {
    Settings { segment_bytes: SEGMENT_BYTES, record_bytes_max: 4096, reserve_bytes: 0, ..Settings::new(dir.join("j")) }
}

pub(super) fn open(dir: &Path) -> Journal {
    Journal::open(small(dir)).unwrap()
}

/// Record `n`: its time is `n` milliseconds, its keys `n % 3` and `1000 + n`.
pub(super) fn entry(n: u64) -> Entry {
    Entry { at_micros: n as i64 * 1000, keys: Keys::new([n % 3, 1000 + n]), payload: payload(n) }
}

pub(super) fn payload(n: u64) -> Vec<u8> {
    format!("record {n} {}", "x".repeat((n % 50) as usize)).into_bytes()
}

/// Appends, trying again while the keeper is behind.
pub(super) fn put(journal: &Journal, n: u64) -> Ticket {
    loop {
        match journal.append(entry(n), Class::Normal, Durability::Synced) {
            Err(AppendError::Busy) => std::thread::yield_now(),
            other => return other.unwrap(),
        }
    }
}

/// Appends records `from..to` and waits until they are durable.
pub(super) fn fill(journal: &Journal, from: u64, to: u64) {
    let last = (from..to).fold(None, |_, n| Some(put(journal, n)));
    if let Some(last) = last {
        wait(last.durable()).unwrap();
    }
}

pub(super) fn wait<T>(future: impl Future<Output = T>) -> T {
    tokio::runtime::Builder::new_current_thread().build().unwrap().block_on(future)
}

/// A closed journal of records `1..=count`.
pub(super) fn written(dir: &Path, count: u64) {
    let journal = open(dir);
    fill(&journal, 1, count + 1);
    journal.close();
}

pub(super) fn segments(dir: &Path) -> Vec<PathBuf> {
    let mut paths: Vec<_> = fs::read_dir(dir.join("j")).unwrap().map(|entry| entry.unwrap().path()).collect();
    paths.retain(|path| path.extension().is_some_and(|extension| extension == "seg"));
    paths.sort();
    paths
}

/// Where each frame of a segment begins, and where the last one ends.
pub(super) fn offsets(segment: &Path) -> Vec<usize> {
    let bytes = fs::read(segment).unwrap();
    let mut offsets = vec![128];
    loop {
        let at = *offsets.last().unwrap();
        let length = bytes.get(at..at + 4).map_or(0, |length| u32::from_le_bytes(length.try_into().unwrap()));
        if length == 0 {
            return offsets;
        }
        offsets.push(at + length as usize);
    }
}

pub(super) fn change(path: &Path, change: impl FnOnce(&mut Vec<u8>)) {
    let mut bytes = fs::read(path).unwrap();
    change(&mut bytes);
    fs::write(path, bytes).unwrap();
}

/// Writes the acknowledged mark of a journal that forgot its newest answers, as a power cut may leave it.
pub(super) fn acknowledge(dir: &Path, sequence: u64) {
    change(&dir.join("j/acknowledged"), |bytes| {
        bytes[28..36].copy_from_slice(&sequence.to_le_bytes());
        let checksum = crc32c::crc32c(&bytes[..40]);
        bytes[40..44].copy_from_slice(&checksum.to_le_bytes());
    });
}

pub(super) fn damage(result: Result<Journal, JournalError>) -> Finding {
    match result {
        Err(JournalError::Damaged(finding)) => finding,
        other => panic!("{other:?}"),
    }
}

/// A temporary directory in memory where there is one: for tests that open a journal at every byte.
pub(super) fn quick_dir() -> tempfile::TempDir {
    tempfile::tempdir_in("/dev/shm").or_else(|_| tempfile::tempdir()).unwrap()
}

pub(super) fn copy(from: &Path, to: &Path) {
    fs::create_dir_all(to.join("j")).unwrap();
    for entry in fs::read_dir(from.join("j")).unwrap() {
        let path = entry.unwrap().path();
        fs::copy(&path, to.join("j").join(path.file_name().unwrap())).unwrap();
    }
}

pub(super) fn interval(dir: &Path) -> Settings {
    Settings { sync: SyncPolicy::Interval(std::time::Duration::from_secs(3600)), ..small(dir) }
}
