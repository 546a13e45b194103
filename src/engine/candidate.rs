//! A set of policies as it lies on disk, before anybody has judged it: read whole, at one moment.
//!
//! Whoever writes the files does not stop for us. A directory is read until two readings in a row, with a pause between them,
//! are the same, so that what is loaded was there at one time, and never half of one set and half of another.

use std::collections::hash_map::DefaultHasher;
use std::fs;
use std::hash::{Hash, Hasher};
use std::os::unix::fs::MetadataExt;
use std::path::Path;

use super::load::{Tell, on_large_stack};
use super::problem::{LoadError, Problem};
use super::settings::Settings;
use super::snapshot::PolicySnapshot;
use super::source::{self, Found, SourceFile};
use crate::domain::PolicyDigest;

/// How often a directory is read before it counts as never at rest.
const READS_MAX: usize = 5;

/// Files, read.
#[derive(Debug)]
pub struct Candidate {
    settings: Settings,
    files: Vec<SourceFile>,
    problems: Vec<Problem>,
    warnings: Vec<Problem>,
    digest: PolicyDigest,
}

impl Candidate {
    /// Reads the directory until it is at rest for [`Settings::settle`]. What cannot be read becomes a problem of
    /// [`Candidate::load`]. Blocking.
    #[must_use]
    pub fn read(settings: &Settings) -> Self {
        let mut last = Self::once(settings);
        for _ in 1..READS_MAX {
            std::thread::sleep(settings.settle);
            let again = Self::once(settings);
            if last.is_same_as(&again) {
                return again;
            }
            last = again;
        }
        let dir = settings.dir.to_string_lossy().into();
        last.problems.push(Problem::in_file(&dir, "kept changing while it was read"));
        last
    }

    fn once(settings: &Settings) -> Self {
        let Found { files, problems, warnings } = source::read(&settings.dir, &settings.limits);
        Self { settings: settings.clone(), digest: source::digest(&files), files, problems, warnings }
    }

    fn is_same_as(&self, other: &Self) -> bool {
        self.digest == other.digest && self.problems == other.problems
    }

    /// The digest of what could be read.
    #[must_use]
    pub fn digest(&self) -> PolicyDigest {
        self.digest
    }

    /// Whether this is the very set that is in force.
    #[must_use]
    pub fn is_in_force(&self, current: &PolicySnapshot) -> bool {
        self.problems.is_empty() && self.digest == current.digest()
    }

    /// Parses and validates it, telling how far it is.
    ///
    /// # Errors
    /// Everything that is wrong with it.
    pub fn load(self, tell: &Tell<'_>) -> Result<PolicySnapshot, LoadError> {
        on_large_stack(&self.settings, &self.files, self.problems, self.warnings, tell)
    }
}

/// A cheap fingerprint of a policy directory: it is another one when a file or link was added, removed, replaced or written.
/// For noticing changes where the system does not tell of them; what is loaded goes by contents.
#[must_use]
pub fn fingerprint(settings: &Settings) -> u64 {
    let mut hasher = DefaultHasher::new();
    each_entry(&settings.dir, settings.limits.directory_depth_max, &mut hasher);
    hasher.finish()
}

fn each_entry(dir: &Path, depth_left: usize, into: &mut DefaultHasher) {
    let Ok(entries) = fs::read_dir(dir) else { return "unreadable".hash(into) };
    let mut paths: Vec<_> = entries.filter_map(|entry| Some(entry.ok()?.path())).collect();
    paths.sort();
    for path in paths.iter().filter(|path| !source::is_hidden(path)) {
        path.hash(into);
        let found = match fs::metadata(path) {
            Ok(found) => found,
            Err(error) => {
                error.kind().hash(into);
                continue;
            }
        };
        // The time of the last change of anything, contents or rights: unlike that of writing, nobody sets it back.
        (found.dev(), found.ino(), found.len(), found.ctime(), found.ctime_nsec()).hash(into);
        if let Some(depth_left) = depth_left.checked_sub(1).filter(|_| found.is_dir()) {
            each_entry(path, depth_left, into);
        }
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::super::testing::schemas;
    use super::*;

    const PERMIT: &str = "permit (principal, action, resource is Dataset);";

    fn directory() -> tempfile::TempDir {
        let dir = tempfile::tempdir().unwrap();
        for schema in schemas() {
            fs::write(dir.path().join(schema.name.trim_start_matches("policies/")), &*schema.text).unwrap();
        }
        fs::write(dir.path().join("p.cedar"), PERMIT).unwrap();
        dir
    }

    #[test]
    fn what_is_read_again_is_told_apart_by_its_contents() {
        let dir = directory();
        let settings = Settings::new(dir.path());
        let snapshot = Candidate::read(&settings).load(&|_, _| {}).unwrap();
        assert!(Candidate::read(snapshot.settings()).is_in_force(&snapshot));
        fs::write(dir.path().join("p.cedar"), PERMIT).unwrap();
        assert!(Candidate::read(&settings).is_in_force(&snapshot), "written anew, and the same");
        fs::write(dir.path().join("q.cedar"), PERMIT).unwrap();
        let more = Candidate::read(&settings);
        assert!(!more.is_in_force(&snapshot));
        assert_eq!(more.digest(), more.load(&|_, _| {}).unwrap().digest());
        fs::remove_dir_all(dir.path()).unwrap();
        assert!(Candidate::read(&settings).load(&|_, _| {}).unwrap_err().to_string().contains("cannot be read"));
    }

    #[test]
    fn a_copy_that_stalls_between_two_files_is_not_taken_for_a_set() {
        let dir = directory();
        let settings = Settings { settle: Duration::from_secs(2), ..Settings::new(dir.path()) };
        let stalled = std::thread::scope(|scope| {
            let reading = scope.spawn(|| Candidate::read(&settings));
            // After the first reading, or before it: either way the second or third finds the other file as well.
            std::thread::sleep(Duration::from_millis(200));
            fs::write(dir.path().join("late.cedar"), "forbid (principal, action, resource is Dataset);").unwrap();
            reading.join().unwrap()
        });
        assert_eq!(stalled.load(&|_, _| {}).unwrap().summary().policies.len(), 2);
    }

    #[test]
    fn a_file_whose_name_was_meant_to_be_ours_is_refused_and_others_are_told_of() {
        let told = |name: &str| {
            let dir = directory();
            fs::write(dir.path().join(name), "[]").unwrap();
            match Candidate::read(&Settings { settle: Duration::ZERO, ..Settings::new(dir.path()) }).load(&|_, _| {}) {
                Ok(snapshot) => snapshot.summary().warnings.len().to_string(),
                Err(error) => error.problems[0].message.clone(),
            }
        };
        let refused = "is no file of policies by its name, and was not read";
        for name in ["team.link.json", "teamlinks.json", "Entities.json", "more.ceder", "more.CEDAR", "a.cedarshema"] {
            assert_eq!(told(name), refused, "{name}");
        }
        for name in ["p.cedar~", "p.cedar.orig", "tests.yaml", "Makefile", "logo.png"] {
            assert_eq!(told(name), "1", "{name}");
        }
        for name in ["README.md", "LICENSE", "p.test.yaml", ".links.json", ".p.cedar.swp"] {
            assert_eq!(told(name), "0", "{name}");
        }
    }

    #[test]
    fn a_fingerprint_changes_with_a_file_a_rename_and_a_swapped_link() {
        let dir = directory();
        let settings = Settings::new(dir.path());
        for set in ["..1", "..2"] {
            fs::create_dir(dir.path().join(set)).unwrap();
            fs::write(dir.path().join(set).join("mapped.cedar"), PERMIT).unwrap();
        }
        std::os::unix::fs::symlink("..1", dir.path().join("..data")).unwrap();
        std::os::unix::fs::symlink("..data/mapped.cedar", dir.path().join("mapped.cedar")).unwrap();
        let mut seen = vec![fingerprint(&settings)];
        assert_eq!(seen, [fingerprint(&settings)]);
        let mut changes = |what: &str| {
            let now = fingerprint(&settings);
            assert!(!seen.contains(&now), "{what}");
            seen.push(now);
        };
        std::os::unix::fs::symlink("..2", dir.path().join("..new")).unwrap();
        fs::rename(dir.path().join("..new"), dir.path().join("..data")).unwrap();
        changes("a swapped link");
        fs::write(dir.path().join("p.cedar"), format!("{PERMIT} ")).unwrap();
        changes("a longer file");
        fs::rename(dir.path().join("p.cedar"), dir.path().join("q.cedar")).unwrap();
        changes("a rename");
        fs::remove_file(dir.path().join("q.cedar")).unwrap();
        changes("a removal");
    }
}
