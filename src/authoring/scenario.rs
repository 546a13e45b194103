//! One query and what becomes of it, as the service would live it: the same guards, engine, `domain::decide` and approvals,
//! in the order of `service::authorize` and `service::review`. Only the store is missing: one approval, one clock that the
//! test moves, nobody else in the house.

use std::sync::Arc;
use std::time::Duration;

use super::coverage::Sightings;
use super::suite::{Answer, Deed};
use crate::domain::guard::beside_asking;
use crate::domain::identity::Credential;
use crate::domain::poll::ReviewRules;
use crate::domain::{
    Approval, ApprovalId, ApprovalState, Ballot, Binding, Circumstances, Counted, DecisionId, Effect, Evaluation, Gate,
    GuardAction, Guarded, Identity, Lending, MaskSupport, Obligation, Opening, Outcome, PolicyId, Poll, ProofMethod,
    Query, REJECTION_STANDS, Requirement, ReviewRefusal, Standing, Timestamp, Transition, Verdict, decide, review,
};
use crate::engine::PolicySnapshot;

/// Who asks what.
#[derive(Debug, Clone)]
pub struct Asked {
    pub caller: Arc<Identity>,
    pub principal: Arc<Identity>,
    pub query: Arc<Query>,
    pub justification: Option<Arc<str>>,
}

/// The service's settings that bear on an approval.
#[derive(Debug, Clone)]
pub struct Terms {
    /// How long a grant for one use can be redeemed.
    pub redeem_within: Duration,
    /// How long after its use the outcome can be reported.
    pub outcome_lease: Duration,
    /// What is demanded of reviewers.
    pub review: ReviewRules,
}

/// What an answer showed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Seen {
    pub outcome: Answer,
    /// The machine code.
    pub reason: String,
    /// With a refusal: why.
    pub message: Option<String>,
    pub determining: Vec<String>,
    pub gates: Vec<String>,
    pub mask: Vec<String>,
    pub advice: Vec<String>,
    /// Policies that could not be evaluated.
    pub errors: Vec<String>,
}

/// A query on its way.
pub struct Scenario<'a> {
    pub(super) snapshot: &'a PolicySnapshot,
    asked: Asked,
    pub(super) binding: Binding,
    pub(super) terms: Terms,
    pub(super) now: Timestamp,
    pub(super) approval: Option<Arc<Approval>>,
    /// How many ids were given out.
    ids: u8,
    /// What was seen of the policies, if anybody wants to know.
    watched: bool,
    pub sightings: Sightings,
}

impl<'a> Scenario<'a> {
    #[must_use]
    pub fn new(snapshot: &'a PolicySnapshot, asked: Asked, terms: Terms, now: Timestamp) -> Self {
        let binding = Binding::of(&asked.query);
        Self {
            snapshot,
            asked,
            binding,
            terms,
            now,
            approval: None,
            ids: 0,
            watched: true,
            sightings: Sightings::default(),
        }
    }

    /// The same without sightings, which cost more than the answer.
    #[must_use]
    pub fn unwatched(snapshot: &'a PolicySnapshot, asked: Asked, terms: Terms, now: Timestamp) -> Self {
        Self { watched: false, ..Self::new(snapshot, asked, terms, now) }
    }

    /// Moves the clock, and writes down what time has made true. It never goes back.
    pub fn pass_to(&mut self, now: Timestamp) {
        self.now = self.now.max(now);
        while let Some(due) = self.approval.as_ref().and_then(|approval| approval.due_at(self.now)) {
            self.advance(&due);
        }
    }

    #[must_use]
    pub fn approval(&self) -> Option<&Approval> {
        self.approval.as_deref()
    }

    /// Asks the query, naming the approval if there is one.
    pub fn ask(&mut self) -> Seen {
        let standing = self.approval.clone().map_or(Standing::None, Standing::ById);
        self.answer(standing)
    }

    /// Asks the query as if for the first time; the service finds by its binding what stands.
    pub fn ask_anew(&mut self) -> Seen {
        let standing = self.by_binding();
        self.answer(standing)
    }

    fn by_binding(&self) -> Standing {
        self.approval.clone().map_or(Standing::None, Standing::ByBinding)
    }

    fn answer(&mut self, standing: Standing) -> Seen {
        if let Some(refused) = self.refused_asking() {
            return refused;
        }
        let Asked { query, principal, caller, justification } = self.asked.clone();
        let evaluation = match self.snapshot.evaluate(&query, &principal, &caller, self.now) {
            Ok(evaluation) => evaluation,
            Err(error) => return Seen::refused("invalid_argument", error.to_string()),
        };
        // The same question was just answered: it can be traced.
        if self.watched
            && let Ok(traced) = self.snapshot.trace(&query, &principal, &caller, self.now)
        {
            self.sightings.answered(&evaluation, &traced);
        }
        let mut around = Circumstances {
            binding: self.binding,
            standing,
            justified: justification.is_some(),
            // The obligations of an ALLOW are part of what a test expects.
            masking: MaskSupport::Declared,
            earlier: None,
            rejection_stands: REJECTION_STANDS,
            now: self.now,
        };
        let mut decision = decide(&evaluation, &around);
        if let (Effect::Open(_), Standing::ById(_)) = (decision.effect(), &around.standing) {
            around.standing = self.by_binding();
            decision = decide(&evaluation, &around);
        }
        self.take(decision.effect(), &evaluation);
        Seen::of(&evaluation, decision.outcome(), decision.reason().code())
    }

    /// The guards that every query passes.
    fn refused_asking(&mut self) -> Option<Seen> {
        let (caller, principal) = (self.asked.caller.clone(), self.asked.principal.clone());
        let query = self.asked.query.clone();
        let is_asserted = principal.proof.method == ProofMethod::Asserted && principal.uid != caller.uid;
        let asserted = is_asserted.then_some(&principal.uid);
        let mut questions = std::iter::once((GuardAction::Authorize, Guarded::Service)).chain(beside_asking(
            &query.entities,
            false,
            asserted,
        ));
        let refused = questions.find(|(action, on)| !self.guard(&caller, *action, *on));
        refused.map(|(action, _)| {
            let message = format!("no policy permits the caller `Countersign::Action::\"{}\"` here", action.name());
            Seen::refused("not_permitted", message)
        })
    }

    pub(super) fn guard(&mut self, caller: &Identity, action: GuardAction, on: Guarded<'_>) -> bool {
        if !self.watched {
            return self.snapshot.permits(caller, action, on);
        }
        let found = self.snapshot.trace_guard(caller, action, on);
        self.sightings.guarded(&found);
        found.permitted
    }

    fn take(&mut self, effect: &Effect, evaluation: &Evaluation) {
        match effect {
            Effect::None | Effect::Join(_) | Effect::Repeat(_) => {}
            Effect::Open(requirement) => self.open(requirement.clone(), evaluation),
            Effect::Consume(approval) => {
                self.approval = Some(approval.clone());
                let report_by = self.now.after(self.terms.outcome_lease);
                let decision = DecisionId::from_bytes(self.id());
                let by = Some(self.asked.caller.uid.clone());
                self.advance(&Transition::Consumed { decision, by, at: self.now, report_by });
            }
            Effect::Use(approval) => {
                self.approval = Some(approval.clone());
                let decision = DecisionId::from_bytes(self.id());
                self.advance(&Transition::Used { decision, at: self.now });
            }
        }
    }

    fn open(&mut self, requirement: Requirement, evaluation: &Evaluation) {
        let id = ApprovalId::from_bytes(self.id());
        let Asked { query, principal, caller, justification } = self.asked.clone();
        self.approval = Some(Arc::new(Approval::opened(Arc::new(Opening {
            id,
            binding: self.binding,
            query,
            principal,
            caller,
            deadline: self.now.after(requirement.timeout()),
            requirement,
            justification,
            opened_at: self.now,
            digest: evaluation.digest,
            trace_parent: None,
        }))));
    }

    fn id(&mut self) -> [u8; 16] {
        self.ids = self.ids.wrapping_add(1);
        [self.ids; 16]
    }

    pub(super) fn advance(&mut self, transition: &Transition) {
        // A transition that the state does not allow changes nothing, as it would be refused by the store.
        if let Some(after) = self.approval.as_ref().and_then(|approval| approval.apply(transition).ok()) {
            self.approval = Some(Arc::new(after));
        }
    }

    /// One human's vote.
    ///
    /// # Errors
    /// The code with which the service refuses it.
    pub fn vote(&mut self, person: &Arc<Identity>, verdict: Verdict, gates: &[PolicyId]) -> Result<(), &'static str> {
        let Some(approval) = self.approval.clone() else { return Err("not_found") };
        match self.count(&approval, person, verdict, gates) {
            Ok(None) => Ok(()),
            Ok(Some(transition)) => {
                self.advance(&transition);
                Ok(())
            }
            // Who may not even see it is not told that it is there.
            Err(ReviewRefusal::NotReviewer) if !self.may(person, Deed::ReadApproval) => Err("not_found"),
            Err(refusal) => Err(refusal.code()),
        }
    }

    /// What a vote would make of the approval; nothing where it was cast before.
    fn count(
        &mut self,
        approval: &Approval,
        person: &Arc<Identity>,
        verdict: Verdict,
        gates: &[PolicyId],
    ) -> Result<Option<Transition>, ReviewRefusal> {
        let (snapshot, now) = (self.snapshot, self.now);
        for gate in approval.opening.requirement.gates() {
            let facts = approval.facts(Some(gate), now);
            self.guard(person, GuardAction::Review, Guarded::Approval(&facts));
        }
        let ballot = Ballot {
            reviewer: Arc::new(logged_in(person, now)),
            verdict,
            binding: self.binding,
            gates: gates.to_vec(),
            comment: None,
        };
        let may = |person: &Identity, gate: &Gate| snapshot.may_review(approval, person, gate, now);
        let poll = Poll { rules: &self.terms.review, now, credentials_at: now, may: &may, lent: Lending::NONE };
        Ok(match review::count(approval, ballot, &poll)? {
            Counted::Already => None,
            Counted::Vote(vote) => Some(approval.voted(vote, self.terms.redeem_within, &poll)),
        })
    }

    /// Takes the approval back.
    ///
    /// # Errors
    /// The code with which the service refuses it.
    pub fn withdraw(&mut self, person: &Arc<Identity>, deed: Deed) -> Result<(), &'static str> {
        let Some(approval) = self.approval.clone() else { return Err("not_found") };
        if !self.may(person, deed) {
            return Err(if self.may(person, Deed::ReadApproval) { "not_permitted" } else { "not_found" });
        }
        let (by, comment, at) = (person.clone(), None, self.now);
        let transition = match (deed, &approval.state) {
            (Deed::Cancel, ApprovalState::Pending) => Transition::Cancelled { by, comment, at },
            (Deed::Revoke, ApprovalState::Approved(_)) => Transition::Revoked { by, comment, at },
            (Deed::Revoke, ApprovalState::Pending) => return Err("wrong_state"),
            (
                Deed::Cancel | Deed::Revoke | Deed::Review | Deed::ReadApproval | Deed::Reveal | Deed::ViewReviewers,
                _,
            ) => {
                return Err("already_settled");
            }
        };
        self.advance(&transition);
        Ok(())
    }

    /// Whether somebody may do this with the approval now. `Review` counts what stands above policy as well.
    pub fn may(&mut self, person: &Arc<Identity>, deed: Deed) -> bool {
        let Some(approval) = self.approval.clone() else { return false };
        let action = match deed {
            Deed::Review => return self.count(&approval, person, Verdict::Approve, &[]).is_ok(),
            Deed::Cancel => GuardAction::Cancel,
            Deed::Revoke => GuardAction::Revoke,
            Deed::ReadApproval => GuardAction::ReadApproval,
            Deed::Reveal => GuardAction::Reveal,
            Deed::ViewReviewers => GuardAction::ViewReviewers,
        };
        let facts = approval.facts(None, self.now);
        self.guard(person, action, Guarded::Approval(&facts))
    }
}

/// With a token that was issued just now, after a login just now.
pub(super) fn logged_in(person: &Identity, now: Timestamp) -> Identity {
    let mut person = person.clone();
    person.proof.authenticated_at = Some(now);
    let credential = person.proof.credential.as_deref().cloned().unwrap_or_default();
    person.proof.credential = Some(Arc::new(Credential { issued_at: Some(now), ..credential }));
    person
}

impl Seen {
    fn refused(reason: &str, message: String) -> Self {
        let none = Vec::new;
        Self {
            outcome: Answer::Refused,
            reason: reason.to_owned(),
            message: Some(message),
            determining: none(),
            gates: none(),
            mask: none(),
            advice: none(),
            errors: none(),
        }
    }

    fn of(evaluation: &Evaluation, outcome: Outcome, reason: &str) -> Self {
        let gates = evaluation.requirement.iter().flat_map(|required| required.gates());
        let obligations = evaluation.obligations.iter().filter(|_| outcome == Outcome::Allow);
        let (mut mask, mut advice) = (Vec::new(), Vec::new());
        for obligation in obligations {
            match obligation {
                Obligation::Mask { what, .. } => mask.push(what.to_string()),
                Obligation::Advice { text, .. } => advice.push(text.to_string()),
            }
        }
        Self {
            outcome: match outcome {
                Outcome::Allow => Answer::Allow,
                Outcome::Deny => Answer::Deny,
                Outcome::Pending => Answer::Pending,
            },
            reason: reason.to_owned(),
            message: None,
            determining: evaluation.determining.iter().map(|id| id.0.to_string()).collect(),
            gates: gates.map(|gate| gate.id.0.to_string()).collect(),
            mask,
            advice,
            errors: evaluation.errors.iter().map(|error| error.policy.0.to_string()).collect(),
        }
    }
}

impl Answer {
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Allow => "ALLOW",
            Self::Deny => "DENY",
            Self::Pending => "PENDING",
            Self::Refused => "REFUSED",
        }
    }
}

impl Deed {
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Review => "review",
            Self::Cancel => "cancel",
            Self::Revoke => "revoke",
            Self::ReadApproval => "read_approval",
            Self::Reveal => "reveal",
            Self::ViewReviewers => "view_reviewers",
        }
    }
}
