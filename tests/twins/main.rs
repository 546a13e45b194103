//! The twin of every safety test: the same test with the protection off must fail.
//!
//! `cargo run --example twins` copies the package to `target/twins`, writes every mutation of `tests/twins/*.twin` into the
//! copy, each behind a switch that an environment variable turns, builds the tests there once, sees all named tests pass
//! with every switch off, and each of them fail with its own switch on. The product's source stays as it is.
//!
//! A `.twin` file says `name`, `proves` (which invariant or rule), `file`, `test` (a test of `tests/`, or `lib:` and one of
//! the library), and after `--- source` the text that is there once, after `--- twin` what stands there instead;
//! `crate::twin("<name>")` is true when the switch is on. A protection that stands twice is taken away twice: `file` names
//! several files, and as many pairs of texts follow.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing)]

use std::collections::{BTreeMap, BTreeSet};
use std::error::Error;
use std::ffi::OsStr;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitCode, Stdio};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

/// What no build needs.
const LEFT_OUT: [&str; 2] = ["target", "node_modules"];
const VERSION: &str = concat!("version = \"", env!("CARGO_PKG_VERSION"));
const PROGRAM: &str = "name = \"countersign\"\npath = \"src/main.rs\"";
const PROGRAM_OF_TWINS: &str = "name = \"countersign-twins\"\npath = \"src/main.rs\"";
const DEFAULT_RUN: &str = "default-run = \"countersign\"\n";
/// The tests that start it.
const RUN_THE_PROGRAM: [&str; 8] = [
    "tests/authoring.rs",
    "tests/cli.rs",
    "tests/configuration.rs",
    "tests/crash/child.rs",
    "tests/documents.rs",
    "tests/healthcheck.rs",
    "tests/shutdown.rs",
    "tests/terminal.rs",
];
const SWITCH: &str = "\n/// Whether the protection of that name is off.\n#[must_use]\npub fn twin(name: &str) -> bool {\n    std::env::var(\"TWIN\").as_deref() == Ok(name)\n}\n";
/// A twin that hangs has failed as well, only slowly.
const PATIENCE: Duration = Duration::from_secs(90);
const AT_ONCE: usize = 2;

type Fallible<T> = Result<T, Box<dyn Error>>;

struct Twin {
    name: String,
    proves: String,
    test: String,
    edits: Vec<Edit>,
}

struct Edit {
    file: String,
    source: String,
    twin: String,
}

impl Twin {
    /// Which program has its test, `lib` or `integration`, and the test's name there.
    fn place(&self) -> (&str, &str) {
        self.test.split_once("lib:").map_or(("integration", &*self.test), |(_, test)| ("lib", test))
    }
}

fn main() -> ExitCode {
    match run() {
        Ok(true) => ExitCode::SUCCESS,
        Ok(false) => ExitCode::FAILURE,
        Err(error) => {
            eprintln!("twins: {error}");
            ExitCode::FAILURE
        }
    }
}

fn run() -> Fallible<bool> {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let copy = root.join("target/twins");
    let twins = read_all(&root.join("tests/twins"))?;
    let mutated = mutated(root, &twins)?;
    mirror(root, &copy, &mutated)?;
    let binaries = build(root, &copy)?;
    let started = Instant::now();
    let failing = unsound(&binaries, &copy, &twins)?;
    if !failing.is_empty() {
        let names: Vec<_> = failing.into_iter().collect();
        return Err(format!("these tests fail with every protection on: {}", names.join(", ")).into());
    }
    let off = run_all(&binaries, &copy, &twins)?;
    let width = twins.iter().map(|twin| twin.name.len()).max().unwrap_or(0);
    for (twin, passed) in twins.iter().zip(&off) {
        let verdict = if *passed { "SURVIVED" } else { "caught  " };
        println!("{verdict}  {:width$}  {:24}  {}", twin.name, twin.proves, twin.test);
    }
    let survivors = off.iter().filter(|passed| **passed).count();
    println!("{} twins, {survivors} survived, {:.1?}", twins.len(), started.elapsed());
    Ok(survivors == 0)
}

fn read_all(dir: &Path) -> Fallible<Vec<Twin>> {
    let mut files: Vec<PathBuf> = std::fs::read_dir(dir)?.map(|file| Ok(file?.path())).collect::<Fallible<_>>()?;
    files.retain(|path| path.extension().is_some_and(|extension| extension == "twin"));
    files.sort();
    files.iter().map(|path| parse(path).map_err(|error| format!("{}: {error}", path.display()).into())).collect()
}

fn parse(path: &Path) -> Fallible<Twin> {
    let text = std::fs::read_to_string(path)?;
    let (head, rest) = text.split_once("--- source\n").ok_or("no `--- source`")?;
    let mut fields: BTreeMap<_, _> = head.lines().filter_map(|line| line.split_once(": ")).collect();
    let mut field = |name: &str| fields.remove(name).map(str::to_owned).ok_or(format!("no `{name}`"));
    let name = field("name")?;
    let switch = format!("crate::twin(\"{name}\")");
    let (proves, files, test) = (field("proves")?, field("file")?, field("test")?);
    let pairs = files.split(", ").zip(rest.split("--- source\n"));
    let edit = |(file, pair): (&str, &str)| {
        let (source, twin) = pair.split_once("--- twin\n").ok_or("no `--- twin`")?;
        if !twin.contains(&switch) {
            return Err("a twin that does not ask for its own switch".into());
        }
        let text = |text: &str| text.trim_end_matches('\n').to_owned();
        Ok(Edit { file: file.to_owned(), source: text(source), twin: text(twin) })
    };
    Ok(Twin { name, proves, test, edits: pairs.map(edit).collect::<Fallible<_>>()? })
}

/// Copies what is different and removes what is gone, so that only what changed is built again.
fn mirror(from: &Path, to: &Path, mutated: &BTreeMap<PathBuf, String>) -> Fallible<()> {
    if let Some(text) = mutated.get(from) {
        return write(to, text.as_bytes());
    }
    if from.is_file() {
        return write(to, &std::fs::read(from)?);
    }
    std::fs::create_dir_all(to)?;
    for old in std::fs::read_dir(to)? {
        let old = old?;
        if !from.join(old.file_name()).exists() {
            if old.path().is_dir() { std::fs::remove_dir_all(old.path())? } else { std::fs::remove_file(old.path())? }
        }
    }
    for entry in std::fs::read_dir(from)? {
        let name = entry?.file_name();
        if is_left_out(&name) {
            continue;
        }
        mirror(&from.join(&name), &to.join(&name), mutated)?;
    }
    Ok(())
}

fn is_left_out(name: &OsStr) -> bool {
    name.to_str().is_none_or(|name| LEFT_OUT.contains(&name) || name.starts_with('.'))
}

fn write(path: &Path, bytes: &[u8]) -> Fallible<()> {
    if std::fs::read(path).ok().as_deref() != Some(bytes) {
        std::fs::create_dir_all(path.parent().ok_or("a file without a directory")?)?;
        std::fs::write(path, bytes)?;
    }
    Ok(())
}

/// The files that are not as they are in the package.
fn mutated(root: &Path, twins: &[Twin]) -> Fallible<BTreeMap<PathBuf, String>> {
    let mut files: BTreeMap<&str, String> = BTreeMap::new();
    // Another version is another package: the copy shares every dependency that is built, and none of our own artefacts.
    let manifest = std::fs::read_to_string(root.join("Cargo.toml"))?;
    let manifest = manifest.replacen(VERSION, &format!("{VERSION}-twins"), 1);
    // INVARIANT: a program whose protections can be switched off never lies where the product's lies.
    files.insert("Cargo.toml", manifest.replace(PROGRAM, PROGRAM_OF_TWINS).replace(DEFAULT_RUN, ""));
    for file in RUN_THE_PROGRAM {
        let tests = std::fs::read_to_string(root.join(file))?;
        files.insert(file, tests.replace("CARGO_BIN_EXE_countersign", "CARGO_BIN_EXE_countersign-twins"));
    }
    files.insert("src/lib.rs", std::fs::read_to_string(root.join("src/lib.rs"))? + SWITCH);
    if !files.get("Cargo.toml").is_some_and(|manifest| manifest.contains(PROGRAM_OF_TWINS)) {
        return Err("the program is not named in Cargo.toml as expected: it must not be built with switches".into());
    }
    for (twin, edit) in twins.iter().flat_map(|twin| twin.edits.iter().map(move |edit| (twin, edit))) {
        if !files.contains_key(&*edit.file) {
            files.insert(&edit.file, std::fs::read_to_string(root.join(&edit.file))?);
        }
        let text = files.get_mut(&*edit.file).ok_or("a file that was just read")?;
        let places = text.matches(&edit.source).count();
        if places != 1 {
            return Err(format!("{}: its source is {places} times in {}", twin.name, edit.file).into());
        }
        *text = text.replacen(&edit.source, &edit.twin, 1);
    }
    Ok(files.into_iter().map(|(file, text)| (root.join(file), text)).collect())
}

/// Builds the tests of the copy, and finds their programs: `lib` and `integration`.
fn build(root: &Path, copy: &Path) -> Fallible<BTreeMap<String, PathBuf>> {
    let cargo = std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into());
    let output = Command::new(cargo)
        .args(["test", "--no-run", "--lib", "--test", "integration", "--message-format", "short"])
        .current_dir(copy)
        .env("CARGO_TARGET_DIR", root.join("target"))
        .stdout(Stdio::null())
        .stderr(Stdio::piped())
        .output()?;
    let log = String::from_utf8_lossy(&output.stderr);
    if !output.status.success() {
        return Err(format!("the twins do not build:\n{log}").into());
    }
    let program = |line: &str| line.rsplit_once('(').map(|(_, path)| path.trim_end_matches(')').to_owned());
    let found = log.lines().filter(|line| line.trim_start().starts_with("Executable")).filter_map(|line| {
        let kind = if line.contains("tests/main.rs") { "integration" } else { "lib" };
        Some((kind.to_owned(), root.join(program(line)?)))
    });
    Ok(found.collect())
}

/// The tests that fail with every switch off, all in one run of each program.
fn unsound(binaries: &BTreeMap<String, PathBuf>, copy: &Path, twins: &[Twin]) -> Fallible<BTreeSet<String>> {
    let mut failing = BTreeSet::new();
    for (kind, binary) in binaries {
        let tests: BTreeSet<&str> =
            twins.iter().map(Twin::place).filter(|(of, _)| of == kind).map(|(_, test)| test).collect();
        let threads = AT_ONCE.to_string();
        let mut command = Command::new(binary);
        command.arg("--exact").args(&tests).args(["--test-threads", &threads]).current_dir(copy).env_remove("TWIN");
        let output = command.env("RUST_BACKTRACE", "0").stderr(Stdio::null()).output()?;
        let text = String::from_utf8_lossy(&output.stdout);
        let passed: BTreeSet<&str> =
            text.lines().filter_map(|line| line.strip_prefix("test ")?.strip_suffix(" ... ok")).collect();
        failing.extend(tests.difference(&passed).map(|test| (*test).to_owned()));
    }
    Ok(failing)
}

/// Whether each twin's test passes while its protection is off: the next one starts as soon as one has ended.
fn run_all(binaries: &BTreeMap<String, PathBuf>, copy: &Path, twins: &[Twin]) -> Fallible<Vec<bool>> {
    let next = AtomicUsize::new(0);
    let work = || -> Result<Vec<(usize, bool)>, String> {
        let mut passed = Vec::new();
        loop {
            let index = next.fetch_add(1, Ordering::Relaxed);
            let Some(twin) = twins.get(index) else { return Ok(passed) };
            let outcome =
                start(binaries, copy, twin).and_then(finish).map_err(|error| format!("{}: {error}", twin.name))?;
            passed.push((index, outcome));
        }
    };
    let mut all = std::thread::scope(|scope| -> Fallible<Vec<_>> {
        let workers: Vec<_> = (0..AT_ONCE).map(|_| scope.spawn(work)).collect();
        let mut all = Vec::with_capacity(twins.len());
        for worker in workers {
            all.extend(worker.join().map_err(|_| "a worker panicked")??);
        }
        Ok(all)
    })?;
    all.sort_unstable();
    Ok(all.into_iter().map(|(_, passed)| passed).collect())
}

fn start(binaries: &BTreeMap<String, PathBuf>, copy: &Path, twin: &Twin) -> Fallible<Child> {
    let (kind, test) = twin.place();
    let binary = binaries.get(kind).ok_or_else(|| format!("no `{kind}` tests were built"))?;
    let mut command = Command::new(binary);
    command.args(["--exact", test, "--test-threads", "1"]).current_dir(copy);
    command.env("RUST_BACKTRACE", "0").env("TWIN", &twin.name);
    Ok(command.stdout(Stdio::piped()).stderr(Stdio::null()).spawn()?)
}

/// Whether exactly one test ran and passed. The output of one test fits into the pipe, so that nobody need drain it.
fn finish(mut child: Child) -> Fallible<bool> {
    let started = Instant::now();
    while child.try_wait()?.is_none() {
        if started.elapsed() > PATIENCE {
            child.kill()?;
        }
        std::thread::sleep(Duration::from_millis(20));
    }
    let output = child.wait_with_output()?;
    let text = String::from_utf8_lossy(&output.stdout);
    if output.status.success() && !text.contains("1 passed") {
        return Err(format!("there is no such test:\n{text}").into());
    }
    Ok(output.status.success())
}
