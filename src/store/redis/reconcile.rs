//! After Redis lost state: what the journals say was open and is not there any more is denied, on record, and the shards it
//! was in begin anew. Shards that are as they were stay as they are.
//!
//! Nobody can tell what a copy of Redis that is too old lacks but the journals of all replicas together. Where they lack an
//! event since the oldest approval that is open by them, nothing is done unless the operator says so: it may be its use. What
//! was never acknowledged may be in no journal, and is forgotten.
//!
//! Servers may run meanwhile. A lost shard is marked before the journals are read, and from then on every script refuses it;
//! it begins anew under an epoch of its own, and only if it is still as it was found.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use super::clock::SharedClock;
use super::entities::{self, Newest};
use super::guard::{Epoch, Seen};
use super::keys::{Name, Shard};
use super::links::Links;
use super::remembered::Remembered;
use super::settings::Settings;
use super::trouble::Trouble;
use super::{OpenError, answer, open_journal};
use crate::domain::{Approval, ApprovalId, ApprovalState, Change, Fact, Moved, Origin, Record, Timestamp, Transition};
use crate::journal::{self, JournalError, Log, LogError};
use crate::store::Clock;
use crate::vault::Vault;

/// Lists that are deleted together, and entities that are put back.
const DELETED_TOGETHER: usize = 500;

/// What was done.
#[derive(Debug, Default)]
pub struct Reconciled {
    /// The shards that began anew, and why.
    pub shards: Vec<(u8, Arc<str>)>,
    /// What was open and is denied now, with its state before.
    pub denied: Vec<(ApprovalId, &'static str)>,
    /// Events that no journal has, by shard and number, where that was accepted.
    pub missing: Vec<(u8, u64)>,
    /// The entities that stand in a shard that began anew: how many.
    pub entities: Option<usize>,
    /// Events of which journals tell two different things: replicas went on with an old copy before it was noticed.
    pub forked: Vec<(u8, u64)>,
}

#[derive(Debug, thiserror::Error)]
pub enum ReconcileError {
    #[error(transparent)]
    Open(#[from] OpenError),
    #[error("the journal `{}`: {error}", dir.display())]
    Journal { dir: PathBuf, error: JournalError },
    #[error(transparent)]
    Unreadable(#[from] LogError),
    #[error(
        "event {number} of shard {shard} is in none of the journals: name those of all replicas with `--journal`; if there is \
         no other, `--accept-missing` denies on record also what that event may have used or settled"
    )]
    Missing { shard: u8, number: u64 },
    #[error("shard {shard} changed meanwhile: run this again, once at a time")]
    Changed { shard: u8 },
    #[error("the journal does not take the records: {0}")]
    Record(#[source] Box<dyn std::error::Error + Send + Sync>),
    #[error(transparent)]
    Redis(#[from] Trouble),
}

/// Events by shard, epoch and number. Several of one number are a fork.
pub(super) type Histories = BTreeMap<(u8, Epoch), BTreeMap<u64, Vec<Record>>>;

/// What journals tell.
#[derive(Default)]
pub(super) struct Told {
    pub histories: Histories,
    /// Of that journal which knows the newest change of entities: each has all up to the newest that it knows.
    pub entities: Remembered,
}

/// Reconciles Redis with the own journal (whose server must not be running) and those of all other replicas.
pub async fn reconcile(
    own: journal::Settings,
    others: &[PathBuf],
    settings: Settings,
    accept_missing: bool,
) -> Result<Reconciled, ReconcileError> {
    let dir = own.dir.clone();
    let (log, _, _, floor) = open_journal(own, &dir)?;
    let links = Links::by_shard(settings, SharedClock::new(Clock::system(floor)));
    let dirs = || others.iter().chain([&dir]);
    // What any replica knows counts.
    for ((shard, epoch), events) in &read_all(dirs(), log.vault())?.histories {
        if let Some((number, _)) = events.last_key_value() {
            links.guard.remember(&Origin { epoch: *epoch, shard: *shard, number: *number });
        }
    }
    links.look().await?;
    let mut lost = Vec::new();
    for shard in Shard::all() {
        match links.read(shard, &[]).await {
            Ok(_) => {}
            Err(Trouble::Lost(why)) => lost.push((shard, why)),
            Err(trouble) => return Err(trouble.into()),
        }
    }
    for loss in links.guard.unmarked() {
        links.write(loss.shard, &links.marking(&loss)).await?.0.replicated?;
    }
    // Again, now that nothing is added any more.
    let told = read_all(dirs(), log.vault())?;
    let mut done = Reconciled::default();
    for (shard, why) in lost {
        renew(&links, &log, &told, shard, accept_missing, &mut done).await?;
        done.shards.push((shard.number(), why));
    }
    Ok(done)
}

/// Reads journals. Blocking.
pub(super) fn read_all<'a>(dirs: impl Iterator<Item = &'a PathBuf>, vault: &Vault) -> Result<Told, ReconcileError> {
    let mut told = Told::default();
    for dir in dirs {
        read(dir, vault, &mut told)?;
    }
    Ok(told)
}

fn read(dir: &Path, vault: &Vault, told: &mut Told) -> Result<(), ReconcileError> {
    let (mut failed, mut entities) = (None, Remembered::default());
    let read = journal::replay(dir, &mut |raw| match raw.parse(vault) {
        Ok(record) => {
            if let Fact::EntitiesChanged(changed) = &record.fact {
                entities.add(changed, record.sequence);
            }
            if let Some(origin) = record.origin {
                let of_epoch = told.histories.entry((origin.shard, origin.epoch)).or_default();
                let known = of_epoch.entry(origin.number).or_default();
                if !known.iter().any(|other| other.fact == record.fact) {
                    known.push(record);
                }
            }
        }
        Err(error) => failed = Some(error),
    });
    read.map_err(|error| ReconcileError::Journal { dir: dir.to_path_buf(), error })?;
    if entities.version() > told.entities.version() {
        told.entities = entities;
    }
    failed.map_or(Ok(()), |error| Err(error.into()))
}

/// Denies what was open in a shard and begins it anew.
async fn renew(
    links: &Links,
    log: &Log,
    told: &Told,
    shard: Shard,
    accept_missing: bool,
    done: &mut Reconciled,
) -> Result<(), ReconcileError> {
    let of_shard = || told.histories.iter().filter(|((of, _), _)| *of == shard.number());
    let events = || of_shard().flat_map(|(_, events)| events);
    let number = shard.number();
    let open = open_ones(events());
    // What came before the oldest of them can have settled none of them.
    let oldest = open.iter().map(|(opened, _)| *opened).min().unwrap_or(u64::MAX);
    for missing in of_shard().flat_map(|(_, events)| missing(events, oldest)) {
        if !accept_missing {
            return Err(ReconcileError::Missing { shard: number, number: missing });
        }
        done.missing.push((number, missing));
    }
    done.forked.extend(events().filter(|(_, facts)| facts.len() > 1).map(|(event, _)| (number, *event)));
    let found = state(links, shard).await?;
    let mut epochs: BTreeSet<Epoch> = found.epoch.into_iter().chain(found.after).collect();
    epochs.extend(of_shard().map(|((_, epoch), _)| *epoch));
    let known = events().map(|(number, _)| *number).max().unwrap_or(0);
    let mut head = known.max(found.head);
    // INVARIANT: nobody else ever made an event of this epoch, so that no origin names two facts.
    let epoch = *uuid::Uuid::new_v4().as_bytes();
    for (_, approval) in open {
        head += 1;
        let origin = Origin { epoch, shard: number, number: head };
        deny(log, &approval, &origin, links.clock.now()).await?;
        done.denied.push((approval.id(), approval.state.name()));
    }
    wipe(links, shard).await?;
    let entities =
        if shard == Shard::of_entities() { restore_entities(links, log, &told.entities).await? } else { None };
    let mut call = links.scripts.renew.call(&links.keys.of_shard(shard));
    call.arg(&epoch[..]).arg(epochs.into_iter().flatten().collect::<Vec<u8>>()).arg(head);
    call.arg(found.epoch.map_or_else(Vec::new, |epoch| epoch.to_vec())).arg(found.head);
    call.arg(entities.map_or_else(String::new, |stand| format!("{} 0 {}", stand.version, stand.count)));
    let (written, _) = links.write(shard, &call).await?;
    written.replicated?;
    match answer::number(written.value) {
        Some(1) => {
            done.entities = entities.map(|stand| stand.count).or(done.entities);
            Ok(())
        }
        _ => Err(ReconcileError::Changed { shard: number }),
    }
}

/// Puts back what was put over the API: as the journals tell, or as Redis does where it knows of newer changes.
async fn restore_entities(links: &Links, log: &Log, told: &Remembered) -> Result<Option<Newest>, ReconcileError> {
    let mut question = redis::Pipeline::new();
    let shard = Shard::of_entities();
    question.add_command(Newest::question(&links.keys));
    let found = Newest::parse(links.ask(shard, &question).await?.pop().unwrap_or_default())?;
    let version = found.version.max(told.version()) + 1;
    if found.version > told.version() {
        return Ok((found != Newest::NONE).then_some(Newest { version, ..found }));
    }
    let data = told.data();
    let mut fill = redis::Pipeline::new();
    fill.cmd("DEL").arg(links.keys.entities());
    for entity in data.values() {
        let draft = log.vault().draft(&entities::record_of(entity.clone()));
        let record = log.vault().share(draft).map_err(|error| ReconcileError::Record(error.into()))?;
        fill.cmd("HSET").arg(links.keys.entities()).arg(Name::of_entity(&entity.uid).bytes()).arg(record);
        if fill.len() == DELETED_TOGETHER {
            links.ask(shard, &fill).await?;
            fill = redis::Pipeline::new();
        }
    }
    if !fill.is_empty() {
        links.ask(shard, &fill).await?;
    }
    Ok(Some(Newest { version, event: 0, count: data.len() }))
}

/// The numbers from `oldest` on that are missing between the first and the last.
fn missing(events: &BTreeMap<u64, Vec<Record>>, oldest: u64) -> impl Iterator<Item = u64> {
    let first = events.keys().next().copied().unwrap_or(u64::MAX).max(oldest);
    let last = events.keys().next_back().copied().unwrap_or(0);
    (first..last).filter(|number| !events.contains_key(number))
}

/// The approvals that wait for people or hold a grant, as their events add up, each with the number of its opening.
fn open_ones<'a>(events: impl Iterator<Item = (&'a u64, &'a Vec<Record>)>) -> Vec<(u64, Approval)> {
    let mut in_order: Vec<_> = events.flat_map(|(number, facts)| facts.iter().map(|fact| (*number, fact))).collect();
    // An epoch that took the place of another counts on.
    in_order.sort_by_key(|(number, _)| *number);
    let mut approvals: BTreeMap<ApprovalId, (u64, Approval)> = BTreeMap::new();
    for (number, record) in in_order {
        if let Fact::Decided(decided) = &record.fact
            && let Change::Opened(opening) = &decided.change
        {
            approvals.insert(opening.id, (number, Approval::opened(opening.clone())));
        }
        if let Some((id, transition)) = record.fact.transition()
            && let Some((_, approval)) = approvals.get_mut(&id)
            && let Ok(after) = approval.apply(transition)
        {
            *approval = after;
        }
    }
    approvals.into_values().filter(|(_, approval)| !approval.state.is_final()).collect()
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
    let ticket = log
        .append_event(&fact, origin, log.vault().draft(&fact), now)
        .map_err(|error| ReconcileError::Record(error.into()))?;
    ticket.durable().await.map_err(|error| ReconcileError::Record(error.into()))
}

/// What Redis says of a shard, true or not.
async fn state(links: &Links, shard: Shard) -> Result<Seen, Trouble> {
    let mut question = redis::Pipeline::new();
    question.cmd("HMGET").arg(links.keys.head(shard)).arg("epoch").arg("head").arg("after").arg("lost");
    answer::seen(links.ask(shard, &question).await?.pop().unwrap_or_default())
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
