//! One line of what the doctor says.

use std::time::Duration;

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Verdict {
    Ok,
    /// It works; somebody should look at it.
    Warn,
    /// The server does not start, or does not do what it is there for.
    Fail,
}

impl Verdict {
    pub const fn name(self) -> &'static str {
        match self {
            Self::Ok => "ok",
            Self::Warn => "warn",
            Self::Fail => "fail",
        }
    }
}

/// What was looked at, what was seen, and what to do.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Finding {
    /// `clock`, `keys`, `store`, ..
    pub part: &'static str,
    pub verdict: Verdict,
    /// One line; never with a secret.
    pub says: String,
    /// `None` where nothing is to be done.
    pub advice: Option<String>,
}

impl Finding {
    pub fn ok(part: &'static str, says: impl Into<String>) -> Self {
        Self { part, verdict: Verdict::Ok, says: says.into(), advice: None }
    }

    pub fn warn(part: &'static str, says: impl Into<String>, advice: impl Into<String>) -> Self {
        Self { part, verdict: Verdict::Warn, says: says.into(), advice: Some(advice.into()) }
    }

    pub fn fail(part: &'static str, says: impl Into<String>, advice: impl Into<String>) -> Self {
        Self { part, verdict: Verdict::Fail, says: says.into(), advice: Some(advice.into()) }
    }
}

/// In whole days, which is how long things like certificates are thought of.
pub fn days(span: Duration) -> u64 {
    span.as_secs() / 86_400
}
