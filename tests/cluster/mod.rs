//! Many replicas, one truth: real server processes share a real Redis, while it and they are killed, paused, cut off,
//! filled up and lied to about the time. A checker reads all journals and all answers at the end.

mod checker;
mod deaths;
mod durability;
mod entities;
pub mod fleet;
mod followers;
mod histories;
mod idle;
mod load;
mod outages;
mod rivals;
mod shape;
mod time;

use std::time::Duration;

use tonic::{Code, Status};

use self::checker::{Findings, History, Shown};
use self::fleet::Fleet;
use self::load::Load;
use crate::support::redis::{Redis, until};

/// Clients at the same time.
const WORKERS: usize = 6;
/// Shards of a store, by their hash tags.
const SHARDS: u8 = 16;

/// Asks every replica for every approval, ends them, and reads all that they wrote down.
async fn account(fleet: Fleet, load: &Load) -> Findings {
    let mut shown = Vec::new();
    for place in 0..fleet.size() {
        let client = fleet.client(place, "erin").await;
        for id in load.approvals() {
            let state = match client.get(&id).await {
                Ok(approval) => approval.state().as_str_name().trim_start_matches("APPROVAL_STATE_").to_lowercase(),
                Err(status) if status.code() == Code::NotFound => "nothing".into(),
                Err(status) => panic!("{id} at replica {place}: {status}"),
            };
            shown.push(Shown { replica: place, approval: id.parse().unwrap(), state });
        }
    }
    let ended = fleet.end().await;
    let history = History { told: load.told(), shown, loses: load.loses(), ..History::of_journals(&ended.journals()) };
    let findings = history.check();
    assert!(findings.approvals >= load.approvals().len(), "{findings:?}");
    findings
}

/// Asserts that nothing is wrong with what a run left.
#[track_caller]
fn assert_sound(findings: &Findings, load: &Load) {
    let (violations, failures) = (&findings.violations, load.failures());
    assert!(violations.is_empty(), "{violations:#?}\nwhat the clients met: {failures:#?}");
}

/// Returns when every event is in the journal of whoever is to have it.
async fn journaled(nodes: &[&Redis]) {
    until("every event is journaled", async || {
        for node in nodes {
            for shard in 0..SHARDS {
                let stream = format!("{{countersign:{shard:x}}}e");
                // Of a shard that another node has, this one knows nothing.
                let pending = node.try_ask(&["XPENDING", &stream, "journal"]).await.unwrap_or(redis::Value::Nil);
                if let redis::Value::Array(fields) = pending
                    && !matches!(fields.first(), Some(redis::Value::Int(0)))
                {
                    return false;
                }
            }
        }
        true
    })
    .await;
}

/// Calls until the store is not too slow for it: a busy machine is no fault of whoever is to be tested later.
async fn patiently<T, F>(call: impl Fn() -> F) -> T
where
    F: Future<Output = Result<T, Status>>,
{
    let mut answer = None;
    until("an answer", async || match call().await {
        Ok(answered) => {
            answer = Some(answered);
            true
        }
        Err(status) => status.code() != Code::Unavailable && panic!("{status:?}"),
    })
    .await;
    answer.expect("an answer")
}

/// How the journal of a server of a test is opened.
fn small(dir: &std::path::Path) -> countersign::journal::Settings {
    countersign::journal::Settings {
        segment_bytes: 2 << 20,
        reserve_bytes: 1,
        ..countersign::journal::Settings::new(dir)
    }
}

/// Runs something and says how long it took.
async fn timed<T>(future: impl Future<Output = T>) -> (T, Duration) {
    let started = std::time::Instant::now();
    (future.await, started.elapsed())
}
