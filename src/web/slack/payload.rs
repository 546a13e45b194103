//! What Slack sends, as far as it is used. Source: Slack, "Reference: interaction payloads" (`block_actions`,
//! `view_submission`). Nothing in it says who somebody is here, and no address in it is called.

use axum::body::Bytes;
use serde::Deserialize;
use serde_json::{Value, json};

use crate::service::chat::speak::{CODE_FORM, COMMENT_FORM};
use crate::service::chat::{APPROVE, Account, ENTER_CODE, FORM_FIELD, Product, REJECT};

#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Interaction {
    /// A button of a message.
    Click { account: Account, button: String, trigger: String },
    /// The form of a rejection.
    Comment { account: Account, button: String, comment: String },
    /// The button of whoever is not linked.
    WantsCode { target: String, trigger: String },
    /// The form of a code.
    Code { account: Account, target: String, code: String },
    /// Links and closed forms, which need no answer.
    Other,
}

#[derive(Deserialize)]
struct Form {
    payload: String,
}

#[derive(Deserialize)]
struct Payload {
    #[serde(rename = "type")]
    kind: String,
    user: User,
    team: Option<Team>,
    #[serde(default)]
    trigger_id: String,
    #[serde(default)]
    actions: Vec<Action>,
    view: Option<View>,
}

#[derive(Deserialize)]
struct User {
    id: String,
    /// Where the account is at home, which in a shared channel is elsewhere.
    team_id: Option<String>,
}

#[derive(Deserialize)]
struct Team {
    id: String,
}

#[derive(Deserialize)]
struct Action {
    action_id: String,
    #[serde(default)]
    value: String,
}

#[derive(Deserialize)]
struct View {
    callback_id: String,
    private_metadata: String,
    #[serde(default)]
    state: Value,
}

impl Interaction {
    /// `None` for what is not Slack's form.
    pub fn read(body: &Bytes) -> Option<Self> {
        let form: Form = serde_urlencoded::from_bytes(body).ok()?;
        let payload: Payload = serde_json::from_str(&form.payload).ok()?;
        Some(payload.interaction())
    }
}

impl Payload {
    fn interaction(self) -> Interaction {
        let Some(account) = self.account() else { return Interaction::Other };
        match (&*self.kind, self.view, self.actions.into_iter().next()) {
            ("block_actions", _, Some(action)) => {
                let (trigger, value) = (self.trigger_id, action.value);
                match &*action.action_id {
                    APPROVE | REJECT => Interaction::Click { account, button: value, trigger },
                    ENTER_CODE => Interaction::WantsCode { target: value, trigger },
                    _ => Interaction::Other,
                }
            }
            ("view_submission", Some(view), _) => {
                let field = view.state.pointer(&format!("/values/{FORM_FIELD}/{FORM_FIELD}/value"));
                let written = field.and_then(Value::as_str).unwrap_or_default().to_owned();
                let metadata = view.private_metadata;
                match &*view.callback_id {
                    COMMENT_FORM => Interaction::Comment { account, button: metadata, comment: written },
                    CODE_FORM => Interaction::Code { account, target: metadata, code: written },
                    _ => Interaction::Other,
                }
            }
            _ => Interaction::Other,
        }
    }

    /// Whose home and the place of the click are one workspace, or it is nobody's.
    fn account(&self) -> Option<Account> {
        let place = self.team.as_ref().map(|team| &team.id);
        let home = self.user.team_id.as_ref().or(place)?;
        let is_one = place.is_none_or(|place| place == home);
        let account = Account { product: Product::Slack, workspace: home.clone(), user: self.user.id.clone() };
        (is_one && !account.user.is_empty()).then_some(account)
    }
}

/// Keeps a form open and says what is missing.
pub fn field_error(said: &str) -> Value {
    json!({"response_action": "errors", "errors": {(FORM_FIELD): said}})
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(payload: &Value) -> Option<Interaction> {
        let body = serde_urlencoded::to_string([("payload", payload.to_string())]).unwrap();
        Interaction::read(&Bytes::from(body))
    }

    #[test]
    fn case_37_a_click_of_another_workspaces_account_is_nobodys() {
        let click = |home: Value, place: Value| {
            read(&json!({"type": "block_actions", "user": {"id": "U1", "team_id": home}, "team": place,
                "trigger_id": "t", "actions": [{"action_id": APPROVE, "value": "b"}]}))
            .unwrap()
        };
        let account = Account { product: Product::Slack, workspace: "T1".into(), user: "U1".into() };
        let counted = Interaction::Click { account, button: "b".into(), trigger: "t".into() };
        assert_eq!(click(json!("T1"), json!({"id": "T1"})), counted);
        assert_eq!(click(json!(null), json!({"id": "T1"})), counted);
        assert_eq!(click(json!("T2"), json!({"id": "T1"})), Interaction::Other);
        assert_eq!(click(json!(null), json!(null)), Interaction::Other);
    }

    #[test]
    fn case_56_a_command_or_a_message_is_no_click() {
        assert_eq!(Interaction::read(&Bytes::from_static(b"command=%2Fapprove&text=apr_1&user_id=U1")), None);
        let other = json!({"type": "message_action", "user": {"id": "U1"}, "team": {"id": "T1"}});
        assert_eq!(read(&other), Some(Interaction::Other));
        for broken in [&b"payload={"[..], b"", b"payload=1", b"\xff"] {
            assert_eq!(Interaction::read(&Bytes::from_static(broken)), None);
        }
    }
}
