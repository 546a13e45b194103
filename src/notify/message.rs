//! One piece of news about one approval. It says who wants to do what to what, before whom, until when; never the
//! parameters, which are for those who may see the approval.

use std::sync::Arc;

use crate::domain::{Approval, EntityUid, Legible, Severity, Timestamp, Transition};

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
}

impl Event {
    #[must_use]
    pub fn of(transition: &Transition) -> Self {
        let state = match transition {
            Transition::Reviewed(_) => Some("pending"),
            Transition::Used { .. } => Some("approved"),
            Transition::Reported(_) => Some("consumed"),
            Transition::Approved(..)
            | Transition::Rejected(_)
            | Transition::Expired { .. }
            | Transition::Cancelled { .. }
            | Transition::Revoked { .. }
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

    /// `export-pii: 1 of 2` for each gate.
    #[must_use]
    pub fn quorum(&self) -> Vec<String> {
        let gates = self.approval.opening.requirement.gates().iter();
        gates
            .map(|gate| format!("{}: {} of {}", Legible(&gate.id.0), self.approval.approvals(gate), gate.quorum.get()))
            .collect()
    }
}
