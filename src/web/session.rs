//! Who is logged in: a table in memory, so that a session ends when it is told to, with the process at the latest. A browser
//! holds a random id; here is only its hash, and what the id stands for.
//!
//! Why not sealed cookies: one that was taken could not be taken back (docs/adr/0040-inbox.md).

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use sha2::{Digest, Sha256};

use super::seal::{self, NoRandomness};
use crate::domain::Timestamp;
use crate::service::Caller;

/// Sessions at the same time; past it the oldest ends.
pub const SESSIONS_MAX: usize = 10_000;
/// The same of one person.
pub const SESSIONS_PER_PERSON_MAX: usize = 20;

/// One session.
#[derive(Debug, Clone)]
pub struct Session {
    pub caller: Caller,
    /// What each of its forms must bring.
    pub form_token: String,
    pub since: Timestamp,
    /// What [`crate::service::Service::session_mark`] said of its person when it began.
    pub mark: Option<Arc<str>>,
    began: u64,
}

#[derive(Default)]
pub struct Sessions {
    table: Mutex<Table>,
}

#[derive(Default)]
struct Table {
    sessions: HashMap<[u8; 32], Session>,
    begun: u64,
}

impl Sessions {
    /// Begins one, always under a new id: what a browser brought along is never made one.
    pub fn begin(&self, caller: Caller, mark: Option<Arc<str>>, now: Timestamp) -> Result<String, NoRandomness> {
        let (id, form_token) = (seal::secret_text()?, seal::secret_text()?);
        let mut table = self.table();
        table.begun += 1;
        let session = Session { caller, form_token, since: now, mark, began: table.begun };
        table.make_room(&session.caller, now);
        table.sessions.insert(hash(&id), session);
        Ok(id)
    }

    /// The session of an id, if it is still one.
    pub fn find(&self, id: &str, now: Timestamp) -> Option<Session> {
        let mut table = self.table();
        let key = hash(id);
        let session = table.sessions.get(&key)?.clone();
        if session.caller.expires_at().is_due(now) {
            table.sessions.remove(&key);
            return None;
        }
        Some(session)
    }

    /// Those of one person.
    pub fn of(&self, caller: &Caller, now: Timestamp) -> Vec<Session> {
        let is_one = |session: &&Session| is_of(session, caller) && !session.caller.expires_at().is_due(now);
        self.table().sessions.values().filter(is_one).cloned().collect()
    }

    /// Ends one.
    pub fn end(&self, id: &str) {
        self.table().sessions.remove(&hash(id));
    }

    /// Ends all of one person.
    pub fn end_all(&self, caller: &Caller) {
        self.table().sessions.retain(|_, session| !is_of(session, caller));
    }

    fn table(&self) -> MutexGuard<'_, Table> {
        // Whole after every statement: a panic elsewhere cannot have torn it.
        self.table.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Table {
    fn make_room(&mut self, caller: &Caller, now: Timestamp) {
        if self.sessions.len() >= SESSIONS_MAX {
            self.sessions.retain(|_, session| !session.caller.expires_at().is_due(now));
        }
        let of_person = self.sessions.values().filter(|session| is_of(session, caller)).count();
        if of_person >= SESSIONS_PER_PERSON_MAX {
            self.end_oldest(|session| is_of(session, caller));
        }
        if self.sessions.len() >= SESSIONS_MAX {
            self.end_oldest(|_| true);
        }
    }

    fn end_oldest(&mut self, among: impl Fn(&Session) -> bool) {
        let oldest =
            self.sessions.iter().filter(|(_, session)| among(session)).min_by_key(|(_, session)| session.began);
        if let Some(key) = oldest.map(|(key, _)| *key) {
            self.sessions.remove(&key);
        }
    }
}

fn is_of(session: &Session, caller: &Caller) -> bool {
    session.caller.identity().is_same_as(caller.identity())
}

fn hash(id: &str) -> [u8; 32] {
    Sha256::digest(id.as_bytes()).into()
}
