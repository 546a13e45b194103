//! Teams' way in: what the Bot Connector posts when somebody clicks in a card. Its token is proved first; then whoever clicked
//! is answered where nobody else sees it, and the message changes for all by the outbox. Teams waits for the answer.

mod activity;

use std::sync::Arc;

use axum::body::Bytes;
use axum::extract::State;
use axum::http::{HeaderMap, StatusCode, header};
use axum::response::{IntoResponse, Response};
use serde_json::json;
use tokio::sync::oneshot;

use self::activity::{Activity, Invoked};
use super::clicks::{counted, entered};
use super::inbox::Shared;
use super::request::request_id;
use crate::service::chat::Account;

/// One activity.
pub const BODY_BYTES_MAX: usize = 256 << 10;

pub async fn messages(State(shared): State<Arc<Shared>>, headers: HeaderMap, body: Bytes) -> Response {
    let Some(chat) = shared.service.chat() else { return StatusCode::NOT_FOUND.into_response() };
    // Read before it is proved, because the token is held against it: nothing follows from it until then.
    let Some(activity) = Activity::read(&body) else { return StatusCode::BAD_REQUEST.into_response() };
    let heard = chat.hear_bot(bearer(&headers), activity.place(), shared.service.wall()).await;
    if let Err(unheard) = heard.map(|_| ()) {
        return shared.turned_away("teams", unheard);
    }
    // Messages, and people who come and go, are none of our business: nobody decides by writing something.
    let Some((account, invoked)) = activity.invoked() else { return StatusCode::OK.into_response() };
    let (answer, answered) = oneshot::channel();
    let clerk = shared.clone();
    // Worked on to its end, even if Teams does not wait for it.
    let taken = shared.work.take(async move {
        // Nobody may be there to be told.
        let _ = answer.send(clerk.attend_to(&account, invoked).await);
    });
    let answered = if taken { answered.await.ok() } else { None };
    answered.map_or_else(|| StatusCode::SERVICE_UNAVAILABLE.into_response(), |said| told(&said))
}

fn bearer(headers: &HeaderMap) -> &str {
    let value = headers.get(header::AUTHORIZATION).and_then(|value| value.to_str().ok());
    value.and_then(|value| value.strip_prefix("Bearer ")).unwrap_or_default()
}

/// A text for whoever clicked. Source: Microsoft, "Universal Actions for Adaptive Cards", response format.
fn told(said: &str) -> Response {
    let answer = json!({"statusCode": 200, "type": "application/vnd.microsoft.activity.message", "value": said});
    axum::Json(answer).into_response()
}

impl Shared {
    async fn attend_to(&self, account: &Account, invoked: Invoked) -> String {
        match invoked {
            Invoked::Vote { button, comment } => self.voted(account, &button, comment.as_deref()).await,
            Invoked::Code { code } => self.linked(account, &code).await,
        }
    }

    async fn voted(&self, account: &Account, button: &str, comment: Option<&str>) -> String {
        let request_id = request_id();
        let comment = comment.map(str::trim).filter(|comment| !comment.is_empty()).map(Into::into);
        let voted = self.service.decide_in_chat(account, button, comment, request_id.clone()).await;
        let refusal = match &voted {
            Ok(shown) => return counted(shown),
            Err(refusal) => refusal,
        };
        let said = self.click_refused("teams/decide", account, refusal, request_id);
        match self.service.chat().filter(|_| refusal.reason() == "account_not_linked") {
            Some(chat) => format!("{said} Get a code at {} and enter it by \"Link my account\".", chat.connect()),
            None => said,
        }
    }

    async fn linked(&self, account: &Account, code: &str) -> String {
        entered(self.service.link(account, code).await).to_owned()
    }
}
