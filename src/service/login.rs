//! A person logs in at a web page: from an ID token to a [`Caller`] for the length of a session.

use std::time::Duration;

use super::{Caller, Refusal, RequestId, Service};
use crate::domain::PrincipalKind;
use crate::identity::LoginVerifier;

impl Service {
    /// The person of an ID token, for at most `lifetime`. The token proves the login and may last for minutes only; how long
    /// a login is believed is the session's affair, and what a vote demands of it is looked at with each vote.
    pub async fn log_in(
        &self,
        logins: &LoginVerifier,
        id_token: &str,
        nonce: &str,
        lifetime: Duration,
        request_id: RequestId,
    ) -> Result<Caller, Refusal> {
        let now = self.shared.store.wall();
        let verified = logins.verify(id_token, nonce, now).await?;
        let identity = verified.identity().clone();
        if identity.kind != PrincipalKind::User {
            return Err(Refusal::denied("not_human", "only people log in here"));
        }
        Ok(Caller { identity, expires_at: now.after(lifetime), request_id, trace_parent: None })
    }
}
