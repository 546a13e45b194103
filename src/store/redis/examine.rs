//! What an operator wants to know of the Redis servers before trusting them: asked of each primary, changes nothing, and may run
//! beside servers. Whether single approvals are as they must be is [`super::fsck`]'s to say.

use redis::Pipeline;

use super::dial::{Patience, dial};
use super::discover::{Map, discover};
use super::keys::{Keys, Shard};
use super::node::Node;
use super::settings::{Address, Settings};
use super::trouble::Trouble;
use super::{answer, policy};
use crate::domain::Timestamp;

/// One primary.
#[derive(Debug)]
pub struct Primary {
    pub address: Address,
    pub state: Result<State, Trouble>,
}

/// What it says of itself.
#[derive(Debug)]
pub struct State {
    /// Its clock.
    pub time: Timestamp,
    /// Whether it would forget approvals when memory is short.
    pub eviction: Result<(), Trouble>,
    /// Its replicas that are in step; `None` where it is no primary.
    pub replicas: Option<usize>,
    /// Whether every write goes into a file (`appendonly`); `None` where it does not say.
    pub appends: Option<bool>,
    /// Bytes in use, and the most it may use; 0: as much as the machine has.
    pub used_bytes: u64,
    pub limit_bytes: u64,
    /// Of shards whose state was lost or is marked as lost: why.
    pub lost: Vec<String>,
    /// Shards that were never begun.
    pub fresh: usize,
}

/// Looks at every primary.
///
/// # Errors
/// When nobody says where they are.
pub async fn examine(settings: &Settings) -> Result<Vec<Primary>, Trouble> {
    let keys = Keys::new(&settings.prefix);
    let map = discover(settings, &keys, &[]).await?;
    if map.iter().any(Option::is_none) {
        return Err(Trouble::OutOfReach("a shard has no primary".into()));
    }
    let mut addresses: Vec<Address> = map.iter().flatten().cloned().collect();
    addresses.sort_by_key(ToString::to_string);
    addresses.dedup();
    let mut found = Vec::new();
    for address in addresses {
        let state = state(settings, &keys, &map, &address).await;
        found.push(Primary { address, state });
    }
    Ok(found)
}

async fn state(settings: &Settings, keys: &Keys, map: &Map, address: &Address) -> Result<State, Trouble> {
    // The first connection of a server that takes nobody says why better than one that waits for its answer.
    drop(dial(settings, address, Patience::Command).await?);
    let node = Node::connect(settings, address).await?;
    let mut questions = Pipeline::new();
    questions.cmd("TIME").cmd("INFO").arg("replication");
    let mut answers = node.ask(&questions).await?.into_iter();
    let time = answer::time(answers.next().unwrap_or_default())?;
    let replicas = answer::replicas(answers.next().unwrap_or_default())?;
    let (persistence, memory) = (info(&node, "persistence").await?, info(&node, "memory").await?);
    let number = |name: &str| field(&memory, name).and_then(|text| text.parse().ok()).unwrap_or(0);
    let (lost, fresh) = heads(&node, keys, map).await?;
    Ok(State {
        time,
        eviction: policy::check(&node).await,
        replicas,
        appends: field(&persistence, "aof_enabled").map(|enabled| enabled == "1"),
        used_bytes: number("used_memory"),
        limit_bytes: number("maxmemory"),
        lost,
        fresh,
    })
}

/// A section of `INFO`; empty where the user may not read it.
async fn info(node: &Node, section: &str) -> Result<String, Trouble> {
    let mut question = Pipeline::new();
    question.cmd("INFO").arg(section);
    match node.ask(&question).await {
        Ok(mut answers) => Ok(answers.pop().and_then(answer::text).unwrap_or_default()),
        Err(trouble) if trouble.breaks_the_connection() => Err(trouble),
        Err(_) => Ok(String::new()),
    }
}

fn field<'a>(info: &'a str, name: &str) -> Option<&'a str> {
    info.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(':')).map(str::trim)
}

/// What the heads of its shards say: which are lost, and how many are not there.
async fn heads(node: &Node, keys: &Keys, map: &Map) -> Result<(Vec<String>, usize), Trouble> {
    let own: Vec<Shard> =
        Shard::all().filter(|shard| map.get(shard.index()).and_then(Option::as_ref) == Some(node.address())).collect();
    let mut questions = Pipeline::new();
    for shard in &own {
        questions.cmd("HMGET").arg(keys.head(*shard)).arg("epoch").arg("lost");
    }
    let (mut lost, mut fresh) = (Vec::new(), 0);
    for (shard, answer) in own.iter().zip(node.ask(&questions).await?) {
        let mut fields = answer::array(answer, "HMGET")?.into_iter().map(answer::bytes);
        let (epoch, mark) = (fields.next().flatten(), fields.next().flatten());
        if let Some(mark) = mark {
            lost.push(format!("shard {} is marked as lost: {}", shard.number(), String::from_utf8_lossy(&mark)));
        } else if epoch.is_none() {
            fresh += 1;
        }
    }
    Ok((lost, fresh))
}
