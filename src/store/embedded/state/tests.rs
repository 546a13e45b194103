//! The races that last for microseconds: what a decision saw is gone when it is written down. Over the wire nobody can
//! hit them on purpose, so the state is asked itself.

use std::time::Duration;

use uuid::Uuid;

use super::*;
use crate::domain::{
    Attributes, DecisionId, Gate, Grant, GrantTerms, Identity, Justification, PolicyDigest, PolicyId, Query, Quorum,
    Reason, Requirement, Review, SelfReview, Severity, Verdict,
};

const NOW: Timestamp = Timestamp::from_micros(1_700_000_000_000_000);
const HOUR: Duration = Duration::from_secs(3_600);

fn person(id: &str) -> Arc<Identity> {
    Arc::new(Identity::imagined("User", id, &[]))
}

fn export() -> Arc<Query> {
    Arc::new(Query {
        principal: EntityUid::new("User", "agent"),
        on_behalf_of: None,
        action: EntityUid::new("Action", "export"),
        resource: EntityUid::new("Dataset", "customers"),
        context: Attributes::new(),
        environment: Attributes::new(),
        entities: Vec::new(),
    })
}

fn eight_hours() -> Requirement {
    let gate = Gate {
        id: PolicyId("gate".into()),
        text: "why".into(),
        reviewers: vec![EntityUid::new("Group", "privacy")],
        quorum: Quorum::new(1).unwrap(),
        timeout: HOUR,
        grant: GrantTerms::For(8 * HOUR),
        escalations: Vec::new(),
        reminders: Vec::new(),
        break_glass: Vec::new(),
        severity: Severity::Low,
        justification: Justification::Optional,
        self_review: SelfReview::Forbidden,
        notify: Vec::new(),
    };
    Requirement::new(vec![gate]).unwrap()
}

/// An ALLOW by `caller` under a key, nothing else.
fn allowed(caller: &str, key: &str) -> Decided {
    let query = export();
    Decided {
        id: DecisionId::from_uuid(Uuid::now_v7()),
        binding: Binding::of(&query),
        query,
        principal: person("agent"),
        caller: person(caller),
        outcome: Outcome::Allow,
        reason: Reason::Granted,
        determining: Vec::new(),
        errors: Vec::new(),
        obligations: Vec::new(),
        digest: PolicyDigest([0; 32]),
        revision: 1,
        justification: None,
        request_id: "request".into(),
        approval: None,
        change: Change::None,
        idempotency_key: Some(key.into()),
        repeats: None,
        follows: None,
    }
}

fn decided(decided: &Decided) -> Fact {
    Fact::Decided(Arc::new(decided.clone()))
}

fn moved(approval: &Approval, transition: Transition) -> Fact {
    let query = &approval.opening.query;
    Fact::Moved(crate::domain::Moved {
        approval: approval.id(),
        binding: approval.opening.binding,
        principal: query.principal.clone(),
        action: query.action.clone(),
        resource: query.resource.clone(),
        transition,
        request_id: "request".into(),
    })
}

/// A state with one approval that may be used for eight hours, and that approval.
fn with_grant() -> (State, Arc<Approval>) {
    let mut state = State::new(Limits::default());
    let query = export();
    let id = ApprovalId::from_bytes([7; 16]);
    let opening = Opening {
        id,
        binding: Binding::of(&query),
        query,
        principal: person("agent"),
        caller: person("agent"),
        requirement: eight_hours(),
        justification: None,
        opened_at: NOW,
        deadline: NOW.after(HOUR),
        digest: PolicyDigest([0; 32]),
    };
    let opened = Decided {
        outcome: Outcome::Pending,
        reason: Reason::ApprovalRequired,
        approval: Some(id),
        change: Change::Opened(Arc::new(opening)),
        idempotency_key: None,
        ..allowed("agent", "")
    };
    state.apply(&decided(&opened), 1, NOW).unwrap();
    let vote = Review {
        reviewer: person("alice"),
        verdict: Verdict::Approve,
        gates: vec![PolicyId("gate".into())],
        comment: None,
        at: NOW,
    };
    let pending = state.approval(id).unwrap().approval.clone();
    let grant = Grant::given(&pending.opening.requirement, NOW, HOUR);
    state.apply(&moved(&pending, Transition::Approved(vote, grant)), 2, NOW).unwrap();
    let approved = state.approval(id).unwrap().approval.clone();
    (state, approved)
}

fn is_conflict(checked: Result<(), CommitError>) -> bool {
    match checked {
        Ok(()) => false,
        Err(CommitError::Conflict) => true,
        Err(other) => panic!("{other}"),
    }
}

#[test]
fn a_granted_answer_is_not_repeated_across_a_revocation() {
    let (mut state, approved) = with_grant();
    let first = Decided { approval: Some(approved.id()), ..allowed("agent", "key") };
    state.apply(&decided(&first), 3, NOW).unwrap();
    let repeat = Decided { repeats: Some(first.id), follows: Some(first.id), ..first.clone() };
    let seen = Seen::Version(approved.version);
    assert!(!is_conflict(state.check(&decided(&repeat), seen, NOW)));
    let revoked = Transition::Revoked { by: person("alice"), comment: None, at: NOW };
    state.apply(&moved(&approved, revoked), 4, NOW).unwrap();
    assert!(is_conflict(state.check(&decided(&repeat), seen, NOW)));
}

#[test]
fn a_granted_answer_is_not_repeated_past_the_moment_its_grant_lapses() {
    let (mut state, approved) = with_grant();
    let first = Decided { approval: Some(approved.id()), ..allowed("agent", "key") };
    state.apply(&decided(&first), 3, NOW).unwrap();
    let repeat = Decided { repeats: Some(first.id), follows: Some(first.id), ..first.clone() };
    assert!(is_conflict(state.check(&decided(&repeat), Seen::Version(approved.version), NOW.after(8 * HOUR))));
}

#[test]
fn two_answers_under_one_key_are_a_lost_race_unless_the_second_saw_the_first() {
    let (mut state, _) = with_grant();
    let first = allowed("agent", "key");
    state.apply(&decided(&first), 3, NOW).unwrap();
    let blind = allowed("agent", "key");
    assert!(is_conflict(state.check(&decided(&blind), Seen::Nothing, NOW)));
    let sighted = Decided { follows: Some(first.id), ..blind.clone() };
    assert!(!is_conflict(state.check(&decided(&sighted), Seen::Nothing, NOW)));
    let of_another = allowed("other", "key");
    assert!(!is_conflict(state.check(&decided(&of_another), Seen::Nothing, NOW)));
}

#[test]
fn a_caller_with_many_keys_crowds_out_its_own_answers_and_nobody_elses() {
    let limits = Limits { idempotency_keys_per_caller_max: 3, ..Limits::default() };
    let mut state = State::new(limits);
    let remembered = |state: &State, caller: &str, key: &str| {
        let key = IdempotencyKey { caller: EntityUid::new("User", caller), key: key.into() };
        state.answered(&key, NOW).is_some()
    };
    state.apply(&decided(&allowed("quiet", "only")), 1, NOW).unwrap();
    for n in 0..10 {
        state.apply(&decided(&allowed("busy", &n.to_string())), 2 + n, NOW).unwrap();
    }
    assert!(remembered(&state, "quiet", "only"));
    let of_busy: Vec<_> = (0..10).filter(|n| remembered(&state, "busy", &n.to_string())).collect();
    assert_eq!(of_busy, [7, 8, 9]);
}
