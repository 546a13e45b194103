//! Taking Redis' answers apart. What is not as expected is an error, never a guess.

use std::sync::Arc;

use redis::Value;

use super::guard::{Epoch, Seen};
use super::trouble::Trouble;
use crate::domain::{ApprovalId, Timestamp};

/// The members of an array.
pub fn array(value: Value, of: &'static str) -> Result<Vec<Value>, Trouble> {
    match value {
        Value::Array(values) | Value::Set(values) => Ok(values),
        Value::Nil => Ok(Vec::new()),
        _ => Err(Trouble::Unexpected(of)),
    }
}

/// A name and its value.
pub type Pair = (Vec<u8>, Vec<u8>);

/// Of `HSCAN`: where to go on, and names with their values.
pub fn scanned(value: Value) -> Result<(String, Vec<Pair>), Trouble> {
    let unexpected = || Trouble::Unexpected("HSCAN");
    let mut parts = array(value, "HSCAN")?.into_iter();
    let cursor = parts.next().and_then(text).ok_or_else(unexpected)?;
    let mut members = array(parts.next().unwrap_or_default(), "HSCAN")?.into_iter();
    let mut pairs = Vec::new();
    while let (Some(name), Some(value)) = (members.next(), members.next()) {
        pairs.push((bytes(name).ok_or_else(unexpected)?, bytes(value).ok_or_else(unexpected)?));
    }
    Ok((cursor, pairs))
}

/// Bytes, or `None` where there is nothing.
pub fn bytes(value: Value) -> Option<Vec<u8>> {
    match value {
        Value::BulkString(bytes) => Some(bytes),
        Value::SimpleString(text) => Some(text.into_bytes()),
        Value::Okay => Some(b"OK".to_vec()),
        _ => None,
    }
}

pub fn text(value: Value) -> Option<String> {
    String::from_utf8(bytes(value)?).ok()
}

pub fn number(value: Value) -> Option<i64> {
    match value {
        Value::Int(number) => Some(number),
        Value::Nil => None,
        value => text(value)?.parse().ok(),
    }
}

pub fn unsigned(value: Value) -> Option<u64> {
    u64::try_from(number(value)?).ok()
}

pub fn approval_id(value: Value) -> Option<ApprovalId> {
    Some(ApprovalId::from_bytes(bytes(value)?.try_into().ok()?))
}

fn epoch(value: Value) -> Option<Epoch> {
    bytes(value)?.try_into().ok()
}

fn epochs(value: Value) -> Vec<Epoch> {
    let bytes = bytes(value).unwrap_or_default();
    let (whole, _) = bytes.as_chunks();
    whole.to_vec()
}

/// Of `TIME`.
pub fn time(value: Value) -> Result<Timestamp, Trouble> {
    let unexpected = Trouble::Unexpected("TIME");
    let mut parts = array(value, "TIME")?.into_iter().map(number);
    match (parts.next().flatten(), parts.next().flatten()) {
        (Some(seconds), Some(micros)) => Ok(Timestamp::from_micros(seconds * 1_000_000 + micros)),
        _ => Err(unexpected),
    }
}

fn reason(value: Value) -> Option<Arc<str>> {
    text(value).filter(|why| !why.is_empty()).map(Arc::from)
}

/// Of `HMGET head epoch head after lost`, as every read begins.
pub fn seen(value: Value) -> Result<Seen, Trouble> {
    let mut parts = array(value, "HMGET")?.into_iter();
    let epoch = parts.next().and_then(epoch);
    let head = parts.next().and_then(unsigned).unwrap_or(0);
    let after = parts.next().map(epochs).unwrap_or_default();
    Ok(Seen { epoch, head, after, lost: parts.next().and_then(reason) })
}

/// What the script that takes up a shard says: what it is, the server's time, and the time that was told there.
pub fn begun(value: Value) -> Result<(Seen, Timestamp, Timestamp), Trouble> {
    let mut parts = array(value, "begin")?.into_iter();
    let epoch = parts.next().and_then(epoch);
    let head = parts.next().and_then(unsigned);
    let now = parts.next().and_then(number);
    let after = parts.next().map(epochs).unwrap_or_default();
    let lost = parts.next().and_then(reason);
    match (head, now, parts.next().and_then(number)) {
        (Some(head), Some(now), Some(told)) => {
            let seen = Seen { epoch, head, after, lost };
            Ok((seen, Timestamp::from_micros(now), Timestamp::from_micros(told)))
        }
        _ => Err(Trouble::Unexpected("begin")),
    }
}

/// What the script that commits says.
#[derive(Debug)]
pub struct Verdict {
    pub word: String,
    /// The time that it judged by.
    pub now: Timestamp,
    pub head: u64,
    /// The server's own time.
    pub clock: Timestamp,
}

pub fn verdict(value: Value) -> Result<Verdict, Trouble> {
    let mut parts = array(value, "commit")?.into_iter();
    let word = parts.next().and_then(text);
    let now = parts.next().and_then(number);
    let head = parts.next().and_then(unsigned);
    let clock = parts.next().and_then(number);
    match (word, now, head, clock) {
        (Some(word), Some(now), Some(head), Some(clock)) => {
            Ok(Verdict { word, now: Timestamp::from_micros(now), head, clock: Timestamp::from_micros(clock) })
        }
        _ => Err(Trouble::Unexpected("commit")),
    }
}

/// Of `INFO replication`: how many replicas a primary has that are in step; `None` for what is no primary.
pub fn replicas(value: Value) -> Result<Option<usize>, Trouble> {
    let text = text(value).ok_or(Trouble::Unexpected("INFO"))?;
    match text.lines().find_map(|line| line.strip_prefix("role:")) {
        Some("master") => {
            let is_replica = |line: &&str| line.starts_with("slave") && line.contains("state=online");
            Ok(Some(text.lines().filter(is_replica).count()))
        }
        Some(_) => Ok(None),
        None => Err(Trouble::Unexpected("INFO")),
    }
}
