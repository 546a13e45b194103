//! Requests that were heard already: a request of Slack's is worked on once, while its signature is still good. What another
//! replica heard, or this one before it was started anew, is a button that was used, and is refused as that.

use std::collections::HashMap;
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use super::Unheard;
use crate::domain::Timestamp;
use crate::notify::slack_signature::{Proved, WINDOW_SECONDS};

/// Requests remembered; past it nothing is heard until the oldest are too old to be repeated.
const SEEN_MAX: usize = 100_000;
/// A time may be this far in the future, and is good for as long again.
const KEPT: Duration = Duration::from_secs(2 * WINDOW_SECONDS.unsigned_abs() + 1);

#[derive(Default)]
pub struct Seen(Mutex<HashMap<Proved, Timestamp>>);

impl Seen {
    /// Whether this one is the first of its signature. Only proved ones are asked about: strangers fill nothing.
    pub fn first(&self, request: Proved, now: Timestamp) -> Result<(), Unheard> {
        // Whole after every statement: a panic elsewhere cannot have torn it.
        let mut seen = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if seen.len() >= SEEN_MAX {
            seen.retain(|_, at| !at.after(KEPT).is_due(now));
        }
        if seen.contains_key(&request) {
            return Err(Unheard::Replayed);
        }
        if seen.len() >= SEEN_MAX {
            return Err(Unheard::Unavailable);
        }
        seen.insert(request, now);
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_request_is_heard_once_and_many_do_not_make_room_for_a_repetition() {
        let (seen, now) = (Seen::default(), Timestamp::from_micros(1_800_000_000_000_000));
        let request = |number: usize| {
            let mut bytes = [0; 32];
            bytes[..8].copy_from_slice(&number.to_be_bytes());
            Proved(bytes)
        };
        for number in 0..SEEN_MAX {
            assert_eq!(seen.first(request(number), now), Ok(()));
        }
        assert_eq!(seen.first(request(0), now), Err(Unheard::Replayed));
        assert_eq!(seen.first(request(SEEN_MAX), now), Err(Unheard::Unavailable));
        assert_eq!(seen.first(request(SEEN_MAX), now.after(KEPT)), Ok(()));
    }
}
