//! Slack's way in: clicks and forms. Proved first, byte for byte; answered at once, as Slack wants it within three seconds; worked
//! on afterwards. Whoever clicked is told the outcome where nobody else sees it, and the message changes for all by the outbox.

mod payload;

use std::sync::Arc;

use axum::body::Bytes;
use axum::extract::State;
use axum::http::{HeaderMap, StatusCode};
use axum::response::{IntoResponse, Response};

use self::payload::Interaction;
use super::clicks::{counted, entered};
use super::inbox::Shared;
use super::request::request_id;
use crate::domain::Verdict;
use crate::service::chat::Account;

/// One request: Slack sends the whole message along.
pub const BODY_BYTES_MAX: usize = 512 << 10;

pub async fn interact(State(shared): State<Arc<Shared>>, headers: HeaderMap, body: Bytes) -> Response {
    let Some(chat) = shared.service.chat() else { return StatusCode::NOT_FOUND.into_response() };
    let text = |name: &str| headers.get(name).and_then(|value| value.to_str().ok()).unwrap_or_default();
    let (timestamp, signature) = (text("x-slack-request-timestamp"), text("x-slack-signature"));
    if let Err(unheard) = chat.hear(timestamp, signature, &body, shared.service.wall()).await {
        return shared.turned_away("slack", unheard);
    }
    let Some(interaction) = Interaction::read(&body) else { return StatusCode::BAD_REQUEST.into_response() };
    if let Interaction::Comment { comment, .. } = &interaction
        && comment.trim().is_empty()
    {
        return axum::Json(payload::field_error("Say why.")).into_response();
    }
    let clerk = shared.clone();
    let taken = shared.work.take(async move { clerk.attend(interaction).await });
    if taken { StatusCode::OK.into_response() } else { StatusCode::SERVICE_UNAVAILABLE.into_response() }
}

impl Shared {
    async fn attend(&self, interaction: Interaction) {
        match interaction {
            Interaction::Click { account, button, trigger } => self.clicked(&account, &button, &trigger).await,
            Interaction::Comment { account, button, comment } => self.vote(&account, &button, Some(comment)).await,
            Interaction::WantsCode { target, trigger } => self.service.ask_for_code(&target, &trigger).await,
            Interaction::Code { account, target, code } => self.link(&account, &target, &code).await,
            Interaction::Other => {}
        }
    }

    async fn clicked(&self, account: &Account, button: &str, trigger: &str) {
        let pressed = self.service.chat().and_then(|chat| chat.press(button));
        match pressed {
            // Nowhere to say so: it is not known which message it came from.
            None => tracing::info!(account = account.name(), "a button was pressed that is not one of ours any more"),
            Some(pressed) => match pressed.verdict {
                Verdict::Approve => self.vote(account, button, None).await,
                Verdict::Reject => self.service.ask_for_comment(&pressed.target, trigger, button).await,
            },
        }
    }

    async fn vote(&self, account: &Account, button: &str, comment: Option<String>) {
        let Some(pressed) = self.service.chat().and_then(|chat| chat.press(button)) else { return };
        let request_id = request_id();
        let comment = comment.map(|comment| comment.trim().into());
        let voted = self.service.decide_in_chat(account, button, comment, request_id.clone()).await;
        let (said, offers_link) = match &voted {
            Ok(shown) => (counted(shown), false),
            Err(refusal) => {
                let said = self.click_refused("slack/decide", account, refusal, request_id);
                (said, refusal.reason() == "account_not_linked")
            }
        };
        self.service.whisper(&pressed.target, &account.user, &said, offers_link).await;
    }

    async fn link(&self, account: &Account, target: &str, code: &str) {
        let said = entered(self.service.link(account, code).await);
        self.service.whisper(target, &account.user, said, false).await;
    }
}
