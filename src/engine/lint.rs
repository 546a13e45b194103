//! What is sound Cedar and still hardly meant: gates that nothing reaches, and gates that nobody can open. All of it fails
//! closed, so it is a warning wherever a token or later data could make it right.

mod reach;

use std::collections::{BTreeSet, HashMap};
use std::sync::Arc;

use cedar_policy as cedar;

use self::reach::Reach;
use super::facts::Facts;
use super::snapshot::{Listed, PolicyKind};
use crate::domain::{EXAMINERS, EntityUid, Gate};

/// One thing to tell the author of a policy.
#[derive(Debug, PartialEq, Eq)]
pub struct Finding {
    pub policy: Arc<str>,
    /// The annotation that it is about.
    pub annotation: Option<&'static str>,
    pub message: String,
    pub help: Option<String>,
    /// Nothing outside the files could make it right.
    pub is_error: bool,
    /// Whether it says that nobody can open a gate, which may be allowed by name.
    pub is_unreviewable: bool,
}

/// What to say of the gates among these policies.
pub fn findings(
    schema: &cedar::Schema,
    policies: &[&cedar::Policy],
    listed: &HashMap<Arc<str>, Listed>,
    facts: &Facts,
) -> Vec<Finding> {
    let of = |policy: &&cedar::Policy| listed.get::<str>(policy.id().as_ref());
    let gates: Vec<_> = policies.iter().filter_map(|policy| Some((*policy, of(policy)?))).collect();
    let gates: Vec<_> = gates.into_iter().filter_map(|(policy, of)| Some((policy, of, of.gate.as_ref()?))).collect();
    if gates.is_empty() {
        return Vec::new();
    }
    let is_permit = |policy: &&&cedar::Policy| of(policy).is_some_and(|of| of.entry.kind == PolicyKind::Permit);
    let permits: Vec<_> = policies.iter().filter(is_permit).copied().collect();
    let reach = Reach::of(schema, &permits);
    let mut found = Vec::new();
    for (policy, listed, gate) in gates {
        let id = &listed.entry.id;
        found.extend(unreachable(&reach, policy, id));
        found.extend(unreviewed(&reach, gate, id));
        found.extend(short_of_people(&reach, gate, id, facts));
        found.extend(short_of_examiners(&reach, gate, id));
    }
    found
}

fn unreachable(reach: &Reach<'_>, policy: &cedar::Policy, id: &Arc<str>) -> Option<Finding> {
    (!reach.meets_a_permit(policy)).then(|| Finding {
        policy: id.clone(),
        annotation: None,
        message: "no permit allows anything that this gate guards; it never fires".to_owned(),
        help: Some("compare its action and types with those of the permits".to_owned()),
        is_error: false,
        is_unreviewable: false,
    })
}

fn unreviewed(reach: &Reach<'_>, gate: &Gate, id: &Arc<str>) -> Option<Finding> {
    let may_any = named(gate).iter().any(|reviewer| reach.may_review(reviewer));
    (!may_any).then(|| Finding {
        policy: id.clone(),
        annotation: Some("reviewers"),
        message: "no permit lets any of these review".to_owned(),
        help: Some("permit `Countersign::Action::\"review\"`, as policies/service.cedar does".to_owned()),
        is_error: true,
        is_unreviewable: true,
    })
}

/// A quorum that the people who are named, or known to be in the groups that are named, cannot make.
fn short_of_people(reach: &Reach<'_>, gate: &Gate, id: &Arc<str>, facts: &Facts) -> Option<Finding> {
    let quorum = usize::try_from(gate.quorum.get()).unwrap_or(usize::MAX);
    let reviewers = named(gate);
    let (people, groups): (Vec<_>, Vec<_>) = reviewers.iter().copied().partition(|uid| reach.is_one(uid));
    let finding = |message, help: &str, is_error| {
        let (policy, help) = (id.clone(), Some(help.to_owned()));
        Some(Finding { policy, annotation: Some("quorum"), message, help, is_error, is_unreviewable: false })
    };
    if groups.is_empty() {
        let message = format!("the quorum is {quorum}, but only {} may review", people.len());
        return if people.len() < quorum { finding(message, "name a group, or more people", true) } else { None };
    }
    // A group of which nothing is known gets all its members by tokens.
    let is_person = |uid: &EntityUid| reach.is_one(uid);
    let is_known = |group: &&EntityUid| facts.count_within(&[group], is_person) > 0;
    if quorum < 2 || !groups.iter().all(is_known) {
        return None;
    }
    let known = facts.count_within(&reviewers.iter().copied().collect::<Vec<_>>(), is_person);
    let unknown = people.iter().filter(|uid| facts.get(uid).is_none()).count();
    let people = known.saturating_add(unknown);
    let message = format!("the quorum is {quorum}, but entities.json knows of {people} who may review");
    if people < quorum { finding(message, "others can come by tokens only", false) } else { None }
}

/// A glass that can be broken, but hardly be examined: whoever breaks it is not one of the two who look at it.
fn short_of_examiners(reach: &Reach<'_>, gate: &Gate, id: &Arc<str>) -> Option<Finding> {
    let reviewers = named(gate);
    if gate.break_glass.is_empty() || !reviewers.iter().all(|uid| reach.is_one(uid)) {
        return None;
    }
    let others = |breaker: &EntityUid| reviewers.iter().filter(|one| **one != breaker).count();
    let most = gate.break_glass.iter().map(others).max().unwrap_or(0);
    (most < EXAMINERS).then(|| Finding {
        policy: id.clone(),
        annotation: Some("break_glass"),
        message: format!(
            "a broken glass is examined by {EXAMINERS} reviewers, but only {most} may; it would stay open"
        ),
        help: Some("name a group in @reviewers, or more people beside whoever breaks it".to_owned()),
        is_error: false,
        is_unreviewable: false,
    })
}

/// All who may ever review a gate, by name.
fn named(gate: &Gate) -> BTreeSet<&EntityUid> {
    gate.reviewers.iter().chain(gate.escalations.iter().flat_map(|step| &step.reviewers)).collect()
}

#[cfg(test)]
mod tests {
    use crate::engine::testing::{load_with, refusal, sources};
    use crate::engine::{PolicySnapshot, Settings};

    const REVIEW: &str = "permit (principal is User, action == Countersign::Action::\"review\", resource);";
    const EXPORT: &str = "permit (principal is Agent, action == Action::\"export\", resource is Dataset);";

    fn gate(annotations: &str, scope: &str) -> String {
        format!("@id(\"g\") @approval(\"why\")\n{annotations}\nforbid ({scope});")
    }

    /// The warnings, without the place of the policy.
    fn warnings(policies: &[&str], entities: &str) -> Vec<String> {
        let found = load_with(&policies.join("\n"), entities).summary().warnings;
        found.iter().map(|problem| problem.to_string().replace("policies/p.cedar:", "")).collect()
    }

    const OPEN: &str = "principal, action, resource";
    const BY_GROUP: &str = "@reviewers(\"Group::\\\"a\\\"\")";

    #[test]
    fn a_gate_that_no_permit_meets_is_named() {
        let unreachable = "1: policy `g`: no permit allows anything that this gate guards; it never fires; compare its action and types with those of the permits";
        for (scope, is_reachable) in [
            (OPEN, true),
            ("principal is Agent, action, resource in Folder::\"f\"", true),
            ("principal in Group::\"a\", action in [Action::\"read\", Action::\"export\"], resource", true),
            ("principal, action == Action::\"read\", resource", false),
            ("principal is User, action == Action::\"export\", resource", false),
            ("principal == Workload::\"w\", action == Action::\"export\", resource", false),
        ] {
            let found = warnings(&[&gate(BY_GROUP, scope), EXPORT, REVIEW], "[]");
            let expected = if is_reachable { vec![] } else { vec![unreachable.to_owned()] };
            assert_eq!(found, expected, "{scope}");
        }
    }

    #[test]
    fn a_gate_whose_reviewers_no_policy_lets_review_is_named_at_its_reviewers() {
        let unreviewed = "2: policy `g`: no permit lets any of these review; permit `Countersign::Action::\"review\"`, as policies/service.cedar does";
        let gate = gate("@reviewers(\"Group::\\\"a\\\", User::\\\"alice\\\"\")", OPEN);
        let review = "action == Countersign::Action::\"review\", resource is Countersign::Approval";
        for (permit, may) in [
            (REVIEW.to_owned(), true),
            (format!("permit (principal in Group::\"b\", {review});"), true),
            (format!("permit (principal == User::\"alice\", {review});"), true),
            (format!("permit (principal == User::\"bob\", {review});"), true),
            ("permit (principal is User, action, resource);".to_owned(), true),
            (format!("permit (principal == Group::\"a\", {review});"), false),
            ("permit (principal, action == Countersign::Action::\"cancel\", resource);".to_owned(), false),
        ] {
            // A permit that Cedar itself finds odd is not the point here.
            let found = warnings(&[&gate, EXPORT, &permit], "[]");
            assert_eq!(!found.contains(&unreviewed.to_owned()), may, "{permit}: {found:?}");
        }
        let by_name = super::tests::gate("@reviewers(\"User::\\\"alice\\\"\")", OPEN);
        let only_bob = format!("permit (principal == User::\"bob\", {review});");
        assert_eq!(warnings(&[&by_name, EXPORT, &only_bob], "[]"), [unreviewed]);
    }

    #[test]
    fn a_gate_that_nobody_could_open_refuses_the_set_unless_that_is_allowed() {
        let files = || sources(&[&gate(BY_GROUP, OPEN), EXPORT].join("\n"));
        let with = |allow_unreviewable_gates| {
            let settings = Settings { allow_unreviewable_gates, ..Settings::new("policies") };
            PolicySnapshot::from_sources(&settings, files()).map(|snapshot| snapshot.summary().warnings.len())
        };
        let refused = with(false).unwrap_err().to_string();
        assert!(refused.starts_with("policies/p.cedar:2: policy `g`: no permit lets any of these review"), "{refused}");
        assert_eq!(with(true).unwrap(), 1);
    }

    #[test]
    fn a_quorum_of_more_people_than_are_named_is_refused() {
        let of = |annotations: &str| refusal(&[&gate(annotations, OPEN), EXPORT, REVIEW].join("\n"));
        let alice = "@reviewers(\"User::\\\"alice\\\"\")";
        let expected =
            "policies/p.cedar:2: policy `g`: the quorum is 2, but only 1 may review; name a group, or more people";
        assert_eq!(of(&format!("{alice} @quorum(\"2\")")), expected);
        assert_eq!(of(&format!("{alice} @quorum(\"2\") @escalate(\"after 1m: User::\\\"bob\\\"\")")), "");
        assert_eq!(of(&format!("{BY_GROUP} @quorum(\"2\")")), "");
    }

    #[test]
    fn a_quorum_of_more_people_than_are_known_is_a_warning_where_any_are_known() {
        let member = |id: &str, kind: &str| {
            format!(
                r#"{{"uid":{{"type":"{kind}","id":"{id}"}},"attrs":{{}},"parents":[{{"type":"Group","id":"inner"}}]}}"#
            )
        };
        let inner = r#"{"uid":{"type":"Group","id":"inner"},"attrs":{},"parents":[{"type":"Group","id":"a"}]}"#;
        let gate = gate(&format!("{BY_GROUP} @quorum(\"2\")"), OPEN);
        let with = |entities: &[String]| {
            let all = [&[inner.to_owned()], entities].concat().join(",");
            warnings(&[&gate, EXPORT, REVIEW], &format!("[{all}]"))
        };
        assert_eq!(with(&[]), [""; 0], "a group of which nothing is known is filled by tokens");
        let few = "2: policy `g`: the quorum is 2, but entities.json knows of 1 who may review; others can come by tokens only";
        assert_eq!(with(&[member("alice", "User")]), [few]);
        assert_eq!(with(&[member("alice", "User"), member("bob", "User")]), [""; 0]);
    }

    #[test]
    fn a_glass_that_two_others_can_never_examine_is_named() {
        let of = |annotations: &str| warnings(&[&gate(annotations, OPEN), EXPORT, REVIEW], "[]");
        let glass = "@break_glass(\"User::\\\"alice\\\"\")";
        let people = |names: &[&str]| {
            let named: Vec<_> = names.iter().map(|name| format!("User::\\\"{name}\\\"")).collect();
            format!("@reviewers(\"{}\") {glass}", named.join(", "))
        };
        let warned = |most: usize| {
            format!(
                "2: policy `g`: a broken glass is examined by 2 reviewers, but only {most} may; it would stay open; name a \
                 group in @reviewers, or more people beside whoever breaks it"
            )
        };
        assert_eq!(of(&people(&["alice"])), [warned(0)]);
        assert_eq!(of(&people(&["bob"])), [warned(1)]);
        assert_eq!(of(&people(&["alice", "bob"])), [warned(1)], "who broke it does not count");
        assert_eq!(of(&people(&["alice", "bob", "carol"])), [""; 0]);
        assert_eq!(of(&format!("{BY_GROUP} {glass}")), [""; 0], "a group may have anybody in it");
        assert_eq!(of("@reviewers(\"User::\\\"bob\\\"\")"), [""; 0], "no glass, nothing to examine");
    }
}
