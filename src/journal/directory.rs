//! The names in a journal's directory, and the few operations on whole files.
//!
//! Everything here is blocking. A file or a rename counts only after [`Directory::sync`].

use std::fs::{self, File, OpenOptions};
use std::io;
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};

use rustix::fs::{FallocateFlags, fallocate};
use rustix::io::Errno;

use super::error::{IoFault, io_fault};

/// A journal's directory.
#[derive(Debug, Clone)]
pub(super) struct Directory {
    path: PathBuf,
}

/// What lies in it.
#[derive(Debug, Default)]
pub(super) struct Listing {
    /// First sequences of the segments, ascending.
    pub segments: Vec<u64>,
    /// First sequences of the index files.
    pub indexes: Vec<u64>,
    /// Preallocated files that no record has reached.
    pub spares: Vec<PathBuf>,
    /// Index files that a crash left half written.
    pub unfinished: Vec<PathBuf>,
    /// Bytes of all files.
    pub bytes: u64,
}

impl Directory {
    pub(super) fn new(path: &Path) -> Self {
        Self { path: path.to_path_buf() }
    }

    pub(super) fn path(&self) -> &Path {
        &self.path
    }

    pub(super) fn segment(&self, first: u64) -> PathBuf {
        self.path.join(format!("{first:020}.seg"))
    }

    pub(super) fn index(&self, first: u64) -> PathBuf {
        self.path.join(format!("{first:020}.idx"))
    }

    pub(super) fn spare(&self, number: u64) -> PathBuf {
        self.path.join(format!("spare-{number}.new"))
    }

    /// Files of other names are nobody's business and are passed over.
    pub(super) fn list(&self) -> Result<Listing, IoFault> {
        let mut listing = Listing::default();
        for entry in fs::read_dir(&self.path).map_err(io_fault("list", &self.path))? {
            let entry = entry.map_err(io_fault("list", &self.path))?;
            listing.bytes += match entry.metadata() {
                Ok(metadata) => metadata.len(),
                Err(gone) if gone.kind() == io::ErrorKind::NotFound => continue,
                Err(error) => return Err(io_fault("examine", &entry.path())(error)),
            };
            let name = entry.file_name();
            let Some((stem, extension)) = name.to_str().and_then(|name| name.rsplit_once('.')) else {
                continue;
            };
            match (extension, sequence_of(stem)) {
                ("seg", Some(first)) => listing.segments.push(first),
                ("idx", Some(first)) => listing.indexes.push(first),
                ("new", None) if stem.starts_with("spare-") => listing.spares.push(entry.path()),
                ("new", None) if stem.ends_with(".idx") => listing.unfinished.push(entry.path()),
                _ => {}
            }
        }
        listing.segments.sort_unstable();
        listing.spares.sort_unstable();
        Ok(listing)
    }

    /// Makes creations, renames and removals last.
    pub(super) fn sync(&self) -> Result<(), IoFault> {
        File::open(&self.path).and_then(|dir| dir.sync_all()).map_err(io_fault("sync", &self.path))
    }

    /// Makes a file of `bytes` zeros whose every byte has its place on the disk.
    pub(super) fn create_spare(&self, path: &Path, bytes: u64) -> Result<(), IoFault> {
        let file = create(path)?;
        // Not synced: that is done with the header, when it becomes a segment.
        allocate(&file, bytes).map_err(|error| {
            // Best effort: half a spare is of no use, and the next start removes it if this does not.
            let _ = fs::remove_file(path);
            io_fault("allocate", path)(error)
        })
    }
}

fn sequence_of(stem: &str) -> Option<u64> {
    let digits = stem.len() == 20 && stem.bytes().all(|byte| byte.is_ascii_digit());
    if digits { stem.parse().ok() } else { None }
}

/// A file to read and write, created if missing, never truncated.
pub(super) fn create(path: &Path) -> Result<File, IoFault> {
    let mut options = OpenOptions::new();
    options.read(true).write(true).create(true).truncate(false);
    options.open(path).map_err(io_fault("open", path))
}

/// Reserves room on the disk; where the file system cannot, zeros are written over what is behind the end.
pub(super) fn allocate(file: &File, bytes: u64) -> io::Result<()> {
    match fallocate(file, FallocateFlags::empty(), 0, bytes) {
        Ok(()) => Ok(()),
        Err(Errno::OPNOTSUPP | Errno::NOSYS) => zero(file, file.metadata()?.len(), bytes),
        Err(error) => Err(error.into()),
    }
}

/// Writes zeros from `start` to `end`.
pub(super) fn zero(file: &File, mut start: u64, end: u64) -> io::Result<()> {
    static ZEROS: [u8; 64 << 10] = [0; 64 << 10];
    while start < end {
        let part = usize::try_from(end - start).unwrap_or(usize::MAX).min(ZEROS.len());
        file.write_all_at(ZEROS.get(..part).unwrap_or(&ZEROS), start)?;
        start += part as u64;
    }
    Ok(())
}

/// Whether the error means that there is no room.
pub(super) fn is_full(error: &io::Error) -> bool {
    matches!(error.kind(), io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded)
}
