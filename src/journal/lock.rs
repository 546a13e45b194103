//! One process per directory: an advisory lock on the file `lock`, which holds the owner's process id.
//!
//! The kernel drops the lock with the process, however it dies; the file stays and means nothing by itself.

use std::fs::{File, OpenOptions};
use std::io::Read;
use std::os::unix::fs::FileExt;
use std::path::Path;

use rustix::fs::{FlockOperation, flock};
use rustix::io::Errno;

use super::error::{JournalError, io_fault};

/// Held as long as it lives.
#[derive(Debug)]
pub(super) struct DirectoryLock {
    _file: File,
}

impl DirectoryLock {
    /// # Errors
    /// [`JournalError::Locked`] with the holder's process id.
    pub(super) fn take(dir: &Path) -> Result<Self, JournalError> {
        let path = dir.join("lock");
        let mut file = OpenOptions::new()
            .read(true)
            .write(true)
            .create(true)
            .truncate(false)
            .open(&path)
            .map_err(io_fault("open", &path))?;
        match flock(&file, FlockOperation::NonBlockingLockExclusive) {
            Ok(()) => {}
            Err(Errno::WOULDBLOCK) => {
                return Err(JournalError::Locked { dir: dir.to_path_buf(), pid: holder(&mut file) });
            }
            Err(error) => return Err(io_fault("lock", &path)(error).into()),
        }
        let text = format!("{}\n", std::process::id());
        file.write_all_at(text.as_bytes(), 0).map_err(io_fault("write", &path))?;
        file.set_len(text.len() as u64).map_err(io_fault("write", &path))?;
        Ok(Self { _file: file })
    }
}

pub(super) fn holder(file: &mut File) -> u32 {
    let mut text = String::new();
    // Only for the message: an unreadable process id is shown as 0.
    let read = file.take(32).read_to_string(&mut text);
    read.ok().and_then(|_| text.trim().parse().ok()).unwrap_or(0)
}
