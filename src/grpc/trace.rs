//! A call as a span, as OpenTelemetry's conventions for RPC have it: part of the trace that the caller began (W3C Trace Context), with
//! the ids that a log line needs, and nothing of what was asked. A denial is an answer, not an error.

use std::collections::HashMap;
use std::sync::LazyLock;

use opentelemetry::Context;
use opentelemetry::propagation::{Extractor, TextMapPropagator};
use opentelemetry::trace::TraceContextExt;
use opentelemetry_sdk::propagation::TraceContextPropagator;
use tonic::Code;
use tonic::metadata::{KeyRef, MetadataMap};
use tracing::{Span, field};
use tracing_opentelemetry::OpenTelemetrySpanExt;

use super::call::TRACE_PARENT;
use crate::domain::TraceParent;

static PROPAGATOR: LazyLock<TraceContextPropagator> = LazyLock::new(TraceContextPropagator::new);

/// What is called.
#[derive(Debug, Clone, Copy)]
pub struct Method {
    /// In full, such as `countersign.v1.DecisionPoint`.
    pub service: &'static str,
    /// Such as `Authorize`.
    pub name: &'static str,
}

/// Whose trace a caller says its call is part of. It is believed once the caller is known: strangers do not decide what is
/// traced.
#[derive(Default)]
pub struct Parent(Option<Box<Context>>);

impl Parent {
    /// Makes the span part of it, or of a trace of its own where there is none. Before the span is entered. What the call
    /// leads to is part of what is returned: the span's place, or the caller's where no collector is configured here.
    pub fn adopt(self, span: &Span) -> Option<TraceParent> {
        if let Some(context) = &self.0 {
            // Refused where no collector is configured; then there is no trace to be part of.
            let _ = span.set_parent((**context).clone());
        }
        let own = span.context();
        if own.span().span_context().is_valid() {
            span.record("trace.id", field::display(own.span().span_context().trace_id()));
            return sampled(&own);
        }
        self.0.and_then(|theirs| sampled(&theirs))
    }
}

/// `None` where nobody would find it: the call is not sampled.
fn sampled(context: &Context) -> Option<TraceParent> {
    if !context.span().span_context().is_sampled() {
        return None;
    }
    let mut headers = HashMap::new();
    PROPAGATOR.inject_context(context, &mut headers);
    headers.remove(TRACE_PARENT).map(|text| TraceParent(text.into()))
}

/// The span of a call. It is there at every level of logging: its ids are what a warning is found by.
pub fn span(method: Method, request_id: &str, metadata: &MetadataMap) -> (Span, Parent) {
    let span = tracing::error_span!(
        target: "countersign::calls",
        "call",
        otel.name = method.name,
        otel.kind = "server",
        otel.status_code = field::Empty,
        rpc.system = "grpc",
        rpc.service = method.service,
        rpc.method = method.name,
        rpc.grpc.status_code = field::Empty,
        request.id = request_id,
        trace.id = field::Empty,
        decision.id = field::Empty,
    );
    if !metadata.contains_key(TRACE_PARENT) {
        return (span, Parent::default());
    }
    let context = PROPAGATOR.extract(&Headers(metadata));
    let said = context.span().span_context().clone();
    if !said.is_valid() {
        return (span, Parent::default());
    }
    // Also where no collector is configured: others have theirs.
    span.record("trace.id", field::display(said.trace_id()));
    (span, Parent(Some(Box::new(context))))
}

/// Notes how a call ended. Only what is the server's fault is an error of its span.
pub fn ended(span: &Span, code: Code) {
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
