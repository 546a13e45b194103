//! The service's questions about itself: may this caller do this to the service? Only rules answer. Gates never apply here,
//! not even one without any constraint: one that did would lock the service behind itself. Anything but a clear yes is no.
//!
//! Cedar has no type for "any principal", so an approval's attributes name principals as text, and who the caller is to
//! the approval is computed here and given as booleans in the context.

use std::fmt;

use cedar_policy as cedar;
use cedar_policy::RestrictedExpression as Expression;

use super::cedar_core::Judge;
use super::convert::Types;
use super::index::Answer;
use super::known::Known;
use super::service_schema::{ACTION, APPROVAL, ENTITY_TYPE, SERVICE};
use super::settings::OnError;
use super::snapshot::PolicySnapshot;
use crate::domain::{
    Approval, ApprovalFacts, Delegation, EntityUid, Gate, GuardAction, Guarded, Identity, Severity, Timestamp,
};

impl PolicySnapshot {
    /// Whether the rules let `caller` do this. They can only narrow: what no policy may ever allow (reviewing one's own,
    /// an agent's review) is refused elsewhere, whatever this says.
    #[must_use]
    pub fn permits(&self, caller: &Identity, action: GuardAction, on: Guarded<'_>) -> bool {
        let resource = resource(on);
        let (context, facts) = self.guard_context(caller, on);
        context.is_some_and(|context| self.is_permitted(caller, action, &resource, context, facts))
    }

    fn is_permitted(
        &self,
        caller: &Identity,
        action: GuardAction,
        resource: &EntityUid,
        context: cedar::Context,
        approval: Option<&ApprovalFacts>,
    ) -> bool {
        let said_yes = || {
            let (request, mut known) = self.question_in(caller, action, resource, context, approval)?;
            let rules = self.guarding().select(&request, known.entities());
            known.add(rules.looked_at())?;
            Some(self.says_yes(&rules.ask(&Judge::new(&request, known.entities()))))
        };
        said_yes() == Some(true)
    }

    /// Whether a person may review a gate: named by it (escalations included) and let by policy. What stands above both is
    /// in [`crate::domain::review`].
    #[must_use]
    pub fn may_review(&self, approval: &Approval, person: &Identity, gate: &Gate, now: Timestamp) -> bool {
        self.may_act_on(&approval.facts(Some(gate), now), person)
    }

    /// The same for breaking its glass, with those whom it names for that in the place of its reviewers: what policies forbid
    /// reviewers is forbidden these as well.
    #[must_use]
    pub fn may_break_glass(&self, approval: &Approval, person: &Identity, gate: &Gate, now: Timestamp) -> bool {
        self.may_act_on(&approval.facts_of_breaking(gate, now), person)
    }

    /// Whether a person may review a gate in the place of somebody who may: what policies forbid him they forbid him here too.
    #[must_use]
    pub fn may_stand_in(
        &self,
        approval: &Approval,
        person: &Identity,
        of: &EntityUid,
        gate: &Gate,
        now: Timestamp,
    ) -> bool {
        self.permits_in_place(person, of, GuardAction::Review, &approval.facts(Some(gate), now))
    }

    /// As [`PolicySnapshot::permits`], asked as of a named reviewer who stands in for another.
    #[must_use]
    pub fn permits_in_place(
        &self,
        person: &Identity,
        of: &EntityUid,
        action: GuardAction,
        facts: &ApprovalFacts,
    ) -> bool {
        let standing =
            Standing { is_named_reviewer: true, stands_in_for: Some(of.to_string()), ..self.standing(person, facts) };
        let on = Guarded::Approval(facts);
        let resource = resource(on);
        standing.context().is_some_and(|context| self.is_permitted(person, action, &resource, context, Some(facts)))
    }

    fn may_act_on(&self, facts: &ApprovalFacts, person: &Identity) -> bool {
        self.names(person, &facts.reviewers) && self.permits(person, GuardAction::Review, Guarded::Approval(facts))
    }

    fn says_yes(&self, answer: &Answer<'_>) -> bool {
        let has_doubt = self.on_error == OnError::FailClosed && self.skipped_forbid(answer);
        answer.is_allowed() && !has_doubt
    }

    /// `None` where Cedar refuses the question itself.
    pub(super) fn guard_question<'a>(
        &'a self,
        caller: &'a Identity,
        action: GuardAction,
        on: Guarded<'_>,
        resource: &'a EntityUid,
    ) -> Option<(cedar::Request, Known<'a>)> {
        let (context, approval) = self.guard_context(caller, on);
        self.question_in(caller, action, resource, context?, approval)
    }

    fn guard_context<'f>(
        &self,
        caller: &Identity,
        on: Guarded<'f>,
    ) -> (Option<cedar::Context>, Option<&'f ApprovalFacts>) {
        match on {
            Guarded::Approval(facts) => (self.standing(caller, facts).context(), Some(facts)),
            Guarded::Delegation(wanted) => (delegation(wanted), None),
            Guarded::Service | Guarded::Principal(_) | Guarded::EntityType(_) => (Some(cedar::Context::empty()), None),
        }
    }

    fn question_in<'a>(
        &'a self,
        caller: &'a Identity,
        action: GuardAction,
        resource: &'a EntityUid,
        context: cedar::Context,
        approval: Option<&ApprovalFacts>,
    ) -> Option<(cedar::Request, Known<'a>)> {
        let action = EntityUid::new(ACTION, action.name());
        let uid = |uid| self.types().uid(uid).ok();
        let schema = self.enforced_schema().map(|schema| &schema.cedar);
        let request = cedar::Request::new(uid(&caller.uid)?, uid(&action)?, uid(resource)?, context, schema).ok()?;
        let approval = approval.map(|facts| ApprovalView(facts).entity(self.types()));
        let known = self.guard_entities(caller, &action, resource, approval)?;
        Some((request, known))
    }

    /// Who the caller is to an approval.
    fn standing(&self, caller: &Identity, facts: &ApprovalFacts) -> Standing {
        Standing {
            is_named_reviewer: self.names(caller, &facts.reviewers),
            is_requester: caller.uid == facts.requester,
            is_beneficiary: facts.on_behalf_of.as_ref() == Some(&caller.uid),
            is_caller: caller.uid == facts.caller,
            stands_in_for: None,
        }
    }
}

/// The resource of a question.
pub(super) fn resource(on: Guarded<'_>) -> EntityUid {
    match on {
        Guarded::Service => EntityUid::new(SERVICE, "countersign"),
        Guarded::Principal(uid) => uid.clone(),
        Guarded::Delegation(wanted) => wanted.to.clone(),
        Guarded::EntityType(name) => EntityUid::new(ENTITY_TYPE, name),
        Guarded::Approval(facts) => ApprovalView(facts).uid(),
    }
}

/// Who the caller is to an approval: the context of the questions about it.
#[derive(Debug, Clone, Default)]
pub(super) struct Standing {
    pub is_named_reviewer: bool,
    pub is_requester: bool,
    /// The human or workload for whom the requester acts.
    pub is_beneficiary: bool,
    /// The PEP that asked.
    pub is_caller: bool,
    /// Whose right it is, where it was lent.
    pub stands_in_for: Option<String>,
}

impl Standing {
    /// With everything that it can have.
    pub fn sample() -> Self {
        Self { stands_in_for: Some(String::new()), ..Self::default() }
    }

    pub fn context(self) -> Option<cedar::Context> {
        let fields = [
            ("is_named_reviewer", self.is_named_reviewer),
            ("is_requester", self.is_requester),
            ("is_beneficiary", self.is_beneficiary),
            ("is_caller", self.is_caller),
        ];
        let pairs = fields.map(|(name, value)| (name.to_owned(), Expression::new_bool(value)));
        let lent = self.stands_in_for.map(|of| ("stands_in_for".to_owned(), Expression::new_string(of)));
        cedar::Context::from_pairs(pairs.into_iter().chain(lent)).ok()
    }
}

/// What policies may know of a right that is to be lent, as the context of the question.
pub(super) fn delegation(wanted: &Delegation) -> Option<cedar::Context> {
    let fields = [
        ("away", text(&wanted.of)),
        ("is_own", Expression::new_bool(wanted.is_own)),
        ("hours", Expression::new_long(wanted.hours.into())),
    ];
    cedar::Context::from_pairs(fields.map(|(name, value)| (name.to_owned(), value))).ok()
}

/// An approval as policies see it.
pub(super) struct ApprovalView<'a>(pub &'a ApprovalFacts);

impl ApprovalView<'_> {
    fn uid(&self) -> EntityUid {
        EntityUid::new(APPROVAL, &self.0.id.to_string())
    }

    pub fn entity(&self, types: &Types) -> Option<cedar::Entity> {
        let facts = self.0;
        let always = [
            ("requester", text(&facts.requester)),
            ("caller", text(&facts.caller)),
            ("action", text(&facts.action)),
            ("resource", text(&facts.resource)),
            ("resource_type", text(&facts.resource.type_name)),
            ("severity", text(severity(facts.severity))),
            ("reviewers", Expression::new_set(facts.reviewers.iter().map(text))),
        ];
        let on_behalf_of = facts.on_behalf_of.as_ref().map(|uid| ("on_behalf_of", text(uid)));
        let gate = facts.gate.as_ref().map(|gate| ("gate", text(&gate.0)));
        let attributes = always.into_iter().chain(on_behalf_of).chain(gate);
        let attributes = attributes.map(|(name, value)| (name.to_owned(), value)).collect();
        cedar::Entity::new(types.uid(&self.uid()).ok()?, attributes, Default::default()).ok()
    }
}

fn text(value: impl fmt::Display) -> Expression {
    Expression::new_string(value.to_string())
}

fn severity(severity: Severity) -> &'static str {
    match severity {
        Severity::Low => "low",
        Severity::Medium => "medium",
        Severity::High => "high",
        Severity::Critical => "critical",
    }
}

#[cfg(test)]
mod tests {
    use super::super::settings::{GUARDS_FILE, OnError, Settings};
    use super::super::testing::{ask, bot, example, file, identity, load, query, schemas, settings, sources, uid};
    use super::*;
    use crate::domain::{ApprovalId, PolicyId, RuleVerdict};

    fn facts(reviewers: &[&str]) -> ApprovalFacts {
        ApprovalFacts {
            id: ApprovalId::from_bytes([7; 16]),
            requester: uid("Agent", "report-bot"),
            on_behalf_of: Some(uid("User", "frank")),
            caller: uid("Workload", "pep"),
            action: uid("Action", "export"),
            resource: uid("Dataset", "customers"),
            severity: Severity::High,
            gate: Some(PolicyId("export-pii".into())),
            reviewers: reviewers.iter().map(|group| uid("Group", group)).collect(),
        }
    }

    #[test]
    fn the_examples_let_everybody_do_their_part_and_no_more() {
        use GuardAction as G;
        let snapshot = example();
        let people = [
            ("bot", identity("Agent", "report-bot", &["agents"]), vec![G::Authorize], vec![G::ReadApproval, G::Cancel]),
            (
                "alice",
                identity("User", "alice", &["privacy"]),
                vec![G::Authorize, G::Explain],
                vec![G::Review, G::Revoke, G::ReadApproval, G::Reveal, G::ViewReviewers],
            ),
            (
                "frank",
                identity("User", "frank", &[]),
                vec![G::Authorize, G::Explain],
                vec![G::ReadApproval, G::ViewReviewers, G::Cancel],
            ),
            ("dave", identity("User", "dave", &["sre"]), vec![G::Authorize, G::Explain], vec![]),
            (
                "erin",
                identity("User", "erin", &["auditors"]),
                vec![G::Authorize, G::Explain, G::Audit, G::Subscribe],
                vec![G::ReadApproval, G::ViewReviewers],
            ),
            ("stranger", identity("Agent", "x", &[]), vec![], vec![]),
            ("agent in a reviewing group", identity("Agent", "y", &["privacy"]), vec![], vec![]),
            ("unknown type", identity("Robot", "z", &["agents"]), vec![], vec![]),
        ];
        let facts = facts(&["privacy", "dpo"]);
        for (name, who, of_service, of_approval) in people {
            for action in GuardAction::ALL {
                assert_eq!(
                    snapshot.permits(&who, action, Guarded::Service),
                    of_service.contains(&action),
                    "{name} {action:?}"
                );
                assert_eq!(
                    snapshot.permits(&who, action, Guarded::Approval(&facts)),
                    of_approval.contains(&action),
                    "{name} {action:?}"
                );
            }
            assert!(!snapshot.permits(&who, GuardAction::AuthorizeAs, Guarded::Principal(&uid("User", "alice"))));
            assert!(!snapshot.permits(&who, GuardAction::SupplyEntities, Guarded::EntityType("Dataset")));
        }
    }

    #[test]
    fn policies_see_whom_and_what_the_approval_is_about() {
        let conditions = [
            ("resource.requester == \"Agent::\\\"report-bot\\\"\"", true),
            ("resource has on_behalf_of && resource.on_behalf_of == \"User::\\\"frank\\\"\"", true),
            ("resource.action == \"Action::\\\"export\\\"\" && resource.resource_type == \"Dataset\"", true),
            ("resource.severity == \"high\" && resource has gate && resource.gate == \"export-pii\"", true),
            ("resource.reviewers.contains(\"Group::\\\"privacy\\\"\")", true),
            ("resource.caller == \"Workload::\\\"other\\\"\"", false),
        ];
        for (condition, expected) in conditions {
            let policy = format!(
                "permit (principal, action == Countersign::Action::\"review\", resource is Countersign::Approval) when {{ {condition} }};"
            );
            let who = identity("User", "alice", &[]);
            assert_eq!(
                load(&policy).permits(&who, GuardAction::Review, Guarded::Approval(&facts(&["privacy"]))),
                expected,
                "{condition}"
            );
        }
    }

    #[test]
    fn who_may_be_named_and_what_may_be_supplied_is_policy() {
        let snapshot = load("permit (principal == Workload::\"pep\", action == Countersign::Action::\"authorize_as\", resource is Agent);
            permit (principal == Workload::\"pep\", action == Countersign::Action::\"supply_entities\", resource == Countersign::EntityType::\"Dataset\");");
        let pep = identity("Workload", "pep", &[]);
        let may_name =
            |type_name| snapshot.permits(&pep, GuardAction::AuthorizeAs, Guarded::Principal(&uid(type_name, "a")));
        assert_eq!((may_name("Agent"), may_name("User"), may_name("Nobody")), (true, false, false));
        let may_supply =
            |type_name| snapshot.permits(&pep, GuardAction::SupplyEntities, Guarded::EntityType(type_name));
        assert_eq!((may_supply("Dataset"), may_supply("Group")), (true, false));
    }

    #[test]
    fn a_gate_neither_locks_nor_opens_the_service_but_a_forbid_locks_it() {
        let asks = |more: &str| {
            let permit = "permit (principal, action == Countersign::Action::\"authorize\", resource);";
            load(&[permit, more].concat()).permits(
                &identity("User", "a", &[]),
                GuardAction::Authorize,
                Guarded::Service,
            )
        };
        assert!(asks(
            "@id(\"all\") @approval(\"all\") @reviewers(\"Group::\\\"a\\\"\") forbid (principal, action, resource);"
        ));
        assert!(!asks("forbid (principal, action, resource);"));
    }

    #[test]
    fn a_forbid_that_cannot_be_evaluated_locks_the_service_and_as_cedar_opens_it() {
        let policies = "permit (principal, action == Countersign::Action::\"authorize\", resource);
            forbid (principal, action == Countersign::Action::\"authorize\", resource) when { 9223372036854775807 + (if principal in Group::\"a\" then 1 else 2) > 0 };";
        let asks = |on_error, files| {
            let snapshot =
                PolicySnapshot::from_sources(&Settings { on_error, allow_empty: true, ..settings() }, files).unwrap();
            snapshot.permits(&identity("User", "a", &[]), GuardAction::Authorize, Guarded::Service)
        };
        assert!(!asks(OnError::FailClosed, sources(policies)));
        assert!(asks(OnError::Cedar, vec![schemas().remove(0), file(GUARDS_FILE, policies)]));
    }

    #[test]
    fn as_cedar_only_the_guards_file_guards_and_it_guards_nothing_else() {
        let cedar = Settings { on_error: OnError::Cedar, allow_missing_schema: true, ..settings() };
        let of = |rules: &str, guards: &str| {
            let files = vec![file("p.cedar", rules), file(GUARDS_FILE, guards)];
            let snapshot = PolicySnapshot::from_sources(&cedar, files).unwrap();
            let verdict = ask(&snapshot, &query(&bot(), "read", ("Dataset", "d")), &bot()).unwrap().verdict;
            (snapshot.permits(&bot(), GuardAction::Authorize, Guarded::Service), verdict)
        };
        let (all, none) = ("permit (principal, action, resource);", "forbid (principal, action, resource);");
        assert_eq!(of(all, none), (false, RuleVerdict::Permitted));
        assert_eq!(of(none, all), (true, RuleVerdict::Forbidden));
        // A file of the name within another directory is policies like others.
        let elsewhere = vec![file("more/service.cedar", all)];
        let refused = PolicySnapshot::from_sources(&cedar, elsewhere).unwrap_err().to_string();
        assert!(refused.contains("has no `service.cedar`"), "{refused}");
    }
}
