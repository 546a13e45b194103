//! Why a command failed, what to do about it, and the exit code that says so to scripts.

use std::net::SocketAddr;

use crate::authoring::SuiteError;
use crate::config::ConfigError;
use crate::engine::LoadError;
use crate::grpc::client::{CallError, Code};
use crate::grpc::unix::UnixError;
use crate::journal::JournalError;
use crate::server::ServerError;

#[derive(Debug, thiserror::Error)]
pub enum Failure {
    #[error("{0}")]
    Usage(String),
    #[error(transparent)]
    Config(#[from] ConfigError),
    #[error(transparent)]
    Policies(#[from] LoadError),
    #[error(transparent)]
    Suite(#[from] SuiteError),
    #[error(transparent)]
    Journal(#[from] JournalError),
    #[error(transparent)]
    Server(#[from] ServerError),
    #[error("grpc.unix: {0}")]
    Unix(#[from] UnixError),
    #[error("cannot listen on {address}: {source}")]
    Listen { address: SocketAddr, source: std::io::Error },
    #[error(transparent)]
    Call(#[from] CallError),
    /// Nobody answers at this address, which is not the API's.
    #[error("cannot reach the development issuer at {url}")]
    NoDevIssuer { url: String },
    #[error("{0}")]
    Refused(String),
    #[error("{0}")]
    Failed(String),
    /// Whoever read our output has had enough.
    #[error("nobody reads the output")]
    OutputClosed,
    #[error(transparent)]
    Io(std::io::Error),
}

impl From<std::io::Error> for Failure {
    fn from(error: std::io::Error) -> Self {
        if error.kind() == std::io::ErrorKind::BrokenPipe { Self::OutputClosed } else { Self::Io(error) }
    }
}

impl Failure {
    /// As documented in `--help`.
    #[must_use]
    pub fn exit_code(&self) -> u8 {
        match self {
            Self::OutputClosed => 0,
            Self::Policies(_)
            | Self::Suite(_)
            | Self::Journal(_)
            | Self::Server(_)
            | Self::Listen { .. }
            | Self::Unix(_)
            | Self::Failed(_)
            | Self::Io(_) => 1,
            Self::Usage(_) | Self::Config(_) => 2,
            Self::Refused(_) => 3,
            Self::NoDevIssuer { .. } => 5,
            Self::Call(error) => match error.code {
                Code::Unauthenticated | Code::PermissionDenied => 3,
                Code::NotFound => 4,
                Code::Unavailable | Code::Unreachable | Code::DeadlineExceeded | Code::ResourceExhausted => 5,
                Code::FailedPrecondition | Code::Aborted => 6,
                Code::InvalidArgument => 2,
                Code::Other => 1,
            },
        }
    }

    /// What to do.
    #[must_use]
    pub fn hint(&self) -> Option<&'static str> {
        match self {
            Self::Call(error) => self.login_hint().or_else(|| call_hint(error.code)),
            Self::NoDevIssuer { .. } => Some("is the server running? start it with `countersign serve --dev`"),
            Self::Listen { .. } => {
                Some("is another server running? choose another address with `--listen` or in countersign.toml")
            }
            Self::Journal(JournalError::Damaged(_)) => {
                Some("keep the directory as it is: what it holds is evidence. Restore from a backup into another one")
            }
            Self::Usage(_) | Self::Config(_) | Self::Policies(_) | Self::Suite(_) => None,
            Self::Journal(_) | Self::Server(_) | Self::Unix(_) => None,
            Self::Refused(_) | Self::Failed(_) | Self::OutputClosed | Self::Io(_) => None,
        }
    }

    /// What to do where nothing but another login helps.
    #[must_use]
    pub fn login_hint(&self) -> Option<&'static str> {
        let Self::Call(error) = self else { return None };
        match &*error.reason {
            "authentication_too_old" | "stronger_authentication_required" => {
                Some("log in at your issuer as it demands, then start again with that token")
            }
            "expired" => Some("start again with a new token"),
            _ => None,
        }
    }
}

fn call_hint(code: Code) -> Option<&'static str> {
    match code {
        Code::Unreachable => {
            Some("is the server running? start it with `countersign serve --dev`, or name another one with `--server`")
        }
        Code::Unauthenticated => Some(
            "pass a token with `--token-file` or COUNTERSIGN_TOKEN; \
             on a development server: export COUNTERSIGN_TOKEN=$(countersign token alice)",
        ),
        Code::PermissionDenied => Some("the server's policies decide who may do this; see policies/service.cedar"),
        Code::NotFound => Some("`countersign approvals list` shows what you may see"),
        Code::Aborted => Some("look again with `countersign approvals show`, then decide on what is there now"),
        Code::Unavailable | Code::DeadlineExceeded | Code::ResourceExhausted => Some("try again in a moment"),
        Code::InvalidArgument | Code::FailedPrecondition | Code::Other => None,
    }
}
