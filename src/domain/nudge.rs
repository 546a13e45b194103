//! What time does to an approval that still waits for people, before its deadline: more of them may review it (`@escalate`), or
//! they are reminded (`@remind`). Neither decides anything, and neither is what makes it so: who may review is a comparison with
//! the clock ([`Gate::reviewers_at`](super::requirement::Gate::reviewers_at)), whether or not anybody wrote the step down.
//! Writing it down, once, is what people are told by.

use super::approval::{Approval, Transition};
use super::requirement::Requirement;
use super::time::Timestamp;

impl Approval {
    /// The next moment at which people are told, if it comes before the deadline.
    pub(super) fn next_nudge(&self) -> Option<Timestamp> {
        let requirement = &self.opening.requirement;
        let moments =
            requirement.escalates_at(self.opening.opened_at).chain(requirement.reminds_at(self.opening.opened_at));
        moments.filter(|moment| self.is_to_come(*moment)).min()
    }

    /// What people are to be told by `now`. Of several things missed only the last is news, and that somebody else is asked
    /// reminds everybody.
    pub(super) fn nudge_at(&self, now: Timestamp) -> Option<Transition> {
        let (requirement, opened_at) = (&self.opening.requirement, self.opening.opened_at);
        let is_due = |moment: &Timestamp| self.is_to_come(*moment) && moment.is_due(now);
        let escalated = requirement.escalates_at(opened_at).filter(is_due).max();
        let reminded = || requirement.reminds_at(opened_at).filter(is_due).max();
        escalated.map(|at| Transition::Escalated { at }).or_else(|| reminded().map(|at| Transition::Reminded { at }))
    }

    fn is_to_come(&self, moment: Timestamp) -> bool {
        moment < self.opening.deadline && self.nudged_at.is_none_or(|last| moment > last)
    }
}

impl Requirement {
    /// When more people may review, in no order.
    fn escalates_at(&self, opened_at: Timestamp) -> impl Iterator<Item = Timestamp> {
        self.gates().iter().flat_map(|gate| &gate.escalations).map(move |step| opened_at.after(step.after))
    }

    /// When people are reminded, in no order.
    fn reminds_at(&self, opened_at: Timestamp) -> impl Iterator<Item = Timestamp> {
        self.gates().iter().flat_map(|gate| &gate.reminders).map(move |after| opened_at.after(*after))
    }
}
