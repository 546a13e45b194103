//! The store: with Redis, that it is within reach, forgets nothing, has its replicas, and did not lose what it had.

use std::time::Duration;

use super::clock::Reading;
use super::finding::Finding;
use crate::config::{Config, StoreKind};
use crate::domain::Timestamp;
use crate::store::Clock;
use crate::store::redis::examine::{self, Primary, State};
use crate::store::redis::{Address, Durability, SHARDS, Settings, Trouble, majority};

const PART: &str = "store";
/// Of what it may use; a Redis that is full refuses writes.
const MEMORY_WARN_PERCENT: u64 = 80;

/// What was seen of Redis.
pub struct Looked {
    durability: Durability,
    asked: Timestamp,
    answered: Timestamp,
    found: Result<Vec<Primary>, Trouble>,
}

impl Looked {
    /// The clocks of those that answered.
    pub fn clocks(&self) -> impl Iterator<Item = (&Address, Reading)> {
        let states = self.found.iter().flatten();
        states.filter_map(|primary| {
            let told = primary.state.as_ref().ok()?.time;
            Some((
                &primary.address,
                Reading { asked: self.asked, told, answered: self.answered, grain: Duration::ZERO },
            ))
        })
    }
}

pub async fn look(config: &Config) -> Option<Looked> {
    let settings: Settings = config.redis_settings()?;
    let clock = Clock::system(Timestamp::default());
    let asked = clock.now();
    let found = examine::examine(&settings).await;
    Some(Looked { durability: settings.durability, asked, answered: clock.now(), found })
}

pub fn examine(config: &Config, looked: Option<&Looked>) -> Vec<Finding> {
    match (config.store.kind, looked) {
        (StoreKind::Embedded, _) | (StoreKind::Redis, None) => {
            vec![Finding::ok(PART, "approvals are in the journal of this one server")]
        }
        (StoreKind::Redis, Some(looked)) => redis(looked),
    }
}

fn redis(looked: &Looked) -> Vec<Finding> {
    let advice = "look whether it runs, whether it is reached from here, and at user and password (docs/redis.md)";
    let primaries = match &looked.found {
        Ok(primaries) => primaries,
        Err(trouble) => return vec![Finding::fail(PART, trouble.to_string(), advice)],
    };
    let judged = primaries.iter().flat_map(|primary| match &primary.state {
        Ok(state) => primary_is(&primary.address, state, looked.durability),
        Err(trouble) => vec![Finding::fail(PART, format!("redis at {}: {trouble}", primary.address), advice)],
    });
    let fresh: usize =
        primaries.iter().filter_map(|primary| primary.state.as_ref().ok()).map(|state| state.fresh).sum();
    judged.chain(began(fresh)).collect()
}

/// A Redis that has nothing is new, or was emptied: which, only the journals know.
fn began(fresh: usize) -> Option<Finding> {
    (fresh > 0).then(|| {
        Finding::warn(
            PART,
            format!("{fresh} of {SHARDS} shards were never begun: this Redis is new, or was emptied"),
            "right before the first start; else `countersign store reconcile` (docs/redis.md)",
        )
    })
}

fn primary_is(address: &Address, state: &State, durability: Durability) -> Vec<Finding> {
    let at = format!("redis at {address}");
    let mut findings = vec![replicas(&at, state.replicas, durability)];
    if let Err(trouble) = &state.eviction {
        findings.push(Finding::fail(
            PART,
            format!("{at}: {trouble}"),
            "CONFIG SET maxmemory-policy noeviction, and in its configuration file",
        ));
    } else {
        findings.push(Finding::ok(PART, format!("{at} forgets nothing when memory is short")));
    }
    if state.appends == Some(false) {
        findings.push(Finding::warn(
            PART,
            format!("{at} does not write what it has into a file: a restart empties it"),
            "set `appendonly yes` on it and its replicas",
        ));
    }
    let full = state.limit_bytes > 0
        && state.used_bytes.saturating_mul(100) >= state.limit_bytes.saturating_mul(MEMORY_WARN_PERCENT);
    if full {
        findings.push(Finding::warn(
            PART,
            format!("{at} uses {} of {} MiB", state.used_bytes >> 20, state.limit_bytes >> 20),
            "raise `maxmemory`: a Redis without room refuses what needs people",
        ));
    }
    let advice = "`countersign store reconcile` denies on record what was open, and begins anew (docs/redis.md)";
    findings.extend(state.lost.iter().map(|lost| Finding::fail(PART, format!("{at}: {lost}"), advice)));
    findings
}

fn replicas(at: &str, replicas: Option<usize>, durability: Durability) -> Finding {
    let Some(has) = replicas else {
        return Finding::fail(PART, format!("{at} is no primary"), "name the primary, or its Sentinels");
    };
    match durability {
        Durability::Primary => Finding::warn(
            PART,
            format!("{at}: a failover may lose what was told (`durability = \"primary\"`)"),
            "give it replicas, and leave `durability` out",
        ),
        Durability::Replicated { replicas: wanted } if has < wanted => Finding::fail(
            PART,
            format!("{at} has {has} replicas, and {wanted} must have every change"),
            "start its replicas: until then nothing that needs people is answered",
        ),
        Durability::Replicated { replicas: wanted } if wanted < majority(has) => Finding::fail(
            PART,
            format!(
                "{at} has {has} replicas, and a change counts as replicated with {wanted}: two sides of a partition could both go on"
            ),
            format!("set `replicas = {}`", majority(has)),
        ),
        Durability::Replicated { replicas: wanted } => {
            Finding::ok(PART, format!("{at} has {has} replicas, and {wanted} have every change before anybody is told"))
        }
    }
}
