//! Which server has which shard: always the same, or as Sentinels or the Cluster say.

use redis::aio::MultiplexedConnection;
use redis::{Pipeline, Value};

use super::answer;
use super::dial::{Patience, dial, dial_sentinel};
use super::keys::{Keys, SHARDS, Shard};
use super::settings::{Address, Settings, Shape};
use super::trouble::{Trouble, accepted};

/// Each shard's primary; `None` where nobody has it.
pub type Map = [Option<Address>; SHARDS as usize];

/// Asks one after the other until somebody knows. `others` were nodes when last seen.
pub async fn discover(settings: &Settings, keys: &Keys, others: &[Address]) -> Result<Map, Trouble> {
    let nobody = || Trouble::OutOfReach("no address is configured".into());
    match &settings.shape {
        Shape::Single => {
            let address = settings.seeds.first().ok_or_else(nobody)?;
            Ok(std::array::from_fn(|_| Some(address.clone())))
        }
        Shape::Sentinel { master } => {
            let mut last = nobody();
            for sentinel in &settings.seeds {
                match ask_sentinel(settings, sentinel, master).await {
                    Ok(address) => return Ok(std::array::from_fn(|_| Some(address.clone()))),
                    Err(trouble) => last = trouble,
                }
            }
            Err(last)
        }
        Shape::Cluster => {
            let mut last = nobody();
            for node in others.iter().chain(&settings.seeds) {
                match ask_node(settings, keys, node).await {
                    Ok(map) => return Ok(map),
                    Err(trouble) => last = trouble,
                }
            }
            Err(last)
        }
    }
}

async fn ask_sentinel(settings: &Settings, sentinel: &Address, master: &str) -> Result<Address, Trouble> {
    let mut connection = dial_sentinel(settings, sentinel).await?;
    let mut question = Pipeline::new();
    question.cmd("SENTINEL").arg("GET-MASTER-ADDR-BY-NAME").arg(master);
    let answer = all(&mut connection, &question, sentinel).await?.pop().unwrap_or(Value::Nil);
    let mut parts = answer::array(answer, "SENTINEL")?.into_iter();
    let host = parts.next().and_then(answer::text);
    let port = parts.next().and_then(answer::number).and_then(|port| port.try_into().ok());
    match (host, port) {
        (Some(host), Some(port)) => Ok(Address { host, port }),
        _ => Err(Trouble::OutOfReach(format!("the sentinel at {sentinel} knows no primary named `{master}`").into())),
    }
}

async fn ask_node(settings: &Settings, keys: &Keys, node: &Address) -> Result<Map, Trouble> {
    let mut connection = dial(settings, node, Patience::Command).await?;
    let mut questions = Pipeline::new();
    for shard in Shard::all() {
        questions.cmd("CLUSTER").arg("KEYSLOT").arg(keys.head(shard));
    }
    questions.cmd("CLUSTER").arg("SLOTS");
    let mut answers = all(&mut connection, &questions, node).await?;
    let ranges = answers.pop().map_or(Ok(Vec::new()), |ranges| answer::array(ranges, "CLUSTER SLOTS"))?;
    let ranges: Vec<Range> = ranges.into_iter().filter_map(|range| Range::parse(range, node)).collect();
    let slots: Vec<Option<i64>> = answers.into_iter().map(answer::number).collect();
    Ok(std::array::from_fn(|shard| {
        let slot = slots.get(shard).copied().flatten()?;
        ranges.iter().find(|range| (range.first..=range.last).contains(&slot)).map(|range| range.primary.clone())
    }))
}

struct Range {
    first: i64,
    last: i64,
    primary: Address,
}

impl Range {
    fn parse(value: Value, told_by: &Address) -> Option<Self> {
        let mut parts = answer::array(value, "CLUSTER SLOTS").ok()?.into_iter();
        let first = parts.next().and_then(answer::number)?;
        let last = parts.next().and_then(answer::number)?;
        let mut node = answer::array(parts.next()?, "CLUSTER SLOTS").ok()?.into_iter();
        // A node that does not know its own name is the one that was asked.
        let host = node.next().and_then(answer::text).filter(|host| !host.is_empty() && host != "?");
        let port = node.next().and_then(answer::number).and_then(|port| port.try_into().ok())?;
        Some(Self { first, last, primary: Address { host: host.unwrap_or_else(|| told_by.host.clone()), port } })
    }
}

async fn all(
    connection: &mut MultiplexedConnection,
    questions: &Pipeline,
    address: &Address,
) -> Result<Vec<Value>, Trouble> {
    let answers = connection.send_packed_commands(questions, 0, questions.len()).await;
    let answers = answers.map_err(|error| Trouble::Redis { address: address.clone(), error })?;
    answers.into_iter().map(|value| accepted(value, address)).collect()
}
