//! What an operator wants to know of a journal without opening it: who has it, and how much room there is.

use std::fs::File;
use std::path::Path;

use rustix::fs::{FlockOperation, flock, statvfs};
use rustix::io::Errno;

use super::error::{IoFault, io_fault};
use super::lock::holder;

/// The process id of whoever has the journal open; `None` when nobody has. 0: it has not said yet.
///
/// The lock is taken for a moment, shared, to ask; a server that starts in that moment is refused.
///
/// # Errors
/// When the operating system does not let us look.
pub fn held_by(dir: &Path) -> Result<Option<u32>, IoFault> {
    let path = dir.join("lock");
    let mut file = match File::open(&path) {
        Ok(file) => file,
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(None),
        Err(error) => return Err(io_fault("open", &path)(error)),
    };
    match flock(&file, FlockOperation::NonBlockingLockShared) {
        // Let go with the file.
        Ok(()) => Ok(None),
        Err(Errno::WOULDBLOCK) => Ok(Some(holder(&mut file))),
        Err(error) => Err(io_fault("lock", &path)(error)),
    }
}

/// Bytes on its disk that are free for us, and that there are.
///
/// # Errors
/// When the operating system does not say.
pub fn room(dir: &Path) -> Result<(u64, u64), IoFault> {
    let disk = statvfs(dir).map_err(io_fault("examine", dir))?;
    Ok((disk.f_bavail.saturating_mul(disk.f_frsize), disk.f_blocks.saturating_mul(disk.f_frsize)))
}
