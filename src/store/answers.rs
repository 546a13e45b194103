//! What was answered under which idempotency key, for a while: so long, so many, and so many of one caller.
//!
//! Forgetting an answer early is safe: the query is then decided as it stands, and a grant that was used stays used.

use std::collections::{HashMap, HashSet, VecDeque};
use std::sync::Arc;

use super::embedded::Limits;
use crate::domain::{Attributes, Change, Decided, EntityUid, IdempotencyKey, Query, Reason, Timestamp};

#[derive(Debug, Default)]
pub(crate) struct Answers {
    answered: HashMap<IdempotencyKey, Answered>,
    /// Every answer as it came, by the sequence of its record; a key has one for each time that it was still PENDING.
    order: VecDeque<(u64, Timestamp, IdempotencyKey)>,
    of_caller: HashMap<EntityUid, VecDeque<(u64, Arc<str>)>>,
}

#[derive(Debug)]
struct Answered {
    decided: Arc<Decided>,
    at: Timestamp,
    sequence: u64,
}

impl Answers {
    /// The decision remembered under a key.
    pub fn get(&self, key: &IdempotencyKey, limits: &Limits, now: Timestamp) -> Option<Arc<Decided>> {
        let answered = self.answered.get(key)?;
        let remembered = !answered.at.after(limits.idempotency_retention).is_due(now);
        remembered.then(|| answered.decided.clone())
    }

    /// The records whose answers are remembered.
    pub fn sequences(&self, limits: &Limits, now: Timestamp) -> HashSet<u64> {
        let until = |answered: &Answered| answered.at.after(limits.idempotency_retention);
        let remembered = self.answered.values().filter(|answered| !until(answered).is_due(now));
        remembered.map(|answered| answered.sequence).collect()
    }

    pub fn remember(&mut self, decided: &Decided, sequence: u64, at: Timestamp, limits: &Limits) {
        let Some(key) = key_of(decided) else { return };
        if !is_remembered(decided) {
            return;
        }
        let own = self.of_caller.entry(key.caller.clone()).or_default();
        own.push_back((sequence, key.key.clone()));
        // A caller with many keys crowds out its own answers and nobody else's.
        let crowded_out = (own.len() > limits.idempotency_keys_per_caller_max).then(|| own.pop_front()).flatten();
        if let Some((sequence, name)) = crowded_out {
            self.drop_answer(&IdempotencyKey { caller: key.caller.clone(), key: name }, sequence);
        }
        self.order.push_back((sequence, at, key.clone()));
        self.answered.insert(key, Answered { decided: Arc::new(abridged(decided)), at, sequence });
    }

    /// Drops the oldest answer, if it is too old or there are too many.
    pub fn forget(&mut self, limits: &Limits, now: Timestamp) {
        let most = limits.idempotency_keys_max;
        let crowded = self.answered.len() > most || self.order.len() > 2 * most;
        let old = |(_, at, _): &mut (u64, Timestamp, _)| at.after(limits.idempotency_retention).is_due(now);
        let Some((sequence, _, key)) = self.order.pop_front_if(|first| crowded || old(first)) else { return };
        if let Some(own) = self.of_caller.get_mut(&key.caller) {
            own.pop_front_if(|(first, _)| *first == sequence);
            if own.is_empty() {
                self.of_caller.remove(&key.caller);
            }
        }
        self.drop_answer(&key, sequence);
    }

    /// Unless a later answer stands under the key.
    fn drop_answer(&mut self, key: &IdempotencyKey, sequence: u64) {
        if self.answered.get(key).is_some_and(|answered| answered.sequence == sequence) {
            self.answered.remove(key);
        }
    }
}

/// The key of a decision within its caller.
pub(crate) fn key_of(decided: &Decided) -> Option<IdempotencyKey> {
    let key = decided.idempotency_key.clone()?;
    Some(IdempotencyKey { caller: decided.caller.uid.clone(), key })
}

/// Whether a decision under a key is the key's answer. An attempt with the wrong approval is on record and does not displace
/// it; nor does the answer given again.
pub(crate) fn is_remembered(decided: &Decided) -> bool {
    decided.repeats.is_none() && decided.reason != Reason::BindingMismatch
}

/// A decision without what may be large: what is left is enough to repeat its answer.
pub(crate) fn abridged(decided: &Decided) -> Decided {
    let query = &decided.query;
    let query = Query {
        principal: query.principal.clone(),
        on_behalf_of: query.on_behalf_of.clone(),
        action: query.action.clone(),
        resource: query.resource.clone(),
        context: Attributes::new(),
        environment: Attributes::new(),
        entities: Vec::new(),
    };
    Decided {
        query: Arc::new(query),
        determining: Vec::new(),
        errors: Vec::new(),
        obligations: Vec::new(),
        justification: None,
        change: Change::None,
        ..decided.clone()
    }
}
