//! The shape of the source: which module may name which, where the big libraries may be named, that files say what they
//! are, stay short and are reachable, and that the proto is commented like a manual.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};

/// Who may use whom (DESIGN section 4, docs/adr/0001). `server`, `upkeep`, `reload`, `cli`, `config`, `telemetry` and `main` may
/// use all.
const ARROWS: [(&str, &[&str]); 17] = [
    ("domain", &[]),
    ("measure", &[]),
    ("aead", &[]),
    ("files", &[]),
    ("network", &[]),
    ("wire", &["domain"]),
    ("vault", &["domain", "wire", "aead"]),
    ("engine", &["domain"]),
    ("identity", &["domain", "measure"]),
    ("journal", &["domain", "wire", "vault", "measure"]),
    ("store", &["domain", "wire", "vault", "journal", "measure", "files"]),
    ("notify", &["domain"]),
    ("masking", &["domain", "aead"]),
    (
        "service",
        &[
            "domain", "wire", "vault", "engine", "identity", "journal", "store", "notify", "masking", "measure",
            "aead", "files",
        ],
    ),
    ("authoring", &["domain", "engine"]),
    ("grpc", &["domain", "wire", "service", "identity", "journal", "store", "measure", "network"]),
    ("web", &["domain", "wire", "service", "identity", "aead", "network"]),
];

/// Libraries that only these modules may name.
const HOMES: [(&str, &[&str]); 14] = [
    ("prost", &["wire"]),
    ("prost_types", &["wire", "grpc"]),
    ("tonic", &["grpc"]),
    ("tonic_types", &["grpc"]),
    ("rustls", &["grpc"]),
    ("tokio_rustls", &["grpc"]),
    ("x509_parser", &["identity"]),
    ("cedar_policy", &["engine"]),
    ("axum", &["web"]),
    ("prometheus_client", &["telemetry"]),
    // Whose trace a call is part of is said in its headers.
    ("opentelemetry", &["grpc", "telemetry"]),
    ("tracing_opentelemetry", &["grpc", "telemetry"]),
    ("opentelemetry_otlp", &["telemetry"]),
    ("redis", &["store"]),
];

/// Modules at the top may name everything: they put the parts together.
const COMPOSITION: [&str; 9] = ["lib", "main", "server", "upkeep", "reload", "cli", "config", "telemetry", "demo"];

const LINES_MAX: usize = 500;
/// Where an error that is swallowed could turn a no into a yes.
const SECURITY_PATHS: [&str; 5] = ["src/domain", "src/service", "src/store", "src/grpc", "src/wire"];

struct Source {
    path: PathBuf,
    text: String,
}

impl Source {
    /// `grpc` for `src/grpc/status.rs`, `server` for `src/server.rs`.
    fn module(&self) -> &str {
        let inside = self.path.strip_prefix(root().join("src")).unwrap();
        let first = inside.components().next().unwrap().as_os_str().to_str().unwrap();
        first.strip_suffix(".rs").unwrap_or(first)
    }

    fn is_test(&self) -> bool {
        let name = self.path.file_name().unwrap().to_str().unwrap();
        name.ends_with("tests.rs")
            || name == "testing.rs"
            || self.path.components().any(|part| part.as_os_str() == "tests")
    }

    /// The product's code: without comments, and without the tests at the bottom.
    fn code(&self) -> impl Iterator<Item = (usize, &str)> {
        let end = self.text.find("#[cfg(test)]\nmod tests {").unwrap_or(self.text.len());
        let lines = self.text[..end].lines().enumerate();
        lines.map(|(number, line)| (number + 1, line)).filter(|(_, line)| !line.trim_start().starts_with("//"))
    }

    fn at(&self, line: usize) -> String {
        format!("{}:{line}", self.path.strip_prefix(root()).unwrap().display())
    }
}

fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

fn files(dir: &Path, extension: &str) -> Vec<PathBuf> {
    let mut found = Vec::new();
    for entry in std::fs::read_dir(dir).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            found.extend(files(&path, extension));
        } else if path.extension().is_some_and(|is| is == extension) {
            found.push(path);
        }
    }
    found
}

fn sources() -> Vec<Source> {
    let read = |path: PathBuf| Source { text: std::fs::read_to_string(&path).unwrap(), path };
    files(&root().join("src"), "rs").into_iter().map(read).collect()
}

/// Whether a line names this crate or module as the first part of a path.
fn names(line: &str, name: &str) -> bool {
    line.match_indices(&format!("{name}::"))
        .any(|(at, _)| !line[..at].ends_with(|before: char| before.is_alphanumeric() || before == '_' || before == ':'))
}

/// The modules of ours that a line names, by `crate::<module>` or within `use crate::{...}`.
fn ours(line: &str) -> Vec<String> {
    let mut found = Vec::new();
    for (at, _) in line.match_indices("crate::") {
        let rest = &line[at + "crate::".len()..];
        match rest.strip_prefix('{') {
            Some(list) => {
                let mut depth = 0;
                for part in list.split_inclusive([',', '{', '}']) {
                    if depth == 0 {
                        found.push(first_name(part));
                    }
                    depth += i32::from(part.ends_with('{')) - i32::from(part.ends_with('}'));
                }
            }
            None => found.push(first_name(rest)),
        }
    }
    found.retain(|name| !name.is_empty());
    found
}

fn first_name(text: &str) -> String {
    text.trim_start().chars().take_while(|letter| letter.is_alphanumeric() || *letter == '_').collect()
}

fn assert_none(problems: Vec<String>, what: &str) {
    assert!(problems.is_empty(), "{what}:\n{}", problems.join("\n"));
}

#[test]
fn arrows_between_modules_point_down_only() {
    let mut problems = Vec::new();
    for source in sources().iter().filter(|source| !source.is_test()) {
        let module = source.module();
        if COMPOSITION.contains(&module) {
            continue;
        }
        let Some((_, below)) = ARROWS.iter().find(|(name, _)| *name == module) else {
            problems.push(format!("{}: `{module}` has no place in the layers", source.at(1)));
            continue;
        };
        for (number, line) in source.code() {
            for used in ours(line).iter().filter(|used| **used != module) {
                if !below.contains(&&**used) {
                    problems.push(format!("{}: `{module}` -> `{used}`", source.at(number)));
                }
            }
        }
    }
    assert_none(problems, "an arrow that the layers do not have; see DESIGN section 4 and docs/adr/0001");
}

#[test]
fn libraries_are_named_only_where_they_live() {
    let mut problems = Vec::new();
    for source in sources().iter().filter(|source| !source.is_test()) {
        for (number, line) in source.code() {
            for (library, homes) in HOMES {
                let at_home = homes.contains(&source.module())
                    || (library == "redis" && !homes.is_empty() && source.path.ends_with("store/redis.rs"));
                // The generated client is the command line's way to a server.
                let is_client = source.module() == "cli" && library == "tonic";
                if names(line, library) && !at_home && !is_client {
                    problems.push(format!("{}: `{library}`", source.at(number)));
                }
            }
        }
    }
    assert_none(problems, "a library outside its module");
}

#[test]
fn every_file_says_what_it_is_and_is_short() {
    let mut problems = Vec::new();
    for source in sources() {
        if !source.text.starts_with("//! ") {
            problems.push(format!("{}: does not begin with `//!`", source.at(1)));
        }
        let lines = source.code().last().map_or(0, |(number, _)| number);
        if lines > LINES_MAX && !source.is_test() {
            problems.push(format!("{}: {lines} lines, over {LINES_MAX}: it wants to be two files", source.at(1)));
        }
    }
    for path in files(&root().join("tests"), "rs") {
        if !std::fs::read_to_string(&path).unwrap().starts_with("//! ") {
            problems.push(format!("{}: does not begin with `//!`", path.display()));
        }
    }
    assert_none(problems, "files");
}

#[test]
fn nothing_is_left_for_later() {
    let words = [concat!("TO", "DO"), concat!("FIX", "ME"), concat!("XX", "X"), concat!("HA", "CK")];
    let mut problems = Vec::new();
    for source in sources() {
        for (number, line) in source.text.lines().enumerate() {
            if words.iter().any(|word| line.contains(word)) {
                problems.push(format!("{}: {}", source.at(number + 1), line.trim()));
            }
        }
    }
    assert_none(problems, "left for later");
}

#[test]
fn what_is_swallowed_on_a_security_path_says_why() {
    let swallowing = [".ok();", "let _ ="];
    let mut problems = Vec::new();
    let on_path = |source: &&Source| SECURITY_PATHS.iter().any(|path| source.path.starts_with(root().join(path)));
    for source in sources().iter().filter(on_path).filter(|source| !source.is_test()) {
        let lines: Vec<&str> = source.text.lines().collect();
        for (number, line) in source.code() {
            let explained = lines[number.saturating_sub(5)..number].iter().any(|near| near.contains("//"));
            if swallowing.iter().any(|word| line.contains(word)) && !explained {
                problems.push(format!("{}: {}", source.at(number), line.trim()));
            }
        }
    }
    assert_none(problems, "swallowed without a word");
}

#[test]
fn a_decision_is_taken_only_in_decide() {
    let mut problems = Vec::new();
    for source in sources().iter().filter(|source| !source.is_test()) {
        if source.path.starts_with(root().join("src/domain/decide")) || source.path.ends_with("domain/decide.rs") {
            continue;
        }
        for (number, line) in source.code() {
            if line.contains("Decision {") && !line.contains("struct") && source.module() != "engine" {
                problems.push(format!("{}: {}", source.at(number), line.trim()));
            }
            if ["domain", "service", "wire"].contains(&source.module()) && line.contains("SystemTime::now") {
                problems.push(format!("{}: a clock below the store", source.at(number)));
            }
        }
    }
    assert_none(problems, "decisions and clocks");
}

#[test]
fn every_module_file_is_reachable() {
    let mut problems = Vec::new();
    for dir in ["src", "tests"] {
        for path in files(&root().join(dir), "rs") {
            let stem = path.file_stem().unwrap().to_str().unwrap();
            let is_root = ["lib", "main"].contains(&stem)
                || ["tests/twins", "tests/fuzz"].iter().any(|dir| path.starts_with(root().join(dir)));
            if is_root {
                continue;
            }
            let (name, parent) = if stem == "mod" {
                let dir = path.parent().unwrap();
                (dir.file_name().unwrap().to_str().unwrap(), dir.parent().unwrap())
            } else {
                (stem, path.parent().unwrap())
            };
            let declares = |file: PathBuf| {
                let text = std::fs::read_to_string(file).unwrap_or_default();
                text.lines().any(|line| {
                    line.trim_start()
                        .trim_start_matches("pub ")
                        .trim_start_matches("pub(crate) ")
                        .trim_start_matches("pub(super) ")
                        == format!("mod {name};")
                })
            };
            let parents =
                [parent.join("mod.rs"), parent.join("lib.rs"), parent.join("main.rs"), parent.with_extension("rs")];
            let named =
                std::fs::read_to_string(root().join("Cargo.toml")).unwrap().contains(&format!("{dir}/{name}.rs"));
            if !named && !parents.into_iter().any(declares) {
                problems.push(path.strip_prefix(root()).unwrap().display().to_string());
            }
        }
    }
    assert_none(problems, "files that no `mod` names");
}

#[test]
fn every_word_of_the_proto_is_explained() {
    let mut problems = Vec::new();
    let mut declared = 0;
    for path in files(&root().join("proto"), "proto") {
        let text = std::fs::read_to_string(&path).unwrap();
        let mut explained = false;
        for (number, line) in text.lines().enumerate() {
            let line = line.trim();
            let is_type = ["message ", "enum ", "service ", "rpc "].iter().any(|word| line.starts_with(word));
            let is_field = line.ends_with(';') && line.contains(" = ") && !line.starts_with("syntax");
            if is_type || is_field {
                declared += 1;
                if !explained {
                    problems.push(format!("{}:{}: {line}", path.display(), number + 1));
                }
            }
            explained = line.starts_with("//");
        }
    }
    assert!(declared > 200, "the protos were not found");
    assert_none(problems, "declared without a comment");
}

#[test]
fn no_type_is_declared_twice_under_one_name_in_the_domain() {
    let mut seen = BTreeSet::new();
    for source in sources().iter().filter(|source| source.module() == "domain" && !source.is_test()) {
        for (number, line) in source.code() {
            let name = line.strip_prefix("pub struct ").or_else(|| line.strip_prefix("pub enum "));
            if let Some(name) = name.map(first_name) {
                assert!(seen.insert(name.clone()), "{}: `{name}` has two meanings", source.at(number));
            }
        }
    }
    assert!(seen.len() > 30);
}
