//! An approval as it lies in Redis: a list of what it is now (`version due state uses head`) and of the records that made
//! it so. It is read by adding these up, with the rules of the domain, as a journal is.
//!
//! The uses of a grant for a time leave no record here, only their count: such a grant may be used thousands of times, and
//! nothing depends on any of them.

use redis::{Cmd, Value};

use super::answer;
use super::keys::Keys;
use super::trouble::Trouble;
use crate::domain::{Approval, ApprovalId, Change, Fact, Moved, Timestamp, Transition};
use crate::store::StoreError;
use crate::vault::{Unsealable, Vault};

/// An approval, and what goes with it in Redis.
#[derive(Debug, Clone)]
pub struct Stored {
    pub approval: Approval,
    /// Of a grant for a time.
    pub uses: u64,
    /// The event of its shard that made it what it is.
    pub head: u64,
}

impl Stored {
    /// Asks for the members of its list.
    pub fn question(keys: &Keys, id: ApprovalId) -> Cmd {
        let mut members = redis::cmd("LRANGE");
        members.arg(keys.approval(id)).arg(0).arg(-1);
        members
    }

    /// From the members of its list; `None` where there is no list.
    pub fn parse(vault: &Vault, id: ApprovalId, members: Value) -> Result<Option<Self>, StoreError> {
        let mut members = answer::array(members, "LRANGE")?.into_iter().map(answer::bytes);
        let Some(first) = members.next() else { return Ok(None) };
        let unreadable = || StoreError::unreadable(id, Trouble::Unexpected("LRANGE"));
        let now = first.and_then(|text| Now::parse(&text)).ok_or_else(unreadable)?;
        let mut approval = None;
        for member in members {
            let record = vault.open_shared(Timestamp::default(), &member.ok_or_else(unreadable)?);
            let fact = record.map_err(|error| StoreError::unreadable(id, error))?.fact;
            approval = Some(step(id, approval, &fact)?);
        }
        let mut approval: Approval = approval.ok_or_else(unreadable)?;
        approval.version = approval.version.saturating_add(now.uses);
        let is_whole = approval.id() == id
            && approval.version == now.version
            && approval.state.name() == now.state
            && due(&approval) == now.due;
        if is_whole { Ok(Some(Self { approval, uses: now.uses, head: now.head })) } else { Err(unreadable()) }
    }

    /// What it is after a transition.
    pub fn after(&self, transition: &Transition) -> Option<Self> {
        let approval = self.approval.apply(transition).ok()?;
        let used = matches!(transition, Transition::Used { .. });
        Some(Self { approval, uses: self.uses + u64::from(used), head: self.head })
    }

    /// The first member of the list, as it was read.
    pub fn is(&self) -> String {
        format!("{} {}", self.now(), self.head)
    }

    /// The same after an event that others made, as far as it says so itself: `state` and `due` are what its script wrote.
    pub fn heard(&self, transition: &Transition, event: u64, state: &[u8], moves_at: i64) -> Option<Self> {
        let after = Self { head: event, ..self.after(transition)? };
        let is_it = after.approval.state.name().as_bytes() == state && due(&after.approval) == moves_at;
        is_it.then_some(after)
    }

    /// The first member of the list, without the head, which only the script knows.
    pub fn now(&self) -> String {
        let Approval { version, state, .. } = &self.approval;
        format!("{version} {} {} {}", due(&self.approval), state.name(), self.uses)
    }
}

fn step(id: ApprovalId, before: Option<Approval>, fact: &Fact) -> Result<Approval, StoreError> {
    let unreadable = || StoreError::unreadable(id, Trouble::Unexpected("the records of an approval"));
    match (before, fact) {
        (None, Fact::Decided(decided)) => match &decided.change {
            Change::Opened(opening) => Ok(Approval::opened(opening.clone())),
            Change::None | Change::Redeemed(_) => Err(unreadable()),
        },
        (Some(approval), Fact::Moved(moved)) => {
            approval.apply(&moved.transition).map_err(|illegal| StoreError::unreadable(id, illegal))
        }
        _ => Err(unreadable()),
    }
}

/// When time moves it on, in microseconds; 0 for never.
fn due(approval: &Approval) -> i64 {
    approval.next_due().map_or(0, |due| due.as_micros().max(1))
}

/// The record to keep of a transition; empty where none is needed.
pub fn kept(vault: &Vault, before: &Approval, transition: &Transition) -> Result<Vec<u8>, Unsealable> {
    if matches!(transition, Transition::Used { .. }) {
        return Ok(Vec::new());
    }
    let query = &before.opening.query;
    let moved = Moved {
        approval: before.id(),
        binding: before.opening.binding,
        principal: query.principal.clone(),
        action: query.action.clone(),
        resource: query.resource.clone(),
        transition: transition.clone(),
        request_id: "".into(),
    };
    vault.share(vault.draft(&Fact::Moved(moved)))
}

struct Now {
    version: u64,
    due: i64,
    state: String,
    uses: u64,
    head: u64,
}

impl Now {
    fn parse(text: &[u8]) -> Option<Self> {
        let mut words = std::str::from_utf8(text).ok()?.split(' ');
        let now = Self {
            version: words.next()?.parse().ok()?,
            due: words.next()?.parse().ok()?,
            state: words.next()?.to_owned(),
            uses: words.next()?.parse().ok()?,
            head: words.next()?.parse().ok()?,
        };
        words.next().is_none().then_some(now)
    }
}
