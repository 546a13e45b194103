//! Identities.

use std::sync::Arc;

use super::transition::spoken;
use super::value::{parse_uid, required_uid};
use super::{Malformed, pb};
use crate::domain::{Credential, Fingerprint, Identity, Proof, ProofMethod, Timestamp};

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
            proof_method: method(identity.proof.method).into(),
            proof_expires_at_micros: identity.proof.expires_at.as_micros(),
            authenticated_at_micros: identity.proof.authenticated_at.map_or(0, Timestamp::as_micros),
            credential: identity.proof.credential.as_deref().map(Into::into),
            certificate_sha256: fingerprint(identity.proof.method),
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
            method: parse_method(identity.proof_method, &identity.certificate_sha256)
                .ok_or_else(missing("proof_method"))?,
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

fn method(method: ProofMethod) -> pb::ProofMethod {
    match method {
        ProofMethod::Token => pb::ProofMethod::Token,
        ProofMethod::Certificate(_) => pb::ProofMethod::Certificate,
        ProofMethod::Asserted => pb::ProofMethod::Asserted,
        ProofMethod::Service => pb::ProofMethod::Service,
        ProofMethod::Chat => pb::ProofMethod::Chat,
    }
}

fn fingerprint(method: ProofMethod) -> Vec<u8> {
    match method {
        ProofMethod::Certificate(Fingerprint(bytes)) => bytes.into(),
        ProofMethod::Token | ProofMethod::Asserted | ProofMethod::Service | ProofMethod::Chat => Vec::new(),
    }
}

/// A fingerprint belongs to a certificate, and to nothing else.
fn parse_method(number: i32, fingerprint: &[u8]) -> Option<ProofMethod> {
    // An unknown number is `None`, and whoever reads the record is told so.
    match (pb::ProofMethod::try_from(number).ok()?, fingerprint) {
        (pb::ProofMethod::Certificate, bytes) => bytes.try_into().ok().map(Fingerprint).map(ProofMethod::Certificate),
        (pb::ProofMethod::Token, []) => Some(ProofMethod::Token),
        (pb::ProofMethod::Asserted, []) => Some(ProofMethod::Asserted),
        (pb::ProofMethod::Service, []) => Some(ProofMethod::Service),
        (pb::ProofMethod::Chat, []) => Some(ProofMethod::Chat),
        (
            pb::ProofMethod::Unspecified
            | pb::ProofMethod::Token
            | pb::ProofMethod::Asserted
            | pb::ProofMethod::Service
            | pb::ProofMethod::Chat,
            _,
        ) => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn how_an_identity_was_proved_survives_the_record() {
        let all = [
            ProofMethod::Token,
            ProofMethod::Certificate(Fingerprint([7; 32])),
            ProofMethod::Asserted,
            ProofMethod::Service,
            ProofMethod::Chat,
        ];
        for proved in all {
            assert_eq!(parse_method(method(proved).into(), &fingerprint(proved)), Some(proved));
        }
        assert_eq!(parse_method(pb::ProofMethod::Certificate.into(), &[]), None);
        assert_eq!(parse_method(pb::ProofMethod::Certificate.into(), &[7; 31]), None);
        assert_eq!(parse_method(pb::ProofMethod::Token.into(), &[7; 32]), None);
        assert_eq!(parse_method(99, &[]), None);
    }
}
