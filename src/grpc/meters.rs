//! What is counted of connections.

use std::sync::Arc;

use crate::measure::{Counter, Durations, Level};

#[derive(Debug, Default)]
pub struct Meters {
    /// Connections that are served now.
    pub open: Level,
    pub accepted: Counter,
    /// Connections that there was no place for, in all or from one address.
    pub turned_away: Counter,
    /// Connections over the Unix socket of users who may not be there.
    pub not_let_in: Counter,
    /// Connections that were closed because they did not begin HTTP/2 in time.
    pub never_began: Counter,
    /// Connections that the system could not give: too many open files.
    pub not_accepted: Counter,
    /// TLS handshakes that came to an end as they should.
    pub handshakes: Durations,
    /// Those that failed, took too long, or brought a certificate that was refused.
    pub handshakes_failed: Counter,
    /// Those that gave way to newer ones.
    pub handshakes_displaced: Counter,
}

/// One open connection; it counts as one until it is dropped.
pub(super) struct Open(Arc<Meters>);

impl Open {
    pub fn new(meters: &Arc<Meters>) -> Self {
        meters.open.rise();
        Self(meters.clone())
    }
}

impl Drop for Open {
    fn drop(&mut self) {
        self.0.open.fall();
    }
}
