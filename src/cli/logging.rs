//! What the server says about itself: on standard error, in the configured form.

use std::io::{self, IsTerminal};

use tracing_subscriber::layer::SubscriberExt;
use tracing_subscriber::util::SubscriberInitExt;
use tracing_subscriber::{EnvFilter, Layer};

use super::failure::Failure;
use crate::config::{Log, LogFormat};
use crate::telemetry::Traces;

/// Starts logging for the whole process, and takes the spans of calls to where traces go.
///
/// # Errors
/// If the filter cannot be used or logging was started before.
pub fn start(log: &Log, traces: Option<&Traces>) -> Result<(), Failure> {
    let failed = |error: String| Failure::Failed(format!("cannot log: {error}"));
    let filter = EnvFilter::try_new(log.level.as_str()).map_err(|error| failed(error.to_string()))?;
    let lines = tracing_subscriber::fmt::layer().with_writer(io::stderr);
    let is_pretty = match log.format {
        LogFormat::Auto => io::stderr().is_terminal(),
        LogFormat::Json => false,
        LogFormat::Pretty => true,
    };
    super::panics::withhold();
    let lines = if is_pretty {
        lines.with_ansi(io::stderr().is_terminal() && std::env::var_os("NO_COLOR").is_none()).boxed()
    } else {
        // The innermost span is the call: its ids stand in the line.
        lines.json().flatten_event(true).with_span_list(false).boxed()
    };
    let started = tracing_subscriber::registry().with(lines.with_filter(filter)).with(traces.map(Traces::layer));
    started.try_init().map_err(|error| failed(error.to_string()))
}
