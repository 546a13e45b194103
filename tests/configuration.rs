//! `countersign config` as operators use it: the real binary, in a directory and an environment of its own.

use std::path::Path;
use std::process::{Command, Output, Stdio};

use serde_json::Value;

/// Runs `countersign` in `dir`, with these variables and no others.
pub fn countersign(dir: &Path, variables: &[(&str, &str)], arguments: &[&str]) -> (i32, String, String) {
    let mut command = Command::new(env!("CARGO_BIN_EXE_countersign"));
    command.args(arguments).current_dir(dir).stdin(Stdio::null()).env_clear();
    command.envs(variables.iter().copied()).envs(std::env::var_os("TWIN").map(|switch| ("TWIN", switch)));
    let Output { status, stdout, stderr } = command.output().unwrap();
    let text = |bytes| String::from_utf8(bytes).unwrap();
    (status.code().unwrap(), text(stdout), text(stderr))
}

const FILE: &str = r#"
[masking]
format_key = ["kms", "decrypt", "--token", "hunter2"]

[[notify.targets]]
name = "siem"
kind = "webhook"
url = "https://siem.example/hooks/hunter2"
secret_file = "siem"
"#;

#[test]
fn every_value_is_shown_with_its_place_and_without_what_may_be_a_secret() {
    let dir = tempfile::tempdir().unwrap();
    std::fs::write(dir.path().join("countersign.toml"), FILE).unwrap();
    let variables = [("COUNTERSIGN__JOURNAL__DIR", "of-variable")];
    let print = |more: &[&str]| {
        let arguments = [&["config", "print"], more].concat();
        let (code, out, said) = countersign(dir.path(), &variables, &arguments);
        assert_eq!(code, 0, "{said}");
        out
    };
    let shown = print(&["--origin", "--listen", "127.0.0.1:9"]);
    for line in [
        "grpc.listen = \"127.0.0.1:9\"  # command line",
        "grpc.allow_plaintext = false  # default",
        "journal.dir = \"of-variable\"  # environment variable `COUNTERSIGN__JOURNAL__DIR`",
        "masking.format_key = [\"kms\", \"***\"]  # countersign.toml:3",
    ] {
        assert!(shown.lines().any(|shown| shown == line), "{line}\n{shown}");
    }
    let targets = shown.lines().find(|line| line.starts_with("notify.targets")).unwrap();
    assert!(targets.contains("https://siem.example/***") && targets.ends_with("# countersign.toml:5"), "{targets}");

    let json: Value = serde_json::from_str(&print(&["--origin", "-o", "json"])).unwrap();
    assert_eq!(json["masking"]["format_key"]["line"], 3);
    assert_eq!(json["journal"]["dir"]["variable"], "COUNTERSIGN__JOURNAL__DIR");
    assert_eq!(json["policy"]["dir"]["origin"], "default");
    // However it is printed, unless somebody says otherwise.
    for more in [&[][..], &["--redacted"], &["-o", "json"], &["--origin"], &["--origin", "-o", "json"]] {
        assert!(!print(more).contains("hunter2"), "{more:?}");
    }
    assert_eq!(print(&["--redacted=false"]).matches("hunter2").count(), 2);
}

#[test]
fn what_is_unsafe_is_refused_and_said() {
    let check = |file: &str, variables: &[(&str, &str)], said: &str| {
        let dir = tempfile::tempdir().unwrap();
        std::fs::write(dir.path().join("countersign.toml"), file).unwrap();
        let (code, _, error) = countersign(dir.path(), variables, &["config", "check"]);
        assert!(code == 2 && error.contains(said), "{file} {variables:?}: {code} {error}");
    };
    check("grpc.listen = \"0.0.0.0:7443\"", &[], "other machines can reach it");
    check("[web]\nlisten = \"0.0.0.0:1\"\npublic_url = \"https://a.example\"", &[], "other machines can reach it");
    check("[web]\npublic_url = \"http://a.example\"", &[], "web.public_url");
    check("dev.issuer_listen = \"0.0.0.0:7444\"", &[], "must be a loopback address");
    check("[store]\nkind = \"redis\"\n[store.redis]\nurls = [\"redis://u:hunter2@a\"]", &[], "no user or password");
    // There is no CORS to open: a browser of another origin gets nothing, and no key says otherwise.
    check("[web]\ncors = [\"*\"]", &[], "unknown key `web.cors`");
    check("", &[("COUNTERSIGN__MASKING__FORMAT_KEY_FILE", "/no/such/secret")], "cannot read the secret");
    let both =
        [("COUNTERSIGN__MASKING__FORMAT_KEY_FILE", "countersign.toml"), ("COUNTERSIGN__MASKING__FORMAT_KEY", "env:K")];
    check("", &both, "are both set");
}

/// Every secret that the configuration names is in a file; a server does not start without one of them.
#[test]
fn a_secret_that_cannot_be_read_keeps_the_server_from_starting() {
    let dir = tempfile::tempdir().unwrap();
    let policies = concat!(env!("CARGO_MANIFEST_DIR"), "/policies");
    let key = dir.path().join("key");
    std::fs::write(&key, format!("{}\r\n", "0f".repeat(32))).unwrap();
    let serve = |more: &[(&str, &str)]| {
        let own = [
            ("COUNTERSIGN__POLICY__DIR", policies),
            ("COUNTERSIGN__GRPC__LISTEN", "127.0.0.1:0"),
            ("COUNTERSIGN__DEV__ISSUER_LISTEN", "127.0.0.1:0"),
            ("COUNTERSIGN__WEB__LISTEN", "127.0.0.1:0"),
        ];
        let (code, _, said) = countersign(dir.path(), &[&own, more].concat(), &["serve", "--dev"]);
        assert_eq!(code, 1, "{said}");
        said
    };
    let missing = "[{\"id\": \"a\", \"from\": \"file:/no/such/key\"}]";
    assert!(serve(&[("COUNTERSIGN__JOURNAL__SEALING_KEYS", missing)]).contains("/no/such/key"));
    let secret = serve(&[("COUNTERSIGN__WEB__CLIENT_SECRET_FILE", "/no/such/secret")]);
    assert!(secret.contains("web.client_secret_file") && secret.contains("/no/such/secret"), "{secret}");
    // The end of the line is not part of the key: only the other one is what is wrong.
    let key = key.to_str().unwrap();
    let mixed = serve(&[
        ("COUNTERSIGN__MASKING__FORMAT_KEY_FILE", key),
        ("COUNTERSIGN__MASKING__PSEUDONYM_KEY", "env:NOT_SET"),
    ]);
    assert!(mixed.contains("NOT_SET") && !mixed.contains(key), "{mixed}");
}
