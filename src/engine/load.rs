//! Text to a snapshot: parse, split into rules and gates, validate. All problems are collected; one of them refuses the
//! whole set. Everything runs on a thread with a stack that the bounded text cannot exhaust.

use std::collections::HashMap;
use std::collections::hash_map::Entry;
use std::sync::Arc;

use cedar_policy as cedar;

use super::annotation::{Role, Site};
use super::convert::{Types, domain_uid};
use super::facts::{Facts, is_service_type};
use super::index::Index;
use super::problem::{LoadError, Problem, nearest};
use super::scan::{self, Statement};
use super::schema::LoadedSchema;
use super::service_schema;
use super::settings::{Reading, Settings};
use super::snapshot::{Listed, PolicyEntry, PolicyKind, PolicySnapshot};
use super::source::{self, FileKind, SourceFile};
use crate::domain::{EntityUid, Gate};

/// Enough for Cedar's parser and validator at the depth that [`super::settings::Limits`] allows, many times over.
const STACK_BYTES: usize = 64 << 20;

impl PolicySnapshot {
    /// Reads, parses and validates the policies of [`Settings::dir`].
    ///
    /// # Errors
    /// Everything that is wrong with them.
    pub fn load(settings: &Settings) -> Result<Self, LoadError> {
        let (files, problems) = source::read(&settings.dir, &settings.limits);
        on_large_stack(settings, &files, problems)
    }

    /// The same for files that are already in memory, as tests and `policy check -` have them.
    ///
    /// # Errors
    /// Everything that is wrong with them.
    pub fn from_sources(settings: &Settings, mut files: Vec<SourceFile>) -> Result<Self, LoadError> {
        files.sort_by(|a, b| a.name.cmp(&b.name));
        on_large_stack(settings, &files, Vec::new())
    }
}

fn on_large_stack(
    settings: &Settings,
    files: &[SourceFile],
    problems: Vec<Problem>,
) -> Result<PolicySnapshot, LoadError> {
    let failed = |message: &str| LoadError { problems: vec![of_directory(settings, message)] };
    std::thread::scope(|scope| {
        let thread = std::thread::Builder::new().name("policy-load".into()).stack_size(STACK_BYTES);
        let load = move || Loader { settings, problems, policies: HashMap::new(), parsed: Vec::new() }.load(files);
        let running = thread.spawn_scoped(scope, load).map_err(|_| failed("no thread to load policies on"))?;
        running.join().map_err(|_| failed("the loader failed on these policies"))?
    })
}

fn of_directory(settings: &Settings, message: &str) -> Problem {
    Problem::in_file(&settings.dir.to_string_lossy().into(), message)
}

struct Loader<'a> {
    settings: &'a Settings,
    problems: Vec<Problem>,
    policies: HashMap<Arc<str>, Listed>,
    parsed: Vec<cedar::Policy>,
}

impl Loader<'_> {
    fn load(mut self, files: &[SourceFile]) -> Result<PolicySnapshot, LoadError> {
        let of_kind = |kind| files.iter().filter(move |file| file.kind == kind);
        let schemas: Vec<_> = of_kind(FileKind::Schema).collect();
        let schema = LoadedSchema::parse(&schemas, &self.settings.limits, &mut self.problems);
        if schemas.is_empty() && !self.settings.allow_missing_schema {
            let message = "has no `*.cedarschema`; without one, nothing could be validated";
            self.problems.push(of_directory(self.settings, message));
        }
        of_kind(FileKind::Policies).for_each(|file| self.file(file));
        if self.parsed.is_empty() && self.problems.is_empty() && !self.settings.allow_empty {
            self.problems.push(of_directory(self.settings, "has no policies; everything would be denied"));
        }
        let entities: Vec<_> = of_kind(FileKind::Entities).collect();
        let facts = self.facts(&entities, schema.as_ref());
        let warnings = schema.as_ref().map(|schema| self.validate(schema, &schemas)).unwrap_or_default();
        if !self.problems.is_empty() {
            return Err(LoadError { problems: self.problems });
        }
        self.snapshot(files, schema, facts, warnings)
    }

    fn file(&mut self, file: &SourceFile) {
        match scan::statements(&file.text, &self.settings.limits) {
            Ok(found) => found.iter().enumerate().for_each(|(n, statement)| self.statement(file, n + 1, statement)),
            Err(refused) => {
                self.problems.push(Problem::in_file(&file.path, refused.message).at_line(refused.line));
            }
        }
    }

    fn statement(&mut self, file: &SourceFile, number: usize, statement: &Statement<'_>) {
        let position: Arc<str> = match self.settings.reading {
            Reading::Countersign => format!("{}.{number}", file.stem()).into(),
            Reading::Cedar => format!("policy{}", self.parsed.len()).into(),
        };
        let problem =
            |message: String| Problem::in_file(&file.path, message).at_line(statement.line).in_policy(&position);
        if let Some(line) = statement.slot_line {
            return self.problems.push(problem("templates are not supported yet".into()).at_line(line));
        }
        match cedar::Policy::parse(Some(cedar::PolicyId::new(&position)), statement.text) {
            Ok(policy) => self.policy(file, statement, &position, policy),
            Err(errors) => self.problems.extend(errors.iter().map(|error| problem(format!("syntax: {error}")))),
        }
    }

    fn policy(&mut self, file: &SourceFile, statement: &Statement<'_>, position: &Arc<str>, policy: cedar::Policy) {
        let named = policy.annotation("id").filter(|_| self.settings.reading == Reading::Countersign);
        let id: Arc<str> = named.map_or_else(|| position.clone(), Into::into);
        let policy = policy.new_id(cedar::PolicyId::new(&id));
        let site =
            Site { policy: &policy, id: &id, file: &file.path, line: statement.line, marks: &statement.annotations };
        let role = match self.settings.reading {
            Reading::Countersign => site.role(self.settings.default_timeout, &mut self.problems),
            Reading::Cedar => Some(Role::Rule(Vec::new())),
        };
        let Some(role) = role else { return };
        if let Some(problem) = locks_the_service(&site, &role) {
            return self.problems.push(problem);
        }
        let entry =
            PolicyEntry { kind: kind(&policy, &role), id: id.clone(), file: file.path.clone(), line: site.line };
        self.keep(entry, role, policy);
    }

    fn keep(&mut self, entry: PolicyEntry, role: Role, policy: cedar::Policy) {
        match self.policies.entry(entry.id.clone()) {
            Entry::Occupied(first) => {
                let first = &first.get().entry;
                let message = format!("the id is taken by the policy at {}:{}", first.file, first.line);
                self.problems.push(Problem::in_file(&entry.file, message).at_line(entry.line).in_policy(&entry.id));
            }
            Entry::Vacant(place) => {
                let (gate, obligations) = match role {
                    Role::Rule(obligations) => (None, obligations),
                    Role::Gate(gate) => (Some(gate), Vec::new()),
                };
                place.insert(Listed { entry, gate, obligations });
                self.parsed.push(policy);
            }
        }
    }

    fn facts(&mut self, files: &[&SourceFile], schema: Option<&LoadedSchema>) -> Facts {
        if let [first, second, ..] = files {
            let message = format!("expected one entities.json; another is {}", first.path);
            self.problems.push(Problem::in_file(&second.path, message));
        }
        let Some(file) = files.first() else { return Facts::default() };
        let parsed = Facts::parse(&file.text, schema.map(|schema| &schema.cedar));
        parsed.unwrap_or_else(|message| {
            // Not a silent default: with a problem on the list, the set is refused.
            self.problems.push(Problem::in_file(&file.path, message));
            Facts::default()
        })
    }

    /// Holds everything against the schema; returns the warnings.
    fn validate(&mut self, schema: &LoadedSchema, files: &[&SourceFile]) -> Vec<Problem> {
        if self.settings.reading == Reading::Cedar {
            return Vec::new();
        }
        if let Some(file) = files.first() {
            self.problems.extend(service_schema::problems(schema, &file.path));
        }
        let strangers: Vec<_> = self.policies.values().flat_map(|listed| unknown_reviewers(listed, schema)).collect();
        self.problems.extend(strangers);
        let Ok(all) = cedar::PolicySet::from_policies(self.parsed.iter().cloned()) else { return Vec::new() };
        let validator = cedar::Validator::new(schema.cedar.clone());
        let result = validator.validate(&all, cedar::ValidationMode::Strict);
        let errors: Vec<_> =
            result.validation_errors().map(|error| self.found(error.policy_id(), &error.to_string())).collect();
        self.problems.extend(errors);
        self.problems.sort_by(|a, b| (&a.file, a.line).cmp(&(&b.file, b.line)));
        result.validation_warnings().map(|warning| self.found(warning.policy_id(), &warning.to_string())).collect()
    }

    /// A finding of Cedar's validator, at the policy's place.
    fn found(&self, id: &cedar::PolicyId, text: &str) -> Problem {
        let message = text.strip_prefix(&format!("for policy `{id}`, ")).unwrap_or(text);
        match self.policies.get::<str>(id.as_ref()).map(|listed| &listed.entry) {
            Some(entry) => Problem::in_file(&entry.file, message).at_line(entry.line).in_policy(&entry.id),
            None => of_directory(self.settings, message),
        }
    }

    fn snapshot(
        self,
        files: &[SourceFile],
        schema: Option<LoadedSchema>,
        facts: Facts,
        warnings: Vec<Problem>,
    ) -> Result<PolicySnapshot, LoadError> {
        let literals = literals(&self.parsed, &facts);
        let is_gate = |policy: &cedar::Policy| {
            self.policies.get::<str>(policy.id().as_ref()).is_some_and(|listed| listed.gate.is_some())
        };
        let (gates, rules): (Vec<_>, Vec<_>) = self.parsed.iter().partition(|policy| is_gate(policy));
        let (rules, gates) = (Index::new(rules), Index::new(gates));
        Ok(PolicySnapshot {
            digest: source::digest(files),
            on_error: self.settings.on_error,
            reading: self.settings.reading,
            schema,
            open_types: Types::open(),
            rules,
            gates,
            policies: self.policies,
            facts,
            literals,
            warnings,
        })
    }
}

fn kind(policy: &cedar::Policy, role: &Role) -> PolicyKind {
    match (policy.effect(), role) {
        (_, Role::Gate(_)) => PolicyKind::Gate,
        (cedar::Effect::Permit, Role::Rule(_)) => PolicyKind::Permit,
        (cedar::Effect::Forbid, Role::Rule(_)) => PolicyKind::Forbid,
    }
}

/// A gate before one of the service's own actions would need itself to be opened; gates never apply there.
fn locks_the_service(site: &Site<'_>, role: &Role) -> Option<Problem> {
    let Role::Gate(gate) = role else { return None };
    let actions = match site.policy.action_constraint() {
        cedar::ActionConstraint::Any => Vec::new(),
        cedar::ActionConstraint::Eq(action) => vec![action],
        cedar::ActionConstraint::In(actions) => actions,
    };
    let own = actions.iter().map(domain_uid).find(|action| is_service_type(&action.type_name))?;
    Some(site.problem(
        "approval",
        &gate.text,
        format!("a gate cannot guard the service itself (`{own}`); use a forbid"),
    ))
}

fn unknown_reviewers(listed: &Listed, schema: &LoadedSchema) -> Vec<Problem> {
    let entry = &listed.entry;
    let problem = |name: &str, uid: &EntityUid| {
        Problem::in_file(&entry.file, format!("`@{name}`: the schema declares no entity type `{}`", uid.type_name))
            .at_line(entry.line)
            .in_policy(&entry.id)
            .with_help(nearest(&uid.type_name, schema.types.names()))
    };
    let of = |gate: &Gate| {
        let first = gate.reviewers.iter().map(|uid| ("reviewers", uid.clone()));
        let later = gate.escalations.iter().flat_map(|step| &step.reviewers).map(|uid| ("escalate", uid.clone()));
        first.chain(later).collect::<Vec<_>>()
    };
    let named = listed.gate.as_ref().map(of).unwrap_or_default();
    let unknown = named.iter().filter(|(_, uid)| !schema.types.has(&uid.type_name));
    unknown.map(|(name, uid)| problem(name, uid)).collect()
}

/// The entities named in policies of which the server knows more than the name.
fn literals(policies: &[cedar::Policy], facts: &Facts) -> Vec<EntityUid> {
    let named = policies.iter().flat_map(cedar::Policy::entity_literals).map(|uid| domain_uid(&uid));
    let mut known: Vec<_> = named.filter(|uid| facts.get(uid).is_some_and(|fact| !fact.is_bare)).collect();
    known.sort();
    known.dedup();
    known
}

#[cfg(test)]
mod tests {
    use super::super::settings::Limits;
    use super::super::testing::{file, load, refusal, schemas, settings, sources, try_load};
    use super::*;

    const PERMIT: &str = "permit (principal, action, resource is Dataset);";

    fn refused(settings: &Settings, files: Vec<SourceFile>) -> String {
        PolicySnapshot::from_sources(settings, files).err().map(|error| error.to_string()).unwrap_or_default()
    }

    #[test]
    fn the_example_set_loads_without_a_warning() {
        let summary = super::super::testing::example().summary();
        assert_eq!((summary.gates, summary.entities, summary.warnings), (2, 7, vec![]));
        assert_eq!(summary.policies.len(), summary.rules + summary.gates);
    }

    #[test]
    fn two_policies_of_one_id_are_refused_with_both_places() {
        let mut files = sources(&format!("@id(\"q.1\") {PERMIT}"));
        files.push(file("policies/q.cedar", &format!("\n{PERMIT}")));
        let expected = "policies/q.cedar:2: policy `q.1`: the id is taken by the policy at policies/p.cedar:1";
        assert_eq!(refused(&settings(), files), expected);
    }

    #[test]
    fn a_policy_without_an_id_is_named_by_its_file_and_place() {
        let snapshot = load(&format!("{PERMIT}\n@id(\"named\") {PERMIT}\n{PERMIT}"));
        let ids: Vec<_> =
            snapshot.summary().policies.into_iter().map(|entry| (entry.id.to_string(), entry.line)).collect();
        assert_eq!(ids, [("p.1".to_owned(), 1), ("named".to_owned(), 2), ("p.3".to_owned(), 3)]);
    }

    #[test]
    fn no_schema_and_no_policies_are_refused_unless_allowed_by_name() {
        let policies = || vec![file("policies/p.cedar", PERMIT)];
        let no_schema = "policies: has no `*.cedarschema`; without one, nothing could be validated";
        assert_eq!(refused(&settings(), policies()), no_schema);
        let no_policies = "policies: has no policies; everything would be denied";
        assert_eq!(refused(&settings(), schemas()), no_policies);
        assert_eq!(refused(&Settings { allow_missing_schema: true, ..settings() }, policies()), "");
        assert_eq!(refused(&Settings { allow_empty: true, ..settings() }, schemas()), "");
    }

    #[test]
    fn the_services_own_schema_must_be_there_and_fit() {
        let app = || file("policies/app.cedarschema", super::super::testing::APP_SCHEMA);
        let found = refused(&settings(), vec![app(), file("policies/p.cedar", PERMIT)]);
        assert!(
            found.contains(
                "the schema declares no entity type `Countersign::Approval`; copy policies/countersign.cedarschema"
            ),
            "{found}"
        );
        assert!(found.contains("the schema declares no action `Countersign::Action::\"revoke\"`"), "{found}");
        let bent = |from: &str, to: &str| {
            let text = super::super::testing::SERVICE_SCHEMA.replace(from, to);
            refused(
                &settings(),
                vec![app(), file("policies/countersign.cedarschema", &text), file("policies/p.cedar", PERMIT)],
            )
        };
        assert!(bent("severity: String", "severity: Long").contains("`Countersign::Approval`: "));
        assert!(
            bent("is_requester: Bool", "is_requester: Long").contains("action `Countersign::Action::\"review\"`: ")
        );
        assert!(
            bent("resource: [EntityType]", "resource: [Service]")
                .contains("does not apply to resource `Countersign::EntityType`")
        );
    }

    #[test]
    fn policies_are_held_against_the_schema_strictly() {
        let found = refusal("\n@id(\"typo\") permit (principal, action, resource is Dataset) when { resource.pi };");
        assert!(
            found.starts_with("policies/p.cedar:2: policy `typo`: attribute `pi` on entity type `Dataset` not found"),
            "{found}"
        );
    }

    #[test]
    fn a_syntax_error_names_its_place() {
        let found = refusal(&format!("{PERMIT}\n\npermit (principal, action resource);"));
        assert!(found.starts_with("policies/p.cedar:3: policy `p.2`: syntax: "), "{found}");
    }

    #[test]
    fn a_template_is_refused_by_name() {
        let found = refusal("permit (\n principal == ?principal, action, resource is Dataset);");
        assert_eq!(found, "policies/p.cedar:2: policy `p.1`: templates are not supported yet");
    }

    #[test]
    fn a_gate_before_the_service_itself_is_refused() {
        for action in [
            "action == Countersign::Action::\"review\"",
            "action in [Action::\"read\", Countersign::Action::\"review\"]",
        ] {
            let found = refusal(&format!(
                "@approval(\"a\") @reviewers(\"Group::\\\"a\\\"\") forbid (principal, {action}, resource);"
            ));
            let expected = "policies/p.cedar:1: policy `p.1`: `@approval(\"a\")`: a gate cannot guard the service itself (`Countersign::Action::\"review\"`); use a forbid";
            assert_eq!(found, expected);
        }
    }

    #[test]
    fn a_context_may_ask_only_for_facts_that_the_server_has() {
        let with = |server: &str| {
            let schema = format!(
                "action odd appliesTo {{ principal: [User], resource: [Dataset], context: {{ server: {server} }} }};"
            );
            let mut files = sources(PERMIT);
            files.push(file("policies/odd.cedarschema", &schema));
            refused(&settings(), files)
        };
        assert!(with("{ mood: String }").contains("`server.mood` is not a fact that the server has"));
        assert!(with("{ now: Long }").contains("`server.now` is not a fact that the server has"));
        assert!(with("{ on_behalf_of: User }").contains("expected `server.on_behalf_of` to be optional"));
        assert!(with("String").contains("expected `server` to be a record"));
        assert_eq!(with("{ now: datetime, caller: Workload, on_behalf_of?: String }"), "");
    }

    #[test]
    fn text_that_would_exhaust_the_parsers_stack_is_refused_before_it() {
        for (open, close) in
            [("(", ")"), ("[", "]"), ("{a: ", "}"), ("if ", " then true else true"), ("!", ""), ("-", "")]
        {
            let bomb = format!(
                "forbid (principal, action, resource) when {{ {}1{} }};",
                open.repeat(100_000),
                close.repeat(100_000)
            );
            let found = refusal(&bomb);
            assert!(found.contains("deeper than"), "{open}: {found}");
        }
        let mut files = sources(PERMIT);
        files.push(file(
            "policies/bomb.cedarschema",
            &format!("type A = {}Long{};", "Set<".repeat(50_000), ">".repeat(50_000)),
        ));
        assert!(refused(&settings(), files).contains("policies/bomb.cedarschema:1: an expression is deeper than 256"));
    }

    #[test]
    fn the_digest_covers_names_and_texts_of_all_files() {
        let digest = |files| PolicySnapshot::from_sources(&settings(), files).unwrap().digest();
        let first = digest(sources(PERMIT));
        assert_eq!(first, digest(sources(PERMIT)));
        assert_ne!(first, digest(sources(&format!("{PERMIT} "))));
        let mut renamed = schemas();
        renamed.push(file("policies/q.cedar", PERMIT));
        assert_ne!(first, digest(renamed));
        let mut reversed = sources(PERMIT);
        reversed.reverse();
        assert_eq!(first, digest(reversed));
    }

    #[test]
    fn server_data_must_fit_the_schema_and_may_not_be_the_services() {
        let with = |entities: &str| {
            let mut files = sources(PERMIT);
            files.push(file("policies/entities.json", entities));
            refused(&settings(), files)
        };
        let wrong = with(r#"[{"uid":{"type":"Dataset","id":"d"},"attrs":{"pii":1},"parents":[]}]"#);
        assert!(wrong.starts_with("policies/entities.json: "), "{wrong}");
        let own = with(r#"[{"uid":{"type":"Countersign::Service","id":"countersign"},"attrs":{},"parents":[]}]"#);
        assert!(own.contains("the service's own entities cannot be supplied"), "{own}");
        assert!(with("[[").starts_with("policies/entities.json: "));
    }

    #[test]
    fn a_directory_is_read_in_order_without_hidden_files_and_loops() {
        let root = tempfile::tempdir().unwrap();
        let dir = root.path().join("set");
        let data = dir.join("..data");
        std::fs::create_dir_all(&data).unwrap();
        std::fs::create_dir_all(dir.join("more")).unwrap();
        std::os::unix::fs::symlink(&dir, dir.join("more/loop")).unwrap();
        for schema in schemas() {
            std::fs::write(dir.join(schema.name.trim_start_matches("policies/")), schema.text).unwrap();
        }
        std::fs::write(data.join("linked.cedar"), PERMIT).unwrap();
        std::os::unix::fs::symlink("..data/linked.cedar", dir.join("linked.cedar")).unwrap();
        std::fs::write(dir.join(".swap.cedar"), "not cedar").unwrap();
        std::fs::write(dir.join("more/b.cedar"), PERMIT).unwrap();
        std::fs::write(dir.join("README.md"), "not cedar").unwrap();
        let snapshot = PolicySnapshot::load(&Settings::new(&dir)).unwrap();
        let ids: Vec<_> = snapshot.summary().policies.into_iter().map(|entry| entry.id.to_string()).collect();
        assert_eq!(ids, ["linked.1", "b.1"]);
    }

    #[test]
    fn a_file_past_a_limit_is_refused_unread() {
        let dir = tempfile::tempdir().unwrap();
        std::fs::write(dir.path().join("a.cedar"), PERMIT).unwrap();
        std::fs::write(dir.path().join("b.cedar"), [0xff]).unwrap();
        let with = |limits| {
            let settings = Settings { limits, allow_missing_schema: true, ..Settings::new(dir.path()) };
            PolicySnapshot::load(&settings).err().map(|error| error.to_string()).unwrap_or_default()
        };
        assert!(with(Limits { file_bytes_max: 10, ..Limits::default() }).contains("a.cedar: is larger than 10 bytes"));
        assert!(
            with(Limits { total_bytes_max: 10, ..Limits::default() }).contains("all files together exceed 10 bytes")
        );
        assert!(with(Limits { files_max: 0, ..Limits::default() }).contains("is one file more than 0"));
        assert!(with(Limits::default()).contains("b.cedar: is not UTF-8"));
        let missing = PolicySnapshot::load(&Settings::new(dir.path().join("none"))).unwrap_err().to_string();
        assert!(missing.contains("cannot be read"), "{missing}");
    }

    #[test]
    fn a_plain_reading_takes_a_gate_for_a_forbid() {
        let plain = Settings { reading: Reading::Cedar, ..settings() };
        let gate = "@approval(\"a\") @reviewers(\"Group::\\\"a\\\"\") forbid (principal, action, resource is Dataset);";
        let snapshot = PolicySnapshot::from_sources(&plain, sources(gate)).unwrap();
        assert_eq!((snapshot.summary().gates, snapshot.summary().policies[0].kind), (0, PolicyKind::Forbid));
        assert_eq!(try_load(gate).unwrap().summary().gates, 1);
    }
}
