//! Teams by a bot: one message per approval, changed on every step, with buttons (`Action.Execute`) where the service lets people
//! decide here and the whole of what they decide is in the card.
//!
//! Sources: Microsoft, "Bot Connector API reference" (send to conversation, update activity, reply), and "Universal Actions for
//! Adaptive Cards".

use reqwest::{Method, Url};
use serde::Deserialize;
use serde_json::{Value, json};

use super::bot::Bot;
use super::channel::{Failure, Posted};
use super::message::Message;
use super::settings::Target;
use super::{teams, text};
use crate::domain::Timestamp;

/// Of the text in notifications.
const SUMMARY_CHARS_MAX: usize = 500;

/// What the connector says of a new message.
#[derive(Deserialize)]
struct Said {
    id: String,
}

pub async fn deliver(
    (target, bot): (&Target, &Bot),
    message: &Message,
    before: Option<&Posted>,
    now: Timestamp,
) -> Result<Posted, Failure> {
    let activity = activity(message, now);
    if let Some(posted) = before {
        let url = place(target, &posted.channel, Some(&posted.ts)).await?;
        let answer = bot.call(target, Method::PUT, &url, &activity).await?;
        // Deleted, or of a bot that was installed anew: it is posted anew.
        if answer.status != 404 {
            answer.accepted()?;
            if let Some(nudge) = message.nudge() {
                // A changed message rings nobody's phone: what is meant to do so is said below it.
                let thread = format!("{};messageid={}", posted.channel, posted.ts);
                let url = place(target, &thread, None).await?;
                let said = text::plain(&format!("{}: {nudge}", message.sentence()), SUMMARY_CHARS_MAX);
                let reply = json!({"type": "message", "textFormat": "plain", "text": said});
                bot.call(target, Method::POST, &url, &reply).await?.accepted()?;
            }
            return Ok(posted.clone());
        }
    }
    let url = place(target, &target.channel, None).await?;
    let answer = bot.call(target, Method::POST, &url, &activity).await?;
    answer.accepted()?;
    let said: Said =
        serde_json::from_slice(&answer.body).map_err(|_| Failure::later("no answer of Teams'".to_owned()))?;
    Ok(Posted { channel: target.channel.clone(), ts: said.id })
}

fn activity(message: &Message, now: Timestamp) -> Value {
    json!({
        "type": "message",
        "summary": text::plain(&message.sentence(), SUMMARY_CHARS_MAX),
        "attachments": [teams::attachment(&teams::card(message, now))],
    })
}

/// The activities of a conversation, or one of them. INVARIANT: below the configured address; no address of a request is called.
async fn place(target: &Target, conversation: &str, activity: Option<&str>) -> Result<Url, Failure> {
    let mut url = target.url().await.map_err(Failure::later)?;
    let mut segments = url.path_segments_mut().map_err(|()| Failure::later("the URL takes no path".to_owned()))?;
    segments.pop_if_empty().extend(["v3", "conversations", conversation, "activities"]).extend(activity);
    drop(segments);
    Ok(url)
}
