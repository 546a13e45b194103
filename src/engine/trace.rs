//! What a question showed of each policy that its action can meet: whether the scope matched, and which clauses held. For
//! tests' coverage and for explanations. Evaluated with the very request and entities of the answer, but beside it: the
//! answer itself is [`super::evaluate`]'s alone.

use std::sync::Arc;

use cedar_policy as cedar;

use super::cedar_core::Judge;
use super::clauses::{self, Clause};
use super::evaluate::unusable;
use super::guard;
use super::index::{Index, Scoped};
use super::known::Known;
use super::question::QueryError;
use super::snapshot::{Listed, PolicySnapshot};
use super::stack::with_room;
use crate::domain::{ClauseKind, GuardAction, Guarded, Identity, PolicyId, Query, Timestamp};

/// What one question showed of one policy.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Traced {
    pub policy: PolicyId,
    pub is_gate: bool,
    /// Whether the scope names the principal.
    pub principal: bool,
    /// Whether the scope names the resource.
    pub resource: bool,
    /// Clause by clause.
    pub clauses: Vec<Reached>,
}

/// What came of one clause's body.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Reached {
    True,
    False,
    /// It could not be evaluated.
    Error,
    /// Something before it said no: Cedar did not look at it.
    No,
}

/// One clause of one policy, as it is written.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ClauseSite {
    pub kind: ClauseKind,
    pub line: u32,
    pub text: Arc<str>,
}

/// The answer to a question of the service about itself.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct GuardTrace {
    pub permitted: bool,
    pub determining: Vec<PolicyId>,
    pub traced: Vec<Traced>,
}

impl Traced {
    /// Whether the policy applied: scope and every clause.
    #[must_use]
    pub fn applied(&self, kinds: &[ClauseSite]) -> bool {
        let held = self.clauses.iter().zip(kinds).all(|(reached, site)| *reached == wanted(site.kind));
        self.principal && self.resource && held
    }
}

/// What a clause must be for its policy to apply.
pub(super) fn wanted(kind: ClauseKind) -> Reached {
    match kind {
        ClauseKind::When => Reached::True,
        ClauseKind::Unless => Reached::False,
    }
}

/// A request as Cedar has it, with its entities.
pub(super) struct Asked {
    pub request: cedar::Request,
    pub entities: cedar::Entities,
}

impl PolicySnapshot {
    /// What a query shows of every rule and gate that its action can meet.
    ///
    /// # Errors
    /// As for [`PolicySnapshot::evaluate`].
    pub fn trace(
        &self,
        query: &Query,
        principal: &Identity,
        caller: &Identity,
        now: Timestamp,
    ) -> Result<Vec<Traced>, QueryError> {
        let asked = self.asked(query, principal, caller, now)?;
        Ok(self.traced(&asked))
    }

    /// As [`PolicySnapshot::permits`], with what the question showed of the rules.
    #[must_use]
    pub fn trace_guard(&self, caller: &Identity, action: GuardAction, on: Guarded<'_>) -> GuardTrace {
        let permitted = self.permits(caller, action, on);
        let resource = guard::resource(on);
        let asked = || {
            let (request, known) = self.guard_question(caller, action, on, &resource)?;
            Some(Asked { request, entities: self.with_all_named(known)? })
        };
        let Some(asked) = asked() else {
            return GuardTrace { permitted, determining: Vec::new(), traced: Vec::new() };
        };
        let rules = self.guarding().select(&asked.request, &asked.entities);
        let answer = rules.ask(&Judge::new(&asked.request, &asked.entities));
        let reasons = if answer.forbids.is_empty() { answer.permits } else { answer.forbids };
        let mut determining: Vec<_> = reasons.into_iter().map(id_of).collect();
        determining.sort_unstable();
        let mut traced = self.traced(&asked);
        traced.retain(|one| !one.is_gate);
        GuardTrace { permitted, determining, traced }
    }

    /// The clauses of a policy, as they are written; empty for one that has none or that is not known.
    #[must_use]
    pub fn clause_sites(&self, policy: &PolicyId) -> Vec<ClauseSite> {
        let Some(Listed { entry, text, .. }) = self.policies.get(&policy.0) else { return Vec::new() };
        let site = |clause: Clause| ClauseSite {
            kind: clause.kind,
            line: entry.line_below(clause.body.line_offset),
            text: clause.body.text,
        };
        with_room(|| clauses::clauses(text).into_iter().map(site).collect()).unwrap_or_default()
    }

    /// Whether a gate fires for every query of the actions and types that its scope names: it has no clause, and its scope
    /// names neither a principal nor a resource, nor a group of them.
    #[must_use]
    pub fn is_unconditional(&self, policy: &PolicyId) -> bool {
        self.policies.get(&policy.0).is_some_and(|listed| with_room(|| clauses::is_open(&listed.text)) == Some(true))
    }

    pub(super) fn asked(
        &self,
        query: &Query,
        principal: &Identity,
        caller: &Identity,
        now: Timestamp,
    ) -> Result<Asked, QueryError> {
        let request = self.question(query, principal, caller, now)?;
        let known = self.query_entities(query, principal, caller)?;
        Ok(Asked { request, entities: self.with_all_named(known).ok_or_else(unusable)? })
    }

    /// With all entities that policies name: what comes of a clause is asked of policies beside those of the answer, too.
    fn with_all_named<'a>(&'a self, mut known: Known<'a>) -> Option<cedar::Entities> {
        known.add(&self.named)?;
        Some(known.entities().clone())
    }

    fn traced(&self, asked: &Asked) -> Vec<Traced> {
        let scopes = |index| Index::scopes(index, &asked.request, &asked.entities);
        let scoped: Vec<_> = scopes(&self.rules).chain(scopes(&self.gates)).collect();
        let all = || scoped.iter().filter_map(|scoped| self.trace_one(scoped, asked)).collect();
        // Nothing seen where there is no room to look.
        with_room(all).unwrap_or_default()
    }

    fn trace_one(&self, scoped: &Scoped<'_>, asked: &Asked) -> Option<Traced> {
        let listed = self.policies.get(AsRef::<str>::as_ref(scoped.id))?;
        let mut is_open = scoped.principal && scoped.resource;
        let mut reached = |clause: &Clause| {
            if !is_open {
                return Reached::No;
            }
            let found = reached(&clause.body, asked);
            is_open = found == wanted(clause.kind);
            found
        };
        Some(Traced {
            policy: id_of(scoped.id),
            is_gate: listed.gate.is_some(),
            principal: scoped.principal,
            resource: scoped.resource,
            clauses: clauses::clauses(&listed.text).iter().map(&mut reached).collect(),
        })
    }
}

/// What a piece of a condition is for a request.
pub(super) fn reached(part: &clauses::Part, asked: &Asked) -> Reached {
    match part.holds(&asked.request, &asked.entities) {
        Some(true) => Reached::True,
        Some(false) => Reached::False,
        None => Reached::Error,
    }
}

/// The id, verbatim.
pub(super) fn id_of(id: &cedar::PolicyId) -> PolicyId {
    PolicyId(AsRef::<str>::as_ref(id).into())
}

#[cfg(test)]
mod tests {
    use super::super::testing::{NOW, attributes, bot, example, identity, load, query};
    use super::*;
    use crate::domain::Value;

    fn of<'t>(traced: &'t [Traced], id: &str) -> &'t Traced {
        traced.iter().find(|one| &*one.policy.0 == id).unwrap()
    }

    #[test]
    fn clauses_are_looked_at_until_one_says_no() {
        let policies = "@id(\"p\") permit (principal, action, resource is Dataset)
            when { context has rows } when { context.rows > 10 } unless { context.rows > 100 };";
        let snapshot = load(policies);
        let cases = [
            (None, [Reached::False, Reached::No, Reached::No], false),
            (Some(5), [Reached::True, Reached::False, Reached::No], false),
            (Some(50), [Reached::True, Reached::True, Reached::False], true),
            (Some(500), [Reached::True, Reached::True, Reached::True], false),
        ];
        let sites = snapshot.clause_sites(&PolicyId("p".into()));
        for (rows, expected, applied) in cases {
            let mut query = query(&bot(), "read", ("Dataset", "d"));
            query.context = rows.map(|rows| attributes([("rows", Value::Long(rows))])).unwrap_or_default();
            let traced = snapshot.trace(&query, &bot(), &bot(), NOW).unwrap();
            assert_eq!(of(&traced, "p").clauses, expected, "{rows:?}");
            assert_eq!(of(&traced, "p").applied(&sites), applied, "{rows:?}");
        }
    }

    /// Every policy that the trace says applied is one that Cedar says determined or fired, and the other way round.
    #[test]
    fn the_trace_agrees_with_cedar_on_all_that_the_examples_are_asked() {
        let snapshot = example();
        let people = [
            bot(),
            identity("User", "dave", &["sre", "privacy"]),
            identity("Workload", "ci", &["pipelines"]),
            identity("Agent", "stranger", &[]),
        ];
        let resources = [
            ("read", "Dataset", "weather"),
            ("read", "Dataset", "customers"),
            ("export", "Dataset", "customers"),
            ("drop", "Database", "warehouse"),
            ("rotate", "Secret", "payments-api-key"),
        ];
        let mut compared = 0;
        for who in &people {
            for (action, type_name, id) in resources {
                let mut query = query(who, action, (type_name, id));
                if action == "export" {
                    query.context = attributes([("destination", Value::string("s3://partner"))]);
                }
                let answer = snapshot.evaluate(&query, who, who, NOW).unwrap();
                let fired: Vec<_> = answer.requirement.iter().flat_map(|required| required.gates()).collect();
                for one in snapshot.trace(&query, who, who, NOW).unwrap() {
                    let listed = &snapshot.policies[&one.policy.0];
                    let applied = one.applied(&snapshot.clause_sites(&one.policy));
                    if listed.gate.is_some() {
                        let asked = answer.verdict == crate::domain::RuleVerdict::Permitted;
                        assert_eq!(applied && asked, fired.iter().any(|gate| gate.id == one.policy), "{one:?}");
                    } else if answer.determining.contains(&one.policy) {
                        assert!(applied, "{one:?}");
                    } else if listed.entry.kind == super::super::PolicyKind::Forbid {
                        assert!(!applied, "{one:?}");
                    }
                    compared += 1;
                }
            }
        }
        assert!(compared > 20, "{compared}");
    }

    #[test]
    fn a_question_about_the_service_shows_its_policies_too() {
        let snapshot = example();
        let auditor = identity("User", "erin", &["auditors"]);
        let found = snapshot.trace_guard(&auditor, GuardAction::Audit, Guarded::Service);
        assert_eq!((found.permitted, &*found.determining[0].0), (true, "auditors"));
        let found = snapshot.trace_guard(&identity("User", "x", &[]), GuardAction::Audit, Guarded::Service);
        assert_eq!((found.permitted, found.determining.len()), (false, 0));
        assert!(!of(&found.traced, "auditors").principal);
    }
}
