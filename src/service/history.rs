//! What came of similar actions before: for a reviewer who wonders whether this one is usual. Only of what the reader may see,
//! from the journal, newest first, and no further back than is read quickly.

use std::sync::Arc;
use std::time::Duration;

use super::follow::AuditOrder;
use super::told::Voters;
use super::{Caller, Refusal, Service};
use crate::domain::{
    Approval, ApprovalState, Attributes, Change, Fact, GuardAction, Guarded, Outcome, Record, Timestamp,
};
use crate::journal::{Filter, Search};

/// How far back.
pub const HISTORY: Duration = Duration::from_secs(30 * 86_400);
/// Approvals of the same principal that are looked at.
const OPENINGS_MAX: usize = 100;
/// Steps of the search, of at most 1,024 records each.
const STEPS_MAX: usize = 8;
/// The most similar ones that are told.
const SIMILAR_MAX: usize = 5;

/// What is known of the principal, and of actions like this one.
#[derive(Debug, Clone, Default)]
pub struct History {
    /// Settled approvals of the same principal.
    pub approved: usize,
    pub rejected: usize,
    /// Expired, cancelled, revoked or lapsed.
    pub other: usize,
    /// Rejections of exactly this action, after which it is asked for again.
    pub rejected_before: usize,
    /// The most similar ones first.
    pub similar: Vec<(Arc<Approval>, Voters)>,
    /// The newest of the same action that was approved: what the parameters are compared with.
    pub last_approved: Option<Arc<Approval>>,
    /// There may be more than was looked at.
    pub is_cut: bool,
}

impl Service {
    /// The history of an approval that the caller may see.
    pub async fn history(&self, caller: &Caller, of: &Approval) -> Result<History, Refusal> {
        let (openings, is_cut) = self.openings(of).await?;
        let now = self.shared.store.now();
        let snapshot = self.in_force()?;
        let mut history = History { is_cut, ..History::default() };
        let mut alike: Vec<(usize, Arc<Approval>)> = Vec::new();
        for id in openings.into_iter().filter(|id| *id != of.id()) {
            let Some(approval) = self.shared.store.approval(id).await? else { continue };
            let facts = approval.facts(None, now);
            if !snapshot.permits(&caller.identity, GuardAction::ReadApproval, Guarded::Approval(&facts)) {
                continue;
            }
            history.count(&approval, now, approval.opening.binding == of.opening.binding);
            if approval.opening.query.action == of.opening.query.action {
                alike.push((likeness(&approval, of), approval));
            }
        }
        // Newest first, and stable: of two that are as similar the newer one is told.
        history.last_approved =
            alike.iter().find(|(_, approval)| approval.is_countersigned(now)).map(|(_, approval)| approval.clone());
        alike.sort_by_key(|(likeness, _)| std::cmp::Reverse(*likeness));
        history.similar = alike
            .into_iter()
            .take(SIMILAR_MAX)
            .map(|(_, approval)| (approval.clone(), self.voters(caller, &approval)))
            .collect();
        Ok(history)
    }

    /// The approvals that the same principal opened lately, newest first.
    async fn openings(&self, of: &Approval) -> Result<(Vec<crate::domain::ApprovalId>, bool), Refusal> {
        let principal = Some(of.opening.query.principal.clone());
        let filter = Filter { principal, outcomes: vec![Outcome::Pending], ..Filter::default() };
        let from = self.shared.store.now().before(HISTORY);
        let mut search = Search { from, order: AuditOrder::NewestFirst, limit: OPENINGS_MAX, ..Search::whole(filter) };
        let mut openings = Vec::new();
        for _ in 0..STEPS_MAX {
            let step = search.clone();
            let found = self.on_disk(move |log| log.search(&step)).await?;
            openings.extend(found.records.iter().filter_map(|(record, _)| opened(record)));
            search.after = found.more;
            if found.more.is_none() || openings.len() >= OPENINGS_MAX {
                break;
            }
        }
        let is_cut = search.after.is_some();
        openings.truncate(OPENINGS_MAX);
        Ok((openings, is_cut))
    }
}

fn opened(record: &Record) -> Option<crate::domain::ApprovalId> {
    match &record.fact {
        Fact::Decided(decided) => match &decided.change {
            Change::Opened(opening) => Some(opening.id),
            Change::None | Change::Redeemed(_) => None,
        },
        Fact::Started(_)
        | Fact::Moved(_)
        | Fact::Refused(_)
        | Fact::PoliciesReloaded(_)
        | Fact::EntitiesChanged(_)
        | Fact::Revealed(_) => None,
    }
}

impl History {
    fn count(&mut self, approval: &Approval, now: Timestamp, is_same: bool) {
        match approval.state_at(now) {
            ApprovalState::Pending => {}
            // One person let it pass alone: nobody countersigned it.
            ApprovalState::Approved(_) | ApprovalState::Consumed(_) if approval.glass.is_some() => self.other += 1,
            ApprovalState::Approved(_) | ApprovalState::Consumed(_) => self.approved += 1,
            ApprovalState::Rejected { .. } => {
                self.rejected += 1;
                self.rejected_before += usize::from(is_same);
            }
            ApprovalState::Expired { .. }
            | ApprovalState::Cancelled { .. }
            | ApprovalState::Revoked { .. }
            | ApprovalState::Lapsed { .. } => self.other += 1,
        }
    }
}

/// How many things are the same: the resource counts for most, then whom it is for and each parameter.
fn likeness(one: &Approval, other: &Approval) -> usize {
    let (one, other) = (&one.opening.query, &other.opening.query);
    let same = |is: bool, weight| if is { weight } else { 0 };
    same(one.resource == other.resource, 8)
        + same(one.resource.type_name == other.resource.type_name, 2)
        + same(one.on_behalf_of == other.on_behalf_of, 2)
        + shared(&one.context, &other.context)
}

fn shared(one: &Attributes, other: &Attributes) -> usize {
    one.iter().filter(|(name, value)| other.get(*name) == Some(value)).count()
}
