//! Teams: an Adaptive Card with a link, through a workflow's webhook. Cards that were posted this way cannot be changed, so
//! only what people must know is told: that they are needed, and that they no longer are. What a bot posts is the same card, with
//! buttons ([`teams_bot`](super::teams_bot)).
//!
//! Sources: Microsoft, "Create incoming webhooks with Workflows"; Adaptive Cards 1.4. `TextRun` knows no markdown.

use reqwest::header::{CONTENT_TYPE, HeaderMap, HeaderValue};
use serde_json::{Value, json};

use super::channel::Failure;
use super::message::{Answer, Buttons, Event, Message};
use super::parameters::{CLAIM_CHARS_MAX, GATES_SHOWN_MAX};
use super::settings::Target;
use super::{dial, parameters, text};
use crate::domain::{ApprovalState, Timestamp};

/// What others wrote, each. Where people decide by it, as much as [`parameters::shows_whole`] lets through.
const TEXT_CHARS_MAX: usize = 1_000;
/// Teams takes 28 KB in all.
const CARD_BYTES_MAX: usize = 26 << 10;

/// What the buttons are called when they come back, and what comes with them.
pub const APPROVE: &str = "approve";
pub const REJECT: &str = "reject";
/// The button of whoever is not linked yet.
pub const LINK: &str = "link";

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

pub async fn deliver(target: &Target, message: &Message, now: Timestamp) -> Result<(), Failure> {
    let json = HeaderValue::from_static("application/json; charset=utf-8");
    let headers = HeaderMap::from_iter([(CONTENT_TYPE, json)]);
    let url = target.url().await.map_err(Failure::later)?;
    let body = json!({"type": "message", "attachments": [attachment(&card(message, now))]});
    dial::post(&url, &target.allow, headers, body.to_string().into_bytes()).await?.accepted()
}

pub fn attachment(card: &Value) -> Value {
    json!({"contentType": "application/vnd.microsoft.card.adaptive", "contentUrl": null, "content": card})
}

/// The card. One that would be too large for Teams has no buttons.
pub fn card(message: &Message, now: Timestamp) -> Value {
    let card = drawn(message, &message.answer, now);
    let is_too_large = matches!(message.answer, Answer::Buttons(_)) && card.to_string().len() > CARD_BYTES_MAX;
    if is_too_large { drawn(message, &Answer::Inbox("it is too long for a message"), now) } else { card }
}

fn drawn(message: &Message, answer: &Answer, now: Timestamp) -> Value {
    let opening = &message.approval.opening;
    let chars = if matches!(answer, Answer::Buttons(_)) { parameters::CHARS_MAX } else { TEXT_CHARS_MAX };
    let run = |text: &str| text::plain(text, chars);
    let is_over = message.approval.state_at(now) != ApprovalState::Pending;
    let mut body =
        vec![bold(run(&message.sentence())), line(format!("{} · {}", message.severity().name(), message.state()))];
    body.extend(opening.requirement.gates().iter().take(GATES_SHOWN_MAX).map(|gate| line(run(&gate.text))));
    body.push(line(run(&message.chain())));
    body.extend(message.nudge().map(|nudge| line(run(&nudge))));
    if message.event.waits_for_people() {
        let until = text::moment(opening.deadline);
        body.push(line(run(&format!("until {until}, then it is denied · {}", message.quorum().join(", ")))));
    }
    let mut actions = Vec::new();
    match answer {
        _ if is_over => {}
        Answer::Nowhere => {}
        Answer::Inbox(why) => body.push(line(format!("Decided in the inbox only: {why}"))),
        Answer::Buttons(ids) => {
            body.extend(decided(message));
            actions = buttons(ids);
        }
    }
    let open = |link: &String| json!({"type": "Action.OpenUrl", "title": "Open in the inbox", "url": link});
    actions.extend(message.link.iter().map(open));
    json!({
        "$schema": "http://adaptivecards.io/schemas/adaptive-card.json",
        "type": "AdaptiveCard",
        "version": "1.4",
        "body": body,
        "actions": actions,
    })
}

fn line(text: String) -> Value {
    json!({"type": "RichTextBlock", "inlines": [{"type": "TextRun", "text": text}]})
}

fn bold(text: String) -> Value {
    json!({"type": "RichTextBlock", "inlines": [{"type": "TextRun", "text": text, "weight": "Bolder"}]})
}

/// Everything that a vote is about, in the order of the inbox. That it is whole is what the buttons were given for.
fn decided(message: &Message) -> Vec<Value> {
    let opening = &message.approval.opening;
    let parameters = parameters::whole(&message.approval).filter(|text| !text.is_empty());
    let parameters = parameters.unwrap_or_else(|| "no parameters".to_owned());
    let table = parameters.lines().map(|text| line(text::plain(text, parameters::CHARS_MAX)));
    let words = opening.justification.as_ref();
    let claim = words
        .map(|words| line(format!("Claimed by the requester, not verified: {}", text::plain(words, CLAIM_CHARS_MAX))));
    table.chain(claim).chain([line(format!("binding {}", opening.binding))]).collect()
}

fn buttons(ids: &Buttons) -> Vec<Value> {
    let execute = |title: &str, verb: &str, style: &str, data: Value| json!({"type": "Action.Execute", "title": title, "verb": verb, "style": style, "data": data});
    let asked = |title: &str, label: &str, id: &str, multiline: bool, action: Value| {
        let input = json!({"type": "Input.Text", "id": id, "label": label, "isRequired": true, "errorMessage": label,
            "isMultiline": multiline});
        json!({"type": "Action.ShowCard", "title": title,
            "card": {"type": "AdaptiveCard", "version": "1.4", "body": [input], "actions": [action]}})
    };
    let reject = execute("Reject", REJECT, "destructive", json!({"button": ids.reject}));
    let link = execute("Link", LINK, "default", json!({}));
    vec![
        execute("Approve", APPROVE, "positive", json!({"button": ids.approve})),
        asked("Reject …", "Why? Whoever asked is told.", "comment", true, reject),
        asked("Link my account …", "The code that you got at the inbox", "code", false, link),
    ]
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::notify::testing::{NOW, message};

    #[test]
    fn a_card_has_no_markdown_of_others_and_fits() {
        let message = message("[x](https://evil.example) \u{202e}", &"é".repeat(9_000));
        let card = card(&message, NOW);
        let text = card.to_string();
        assert!(text.len() < 28 << 10 && !text.contains('\u{202e}') && !text.contains("TextBlock\",\"text"), "{text}");
        assert_eq!(card["actions"][0]["url"], message.link.unwrap());
        assert!(!text.contains("s3cret"));
    }

    #[test]
    fn whoever_has_buttons_sees_what_they_decide_and_nobody_has_them_afterwards() {
        let answer = Answer::Buttons(Buttons { approve: "id-a".into(), reject: "id-r".into() });
        let message = Message { answer, ..message("customers", "why") };
        let before = card(&message, NOW);
        let verbs = [&before["actions"][0], &before["actions"][1]["card"]["actions"][0]];
        assert_eq!((&verbs[0]["verb"], &verbs[0]["data"]["button"]), (&json!("approve"), &json!("id-a")));
        assert_eq!((&verbs[1]["verb"], &verbs[1]["data"]["button"]), (&json!("reject"), &json!("id-r")));
        let text = before.to_string();
        assert!(text.contains("to: \\\"s3cret\\\"") && text.contains("not verified: s3cret words"), "{text}");
        assert!(text.contains(&message.approval.opening.binding.to_string()));
        let after = card(&message, message.approval.opening.deadline).to_string();
        assert!(!after.contains("id-a") && !after.contains("s3cret"), "{after}");
    }

    #[test]
    fn a_card_that_teams_would_not_take_has_no_buttons_and_no_parameters() {
        let buttons = Buttons { approve: "id-a".repeat(7_000), reject: "id-r".into() };
        let message = Message { answer: Answer::Buttons(buttons), ..message("customers", "why") };
        let text = card(&message, NOW).to_string();
        assert!(
            text.contains("too long for a message") && !text.contains("id-a") && !text.contains("s3cret"),
            "{text}"
        );
    }
}
