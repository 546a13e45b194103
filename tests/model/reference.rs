//! What must happen, in the plainest words: no journal, no policies, no versions, no async. Written from DESIGN section 2
//! and not from the code it checks.

use std::collections::HashMap;

use countersign::domain::{ApprovalId, DecisionId};

pub const SECOND: i64 = 1_000_000;
pub const MINUTE: i64 = 60 * SECOND;
pub const HOUR: i64 = 60 * MINUTE;

/// How long answers are remembered under a key, grants for one use wait, and outcomes may be reported.
pub const KEY_SPAN: i64 = 5 * MINUTE;
pub const REDEEM_SPAN: i64 = HOUR;
pub const LEASE: i64 = 15 * MINUTE;
/// How long a rejection answers the same query.
pub const REJECTION_STANDS: i64 = 10 * MINUTE;

/// Who asks. `BotForAlice` is the bot with a token to act for Alice: the same caller, another principal chain.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Asker {
    Bot,
    BotForAlice,
    Pipeline,
}

impl Asker {
    pub const ALL: [Self; 3] = [Self::Bot, Self::BotForAlice, Self::Pipeline];

    /// Idempotency keys belong to the caller, whomever it acts for.
    fn key_space(self) -> &'static str {
        match self {
            Self::Bot | Self::BotForAlice => "bot",
            Self::Pipeline => "pipeline",
        }
    }
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum What {
    Read,
    Drop,
    /// With a payload: another one is another action.
    Export(u8),
    Rotate(u8),
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Asked {
    pub by: Asker,
    pub what: What,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Terms {
    Once,
    Hours(i64),
}

/// What a gate of the example policies demands.
struct Rules {
    reviewers: &'static [&'static str],
    quorum: usize,
    timeout: i64,
    terms: Terms,
    justified: bool,
}

const EXPORT: Rules = Rules {
    reviewers: &["alice", "bob", "carol"],
    quorum: 2,
    timeout: 15 * MINUTE,
    terms: Terms::Once,
    justified: true,
};
const ROTATE: Rules =
    Rules { reviewers: &["dave"], quorum: 1, timeout: HOUR, terms: Terms::Hours(8), justified: false };

impl Asked {
    /// Whether a permit matches, and the gate that fires.
    fn rules(self) -> Result<Option<&'static Rules>, &'static str> {
        match (self.by, self.what) {
            (_, What::Read) => Ok(None),
            (Asker::Bot | Asker::BotForAlice, What::Drop) => Err("forbidden"),
            (Asker::Bot | Asker::BotForAlice, What::Export(_)) => Ok(Some(&EXPORT)),
            (Asker::Pipeline, What::Rotate(_)) => Ok(Some(&ROTATE)),
            (Asker::Pipeline, What::Drop | What::Export(_)) | (_, What::Rotate(_)) => Err("not_permitted"),
        }
    }
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum State {
    Pending,
    Approved { lapses: i64 },
    Rejected { at: i64 },
    Expired,
    Cancelled,
    Revoked,
    Lapsed,
    Consumed { by: usize, report: Option<bool>, report_by: i64 },
}

impl State {
    pub fn name(self) -> &'static str {
        match self {
            Self::Pending => "pending",
            Self::Approved { .. } => "approved",
            Self::Rejected { .. } => "rejected",
            Self::Expired => "expired",
            Self::Cancelled => "cancelled",
            Self::Revoked => "revoked",
            Self::Lapsed => "lapsed",
            Self::Consumed { .. } => "consumed",
        }
    }
}

#[derive(Debug, Clone)]
pub struct Approval {
    pub id: Option<ApprovalId>,
    pub asked: Asked,
    pub state: State,
    pub deadline: i64,
    /// Who voted, and whether with yes.
    pub votes: Vec<(&'static str, bool)>,
}

impl Approval {
    fn rules(&self) -> &'static Rules {
        self.asked.rules().expect("permitted").expect("gated")
    }

    fn is_partys(&self, who: &str) -> bool {
        match self.asked.by {
            Asker::Bot => who == "bot",
            Asker::BotForAlice => who == "bot" || who == "alice",
            Asker::Pipeline => who == "pipeline",
        }
    }

    fn may_see(&self, who: &str) -> bool {
        self.is_partys(who) || self.rules().reviewers.contains(&who) || who == "erin"
    }
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Answer {
    pub outcome: &'static str,
    pub reason: &'static str,
    /// Which of the model's decisions it is; a repeated answer is the earlier one.
    pub decision: usize,
    pub approval: Option<usize>,
    pub repeated: bool,
}

struct Remembered {
    asked: Asked,
    answer: Answer,
    at: i64,
}

#[derive(Default)]
pub struct Model {
    pub now: i64,
    pub approvals: Vec<Approval>,
    /// The ids under which the service knows the model's decisions.
    pub decisions: Vec<Option<DecisionId>>,
    keys: HashMap<(&'static str, u8), Remembered>,
}

impl Model {
    pub fn starting_at(now: i64) -> Self {
        Self { now, ..Self::default() }
    }

    /// Lets time pass: deadlines count at once, whoever looks.
    pub fn at(&mut self, now: i64) {
        self.now = now;
        for approval in &mut self.approvals {
            approval.state = match approval.state {
                State::Pending if approval.deadline <= now => State::Expired,
                State::Approved { lapses } if lapses <= now => State::Lapsed,
                state => state,
            };
        }
    }

    pub fn authorize(
        &mut self,
        asked: Asked,
        named: Option<usize>,
        key: Option<u8>,
        justified: bool,
    ) -> Result<Answer, &'static str> {
        let remembered = key.and_then(|key| self.keys.get(&(asked.by.key_space(), key)));
        let remembered = remembered.filter(|earlier| earlier.at + KEY_SPAN > self.now);
        if remembered.is_some_and(|earlier| earlier.asked != asked) {
            return Err("idempotency_key_reused");
        }
        let earlier = remembered.map(|earlier| earlier.answer);
        let named = named.or(earlier.and_then(|earlier| earlier.approval));
        if let Some(answer) = earlier.and_then(|earlier| self.repeated(asked, named, earlier)) {
            return Ok(answer);
        }
        let answer = self.afresh(asked, named, justified);
        // An attempt with the wrong approval leaves the key's answer alone.
        if let Some(key) = key.filter(|_| answer.reason != "binding_mismatch") {
            self.keys.insert((asked.by.key_space(), key), Remembered { asked, answer, at: self.now });
        }
        Ok(answer)
    }

    fn repeated(&self, asked: Asked, named: Option<usize>, earlier: Answer) -> Option<Answer> {
        if named.is_some_and(|named| self.approvals[named].asked != asked) {
            return None;
        }
        let again = |outcome, reason| Some(Answer { outcome, reason, repeated: true, ..earlier });
        match (earlier.outcome, earlier.reason) {
            ("PENDING", _) => None,
            ("DENY", reason) => again("DENY", reason),
            (_, "permitted") => again("ALLOW", "permitted"),
            _ if named != earlier.approval => None,
            _ => match self.approvals[named?].state {
                State::Consumed { by, report: None, .. } if by == earlier.decision => again("ALLOW", "granted"),
                State::Approved { .. } => again("ALLOW", "granted"),
                State::Revoked => again("DENY", "approval_revoked"),
                State::Lapsed => again("DENY", "grant_lapsed"),
                _ => again("DENY", "grant_consumed"),
            },
        }
    }

    fn afresh(&mut self, asked: Asked, named: Option<usize>, justified: bool) -> Answer {
        let decision = self.decisions.len();
        self.decisions.push(None);
        let answer = |outcome, reason, approval| Answer { outcome, reason, decision, approval, repeated: false };
        if let Some(other) = named.filter(|named| self.approvals[*named].asked != asked) {
            return answer("DENY", "binding_mismatch", Some(other));
        }
        let rules = match asked.rules() {
            Err(reason) => return answer("DENY", reason, None),
            Ok(None) => return answer("ALLOW", "permitted", None),
            Ok(Some(rules)) => rules,
        };
        let latest = self.approvals.iter().rposition(|approval| approval.asked == asked);
        match named.or(latest).map(|place| (place, self.approvals[place].state)) {
            Some((place, State::Pending)) => answer("PENDING", "approval_required", Some(place)),
            Some((place, State::Approved { .. })) => {
                if rules.terms == Terms::Once {
                    let report_by = self.now + LEASE;
                    self.approvals[place].state = State::Consumed { by: decision, report: None, report_by };
                }
                answer("ALLOW", "granted", Some(place))
            }
            Some((place, State::Rejected { at })) if self.now < at + REJECTION_STANDS => {
                answer("DENY", "approval_rejected", Some(place))
            }
            Some((place, settled)) if named.is_some() => answer("DENY", refusal(settled), Some(place)),
            _ if rules.justified && !justified => answer("DENY", "justification_required", None),
            _ => {
                let deadline = self.now + rules.timeout;
                self.approvals.push(Approval { id: None, asked, state: State::Pending, deadline, votes: Vec::new() });
                answer("PENDING", "approval_required", Some(self.approvals.len() - 1))
            }
        }
    }

    pub fn review(
        &mut self,
        who: &'static str,
        place: usize,
        yes: bool,
        same_binding: bool,
    ) -> Result<State, &'static str> {
        let now = self.now;
        let approval = &mut self.approvals[place];
        let rules = approval.rules();
        if who == "bot" {
            return Err("not_human");
        }
        if !rules.reviewers.contains(&who) {
            return Err(if approval.may_see(who) { "not_reviewer" } else { "not_found" });
        }
        if approval.is_partys(who) {
            return Err("own_action");
        }
        if !same_binding {
            return Err("binding_mismatch");
        }
        if approval.votes.contains(&(who, yes)) {
            return Ok(approval.state);
        }
        if approval.state != State::Pending {
            return Err("already_settled");
        }
        approval.votes.push((who, yes));
        let humans = approval.votes.iter().filter(|(_, yes)| *yes).count();
        if !yes {
            approval.state = State::Rejected { at: now };
        } else if humans >= rules.quorum {
            let span = match rules.terms {
                Terms::Once => REDEEM_SPAN,
                Terms::Hours(hours) => hours * HOUR,
            };
            approval.state = State::Approved { lapses: now + span };
        }
        Ok(approval.state)
    }

    pub fn cancel(&mut self, who: &str, place: usize) -> Result<State, &'static str> {
        let approval = &mut self.approvals[place];
        if !approval.is_partys(who) {
            return Err(if approval.may_see(who) { "not_permitted" } else { "not_found" });
        }
        if approval.state != State::Pending {
            return Err("already_settled");
        }
        approval.state = State::Cancelled;
        Ok(State::Cancelled)
    }

    pub fn revoke(&mut self, who: &str, place: usize) -> Result<State, &'static str> {
        let approval = &mut self.approvals[place];
        if !approval.rules().reviewers.contains(&who) {
            return Err(if approval.may_see(who) { "not_permitted" } else { "not_found" });
        }
        match approval.state {
            State::Approved { .. } => approval.state = State::Revoked,
            State::Pending => return Err("wrong_state"),
            _ => return Err("already_settled"),
        }
        Ok(State::Revoked)
    }

    pub fn report(&mut self, who: &str, place: usize, decision: usize, succeeded: bool) -> Result<State, &'static str> {
        let approval = &mut self.approvals[place];
        if !approval.is_partys(who) {
            return Err("not_found");
        }
        let State::Consumed { by, report, report_by } = approval.state else { return Err("wrong_state") };
        if by != decision {
            return Err("invalid_argument");
        }
        match report {
            Some(earlier) if earlier != succeeded => Err("already_settled"),
            _ => {
                approval.state = State::Consumed { by, report: Some(succeeded), report_by };
                Ok(approval.state)
            }
        }
    }
}

fn refusal(settled: State) -> &'static str {
    match settled {
        State::Rejected { .. } => "approval_rejected",
        State::Expired => "approval_expired",
        State::Cancelled => "approval_cancelled",
        State::Revoked => "approval_revoked",
        State::Lapsed => "grant_lapsed",
        State::Consumed { .. } => "grant_consumed",
        State::Pending | State::Approved { .. } => unreachable!("not settled"),
    }
}
