//! The loader, from the outside: what it takes, and what it refuses with which words.

use crate::engine::settings::{GUARDS_FILE, Limits, OnError, Settings};
use crate::engine::snapshot::{PolicyKind, PolicySnapshot};
use crate::engine::source::SourceFile;
use crate::engine::testing::{file, load, refusal, schemas, settings, sources, try_load};

const PERMIT: &str = "permit (principal, action, resource is Dataset);";

fn refused(settings: &Settings, files: Vec<SourceFile>) -> String {
    PolicySnapshot::from_sources(settings, files).err().map(|error| error.to_string()).unwrap_or_default()
}

#[test]
fn the_example_set_loads_without_a_warning() {
    let summary = crate::engine::testing::example().summary();
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
    let ids: Vec<_> = snapshot.summary().policies.into_iter().map(|entry| (entry.id.to_string(), entry.line)).collect();
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
    let app = || file("policies/app.cedarschema", crate::engine::testing::APP_SCHEMA);
    let found = refused(&settings(), vec![app(), file("policies/p.cedar", PERMIT)]);
    assert!(
        found.contains(
            "the schema declares no entity type `Countersign::Approval`; copy policies/countersign.cedarschema"
        ),
        "{found}"
    );
    assert!(found.contains("the schema declares no action `Countersign::Action::\"revoke\"`"), "{found}");
    let bent = |from: &str, to: &str| {
        let text = crate::engine::testing::SERVICE_SCHEMA.replace(from, to);
        refused(
            &settings(),
            vec![app(), file("policies/countersign.cedarschema", &text), file("policies/p.cedar", PERMIT)],
        )
    };
    assert!(bent("severity: String", "severity: Long").contains("`Countersign::Approval`: "));
    assert!(bent("is_requester: Bool", "is_requester: Long").contains("action `Countersign::Action::\"review\"`: "));
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
fn a_gate_before_the_service_itself_is_refused() {
    for action in
        ["action == Countersign::Action::\"review\"", "action in [Action::\"read\", Countersign::Action::\"review\"]"]
    {
        let found = refusal(&format!(
            "@id(\"g\") @approval(\"a\") @reviewers(\"Group::\\\"a\\\"\") forbid (principal, {action}, resource);"
        ));
        let expected = "policies/p.cedar:1: policy `g`: `@approval(\"a\")`: a gate cannot guard the service itself (`Countersign::Action::\"review\"`); use a forbid";
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
    for (open, close) in [("(", ")"), ("[", "]"), ("{a: ", "}"), ("if ", " then true else true"), ("!", ""), ("-", "")]
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
    assert!(wrong.starts_with("policies/entities.json:1: "), "{wrong}");
    let own = with(r#"[{"uid":{"type":"Countersign::Service","id":"countersign"},"attrs":{},"parents":[]}]"#);
    assert!(own.contains("the service's own entities cannot be supplied"), "{own}");
    assert!(with("[[").starts_with("policies/entities.json:1: "));
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
        std::fs::write(dir.join(schema.name.trim_start_matches("policies/")), &*schema.text).unwrap();
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
    assert!(with(Limits { total_bytes_max: 10, ..Limits::default() }).contains("all files together exceed 10 bytes"));
    assert!(with(Limits { files_max: 0, ..Limits::default() }).contains("is one file more than 0"));
    assert!(with(Limits::default()).contains("b.cedar: is not UTF-8"));
    let missing = PolicySnapshot::load(&Settings::new(dir.path().join("none"))).unwrap_err().to_string();
    assert!(missing.contains("cannot be read"), "{missing}");
}

#[test]
fn a_plain_reading_takes_a_gate_for_a_forbid() {
    let plain = Settings { on_error: OnError::Cedar, ..settings() };
    let gate =
        "@id(\"g\") @approval(\"a\") @reviewers(\"Group::\\\"a\\\"\") forbid (principal, action, resource is Dataset);";
    let with_guards = |guards: &str| [sources(gate), vec![file(GUARDS_FILE, guards)]].concat();
    let snapshot = PolicySnapshot::from_sources(&plain, with_guards(PERMIT)).unwrap();
    let found = snapshot.summary().policies.into_iter().map(|entry| (entry.id.to_string(), entry.kind));
    let expected = [("policy0".to_owned(), PolicyKind::Forbid), ("service.1".to_owned(), PolicyKind::Permit)];
    assert_eq!((snapshot.summary().gates, found.collect::<Vec<_>>()), (0, expected.to_vec()));
    assert_eq!(try_load(gate).unwrap().summary().gates, 1);

    let none = refused(&plain, sources(gate));
    assert_eq!(none, "policies: has no `service.cedar` with policies; nobody could ask anything");
    let template = refused(&plain, with_guards("permit (principal == ?principal, action, resource);"));
    assert!(template.contains("service.cedar:1: `service.cedar` takes no templates"), "{template}");
}

#[test]
fn a_problem_points_at_what_is_wrong_in_every_kind_of_file() {
    let at_fault = |name: &str, text: &str| {
        let mut files = sources(PERMIT);
        files.push(file(name, text));
        let problem = PolicySnapshot::from_sources(&settings(), files).unwrap_err().problems.remove(0);
        let excerpt = problem.excerpt.clone().unwrap_or_else(|| panic!("no excerpt: {problem}"));
        (problem.line.unwrap(), excerpt.column(), text[excerpt.span].to_owned())
    };
    let cases = [
        ("policies/q.cedar", "permit (\n  principal, action = 1, resource);", (2, 14, "action = 1".to_owned())),
        (
            "policies/q.cedar",
            "permit (principal, action, resource is Dataset)\nwhen {\n  resource.pii &&\n  resource.pi };",
            (4, 3, "resource.pi".to_owned()),
        ),
        ("policies/q.cedar", "permit (principal is Usr, action, resource);", (1, 22, "Usr".to_owned())),
        ("policies/q.cedar", "\n/* */ permit (principal, action, resource) when { [1) };", (2, 53, ")".to_owned())),
        (
            "policies/q.cedar",
            "// x\n@id(\"a\") @id(\"b\") permit (principal, action, resource);",
            (2, 10, "@id(\"b\")".to_owned()),
        ),
        ("policies/q.cedarschema", "entity A;\nentity B in [A\n;", (2, 13, "[".to_owned())),
        ("policies/q.cedarschema", "entity A;\nentity B = { a: };", (2, 17, "}".to_owned())),
        ("policies/q.cedarschema", "entity A;\nentity B in [Nowhere];", (2, 14, "Nowhere".to_owned())),
        ("policies/entities.json", "[\n  {\"uid\" 1}\n]", (2, 10, "1".to_owned())),
        (
            "policies/entities.json",
            "[\n  {\"uid\":{\"type\":\"Dataset\",\"id\":\"d\"},\"attrs\":{\"pii\":1},\"parents\":[]}\n]",
            (2, 3, "{\"uid\":{\"type\":\"Dataset\",\"id\":\"d\"},\"attrs\":{\"pii\":1},\"parents\":[]}".to_owned()),
        ),
        ("policies/links.json", "[\n  {\"template\": 1}\n]", (2, 16, "1".to_owned())),
    ];
    let wrong = cases.iter().map(|(name, text, expected)| (at_fault(name, text), expected, text));
    let wrong: Vec<_> = wrong.filter(|(found, expected, _)| found != *expected).collect();
    assert!(wrong.is_empty(), "{wrong:#?}");
}

#[test]
fn a_set_that_would_take_for_ever_is_refused_before_cedar_sees_it() {
    let with = |limits: Limits, name: &str, text: &str| {
        let mut files = sources(PERMIT);
        files.retain(|file| file.name != name);
        files.push(file(name, text));
        refused(&Settings { limits, ..settings() }, files)
    };
    let few = || Limits { policies_max: 3, ..Limits::default() };
    assert_eq!(with(few(), "policies/q.cedar", &PERMIT.repeat(2)), "");
    let many = with(few(), "policies/q.cedar", &PERMIT.repeat(3));
    assert_eq!(many, "policies: holds more than 3 policies");

    let chain = |length: usize| {
        let link = |at: usize| {
            let (child, parent) = (format!("{{\"type\":\"Group\",\"id\":\"{at}\"}}"), at + 1);
            format!("{{\"uid\":{child},\"attrs\":{{}},\"parents\":[{{\"type\":\"Group\",\"id\":\"{parent}\"}}]}}")
        };
        format!("[{}]", (0..length).map(link).collect::<Vec<_>>().join(","))
    };
    assert_eq!(with(Limits::default(), "policies/entities.json", &chain(60)), "");
    let deep = with(Limits::default(), "policies/entities.json", &chain(100_000));
    assert_eq!(deep, "policies/entities.json: the hierarchy is deeper than 64");

    let laughs: String = (0..40).map(|at| format!("type T{at} = {{ a: T{0}, b: T{0} }};", at + 1)).collect();
    let laughs = format!("{laughs} type T40 = Long; entity Laughing = {{ it: T0 }};");
    let found = with(Limits::default(), "policies/more.cedarschema", &laughs);
    assert!(found.ends_with("has more than 250000 fields, common types written out"), "{found}");

    let groups: String = (0..1_000).map(|at| format!("action a{at} in [a{}];", at + 1)).collect();
    let found = with(Limits::default(), "policies/more.cedarschema", &format!("{groups} action a1000;"));
    assert!(found.ends_with("the hierarchy is deeper than 64"), "{found}");

    let types: Vec<_> = (0..200).map(|at| format!("E{at}")).collect();
    let types = types.join(", ");
    let product = format!("entity {types}; action all appliesTo {{ principal: [{types}], resource: [{types}] }};");
    let found = with(Limits::default(), "policies/more.cedarschema", &product);
    assert!(found.ends_with("more than 20000 combinations of action, principal and resource type"), "{found}");

    let small = Limits { schema_bytes_max: 100, ..Limits::default() };
    assert!(with(small, "policies/q.cedar", PERMIT).ends_with("the schema exceeds 100 bytes"));
}

#[test]
fn more_problems_than_anybody_reads_are_counted() {
    let found = PolicySnapshot::from_sources(&settings(), sources(&"permit;".repeat(1_005))).unwrap_err();
    assert_eq!(found.problems.len(), 1_001);
    assert_eq!(found.problems.last().unwrap().to_string(), "policies: 5 more problems");
}

#[test]
fn no_text_brings_the_loader_down() {
    let nest = |open: &str, inner: &str, close: &str| {
        let (open, close) = (open.repeat(50_000), close.repeat(50_000));
        format!("permit (principal, action, resource) when {{ {open}{inner}{close} }};")
    };
    for (what, text) in [
        ("brackets that do not pair", nest("(]", "1", ")")),
        ("brackets of three kinds", nest("([{\"a\":", "1", "}])")),
        ("a chain of attributes", nest("", "principal", ".a")),
        (
            "has a path",
            format!("permit (principal, action, resource) when {{ principal has {}b }};", "a.".repeat(50_000)),
        ),
        ("a chain of indices", nest("", "principal", "[\"a\"]")),
        ("a chain of calls", nest("", "principal", ".contains(1)")),
        ("else if", nest("if true then 1 else ", "1", "")),
        ("and", nest("true && ", "true", "")),
        ("or", nest("true || ", "true", "")),
        ("plus", nest("1 + ", "1", "")),
        ("times", nest("1 * ", "1", "")),
        ("compared", nest("1 < ", "1", "")),
        ("in", nest("principal in ", "principal", "")),
        ("is", nest("principal is ", "User", "")),
        ("like", nest("\"a\" like ", "\"*\"", "")),
        ("not", nest("!", "true", "")),
        ("minus", nest("-", "1", "")),
        ("conditions", format!("permit (principal, action, resource) {};", "when { true } ".repeat(50_000))),
        ("a name", nest("A::", "B::\"c\"", "")),
        ("a call", nest("ip(", "\"::1\"", ")")),
        ("records", nest("{a:", "1", "}")),
        ("statements without a word", ";".repeat(50_000)),
        ("at signs", "@".repeat(50_000)),
        ("nothing but a string", format!("\"{}\"", "\\\\".repeat(50_000))),
        (
            "a comment in an annotation",
            "@id // ) \n ( // \"\n \"x\" // ;\n ) permit (principal, action, resource);".into(),
        ),
        ("no end of a line but CR", "// a\rpermit (principal, action, resource);\r// b".into()),
        ("zero bytes", "permit (principal, action, resource)\0;\0".into()),
        ("not a letter", "permit (principal, action, resource) when { \u{1f980} \u{202e} };".into()),
        ("a byte-order mark", format!("\u{feff}{PERMIT}")),
    ] {
        // Whatever comes of it comes back.
        let found = refusal(&text);
        assert!(found.len() < 200_000, "{what}: {} bytes of problems", found.len());
        let mut files = sources(PERMIT);
        files.push(file("policies/other.cedarschema", &text));
        assert_ne!(refused(&settings(), files), "", "{what} is no schema");
    }
    let nested = format!("{}1{}", "[".repeat(100_000), "]".repeat(100_000));
    for text in [
        nested.clone(),
        format!("[{{\"uid\":{nested}}}]"),
        format!("[{{\"uid\":{{\"type\":\"Group\",\"id\":\"g\"}},\"attrs\":{{\"a\":{nested}}},\"parents\":[]}}]"),
        "{\"a\":".repeat(100_000),
        "\u{feff}[]".to_owned(),
        "[\0]".to_owned(),
    ] {
        for name in ["policies/entities.json", "policies/links.json"] {
            let mut files = sources(PERMIT);
            files.push(file(name, &text));
            assert!(refused(&settings(), files).starts_with(name), "{name}");
        }
    }
}

#[test]
fn what_cannot_be_looked_at_refuses_the_set_whatever_its_name() {
    let root = tempfile::tempdir().unwrap();
    for schema in schemas() {
        std::fs::write(root.path().join(schema.name.trim_start_matches("policies/")), &*schema.text).unwrap();
    }
    std::fs::write(root.path().join("p.cedar"), PERMIT).unwrap();
    let load = || PolicySnapshot::load(&Settings::new(root.path())).err().map(|error| error.to_string());
    assert_eq!(load(), None);
    // A directory of forbids that a link leads to, and leads to no more.
    std::os::unix::fs::symlink(root.path().join("gone"), root.path().join("forbids")).unwrap();
    assert!(load().is_some_and(|refused| refused.contains("forbids: cannot be read")));
}
