//! A client of the service, as the command line and the demo use it: a token on every call, and errors with what the
//! server says beyond the code. It shows nobody `tonic`.

use std::collections::BTreeMap;
use std::fmt;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use futures_util::{Stream, StreamExt};
use http::Uri;
use tonic::metadata::{Ascii, MetadataValue};
use tonic::service::Interceptor;
use tonic::service::interceptor::InterceptedService;
use tonic::transport::{Certificate, Channel, ClientTlsConfig, Endpoint};
use tonic::{Request, Response, Status};
use tonic_health::pb::HealthCheckRequest;
use tonic_health::pb::health_check_response::ServingStatus;
use tonic_health::pb::health_client::HealthClient;
use tonic_types::StatusExt;
use tower::service_fn;

use super::generated::administration_client::AdministrationClient;
use super::generated::decision_point_client::DecisionPointClient;
use super::local;
use super::tls::Files;
use crate::wire::pb;

const CONNECT_TIMEOUT: Duration = Duration::from_secs(5);
/// How long any call but a stream may take: longer than the longest `wait`.
const CALL_TIMEOUT: Duration = Duration::from_secs(70);
/// Container runtimes give up at about this.
const HEALTH_TIMEOUT: Duration = Duration::from_secs(5);
/// Silence after which the connection is probed, so that a stream notices a peer that vanished.
const KEEPALIVE: Duration = Duration::from_secs(20);
/// Bytes of one answer: a page of 200 approvals, each with a large context.
const ANSWER_BYTES_MAX: usize = 64 << 20;

/// Why a call has no answer.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{message}")]
pub struct CallError {
    pub code: Code,
    /// `ErrorInfo.reason`; empty where the server says none.
    pub reason: String,
    pub message: String,
    /// The field at fault.
    pub field: Option<String>,
    pub metadata: BTreeMap<String, String>,
}

/// The gRPC codes that this API speaks.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Code {
    Unauthenticated,
    PermissionDenied,
    InvalidArgument,
    NotFound,
    FailedPrecondition,
    Aborted,
    ResourceExhausted,
    Unavailable,
    /// Nobody answers at the address.
    Unreachable,
    DeadlineExceeded,
    Other,
}

/// A bearer token. Never printed.
#[derive(Clone, PartialEq, Eq)]
pub struct BearerToken(MetadataValue<Ascii>);

impl fmt::Debug for BearerToken {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("***")
    }
}

impl BearerToken {
    /// `None` if the text cannot be a token.
    #[must_use]
    pub fn new(token: &str) -> Option<Self> {
        let token = token.trim();
        let is_token = !token.is_empty() && token.bytes().all(|byte| byte.is_ascii_graphic());
        let mut value: MetadataValue<Ascii> = format!("Bearer {token}").parse().ok().filter(|_| is_token)?;
        value.set_sensitive(true);
        Some(Self(value))
    }
}

/// What a client believes, and shows. PEM, all of it.
#[derive(Clone, Default)]
pub struct Tls {
    /// Whose certificates a server may have; `None`: what this system trusts.
    pub ca: Option<Vec<u8>>,
    /// The client's certificate and its key.
    pub identity: Option<(Vec<u8>, Vec<u8>)>,
}

impl Tls {
    fn config(self) -> ClientTlsConfig {
        let config = ClientTlsConfig::new();
        let config = match self.ca {
            Some(ca) => config.ca_certificate(Certificate::from_pem(ca)),
            None => config.with_native_roots(),
        };
        match self.identity {
            Some((certificate, key)) => config.identity(tonic::transport::Identity::from_pem(certificate, key)),
            None => config,
        }
    }
}

#[derive(Clone)]
struct Bearer(Option<BearerToken>);

impl Interceptor for Bearer {
    fn call(&mut self, mut request: Request<()>) -> Result<Request<()>, Status> {
        if let Some(BearerToken(value)) = &self.0 {
            request.metadata_mut().insert("authorization", value.clone());
        }
        Ok(request)
    }
}

/// A connection to one server, as one caller.
#[derive(Clone)]
pub struct Client {
    channel: Channel,
    inner: DecisionPointClient<InterceptedService<Channel, Bearer>>,
    administration: AdministrationClient<InterceptedService<Channel, Bearer>>,
}

macro_rules! unary {
    ($service:ident: $($(#[$doc:meta])* $name:ident($request:ident) -> $answer:ident;)+) => {
        impl Client {
            $(
                $(#[$doc])*
                ///
                /// # Errors
                /// [`CallError`].
                pub async fn $name(&self, message: pb::$request) -> Result<pb::$answer, CallError> {
                    let mut request = Request::new(message);
                    request.set_timeout(CALL_TIMEOUT);
                    let answer = self.$service.clone().$name(request).await;
                    answer.map(Response::into_inner).map_err(|status| CallError::from(&status))
                }
            )+
        }
    };
}

unary! {
    inner:
    /// May this be done?
    authorize(AuthorizeRequest) -> AuthorizeResponse;
    /// Votes.
    decide(DecideRequest) -> Approval;
    break_glass(BreakGlassRequest) -> Approval;
    examine_break_glass(ExamineBreakGlassRequest) -> Approval;
    get_approval(GetApprovalRequest) -> Approval;
    list_approvals(ListApprovalsRequest) -> ListApprovalsResponse;
    cancel_approval(CancelApprovalRequest) -> Approval;
    revoke_approval(RevokeApprovalRequest) -> Approval;
    report_outcome(ReportOutcomeRequest) -> Approval;
    start_absence(StartAbsenceRequest) -> Absence;
    end_absence(EndAbsenceRequest) -> EndAbsenceResponse;
    list_absences(ListAbsencesRequest) -> ListAbsencesResponse;
}

unary! {
    administration:
    /// Reads the policies again.
    reload_policies(ReloadPoliciesRequest) -> ReloadPoliciesResponse;
    put_entities(PutEntitiesRequest) -> PutEntitiesResponse;
    delete_entities(DeleteEntitiesRequest) -> DeleteEntitiesResponse;
    list_entities(ListEntitiesRequest) -> ListEntitiesResponse;
    end_sessions(EndSessionsRequest) -> EndSessionsResponse;
}

impl Client {
    /// Connects to a server such as `http://127.0.0.1:7443` or `unix:///run/countersign/grpc.sock`.
    ///
    /// # Errors
    /// [`Code::InvalidArgument`] if it is no address, [`Code::Unreachable`] if nobody answers.
    pub async fn connect(server: &str, token: Option<BearerToken>) -> Result<Self, CallError> {
        Ok(Self::over(reach(server, endpoint(server)?).await?, token))
    }

    /// The same, encrypted: `https://pdp.example:7443`.
    ///
    /// # Errors
    /// Also [`Code::InvalidArgument`] if a PEM file is none, [`Code::Unreachable`] if one side does not believe the other.
    pub async fn connect_tls(server: &str, token: Option<BearerToken>, tls: Tls) -> Result<Self, CallError> {
        let bad = |_| CallError::local(Code::InvalidArgument, "the CA, certificate or key is not good".to_owned());
        let endpoint = endpoint(server)?.tls_config(tls.config()).map_err(bad)?;
        Ok(Self::over(reach(server, endpoint).await?, token))
    }

    /// Connects to the server of this machine that has these files, without believing or proving anything
    /// ([`super::local`]): good for [`Client::is_serving`] only.
    ///
    /// # Errors
    /// [`Code::InvalidArgument`] if the files cannot be read, [`Code::Unreachable`] if nobody answers.
    pub async fn connect_beside(address: SocketAddr, files: &Files) -> Result<Self, CallError> {
        let bad = |reason| CallError::local(Code::InvalidArgument, reason);
        let config = Arc::new(local::config(files).map_err(bad)?);
        let connector = service_fn(move |_: Uri| local::encrypted(address, config.clone()));
        let connected = endpoint(&format!("http://{address}"))?.connect_with_connector(connector).await;
        Ok(Self::over(connected.map_err(|error| unreachable(&format!("https://{address}"), &error))?, None))
    }

    /// Whether a part of the server, or with `""` the whole, says that it is well.
    ///
    /// # Errors
    /// [`CallError`]; [`Code::NotFound`] if there is no such part.
    pub async fn is_serving(&self, part: &str) -> Result<bool, CallError> {
        let mut request = Request::new(HealthCheckRequest { service: part.to_owned() });
        request.set_timeout(HEALTH_TIMEOUT);
        let answer = HealthClient::new(self.channel.clone()).check(request).await;
        Ok(answer.map_err(|status| CallError::from(&status))?.into_inner().status() == ServingStatus::Serving)
    }

    /// The same connection for another caller.
    #[must_use]
    pub fn with_token(&self, token: BearerToken) -> Self {
        Self::over(self.channel.clone(), Some(token))
    }

    fn over(channel: Channel, token: Option<BearerToken>) -> Self {
        let inner = DecisionPointClient::with_interceptor(channel.clone(), Bearer(token.clone()));
        let administration = AdministrationClient::with_interceptor(channel.clone(), Bearer(token));
        Self { channel, inner: inner.max_decoding_message_size(ANSWER_BYTES_MAX), administration }
    }

    /// Everything that happens, from the request's place on.
    ///
    /// # Errors
    /// [`CallError`], at once or from the stream, which then ends.
    pub async fn subscribe(
        &self,
        request: pb::SubscribeRequest,
    ) -> Result<impl Stream<Item = Result<pb::Event, CallError>> + Unpin + use<>, CallError> {
        let stream = self.inner.clone().subscribe(request).await.map_err(|status| CallError::from(&status))?;
        Ok(stream.into_inner().map(|event| event.map_err(|status| CallError::from(&status))))
    }

    /// What happened.
    ///
    /// # Errors
    /// [`CallError`], at once or from the stream, which then ends.
    pub async fn audit(
        &self,
        request: pb::AuditRequest,
    ) -> Result<impl Stream<Item = Result<pb::AuditResponse, CallError>> + Unpin + use<>, CallError> {
        let stream = self.inner.clone().audit(request).await.map_err(|status| CallError::from(&status))?;
        Ok(stream.into_inner().map(|answer| answer.map_err(|status| CallError::from(&status))))
    }
}

fn endpoint(server: &str) -> Result<Endpoint, CallError> {
    let no_address = |_| CallError::local(Code::InvalidArgument, format!("`{server}` is not a server address"));
    let endpoint = Endpoint::from_shared(server.to_owned()).map_err(no_address)?;
    Ok(endpoint
        .connect_timeout(CONNECT_TIMEOUT)
        .http2_keep_alive_interval(KEEPALIVE)
        .keep_alive_while_idle(true)
        .tcp_nodelay(true))
}

async fn reach(server: &str, endpoint: Endpoint) -> Result<Channel, CallError> {
    endpoint.connect().await.map_err(|error| unreachable(server, &error))
}

fn unreachable(server: &str, error: &tonic::transport::Error) -> CallError {
    CallError::local(Code::Unreachable, format!("cannot reach {server}: {}", innermost(error)))
}

fn innermost(error: &dyn std::error::Error) -> String {
    let causes = std::iter::successors(Some(error), |error| error.source());
    causes.last().map(ToString::to_string).unwrap_or_default()
}

impl CallError {
    /// A stream that the server ended without a reason, or that fell silent.
    #[must_use]
    pub fn ended() -> Self {
        Self::local(Code::Unavailable, "the stream ended".to_owned())
    }

    fn local(code: Code, message: String) -> Self {
        Self { code, reason: String::new(), message, field: None, metadata: BTreeMap::new() }
    }
}

impl From<&Status> for CallError {
    fn from(status: &Status) -> Self {
        let info = status.get_details_error_info();
        let violations = status.get_details_bad_request().map(|bad| bad.field_violations).unwrap_or_default();
        let (reason, metadata) = info.map(|info| (info.reason, info.metadata)).unwrap_or_default();
        Self {
            code: code_of(status),
            reason,
            message: status.message().to_owned(),
            field: violations.into_iter().next().map(|violation| violation.field),
            metadata: metadata.into_iter().collect(),
        }
    }
}

fn code_of(status: &Status) -> Code {
    match status.code() {
        tonic::Code::Unauthenticated => Code::Unauthenticated,
        tonic::Code::PermissionDenied => Code::PermissionDenied,
        tonic::Code::InvalidArgument => Code::InvalidArgument,
        tonic::Code::NotFound => Code::NotFound,
        tonic::Code::FailedPrecondition => Code::FailedPrecondition,
        tonic::Code::Aborted => Code::Aborted,
        tonic::Code::ResourceExhausted => Code::ResourceExhausted,
        // Without a word from our server it is the transport that failed.
        tonic::Code::Unavailable if status.get_details_error_info().is_none() => Code::Unreachable,
        tonic::Code::Unavailable => Code::Unavailable,
        tonic::Code::DeadlineExceeded => Code::DeadlineExceeded,
        _ => Code::Other,
    }
}

#[cfg(test)]
mod tests {
    use tonic_types::ErrorDetails;

    use super::*;

    #[test]
    fn what_the_server_says_beyond_the_code_is_kept() {
        let mut details = ErrorDetails::new();
        details.set_error_info("grant_spent", "countersign", [("limit".to_owned(), "x".to_owned())]);
        details.add_bad_request_violation("action.type", "missing");
        let status = Status::with_error_details(tonic::Code::InvalidArgument, "a field is wrong", details);
        let error = CallError::from(&status);
        assert_eq!((error.code, error.reason.as_str()), (Code::InvalidArgument, "grant_spent"));
        assert_eq!(error.field.as_deref(), Some("action.type"));
        assert_eq!(error.metadata.get("limit").map(String::as_str), Some("x"));
    }

    #[test]
    fn unavailable_without_a_word_from_the_server_is_unreachable() {
        assert_eq!(CallError::from(&Status::unavailable("tcp connect error")).code, Code::Unreachable);
        let details = ErrorDetails::with_error_info("journal_unavailable", "countersign", []);
        let status = Status::with_error_details(tonic::Code::Unavailable, "the journal cannot write", details);
        assert_eq!(CallError::from(&status).code, Code::Unavailable);
    }

    #[test]
    fn a_token_is_one_word_and_is_never_shown() {
        assert!(
            BearerToken::new("").is_none() && BearerToken::new("a b").is_none() && BearerToken::new("a\nb").is_none()
        );
        assert_eq!(format!("{:?}", BearerToken::new("secret\n").unwrap()), "***");
    }
}
