//! Why a call is not answered: one enum, two texts. The code, the reason and the message are for the client and hold
//! nothing internal; the source is for the log. `grpc::status` maps every variant to a code, exhaustively.

use std::borrow::Cow;
use std::error::Error;
use std::time::Duration;

use tokio::task::JoinError;

use super::load::{Kind, Why};
use crate::domain::{ApprovalId, ApprovalState, Shortfall, StepUp};
use crate::engine::QueryError;
use crate::identity;
use crate::store::{CommitError, StoreError};

/// Paths and messages quote names of the caller's choice. They go into headers and records, so they are cut.
const FIELD_CHARS_MAX: usize = 200;
const MESSAGE_CHARS_MAX: usize = 500;

#[derive(Debug, thiserror::Error)]
pub enum Refusal {
    /// The credential is no proof of anybody.
    #[error("{0}")]
    Unauthenticated(identity::Refusal),
    /// The keys to check the credential with are out of reach.
    #[error("{0}")]
    KeysUnavailable(identity::Refusal),
    /// The credential was good and has expired during the call.
    #[error("the caller's credential has expired")]
    TokenExpired,
    /// The caller is known, and must log in again to do this (RFC 9470).
    #[error("{}", .shortfall.message())]
    StepUp { shortfall: Shortfall, demand: Box<StepUp> },
    /// Known, and not allowed to ask this.
    #[error("{message}")]
    PermissionDenied { reason: &'static str, message: Cow<'static, str> },
    #[error("{message}")]
    Invalid { field: String, message: Cow<'static, str> },
    /// There is no such approval, or not for this caller.
    #[error("no such approval, or not one that the caller may see")]
    NotFound,
    /// Too late: the approval is settled.
    #[error("the approval is already {}", .0.name())]
    Settled(ApprovalState),
    /// The approval is not in a state in which this can be done.
    #[error("the approval is {}", .0.name())]
    NotSettled(ApprovalState),
    /// Settled so long ago that nothing is added to it.
    #[error("the approval was settled too long ago to be changed")]
    TooLate,
    /// The caller knows of newer policies than this server.
    #[error("the policies here are of revision {revision}, older than demanded; ask again in a moment")]
    PoliciesStale { revision: u64 },
    /// A vote that could make nothing happen.
    #[error("policies changed: more is required today than this approval can give; the requester has to ask again")]
    RequirementRaised,
    #[error("the idempotency key was used for another query")]
    KeyReused,
    /// The journal does not reach back that far any more.
    #[error("the journal no longer has what comes after this cursor; start again without one")]
    CursorTrimmed,
    #[error("the approval is for another binding than the one reviewed; look at it again")]
    BindingMismatch,
    /// Others were faster, again and again.
    #[error("the approval kept changing; try again")]
    Contention,
    #[error("over the limit `{limit}` of {most}")]
    Exhausted { limit: &'static str, most: usize },
    /// Too many within a span.
    #[error("over the limit `{limit}` of {most}; ask again in {} s", .retry_after.as_secs().saturating_add(1))]
    TooFast { limit: &'static str, most: usize, retry_after: Duration },
    /// Nothing of it was masked, and nothing left unmasked.
    #[error(
        "masking took longer than `masking.timeout`, {} s, and nothing more comes out: send less at once, or in pieces with \
         `MaskStream`; if that does not help the server is overloaded or a pattern of `masking.detectors` is slow",
        .timeout.as_secs_f32()
    )]
    MaskingTimeout { timeout: Duration },
    /// The disk is slower than the callers.
    #[error("too many records are waiting for the disk; try again later")]
    Overloaded,
    /// Turned away, so that others are answered in time.
    #[error("the server has too much to do ({}: {}); ask again after a pause, or another replica", .kind.name(), .why.name())]
    Busy { kind: Kind, why: Why },
    /// A caller asks for more than its share.
    #[error("over `limits.calls_per_second`, {most}, of one caller; ask again in {} s", .retry_after.as_secs().saturating_add(1))]
    OverQuota { most: usize, retry_after: Duration },
    #[error(
        "the server's memory is nearly used up, and nothing new is opened; ask again after a pause, or another replica"
    )]
    LowMemory,
    #[error("the server is not able to answer safely at the moment")]
    Unavailable(#[source] Box<dyn Error + Send + Sync>),
    /// The caller no longer waits.
    #[error("the caller's deadline passed; what was begun may have been done: ask again with the same idempotency key")]
    DeadlinePassed,
    #[error("the server is shutting down")]
    ShuttingDown,
    /// The same to a call that waited for people: another server, or this one in a moment, goes on where it was.
    #[error("the server is shutting down; the approval is still pending: ask again with its id")]
    WaitBrokenOff(ApprovalId),
    /// A key is missing, or is another one. Its id is no secret, and whoever may read records may help.
    #[error("{0}")]
    Sealed(#[source] Box<dyn Error + Send + Sync>),
    #[error("internal error")]
    Internal(#[source] Box<dyn Error + Send + Sync>),
}

impl Refusal {
    pub(crate) fn invalid(field: impl Into<String>, message: impl Into<Cow<'static, str>>) -> Self {
        Self::Invalid { field: cut(field.into(), FIELD_CHARS_MAX), message: cut_text(message.into()) }
    }

    pub(crate) fn denied(reason: &'static str, message: impl Into<Cow<'static, str>>) -> Self {
        Self::PermissionDenied { reason, message: message.into() }
    }

    pub(crate) fn unavailable(source: impl Error + Send + Sync + 'static) -> Self {
        Self::Unavailable(Box::new(source))
    }

    /// Of a task that did not come back. INVARIANT: without what it said, which may quote what it worked on.
    pub(crate) fn panicked(_: JoinError) -> Self {
        Self::Internal("a task panicked; the log says where".into())
    }

    /// The stable machine code, as in `ErrorInfo.reason`.
    #[must_use]
    pub fn reason(&self) -> &'static str {
        match self {
            Self::Unauthenticated(refusal) | Self::KeysUnavailable(refusal) => refusal.reason.code(),
            Self::TokenExpired => "expired",
            Self::StepUp { shortfall: Shortfall::TooOld, .. } => "authentication_too_old",
            Self::StepUp { shortfall: Shortfall::TooWeak, .. } => "stronger_authentication_required",
            Self::PermissionDenied { reason, .. } => reason,
            Self::Invalid { .. } => "invalid_argument",
            Self::NotFound => "not_found",
            Self::Settled(_) => "already_settled",
            Self::NotSettled(_) => "wrong_state",
            Self::TooLate => "too_late",
            Self::PoliciesStale { .. } => "policies_stale",
            Self::RequirementRaised => "requirement_raised",
            Self::KeyReused => "idempotency_key_reused",
            Self::CursorTrimmed => "cursor_trimmed",
            Self::BindingMismatch => "binding_mismatch",
            Self::Contention => "contention",
            Self::Exhausted { .. } | Self::TooFast { .. } | Self::OverQuota { .. } => "limit_exceeded",
            Self::Busy { .. } => "busy",
            Self::LowMemory => "low_memory",
            Self::MaskingTimeout { .. } => "masking_timeout",
            Self::Overloaded => "overloaded",
            Self::Unavailable(_) => "unavailable",
            Self::DeadlinePassed => "deadline_exceeded",
            Self::ShuttingDown | Self::WaitBrokenOff(_) => "shutting_down",
            Self::Sealed(_) => "record_sealed",
            Self::Internal(_) => "internal",
        }
    }

    /// The field at fault, where one is.
    #[must_use]
    pub fn field(&self) -> Option<&str> {
        match self {
            Self::Invalid { field, .. } => Some(field),
            Self::KeyReused => Some("idempotency_key"),
            Self::PoliciesStale { .. } => Some("at_least_revision"),
            Self::BindingMismatch => Some("binding"),
            Self::CursorTrimmed => Some("cursor"),
            Self::Unauthenticated(_)
            | Self::KeysUnavailable(_)
            | Self::TokenExpired
            | Self::StepUp { .. }
            | Self::PermissionDenied { .. }
            | Self::NotFound
            | Self::RequirementRaised
            | Self::Settled(_)
            | Self::NotSettled(_)
            | Self::TooLate
            | Self::Contention
            | Self::Exhausted { .. }
            | Self::TooFast { .. }
            | Self::MaskingTimeout { .. }
            | Self::Overloaded
            | Self::Busy { .. }
            | Self::OverQuota { .. }
            | Self::LowMemory
            | Self::Unavailable(_)
            | Self::DeadlinePassed
            | Self::ShuttingDown
            | Self::WaitBrokenOff(_)
            | Self::Sealed(_)
            | Self::Internal(_) => None,
        }
    }

    /// Whether it says nothing of the call but that there are too many. Those are counted and not recorded: a record of each
    /// would be work for the disk, and that for whoever asks too much.
    #[must_use]
    pub fn is_of_load(&self) -> bool {
        matches!(self, Self::Busy { .. } | Self::OverQuota { .. } | Self::LowMemory)
    }
}

fn cut(mut text: String, chars_max: usize) -> String {
    if let Some((end, _)) = text.char_indices().nth(chars_max) {
        text.truncate(end);
        text.push('…');
    }
    text
}

fn cut_text(text: Cow<'static, str>) -> Cow<'static, str> {
    match text {
        Cow::Borrowed(ours) => Cow::Borrowed(ours),
        Cow::Owned(text) => Cow::Owned(cut(text, MESSAGE_CHARS_MAX)),
    }
}

impl From<identity::Refusal> for Refusal {
    fn from(refusal: identity::Refusal) -> Self {
        if refusal.is_retryable() { Self::KeysUnavailable(refusal) } else { Self::Unauthenticated(refusal) }
    }
}

impl From<QueryError> for Refusal {
    fn from(error: QueryError) -> Self {
        Self::invalid(error.field, error.message)
    }
}

impl From<StoreError> for Refusal {
    fn from(error: StoreError) -> Self {
        match error {
            StoreError::Unavailable(_) => Self::unavailable(error),
            StoreError::Damaged { .. } | StoreError::Unreadable { .. } => Self::Internal(Box::new(error)),
        }
    }
}

impl From<CommitError> for Refusal {
    fn from(error: CommitError) -> Self {
        match error {
            CommitError::Conflict => Self::Contention,
            CommitError::Closed => Self::TooLate,
            CommitError::TooMany { limit, most } => Self::Exhausted { limit, most },
            CommitError::TooFast { limit, most, retry_after } => Self::TooFast { limit, most, retry_after },
            CommitError::Busy => Self::Overloaded,
            CommitError::TooLarge { bytes, limit } => {
                Self::invalid("context", format!("makes a record of {bytes} bytes, over the limit of {limit}"))
            }
            CommitError::Store(error) => error.into(),
        }
    }
}
