//! A reviewer's own figures: how many, how quickly, how often yes. For himself, so that he notices when reviewing has become a
//! reflex; nobody else's are shown to him, and his to nobody.

use std::time::Duration;

use super::follow::AuditOrder;
use super::history::HISTORY;
use super::{Caller, Refusal, Service};
use crate::domain::{Fact, Moved, Timestamp, Verdict};
use crate::journal::{Filter, Search};

/// Votes looked at, the newest.
const VOTES_MAX: usize = 200;
/// Fewer votes say nothing of somebody's habits.
const TELLING_VOTES: usize = 20;
/// Somebody who decides more quickly does not read.
const TOO_QUICK: Duration = Duration::from_secs(3);
/// Somebody who approves more often does not refuse, in parts of a hundred.
const TOO_AGREEABLE_PERCENT: usize = 98;

#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Figures {
    pub votes: usize,
    pub approved: usize,
    /// From the opening to the vote: half of them were quicker.
    pub median: Option<Duration>,
    pub is_too_quick: bool,
    pub is_too_agreeable: bool,
}

impl Service {
    /// The caller's own votes of the last 30 days.
    pub async fn figures(&self, caller: &Caller) -> Result<Figures, Refusal> {
        let filter = Filter { reviewer: Some(caller.identity.uid.clone()), ..Filter::default() };
        let from = self.shared.store.now().before(HISTORY);
        let search = Search { from, order: AuditOrder::NewestFirst, limit: VOTES_MAX, ..Search::whole(filter) };
        let found = self.on_disk(move |log| log.search(&search)).await?;
        let mut votes = Vec::new();
        for (record, _) in found.records.into_iter().take(VOTES_MAX) {
            let Fact::Moved(Moved { approval, transition, .. }) = record.fact else { continue };
            let (Some(review), Some(approval)) = (transition.review(), self.shared.store.approval(approval).await?)
            else {
                continue;
            };
            votes.push((review.verdict, waited(approval.opening.opened_at, review.at)));
        }
        Ok(Figures::of(votes))
    }
}

fn waited(opened_at: Timestamp, voted_at: Timestamp) -> Duration {
    opened_at.until(voted_at)
}

impl Figures {
    fn of(mut votes: Vec<(Verdict, Duration)>) -> Self {
        votes.sort_by_key(|(_, took)| *took);
        let approved = votes.iter().filter(|(verdict, _)| *verdict == Verdict::Approve).count();
        let median = votes.get(votes.len() / 2).map(|(_, took)| *took);
        let is_telling = votes.len() >= TELLING_VOTES;
        Self {
            votes: votes.len(),
            approved,
            median,
            is_too_quick: is_telling && median.is_some_and(|median| median < TOO_QUICK),
            is_too_agreeable: is_telling && approved * 100 > votes.len() * TOO_AGREEABLE_PERCENT,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reflexes_are_noticed_once_there_are_enough_votes_to_tell() {
        let votes = |count: usize, verdict, seconds| vec![(verdict, Duration::from_secs(seconds)); count];
        let few = Figures::of(votes(19, Verdict::Approve, 1));
        assert!(!few.is_too_quick && !few.is_too_agreeable && few.median == Some(Duration::from_secs(1)));
        let reflex = Figures::of(votes(20, Verdict::Approve, 2));
        assert!(reflex.is_too_quick && reflex.is_too_agreeable);
        let careful = Figures::of([votes(49, Verdict::Approve, 3), votes(1, Verdict::Reject, 60)].concat());
        assert!(!careful.is_too_quick && !careful.is_too_agreeable, "98 % is not above 98 %");
        assert_eq!(Figures::of(Vec::new()), Figures::default());
    }
}
