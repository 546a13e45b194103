//! From messages to what the use cases take. Everything is checked once, here; the field at fault is named.

use std::sync::Arc;
use std::time::Duration;

use crate::domain::{ApprovalId, Binding, DecisionId, EntityUid, MaskSupport, PolicyId, Report};
use crate::service::authorize::{Ask, AskedPrincipal};
use crate::service::away::Leave;
use crate::service::glass::Examination;
use crate::service::read::ListRequest;
use crate::service::review::Vote;
use crate::service::unmask::Opening;
use crate::service::{Limits, Refusal};
use crate::store::Page;
use crate::wire::approval::{parse_timestamp, state_name};
use crate::wire::value::{ValueParser, optional_uid, required_uid};
use crate::wire::{self, Malformed, pb};

pub fn malformed(malformed: Malformed) -> Refusal {
    Refusal::invalid(malformed.field, malformed.message)
}

pub fn ask(request: pb::AuthorizeRequest, limits: &Limits) -> Result<Ask, Refusal> {
    if wire::encoded_bytes(&request) > limits.query_bytes_max {
        return Err(too_large(request, limits.query_bytes_max));
    }
    let mut values = ValueParser::default();
    Ok(Ask {
        principal: principal(request.principal, request.subject_token)?,
        action: required_uid("action", request.action).map_err(malformed)?,
        resource: required_uid("resource", request.resource).map_err(malformed)?,
        context: values.attributes("context", request.context).map_err(malformed)?,
        environment: values.attributes("environment", request.environment).map_err(malformed)?,
        entities: values.entities("entities", request.entities).map_err(malformed)?,
        justification: text(request.justification.trim()),
        approval: (!request.approval_id.is_empty())
            .then(|| approval_id("approval_id", &request.approval_id))
            .transpose()?,
        wait: request.wait.map_or(Ok(Duration::ZERO), wait)?,
        idempotency_key: text(&request.idempotency_key),
        at_least_revision: request.at_least_revision,
        explain: request.explain,
        masking: masking(&request.supported_obligations),
    })
}

/// Obligations that we do not know are none that we ask for.
fn masking(supported: &[String]) -> MaskSupport {
    match supported.iter().any(|kind| kind == "mask") {
        true => MaskSupport::Declared,
        false => MaskSupport::Absent,
    }
}

/// A batch whose answers fit into one message: what it asks comes back in them.
pub fn check_batch(batch: &pb::AuthorizeBatchRequest, limits: &Limits) -> Result<(), Refusal> {
    if batch.queries.len() > limits.batch_queries_max {
        return Err(Refusal::invalid("queries", format!("more than {} queries", limits.batch_queries_max)));
    }
    if wire::encoded_bytes(batch) > limits.batch_bytes_max {
        return Err(Refusal::invalid("queries", format!("larger than {} bytes together", limits.batch_bytes_max)));
    }
    Ok(())
}

/// A query of a batch: one that waited would hold up its neighbours, and explanations would not fit into one message.
pub fn ask_at_once(request: pb::AuthorizeRequest, limits: &Limits) -> Result<Ask, Refusal> {
    let ask = ask(request, limits)?;
    match (ask.wait.is_zero(), ask.explain) {
        (true, false) => Ok(ask),
        (false, _) => Err(Refusal::invalid("wait", "not taken in a batch")),
        (true, true) => Err(Refusal::invalid("explain", "not taken in a batch")),
    }
}

/// Names the largest part of the query.
fn too_large(request: pb::AuthorizeRequest, most: usize) -> Refusal {
    let none = pb::AuthorizeRequest::default;
    let parts = [
        ("action", pb::AuthorizeRequest { action: request.action, ..none() }),
        ("resource", pb::AuthorizeRequest { resource: request.resource, ..none() }),
        ("principal", pb::AuthorizeRequest { principal: request.principal, ..none() }),
        ("subject_token", pb::AuthorizeRequest { subject_token: request.subject_token, ..none() }),
        ("justification", pb::AuthorizeRequest { justification: request.justification, ..none() }),
        ("idempotency_key", pb::AuthorizeRequest { idempotency_key: request.idempotency_key, ..none() }),
        ("context", pb::AuthorizeRequest { context: request.context, ..none() }),
        ("environment", pb::AuthorizeRequest { environment: request.environment, ..none() }),
        ("entities", pb::AuthorizeRequest { entities: request.entities, ..none() }),
    ];
    let largest = parts.into_iter().max_by_key(|(_, part)| wire::encoded_bytes(part)).map(|(name, _)| name);
    let message = format!("the query is larger than `query_bytes_max`, {most} bytes; this is most of it");
    Refusal::invalid(largest.unwrap_or("query"), message)
}

fn principal(named: Option<pb::EntityUid>, token: String) -> Result<AskedPrincipal, Refusal> {
    match (optional_uid("principal", named).map_err(malformed)?, token.is_empty()) {
        (None, true) => Ok(AskedPrincipal::Caller),
        (Some(uid), true) => Ok(AskedPrincipal::Named(uid)),
        (None, false) => Ok(AskedPrincipal::Token(token.into())),
        (Some(_), false) => Err(Refusal::invalid("subject_token", "not together with `principal`")),
    }
}

fn wait(wait: prost_types::Duration) -> Result<Duration, Refusal> {
    Duration::try_from(wait).map_err(|_| Refusal::invalid("wait", "expected a duration of zero or more"))
}

pub fn approval_id(field: &str, text: &str) -> Result<ApprovalId, Refusal> {
    text.parse().map_err(|error| Refusal::invalid(field, format!("not an approval id: {error}")))
}

pub fn decision_id(field: &str, text: &str) -> Result<DecisionId, Refusal> {
    text.parse().map_err(|error| Refusal::invalid(field, format!("not a decision id: {error}")))
}

pub fn unmask(request: pb::UnmaskRequest) -> Result<Opening, Refusal> {
    let approval = (!request.approval_id.is_empty()).then(|| approval_id("approval_id", &request.approval_id));
    Ok(Opening {
        tokens: request.tokens,
        justification: text(request.justification.trim()),
        approval: approval.transpose()?,
        wait: request.wait.map_or(Ok(Duration::ZERO), wait)?,
        idempotency_key: text(&request.idempotency_key),
    })
}

pub fn vote(request: pb::DecideRequest) -> Result<Vote, Refusal> {
    let unspecified = || Refusal::invalid("verdict", "expected VERDICT_APPROVE or VERDICT_REJECT");
    Ok(Vote {
        approval: approval_id("approval_id", &request.approval_id)?,
        verdict: pb::Verdict::parse(request.verdict).ok_or_else(unspecified)?,
        comment: text(request.comment.trim()),
        binding: binding(&request.binding)?,
        gates: request.gates.into_iter().map(|gate| PolicyId(gate.into())).collect(),
    })
}

pub fn examination(request: pb::ExamineBreakGlassRequest) -> Result<Examination, Refusal> {
    let unspecified = || Refusal::invalid("verdict", "expected VERDICT_APPROVE or VERDICT_REJECT");
    Ok(Examination {
        approval: approval_id("approval_id", &request.approval_id)?,
        verdict: pb::Verdict::parse(request.verdict).ok_or_else(unspecified)?,
        comment: text(request.comment.trim()),
        binding: binding(&request.binding)?,
    })
}

pub fn binding(text: &str) -> Result<Binding, Refusal> {
    let message = |error| format!("the binding of what you reviewed, as `GetApproval` shows it: {error}");
    text.parse().map_err(|error| Refusal::invalid("binding", message(error)))
}

pub fn report(request: &pb::ReportOutcomeRequest) -> Result<(ApprovalId, DecisionId, Report), Refusal> {
    let id = approval_id("approval_id", &request.approval_id)?;
    let decision = decision_id("decision_id", &request.decision_id)?;
    match pb::Report::parse(request.report) {
        Some(report @ (Report::Succeeded | Report::Failed)) => Ok((id, decision, report)),
        Some(Report::Unknown) | None => Err(Refusal::invalid("report", "expected REPORT_SUCCEEDED or REPORT_FAILED")),
    }
}

pub fn list(request: pb::ListApprovalsRequest, limits: &Limits) -> Result<ListRequest, Refusal> {
    let unknown = || Refusal::invalid("states", "expected states of an approval");
    let state = |number: i32| pb::ApprovalState::try_from(number).ok().and_then(state_name).ok_or_else(unknown);
    let size = match usize::try_from(request.page_size).unwrap_or(usize::MAX) {
        0 => limits.page_size_default,
        size if size <= limits.page_size_max => size,
        _ => return Err(Refusal::invalid("page_size", format!("more than {}", limits.page_size_max))),
    };
    let page = Page {
        states: request.states.into_iter().map(state).collect::<Result<_, _>>()?,
        principal: optional_uid("principal", request.principal).map_err(malformed)?,
        action: optional_uid("action", request.action).map_err(malformed)?,
        resource: optional_uid("resource", request.resource).map_err(malformed)?,
        to_be_examined: request.to_be_examined,
        before: (!request.page_token.is_empty()).then(|| approval_id("page_token", &request.page_token)).transpose()?,
        size,
    };
    Ok(ListRequest { page, reviewable: request.reviewable, ..ListRequest::default() })
}

/// Text that may be left empty.
pub fn text(text: &str) -> Option<Arc<str>> {
    (!text.is_empty()).then(|| text.into())
}

pub fn leave(request: pb::StartAbsenceRequest) -> Result<Leave, Refusal> {
    Ok(Leave {
        person: person(request.person)?,
        to: required_uid("stands_in", request.stands_in).map_err(malformed)?,
        from: request.from.map(parse_timestamp),
        until: parse_timestamp(request.until.ok_or_else(|| Refusal::invalid("until", "missing"))?),
    })
}

pub fn person(uid: Option<pb::EntityUid>) -> Result<Option<EntityUid>, Refusal> {
    optional_uid("person", uid).map_err(malformed)
}
