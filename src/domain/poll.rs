//! What a vote must bring to count, beyond who its voter is: a fresh and strong enough login, groups that were stated lately,
//! and accounts that are not one human under two names. Asked when a vote arrives, and again of every vote when a quorum
//! could close.

use std::sync::Arc;
use std::time::Duration;

use super::approval::Approval;
use super::away::Lending;
use super::identity::Identity;
use super::links::Links;
use super::requirement::{Gate, Severity};
use super::review::Review;
use super::time::Timestamp;

/// What the operator demands of reviewers.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ReviewRules {
    pub links: Links,
    /// How long what a token said of its person's groups is believed. Later, only what the server knows itself counts.
    pub membership_max_age: Duration,
    pub low: StepUp,
    pub medium: StepUp,
    pub high: StepUp,
    pub critical: StepUp,
}

/// How a reviewer must have authenticated (RFC 9470). Nothing: any login will do.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct StepUp {
    /// How long ago at most.
    pub max_authentication_age: Option<Duration>,
    /// In one of these classes, in the issuer's words.
    pub acr: Vec<Arc<str>>,
    /// By at least one of these methods, in the issuer's words.
    pub amr: Vec<Arc<str>>,
}

/// In what a login falls short.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Shortfall {
    /// It is too long ago, or nobody says when it was.
    TooOld,
    /// It is not strong enough, or nobody says how strong it was.
    TooWeak,
}

impl Shortfall {
    /// The sentence for the reviewer.
    #[must_use]
    pub const fn message(self) -> &'static str {
        match self {
            Self::TooOld => {
                "log in again: your login is too long ago for this, or your issuer does not say when it was"
            }
            Self::TooWeak => "log in again in a stronger way: this takes more than your login shows",
        }
    }
}

/// One look at the votes of an approval, under today's rules and policies.
pub struct Poll<'a> {
    pub rules: &'a ReviewRules,
    pub now: Timestamp,
    /// The time by which it is judged how old logins and what they said are: the latest that any clock here says. Where clocks
    /// disagree they are too old too early, never too late.
    pub credentials_at: Timestamp,
    /// Policy's word today: may this person review this gate?
    pub may: &'a dyn Fn(&Identity, &Gate) -> bool,
    /// Who was lent whose right to review.
    pub lent: Lending<'a>,
}

impl Default for ReviewRules {
    fn default() -> Self {
        Self {
            links: Links::default(),
            membership_max_age: Duration::from_secs(8 * 3_600),
            low: StepUp::default(),
            medium: StepUp::default(),
            high: StepUp::default(),
            critical: StepUp::default(),
        }
    }
}

impl ReviewRules {
    /// What is demanded at this severity: its own demands and those of every lower one.
    fn demands(&self, severity: Severity) -> impl Iterator<Item = &StepUp> {
        let levels = [
            (Severity::Low, &self.low),
            (Severity::Medium, &self.medium),
            (Severity::High, &self.high),
            (Severity::Critical, &self.critical),
        ];
        levels.into_iter().filter(move |(level, _)| *level <= severity).map(|(_, demand)| demand)
    }

    /// The first demand that the person's login did not meet at `at`, and how.
    #[must_use]
    pub fn unmet(&self, person: &Identity, severity: Severity, at: Timestamp) -> Option<(Shortfall, &StepUp)> {
        self.demands(severity).find_map(|demand| demand.shortfall(person, at).map(|shortfall| (shortfall, demand)))
    }
}

impl StepUp {
    /// Unknown is no: what the issuer does not say is not met.
    pub(super) fn shortfall(&self, person: &Identity, at: Timestamp) -> Option<Shortfall> {
        let credential = person.proof.credential.as_deref();
        let is_fresh = self.max_authentication_age.is_none_or(|most| person.proof.is_fresh(most, at));
        let has_class = self.acr.is_empty()
            || credential.and_then(|one| one.acr.as_ref()).is_some_and(|acr| self.acr.contains(acr));
        let has_method =
            self.amr.is_empty() || credential.is_some_and(|one| one.amr.iter().any(|amr| self.amr.contains(amr)));
        match (has_class && has_method, is_fresh) {
            (false, _) => Some(Shortfall::TooWeak),
            (true, false) => Some(Shortfall::TooOld),
            (true, true) => None,
        }
    }
}

impl Poll<'_> {
    /// Whether a recorded vote still counts for a gate: its voter's login was good when it was cast, by today's rules, and
    /// the voter may review today, by the right that he had then: his own, or the one he was lent.
    #[must_use]
    pub fn still_counts(&self, approval: &Approval, review: &Review, gate: &Gate) -> bool {
        let person = &review.reviewer;
        self.rules.unmet(person, gate.severity, review.at).is_none()
            && match review.stood_in_for(gate) {
                None => self.may_today(person, gate),
                Some(lender) => self.still_lends(lender, approval, person, gate),
            }
    }

    /// Whether somebody who is not here may review today.
    ///
    /// What a token said of groups grows old. Then the voter must be a reviewer by what the server knows itself, and still
    /// with those groups: a group that is forbidden something is not left by waiting.
    fn may_today(&self, person: &Identity, gate: &Gate) -> bool {
        (self.may)(person, gate) && (self.is_lately_stated(person) || (self.may)(&without_groups(person), gate))
    }

    fn is_lately_stated(&self, person: &Identity) -> bool {
        let stated_at = person.proof.credential.as_deref().and_then(|credential| credential.issued_at);
        stated_at.is_some_and(|at| !at.after(self.rules.membership_max_age).is_due(self.credentials_at))
    }
}

fn without_groups(person: &Identity) -> Identity {
    Identity { groups: Vec::new(), ..person.clone() }
}

#[cfg(test)]
mod tests {
    use super::super::approval::{Opening, Transition};
    use super::super::binding::Binding;
    use super::super::entity::EntityUid;
    use super::super::evaluation::{PolicyDigest, PolicyId};
    use super::super::id::ApprovalId;
    use super::super::identity::{Credential, PrincipalKind, ProofMethod};
    use super::super::query::Query;
    use super::super::requirement::{GrantTerms, Justification, Quorum, Requirement, SelfReview};
    use super::super::review::{Ballot, Counted, ReviewRefusal, Verdict, count};
    use super::*;

    const NOW: Timestamp = Timestamp::from_micros(1_800_000_000_000_000);

    fn person(id: &str, groups: &[&str], issued_at: Option<Timestamp>) -> Identity {
        let credential = Credential { issued_at, ..Credential::default() };
        let mut person = Identity::imagined("User", id, groups);
        person.proof.credential = Some(Arc::new(credential));
        person
    }

    fn gate(quorum: u32) -> Gate {
        Gate {
            id: PolicyId("gate".into()),
            text: "text".into(),
            reviewers: Vec::new(),
            quorum: Quorum::new(quorum).unwrap(),
            timeout: Duration::from_secs(3_600),
            grant: GrantTerms::Once,
            escalations: Vec::new(),
            reminders: Vec::new(),
            break_glass: Vec::new(),
            severity: Severity::High,
            justification: Justification::Optional,
            self_review: SelfReview::Forbidden,
            notify: Vec::new(),
        }
    }

    fn approval(quorum: u32) -> Approval {
        let bot = Identity { kind: PrincipalKind::Agent, ..person("bot", &[], Some(NOW)) };
        let uid = |name: &str| EntityUid::new("Thing", name);
        let query = Query {
            principal: bot.uid.clone(),
            on_behalf_of: None,
            action: uid("a"),
            resource: uid("r"),
            context: Default::default(),
            environment: Default::default(),
            entities: Vec::new(),
        };
        Approval::opened(Arc::new(Opening {
            id: ApprovalId::from_uuid(uuid::Uuid::from_u128(1)),
            binding: Binding::of(&query),
            query: Arc::new(query),
            principal: Arc::new(bot.clone()),
            caller: Arc::new(bot),
            requirement: Requirement::new(vec![gate(quorum)]).unwrap(),
            justification: None,
            opened_at: NOW,
            deadline: NOW.after(Duration::from_secs(3_600)),
            digest: PolicyDigest([0; 32]),
            trace_parent: None,
        }))
    }

    fn ballot(approval: &Approval, reviewer: Identity) -> Ballot {
        Ballot {
            reviewer: Arc::new(reviewer),
            verdict: Verdict::Approve,
            binding: approval.opening.binding,
            gates: Vec::new(),
            comment: None,
        }
    }

    fn review(reviewer: Identity) -> Review {
        let gates = vec![PolicyId("gate".into())];
        Review {
            reviewer: Arc::new(reviewer),
            verdict: Verdict::Approve,
            gates,
            comment: None,
            at: NOW,
            stands_in: Vec::new(),
        }
    }

    fn is_in(person: &Identity, group: &str) -> bool {
        person.groups.iter().any(|one| &*one.id == group)
    }

    #[test]
    fn a_group_counts_while_it_was_stated_lately_and_a_forbidden_one_for_ever() {
        let rules = ReviewRules { membership_max_age: Duration::from_secs(300), ..ReviewRules::default() };
        let counts = |issued_at, may: &dyn Fn(&Identity, &Gate) -> bool| {
            let later = NOW.after(Duration::from_secs(300));
            let poll = Poll { rules: &rules, now: NOW, credentials_at: later, may, lent: Lending::NONE };
            poll.still_counts(&approval(1), &review(person("alice", &["privacy"], issued_at)), &gate(1))
        };
        let by_group = |person: &Identity, _: &Gate| is_in(person, "privacy");
        let in_spite_of_group = |person: &Identity, _: &Gate| !is_in(person, "privacy");
        assert!(counts(Some(NOW.after(Duration::from_micros(1))), &by_group));
        assert!(!counts(Some(NOW), &by_group), "the moment itself is too late");
        assert!(!counts(None, &by_group), "unknown is no");
        assert!(counts(Some(NOW), &|_: &Identity, _: &Gate| true), "named without any group");
        assert!(!counts(Some(NOW), &in_spite_of_group), "waiting leaves no group");
    }

    #[test]
    fn rules_that_were_tightened_meanwhile_hold_for_votes_already_cast() {
        let high = StepUp { acr: vec!["phr".into()], ..StepUp::default() };
        let rules = ReviewRules { high, ..ReviewRules::default() };
        let poll = Poll { rules: &rules, now: NOW, credentials_at: NOW, may: &|_, _| true, lent: Lending::NONE };
        assert!(!poll.still_counts(&approval(1), &review(person("alice", &[], Some(NOW))), &gate(1)));
        let lax = ReviewRules::default();
        let poll = Poll { rules: &lax, ..poll };
        assert!(poll.still_counts(&approval(1), &review(person("alice", &[], Some(NOW))), &gate(1)));
    }

    #[test]
    fn accounts_linked_after_the_first_vote_are_one_when_the_quorum_closes() {
        let (alice, admin) = (person("alice", &[], Some(NOW)), person("admin", &[], Some(NOW)));
        let after = approval(2);
        let first = Transition::Reviewed(review(alice.clone()));
        let after = after.apply(&first).unwrap();
        let vote = review(admin.clone());
        let closes = |rules: &ReviewRules| {
            let poll = Poll { rules, now: NOW, credentials_at: NOW, may: &|_, _| true, lent: Lending::NONE };
            matches!(after.voted(vote.clone(), Duration::from_secs(60), &poll), Transition::Approved(..))
        };
        assert!(closes(&ReviewRules::default()));
        let links = Links::new([vec![alice.uid, admin.uid]]).unwrap();
        assert!(!closes(&ReviewRules { links, ..ReviewRules::default() }));
    }

    #[test]
    fn only_who_proved_it_by_a_token_is_a_human() {
        let asked = approval(1);
        let rules = ReviewRules::default();
        let poll = Poll { rules: &rules, now: NOW, credentials_at: NOW, may: &|_, _| true, lent: Lending::NONE };
        let counted = |reviewer| count(&asked, ballot(&asked, reviewer), &poll);
        assert!(matches!(counted(person("alice", &[], Some(NOW))), Ok(Counted::Vote(_))));
        for method in [ProofMethod::Asserted, ProofMethod::Service] {
            let mut other = person("alice", &[], Some(NOW));
            other.proof.method = method;
            assert_eq!(counted(other), Err(ReviewRefusal::NotHuman));
        }
    }
}
