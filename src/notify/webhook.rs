//! Generic webhooks: a CloudEvent in structured mode, signed as Standard Webhooks say.
//!
//! Sources: CloudEvents 1.0.2 with its JSON format and HTTP binding; Standard Webhooks 1.0.

use reqwest::header::{CONTENT_TYPE, HeaderMap, HeaderValue};
use serde_json::{Value, json};

use super::channel::Failure;
use super::message::Message;
use super::settings::Target;
use super::signature::Secrets;
use super::{dial, secret};
use crate::domain::{Legible, Timestamp};

/// The header, and the attribute of the event: whoever receives it goes on with the trace of the call that asked.
const TRACE_PARENT: &str = "traceparent";

pub async fn deliver(target: &Target, message: &Message, now: Timestamp) -> Result<(), Failure> {
    let secrets = Secrets::parse(&secret::read(&target.secret_file).await.map_err(Failure::later)?);
    let secrets = secrets.map_err(|error| Failure::later(format!("`{}`: {error}", target.secret_file.display())))?;
    let body = event(&target.source, message).to_string().into_bytes();
    let seconds = now.as_seconds();
    let headers = [
        ("webhook-id", message.id.clone()),
        ("webhook-timestamp", seconds.to_string()),
        ("webhook-signature", secrets.sign(&message.id, seconds, &body)),
    ];
    let mut map = HeaderMap::new();
    map.insert(CONTENT_TYPE, HeaderValue::from_static("application/cloudevents+json; charset=utf-8"));
    for (name, value) in headers {
        map.insert(name, HeaderValue::from_str(&value).map_err(|error| Failure::Refused(error.to_string()))?);
    }
    if let Some(trace) = &message.approval.opening.trace_parent {
        map.insert(TRACE_PARENT, HeaderValue::from_str(&trace.0).map_err(|error| Failure::Refused(error.to_string()))?);
    }
    let url = target.url().await.map_err(Failure::later)?;
    dial::post(&url, &target.allow, map, body).await?.accepted()
}

/// The event. Entities are written as in policies, with invisible characters as escapes.
pub fn event(source: &str, message: &Message) -> Value {
    let opening = &message.approval.opening;
    let query = &opening.query;
    let gates = opening.requirement.gates().iter().map(|gate| {
        json!({
            "id": Legible(&gate.id.0).to_string(),
            "text": Legible(&gate.text).to_string(),
            "severity": gate.severity.name(),
            "quorum": gate.quorum.get(),
            "reviewers": gate.reviewers_at(opening.opened_at, message.at).map(ToString::to_string).collect::<Vec<_>>(),
        })
    });
    let mut event = json!({
        "specversion": "1.0",
        "id": message.id,
        "source": source,
        "type": format!("countersign.approval.{}.v1", message.event.name()),
        "subject": opening.id.to_string(),
        "time": message.at.to_string(),
        "datacontenttype": "application/json",
        "data": {
            "approval_id": opening.id.to_string(),
            "binding": opening.binding.to_string(),
            "state": message.state(),
            "broken_glass": message.glass(),
            "principal": query.principal.to_string(),
            "on_behalf_of": query.on_behalf_of.as_ref().map(ToString::to_string),
            "caller": opening.caller.uid.to_string(),
            "action": query.action.to_string(),
            "resource": query.resource.to_string(),
            "severity": message.severity().name(),
            "gates": gates.collect::<Vec<_>>(),
            "opened_at": opening.opened_at.to_string(),
            "deadline": opening.deadline.to_string(),
            "link": message.link,
        },
    });
    // The extension "Distributed Tracing" of CloudEvents.
    if let (Some(trace), Some(attributes)) = (&opening.trace_parent, event.as_object_mut()) {
        attributes.insert(TRACE_PARENT.to_owned(), trace.0.as_ref().into());
    }
    event
}
