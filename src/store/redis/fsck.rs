//! Is all in Redis as it must be? Read-only, and beside running servers: what looks wrong is looked at again, and told only
//! if it stays so.

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use redis::Cmd;

use super::clock::SharedClock;
use super::fsck_journals::Journals;
use super::keys::Shard;
use super::links::Links;
use super::reconcile::ReconcileError;
use super::settings::Settings;
use super::stored::Stored;
use super::trouble::Trouble;
use super::{answer, fsck_head};
use crate::domain::{Approval, ApprovalId, ApprovalState, Timestamp};
use crate::store::Clock;
use crate::vault::Vault;

/// Approvals looked at together.
const CHUNK: usize = 200;
/// How often something that looks wrong is looked at.
const LOOKS: usize = 4;
const PAUSE: Duration = Duration::from_millis(100);

#[derive(Debug, Default)]
pub struct Report {
    pub approvals: usize,
    /// A sentence each.
    pub findings: Vec<String>,
}

/// Checks every invariant of the store, and that it does not contradict these journals, of which there should be those of all
/// replicas or none.
///
/// # Errors
/// When Redis is out of reach, or a journal cannot be read.
pub async fn check(settings: Settings, vault: &Vault, journals: &[PathBuf]) -> Result<Report, ReconcileError> {
    let links = Arc::new(Links::to_look(settings, SharedClock::new(Clock::system(Timestamp::default()))));
    links.look().await?;
    let mut report = Report::default();
    let journals = match journals {
        [] => None,
        dirs => Some(Journals::read(&links, dirs, vault).await?),
    };
    report.findings.extend(journals.iter().flat_map(|journals| journals.forks.iter().cloned()));
    for shard in Shard::all() {
        if let Some(finding) = fsck_head::shard(&links, vault, shard).await? {
            // Whoever reads refuses it, and so does what follows.
            report.findings.push(format!("shard {}: {finding}", shard.number()));
            continue;
        }
        let ids = ids(&links, shard).await?;
        report.approvals += ids.len();
        for some in ids.chunks(CHUNK) {
            for id in some {
                if let Some(finding) = persistent(async || approval(&links, vault, shard, *id).await).await? {
                    report.findings.push(format!("{id}: {finding}"));
                }
            }
        }
        if let Some(finding) = persistent(async || whole(&links, shard).await).await? {
            report.findings.push(format!("shard {}: {finding}", shard.number()));
        }
        if let Some(journals) = &journals {
            report.findings.extend(journals.against(&links, vault, shard).await?);
        }
    }
    if report.findings.is_empty()
        && let Some(finding) = persistent(async || fsck_head::entities(&links, vault).await).await?
    {
        report.findings.push(format!("entities: {finding}"));
    }
    Ok(report)
}

/// A finding that is there however often it is looked at.
pub(super) async fn persistent(
    look: impl AsyncFn() -> Result<Option<String>, Trouble>,
) -> Result<Option<String>, Trouble> {
    let mut finding = None;
    for _ in 0..LOOKS {
        finding = look().await?;
        if finding.is_none() {
            break;
        }
        tokio::time::sleep(PAUSE).await;
    }
    Ok(finding)
}

fn command(name: &str, key: Vec<u8>) -> Cmd {
    let mut command = redis::cmd(name);
    command.arg(key);
    command
}

async fn ids(links: &Links, shard: Shard) -> Result<Vec<ApprovalId>, Trouble> {
    let mut range = command("ZRANGE", links.keys.ids(shard));
    range.arg(0).arg(-1);
    let answer = links.read(shard, &[range]).await?.pop().unwrap_or_default();
    Ok(answer::array(answer, "ZRANGE")?.into_iter().filter_map(answer::approval_id).collect())
}

/// What is wrong with one approval, if anything is.
async fn approval(links: &Links, vault: &Vault, shard: Shard, id: ApprovalId) -> Result<Option<String>, Trouble> {
    let keys = &links.keys;
    let members = Stored::question(keys, id);
    let mut due = command("ZSCORE", keys.due(shard));
    due.arg(&id.as_bytes()[..]);
    let mut settled = command("ZSCORE", keys.settled(shard));
    settled.arg(&id.as_bytes()[..]);
    let mut head = command("HGET", keys.head(shard));
    head.arg("head");
    let mut answers = links.read(shard, &[members, due, settled, head]).await?.into_iter();
    let stored = match Stored::parse(vault, id, answers.next().unwrap_or_default()) {
        Ok(Some(stored)) => stored,
        // Retired since it was listed, or its list is gone: then it stays listed.
        Ok(None) if !ids(links, shard).await?.contains(&id) => return Ok(None),
        Ok(None) => return Ok(Some("is listed, and is not there".to_owned())),
        Err(error) => return Ok(Some(format!("its records do not add up to what it is ({})", error.why()))),
    };
    let due = answers.next().and_then(answer::number);
    let settled = answers.next().and_then(answer::number);
    let head = answers.next().and_then(answer::unsigned).unwrap_or(0);
    Ok(wrong(&stored, shard, due, settled, head))
}

fn wrong(stored: &Stored, shard: Shard, due: Option<i64>, settled: Option<i64>, head: u64) -> Option<String> {
    let approval = &stored.approval;
    let expected = approval.next_due().map(|due| due.as_micros());
    if Shard::of_binding(&approval.opening.binding) != shard {
        return Some("is in the wrong shard".to_owned());
    }
    if due != expected {
        return Some(format!("time moves it on at {expected:?}, and the set of what is due says {due:?}"));
    }
    let may_go = approval.is_over();
    if settled.is_some() != may_go {
        return Some(format!("is {}, and is {}listed as settled", approval.state, if may_go { "not " } else { "" }));
    }
    if stored.head > head {
        return Some(format!("was made by event {}, and its shard has {head}", stored.head));
    }
    is_closed_by_too_few(approval).then(|| "was approved by fewer people than its gates demand".to_owned())
}

/// Whether it is approved, or was, without its quorum. Accounts that are one human are not known here.
fn is_closed_by_too_few(approval: &Approval) -> bool {
    let was_approved = match approval.state {
        ApprovalState::Approved(_)
        | ApprovalState::Revoked { .. }
        | ApprovalState::Lapsed { .. }
        | ApprovalState::Consumed(_) => true,
        ApprovalState::Pending
        | ApprovalState::Rejected { .. }
        | ApprovalState::Expired { .. }
        | ApprovalState::Cancelled { .. } => false,
    };
    let quorum = |gate: &crate::domain::Gate| usize::try_from(gate.quorum.get()).unwrap_or(usize::MAX);
    was_approved
        && approval.glass.is_none()
        && approval.opening.requirement.gates().iter().any(|gate| approval.approvals(gate) < quorum(gate))
}

/// What is wrong with a shard as a whole, if anything is.
async fn whole(links: &Links, shard: Shard) -> Result<Option<String>, Trouble> {
    let keys = &links.keys;
    let mut pending = command("HGET", keys.head(shard));
    pending.arg("pending");
    let mut due = command("ZRANGE", keys.due(shard));
    due.arg(0).arg(-1);
    let mut range = command("ZRANGE", keys.ids(shard));
    range.arg(0).arg(-1);
    let slots = command("HGETALL", keys.slots(shard));
    let mut answers = links.read(shard, &[pending, due, range, slots]).await?.into_iter();
    let pending = answers.next().and_then(answer::unsigned).unwrap_or(0);
    let mut listed = |name| {
        let members = answer::array(answers.next().unwrap_or_default(), name)?.into_iter();
        Ok::<_, Trouble>(members.collect::<Vec<_>>())
    };
    let due: Vec<ApprovalId> = listed("ZRANGE")?.into_iter().filter_map(answer::approval_id).collect();
    let ids: std::collections::HashSet<ApprovalId> =
        listed("ZRANGE")?.into_iter().filter_map(answer::approval_id).collect();
    if let Some(stray) = due.iter().find(|id| !ids.contains(id)) {
        return Ok(Some(format!("{stray} is due, and is not listed")));
    }
    let mut slots = listed("HGETALL")?.into_iter();
    while let (Some(binding), Some(id)) = (slots.next(), slots.next()) {
        let (binding, id) = (answer::bytes(binding), answer::approval_id(id));
        let Some(id) = id.filter(|id| ids.contains(id)) else {
            return Ok(Some("a binding leads to an approval that is not there".to_owned()));
        };
        if binding.as_deref().and_then(<[u8]>::last) != id.as_bytes().last() {
            return Ok(Some(format!("a binding leads to {id}, which is another's")));
        }
    }
    let counted = count_pending(links, shard, &due).await?;
    Ok((counted != pending).then(|| format!("{counted} approvals are pending, and {pending} are counted")))
}

async fn count_pending(links: &Links, shard: Shard, due: &[ApprovalId]) -> Result<u64, Trouble> {
    let mut counted = 0;
    for some in due.chunks(CHUNK) {
        let first = |id: &ApprovalId| {
            let mut first = command("LINDEX", links.keys.approval(*id));
            first.arg(0);
            first
        };
        let questions: Vec<Cmd> = some.iter().map(first).collect();
        let states = links.read(shard, &questions).await?.into_iter().filter_map(answer::text);
        counted += states.filter(|state| state.contains(" pending ")).map(|_| 1).sum::<u64>();
    }
    Ok(counted)
}
