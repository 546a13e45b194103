//! Which records.

use clap::{Args, ValueEnum};

use crate::cli::parse;
use crate::wire::pb;

#[derive(Debug, Clone, Args)]
pub struct Filter {
    /// Only of who wanted to act, such as Agent::report-bot
    #[arg(long, value_parser = parse::uid)]
    principal: Option<pb::EntityUid>,
    /// Only of this action, such as Action::export
    #[arg(long, value_parser = parse::uid)]
    action: Option<pb::EntityUid>,
    /// Only on this resource, such as Dataset::customers
    #[arg(long, value_parser = parse::uid)]
    resource: Option<pb::EntityUid>,
    /// Only of this approval
    #[arg(long, default_value = "", hide_default_value = true)]
    approval: String,
    /// Only decisions with this outcome; may be repeated
    #[arg(long, value_enum)]
    outcome: Vec<Outcome>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
enum Outcome {
    Allow,
    Deny,
    Pending,
}

impl From<Outcome> for pb::Outcome {
    fn from(outcome: Outcome) -> Self {
        match outcome {
            Outcome::Allow => Self::Allow,
            Outcome::Deny => Self::Deny,
            Outcome::Pending => Self::Pending,
        }
    }
}

impl From<Filter> for pb::Filter {
    fn from(filter: Filter) -> Self {
        Self {
            principal: filter.principal,
            action: filter.action,
            resource: filter.resource,
            approval_id: filter.approval,
            outcomes: filter.outcome.into_iter().map(|outcome| pb::Outcome::from(outcome).into()).collect(),
        }
    }
}
