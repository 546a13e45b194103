//! What the tests have seen of the policies: each permit and forbid made a verdict, each gate fired and was passed by, each
//! clause was true and was false. A clause counts only where Cedar would look at it: the scope matched and every clause
//! before it held. What could not be evaluated counts as neither.

use std::collections::BTreeMap;
use std::sync::Arc;

use crate::domain::{ClauseKind, Evaluation, PolicyId, RuleVerdict};
use crate::engine::{GuardTrace, PolicyKind, PolicySnapshot, Reached, Traced};

/// What was seen, policy by policy.
#[derive(Debug, Default)]
pub struct Sightings {
    seen: BTreeMap<PolicyId, Sighting>,
}

#[derive(Debug, Default, Clone)]
struct Sighting {
    /// A rule made the verdict; a gate fired.
    determined: bool,
    /// The gates were asked about one of its actions, and it did not fire.
    passed_by: bool,
    clauses: Vec<Truth>,
}

#[derive(Debug, Default, Clone, Copy)]
struct Truth {
    was_true: bool,
    was_false: bool,
}

/// How much of a set of policies the tests have seen.
#[derive(Debug, Default)]
pub struct Coverage {
    pub files: Vec<FileCoverage>,
}

/// Of one file.
#[derive(Debug)]
pub struct FileCoverage {
    pub file: Arc<str>,
    pub policies: Share,
    pub conditions: Share,
    /// What was not seen, in the order of lines.
    pub gaps: Vec<Gap>,
}

/// So many of so many.
#[derive(Debug, Default, Clone, Copy, PartialEq, Eq)]
pub struct Share {
    pub seen: usize,
    pub all: usize,
}

/// Something that no test has seen.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Gap {
    pub line: u32,
    pub policy: PolicyId,
    pub missing: &'static str,
    /// The clause meant.
    pub clause: Option<(ClauseKind, Arc<str>)>,
}

impl Sightings {
    /// An answer to a query, with what it showed.
    pub fn answered(&mut self, evaluation: &Evaluation, traced: &[Traced]) {
        let determining = match evaluation.verdict {
            RuleVerdict::Permitted | RuleVerdict::Forbidden => &*evaluation.determining,
            RuleVerdict::NotPermitted | RuleVerdict::Unknown => &[],
        };
        let gates_asked = evaluation.verdict == RuleVerdict::Permitted;
        let fired: Vec<_> = evaluation.requirement.iter().flat_map(|required| required.gates()).collect();
        for one in traced {
            let has_fired = fired.iter().any(|gate| gate.id == one.policy);
            let sighting = self.seen.entry(one.policy.clone()).or_default();
            sighting.determined |= determining.contains(&one.policy) || has_fired;
            sighting.passed_by |= gates_asked && !has_fired;
            sighting.look_at(one, gates_asked);
        }
    }

    /// An answer of the service about itself.
    pub fn guarded(&mut self, found: &GuardTrace) {
        for one in &found.traced {
            let sighting = self.seen.entry(one.policy.clone()).or_default();
            sighting.determined |= found.determining.contains(&one.policy);
            // Rules only; whether gates are asked plays no part.
            sighting.look_at(one, true);
        }
    }

    pub fn merge(&mut self, other: Self) {
        for (policy, theirs) in other.seen {
            let ours = self.seen.entry(policy).or_default();
            ours.determined |= theirs.determined;
            ours.passed_by |= theirs.passed_by;
            ours.grow(theirs.clauses.len());
            for (our, their) in ours.clauses.iter_mut().zip(theirs.clauses) {
                our.was_true |= their.was_true;
                our.was_false |= their.was_false;
            }
        }
    }

    /// Held against all the policies there are.
    #[must_use]
    pub fn of(&self, snapshot: &PolicySnapshot) -> Coverage {
        let mut coverage = Coverage::default();
        for entry in snapshot.summary().policies {
            let id = PolicyId(entry.id.clone());
            let sighting = self.seen.get(&id).cloned().unwrap_or_default();
            if coverage.files.last().is_none_or(|last| last.file != entry.file) {
                coverage.files.push(FileCoverage::new(entry.file.clone()));
            }
            let Some(file) = coverage.files.last_mut() else { continue };
            let must_pass_by = entry.kind == PolicyKind::Gate && !snapshot.is_unconditional(&id);
            let missing = sighting.missing(entry.kind, must_pass_by);
            file.policies.count(missing.is_none());
            let gap = |missing| Gap { line: entry.line, policy: id.clone(), missing, clause: None };
            file.gaps.extend(missing.map(gap));
            for (position, site) in snapshot.clause_sites(&id).into_iter().enumerate() {
                let missing = sighting.clauses.get(position).copied().unwrap_or_default().missing();
                file.conditions.count(missing.is_none());
                let clause = Some((site.kind, site.text));
                let gap = |missing| Gap { line: site.line, policy: id.clone(), missing, clause };
                file.gaps.extend(missing.map(gap));
            }
        }
        coverage
    }
}

impl Sighting {
    /// INVARIANT: a gate's clauses count only where gates are asked at all.
    fn look_at(&mut self, traced: &Traced, gates_asked: bool) {
        self.grow(traced.clauses.len());
        if traced.is_gate && !gates_asked {
            return;
        }
        for (truth, reached) in self.clauses.iter_mut().zip(&traced.clauses) {
            match reached {
                Reached::True => truth.was_true = true,
                Reached::False => truth.was_false = true,
                Reached::Error | Reached::No => {}
            }
        }
    }

    fn grow(&mut self, clauses: usize) {
        let most = self.clauses.len().max(clauses);
        self.clauses.resize(most, Truth::default());
    }

    fn missing(&self, kind: PolicyKind, must_pass_by: bool) -> Option<&'static str> {
        match (kind, self.determined) {
            (PolicyKind::Permit, false) => Some("never permitted anything"),
            (PolicyKind::Forbid, false) => Some("never forbade anything"),
            (PolicyKind::Gate, false) => Some("never fired"),
            (PolicyKind::Gate, true) if must_pass_by && !self.passed_by => Some("always fired"),
            (PolicyKind::Permit | PolicyKind::Forbid | PolicyKind::Gate, true) => None,
        }
    }
}

impl Truth {
    fn missing(self) -> Option<&'static str> {
        match (self.was_true, self.was_false) {
            (true, true) => None,
            (true, false) => Some("never false"),
            (false, true) => Some("never true"),
            (false, false) => Some("never looked at"),
        }
    }
}

impl Share {
    fn count(&mut self, is_seen: bool) {
        self.all += 1;
        self.seen += usize::from(is_seen);
    }

    fn plus(self, other: Self) -> Self {
        Self { seen: self.seen + other.seen, all: self.all + other.all }
    }

    /// Rounded down: only all of it is 100.
    #[must_use]
    pub fn percent(self) -> usize {
        (self.seen * 100).checked_div(self.all).unwrap_or(100)
    }
}

impl FileCoverage {
    fn new(file: Arc<str>) -> Self {
        Self { file, policies: Share::default(), conditions: Share::default(), gaps: Vec::new() }
    }
}

impl Coverage {
    #[must_use]
    pub fn policies(&self) -> Share {
        self.files.iter().fold(Share::default(), |sum, file| sum.plus(file.policies))
    }

    #[must_use]
    pub fn conditions(&self) -> Share {
        self.files.iter().fold(Share::default(), |sum, file| sum.plus(file.conditions))
    }

    /// Policies and conditions together.
    #[must_use]
    pub fn percent(&self) -> usize {
        self.policies().plus(self.conditions()).percent()
    }
}
