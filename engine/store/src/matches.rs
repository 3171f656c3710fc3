//! The rows that match a query, and a small cache of them per tenant.
//!
//! The same filter is asked again and again while nothing is written: its answer is kept, together with the version that it is
//! an answer for. Each tenant has its own cache, as it has its own everything.

use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{Arc, Mutex, OnceLock, PoisonError, Weak};

use roaring::RoaringBitmap;

use crate::filter::Filter;
use crate::graph::{GraphPart, Located};
use crate::state::Version;

/// Rows that match and have the vector.
#[derive(Debug)]
pub(crate) struct Matches {
    pub(crate) rows: RoaringBitmap,
    /// Whether there was a filter.
    pub(crate) is_filtered: bool,
    uses: AtomicU32,
    dense: OnceLock<DenseSet>,
    located: OnceLock<Located>,
}

impl Matches {
    pub(crate) fn new(rows: RoaringBitmap, is_filtered: bool) -> Self {
        Self { rows, is_filtered, uses: AtomicU32::new(0), dense: OnceLock::new(), located: OnceLock::new() }
    }

    /// Whether a row matches.
    #[inline]
    pub(crate) fn contains(&self, row: u32) -> bool {
        match self.dense.get() {
            Some(dense) => dense.contains(row),
            None => self.rows.contains(row),
        }
    }

    /// Where they are in the graph of their vector, for a filter that is asked again: finding out takes as long as asking each
    /// node once.
    pub(crate) fn located(&self, graph: &GraphPart) -> Option<&Located> {
        let is_reused = self.uses.load(Ordering::Relaxed) > 0;
        is_reused.then(|| self.located.get_or_init(|| graph.locate(self)))
    }

    /// Counts a use. From the second on, plain bits are worth their making.
    fn reuse(&self) {
        if self.uses.fetch_add(1, Ordering::Relaxed) >= 1 {
            self.dense.get_or_init(|| DenseSet::new(&self.rows));
        }
    }
}

/// A set of rows as plain bits: a test is one load, where a roaring set searches for its container first.
#[derive(Debug)]
struct DenseSet {
    words: Vec<u64>,
}

impl DenseSet {
    fn new(rows: &RoaringBitmap) -> Self {
        let mut words = vec![0; rows.max().map_or(0, |max| max as usize / 64 + 1)];
        for row in rows {
            words[row as usize / 64] |= 1 << (row % 64);
        }
        Self { words }
    }

    #[inline]
    fn contains(&self, row: u32) -> bool {
        self.words.get(row as usize / 64).is_some_and(|word| word >> (row % 64) & 1 == 1)
    }
}

/// Answers that are kept. A handful: applications ask few filters often, or many once.
const KEPT: usize = 8;

#[derive(Debug)]
struct Entry {
    version: Weak<Version>,
    vector: usize,
    filter: Option<Filter>,
    matches: Arc<Matches>,
}

/// The answers of one tenant.
#[derive(Debug, Default)]
pub(crate) struct MatchCache {
    entries: Mutex<Vec<Entry>>,
}

impl MatchCache {
    /// The answer to `filter` on `vector` in `version`, from the cache or made by `select`.
    pub(crate) fn get(
        &self,
        version: &Arc<Version>,
        vector: usize,
        filter: Option<&Filter>,
        select: impl FnOnce() -> RoaringBitmap,
    ) -> Arc<Matches> {
        let is_asked = |entry: &Entry| {
            entry.vector == vector
                && std::ptr::eq(entry.version.as_ptr(), Arc::as_ptr(version))
                && entry.filter.as_ref() == filter
        };
        {
            let mut entries = self.entries.lock().unwrap_or_else(PoisonError::into_inner);
            if let Some(place) = entries.iter().position(is_asked) {
                let entry = entries.remove(place);
                let matches = entry.matches.clone();
                entries.push(entry);
                drop(entries);
                matches.reuse();
                return matches;
            }
        }
        let matches = Arc::new(Matches::new(select(), filter.is_some()));
        let mut entries = self.entries.lock().unwrap_or_else(PoisonError::into_inner);
        // Answers for versions that nobody holds any more are of no use. A `Weak` keeps the address from being used again.
        entries.retain(|entry| entry.version.strong_count() > 0 && !is_asked(entry));
        if entries.len() == KEPT {
            entries.remove(0);
        }
        let version = Arc::downgrade(version);
        entries.push(Entry { version, vector, filter: filter.cloned(), matches: matches.clone() });
        matches
    }
}
