//! What the Bot Connector sends, as far as it is used. Source: Microsoft, "Bot Framework Activity schema", and "Universal Actions
//! for Adaptive Cards" (`adaptiveCard/action`). No address in it is called, and no name in it is believed.

use axum::body::Bytes;
use serde::Deserialize;

use crate::identity::Origin;
use crate::service::chat::teams::{APPROVE, LINK, REJECT};
use crate::service::chat::{Account, Place, Product};

/// What somebody wants who clicked.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Invoked {
    Vote { button: String, comment: Option<String> },
    Code { code: String },
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Activity {
    #[serde(rename = "type")]
    kind: String,
    #[serde(default)]
    name: String,
    #[serde(default)]
    channel_id: String,
    #[serde(default)]
    service_url: String,
    #[serde(default)]
    from: From,
    #[serde(default)]
    conversation: Conversation,
    #[serde(default)]
    channel_data: ChannelData,
    value: Option<Value>,
}

#[derive(Default, Deserialize)]
#[serde(rename_all = "camelCase")]
struct From {
    /// The account's id in its directory; absent for those who have none, guests of a meeting for instance.
    #[serde(default)]
    aad_object_id: String,
}

#[derive(Default, Deserialize)]
#[serde(rename_all = "camelCase")]
struct Conversation {
    #[serde(default)]
    id: String,
    tenant_id: Option<String>,
}

#[derive(Default, Deserialize)]
struct ChannelData {
    tenant: Option<Tenant>,
}

#[derive(Deserialize)]
struct Tenant {
    id: String,
}

#[derive(Deserialize)]
struct Value {
    action: Option<Action>,
}

#[derive(Deserialize)]
struct Action {
    #[serde(default)]
    verb: String,
    #[serde(default)]
    data: Data,
}

/// What a button carries, and what was written beside it.
#[derive(Default, Deserialize)]
struct Data {
    #[serde(default)]
    button: String,
    comment: Option<String>,
    #[serde(default)]
    code: String,
}

impl Activity {
    /// `None` for what is no activity.
    pub fn read(body: &Bytes) -> Option<Self> {
        serde_json::from_slice(body).ok()
    }

    /// Where it says that it comes from. Of two tenants that are not the same, none.
    pub fn place(&self) -> Place<'_> {
        let (conversation, channel) = (&self.conversation.tenant_id, &self.channel_data.tenant);
        let tenant = match (conversation.as_deref(), channel.as_ref().map(|tenant| &*tenant.id)) {
            (Some(one), Some(other)) if one == other => one,
            (Some(only), None) | (None, Some(only)) => only,
            (Some(_), Some(_)) | (None, None) => "",
        };
        let origin = Origin { channel: &self.channel_id, service_url: &self.service_url };
        Place { origin, tenant, conversation: &self.conversation.id }
    }

    /// Who clicked on what; `None` for everything that is no click on a button of a card.
    pub fn invoked(self) -> Option<(Account, Invoked)> {
        let workspace = self.place().tenant.to_owned();
        let is_click = self.kind == "invoke" && self.name == "adaptiveCard/action";
        let user = self.from.aad_object_id;
        let known = is_click && !workspace.is_empty() && !user.is_empty();
        let Action { verb, data } = self.value.filter(|_| known)?.action?;
        let invoked = match &*verb {
            APPROVE => Invoked::Vote { button: data.button, comment: None },
            REJECT => Invoked::Vote { button: data.button, comment: data.comment },
            LINK => Invoked::Code { code: data.code },
            _ => return None,
        };
        Some((Account { product: Product::Teams, workspace, user }, invoked))
    }
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;

    fn activity(change: impl FnOnce(&mut Value)) -> Option<Activity> {
        let mut activity = json!({"type": "invoke", "name": "adaptiveCard/action", "channelId": "msteams",
            "serviceUrl": "https://smba.example/", "from": {"id": "29:x", "aadObjectId": "u1"},
            "conversation": {"id": "19:c;messageid=1", "tenantId": "t1"}, "channelData": {"tenant": {"id": "t1"}},
            "value": {"action": {"type": "Action.Execute", "verb": "reject", "data": {"button": "b", "comment": "no"}}}});
        change(&mut activity);
        Activity::read(&Bytes::from(activity.to_string()))
    }

    #[test]
    fn a_click_is_of_the_account_that_the_service_names_and_of_one_tenant() {
        let account = Account { product: Product::Teams, workspace: "t1".into(), user: "u1".into() };
        let vote = Invoked::Vote { button: "b".into(), comment: Some("no".into()) };
        assert_eq!(activity(|_| ()).unwrap().invoked(), Some((account, vote)));
        for (path, value) in [
            ("/channelData/tenant/id", json!("t2")),
            ("/conversation/tenantId", json!("")),
            ("/from/aadObjectId", json!("")),
            ("/value/action/verb", json!("approve_all")),
        ] {
            let other = activity(|activity| *activity.pointer_mut(path).unwrap() = value);
            assert!(other.is_none_or(|other| other.invoked().is_none()), "{path}");
        }
    }

    #[test]
    fn case_56_what_people_write_is_no_click() {
        let written = activity(|activity| {
            activity["type"] = json!("message");
            activity["text"] = json!("/approve apr_1");
        });
        assert_eq!(written.unwrap().invoked(), None);
        for broken in [&b"{"[..], b"", b"[]", b"{\"type\": 1}"] {
            assert!(Activity::read(&Bytes::from_static(broken)).is_none());
        }
    }
}
