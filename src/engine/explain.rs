//! Why the answer was what it was: the policies that made it, and what the permits lacked that nearly allowed it.

use cedar_policy as cedar;

use super::clauses::{self, Clause, Part};
use super::index::Scoped;
use super::question::QueryError;
use super::snapshot::{Listed, PolicySnapshot};
use super::stack::with_room;
use super::trace::{Asked, Reached, id_of, reached, wanted};
use crate::domain::explanation::{CITED_MAX, Failure, SOURCE_BYTES_MAX};
use crate::domain::{
    Cited, ClauseKind, EntityUid, Evaluation, Explanation, Identity, Lack, NearMiss, PolicyId, PrincipalKind, Query,
    RuleVerdict, Timestamp, UnmetClause,
};

/// Most permits of one action that are read for near misses: an explanation is for people, and bounded.
const READ_MAX: usize = 200;

impl PolicySnapshot {
    /// Why `evaluation` is the answer to this query.
    ///
    /// # Errors
    /// As for [`PolicySnapshot::evaluate`].
    pub fn explain(
        &self,
        evaluation: &Evaluation,
        query: &Query,
        principal: &Identity,
        caller: &Identity,
        now: Timestamp,
    ) -> Result<Explanation, QueryError> {
        let fired = evaluation.requirement.iter().flat_map(|required| required.gates()).map(|gate| &gate.id);
        let near_misses = match evaluation.verdict {
            RuleVerdict::NotPermitted => self.near_misses(&self.asked(query, principal, caller, now)?),
            RuleVerdict::Permitted | RuleVerdict::Forbidden | RuleVerdict::Unknown => Vec::new(),
        };
        Ok(Explanation {
            determining: self.cite_all(evaluation.determining.iter()),
            gates: self.cite_all(fired),
            near_misses,
        })
    }

    /// The people of the server's data who are in one of these, or are one of these; at most `most`.
    #[must_use]
    pub fn people_in(&self, reviewers: &[EntityUid], most: usize) -> Vec<EntityUid> {
        let is_person = |uid: &&EntityUid| PrincipalKind::said_by(uid) == PrincipalKind::User;
        let known = self.facts.uids().chain(reviewers).filter(is_person);
        let mut people: Vec<_> = known.filter(|uid| self.facts.is_within(uid, reviewers)).cloned().collect();
        people.sort();
        people.dedup();
        people.truncate(most);
        people
    }

    /// A policy as it is written.
    #[must_use]
    pub fn text(&self, id: &PolicyId) -> Option<&str> {
        self.policies.get(&id.0).map(|listed| &*listed.text)
    }

    fn cite_all<'p>(&self, ids: impl Iterator<Item = &'p PolicyId>) -> Vec<Cited> {
        ids.filter_map(|id| self.cite(id)).take(CITED_MAX).collect()
    }

    /// Where a policy is written, and its text.
    #[must_use]
    pub fn cite(&self, id: &PolicyId) -> Option<Cited> {
        let listed = self.policies.get(&id.0)?;
        let end = listed.text.floor_char_boundary(SOURCE_BYTES_MAX);
        let source = listed.text.get(..end).unwrap_or_default().into();
        Some(Cited { policy: id.clone(), file: listed.entry.file.clone(), line: listed.entry.line, source })
    }

    fn near_misses(&self, asked: &Asked) -> Vec<NearMiss> {
        let scopes = self.rules.scopes(&asked.request, &asked.entities);
        let permits = scopes.filter(|scoped| scoped.effect == cedar::Effect::Permit);
        let mut near: Vec<_> = permits.filter_map(|scoped| Some((distance(&scoped)?, scoped))).collect();
        near.sort_by_key(|(distance, _)| *distance);
        near.truncate(READ_MAX);
        let read = || near.iter().filter_map(|(_, scoped)| self.near_miss(scoped, asked)).take(CITED_MAX).collect();
        // Nothing told where there is no room to look.
        with_room(read).unwrap_or_default()
    }

    fn near_miss(&self, scoped: &Scoped<'_>, asked: &Asked) -> Option<NearMiss> {
        let id = id_of(scoped.id);
        let listed = self.policies.get(&id.0)?;
        let lack = match (scoped.principal, scoped.resource) {
            (true, true) => Lack::Clause(unmet(listed, asked)?),
            (false, true) => Lack::Principal,
            (true, false) => Lack::Resource,
            (false, false) => return None,
        };
        Some(NearMiss { cited: self.cite(&id)?, lack })
    }
}

/// How far a permit is from permitting: a clause is nearer than the wrong principal; what is wrong twice is not near.
fn distance(scoped: &Scoped<'_>) -> Option<usize> {
    match (scoped.principal, scoped.resource) {
        (true, true) => Some(0),
        (false, true) => Some(1),
        (true, false) => Some(2),
        (false, false) => None,
    }
}

/// The first clause that did not hold.
fn unmet(listed: &Listed, asked: &Asked) -> Option<UnmetClause> {
    let clauses = clauses::clauses(&listed.text);
    let (position, clause, failure) = clauses.iter().enumerate().find_map(|(position, clause)| {
        let failure = failure(clause.kind, reached(&clause.body, asked))?;
        Some((position, clause, failure))
    })?;
    let part = deciding(clause, asked);
    Some(UnmetClause {
        number: position + 1,
        kind: clause.kind,
        line: listed.entry.line_below(part.line_offset),
        text: part.text.clone(),
        failure,
    })
}

fn failure(kind: ClauseKind, reached: Reached) -> Option<Failure> {
    match reached {
        Reached::Error => Some(Failure::Error),
        Reached::True | Reached::False | Reached::No => (reached != wanted(kind)).then_some(Failure::Unmet),
    }
}

/// The part of a clause that decided it: of a `when`, the first operand that was not true; of an `unless`, all of it.
fn deciding<'c>(clause: &'c Clause, asked: &Asked) -> &'c Part {
    let first = || clause.operands.iter().find(|part| reached(part, asked) != Reached::True);
    match clause.kind {
        ClauseKind::When => first().unwrap_or(&clause.body),
        ClauseKind::Unless => &clause.body,
    }
}

#[cfg(test)]
mod tests {
    use super::super::testing::{NOW, attributes, bot, example, identity, load, query};
    use super::*;
    use crate::domain::Value;

    fn explained(snapshot: &PolicySnapshot, query: &Query, who: &Identity) -> Explanation {
        let evaluation = snapshot.evaluate(query, who, who, NOW).unwrap();
        snapshot.explain(&evaluation, query, who, who, NOW).unwrap()
    }

    fn lacks(explanation: &Explanation) -> Vec<String> {
        let told = |miss: &NearMiss| match &miss.lack {
            Lack::Principal => format!("{}: principal", miss.cited.policy),
            Lack::Resource => format!("{}: resource", miss.cited.policy),
            Lack::Clause(unmet) => format!(
                "{}: {} {} at {}: {} {:?}",
                miss.cited.policy,
                unmet.kind.name(),
                unmet.number,
                unmet.line,
                unmet.text,
                unmet.failure
            ),
        };
        explanation.near_misses.iter().map(told).collect()
    }

    #[test]
    fn near_misses_say_what_each_permit_lacked_nearest_first() {
        let policies = "@id(\"far\") permit (principal is User, action == Action::\"read\", resource == Dataset::\"x\");
@id(\"group\") permit (principal in Group::\"admins\", action == Action::\"read\", resource is Dataset);
@id(\"other\") permit (principal, action == Action::\"read\", resource == Dataset::\"x\");
@id(\"clause\") permit (principal, action == Action::\"read\", resource is Dataset)
when { context has rows }
when {
  principal in Group::\"agents\" &&
  context.rows > 10
};
@id(\"not\") permit (principal, action == Action::\"read\", resource is Dataset) unless { context has rows };
@id(\"errs\") permit (principal, action == Action::\"read\", resource is Dataset) when { 9223372036854775807 + context.rows > 0 };
@id(\"elsewhere\") permit (principal, action == Action::\"export\", resource is Dataset);"
            .replace("when { 9", "when { context has rows && 9");
        let snapshot = load(&policies);
        let mut query = query(&bot(), "read", ("Dataset", "d"));
        query.context = attributes([("rows", Value::Long(5))]);
        let expected = [
            "clause: when 2 at 8: context.rows > 10 Unmet",
            "not: unless 1 at 10: context has rows Unmet",
            "errs: when 1 at 11: 9223372036854775807 + context.rows > 0 Error",
            "group: principal",
            "other: resource",
        ];
        assert_eq!(lacks(&explained(&snapshot, &query, &bot())), expected);
    }

    #[test]
    fn what_determined_and_what_fired_is_quoted_with_its_place() {
        let snapshot = example();
        let mut query = query(&bot(), "export", ("Dataset", "customers"));
        query.context = attributes([("destination", Value::string("s3://partner"))]);
        let found = explained(&snapshot, &query, &bot());
        let gate = &found.gates[0];
        assert_eq!((found.determining.len(), &*gate.policy.0, found.near_misses.len()), (1, "export-pii", 0));
        assert!(gate.file.ends_with("warehouse.cedar") && gate.line > 1);
        assert!(gate.source.starts_with("@id(\"export-pii\")") && gate.source.ends_with("};"), "{}", gate.source);
    }

    #[test]
    fn an_explanation_quotes_no_value_of_the_servers_facts() {
        let secret = "the-servers-secret";
        let data = format!(
            r#"[{{"uid":{{"type":"Dataset","id":"d"}},"attrs":{{"pii":true,"owner":{{"__entity":{{"type":"User","id":"{secret}"}}}}}},"parents":[]}}]"#
        );
        let policies = "permit (principal, action, resource is Dataset) when { resource has owner && principal == resource.owner };";
        let snapshot = super::super::testing::load_with(policies, &data);
        let found = explained(&snapshot, &query(&bot(), "read", ("Dataset", "d")), &bot());
        assert_eq!(found.near_misses.len(), 1);
        assert!(!format!("{found:?}").contains(secret));
    }

    #[test]
    fn an_explanation_is_bounded() {
        let long = format!("\"{}\"", "x".repeat(10_000));
        let policy = |n: usize| {
            format!(
                "@id(\"p{n:04}\") permit (principal, action, resource is Dataset) when {{ {long} == \"é\" && context has rows }};\n"
            )
        };
        let snapshot = load(&(0..30).map(policy).collect::<String>());
        let found = explained(&snapshot, &query(&bot(), "read", ("Dataset", "d")), &bot());
        assert_eq!(found.near_misses.len(), CITED_MAX);
        assert!(found.near_misses.iter().all(|miss| miss.cited.source.len() <= SOURCE_BYTES_MAX));
    }

    #[test]
    fn the_people_known_to_be_in_a_group_are_found() {
        let data = r#"[{"uid":{"type":"User","id":"b"},"attrs":{},"parents":[{"type":"Group","id":"inner"}]},
            {"uid":{"type":"Agent","id":"x"},"attrs":{},"parents":[{"type":"Group","id":"inner"}]},
            {"uid":{"type":"User","id":"c"},"attrs":{},"parents":[{"type":"Group","id":"others"}]},
            {"uid":{"type":"Group","id":"inner"},"attrs":{},"parents":[{"type":"Group","id":"outer"}]}]"#;
        let snapshot = super::super::testing::load_with("permit (principal, action, resource is Dataset);", data);
        let reviewers = [EntityUid::new("Group", "outer"), EntityUid::new("User", "a")];
        let people: Vec<_> = snapshot.people_in(&reviewers, 10).iter().map(ToString::to_string).collect();
        assert_eq!(people, ["User::\"a\"", "User::\"b\""]);
        assert!(identity("User", "a", &[]).groups.is_empty());
    }
}
