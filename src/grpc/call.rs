//! What every call brings: a bearer token and a request id in its metadata, and the certificate of its connection.

use std::sync::Arc;

use tonic::metadata::{Ascii, MetadataMap, MetadataValue};
use tonic::{Code, Request, Response, Status};
use tracing::Span;
use uuid::Uuid;

use super::about::About;
use super::connection::Peer;
use super::deadline::Deadline;
use super::status::status;
use super::trace::{self, Method, Parent};
use crate::domain::{ApprovalId, Refused};
use crate::identity::{self, ClientCertificate};
use crate::service::{Caller, Refusal, RequestId, Service};

const REQUEST_ID: &str = "x-request-id";
pub(super) const TRACE_PARENT: &str = "traceparent";
/// Longer ids are replaced: they go into every record.
const REQUEST_ID_BYTES_MAX: usize = 128;

/// One call, before anything is known of it but its metadata. One that is dropped before it came to an end was cancelled: its
/// client went away.
pub struct Call {
    method: Method,
    approval: Option<ApprovalId>,
    request_id: RequestId,
    trace_parent: Option<MetadataValue<Ascii>>,
    credential: Credential,
    certificate: Option<Arc<ClientCertificate>>,
    deadline: Option<Deadline>,
    span: Span,
    parent: Parent,
    ended: bool,
}

/// What the metadata say of who calls.
enum Credential {
    Absent,
    Token(String),
    /// Something, but not one bearer token.
    Unusable,
}

impl Call {
    pub fn new<T: About>(method: Method, request: &Request<T>) -> Self {
        let metadata = request.metadata();
        let request_id = request_id(metadata);
        let (span, parent) = trace::span(method, &request_id.0, metadata);
        Self {
            method,
            approval: request.get_ref().approval(),
            span,
            parent,
            ended: false,
            deadline: request.extensions().get::<Deadline>().copied(),
            request_id,
            trace_parent: metadata.get(TRACE_PARENT).cloned(),
            credential: credential(metadata),
            certificate: request.extensions().get::<Peer>().and_then(|peer| peer.certificate.clone()),
        }
    }

    /// What happens within it is part of its trace, and its log lines have its ids. It may be entered once the caller is known:
    /// whose trace it is part of cannot be said later.
    pub fn span(&self) -> Span {
        self.span.clone()
    }

    pub fn deadline(&self) -> Option<Deadline> {
        self.deadline
    }

    /// Authenticates the caller, and takes its word on the trace. The token is not kept for the rest of the call, which may wait
    /// for long.
    pub async fn caller(&mut self, service: &Service) -> Result<Caller, Refusal> {
        let credential = std::mem::replace(&mut self.credential, Credential::Absent);
        let caller = self.proven(credential, service).await?;
        Ok(caller.traced(std::mem::take(&mut self.parent).adopt(&self.span)))
    }

    /// A token is the caller's word on who it is; the certificate then only lets the connection in. INVARIANT: a word that
    /// is no good is never replaced by the certificate's.
    async fn proven(&self, credential: Credential, service: &Service) -> Result<Caller, Refusal> {
        let missing = || Refusal::Unauthenticated(identity::Reason::MissingToken.into());
        let request_id = self.request_id.clone();
        match (credential, &self.certificate) {
            (Credential::Token(token), certificate) => {
                let caller = service.authenticate(&token, request_id).await?;
                match certificate {
                    Some(certificate) => service.let_in(caller, certificate),
                    None => Ok(caller),
                }
            }
            (Credential::Absent, Some(certificate)) => service.recognise(certificate, request_id),
            (Credential::Absent, None) | (Credential::Unusable, _) => Err(missing()),
        }
    }

    /// Puts a refusal on record, where it is about the call, and says it in gRPC.
    pub fn refuse(&mut self, service: &Service, caller: Option<&Caller>, refusal: &Refusal) -> Status {
        let mut status = self.span.in_scope(|| {
            let refused = || refused(self.method.name, caller, self.approval, &self.request_id, refusal);
            service.note_refusal(refusal, refused);
            status(refusal)
        });
        self.end(status.code());
        self.stamp(status.metadata_mut());
        status
    }

    /// The answer, with the call's own ids.
    pub fn respond<T>(&mut self, message: T) -> Response<T> {
        let mut response = Response::new(message);
        self.end(Code::Ok);
        self.stamp(response.metadata_mut());
        response
    }

    fn end(&mut self, code: Code) {
        self.ended = true;
        trace::ended(&self.span, code);
    }

    fn stamp(&self, metadata: &mut MetadataMap) {
        // An id that came as metadata fits into metadata, and so do ours.
        if let Ok(value) = self.request_id.0.parse() {
            metadata.insert(REQUEST_ID, value);
        }
        if let Some(trace) = &self.trace_parent {
            metadata.insert(TRACE_PARENT, trace.clone());
        }
    }
}

impl Drop for Call {
    fn drop(&mut self) {
        if !self.ended {
            self.end(Code::Cancelled);
        }
    }
}

/// The record of a refusal.
pub fn refused(
    method: &str,
    caller: Option<&Caller>,
    approval: Option<ApprovalId>,
    request_id: &RequestId,
    refusal: &Refusal,
) -> Refused {
    Refused {
        method: method.into(),
        reason: refusal.reason().into(),
        field: refusal.field().map(Into::into),
        caller: caller.map(|caller| caller.identity().clone()),
        approval,
        request_id: request_id.0.clone(),
    }
}

fn request_id(metadata: &MetadataMap) -> RequestId {
    let theirs = metadata.get(REQUEST_ID).and_then(|value| value.to_str().ok());
    let usable = theirs.filter(|id| !id.is_empty() && id.len() <= REQUEST_ID_BYTES_MAX);
    RequestId(usable.map_or_else(|| Uuid::now_v7().simple().to_string().into(), Into::into))
}

/// The token of `authorization: Bearer <token>` (RFC 6750); the scheme in any case, one header only.
fn credential(metadata: &MetadataMap) -> Credential {
    let headers: Vec<_> = metadata.get_all("authorization").iter().collect();
    let bearer = |header: &MetadataValue<Ascii>| {
        let (scheme, token) = header.to_str().ok()?.split_once(' ')?;
        (scheme.eq_ignore_ascii_case("bearer") && !token.is_empty()).then(|| token.to_owned())
    };
    match &*headers {
        [] => Credential::Absent,
        [header] => bearer(header).map_or(Credential::Unusable, Credential::Token),
        [..] => Credential::Unusable,
    }
}
