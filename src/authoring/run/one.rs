//! One test, step by step: what its scenario should show, and what it showed.

use std::sync::Arc;

use serde_saphyr::Spanned;

use super::{Failure, Tested};
use crate::authoring::cast::Cast;
use crate::authoring::coverage::Sightings;
use crate::authoring::scenario::{Asked, Scenario, Seen, Terms};
use crate::authoring::suite::{Deed, Expected, Question, ServiceTest, Step, Suite, Test};
use crate::authoring::{expect, notation};
use crate::domain::{Delegation, GuardAction, Guarded, Identity, PolicyId, PrincipalKind, Query, Timestamp, Verdict};
use crate::engine::{self, PolicySnapshot};

/// One test being run.
pub struct Run<'a> {
    terms: &'a Terms,
    cast: Cast<'a>,
    pub tested: Tested,
}

impl<'a> Run<'a> {
    pub fn new(terms: &'a Terms, suite: &'a Suite, line: u64, name: &str) -> Self {
        let (path, name) = (suite.path.clone(), name.to_owned());
        let tested = Tested { path, line, name, failures: Vec::new(), seen: Vec::new() };
        Self { terms, cast: Cast::new(&suite.file.principals), tested }
    }

    pub fn fail(&mut self, line: u64, message: impl Into<String>) {
        self.tested.failures.push(Failure { line, message: message.into() });
    }

    pub fn test(&mut self, snapshot: &PolicySnapshot, now: Timestamp, test: &Test, sightings: &mut Sightings) {
        let line = self.tested.line;
        let asked = match asked(&self.cast, &test.query) {
            Ok(asked) => asked,
            Err(message) => return self.fail(line, message),
        };
        if !test.expect.wants_answer() {
            return self.fail(line, "`expect` says nothing about the answer; give at least `outcome`");
        }
        let mut scenario = Scenario::new(snapshot, asked, self.terms.clone(), now);
        let seen = scenario.ask();
        self.look(line, &test.expect, Some(&seen), &mut scenario);
        for step in &test.then {
            self.step(step, now, &mut scenario);
        }
        sightings.merge(scenario.sightings);
    }

    fn step(&mut self, step: &Spanned<Step>, start: Timestamp, scenario: &mut Scenario<'_>) {
        let (line, step) = (step.referenced.line(), &step.value);
        if let Some(after) = &step.at {
            match engine::duration(after) {
                Ok(span) => scenario.pass_to(start.after(span)),
                Err(message) => return self.fail(line, format!("`at`: {message}")),
            }
        }
        match self.deed(step, scenario) {
            Ok(refused) if refused == step.refused.as_deref() => {}
            Ok(refused) => {
                let (expected, was) = (step.refused.as_deref().unwrap_or("taken"), refused.unwrap_or("taken"));
                self.fail(line, format!("the deed: expected {expected}, was {was}"));
            }
            Err(message) => return self.fail(line, message),
        }
        let seen = step.expect.wants_answer().then(|| if step.anew { scenario.ask_anew() } else { scenario.ask() });
        self.look(line, &step.expect, seen.as_ref(), scenario);
    }

    /// Does what the step says; with what code it was refused.
    fn deed(&self, step: &Step, scenario: &mut Scenario<'_>) -> Result<Option<&'static str>, String> {
        let gates: Vec<_> = step.gates.iter().map(|gate| PolicyId(gate.as_str().into())).collect();
        let person = |name: &str| self.cast.identity(name).map(Arc::new);
        let deeds: Vec<_> = step.deeds().collect();
        let done = match &*deeds {
            [] if step.refused.is_some() => return Err("`refused`: nobody does anything".into()),
            [] => Ok(()),
            [("approve", name)] => scenario.vote(&person(name)?, Verdict::Approve, &gates),
            [("reject", name)] => scenario.vote(&person(name)?, Verdict::Reject, &gates),
            [("cancel", name)] => scenario.withdraw(&person(name)?, Deed::Cancel),
            [("revoke", name)] => scenario.withdraw(&person(name)?, Deed::Revoke),
            [("break_glass", name)] => scenario.break_glass(&person(name)?),
            [("examine", name)] => scenario.examine(&person(name)?),
            [..] => {
                let all = "`approve`, `reject`, `cancel`, `revoke`, `break_glass` or `examine`";
                return Err(format!("one step, one deed: {all}"));
            }
        };
        Ok(done.err())
    }

    fn look(&mut self, line: u64, expected: &Expected, seen: Option<&Seen>, scenario: &mut Scenario<'_>) {
        let differences = seen.map(|seen| expect::answer(expected, seen)).unwrap_or_default();
        let standing = expect::standing(expected, scenario, &self.cast);
        for message in differences.into_iter().chain(standing) {
            self.fail(line, message);
        }
        let state = scenario.approval().map_or("none", |approval| approval.state.name());
        let answer = seen.map_or_else(|| "-".to_owned(), |seen| format!("{} {}", seen.outcome.name(), seen.reason));
        let gates = seen.map(|seen| seen.gates.join(", ")).unwrap_or_default();
        self.tested.seen.push(format!("{answer} [{gates}] {state}"));
    }

    pub fn service(&mut self, snapshot: &PolicySnapshot, test: &ServiceTest, sightings: &mut Sightings) {
        let line = self.tested.line;
        let caller = match self.cast.identity(&test.caller) {
            Ok(caller) => caller,
            Err(message) => return self.fail(line, message),
        };
        for (deeds, expected) in [(&test.may, true), (&test.may_not, false)] {
            for deed in deeds {
                match guarded(snapshot, &caller, deed, sightings) {
                    Ok(may) if may == expected => {}
                    Ok(may) => {
                        let word = if may { "may" } else { "may not" };
                        self.fail(line, format!("`{}` {word} {deed}: expected the contrary", test.caller));
                    }
                    Err(message) => self.fail(line, message),
                }
            }
        }
    }
}

/// `User::bob 72h`, or `User::bob 72h for User::alice`.
fn delegated(caller: &Identity, text: &str) -> Result<Delegation, String> {
    let expected = || format!("`delegate {text}`: expected such as `delegate User::bob 72h for User::alice`");
    let words: Vec<&str> = text.split_whitespace().collect();
    let (to, hours, of) = match words.as_slice() {
        [to, hours] => (to, hours, caller.uid.clone()),
        [to, hours, "for", of] => (to, hours, notation::uid(of, None)?),
        _ => return Err(expected()),
    };
    let hours = hours.strip_suffix('h').and_then(|hours| hours.parse().ok()).ok_or_else(expected)?;
    Ok(Delegation { to: notation::uid(to, None)?, is_own: of == caller.uid, of, hours })
}

/// `audit`, `authorize_as Agent::bot`, `end_sessions User::alice`, `supply_entities Dataset`, `delegate User::bob 72h`.
fn guarded(
    snapshot: &PolicySnapshot,
    caller: &Identity,
    deed: &str,
    sightings: &mut Sightings,
) -> Result<bool, String> {
    let (name, on) = deed.split_once(' ').unwrap_or((deed, ""));
    let action = GuardAction::ALL.into_iter().find(|action| action.name() == name);
    let action = action.ok_or_else(|| format!("`{name}` is nothing that the service guards"))?;
    let (named, delegation);
    let on = match (action, on) {
        (GuardAction::Delegate, on) => {
            delegation = delegated(caller, on)?;
            Guarded::Delegation(&delegation)
        }
        (GuardAction::AuthorizeAs | GuardAction::EndSessions, on) => {
            named = notation::uid(on, None)?;
            Guarded::Principal(&named)
        }
        (GuardAction::SupplyEntities, on) if !on.is_empty() => Guarded::EntityType(on),
        (
            GuardAction::Review
            | GuardAction::Cancel
            | GuardAction::Revoke
            | GuardAction::ReadApproval
            | GuardAction::Reveal
            | GuardAction::ViewReviewers,
            _,
        ) => {
            return Err(format!("`{name}` is about an approval: say it in the `expect` of a test"));
        }
        (_, "") => Guarded::Service,
        (_, on) => return Err(format!("`{name}` is not about `{on}`")),
    };
    let found = snapshot.trace_guard(caller, action, on);
    sightings.guarded(&found);
    Ok(found.permitted)
}

/// A question with everybody in it.
///
/// # Errors
/// What is wrong with it.
pub fn asked(cast: &Cast<'_>, question: &Question) -> Result<Asked, String> {
    let proved = cast.identity(&question.principal)?;
    let caller = question.caller.as_deref().map(|name| cast.identity(name)).transpose()?;
    let caller = caller.unwrap_or_else(|| proved.clone());
    let principal = if question.asserted {
        let kind = PrincipalKind::said_by(&proved.uid);
        Identity::asserted(proved.uid, kind, &caller)
    } else {
        proved
    };
    let query = Query {
        principal: principal.uid.clone(),
        on_behalf_of: principal.on_behalf_of.as_ref().map(|person| person.uid.clone()),
        action: notation::uid(&question.action, Some("Action"))?,
        resource: notation::uid(&question.resource, None)?,
        context: notation::attributes(&question.context).map_err(|message| format!("`context`: {message}"))?,
        environment: notation::attributes(&question.environment)
            .map_err(|message| format!("`environment`: {message}"))?,
        entities: notation::entities(&question.entities)?,
    };
    Ok(Asked {
        caller: Arc::new(caller),
        principal: Arc::new(principal),
        query: Arc::new(query),
        justification: question.justification.as_deref().filter(|text| !text.trim().is_empty()).map(Into::into),
    })
}
