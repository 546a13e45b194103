//! Walks the frames of one segment file from front to back, in bounded memory.
//!
//! It tells frames from zeros from rubbish. It judges neither sequence nor chain nor what rubbish means: recovery and
//! verification do.

use std::fs::File;
use std::io;
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};

use super::error::{IoFault, JournalError, Problem, io_fault};
use super::format::{FORMAT_VERSION, FRAME_BYTES_MAX, HEADER_BYTES, Header, HeaderFault, View, decode, length_at};

const CHUNK_BYTES: usize = 1 << 20;

/// A segment file open for a walk.
#[derive(Debug)]
pub(super) struct Scanner {
    file: File,
    path: PathBuf,
    seed: u32,
    buffer: Vec<u8>,
    /// Where in the buffer the next frame begins.
    at: usize,
    /// The same place in the file.
    offset: u64,
}

/// What is at one place.
#[derive(Debug)]
pub(super) enum Step<'a> {
    /// A whole frame, and the byte of the file where it begins.
    Frame(u64, View<'a>),
    /// Nothing but zeros from here on.
    End,
    /// Something that is neither.
    Bad(u64, Problem),
}

/// Reads the header of a segment. `Ok(None)` when it is not one.
pub(super) fn read_header(path: &Path) -> Result<Option<Header>, JournalError> {
    let file = File::open(path).map_err(io_fault("open", path))?;
    let mut bytes = vec![0; usize::try_from(HEADER_BYTES).unwrap_or_default()];
    let got = read_up_to(&file, &mut bytes, 0).map_err(io_fault("read", path))?;
    bytes.truncate(got);
    match Header::decode(&bytes) {
        Ok(header) => Ok(Some(header)),
        Err(HeaderFault::Unreadable) => Ok(None),
        Err(HeaderFault::Newer(version)) => {
            Err(JournalError::Newer { file: path.to_path_buf(), version, supported: FORMAT_VERSION })
        }
    }
}

impl Scanner {
    pub(super) fn open(path: &Path, seed: u32) -> Result<Self, IoFault> {
        let file = File::open(path).map_err(io_fault("open", path))?;
        Ok(Self { file, path: path.to_path_buf(), seed, buffer: Vec::new(), at: 0, offset: HEADER_BYTES })
    }

    pub(super) fn next(&mut self) -> Result<Step<'_>, IoFault> {
        self.fill(4)?;
        let length = match self.rest().and_then(length_at) {
            Some(0) | None => return self.no_frame(),
            Some(length) if length > FRAME_BYTES_MAX => {
                return Ok(Step::Bad(self.offset, Problem::Length));
            }
            Some(length) => length,
        };
        self.fill(length)?;
        let (offset, start) = (self.offset, self.at);
        match decode(self.buffer.get(start..).unwrap_or_default(), self.seed) {
            Ok(view) => {
                self.at += view.length;
                self.offset += view.length as u64;
                Ok(Step::Frame(offset, view))
            }
            Err(problem) => Ok(Step::Bad(offset, problem)),
        }
    }

    fn rest(&self) -> Option<&[u8]> {
        self.buffer.get(self.at..)
    }

    fn no_frame(&mut self) -> Result<Step<'_>, IoFault> {
        let last = last_nonzero(&self.file, self.offset).map_err(io_fault("read", &self.path))?;
        Ok(if last.is_none() { Step::End } else { Step::Bad(self.offset, Problem::Missing) })
    }

    /// Reads on until `wanted` bytes are ahead, or the file ends.
    fn fill(&mut self, wanted: usize) -> Result<(), IoFault> {
        let ahead = self.buffer.len().saturating_sub(self.at);
        if ahead >= wanted {
            return Ok(());
        }
        self.buffer.drain(..self.at);
        self.at = 0;
        self.buffer.resize(ahead + wanted.max(CHUNK_BYTES), 0);
        let room = self.buffer.get_mut(ahead..).unwrap_or_default();
        let got = read_up_to(&self.file, room, self.offset + ahead as u64).map_err(io_fault("read", &self.path))?;
        self.buffer.truncate(ahead + got);
        Ok(())
    }
}

/// Reads until the buffer is full or the file ends; how much it was.
pub(super) fn read_up_to(file: &File, buffer: &mut [u8], offset: u64) -> io::Result<usize> {
    let mut done = 0;
    while let Some(room) = buffer.get_mut(done..).filter(|room| !room.is_empty()) {
        match file.read_at(room, offset + done as u64) {
            Ok(0) => break,
            Ok(got) => done += got,
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => return Err(error),
        }
    }
    Ok(done)
}

/// The last byte at or after `start` that is not zero.
pub(super) fn last_nonzero(file: &File, start: u64) -> io::Result<Option<u64>> {
    let (mut buffer, mut offset, mut last) = (vec![0; CHUNK_BYTES], start, None);
    loop {
        let got = read_up_to(file, &mut buffer, offset)?;
        let bytes = buffer.get(..got).unwrap_or_default();
        if let Some(at) = bytes.iter().rposition(|&byte| byte != 0) {
            last = Some(offset + at as u64);
        }
        if got < buffer.len() {
            return Ok(last);
        }
        offset += got as u64;
    }
}
