//! The lists: what waits for me, all that waits, what was. Paged from the newest on.

use std::sync::Arc;
use std::time::Duration;

use askama::Template;
use axum::extract::{Query, State};
use axum::http::StatusCode;
use axum::response::Response;
use serde::Deserialize;
use tokio::time::Instant;

use super::inbox::Shared;
use super::login::encoded;
use super::request::Visitor;
use super::view::page::{Chrome, Tab, respond};
use super::view::row::Row;
use crate::domain::{ApprovalId, Severity};
use crate::service::Refusal;
use crate::service::read::{ListRequest, Page};
use crate::service::told::Told;

/// Approvals on one page.
const PAGE_SIZE: usize = 50;
/// How long a page that does not fill up is looked for; then it says where it got to.
const PATIENCE: Duration = Duration::from_millis(60);
const SEARCH_CHARS_MAX: usize = 200;

/// What the address says.
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(default)]
pub struct Wanted {
    show: Option<String>,
    q: Option<String>,
    state: Option<String>,
    severity: Option<String>,
    /// The last approval of the page before.
    after: Option<String>,
}

#[derive(Template)]
#[template(path = "list.html")]
struct List {
    chrome: Chrome,
    shown: &'static str,
    search: String,
    state: &'static str,
    severity: &'static str,
    rows: Vec<Row>,
    /// Where there is more, or could be.
    next: Option<String>,
    is_first: bool,
    is_filtered: bool,
}

impl Wanted {
    fn tab(&self) -> Tab {
        match self.show.as_deref() {
            Some("pending") => Tab::Pending,
            Some("history") => Tab::History,
            _ => Tab::Mine,
        }
    }

    fn shown(&self) -> &'static str {
        match self.tab() {
            Tab::Pending => "pending",
            Tab::History => "history",
            Tab::Mine | Tab::Figures | Tab::None => "mine",
        }
    }

    fn search(&self) -> Option<String> {
        let search: String = self.q.as_deref()?.trim().chars().take(SEARCH_CHARS_MAX).collect();
        (!search.is_empty()).then_some(search)
    }

    fn state(&self) -> Option<&'static str> {
        SETTLED.into_iter().chain([UNEXAMINED]).find(|state| Some(*state) == self.state.as_deref())
    }

    fn severity(&self) -> Option<(&'static str, Severity)> {
        SEVERITIES.into_iter().find(|(name, _)| Some(*name) == self.severity.as_deref())
    }

    fn request(&self) -> ListRequest {
        let states = match (self.tab(), self.state()) {
            (Tab::Mine | Tab::Pending | Tab::Figures | Tab::None, _) => vec!["pending"],
            (Tab::History, Some(UNEXAMINED) | None) => SETTLED.to_vec(),
            (Tab::History, Some(state)) => vec![state],
        };
        let to_be_examined = self.tab() == Tab::History && self.state() == Some(UNEXAMINED);
        // An address that was tampered with shows the first page.
        let before = self.after.as_deref().and_then(|id| id.parse().ok());
        ListRequest {
            page: Page { states, before, size: PAGE_SIZE, to_be_examined, ..Page::default() },
            reviewable: self.tab() == Tab::Mine,
            text: self.search(),
            severity_min: self.severity().map(|(_, severity)| severity),
        }
    }

    /// The same list from behind this approval on.
    fn after(&self, last: ApprovalId) -> String {
        let mut address = format!("/?show={}", self.shown());
        let search = self.search().unwrap_or_default();
        let parts = [("q", &*search), ("state", self.state().unwrap_or_default())];
        let severity = self.severity().map(|(name, _)| name).unwrap_or_default();
        for (name, value) in parts.into_iter().chain([("severity", severity)]).filter(|(_, value)| !value.is_empty()) {
            address.push_str(&format!("&{name}={}", encoded(value)));
        }
        format!("{address}&after={last}")
    }
}

const SETTLED: [&str; 7] = ["approved", "consumed", "rejected", "expired", "cancelled", "revoked", "lapsed"];
/// Not a state of its own: somebody broke the glass, and too few have looked at it since.
const UNEXAMINED: &str = "unexamined";
const SEVERITIES: [(&str, Severity); 3] =
    [("medium", Severity::Medium), ("high", Severity::High), ("critical", Severity::Critical)];

pub async fn show(State(shared): State<Arc<Shared>>, visitor: Visitor, Query(wanted): Query<Wanted>) -> Response {
    let (approvals, more) = match page(&shared, &visitor, wanted.request()).await {
        Ok(found) => found,
        Err(refusal) => return visitor.refuse(&shared, "list", None, &refusal).page(&visitor),
    };
    let now = shared.service.now();
    let title = match wanted.tab() {
        Tab::Pending => "All that waits",
        Tab::History => "History",
        Tab::Mine | Tab::Figures | Tab::None => "Waiting for me",
    };
    let page = List {
        chrome: Chrome::new(title, wanted.tab(), Some(&visitor)),
        shown: wanted.shown(),
        search: wanted.search().unwrap_or_default(),
        state: wanted.state().unwrap_or_default(),
        severity: wanted.severity().map(|(name, _)| name).unwrap_or_default(),
        rows: approvals.iter().map(|told| Row::of(told.approval(), &told.voters, now)).collect(),
        next: more.map(|last| wanted.after(last)),
        is_first: wanted.after.is_none(),
        is_filtered: wanted.search().is_some() || wanted.state().is_some() || wanted.severity().is_some(),
    };
    respond(StatusCode::OK, &page)
}

/// One page, however far apart what the person may see lies; for a limited time.
async fn page(
    shared: &Shared,
    visitor: &Visitor,
    mut request: ListRequest,
) -> Result<(Vec<Told>, Option<ApprovalId>), Refusal> {
    let started = Instant::now();
    let mut found = Vec::new();
    loop {
        request.page.size = PAGE_SIZE - found.len();
        let listed = shared.service.approvals(&visitor.caller, request.clone()).await?;
        found.extend(listed.approvals);
        if listed.more.is_none() || found.len() >= PAGE_SIZE || started.elapsed() > PATIENCE {
            return Ok((found, listed.more));
        }
        request.page.before = listed.more;
    }
}
