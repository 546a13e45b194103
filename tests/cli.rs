//! The command line as scripts use it: the real binary against a real server, its output and its exit codes.

use std::process::{Command, Output, Stdio};

use countersign::grpc::client::{BearerToken, Client};
use countersign::wire::pb;
use serde_json::Value;

use crate::support::{Options, PolicyDir, TestServer};

async fn run(server: &TestServer, who: Option<&str>, arguments: &str) -> Output {
    let mut command = Command::new(env!("CARGO_BIN_EXE_countersign"));
    command.args(arguments.split(' ')).stdin(Stdio::null()).env_clear().env("COUNTERSIGN_SERVER", server.url());
    if let Some(who) = who {
        command.env("COUNTERSIGN_TOKEN", server.token(who));
    }
    tokio::task::spawn_blocking(move || command.output().unwrap()).await.unwrap()
}

fn code(output: &Output) -> i32 {
    output.status.code().unwrap()
}

fn text(bytes: &[u8]) -> String {
    String::from_utf8(bytes.to_vec()).unwrap()
}

/// The agent asks for an export, and waits for people.
async fn pending(server: &TestServer) -> pb::Approval {
    let token = BearerToken::new(&server.token("report-bot"));
    let agent = Client::connect(&server.url(), token).await.unwrap();
    let uid = |kind: &str, id: &str| Some(pb::EntityUid { r#type: kind.into(), id: id.into() });
    let destination = pb::Value { kind: Some(pb::value::Kind::String("s3://\u{1b}[2J".into())) };
    let request = pb::AuthorizeRequest {
        action: uid("Action", "export"),
        resource: uid("Dataset", "customers"),
        context: [("destination".to_owned(), destination)].into(),
        justification: "because".into(),
        ..pb::AuthorizeRequest::default()
    };
    agent.authorize(request).await.unwrap().approval.unwrap()
}

#[tokio::test]
async fn the_unix_socket_of_this_machine_is_a_server_as_well() {
    let server = TestServer::with(Options { unix: true, ..Options::default() }).await;
    let approval = pending(&server).await;
    let asked = format!("--server unix://{} approvals show {}", server.socket().display(), approval.id);
    let shown = run(&server, Some("alice"), &asked).await;
    assert!(text(&shown.stdout).contains(&approval.binding), "{}", text(&shown.stderr));
    assert_eq!(code(&run(&server, None, &asked).await), 3, "without a token");
    let nobody = run(&server, Some("alice"), &asked.replace("grpc.sock", "none.sock")).await;
    assert_eq!(code(&nobody), 5, "{}", text(&nobody.stderr));
}

#[tokio::test]
async fn two_people_countersign_from_the_command_line() {
    let server = TestServer::start().await;
    let approval = pending(&server).await;
    let (id, binding) = (&approval.id, &approval.binding);

    let listed = run(&server, Some("alice"), "approvals list --reviewable --state pending").await;
    assert!(text(&listed.stdout).contains(id), "{}", text(&listed.stdout));
    let shown = run(&server, Some("alice"), &format!("approvals show {id}")).await;
    let shown = text(&shown.stdout);
    assert!(shown.contains(binding) && shown.contains("\\u{1b}[2J") && !shown.contains('\u{1b}'), "{shown}");

    let approve = format!("approvals approve {id} --binding {binding} -o json");
    let first = run(&server, Some("alice"), &approve).await;
    let first: Value = serde_json::from_slice(&first.stdout).unwrap();
    assert_eq!(first["state"], "APPROVAL_STATE_PENDING");
    let second = run(&server, Some("bob"), &approve).await;
    let second: Value = serde_json::from_slice(&second.stdout).unwrap();
    assert_eq!(second["state"], "APPROVAL_STATE_APPROVED");

    let audit = run(&server, Some("erin"), &format!("audit query --approval {id} --since 2h -o json")).await;
    let records: Vec<Value> = text(&audit.stdout).lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    assert_eq!(code(&audit), 0, "{}", text(&audit.stderr));
    assert!(records.is_empty() || records.len() == 3, "by the server's clock, not this machine's");
    let audit = run(&server, Some("erin"), &format!("audit query --approval {id}")).await;
    assert_eq!(text(&audit.stdout).lines().count(), 3, "{}", text(&audit.stdout));
}

#[tokio::test]
async fn a_vote_without_a_binding_or_a_person_to_ask_is_not_cast() {
    let server = TestServer::start().await;
    let approval = pending(&server).await;
    let refused = run(&server, Some("alice"), &format!("approvals approve {}", approval.id)).await;
    assert_eq!(code(&refused), 2);
    assert!(text(&refused.stderr).contains("--binding"), "{}", text(&refused.stderr));
    let shown = run(&server, Some("alice"), &format!("approvals show {} -o json", approval.id)).await;
    let shown: Value = serde_json::from_slice(&shown.stdout).unwrap();
    assert_eq!(shown.get("reviews"), None, "nobody has voted");
}

#[tokio::test]
async fn exit_codes_say_what_went_wrong() {
    let server = TestServer::start().await;
    let approval = pending(&server).await;
    let (id, binding) = (&approval.id, &approval.binding);
    let other = "00".repeat(32);
    let absent = "apr_00000000000000000000000000000000";
    for (who, arguments, expected) in [
        (None, "approvals list".to_owned(), 3),
        (Some("report-bot"), format!("approvals approve {id} --binding {binding}"), 3),
        (Some("frank"), "audit query".to_owned(), 3),
        (Some("alice"), format!("approvals show {absent}"), 4),
        (Some("alice"), format!("approvals approve {id} --binding {other}"), 6),
        (Some("alice"), format!("approvals reject {id} --binding {binding} --comment no"), 0),
        (Some("bob"), format!("approvals approve {id} --binding {binding}"), 6),
        (Some("alice"), "approvals list --server http://127.0.0.1:1".to_owned(), 5),
        (Some("alice"), "approvals list --server http://pdp.example:1".to_owned(), 2),
    ] {
        let output = run(&server, who, &arguments).await;
        assert_eq!(code(&output), expected, "{who:?} {arguments}: {}", text(&output.stderr));
        assert!(expected == 0 || text(&output.stderr).starts_with("error: "), "{}", text(&output.stderr));
    }
}

/// `policy check` on a directory, as a script runs it.
fn check(dir: &std::path::Path, more: &[&str]) -> Output {
    let mut command = Command::new(env!("CARGO_BIN_EXE_countersign"));
    command.args(["policy", "check"]).arg(dir).args(more).stdin(Stdio::null()).env_clear().output().unwrap()
}

#[test]
fn a_policy_that_is_wrong_is_shown_in_its_text_and_to_programs_by_its_place() {
    let policies = PolicyDir::shipped().but("warehouse.cedar", "@quorum(\"2\")", "@quorum(\"0\")");
    let shown = check(policies.path(), &[]);
    let text = text(&shown.stderr);
    assert_eq!((code(&shown), shown.stdout.len()), (1, 0));
    for part in ["policy `export-pii`: `@quorum`: expected a whole number", "warehouse.cedar:", "@quorum(\"0\")", "───"]
    {
        assert!(text.contains(part), "{part}\n{text}");
    }
    assert!(text.ends_with("error: 1 error in the policies\n"), "{text}");

    let told = check(policies.path(), &["-o", "json"]);
    let told: Value = serde_json::from_slice(&told.stdout).unwrap();
    let problem = &told["problems"][0];
    assert_eq!((&told["good"], &problem["severity"]), (&Value::Bool(false), &Value::from("error")));
    assert_eq!((&problem["policy"], &problem["column"]), (&Value::from("export-pii"), &Value::from(9)));
    assert!(problem["file"].as_str().unwrap().ends_with("warehouse.cedar") && problem["line"].as_u64() > Some(1));
}

#[test]
fn a_warning_fails_a_check_that_denies_them() {
    let gate = "@id(\"idle\") @approval(\"why\") @reviewers(\"Group::\\\"sre\\\"\")
        forbid (principal, action == Action::\"drop\", resource is Secret);";
    let policies = PolicyDir::shipped().and(gate);
    let shown = check(policies.path(), &[]);
    assert_eq!(code(&shown), 0, "{}", text(&shown.stderr));
    assert!(text(&shown.stderr).contains("policy `idle`") && text(&shown.stdout).contains("good: "));
    let denied = check(policies.path(), &["--deny-warnings", "-o", "json"]);
    let told: Value = serde_json::from_slice(&denied.stdout).unwrap();
    assert_eq!((code(&denied), &told["good"]), (1, &Value::Bool(false)));
    assert!(told["problems"].as_array().unwrap().iter().all(|problem| problem["severity"] == "warning"));
    assert_eq!(code(&check(PolicyDir::shipped().path(), &["--deny-warnings"])), 0);
}

#[test]
fn an_empty_set_is_good_only_where_it_is_allowed_by_name() {
    let empty = tempfile::tempdir().unwrap();
    assert_eq!(code(&check(empty.path(), &[])), 1);
    assert_eq!(code(&check(empty.path(), &["--allow-missing-schema", "--allow-empty"])), 0);
}
