//! What the server says about itself: on standard error, in the configured form.

use std::io::{self, IsTerminal};

use tracing_subscriber::EnvFilter;

use super::failure::Failure;
use crate::config::{Log, LogFormat};

/// Starts logging for the whole process.
///
/// # Errors
/// If the filter cannot be used or logging was started before.
pub fn start(log: &Log) -> Result<(), Failure> {
    let failed = |error: String| Failure::Failed(format!("cannot log: {error}"));
    let filter = EnvFilter::try_new(log.level.as_str()).map_err(|error| failed(error.to_string()))?;
    let lines = tracing_subscriber::fmt().with_env_filter(filter).with_writer(io::stderr);
    let is_pretty = match log.format {
        LogFormat::Auto => io::stderr().is_terminal(),
        LogFormat::Json => false,
        LogFormat::Pretty => true,
    };
    let started = if is_pretty {
        lines.with_ansi(io::stderr().is_terminal() && std::env::var_os("NO_COLOR").is_none()).try_init()
    } else {
        lines.json().flatten_event(true).try_init()
    };
    started.map_err(|error| failed(error.to_string()))
}
