//! What is said back in chat to whoever clicked, and to nobody else. Told once: who is told nothing clicks again, and what was
//! decided is in the message and in the inbox.

use super::Service;
use crate::notify::slack::{self, Form};

/// The forms, by what they are called when they come back.
pub const COMMENT_FORM: &str = "countersign_comment";
pub const CODE_FORM: &str = "countersign_code";
const CODE_CHARS_MAX: usize = 100;

impl Service {
    /// Tells one account; with the way to link it, if that is what it lacks.
    pub async fn whisper(&self, target: &str, user: &str, said: &str, offers_link: bool) {
        let Some(chat) = self.chat() else { return };
        let Some(target) = chat.target(target) else { return };
        let connect = offers_link.then_some(chat.connect());
        if let Err(failure) = slack::whisper(target, user, said, connect).await {
            tracing::warn!(%failure, target.name = %target.name, "whoever clicked could not be told what came of it");
        }
    }

    /// Asks whoever clicked why; the button comes back with the answer.
    pub async fn ask_for_comment(&self, target: &str, trigger: &str, button: &str) {
        let form = Form {
            callback: COMMENT_FORM,
            metadata: button,
            title: "Reject",
            label: "Why? Whoever asked is told.",
            submit: "Reject",
            chars_max: self.shared.limits.comment_chars_max,
            multiline: true,
        };
        self.open_form(target, trigger, &form).await;
    }

    /// Asks whoever clicked for a code from the inbox.
    pub async fn ask_for_code(&self, target: &str, trigger: &str) {
        let form = Form {
            callback: CODE_FORM,
            metadata: target,
            title: "Link this account",
            label: "The code that you got at the inbox",
            submit: "Link",
            chars_max: CODE_CHARS_MAX,
            multiline: false,
        };
        self.open_form(target, trigger, &form).await;
    }

    async fn open_form(&self, target: &str, trigger: &str, form: &Form<'_>) {
        let Some(target) = self.chat().and_then(|chat| chat.target(target)) else { return };
        if let Err(failure) = slack::open_form(target, trigger, form).await {
            tracing::warn!(%failure, target.name = %target.name, "a form could not be opened");
        }
    }
}
