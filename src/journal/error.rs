//! What can go wrong, one enum per question asked of the journal.
//!
//! A [`Finding`] is the heart: it names the file, the byte and the record that is wrong, so that an operator can look
//! at it. Nothing here decides what to do about it: the caller refuses to start, or exits.

use std::io;
use std::path::{Path, PathBuf};

use crate::vault::OpenError;

/// An operating system call that failed, and on what.
#[derive(Debug, thiserror::Error)]
#[error("cannot {action} `{}`: {source}", path.display())]
pub struct IoFault {
    /// What was tried, as a verb.
    pub action: &'static str,
    /// The file or directory it was tried on.
    pub path: PathBuf,
    /// What the operating system said.
    pub source: io::Error,
}

/// Makes the closure that turns a system error into an [`IoFault`] naming `action` and `path`.
pub(super) fn io_fault<E: Into<io::Error>>(action: &'static str, path: &Path) -> impl FnOnce(E) -> IoFault {
    let path = path.to_path_buf();
    move |source| IoFault { action, path, source: source.into() }
}

/// Why a journal cannot be opened, or a handle cannot go on.
#[derive(Debug, thiserror::Error)]
pub enum JournalError {
    /// Another process holds the directory.
    #[error("the journal `{}` is locked by process {pid}", dir.display())]
    Locked {
        /// The directory that both want.
        dir: PathBuf,
        /// Process id of the holder; 0 when it has not written it yet.
        pid: u32,
    },
    /// A newer Countersign wrote this file; this one must not guess.
    #[error("`{}` has journal format {version}, this program reads up to {supported}: use a newer Countersign", file.display())]
    Newer {
        /// The file.
        file: PathBuf,
        /// Its format version.
        version: u32,
        /// The newest version known here.
        supported: u32,
    },
    /// Acknowledged records are missing or changed. Nothing was touched.
    #[error("the journal is damaged: {0}")]
    Damaged(Finding),
    /// Not to be read with the keys that are there. Nothing was touched.
    #[error("record {sequence} of the journal `{}` cannot be read: {source}", dir.display())]
    Sealed {
        /// The journal.
        dir: PathBuf,
        /// The newest record that is sealed.
        sequence: u64,
        /// Which key it wants, or what is wrong with it.
        source: OpenError,
    },
    /// A setting that cannot work.
    #[error("journal setting {0}")]
    Setting(String),
    /// The operating system refused.
    #[error(transparent)]
    Io(#[from] IoFault),
}

/// Why a record was not taken. The journal is unchanged, the sequence is not used up.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum AppendError {
    /// The disk (or the quota) is full. Goes away by itself when there is room again.
    #[error("the journal's disk is full")]
    Full,
    /// The queue to the disk is full: the disk is slower than the callers. Try again later.
    #[error("the journal is busy")]
    Busy,
    /// The payload is larger than `record_bytes_max`.
    #[error("a record of {bytes} bytes is over the limit of {limit}")]
    TooLarge {
        /// Size of the payload.
        bytes: usize,
        /// The limit.
        limit: usize,
    },
    /// The journal died of a disk error, or was closed.
    #[error("the journal has failed")]
    Failed,
    /// There is no randomness to seal the record with.
    #[error("the record cannot be sealed")]
    Unsealable,
}

/// The journal died before the record was known to be on disk. Whether it is there shows at the next start.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("the journal has failed")]
pub struct Failed;

/// Why records cannot be read.
#[derive(Debug, thiserror::Error)]
pub enum ReadError {
    /// Retention has removed the records asked for.
    #[error("records before {first} were removed by retention")]
    Trimmed {
        /// The oldest sequence that is still there.
        first: u64,
    },
    /// A record that was whole once is not any more.
    #[error("the journal is damaged: {0}")]
    Damaged(Finding),
    /// The operating system refused.
    #[error(transparent)]
    Io(#[from] IoFault),
}

/// The first thing that is wrong, and where.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("record {sequence} in `{}` at byte {offset}: {problem}", file.display())]
pub struct Finding {
    /// The file.
    pub file: PathBuf,
    /// Byte in the file where the bad record (or header) begins.
    pub offset: u64,
    /// The sequence expected there.
    pub sequence: u64,
    /// What is wrong with it.
    pub problem: Problem,
}

/// What is wrong with a record, a segment or a mark.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Problem {
    /// The length field is impossible.
    #[error("impossible length")]
    Length,
    /// Zeros where a record should be.
    #[error("zeros instead of a record")]
    Missing,
    /// The file ends within the record.
    #[error("the file ends within the record")]
    Incomplete,
    /// Changed since it was written.
    #[error("checksum does not match")]
    Checksum,
    /// Fields that contradict each other.
    #[error("malformed fields")]
    Malformed,
    /// The record before or after it was removed, added or moved.
    #[error("sequence {found} in its place")]
    Sequence {
        /// The sequence found.
        found: u64,
    },
    /// The checksum fits, the chain does not: edited with intent.
    #[error("hash chain does not match")]
    Chain,
    /// The log ends although more was acknowledged (or is anchored).
    #[error("the journal ends here, but records up to {acknowledged} were acknowledged")]
    CutTail {
        /// The newest sequence that must be there.
        acknowledged: u64,
    },
    /// A whole segment is gone.
    #[error("a segment is missing; the next one begins with record {next}")]
    MissingSegment {
        /// First sequence of the next segment that exists.
        next: u64,
    },
    /// A file that must be there is not.
    #[error("the file is missing")]
    Absent,
    /// The head of a segment or of a mark file cannot be read.
    #[error("unreadable header")]
    Header,
    /// The file is of another journal.
    #[error("belongs to another journal")]
    Foreign,
    /// The chain at the anchor differs from the anchor's.
    #[error("hash chain differs from the anchor")]
    Anchor,
    /// Retention has removed the record that the anchor names.
    #[error("the anchored record was removed by retention")]
    AnchorTrimmed,
}
