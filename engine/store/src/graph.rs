//! The graph of one vector of a large tenant: derived from the rows, never the truth.
//!
//! * **G1** A row is linked by the keeper alone, and leaves `unlinked` only after it is: who reads `unlinked` before it searches
//!   the graph misses nothing.
//! * **G2** A graph is saved only after the rows it holds are safe, so that a row number in a saved graph never comes to stand
//!   for another row after a crash.
//! * **G3** A row is taken out only when no version holds it. Its place may go to another row; until the table of places says
//!   so, a search takes it for the one that ended, which is in no set of matches, and finds the new one among `unlinked`.

use std::path::Path;
use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{Arc, Mutex, PoisonError, RwLock};

use orthant_engine::{
    BuildError, FilterMode, Index, InsertError, Key, NodeId, OpenOptions, RowId, SearchError, SearchParams,
};
use roaring::RoaringBitmap;

use crate::matches::Matches;
use crate::schema::{GraphChoices, VectorField};

/// From this share of matches on, walking the graph as if all rows matched and dropping those that do not loses little.
const PLAIN_FROM: f64 = 0.7;

/// Below this share, too few neighbors of a node match for a walk over matching ones alone: it goes two hops.
const TWO_HOP_BELOW: f64 = 0.05;

/// A graph over rows, by row number.
pub(crate) struct GraphPart {
    index: Index,
    linked: Mutex<RoaringBitmap>,
    places: Places,
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
        Ok(Self { index: builder.seed(seed).build()?, linked: Mutex::default(), places: Places::default() })
    }

    /// The graph saved at `path`; `None` if there is none that fits the vector. A damaged one is reported by `Some(Err)`.
    pub(crate) fn open(path: &Path, field: &VectorField) -> Option<Result<Self, orthant_engine::OpenError>> {
        if !path.exists() {
            return None;
        }
        let index = match Index::open(path, &OpenOptions::default()) {
            Ok(index) => index,
            Err(error) => return Some(Err(error)),
        };
        if index.dim() != field.dim || index.metric() != field.metric {
            return None;
        }
        let mut linked = RoaringBitmap::new();
        let places = Places::default();
        // A saved index holds rows only, one after the other, each the first of its place.
        for node in 0..index.len() as NodeId {
            if let Some(Key::Int(row)) = index.key(RowId { node, generation: 0 }) {
                linked.insert(row as u32);
                places.set(node, row as u32);
            }
        }
        if linked.len() != index.len() as u64 {
            return None;
        }
        Some(Ok(Self { index, linked: Mutex::new(linked), places }))
    }

    /// Saves the graph (G2).
    pub(crate) fn save(&self, path: &Path) -> Result<(), orthant_engine::SaveError> {
        self.index.save(path)
    }

    /// The rows it holds, those that ended and were not forgotten included.
    pub(crate) fn linked(&self) -> RoaringBitmap {
        self.linked.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// How many rows it holds.
    pub(crate) fn len(&self) -> usize {
        self.index.len()
    }

    /// Takes out rows that ended and that no reader sees (G3); how many.
    pub(crate) fn forget(&self, rows: &RoaringBitmap) -> u64 {
        let gone = rows & &*self.linked.lock().unwrap_or_else(PoisonError::into_inner);
        for row in &gone {
            self.index.remove(&Key::Int(u64::from(row)));
        }
        *self.linked.lock().unwrap_or_else(PoisonError::into_inner) -= &gone;
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
        Ok(())
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
            FilterMode::Pool
        } else {
            FilterMode::TwoHop
        };
        let places = self.places.read();
        let row_at = |node: NodeId| places.row(node);
        let passes = |node: NodeId| row_at(node).is_some_and(|row| matches.contains(row));
        let mut searcher = self.index.searcher();
        let hits = searcher.search_filtered(query, SearchParams::new(k, ef), mode, passes)?;
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
