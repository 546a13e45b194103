//! Facts about what decisions are made with: policies that were read again, entities that were changed.

use std::sync::Arc;

use super::record::bytes;
use super::{Malformed, identity, pb, value};
use crate::domain::{EntitiesChanged, PoliciesReloaded, PolicyDigest, ReloadCause, ReloadOutcome};

impl From<&PoliciesReloaded> for pb::PoliciesReloaded {
    fn from(reloaded: &PoliciesReloaded) -> Self {
        let (cause, by) = match &reloaded.cause {
            ReloadCause::Watch => (pb::ReloadCause::Watch, None),
            ReloadCause::Signal => (pb::ReloadCause::Signal, None),
            ReloadCause::Request(by) => (pb::ReloadCause::Request, Some((&**by).into())),
        };
        let (refused, problems) = match &reloaded.outcome {
            ReloadOutcome::Loaded => (false, Vec::new()),
            ReloadOutcome::Refused(problems) => (true, problems.iter().map(ToString::to_string).collect()),
        };
        Self {
            cause: cause.into(),
            by,
            previous_digest: reloaded.previous.0.to_vec(),
            policy_digest: reloaded.digest.0.to_vec(),
            refused,
            problems,
            request_id: reloaded.request_id.to_string(),
        }
    }
}

pub(super) fn parse_reloaded(reloaded: pb::PoliciesReloaded) -> Result<PoliciesReloaded, Malformed> {
    let cause = match (pb::ReloadCause::try_from(reloaded.cause), reloaded.by) {
        (Ok(pb::ReloadCause::Watch), None) => ReloadCause::Watch,
        (Ok(pb::ReloadCause::Signal), None) => ReloadCause::Signal,
        (Ok(pb::ReloadCause::Request), by) => ReloadCause::Request(identity::required("by", by)?),
        (Ok(_) | Err(_), _) => return Err(Malformed::new("cause", "missing or unknown")),
    };
    let problems = reloaded.problems.into_iter().map(Into::into).collect();
    Ok(PoliciesReloaded {
        cause,
        previous: PolicyDigest(bytes("previous_digest", &reloaded.previous_digest)?),
        digest: PolicyDigest(bytes("policy_digest", &reloaded.policy_digest)?),
        outcome: if reloaded.refused { ReloadOutcome::Refused(problems) } else { ReloadOutcome::Loaded },
        request_id: reloaded.request_id.into(),
    })
}

impl From<&EntitiesChanged> for pb::EntitiesChanged {
    fn from(changed: &EntitiesChanged) -> Self {
        Self {
            by: changed.by.as_deref().map(Into::into),
            put: changed.put.iter().map(|entity| (&**entity).into()).collect(),
            deleted: changed.deleted.iter().map(Into::into).collect(),
            request_id: changed.request_id.to_string(),
            version: changed.version,
            more_follows: changed.more_follows,
        }
    }
}

pub(super) fn parse_changed(changed: pb::EntitiesChanged) -> Result<EntitiesChanged, Malformed> {
    Ok(EntitiesChanged {
        by: changed.by.map(|by| identity::required("by", Some(by))).transpose()?,
        put: value::recorded_entities("put", changed.put)?.into_iter().map(Arc::new).collect(),
        deleted: changed.deleted.into_iter().map(value::parse_uid).collect::<Result<_, _>>()?,
        request_id: changed.request_id.into(),
        version: changed.version,
        more_follows: changed.more_follows,
    })
}
