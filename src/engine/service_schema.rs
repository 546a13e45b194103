//! The service's own part of the schema: what must be declared so that the service can guard itself, checked once at load
//! by asking Cedar about a sample of each question that `guard` will ask.

use std::sync::Arc;

use cedar_policy as cedar;

use super::guard::{ApprovalView, Standing};
use super::problem::{Problem, with_causes};
use super::schema::LoadedSchema;
use crate::domain::guard::GuardAction;
use crate::domain::{ApprovalFacts, ApprovalId, Delegation, EntityUid, PolicyId, Severity};

pub const SERVICE: &str = "Countersign::Service";
pub const APPROVAL: &str = "Countersign::Approval";
pub const ENTITY_TYPE: &str = "Countersign::EntityType";
pub const ACTION: &str = "Countersign::Action";

/// Whether it is the one action of the service's own that is asked for as any other is.
pub fn unmasks(action: &EntityUid) -> bool {
    *action.type_name == *ACTION && *action.id == *GuardAction::Unmask.name()
}

const HELP: &str = "copy policies/countersign.cedarschema";

/// What each action is asked about; `None` is a principal of any sort.
fn resource_type(action: GuardAction) -> Option<&'static str> {
    match action {
        GuardAction::Authorize
        | GuardAction::Audit
        | GuardAction::Subscribe
        | GuardAction::Unmask
        | GuardAction::Explain
        | GuardAction::Administer => Some(SERVICE),
        GuardAction::AuthorizeAs | GuardAction::Delegate | GuardAction::EndSessions => None,
        GuardAction::SupplyEntities => Some(ENTITY_TYPE),
        GuardAction::Review
        | GuardAction::Cancel
        | GuardAction::Revoke
        | GuardAction::ReadApproval
        | GuardAction::Reveal
        | GuardAction::ViewReviewers => Some(APPROVAL),
    }
}

/// What the schema lacks.
pub fn problems(schema: &LoadedSchema, file: &Arc<str>) -> Vec<Problem> {
    let problem = |message: String| Problem::in_file(file, message).with_help(Some(HELP.to_owned()));
    let types = [SERVICE, APPROVAL, ENTITY_TYPE];
    let missing: Vec<_> = types.into_iter().filter(|name| !schema.types.has(name)).collect();
    let mut found: Vec<_> =
        missing.iter().map(|name| problem(format!("the schema declares no entity type `{name}`"))).collect();
    found.extend(GuardAction::ALL.into_iter().filter_map(|action| lacks(schema, action)).map(problem));
    if missing.is_empty() {
        found.extend(approval_shape(schema).map(problem));
    }
    found
}

fn lacks(schema: &LoadedSchema, action: GuardAction) -> Option<String> {
    let uid = EntityUid::new(ACTION, action.name());
    let Some(declared) = schema.actions.get(&uid) else {
        return Some(format!("the schema declares no action `{uid}`"));
    };
    if action == GuardAction::Delegate {
        // Its resource is a person of whatever type; its context has to be declared.
        let refused = super::guard::delegation(&sample_delegation())?.validate(&schema.cedar, &declared.uid).err()?;
        return Some(format!("action `{uid}`: {}", with_causes(&refused)));
    }
    let wanted = resource_type(action)?;
    let applies = schema.cedar.resources_for_action(&declared.uid).into_iter().flatten();
    if !applies.map(ToString::to_string).any(|name| name == wanted) {
        return Some(format!("action `{uid}` does not apply to resource `{wanted}`"));
    }
    let context = if wanted == APPROVAL { Standing::sample().context() } else { Some(cedar::Context::empty()) };
    let refused = context.and_then(|context| context.validate(&schema.cedar, &declared.uid).err())?;
    Some(format!("action `{uid}`: {}", with_causes(&refused)))
}

fn sample_delegation() -> Delegation {
    let somebody = EntityUid::new("User", "somebody");
    Delegation { to: somebody.clone(), of: somebody, is_own: true, hours: 1 }
}

/// Whether an approval as the service describes it fits the schema.
fn approval_shape(schema: &LoadedSchema) -> Option<String> {
    let somebody = EntityUid::new("User", "somebody");
    let sample = |is_full: bool| ApprovalFacts {
        id: ApprovalId::from_bytes([0; 16]),
        requester: somebody.clone(),
        on_behalf_of: is_full.then(|| somebody.clone()),
        caller: somebody.clone(),
        action: somebody.clone(),
        resource: somebody.clone(),
        severity: Severity::Low,
        gate: is_full.then(|| PolicyId("gate".into())),
        reviewers: vec![somebody.clone()],
    };
    [true, false].into_iter().find_map(|is_full| {
        let Some(entity) = ApprovalView(&sample(is_full)).entity(&schema.types) else {
            return Some(format!("`{APPROVAL}` cannot be described"));
        };
        let refused = cedar::Entities::from_entities([entity], Some(&schema.cedar)).err()?;
        Some(format!("`{APPROVAL}`: {}", with_causes(&refused)))
    })
}
