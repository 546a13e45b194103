//! Proving a journal: every record whole, in place, and linked, from the first retained one to the acknowledged end.
//!
//! Read-only and without the lock, so it may run beside the server: what lies behind the acknowledged mark is then still
//! being written, and is left out. Against an anchor (a sequence and chain hash kept elsewhere) it also proves that
//! nobody rewrote the whole log or cut its end together with the mark.

use std::path::{Path, PathBuf};

use super::directory::Directory;
use super::error::{Finding, IoFault, JournalError, Problem, io_fault};
use super::format::{Chain, Header, View};
use super::log::RawRecord;
use super::mark::{self, ACKNOWLEDGED, RETAINED};
use super::scan::{last_nonzero, read_header};
use super::walk::{Walk, Walked};
use crate::domain::Timestamp;

/// Records between two calls of the progress callback.
const PROGRESS_RECORDS: u64 = 65_536;

/// A place in the chain that somebody kept outside.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Anchor {
    /// The record.
    pub sequence: u64,
    /// Its chain hash.
    pub chain: Chain,
}

/// What was proved.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Report {
    /// Oldest retained sequence.
    pub first: u64,
    /// Newest sequence looked at; `first - 1` when there is none. Keep it with `chain` as the next anchor.
    pub last: u64,
    /// The chain hash of `last`.
    pub chain: Chain,
    /// Segments read.
    pub segments: usize,
    /// Whether the anchor was met.
    pub anchored: bool,
}

/// How much is proved.
#[derive(Debug, Clone, Copy)]
enum Extent {
    Whole { anchor: Option<Anchor> },
    Tail,
}

/// How often verification begins again because retention moved on under it.
const ATTEMPTS_MAX: usize = 16;

/// Verifies the journal in `dir`. `progress` is told the newest sequence now and then.
///
/// # Errors
/// [`JournalError::Damaged`] with the first finding; [`JournalError::Newer`]; or the operating system's refusal.
pub fn verify(dir: &Path, anchor: Option<Anchor>, progress: &mut dyn FnMut(u64)) -> Result<Report, JournalError> {
    let report = prove(dir, Extent::Whole { anchor }, &mut |view| {
        if view.sequence % PROGRESS_RECORDS == 0 {
            progress(view.sequence);
        }
    })?;
    progress(report.last);
    Ok(report)
}

/// Verifies the newest segment alone: a look that takes no longer than reading one file, however long the journal is.
///
/// # Errors
/// As for [`verify`].
pub fn verify_tail(dir: &Path) -> Result<Report, JournalError> {
    prove(dir, Extent::Tail, &mut |_| {})
}

/// Reads every record of the journal in `dir`, oldest first, proving it on the way: each is shown once. Beside a running
/// server it ends with what had been acknowledged when it began.
///
/// # Errors
/// As for [`verify`].
pub fn replay(dir: &Path, show: &mut dyn FnMut(RawRecord)) -> Result<Report, JournalError> {
    let mut shown = 0;
    prove(dir, Extent::Whole { anchor: None }, &mut |view| {
        // Retention may have moved on under the walk, which then begins again.
        if view.sequence > shown {
            shown = view.sequence;
            show(RawRecord {
                sequence: view.sequence,
                at: Timestamp::from_micros(view.at_micros),
                chain: view.chain,
                payload: view.payload.to_vec(),
            });
        }
    })
}

fn prove(dir: &Path, extent: Extent, witness: &mut dyn FnMut(&View<'_>)) -> Result<Report, JournalError> {
    let first = |mark: Option<(_, u64)>| mark.map(|(_, first)| first);
    for _ in 1..ATTEMPTS_MAX {
        let before = first(mark::read(dir, RETAINED)?);
        let proved = attempt(dir, extent, witness);
        if proved.is_ok() || first(mark::read(dir, RETAINED)?) == before {
            return proved;
        }
    }
    attempt(dir, extent, witness)
}

fn attempt(dir: &Path, extent: Extent, witness: &mut dyn FnMut(&View<'_>)) -> Result<Report, JournalError> {
    let directory = Directory::new(dir);
    let marks = (mark::read(dir, ACKNOWLEDGED)?, mark::read(dir, RETAINED)?);
    let ((journal, acknowledged), (same, first)) = match marks {
        (Some(acknowledged), Some(retained)) => (acknowledged, retained),
        (None, _) => return Err(damaged(dir.join(ACKNOWLEDGED), 0, 0, Problem::Absent)),
        (_, None) => return Err(damaged(dir.join(RETAINED), 0, 0, Problem::Absent)),
    };
    if journal != same {
        return Err(damaged(dir.join(RETAINED), 0, 0, Problem::Foreign));
    }
    let mut names = directory.list()?.segments;
    names.retain(|&name| name >= first);
    let (first, anchor) = match extent {
        Extent::Whole { anchor } => (first, anchor),
        // Of segments in advance of what was acknowledged nothing need be there yet.
        Extent::Tail => (names.iter().copied().rfind(|&name| name <= acknowledged).unwrap_or(first), None),
    };
    names.retain(|&name| name >= first);
    let mut proof = Proof { directory, acknowledged, anchor, anchored: false, next: first, chain: None, witness };
    let mut segments = 0;
    for name in names {
        if proof.next > acknowledged && segments > 0 {
            break;
        }
        let header = proof.header(name)?;
        if header.journal != journal {
            return Err(damaged(proof.directory.segment(name), 0, name, Problem::Foreign));
        }
        proof.segment(&header)?;
        segments += 1;
    }
    let chain = proof.end(first)?;
    Ok(Report { first, last: proof.next - 1, chain, segments, anchored: proof.anchored })
}

struct Proof<'a> {
    directory: Directory,
    acknowledged: u64,
    anchor: Option<Anchor>,
    anchored: bool,
    /// The sequence expected next.
    next: u64,
    /// The chain before it; unknown before the first segment.
    chain: Option<Chain>,
    /// Told of every record once it is proved.
    witness: &'a mut dyn FnMut(&View<'_>),
}

impl Proof<'_> {
    fn header(&self, first: u64) -> Result<Header, JournalError> {
        let path = self.directory.segment(first);
        let problem = match read_header(&path)? {
            None => Problem::Header,
            Some(header) if header.first_sequence != first => Problem::Sequence { found: header.first_sequence },
            Some(_) if first > self.next => {
                return Err(damaged(path, 0, self.next, Problem::MissingSegment { next: first }));
            }
            Some(_) if first < self.next => Problem::Sequence { found: first },
            Some(header) if self.chain.unwrap_or(header.chain_before) != header.chain_before => Problem::Chain,
            Some(header) if first == 1 && header.chain_before != header.journal.genesis() => Problem::Chain,
            Some(header) => return Ok(header),
        };
        Err(damaged(path, 0, first, problem))
    }

    fn segment(&mut self, header: &Header) -> Result<(), JournalError> {
        let path = self.directory.segment(header.first_sequence);
        self.chain = Some(header.chain_before);
        self.meet_anchor(&path, 0, header.first_sequence.saturating_sub(1), &header.chain_before)?;
        let mut walk = Walk::open(&path, header)?;
        while self.next <= self.acknowledged {
            let (offset, sequence, chain) = match walk.next()? {
                Walked::Record(offset, view) => {
                    (self.witness)(&view);
                    (offset, view.sequence, view.chain)
                }
                Walked::End => break,
                Walked::Bad(finding) => return Err(JournalError::Damaged(finding)),
            };
            self.meet_anchor(&path, offset, sequence, &chain)?;
            (self.next, self.chain) = (sequence + 1, Some(chain));
        }
        Ok(())
    }

    fn meet_anchor(&mut self, path: &Path, offset: u64, sequence: u64, chain: &Chain) -> Result<(), JournalError> {
        let Some(anchor) = self.anchor.filter(|anchor| anchor.sequence == sequence) else {
            return Ok(());
        };
        if anchor.chain != *chain {
            return Err(damaged(path.to_path_buf(), offset, sequence, Problem::Anchor));
        }
        self.anchored = true;
        Ok(())
    }

    /// Judges where the walk ended.
    fn end(&mut self, first: u64) -> Result<Chain, JournalError> {
        let must = self.anchor.map_or(0, |anchor| anchor.sequence).max(self.acknowledged);
        let last = self.directory.list()?.segments.pop().unwrap_or(first);
        let path = self.directory.segment(last);
        let Some(chain) = self.chain else {
            return Err(damaged(path, 0, first, Problem::Absent));
        };
        if self.next <= must {
            let offset = self.length(&path)?;
            return Err(damaged(path, offset, self.next, Problem::CutTail { acknowledged: must }));
        }
        if self.anchor.is_some_and(|anchor| anchor.sequence + 1 < first) {
            return Err(damaged(self.directory.segment(first), 0, first, Problem::AnchorTrimmed));
        }
        Ok(chain)
    }

    /// Where the records of the last segment end.
    fn length(&self, path: &Path) -> Result<u64, IoFault> {
        let file = std::fs::File::open(path).map_err(io_fault("open", path))?;
        let last = last_nonzero(&file, 0).map_err(io_fault("read", path))?;
        Ok(last.map_or(0, |last| last + 1))
    }
}

fn damaged(file: PathBuf, offset: u64, sequence: u64, problem: Problem) -> JournalError {
    JournalError::Damaged(Finding { file, offset, sequence, problem })
}
