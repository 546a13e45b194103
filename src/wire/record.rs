//! Records: the journal's payload, and what `Audit` and `Subscribe` send.
//!
//! On disk a record has neither sequence nor time: the journal's frame says both. There it may also be sealed: in two parts, of
//! which one is encrypted ([`split`], [`join`]); which fields go into it says [`super::secret`].

use std::sync::Arc;

use prost::Message;

use super::gate::parse_requirement;
use super::transition::spoken;
use super::{Malformed, identity, names, pb, policies, secret, transition, value};
use crate::domain::{
    Binding, Change, Decided, EvaluationError, Fact, Moved, Obligation, Opening, Origin, PolicyDigest, PolicyId,
    Record, Refused, Revealed, Started, Timestamp, TraceParent,
};

/// The bytes of a fact, as they go to disk.
#[must_use]
pub fn encode(fact: &Fact) -> Vec<u8> {
    pb::Record { sequence: 0, at_micros: 0, fact: Some(fact.into()), origin: None }.encode_to_vec()
}

/// The bytes of a fact in two parts: what stays readable, and what is to be sealed, which is empty where there is nothing.
#[must_use]
pub fn split(fact: &Fact) -> (Vec<u8>, Vec<u8>) {
    let mut shown: pb::record::Fact = fact.into();
    let taken = secret::take_from(&mut shown);
    let record = |fact| pb::Record { sequence: 0, at_micros: 0, fact: Some(fact), origin: None }.encode_to_vec();
    (record(shown), taken.map(record).unwrap_or_default())
}

/// A record from both of its parts.
pub fn join(sequence: u64, at: Timestamp, shown: &[u8], secret: &[u8]) -> Result<Record, Malformed> {
    let unreadable = |error: prost::DecodeError| Malformed::new("", error.to_string());
    let mut record = pb::Record::decode(shown).map_err(unreadable)?;
    record.merge(secret).map_err(unreadable)?;
    parse_record(sequence, at, record)
}

/// The bytes of a sealed record.
#[must_use]
pub fn envelope(sealed: pb::Sealed) -> Vec<u8> {
    let fact = Some(pb::record::Fact::Sealed(sealed));
    pb::Record { sequence: 0, at_micros: 0, fact, origin: None }.encode_to_vec()
}

/// What lies on disk.
#[derive(Debug)]
pub enum Written {
    Clear(Box<Record>),
    Sealed(pb::Sealed),
}

/// What the bytes on disk are.
pub fn look(sequence: u64, at: Timestamp, payload: &[u8]) -> Result<Written, Malformed> {
    let record = pb::Record::decode(payload).map_err(|error| Malformed::new("", error.to_string()))?;
    match record.fact {
        Some(pb::record::Fact::Sealed(sealed)) => Ok(Written::Sealed(sealed)),
        _ => Ok(Written::Clear(Box::new(parse_record(sequence, at, record)?))),
    }
}

/// Adds to the bytes of a fact which event of a shared store it is.
pub fn add_origin(payload: &mut Vec<u8>, origin: &Origin) {
    let alone = pb::Record { sequence: 0, at_micros: 0, fact: None, origin: Some(origin.into()) };
    // Messages that are written one behind the other are one message.
    payload.extend(alone.encode_to_vec());
}

/// A record from the bytes of its fact and what its frame says.
pub fn decode(sequence: u64, at: Timestamp, payload: &[u8]) -> Result<Record, Malformed> {
    let record = pb::Record::decode(payload).map_err(|error| Malformed::new("", error.to_string()))?;
    parse_record(sequence, at, record)
}

fn parse_record(sequence: u64, at: Timestamp, record: pb::Record) -> Result<Record, Malformed> {
    let fact = record.fact.ok_or_else(|| Malformed::new("fact", "missing or from a newer version"))?;
    let origin = record.origin.map(parse_origin).transpose()?;
    Ok(Record { sequence, at, fact: parse(fact)?, origin })
}

impl From<&Record> for pb::Record {
    fn from(record: &Record) -> Self {
        let origin = record.origin.as_ref().map(Into::into);
        Self { sequence: record.sequence, at_micros: record.at.as_micros(), fact: Some((&record.fact).into()), origin }
    }
}

impl From<&Origin> for pb::Origin {
    fn from(origin: &Origin) -> Self {
        Self { epoch: origin.epoch.to_vec(), shard: origin.shard.into(), number: origin.number }
    }
}

impl From<&Fact> for pb::record::Fact {
    fn from(fact: &Fact) -> Self {
        match fact {
            Fact::Started(started) => Self::Started(pb::Started {
                version: started.version.to_string(),
                policy_digest: started.digest.0.to_vec(),
            }),
            Fact::Decided(decided) => Self::Decided((&**decided).into()),
            Fact::Moved(moved) => Self::Moved(moved.into()),
            Fact::Refused(refused) => Self::Refused(refused.into()),
            Fact::PoliciesReloaded(reloaded) => Self::PoliciesReloaded(reloaded.into()),
            Fact::EntitiesChanged(changed) => Self::EntitiesChanged(changed.into()),
            Fact::Revealed(revealed) => Self::Revealed(revealed.into()),
        }
    }
}

impl From<&Decided> for pb::Decided {
    fn from(decided: &Decided) -> Self {
        let query = &decided.query;
        let caller = (decided.caller != decided.principal).then(|| (&*decided.caller).into());
        Self {
            decision_id: decided.id.to_string(),
            principal: Some((&query.principal).into()),
            on_behalf_of: query.on_behalf_of.as_ref().map(Into::into),
            action: Some((&query.action).into()),
            resource: Some((&query.resource).into()),
            context: value::attributes(&query.context),
            environment: value::attributes(&query.environment),
            entities: query.entities.iter().map(Into::into).collect(),
            binding: decided.binding.0.to_vec(),
            principal_identity: Some((&*decided.principal).into()),
            caller_identity: caller,
            outcome: pb::Outcome::from(decided.outcome).into(),
            reason: decided.reason.code().into(),
            determining_policies: decided.determining.iter().map(|policy| policy.0.to_string()).collect(),
            errors: decided.errors.iter().map(Into::into).collect(),
            obligations: decided.obligations.iter().map(Into::into).collect(),
            policy_digest: decided.digest.0.to_vec(),
            justification: decided.justification.as_deref().unwrap_or_default().into(),
            request_id: decided.request_id.to_string(),
            approval_id: decided.approval.map(|id| id.to_string()).unwrap_or_default(),
            change: change(&decided.change),
            idempotency_key: decided.idempotency_key.as_deref().unwrap_or_default().into(),
            repeats_decision_id: decided.repeats.map(|id| id.to_string()).unwrap_or_default(),
            follows_decision_id: decided.follows.map(|id| id.to_string()).unwrap_or_default(),
            policy_revision: decided.revision,
        }
    }
}

fn change(change: &Change) -> Option<pb::decided::Change> {
    match change {
        Change::None => None,
        Change::Opened(opening) => Some(pb::decided::Change::Opened(pb::Opened {
            gates: opening.requirement.gates().iter().map(Into::into).collect(),
            opened_at_micros: opening.opened_at.as_micros(),
            deadline_micros: opening.deadline.as_micros(),
            trace_parent: opening.trace_parent.as_ref().map(|trace| trace.0.to_string()).unwrap_or_default(),
        })),
        Change::Redeemed(transition) => Some(pb::decided::Change::Redeemed(transition.into())),
    }
}

impl From<&EvaluationError> for pb::EvaluationError {
    fn from(error: &EvaluationError) -> Self {
        Self { policy: error.policy.0.to_string(), message: error.message.to_string() }
    }
}

impl From<&Obligation> for pb::Obligation {
    fn from(obligation: &Obligation) -> Self {
        use pb::obligation::Kind;
        let (policy, kind) = match obligation {
            Obligation::Mask { policy, what } => (policy, Kind::Mask(what.to_string())),
            Obligation::Advice { policy, text } => (policy, Kind::Advice(text.to_string())),
        };
        Self { policy: policy.0.to_string(), kind: Some(kind) }
    }
}

impl From<&Moved> for pb::Moved {
    fn from(moved: &Moved) -> Self {
        Self {
            approval_id: moved.approval.to_string(),
            binding: moved.binding.0.to_vec(),
            principal: Some((&moved.principal).into()),
            action: Some((&moved.action).into()),
            resource: Some((&moved.resource).into()),
            transition: Some((&moved.transition).into()),
            request_id: moved.request_id.to_string(),
        }
    }
}

impl From<&Refused> for pb::Refused {
    fn from(refused: &Refused) -> Self {
        Self {
            method: refused.method.to_string(),
            reason: refused.reason.to_string(),
            field: refused.field.as_deref().unwrap_or_default().into(),
            caller: refused.caller.as_deref().map(Into::into),
            approval_id: refused.approval.map(|id| id.to_string()).unwrap_or_default(),
            request_id: refused.request_id.to_string(),
        }
    }
}

impl From<&Revealed> for pb::Revealed {
    fn from(revealed: &Revealed) -> Self {
        Self {
            approval_id: revealed.approval.to_string(),
            to: Some((&*revealed.to).into()),
            request_id: revealed.request_id.to_string(),
        }
    }
}

fn parse(fact: pb::record::Fact) -> Result<Fact, Malformed> {
    use pb::record::Fact as Wire;
    Ok(match fact {
        Wire::Started(started) => Fact::Started(Started {
            version: started.version.into(),
            digest: PolicyDigest(bytes("policy_digest", &started.policy_digest)?),
        }),
        Wire::Decided(decided) => Fact::Decided(Arc::new(parse_decided(decided)?)),
        Wire::Moved(moved) => Fact::Moved(parse_moved(moved)?),
        Wire::Refused(refused) => Fact::Refused(parse_refused(refused)?),
        Wire::PoliciesReloaded(reloaded) => Fact::PoliciesReloaded(policies::parse_reloaded(reloaded)?),
        Wire::EntitiesChanged(changed) => Fact::EntitiesChanged(policies::parse_changed(changed)?),
        Wire::Revealed(revealed) => Fact::Revealed(parse_revealed(revealed)?),
        Wire::Sealed(_) => return Err(Malformed::new("fact", "sealed")),
    })
}

fn parse_origin(origin: pb::Origin) -> Result<Origin, Malformed> {
    let epoch = origin.epoch.as_slice().try_into().map_err(|_| Malformed::new("origin.epoch", "expected 16 bytes"))?;
    let shard = origin.shard.try_into().map_err(|_| Malformed::new("origin.shard", "expected at most 255"))?;
    Ok(Origin { epoch, shard, number: origin.number })
}

fn parse_decided(mut decided: pb::Decided) -> Result<Decided, Malformed> {
    let query = value::recorded_query(&mut decided)?;
    let principal = identity::required("principal_identity", decided.principal_identity.take())?;
    let caller = match decided.caller_identity.take() {
        Some(caller) => identity::required("caller_identity", Some(caller))?,
        None => principal.clone(),
    };
    let mut parsed = Decided {
        id: id("decision_id", &decided.decision_id)?,
        query,
        binding: Binding(bytes("binding", &decided.binding)?),
        principal,
        caller,
        outcome: pb::Outcome::parse(decided.outcome).ok_or_else(|| Malformed::new("outcome", "missing"))?,
        reason: names::reason(&decided.reason).ok_or_else(|| Malformed::new("reason", "unknown"))?,
        determining: decided.determining_policies.into_iter().map(|policy| PolicyId(policy.into())).collect(),
        errors: decided.errors.into_iter().map(parse_error).collect(),
        obligations: decided.obligations.into_iter().map(parse_obligation).collect::<Result<_, _>>()?,
        digest: PolicyDigest(bytes("policy_digest", &decided.policy_digest)?),
        revision: decided.policy_revision,
        justification: spoken(decided.justification),
        request_id: decided.request_id.into(),
        approval: optional_id("approval_id", &decided.approval_id)?,
        change: Change::None,
        idempotency_key: spoken(decided.idempotency_key),
        repeats: optional_id("repeats_decision_id", &decided.repeats_decision_id)?,
        follows: optional_id("follows_decision_id", &decided.follows_decision_id)?,
    };
    parsed.change = match decided.change {
        None => Change::None,
        Some(pb::decided::Change::Opened(opened)) => Change::Opened(Arc::new(parse_opened(opened, &parsed)?)),
        Some(pb::decided::Change::Redeemed(redeemed)) => Change::Redeemed(transition::parse(redeemed)?),
    };
    Ok(parsed)
}

fn parse_opened(opened: pb::Opened, decided: &Decided) -> Result<Opening, Malformed> {
    Ok(Opening {
        id: decided.approval.ok_or_else(|| Malformed::new("approval_id", "missing"))?,
        binding: decided.binding,
        query: decided.query.clone(),
        principal: decided.principal.clone(),
        caller: decided.caller.clone(),
        requirement: parse_requirement(opened.gates)?,
        justification: decided.justification.clone(),
        opened_at: Timestamp::from_micros(opened.opened_at_micros),
        deadline: Timestamp::from_micros(opened.deadline_micros),
        digest: decided.digest,
        trace_parent: spoken(opened.trace_parent).map(TraceParent),
    })
}

fn parse_error(error: pb::EvaluationError) -> EvaluationError {
    EvaluationError { policy: PolicyId(error.policy.into()), message: error.message.into() }
}

fn parse_obligation(obligation: pb::Obligation) -> Result<Obligation, Malformed> {
    use pb::obligation::Kind;
    let policy = PolicyId(obligation.policy.into());
    match obligation.kind {
        Some(Kind::Mask(what)) => Ok(Obligation::Mask { policy, what: what.into() }),
        Some(Kind::Advice(text)) => Ok(Obligation::Advice { policy, text: text.into() }),
        None => Err(Malformed::new("obligations", "an obligation without a kind")),
    }
}

fn parse_moved(moved: pb::Moved) -> Result<Moved, Malformed> {
    let transition = moved.transition.ok_or_else(|| Malformed::new("transition", "missing"))?;
    Ok(Moved {
        approval: id("approval_id", &moved.approval_id)?,
        binding: Binding(bytes("binding", &moved.binding)?),
        principal: value::required_uid("principal", moved.principal)?,
        action: value::required_uid("action", moved.action)?,
        resource: value::required_uid("resource", moved.resource)?,
        transition: transition::parse(transition)?,
        request_id: moved.request_id.into(),
    })
}

fn parse_refused(refused: pb::Refused) -> Result<Refused, Malformed> {
    Ok(Refused {
        method: refused.method.into(),
        reason: refused.reason.into(),
        field: spoken(refused.field),
        caller: refused.caller.map(|caller| identity::required("caller", Some(caller))).transpose()?,
        approval: optional_id("approval_id", &refused.approval_id)?,
        request_id: refused.request_id.into(),
    })
}

fn parse_revealed(revealed: pb::Revealed) -> Result<Revealed, Malformed> {
    Ok(Revealed {
        approval: id("approval_id", &revealed.approval_id)?,
        to: identity::required("to", revealed.to)?,
        request_id: revealed.request_id.into(),
    })
}

pub(super) fn bytes(field: &str, bytes: &[u8]) -> Result<[u8; 32], Malformed> {
    bytes.try_into().map_err(|_| Malformed::new(field, "expected 32 bytes"))
}

fn id<T: std::str::FromStr>(field: &str, text: &str) -> Result<T, Malformed> {
    text.parse().map_err(|_| Malformed::new(field, "not an id of this service"))
}

fn optional_id<T: std::str::FromStr>(field: &str, text: &str) -> Result<Option<T>, Malformed> {
    (!text.is_empty()).then(|| id(field, text)).transpose()
}
