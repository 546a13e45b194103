//! The account at the end of a history: the journal alone must show that every invariant held.

use std::collections::{HashMap, HashSet};

use countersign::domain::{ApprovalId, Change, Decided, Fact, Moved, Outcome, Reason, Transition, Verdict};
use countersign::journal::Log;

use super::reference::{Answer, Asked, Model, State, What};

/// What the journal says of one approval.
#[derive(Default)]
struct Account {
    opened: usize,
    settled: Vec<&'static str>,
    uses: usize,
    approvers: HashSet<String>,
    votes: usize,
}

pub fn check(log: &Log, model: &Model, answers: &[(Answer, Asked)], told: &[String]) {
    let mut accounts: HashMap<ApprovalId, Account> = HashMap::new();
    let mut decisions = HashSet::new();
    let mut next = 1;
    loop {
        let chunk = log.read_raw(next, 1_000, 1 << 20).unwrap();
        let Some(last) = chunk.last() else { break };
        next = last.sequence + 1;
        for raw in &chunk {
            match raw.parse(log.vault()).unwrap().fact {
                Fact::Decided(decided) => {
                    assert!(decisions.insert(decided.id.to_string()), "decision {} is there twice", decided.id);
                    of_decision(&mut accounts, &decided);
                }
                Fact::Moved(moved) => of_move(accounts.get_mut(&moved.approval).expect("opened before"), &moved),
                Fact::Started(_)
                | Fact::Refused(_)
                | Fact::PoliciesReloaded(_)
                | Fact::EntitiesChanged(_)
                | Fact::Revealed(_) => {}
            }
        }
    }
    assert!(told.iter().all(|told| decisions.contains(told)), "an answer that is not on record");
    assert_eq!(accounts.len(), model.approvals.len(), "approvals that nobody was told of");
    for approval in &model.approvals {
        balance(&accounts[&approval.id.unwrap()], approval.state, approval.asked.what);
    }
    one_use_each(answers);
}

fn of_decision(accounts: &mut HashMap<ApprovalId, Account>, decided: &Decided) {
    let Some(id) = decided.approval else { return };
    let account = accounts.entry(id).or_default();
    match &decided.change {
        Change::None => {}
        Change::Opened(_) => account.opened += 1,
        Change::Redeemed(transition) => {
            assert_eq!((decided.outcome, decided.reason), (Outcome::Allow, Reason::Granted));
            account.uses += 1;
            if matches!(transition, Transition::Consumed { .. }) {
                account.settled.push("consumed");
            }
        }
    }
}

fn of_move(account: &mut Account, moved: &Moved) {
    match &moved.transition {
        Transition::Reviewed(review) | Transition::Approved(review, _) | Transition::Rejected(review) => {
            account.votes += 1;
            if review.verdict == Verdict::Approve {
                assert!(account.approvers.insert(review.reviewer.uid.to_string()), "one person counted twice");
            }
        }
        Transition::Expired { .. }
        | Transition::Escalated { .. }
        | Transition::Reminded { .. }
        | Transition::Cancelled { .. }
        | Transition::Revoked { .. }
        | Transition::BrokenGlass(..)
        | Transition::Examined(_)
        | Transition::Lapsed { .. }
        | Transition::Reported(_) => {}
        Transition::Consumed { .. } | Transition::Used { .. } => panic!("a use that is not a decision"),
    }
    match moved.transition {
        Transition::Reviewed(_)
        | Transition::Escalated { .. }
        | Transition::Reminded { .. }
        | Transition::Reported(_) => {}
        _ => account.settled.push(moved.transition.name()),
    }
}

fn balance(account: &Account, state: State, what: What) {
    assert_eq!(account.opened, 1, "an approval is opened once");
    let approved = account.settled.iter().filter(|name| **name == "approved").count();
    let after_approval = ["consumed", "revoked", "lapsed"];
    let ends = account.settled.iter().filter(|name| after_approval.contains(*name)).count();
    let others = account.settled.len() - approved - ends;
    assert!(approved + others <= 1, "settled twice: {:?}", account.settled);
    assert!(ends <= approved, "ended twice, or without an approval: {:?}", account.settled);
    let quorum = if matches!(what, What::Export(_)) { 2 } else { 1 };
    assert!(approved == 0 || account.approvers.len() >= quorum, "approved by {:?}", account.approvers);
    assert!(account.uses == 0 || approved == 1, "used without an approval");
    assert!(
        account.uses <= 1 || !matches!(what, What::Export(_)),
        "a grant for one use was used {} times",
        account.uses
    );
    // What only time did may be true without being written down yet; everything else is written.
    match state {
        State::Pending => assert!(account.settled.is_empty()),
        State::Expired | State::Lapsed => {}
        state => assert_eq!(account.settled.last(), Some(&state.name())),
    }
}

/// An ALLOW for one use was given once, and again only as the same answer.
fn one_use_each(answers: &[(Answer, Asked)]) {
    let mut used: HashMap<usize, usize> = HashMap::new();
    for (answer, asked) in answers {
        let granted = answer.outcome == "ALLOW" && matches!(asked.what, What::Export(_));
        if let Some(approval) = answer.approval.filter(|_| granted) {
            assert_eq!(*used.entry(approval).or_insert(answer.decision), answer.decision, "two uses of one grant");
        }
    }
}
