//! Text to a snapshot: parse, split into rules and gates, link, validate. All problems are collected; one of them refuses
//! the whole set. In reading order: [`statements`], [`links`], [`validate`]; [`place`] says where a problem is, and
//! [`workers`] do what takes long on all cores.

mod links;
mod place;
mod statements;
#[cfg(test)]
mod tests;
mod validate;
mod workers;

use std::collections::hash_map::Entry;
use std::collections::{BTreeMap, HashMap, HashSet};
use std::ops::Range;
use std::sync::Arc;

use cedar_policy as cedar;

use self::place::Place;
use self::statements::Template;
use self::workers::Failed;
pub(super) use self::workers::STACK_BYTES;
use super::annotation::Role;
use super::candidate::Candidate;
use super::convert::{Types, domain_uid};
use super::facts::{self, Facts};
use super::index::Index;
use super::lint;
use super::problem::{Level, LoadError, Problem};
use super::schema::LoadedSchema;
use super::settings::{GUARDS_FILE, OnError, Settings};
use super::snapshot::{Listed, Loaded, PolicyEntry, PolicyKind, PolicySnapshot};
use super::source::{self, FileKind, Found, SourceFile};
use crate::domain::EntityUid;

/// How many problems are told; the rest are counted.
const PROBLEMS_MAX: usize = 1_000;

/// Hears how far parsing is: so many policies of so many.
pub type Tell<'t> = dyn Fn(usize, usize) + Sync + 't;

impl PolicySnapshot {
    /// Reads, parses and validates the policies of [`Settings::dir`].
    ///
    /// # Errors
    /// Everything that is wrong with them.
    pub fn load(settings: &Settings) -> Result<Self, LoadError> {
        Self::load_telling(settings, &|_, _| {})
    }

    /// The same, telling how far it is: first parsing, then validation.
    ///
    /// # Errors
    /// Everything that is wrong with them.
    pub fn load_telling(settings: &Settings, tell: &Tell<'_>) -> Result<Self, LoadError> {
        Candidate::read(settings).load(tell)
    }

    /// The files of [`Settings::dir`], unparsed.
    ///
    /// # Errors
    /// What cannot be read.
    pub fn sources(settings: &Settings) -> Result<Vec<SourceFile>, LoadError> {
        let Found { files, problems, .. } = source::read(&settings.dir, &settings.limits);
        if problems.is_empty() { Ok(files) } else { Err(LoadError { problems }) }
    }

    /// The same for files that are already in memory, as tests and `policy check -` have them.
    ///
    /// # Errors
    /// Everything that is wrong with them.
    pub fn from_sources(settings: &Settings, mut files: Vec<SourceFile>) -> Result<Self, LoadError> {
        files.sort_by(|a, b| a.name.cmp(&b.name));
        on_large_stack(settings, &files, Vec::new(), Vec::new(), &|_, _| {})
    }
}

pub(super) fn on_large_stack(
    settings: &Settings,
    files: &[SourceFile],
    problems: Vec<Problem>,
    warnings: Vec<Problem>,
    tell: &Tell<'_>,
) -> Result<PolicySnapshot, LoadError> {
    let failed = |message: &str| LoadError { problems: vec![of_directory(settings, message)] };
    std::thread::scope(|scope| {
        let thread = std::thread::Builder::new().name("policy-load".into()).stack_size(STACK_BYTES);
        let load = move || Loader::new(settings, problems).load(files, warnings, tell);
        let running = thread.spawn_scoped(scope, load).map_err(|_| failed("no thread to load policies on"))?;
        running.join().map_err(|_| failed("the loader failed on these policies"))?
    })
}

fn of_directory(settings: &Settings, message: &str) -> Problem {
    Problem::in_file(&settings.dir.to_string_lossy().into(), message)
}

struct Loader<'f> {
    settings: &'f Settings,
    problems: Vec<Problem>,
    policies: HashMap<Arc<str>, Listed>,
    templates: BTreeMap<Arc<str>, Template>,
    /// Where each policy, template and link stands.
    places: HashMap<Arc<str>, Place<'f>>,
    parsed: Vec<cedar::Policy>,
    /// Of [`GUARDS_FILE`], where it stands apart.
    guards: Vec<cedar::Policy>,
}

impl<'f> Loader<'f> {
    fn new(settings: &'f Settings, problems: Vec<Problem>) -> Self {
        Self {
            settings,
            problems,
            policies: HashMap::new(),
            templates: BTreeMap::new(),
            places: HashMap::new(),
            parsed: Vec::new(),
            guards: Vec::new(),
        }
    }

    fn load(
        mut self,
        files: &'f [SourceFile],
        mut warnings: Vec<Problem>,
        tell: &Tell<'_>,
    ) -> Result<PolicySnapshot, LoadError> {
        let of_kind = |kind| files.iter().filter(move |file| file.kind == kind).collect::<Vec<_>>();
        let schemas = of_kind(FileKind::Schema);
        let schema = LoadedSchema::parse(&schemas, &self.settings.limits, &mut self.problems);
        if schemas.is_empty() && !self.settings.allow_missing_schema {
            let message = "has no `*.cedarschema`; without one, nothing could be validated";
            self.problems.push(of_directory(self.settings, message));
        }
        let open = schemas.is_empty().then(Types::open);
        let types = schema.as_ref().map(|schema| &schema.types).or(open.as_ref());
        let parsed = self.statements(&of_kind(FileKind::Policies), types, tell);
        parsed.map_err(|failed| self.failed(failed))?;
        self.links(&of_kind(FileKind::Links), types);
        if self.parsed.is_empty() && self.problems.is_empty() && !self.settings.allow_empty {
            self.problems.push(of_directory(self.settings, "has no policies; everything would be denied"));
        }
        if self.settings.on_error == OnError::Cedar && self.guards.is_empty() {
            let message = format!("has no `{GUARDS_FILE}` with policies; nobody could ask anything");
            self.problems.push(of_directory(self.settings, &message));
        }
        let facts = self.facts(&of_kind(FileKind::Entities), schema.as_ref());
        if let Some(schema) = schema.as_ref().filter(|_| self.settings.on_error == OnError::FailClosed) {
            warnings.extend(self.validate(schema, &schemas, tell).map_err(|failed| self.failed(failed))?);
            self.lint(schema, &facts, &mut warnings);
        }
        if self.settings.on_error == OnError::Cedar {
            let message = "`policy.on_error` is `cedar`: no gates, and a forbid that cannot be evaluated is skipped";
            warnings.push(of_directory(self.settings, message).as_warning());
        }
        in_order(&mut self.problems, self.settings);
        in_order(&mut warnings, self.settings);
        if !self.problems.is_empty() {
            return Err(LoadError { problems: self.problems });
        }
        Ok(self.snapshot(files, schema, facts, warnings))
    }

    fn failed(&self, failed: Failed) -> LoadError {
        LoadError { problems: vec![of_directory(self.settings, &failed.to_string())] }
    }

    fn too_many(&mut self) {
        let message = format!("holds more than {} policies", self.settings.limits.policies_max);
        self.problems.push(of_directory(self.settings, &message));
    }

    /// Whether an id is free, and then it is taken; `span` is where it is written.
    fn takes_name(&mut self, id: &Arc<str>, place: Place<'f>, span: Range<usize>) -> bool {
        let (file, line) = (place.file, place.line);
        match self.places.entry(id.clone()) {
            Entry::Vacant(free) => {
                free.insert(place);
                true
            }
            Entry::Occupied(first) => {
                let first = first.get();
                let message = format!("the id is taken by the policy at {}:{}", first.file.path, first.line);
                let problem = Problem::in_file(&file.path, message).at_line(line).in_policy(id);
                self.problems.push(problem.marking(&file.text, span));
                false
            }
        }
    }

    fn list(&mut self, entry: PolicyEntry, role: Role, text: Arc<str>) {
        let (gate, obligations) = match role {
            Role::Rule(obligations) => (None, obligations),
            Role::Gate(gate) => (Some(gate), Vec::new()),
        };
        self.policies.insert(entry.id.clone(), Listed { entry, gate, obligations, text });
    }

    fn facts(&mut self, files: &[&SourceFile], schema: Option<&LoadedSchema>) -> Facts {
        let (mut facts, mut places) = (Facts::default(), HashMap::<EntityUid, Arc<str>>::new());
        for file in files {
            // With a problem on the list the set is refused: nothing is left out in silence.
            let joined =
                Facts::parse(file, schema.map(|schema| &schema.cedar), &self.settings.limits).and_then(|found| {
                    let problem = |uid: &EntityUid, message: String| vec![facts::at_entity(file, uid, message)];
                    for uid in found.uids() {
                        if let Some(first) = places.insert(uid.clone(), file.path.clone()) {
                            return Err(problem(uid, format!("`{uid}` is defined in {first} already")));
                        }
                    }
                    let joined = facts.joined(&found);
                    joined.map_err(|uid| problem(&uid, format!("the parents of `{uid}` form a cycle across files")))
                });
            match joined {
                Ok(joined) => facts = joined,
                Err(problems) => self.problems.extend(problems),
            }
        }
        facts
    }

    fn lint(&mut self, schema: &LoadedSchema, facts: &Facts, warnings: &mut Vec<Problem>) {
        let mut policies: Vec<_> = self.parsed.iter().collect();
        policies.sort_by_key(|policy| policy.id());
        for finding in lint::findings(&schema.cedar, &policies, &self.policies, facts) {
            let Some(place) = self.places.get(&finding.policy) else { continue };
            let problem = place.annotated(finding.annotation, finding.message).in_policy(&finding.policy);
            let problem = problem.with_help(finding.help);
            let is_error = finding.is_error && !(finding.is_unreviewable && self.settings.allow_unreviewable_gates);
            if is_error { self.problems.push(problem) } else { warnings.push(problem.as_warning()) }
        }
        let linked: HashSet<_> = self.policies.values().filter_map(|listed| listed.entry.template.as_ref()).collect();
        for (id, template) in self.templates.iter().filter(|(id, _)| !linked.contains(id)) {
            let Some(place) = self.places.get(id) else { continue };
            let problem = place.annotated(None, "the template has no links; it does nothing").in_policy(id);
            // Links in a file that is missing, or that has another name, would leave a door open.
            match template.kind {
                PolicyKind::Permit => warnings.push(problem.as_warning()),
                PolicyKind::Forbid | PolicyKind::Gate => self.problems.push(problem),
            }
        }
    }

    fn snapshot(
        self,
        files: &[SourceFile],
        schema: Option<LoadedSchema>,
        facts: Facts,
        warnings: Vec<Problem>,
    ) -> PolicySnapshot {
        let named = named(self.parsed.iter().chain(&self.guards));
        let is_gate = |policy: &cedar::Policy| {
            self.policies.get::<str>(policy.id().as_ref()).is_some_and(|listed| listed.gate.is_some())
        };
        let (gates, rules): (Vec<_>, Vec<_>) = self.parsed.iter().partition(|policy| is_gate(policy));
        let (rules, gates) = (Index::new(rules), Index::new(gates));
        let guards = (self.settings.on_error == OnError::Cedar).then(|| Index::new(&self.guards));
        let loaded = Loaded {
            settings: self.settings.clone(),
            digest: source::digest(files),
            on_error: self.settings.on_error,
            schema,
            open_types: Types::open(),
            rules,
            guards,
            gates,
            policies: self.policies,
            named,
            warnings,
        };
        PolicySnapshot::new(loaded, facts)
    }
}

fn in_order(problems: &mut Vec<Problem>, settings: &Settings) {
    problems.sort_by(|a, b| (&a.file, a.line).cmp(&(&b.file, b.line)));
    if let Some(more) = problems.len().checked_sub(PROBLEMS_MAX).filter(|more| *more > 0) {
        let level = problems.first().map_or(Level::Error, |problem| problem.level);
        problems.truncate(PROBLEMS_MAX);
        problems.push(Problem { level, ..of_directory(settings, &format!("{more} more problems")) });
    }
}

/// The entities named in policies.
fn named<'p>(policies: impl Iterator<Item = &'p cedar::Policy>) -> Vec<EntityUid> {
    let all = policies.flat_map(cedar::Policy::entity_literals).map(|uid| domain_uid(&uid));
    let mut named: Vec<_> = all.collect();
    named.sort();
    named.dedup();
    named
}
