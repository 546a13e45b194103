//! Ending all sessions that a person has in the inbox, at every replica: those in the hands of whoever took them included. It
//! ends what is logged in, and suspends nobody: who can log in does so again.

use std::sync::Arc;

use uuid::Uuid;

use super::entities::Change;
use super::{Caller, Refusal, Service};
use crate::domain::{EntityUid, GuardAction, Guarded, session_mark};

impl Service {
    /// Ends all sessions of `person`, on record first. Answers the revision from which on they are over; another replica
    /// knows of it as soon as of entities that were put here.
    pub async fn end_sessions(&self, caller: &Caller, person: EntityUid) -> Result<u64, Refusal> {
        self.guard(caller, GuardAction::EndSessions, Guarded::Principal(&person))?;
        self.end(caller, person, false).await
    }

    /// The same of the caller himself, whatever policies say: nobody is made to stay.
    pub async fn end_own_sessions(&self, caller: &Caller) -> Result<u64, Refusal> {
        self.end(caller, caller.identity().uid.clone(), true).await
    }

    /// What a session of `person` that begins now has to remember. It is over once this says something else.
    ///
    /// # Errors
    /// It is not known which sessions were ended.
    pub fn session_mark(&self, person: &EntityUid) -> Result<Option<Arc<str>>, Refusal> {
        Ok(session_mark(self.in_force()?.put_entities(), person))
    }

    async fn end(&self, caller: &Caller, person: EntityUid, is_own: bool) -> Result<u64, Refusal> {
        let mark = Uuid::now_v7().simple().to_string().into();
        Ok(self.change(caller, Change::EndSessions { person, mark, is_own }).await?.revision)
    }
}
