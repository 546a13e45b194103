//! Several of one kind, side by side: one look, one comment, and for each its own vote with its own binding. What one of them
//! meets does not touch the others.

use std::sync::Arc;

use askama::Template;
use axum::extract::{Query, State};
use axum::http::StatusCode;
use axum::response::Response;

use super::inbox::Shared;
use super::problem::{Problem, sentence};
use super::request::{Submitted, Visitor};
use super::view::gate::grant;
use super::view::page::{Chrome, Tab, respond};
use super::view::sentence::Sentence;
use super::view::text::Text;
use super::view::value::{Extent, Table};
use crate::domain::{ApprovalId, Binding, PolicyId, Requirement, Severity, Verdict};
use crate::service::inspect::Inspection;
use crate::service::review::Vote;

/// Approvals on one page.
const TOGETHER_MAX: usize = 20;

#[derive(Template)]
#[template(path = "together.html")]
struct Together {
    chrome: Chrome,
    items: Vec<Item>,
    /// What each gate says, the same of all of them.
    gates: Vec<Text>,
    /// How often, and how long, each may then be done.
    grant: String,
    /// After the votes: what became of each.
    is_done: bool,
    token: String,
}

struct Item {
    id: String,
    binding: String,
    sentence: Sentence,
    parameters: Table,
    justification: Option<Text>,
    outcome: Option<(&'static str, String)>,
}

pub async fn show(
    State(shared): State<Arc<Shared>>,
    visitor: Visitor,
    Query(wanted): Query<Vec<(String, String)>>,
) -> Response {
    let ids: Option<Vec<ApprovalId>> =
        wanted.iter().filter(|(name, _)| name == "id").map(|(_, id)| id.parse().ok()).collect();
    let Some(ids) = ids.filter(|ids| (1..=TOGETHER_MAX).contains(&ids.len())) else {
        return Problem::not_together("Select at least one, and at most 20.").page(&visitor);
    };
    match inspect_all(&shared, &visitor, &ids).await {
        Ok(inspections) => {
            let items = inspections.iter().map(|one| item(one, None)).collect();
            respond(StatusCode::OK, &page(&visitor, &inspections, items, false))
        }
        Err(problem) => problem.page(&visitor),
    }
}

pub async fn decide(State(shared): State<Arc<Shared>>, submitted: Submitted) -> Response {
    let visitor = &submitted.visitor;
    let named: Option<Vec<(ApprovalId, Binding)>> = submitted.all("item").into_iter().map(parse).collect();
    let Some(named) = named.filter(|named| (1..=TOGETHER_MAX).contains(&named.len())) else {
        return Problem::not_together("Select at least one, and at most 20.").page(visitor);
    };
    let ids: Vec<ApprovalId> = named.iter().map(|(id, _)| *id).collect();
    let inspections = match inspect_all(&shared, visitor, &ids).await {
        Ok(inspections) => inspections,
        Err(problem) => return problem.page(visitor),
    };
    let mut items = Vec::new();
    for (inspection, (approval, binding)) in inspections.iter().zip(named) {
        let gates: Vec<PolicyId> = inspection.open_gates().map(|gate| gate.id.clone()).collect();
        let comment = submitted.text("comment").map(Into::into);
        let vote = Vote { approval, verdict: Verdict::Approve, comment, binding, gates };
        let outcome = match shared.service.review(&visitor.caller, vote).await {
            Ok(_) => ("approved", "You approved this.".to_owned()),
            Err(refusal) => {
                let problem = visitor.refuse(&shared, "together", Some(approval), &refusal);
                ("refused", format!("{}: {}", problem.title, problem.text))
            }
        };
        items.push(item(inspection, Some(outcome)));
    }
    respond(StatusCode::OK, &page(visitor, &inspections, items, true))
}

/// `apr_..:binding`.
fn parse(item: &str) -> Option<(ApprovalId, Binding)> {
    let (id, binding) = item.split_once(':')?;
    Some((id.parse().ok()?, binding.parse().ok()?))
}

/// All of them, if they are of one kind and can be decided at a glance.
async fn inspect_all(shared: &Shared, visitor: &Visitor, ids: &[ApprovalId]) -> Result<Vec<Inspection>, Problem> {
    let mut inspections: Vec<Inspection> = Vec::new();
    for id in ids {
        let inspected = shared.service.inspect(&visitor.caller, *id).await;
        let one = inspected.map_err(|refusal| visitor.refuse(shared, "together", Some(*id), &refusal))?;
        // INVARIANT: nothing is approved in passing that takes more than a glance, or more than one's present login.
        if one.approval.opening.requirement.severity() >= Severity::High {
            return Err(Problem::not_together("At high severity each is decided by itself."));
        }
        if one.veil.approval(&one.approval).masked > 0 || !one.approval.opening.query.entities.is_empty() {
            return Err(Problem::not_together("What is masked, or comes with data of its own, is decided by itself."));
        }
        if let Some((shortfall, _)) = &one.step_up {
            return Err(Problem::not_together(&sentence(shortfall.message())));
        }
        if inspections.first().is_some_and(|first| !is_alike(first, &one)) {
            return Err(Problem::not_together(
                "They are not of one kind: the same action and gates, on things of one type.",
            ));
        }
        inspections.push(one);
    }
    Ok(inspections)
}

fn is_alike(one: &Inspection, other: &Inspection) -> bool {
    let (one, other) = (&one.approval.opening, &other.approval.opening);
    one.query.action == other.query.action
        && one.query.resource.type_name == other.query.resource.type_name
        && one.requirement.gates() == other.requirement.gates()
}

fn item(inspection: &Inspection, outcome: Option<(&'static str, String)>) -> Item {
    let (opening, veil) = (&inspection.approval.opening, &inspection.veil);
    let settled = format!("This is {}: there is nothing to decide.", inspection.state.name());
    let closed = (!inspection.is_open_to_vote()).then_some(("refused", settled));
    Item {
        id: opening.id.to_string(),
        binding: opening.binding.to_string(),
        sentence: Sentence::of(opening),
        parameters: Table::of(&opening.query.context, Extent::Whole, veil),
        justification: opening.justification.as_deref().map(|text| Text::prose(&veil.text("", text).text, 4_000)),
        outcome: outcome.or(closed),
    }
}

fn page(visitor: &Visitor, inspections: &[Inspection], items: Vec<Item>, is_done: bool) -> Together {
    let requirement = inspections.first().map(|one| &one.approval.opening.requirement);
    let gates = requirement.map(Requirement::gates).unwrap_or_default();
    Together {
        chrome: Chrome::new("Together", Tab::Mine, Some(visitor)),
        items,
        gates: gates.iter().map(|gate| Text::line(&gate.text)).collect(),
        grant: requirement.map(|requirement| grant(gates, requirement.grant())).unwrap_or_default(),
        is_done,
        token: visitor.form_token.clone(),
    }
}
