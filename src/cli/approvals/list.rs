//! `approvals list`.

use clap::{Args, ValueEnum};
use comfy_table::Table;

use crate::cli::failure::Failure;
use crate::cli::parse;
use crate::cli::screen::{Format, Screen, table};
use crate::cli::words;
use crate::grpc::client::Client;
use crate::wire::json::to_json;
use crate::wire::pb;

/// Approvals asked for at once.
const PAGE_SIZE: u32 = 200;

#[derive(Debug, Args)]
pub struct List {
    #[command(flatten)]
    which: Which,
    /// At most so many
    #[arg(long, default_value_t = 50)]
    limit: usize,
}

/// Which approvals.
#[derive(Debug, Clone, Args)]
pub struct Which {
    /// Only in this state; may be repeated
    #[arg(long, value_enum)]
    state: Vec<State>,
    /// Only what you could review now
    #[arg(long)]
    reviewable: bool,
    /// Only those whose glass was broken and that people still have to look at
    #[arg(long)]
    to_be_examined: bool,
    /// Only of who wants to act, such as Agent::report-bot
    #[arg(long, value_parser = parse::uid)]
    principal: Option<pb::EntityUid>,
    /// Only of this action, such as Action::export
    #[arg(long, value_parser = parse::uid)]
    action: Option<pb::EntityUid>,
    /// Only on this resource, such as Dataset::customers
    #[arg(long, value_parser = parse::uid)]
    resource: Option<pb::EntityUid>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
enum State {
    Pending,
    Approved,
    Rejected,
    Expired,
    Cancelled,
    Revoked,
    Lapsed,
    Consumed,
}

impl From<State> for pb::ApprovalState {
    fn from(state: State) -> Self {
        match state {
            State::Pending => Self::Pending,
            State::Approved => Self::Approved,
            State::Rejected => Self::Rejected,
            State::Expired => Self::Expired,
            State::Cancelled => Self::Cancelled,
            State::Revoked => Self::Revoked,
            State::Lapsed => Self::Lapsed,
            State::Consumed => Self::Consumed,
        }
    }
}

impl Which {
    /// The same, but only what is pending if no state was named.
    pub fn pending_by_default(mut self) -> Self {
        if self.state.is_empty() {
            self.state.push(State::Pending);
        }
        self
    }

    /// At most `limit` of them, over as many pages as it takes.
    pub async fn fetch(&self, client: &Client, limit: usize) -> Result<Vec<pb::Approval>, Failure> {
        let mut found = Vec::new();
        let mut page_token = String::new();
        loop {
            let page = client.list_approvals(self.request(page_token)).await?;
            found.extend(page.approvals);
            if found.len() >= limit || page.next_page_token.is_empty() {
                found.truncate(limit);
                return Ok(found);
            }
            page_token = page.next_page_token;
        }
    }

    fn request(&self, page_token: String) -> pb::ListApprovalsRequest {
        pb::ListApprovalsRequest {
            states: self.state.iter().map(|&state| pb::ApprovalState::from(state).into()).collect(),
            principal: self.principal.clone(),
            action: self.action.clone(),
            resource: self.resource.clone(),
            reviewable: self.reviewable,
            to_be_examined: self.to_be_examined,
            page_size: PAGE_SIZE,
            page_token,
        }
    }
}

impl List {
    pub async fn run(self, client: &Client, screen: &mut Screen) -> Result<(), Failure> {
        let found = self.which.fetch(client, self.limit).await?;
        if screen.format == Format::Json {
            return found.iter().try_for_each(|approval| screen.json(&to_json(approval)));
        }
        if found.is_empty() {
            screen.note("no approvals that you may see");
            return Ok(());
        }
        screen.table(&rows(&found, jiff::Timestamp::now()))
    }
}

/// A line each.
pub fn rows(approvals: &[pb::Approval], now: jiff::Timestamp) -> Table {
    let mut table = table(&["id", "state", "severity", "who", "action", "resource", "votes", "left"]);
    for approval in approvals {
        table.add_row([
            words::escaped(&approval.id),
            words::state(approval.state).to_owned(),
            severity(approval).to_lowercase(),
            words::identity(approval.principal.as_ref()),
            words::uid(approval.action.as_ref()),
            words::uid(approval.resource.as_ref()),
            votes(approval),
            left(approval, now),
        ]);
    }
    table
}

/// The highest that any gate has.
pub fn severity(approval: &pb::Approval) -> &'static str {
    let severities = approval.gates.iter().filter_map(|status| status.gate.as_ref()).map(|gate| gate.severity);
    severities.max().map_or("-", words::severity)
}

fn votes(approval: &pb::Approval) -> String {
    let gates = approval.gates.iter().filter_map(|status| Some((status.approvals, status.gate.as_ref()?.quorum)));
    gates.map(|(given, quorum)| format!("{given}/{quorum}")).collect::<Vec<_>>().join(" ")
}

fn left(approval: &pb::Approval, now: jiff::Timestamp) -> String {
    match pb::ApprovalState::try_from(approval.state) {
        Ok(pb::ApprovalState::Pending) => words::left(approval.deadline.as_ref(), now),
        Ok(pb::ApprovalState::Approved) => words::left(approval.grant_lapses_at.as_ref(), now),
        Ok(_) | Err(_) => "-".to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cli::approvals::show::tests::export;

    #[test]
    fn a_list_has_a_line_for_each_approval() {
        let now = jiff::Timestamp::from_second(1_700_000_060).unwrap();
        let text = rows(&[export()], now).trim_fmt();
        let line = text.lines().nth(1).unwrap().split_whitespace().collect::<Vec<_>>().join(" ");
        assert_eq!(
            line,
            "apr_01 PENDING high Agent::\"report-bot\" for User::\"alice\" Action::\"export\" Dataset::\"customers\" 1/2 14m"
        );
    }
}
