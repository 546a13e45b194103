//! Who calls: a verified token or client certificate, turned into an identity for the length of one call.

use std::sync::Arc;

use super::{Refusal, Service};
use crate::domain::{Identity, Timestamp, TraceParent};
use crate::identity::ClientCertificate;

/// Correlates a call with its records and logs; the client's own, or made by the edge.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RequestId(pub Arc<str>);

/// An authenticated caller. INVARIANT: made only from a verified credential.
#[derive(Debug, Clone)]
pub struct Caller {
    pub(super) identity: Arc<Identity>,
    pub(super) expires_at: Timestamp,
    pub(super) request_id: RequestId,
    pub(super) trace_parent: Option<TraceParent>,
}

impl Service {
    /// Verifies a bearer token.
    pub async fn authenticate(&self, token: &str, request_id: RequestId) -> Result<Caller, Refusal> {
        let now = self.shared.store.wall();
        let verified = match self.shared.verifier.verify_now(token, now) {
            Some(verified) => verified?,
            None => self.shared.verifier.verify(token, now).await?,
        };
        Ok(Caller {
            identity: verified.identity().clone(),
            expires_at: verified.expires_at(),
            request_id,
            trace_parent: None,
        })
    }

    /// Recognises a caller that sent no token by the certificate of its connection.
    pub fn recognise(&self, certificate: &ClientCertificate, request_id: RequestId) -> Result<Caller, Refusal> {
        let identity = certificate.identity(self.shared.store.wall())?.clone();
        Ok(Caller { identity, expires_at: certificate.expires_at(), request_id, trace_parent: None })
    }

    /// A caller with a token is let in by the certificate of its connection for as long as that is good.
    pub fn let_in(&self, caller: Caller, certificate: &ClientCertificate) -> Result<Caller, Refusal> {
        certificate.check_time(self.shared.store.wall())?;
        Ok(Caller { expires_at: caller.expires_at.min(certificate.expires_at()), ..caller })
    }
}

impl Service {
    /// Why nothing more is answered to this caller: its credential has expired, or the server stops.
    #[must_use]
    pub fn over(&self, caller: &Caller) -> Option<Refusal> {
        if *self.shared.stopping.borrow() {
            return Some(Refusal::ShuttingDown);
        }
        caller.expires_at.is_due(self.shared.store.wall()).then_some(Refusal::TokenExpired)
    }

    /// Resolves when nothing more is answered to this caller.
    pub async fn until_over(&self, caller: &Caller) {
        let mut stopping = self.shared.stopping.clone();
        while self.over(caller).is_none() {
            let left = self.shared.store.wall().until(caller.expires_at);
            tokio::select! {
                _ = stopping.wait_for(|stopping| *stopping) => return,
                () = tokio::time::sleep(left) => {}
            }
        }
    }
}

impl Caller {
    #[must_use]
    pub fn identity(&self) -> &Arc<Identity> {
        &self.identity
    }

    /// When the caller's credential stops being one.
    #[must_use]
    pub fn expires_at(&self) -> Timestamp {
        self.expires_at
    }

    #[must_use]
    pub fn request_id(&self) -> &RequestId {
        &self.request_id
    }

    /// The same caller in another of its calls.
    #[must_use]
    pub fn with_request_id(&self, request_id: RequestId) -> Self {
        Self { request_id, ..self.clone() }
    }

    /// The same caller, whose call is traced there.
    #[must_use]
    pub fn traced(self, trace_parent: Option<TraceParent>) -> Self {
        Self { trace_parent, ..self }
    }
}
