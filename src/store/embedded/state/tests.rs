//! The races that last for microseconds: what a decision saw is gone when it is written down. Over the wire nobody can
//! hit them on purpose, so the state is asked itself.

use std::time::Duration;

use uuid::Uuid;

use super::*;
use crate::domain::{
    Attributes, DecisionId, EntityUid, Gate, Grant, GrantTerms, Identity, Justification, PolicyDigest, PolicyId, Query,
    Quorum, Reason, Requirement, Review, SelfReview, Severity, Value, Verdict,
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
        trace_parent: None,
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
        stands_in: Vec::new(),
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

/// An approval of something of that size, opened by `caller` for `principal`.
fn opening(n: u8, caller: &str, principal: &str, bytes: usize) -> Opening {
    let context = Attributes::from([("what".into(), Value::String("x".repeat(bytes).into()))]);
    let query = Arc::new(Query {
        principal: EntityUid::new("User", principal),
        resource: EntityUid::new("Dataset", &n.to_string()),
        context,
        ..Query::clone(&export())
    });
    Opening {
        id: ApprovalId::from_bytes([n; 16]),
        binding: Binding::of(&query),
        query,
        principal: person(principal),
        caller: person(caller),
        requirement: eight_hours(),
        justification: None,
        opened_at: NOW,
        deadline: NOW.after(HOUR),
        digest: PolicyDigest([0; 32]),
        trace_parent: None,
    }
}

fn opened(opening: Opening) -> Fact {
    let opened = Decided {
        outcome: Outcome::Pending,
        reason: Reason::ApprovalRequired,
        approval: Some(opening.id),
        binding: opening.binding,
        query: opening.query.clone(),
        change: Change::Opened(Arc::new(opening)),
        idempotency_key: None,
        ..allowed("agent", "")
    };
    decided(&opened)
}

fn rejected(state: &State, n: u8) -> Fact {
    let approval = state.approval(ApprovalId::from_bytes([n; 16])).unwrap().approval.clone();
    let gates = vec![PolicyId("gate".into())];
    let no = Review {
        reviewer: person("alice"),
        verdict: Verdict::Reject,
        gates,
        comment: None,
        at: NOW,
        stands_in: Vec::new(),
    };
    moved(&approval, Transition::Rejected(no))
}

fn cancelled(state: &State, n: u8) -> Fact {
    let approval = state.approval(ApprovalId::from_bytes([n; 16])).unwrap().approval.clone();
    moved(&approval, Transition::Cancelled { by: person("agent"), comment: None, at: NOW })
}

#[test]
fn a_rejection_that_stands_is_not_pushed_out_by_what_is_settled_after_it() {
    const LARGE: usize = 8 << 20;
    let mut state = State::new(Limits::default());
    let first = opening(1, "agent", "agent", 1);
    let binding = first.binding;
    state.apply(&opened(first), 1, NOW).unwrap();
    state.apply(&rejected(&state, 1), 2, NOW).unwrap();
    for n in 2..30 {
        state.apply(&opened(opening(n, "agent", "agent", LARGE)), u64::from(n), NOW).unwrap();
        state.apply(&cancelled(&state, n), u64::from(n), NOW).unwrap();
    }
    assert!(state.approval(ApprovalId::from_bytes([2; 16])).is_none(), "there was much to let go of");
    assert!(state.standing(&binding).is_some(), "the rejection stands");
    let later = NOW.after(REJECTION_STANDS);
    for n in 30..34 {
        state.apply(&opened(opening(n, "agent", "agent", LARGE)), u64::from(n), later).unwrap();
        state.apply(&cancelled(&state, n), u64::from(n), later).unwrap();
    }
    for n in 34..45 {
        state.apply(&opened(opening(n, "agent", "agent", LARGE)), u64::from(n), later).unwrap();
        state.apply(&cancelled(&state, n), u64::from(n), later).unwrap();
    }
    assert!(state.standing(&binding).is_none(), "then it is let go of like others");
}

#[test]
fn rejections_that_stand_are_bounded_by_opening_nothing_new() {
    let limits = Limits { standing_rejections_bytes_max: 1_000, ..Limits::default() };
    let mut state = State::new(limits);
    state.apply(&opened(opening(1, "agent", "agent", 2_000)), 1, NOW).unwrap();
    let next = opened(opening(2, "agent", "agent", 1));
    assert!(state.check(&next, Seen::Slot(None), NOW).is_ok());
    state.apply(&rejected(&state, 1), 2, NOW).unwrap();
    let refused = state.check(&next, Seen::Slot(None), NOW).unwrap_err();
    assert!(matches!(refused, CommitError::TooMany { limit: "standing_rejections_bytes_max", .. }), "{refused}");
}

#[test]
fn who_asks_for_another_uses_up_nothing_that_the_other_needs() {
    let limits = Limits { openings_per_minute_max: 2, ..Limits::default() };
    let mut state = State::new(limits);
    for n in 1..3 {
        state.apply(&opened(opening(n, "gateway", "victim", 1)), u64::from(n), NOW).unwrap();
    }
    let by = |caller| state.check(&opened(opening(9, caller, "victim", 1)), Seen::Slot(None), NOW);
    assert!(matches!(by("gateway"), Err(CommitError::TooFast { .. })));
    assert!(by("victim").is_ok(), "the principal's own allowance is untouched");
}

#[test]
fn who_asks_for_another_fills_no_place_that_the_other_needs() {
    let limits = Limits { pending_per_principal_max: 2, ..Limits::default() };
    let mut state = State::new(limits);
    for n in 1..3 {
        state.apply(&opened(opening(n, "gateway", "victim", 1)), u64::from(n), NOW).unwrap();
    }
    let by = |state: &State, caller| state.check(&opened(opening(9, caller, "victim", 1)), Seen::Slot(None), NOW);
    assert!(matches!(by(&state, "gateway"), Err(CommitError::TooMany { limit: "pending_per_principal_max", .. })));
    assert!(by(&state, "victim").is_ok(), "the principal's own places are its own");
    state.apply(&rejected(&state, 1), 3, NOW).unwrap();
    assert!(by(&state, "gateway").is_ok(), "one settled: room again");
}
