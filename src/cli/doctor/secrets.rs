//! The files of secrets: that they can be read, by nobody else, and how old they are.

use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime};

use super::finding::{Finding, days};
use crate::config::Config;
use crate::config::keys::{KeyPlace, KeySettings};

const PART: &str = "secrets";
/// Most rules for secrets say a year.
const OLD: Duration = Duration::from_secs(365 * 86_400);
/// Whoever is not the owner or of his group.
const OTHERS_READ: u32 = 0o004;
const NOT_OWNER_WRITES: u32 = 0o022;

pub fn examine(config: &Config) -> Vec<Finding> {
    files(config).into_iter().map(|(key, path)| judge(key, &path)).collect()
}

/// Every file that holds a secret, by the key that names it.
fn files(config: &Config) -> Vec<(&'static str, PathBuf)> {
    let redis = config.store.redis.iter().flat_map(|redis| {
        [
            ("store.redis.password_file", &redis.password_file),
            ("store.redis.sentinel_password_file", &redis.sentinel_password_file),
        ]
    });
    let single = [("web.client_secret_file", &config.web.client_secret_file), ("chat.key_file", &config.chat.key_file)];
    let single = single.into_iter().chain(redis).filter_map(|(key, path)| Some((key, path.clone()?)));
    let slack = config.chat.slack.iter().map(|app| ("chat.slack.signing_secret_file", app.signing_secret_file.clone()));
    let targets = config.notify.targets.iter().map(|target| ("notify.targets.secret_file", target.secret_file.clone()));
    let tls = config.grpc.tls.iter().map(|files| ("grpc.tls.key", files.key.clone()));
    let places = [
        ("masking.pseudonym_key", config.masking.pseudonym_key.as_ref()),
        ("masking.format_key", config.masking.format_key.as_ref()),
    ];
    let places = places.into_iter().filter_map(|(key, place)| Some((key, place?)));
    let rings = [
        ("journal.sealing_keys", &config.journal.sealing_keys),
        ("masking.sealing_keys", &config.masking.sealing_keys),
    ];
    let rings =
        rings.into_iter().flat_map(|(name, keys)| keys.iter().map(move |KeySettings { from, .. }| (name, from)));
    let keys = places.chain(rings).filter_map(|(key, place)| match place {
        KeyPlace::File(path) => Some((key, PathBuf::from(path))),
        KeyPlace::Env(_) | KeyPlace::Command(_) => None,
    });
    tls.chain(single).chain(slack).chain(targets).chain(keys).collect()
}

fn judge(key: &str, path: &Path) -> Finding {
    let shown = format!("`{key}` in `{}`", path.display());
    // Opened and not only looked at: a directory above it may be closed.
    let metadata = match std::fs::File::open(path).and_then(|file| file.metadata()) {
        Ok(metadata) => metadata,
        Err(error) => {
            return Finding::fail(
                PART,
                format!("{shown} cannot be read: {error}"),
                "put it there, readable for the user that runs the server",
            );
        }
    };
    let mode = metadata.permissions().mode();
    if metadata.len() == 0 {
        return Finding::fail(PART, format!("{shown} is empty"), "write the secret into it");
    }
    if mode & NOT_OWNER_WRITES != 0 {
        return Finding::fail(
            PART,
            format!("{shown} can be replaced by others (mode {:03o})", mode & 0o777),
            format!("chmod 600 {}", path.display()),
        );
    }
    if mode & OTHERS_READ != 0 {
        return Finding::warn(
            PART,
            format!("{shown} can be read by everybody on this machine (mode {:03o})", mode & 0o777),
            format!("chmod 600 {}, or `defaultMode: 0440` where Kubernetes mounts it", path.display()),
        );
    }
    // A date in the future is no age.
    let age = metadata.modified().ok().and_then(|at| SystemTime::now().duration_since(at).ok()).unwrap_or_default();
    if age >= OLD {
        return Finding::warn(
            PART,
            format!("{shown} is {} days old", days(age)),
            "replace it (docs/operations.md, \"Keys\")",
        );
    }
    Finding::ok(PART, format!("{shown} can be read, and by nobody who should not"))
}
