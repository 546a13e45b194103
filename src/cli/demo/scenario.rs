//! The play: an agent reads, is denied, asks, waits, and acts once.

use std::collections::BTreeMap;

use futures_util::TryStreamExt;

use super::cast::Cast;
use super::house::House;
use super::narration::{Narration, expect};
use crate::cli::failure::Failure;
use crate::cli::{approvals, audit, words};
use crate::grpc::client::{Client, Code};
use crate::journal;
use crate::wire::{pb, well_known};

/// How long the agent's call is held open.
const WAIT: well_known::Duration = well_known::Duration { seconds: 50, nanos: 0 };

pub async fn play(cast: &Cast, house: &House, narration: &mut Narration<'_>) -> Result<(), Failure> {
    narration.step("The agent reads the weather: nothing speaks against it")?;
    let answer = cast.bot.authorize(query("read", "Dataset", "weather")).await?;
    narration.answer(&answer, pb::Outcome::Allow, "permitted")?;

    narration.step("The agent wants to drop a database: a rule forbids it, and nobody could approve it")?;
    let answer = cast.bot.authorize(query("drop", "Database", "warehouse")).await?;
    narration.answer(&answer, pb::Outcome::Deny, "forbidden")?;

    narration.step("The agent wants to export customer data: that takes two people")?;
    let answer = cast.bot.authorize(export(1_200)).await?;
    narration.answer(&answer, pb::Outcome::Pending, "approval_required")?;
    let approval = answer.approval.ok_or_else(|| Failure::Failed("PENDING came without an approval".into()))?;

    own_approval(cast, &approval, narration).await?;
    countersigned(cast, &approval, narration).await?;
    refused_later(cast, &approval, narration).await?;
    on_record(cast, &approval, house, narration).await
}

/// The agent tries to approve its own action.
async fn own_approval(cast: &Cast, approval: &pb::Approval, narration: &mut Narration<'_>) -> Result<(), Failure> {
    narration.step("The agent tries to approve its own action: only people can, and never their own")?;
    match vote(&cast.bot, approval).await {
        Err(error) => {
            expect("refusal", &Code::PermissionDenied, &error.code)?;
            narration.refusal("PERMISSION_DENIED", &error.message)
        }
        Ok(_) => Err(Failure::Failed("an agent approved its own action".into())),
    }
}

/// The agent waits in one call; two people look and countersign; the call returns.
async fn countersigned(cast: &Cast, approval: &pb::Approval, narration: &mut Narration<'_>) -> Result<(), Failure> {
    narration.step("The agent asks again and waits; its call is held open. This is what Alice and Bob see:")?;
    let waiting = tokio::spawn({
        let bot = cast.bot.clone();
        let request = pb::AuthorizeRequest { wait: Some(WAIT), ..again(export(1_200), approval) };
        async move { bot.authorize(request).await }
    });
    let seen = look(&cast.alice, approval).await?;
    narration.tell(&approvals::shown(&seen, jiff::Timestamp::now(), narration.style()))?;

    narration.step("Alice countersigns exactly that (her vote names its binding): one of two")?;
    let after = vote(&cast.alice, &seen).await?;
    expect("state", "PENDING", words::state(after.state))?;
    narration.tell(&format!("still {}", words::state(after.state)))?;

    narration.step("Bob countersigns: the quorum is complete, and the agent's waiting call returns")?;
    vote(&cast.bob, &look(&cast.bob, approval).await?).await?;
    let answer = waiting.await.map_err(|error| Failure::Failed(error.to_string()))??;
    narration.answer(&answer, pb::Outcome::Allow, "granted")?;
    let report = pb::ReportOutcomeRequest {
        approval_id: approval.id.clone(),
        decision_id: answer.decision_id,
        report: pb::Report::Succeeded.into(),
    };
    cast.bot.report_outcome(report).await?;
    narration.tell("the agent exports, and reports SUCCEEDED")
}

/// The grant was for one use and for exactly that query.
async fn refused_later(cast: &Cast, approval: &pb::Approval, narration: &mut Narration<'_>) -> Result<(), Failure> {
    narration.step("The agent tries it a second time: the approval was for one use")?;
    let answer = cast.bot.authorize(again(export(1_200), approval)).await?;
    narration.answer(&answer, pb::Outcome::Deny, "grant_consumed")?;

    narration.step("The agent tries it with more rows than were approved: another action, recorded as tampering")?;
    let answer = cast.bot.authorize(again(export(5_000_000), approval)).await?;
    narration.answer(&answer, pb::Outcome::Deny, "binding_mismatch")
}

/// What the auditor reads, and what the files prove.
async fn on_record(
    cast: &Cast,
    approval: &pb::Approval,
    house: &House,
    narration: &mut Narration<'_>,
) -> Result<(), Failure> {
    narration.step("Erin (auditor) reads all of it in the journal")?;
    let filter = pb::Filter { approval_id: approval.id.clone(), ..pb::Filter::default() };
    let request = pb::AuditRequest { filter: Some(filter), ..pb::AuditRequest::default() };
    let answers: Vec<_> = cast.erin.audit(request).await?.try_collect().await?;
    let records: Vec<_> = answers.into_iter().filter_map(|answer| answer.record).collect();
    for record in &records {
        narration.tell(&audit::recorded(record))?;
    }
    expect("records of it", &true, &(records.len() >= 6))?;

    narration.step("The journal's files are verified, hash by hash")?;
    let dir = house.journal_dir();
    let verify = move || journal::verify(&dir, None, &mut |_| {});
    let report = tokio::task::spawn_blocking(verify).await.map_err(|error| Failure::Failed(error.to_string()))??;
    narration.tell(&format!("whole: records {} to {}", report.first, report.last))
}

async fn look(person: &Client, approval: &pb::Approval) -> Result<pb::Approval, Failure> {
    Ok(person.get_approval(pb::GetApprovalRequest { approval_id: approval.id.clone(), reveal: false }).await?)
}

/// A vote for exactly what was seen.
async fn vote(person: &Client, seen: &pb::Approval) -> Result<pb::Approval, crate::grpc::client::CallError> {
    let request = pb::DecideRequest {
        approval_id: seen.id.clone(),
        verdict: pb::Verdict::Approve.into(),
        comment: "as agreed for the quarterly report".into(),
        binding: seen.binding.clone(),
        gates: Vec::new(),
    };
    person.decide(request).await
}

fn query(action: &str, resource_type: &str, resource: &str) -> pb::AuthorizeRequest {
    let uid = |kind: &str, id: &str| Some(pb::EntityUid { r#type: kind.into(), id: id.into() });
    pb::AuthorizeRequest {
        action: uid("Action", action),
        resource: uid(resource_type, resource),
        ..pb::AuthorizeRequest::default()
    }
}

fn export(rows: i64) -> pb::AuthorizeRequest {
    use pb::value::Kind;
    let value = |kind| pb::Value { kind: Some(kind) };
    let context = BTreeMap::from([
        ("destination".to_owned(), value(Kind::String("s3://reports/quarterly".into()))),
        ("rows".to_owned(), value(Kind::Long(rows))),
    ]);
    let justification = "quarterly churn report, due on Friday".to_owned();
    pb::AuthorizeRequest { context, justification, ..query("export", "Dataset", "customers") }
}

/// The same query, naming the approval that it wants to redeem.
fn again(request: pb::AuthorizeRequest, approval: &pb::Approval) -> pb::AuthorizeRequest {
    pb::AuthorizeRequest { approval_id: approval.id.clone(), ..request }
}
