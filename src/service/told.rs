//! What one caller is told of an approval: what it waits for, in a sentence, and who voted as far as policy lets him see.
//!
//! Names of those who voted are told to whom [`GuardAction::ViewReviewers`] is permitted, and to each his own: whoever may read an
//! approval need not learn whom to press. That there is a vote, for which gate and with which comment, everybody is told who may
//! read it at all. The comment is data, and never part of a sentence.

use std::sync::Arc;

use super::veil::Shown;
use super::{Caller, Service};
use crate::domain::{Approval, ApprovalId, ApprovalState, EntityUid, GuardAction, Identity, Poll, Timestamp};
use crate::engine::PolicySnapshot;

/// An approval as one caller is told of it.
#[derive(Debug, Clone)]
pub struct Told {
    pub shown: Shown,
    /// `waiting on 1 of Group::privacy, 12 min, until 14:05 UTC`.
    pub status: String,
    pub voters: Voters,
}

/// A page of them.
#[derive(Debug, Clone, Default)]
pub struct ToldPage {
    pub approvals: Vec<Told>,
    /// Where the next page begins, if there may be more.
    pub more: Option<ApprovalId>,
}

/// Whose names may be told.
#[derive(Debug, Clone)]
pub enum Voters {
    All,
    /// Only this caller's own.
    Own(Arc<Identity>),
}

impl Voters {
    #[must_use]
    pub fn are_told(&self, person: &Identity) -> bool {
        match self {
            Self::All => true,
            Self::Own(caller) => caller.is_same_as(person),
        }
    }
}

impl Told {
    /// With masked values: for showing, not for deciding.
    #[must_use]
    pub fn approval(&self) -> &Approval {
        self.shown.approval()
    }
}

impl Service {
    /// The approval as this caller may be told of it now.
    pub(super) fn told(&self, caller: &Caller, approval: &Arc<Approval>) -> Told {
        self.told_as(caller, approval, self.veiled(approval))
    }

    /// The same of one that is shown already.
    pub(super) fn told_as(&self, caller: &Caller, approval: &Approval, shown: Shown) -> Told {
        Told { shown, status: self.status(approval), voters: self.voters(caller, approval) }
    }

    /// What it waits for now, or what became of it.
    pub(super) fn status(&self, approval: &Approval) -> String {
        self.polled(&self.shared.engine.current(), approval, |poll| status(approval, poll))
    }

    /// Whose names this caller may be told; while it is not known what is in force, nobody's.
    pub(super) fn voters(&self, caller: &Caller, approval: &Approval) -> Voters {
        let has_voters = !approval.reviews.is_empty() || approval.glass.is_some();
        let may_view = |snapshot: Arc<PolicySnapshot>| {
            self.may_on(&snapshot, &caller.identity, approval, GuardAction::ViewReviewers)
        };
        if has_voters && self.in_force().is_ok_and(may_view) {
            Voters::All
        } else {
            Voters::Own(caller.identity.clone())
        }
    }
}

/// What it waits for, or what became of it. Nothing that anybody wrote is in it but names of reviewers, which policies say.
fn status(approval: &Approval, poll: &Poll<'_>) -> String {
    let now = poll.now;
    match approval.state_at(now) {
        ApprovalState::Pending => {
            let deadline = approval.opening.deadline;
            format!("{}, {}, until {}", waiting_on(approval, poll), left(now, deadline), clock(deadline, now))
        }
        ApprovalState::Approved(grant) => {
            let (left, until) = (left(now, grant.lapses_at), clock(grant.lapses_at, now));
            format!("countersigned, to be used within {left}, until {until}")
        }
        ApprovalState::Rejected { .. } => "rejected".to_owned(),
        ApprovalState::Expired { .. } => "nobody countersigned in time".to_owned(),
        ApprovalState::Cancelled { .. } => "taken back by whoever asked".to_owned(),
        ApprovalState::Revoked { .. } => "approved, and taken back before it was used".to_owned(),
        ApprovalState::Lapsed { .. } => "countersigned, and not used in time".to_owned(),
        ApprovalState::Consumed(_) => "countersigned and used".to_owned(),
    }
}

/// Whose votes are missing, gate by gate; escalations that are due count.
fn waiting_on(approval: &Approval, poll: &Poll<'_>) -> String {
    let opening = &approval.opening;
    let open = opening.requirement.gates().iter().filter_map(|gate| {
        let quorum = usize::try_from(gate.quorum.get()).unwrap_or(usize::MAX);
        let missing = quorum.saturating_sub(approval.counting_approvals(gate, poll));
        let reviewers = gate.reviewers_at(opening.opened_at, poll.now).map(name).collect::<Vec<_>>().join(" or ");
        (missing > 0).then(|| format!("{missing} of {reviewers}"))
    });
    let open: Vec<_> = open.collect();
    // Every gate has its votes where somebody's counts again that did not when the last one came.
    if open.is_empty() { "waiting on one more vote".to_owned() } else { format!("waiting on {}", open.join(" and ")) }
}

/// `Group::privacy`; with quotes where the id is more than a word.
fn name(uid: &EntityUid) -> String {
    let is_word = |next: char| next.is_ascii_alphanumeric() || matches!(next, '-' | '_' | '.' | '@');
    if !uid.id.is_empty() && uid.id.chars().all(is_word) {
        format!("{}::{}", uid.type_name, uid.id)
    } else {
        uid.to_string()
    }
}

fn left(now: Timestamp, end: Timestamp) -> String {
    match now.until(end).as_secs() {
        seconds @ 0..=119 => format!("{seconds} s"),
        seconds @ 120..=7_199 => format!("{} min", seconds / 60),
        seconds @ 7_200..=172_799 => format!("{} h", seconds / 3_600),
        seconds => format!("{} days", seconds / 86_400),
    }
}

/// The time of day, with the date where it is another day.
fn clock(moment: Timestamp, now: Timestamp) -> String {
    let text = moment.to_string();
    match (text.split_once('T'), now.to_string().split_once('T')) {
        (Some((day, time)), Some((today, _))) => {
            let time = time.get(..5).unwrap_or(time);
            if day == today { format!("{time} UTC") } else { format!("{day} {time} UTC") }
        }
        _ => text,
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    /// 2023-11-14T22:13:20Z.
    const NOW: Timestamp = Timestamp::from_micros(1_700_000_000_000_000);

    #[test]
    fn time_is_told_as_people_tell_it() {
        let check = |seconds: u64, expected: &str| {
            let end = NOW.after(Duration::from_secs(seconds));
            assert_eq!(format!("{}, until {}", left(NOW, end), clock(end, NOW)), expected);
        };
        check(55, "55 s, until 22:14 UTC");
        check(725, "12 min, until 22:25 UTC");
        check(7_200, "2 h, until 2023-11-15 00:13 UTC");
        check(3 * 86_400, "3 days, until 2023-11-17 22:13 UTC");
        assert_eq!(clock(Timestamp::MAX, NOW), "never");
    }

    #[test]
    fn names_are_plain_where_they_are_words_and_never_run_into_the_sentence() {
        assert_eq!(name(&EntityUid::new("Group", "privacy")), "Group::privacy");
        assert_eq!(name(&EntityUid::new("Group", "x, until 14:05")), "Group::\"x, until 14:05\"");
        assert_eq!(name(&EntityUid::new("Group", "a\u{202e}b")), "Group::\"a\\u{202e}b\"");
    }
}
