//! A call as a span, as OpenTelemetry's conventions for RPC have it: part of the trace that the caller began (W3C Trace Context), with
//! the ids that a log line needs, and nothing of what was asked. A denial is an answer, not an error.

use std::sync::LazyLock;

use opentelemetry::propagation::{Extractor, TextMapPropagator};
use opentelemetry::trace::TraceContextExt;
use opentelemetry_sdk::propagation::TraceContextPropagator;
use tonic::metadata::{KeyRef, MetadataMap};
use tonic::{Code, Status};
use tracing::{Span, field};
use tracing_opentelemetry::OpenTelemetrySpanExt;

use super::call::TRACE_PARENT;

static PROPAGATOR: LazyLock<TraceContextPropagator> = LazyLock::new(TraceContextPropagator::new);

/// The span of a call of `method`, such as `Authorize`.
pub fn span(method: &'static str, request_id: &str, metadata: &MetadataMap) -> Span {
    let span = tracing::info_span!(
        target: "countersign::calls",
        "call",
        otel.name = method,
        otel.kind = "server",
        otel.status_code = field::Empty,
        rpc.system = "grpc",
        rpc.method = method,
        rpc.grpc.status_code = field::Empty,
        request.id = request_id,
        trace.id = field::Empty,
        decision.id = field::Empty,
    );
    if span.is_disabled() {
        return span;
    }
    if metadata.contains_key(TRACE_PARENT) {
        // Refused where no collector is configured; then there is no trace to be part of.
        let _ = span.set_parent(PROPAGATOR.extract(&Headers(metadata)));
    }
    let context = span.context();
    let context = context.span().span_context().clone();
    if context.is_valid() {
        span.record("trace.id", field::display(context.trace_id()));
    }
    span
}

/// Notes how a call ended. Only what is the server's fault is an error of its span.
pub fn ended(span: &Span, status: Result<(), &Status>) {
    let code = status.map_or_else(Status::code, |()| Code::Ok);
    span.record("rpc.grpc.status_code", code as i32);
    if is_our_fault(code) {
        span.record("otel.status_code", "ERROR");
    }
}

/// Names the decision that the current call came to.
pub fn decided(decision_id: &str) {
    Span::current().record("decision.id", decision_id);
}

/// Of a server's span (OpenTelemetry, semantic conventions for gRPC).
fn is_our_fault(code: Code) -> bool {
    match code {
        Code::Unknown
        | Code::DeadlineExceeded
        | Code::Unimplemented
        | Code::Internal
        | Code::Unavailable
        | Code::DataLoss => true,
        Code::Ok
        | Code::Cancelled
        | Code::InvalidArgument
        | Code::NotFound
        | Code::AlreadyExists
        | Code::PermissionDenied
        | Code::ResourceExhausted
        | Code::FailedPrecondition
        | Code::Aborted
        | Code::OutOfRange
        | Code::Unauthenticated => false,
    }
}

struct Headers<'a>(&'a MetadataMap);

impl Extractor for Headers<'_> {
    fn get(&self, key: &str) -> Option<&str> {
        self.0.get(key).and_then(|value| value.to_str().ok())
    }

    fn keys(&self) -> Vec<&str> {
        let ascii =
            self.0.keys().filter_map(|key| if let KeyRef::Ascii(key) = key { Some(key.as_str()) } else { None });
        ascii.collect()
    }
}
