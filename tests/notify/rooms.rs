//! What the rooms of all chats share: a gate of low severity, somebody who asks, and how a person gets a code to link an account.

use countersign::domain::Timestamp;
use countersign::notify::Settings;
use countersign::store::ManualClock;
use countersign::wire::pb;

use crate::support::browser::Browser;
use crate::support::client::{query, string};
use crate::support::{Options, PolicyDir, TestServer};

pub const GATE: &str = "@id(\"weather-leaves\") @approval(\"Weather leaves\") @quorum(\"2\") @severity(\"low\")\n\
                        @reviewers(\"Group::\\\"privacy\\\", Group::\\\"dpo\\\"\") @timeout(\"10h\")\n\
                        forbid (principal, action == Action::\"export\", resource == Dataset::\"weather\");";

/// A server with an inbox, these policies and these notifications.
pub fn options(policies: &PolicyDir, notify: Settings) -> Options {
    let inbox = Some(countersign::web::Settings::default());
    Options { policies: policies.path().into(), notify, inbox, ..Options::default() }
}

/// A clock that begins now: what chat products sign is dated.
pub fn clock() -> ManualClock {
    let now = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).unwrap();
    ManualClock::starting_at(Timestamp::default().after(now))
}

/// To send the weather there.
pub fn weather(destination: &str) -> pb::AuthorizeRequest {
    pb::AuthorizeRequest {
        context: [("destination".into(), string(destination))].into(),
        ..query("export", "Dataset", "weather")
    }
}

/// Somebody wants to; what waits for people then.
pub async fn asked(server: &TestServer, destination: &str) -> pb::Approval {
    server.client("report-bot").await.authorize(weather(destination)).await.unwrap().approval.unwrap()
}

/// What a person enters to link an account.
pub async fn link_code(server: &TestServer, who: &str) -> String {
    let mut browser = Browser::new(server.inbox.as_ref().unwrap()).login(who).await;
    let token = browser.get("/link").await.hidden("form_token");
    code(&browser.post("/link/code", &[("form_token", &token)]).await.body)
}

pub fn code(page: &str) -> String {
    let (_, rest) = page.split_once("<code id=\"code\">").unwrap_or_else(|| panic!("no code in {page}"));
    rest.split_once('<').unwrap().0.to_owned()
}
