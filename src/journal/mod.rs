//! The append-only journal: the one place where Countersign remembers, and so its database log.
//!
//! It stores opaque payloads, each with a time and up to eight index keys, in an order that never changes. It knows
//! nothing of what is in them. A record is answered for only after it is on disk; many records share one sync. Every
//! record carries a checksum (accidents) and a link of a SHA-256 chain (intent).
//!
//! Reading order: `handle` (the interface), `queue` (the way in), `writer` (to the disk), `recover` (what a start
//! believes), `read`, `retain`, `verify`; below them `format`, `segment`, `index` and `mark`.
//!
//! # On disk
//!
//! All numbers little-endian. `docs/journal.md` has the same as tables, with the reasons.
//!
//! - `lock`: the owner's process id, locked with `flock`.
//! - `acknowledged`, `retained`: the newest sequence answered for, the oldest one kept.
//! - `<first sequence, 20 digits>.seg`: a segment. Header of 128 bytes: magic `CSIGNLOG` (8), format version (u32), zero
//!   (4), first sequence (u64), chain before it (32), time of its first record (i64, microseconds; 0 in a new journal's
//!   first), journal id (16), zero (44), CRC-32C of all that (u32). Then frames, then zeros.
//! - a frame: length of all of it (u32), number of keys (u8), zero (3), sequence (u64), time (i64, microseconds since
//!   1970), `durable_before` (u64: the newest sequence on disk when this was written), the keys (u64 each), the payload,
//!   the chain (32) = SHA-256(chain before | all bytes of the frame so far), CRC-32C (u32) of the journal id and all
//!   bytes of the frame so far.
//! - `<first sequence>.idx`: the index of a full segment; derived, may be deleted while nobody runs.
//! - `spare-<n>.new`: preallocated segments to come, the reserve for a full disk among them.

mod directory;
mod error;
pub mod examine;
mod format;
#[cfg(fuzzing)]
pub mod fuzzing;
mod handle;
mod index;
mod index_file;
mod keeper;
mod key;
mod lock;
mod log;
mod mark;
mod meters;
mod queue;
mod read;
mod recover;
mod retain;
mod scan;
mod search;
mod segment;
mod settings;
mod shared;
mod ticket;
mod verify;
mod walk;
mod writer;

pub use error::{AppendError, Failed, Finding, IoFault, JournalError, Problem, ReadError};
pub use format::{Chain, FORMAT_VERSION};
pub use handle::Journal;
pub use index::Order;
pub use key::{KEYS_MAX, Key, Keys, TooManyKeys};
pub use log::{Log, LogError, RawRecord};
pub use meters::Meters;
pub use queue::{Class, Durability, Entry};
pub use read::{Frame, Lookup};
pub use retain::{Removed, Retention};
pub use search::{Filter, Found, Search};
pub use settings::{Settings, SyncPolicy};
pub use shared::Head;
pub use ticket::Ticket;
pub use verify::{Anchor, Report, replay, verify, verify_tail};

#[cfg(test)]
mod tests;
