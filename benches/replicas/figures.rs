//! Many spans in few figures.

use std::time::Duration;

/// How long each of many calls took.
#[derive(Default)]
pub struct Spans(Vec<Duration>);

impl Spans {
    pub fn of(mut spans: Vec<Duration>) -> Self {
        spans.sort_unstable();
        Self(spans)
    }

    fn at(&self, percent: usize) -> Duration {
        self.0.get((self.0.len() * percent / 100).min(self.0.len().saturating_sub(1))).copied().unwrap_or_default()
    }
}

impl std::fmt::Display for Spans {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "p50 {:.1?}, p99 {:.1?}, most {:.1?}", self.at(50), self.at(99), self.at(100))
    }
}
