//! What large messages that are on their way in hold of memory, all together.

use std::sync::Arc;
use std::sync::atomic::Ordering;

use super::{Kind, Load, Why};
use crate::service::Refusal;

/// One message's part of it, given back when dropped.
#[derive(Debug)]
pub struct Messages {
    load: Arc<Load>,
    bytes: usize,
}

impl Load {
    /// For a message that is larger than most.
    #[must_use]
    pub fn messages(self: &Arc<Self>) -> Messages {
        Messages { load: self.clone(), bytes: 0 }
    }
}

impl Messages {
    /// So much more of it has come.
    ///
    /// # Errors
    /// [`Refusal::Busy`] where all together are too large, [`Refusal::LowMemory`] where memory is short.
    pub fn add(&mut self, kind: Kind, bytes: usize) -> Result<(), Refusal> {
        self.load.room(kind)?;
        self.bytes += bytes;
        let all = self.load.messages_bytes.fetch_add(bytes, Ordering::Relaxed).saturating_add(bytes);
        if all > self.load.messages_bytes_max { Err(self.load.busy(kind, Why::Full)) } else { Ok(()) }
    }
}

impl Drop for Messages {
    fn drop(&mut self) {
        self.load.messages_bytes.fetch_sub(self.bytes, Ordering::Relaxed);
    }
}

#[cfg(test)]
mod tests {
    use super::super::Limits;
    use super::*;

    #[test]
    fn messages_are_bounded_together_and_what_was_read_makes_room() {
        let load = Load::new(&Limits { messages_bytes_max: 100, ..Limits::default() });
        let (mut one, mut other) = (load.messages(), load.messages());
        one.add(Kind::Masking, 60).unwrap();
        other.add(Kind::Decisions, 40).unwrap();
        assert!(matches!(other.add(Kind::Decisions, 1), Err(Refusal::Busy { kind: Kind::Decisions, why: Why::Full })));
        drop(one);
        other.add(Kind::Decisions, 50).unwrap();
        drop(other);
        assert_eq!(load.messages_bytes.load(Ordering::Relaxed), 0);
    }
}
