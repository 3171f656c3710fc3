//! The graph of one vector of a large tenant: derived from the rows, never the truth.
//!
//! * **G1** A row is linked by the keeper alone, and leaves `unlinked` only after it is: who reads `unlinked` before it searches
//!   the graph misses nothing.
//! * **G2** A graph is saved only after the rows it holds are safe, so that a row number in a saved graph never comes to stand
//!   for another row after a crash.
//! * **G3** A row is taken out only when no version holds it. Its place may go to another row; until the table of places says
//!   so, a search takes it for the one that ended, which is in no set of matches, and finds the new one among `unlinked`.
//! * **G4** A saved graph names its rows by number and holds none of them: opening reads them from the row file, under their
//!   checksums there. A row that is damaged is taken out of the graph; it stays `unlinked`, whose reader reports it. If more than
//!   one in [`LOST_PART`] is missing, the graph is built anew.
//! * **G5** Changes are counted after the table of places says so, and before a row leaves `unlinked`. So whoever reads `unlinked`,
//!   and then finds the count that a set of nodes was made at, has each row in one of the two; a node that came to hold another row
//!   since held one that is in no set of matches (G3).

use std::path::Path;
use std::sync::atomic::{AtomicU32, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError, RwLock};

use orthant_engine::{
    BuildError, FilterMode, Index, InsertError, Key, KeyRef, NodeId, OpenError, OpenOptions, RowId,
    SearchError, SearchParams,
};
use roaring::RoaringBitmap;

use crate::matches::{DenseSet, Matches};
use crate::rows::RowFile;
use crate::schema::{GraphChoices, VectorField};

/// From this share of matches on, walking the graph as if all rows matched and dropping those that do not loses little.
const PLAIN_FROM: f64 = 0.7;

/// Below this share, too few neighbors of a node match for a walk over matching ones alone: it goes two hops.
pub(crate) const TWO_HOP_BELOW: f64 = 0.2;

/// Where more than one row in so many of a saved graph cannot be read, its lists lead through too many places where nothing is
/// known: a choice, not a measured one.
const LOST_PART: usize = 8;

/// A graph over rows, by row number.
pub(crate) struct GraphPart {
    index: Index,
    linked: Mutex<RoaringBitmap>,
    places: Places,
    /// Rows linked or taken out since it was opened.
    changes: AtomicU64,
}

impl std::fmt::Debug for GraphPart {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("GraphPart").field("rows", &self.index.len()).finish()
    }
}

impl GraphPart {
    /// An empty graph.
    pub(crate) fn new(field: &VectorField, choices: GraphChoices, seed: u64) -> Result<Self, BuildError> {
        let builder =
            Index::builder(field.dim, field.metric).m(choices.m).ef_construction(choices.ef_construction);
        let (linked, places, changes) = Default::default();
        Ok(Self { index: builder.seed(seed).build()?, linked, places, changes })
    }

    /// The graph saved at `path` with its rows from `rows`; `None` if there is none that fits the vector. A damaged one is
    /// reported by `Some(Err)`.
    pub(crate) fn open(path: &Path, field: &VectorField, rows: &RowFile) -> Option<Result<Self, OpenError>> {
        if !path.exists() {
            return None;
        }
        let mut read = |key: KeyRef<'_>, row: &mut [f32]| match key {
            KeyRef::Int(number) => u32::try_from(number).is_ok_and(|number| rows.read(number, row).is_ok()),
            KeyRef::Str(_) => false,
        };
        let (index, missing) =
            match Index::open_with_rows(path, &OpenOptions::default(), field.dim, &mut read) {
                Ok(opened) => opened,
                Err(error) => return Some(Err(error)),
            };
        // The index has copies of them.
        rows.give_back_all();
        let is_sparse = missing.len() > index.len() / LOST_PART;
        if index.metric() != field.metric || is_sparse {
            return None;
        }
        let mut linked = RoaringBitmap::new();
        let places = Places::default();
        // A saved index holds rows only, one after the other, each the first of its place.
        for node in 0..(index.len() + missing.len()) as NodeId {
            if let Some(Key::Int(row)) = index.key(RowId { node, generation: 0 }) {
                linked.insert(row as u32);
                places.set(node, row as u32);
            }
        }
        if linked.len() != index.len() as u64 {
            return None;
        }
        Some(Ok(Self { index, linked: Mutex::new(linked), places, changes: AtomicU64::new(0) }))
    }

    /// Saves the graph (G2, G4).
    pub(crate) fn save(&self, path: &Path) -> Result<(), orthant_engine::SaveError> {
        self.index.save_without_rows(path)
    }

    /// The rows it holds, those that ended and were not forgotten included.
    pub(crate) fn linked(&self) -> RoaringBitmap {
        self.linked.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// How many rows it holds.
    pub(crate) fn len(&self) -> usize {
        self.index.len()
    }

    /// How many rows were linked or taken out since it was opened or made.
    pub(crate) fn changes(&self) -> u64 {
        // OBSERVE: pairs with PUBLISH in `link`, for the places.
        self.changes.load(Ordering::Acquire)
    }

    /// Takes out rows that ended and that no reader sees (G3); how many.
    pub(crate) fn forget(&self, rows: &RoaringBitmap) -> u64 {
        let gone = rows & &*self.linked.lock().unwrap_or_else(PoisonError::into_inner);
        for row in &gone {
            self.index.remove(&Key::Int(u64::from(row)));
        }
        *self.linked.lock().unwrap_or_else(PoisonError::into_inner) -= &gone;
        self.changes.fetch_add(gone.len(), Ordering::Release);
        gone.len()
    }

    /// Links one row.
    pub(crate) fn link(&self, row: u32, elements: &[f32]) -> Result<(), InsertError> {
        match self.index.insert(u64::from(row), elements) {
            Ok(id) => self.places.set(id.node, row),
            Err(InsertError::DuplicateKey { .. }) => {}
            Err(error) => return Err(error),
        }
        self.linked.lock().unwrap_or_else(PoisonError::into_inner).insert(row);
        // PUBLISH: pairs with OBSERVE in `changes` (G5).
        self.changes.fetch_add(1, Ordering::Release);
        Ok(())
    }

    /// Links many rows, `[n × dim]`, on all threads.
    pub(crate) fn link_batch(&self, rows: &[u32], elements: &[f32]) -> Result<(), InsertError> {
        let keys: Vec<Key> = rows.iter().map(|&row| Key::Int(u64::from(row))).collect();
        let ids = self.index.insert_batch(elements, Some(&keys))?;
        for (id, &row) in ids.iter().zip(rows) {
            self.places.set(id.node, row);
        }
        self.linked.lock().unwrap_or_else(PoisonError::into_inner).extend(rows.iter().copied());
        // PUBLISH: as in `link`.
        self.changes.fetch_add(rows.len() as u64, Ordering::Release);
        Ok(())
    }

    /// The nodes whose rows match.
    pub(crate) fn nodes_of(&self, matches: &Matches) -> DenseSet {
        let places = self.places.read();
        let count = places.chunks.len() * CHUNK;
        let holds = |&node: &NodeId| places.row(node).is_some_and(|row| matches.contains(row));
        DenseSet::new(count, (0..count as NodeId).filter(holds))
    }

    /// The `k` nearest of its rows among `matches`, `inside` of which it holds: rows and border distances, nearest first.
    pub(crate) fn search(
        &self,
        query: &[f32],
        k: usize,
        ef: usize,
        inside: u64,
        matches: &Matches,
    ) -> Result<Vec<(u32, f32)>, SearchError> {
        let rows = self.index.len() as u64;
        if inside >= rows && !matches.is_filtered {
            // All rows, but for some that ended and were not forgotten yet: a few more than are wanted make up for those.
            let found = self.index.search(query, k + 8, ef)?;
            let row = |found: &orthant_engine::Match| match found.key {
                Key::Int(row) if matches.contains(row as u32) => Some((row as u32, found.distance)),
                _ => None,
            };
            let found: Vec<_> = found.iter().filter_map(row).take(k).collect();
            if found.len() as u64 >= (k as u64).min(inside) {
                return Ok(found);
            }
        }
        let share = inside as f64 / rows.max(1) as f64;
        let mode = if share >= PLAIN_FROM {
            FilterMode::Plain
        } else if share >= TWO_HOP_BELOW {
            FilterMode::OneHop
        } else {
            FilterMode::TwoHop
        };
        // Of the rows that match alone a node has about half its neighbors and fewer: half as much again of a beam makes up for
        // it. With half of 100,000 rows of text matching it found 0.962, 0.990 and 0.948 (none, positive, negative correlation)
        // of the ten nearest with the beam as it is, 0.984, 0.994 and 0.972 so.
        let ef = if mode == FilterMode::OneHop { ef + ef / 2 } else { ef };
        let places = self.places.read();
        let row_at = |node: NodeId| places.row(node);
        let mut searcher = self.index.searcher();
        let params = SearchParams::new(k, ef);
        let hits = match matches.nodes(self) {
            Some(set) => searcher.search_filtered(query, params, mode, |node| set.nodes.contains(node))?,
            None => {
                let passes = |node: NodeId| row_at(node).is_some_and(|row| matches.contains(row));
                searcher.search_filtered(query, params, mode, passes)?
            }
        };
        Ok(hits.iter().filter_map(|hit| Some((row_at(hit.node)?, hit.distance))).collect())
    }
}

/// Which row is at which node.
#[derive(Debug, Default)]
struct Places {
    chunks: RwLock<Vec<Arc<[AtomicU32]>>>,
}

/// Nodes per chunk: 256 KB of row numbers.
const CHUNK: usize = 1 << 16;

/// No row: the row numbers end before it.
const NO_ROW: u32 = u32::MAX;

impl Places {
    fn set(&self, node: NodeId, row: u32) {
        let (chunk, place) = (node as usize / CHUNK, node as usize % CHUNK);
        if let Some(chunk) = self.chunks.read().unwrap_or_else(PoisonError::into_inner).get(chunk) {
            // Relaxed: a search that reads the old number is right as well (G3).
            chunk[place].store(row, Ordering::Relaxed);
            return;
        }
        let mut chunks = self.chunks.write().unwrap_or_else(PoisonError::into_inner);
        while chunks.len() <= chunk {
            chunks.push((0..CHUNK).map(|_| AtomicU32::new(NO_ROW)).collect());
        }
        chunks[chunk][place].store(row, Ordering::Relaxed);
    }

    fn read(&self) -> PlacesRead {
        PlacesRead { chunks: self.chunks.read().unwrap_or_else(PoisonError::into_inner).clone() }
    }
}

/// The table of places as a search holds it.
struct PlacesRead {
    chunks: Vec<Arc<[AtomicU32]>>,
}

impl PlacesRead {
    fn row(&self, node: NodeId) -> Option<u32> {
        let row = self.chunks.get(node as usize / CHUNK)?[node as usize % CHUNK].load(Ordering::Relaxed);
        (row != NO_ROW).then_some(row)
    }
}
