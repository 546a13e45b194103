//! Teams: an Adaptive Card with a link, through a workflow's webhook. Cards that were posted this way cannot be changed, so
//! only what people must know is told: that they are needed, and that they no longer are.
//!
//! Sources: Microsoft, "Create incoming webhooks with Workflows"; Adaptive Cards 1.4. `TextRun` knows no markdown.

use reqwest::header::{CONTENT_TYPE, HeaderMap, HeaderValue};
use serde_json::{Value, json};

use super::channel::Failure;
use super::message::{Event, Message};
use super::settings::Target;
use super::{dial, text};

/// Teams takes 28 KB in all.
const TEXT_CHARS_MAX: usize = 1_000;
const GATES_SHOWN_MAX: usize = 4;

/// Opened, asked again, and whatever ends the waiting.
pub fn tells(event: Event) -> bool {
    matches!(
        event.name(),
        "opened"
            | "broken_glass"
            | "examined"
            | "escalated"
            | "reminded"
            | "approved"
            | "rejected"
            | "expired"
            | "cancelled"
            | "revoked"
    )
}

pub async fn deliver(target: &Target, message: &Message) -> Result<(), Failure> {
    let json = HeaderValue::from_static("application/json; charset=utf-8");
    let headers = HeaderMap::from_iter([(CONTENT_TYPE, json)]);
    let url = target.url().await.map_err(Failure::later)?;
    let answer = dial::post(&url, &target.allow, headers, card(message).to_string().into_bytes()).await?;
    answer.accepted()
}

fn card(message: &Message) -> Value {
    let opening = &message.approval.opening;
    let run = |text: &str| text::plain(text, TEXT_CHARS_MAX);
    let line = |text: String| json!({"type": "RichTextBlock", "inlines": [{"type": "TextRun", "text": text}]});
    let bold = |text: String| json!({"type": "RichTextBlock", "inlines": [{"type": "TextRun", "text": text, "weight": "Bolder"}]});
    let state = message.state();
    let mut body = vec![bold(run(&message.sentence())), line(format!("{} · {state}", message.severity().name()))];
    body.extend(opening.requirement.gates().iter().take(GATES_SHOWN_MAX).map(|gate| line(run(&gate.text))));
    body.push(line(run(&message.chain())));
    body.extend(message.nudge().map(|nudge| line(run(&nudge))));
    if message.event.waits_for_people() {
        let until = text::moment(opening.deadline);
        body.push(line(run(&format!("until {until}, then it is denied · {}", message.quorum().join(", ")))));
    }
    let open = |link: &String| json!({"type": "Action.OpenUrl", "title": "Open in the inbox", "url": link});
    json!({
        "type": "message",
        "attachments": [{
            "contentType": "application/vnd.microsoft.card.adaptive",
            "contentUrl": null,
            "content": {
                "$schema": "http://adaptivecards.io/schemas/adaptive-card.json",
                "type": "AdaptiveCard",
                "version": "1.4",
                "body": body,
                "actions": message.link.iter().map(open).collect::<Vec<_>>(),
            },
        }],
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::notify::testing::message;

    #[test]
    fn a_card_has_no_markdown_of_others_and_fits() {
        let message = message("[x](https://evil.example) \u{202e}", &"é".repeat(9_000));
        let card = card(&message);
        let text = card.to_string();
        assert!(text.len() < 28 << 10 && !text.contains('\u{202e}') && !text.contains("TextBlock\",\"text"), "{text}");
        let content = &card["attachments"][0]["content"];
        assert_eq!(content["actions"][0]["url"], message.link.unwrap());
        assert!(!text.contains("s3cret"));
    }
}
