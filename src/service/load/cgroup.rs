//! What the kernel says of the memory of a control group: version 2, and the version 1 of older machines. Where there is none, or
//! none that limits, nothing is said.

use std::fs::read_to_string;
use std::path::{Path, PathBuf};

const ROOT: &str = "/sys/fs/cgroup";
const ROOT_1: &str = "/sys/fs/cgroup/memory";
/// Version 1 says so where there is no limit: the largest page-aligned number. Nobody has that much.
const UNLIMITED_BYTES: u64 = 1 << 60;

/// A control group and those around it: each of them may have a limit.
#[derive(Debug)]
pub struct Cgroup {
    innermost_first: Vec<PathBuf>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Usage {
    /// In use, without what the kernel can take back (files it has read).
    pub used_bytes: u64,
    pub limit_bytes: u64,
}

/// The files of a version.
struct Files {
    limit: &'static str,
    used: &'static str,
    /// Keys of `memory.stat`.
    cached: [&'static str; 2],
}

const VERSION_2: Files =
    Files { limit: "memory.max", used: "memory.current", cached: ["inactive_file", "active_file"] };
const VERSION_1: Files = Files {
    limit: "memory.limit_in_bytes",
    used: "memory.usage_in_bytes",
    cached: ["total_inactive_file", "total_active_file"],
};

impl Cgroup {
    /// That of this process, as far as it is seen from in here: in a container its own is the root.
    pub fn of_this_process() -> Self {
        let listed = read_to_string("/proc/self/cgroup").unwrap_or_default();
        let (root, path) = place(&listed);
        let root = Path::new(root);
        let own = root.join(path.trim_start_matches('/'));
        let within = own.ancestors().take_while(|dir| dir.starts_with(root));
        Self { innermost_first: within.map(Path::to_path_buf).collect() }
    }

    /// That of a directory, alone.
    pub fn at(dir: PathBuf) -> Self {
        Self { innermost_first: vec![dir] }
    }

    /// That of the group that is nearest to its limit.
    pub fn usage(&self) -> Option<Usage> {
        let usages =
            self.innermost_first.iter().filter_map(|dir| usage(dir, &VERSION_2).or_else(|| usage(dir, &VERSION_1)));
        usages.max_by(|one, other| one.share().total_cmp(&other.share()))
    }
}

impl Usage {
    /// The part of the limit that is in use.
    #[expect(clippy::cast_precision_loss, reason = "a part of all need not be known to the byte")]
    pub fn share(self) -> f64 {
        self.used_bytes as f64 / self.limit_bytes.max(1) as f64
    }
}

/// Where the group is, by `/proc/self/cgroup`: `0::/path`, or `5:memory:/path` of version 1.
fn place(listed: &str) -> (&'static str, &str) {
    let groups = || listed.lines().filter_map(|line| line.split_once(':')?.1.split_once(':'));
    let older = groups().find(|(controllers, _)| controllers.split(',').any(|controller| controller == "memory"));
    if let Some((_, path)) = older {
        return (ROOT_1, path);
    }
    (ROOT, groups().find(|(controllers, _)| controllers.is_empty()).map_or("", |(_, path)| path))
}

/// `None` where the group has no limit.
fn usage(dir: &Path, files: &Files) -> Option<Usage> {
    let number = |name: &str| read_to_string(dir.join(name)).ok()?.trim().parse::<u64>().ok();
    let limit_bytes = number(files.limit).filter(|limit| *limit < UNLIMITED_BYTES)?;
    let used = number(files.used)?;
    let stat = read_to_string(dir.join("memory.stat")).unwrap_or_default();
    let value = |key: &str| {
        let line = stat.lines().filter_map(|line| line.split_once(' ')).find(|(name, _)| *name == key);
        line.and_then(|(_, value)| value.trim().parse().ok()).unwrap_or(0)
    };
    let cached: u64 = files.cached.map(value).into_iter().sum();
    Some(Usage { used_bytes: used.saturating_sub(cached), limit_bytes })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_group_is_found_by_either_version() {
        assert_eq!(place("0::/system.slice/countersign.service\n"), (ROOT, "/system.slice/countersign.service"));
        assert_eq!(place("0::/\n"), (ROOT, "/"));
        assert_eq!(place("12:cpu,cpuacct:/a\n5:memory:/docker/7\n0::/b\n"), (ROOT_1, "/docker/7"));
        assert_eq!(place(""), (ROOT, ""));
    }

    #[test]
    fn version_1_says_the_same_in_other_words_and_no_limit_by_a_number() {
        let dir = tempfile::tempdir().unwrap();
        let write = |name: &str, text: &str| std::fs::write(dir.path().join(name), text).unwrap();
        let group = Cgroup::at(dir.path().into());
        assert_eq!(group.usage(), None);
        write("memory.limit_in_bytes", "4096\n");
        write("memory.usage_in_bytes", "3000\n");
        write("memory.stat", "cache 7\ninactive_file 5\ntotal_inactive_file 900\ntotal_active_file 100\n");
        assert_eq!(group.usage(), Some(Usage { used_bytes: 2_000, limit_bytes: 4_096 }));
        write("memory.limit_in_bytes", "9223372036854771712\n");
        assert_eq!(group.usage(), None);
    }

    #[test]
    fn of_the_groups_around_it_the_one_nearest_to_its_limit_counts() {
        let dir = tempfile::tempdir().unwrap();
        let inner = dir.path().join("inner");
        std::fs::create_dir(&inner).unwrap();
        let write = |dir: &Path, used: &str, limit: &str| {
            std::fs::write(dir.join("memory.current"), used).unwrap();
            std::fs::write(dir.join("memory.max"), limit).unwrap();
        };
        write(&inner, "10", "100");
        write(dir.path(), "90", "100");
        let group = Cgroup { innermost_first: vec![inner.clone(), dir.path().into()] };
        assert_eq!(group.usage().unwrap().used_bytes, 90);
        write(&inner, "95", "max");
        assert_eq!(group.usage().unwrap().used_bytes, 90);
    }
}
