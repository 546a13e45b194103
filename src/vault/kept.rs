//! A key of the server's own, made at the first start and kept in a file beside the journal: for trying things out, and for
//! those whose volume is encrypted as a whole. Whoever copies the directory has the key as well; whoever only sees segments
//! or a snapshot (a backup, a bucket, a support case) has not.

use std::fs::{File, OpenOptions};
use std::io::{self, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::Path;

use aws_lc_rs::{digest, rand};
use base64::Engine;
use base64::engine::general_purpose::STANDARD;

use super::KEY_BYTES;
use super::source::{self, KeyFile, SourceError};

/// In the directory of the journal.
pub const NAME: &str = "sealing-key";
const NEW_NAME: &str = "sealing-key.new";

/// A key and its id, which says which it is: a file that was put in the place of another is noticed.
#[derive(Clone, PartialEq, Eq)]
pub struct KeptKey {
    pub id: String,
    pub bytes: Vec<u8>,
}

#[derive(Debug, thiserror::Error)]
pub enum KeptError {
    #[error(transparent)]
    Unreadable(#[from] SourceError),
    #[error("cannot keep a sealing key in `{dir}`: {source}")]
    Io { dir: String, source: io::Error },
}

/// The key that is kept there; `None` where there is none.
///
/// # Errors
/// When there is a file that holds no key.
pub fn find(dir: &Path) -> Result<Option<KeptKey>, KeptError> {
    let path = dir.join(NAME);
    if !path.exists() {
        return Ok(None);
    }
    let bytes = source::read(&KeyFile(path))?;
    let print = digest::digest(&digest::SHA256, &bytes);
    let id: String = print.as_ref().iter().take(4).map(|byte| format!("{byte:02x}")).collect();
    Ok(Some(KeptKey { id: format!("kept-{id}"), bytes }))
}

/// The key that is kept there, made if there is none. It is on disk before anything is sealed with it.
///
/// # Errors
/// As for [`find`], and when it cannot be written.
pub fn find_or_make(dir: &Path) -> Result<KeptKey, KeptError> {
    if let Some(kept) = find(dir)? {
        return Ok(kept);
    }
    let failed = |source| KeptError::Io { dir: dir.display().to_string(), source };
    make(dir).map_err(failed)?;
    find(dir)?.ok_or_else(|| failed(io::Error::other("it is gone again")))
}

fn make(dir: &Path) -> io::Result<()> {
    match std::fs::create_dir(dir) {
        Err(error) if error.kind() != io::ErrorKind::AlreadyExists => return Err(error),
        _ => {}
    }
    let mut bytes = [0; KEY_BYTES];
    rand::fill(&mut bytes).map_err(|_| io::Error::other("no randomness"))?;
    let fresh = dir.join(NEW_NAME);
    let mut file = OpenOptions::new().write(true).create(true).truncate(true).mode(0o600).open(&fresh)?;
    writeln!(file, "{}", STANDARD.encode(bytes))?;
    file.sync_all()?;
    // A link, not a rename: of two servers that start at once, the second finds the key of the first.
    match std::fs::hard_link(&fresh, dir.join(NAME)) {
        Err(error) if error.kind() != io::ErrorKind::AlreadyExists => return Err(error),
        _ => {}
    }
    std::fs::remove_file(&fresh)?;
    File::open(dir)?.sync_all()
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt;

    use super::*;

    #[test]
    fn a_key_is_made_once_and_is_its_owners_alone() {
        let dir = tempfile::tempdir().unwrap();
        let inside = dir.path().join("journal");
        assert!(find(&inside).unwrap().is_none());
        let made = find_or_make(&inside).unwrap();
        assert!(made.id.starts_with("kept-") && made.bytes.len() == KEY_BYTES);
        assert!(find_or_make(&inside).unwrap() == made, "another key");
        let mode = inside.join(NAME).metadata().unwrap().permissions().mode();
        assert_eq!(mode & 0o777, 0o600);
        assert_eq!(std::fs::read_dir(&inside).unwrap().count(), 1);
    }

    #[test]
    fn a_file_that_holds_no_key_is_refused_and_stays() {
        let dir = tempfile::tempdir().unwrap();
        std::fs::write(dir.path().join(NAME), "sesame").unwrap();
        let refused = find_or_make(dir.path()).err().unwrap().to_string();
        assert!(refused.contains("expected 32 bytes") && !refused.contains("sesame"), "{refused}");
        assert_eq!(std::fs::read_to_string(dir.path().join(NAME)).unwrap(), "sesame");
    }
}
