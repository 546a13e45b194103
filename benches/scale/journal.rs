//! The journal alone: records a second by number of writers, and look-ups among many records.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use countersign::domain::{ApprovalId, Binding, EntityUid, Fact, Moved, Timestamp, Transition};
use countersign::journal::{
    AppendError, Class, Durability, Entry, Filter, Journal, Keys, Log, Order, Search, Settings, Ticket,
};

use super::{Failure, directory};

const SPAN: Duration = Duration::from_secs(5);
const PAYLOAD_BYTES: usize = 400;

/// Each writer waits for the disk before it writes again.
pub async fn append() -> Result<(), Failure> {
    let dir = directory()?;
    let journal = Journal::open(Settings::new(dir.path().join("journal")))?;
    for writers in [1, 16, 256] {
        let (total, end) = (Arc::new(AtomicU64::new(0)), Instant::now() + SPAN);
        let tasks: Vec<_> =
            (0..writers).map(|writer| tokio::spawn(write(journal.clone(), writer, end, total.clone()))).collect();
        for task in tasks {
            task.await??;
        }
        println!("{writers} writers: {} records/s", total.load(Ordering::Relaxed) / SPAN.as_secs());
    }
    Ok(())
}

async fn write(journal: Journal, writer: u64, end: Instant, total: Arc<AtomicU64>) -> Result<(), Failure> {
    let mut number = 0;
    while Instant::now() < end {
        let keys = Keys::new([writer, number, number % 100]);
        let entry = Entry { at_micros: 0, keys, payload: vec![7; PAYLOAD_BYTES] };
        let ticket = journal.append(entry, Class::Normal, Durability::Synced)?;
        ticket.durable().await?;
        number += 1;
    }
    total.fetch_add(number, Ordering::Relaxed);
    Ok(())
}

const PRINCIPALS: u64 = 1_000;

/// Three records for every approval, a thousand principals.
pub fn find(records: usize) -> Result<(), Failure> {
    let dir = directory()?;
    let log = Log::open(Settings::new(dir.path().join("journal")))?;
    let begun = Instant::now();
    for number in 0..records as u64 {
        put(&log, number)?;
    }
    let last = put(&log, 0)?.sequence;
    while log.durable_through() < last {
        std::thread::yield_now();
    }
    println!("{records} records written in {:.1?}", begun.elapsed());
    let approval = |number: u64| Filter { approval: Some(id(number)), ..Filter::default() };
    let principal = |number| Filter { principal: Some(principal(number)), ..Filter::default() };
    let records = records as u64;
    for (what, filter, order) in [
        ("one approval, old", approval(records / 3 / 7), Order::OldestFirst),
        ("one approval, recent", approval(records / 3 - 7), Order::OldestFirst),
        ("one approval, asked again", approval(records / 3 / 7), Order::OldestFirst),
        ("a principal's last 100", principal(77), Order::NewestFirst),
        ("another principal's first 100", principal(78), Order::OldestFirst),
    ] {
        let begun = Instant::now();
        let found = log.search(&Search { order, limit: 100, ..Search::whole(filter) })?;
        println!("{what}: {} records in {:.2?}", found.records.len(), begun.elapsed());
    }
    Ok(())
}

fn id(number: u64) -> ApprovalId {
    let mut bytes = [0; 16];
    bytes[..8].copy_from_slice(&number.to_be_bytes());
    ApprovalId::from_bytes(bytes)
}

fn principal(number: u64) -> EntityUid {
    EntityUid::new("Agent", &format!("agent-{}", number % PRINCIPALS))
}

fn put(log: &Log, number: u64) -> Result<Ticket, Failure> {
    let fact = Fact::Moved(Moved {
        approval: id(number / 3),
        binding: Binding([7; 32]),
        principal: principal(number),
        action: EntityUid::new("Action", "export"),
        resource: EntityUid::new("Dataset", "customers"),
        transition: Transition::Expired { at: Timestamp::default() },
        request_id: "0190c5a0b5c07e6e8f2d3a4b5c6d7e8f".into(),
    });
    let (draft, at) = (log.vault().draft(&fact), Timestamp::from_micros(number as i64));
    loop {
        match log.append(&fact, draft.clone(), at) {
            Err(AppendError::Busy) => std::thread::yield_now(),
            other => return Ok(other?),
        }
    }
}
