//! Whether the head of a shard is sound: its life, its marks, its stream of events, and the entities that lie beside one of them.
//! Asked in the raw: what readers refuse is what is looked for here.

use redis::{Pipeline, Value};

use super::answer;
use super::entities::{Newest, parse};
use super::fsck::persistent;
use super::guard::Epoch;
use super::journaling::Entry;
use super::keys::Shard;
use super::links::Links;
use super::trouble::Trouble;
use crate::domain::Fact;
use crate::vault::Vault;

/// Events read at a time.
const CHUNK: usize = 500;
/// Entities read at a time.
const SCAN: usize = 100;

/// What makes a shard unfit to be read, if anything does.
pub(super) async fn shard(links: &Links, vault: &Vault, shard: Shard) -> Result<Option<String>, Trouble> {
    if let Some(finding) = persistent(async || head(links, shard).await).await? {
        return Ok(Some(finding));
    }
    persistent(async || events(links, vault, shard).await).await
}

async fn ask(links: &Links, shard: Shard, question: redis::Cmd) -> Result<Value, Trouble> {
    let mut pipeline = Pipeline::new();
    pipeline.add_command(question);
    Ok(links.ask(shard, &pipeline).await?.pop().unwrap_or_default())
}

async fn head(links: &Links, shard: Shard) -> Result<Option<String>, Trouble> {
    let mut question = redis::cmd("HMGET");
    question.arg(links.keys.head(shard)).arg("epoch").arg("after").arg("lost");
    let mut fields = answer::array(ask(links, shard, question).await?, "HMGET")?.into_iter().map(answer::bytes);
    let (epoch, after, lost) = (fields.next().flatten(), fields.next().flatten(), fields.next().flatten());
    if let Some(lost) = lost {
        return Ok(Some(format!("it is marked as lost: {}", String::from_utf8_lossy(&lost))));
    }
    let Some(epoch) = epoch else { return Ok(Some("it is not there: redis is new, or was emptied".to_owned())) };
    let Ok(epoch) = Epoch::try_from(epoch) else { return Ok(Some("its epoch is none".to_owned())) };
    let after = after.unwrap_or_default();
    let (before, rest) = after.as_chunks::<16>();
    if !rest.is_empty() {
        return Ok(Some("the epochs before its own are none".to_owned()));
    }
    Ok(before.contains(&epoch).then(|| "its epoch is one of those that it took the place of".to_owned()))
}

/// Events have numbers without a gap, up to the head.
async fn events(links: &Links, vault: &Vault, shard: Shard) -> Result<Option<String>, Trouble> {
    let number = |value: Value| answer::unsigned(value).unwrap_or(0);
    let mut question = redis::cmd("HGET");
    question.arg(links.keys.head(shard)).arg("head");
    let at_least = number(ask(links, shard, question.clone()).await?);
    let (mut last, mut from) = (None, "-".to_owned());
    loop {
        let mut range = redis::cmd("XRANGE");
        range.arg(links.keys.events(shard)).arg(&from).arg("+").arg("COUNT").arg(CHUNK);
        let some = answer::array(ask(links, shard, range).await?, "XRANGE")?;
        let is_last = some.len() < CHUNK;
        for entry in some {
            let Ok(entry) = Entry::parse(entry) else { return Ok(Some("an event is none".to_owned())) };
            if last.is_some_and(|last| entry.number != last + 1) {
                return Ok(Some(format!("event {} follows event {}", entry.number, last.unwrap_or(0))));
            }
            if vault.open_shared(entry.at, &entry.record).is_err() {
                return Ok(Some(format!("event {} cannot be read", entry.number)));
            }
            last = Some(entry.number);
        }
        if is_last {
            break;
        }
        from = format!("{}-0", last.unwrap_or(0) + 1);
    }
    let head = number(ask(links, shard, question).await?);
    Ok(match last {
        Some(last) if last < at_least => Some(format!("its head is {at_least}, and its last event is {last}")),
        Some(last) if last > head => Some(format!("its head is {head}, and it has an event {last}")),
        Some(_) | None => None,
    })
}

/// What is wrong with what lies there of entities, if anything is.
pub(super) async fn entities(links: &Links, vault: &Vault) -> Result<Option<String>, Trouble> {
    let shard = Shard::of_entities();
    let Ok(newest) = Newest::parse(ask(links, shard, Newest::question(&links.keys)).await?) else {
        return Ok(Some("the number of their changes is none".to_owned()));
    };
    let (mut count, mut cursor) = (0, "0".to_owned());
    loop {
        let mut scan = redis::cmd("HSCAN");
        scan.arg(links.keys.entities()).arg(&cursor).arg("COUNT").arg(SCAN);
        let (next, members) = answer::scanned(ask(links, shard, scan).await?)?;
        for (name, record) in members {
            if parse(vault, &name, &record).is_err() {
                return Ok(Some("what lies under the name of one is not that entity".to_owned()));
            }
            count += 1;
        }
        if next == "0" {
            break;
        }
        cursor = next;
    }
    if count != newest.count {
        return Ok(Some(format!("{} are counted, and {count} are there", newest.count)));
    }
    made_by(links, vault, newest).await
}

/// The event that made the newest change says so, where Redis still has it.
async fn made_by(links: &Links, vault: &Vault, newest: Newest) -> Result<Option<String>, Trouble> {
    let shard = Shard::of_entities();
    let range = Entry::question(&links.keys, shard, newest.event);
    let Some(entry) = answer::array(ask(links, shard, range).await?, "XRANGE")?.pop() else { return Ok(None) };
    let entry = Entry::parse(entry)?;
    let fact = vault.open_shared(entry.at, &entry.record).map(|record| record.fact);
    let is_it = matches!(fact, Ok(Fact::EntitiesChanged(changed)) if changed.version == newest.version);
    Ok((!is_it).then(|| format!("event {} is not change {} of them", newest.event, newest.version)))
}
