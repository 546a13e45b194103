//! The index of the active segment, in memory: where each record begins, and which records carry a key.
//!
//! Its size is bounded by the segment it describes. Keys are kept as short sorted runs, so that adding is a push and
//! now and then a small sort, and a look-up is one binary search per run.

use std::ops::Range;

/// A run is sorted when it is this long.
const RUN_ENTRIES: usize = 8192;

/// A record is named by its place in the segment: 0 is the segment's first.
pub(super) type Ordinal = u32;

/// In which order records are wanted.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Order {
    /// Ascending sequence.
    OldestFirst,
    /// Descending sequence.
    NewestFirst,
}

/// The index of a segment that is still written to.
#[derive(Debug, Default)]
pub(super) struct MemoryIndex {
    offsets: Vec<u32>,
    end: u32,
    runs: Vec<Vec<(u64, Ordinal)>>,
    open: Vec<(u64, Ordinal)>,
}

impl MemoryIndex {
    /// The index of a segment without records, whose first will begin at `start`.
    pub(super) fn empty(start: u32) -> Self {
        Self { end: start, ..Self::default() }
    }

    /// Adds the next record, of `length` bytes.
    pub(super) fn push(&mut self, length: usize, keys: &[u64]) {
        let ordinal = self.count();
        self.offsets.push(self.end);
        // A segment is at most 1 GiB, so neither saturates.
        self.end = self.end.saturating_add(u32::try_from(length).unwrap_or(u32::MAX));
        self.open.extend(keys.iter().map(|&key| (key, ordinal)));
        if self.open.len() >= RUN_ENTRIES {
            self.open.sort_unstable();
            self.runs.push(std::mem::take(&mut self.open));
        }
    }

    pub(super) fn count(&self) -> Ordinal {
        Ordinal::try_from(self.offsets.len()).unwrap_or(Ordinal::MAX)
    }

    /// Byte behind the last record.
    pub(super) fn end(&self) -> u32 {
        self.end
    }

    pub(super) fn offsets(&self) -> &[u32] {
        &self.offsets
    }

    pub(super) fn all_entries(&self) -> Vec<(u64, Ordinal)> {
        let mut all: Vec<_> = self.runs.iter().flatten().chain(&self.open).copied().collect();
        all.sort_unstable();
        all
    }

    /// At most `limit` records of `key` within `range`.
    pub(super) fn find(&self, key: u64, range: &Range<Ordinal>, order: Order, limit: usize) -> Vec<Ordinal> {
        let mut open: Vec<_> = self.open.iter().filter(|(k, _)| *k == key).copied().collect();
        open.sort_unstable();
        let runs = self.runs.iter().map(Vec::as_slice);
        let mut found = Vec::new();
        let mut take = |run: &[(u64, Ordinal)]| -> bool {
            let low = run.partition_point(|entry| *entry < (key, range.start));
            let high = run.partition_point(|entry| *entry < (key, range.end));
            let hits = run.get(low..high).unwrap_or_default().iter().map(|(_, ordinal)| *ordinal);
            let room = limit - found.len();
            match order {
                Order::OldestFirst => found.extend(hits.take(room)),
                Order::NewestFirst => found.extend(hits.rev().take(room)),
            }
            found.len() < limit
        };
        // Runs follow each other in time: the first that fills the page ends the search.
        match order {
            Order::OldestFirst => runs.chain([open.as_slice()]).all(&mut take),
            Order::NewestFirst => runs.chain([open.as_slice()]).rev().all(&mut take),
        };
        found
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn index(records: u64) -> MemoryIndex {
        let mut index = MemoryIndex::empty(128);
        for n in 0..records {
            index.push(10, &[n % 7, 100 + n]);
        }
        index
    }

    #[test]
    fn records_of_a_key_come_in_order_across_runs_and_stop_at_the_limit() {
        let index = index(20_000);
        assert!(index.runs.len() > 3);
        let all: Vec<u32> = (0..20_000).filter(|n| n % 7 == 3).collect();
        assert_eq!(index.find(3, &(0..u32::MAX), Order::OldestFirst, usize::MAX), all);
        let newest: Vec<u32> = all.iter().rev().take(100).copied().collect();
        assert_eq!(index.find(3, &(0..u32::MAX), Order::NewestFirst, 100), newest);
        assert_eq!(index.find(100 + 19_999, &(0..u32::MAX), Order::NewestFirst, 5), [19_999]);
    }

    #[test]
    fn a_range_bounds_both_ends() {
        let index = index(100);
        assert_eq!(index.find(3, &(10..24), Order::OldestFirst, 9), [10, 17]);
        assert_eq!(index.find(3, &(11..24), Order::NewestFirst, 9), [17]);
    }

    #[test]
    fn offsets_follow_the_lengths() {
        let index = index(3);
        assert_eq!((index.offsets(), index.end(), index.count()), (&[128, 138, 148][..], 158, 3));
    }
}
