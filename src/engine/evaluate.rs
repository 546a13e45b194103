//! A query to the policies' answer. Rules first; gates only where the rules permit. Cedar skips a policy that it cannot
//! evaluate: a skipped permit narrows and is only reported, a skipped forbid or gate might have said no, so it does.

use std::sync::Arc;

use cedar_policy as cedar;

use super::cedar_core::Judge;
use super::index::Answer;
use super::question::QueryError;
use super::settings::OnError;
use super::snapshot::{Listed, PolicyKind, PolicySnapshot};
use crate::domain::{
    Evaluation, EvaluationError, Identity, Obligation, PolicyId, Query, Requirement, RuleVerdict, Timestamp,
};

impl PolicySnapshot {
    /// What the policies say of a query by `principal`, asked by `caller`. Pure: the same answer for the same input.
    ///
    /// Needs a stack: expressions may be [`super::settings::Limits::expression_depth_max`] deep, which 2 MiB hold. If the
    /// stack should end all the same, Cedar reports an error, and the answer is no.
    ///
    /// # Errors
    /// The query does not fit the schema; the field is named.
    pub fn evaluate(
        &self,
        query: &Query,
        principal: &Identity,
        caller: &Identity,
        now: Timestamp,
    ) -> Result<Evaluation, QueryError> {
        let request = self.question(query, principal, caller, now)?;
        let mut known = self.query_entities(query, principal, caller)?;
        let rules = self.rules.select(&request, known.entities());
        let gates = self.gates.select(&request, known.entities());
        known.add(rules.looked_at().chain(gates.looked_at())).ok_or_else(unusable)?;
        let judge = Judge::new(&request, known.entities());
        let mut answer = self.ruled(&rules.ask(&judge));
        if answer.verdict == RuleVerdict::Permitted {
            self.gated(&gates.ask(&judge), &mut answer);
        }
        Ok(answer)
    }

    /// What the rules say.
    fn ruled(&self, said: &Answer<'_>) -> Evaluation {
        // A permit that was skipped narrows what is allowed, but not what must be done with it: its mask would be missing.
        let unmasked = self.on_error == OnError::FailClosed && self.skipped_mask(said);
        let in_doubt = self.on_error == OnError::FailClosed && self.skipped_forbid(said);
        let verdict = match (said.forbids.is_empty(), said.permits.is_empty()) {
            (false, true | false) => RuleVerdict::Forbidden,
            (true, true | false) if in_doubt => RuleVerdict::Unknown,
            (true, true) => RuleVerdict::NotPermitted,
            (true, false) if unmasked => RuleVerdict::Unknown,
            (true, false) => RuleVerdict::Permitted,
        };
        let determining = if said.forbids.is_empty() { &said.permits } else { &said.forbids };
        let mut determining: Vec<_> = determining.iter().map(|id| self.our_id(id)).collect();
        determining.sort_unstable();
        let permits = determining.iter().filter(|_| verdict == RuleVerdict::Permitted);
        let obligations = permits.filter_map(|id| self.listed(&id.0)).flat_map(|listed| listed.obligations.clone());
        Evaluation {
            digest: self.digest,
            revision: self.revision,
            verdict,
            obligations: obligations.collect(),
            errors: self.errors(said),
            determining,
            requirement: None,
        }
    }

    /// What the gates add to it.
    fn gated(&self, said: &Answer<'_>, answer: &mut Evaluation) {
        let errors = self.errors(said);
        // A gate forbids: one among the permits would be a mistake of ours, and fires as well.
        let fired: Option<Vec<_>> = said.forbids.iter().chain(&said.permits).map(|id| self.gate(id)).collect();
        let in_doubt = self.on_error == OnError::FailClosed && !errors.is_empty();
        match fired.filter(|_| !in_doubt) {
            Some(mut fired) => {
                fired.sort_unstable_by(|a, b| a.id.cmp(&b.id));
                answer.requirement = Requirement::new(fired);
            }
            // A gate in doubt, or one that fired and that we do not know: no.
            None => {
                answer.verdict = RuleVerdict::Unknown;
                answer.obligations.clear();
            }
        }
        answer.errors.extend(errors);
        answer.errors.sort_unstable_by(|a, b| a.policy.cmp(&b.policy));
    }

    fn gate(&self, id: &cedar::PolicyId) -> Option<crate::domain::Gate> {
        self.listed(id.as_ref()).and_then(|listed| listed.gate.clone())
    }

    /// Whether a forbid among the rules could not be evaluated.
    pub(super) fn skipped_forbid(&self, said: &Answer<'_>) -> bool {
        // An id that is not listed would be a mistake of ours: it counts as a forbid.
        let may_forbid = |id: &cedar::PolicyId| {
            self.listed(id.as_ref()).is_none_or(|listed| listed.entry.kind != PolicyKind::Permit)
        };
        said.errors.iter().any(|(id, _)| may_forbid(id))
    }

    /// Whether a permit that demands masking could not be evaluated.
    fn skipped_mask(&self, said: &Answer<'_>) -> bool {
        let masks = |id: &cedar::PolicyId| {
            let obligations = self.listed(id.as_ref()).map(|listed| &*listed.obligations).unwrap_or_default();
            obligations.iter().any(|obligation| matches!(obligation, Obligation::Mask { .. }))
        };
        said.errors.iter().any(|(id, _)| masks(id))
    }

    fn errors(&self, said: &Answer<'_>) -> Vec<EvaluationError> {
        let error = |(id, error): &(&cedar::PolicyId, Box<cedar::EvaluationError>)| EvaluationError {
            policy: self.our_id(id),
            message: cause(error).into(),
        };
        let mut errors: Vec<_> = said.errors.iter().map(error).collect();
        errors.sort_unstable_by(|a, b| a.policy.cmp(&b.policy));
        errors
    }

    fn listed(&self, id: &str) -> Option<&Listed> {
        self.policies.get(id)
    }

    fn our_id(&self, id: &cedar::PolicyId) -> PolicyId {
        let known = self.listed(id.as_ref()).map(|listed| listed.entry.id.clone());
        PolicyId(known.unwrap_or_else(|| Arc::from(AsRef::<str>::as_ref(id))))
    }
}

/// What policies name was closed over its ancestors when it was loaded; a query that Cedar refuses with it is refused.
pub(super) fn unusable() -> QueryError {
    QueryError::new("entities", "cannot be joined with what the policies look at")
}

/// What went wrong, without the values it went wrong with: these may be the server's own facts.
fn cause(error: &cedar::EvaluationError) -> &'static str {
    use cedar::EvaluationError as Error;
    match error {
        Error::EntityDoesNotExist(_) => "an entity that it looks at is not known",
        Error::EntityAttrDoesNotExist(_) => "an entity lacks an attribute or tag that it looks at",
        Error::RecordAttrDoesNotExist(_) => "a record lacks a field that it looks at",
        Error::TypeError(_) => "a value is of another type than it expects",
        Error::IntegerOverflow(_) => "a number is out of range",
        Error::FailedExtensionFunctionLookup(_) | Error::WrongNumArguments(_) => "it calls a function wrongly",
        Error::FailedExtensionFunctionExecution(_) => "a function of it failed",
        Error::RecursionLimit(_) => "it is nested too deep for the stack",
        _ => "it cannot be evaluated",
    }
}

#[cfg(test)]
mod tests {
    use super::super::settings::{GUARDS_FILE, Settings};
    use super::super::testing::{
        ask, attributes, bot, example, file, identity, ids, load, query, settings, sources, uid,
    };
    use super::*;
    use crate::domain::{Entity, Value};

    const PERMIT: &str = "@id(\"may\") permit (principal, action == Action::\"read\", resource is Dataset);";

    fn dataset(id: &str, pii: bool) -> Entity {
        Entity { attributes: attributes([("pii", Value::Bool(pii))]), ..Entity::bare(uid("Dataset", id), vec![]) }
    }

    /// The answer to the bot reading data set `d`, with personal data.
    fn read(snapshot: &PolicySnapshot) -> Evaluation {
        let mut query = query(&bot(), "read", ("Dataset", "d"));
        query.entities.push(dataset("d", true));
        ask(snapshot, &query, &bot()).unwrap()
    }

    fn gate(id: &str, condition: &str) -> String {
        format!(
            "@id(\"{id}\") @approval(\"why\") @reviewers(\"Group::\\\"a\\\"\") forbid (principal, action, resource is Dataset) when {{ {condition} }};"
        )
    }

    /// A condition that passes validation and overflows when it is evaluated.
    const ERRS: &str = "9223372036854775807 + (if resource.pii then 1 else 0) > 0";

    fn as_cedar(policies: &str) -> PolicySnapshot {
        let cedar = Settings { on_error: OnError::Cedar, ..settings() };
        let mut files = sources(policies);
        files.push(file(GUARDS_FILE, "permit (principal, action, resource);"));
        PolicySnapshot::from_sources(&cedar, files).unwrap()
    }

    fn both(policies: &str) -> (Evaluation, Evaluation) {
        (read(&load(policies)), read(&as_cedar(policies)))
    }

    #[test]
    fn the_examples_answer_as_their_comments_say() {
        let snapshot = example();
        let cases = [
            ("read", "Dataset", "weather", RuleVerdict::Permitted, "read-datasets", ""),
            ("export", "Dataset", "weather", RuleVerdict::Permitted, "export-datasets", ""),
            ("export", "Dataset", "customers", RuleVerdict::Permitted, "export-datasets", "export-pii"),
            ("drop", "Database", "warehouse", RuleVerdict::Forbidden, "agents-never-drop", ""),
            ("rotate", "Secret", "payments-api-key", RuleVerdict::NotPermitted, "", ""),
        ];
        for (action, type_name, id, verdict, determining, gates) in cases {
            let mut query = query(&bot(), action, (type_name, id));
            if action == "export" {
                query.context = attributes([("destination", Value::string("s3://partner"))]);
            }
            let answer = ask(&snapshot, &query, &bot()).unwrap();
            let (found, fired) = ids(&answer);
            let expected = (verdict, determining.to_owned(), gates.to_owned());
            assert_eq!((answer.verdict, found.join(","), fired.join(",")), expected, "{action} {id}");
        }
        let pipeline = identity("Workload", "ci-pipeline", &["pipelines"]);
        let rotate = ask(&snapshot, &query(&pipeline, "rotate", ("Secret", "payments-api-key")), &pipeline).unwrap();
        assert_eq!(ids(&rotate), (vec!["rotate-secrets".to_owned()], vec!["rotate-secret".to_owned()]));
    }

    #[test]
    fn a_plain_cedar_tool_denies_where_a_gate_fires() {
        let policies = format!("{PERMIT} {}", gate("g", "resource.pii"));
        assert_eq!(ids(&read(&load(&policies))).1, ["g"]);
        assert_eq!(read(&as_cedar(&policies)).verdict, RuleVerdict::Forbidden);
    }

    #[test]
    fn all_gates_that_fire_are_required_in_order() {
        let policies = [PERMIT, &gate("z", "true"), &gate("a", "resource.pii"), &gate("m", "!resource.pii")].concat();
        let answer = read(&load(&policies));
        assert_eq!((answer.verdict, ids(&answer).1), (RuleVerdict::Permitted, vec!["a".to_owned(), "z".to_owned()]));
    }

    #[test]
    fn a_hard_forbid_beats_every_gate() {
        let forbid = "@id(\"never\") forbid (principal, action, resource is Dataset);";
        let answer = read(&load(&[PERMIT, &gate("g", "true"), forbid].concat()));
        assert_eq!((answer.verdict, ids(&answer)), (RuleVerdict::Forbidden, (vec!["never".to_owned()], vec![])));
    }

    #[test]
    fn a_mask_that_cannot_be_evaluated_is_not_dropped() {
        let mask = format!(
            "@id(\"masked\") @mask(\"US_SSN\") permit (principal, action, resource is Dataset) when {{ {ERRS} }};"
        );
        let (closed, open) = both(&[PERMIT, &mask].concat());
        assert_eq!((closed.verdict, open.verdict), (RuleVerdict::Unknown, RuleVerdict::Permitted));
        assert!(open.obligations.is_empty());
    }

    #[test]
    fn a_gate_permits_nothing() {
        let answer = read(&load(&gate("g", "true")));
        assert_eq!((answer.verdict, answer.requirement), (RuleVerdict::NotPermitted, None));
    }

    #[test]
    fn a_forbid_that_cannot_be_evaluated_says_no_and_as_cedar_opens_the_door() {
        let forbid = format!("@id(\"errs\") forbid (principal, action, resource is Dataset) when {{ {ERRS} }};");
        let (closed, open) = both(&[PERMIT, &forbid].concat());
        assert_eq!(closed.verdict, RuleVerdict::Unknown);
        assert_eq!(open.verdict, RuleVerdict::Permitted);
        assert_eq!(closed.errors.iter().map(|error| error.policy.to_string()).collect::<Vec<_>>(), ["errs"]);
        assert!(closed.obligations.is_empty());
    }

    #[test]
    fn a_forbid_in_doubt_is_told_even_where_nothing_permits() {
        let forbid = format!("forbid (principal, action, resource is Dataset) when {{ {ERRS} }};");
        let (closed, as_cedar) = both(&forbid);
        assert_eq!((closed.verdict, as_cedar.verdict), (RuleVerdict::Unknown, RuleVerdict::NotPermitted));
    }

    #[test]
    fn a_gate_that_cannot_be_evaluated_says_no_and_as_cedar_opens_the_door() {
        let (closed, _) = both(&[PERMIT, &gate("errs", ERRS), &gate("fires", "true")].concat());
        assert_eq!((closed.verdict, closed.requirement), (RuleVerdict::Unknown, None));
        let (_, open) = both(&[PERMIT, &gate("errs", ERRS)].concat());
        assert_eq!((open.verdict, open.errors.len()), (RuleVerdict::Permitted, 1));
    }

    #[test]
    fn a_permit_that_cannot_be_evaluated_only_narrows_and_is_reported() {
        let permit = format!("@id(\"errs\") permit (principal, action, resource is Dataset) when {{ {ERRS} }};");
        let (alone, _) = both(&permit);
        assert_eq!((alone.verdict, alone.errors.len()), (RuleVerdict::NotPermitted, 1));
        let (beside, _) = both(&[PERMIT, &permit].concat());
        assert_eq!((beside.verdict, beside.errors.len()), (RuleVerdict::Permitted, 1));
    }

    #[test]
    fn a_forbid_that_matches_is_final_though_another_cannot_be_evaluated() {
        let errs = format!("@id(\"errs\") forbid (principal, action, resource is Dataset) when {{ {ERRS} }};");
        let forbid = "@id(\"never\") forbid (principal, action, resource is Dataset);";
        let (closed, _) = both(&[PERMIT, &errs, forbid].concat());
        assert_eq!((closed.verdict, ids(&closed).0), (RuleVerdict::Forbidden, vec!["never".to_owned()]));
    }

    #[test]
    fn obligations_come_from_the_permits_that_matched() {
        let masks = "@id(\"m\") @mask(\"US_SSN\") @advice(\"careful\") permit (principal, action, resource is Dataset) when { resource.pii };
            @id(\"n\") @mask(\"PERSON\") permit (principal, action, resource is Dataset) when { !resource.pii };";
        let policy = || PolicyId("m".into());
        let expected = [
            Obligation::Mask { policy: policy(), what: "US_SSN".into() },
            Obligation::Advice { policy: policy(), text: "careful".into() },
        ];
        assert_eq!(read(&load(masks)).obligations, expected);
        let forbidden = [masks, "forbid (principal, action, resource is Dataset);"].concat();
        assert!(read(&load(&forbidden)).obligations.is_empty());
    }

    #[test]
    fn a_chain_of_600_terms_is_refused_and_the_longest_accepted_one_still_forbids() {
        let chain = |terms: usize| {
            let condition = vec!["resource.pii"; terms].join(" && ");
            format!("{PERMIT} @id(\"long\") forbid (principal, action, resource is Dataset) when {{ {condition} }};")
        };
        let refused = super::super::testing::refusal(&chain(600));
        assert!(refused.contains("an expression is deeper than 256 operators"), "{refused}");
        // A test runs on 2 MiB of stack.
        assert_eq!(read(&load(&chain(250))).verdict, RuleVerdict::Forbidden);
    }

    #[test]
    fn the_deepest_expression_of_any_operator_evaluates_on_a_small_stack() {
        let conditions = [
            format!("0{} == 0", " + 0".repeat(240)),
            format!("{}resource.pii", "if !resource.pii then false else ".repeat(80)),
            format!("{}resource.pii{}", "(true && ".repeat(60), ")".repeat(60)),
            vec!["!resource.pii"; 120].join(" || ") + " || resource.pii",
        ];
        for condition in conditions {
            let forbid = format!("{PERMIT} forbid (principal, action, resource is Dataset) when {{ {condition} }};");
            assert_eq!(read(&load(&forbid)).verdict, RuleVerdict::Forbidden, "{condition}");
        }
    }

    #[test]
    fn hostile_ids_survive() {
        for id in ["a\u{0}b", "\u{202e}evil", "\"quoted\\\"", "", "\u{200b}", "é\n\r\t", "*"] {
            let escaped = uid("Dataset", id).to_string();
            let policies = format!(
                "@id(\"{}\") permit (principal, action, resource == {escaped});",
                escaped.replace('\\', "\\\\").replace('"', "\\\"")
            );
            let snapshot = load(&policies);
            let answer = ask(&snapshot, &query(&bot(), "read", ("Dataset", id)), &bot()).unwrap();
            assert_eq!((answer.verdict, &*answer.determining[0].0), (RuleVerdict::Permitted, &*escaped), "{id:?}");
            let other = ask(&snapshot, &query(&bot(), "read", ("Dataset", "x")), &bot()).unwrap();
            assert_eq!(other.verdict, RuleVerdict::NotPermitted);
        }
    }

    #[test]
    fn integers_above_2_53_are_exact() {
        let policies = "permit (principal, action == Action::\"read\", resource is Dataset) when { context has rows && context.rows == 9007199254740993 };";
        let snapshot = load(policies);
        for (rows, verdict) in
            [(9_007_199_254_740_993, RuleVerdict::Permitted), (9_007_199_254_740_992, RuleVerdict::NotPermitted)]
        {
            let mut query = query(&bot(), "read", ("Dataset", "d"));
            query.context = attributes([("rows", Value::Long(rows))]);
            assert_eq!(ask(&snapshot, &query, &bot()).unwrap().verdict, verdict);
        }
    }

    #[test]
    fn the_servers_facts_reach_the_policies_that_ask_for_them() {
        let policies = "permit (principal, action in Action::\"looking\", resource is Dataset) when {
            context.server.now == datetime(\"2023-11-14T22:13:20.123Z\") && context.server.caller == \"Workload::\\\"pep\\\"\"
            && context.server has on_behalf_of && context.server.on_behalf_of in Group::\"finance\"
            && context has environment && context.environment has session && context.environment.session == \"s\" };";
        let snapshot = load(policies);
        let person = |groups: &[&str]| identity("User", "frank", groups);
        for (groups, verdict) in [(&["finance"][..], RuleVerdict::Permitted), (&[], RuleVerdict::NotPermitted)] {
            let mut agent = bot();
            agent.on_behalf_of = Some(Box::new(person(groups)));
            let mut query = query(&agent, "look", ("Dataset", "d"));
            query.environment = attributes([("session", Value::string("s"))]);
            let pep = identity("Workload", "pep", &[]);
            let answer = snapshot.evaluate(&query, &agent, &pep, super::super::testing::NOW).unwrap();
            assert_eq!(answer.verdict, verdict, "{:?}", answer.errors);
        }
    }
}
