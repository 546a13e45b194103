//! Gates: what is written on them, how far they are, and who may still open them.

use super::moment::{Moment, span};
use super::text::Text;
use crate::domain::{Gate, Opening, Severity, Timestamp, Verdict};
use crate::service::inspect::{GateView, Mine};

/// One gate on a page.
#[derive(Debug, Clone)]
pub struct GateShown {
    pub id: Text,
    pub text: Text,
    pub severity: &'static str,
    pub approvals: usize,
    pub quorum: u32,
    /// Groups and people who may review it now.
    pub reviewers: Vec<Text>,
    /// Who will be asked as well, and when.
    pub escalations: Vec<(Text, Moment)>,
    /// What the reader can do about it.
    pub mine: &'static str,
}

impl GateShown {
    #[must_use]
    pub fn of(view: &GateView, opening: &Opening, now: Timestamp) -> Self {
        let GateView { gate, approvals, mine, in_place_of: _ } = view;
        let quorum = gate.quorum.get();
        let later = gate.escalations.iter().map(|step| (opening.opened_at.after(step.after), &step.reviewers));
        let later = later.filter(|(at, _)| !at.is_due(now) && *at < opening.deadline);
        Self {
            id: Text::line(&gate.id.0),
            text: Text::line(&gate.text),
            severity: severity(gate.severity),
            approvals: *approvals,
            quorum,
            reviewers: gate.reviewers_at(opening.opened_at, now).map(reviewer).collect(),
            escalations: later
                .flat_map(|(at, who)| who.iter().map(move |one| (reviewer(one), Moment::at(at, now))))
                .collect(),
            mine: mine_text(*mine),
        }
    }
}

fn reviewer(uid: &crate::domain::EntityUid) -> Text {
    match super::sentence::short(uid) {
        "User" => Text::line(&uid.id),
        kind => Text::line(&format!("{} {}", super::sentence::words(kind), uid.id)),
    }
}

fn mine_text(mine: Mine) -> &'static str {
    match mine {
        Mine::Open => "You may review this.",
        Mine::Own => "You are a party to this action: nobody countersigns their own.",
        Mine::NotReviewer => "You are not among its reviewers.",
        Mine::Voted(Verdict::Approve) => "You have approved this.",
        Mine::Voted(Verdict::Reject) => "You have rejected this.",
    }
}

/// The word for a severity.
#[must_use]
pub const fn severity(severity: Severity) -> &'static str {
    match severity {
        Severity::Low => "low",
        Severity::Medium => "medium",
        Severity::High => "high",
        Severity::Critical => "critical",
    }
}

/// What the grant of these gates would be good for.
#[must_use]
pub fn grant(gates: &[Gate], terms: crate::domain::GrantTerms) -> String {
    match terms {
        crate::domain::GrantTerms::Once if gates.len() == 1 => "for one use".to_owned(),
        crate::domain::GrantTerms::Once => "for one use, by the narrowest gate".to_owned(),
        crate::domain::GrantTerms::For(time) => format!("again and again for {}", span(time)),
    }
}
