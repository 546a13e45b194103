//! What can go wrong between here and Redis. All of it is the operator's to read; a caller only learns UNAVAILABLE.

use std::sync::Arc;
use std::time::Duration;

use redis::{RedisError, ServerErrorKind, Value};

use super::settings::Address;
use crate::store::StoreError;

#[derive(Debug, Clone, thiserror::Error)]
pub enum Trouble {
    /// Known to be out of reach: nothing was sent.
    #[error("redis is out of reach: {0}")]
    OutOfReach(Arc<str>),
    #[error("redis did not answer within {0:?}")]
    TimedOut(Duration),
    #[error("redis at {address}: {error}")]
    Redis {
        address: Address,
        #[source]
        error: RedisError,
    },
    /// What was written may or may not last.
    #[error("{acknowledged} of {wanted} redis replicas have acknowledged a change")]
    NotReplicated { acknowledged: usize, wanted: usize },
    /// Known to have too few replicas: nothing was sent.
    #[error("redis has {connected} connected replicas, and {wanted} must have every change")]
    TooFewReplicas { connected: usize, wanted: usize },
    #[error(
        "redis has {most} replicas, and a change counts as replicated with {wanted}: two sides of a partition could both go on; \
         set `replicas` to {least} or more"
    )]
    Minority { most: usize, wanted: usize, least: usize },
    #[error("the password file `{file}` cannot be read: {reason}")]
    Password { file: String, reason: Arc<str> },
    #[error("the CA file `{file}` cannot be read: {reason}")]
    Authorities { file: String, reason: Arc<str> },
    #[error("redis has `maxmemory-policy {0}`, which forgets approvals when memory is short: set it to `noeviction`")]
    Evicts(String),
    #[error("redis does not tell its `maxmemory-policy`: let its user run `CONFIG GET` or `INFO`")]
    EvictionUnknown,
    #[error(
        "redis' clock is {seconds} s off (ahead, or behind where negative) the time that approvals went by so far: set it \
         right; a clock that was wrong before is believed by servers that start anew"
    )]
    Clock { seconds: i64 },
    /// The state is not the one that was there.
    #[error("{0}")]
    Lost(Arc<str>),
    #[error(
        "which entities were put over the API is not known: redis was never read, and the journal has none of its entities"
    )]
    EntitiesUnknown,
    #[error("entities were put or deleted at another replica, and could not be taken up: {0}")]
    EntitiesBehind(Arc<str>),
    #[error(
        "for {} s or more (`entities_max_age`) redis has not said that the entities put over the API are the newest",
        .0.as_secs()
    )]
    EntitiesOld(Duration),
    #[error("redis answered something unexpected to {0}")]
    Unexpected(&'static str),
    #[error("too many commands are waiting for redis")]
    Busy,
}

impl Trouble {
    /// Whether it certainly was not carried out and another try, perhaps elsewhere, may be.
    pub fn is_worth_another_try(&self) -> bool {
        let Self::Redis { error, .. } = self else { return false };
        match error.kind() {
            redis::ErrorKind::Server(kind) => matches!(
                kind,
                ServerErrorKind::BusyLoading
                    | ServerErrorKind::NoScript
                    | ServerErrorKind::Moved
                    | ServerErrorKind::Ask
                    | ServerErrorKind::TryAgain
                    | ServerErrorKind::ClusterDown
                    | ServerErrorKind::MasterDown
                    | ServerErrorKind::ReadOnly
            ),
            _ => false,
        }
    }

    pub fn is_missing_script(&self) -> bool {
        matches!(self, Self::Redis { error, .. } if error.kind() == redis::ErrorKind::Server(ServerErrorKind::NoScript))
    }

    /// Whether Redis has no memory for it.
    pub fn is_out_of_memory(&self) -> bool {
        matches!(self, Self::Redis { error, .. } if error.code() == Some("OOM"))
    }

    /// Whether the connection is of no more use.
    pub fn breaks_the_connection(&self) -> bool {
        match self {
            Self::TimedOut(_) => true,
            Self::Redis { error, .. } => {
                error.is_io_error() || error.is_connection_dropped() || error.is_timeout() || !is_answer(error)
            }
            _ => false,
        }
    }
}

/// Whether Redis itself said no.
fn is_answer(error: &RedisError) -> bool {
    matches!(error.kind(), redis::ErrorKind::Server(_) | redis::ErrorKind::Extension)
}

impl From<Trouble> for StoreError {
    fn from(trouble: Trouble) -> Self {
        Self::Unavailable(Box::new(trouble))
    }
}

/// The answer, unless it is an error.
pub fn accepted(value: Value, address: &Address) -> Result<Value, Trouble> {
    match value {
        Value::ServerError(error) => Err(Trouble::Redis { address: address.clone(), error: error.into() }),
        value => Ok(value),
    }
}
