//! Whether the journals of replicas and Redis tell the same. Journals that tell one event, or one settlement, in two ways are a
//! fork: replicas went on with an old copy of Redis, or with both sides of a partition.
//!
//! Journals may lack what other replicas did, so that one approval may look younger in them than it is; never older, and never
//! another. They are read before Redis is: what happens meanwhile is no finding.

use std::collections::BTreeMap;
use std::path::PathBuf;

use redis::Cmd;

use super::answer;
use super::guard::Epoch;
use super::journaling::Entry;
use super::keys::Shard;
use super::links::Links;
use super::reconcile::{Histories, ReconcileError, read_all};
use super::stored::Stored;
use super::trouble::Trouble;
use crate::domain::{Approval, ApprovalId, Change, Fact, Record};
use crate::vault::Vault;

/// Approvals and events looked at together.
const CHUNK: usize = 200;

/// What journals say.
pub(super) struct Journals {
    histories: Histories,
    approvals: BTreeMap<ApprovalId, Approval>,
    /// Up to which event of each shard everything was on record, by what Redis said before the journals were read.
    recorded: BTreeMap<u8, (Option<Epoch>, u64)>,
    /// What they contradict each other in, a sentence each.
    pub forks: Vec<String>,
}

impl Journals {
    /// Reads them; blocking where they are large.
    pub async fn read(links: &Links, dirs: &[PathBuf], vault: &Vault) -> Result<Self, ReconcileError> {
        let mut recorded = BTreeMap::new();
        for shard in Shard::all() {
            recorded.insert(shard.number(), on_record(links, shard).await?);
        }
        let histories = read_all(dirs.iter(), vault)?.histories;
        let mut journals = Self { histories, approvals: BTreeMap::new(), recorded, forks: Vec::new() };
        journals.add_up();
        Ok(journals)
    }

    /// Makes approvals of events, in their order. An epoch that took the place of another counts on.
    fn add_up(&mut self) {
        let mut events: Vec<(u64, u8, &Vec<Record>)> = Vec::new();
        for ((shard, _), numbered) in &self.histories {
            events.extend(numbered.iter().map(|(number, records)| (*number, *shard, records)));
        }
        events.sort_by_key(|(number, shard, _)| (*shard, *number));
        let mut last = (0, 0);
        for (number, shard, records) in events {
            if last.0 != shard || number > last.1 + 1 {
                // Some journal that was not named may tell more of these.
                self.approvals.retain(|id, told| Shard::of_approval(*id).number() != shard || told.state.is_final());
            }
            last = (shard, number);
            if records.len() > 1 {
                let ways = records.len();
                self.forks.push(format!("event {number} of shard {shard} is told in {ways} ways by the journals"));
            }
            for record in records {
                if let Err(finding) = add(&mut self.approvals, &record.fact) {
                    self.forks.push(finding);
                }
            }
        }
    }

    /// What Redis has of a shard and the journals contradict, or do not have.
    pub async fn against(&self, links: &Links, vault: &Vault, shard: Shard) -> Result<Vec<String>, Trouble> {
        let mut findings = self.events(links, vault, shard).await?;
        let ids: Vec<ApprovalId> =
            self.approvals.keys().copied().filter(|id| Shard::of_approval(*id) == shard).collect();
        for some in ids.chunks(CHUNK) {
            let questions: Vec<Cmd> = some.iter().map(|id| Stored::question(&links.keys, *id)).collect();
            for (id, members) in some.iter().zip(links.read(shard, &questions).await?) {
                // One that cannot be read is found by itself; one that is not there was let go.
                let stored = Stored::parse(vault, *id, members).ok().flatten();
                let pair = stored.as_ref().map(|stored| &stored.approval).zip(self.approvals.get(id));
                findings.extend(pair.and_then(|(stored, told)| contradiction(stored, told)));
            }
        }
        Ok(findings)
    }

    async fn events(&self, links: &Links, vault: &Vault, shard: Shard) -> Result<Vec<String>, Trouble> {
        let number = shard.number();
        let Some((Some(epoch), through)) = self.recorded.get(&number) else { return Ok(Vec::new()) };
        let empty = BTreeMap::new();
        let told = self.histories.get(&(number, *epoch)).unwrap_or(&empty);
        let (mut findings, mut from) = (Vec::new(), 0);
        loop {
            let mut range = redis::cmd("XRANGE");
            range.arg(links.keys.events(shard)).arg(format!("{from}-0")).arg("+").arg("COUNT").arg(CHUNK);
            let entries = answer::array(links.read(shard, &[range]).await?.pop().unwrap_or_default(), "XRANGE")?;
            let is_last = entries.len() < CHUNK;
            for entry in entries {
                let Entry { number: event, at, record, .. } = Entry::parse(entry)?;
                from = event + 1;
                let fact = vault.open_shared(at, &record).ok().map(|record| record.fact);
                findings.extend(match (told.get(&event), fact) {
                    (None, _) if event <= *through => {
                        Some(format!("event {event} of shard {number} is on record, and in none of the journals"))
                    }
                    (Some(records), Some(fact)) if records.iter().all(|record| record.fact != fact) => {
                        Some(format!("event {event} of shard {number} is another in the journals than in redis"))
                    }
                    _ => None,
                });
            }
            if is_last {
                return Ok(findings);
            }
        }
    }
}

/// Up to which event all are in some journal.
async fn on_record(links: &Links, shard: Shard) -> Result<(Option<Epoch>, u64), Trouble> {
    let mut head = redis::cmd("HGET");
    head.arg(links.keys.head(shard)).arg("head");
    let mut waiting = redis::cmd("XPENDING");
    waiting.arg(links.keys.events(shard)).arg("journal");
    let mut answers = links.read(shard, &[head, waiting]).await?.into_iter();
    let head = answers.next().and_then(answer::unsigned).unwrap_or(0);
    let mut waiting = answer::array(answers.next().unwrap_or_default(), "XPENDING")?.into_iter();
    let count = waiting.next().and_then(answer::unsigned).unwrap_or(0);
    let oldest = waiting.next().and_then(answer::text);
    let oldest = oldest.and_then(|id| id.split('-').next()?.parse::<u64>().ok());
    let through = if count == 0 { head } else { oldest.unwrap_or(0).saturating_sub(1) };
    Ok((links.guard.expected(shard).map(|(epoch, _)| epoch), through))
}

fn add(approvals: &mut BTreeMap<ApprovalId, Approval>, fact: &Fact) -> Result<(), String> {
    if let Fact::Decided(decided) = fact
        && let Change::Opened(opening) = &decided.change
    {
        approvals.entry(opening.id).or_insert_with(|| Approval::opened(opening.clone()));
    }
    let Some((id, transition)) = fact.transition() else { return Ok(()) };
    // Without its opening nothing can be said: that is in another journal.
    let Some(approval) = approvals.get_mut(&id) else { return Ok(()) };
    let after = approval.apply(transition).map_err(|illegal| format!("{id}: by the journals {illegal}"))?;
    *approval = after;
    Ok(())
}

fn contradiction(stored: &Approval, told: &Approval) -> Option<String> {
    let (id, state, by_journals) = (stored.id(), stored.state.name(), told.state.name());
    let is_behind = stored.version < told.version;
    let is_another = stored.version == told.version && state != by_journals;
    (is_behind || is_another).then(|| format!("{id}: is {state} in redis, and {by_journals} by the journals"))
}
