//! Files to text: everything a directory of policies holds, in one fixed order, within limits. Hidden entries are skipped
//! (editors' swap files, Kubernetes' `..data`), symbolic links are followed, a directory is entered once. A file that is none of
//! ours is told of: by a name that was meant to be one of ours, policies could be left out in silence.

use std::collections::BTreeSet;
use std::fs;
use std::io::Read;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use sha2::{Digest, Sha256};

use super::problem::{Level, Problem};
use super::settings::Limits;
use crate::domain::PolicyDigest;

/// What a file is for, by its name.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum FileKind {
    Policies,
    Schema,
    /// Links of templates.
    Links,
    Entities,
}

/// One file, read.
#[derive(Debug, Clone)]
pub struct SourceFile {
    pub kind: FileKind,
    /// As problems name it.
    pub path: Arc<str>,
    /// Below the policy directory: the part that the digest covers.
    pub name: String,
    pub text: Arc<str>,
}

impl SourceFile {
    /// A file that was never on disk; `None` if its name says that it is not ours.
    #[must_use]
    pub fn in_memory(name: &str, text: &str) -> Option<Self> {
        let kind = kind(Path::new(name))?;
        Some(Self { kind, path: name.into(), name: name.to_owned(), text: text.into() })
    }

    /// The file's name without directories and extension.
    pub fn stem(&self) -> &str {
        Path::new(&self.name).file_stem().and_then(|stem| stem.to_str()).unwrap_or("policy")
    }
}

fn kind(path: &Path) -> Option<FileKind> {
    let name = path.file_name()?.to_str()?;
    match path.extension()?.to_str()? {
        "cedar" => Some(FileKind::Policies),
        "cedarschema" => Some(FileKind::Schema),
        "json" if name == "entities.json" || name.ends_with(".entities.json") => Some(FileKind::Entities),
        "json" if name == "links.json" || name.ends_with(".links.json") => Some(FileKind::Links),
        _ => None,
    }
}

/// What is left alone without a word, because nobody could take it for policies: tests of policies, and text for people.
const NO_POLICIES: [&str; 4] = [".test.yaml", ".test.yml", ".md", ".txt"];
/// What editors and tools leave beside a file.
const COPIES: [&str; 5] = ["~", ".bak", ".orig", ".rej", ".tmp"];
const EXTENSIONS: [&str; 2] = ["cedar", "cedarschema"];
/// Letters that two words may differ by and still be one, misspelt.
const MISSPELT_MAX: usize = 2;

/// What to say of a file that is none of ours; an error where a name of ours was meant.
fn foreign(path: &Path) -> Option<Problem> {
    let name = path.file_name()?.to_string_lossy().to_lowercase();
    let is_named = |endings: &[&str]| endings.iter().any(|ending| name.ends_with(ending));
    if is_named(&NO_POLICIES) || name == "license" {
        return None;
    }
    let problem = Problem::in_file(&shown(path), "is no file of policies by its name, and was not read");
    if is_named(&COPIES) {
        return Some(problem.as_warning());
    }
    let (_, extension) = name.rsplit_once('.').unwrap_or(("", ""));
    let meant = EXTENSIONS.into_iter().find(|ours| strsim::levenshtein(ours, extension) <= MISSPELT_MAX);
    Some(match (extension, meant) {
        ("json", _) => problem.with_help(Some(
            "expected `links.json`, `*.links.json`, `entities.json` or `*.entities.json`; begin its name with `.` if it is \
             none"
                .to_owned(),
        )),
        (_, Some(ours)) => problem.with_help(Some(format!("expected `.{ours}`, in lower case"))),
        (_, None) => problem.as_warning(),
    })
}

/// SHA-256 over the names and texts of all files, each behind its length.
pub fn digest(files: &[SourceFile]) -> PolicyDigest {
    let mut hash = Sha256::new();
    hash.update(b"countersign.policies.v1");
    for part in files.iter().flat_map(|file| [file.name.as_str(), &file.text]) {
        hash.update(u64::try_from(part.len()).unwrap_or(u64::MAX).to_be_bytes());
        hash.update(part.as_bytes());
    }
    PolicyDigest(hash.finalize().into())
}

/// A directory, read.
#[derive(Debug, Default)]
pub struct Found {
    /// In the order of their names.
    pub files: Vec<SourceFile>,
    pub problems: Vec<Problem>,
    pub warnings: Vec<Problem>,
}

/// Reads a directory, whatever else is wrong.
pub fn read(dir: &Path, limits: &Limits) -> Found {
    let mut walk = Walk { root: dir, limits, entered: BTreeSet::new(), bytes: 0, found: Found::default() };
    walk.directory(dir, 0);
    walk.found.files.sort_by(|a, b| a.name.cmp(&b.name));
    walk.found
}

struct Walk<'a> {
    root: &'a Path,
    limits: &'a Limits,
    entered: BTreeSet<PathBuf>,
    bytes: usize,
    found: Found,
}

impl Walk<'_> {
    fn problem(&mut self, path: &Path, message: impl Into<String>) {
        self.found.problems.push(Problem::in_file(&shown(path), message));
    }

    fn directory(&mut self, dir: &Path, depth: usize) {
        if depth > self.limits.directory_depth_max {
            let limit = self.limits.directory_depth_max;
            return self.problem(dir, format!("directories nest deeper than {limit}"));
        }
        match entries(dir) {
            // A loop of links leads back to where we have been.
            Ok((real, _)) if !self.entered.insert(real.clone()) => {}
            Ok((_, paths)) => paths.iter().for_each(|path| self.entry(path, depth)),
            Err(error) => self.problem(dir, format!("cannot be read: {error}")),
        }
    }

    fn entry(&mut self, path: &Path, depth: usize) {
        if is_hidden(path) {
            return;
        }
        match fs::metadata(path) {
            Ok(found) if found.is_dir() => self.directory(path, depth + 1),
            Ok(found) if found.is_file() => self.file(path),
            // A device: refused where it claims to be a policy, else none of ours.
            Ok(_) if kind(path).is_some() => self.problem(path, "is not a regular file"),
            Ok(_) => {}
            // Whatever it is: it may be a directory full of forbids.
            Err(error) => self.problem(path, format!("cannot be read: {error}")),
        }
    }

    fn file(&mut self, path: &Path) {
        let Some(kind) = kind(path) else {
            return match foreign(path) {
                Some(problem) if problem.level == Level::Error => self.found.problems.push(problem),
                warning => self.found.warnings.extend(warning),
            };
        };
        if self.found.files.len() >= self.limits.files_max {
            return self.problem(path, format!("is one file more than {}", self.limits.files_max));
        }
        match text(path, self.limits.file_bytes_max) {
            Ok(text) => self.accept(kind, path, text),
            Err(message) => self.problem(path, message),
        }
    }

    fn accept(&mut self, kind: FileKind, path: &Path, text: String) {
        self.bytes = self.bytes.saturating_add(text.len());
        if self.bytes > self.limits.total_bytes_max {
            return self.problem(path, format!("all files together exceed {} bytes", self.limits.total_bytes_max));
        }
        let name = path.strip_prefix(self.root).unwrap_or(path).to_string_lossy().into_owned();
        self.found.files.push(SourceFile { kind, path: shown(path), name, text: text.into() });
    }
}

/// Whether an entry is none of ours by its name.
pub fn is_hidden(path: &Path) -> bool {
    path.file_name().and_then(|name| name.to_str()).is_some_and(|name| name.starts_with('.'))
}

fn shown(path: &Path) -> Arc<str> {
    path.to_string_lossy().into()
}

/// The directory's true path and its entries, sorted.
fn entries(dir: &Path) -> std::io::Result<(PathBuf, Vec<PathBuf>)> {
    let real = fs::canonicalize(dir)?;
    let mut paths = fs::read_dir(dir)?.map(|entry| Ok(entry?.path())).collect::<std::io::Result<Vec<_>>>()?;
    paths.sort();
    Ok((real, paths))
}

fn text(path: &Path, bytes_max: usize) -> Result<String, String> {
    let limit = u64::try_from(bytes_max).unwrap_or(u64::MAX).saturating_add(1);
    let mut bytes = Vec::new();
    let read = fs::File::open(path).and_then(|file| file.take(limit).read_to_end(&mut bytes));
    read.map_err(|error| format!("cannot be read: {error}"))?;
    if bytes.len() > bytes_max {
        return Err(format!("is larger than {bytes_max} bytes"));
    }
    String::from_utf8(bytes).map_err(|_| "is not UTF-8".to_owned())
}
