//! One piece of news about one approval. It says who wants to do what to what, before whom, until when; never the
//! parameters, which are for those who may see the approval.

use std::sync::Arc;

use crate::domain::{Approval, Breach, EntityUid, Legible, Severity, Timestamp, Transition, Verdict};

/// What happened.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Event {
    Opened,
    /// One step of [`Transition`], by its name.
    Step {
        name: &'static str,
        state: Option<&'static str>,
    },
}

#[derive(Debug, Clone)]
pub struct Message {
    /// The same for the same event, whenever and by whichever replica it is sent.
    pub id: String,
    /// When it was recorded.
    pub at: Timestamp,
    pub event: Event,
    /// As it is by now, which may be later than the event.
    pub approval: Arc<Approval>,
    /// Where people decide.
    pub link: Option<String>,
    pub answer: Answer,
}

/// How the message can be answered where it is read.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Answer {
    /// Not at all, and nobody expects it: the target has no buttons.
    Nowhere,
    /// In the inbox only, for this reason. The message has no parameters then.
    Inbox(&'static str),
    /// By buttons with these ids, below the whole of what would be done.
    Buttons(Buttons),
}

/// What the buttons of one message send back: opaque, and good for the approval as the message shows it only.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Buttons {
    pub approve: String,
    pub reject: String,
}

impl Event {
    #[must_use]
    pub fn of(transition: &Transition) -> Self {
        let state = match transition {
            Transition::Reviewed(_) | Transition::Escalated { .. } | Transition::Reminded { .. } => Some("pending"),
            Transition::Used { .. } | Transition::BrokenGlass(..) => Some("approved"),
            Transition::Reported(_) => Some("consumed"),
            Transition::Approved(..)
            | Transition::Rejected(_)
            | Transition::Expired { .. }
            | Transition::Cancelled { .. }
            | Transition::Revoked { .. }
            | Transition::Examined(_)
            | Transition::Lapsed { .. }
            | Transition::Consumed { .. } => None,
        };
        Self::Step { name: transition.name(), state }
    }

    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Opened => "opened",
            Self::Step { name, .. } => name,
        }
    }

    /// The approval's state right after it.
    #[must_use]
    pub const fn state(self) -> &'static str {
        match self {
            Self::Opened => "pending",
            Self::Step { state: Some(state), .. } => state,
            Self::Step { name, state: None } => name,
        }
    }

    /// Whether it is told everywhere, whatever a gate says: somebody let an action pass alone.
    #[must_use]
    pub fn pages_everybody(self) -> bool {
        matches!(self.name(), "broken_glass" | "examined")
    }

    /// Whether people still have to decide after it: then it is news until the deadline only.
    #[must_use]
    pub fn waits_for_people(self) -> bool {
        self.state() == "pending"
    }
}

impl Message {
    #[must_use]
    pub fn severity(&self) -> Severity {
        self.approval.opening.requirement.severity()
    }

    /// `Agent::"report-bot" wants to "export" Dataset::"customers"`, from the query alone.
    #[must_use]
    pub fn sentence(&self) -> String {
        let query = &self.approval.opening.query;
        format!("{} wants to {} {}", query.principal, Legible(&query.action.id), query.resource)
    }

    /// Human, agent, caller: each once, and how each was proved is in the record.
    #[must_use]
    pub fn chain(&self) -> String {
        let opening = &self.approval.opening;
        let parties = [opening.query.on_behalf_of.as_ref(), Some(&opening.query.principal), Some(&opening.caller.uid)];
        let mut chain: Vec<&EntityUid> = Vec::new();
        for party in parties.into_iter().flatten() {
            if chain.last() != Some(&party) {
                chain.push(party);
            }
        }
        chain.iter().map(ToString::to_string).collect::<Vec<_>>().join(" → ")
    }

    /// What is new where nobody has decided anything: that people are reminded, or who is asked as well. `None` otherwise.
    #[must_use]
    pub fn nudge(&self) -> Option<String> {
        match self.event.name() {
            "reminded" => Some(format!("still waiting: {}", self.quorum().join(", "))),
            "escalated" => {
                let opening = &self.approval.opening;
                let gates = opening.requirement.gates().iter();
                let asked = gates.flat_map(|gate| gate.reviewers_at(opening.opened_at, self.at));
                let asked: Vec<String> = asked.map(ToString::to_string).collect();
                Some(format!("asked by now: {}", asked.join(", ")))
            }
            "broken_glass" | "examined" => self.glass(),
            _ => None,
        }
    }

    /// Who broke the glass, why, and who has looked at it since.
    #[must_use]
    pub fn glass(&self) -> Option<String> {
        let glass = self.approval.glass.as_deref()?;
        let Breach { by, reason, .. } = &glass.broken;
        let looks = glass.examinations.iter().map(|look| match look.verdict {
            Verdict::Approve => format!("{} says it was right", look.reviewer.uid),
            Verdict::Reject => format!("{} says it was wrong", look.reviewer.uid),
        });
        let looks = looks.chain(glass.is_open().then(|| "two others have to look at it".to_owned()));
        let looks = looks.collect::<Vec<_>>().join(", ");
        Some(format!("{} broke the glass, saying \"{}\"; {looks}", by.uid, Legible(reason)))
    }

    /// The approval's state after the event; of an examination, which changes none, as it is by now.
    #[must_use]
    pub fn state(&self) -> &'static str {
        if self.event.name() == "examined" { self.approval.state.name() } else { self.event.state() }
    }

    /// `export-pii: 1 of 2` for each gate.
    #[must_use]
    pub fn quorum(&self) -> Vec<String> {
        let gates = self.approval.opening.requirement.gates().iter();
        gates
            .map(|gate| format!("{}: {} of {}", Legible(&gate.id.0), self.approval.approvals(gate), gate.quorum.get()))
            .collect()
    }
}
