//! Who may hold a connection to gRPC: so many in all, so many from one address or local user, and nobody for long who does not begin
//! HTTP/2. What a connection costs (a file descriptor, buffers) is spent before anybody is known, so that nothing else bounds it.

use std::collections::HashMap;
use std::net::IpAddr;
use std::pin::Pin;
use std::sync::{Arc, Mutex, PoisonError};
use std::task::{Context, Poll};
use std::time::Duration;

use tokio::time::{Sleep, sleep};

use crate::network;

/// What a client sends first (RFC 9113 section 3.4): so many bytes.
const PREFACE_BYTES: usize = 24;

/// How many connections there may be, and how long they may take to begin.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Limits {
    pub connections_max: usize,
    /// From one address; of IPv6, from one network of 64 bits. Over the Unix socket, of one user.
    pub per_address_max: usize,
    /// From the first byte that could be read (behind the handshake, where there is one) to the whole preface.
    pub greeting_timeout: Duration,
}

impl Default for Limits {
    fn default() -> Self {
        Self { connections_max: 16_384, per_address_max: 4_096, greeting_timeout: Duration::from_secs(10) }
    }
}

/// Counts who is inside.
pub struct Door {
    limits: Limits,
    inside: Mutex<Inside>,
}

#[derive(Default)]
struct Inside {
    all: usize,
    from: HashMap<Origin, usize>,
}

/// Where connections come from that count together.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Origin {
    Network(IpAddr),
    /// Of this machine, over the Unix socket.
    User(u32),
}

impl Origin {
    /// That of an address.
    #[must_use]
    pub fn of(address: IpAddr) -> Self {
        Self::Network(network::of(address))
    }
}

/// A place inside; it is free again when this is dropped.
pub struct Place {
    door: Arc<Door>,
    origin: Origin,
}

impl Door {
    #[must_use]
    pub fn new(limits: Limits) -> Arc<Self> {
        Arc::new(Self { limits, inside: Mutex::default() })
    }

    /// A place for a connection from there, if there is one.
    pub fn enter(self: &Arc<Self>, origin: Origin) -> Option<Place> {
        let mut inside = self.inside();
        let Inside { all, from } = &mut *inside;
        if *all >= self.limits.connections_max {
            return None;
        }
        let theirs = from.entry(origin).or_default();
        if *theirs >= self.limits.per_address_max {
            return None;
        }
        (*theirs, *all) = (*theirs + 1, *all + 1);
        Some(Place { door: self.clone(), origin })
    }

    /// What a connection has to do before it is believed to be one.
    #[must_use]
    pub fn greeting(&self) -> Greeting {
        Greeting { alarm: Box::pin(sleep(self.limits.greeting_timeout)), missing: PREFACE_BYTES }
    }

    /// Counts, which are whole after every statement: a panic elsewhere cannot have torn them.
    fn inside(&self) -> std::sync::MutexGuard<'_, Inside> {
        self.inside.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Place {
    /// Where it is.
    #[must_use]
    pub fn door(&self) -> &Door {
        &self.door
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        let mut inside = self.door.inside();
        inside.all = inside.all.saturating_sub(1);
        if let Some(theirs) = inside.from.get_mut(&self.origin) {
            *theirs = theirs.saturating_sub(1);
            if *theirs == 0 {
                inside.from.remove(&self.origin);
            }
        }
    }
}

/// The time that a connection has until its preface is whole.
pub struct Greeting {
    alarm: Pin<Box<Sleep>>,
    missing: usize,
}

impl Greeting {
    /// Whether its time is over.
    pub fn poll_over(&mut self, context: &mut Context<'_>) -> Poll<()> {
        self.alarm.as_mut().poll(context)
    }

    /// Whether it is whole with these many bytes more. What they are is for HTTP/2 to judge.
    pub fn is_whole_with(&mut self, bytes: usize) -> bool {
        self.missing = self.missing.saturating_sub(bytes);
        self.missing == 0
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn fault_63_so_many_in_all_and_so_many_from_one_address_and_a_place_is_given_back() {
        let limits = Limits { connections_max: 3, per_address_max: 2, ..Limits::default() };
        let door = Door::new(limits);
        let from = |text: &str| door.enter(Origin::of(text.parse().unwrap()));
        let (one, two) = (from("192.0.2.1").unwrap(), from("::ffff:192.0.2.1").unwrap());
        assert!(from("192.0.2.1").is_none(), "the same address in another form");
        let three = from("2001:db8::1").unwrap();
        assert!(from("192.0.2.2").is_none(), "full");
        drop(one);
        let four = from("2001:db8::2").unwrap();
        drop(two);
        assert!(from("2001:db8::3").is_none(), "the same network");
        assert!(from("2001:db8:0:1::3").is_some());
        let five = door.enter(Origin::User(1)).unwrap();
        drop((three, four));
        let six = door.enter(Origin::User(1)).unwrap();
        assert!(door.enter(Origin::User(1)).is_none() && door.enter(Origin::User(2)).is_some(), "the same user");
        drop((five, six));
        assert!(door.inside().from.is_empty() && door.inside().all == 0);
    }
}
