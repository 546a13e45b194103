//! Walks a segment as part of the log: every record must be whole, in its place, and linked to the one before.

use std::path::{Path, PathBuf};

use super::error::{Finding, IoFault, Problem};
use super::format::{Chain, Header, View};
use super::scan::{Scanner, Step};

/// A walk through one segment.
#[derive(Debug)]
pub(super) struct Walk {
    scanner: Scanner,
    path: PathBuf,
    /// The sequence expected next.
    pub sequence: u64,
    /// The chain up to here.
    pub chain: Chain,
}

/// What comes next.
#[derive(Debug)]
pub(super) enum Walked<'a> {
    /// A good record, and where it begins.
    Record(u64, View<'a>),
    /// Nothing but zeros from here on.
    End,
    /// The first thing that is wrong.
    Bad(Finding),
}

impl Walk {
    pub(super) fn open(path: &Path, header: &Header) -> Result<Self, IoFault> {
        Ok(Self {
            scanner: Scanner::open(path, header.journal.seed())?,
            path: path.to_path_buf(),
            sequence: header.first_sequence,
            chain: header.chain_before,
        })
    }

    pub(super) fn next(&mut self) -> Result<Walked<'_>, IoFault> {
        let (offset, problem) = match self.scanner.next()? {
            Step::End => return Ok(Walked::End),
            Step::Bad(offset, problem) => (offset, problem),
            Step::Frame(offset, view) if view.sequence != self.sequence => {
                (offset, Problem::Sequence { found: view.sequence })
            }
            Step::Frame(offset, view) if !view.follows(&self.chain) => (offset, Problem::Chain),
            Step::Frame(offset, view) => {
                self.sequence += 1;
                self.chain = view.chain;
                return Ok(Walked::Record(offset, view));
            }
        };
        Ok(Walked::Bad(Finding { file: self.path.clone(), offset, sequence: self.sequence, problem }))
    }
}
