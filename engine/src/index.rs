//! The index: rows, keys, codes and graph kept in step.
//!
//! * **N1** A row is claimed, filled, encoded and keyed, then published, then its key is shown, then it is linked:
//!   whoever meets a node in the graph finds everything else about it in place.
//! * **N2** A row that could not be linked keeps its number but has no key: it is in no result.
//! * **N3** `started` and `finished` writes are equal while nothing is being written; saving relies on it.

use std::ops::Range;
use std::sync::OnceLock;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

use orthant_graph::{Graph, LevelDraw, NodeId, Scratch};
use orthant_kernels::{IsaError, Metric};
use orthant_pool::{Affinity, CancelToken, Pool, PoolError};
use orthant_quant::{Sq8, TrainError};
use orthant_storage::{ArenaError, MemoryOptions, RegionError, RowArena};

use crate::builder::{BuildError, IndexBuilder, Quantization};
use crate::codes::{Codes, CodesError};
use crate::ids::{Key, KeyMode, KeyRef, KeyRefused, Keys, MAX_KEY_BYTES};
use crate::space::{RowKernels, RowSpace};

/// A vector index: insert, search, save, open.
///
/// Inserts and searches may run at the same time from any number of threads; an inserted row is found
/// by every search that starts afterwards.
///
/// # Examples
/// ```
/// use orthant_engine::{Index, Metric};
///
/// let index = Index::builder(2, Metric::L2).build()?;
/// index.insert("origin", &[0.0, 0.0])?;
/// index.insert("east", &[5.0, 0.0])?;
/// let found = index.search(&[4.0, 3.0], 1, 16)?;
/// assert_eq!(found[0].key.to_string(), "east");
/// assert_eq!(found[0].distance, 10f32.sqrt());
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
pub struct Index {
    pub(crate) dim: usize,
    pub(crate) metric: Metric,
    pub(crate) kernels: RowKernels,
    /// Cosine only: some row has length zero.
    pub(crate) has_zero_row: AtomicBool,
    pub(crate) rows: RowArena<f32>,
    pub(crate) graph: Graph,
    pub(crate) levels: LevelDraw,
    pub(crate) seed: u64,
    pub(crate) keys: Keys,
    pub(crate) quantization: Quantization,
    pub(crate) codes: Option<Codes>,
    pub(crate) workers: Workers,
    pub(crate) memory: MemoryOptions,
    pub(crate) pool: OnceLock<Pool>,
    pub(crate) writes: Writes,
}

/// Which threads work on batches.
#[derive(Debug, Clone, Default)]
pub(crate) struct Workers {
    pub(crate) threads: usize,
    pub(crate) cores: Option<Vec<usize>>,
}

/// Counts writes (N3).
#[derive(Debug, Default)]
pub(crate) struct Writes {
    started: AtomicU64,
    finished: AtomicU64,
}

impl Writes {
    fn begin(&self) -> WriteGuard<'_> {
        // SeqCst: a save that reads `started` after its work must not miss a write whose rows it saw.
        self.started.fetch_add(1, Ordering::SeqCst);
        WriteGuard(self)
    }

    /// The number of writes so far if none is under way.
    pub(crate) fn quiet(&self) -> Option<u64> {
        let finished = self.finished.load(Ordering::SeqCst);
        (self.started.load(Ordering::SeqCst) == finished).then_some(finished)
    }
}

struct WriteGuard<'a>(&'a Writes);

impl Drop for WriteGuard<'_> {
    fn drop(&mut self) {
        self.0.finished.fetch_add(1, Ordering::SeqCst);
    }
}

/// Why a row was not inserted. The index is as it was, but for a row number that stays unused.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum InsertError {
    /// The row has another dimension than the index.
    #[error("a row of dimension {found} does not fit an index of dimension {expected}")]
    Dimension {
        /// Elements in the row.
        found: usize,
        /// The dimension of the index.
        expected: usize,
    },
    /// The rows of a batch are no whole number of rows.
    #[error("{elements} elements are no whole number of rows of dimension {dim}")]
    Ragged {
        /// Elements in the batch.
        elements: usize,
        /// The dimension of the index.
        dim: usize,
    },
    /// There are more or fewer keys than rows.
    #[error("{keys} keys for {rows} rows")]
    KeyCount {
        /// Keys given.
        keys: usize,
        /// Rows given.
        rows: usize,
    },
    /// A row holds a NaN or an infinity.
    #[error("row {row} holds a value that is not finite in column {column}")]
    NotFinite {
        /// The row within the call, from 0.
        row: usize,
        /// The column, from 0.
        column: usize,
    },
    /// The key names another row already.
    #[error("key {key} is in the index already")]
    DuplicateKey {
        /// The key.
        key: Key,
    },
    /// The key is too long.
    #[error("a key of {bytes} bytes is longer than {max}", max = MAX_KEY_BYTES)]
    KeyTooLong {
        /// Its bytes.
        bytes: usize,
    },
    /// The index numbers its rows itself and was given a key, or the other way round.
    #[error("an index whose rows {} cannot take rows {}",
        if *.given { "are numbered" } else { "have given keys" },
        if *.given { "with given keys" } else { "without keys" })]
    MixedKeys {
        /// Whether this row came with a key.
        given: bool,
    },
    /// There is no memory for the row.
    #[error(transparent)]
    Rows(#[from] ArenaError),
    /// There is no memory for what belongs to the row.
    #[error(transparent)]
    Memory(#[from] RegionError),
    /// The graph could not take the row.
    #[error(transparent)]
    Graph(#[from] orthant_graph::InsertError),
    /// The quantizer could not be trained.
    #[error(transparent)]
    Train(#[from] TrainError),
    /// The threads for the batch could not be started.
    #[error(transparent)]
    Pool(#[from] PoolError),
    /// The environment forces an instruction set that the CPU lacks.
    #[error(transparent)]
    Isa(#[from] IsaError),
}

/// Why an index could not be filled from a source of rows.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum FillError<E> {
    /// The source could not give a row.
    #[error("row {row} could not be read")]
    Read {
        /// The row, from 0.
        row: usize,
        /// What the source said.
        source: E,
    },
    /// The index could not take a row.
    #[error(transparent)]
    Insert(#[from] InsertError),
    /// The index could not be made.
    #[error(transparent)]
    Build(BuildError),
}

impl From<CodesError> for InsertError {
    fn from(error: CodesError) -> Self {
        match error {
            CodesError::Memory(error) => error.into(),
            CodesError::Isa(error) => error.into(),
        }
    }
}

thread_local! {
    /// What an inserting thread reuses from row to row.
    static SCRATCH: std::cell::RefCell<(Scratch, Vec<u8>)> = Default::default();
}

/// Rows linked per turn of a thread: long enough to make taking a turn free, short enough that
/// threads end together.
const LINK_CHUNK: usize = 32;

impl Index {
    /// Starts the choices for an index of vectors of `dim` elements compared by `metric`.
    pub fn builder(dim: usize, metric: Metric) -> IndexBuilder {
        IndexBuilder::new(dim, metric)
    }

    /// Elements per vector.
    pub fn dim(&self) -> usize {
        self.dim
    }

    /// How vectors are compared.
    pub fn metric(&self) -> Metric {
        self.metric
    }

    /// Rows that can be found.
    pub fn len(&self) -> usize {
        self.graph.len()
    }

    /// Whether there is none.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// The key of a node from a search result.
    ///
    /// `None` for a node that is not in the index.
    pub fn key(&self, node: NodeId) -> Option<KeyRef<'_>> {
        // Not asked of `rows.len()`: that stops at the first row that is still being written by somebody.
        self.keys.key(node)
    }

    /// The node that a key names.
    pub fn node(&self, key: &Key) -> Option<NodeId> {
        self.keys.node(key, self.rows.len())
    }

    /// The row a key names, as it is stored: of unit length for [`Metric::Cosine`].
    pub fn row(&self, key: &Key) -> Option<&[f32]> {
        let node = self.node(key)?;
        // SAFETY: the key is shown, so the row was published before (K1).
        Some(unsafe { self.rows.row_unchecked(node) })
    }

    /// Inserts a row under a key of the caller's.
    ///
    /// # Errors
    /// [`InsertError`].
    pub fn insert(&self, key: impl Into<Key>, row: &[f32]) -> Result<NodeId, InsertError> {
        let key = key.into();
        self.check_row(0, row)?;
        self.settle_keys(true)?;
        self.keys.claim(&key, self.rows.len()).map_err(|refused| key_error(refused, &key))?;
        let _write = self.writes.begin();
        let inserted = self.append(Some(key.as_ref()), |out| out.copy_from_slice(row)).and_then(|node| {
            self.link(node)?;
            Ok(node)
        });
        match &inserted {
            Ok(node) => self.keys.settle_node(&key, *node),
            Err(_) => self.keys.release(&key),
        }
        inserted
    }

    /// Inserts the rows `[n × dim]` in parallel, under the given keys or, without, under their numbers.
    /// Returns their nodes in order.
    ///
    /// # Errors
    /// [`InsertError`]. Bad rows and duplicate keys are found before anything is inserted; after an
    /// error for lack of memory, the rows before it may be in.
    pub fn insert_batch(&self, rows: &[f32], keys: Option<&[Key]>) -> Result<Vec<NodeId>, InsertError> {
        if !rows.len().is_multiple_of(self.dim) {
            return Err(InsertError::Ragged { elements: rows.len(), dim: self.dim });
        }
        let count = rows.len() / self.dim;
        for (number, row) in rows.chunks_exact(self.dim).enumerate() {
            self.check_row(number, row)?;
        }
        if let Some(keys) = keys
            && keys.len() != count
        {
            return Err(InsertError::KeyCount { keys: keys.len(), rows: count });
        }
        if count == 0 {
            return Ok(Vec::new());
        }
        self.settle_keys(keys.is_some())?;
        for (place, key) in keys.unwrap_or_default().iter().enumerate() {
            if let Err(refused) = self.keys.claim(key, self.rows.len()) {
                keys.unwrap_or_default()[..place].iter().for_each(|key| self.keys.release(key));
                return Err(key_error(refused, key));
            }
        }
        let _write = self.writes.begin();
        let mut nodes = Vec::with_capacity(count);
        let result = rows.chunks_exact(self.dim).enumerate().try_for_each(|(number, row)| {
            let key = keys.map(|keys| keys[number].as_ref());
            nodes.push(self.append(key, |out| out.copy_from_slice(row))?);
            Ok(())
        });
        let result = result.and_then(|()| self.link_all(&nodes, &|_| ()));
        for (place, key) in keys.unwrap_or_default().iter().enumerate() {
            match nodes.get(place).filter(|&&node| self.keys.is_present(node)) {
                Some(&node) => self.keys.settle_node(key, node),
                None => self.keys.release(key),
            }
        }
        result.map(|()| nodes)
    }

    /// Inserts `count` rows that `read` fills in one by one, under their numbers: what
    /// [`insert_batch`](Self::insert_batch) does for rows that come from a file of another element type,
    /// without a copy of them all. Returns their nodes in order.
    ///
    /// # Errors
    /// [`FillError`]; the rows before the bad one keep their numbers but are in no result.
    pub fn insert_from<E: Send>(
        &self,
        count: usize,
        mut read: impl FnMut(usize, &mut [f32]) -> Result<(), E>,
        progress: &(dyn Fn(usize) + Sync),
    ) -> Result<Vec<NodeId>, FillError<E>> {
        if count == 0 {
            return Ok(Vec::new());
        }
        self.settle_keys(false)?;
        let _write = self.writes.begin();
        let mut nodes = Vec::with_capacity(count);
        let mut buffer = vec![0.0; self.dim];
        for row in 0..count {
            let appended = read(row, &mut buffer)
                .map_err(|source| FillError::Read { row, source })
                .and_then(|()| Ok(self.check_row(row, &buffer)?))
                .and_then(|()| Ok(self.append(None, |out| out.copy_from_slice(&buffer))?));
            match appended {
                Ok(node) => nodes.push(node),
                Err(error) => {
                    nodes.iter().for_each(|&node| self.keys.give_up(node));
                    return Err(error);
                }
            }
        }
        self.link_all(&nodes, progress)?;
        Ok(nodes)
    }

    /// Trains the quantizer on the rows that are in and encodes them. Does nothing without
    /// quantization, without rows, or when it is trained already.
    ///
    /// # Errors
    /// [`InsertError::Train`], or [`InsertError::Memory`] when there is no room for the codes; searches
    /// go on at full precision.
    pub fn train(&mut self) -> Result<(), InsertError> {
        let count = self.rows.len();
        if self.quantization == Quantization::None || self.codes.is_some() || count == 0 {
            return Ok(());
        }
        let layout = self.rows.layout();
        let quantizer = Sq8::train(self.rows.rows(), layout.stride(), count, self.dim)?;
        let stride = crate::codes::code_stride(self.dim);
        let options = MemoryOptions { expected_bytes: Some(count * stride), ..self.memory.clone() };
        let codes = Codes::new(quantizer, &options)?;
        let mut buffer = Vec::new();
        for node in 0..count as NodeId {
            if let Some(row) = self.rows.row(node) {
                // SAFETY: `self` is borrowed mutably, so nobody else has any row.
                unsafe { codes.encode(node, row, &mut buffer) }?;
            }
        }
        self.codes = Some(codes);
        Ok(())
    }

    /// Changes what the search compares. Codes are dropped, and made by the next [`train`](Self::train).
    pub fn set_quantization(&mut self, quantization: Quantization) {
        self.quantization = quantization;
        self.codes = None;
    }

    /// Changes which threads work on batches. 0 threads: as many as the process may use.
    pub fn set_threads(&mut self, threads: usize, cores: Option<Vec<usize>>) {
        self.workers = Workers { threads, cores };
        self.pool = OnceLock::new();
    }

    /// Claims, fills and publishes a row (N1).
    fn append(&self, key: Option<KeyRef<'_>>, fill: impl FnOnce(&mut [f32])) -> Result<NodeId, InsertError> {
        let mut claim = self.rows.claim()?;
        let node = claim.id();
        let row = claim.row_mut();
        fill(row);
        if self.metric == Metric::Cosine && !normalize(row) {
            // Before the row is published, so whoever meets the row knows.
            self.has_zero_row.store(true, Ordering::Release);
        }
        if let Some(codes) = &self.codes {
            // SAFETY: the claim makes the row the caller's alone.
            SCRATCH.with_borrow_mut(|(_, buffer)| unsafe { codes.encode(node, row, buffer) })?;
        }
        // SAFETY: as above.
        let keyed = unsafe { self.keys.write(node, key) };
        let kind = keyed.map_err(|refused| match key {
            Some(key) => key_error(refused, &key.to_key()),
            None => key_error(refused, &Key::Int(u64::from(node))),
        })?;
        claim.publish();
        self.keys.show(node, kind);
        Ok(node)
    }

    /// Links a published row, or gives it up (N2).
    fn link(&self, node: NodeId) -> Result<(), InsertError> {
        let space = self.space();
        let linked = SCRATCH.with_borrow_mut(|(scratch, _)| {
            self.graph.insert(node, self.levels.level(node), &space, scratch)
        });
        linked.map_err(|error| {
            self.keys.give_up(node);
            error.into()
        })
    }

    /// Links published rows in parallel; after an error the rows not linked yet are given up.
    fn link_all(&self, nodes: &[NodeId], progress: &(dyn Fn(usize) + Sync)) -> Result<(), InsertError> {
        let failed = OnceLock::new();
        let done = AtomicU64::new(0);
        let cancel = CancelToken::new();
        self.run_chunks(nodes.len(), LINK_CHUNK, &cancel, |_, range| {
            let length = range.len() as u64;
            for &node in &nodes[range] {
                if let Err(error) = self.link(node) {
                    cancel.cancel();
                    let _ = failed.set(error);
                    return;
                }
            }
            progress((done.fetch_add(length, Ordering::Relaxed) + length) as usize);
        })?;
        match failed.into_inner() {
            None => Ok(()),
            Some(error) => {
                let unlinked = nodes.iter().filter(|&&node| !self.graph.contains(node));
                unlinked.for_each(|&node| self.keys.give_up(node));
                Err(error)
            }
        }
    }

    /// Runs `work(worker, range)` over `0..count` on the threads of the index.
    pub(crate) fn run_chunks(
        &self,
        count: usize,
        chunk: usize,
        cancel: &CancelToken,
        work: impl Fn(usize, Range<usize>) + Sync,
    ) -> Result<(), PoolError> {
        let alone = self.workers.threads == 1 && self.workers.cores.is_none();
        if alone || count <= chunk {
            for start in (0..count).step_by(chunk) {
                if cancel.is_cancelled() {
                    break;
                }
                work(0, start..(start + chunk).min(count));
            }
            return Ok(());
        }
        // A cancelled run says so through what `work` recorded.
        let _ = self.pool()?.for_each_chunk_until(count, chunk, cancel, work);
        Ok(())
    }

    /// The threads of the index, started on first use.
    pub(crate) fn pool(&self) -> Result<&Pool, PoolError> {
        if let Some(pool) = self.pool.get() {
            return Ok(pool);
        }
        let affinity = self.workers.cores.clone().map_or(Affinity::None, Affinity::Cores);
        let pool = Pool::builder().threads(self.workers.threads).affinity(affinity).build()?;
        // Another thread may have been faster; then this pool ends here.
        Ok(self.pool.get_or_init(|| pool))
    }

    /// The rows as the graph compares them.
    pub(crate) fn space(&self) -> RowSpace<'_> {
        let has_zero_row = self.has_zero_row.load(Ordering::Acquire);
        RowSpace { kernels: &self.kernels, rows: &self.rows, has_zero_row }
    }

    fn check_row(&self, number: usize, row: &[f32]) -> Result<(), InsertError> {
        if row.len() != self.dim {
            return Err(InsertError::Dimension { found: row.len(), expected: self.dim });
        }
        match first_not_finite(row) {
            Some(column) => Err(InsertError::NotFinite { row: number, column }),
            None => Ok(()),
        }
    }

    fn settle_keys(&self, given: bool) -> Result<(), InsertError> {
        let mode = if given { KeyMode::Given } else { KeyMode::RowNumber };
        if self.keys.settle(mode) { Ok(()) } else { Err(InsertError::MixedKeys { given }) }
    }
}

fn key_error(refused: KeyRefused, key: &Key) -> InsertError {
    match refused {
        KeyRefused::Duplicate => InsertError::DuplicateKey { key: key.clone() },
        KeyRefused::TooLong(bytes) => InsertError::KeyTooLong { bytes },
        KeyRefused::Memory(error) => error.into(),
    }
}

/// The first column that holds a NaN or an infinity.
pub(crate) fn first_not_finite(row: &[f32]) -> Option<usize> {
    // A sum of zeros unless some value is not finite: no branch per element.
    let probe: f32 = row.iter().map(|value| value * 0.0).sum();
    if probe == 0.0 { None } else { row.iter().position(|value| !value.is_finite()) }
}

/// Scales a row to unit length; whether it could: a zero row stays zero.
pub(crate) fn normalize(row: &mut [f32]) -> bool {
    let square: f64 = row.iter().map(|&value| f64::from(value) * f64::from(value)).sum();
    if square > 0.0 {
        let scale = 1.0 / square.sqrt();
        row.iter_mut().for_each(|value| *value = (f64::from(*value) * scale) as f32);
    }
    square > 0.0
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn not_finite_is_found_where_it_is() {
        let mut row = vec![1.5f32; 37];
        assert_eq!(first_not_finite(&row), None);
        for bad in [f32::NAN, f32::INFINITY, f32::NEG_INFINITY] {
            row[31] = bad;
            assert_eq!(first_not_finite(&row), Some(31));
        }
    }

    #[test]
    fn a_row_is_found_while_an_earlier_one_is_still_being_written() {
        let index = Index::builder(2, Metric::L2).build().unwrap();
        let slow_writer = index.rows.claim().unwrap();
        let node = index.insert("mine", &[1.0, 2.0]).unwrap();
        assert_eq!(index.rows.len(), 0, "the earlier row is not published");
        let key = Key::from("mine");
        assert_eq!((index.node(&key), index.row(&key)), (Some(node), Some(&[1.0, 2.0][..])));
        assert_eq!(index.search(&[1.0, 2.0], 1, 8).unwrap()[0].key, key.as_ref());
        drop(slow_writer);
        assert_eq!(index.key(0), None, "a row that was given up has no key");
    }

    #[test]
    fn normalize_survives_extremes() {
        for mut row in [vec![1e-30f32; 8], vec![1e30f32; 8], vec![0.0; 8]] {
            let is_scaled = normalize(&mut row);
            let square: f32 = row.iter().map(|value| value * value).sum();
            assert!(if is_scaled { (square - 1.0).abs() < 1e-6 } else { square == 0.0 }, "{square}");
        }
    }
}
