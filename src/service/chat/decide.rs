//! A click: whose it is, whether it may be one, and then a vote like any other.

use std::sync::Arc;

use super::key::Button;
use super::links::{Account, Entered, Linked};
use super::{Chat, Service};
use crate::domain::{Approval, Ballot, Identity, Timestamp, Transition, Verdict};
use crate::service::veil::Shown;
use crate::service::{Caller, Refusal, RequestId};

/// What a button is for, as far as whoever clicked it may know before he is known.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Pressed {
    pub verdict: Verdict,
    /// The name of the target that the button was sent to.
    pub target: String,
}

impl Chat {
    /// The button of an id, if it is one of ours, at a target that still has buttons.
    #[must_use]
    pub fn press(&self, id: &str) -> Option<Pressed> {
        let button = self.key.read_button(id)?;
        self.target(&button.target)?;
        Some(Pressed { verdict: button.verdict, target: button.target })
    }

    /// The content of a button's id, if it was sent to a target of this account's product.
    fn pressed_by(&self, account: &Account, id: &str) -> Option<Button> {
        let button = self.key.read_button(id)?;
        let is_there = self.target(&button.target)?.kind == account.product.into();
        is_there.then_some(button)
    }
}

impl Service {
    /// Votes as the person who linked this account. A click that is repeated is one vote.
    ///
    /// # Errors
    /// Reasons of their own are `unknown_button`, `account_not_linked`, `issuer_removed`, `login_too_old`, `inbox_only` and `stale_button`; the
    /// others are those of [`Service::review`].
    pub async fn decide_in_chat(
        &self,
        account: &Account,
        button: &str,
        comment: Option<Arc<str>>,
        request_id: RequestId,
    ) -> Result<Shown, Refusal> {
        let unknown = || Refusal::denied("unknown_button", "this button is not one of ours any more");
        let chat = self.chat().ok_or_else(unknown)?;
        let button = chat.pressed_by(account, button).ok_or_else(unknown)?;
        let caller = self.clicker(account, request_id).await?;
        self.check_length("comment", comment.as_deref(), self.shared.limits.comment_chars_max)?;
        if button.verdict == Verdict::Reject && comment.is_none() {
            return Err(Refusal::invalid("comment", "say why: a rejection in chat needs a comment"));
        }
        let approval = self.shared.store.approval(button.approval).await?.ok_or(Refusal::NotFound)?;
        let approval = self.as_of_now(approval).await?;
        let (reviewer, verdict, binding) = (caller.identity.clone(), button.verdict, button.binding);
        // No gate in particular: a message with buttons shows every gate there is.
        let ballot = Ballot { reviewer, verdict, binding, gates: Vec::new(), comment };
        let Some(transition) = self.count(&caller, &approval, ballot)? else { return Ok(self.veiled(&approval)) };
        let voted = self.cast(&caller, &approval, transition, button.version).await?;
        Ok(self.veiled(&voted))
    }

    /// A vote that counts, if it is about what the message shows and may be cast by a click.
    async fn cast(
        &self,
        caller: &Caller,
        approval: &Arc<Approval>,
        transition: Transition,
        version: u64,
    ) -> Result<Arc<Approval>, Refusal> {
        let stale = || Refusal::denied("stale_button", "it changed since this message was written; look at it again");
        let chat = self.chat().ok_or_else(stale)?;
        if let Some(why) = self.inbox_only(chat, approval, self.veiled(approval).masked) {
            return Err(Refusal::denied("inbox_only", format!("this is decided in the inbox: {why}")));
        }
        // INVARIANT: an id is good for one state of one approval; whoever was faster ended it.
        if approval.version != version {
            return Err(stale());
        }
        match self.advance(approval, transition, &caller.request_id).await {
            Err(Refusal::Contention) => Err(stale()),
            voted => voted,
        }
    }

    /// Who clicked, if somebody linked the account and logged in lately.
    async fn clicker(&self, account: &Account, request_id: RequestId) -> Result<Caller, Refusal> {
        let not_linked = || Refusal::denied("account_not_linked", "this account is linked with nobody here");
        let chat = self.chat().ok_or_else(not_linked)?.clone();
        if !chat.is_home(account) {
            return Err(not_linked());
        }
        let account = account.clone();
        let person = blocking(move || chat.links.person(&account)).await?.ok_or_else(not_linked)?;
        // INVARIANT: an issuer that was taken out of the configuration speaks for nobody, by a click as little as by a token.
        if !self.is_still_believed(&person) {
            return Err(Refusal::denied("issuer_removed", "who you are is not said by anybody trusted here any more"));
        }
        if !self.is_lately_here(&person) {
            return Err(Refusal::denied("login_too_old", "sign in at the inbox once more, then click again"));
        }
        Ok(Caller { identity: Arc::new(person), expires_at: Timestamp::MAX, request_id, trace_parent: None })
    }

    /// Whether who said who the person is would be believed today.
    fn is_still_believed(&self, person: &Identity) -> bool {
        let credential = person.proof.credential.as_deref();
        credential.is_some_and(|credential| self.shared.verifier.believes(&credential.issuer_name, &person.issuer))
    }

    /// Whether what the last login said of the person, groups included, is still believed.
    fn is_lately_here(&self, person: &Identity) -> bool {
        let stated_at = person.proof.credential.as_deref().and_then(|credential| credential.issued_at);
        let most = self.shared.limits.review.membership_max_age;
        stated_at.is_some_and(|at| !at.after(most).is_due(self.credentials_at()))
    }

    /// A code to enter from the account that is to be linked; `None` where there are none to be had.
    pub async fn begin_link(&self, caller: &Caller) -> Result<Option<String>, Refusal> {
        let Some(chat) = self.chat().cloned() else { return Ok(None) };
        let (identity, now) = (caller.identity.clone(), self.shared.store.wall());
        blocking(move || chat.links.begin(&identity, now)).await
    }

    /// Links an account with whoever got the code.
    pub async fn link(&self, account: &Account, code: &str) -> Result<Entered, Refusal> {
        let Some(chat) = self.chat().cloned().filter(|chat| chat.is_home(account)) else {
            return Ok(Entered::Refused);
        };
        let (account, code, now) = (account.clone(), code.to_owned(), self.shared.store.wall());
        blocking(move || {
            let entered = chat.links.enter(&account, &code, now)?;
            tracing::info!(account = account.name(), linked = entered == Entered::Linked, "a code was entered in chat");
            Ok(entered)
        })
        .await
    }

    /// The accounts of a person.
    pub async fn linked(&self, caller: &Caller) -> Result<Vec<Linked>, Refusal> {
        let Some(chat) = self.chat().cloned() else { return Ok(Vec::new()) };
        let identity = caller.identity.clone();
        blocking(move || chat.links.of(&identity)).await
    }

    /// Ends the link of an account of this person.
    pub async fn unlink(&self, caller: &Caller, account: String) -> Result<(), Refusal> {
        let Some(chat) = self.chat().cloned() else { return Ok(()) };
        let identity = caller.identity.clone();
        tracing::info!(account, person = %identity.uid, "a link is ended");
        blocking(move || chat.links.revoke(&identity, &account)).await
    }

    /// Notes that the person logged in. What cannot be noted is only older than it need be.
    pub async fn note_login(&self, caller: &Caller) {
        let Some(chat) = self.chat().cloned() else { return };
        let identity = caller.identity.clone();
        if let Err(error) = blocking(move || chat.links.logged_in(&identity)).await {
            tracing::warn!(%error, "a login could not be noted beside linked accounts");
        }
    }
}

async fn blocking<T: Send + 'static>(work: impl FnOnce() -> std::io::Result<T> + Send + 'static) -> Result<T, Refusal> {
    let done = tokio::task::spawn_blocking(work).await.map_err(|panicked| Refusal::Internal(Box::new(panicked)))?;
    done.map_err(Refusal::unavailable)
}
