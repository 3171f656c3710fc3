//! The rows that match a query, and a small cache of them per tenant.
//!
//! The same filter is asked again and again while nothing is written: its answer is kept, together with the version that it is
//! an answer for. Each tenant has its own cache, as it has its own everything.

use std::sync::atomic::{AtomicU32, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, OnceLock, PoisonError, RwLock, Weak};

use roaring::RoaringBitmap;

use crate::codes::Codes;
use crate::filter::Filter;
use crate::graph::GraphPart;
use crate::rows::RowFile;
use crate::state::Version;

/// Rows that match and have the vector.
#[derive(Debug)]
pub(crate) struct Matches {
    pub(crate) rows: RoaringBitmap,
    /// How many they are: asked by each search, and summed over its parts by the set.
    pub(crate) count: u64,
    /// Whether there was a filter.
    pub(crate) is_filtered: bool,
    uses: AtomicU32,
    dense: OnceLock<DenseSet>,
    coded: OnceLock<CodedMatches>,
    nodes: RwLock<Option<Arc<NodeSet>>>,
    /// The changes of the graph when it was last searched.
    seen_changes: AtomicU64,
}

impl Matches {
    pub(crate) fn new(rows: RoaringBitmap, is_filtered: bool) -> Self {
        Self {
            count: rows.len(),
            rows,
            is_filtered,
            uses: AtomicU32::new(0),
            dense: OnceLock::new(),
            coded: OnceLock::new(),
            nodes: RwLock::default(),
            seen_changes: AtomicU64::new(u64::MAX),
        }
    }

    /// Whether a row matches.
    #[inline]
    pub(crate) fn contains(&self, row: u32) -> bool {
        match self.dense.get() {
            Some(dense) => dense.contains(row),
            None => self.rows.contains(row),
        }
    }

    /// Which of them have codes in `rows`, found once for all searches.
    pub(crate) fn coded(&self, rows: &RowFile) -> &CodedMatches {
        self.coded.get_or_init(|| {
            let codes = rows.codes();
            let coded = (&self.rows & codes.coded()).iter().collect();
            CodedMatches { rest: &self.rows - codes.coded(), coded, codes }
        })
    }

    /// Which nodes of the graph hold matches, where it has not changed since it was last searched for these: it takes a look at each.
    pub(crate) fn nodes(&self, graph: &GraphPart) -> Option<Arc<NodeSet>> {
        let changes = graph.changes();
        let known = self.nodes.read().unwrap_or_else(PoisonError::into_inner).clone();
        if let Some(nodes) = known.filter(|nodes| nodes.changes == changes) {
            return Some(nodes);
        }
        if self.seen_changes.swap(changes, Ordering::Relaxed) != changes {
            return None;
        }
        let nodes = Arc::new(NodeSet { changes, nodes: graph.nodes_of(self) });
        *self.nodes.write().unwrap_or_else(PoisonError::into_inner) = Some(nodes.clone());
        Some(nodes)
    }

    /// Counts a use. From the second on, plain bits are worth their making.
    fn reuse(&self) {
        if self.uses.fetch_add(1, Ordering::Relaxed) >= 1 {
            self.dense
                .get_or_init(|| DenseSet::new(self.rows.max().map_or(0, |max| max as usize + 1), &self.rows));
        }
    }
}

/// Matches by whether they have codes.
#[derive(Debug)]
pub(crate) struct CodedMatches {
    pub(crate) codes: Arc<Codes>,
    /// Those with a code, ascending.
    pub(crate) coded: Vec<u32>,
    /// Those without.
    pub(crate) rest: RoaringBitmap,
}

/// The nodes of a graph that hold matches. Good for searches that took their view before they found the graph's changes to be these
/// (graph G5).
#[derive(Debug)]
pub(crate) struct NodeSet {
    changes: u64,
    pub(crate) nodes: DenseSet,
}

/// A set of numbers as plain bits: a test is one load, where a roaring set searches for its container first.
#[derive(Debug)]
pub(crate) struct DenseSet {
    words: Vec<u64>,
}

impl DenseSet {
    pub(crate) fn new(count: usize, members: impl IntoIterator<Item = u32>) -> Self {
        let mut words = vec![0; count.div_ceil(64)];
        for member in members {
            words[member as usize / 64] |= 1 << (member % 64);
        }
        Self { words }
    }

    #[inline]
    pub(crate) fn contains(&self, row: u32) -> bool {
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
