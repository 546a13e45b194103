//! The one map of refusals to gRPC: code, `ErrorInfo`, field violation. What is internal goes to the log, once, here.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use tonic::{Code, Status};
use tonic_types::{ErrorDetails, StatusExt};
use uuid::Uuid;

use crate::domain::StepUp;
use crate::identity::Reason;
use crate::service::Refusal;
use crate::wire::pb;

/// The `ErrorInfo.domain` of every error.
pub const DOMAIN: &str = "countersign";

pub fn status(refusal: &Refusal) -> Status {
    log(refusal);
    let mut details = ErrorDetails::new();
    details.set_error_info(refusal.reason(), DOMAIN, metadata(refusal));
    if let Some(field) = refusal.field() {
        details.add_bad_request_violation(field, refusal.to_string());
    }
    let again = pushback(refusal);
    if let Some(again) = again {
        details.set_retry_info(Some(again));
    }
    let mut status = Status::with_error_details(code(refusal), refusal.to_string(), details);
    // What gRPC's own retries go by (gRFC A6); a number fits into a header.
    if let Some(Ok(millis)) = again.map(|again| again.as_millis().to_string().parse()) {
        status.metadata_mut().insert(PUSHBACK, millis);
    }
    status
}

const PUSHBACK: &str = "grpc-retry-pushback-ms";

/// When to ask again, where asking again may help and nothing but time must change. Never the same for all: those who were
/// turned away together would come back together.
fn pushback(refusal: &Refusal) -> Option<Duration> {
    let (least, most) = match refusal {
        // By when there is room is known, and nobody else waits for the same.
        Refusal::TooFast { retry_after, .. } => return Some(*retry_after),
        // By then the client has another connection, or there is another server.
        Refusal::ShuttingDown | Refusal::WaitBrokenOff(_) => (200, 5_000),
        Refusal::OverQuota { retry_after, .. } => return Some(*retry_after),
        Refusal::Exhausted { .. } | Refusal::Overloaded | Refusal::Busy { .. } => (500, 2_000),
        Refusal::LowMemory => (1_000, 5_000),
        // The same text takes as long again.
        Refusal::MaskingTimeout { .. } => return None,
        Refusal::KeysUnavailable(_) | Refusal::Unavailable(_) => (500, 5_000),
        Refusal::Contention | Refusal::PoliciesStale { .. } => (20, 200),
        Refusal::Unauthenticated(_)
        | Refusal::TokenExpired
        | Refusal::StepUp { .. }
        | Refusal::PermissionDenied { .. }
        | Refusal::Invalid { .. }
        | Refusal::NotFound
        | Refusal::Settled(_)
        | Refusal::NotSettled(_)
        | Refusal::TooLate
        | Refusal::RequirementRaised
        | Refusal::KeyReused
        | Refusal::CursorTrimmed
        | Refusal::BindingMismatch
        // There is nobody who would.
        | Refusal::DeadlinePassed
        | Refusal::Sealed(_)
        | Refusal::Internal(_) => return None,
    };
    // The last bytes of a version 7 id are random.
    let random = Uuid::now_v7().as_u128() as u16;
    Some(Duration::from_millis(least + (most - least) * u64::from(random) / u64::from(u16::MAX)))
}

/// The same for one item of a batch or stream.
pub fn item_error(refusal: &Refusal) -> pb::Error {
    log(refusal);
    pb::Error {
        code: code(refusal).into(),
        reason: refusal.reason().into(),
        message: refusal.to_string(),
        field: refusal.field().unwrap_or_default().into(),
    }
}

pub fn code(refusal: &Refusal) -> Code {
    match refusal {
        Refusal::Unauthenticated(_) | Refusal::TokenExpired | Refusal::StepUp { .. } => Code::Unauthenticated,
        Refusal::PermissionDenied { .. } => Code::PermissionDenied,
        Refusal::Invalid { .. } => Code::InvalidArgument,
        Refusal::NotFound => Code::NotFound,
        Refusal::Settled(_)
        | Refusal::NotSettled(_)
        | Refusal::TooLate
        | Refusal::KeyReused
        | Refusal::CursorTrimmed
        | Refusal::Sealed(_)
        | Refusal::PoliciesStale { .. }
        | Refusal::RequirementRaised => Code::FailedPrecondition,
        Refusal::BindingMismatch | Refusal::Contention => Code::Aborted,
        Refusal::Exhausted { .. }
        | Refusal::TooFast { .. }
        | Refusal::OverQuota { .. }
        | Refusal::LowMemory
        | Refusal::Overloaded => Code::ResourceExhausted,
        Refusal::MaskingTimeout { .. } => Code::DeadlineExceeded,
        Refusal::KeysUnavailable(_)
        | Refusal::Unavailable(_)
        | Refusal::Busy { .. }
        | Refusal::ShuttingDown
        | Refusal::WaitBrokenOff(_) => Code::Unavailable,
        Refusal::DeadlinePassed => Code::DeadlineExceeded,
        Refusal::Internal(_) => Code::Internal,
    }
}

fn metadata(refusal: &Refusal) -> HashMap<String, String> {
    match refusal {
        Refusal::Settled(state) | Refusal::NotSettled(state) => [("state".into(), state.name().to_uppercase())].into(),
        Refusal::WaitBrokenOff(approval) => [("approval_id".into(), approval.to_string())].into(),
        Refusal::Exhausted { limit, .. } | Refusal::TooFast { limit, .. } => [("limit".into(), (*limit).into())].into(),
        Refusal::OverQuota { .. } => [("limit".into(), "calls_per_second".into())].into(),
        Refusal::Busy { kind, why } => [("kind".into(), kind.name().into()), ("why".into(), why.name().into())].into(),
        Refusal::StepUp { demand, .. } => {
            challenge(Some("insufficient_user_authentication")).chain(step_up(demand)).collect()
        }
        Refusal::Unauthenticated(refusal) if refusal.reason == Reason::MissingToken => challenge(None).collect(),
        Refusal::Unauthenticated(refusal) if refusal.reason.is_of_token() => challenge(INVALID_TOKEN).collect(),
        Refusal::TokenExpired => challenge(INVALID_TOKEN).collect(),
        Refusal::PoliciesStale { revision } => [("policy_revision".into(), revision.to_string())].into(),
        Refusal::Unauthenticated(_)
        | Refusal::KeysUnavailable(_)
        | Refusal::PermissionDenied { .. }
        | Refusal::Invalid { .. }
        | Refusal::NotFound
        | Refusal::TooLate
        | Refusal::RequirementRaised
        | Refusal::KeyReused
        | Refusal::CursorTrimmed
        | Refusal::BindingMismatch
        | Refusal::Contention
        | Refusal::MaskingTimeout { .. }
        | Refusal::Overloaded
        | Refusal::LowMemory
        | Refusal::Unavailable(_)
        | Refusal::DeadlinePassed
        | Refusal::ShuttingDown
        | Refusal::Sealed(_)
        | Refusal::Internal(_) => HashMap::new(),
    }
}

/// What a client asks its issuer for, by the names of RFC 9470: `max_age` in seconds, `acr_values` with spaces between.
fn step_up(demand: &StepUp) -> impl Iterator<Item = (String, String)> {
    let max_age = demand.max_authentication_age.map(|age| ("max_age".to_owned(), age.as_secs().to_string()));
    let listed = |name: &str, values: &[Arc<str>]| (!values.is_empty()).then(|| (name.to_owned(), values.join(" ")));
    [max_age, listed("acr_values", &demand.acr), listed("amr_values", &demand.amr)].into_iter().flatten()
}

const INVALID_TOKEN: Option<&str> = Some("invalid_token");

/// What `WWW-Authenticate` says where there is HTTP: the scheme that is taken here, and the error by the names of RFC 6750
/// section 3.1 and RFC 9470, where something was shown.
fn challenge(error: Option<&str>) -> impl Iterator<Item = (String, String)> {
    let scheme = Some(("scheme".to_owned(), "Bearer".to_owned()));
    [scheme, error.map(|error| ("error".to_owned(), error.to_owned()))].into_iter().flatten()
}

fn log(refusal: &Refusal) {
    match refusal {
        Refusal::Internal(source) => tracing::error!(error = %chain(source.as_ref()), "internal error"),
        Refusal::Sealed(source) => tracing::error!(error = %chain(source.as_ref()), "a record cannot be opened"),
        Refusal::Unavailable(source) => tracing::warn!(error = %chain(source.as_ref()), "cannot answer safely"),
        _ => {}
    }
}

fn chain(error: &dyn std::error::Error) -> String {
    let causes = std::iter::successors(Some(error), |error| error.source());
    causes.map(ToString::to_string).collect::<Vec<_>>().join(": ")
}
