//! All tests of a file; each of them is [`one`].

mod one;

use std::path::PathBuf;
use std::sync::Arc;

use serde_json::{Value as Json, json};

use self::one::Run;
pub(super) use self::one::asked;
use super::cast::Cast;
use super::coverage::Sightings;
use super::notation;
use super::scenario::{Asked, Scenario, Seen, Terms};
use super::suite::{Question, Suite};
use crate::domain::{EntityUid, Explanation, Gate, Identity, PrincipalKind, Query, SelfReview, Timestamp};
use crate::engine::{self, LoadError, PolicySnapshot, SourceFile};

/// When the first question of a test is asked where its file does not say: a Monday at noon.
const NOW: &str = "2026-01-05T12:00:00Z";

/// How tests are run.
#[derive(Debug, Clone)]
pub struct Settings {
    pub policies: engine::Settings,
    pub terms: Terms,
    /// Only tests whose name holds this.
    pub filter: Option<String>,
}

/// What came of one test.
#[derive(Debug)]
pub struct Tested {
    pub path: PathBuf,
    pub line: u64,
    pub name: String,
    /// Empty: it passed.
    pub failures: Vec<Failure>,
    /// Every answer and state that it saw, step by step: what `policy diff` compares.
    pub seen: Vec<String>,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Failure {
    pub line: u64,
    pub message: String,
}

/// What came of all of them.
#[derive(Debug, Default)]
pub struct Outcome {
    pub tested: Vec<Tested>,
    pub sightings: Sightings,
}

/// Why a query is answered as it is.
#[derive(Debug)]
pub struct Explained {
    pub query: Arc<Query>,
    pub principal: Arc<Identity>,
    pub caller: Arc<Identity>,
    pub seen: Seen,
    pub explanation: Explanation,
    /// The gates that fired, in full.
    pub gates: Vec<Gate>,
}

impl Explained {
    /// The people whose own action it is: none of them reviews this gate, unless it allows it.
    #[must_use]
    pub fn excluded(&self, gate: &Gate) -> Vec<EntityUid> {
        let parties = self.principal.chain().chain(self.caller.chain());
        let people =
            parties.filter(|party| party.kind == PrincipalKind::User && gate.self_review == SelfReview::Forbidden);
        let mut people: Vec<_> = people.map(|party| party.uid.clone()).collect();
        people.sort();
        people.dedup();
        people
    }
}

/// The policies, and how to have them with other entities.
pub struct Sets {
    sources: Vec<SourceFile>,
    settings: Settings,
    pub snapshot: Arc<PolicySnapshot>,
}

impl Sets {
    /// Loads the policies.
    ///
    /// # Errors
    /// Everything that is wrong with them.
    pub fn load(settings: Settings) -> Result<Self, LoadError> {
        let sources = PolicySnapshot::sources(&settings.policies)?;
        let snapshot = Arc::new(PolicySnapshot::from_sources(&settings.policies, sources.clone())?);
        Ok(Self { sources, settings, snapshot })
    }

    /// Runs the tests of a file.
    pub fn run(&self, suite: &Suite, outcome: &mut Outcome) {
        let is_wanted = |name: &str| self.settings.filter.as_ref().is_none_or(|part| name.contains(part.as_str()));
        let tests = suite.file.tests.iter().filter(|test| is_wanted(&test.value.name)).collect::<Vec<_>>();
        let service = suite.file.service.iter().filter(|test| is_wanted(&test.value.name)).collect::<Vec<_>>();
        let prepared = self.prepared(suite);
        for test in tests {
            let mut run = Run::new(&self.settings.terms, suite, test.referenced.line(), &test.value.name);
            match &prepared {
                Ok((snapshot, now)) => run.test(snapshot, *now, &test.value, &mut outcome.sightings),
                Err(message) => run.fail(1, message.clone()),
            }
            outcome.tested.push(run.tested);
        }
        for test in service {
            let mut run = Run::new(&self.settings.terms, suite, test.referenced.line(), &test.value.name);
            match &prepared {
                Ok((snapshot, _)) => run.service(snapshot, &test.value, &mut outcome.sightings),
                Err(message) => run.fail(1, message.clone()),
            }
            outcome.tested.push(run.tested);
        }
    }

    /// Why each query of a file is answered as it is.
    ///
    /// # Errors
    /// What is wrong with a query.
    pub fn explain(&self, suite: &Suite) -> Result<Vec<Explained>, String> {
        let (snapshot, now) = self.prepared(suite)?;
        let cast = Cast::new(&suite.file.principals);
        let is_wanted = |name: &str| self.settings.filter.as_ref().is_none_or(|part| name.contains(part.as_str()));
        let tests = suite.file.tests.iter().filter(|test| is_wanted(&test.value.name));
        tests
            .map(|test| {
                let at = |message| format!("{}:{}: {message}", suite.path.display(), test.referenced.line());
                self.explained(&snapshot, now, asked(&cast, &test.value.query).map_err(at)?)
            })
            .collect()
    }

    /// Why one query is answered as it is, now.
    ///
    /// # Errors
    /// What is wrong with it.
    pub fn explain_one(
        &self,
        people: &std::collections::BTreeMap<String, super::suite::Person>,
        question: &Question,
    ) -> Result<Explained, String> {
        let now = Timestamp::from_micros(jiff::Timestamp::now().as_microsecond());
        self.explained(&self.snapshot, now, asked(&Cast::new(people), question)?)
    }

    fn explained(&self, snapshot: &PolicySnapshot, now: Timestamp, asked: Asked) -> Result<Explained, String> {
        let mut scenario = Scenario::new(snapshot, asked.clone(), self.settings.terms.clone(), now);
        let seen = scenario.ask();
        let Asked { query, principal, caller, .. } = asked;
        let evaluation = snapshot.evaluate(&query, &principal, &caller, now).map_err(|error| error.to_string())?;
        let explanation =
            snapshot.explain(&evaluation, &query, &principal, &caller, now).map_err(|error| error.to_string())?;
        let gates = evaluation.requirement.iter().flat_map(|required| required.gates().to_vec()).collect();
        Ok(Explained { query, principal, caller, seen, explanation, gates })
    }

    fn prepared(&self, suite: &Suite) -> Result<(Arc<PolicySnapshot>, Timestamp), String> {
        let now = suite.file.now.as_deref().unwrap_or(NOW);
        let now: jiff::Timestamp =
            now.parse().map_err(|_| format!("`now`: expected a moment such as `{NOW}`, not `{now}`"))?;
        let now = Timestamp::from_micros(now.as_microsecond());
        if suite.file.entities.is_empty() {
            return Ok((self.snapshot.clone(), now));
        }
        let sources = with_entities(&self.sources, &suite.file.entities)?;
        let snapshot = PolicySnapshot::from_sources(&self.settings.policies, sources);
        snapshot.map(|snapshot| (Arc::new(snapshot), now)).map_err(|error| format!("`entities`: {error}"))
    }
}

/// The files with more entities; one that is there already is replaced.
fn with_entities(sources: &[SourceFile], more: &[Json]) -> Result<Vec<SourceFile>, String> {
    let more = more.iter().map(normal).collect::<Result<Vec<_>, _>>()?;
    let uid = |entity: &Json| entity.get("uid").cloned();
    let (entities, mut others): (Vec<_>, Vec<_>) =
        sources.iter().cloned().partition(|file| file.kind == engine::FileKind::Entities);
    let mut all = Vec::new();
    for file in &entities {
        // Loaded once already, so it is a list.
        let known: Vec<Json> = serde_json::from_str(&file.text).map_err(|error| error.to_string())?;
        all.extend(known.into_iter().filter(|entity| more.iter().all(|other| uid(other) != uid(entity))));
    }
    all.extend(more);
    others.extend(SourceFile::in_memory("entities.json", &Json::Array(all).to_string()));
    Ok(others)
}

/// An entity as Cedar's JSON has it: names as `{type, id}`, nothing left out.
fn normal(entity: &Json) -> Result<Json, String> {
    let parsed = notation::entities(std::slice::from_ref(entity))?;
    let name = |uid: &EntityUid| json!({"type": *uid.type_name, "id": *uid.id});
    let parents = parsed.iter().flat_map(|entity| &entity.parents).map(name).collect::<Vec<_>>();
    let uid = parsed.first().map(|entity| name(&entity.uid));
    let member = |name: &str| entity.get(name).cloned().unwrap_or_else(|| json!({}));
    Ok(json!({"uid": uid, "attrs": member("attrs"), "parents": parents, "tags": member("tags")}))
}

#[cfg(test)]
mod tests {
    use std::path::Path;
    use std::time::Duration;

    use super::*;
    use crate::domain::poll::ReviewRules;

    const SCHEMA: &str = "entity Group; entity User in [Group]; entity Agent in [Group]; entity Workload in [Group];
        entity Dataset = { pii: Bool };
        action read, export appliesTo { principal: [User, Agent, Workload], resource: [Dataset], context: { rows?: Long } };";

    const POLICIES: &str = "@id(\"ask\") permit (principal, action == Countersign::Action::\"authorize\", resource);
@id(\"vote\") permit (principal is User, action == Countersign::Action::\"review\", resource is Countersign::Approval);
@id(\"read\") permit (principal, action, resource is Dataset)
when { context has rows }
when { context.rows < 100 || resource.pii };
@id(\"gate\") @approval(\"why\") @reviewers(\"Group::\\\"privacy\\\"\")
forbid (principal, action == Action::\"export\", resource is Dataset) when { resource.pii };
@id(\"never\") forbid (principal is Workload, action, resource is Dataset);";

    const CAST: &str = "principals: { bot: { uid: 'Agent::bot' }, alice: { uid: 'User::alice', groups: [privacy] } }
entities: [{ uid: 'Dataset::d', attrs: { pii: true } }, { uid: 'Dataset::plain', attrs: { pii: false } }]
tests:
";

    fn settings(dir: &Path) -> Settings {
        let terms = Terms {
            redeem_within: Duration::from_secs(3_600),
            outcome_lease: Duration::from_secs(900),
            review: ReviewRules::default(),
        };
        Settings { policies: engine::Settings::new(dir), terms, filter: None }
    }

    fn run(tests: &str) -> (Outcome, super::super::Coverage) {
        let dir = tempfile::tempdir().unwrap();
        std::fs::write(dir.path().join("app.cedarschema"), SCHEMA).unwrap();
        let own = include_str!("../../policies/countersign.cedarschema");
        std::fs::write(dir.path().join("countersign.cedarschema"), own).unwrap();
        std::fs::write(dir.path().join("p.cedar"), POLICIES).unwrap();
        let sets = Sets::load(settings(dir.path())).unwrap();
        let suite = Suite::parse(Path::new("p.test.yaml"), &format!("{CAST}{tests}")).unwrap();
        let mut outcome = Outcome::default();
        sets.run(&suite, &mut outcome);
        let coverage = outcome.sightings.of(&sets.snapshot);
        (outcome, coverage)
    }

    fn failures(tests: &str) -> Vec<String> {
        let (outcome, _) = run(tests);
        let of =
            |test: &Tested| test.failures.iter().map(|it| format!("{}: {}", it.line, it.message)).collect::<Vec<_>>();
        outcome.tested.iter().flat_map(of).collect()
    }

    fn gaps(tests: &str) -> Vec<String> {
        let (outcome, coverage) = run(tests);
        assert!(outcome.tested.iter().all(|test| test.failures.is_empty()), "{:?}", outcome.tested);
        let gaps = coverage.files.iter().flat_map(|file| &file.gaps);
        gaps.map(|gap| format!("{}:{} {}", gap.policy, gap.line, gap.missing)).collect()
    }

    #[test]
    fn the_examples_pass_their_tests_which_see_all_of_them() {
        let dir = Path::new(env!("CARGO_MANIFEST_DIR")).join("policies");
        let sets = Sets::load(settings(&dir)).unwrap();
        let mut outcome = Outcome::default();
        Suite::read_all(&dir).unwrap().iter().for_each(|suite| sets.run(suite, &mut outcome));
        let failed: Vec<_> = outcome.tested.iter().filter(|test| !test.failures.is_empty()).collect();
        assert!(failed.is_empty() && outcome.tested.len() >= 20, "{failed:#?}");
        let coverage = outcome.sightings.of(&sets.snapshot);
        let gaps: Vec<_> = coverage.files.iter().flat_map(|file| &file.gaps).collect();
        assert_eq!((coverage.percent(), gaps.len()), (100, 0), "{gaps:#?}");
    }

    #[test]
    fn every_difference_is_told_with_its_line() {
        let tests = "  - name: a
    query: { principal: bot, action: export, resource: 'Dataset::d', context: { rows: 5 } }
    expect: { outcome: ALLOW, reason: permitted, determining: [other], gates: [], mask: [x], state: approved }
    then:
      - { approve: bot, refused: own_action }
      - { approve: alice, refused: not_reviewer }
      - { expect: { may: { review: [bot], cancel: [alice] } } }
";
        let expected = [
            "4: outcome: expected ALLOW, was PENDING (approval_required, by read, gates gate)",
            "4: reason: expected permitted, was PENDING (approval_required, by read, gates gate)",
            "4: determining: expected other, was read",
            "4: gates: expected nothing, was gate",
            "4: mask: expected x, was nothing",
            "4: state: expected approved, was pending",
            "8: the deed: expected own_action, was not_human",
            "9: the deed: expected not_reviewer, was taken",
            "10: `bot` may not review: expected the contrary",
            "10: `alice` may not cancel: expected the contrary",
        ];
        assert_eq!(failures(tests), expected);
    }

    #[test]
    fn what_makes_no_sense_fails_and_says_why() {
        let with = |query: &str, expect: &str| {
            failures(&format!("  - name: a\n    query: {{ {query} }}\n    expect: {{ {expect} }}\n"))
        };
        let good = "principal: bot, action: read, resource: 'Dataset::d'";
        assert_eq!(
            with(&good.replace("bot", "nobody"), "outcome: ALLOW"),
            ["4: `nobody` is neither one of `principals` nor an entity"]
        );
        assert_eq!(with(good, ""), ["4: `expect` says nothing about the answer; give at least `outcome`"]);
        assert_eq!(with(good, "outcome: DENY, may: { review: [alice] }"), ["4: review: there is no approval"]);
        let refused = with(&format!("{good}, context: {{ row: 1 }}"), "outcome: ALLOW");
        assert_eq!(
            refused,
            ["4: outcome: expected ALLOW, was REFUSED (invalid_argument): context.row: is not declared by the schema"]
        );
        let asserted = with(&format!("{good}, caller: alice, asserted: true"), "outcome: ALLOW");
        assert_eq!(asserted.len(), 1);
        assert!(asserted[0].contains("Countersign::Action::\"authorize_as\""), "{asserted:?}");
    }

    #[test]
    fn coverage_tells_what_was_never_seen() {
        let nothing = "  - name: a\n    query: { principal: bot, action: read, resource: 'Dataset::d' }\n    expect: { outcome: DENY }\n";
        let expected = [
            "vote:2 never permitted anything",
            "read:3 never permitted anything",
            "read:4 never true",
            "read:5 never looked at",
            "gate:6 never fired",
            "gate:7 never looked at",
            "never:8 never forbade anything",
        ];
        // The gate's clause would be true; but without a permit no gate is asked.
        assert_eq!(gaps(&nothing.replace("action: read", "action: export")), expected);
        let fired = "  - name: a
    query: { principal: bot, action: export, resource: 'Dataset::d', context: { rows: 5 } }
    expect: { outcome: PENDING, may: { review: [alice] } }
  - name: b
    query: { principal: Workload::w, action: export, resource: 'Dataset::plain', context: { rows: 500 } }
    expect: { outcome: DENY, reason: forbidden }
  - name: c
    query: { principal: bot, action: read, resource: 'Dataset::d' }
    expect: { outcome: DENY }
";
        assert_eq!(gaps(fired), ["gate:6 always fired", "gate:7 never false"]);
    }

    #[test]
    fn the_clock_moves_and_never_back() {
        let tests = "  - name: a
    query: { principal: bot, action: export, resource: 'Dataset::d', context: { rows: 5 } }
    expect: { outcome: PENDING }
    then:
      - { at: 14m59s, expect: { outcome: PENDING, state: pending } }
      - { at: 15m, expect: { state: expired } }
      - { at: 1m, expect: { outcome: DENY, reason: approval_expired, state: expired } }
      - { anew: true, expect: { outcome: PENDING } }
";
        assert_eq!(failures(tests), Vec::<String>::new());
    }
}
