//! Annotations to gates and obligations. Unknown is no: a name or value that we do not understand refuses the whole set,
//! because a gate that is misread is a door without a lock.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use cedar_policy as cedar;

use super::convert::Types;
use super::grammar;
use super::problem::{Annotation, Problem, nearest};
use super::scan::Statement;
use super::source::SourceFile;
use crate::domain::{
    EntityUid, Gate, GrantTerms, Justification, MaskRules, Obligation, PolicyId, Quorum, SelfReview, Severity,
};

/// Longest text of one annotation, in bytes.
const TEXT_BYTES_MAX: usize = 4_096;

/// Begins the annotations that belong to others.
const FOREIGN_PREFIX: &str = "x_";

/// The annotations that only a gate may carry, besides `@approval` itself.
const OF_GATES: [&str; 11] = [
    "reviewers",
    "quorum",
    "timeout",
    "grant",
    "escalate",
    "remind",
    "break_glass",
    "severity",
    "justification",
    "self_review",
    "notify",
];

/// The annotations that only a permit may carry.
const OF_PERMITS: [&str; 2] = ["mask", "advice"];

/// What a policy is to us.
#[derive(Debug, Clone)]
pub enum Role {
    Rule(Vec<Obligation>),
    Gate(Gate),
}

impl Role {
    /// The same, for a link of a template that says so.
    pub fn of_link(&self, id: &Arc<str>) -> Self {
        let policy = || PolicyId(id.clone());
        match self {
            Self::Gate(gate) => Self::Gate(Gate { id: policy(), ..gate.clone() }),
            Self::Rule(obligations) => Self::Rule(
                obligations
                    .iter()
                    .map(|obligation| match obligation {
                        Obligation::Mask { what, .. } => Obligation::Mask { policy: policy(), what: what.clone() },
                        Obligation::Advice { text, .. } => Obligation::Advice { policy: policy(), text: text.clone() },
                    })
                    .collect(),
            ),
        }
    }
}

/// One policy or template and where it stands, as its annotations are read.
pub struct Site<'a> {
    pub effect: cedar::Effect,
    pub annotations: BTreeMap<&'a str, &'a str>,
    pub id: &'a Arc<str>,
    pub file: &'a SourceFile,
    pub statement: &'a Statement<'a>,
    /// What reviewers may be; `None` where the schema itself is broken.
    pub types: Option<&'a Types>,
    /// The targets that `@notify` may name; empty: none is configured, and it may name any.
    pub targets: &'a [Arc<str>],
}

impl Site<'_> {
    /// Reads the annotations; every problem is added to `problems`, and then there is no role.
    pub fn role(&self, default_timeout: Duration, problems: &mut Vec<Problem>) -> Option<Role> {
        let before = problems.len();
        for (name, value) in self.annotations.iter().map(|(name, value)| (*name, *value)) {
            problems.extend(self.misplaced(name, value).or_else(|| self.malformed_text(name, value)));
        }
        let role = match (self.effect, self.annotation("approval")) {
            (cedar::Effect::Forbid, Some(text)) => self.gate(text, default_timeout, problems).map(Role::Gate),
            (cedar::Effect::Forbid, None) => Some(Role::Rule(Vec::new())),
            (cedar::Effect::Permit, _) => self.obligations(problems).map(Role::Rule),
        };
        role.filter(|_| problems.len() == before)
    }

    /// An annotation that is unknown, or not for this kind of policy.
    fn misplaced(&self, name: &str, value: &str) -> Option<Problem> {
        let is_permit = self.effect == cedar::Effect::Permit;
        let is_gate = !is_permit && self.annotation("approval").is_some();
        let fault = match name {
            "id" => None,
            "approval" => is_permit.then_some("only a forbid can be a gate: it forbids until countersigned"),
            _ if OF_GATES.contains(&name) => (!is_gate).then_some("expected on a forbid with `@approval` only"),
            _ if OF_PERMITS.contains(&name) => (!is_permit).then_some("expected on a permit only"),
            _ if name.starts_with(FOREIGN_PREFIX) => None,
            _ => return Some(self.unknown(name, value)),
        };
        fault.map(|message| self.problem(name, value, message))
    }

    fn unknown(&self, name: &str, value: &str) -> Problem {
        let known = ["id", "approval"].into_iter().chain(OF_GATES).chain(OF_PERMITS);
        let help =
            nearest(name, known).map(|help| help.replace('`', "").replace("mean ", "mean `@").replace('?', "`?"));
        self.problem(name, value, "unknown annotation; one of your own begins with `x_`").with_help(help)
    }

    /// Text that is too long, or empty where text is all that is wanted.
    fn malformed_text(&self, name: &str, value: &str) -> Option<Problem> {
        let is_text = matches!(name, "id" | "approval" | "mask" | "advice");
        let is_missing = is_text && value.trim().is_empty();
        let shown: String = if value.len() > TEXT_BYTES_MAX { value.chars().take(40).collect() } else { value.into() };
        let message = format!("expected a text of 1 to {TEXT_BYTES_MAX} bytes");
        (is_missing || value.len() > TEXT_BYTES_MAX).then(|| self.problem(name, &shown, message))
    }

    fn annotation(&self, name: &str) -> Option<&str> {
        self.annotations.get(name).copied()
    }

    /// `None` for a mask that says nothing: data would go out as it is.
    fn obligations(&self, problems: &mut Vec<Problem>) -> Option<Vec<Obligation>> {
        let policy = || PolicyId(self.id.clone());
        let mask = Reader { site: self, problems }.value_or("mask", |what| MaskRules::parse(what).map(Some), None)?;
        let what = mask.and_then(|_| self.annotation("mask"));
        let mask = what.map(|what| Obligation::Mask { policy: policy(), what: what.into() });
        let advice = self.annotation("advice").map(|text| Obligation::Advice { policy: policy(), text: text.into() });
        Some(mask.into_iter().chain(advice).collect())
    }

    fn gate(&self, text: &str, default_timeout: Duration, problems: &mut Vec<Problem>) -> Option<Gate> {
        let mut read = Reader { site: self, problems };
        if self.annotation("id").is_none() {
            read.missing_id(text);
        }
        if self.annotation("reviewers").is_none() {
            read.missing_reviewers(text);
        }
        let reviewers = read.value("reviewers", grammar::entities);
        let quorum = read.value_or("quorum", grammar::quorum, Quorum::ONE);
        let timeout = read.value_or("timeout", grammar::duration, default_timeout);
        let grant = read.value_or("grant", grant, GrantTerms::Once);
        let escalations = read.value_or("escalate", grammar::escalations, Vec::new());
        let reminders = read.value_or("remind", grammar::reminders, Vec::new());
        let break_glass = read.value_or("break_glass", grammar::entities, Vec::new());
        let severity = read.value_or("severity", severity, Severity::Medium);
        let justification = read.value_or("justification", justification, Justification::Optional);
        let self_review = read.value_or("self_review", self_review, SelfReview::Forbidden);
        let notify = read.value_or("notify", grammar::targets, Vec::new());
        read.known_targets(notify.as_deref().unwrap_or_default());
        let (escalations, reminders, timeout) = (escalations?, reminders?, timeout?);
        read.comes_in_time("escalate", escalations.last().map(|step| step.after), timeout);
        read.comes_in_time("remind", reminders.last().copied(), timeout);
        read.known_types("escalate", escalations.iter().flat_map(|step| &step.reviewers));
        read.known_types("break_glass", break_glass.iter().flatten());
        read.known_types("reviewers", reviewers.iter().flatten());
        Some(Gate {
            id: PolicyId(self.id.clone()),
            text: text.into(),
            reviewers: reviewers?,
            quorum: quorum?,
            timeout,
            grant: grant?,
            escalations,
            reminders,
            break_glass: break_glass?,
            severity: severity?,
            justification: justification?,
            self_review: self_review?,
            notify: notify?,
        })
    }

    /// A problem with one annotation, at its place.
    pub fn problem(&self, name: &str, value: &str, message: impl Into<String>) -> Problem {
        let annotation = Some(Annotation { name: name.to_owned(), value: value.to_owned() });
        let mark = self.statement.marks.iter().find(|mark| mark.name == name);
        let (line, span) =
            mark.map_or_else(|| (self.statement.line, self.statement.head()), |mark| (mark.line, mark.span.clone()));
        let problem = Problem::in_file(&self.file.path, message).at_line(line).in_policy(self.id);
        Problem { annotation, ..problem.marking(&self.file.text, span) }
    }
}

/// Reads values and collects what is wrong with them.
struct Reader<'s, 'a> {
    site: &'s Site<'a>,
    problems: &'s mut Vec<Problem>,
}

impl Reader<'_, '_> {
    fn value<T>(&mut self, name: &str, parse: impl Fn(&str) -> Result<T, String>) -> Option<T> {
        let is_text = |text: &&str| text.len() <= TEXT_BYTES_MAX && !(name == "mask" && text.trim().is_empty());
        // What is too long, or empty where a text is expected, was told already.
        let text = self.site.annotation(name).filter(is_text)?;
        parse(text).map_err(|message| self.problems.push(self.site.problem(name, text, message))).ok()
    }

    /// The default stands for an annotation that is absent, never for one that is wrong.
    fn value_or<T>(&mut self, name: &str, parse: impl Fn(&str) -> Result<T, String>, default: T) -> Option<T> {
        if self.site.annotation(name).is_none() { Some(default) } else { self.value(name, parse) }
    }

    fn missing_reviewers(&mut self, text: &str) {
        let message = "expected `@reviewers` beside it: a gate that nobody may open is a plain forbid";
        self.problems.push(self.site.problem("approval", text, message));
    }

    /// A gate's name stands in approvals, grants and records: one that moves with its place in a file would not do.
    fn missing_id(&mut self, text: &str) {
        self.problems.push(self.site.problem("approval", text, "expected `@id` beside it: approvals name the gate"));
    }

    fn known_types<'g>(&mut self, name: &str, reviewers: impl Iterator<Item = &'g EntityUid>) {
        let Some(types) = self.site.types else { return };
        for unknown in reviewers.filter(|uid| !types.has(&uid.type_name)) {
            let message = format!("the schema declares no entity type `{}`", unknown.type_name);
            let help = nearest(&unknown.type_name, types.names());
            let value = self.site.annotation(name).unwrap_or_default();
            self.problems.push(self.site.problem(name, value, message).with_help(help));
        }
    }

    /// A gate that tells nobody would wait for people who never hear of it.
    fn known_targets(&mut self, named: &[Arc<str>]) {
        let targets = self.site.targets;
        for unknown in named.iter().filter(|name| !targets.is_empty() && !targets.contains(name)) {
            let help = nearest(unknown, targets.iter().map(AsRef::as_ref));
            let value = self.site.annotation("notify").unwrap_or_default();
            let message = format!("no `[[notify.targets]]` is named `{unknown}`");
            self.problems.push(self.site.problem("notify", value, message).with_help(help));
        }
    }

    /// What comes at the deadline or later never comes.
    fn comes_in_time(&mut self, name: &str, last: Option<Duration>, timeout: Duration) {
        if last.is_some_and(|last| last >= timeout) {
            let value = self.site.annotation(name).unwrap_or_default();
            let message = format!("expected every step before the timeout of {}s", timeout.as_secs());
            self.problems.push(self.site.problem(name, value, message));
        }
    }
}

fn grant(text: &str) -> Result<GrantTerms, String> {
    match text {
        "once" => Ok(GrantTerms::Once),
        _ => grammar::duration(text)
            .map(GrantTerms::For)
            .map_err(|_| "expected `once` or a duration from 1s to 30d, such as `8h`".to_owned()),
    }
}

fn severity(text: &str) -> Result<Severity, String> {
    match text {
        "low" => Ok(Severity::Low),
        "medium" => Ok(Severity::Medium),
        "high" => Ok(Severity::High),
        "critical" => Ok(Severity::Critical),
        _ => Err("expected `low`, `medium`, `high` or `critical`".to_owned()),
    }
}

fn justification(text: &str) -> Result<Justification, String> {
    match text {
        "required" => Ok(Justification::Required),
        "optional" => Ok(Justification::Optional),
        _ => Err("expected `required` or `optional`".to_owned()),
    }
}

fn self_review(text: &str) -> Result<SelfReview, String> {
    match text {
        "allowed" => Ok(SelfReview::Allowed),
        _ => Err("expected `allowed`, or no such annotation".to_owned()),
    }
}

#[cfg(test)]
mod tests {
    use super::super::testing::{load, refusal};
    use super::*;

    const DURATION: &str = "expected a duration from 1s to 30d, such as `90s`, `15m`, `8h`, `2d` or `1h30m`";
    const ENTITIES: &str = "expected entities separated by commas, such as `Group::\"privacy\", User::\"alice\"`";

    /// A gate with further annotations, each on its own line from 3 on.
    fn gate(annotations: &str) -> String {
        format!(
            "@id(\"g\")\n@approval(\"why\") @reviewers(\"Group::\\\"a\\\"\")\n{annotations}\nforbid (principal, action, resource is Dataset);"
        )
    }

    #[test]
    fn a_malformed_value_is_refused_with_what_was_expected() {
        let whole = "expected a whole number from 1 to 100".to_owned();
        let grant = "expected `once` or a duration from 1s to 30d, such as `8h`".to_owned();
        let targets = "expected names of targets separated by commas, such as `privacy-slack, siem`".to_owned();
        let steps = "expected steps such as `after 5m: Group::\"leads\"`, separated by `;`".to_owned();
        let in_time = "expected every step before the timeout of 900s".to_owned();
        let cases = [
            ("quorum", "0", whole.clone()),
            ("quorum", "-1", whole.clone()),
            ("quorum", "many", whole.clone()),
            ("quorum", "101", whole.clone()),
            ("quorum", "", whole),
            ("timeout", "0s", DURATION.to_owned()),
            ("timeout", "31d", DURATION.to_owned()),
            ("timeout", "-5m", DURATION.to_owned()),
            ("timeout", "", DURATION.to_owned()),
            ("grant", "twice", grant.clone()),
            ("grant", "0s", grant.clone()),
            ("grant", "", grant),
            ("severity", "urgent", "expected `low`, `medium`, `high` or `critical`".to_owned()),
            ("severity", "High", "expected `low`, `medium`, `high` or `critical`".to_owned()),
            ("justification", "yes", "expected `required` or `optional`".to_owned()),
            ("self_review", "true", "expected `allowed`, or no such annotation".to_owned()),
            ("notify", "", targets.clone()),
            ("notify", "#privacy", targets.clone()),
            ("notify", "a,,b", targets),
            ("notify", "a, a", "names `a` twice".to_owned()),
            ("escalate", "5m", steps.clone()),
            ("escalate", "", steps),
            ("escalate", "after 5m: leads", ENTITIES.to_owned()),
            ("escalate", "after 15m: Group::\\\"b\\\"", in_time.clone()),
            ("break_glass", "", ENTITIES.to_owned()),
            ("break_glass", "oncall", ENTITIES.to_owned()),
            ("remind", "", DURATION.to_owned()),
            ("remind", "2m,", DURATION.to_owned()),
            ("remind", "5m, 2m", "expected each duration to be longer than the one before".to_owned()),
            ("remind", "2m, 15m", in_time),
        ];
        for (name, value, message) in cases {
            let shown = value.to_owned();
            let expected = format!("policies/p.cedar:3: policy `g`: `@{name}(\"{shown}\")`: {message}");
            assert_eq!(refusal(&gate(&format!("@{name}(\"{value}\")"))), expected);
        }
    }

    #[test]
    fn reviewers_must_be_there_and_be_entities_of_the_schema() {
        let with = |reviewers: &str| {
            refusal(&format!(
                "@id(\"g\") @approval(\"why\")\n{reviewers}\nforbid (principal, action, resource is Dataset);"
            ))
        };
        let missing = "policies/p.cedar:1: policy `g`: `@approval(\"why\")`: expected `@reviewers` beside it: a gate that nobody may open is a plain forbid";
        assert_eq!(with(""), missing);
        assert_eq!(with("@reviewers(\"\")"), format!("policies/p.cedar:2: policy `g`: `@reviewers(\"\")`: {ENTITIES}"));
        assert_eq!(with("@reviewers"), format!("policies/p.cedar:2: policy `g`: `@reviewers(\"\")`: {ENTITIES}"));
        assert_eq!(
            with("@reviewers(\"privacy\")"),
            format!("policies/p.cedar:2: policy `g`: `@reviewers(\"privacy\")`: {ENTITIES}")
        );
        let stranger = "policies/p.cedar:2: policy `g`: `@reviewers(\"Groop::\\\"a\\\"\")`: the schema declares no entity type `Groop`; did you mean `Group`?";
        assert_eq!(with("@reviewers(\"Groop::\\\"a\\\"\")"), stranger);
    }

    #[test]
    fn a_mask_that_is_not_understood_is_refused() {
        let with =
            |mask: &str| refusal(&format!("@id(\"p\")\n@mask(\"{mask}\")\npermit (principal, action, resource);"));
        for (mask, expected) in [
            ("US_SNN", "`US_SNN` is no kind of data that is known; one of your own begins with `X_`"),
            ("US_SSN:hash", "expected `redact`, `replace`, `seal`, `pseudonym`, `format` or `partial` after the colon"),
            ("US_SSN, US_SSN", "`US_SSN` is named twice"),
            ("US_SSN,", "expected kinds separated by commas, such as `EMAIL_ADDRESS:pseudonym, US_SSN`"),
        ] {
            assert_eq!(with(mask), format!("policies/p.cedar:2: policy `p`: `@mask(\"{mask}\")`: {expected}"));
        }
    }

    #[test]
    fn an_unknown_annotation_is_refused_with_the_nearest_known_one() {
        let forbid =
            |annotation: &str| refusal(&format!("{annotation}\nforbid (principal, action, resource is Dataset);"));
        let unknown = "unknown annotation; one of your own begins with `x_`";
        let aproval =
            format!("policies/p.cedar:1: policy `p.1`: `@aproval(\"x\")`: {unknown}; did you mean `@approval`?");
        assert_eq!(forbid("@aproval(\"x\")"), aproval);
        assert_eq!(forbid("@ticket(\"x\")"), format!("policies/p.cedar:1: policy `p.1`: `@ticket(\"x\")`: {unknown}"));
        assert_eq!(forbid("@x_ticket(\"x\")"), "");
    }

    #[test]
    fn a_known_annotation_on_the_wrong_kind_of_policy_is_refused() {
        let of = |effect: &str, annotation: &str| {
            refusal(&format!("@id(\"p\") @{annotation}(\"1\") {effect} (principal, action, resource is Dataset);"))
        };
        for name in OF_GATES {
            for effect in ["permit", "forbid"] {
                let expected = format!(
                    "policies/p.cedar:1: policy `p`: `@{name}(\"1\")`: expected on a forbid with `@approval` only"
                );
                assert_eq!(of(effect, name), expected);
            }
        }
        for name in OF_PERMITS {
            let expected = format!("policies/p.cedar:1: policy `p`: `@{name}(\"1\")`: expected on a permit only");
            assert_eq!(of("forbid", name), expected);
        }
        let on_permit = "policies/p.cedar:1: policy `p`: `@approval(\"1\")`: only a forbid can be a gate: it forbids until countersigned";
        assert_eq!(of("permit", "approval"), on_permit);
    }

    #[test]
    fn empty_text_is_refused() {
        for name in ["id", "mask", "advice"] {
            let found = refusal(&format!("@{name}(\" \") permit (principal, action, resource is Dataset);"));
            assert!(found.ends_with(&format!("`@{name}(\" \")`: expected a text of 1 to 4096 bytes")), "{found}");
        }
        let approval = refusal(
            "@id(\"g\") @approval @reviewers(\"Group::\\\"a\\\"\") forbid (principal, action, resource is Dataset);",
        );
        assert_eq!(approval, "policies/p.cedar:1: policy `g`: `@approval(\"\")`: expected a text of 1 to 4096 bytes");
    }

    #[test]
    fn a_gate_without_a_name_is_refused() {
        let found = refusal(
            "@approval(\"why\") @reviewers(\"Group::\\\"a\\\"\") forbid (principal, action, resource is Dataset);",
        );
        let expected =
            "policies/p.cedar:1: policy `p.1`: `@approval(\"why\")`: expected `@id` beside it: approvals name the gate";
        assert_eq!(found, expected);
    }

    #[test]
    fn an_annotation_without_end_is_refused_and_not_repeated() {
        for name in ["severity", "escalate", "x_note"] {
            let found = refusal(&gate(&format!("@{name}(\"{}\")", "a".repeat(4_097))));
            let shown = "a".repeat(40);
            let expected =
                format!("policies/p.cedar:3: policy `g`: `@{name}(\"{shown}\")`: expected a text of 1 to 4096 bytes");
            assert_eq!(found, expected);
        }
    }

    #[test]
    fn a_problem_marks_the_value_at_fault() {
        let text = gate("@severity(\n  \"urgent\")");
        let problem = super::super::testing::try_load(&text).unwrap_err().problems.remove(0);
        let excerpt = problem.excerpt.unwrap();
        assert_eq!((&text[excerpt.span.clone()], problem.line, excerpt.column()), ("\"urgent\"", Some(4), 3));
    }

    #[test]
    fn all_problems_are_told_at_once() {
        let found = refusal(&gate("@quorum(\"0\")\n@timeout(\"soon\")\n@typo(\"\")"));
        assert_eq!(found.lines().map(|line| line[16..19].to_owned()).collect::<Vec<_>>(), [":3:", ":4:", ":5:"]);
    }

    #[test]
    fn a_whole_gate_is_read() {
        let more = "@quorum(\"2\") @timeout(\"1h30m\") @grant(\"8h\") @severity(\"critical\") @justification(\"required\") @self_review(\"allowed\") @notify(\"privacy-slack, siem\")\n@escalate(\"after 5m: Group::\\\"b,c\\\"; after 10m: User::\\\"d\\\"\")";
        let snapshot = load(&gate(more));
        let gate = snapshot.policies["g"].gate.clone().unwrap();
        assert_eq!((gate.quorum.get(), gate.timeout.as_secs(), gate.severity), (2, 5_400, Severity::Critical));
        assert_eq!(gate.grant, GrantTerms::For(Duration::from_secs(28_800)));
        assert_eq!((gate.justification, gate.self_review), (Justification::Required, SelfReview::Allowed));
        assert_eq!(gate.notify.iter().map(AsRef::as_ref).collect::<Vec<&str>>(), ["privacy-slack", "siem"]);
        assert_eq!(
            gate.escalations.iter().map(|step| step.reviewers[0].to_string()).collect::<Vec<_>>(),
            ["Group::\"b,c\"", "User::\"d\""]
        );
    }

    #[test]
    fn what_is_not_said_takes_the_stricter_default() {
        let snapshot = load(&gate(""));
        let gate = snapshot.policies["g"].gate.clone().unwrap();
        assert_eq!((gate.quorum, gate.timeout.as_secs(), gate.grant), (Quorum::ONE, 900, GrantTerms::Once));
        assert_eq!((gate.justification, gate.self_review), (Justification::Optional, SelfReview::Forbidden));
    }
}
