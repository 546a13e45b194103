//! The life of an approval: PENDING -> APPROVED | REJECTED | EXPIRED | CANCELLED, APPROVED -> CONSUMED | REVOKED | LAPSED.
//!
//! An approval is the fold of its transitions, in the journal's order and nothing else. [`Approval::apply`] refuses a
//! transition that its state does not allow, so that no replay, replica or bug can settle one twice (invariant 5).

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use super::binding::Binding;
use super::entity::EntityUid;
use super::evaluation::PolicyDigest;
use super::glass::{Breach, Glass};
use super::grant::Grant;
use super::guard::ApprovalFacts;
use super::id::{ApprovalId, DecisionId, TraceParent};
use super::identity::Identity;
use super::links::Links;
use super::poll::Poll;
use super::query::Query;
use super::requirement::{Gate, Requirement};
use super::review::{Review, Verdict};
use super::time::Timestamp;

/// What was asked for and what it takes: fixed at intake.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Opening {
    pub id: ApprovalId,
    pub binding: Binding,
    pub query: Arc<Query>,
    /// The principal, with how it was proved and whom it acts for.
    pub principal: Arc<Identity>,
    /// The PEP that asked.
    pub caller: Arc<Identity>,
    pub requirement: Requirement,
    /// The requester's own words; shown as a claim, never as a fact.
    pub justification: Option<Arc<str>>,
    pub opened_at: Timestamp,
    /// From this moment on a vote is too late.
    pub deadline: Timestamp,
    pub digest: PolicyDigest,
    /// The call that opened it, where it is traced: notifications are part of that trace.
    pub trace_parent: Option<TraceParent>,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Approval {
    pub opening: Arc<Opening>,
    pub state: ApprovalState,
    /// In the order in which they were recorded.
    pub reviews: Vec<Review>,
    /// The last moment at which people were told by the passing of time that they are needed.
    pub nudged_at: Option<Timestamp>,
    /// Where somebody broke the glass.
    pub glass: Option<Arc<Glass>>,
    /// How many transitions made it what it is; compared by every write.
    pub version: u64,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub enum ApprovalState {
    Pending,
    Approved(Grant),
    Rejected { at: Timestamp },
    Expired { at: Timestamp },
    Cancelled { at: Timestamp },
    Revoked { at: Timestamp },
    Lapsed { at: Timestamp },
    Consumed(Use),
}

/// The one use of a grant for one use, and what came of it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Use {
    /// The PEP that redeemed it; unknown in records from before this was kept.
    pub by: Option<EntityUid>,
    pub decision: DecisionId,
    pub at: Timestamp,
    /// Silence until this moment means that nobody knows what happened.
    pub report_by: Timestamp,
    pub report: Option<Report>,
}

/// What became of an allowed action, as the PEP reports it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Report {
    Succeeded,
    Failed,
    /// Nobody reported within the lease; never a reason to run it again.
    Unknown,
}

/// Everything that can happen to an approval after its opening.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Transition {
    /// A vote that leaves it pending.
    Reviewed(Review),
    /// The vote that closed the last quorum.
    Approved(Review, Grant),
    /// One rejection is final.
    Rejected(Review),
    Expired {
        at: Timestamp,
    },
    /// From this moment on more people may review.
    Escalated {
        at: Timestamp,
    },
    /// People are told once more that they are needed.
    Reminded {
        at: Timestamp,
    },
    Cancelled {
        by: Arc<Identity>,
        comment: Option<Arc<str>>,
        at: Timestamp,
    },
    Revoked {
        by: Arc<Identity>,
        comment: Option<Arc<str>>,
        at: Timestamp,
    },
    /// Somebody let it pass without waiting for others.
    BrokenGlass(Breach, Grant),
    /// Somebody else looked at that afterwards.
    Examined(Review),
    Lapsed {
        at: Timestamp,
    },
    /// A grant for one use is used.
    Consumed {
        /// The PEP that redeemed it; unknown in records from before this was kept.
        by: Option<EntityUid>,
        decision: DecisionId,
        at: Timestamp,
        report_by: Timestamp,
    },
    /// A grant for a time is used; it stays approved.
    Used {
        decision: DecisionId,
        at: Timestamp,
    },
    Reported(Report),
}

/// A transition that the approval's state does not allow. On a live write it is a lost race, in a replay it is damage.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("approval {id} is {state} and cannot become {transition}")]
pub struct IllegalTransition {
    id: ApprovalId,
    state: &'static str,
    transition: &'static str,
}

impl Approval {
    #[must_use]
    pub fn opened(opening: Arc<Opening>) -> Self {
        Self { opening, state: ApprovalState::Pending, reviews: Vec::new(), nudged_at: None, glass: None, version: 1 }
    }

    #[must_use]
    pub fn id(&self) -> ApprovalId {
        self.opening.id
    }

    /// The state as of `now`: a deadline that has passed counts, whether or not anybody wrote it down yet.
    #[must_use]
    pub fn state_at(&self, now: Timestamp) -> ApprovalState {
        match self.due_at(now) {
            Some(Transition::Expired { at }) => ApprovalState::Expired { at },
            Some(Transition::Lapsed { at }) => ApprovalState::Lapsed { at },
            Some(_) | None => self.state.clone(),
        }
    }

    /// When this approval next changes by the mere passing of time.
    #[must_use]
    pub fn next_due(&self) -> Option<Timestamp> {
        match &self.state {
            ApprovalState::Pending => Some(self.next_nudge().unwrap_or(self.opening.deadline)),
            ApprovalState::Approved(grant) => Some(grant.lapses_at),
            ApprovalState::Consumed(usage) if usage.report.is_none() => Some(usage.report_by),
            ApprovalState::Consumed(_)
            | ApprovalState::Rejected { .. }
            | ApprovalState::Expired { .. }
            | ApprovalState::Cancelled { .. }
            | ApprovalState::Revoked { .. }
            | ApprovalState::Lapsed { .. } => None,
        }
    }

    /// The transition that time has made due, if any.
    #[must_use]
    pub fn due_at(&self, now: Timestamp) -> Option<Transition> {
        let due = self.next_due().filter(|moment| moment.is_due(now))?;
        match &self.state {
            ApprovalState::Pending if self.opening.deadline.is_due(now) => {
                Some(Transition::Expired { at: self.opening.deadline })
            }
            ApprovalState::Pending => self.nudge_at(now),
            ApprovalState::Approved(_) => Some(Transition::Lapsed { at: due }),
            ApprovalState::Consumed(_) => Some(Transition::Reported(Report::Unknown)),
            ApprovalState::Rejected { .. }
            | ApprovalState::Expired { .. }
            | ApprovalState::Cancelled { .. }
            | ApprovalState::Revoked { .. }
            | ApprovalState::Lapsed { .. } => None,
        }
    }

    /// Whether this person is a party to the action, under whichever account: its principal, whom it acts for, or who asked
    /// for it.
    #[must_use]
    pub fn is_own_action_of(&self, person: &Identity, links: &Links) -> bool {
        let parties = self.opening.principal.chain().chain(self.opening.caller.chain());
        let query = &self.opening.query;
        let mut named = [Some(&query.principal), query.on_behalf_of.as_ref()].into_iter().flatten();
        parties.into_iter().any(|party| links.are_one(party, person))
            || named.any(|uid| links.are_linked(uid, &person.uid))
    }

    /// How many distinct humans have approved `gate`, whether or not their votes would still count.
    #[must_use]
    pub fn approvals(&self, gate: &Gate) -> usize {
        self.approvers(gate, &Links::default(), |_| true)
    }

    /// How many distinct humans have approved `gate` whose votes would count if the quorum closed now.
    #[must_use]
    pub fn counting_approvals(&self, gate: &Gate, poll: &Poll<'_>) -> usize {
        self.approvers(gate, &poll.rules.links, |review| poll.still_counts(self, review, gate))
    }

    /// How many distinct humans have approved `gate`, counting only votes for which `still` holds.
    ///
    /// INVARIANT: nobody is behind two votes that count, neither by casting them nor by having lent his right.
    fn approvers(&self, gate: &Gate, links: &Links, still: impl Fn(&Review) -> bool) -> usize {
        let (mut people, mut count): (Vec<&Identity>, usize) = (Vec::new(), 0);
        let approvals = self.reviews.iter().filter(|review| review.verdict == Verdict::Approve);
        for review in approvals.filter(|review| review.gates.contains(&gate.id)) {
            let is_known = |one: &Identity| people.iter().any(|person| links.are_one(person, one));
            let has_voted = is_known(&review.reviewer);
            let is_used = review.stood_in_for(gate).is_some_and(is_known);
            if !has_voted && !is_used && still(review) {
                people.extend(review.people(gate));
                count += 1;
            }
        }
        count
    }

    /// What this vote makes of the approval. The poll is asked, today, of everybody who voted before as well.
    ///
    /// INVARIANT: APPROVED only when, for every gate, `quorum` distinct humans who may review it now have approved it.
    #[must_use]
    pub fn voted(&self, vote: Review, redeem_within: Duration, poll: &Poll<'_>) -> Transition {
        match vote.verdict {
            Verdict::Reject => Transition::Rejected(vote),
            Verdict::Approve => {
                let now = vote.at;
                let mut after = self.clone();
                after.reviews.push(vote.clone());
                let requirement = &self.opening.requirement;
                let closed = requirement.gates().iter().all(|gate| {
                    let humans =
                        after.approvers(gate, &poll.rules.links, |review| poll.still_counts(self, review, gate));
                    humans >= usize::try_from(gate.quorum.get()).unwrap_or(usize::MAX)
                });
                if closed {
                    Transition::Approved(vote, Grant::given(requirement, now, redeem_within))
                } else {
                    Transition::Reviewed(vote)
                }
            }
        }
    }

    /// The approval after a transition.
    pub fn apply(&self, transition: &Transition) -> Result<Self, IllegalTransition> {
        let (mut reviews, mut nudged_at, mut glass) = (self.reviews.clone(), self.nudged_at, self.glass.clone());
        let state = match (&self.state, transition) {
            (ApprovalState::Pending, Transition::Reviewed(review)) => {
                reviews.push(review.clone());
                ApprovalState::Pending
            }
            (ApprovalState::Pending, Transition::Approved(review, grant)) => {
                reviews.push(review.clone());
                ApprovalState::Approved(*grant)
            }
            (ApprovalState::Pending, Transition::Rejected(review)) => {
                reviews.push(review.clone());
                ApprovalState::Rejected { at: review.at }
            }
            (ApprovalState::Pending, Transition::Escalated { at } | Transition::Reminded { at }) => {
                nudged_at = Some(*at);
                ApprovalState::Pending
            }
            (ApprovalState::Pending, Transition::Expired { at }) => ApprovalState::Expired { at: *at },
            (ApprovalState::Pending, Transition::BrokenGlass(broken, grant)) => {
                glass = Some(Arc::new(Glass { broken: broken.clone(), examinations: Vec::new() }));
                ApprovalState::Approved(*grant)
            }
            (state, Transition::Examined(review)) if self.is_to_be_examined() => {
                if let Some(glass) = glass.as_mut() {
                    Arc::make_mut(glass).examinations.push(review.clone());
                }
                state.clone()
            }
            (ApprovalState::Pending, Transition::Cancelled { at, .. }) => ApprovalState::Cancelled { at: *at },
            (ApprovalState::Approved(_), Transition::Revoked { at, .. }) => ApprovalState::Revoked { at: *at },
            (ApprovalState::Approved(_), Transition::Lapsed { at }) => ApprovalState::Lapsed { at: *at },
            (ApprovalState::Approved(grant), Transition::Used { .. }) => ApprovalState::Approved(*grant),
            (ApprovalState::Approved(_), Transition::Consumed { by, decision, at, report_by }) => {
                let by = by.clone();
                ApprovalState::Consumed(Use { by, decision: *decision, at: *at, report_by: *report_by, report: None })
            }
            (ApprovalState::Consumed(usage), Transition::Reported(report)) if usage.accepts(*report) => {
                ApprovalState::Consumed(Use { report: Some(*report), ..usage.clone() })
            }
            (state, transition) => {
                return Err(IllegalTransition { id: self.id(), state: state.name(), transition: transition.name() });
            }
        };
        Ok(Self { opening: self.opening.clone(), state, reviews, nudged_at, glass, version: self.version + 1 })
    }

    /// What policies may know of it, for one gate or as a whole.
    #[must_use]
    pub fn facts(&self, gate: Option<&Gate>, now: Timestamp) -> ApprovalFacts {
        let Opening { query, requirement, opened_at, .. } = &*self.opening;
        let gates = gate.map_or(requirement.gates(), std::slice::from_ref);
        // Of the whole approval those who could break its glass are told as well: they must see what for.
        let breakers = gates.iter().filter(|_| gate.is_none()).flat_map(|gate| &gate.break_glass);
        ApprovalFacts {
            id: self.id(),
            requester: query.principal.clone(),
            on_behalf_of: query.on_behalf_of.clone(),
            caller: self.opening.caller.uid.clone(),
            action: query.action.clone(),
            resource: query.resource.clone(),
            severity: gate.map_or(requirement.severity(), |gate| gate.severity),
            gate: gate.map(|gate| gate.id.clone()),
            reviewers: gates
                .iter()
                .flat_map(|gate| gate.reviewers_at(*opened_at, now))
                .chain(breakers)
                .cloned()
                .collect(),
        }
    }

    /// What policies may know of who breaks the glass of one gate: those whom it names for that stand for its reviewers.
    #[must_use]
    pub fn facts_of_breaking(&self, gate: &Gate, now: Timestamp) -> ApprovalFacts {
        ApprovalFacts { reviewers: gate.break_glass.clone(), ..self.facts(Some(gate), now) }
    }
}

impl Use {
    /// A late word from the PEP replaces "unknown"; nothing replaces the PEP's word.
    fn accepts(&self, report: Report) -> bool {
        match self.report {
            None => true,
            Some(Report::Unknown) => report != Report::Unknown,
            Some(Report::Succeeded | Report::Failed) => false,
        }
    }
}

impl ApprovalState {
    #[must_use]
    pub const fn name(&self) -> &'static str {
        match self {
            Self::Pending => "pending",
            Self::Approved(_) => "approved",
            Self::Rejected { .. } => "rejected",
            Self::Expired { .. } => "expired",
            Self::Cancelled { .. } => "cancelled",
            Self::Revoked { .. } => "revoked",
            Self::Lapsed { .. } => "lapsed",
            Self::Consumed(_) => "consumed",
        }
    }

    /// Whether nothing but a report can happen any more.
    #[must_use]
    pub const fn is_final(&self) -> bool {
        !matches!(self, Self::Pending | Self::Approved(_))
    }
}

impl Transition {
    /// Whether nothing but the passing of time makes it so.
    #[must_use]
    pub const fn is_of_time(&self) -> bool {
        match self {
            Self::Expired { .. }
            | Self::Escalated { .. }
            | Self::Reminded { .. }
            | Self::Lapsed { .. }
            | Self::Reported(Report::Unknown) => true,
            Self::Reviewed(_)
            | Self::Approved(..)
            | Self::Rejected(_)
            | Self::Cancelled { .. }
            | Self::Revoked { .. }
            | Self::BrokenGlass(..)
            | Self::Examined(_)
            | Self::Consumed { .. }
            | Self::Used { .. }
            | Self::Reported(Report::Succeeded | Report::Failed) => false,
        }
    }

    /// The vote that it is, if it is one.
    #[must_use]
    pub const fn review(&self) -> Option<&Review> {
        match self {
            Self::Reviewed(review) | Self::Approved(review, _) | Self::Rejected(review) => Some(review),
            Self::Expired { .. }
            | Self::Escalated { .. }
            | Self::Reminded { .. }
            | Self::Cancelled { .. }
            | Self::Revoked { .. }
            | Self::BrokenGlass(..)
            | Self::Examined(_)
            | Self::Lapsed { .. }
            | Self::Consumed { .. }
            | Self::Used { .. }
            | Self::Reported(_) => None,
        }
    }

    #[must_use]
    pub const fn name(&self) -> &'static str {
        match self {
            Self::Reviewed(_) => "reviewed",
            Self::Approved(..) => "approved",
            Self::Rejected(_) => "rejected",
            Self::Expired { .. } => "expired",
            Self::Escalated { .. } => "escalated",
            Self::Reminded { .. } => "reminded",
            Self::BrokenGlass(..) => "broken_glass",
            Self::Examined(_) => "examined",
            Self::Cancelled { .. } => "cancelled",
            Self::Revoked { .. } => "revoked",
            Self::Lapsed { .. } => "lapsed",
            Self::Consumed { .. } => "consumed",
            Self::Used { .. } => "used",
            Self::Reported(_) => "reported",
        }
    }
}

impl fmt::Display for ApprovalState {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}
