//! Slack: one message per approval, in the order in which people look, changed on every event. It has a link; and buttons where
//! the service lets people decide here and the whole of what they decide is in the message.
//!
//! Source: Slack, `chat.postMessage`, `chat.update` and the Block Kit reference (limits of characters).

use reqwest::header::{AUTHORIZATION, CONTENT_TYPE, HeaderMap, HeaderValue};
use serde::Deserialize;
use serde_json::{Value, json};

use super::channel::{Failure, Posted};
use super::message::{Answer, Buttons, Message};
use super::parameters::{CLAIM_CHARS_MAX, GATE_CHARS_MAX, GATES_SHOWN_MAX};
use super::settings::Target;
use super::{dial, parameters, secret, text};
use crate::domain::{ApprovalState, Timestamp};

const HEADER_CHARS_MAX: usize = 150;
const SECTION_CHARS_MAX: usize = 3_000;
/// Of the text in notifications.
const FALLBACK_CHARS_MAX: usize = 3_000;
/// The name of a form's field.
pub const FORM_FIELD: &str = "text";
/// Slack takes so many.
const FORM_CHARS_MAX: usize = 3_000;

/// What the buttons are called when they come back.
pub const APPROVE: &str = "countersign_approve";
pub const REJECT: &str = "countersign_reject";
/// The button of whoever is not linked yet.
pub const ENTER_CODE: &str = "countersign_enter_code";

/// What Slack says of a call. Errors come with status 200.
#[derive(Deserialize)]
struct Said {
    ok: bool,
    #[serde(default)]
    error: String,
    #[serde(default)]
    channel: String,
    #[serde(default)]
    ts: String,
}

pub async fn deliver(
    target: &Target,
    message: &Message,
    before: Option<&Posted>,
    now: Timestamp,
) -> Result<Posted, Failure> {
    let content = content(message, now);
    if let Some(posted) = before {
        let body = with(&content, &[("channel", &posted.channel), ("ts", &posted.ts)]);
        match call(target, "chat.update", &body).await {
            Ok(_) => {
                if let Some(nudge) = message.nudge() {
                    call(target, "chat.postMessage", &reply(message, posted, &nudge)).await?;
                }
                return Ok(posted.clone());
            }
            Err(Failure::Refused(error)) if is_gone(&error) => {}
            Err(failure) => return Err(failure),
        }
    }
    let body = with(&content, &[("channel", &target.channel)]);
    let said = call(target, "chat.postMessage", &body).await?;
    Ok(Posted { channel: said.channel, ts: said.ts })
}

/// A changed message rings nobody's phone: what is meant to do so is said below it, and in the channel.
fn reply(message: &Message, posted: &Posted, nudge: &str) -> Value {
    json!({
        "channel": posted.channel, "thread_ts": posted.ts, "reply_broadcast": true,
        "text": text::slack(&format!("{}: {nudge}", message.sentence()), FALLBACK_CHARS_MAX),
        "mrkdwn": false, "parse": "none", "link_names": false, "unfurl_links": false, "unfurl_media": false,
        "metadata": {"event_type": "countersign_approval", "event_payload": {"id": message.id}},
    })
}

/// The content with where it goes.
fn with(content: &Value, place: &[(&str, &str)]) -> Value {
    let content = content.as_object().into_iter().flatten().map(|(name, value)| (name.clone(), value.clone()));
    content.chain(place.iter().map(|(name, value)| ((*name).to_owned(), (*value).into()))).collect()
}

async fn call(target: &Target, method: &str, body: &Value) -> Result<Said, Failure> {
    let token = secret::read_line(&target.secret_file).await.map_err(Failure::later)?;
    let mut authorization = HeaderValue::from_str(&format!("Bearer {token}"))
        .map_err(|_| Failure::later("the token cannot stand in a header".to_owned()))?;
    authorization.set_sensitive(true);
    let json = HeaderValue::from_static("application/json; charset=utf-8");
    let headers = HeaderMap::from_iter([(AUTHORIZATION, authorization), (CONTENT_TYPE, json)]);
    let base = target.url().await.map_err(Failure::later)?;
    let url = base.join(method).map_err(|error| Failure::later(error.to_string()))?;
    let answer = dial::post(&url, &target.allow, headers, body.to_string().into_bytes()).await?;
    answer.accepted()?;
    let said: Said = serde_json::from_slice(&answer.body).map_err(|_| Failure::later("no answer of Slack's".into()))?;
    match said.error.as_str() {
        _ if said.ok => Ok(said),
        "invalid_blocks"
        | "invalid_blocks_format"
        | "msg_too_long"
        | "no_text"
        | "message_not_found"
        | "cant_update_message"
        | "edit_window_closed" => Err(Failure::Refused(said.error)),
        // A token, a channel, a limit: the operator's or Slack's to put right.
        error => {
            let cause = format!("Slack says `{}`", text::plain(error, 64));
            Err(Failure::Later { after: answer.retry_after, cause })
        }
    }
}

/// The message was deleted, or is not ours to change any more: it is posted anew.
fn is_gone(error: &str) -> bool {
    matches!(error, "message_not_found" | "cant_update_message" | "edit_window_closed")
}

/// The message without its place. What others wrote is `plain_text`, where nothing is markup; only our own words and the
/// operator's link are `mrkdwn`.
fn content(message: &Message, now: Timestamp) -> Value {
    let opening = &message.approval.opening;
    let state = message.approval.state_at(now);
    let severity = message.severity().name();
    let sentence = message.sentence();
    let gates = opening.requirement.gates();
    let mut why: Vec<String> =
        gates.iter().take(GATES_SHOWN_MAX).map(|gate| text::slack(&gate.text, GATE_CHARS_MAX)).collect();
    if gates.len() > GATES_SHOWN_MAX {
        why.push(format!("and {} gates more", gates.len() - GATES_SHOWN_MAX));
    }
    let plain = |text: String| json!({"type": "section", "text": {"type": "plain_text", "text": text, "emoji": false}});
    let until = match state.is_final() || state.name() != "pending" {
        true => format!("state: {}", state.name()),
        false => format!("waiting until {}, then it is denied", text::moment(opening.deadline)),
    };
    let glass = message.glass().map(|glass| plain(text::slack(&glass, SECTION_CHARS_MAX)));
    let mut blocks = vec![
        json!({"type": "header", "text": {"type": "plain_text", "text": text::slack(&sentence, HEADER_CHARS_MAX), "emoji": false}}),
        plain(text::slack(&sentence, SECTION_CHARS_MAX)),
        plain(format!("{severity}: {}", why.join(" · "))),
        plain(text::slack(&message.chain(), SECTION_CHARS_MAX)),
        plain(text::slack(&format!("{until} · {}", message.quorum().join(", ")), SECTION_CHARS_MAX)),
    ];
    blocks.extend(glass);
    blocks.extend(answer(message, state != ApprovalState::Pending));
    let link = message.link.as_ref().map(|link| text::slack(link, SECTION_CHARS_MAX / 2));
    blocks.extend(link.map(|link| {
        json!({"type": "section", "text": {"type": "mrkdwn", "text": format!("<{link}|Open in the inbox>"), "verbatim": true}})
    }));
    json!({
        "text": text::slack(&format!("[{severity}] {sentence}: {}", state.name()), FALLBACK_CHARS_MAX),
        "mrkdwn": false, "parse": "none", "link_names": false, "unfurl_links": false, "unfurl_media": false,
        "blocks": blocks,
        // One event has one id, so that a repetition can be told from news.
        "metadata": {"event_type": "countersign_approval", "event_payload": {"id": message.id}},
    })
}

/// What one needs to decide, and the buttons; or why there are none.
fn answer(message: &Message, is_over: bool) -> Vec<Value> {
    let plain = |text: String| json!({"type": "section", "text": {"type": "plain_text", "text": text, "emoji": false}});
    match &message.answer {
        _ if is_over => Vec::new(),
        Answer::Nowhere => Vec::new(),
        Answer::Inbox(why) => vec![plain(format!("Decided in the inbox only: {why}"))],
        Answer::Buttons(ids) => {
            let opening = &message.approval.opening;
            let parameters = parameters::whole(&message.approval).filter(|text| !text.is_empty());
            let lines: Option<Vec<String>> = parameters.map(|text| text.lines().map(str::to_owned).collect());
            let table = match lines {
                Some(lines) => text::lines(&lines, SECTION_CHARS_MAX).unwrap_or_default(),
                None => "no parameters".to_owned(),
            };
            let claim = opening.justification.as_ref().map(|words| {
                plain(format!("Claimed by the requester, not verified: {}", text::slack(words, CLAIM_CHARS_MAX)))
            });
            let binding = plain(format!("binding {}", opening.binding));
            [Some(plain(table)), claim, Some(binding), Some(buttons(ids))].into_iter().flatten().collect()
        }
    }
}

fn buttons(ids: &Buttons) -> Value {
    let button = |action: &str, label: &str, style: &str, value: &str| {
        json!({"type": "button", "action_id": action, "style": style, "value": value,
            "text": {"type": "plain_text", "text": label, "emoji": false}})
    };
    json!({"type": "actions", "elements": [
        button(APPROVE, "Approve", "primary", &ids.approve),
        button(REJECT, "Reject …", "danger", &ids.reject),
    ]})
}

/// Tells one account something that nobody else in the channel sees; with a link and a button for a code, if one is needed.
///
/// # Errors
/// [`Failure`].
pub async fn whisper(target: &Target, user: &str, said: &str, connect: Option<&str>) -> Result<(), Failure> {
    let said = text::slack(said, SECTION_CHARS_MAX);
    let mut blocks = vec![json!({"type": "section", "text": {"type": "plain_text", "text": said, "emoji": false}})];
    if let Some(link) = connect {
        let link = text::slack(link, SECTION_CHARS_MAX / 2);
        blocks.push(json!({"type": "section",
            "text": {"type": "mrkdwn", "text": format!("<{link}|1. Sign in and get a code>"), "verbatim": true}}));
        blocks.push(json!({"type": "actions", "elements": [{"type": "button", "action_id": ENTER_CODE,
            "value": target.name, "text": {"type": "plain_text", "text": "2. Enter the code …", "emoji": false}}]}));
    }
    let body = json!({"channel": target.channel, "user": user, "text": said, "blocks": blocks, "mrkdwn": false,
        "parse": "none", "link_names": false});
    call(target, "chat.postEphemeral", &body).await.map(|_| ())
}

/// A form for one line or more of text.
pub struct Form<'a> {
    pub callback: &'a str,
    /// Comes back with what was written.
    pub metadata: &'a str,
    pub title: &'a str,
    pub label: &'a str,
    pub submit: &'a str,
    pub chars_max: usize,
    pub multiline: bool,
}

/// Opens a form for whoever clicked; within three seconds of the click.
///
/// # Errors
/// [`Failure`].
pub async fn open_form(target: &Target, trigger: &str, form: &Form<'_>) -> Result<(), Failure> {
    let plain = |text: &str| json!({"type": "plain_text", "text": text, "emoji": false});
    let view = json!({
        "type": "modal", "callback_id": form.callback, "private_metadata": form.metadata,
        "title": plain(form.title), "submit": plain(form.submit), "close": plain("Cancel"),
        "blocks": [{"type": "input", "block_id": FORM_FIELD, "label": plain(form.label),
            "element": {"type": "plain_text_input", "action_id": FORM_FIELD, "multiline": form.multiline,
                "min_length": 1, "max_length": form.chars_max.min(FORM_CHARS_MAX)}}],
    });
    call(target, "views.open", &json!({"trigger_id": trigger, "view": view})).await.map(|_| ())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::notify::testing::{NOW, message};

    #[test]
    fn what_others_wrote_is_never_markup_and_keeps_slacks_limits() {
        let message = message("<!channel> *x* \u{202e}", &"<".repeat(9_000));
        let content = content(&message, NOW);
        let blocks = content["blocks"].as_array().unwrap();
        assert!(blocks.len() <= 50);
        for block in blocks {
            let (kind, text) = (block["text"]["type"].as_str().unwrap(), block["text"]["text"].as_str().unwrap());
            let most = if block["type"] == "header" { HEADER_CHARS_MAX } else { SECTION_CHARS_MAX };
            assert!(!text.is_empty() && text.chars().count() <= most, "{text}");
            assert!(!text.contains('\u{202e}') && !text.contains("<!"), "{text}");
            assert_eq!(kind == "mrkdwn", text.starts_with("<https://inbox.example/"), "{text}");
        }
        let fallback = content["text"].as_str().unwrap();
        assert!(fallback.contains("&lt;!channel&gt;") && !fallback.contains('<'), "{fallback}");
    }

    #[test]
    fn the_parameters_stay_at_home() {
        for answer in [Answer::Nowhere, Answer::Inbox("it is masked")] {
            let message = Message { answer, ..message("customers", "why") };
            let content = content(&message, NOW).to_string();
            assert!(!content.contains("s3cret") && content.contains("why") && !content.contains("button"), "{content}");
        }
    }

    #[test]
    fn whoever_has_buttons_sees_what_they_decide_and_nobody_has_them_afterwards() {
        let buttons = Buttons { approve: "id-a".into(), reject: "id-r".into() };
        let message = Message { answer: Answer::Buttons(buttons), ..message("customers", "why") };
        let before = content(&message, NOW);
        let blocks = before["blocks"].as_array().unwrap();
        let ids: Vec<_> = blocks.iter().flat_map(|block| block["elements"].as_array().into_iter().flatten()).collect();
        assert_eq!((&ids[0]["value"], &ids[1]["value"]), (&json!("id-a"), &json!("id-r")));
        let text = before.to_string();
        assert!(text.contains("to: \\\"s3cret\\\"") && text.contains("not verified: s3cret words"), "{text}");
        assert!(text.contains(&message.approval.opening.binding.to_string()));
        let after = content(&message, message.approval.opening.deadline).to_string();
        assert!(!after.contains("id-a") && !after.contains("s3cret"), "{after}");
    }
}
