//! Small files that are replaced whole.

use std::fs::{self, File};
use std::io::{self, Write};
use std::path::Path;

/// Writes `beside`, syncs, and renames it to `path` in the same file system: a crash leaves the old file or the new one. Blocking.
///
/// # Errors
/// Those of the disk; `path` is then as it was, or is the new one.
pub fn replace(path: &Path, beside: &Path, content: &[u8]) -> io::Result<()> {
    let mut file = File::create(beside)?;
    file.write_all(content)?;
    file.sync_all()?;
    fs::rename(beside, path)?;
    path.parent().map_or(Ok(()), |dir| File::open(dir)?.sync_all())
}
