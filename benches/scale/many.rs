//! Many approvals in one store: opening, memory, starts with and without a snapshot, and all of them due at once.

use std::time::{Duration, Instant};

use countersign::domain::Outcome;
use futures_util::{StreamExt, TryStreamExt, stream};

use super::stage::{Stage, World, export};
use super::{Failure, directory, resident_bytes};

const CALLERS: usize = 256;
const SAMPLE: usize = 500;

pub async fn pending(most: usize) -> Result<(), Failure> {
    let dir = directory()?;
    let stage = Stage::set(dir.path()).await?;
    let world = stage.open(dir.path())?;
    let (empty, mut opened) = (resident_bytes(std::process::id())?, 0);
    for size in [1_000, 10_000, 100_000, 1_000_000].into_iter().filter(|size| *size <= most) {
        open(&stage, &world, opened..size).await?;
        let mut spans = Vec::new();
        for number in size..size + SAMPLE {
            let begun = Instant::now();
            open(&stage, &world, number..number + 1).await?;
            spans.push(begun.elapsed());
        }
        opened = size + SAMPLE;
        spans.sort_unstable();
        let at = |percent: usize| spans.get(SAMPLE * percent / 100).copied().unwrap_or_default();
        let bytes = (resident_bytes(std::process::id())? - empty) / opened as u64;
        println!("{size} pending: opening one p50 {:.0?} p99 {:.0?}, {bytes} bytes each", at(50), at(99));
    }
    drop(world.service);
    world.store.log().close();
    let world = timed("start without a snapshot", || stage.open(dir.path()))?;
    let mut compaction = world.store.compaction();
    timed("a snapshot", || compaction.run().map_err(Failure::from))?;
    println!("resident after it: {} MiB", resident_bytes(std::process::id())? >> 20);
    world.store.log().close();
    drop((world, compaction));
    let world = timed("start with a snapshot", || stage.open(dir.path()))?;
    println!("{} pending", world.store.pending_total());
    Ok(())
}

async fn open(stage: &Stage, world: &World, numbers: std::ops::Range<usize>) -> Result<(), Failure> {
    let calls = stream::iter(numbers).map(|number| async move {
        let answer = world.service.authorize(&stage.caller, export(number, Duration::ZERO)).await?;
        if answer.outcome() == Outcome::Pending { Ok(()) } else { Err(Failure::from("not pending")) }
    });
    calls.buffer_unordered(CALLERS).try_collect().await
}

fn timed<T>(what: &str, run: impl FnOnce() -> Result<T, Failure>) -> Result<T, Failure> {
    let begun = Instant::now();
    let done = run()?;
    println!("{what}: {:.2?}", begun.elapsed());
    Ok(done)
}

const DUE: usize = 10_000;

/// Ten thousand approvals fall due at once, each with a call that waits for it.
pub async fn due() -> Result<(), Failure> {
    let dir = directory()?;
    let stage = Stage::set(dir.path()).await?;
    let world = stage.open(dir.path())?;
    open(&stage, &world, 0..DUE).await?;
    let timer = tokio::spawn({
        let service = world.service.clone();
        async move { service.keep_time().await }
    });
    let waiting: Vec<_> = (0..DUE)
        .map(|number| {
            let (service, caller) = (world.service.clone(), stage.caller.clone());
            tokio::spawn(async move { service.authorize(&caller, export(number, Duration::from_secs(50))).await })
        })
        .collect();
    // All of them have asked, and are waiting, when as many joins are on record.
    let head = world.store.log().head().sequence;
    world.store.log().wait_durable(head.max(2 * DUE as u64)).await?;
    tokio::time::sleep(Duration::from_millis(500)).await;
    let begun = Instant::now();
    stage.clock.advance(Duration::from_secs(15 * 60));
    let (mut first, mut denied) = (None, 0);
    for wait in waiting {
        denied += usize::from(wait.await??.outcome() == Outcome::Deny);
        first.get_or_insert_with(|| begun.elapsed());
    }
    println!("{DUE} due at once: recorded, {denied} woken and answered in {:.2?}", begun.elapsed());
    timer.abort();
    Ok(())
}
