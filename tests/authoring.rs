//! The commands of those who write policies, as scripts and CI use them: output, files and exit codes.

use std::path::Path;
use std::process::{Command, Output, Stdio};

use serde_json::Value;

use crate::support::client::{export, query};
use crate::support::{PolicyDir, TestServer};

fn run(arguments: &[&str]) -> Output {
    let mut command = Command::new(env!("CARGO_BIN_EXE_countersign"));
    command.arg("policy").args(arguments).stdin(Stdio::null()).env_clear();
    command.current_dir(env!("CARGO_MANIFEST_DIR")).output().unwrap()
}

fn path(dir: &Path) -> &str {
    dir.to_str().unwrap()
}

fn text(bytes: &[u8]) -> String {
    String::from_utf8(bytes.to_vec()).unwrap()
}

fn json(output: &Output) -> Value {
    serde_json::from_slice(&output.stdout).unwrap_or_else(|error| panic!("{error}: {}", text(&output.stderr)))
}

#[test]
fn the_shipped_policies_pass_their_tests_which_see_all_of_them() {
    let passed = run(&["test", "policies", "--min-coverage", "100", "-o", "json"]);
    assert_eq!(passed.status.code(), Some(0), "{}", text(&passed.stderr));
    assert_eq!(json(&passed)["coverage"]["percent"], 100);
}

#[test]
fn a_policy_that_changed_fails_its_tests_with_line_report_and_exit_code() {
    let policies = PolicyDir::shipped().but("warehouse.cedar", "@quorum(\"2\")", "@quorum(\"1\")");
    let report = policies.path().join("report.xml");
    let failed = run(&["test", path(policies.path()), "--junit", path(&report)]);
    let shown = text(&failed.stdout);
    assert_eq!(failed.status.code(), Some(1));
    assert!(
        shown.contains("FAIL") && shown.contains("warehouse.test.yaml:") && shown.contains("expected PENDING"),
        "{shown}"
    );
    let report = std::fs::read_to_string(report).unwrap();
    assert!(report.contains("<failure") && report.contains("failures=\"2\""), "{report}");
}

#[test]
fn too_little_coverage_and_no_test_at_all_fail() {
    let unseen =
        "permit (principal is Workload, action == Action::\"rotate\", resource is Secret) when { context has reason };";
    let policies = PolicyDir::shipped().and(unseen);
    let dir = path(policies.path());
    assert_eq!(run(&["test", dir]).status.code(), Some(0));
    let failed = run(&["test", dir, "--min-coverage", "100"]);
    assert_eq!(failed.status.code(), Some(1));
    assert!(text(&failed.stderr).contains("of 100 wanted"), "{}", text(&failed.stderr));
    let nothing = run(&["test", dir, "--filter", "no such test"]);
    assert_eq!(nothing.status.code(), Some(1));
}

#[test]
fn a_mistake_in_a_test_names_its_line() {
    let policies = PolicyDir::shipped();
    std::fs::write(policies.path().join("wrong.test.yaml"), "tests:\n  - nam: a\n").unwrap();
    let refused = run(&["test", path(policies.path())]);
    assert_eq!(refused.status.code(), Some(1));
    assert!(text(&refused.stderr).contains("wrong.test.yaml:2: "), "{}", text(&refused.stderr));
}

#[test]
fn formatting_is_checked_written_once_and_changes_no_answer() {
    let policies = PolicyDir::shipped();
    let dir = path(policies.path());
    assert_eq!(run(&["fmt", dir, "--check"]).status.code(), Some(1));
    assert_eq!(run(&["fmt", dir]).status.code(), Some(0));
    assert_eq!(run(&["fmt", dir, "--check"]).status.code(), Some(0));
    assert_eq!(run(&["test", dir, "--min-coverage", "100"]).status.code(), Some(0));
    assert_eq!(run(&["diff", "policies", dir, "--exit-code"]).status.code(), Some(0));
}

#[test]
fn an_explanation_names_gates_and_who_could_countersign() {
    let explained = run(&[
        "explain",
        "--principal",
        "Agent::report-bot",
        "--group",
        "agents",
        "--on-behalf-of",
        "User::frank",
        "--action",
        "export",
        "--resource",
        "Dataset::customers",
        "--context",
        r#"{"destination":"x"}"#,
        "-o",
        "json",
    ]);
    let explained = json(&explained);
    let gate = &explained["countersigners"][0];
    assert_eq!(
        (&explained["outcome"], &gate["gate"], &gate["quorum"]),
        (&"PENDING".into(), &"export-pii".into(), &2.into())
    );
    assert_eq!(gate["excluded"][0], "User::\"frank\"");
    assert!(explained["gates"][0]["line"].as_u64().is_some());
}

#[tokio::test(flavor = "multi_thread")]
async fn what_was_asked_is_asked_of_the_next_policies_beside_the_running_server() {
    let server = TestServer::start().await;
    let agent = server.client("report-bot").await;
    agent.authorize(query("read", "Dataset", "weather")).await.unwrap();
    agent.authorize(export()).await.unwrap();
    agent.authorize(query("read", "Dataset", "weather")).await.unwrap();
    let next =
        PolicyDir::shipped().and("@id(\"closed\") forbid (principal is Agent, action == Action::\"read\", resource);");
    let journal = server.dir.path().join("journal");
    let (next_dir, journal) = (path(next.path()).to_owned(), path(&journal).to_owned());
    let compared = tokio::task::spawn_blocking(move || {
        run(&["diff", "policies", &next_dir, "--journal", &journal, "--exit-code", "-o", "json"])
    });
    let compared = compared.await.unwrap();
    assert_eq!(compared.status.code(), Some(1));
    let difference = json(&compared);
    assert_eq!(difference["policies"]["added"][0], "closed");
    let (recorded, tests) = (&difference["recorded"], &difference["tests"]);
    assert_eq!((recorded["compared"].as_u64(), tests["compared"].as_u64()), (Some(3), Some(0)));
    let change = &recorded["changed"][0];
    assert_eq!((change["count"].as_u64(), &change["before"]), (Some(2), &"ALLOW permitted".into()));
    assert_eq!(change["after"], "DENY forbidden");
    assert_eq!(recorded["changed"].as_array().unwrap().len(), 1);
}
