//! What the documents show is what the program does: every configuration is read, every policy loaded, every recipe tested, and every
//! shell block run as it stands, against one server.
//!
//! A block that cannot run here says so in a comment right before it, `<!-- not run: why -->`, and is counted.

mod api;
mod server;

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use countersign::config::{Layers, Problem};
use countersign::engine::{PolicySnapshot, Settings};

use self::server::DevServer;
use crate::configuration::countersign;

/// How many blocks may say that they cannot be run. Whoever adds one answers for it here.
const NOT_RUN: usize = 7;
const NOT_RUN_MARK: &str = "<!-- not run: ";
/// A piece of a file that is good, but not alone.
const PART_MARK: &str = "<!-- part of a file -->";
/// Every language that a block may be in.
const LANGUAGES: [&str; 8] = ["cedar", "console", "json", "markdown", "sh", "text", "toml", "yaml"];

struct Block {
    /// For messages: the file and its line.
    place: String,
    file: String,
    language: String,
    /// The comment right before it.
    mark: String,
    text: String,
}

impl Block {
    fn is_run(&self) -> bool {
        !self.mark.starts_with(NOT_RUN_MARK)
    }
}

fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

/// Every page but the decision records, which tell how things were.
fn pages() -> Vec<PathBuf> {
    let in_dir = |dir: PathBuf| std::fs::read_dir(dir).unwrap().map(|entry| entry.unwrap().path());
    let all = in_dir(root().to_owned()).chain(in_dir(root().join("docs"))).chain([root().join("benches/README.md")]);
    let mut pages: Vec<_> = all.filter(|path| path.extension().is_some_and(|kind| kind == "md")).collect();
    pages.sort();
    pages
}

fn blocks() -> Vec<Block> {
    pages().iter().flat_map(|page| blocks_of(page)).collect()
}

fn blocks_of(page: &Path) -> Vec<Block> {
    let file = page.strip_prefix(root()).unwrap().display().to_string();
    let text = std::fs::read_to_string(page).unwrap();
    let (mut found, mut before) = (Vec::new(), "");
    let mut lines = text.lines().enumerate();
    while let Some((number, line)) = lines.next() {
        if let Some(language) = line.strip_prefix("```") {
            let inside = lines.by_ref().map(|(_, line)| line).take_while(|line| *line != "```");
            let text = inside.fold(String::new(), |text, line| text + line + "\n");
            let (place, language) = (format!("{file}:{}", number + 1), language.to_owned());
            found.push(Block { place, file: file.clone(), language, mark: before.to_owned(), text });
        }
        before = line;
    }
    found
}

fn of(language: &str) -> Vec<Block> {
    let mut found = blocks();
    found.retain(|block| block.language == language && block.is_run());
    assert!(!found.is_empty(), "no block in {language} was found");
    found
}

#[test]
fn every_block_is_in_a_language_and_few_are_not_run() {
    let blocks = blocks();
    for block in &blocks {
        assert!(LANGUAGES.contains(&&*block.language), "{}: a block in `{}`", block.place, block.language);
    }
    let not_run: Vec<_> = blocks.iter().filter(|block| !block.is_run()).collect();
    for block in &not_run {
        assert!(block.mark.ends_with(" -->") && block.mark.len() > NOT_RUN_MARK.len() + 8, "{}: why?", block.place);
    }
    let places: Vec<_> = not_run.iter().map(|block| format!("{} {}", block.place, block.mark)).collect();
    println!("{} of {} blocks are not run:\n{}", not_run.len(), blocks.len(), places.join("\n"));
    assert_eq!(not_run.len(), NOT_RUN, "{}", places.join("\n"));
}

#[test]
fn every_configuration_is_one_that_the_server_takes() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("countersign.toml");
    for block in of("toml") {
        // The certificates lie where the server runs, not where it is tested.
        let lines = block.text.lines().filter(|line| !line.starts_with("ca_file"));
        let is_piece = block.text.starts_with("[[identity.issuers.principals]]");
        let before = if is_piece {
            "[[identity.issuers]]\nname = 'a'\nissuer = 'https://a.example'\naudiences = ['x']\n"
        } else {
            ""
        };
        let text = lines.fold(before.to_owned(), |text, line| text + line + "\n");
        std::fs::write(&path, text).unwrap();
        let Err(error) = (Layers { file: Some(path.clone()), ..Layers::default() }).load() else { continue };
        let is_part =
            block.mark == PART_MARK && error.problems.iter().all(|problem| matches!(problem, Problem::Together { .. }));
        assert!(is_part, "{}: {error}", block.place);
    }
}

/// The shipped schema and world, with these policies instead of the example's.
fn policies(parts: &[(&str, &str)]) -> tempfile::TempDir {
    let dir = tempfile::tempdir().unwrap();
    for name in ["app.cedarschema", "countersign.cedarschema", "entities.json", "service.cedar"] {
        std::fs::copy(root().join("policies").join(name), dir.path().join(name)).unwrap();
    }
    for (name, text) in parts {
        std::fs::write(dir.path().join(name), text).unwrap();
    }
    dir
}

#[test]
fn every_policy_loads_under_the_shipped_schema() {
    for block in of("cedar") {
        let dir = policies(&[("block.cedar", &block.text)]);
        let settings = Settings { allow_unreviewable_gates: true, ..Settings::new(dir.path()) };
        let loaded = PolicySnapshot::load(&settings);
        assert!(loaded.is_ok(), "{}: {}", block.place, loaded.unwrap_err());
    }
}

/// A recipe is a policy and, right behind it, what it should answer.
#[test]
fn every_recipe_answers_as_its_page_says() {
    let blocks = blocks();
    let mut recipes = 0;
    for pair in blocks.windows(2) {
        let [policy, test] = pair else { continue };
        let is_recipe = policy.language == "cedar" && test.language == "yaml" && test.text.contains("\ntests:\n");
        if !is_recipe || policy.file != "docs/policies.md" {
            continue;
        }
        recipes += 1;
        let dir = policies(&[("recipe.cedar", &policy.text), ("recipe.test.yaml", &test.text)]);
        let (code, out, said) = countersign(dir.path(), &[], &["policy", "test", "."]);
        assert_eq!(code, 0, "{}: {out}{said}", test.place);
    }
    assert!(recipes >= 6, "{recipes}");
}

/// `set -e` looks away where `!` stands: what must fail is looked at by name.
const PRELUDE: &str = "set -eu\nfails() { if \"$@\"; then exit 1; fi; }\n";

/// Each page's shell blocks are one script, in the order of the page, in a directory of its own. `countersign` is the program that
/// is tested, and the server runs as `serve --dev` would.
#[test]
fn every_shell_block_runs_as_it_stands() {
    let server = DevServer::start(env!("CARGO_BIN_EXE_countersign"), root().join("policies").to_str().unwrap());
    let mut scripts: BTreeMap<String, String> = BTreeMap::new();
    for block in of("sh") {
        let script = scripts.entry(block.file).or_insert_with(|| PRELUDE.to_owned());
        let text =
            block.text.lines().map(|line| line.strip_prefix("! ").map_or(line.to_owned(), |no| format!("fails {no}")));
        let _ = writeln!(script, "# {}\n{}", block.place, text.collect::<Vec<_>>().join("\n"));
    }
    for (page, script) in scripts {
        let dir = tempfile::tempdir().unwrap();
        std::os::unix::fs::symlink(root().join("policies"), dir.path().join("policies")).unwrap();
        let (is_good, out, said) = run(&server, dir.path(), &script);
        assert!(is_good, "{page}:\n{out}\n{said}");
    }
}

fn run(server: &DevServer, dir: &Path, script: &str) -> (bool, String, String) {
    let program = Path::new(env!("CARGO_BIN_EXE_countersign")).parent().unwrap();
    let path = format!("{}:{}", program.display(), std::env::var("PATH").unwrap());
    let mut command = Command::new("sh");
    command.args(["-xc", script]).current_dir(dir).stdin(Stdio::null()).env_clear().env("PATH", path);
    command.env("COUNTERSIGN_SERVER", &server.url).env("COUNTERSIGN_DEV_ISSUER", &server.issuer);
    let output = command.env("COUNTERSIGN__JOURNAL__DIR", server.journal()).output().unwrap();
    let text = |bytes: Vec<u8>| String::from_utf8_lossy(&bytes).into_owned();
    (output.status.success(), text(output.stdout), text(output.stderr))
}

/// What a block shows is said: each line but `...`, which stands for more.
#[test]
fn every_console_block_shows_what_is_said() {
    for block in of("console") {
        let (mut said, mut commands) = (String::new(), 0);
        for line in block.text.lines() {
            if let Some(command) = line.strip_prefix("$ countersign ") {
                let arguments: Vec<&str> = command.split(' ').collect();
                let (_, out, error) = countersign(root(), &[], &arguments);
                (said, commands) = (out + &error, commands + 1);
            } else if line.trim() != "..." {
                assert!(said.contains(line), "{}: `{line}` is not in\n{said}", block.place);
            }
        }
        assert!(commands > 0, "{}", block.place);
    }
}

/// `countersign one two`, wherever it is written: there is such a command.
#[test]
fn every_command_that_is_named_exists() {
    let mut named = std::collections::BTreeSet::new();
    for page in pages() {
        let text = std::fs::read_to_string(&page).unwrap();
        for (at, _) in text.match_indices("`countersign ") {
            let rest = &text[at + "`countersign ".len()..];
            let line = rest.split(['`', '\n']).next().unwrap();
            let words =
                line.split(' ').take_while(|word| word.chars().all(|one| one.is_ascii_lowercase() || one == '-'));
            let words: Vec<_> =
                words.filter(|word| !word.starts_with('-') && !word.is_empty()).take(2).map(str::to_owned).collect();
            // Labels of what is sealed begin alike.
            if !words.is_empty() && !["data", "sealed"].contains(&&*words[0]) {
                named.insert(words);
            }
        }
    }
    assert!(named.len() > 12, "{named:?}");
    for words in named {
        let (group, with_two) =
            (help(&words[..1]), words.len() > 1 && help(&words[..1]).1.contains("Usage: countersign"));
        assert_eq!(group.0, 0, "there is no `countersign {}`: {}", words[0], group.2);
        // The second word is a command where the first has commands, else an argument.
        if with_two && group.1.contains("<COMMAND>") {
            let found = help(&words);
            assert_eq!(found.0, 0, "there is no `countersign {}`: {}", words.join(" "), found.2);
        }
    }
}

fn help(words: &[String]) -> (i32, String, String) {
    let mut arguments: Vec<&str> = words.iter().map(String::as_str).collect();
    arguments.push("--help");
    countersign(root(), &[], &arguments)
}

/// A link within the project leads somewhere, to a heading that is there.
#[test]
fn every_link_within_the_project_leads_somewhere() {
    let mut links = 0;
    for page in pages() {
        let text = std::fs::read_to_string(&page).unwrap();
        for (at, _) in text.match_indices("](") {
            let target = text[at + 2..].split(')').next().unwrap();
            if target.contains("://") || target.starts_with("mailto:") || target.contains(['\n', ' ', '`']) {
                continue;
            }
            links += 1;
            let (file, heading) = target.split_once('#').unwrap_or((target, ""));
            let path = if file.is_empty() { page.clone() } else { page.parent().unwrap().join(file) };
            assert!(path.exists(), "{}: `{target}` leads nowhere", page.display());
            if !heading.is_empty() && path.extension().is_some_and(|kind| kind == "md") {
                assert!(headings(&path).iter().any(|one| one == heading), "{}: no heading `{target}`", page.display());
            }
        }
    }
    assert!(links > 50, "{links}");
}

/// As they are linked to.
fn headings(path: &Path) -> Vec<String> {
    let text = std::fs::read_to_string(path).unwrap();
    let titles = text
        .lines()
        .filter(|line| line.starts_with('#'))
        .map(|line| line.trim_start_matches('#').trim().to_lowercase());
    let kept = |title: String| {
        let letters = title.chars().filter(|one| one.is_alphanumeric() || matches!(one, ' ' | '-' | '_'));
        letters.map(|one| if one == ' ' { '-' } else { one }).collect::<String>()
    };
    titles.map(kept).collect()
}

#[test]
fn the_page_of_the_api_is_that_of_the_protos() {
    let protos = root().join("proto/countersign/v1");
    let written = std::fs::read_to_string(root().join("docs/api.md")).unwrap();
    assert!(written == api::page(&protos).unwrap(), "docs/api.md is out of date: run `make docs`");
    let files = std::fs::read_dir(&protos).unwrap().count();
    assert_eq!(files, api::FILES.len(), "a proto is missing on the page");
}

/// The threat model names tests: each is there, so that none of its claims outlives its proof.
#[test]
fn every_test_that_the_threat_model_names_exists() {
    let page = std::fs::read_to_string(root().join("docs/threat-model.md")).unwrap();
    let sources = sources(&root().join("tests")) + &sources(&root().join("src"));
    let mut named = 0;
    for (at, _) in page.match_indices("`test:").filter(|(at, _)| !page[at + 6..].starts_with('`')) {
        let name = page[at + "`test:".len()..].split('`').next().unwrap();
        named += 1;
        assert!(sources.contains(&format!("fn {name}(")), "there is no test `{name}`");
    }
    let twins: Vec<&str> = page
        .match_indices("`twin:")
        .filter(|(at, _)| !page[at + 6..].starts_with('`'))
        .map(|(at, _)| page[at + 6..].split('`').next().unwrap())
        .collect();
    for twin in &twins {
        assert!(root().join(format!("tests/twins/{twin}.twin")).exists(), "there is no twin `{twin}`");
    }
    assert!(named >= 25 && twins.len() >= 15, "{named} tests, {} twins", twins.len());
}

fn sources(dir: &Path) -> String {
    let mut text = String::new();
    for entry in std::fs::read_dir(dir).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            text += &sources(&path);
        } else if path.extension().is_some_and(|kind| kind == "rs") {
            text += &std::fs::read_to_string(&path).unwrap();
        }
    }
    text
}
