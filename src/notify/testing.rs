//! A message for the tests of the channels.

use std::sync::Arc;
use std::time::Duration;

use super::message::{Answer, Event, Message};
use crate::domain::{
    Approval, ApprovalId, Binding, EntityUid, Gate, GrantTerms, Identity, Justification, Opening, PolicyDigest,
    PolicyId, PrincipalKind, Proof, ProofMethod, Query, Quorum, Requirement, SelfReview, Severity, Timestamp, Value,
};

pub const NOW: Timestamp = Timestamp::from_micros(1_800_000_000_000_000);

/// Somebody wants to export `resource`, before a gate that says `text`; a parameter is `s3cret`.
pub fn message(resource: &str, text: &str) -> Message {
    let bot = Identity {
        uid: EntityUid::new("Agent", "bot"),
        kind: PrincipalKind::Agent,
        groups: Vec::new(),
        issuer: "https://login.example".into(),
        subject: "bot".into(),
        display_name: None,
        on_behalf_of: None,
        earlier_actors: Vec::new(),
        proof: Proof {
            method: ProofMethod::Asserted,
            expires_at: Timestamp::MAX,
            authenticated_at: None,
            credential: None,
        },
    };
    let query = Query {
        principal: bot.uid.clone(),
        on_behalf_of: Some(EntityUid::new("User", "alice")),
        action: EntityUid::new("Action", "export"),
        resource: EntityUid::new("Dataset", resource),
        context: [("to".into(), Value::String("s3cret".into()))].into(),
        environment: Default::default(),
        entities: Vec::new(),
    };
    let gate = Gate {
        id: PolicyId("export-pii".into()),
        text: text.into(),
        reviewers: vec![EntityUid::new("Group", "privacy")],
        quorum: Quorum::ONE,
        timeout: Duration::from_secs(900),
        grant: GrantTerms::Once,
        escalations: Vec::new(),
        reminders: Vec::new(),
        break_glass: Vec::new(),
        severity: Severity::High,
        justification: Justification::Optional,
        self_review: SelfReview::Forbidden,
        notify: Vec::new(),
    };
    let opening = Opening {
        id: ApprovalId::from_bytes([7; 16]),
        binding: Binding::of(&query),
        query: Arc::new(query),
        principal: Arc::new(bot.clone()),
        caller: Arc::new(bot),
        requirement: Requirement::new(vec![gate]).unwrap(),
        justification: Some("s3cret words".into()),
        opened_at: NOW,
        deadline: NOW.after(Duration::from_secs(900)),
        digest: PolicyDigest([0; 32]),
        trace_parent: None,
    };
    Message {
        id: "evt_1".into(),
        at: NOW,
        event: Event::Opened,
        approval: Arc::new(Approval::opened(Arc::new(opening))),
        link: Some("https://inbox.example/approvals/apr_1".into()),
        answer: Answer::Nowhere,
    }
}
