//! After Redis lost state: what the journals say was open and is not there any more is denied, on record, and the shards it
//! was in begin anew. Shards that are as they were stay as they are.
//!
//! Nobody can tell what a copy of Redis that is too old lacks but the journals of all replicas together; a shard of which
//! they do not have every event in a row is left alone. What was never acknowledged may be in no journal, and is forgotten.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use super::clock::SharedClock;
use super::guard::Epoch;
use super::keys::Shard;
use super::links::Links;
use super::settings::Settings;
use super::trouble::Trouble;
use super::{OpenError, answer, open_journal};
use crate::domain::{Approval, ApprovalId, ApprovalState, Change, Fact, Moved, Origin, Record, Timestamp, Transition};
use crate::journal::{self, JournalError, Log, LogError};
use crate::store::Clock;
use crate::wire;

/// Lists that are deleted together.
const DELETED_TOGETHER: usize = 500;

/// What was done.
#[derive(Debug, Default)]
pub struct Reconciled {
    /// The shards that began anew, and why.
    pub shards: Vec<(u8, Arc<str>)>,
    /// What was open and is denied now, with its state before.
    pub denied: Vec<(ApprovalId, &'static str)>,
}

#[derive(Debug, thiserror::Error)]
pub enum ReconcileError {
    #[error(transparent)]
    Open(#[from] OpenError),
    #[error("the journal `{}`: {error}", dir.display())]
    Journal { dir: PathBuf, error: JournalError },
    #[error(transparent)]
    Unreadable(#[from] LogError),
    #[error("event {number} of shard {shard} is in none of the journals: name those of all replicas with `--journal`")]
    Missing { shard: u8, number: u64 },
    #[error("the journal does not take the records: {0}")]
    Record(#[source] Box<dyn std::error::Error + Send + Sync>),
    #[error(transparent)]
    Redis(#[from] Trouble),
}

/// Events by shard, epoch and number.
type Histories = BTreeMap<(u8, Epoch), BTreeMap<u64, Record>>;

/// Reconciles Redis with the own journal (whose server must not be running) and those of all other replicas.
pub async fn reconcile(
    own: journal::Settings,
    others: &[PathBuf],
    settings: Settings,
) -> Result<Reconciled, ReconcileError> {
    let dir = own.dir.clone();
    let (log, _, newest, floor) = open_journal(own, &dir)?;
    let links = Links::by_shard(settings, SharedClock::new(Clock::system(floor)));
    newest.iter().for_each(|origin| links.guard.remember(origin));
    let mut histories = Histories::new();
    for dir in others.iter().chain([&dir]) {
        read(dir, &mut histories)?;
    }
    // What another replica knows counts as well.
    for ((shard, epoch), events) in &histories {
        if let Some(shard) = Shard::all().find(|each| each.number() == *shard)
            && let Some((number, _)) = events.last_key_value()
        {
            links.guard.lasts(shard, *epoch, *number);
        }
    }
    links.look().await?;
    let mut done = Reconciled::default();
    for shard in Shard::all() {
        let Err(Trouble::Lost(why)) = links.read(shard, &[]).await else { continue };
        let denied = renew(&links, &log, &histories, shard).await?;
        done.denied.extend(denied);
        done.shards.push((shard.number(), why));
    }
    Ok(done)
}

fn read(dir: &Path, histories: &mut Histories) -> Result<(), ReconcileError> {
    let mut failed = None;
    let read = journal::replay(dir, &mut |raw| match raw.parse() {
        Ok(Record { origin: None, .. }) => {}
        Ok(record) => {
            if let Some(origin) = record.origin {
                histories.entry((origin.shard, origin.epoch)).or_default().insert(origin.number, record);
            }
        }
        Err(error) => failed = Some(error),
    });
    read.map_err(|error| ReconcileError::Journal { dir: dir.to_path_buf(), error })?;
    failed.map_or(Ok(()), |error| Err(error.into()))
}

/// Denies what was open in a shard and begins it anew.
async fn renew(
    links: &Links,
    log: &Log,
    histories: &Histories,
    shard: Shard,
) -> Result<Vec<(ApprovalId, &'static str)>, ReconcileError> {
    let of_shard = || histories.iter().filter(|((of, _), _)| *of == shard.number());
    for (_, events) in of_shard() {
        let first = events.first_key_value().map_or(1, |(number, _)| *number);
        if let Some((number, _)) = (first..).zip(events.keys()).find(|(expected, number)| expected != *number) {
            return Err(ReconcileError::Missing { shard: shard.number(), number });
        }
    }
    let open = open_ones(of_shard().flat_map(|(_, events)| events));
    let (there, mut epochs) = state(links, shard).await?;
    epochs.extend(of_shard().map(|((_, epoch), _)| *epoch));
    let known = of_shard().filter_map(|(_, events)| events.keys().last().copied()).max().unwrap_or(0);
    let mut head = known.max(there);
    let epoch = *uuid::Uuid::new_v4().as_bytes();
    let mut denied = Vec::new();
    for approval in open {
        head += 1;
        let origin = Origin { epoch, shard: shard.number(), number: head };
        deny(log, &approval, &origin, links.clock.now()).await?;
        denied.push((approval.id(), approval.state.name()));
    }
    wipe(links, shard).await?;
    let keys = &links.keys;
    let mut call = links.scripts.renew.call(&[
        keys.head(shard),
        keys.slots(shard),
        keys.due(shard),
        keys.ids(shard),
        keys.settled(shard),
        keys.events(shard),
    ]);
    call.arg(&epoch[..]).arg(epochs.into_iter().flatten().collect::<Vec<u8>>()).arg(head);
    let (written, _) = links.write(shard, &call).await?;
    written.replicated?;
    Ok(denied)
}

/// The approvals that wait for people or hold a grant, as their events add up.
fn open_ones<'a>(events: impl Iterator<Item = (&'a u64, &'a Record)>) -> Vec<Approval> {
    let mut in_order: Vec<_> = events.collect();
    // An epoch that took the place of another counts on.
    in_order.sort_by_key(|(number, _)| **number);
    let mut approvals: BTreeMap<ApprovalId, Approval> = BTreeMap::new();
    for (_, record) in in_order {
        if let Fact::Decided(decided) = &record.fact
            && let Change::Opened(opening) = &decided.change
        {
            approvals.insert(opening.id, Approval::opened(opening.clone()));
        }
        if let Some((id, transition)) = record.fact.transition()
            && let Some(after) = approvals.get(&id).and_then(|approval| approval.apply(transition).ok())
        {
            approvals.insert(id, after);
        }
    }
    approvals.into_values().filter(|approval| !approval.state.is_final()).collect()
}

async fn deny(log: &Log, approval: &Approval, origin: &Origin, now: Timestamp) -> Result<(), ReconcileError> {
    let transition = match approval.state {
        ApprovalState::Approved(_) => Transition::Lapsed { at: now },
        _ => Transition::Expired { at: now },
    };
    let query = &approval.opening.query;
    let fact = Fact::Moved(Moved {
        approval: approval.id(),
        binding: approval.opening.binding,
        principal: query.principal.clone(),
        action: query.action.clone(),
        resource: query.resource.clone(),
        transition,
        request_id: "store reconcile".into(),
    });
    let mut payload = wire::record::encode(&fact);
    wire::record::add_origin(&mut payload, origin);
    let ticket = log.append_event(&fact, origin, payload, now).map_err(|error| ReconcileError::Record(error.into()))?;
    ticket.durable().await.map_err(|error| ReconcileError::Record(error.into()))
}

/// How many events Redis says that the shard has, and its epochs.
async fn state(links: &Links, shard: Shard) -> Result<(u64, BTreeSet<Epoch>), Trouble> {
    let mut question = redis::Pipeline::new();
    question.cmd("HMGET").arg(links.keys.head(shard)).arg("epoch").arg("head").arg("after");
    let seen = answer::seen(links.ask(shard, &question).await?.pop().unwrap_or_default())?;
    Ok((seen.head, seen.epoch.into_iter().chain(seen.after).collect()))
}

/// Deletes the approvals of a shard that is lost: an id must not lead to what was denied.
async fn wipe(links: &Links, shard: Shard) -> Result<(), Trouble> {
    let mut ids = redis::Pipeline::new();
    ids.cmd("ZRANGE").arg(links.keys.ids(shard)).arg(0).arg(-1);
    let ids = links.ask(shard, &ids).await?.pop().unwrap_or_default();
    let ids: Vec<ApprovalId> = answer::array(ids, "ZRANGE")?.into_iter().filter_map(answer::approval_id).collect();
    for some in ids.chunks(DELETED_TOGETHER) {
        let mut delete = redis::Pipeline::new();
        for id in some {
            delete.cmd("DEL").arg(links.keys.approval(*id));
        }
        links.ask(shard, &delete).await?;
    }
    Ok(())
}
