//! `kill -9` in a loop: the real binary on real ports, clients in the middle of everything, and a process that dies
//! without a word. Nothing that was answered may be lost, nothing may be there twice, and the journal must account for
//! it all.

#[path = "crash/child.rs"]
pub mod child;
#[path = "crash/entities.rs"]
mod entities;
#[path = "crash/ledger.rs"]
mod ledger;
#[path = "crash/life.rs"]
mod life;

use std::path::Path;
use std::sync::{Arc, Mutex};

use tokio::sync::watch;

use self::child::{Child, Site};
use self::life::{Acknowledged, Load};
use crate::support::random::Random;

const KILLS: usize = 20;
const WORKERS: usize = 6;

/// Runs a load, and `kill`s the server again and again until `rounds` are over; then the account.
async fn survive(
    site: &Site,
    rounds: usize,
    mut die: impl AsyncFnMut(&mut Child, usize, watch::Receiver<usize>),
    wrap: impl Fn(usize) -> Vec<String>,
) {
    let (url, urls) = watch::channel(String::new());
    let (count, counted) = watch::channel(0);
    let acknowledged = Arc::new(Mutex::new(Vec::<Acknowledged>::new()));
    let load = Load::new(site, urls, count, acknowledged.clone());
    let workers: Vec<_> = (0..WORKERS).map(|worker| tokio::spawn(load.clone().work(worker))).collect();
    for round in 0..rounds {
        let mut child = Child::start(site, &wrap(round)).await;
        url.send_replace(child.url.clone());
        die(&mut child, round, counted.clone()).await;
    }
    let last = Child::start(site, &[]).await;
    url.send_replace(last.url.clone());
    load.finish();
    for worker in workers {
        worker.await.expect("no worker fails");
    }
    load.ask_again(&last.url).await;
    last.terminate().await;
    let acknowledged = std::mem::take(&mut *acknowledged.lock().unwrap());
    assert!(acknowledged.len() > rounds, "a load that was answered");
    ledger::check(&site.journal(), &acknowledged);
}

#[tokio::test(flavor = "multi_thread")]
async fn faults_15_to_18_kill_9_at_any_moment_loses_doubles_and_hides_nothing() {
    let site = Site::new().await;
    let seed = std::env::var("CRASH_SEED").map_or(1, |seed| seed.parse().expect("a number"));
    let mut random = Random::new(seed);
    let die = async |child: &mut Child, _: usize, mut counted: watch::Receiver<usize>| {
        // After so many answers more, with others on their way.
        let target = *counted.borrow_and_update() + random.between(1, 40) as usize;
        let _ = counted.wait_for(|count| *count >= target).await;
        child.kill().await;
    };
    survive(&site, KILLS, die, |_| Vec::new()).await;
}

/// What a commit does on the disk, one system call after the other.
const STEPS: [&str; 2] = ["pwrite64", "fdatasync"];
const PLACES: usize = 5;

#[tokio::test(flavor = "multi_thread")]
async fn fault_16_death_at_each_system_call_of_a_commit_is_all_or_nothing() {
    let strace = strace();
    let site = Site::new().await;
    let wrap = |round: usize| {
        let (step, place) = (STEPS[round % STEPS.len()], round / STEPS.len());
        // The first calls are of the start itself; from then on every one is of a commit.
        let inject = format!("inject={step}:signal=KILL:when={}", 12 + place);
        [&*strace, "-f", "-qq", "-o", "/dev/null", "-e", &format!("trace={step}"), "-e", &inject]
            .map(String::from)
            .to_vec()
    };
    let die = async |child: &mut Child, _: usize, _: watch::Receiver<usize>| child.died().await;
    survive(&site, STEPS.len() * PLACES, die, wrap).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn fault_23_a_sync_that_fails_ends_the_process_and_nothing_answered_is_lost() {
    let strace = strace();
    let site = Site::new().await;
    let wrap = |round: usize| {
        let inject = format!("inject=fdatasync:error=EIO:when={}", 15 + round);
        [&*strace, "-f", "-qq", "-o", "/dev/null", "-e", "trace=fdatasync", "-e", &inject].map(String::from).to_vec()
    };
    let die = async |child: &mut Child, _: usize, _: watch::Receiver<usize>| {
        child.died().await;
        let said = child.said();
        assert!(said.contains("the journal died of a disk error"), "{said}");
    };
    survive(&site, 2, die, wrap).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn fault_26_a_second_process_on_one_journal_ends_and_names_the_first() {
    let site = Site::new().await;
    let first = Child::start(&site, &[]).await;
    let second = child::refused(&site).await;
    assert!(second.contains(&format!("locked by process {}", first.pid.as_raw_nonzero())), "{second}");
    first.terminate().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn fault_25_a_flipped_bit_is_named_and_nothing_starts_on_it() {
    let site = Site::new().await;
    let child = Child::start(&site, &[]).await;
    child.terminate().await;
    let segment = site.journal().join("00000000000000000001.seg");
    let mut bytes = std::fs::read(&segment).unwrap();
    bytes[128 + 70] ^= 1;
    std::fs::write(&segment, bytes).unwrap();
    let refused = child::refused(&site).await;
    assert!(refused.contains("damaged") && refused.contains("record 1 in"), "{refused}");
}

/// The tracer that makes a process die, or a disk fail, at one system call.
fn strace() -> String {
    let found =
        ["/usr/bin/strace", "/bin/strace", "/usr/local/bin/strace"].into_iter().find(|path| Path::new(path).exists());
    found.expect("strace is missing: install it (apt-get install strace)").to_owned()
}
