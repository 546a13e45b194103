//! Snapshots: the records that still matter, in one file, so that a start need not read the whole journal.
//!
//! A snapshot is a shorter journal, not another format: it holds the very payloads that made every approval which is
//! still known and every answer which is still remembered. It is written by copying what still matters of the last
//! snapshot and of the records since; the store is only asked, a few at a time, what it still knows, so that nobody waits
//! and nothing is in memory twice. It is only ever a shortcut: one that is missing, torn, or not of this journal is
//! ignored, and the journal is read from its beginning.

mod file;

use std::collections::HashSet;
use std::io;
use std::path::Path;
use std::sync::Arc;

use self::file::{Reader, Writer};
use super::state::{Limits, State};
use super::{OpenError, Shared, bears_on_state};
use crate::domain::{ApprovalId, Change, Fact, Record, Timestamp};
use crate::journal::{Log, LogError, RawRecord};

/// Records read from the journal at a time.
const CHUNK_RECORDS: usize = 4_096;
const CHUNK_BYTES: usize = 4 << 20;
/// Since the last snapshot; fewer are not worth a new one.
const RECORDS_MIN: u64 = 50_000;
/// Approvals that the store is asked for under one lock.
const KNOWN_PER_LOOK: usize = 4_096;

/// Writes snapshots.
pub struct Compaction {
    shared: Arc<Shared>,
    /// The last record that the newest snapshot accounts for.
    through: u64,
    /// The records in it.
    size: u64,
}

/// The state at the journal's end, and the time of its last record.
pub(super) fn restore(log: &Log, dir: &Path, limits: Limits) -> Result<(State, Timestamp), OpenError> {
    let (mut state, through, mut last) = match from_snapshot(log, dir, limits) {
        Ok(Some(restored)) => restored,
        Ok(None) => (State::new(limits), 0, Timestamp::default()),
        Err(error) => {
            tracing::warn!(%error, "the snapshot cannot be used; the journal is read from its beginning");
            (State::new(limits), 0, Timestamp::default())
        }
    };
    each_record(log, through + 1, u64::MAX, |raw| {
        last = raw.at;
        apply(log, &mut state, raw)
    })?;
    Ok((state, last))
}

/// What the snapshot adds up to, the last record that it accounts for, and that record's time.
fn from_snapshot(log: &Log, dir: &Path, limits: Limits) -> Result<Option<(State, u64, Timestamp)>, OpenError> {
    let Some((mut snapshot, at)) = usable(log, dir) else { return Ok(None) };
    let mut state = State::new(limits);
    while let Some(raw) = snapshot.next().map_err(LogError::Snapshot)? {
        apply(log, &mut state, &raw)?;
    }
    Ok(Some((state, snapshot.through, at)))
}

fn apply(log: &Log, state: &mut State, raw: &RawRecord) -> Result<(), OpenError> {
    let record = raw.parse(log.vault())?;
    if !bears_on_state(&record.fact) {
        return Ok(());
    }
    let contradiction = |source| OpenError::Contradiction { sequence: record.sequence, source };
    state.apply(&record.fact, record.sequence, record.at).map_err(contradiction)
}

/// Calls `visit` with every durable record from `from` (or the oldest there is) through `through`.
fn each_record(
    log: &Log,
    from: u64,
    through: u64,
    mut visit: impl FnMut(&RawRecord) -> Result<(), OpenError>,
) -> Result<(), OpenError> {
    let mut next = from.max(log.first_sequence());
    while next <= through {
        let chunk = log.read_raw(next, CHUNK_RECORDS, CHUNK_BYTES)?;
        let Some(last) = chunk.last() else { break };
        next = last.sequence + 1;
        chunk.iter().take_while(|raw| raw.sequence <= through).try_for_each(&mut visit)?;
    }
    Ok(())
}

impl Compaction {
    pub(super) fn new(shared: Arc<Shared>) -> Self {
        let newest = usable(&shared.log, &shared.dir).map_or((0, 0), |(snapshot, _)| (snapshot.through, snapshot.size));
        Self { shared, through: newest.0, size: newest.1 }
    }

    /// Whether enough has happened since the last snapshot: as much as it holds, so that writing them takes no more time
    /// than a constant part of the work, however much is pending.
    #[must_use]
    pub fn is_due(&self) -> bool {
        let since = self.shared.log.durable_through().saturating_sub(self.through);
        since >= RECORDS_MIN.max(self.size)
    }

    /// Writes a new snapshot. Blocking. A crash at any moment leaves the old one.
    pub fn run(&mut self) -> Result<(), OpenError> {
        let Shared { log, dir, .. } = &*self.shared;
        // The place first, then what is known: what is let go in between is missed by nobody.
        let head = log.head();
        let known = Known::to(&self.shared);
        let mut writer = Writer::create(dir, head.sequence, &head.chain).map_err(LogError::Snapshot)?;
        let mut keep = |raw: &RawRecord| {
            if known.needs(&raw.parse(log.vault())?) {
                writer.add(raw).map_err(LogError::Snapshot)?;
            }
            Ok(())
        };
        let mut through = 0;
        if let Some((mut before, _)) = usable(log, dir) {
            through = before.through;
            while let Some(raw) = before.next().map_err(LogError::Snapshot)? {
                keep(&raw)?;
            }
        }
        each_record(log, through + 1, head.sequence, keep)?;
        self.size = writer.finish(dir).map_err(LogError::Snapshot)?;
        self.through = head.sequence;
        Ok(())
    }
}

/// What the store has not let go of.
struct Known {
    approvals: HashSet<ApprovalId>,
    /// The records whose answers are remembered.
    answers: HashSet<u64>,
    /// The records of what was last said of each entity.
    entities: HashSet<u64>,
}

impl Known {
    fn to(shared: &Shared) -> Self {
        let now = shared.clock.now();
        let answers = shared.state().answer_sequences(now);
        let entities = shared.state().entities.sequences();
        let mut approvals = HashSet::new();
        let mut last = None;
        loop {
            let some = shared.state().known_after(last, KNOWN_PER_LOOK);
            last = some.last().copied();
            approvals.extend(&some);
            if some.len() < KNOWN_PER_LOOK {
                return Self { approvals, answers, entities };
            }
        }
    }

    /// Whether a record is part of something known.
    fn needs(&self, record: &Record) -> bool {
        let changes = match &record.fact {
            Fact::Decided(decided) => decided.change != Change::None,
            Fact::Moved(_) => true,
            Fact::EntitiesChanged(_) => return self.entities.contains(&record.sequence),
            Fact::Started(_) | Fact::Refused(_) | Fact::PoliciesReloaded(_) | Fact::Revealed(_) => false,
        };
        let of_known = record.fact.approval().is_some_and(|id| self.approvals.contains(&id));
        (changes && of_known) || self.answers.contains(&record.sequence)
    }
}

/// The snapshot in `dir` with the time of the last record it accounts for, if it is whole and of this journal.
fn usable(log: &Log, dir: &Path) -> Option<(Reader, Timestamp)> {
    let snapshot = match Reader::open(dir) {
        Ok(snapshot) => snapshot,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return None,
        Err(error) => {
            tracing::warn!(%error, "the snapshot cannot be used; the journal is read from its beginning");
            return None;
        }
    };
    let frames = log.read_raw(snapshot.through, 1, 1).ok()?;
    let ours = frames.first().filter(|frame| frame.sequence == snapshot.through && frame.chain == snapshot.chain);
    if ours.is_none() {
        tracing::warn!("the snapshot is not of this journal; the journal is read from its beginning");
    }
    ours.map(|frame| (snapshot, frame.at))
}
