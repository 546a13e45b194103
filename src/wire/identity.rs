//! Identities.

use std::sync::Arc;

use super::transition::spoken;
use super::value::{parse_uid, required_uid};
use super::{Malformed, pb};
use crate::domain::{Credential, Identity, Proof, Timestamp};

/// How long a chain of delegation may be on record; the edge refuses much shorter ones already.
const CHAIN_MAX: usize = 8;

impl From<&Identity> for pb::Identity {
    fn from(identity: &Identity) -> Self {
        Self {
            uid: Some((&identity.uid).into()),
            kind: pb::PrincipalKind::from(identity.kind).into(),
            groups: identity.groups.iter().map(Into::into).collect(),
            issuer: identity.issuer.to_string(),
            subject: identity.subject.to_string(),
            display_name: identity.display_name.as_deref().unwrap_or_default().into(),
            on_behalf_of: identity.on_behalf_of.as_deref().map(|human| Box::new(human.into())),
            earlier_actors: identity.earlier_actors.iter().map(ToString::to_string).collect(),
            proof_method: pb::ProofMethod::from(identity.proof.method).into(),
            proof_expires_at_micros: identity.proof.expires_at.as_micros(),
            authenticated_at_micros: identity.proof.authenticated_at.map_or(0, Timestamp::as_micros),
            credential: identity.proof.credential.as_deref().map(Into::into),
        }
    }
}

impl From<&Credential> for pb::Credential {
    fn from(credential: &Credential) -> Self {
        let said = |text: &Option<Arc<str>>| text.as_deref().unwrap_or_default().to_owned();
        Self {
            issuer_name: credential.issuer_name.to_string(),
            issuer_spelt: credential.issuer_spelt.to_string(),
            profile: credential.profile.to_string(),
            algorithm: credential.algorithm.to_string(),
            key_id: said(&credential.key_id),
            token_id: said(&credential.token_id),
            client: said(&credential.client),
            issued_at_micros: credential.issued_at.map_or(0, Timestamp::as_micros),
            acr: said(&credential.acr),
            amr: credential.amr.iter().map(ToString::to_string).collect(),
        }
    }
}

pub(super) fn required(field: &str, identity: Option<pb::Identity>) -> Result<Arc<Identity>, Malformed> {
    let identity = identity.ok_or_else(|| Malformed::new(field, "missing"))?;
    parse(identity, CHAIN_MAX).map(Arc::new).map_err(|malformed| malformed.within(field))
}

fn parse(identity: pb::Identity, chain: usize) -> Result<Identity, Malformed> {
    let missing = |field: &'static str| move || Malformed::new(field, "missing or unknown");
    let on_behalf_of = match identity.on_behalf_of {
        None => None,
        Some(_) if chain == 0 => return Err(Malformed::new("on_behalf_of", "chain of delegation too long")),
        Some(human) => Some(Box::new(parse(*human, chain - 1)?)),
    };
    Ok(Identity {
        uid: required_uid("uid", identity.uid)?,
        kind: pb::PrincipalKind::parse(identity.kind).ok_or_else(missing("kind"))?,
        groups: identity.groups.into_iter().map(parse_uid).collect::<Result<_, _>>()?,
        issuer: identity.issuer.into(),
        subject: identity.subject.into(),
        display_name: (!identity.display_name.is_empty()).then(|| identity.display_name.into()),
        on_behalf_of,
        earlier_actors: identity.earlier_actors.into_iter().map(Into::into).collect(),
        proof: Proof {
            method: pb::ProofMethod::parse(identity.proof_method).ok_or_else(missing("proof_method"))?,
            expires_at: Timestamp::from_micros(identity.proof_expires_at_micros),
            authenticated_at: moment(identity.authenticated_at_micros),
            credential: identity.credential.map(parse_credential).map(Arc::new),
        },
    })
}

fn parse_credential(credential: pb::Credential) -> Credential {
    Credential {
        issuer_name: credential.issuer_name.into(),
        issuer_spelt: credential.issuer_spelt.into(),
        profile: credential.profile.into(),
        algorithm: credential.algorithm.into(),
        key_id: spoken(credential.key_id),
        token_id: spoken(credential.token_id),
        client: spoken(credential.client),
        issued_at: moment(credential.issued_at_micros),
        acr: spoken(credential.acr),
        amr: credential.amr.into_iter().map(Into::into).collect(),
    }
}

fn moment(micros: i64) -> Option<Timestamp> {
    (micros != 0).then(|| Timestamp::from_micros(micros))
}
