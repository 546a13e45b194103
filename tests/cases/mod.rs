//! The attack and fault scenarios that lie within reach of one replica, each named after its number: the safe answer, seen
//! from outside, and the records it left.

mod binding;
mod bursts;
mod endings;
mod faults;
mod floods;
mod identity;
mod lifecycle;
mod limits;
mod loading;
mod overload;
mod races;
mod records;
mod reviewers;
mod silent;
mod storm;

use countersign::wire::pb;

use crate::support::client::{Client, export};
use crate::support::{PolicyDir, TestServer};

/// The export, asked by the agent: pending.
async fn asked(server: &TestServer) -> (Client, pb::Approval) {
    let agent = server.client("report-bot").await;
    let approval = agent.authorize(export()).await.unwrap().approval.unwrap();
    (agent, approval)
}

/// The export, countersigned by both who must.
async fn countersigned(server: &TestServer) -> (Client, pb::Approval) {
    let (agent, approval) = asked(server).await;
    server.client("alice").await.approve(&approval).await.unwrap();
    let approval = server.client("bob").await.approve(&approval).await.unwrap();
    assert_eq!(approval.state(), pb::ApprovalState::Approved);
    (agent, approval)
}

/// A server with `tests/policies` in force.
async fn extended() -> TestServer {
    PolicyDir::extended().serve().await
}

/// What happened to an approval, by the records, in order: `opened`, `reviewed`, `approved`, `refused ..` and so on.
pub async fn history(server: &TestServer, approval: &str) -> Vec<String> {
    // A refusal does not wait for its record; a decision does, and comes after it.
    let read = crate::support::client::query("read", "Dataset", "weather");
    server.client("frank").await.authorize(read).await.expect("an answer");
    server.client("erin").await.records_of(approval).await.iter().map(name).collect()
}

fn name(record: &pb::Record) -> String {
    use pb::record::Fact;
    use pb::transition::Kind;
    let moved = |transition: &pb::Transition| match transition.kind.as_ref().unwrap() {
        Kind::Reviewed(_) => "reviewed",
        Kind::Approved(_) => "approved",
        Kind::Rejected(_) => "rejected",
        Kind::Expired(_) => "expired",
        Kind::BrokenGlass(_) => "broken_glass",
        Kind::Examined(_) => "examined",
        Kind::Escalated(_) => "escalated",
        Kind::Reminded(_) => "reminded",
        Kind::Cancelled(_) => "cancelled",
        Kind::Revoked(_) => "revoked",
        Kind::Lapsed(_) => "lapsed",
        Kind::Consumed(_) => "consumed",
        Kind::Used(_) => "used",
        Kind::Reported(_) => "reported",
    };
    match record.fact.as_ref().unwrap() {
        Fact::Started(_) => "started".into(),
        Fact::PoliciesReloaded(_) => "policies reloaded".into(),
        Fact::EntitiesChanged(_) => "entities changed".into(),
        Fact::Revealed(_) => "revealed".into(),
        Fact::Sealed(_) => unreachable!("it is never sent"),
        Fact::Moved(fact) => moved(fact.transition.as_ref().unwrap()).into(),
        Fact::Refused(refused) => format!("refused {} {}", refused.method, refused.reason),
        Fact::Decided(decided) => match &decided.change {
            Some(pb::decided::Change::Opened(_)) => "opened".into(),
            Some(pb::decided::Change::Redeemed(transition)) => moved(transition).into(),
            None => format!("decided {}", decided.reason),
        },
    }
}

/// How many of these lines say so.
fn count(history: &[String], what: &str) -> usize {
    history.iter().filter(|line| *line == what).count()
}

/// The reason of an answer and its outcome.
fn said(answer: &pb::AuthorizeResponse) -> (pb::Outcome, &str) {
    (answer.outcome(), &answer.reason)
}
