//! The index: rows, keys, codes and graph kept in step.
//!
//! * **N1** A place is taken (one that a removed row left, or a new one), its row filled, encoded and keyed, then
//!   published, then its key is shown, then it is linked: whoever meets a node in the graph finds everything else
//!   about it in place.
//! * **N2** A row that could not be linked has no key and is in no result; its place goes back.
//! * **N3** `started` and `finished` writes are equal while nothing is being written; saving relies on it.
//! * **N4** A place is given to another row only when nobody holds a pin from while its last row was live. So who
//!   pins, then sees a node live, then reads its generation, key, row or code, reads those of one row.

use std::ops::Range;
use std::sync::OnceLock;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

use orthant_graph::{Graph, LevelDraw, NodeId, Scratch};
use orthant_kernels::{IsaError, Metric};
use orthant_pool::{Affinity, CancelToken, Pool, PoolError};
use orthant_quant::TrainError;
use orthant_storage::{ArenaError, MemoryOptions, RegionError, RowArena};

use crate::blocks::{Blocks, BlocksError};
use crate::builder::{BuildError, IndexBuilder, Quantization};
use crate::codes::{Codes, CodesError};
use crate::directory::{Claim, Directory};
use crate::drift::Drift;
use crate::gate::Choice;
use crate::halves::Halves;
use crate::ids::{Key, KeyRef, RowId};
use crate::keys::{KeyMode, KeyRefused, Keys, Kind, MAX_KEY_BYTES};
use crate::mode::Mode;
use crate::space::{RowKernels, RowSpace};
use crate::vector::{first_not_finite, normalize};

/// A vector index: insert, remove, search, save, open.
///
/// All of them but opening may run at the same time from any number of threads. An inserted row is found by the
/// searches that start afterwards, a removed one by none; no search waits for a write.
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
    pub(crate) directory: Directory,
    pub(crate) quantization: Quantization,
    pub(crate) mode: Option<Mode>,
    pub(crate) codes: Option<Codes>,
    pub(crate) blocks: Option<Blocks>,
    /// What searches over blocks compare last, instead of whole rows.
    pub(crate) halves: Option<Halves>,
    /// What the lists carry and why, once that was decided.
    pub(crate) choice: Option<Choice>,
    /// What came since.
    pub(crate) drift: Drift,
    /// What the user fixed of it.
    pub(crate) block_bits: usize,
    pub(crate) half_rows: Option<bool>,
    pub(crate) target_recall: f32,
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

impl Workers {
    /// Whether the caller's own thread does all work.
    pub(crate) fn are_one(&self) -> bool {
        self.threads == 1 && self.cores.is_none()
    }
}

/// Counts writes (N3).
#[derive(Debug, Default)]
pub(crate) struct Writes {
    started: AtomicU64,
    finished: AtomicU64,
}

impl Writes {
    pub(crate) fn begin(&self) -> WriteGuard<'_> {
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

pub(crate) struct WriteGuard<'a>(&'a Writes);

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
    /// The edges could not be coded.
    #[error(transparent)]
    Edges(#[from] orthant_quant::EdgeError),
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

impl From<BlocksError> for InsertError {
    fn from(error: BlocksError) -> Self {
        match error {
            BlocksError::Isa(error) => error.into(),
            BlocksError::Edges(error) => error.into(),
            BlocksError::Damaged => unreachable!("nothing was read"),
        }
    }
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
    /// What a writing thread reuses from row to row.
    pub(crate) static SCRATCH: std::cell::RefCell<(Scratch, Vec<u8>)> = Default::default();
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

    /// The key of a row from a search result.
    ///
    /// `None` for a row that is not in the index any more. Many keys are read with less copying through
    /// [`pin`](Self::pin).
    pub fn key(&self, row: RowId) -> Option<Key> {
        self.pin().key(row).map(KeyRef::to_key)
    }

    /// The row that a key names now.
    pub fn id(&self, key: &Key) -> Option<RowId> {
        self.pin().id(key)
    }

    /// Whether a key names a row.
    pub fn contains(&self, key: &Key) -> bool {
        self.id(key).is_some()
    }

    /// A copy of the row a key names, as it is stored: of unit length for [`Metric::Cosine`].
    pub fn row(&self, key: &Key) -> Option<Vec<f32>> {
        let _pin = self.graph.pin();
        // SAFETY: the row was seen live under the pin (N1, N4), though it may be removed by now.
        self.find(key).map(|row| unsafe { self.rows.row_unchecked(row.node) }.to_vec())
    }

    /// Inserts a row under a key of the caller's.
    ///
    /// # Errors
    /// [`InsertError`].
    pub fn insert(&self, key: impl Into<Key>, row: &[f32]) -> Result<RowId, InsertError> {
        let key = key.into();
        self.check_row(0, row)?;
        check_key(&key)?;
        self.settle_keys(true)?;
        let _write = self.writes.begin();
        self.claim_free(&key)?;
        let inserted = self.append(Some(key.as_ref()), |out| out.copy_from_slice(row)).and_then(|row| {
            self.directory.announce(&key, row);
            self.link(row)?;
            Ok(row)
        });
        self.settle(&key, inserted.as_ref().ok().copied());
        inserted
    }

    /// Inserts the rows `[n × dim]` in parallel, under the given keys or, without, under their numbers: the
    /// count of rows that ever came before. Returns their ids in order.
    ///
    /// # Errors
    /// [`InsertError`]. Bad rows and duplicate keys are found before anything is inserted; after an error for
    /// lack of memory some of the rows may be in.
    pub fn insert_batch(&self, rows: &[f32], keys: Option<&[Key]>) -> Result<Vec<RowId>, InsertError> {
        let _write = self.writes.begin();
        let ids = self.append_all(rows, keys)?;
        let linked = self.link_all(&ids, &|_| ());
        self.settle_all(keys, &ids);
        linked.map(|()| ids)
    }

    /// Takes places for the rows of a batch and fills them, and makes their keys the caller's; all or nothing.
    pub(crate) fn append_all(&self, rows: &[f32], keys: Option<&[Key]>) -> Result<Vec<RowId>, InsertError> {
        let count = self.check_rows(rows, keys)?;
        if count == 0 {
            return Ok(Vec::new());
        }
        self.settle_keys(keys.is_some())?;
        let keys = keys.unwrap_or_default();
        for (place, key) in keys.iter().enumerate() {
            if let Err(refused) = self.claim_free(key) {
                keys[..place].iter().for_each(|key| self.settle(key, None));
                return Err(refused);
            }
        }
        let mut ids = Vec::with_capacity(count);
        let result = rows.chunks_exact(self.dim).enumerate().try_for_each(|(number, row)| {
            let key = keys.get(number);
            let id = self.append(key.map(Key::as_ref), |out| out.copy_from_slice(row))?;
            if let Some(key) = key {
                self.directory.announce(key, id);
            }
            ids.push(id);
            Ok(())
        });
        if result.is_err() {
            ids.iter().for_each(|&id| self.give_up(id));
            self.settle_all(Some(keys), &ids);
        }
        result.map(|()| ids)
    }

    /// Ends the caller's writes under the keys of a batch.
    pub(crate) fn settle_all(&self, keys: Option<&[Key]>, ids: &[RowId]) {
        for (place, key) in keys.unwrap_or_default().iter().enumerate() {
            // A row that is not in is not settled on.
            self.settle(key, ids.get(place).copied());
        }
    }

    /// Inserts `count` rows that `read` fills in one by one, under their numbers: what
    /// [`insert_batch`](Self::insert_batch) does for rows that come from a file of another element type,
    /// without a copy of them all. Returns their ids in order.
    ///
    /// # Errors
    /// [`FillError`]; after one that could not be read none of the rows is in, but their numbers are used up.
    pub fn insert_from<E: Send>(
        &self,
        count: usize,
        mut read: impl FnMut(usize, &mut [f32]) -> Result<(), E>,
        progress: &(dyn Fn(usize) + Sync),
    ) -> Result<Vec<RowId>, FillError<E>> {
        let _write = self.writes.begin();
        let ids = self.append_from(count, &mut read)?;
        self.link_all(&ids, progress)?;
        Ok(ids)
    }

    /// Takes places for `count` rows that `read` fills in; all or nothing.
    pub(crate) fn append_from<E: Send>(
        &self,
        count: usize,
        read: &mut impl FnMut(usize, &mut [f32]) -> Result<(), E>,
    ) -> Result<Vec<RowId>, FillError<E>> {
        if count == 0 {
            return Ok(Vec::new());
        }
        self.settle_keys(false)?;
        let mut ids = Vec::with_capacity(count);
        let mut buffer = vec![0.0; self.dim];
        for row in 0..count {
            let appended = read(row, &mut buffer)
                .map_err(|source| FillError::Read { row, source })
                .and_then(|()| Ok(self.check_row(row, &buffer)?))
                .and_then(|()| Ok(self.append(None, |out| out.copy_from_slice(&buffer))?));
            match appended {
                Ok(id) => ids.push(id),
                Err(error) => {
                    ids.iter().for_each(|&id| self.give_up(id));
                    return Err(error);
                }
            }
        }
        Ok(ids)
    }

    /// Changes which threads work on batches. 0 threads: as many as the process may use.
    pub fn set_threads(&mut self, threads: usize, cores: Option<Vec<usize>>) {
        self.workers = Workers { threads, cores };
        self.pool = OnceLock::new();
    }

    /// Whether searches and inserts give up rows half read that are too far by then (the default), or read every row
    /// whole. Rows of fewer than 192 dimensions, and those under the inner product, are read whole anyway; scans begin at 96.
    pub fn set_screening(&mut self, is_on: bool) {
        self.kernels.screen(is_on);
    }

    /// Takes a place and fills it (N1). Without a key the row gets the next number.
    pub(crate) fn append(
        &self,
        key: Option<KeyRef<'_>>,
        fill: impl FnOnce(&mut [f32]),
    ) -> Result<RowId, InsertError> {
        let fill = |row: &mut [f32]| {
            fill(row);
            if self.metric == Metric::Cosine && !normalize(row) {
                // Before the row is published, so whoever meets the row knows.
                self.has_zero_row.store(true, Ordering::Release);
            }
        };
        self.drift.count();
        let is_numbered = key.is_none();
        let id = if let Some(node) = self.graph.take_slot() {
            // SAFETY: the graph has just given this place to the caller alone (N4).
            unsafe { self.fill_again(node, key, fill) }?
        } else {
            let mut claim = self.rows.claim()?;
            let node = claim.id();
            // SAFETY: a claim makes the place the caller's alone.
            let kind = unsafe { self.fill_place(node, claim.row_mut(), key, fill) }?;
            claim.publish();
            self.keys.show(node, kind);
            RowId { node, generation: 0 }
        };
        if is_numbered && !self.keys.is_own_number(id.node) {
            // SAFETY: the place is the caller's until it is linked.
            if let Some(number) = unsafe { self.keys.key(id.node) } {
                self.directory.enter(number.to_key(), id);
            }
        }
        Ok(id)
    }

    /// Fills a place that a removed row left, or gives it back.
    ///
    /// # Safety
    /// The graph has given the place to the caller alone.
    pub(crate) unsafe fn fill_again(
        &self,
        node: NodeId,
        key: Option<KeyRef<'_>>,
        fill: impl FnOnce(&mut [f32]),
    ) -> Result<RowId, InsertError> {
        let id = RowId { node, generation: self.graph.generation(node) };
        // SAFETY: the caller's promise; the row was published when its place was first used.
        let row = unsafe { self.rows.rewrite(node) };
        // SAFETY: as above.
        match unsafe { self.fill_place(node, row, key, fill) } {
            Ok(kind) => {
                self.keys.show(node, kind);
                Ok(id)
            }
            Err(error) => {
                self.give_up(id);
                Err(error)
            }
        }
    }

    /// Writes all that belongs to a row.
    ///
    /// # Safety
    /// The place `node` is the caller's alone; `row` is its row.
    unsafe fn fill_place(
        &self,
        node: NodeId,
        row: &mut [f32],
        key: Option<KeyRef<'_>>,
        fill: impl FnOnce(&mut [f32]),
    ) -> Result<Kind, InsertError> {
        fill(row);
        if let Some(codes) = &self.codes {
            // SAFETY: the caller's promise.
            SCRATCH.with_borrow_mut(|(_, buffer)| unsafe { codes.encode(node, row, buffer) })?;
        }
        if let Some(halves) = &self.halves {
            // SAFETY: the caller's promise.
            unsafe { halves.encode(node, row) }?;
        }
        let key = key.unwrap_or_else(|| KeyRef::Int(self.keys.take_number()));
        // SAFETY: the caller's promise.
        unsafe { self.keys.write(node, key) }.map_err(key_error)
    }

    /// Links a published row, or gives it up (N2).
    pub(crate) fn link(&self, row: RowId) -> Result<(), InsertError> {
        let space = self.space();
        let linked = SCRATCH.with_borrow_mut(|(scratch, _)| {
            self.graph.insert(row.node, self.levels.level(row.node), &space, scratch)
        });
        linked.map_err(|error| {
            self.give_up(row);
            error.into()
        })
    }

    /// Takes the key from a row that was not linked, and gives its place back (N2).
    pub(crate) fn give_up(&self, row: RowId) {
        if self.keys.mode() == KeyMode::RowNumber {
            // SAFETY: the place is the caller's, which did not link it.
            if let Some(number) = unsafe { self.keys.key(row.node) } {
                self.directory.forget(&number.to_key(), row);
            }
        }
        self.keys.give_up(row.node);
        // A place that the graph has not heard of yet stays empty.
        if (row.node as usize) < self.graph.node_bound() {
            self.graph.give_slot_back(row.node);
        }
    }

    /// Links published rows in parallel; after an error those not linked yet are given up.
    pub(crate) fn link_all(
        &self,
        rows: &[RowId],
        progress: &(dyn Fn(usize) + Sync),
    ) -> Result<(), InsertError> {
        let failed = OnceLock::new();
        let done = AtomicU64::new(0);
        let cancel = CancelToken::new();
        let is_done: Vec<AtomicBool> = rows.iter().map(|_| AtomicBool::new(false)).collect();
        self.run_chunks(rows.len(), LINK_CHUNK, &cancel, |_, range| {
            let length = range.len() as u64;
            for place in range {
                match self.link(rows[place]) {
                    Ok(()) => is_done[place].store(true, Ordering::Relaxed),
                    Err(error) => {
                        is_done[place].store(true, Ordering::Relaxed);
                        cancel.cancel();
                        let _ = failed.set(error);
                        return;
                    }
                }
            }
            progress((done.fetch_add(length, Ordering::Relaxed) + length) as usize);
        })?;
        let Some(error) = failed.into_inner() else { return Ok(()) };
        for (&row, is_done) in rows.iter().zip(is_done) {
            if !is_done.into_inner() {
                self.give_up(row);
            }
        }
        Err(error)
    }

    /// Whether `row` is in the index. Under a pin from before this says yes, its place is not given to another
    /// row until the pin is released (N4).
    pub(crate) fn is_live(&self, row: RowId) -> bool {
        // In this order: once the node was seen live, its generation stays.
        self.graph.is_live(row.node) && self.graph.generation(row.node) == row.generation
    }

    /// The row that a key names, under a pin of the caller's.
    pub(crate) fn find(&self, key: &Key) -> Option<RowId> {
        if self.keys.mode() == KeyMode::Undecided {
            return None;
        }
        self.find_by_node(key).or_else(|| {
            self.fill_directory();
            self.directory.find(key, |row| self.is_live(row))
        })
    }

    /// The row whose number is `key` and its node, under a pin of the caller's.
    pub(crate) fn find_by_node(&self, key: &Key) -> Option<RowId> {
        let Key::Int(number) = key else { return None };
        let node = NodeId::try_from(*number).ok()?;
        // Live first: then its key stays.
        (self.keys.mode() == KeyMode::RowNumber && self.graph.is_live(node) && self.keys.is_own_number(node))
            .then(|| RowId { node, generation: self.graph.generation(node) })
    }

    /// Fills the directory of a saved index, unless that was done.
    pub(crate) fn fill_directory(&self) {
        self.directory.fill(|enter| {
            let pinned = self.pin();
            for node in 0..self.graph.node_bound() as NodeId {
                let row = RowId { node, generation: self.graph.generation(node) };
                if let Some(key) = pinned.key(row)
                    && !(self.keys.mode() == KeyMode::RowNumber && self.keys.is_own_number(node))
                {
                    enter(key.to_key(), row);
                }
            }
        });
    }

    /// Ends the caller's write under `key`.
    pub(crate) fn settle(&self, key: &Key, row: Option<RowId>) {
        let _pin = self.graph.pin();
        self.directory.settle(key, row, |row| self.is_live(row));
    }

    /// Makes `key` the caller's to insert a row under.
    fn claim_free(&self, key: &Key) -> Result<(), InsertError> {
        self.fill_directory();
        let _pin = self.graph.pin();
        match self.directory.claim_free(key, |row| self.is_live(row)) {
            Claim::Free => Ok(()),
            Claim::Taken(_) | Claim::Busy => Err(InsertError::DuplicateKey { key: key.clone() }),
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
        if self.workers.are_one() || count <= chunk {
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
        RowSpace { kernels: &self.kernels, rows: &self.rows, has_zero_row, blocks: self.blocks.as_ref() }
    }

    pub(crate) fn check_row(&self, number: usize, row: &[f32]) -> Result<(), InsertError> {
        if row.len() != self.dim {
            return Err(InsertError::Dimension { found: row.len(), expected: self.dim });
        }
        match first_not_finite(row) {
            Some(column) => Err(InsertError::NotFinite { row: number, column }),
            None => Ok(()),
        }
    }

    /// Checks the rows and keys of a batch and counts them.
    fn check_rows(&self, rows: &[f32], keys: Option<&[Key]>) -> Result<usize, InsertError> {
        if !rows.len().is_multiple_of(self.dim) {
            return Err(InsertError::Ragged { elements: rows.len(), dim: self.dim });
        }
        let count = rows.len() / self.dim;
        for (number, row) in rows.chunks_exact(self.dim).enumerate() {
            self.check_row(number, row)?;
        }
        if let Some(keys) = keys {
            if keys.len() != count {
                return Err(InsertError::KeyCount { keys: keys.len(), rows: count });
            }
            keys.iter().try_for_each(check_key)?;
        }
        Ok(count)
    }

    pub(crate) fn settle_keys(&self, given: bool) -> Result<(), InsertError> {
        let mode = if given { KeyMode::Given } else { KeyMode::RowNumber };
        if self.keys.settle(mode) { Ok(()) } else { Err(InsertError::MixedKeys { given }) }
    }
}

/// Refuses a key that is too long.
pub(crate) fn check_key(key: &Key) -> Result<(), InsertError> {
    match key {
        Key::Str(text) if text.len() > MAX_KEY_BYTES => Err(InsertError::KeyTooLong { bytes: text.len() }),
        _ => Ok(()),
    }
}

pub(crate) fn key_error(refused: KeyRefused) -> InsertError {
    match refused {
        KeyRefused::TooLong(bytes) => InsertError::KeyTooLong { bytes },
        KeyRefused::Memory(error) => error.into(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_row_is_found_while_an_earlier_one_is_still_being_written() {
        let index = Index::builder(2, Metric::L2).build().unwrap();
        let slow_writer = index.rows.claim().unwrap();
        let id = index.insert("mine", &[1.0, 2.0]).unwrap();
        assert_eq!(index.rows.len(), 0, "the earlier row is not published");
        let key = Key::from("mine");
        assert_eq!((index.id(&key), index.row(&key)), (Some(id), Some(vec![1.0, 2.0])));
        assert_eq!(index.search(&[1.0, 2.0], 1, 8).unwrap()[0].key, key);
        assert_eq!(index.search_exact(&[1.0, 2.0], 1).unwrap().nodes, [id.node]);
        drop(slow_writer);
        let unused = RowId { node: 0, generation: 0 };
        assert_eq!(index.key(unused), None, "a row that was never written has no key");
    }
}
