//! Opening a journal: is everything there that somebody was answered for?
//!
//! The rule for the first bad place of the last segment, where record S should be: it is **damage** when S is at or below
//! the acknowledged mark, or when a later frame proves that S was synced before (`durable_before`), or when the bytes
//! there are whole but do not belong. Then nothing is touched and the journal does not open. Otherwise it is a **torn
//! tail** of a batch that nobody was answered for: it is cut. A bad place in any other segment is always damage, because
//! a segment is synced in full before the next one begins.

use std::fs::{self, File};
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use super::directory::{self, Directory};
use super::error::{Finding, IoFault, JournalError, Problem, ReadError, io_fault};
use super::format::{Chain, FRAME_BYTES_MIN, HEADER_BYTES, Header, JournalId, decode, peek};
use super::index::MemoryIndex;
use super::mark::{self, ACKNOWLEDGED, Mark, RETAINED};
use super::scan::{last_nonzero, read_header, read_up_to};
use super::segment::{self, Segment};
use super::settings::Settings;
use super::walk::{Walk, Walked};

/// Everything needed to go on.
#[derive(Debug)]
pub(super) struct Recovered {
    /// Oldest first; never empty; the last one is active.
    pub segments: Vec<Arc<Segment>>,
    pub active: Active,
    pub acknowledged: Mark,
    pub retained: Mark,
    pub spares: Vec<PathBuf>,
}

/// The end of the log.
#[derive(Debug)]
pub(super) struct Active {
    pub segment: Arc<Segment>,
    pub file: File,
    /// Bytes that have their place on the disk.
    pub capacity: u64,
    /// Newest sequence; one less than the first when there is none.
    pub sequence: u64,
    pub chain: Chain,
    pub at_micros: i64,
}

pub(super) fn recover(settings: &Settings, directory: &Directory) -> Result<Recovered, JournalError> {
    let listing = directory.list()?;
    for path in &listing.unfinished {
        fs::remove_file(path).map_err(io_fault("remove", path))?;
    }
    let acknowledged = mark::read(directory.path(), ACKNOWLEDGED)?;
    let retained = mark::read(directory.path(), RETAINED)?;
    if listing.segments.is_empty() {
        start(settings, directory, acknowledged, retained)?;
    }
    let (journal, acknowledged) = present(directory, ACKNOWLEDGED, mark::read(directory.path(), ACKNOWLEDGED)?)?;
    let (same, retained) = present(directory, RETAINED, mark::read(directory.path(), RETAINED)?)?;
    if journal != same {
        return Err(damaged(directory.path().join(RETAINED), 0, 0, Problem::Foreign));
    }
    let headers = headers(directory, journal, retained)?;
    remove_orphans(directory, &headers)?;
    let mut segments = sealed(directory, &headers)?;
    let active = last(settings, directory, &headers, acknowledged)?;
    segments.push(Arc::clone(&active.segment));
    let marks = |name| Mark::open(directory.path(), name, journal);
    let (acknowledged, retained) = (marks(ACKNOWLEDGED)?, marks(RETAINED)?);
    acknowledged.write(active.sequence)?;
    let spares = adopt_spares(settings, directory)?;
    Ok(Recovered { segments, active, acknowledged, retained, spares })
}

/// The first segment of a new journal. Interrupted at any point, it is simply done again.
fn start(
    settings: &Settings,
    directory: &Directory,
    acknowledged: Option<(JournalId, u64)>,
    retained: Option<(JournalId, u64)>,
) -> Result<(), JournalError> {
    let first = directory.segment(retained.map_or(1, |(_, first)| first));
    if let Some((_, newest @ 1..)) = acknowledged {
        return Err(damaged(first, 0, 1, Problem::CutTail { acknowledged: newest }));
    }
    let journal = acknowledged.or(retained).map_or_else(|| JournalId(uuid::Uuid::now_v7().into_bytes()), |(id, _)| id);
    Mark::create(directory.path(), ACKNOWLEDGED, journal, 0)?;
    Mark::create(directory.path(), RETAINED, journal, 1)?;
    directory.sync()?;
    let spare = directory.spare(0);
    directory.create_spare(&spare, settings.segment_bytes)?;
    let header = Header { first_sequence: 1, chain_before: journal.genesis(), created_micros: 0, journal };
    begin_segment(directory, &spare, &header)?;
    Ok(())
}

/// Makes a spare the next segment. The name appears only once the header is on disk.
pub(super) fn begin_segment(directory: &Directory, spare: &Path, header: &Header) -> Result<File, IoFault> {
    // Opened, never created: a spare that somebody removed has no room on the disk.
    let file = File::options().read(true).write(true).open(spare).map_err(io_fault("open", spare))?;
    file.write_all_at(&header.encode(), 0).map_err(io_fault("write", spare))?;
    file.sync_all().map_err(io_fault("sync", spare))?;
    fs::rename(spare, directory.segment(header.first_sequence)).map_err(io_fault("rename", spare))?;
    directory.sync()?;
    Ok(file)
}

fn present<T>(directory: &Directory, name: &str, mark: Option<T>) -> Result<T, JournalError> {
    mark.ok_or_else(|| {
        JournalError::Damaged(Finding {
            file: directory.path().join(name),
            offset: 0,
            sequence: 0,
            problem: Problem::Absent,
        })
    })
}

/// The headers of all retained segments, each checked against its name and journal.
fn headers(directory: &Directory, journal: JournalId, retained: u64) -> Result<Vec<Header>, JournalError> {
    let mut names = directory.list()?.segments;
    // A removal that a crash interrupted is finished here.
    let gone = names.partition_point(|&first| first < retained);
    for first in names.drain(..gone) {
        let path = directory.segment(first);
        fs::remove_file(&path).map_err(io_fault("remove", &path))?;
    }
    match names.first() {
        Some(&first) if first == retained => {}
        Some(&next) => {
            return Err(damaged(directory.segment(next), 0, retained, Problem::MissingSegment { next }));
        }
        None => {
            return Err(damaged(directory.segment(retained), 0, retained, Problem::Absent));
        }
    }
    names.into_iter().map(|first| header(directory, journal, first)).collect()
}

fn header(directory: &Directory, journal: JournalId, first: u64) -> Result<Header, JournalError> {
    let path = directory.segment(first);
    let problem = match read_header(&path)? {
        None => Problem::Header,
        Some(header) if header.journal != journal => Problem::Foreign,
        Some(header) if header.first_sequence != first => Problem::Sequence { found: header.first_sequence },
        Some(header) => return Ok(header),
    };
    Err(damaged(path, 0, first, problem))
}

fn remove_orphans(directory: &Directory, headers: &[Header]) -> Result<(), JournalError> {
    for first in directory.list()?.indexes {
        if !headers.iter().any(|header| header.first_sequence == first) {
            let path = directory.index(first);
            fs::remove_file(&path).map_err(io_fault("remove", &path))?;
        }
    }
    Ok(())
}

fn sealed(directory: &Directory, headers: &[Header]) -> Result<Vec<Arc<Segment>>, JournalError> {
    let pairs = headers.iter().zip(headers.iter().skip(1));
    pairs.map(|(header, next)| Ok(Arc::new(sealed_segment(directory, header, next)?))).collect()
}

/// A segment that another one follows: by its index and last record, or in full when it has no sound index.
fn sealed_segment(directory: &Directory, header: &Header, next: &Header) -> Result<Segment, JournalError> {
    if let Ok(segment) = Segment::indexed(directory, *header)
        && leads_to(&segment, next)?
    {
        return Ok(segment);
    }
    let path = directory.segment(header.first_sequence);
    let (index, walk) = segment::load(&path, header).map_err(damage)?;
    let end = u64::from(index.end());
    if walk.sequence != next.first_sequence {
        let problem = Problem::MissingSegment { next: next.first_sequence };
        return Err(damaged(path, end, walk.sequence, problem));
    }
    if walk.chain != next.chain_before {
        return Err(damaged(directory.segment(next.first_sequence), 0, next.first_sequence, Problem::Chain));
    }
    let segment = Segment::in_memory(directory, *header, index);
    if let Err(error) = segment.finish() {
        tracing::warn!(error = %error, "journal index cannot be written, kept in memory");
    }
    Ok(segment)
}

/// Whether first and last record are whole, and the next segment goes on from the last one.
fn leads_to(segment: &Segment, next: &Header) -> Result<bool, JournalError> {
    let count = segment.count();
    if segment.next_sequence() != next.first_sequence || count == 0 {
        return Ok(false);
    }
    let file = segment::open(segment)?;
    let mut last = None;
    for ordinal in [0, count - 1] {
        let offsets = segment.offsets(ordinal..ordinal + 1).map_err(damage)?;
        let &[start, end] = offsets.as_slice() else {
            return Ok(false);
        };
        let mut bytes = vec![0; end.saturating_sub(start) as usize];
        read_up_to(&file, &mut bytes, u64::from(start)).map_err(io_fault("read", &segment.path))?;
        let Ok(view) = decode(&bytes, segment.header.journal.seed()) else {
            return Ok(false);
        };
        if view.sequence != segment.first() + u64::from(ordinal) {
            return Ok(false);
        }
        last = Some(view.chain);
    }
    Ok(last == Some(next.chain_before))
}

fn last(
    settings: &Settings,
    directory: &Directory,
    headers: &[Header],
    acknowledged: u64,
) -> Result<Active, JournalError> {
    let Some(header) = headers.last() else {
        return Err(damaged(directory.segment(1), 0, 1, Problem::Absent));
    };
    let path = directory.segment(header.first_sequence);
    let file = directory::create(&path)?;
    let mut walk = Walk::open(&path, header)?;
    let mut index = MemoryIndex::empty(u32::try_from(HEADER_BYTES).unwrap_or(u32::MAX));
    let mut at_micros = header.created_micros;
    loop {
        match walk.next()? {
            Walked::Record(_, view) => {
                index.push(view.length, view.keys.as_slice());
                at_micros = view.at_micros;
            }
            Walked::End => break,
            Walked::Bad(finding) => {
                cut_torn_tail(&file, finding, acknowledged, header.journal.seed())?;
                break;
            }
        }
    }
    if walk.sequence <= acknowledged {
        return Err(damaged(path, u64::from(index.end()), walk.sequence, Problem::CutTail { acknowledged }));
    }
    if let Err(error) = directory::allocate(&file, settings.segment_bytes) {
        tracing::warn!(error = %error, "journal segment cannot be extended, its rest is used as it is");
    }
    file.sync_all().map_err(io_fault("sync", &path))?;
    let capacity = file.metadata().map_err(io_fault("examine", &path))?.len().min(u64::from(u32::MAX));
    Ok(Active {
        segment: Arc::new(Segment::in_memory(directory, *header, index)),
        file,
        capacity,
        sequence: walk.sequence - 1,
        chain: walk.chain,
        at_micros,
    })
}

/// Cuts what nobody was answered for; refuses what somebody was.
fn cut_torn_tail(file: &File, finding: Finding, acknowledged: u64, seed: u32) -> Result<(), JournalError> {
    let whole = matches!(finding.problem, Problem::Sequence { .. } | Problem::Chain | Problem::Malformed);
    let path = finding.file.clone();
    let end = last_nonzero(file, finding.offset).map_err(io_fault("read", &path))?;
    // Nothing but zeros, yet not a clean end: a length without room. There is nothing to cut.
    let Some(end) = end.map(|last| last + 1) else {
        return Err(JournalError::Damaged(finding));
    };
    if whole || finding.sequence <= acknowledged || was_synced(file, &finding, end, seed)? {
        return Err(JournalError::Damaged(finding));
    }
    tracing::warn!(
        file.path = %path.display(), file.offset_bytes = finding.offset, cut_bytes = end - finding.offset,
        journal.sequence = finding.sequence, "journal had a torn tail that was never acknowledged, cut"
    );
    directory::zero(file, finding.offset, end).map_err(io_fault("write", &path))?;
    file.sync_all().map_err(io_fault("sync", &path))?;
    Ok(())
}

/// Whether a whole frame behind the bad place says that the record there was synced when that frame was written.
fn was_synced(file: &File, bad: &Finding, end: u64, seed: u32) -> Result<bool, JournalError> {
    let mut bytes = vec![0; usize::try_from(end - bad.offset).unwrap_or_default()];
    let got = read_up_to(file, &mut bytes, bad.offset).map_err(io_fault("read", &bad.file))?;
    bytes.truncate(got);
    let newest = bad.sequence + (bytes.len() / FRAME_BYTES_MIN) as u64;
    Ok((1..bytes.len()).any(|at| {
        let rest = bytes.get(at..).unwrap_or_default();
        // The cheap look first: a checksum at every byte would take minutes.
        let proves = peek(rest).is_some_and(|(sequence, durable_before)| {
            (bad.sequence + 1..=newest).contains(&sequence) && (bad.sequence..sequence).contains(&durable_before)
        });
        proves && decode(rest, seed).is_ok()
    }))
}

/// Spares that a former run left, made whole again; those of another size are removed.
fn adopt_spares(settings: &Settings, directory: &Directory) -> Result<Vec<PathBuf>, JournalError> {
    let mut adopted = Vec::new();
    for path in directory.list()?.spares {
        let file = directory::create(&path)?;
        let length = file.metadata().map_err(io_fault("examine", &path))?.len();
        if length == settings.segment_bytes && directory::allocate(&file, length).is_ok() {
            adopted.push(path);
        } else {
            fs::remove_file(&path).map_err(io_fault("remove", &path))?;
        }
    }
    Ok(adopted)
}

fn damage(error: ReadError) -> JournalError {
    match error {
        ReadError::Damaged(finding) => JournalError::Damaged(finding),
        ReadError::Io(fault) => JournalError::Io(fault),
        ReadError::Trimmed { first } => JournalError::Damaged(Finding {
            file: PathBuf::new(),
            offset: 0,
            sequence: first,
            problem: Problem::Absent,
        }),
    }
}

fn damaged(file: PathBuf, offset: u64, sequence: u64, problem: Problem) -> JournalError {
    JournalError::Damaged(Finding { file, offset, sequence, problem })
}
