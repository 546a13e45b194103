//! Facts made by hand, for those who speak to a store or a journal directly.

use std::sync::Arc;
use std::time::Duration;

use countersign::domain::{
    Approval, ApprovalId, Attributes, Binding, Change, Decided, DecisionId, EntityUid, Fact, Gate, Grant, GrantTerms,
    Identity, Justification, Moved, Opening, Outcome, PolicyDigest, PolicyId, PrincipalKind, Proof, ProofMethod, Query,
    Quorum, Reason, Requirement, Review, SelfReview, Severity, Timestamp, Transition, Value, Verdict,
};
use uuid::Uuid;

const HOUR: Duration = Duration::from_secs(3_600);
/// How long a PEP has to say what became of it.
pub const LEASE: Duration = HOUR;

pub fn person(id: &str) -> Arc<Identity> {
    identity("User", PrincipalKind::User, id)
}

pub fn agent(id: &str) -> Arc<Identity> {
    identity("Agent", PrincipalKind::Agent, id)
}

fn identity(type_name: &str, kind: PrincipalKind, id: &str) -> Arc<Identity> {
    let expires_at = Timestamp::MAX;
    let proof = Proof { method: ProofMethod::Token, expires_at, authenticated_at: None, credential: None };
    Arc::new(Identity {
        uid: EntityUid::new(type_name, id),
        kind,
        groups: Vec::new(),
        issuer: "https://issuer.example".into(),
        subject: id.into(),
        display_name: None,
        on_behalf_of: None,
        earlier_actors: Vec::new(),
        proof,
    })
}

/// The export of so many rows by an agent: each number is another binding.
pub fn export(principal: &str, rows: i64) -> Arc<Query> {
    Arc::new(Query {
        principal: EntityUid::new("Agent", principal),
        on_behalf_of: None,
        action: EntityUid::new("Action", "export"),
        resource: EntityUid::new("Dataset", "customers"),
        context: Attributes::from([("rows".into(), Value::Long(rows))]),
        environment: Attributes::new(),
        entities: Vec::new(),
    })
}

/// One gate: so many people, and what their approval is good for.
pub fn requirement(quorum: u32, grant: GrantTerms) -> Requirement {
    let gate = Gate {
        id: gate(),
        text: "customer data leaves".into(),
        reviewers: vec![EntityUid::new("Group", "privacy")],
        quorum: Quorum::new(quorum).unwrap(),
        timeout: HOUR,
        grant,
        escalations: Vec::new(),
        reminders: Vec::new(),
        break_glass: Vec::new(),
        severity: Severity::High,
        justification: Justification::Optional,
        self_review: SelfReview::Forbidden,
        notify: Vec::new(),
    };
    Requirement::new(vec![gate]).unwrap()
}

fn gate() -> PolicyId {
    PolicyId("export-pii".into())
}

/// A decision about a query that changes nothing, yet.
pub fn decision(query: &Arc<Query>, outcome: Outcome, reason: Reason) -> Decided {
    let asker = agent(&query.principal.id);
    Decided {
        id: DecisionId::from_uuid(Uuid::now_v7()),
        binding: Binding::of(query),
        query: query.clone(),
        principal: asker.clone(),
        caller: asker,
        outcome,
        reason,
        determining: Vec::new(),
        errors: Vec::new(),
        obligations: Vec::new(),
        digest: PolicyDigest([7; 32]),
        revision: 1,
        justification: None,
        request_id: "request".into(),
        approval: None,
        change: Change::None,
        idempotency_key: None,
        repeats: None,
        follows: None,
    }
}

/// An opening of `query` at `now`, for so long.
pub fn opening(query: &Arc<Query>, now: Timestamp, span: Duration, requirement: Requirement) -> Decided {
    let plain = decision(query, Outcome::Pending, Reason::ApprovalRequired);
    let id = approval_id(plain.binding);
    let opening = Opening {
        id,
        binding: plain.binding,
        query: query.clone(),
        principal: plain.principal.clone(),
        caller: plain.caller.clone(),
        requirement,
        justification: None,
        opened_at: now,
        deadline: now.after(span),
        digest: plain.digest,
        trace_parent: None,
    };
    Decided { approval: Some(id), change: Change::Opened(Arc::new(opening)), ..plain }
}

/// The same, asked for by somebody else.
pub fn asked_by(caller: &str, opened: Decided) -> Decided {
    let caller = agent(caller);
    let change = match &opened.change {
        Change::Opened(opening) => Change::Opened(Arc::new(Opening { caller: caller.clone(), ..(**opening).clone() })),
        Change::None | Change::Redeemed(_) => opened.change.clone(),
    };
    Decided { caller, change, ..opened }
}

/// A new name for an approval of this binding.
pub fn approval_id(binding: Binding) -> ApprovalId {
    ApprovalId::opened(Uuid::now_v7(), &binding)
}

pub fn review(who: &str, verdict: Verdict, at: Timestamp) -> Review {
    Review { reviewer: person(who), verdict, gates: vec![gate()], comment: None, at, stands_in: Vec::new() }
}

/// A vote that leaves it pending.
pub fn reviewed(who: &str, at: Timestamp) -> Transition {
    Transition::Reviewed(review(who, Verdict::Approve, at))
}

/// The vote that closes the quorum, with a grant for so long.
pub fn approved(who: &str, approval: &Approval, at: Timestamp, redeem_within: Duration) -> Transition {
    let grant = Grant::given(&approval.opening.requirement, at, redeem_within);
    Transition::Approved(review(who, Verdict::Approve, at), grant)
}

pub fn rejected(who: &str, at: Timestamp) -> Transition {
    Transition::Rejected(review(who, Verdict::Reject, at))
}

pub fn cancelled(at: Timestamp) -> Transition {
    Transition::Cancelled { by: person("alice"), comment: None, at }
}

pub fn revoked(at: Timestamp) -> Transition {
    Transition::Revoked { by: person("alice"), comment: None, at }
}

/// An answer that uses up the approval's grant.
pub fn consumption(approval: &Approval, at: Timestamp) -> Decided {
    let plain = decision(&approval.opening.query, Outcome::Allow, Reason::Granted);
    let by = Some(plain.caller.uid.clone());
    let consumed = Transition::Consumed { by, decision: plain.id, at, report_by: at.after(LEASE) };
    Decided { approval: Some(approval.id()), change: Change::Redeemed(consumed), ..plain }
}

/// An answer that uses the approval's grant once more.
pub fn usage(approval: &Approval, at: Timestamp) -> Decided {
    let plain = decision(&approval.opening.query, Outcome::Allow, Reason::Granted);
    let used = Transition::Used { decision: plain.id, at };
    Decided { approval: Some(approval.id()), change: Change::Redeemed(used), ..plain }
}

pub fn fact(decided: &Decided) -> Fact {
    Fact::Decided(Arc::new(decided.clone()))
}

pub fn moved(approval: &Approval, transition: Transition) -> Fact {
    let query = &approval.opening.query;
    Fact::Moved(Moved {
        approval: approval.id(),
        binding: approval.opening.binding,
        principal: query.principal.clone(),
        action: query.action.clone(),
        resource: query.resource.clone(),
        transition,
        request_id: "request".into(),
    })
}
