//! Ids may hold any text: they survive every round trip to the byte, are bound to the byte, and are shown escaped.

use std::collections::BTreeMap;

use countersign::domain::{ApprovalId, EntityUid};
use countersign::wire::pb;
use serde_json::{Value, json};
use sha2::{Digest, Sha256};

use crate::support::actors::gateway;
use crate::support::client::{export, string, uid};
use crate::support::{Client, PolicyDir};

const HOSTILE: [&str; 9] = [
    "",
    "a\0b",
    "\u{202e}txt.exe",
    "quote\"and\\backslash",
    "line\nfeed\r\u{2028}\u{85}",
    "\u{1b}[31mred",
    "zero\u{200b}width\u{feff}",
    "e\u{301} is not \u{e9}",
    "😀\u{e0041}\u{10ffff}",
];

fn personal(id: &str) -> pb::Entity {
    let pii = pb::Value { kind: Some(pb::value::Kind::Bool(true)) };
    pb::Entity {
        uid: Some(uid("Dataset", id)),
        attributes: BTreeMap::from([("pii".into(), pii)]),
        ..pb::Entity::default()
    }
}

fn exporting(id: &str) -> pb::AuthorizeRequest {
    let mut query = export();
    query.context.insert("destination".into(), string(id));
    pb::AuthorizeRequest { resource: Some(uid("Dataset", id)), entities: vec![personal(id)], ..query }
}

/// The canonical form, written a second time and from its description alone, for the query above.
fn canonical(id: &str) -> String {
    let form = json!({
        "action": {"id": "export", "type": "Action"},
        "context": {"destination": {"string": id}, "rows": {"long": "1000"}},
        "entities": [{
            "attributes": {"pii": {"bool": true}}, "parents": [], "tags": {}, "uid": {"id": id, "type": "Dataset"},
        }],
        "form": "countersign.query.v1",
        "principal": {"id": "gateway", "type": "Workload"},
        "resource": {"id": id, "type": "Dataset"},
    });
    jcs(&form)
}

/// RFC 8785 for what occurs here: no numbers.
fn jcs(value: &Value) -> String {
    match value {
        Value::Object(fields) => {
            let mut fields: Vec<_> = fields.iter().collect();
            fields.sort_by_key(|(name, _)| name.encode_utf16().collect::<Vec<_>>());
            let fields: Vec<_> =
                fields.into_iter().map(|(name, value)| format!("{}:{}", quoted(name), jcs(value))).collect();
            format!("{{{}}}", fields.join(","))
        }
        Value::Array(items) => format!("[{}]", items.iter().map(jcs).collect::<Vec<_>>().join(",")),
        Value::String(text) => quoted(text),
        Value::Bool(truth) => truth.to_string(),
        other => panic!("{other} is not in the form"),
    }
}

/// RFC 8785 section 3.2.2.2.
fn quoted(text: &str) -> String {
    let escaped: String = text
        .chars()
        .map(|character| match character {
            '"' => "\\\"".into(),
            '\\' => "\\\\".into(),
            '\u{8}' => "\\b".into(),
            '\t' => "\\t".into(),
            '\n' => "\\n".into(),
            '\u{c}' => "\\f".into(),
            '\r' => "\\r".into(),
            control if control < ' ' => format!("\\u{:04x}", u32::from(control)),
            other => other.to_string(),
        })
        .collect();
    format!("\"{escaped}\"")
}

#[tokio::test(flavor = "multi_thread")]
async fn hostile_ids_survive_every_round_trip_and_are_bound_to_the_byte() {
    let policies = PolicyDir::extended();
    let server = policies.serve().await;
    let client = server.client_of(&gateway()).await;
    let mut ids = Vec::new();
    for id in HOSTILE {
        let answer = client.authorize(exporting(id)).await.unwrap();
        let approval = answer.approval.unwrap();
        assert_eq!(approval.resource, Some(uid("Dataset", id)));
        assert_eq!(client.get(&approval.id).await.unwrap().canonical_query, canonical(id), "{id:?}");
        let digest: String = Sha256::digest(canonical(id)).iter().map(|byte| format!("{byte:02x}")).collect();
        assert_eq!((&approval.binding, &answer.binding), (&digest, &digest), "{id:?}");
        assert!(!answer.message.chars().any(char::is_control), "{}", answer.message);
        ids.push((id, approval));
    }
    // The same from the journal, after a restart.
    let server = server.restart().await;
    let (client, auditor) = (server.client_of(&gateway()).await, server.client("erin").await);
    for (id, approval) in ids {
        let whole = client.get(&approval.id).await.unwrap();
        assert_eq!(pb::Approval { canonical_query: String::new(), ..whole }, approval);
        assert_eq!(recorded(&auditor, id).await, std::slice::from_ref(&approval.id), "{id:?}");
        let listed = pb::ListApprovalsRequest { resource: Some(uid("Dataset", id)), ..Default::default() };
        let listed = client.stub.clone().list_approvals(listed).await.unwrap().into_inner().approvals;
        assert_eq!(listed, std::slice::from_ref(&approval), "{id:?}");
        let voted = server.client("alice").await.approve(&approval).await.unwrap();
        assert_eq!(voted.reviews.len(), 1, "{id:?}");
    }
}

/// The approvals of the decisions on record for this resource.
async fn recorded(auditor: &Client, id: &str) -> Vec<String> {
    let filter = pb::Filter { resource: Some(uid("Dataset", id)), ..pb::Filter::default() };
    let records = auditor.audit(pb::AuditRequest { filter: Some(filter), ..Default::default() }).await.unwrap();
    let decided = records.into_iter().filter_map(|record| match record.fact.unwrap() {
        pb::record::Fact::Decided(decided) => Some(decided),
        _ => None,
    });
    decided
        .map(|decided| {
            assert_eq!(decided.resource, Some(uid("Dataset", id)));
            assert_eq!(decided.context["destination"], string(id));
            decided.approval_id
        })
        .collect()
}

#[test]
fn hostile_ids_are_shown_escaped() {
    for id in HOSTILE {
        let shown = EntityUid::new("Dataset", id).to_string();
        let unseen = |character: char| {
            character.is_control() || ('\u{200b}'..='\u{202e}').contains(&character) || character == '\u{feff}'
        };
        assert!(!shown.chars().any(unseen), "{shown}");
        assert!(shown.starts_with("Dataset::\"") && shown.ends_with('"'));
        assert_eq!(shown.matches('"').count() - shown.matches("\\\"").count(), 2, "{shown}");
    }
    assert!("apr_\u{202e}".parse::<ApprovalId>().is_err());
}
