//! How long masking may take: for one call, one view, or one piece of a stream after another. By this machine's clock that only
//! goes forward, since it is about work and not about deadlines.

use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use crate::masking::Budget;

#[derive(Clone)]
pub(super) struct Stopwatch {
    timeout: Duration,
    began: Arc<Mutex<Instant>>,
}

impl Stopwatch {
    pub fn start(timeout: Duration) -> Self {
        Self { timeout, began: Arc::new(Mutex::new(Instant::now())) }
    }

    /// From the beginning, for the next piece.
    pub fn restart(&self) {
        *self.began.lock().unwrap_or_else(PoisonError::into_inner) = Instant::now();
    }

    /// What is left; nothing at the deadline.
    pub fn rest(&self) -> Duration {
        let began = *self.began.lock().unwrap_or_else(PoisonError::into_inner);
        self.timeout.saturating_sub(began.elapsed())
    }

    /// What masking asks.
    pub fn budget(&self) -> Budget {
        let watch = self.clone();
        Budget::until(move || watch.rest().is_zero())
    }
}
