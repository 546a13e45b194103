//! The service guards itself with the same policies: its own `Countersign::` actions, asked with the caller as principal.

use std::collections::BTreeSet;

use super::entity::{Entity, EntityUid};
use super::evaluation::PolicyId;
use super::id::ApprovalId;
use super::requirement::Severity;

/// What a caller may want of the service itself. Each is a Cedar action `Countersign::Action::"<name>"`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum GuardAction {
    /// Ask for a decision.
    Authorize,
    /// Ask in the name of another principal; the resource is that principal.
    AuthorizeAs,
    /// Send entities along with a query; the resource is `Countersign::EntityType::"<type>"`.
    SupplyEntities,
    Review,
    Cancel,
    Revoke,
    ReadApproval,
    /// See an approval's personal data as it is.
    Reveal,
    /// Be told who voted on an approval.
    ViewReviewers,
    Audit,
    Subscribe,
    Unmask,
    /// Be told why: the policies' text.
    Explain,
    Administer,
    /// Have somebody stand in for a reviewer who is away; the resource is that somebody.
    Delegate,
    /// End all sessions that a person has in the inbox; the resource is that person.
    EndSessions,
}

impl GuardAction {
    pub const ALL: [Self; 16] = [
        Self::Authorize,
        Self::AuthorizeAs,
        Self::SupplyEntities,
        Self::Review,
        Self::Cancel,
        Self::Revoke,
        Self::ReadApproval,
        Self::Reveal,
        Self::ViewReviewers,
        Self::Audit,
        Self::Subscribe,
        Self::Unmask,
        Self::Explain,
        Self::Administer,
        Self::Delegate,
        Self::EndSessions,
    ];

    /// The id of the Cedar action.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Authorize => "authorize",
            Self::AuthorizeAs => "authorize_as",
            Self::SupplyEntities => "supply_entities",
            Self::Review => "review",
            Self::Cancel => "cancel",
            Self::Revoke => "revoke",
            Self::ReadApproval => "read_approval",
            Self::Reveal => "reveal",
            Self::ViewReviewers => "view_reviewers",
            Self::Audit => "audit",
            Self::Subscribe => "subscribe",
            Self::Unmask => "unmask",
            Self::Explain => "explain",
            Self::Administer => "administer",
            Self::Delegate => "delegate",
            Self::EndSessions => "end_sessions",
        }
    }
}

/// On what.
#[derive(Debug, Clone, Copy)]
pub enum Guarded<'a> {
    /// `Countersign::Service::"countersign"`.
    Service,
    /// The principal that the caller names, or whose sessions are to end.
    Principal(&'a EntityUid),
    /// Who is to stand in, for whom, and for how long.
    Delegation(&'a Delegation),
    /// `Countersign::EntityType::"<type>"`.
    EntityType(&'a str),
    /// `Countersign::Approval::"<id>"` with its attributes.
    Approval(&'a ApprovalFacts),
}

/// What policies may know of a right that is to be lent.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Delegation {
    /// Who is to stand in.
    pub to: EntityUid,
    /// For whom.
    pub of: EntityUid,
    /// Whether the caller lends what is his own.
    pub is_own: bool,
    /// Begun hours count.
    pub hours: u32,
}

/// What must be permitted beside asking at all ([`GuardAction::Authorize`], which is first): each type of what the caller
/// supplies, to be told why, and to speak of `asserted`, whom the caller names. In this order for whoever asks.
pub fn beside_asking<'q>(
    supplied: &'q [Entity],
    explain: bool,
    asserted: Option<&'q EntityUid>,
) -> impl Iterator<Item = (GuardAction, Guarded<'q>)> {
    let types: BTreeSet<&str> = supplied.iter().map(|entity| &*entity.uid.type_name).collect();
    let types = types.into_iter().map(|name| (GuardAction::SupplyEntities, Guarded::EntityType(name)));
    let explained = explain.then_some((GuardAction::Explain, Guarded::Service));
    let named = asserted.map(|uid| (GuardAction::AuthorizeAs, Guarded::Principal(uid)));
    types.chain(explained).chain(named)
}

/// What policies may know of an approval: the attributes of `Countersign::Approval`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ApprovalFacts {
    pub id: ApprovalId,
    /// The principal that wants to act.
    pub requester: EntityUid,
    pub on_behalf_of: Option<EntityUid>,
    /// The PEP that asked.
    pub caller: EntityUid,
    pub action: EntityUid,
    pub resource: EntityUid,
    pub severity: Severity,
    /// The gate under review; absent where the approval as a whole is meant (reading, cancelling).
    pub gate: Option<PolicyId>,
    /// The gate's reviewers as of now, escalations included; all gates' where `gate` is absent.
    pub reviewers: Vec<EntityUid>,
}
