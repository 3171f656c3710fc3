//! Bulk build: all rows into a graph at once, and a look at what came out.
//!
//! Rows are read and coded on one grid, `orthant_build` makes the lists of every level, `Graph::from_lists` the graph.
//! Rows that searches do not find get ways to them ([`mend`]), then a sample is searched ([`sample`]). Rows that memory has no
//! room for lie in a file meanwhile ([`spill`]).
//!
//! * **K1** The index is the same for the same rows and seed, on any number of threads.
//! * **K2** An index whose sample falls below the floor is not given out as it is: it is linked anew row by row, or
//!   refused.
//! * **K3** Only L2 and the cosine have distances on the grid; rows under other metrics are linked row by row.
//!
//! * **K4** A build that would take more memory than it may is refused before the first row is read.
//!
//! Cost: beside the index, a byte per dimension and about 550 bytes per row until the lists are there.

mod kept;
mod memory;
mod mend;
mod sample;
mod spill;

use std::path::PathBuf;

use orthant_build::{BuildError as ListsError, Codes, Grid, Lists, Params, Rows, build, build_kept, nearest};
use orthant_graph::{Graph, LevelLists, NodeId};
use orthant_kernels::Metric;
use orthant_pool::{CancelToken, PoolError};
use orthant_quant::Executor;
use orthant_storage::MemoryOptions;
use orthant_storage::persist;

use crate::builder::IndexBuilder;
use crate::ids::RowId;
use crate::index::{FillError, Index, InsertError};
use crate::memory::graph_memory;

use kept::Folder;
pub use kept::Resume;
pub use memory::BulkMemory;
use sample::Found;

/// What a bulk build is at.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
#[non_exhaustive]
pub enum BulkPhase {
    /// Rows are read and checked.
    Reading,
    /// Rows are coded.
    Coding,
    /// Rows join balls.
    Partition,
    /// Rows of a ball are compared.
    Distances,
    /// Neighbors of neighbors are compared.
    Joining,
    /// Rows choose neighbors.
    Selection,
    /// Rows choose again among those that chose them.
    Linking,
    /// Lists become a graph.
    Graph,
    /// Rows that searches do not find get ways to them.
    Mending,
    /// A sample is searched.
    Check,
    /// Rows are linked one by one.
    Inserting,
    /// The quantizer is trained.
    Training,
}

impl BulkPhase {
    /// A word for people.
    pub fn name(self) -> &'static str {
        match self {
            Self::Reading => "reading",
            Self::Coding => "coding",
            Self::Partition => "partition",
            Self::Distances => "distances",
            Self::Joining => "joining",
            Self::Selection => "selection",
            Self::Linking => "linking",
            Self::Graph => "graph",
            Self::Check => "check",
            Self::Mending => "mending",
            Self::Inserting => "inserting",
            Self::Training => "training",
        }
    }
}

/// Who is told how far a bulk build is, and may stop it. Called from several threads.
pub trait BulkWatch: Sync {
    /// `done` of `total` units of `phase` are done. Phases from partition to linking come more than once, for ever
    /// fewer rows.
    fn progress(&self, phase: BulkPhase, done: usize, total: usize) {
        let _ = (phase, done, total);
    }

    /// Whether to give up.
    fn is_cancelled(&self) -> bool {
        false
    }
}

/// Watches nothing.
impl BulkWatch for () {}

/// Gives up once it is cancelled.
impl BulkWatch for CancelToken {
    fn is_cancelled(&self) -> bool {
        self.is_cancelled()
    }
}

/// What to do with a graph that finds too little.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum BelowFloor {
    /// Link the rows one by one instead.
    #[default]
    Insert,
    /// Refuse.
    Refuse,
}

/// How a bulk build is judged, and what it may take.
#[derive(Debug, Clone, PartialEq)]
pub struct BulkOptions {
    /// The least recall@10 of the sample. 0.95: below it more than half of the queries miss something. In any quarter of
    /// the rows, taken by number, it may be 0.03 less, which is three times what chance makes of it.
    pub floor: f64,
    /// The beam of the sample's searches. 64: what most callers search with.
    pub ef: usize,
    /// What happens below the floor.
    pub below: BelowFloor,
    /// Bytes that the build may take at its peak, by [`IndexBuilder::bulk_memory`]. `None`: no limit.
    pub max_memory: Option<usize>,
    /// Where a file of rows may stand while the build runs and the index lives, should they not fit into
    /// `max_memory`; it takes `4 · dim` bytes per row, and its name is removed at once where the system lets it. `None`:
    /// rows stay in memory.
    pub rows_file: Option<PathBuf>,
    /// Where finished steps are kept, so that a build that is stopped or killed goes on from them when it is started
    /// again. `None`: nothing is kept, and it starts anew.
    pub resume: Option<Resume>,
}

impl Default for BulkOptions {
    fn default() -> Self {
        Self {
            floor: 0.95,
            ef: 64,
            below: BelowFloor::Insert,
            max_memory: None,
            rows_file: None,
            resume: None,
        }
    }
}

/// What a bulk build did.
#[derive(Debug, Clone, Copy, PartialEq, Default)]
#[non_exhaustive]
pub struct BulkReport {
    /// recall@10 of the sample; none where nothing was built in bulk.
    pub recall: Option<f64>,
    /// The same in the quarter of the rows where it is least.
    pub worst: Option<f64>,
    /// Whether rows lie in a file.
    pub on_disk: bool,
    /// Edges that were put in for rows that searches did not find.
    pub mended: usize,
    /// Whether the rows were linked one by one in the end.
    pub inserted: bool,
    /// Steps that were found where [`BulkOptions::resume`] says, and used.
    pub resumed: usize,
    /// Files that were found there and passed over: damaged, or of other rows or another build.
    pub passed_over: usize,
    /// Steps that were to be kept and could not be written.
    pub unwritten: usize,
}

/// Why there is no index. Nothing is kept.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum BulkError<E> {
    /// As when it is filled row by row.
    #[error(transparent)]
    Fill(#[from] FillError<E>),
    /// The watch said stop.
    #[error("the build was cancelled")]
    Cancelled,
    /// The graph finds too little.
    #[error(
        "the graph found {recall:.3} of what is nearest ({worst:.3} in one quarter of the rows): less than {floor:.3}"
    )]
    BelowFloor {
        /// What it found.
        recall: f64,
        /// What it found in the quarter of the rows where that is least.
        worst: f64,
        /// What it was to find.
        floor: f64,
    },
    /// The build would take more memory than it may. Nothing was read.
    #[error(
        "the build takes about {needed} bytes ({least} with rows on disk), more than the {max} it may take"
    )]
    Memory {
        /// Bytes at its peak.
        needed: usize,
        /// Bytes at its peak when rows lie in a file.
        least: usize,
        /// Bytes that it may take.
        max: usize,
    },
    /// The file of rows could not be written.
    #[error("the file of rows could not be written")]
    WriteRows(#[source] persist::SaveError),
    /// The file of rows could not be mapped.
    #[error("the file of rows could not be opened")]
    OpenRows(#[source] persist::OpenError),
}

impl<E> From<InsertError> for BulkError<E> {
    fn from(error: InsertError) -> Self {
        Self::Fill(FillError::Insert(error))
    }
}

impl<E> From<ListsError> for BulkError<E> {
    fn from(error: ListsError) -> Self {
        match error {
            ListsError::Isa(error) => InsertError::from(error).into(),
            _ => Self::Cancelled,
        }
    }
}

/// The threads of an index, which run tasks.
struct Threads<'a>(&'a Index);

impl<'a> Threads<'a> {
    /// Starts them.
    fn of(index: &'a Index) -> Result<Self, PoolError> {
        index.run_chunks(2, 1, &CancelToken::new(), |_, _| ())?;
        Ok(Self(index))
    }
}

impl Executor for Threads<'_> {
    fn run(&self, count: usize, task: &(dyn Fn(usize) + Sync)) {
        let ran = self.0.run_chunks(count, 1, &CancelToken::new(), |_, range| range.for_each(task));
        // The pool was started before, and nothing else fails.
        debug_assert!(ran.is_ok());
    }
}

/// Passes on what the lists' build says.
struct Passed<'a>(&'a dyn BulkWatch);

impl orthant_build::Watch for Passed<'_> {
    fn progress(&self, phase: orthant_build::Phase, done: usize, total: usize) {
        let phase = match phase {
            orthant_build::Phase::Partition => BulkPhase::Partition,
            orthant_build::Phase::Distances => BulkPhase::Distances,
            orthant_build::Phase::Joining => BulkPhase::Joining,
            orthant_build::Phase::Selection => BulkPhase::Selection,
            _ => BulkPhase::Linking,
        };
        if done == 0 {
            // What steps before freed lies between what they left.
            orthant_storage::trim_heap();
        }
        self.0.progress(phase, done, total);
    }

    fn is_cancelled(&self) -> bool {
        self.0.is_cancelled()
    }
}

impl IndexBuilder {
    /// An index of `count` rows that `read` fills in one by one, built at once: what
    /// [`build_from`](Self::build_from) makes row by row, several times as fast. Keys are the row numbers. The index is
    /// the same on any number of threads.
    ///
    /// Only L2 and the cosine are built in bulk; under other metrics rows are linked one by one.
    ///
    /// # Errors
    /// [`BulkError`]; nothing is kept.
    ///
    /// # Examples
    /// ```
    /// use orthant_engine::{BulkOptions, Index, Metric};
    ///
    /// let rows: Vec<f32> = (0..2000).map(|i| (i as f32 * 0.7).sin()).collect();
    /// let read = |row: usize, out: &mut [f32]| -> Result<(), std::convert::Infallible> {
    ///     out.copy_from_slice(&rows[row * 2..][..2]);
    ///     Ok(())
    /// };
    /// let builder = Index::builder(2, Metric::L2);
    /// let (index, report) = builder.build_bulk_from(1000, read, &BulkOptions::default(), &())?;
    /// assert_eq!(index.len(), 1000);
    /// assert!(report.recall >= Some(0.95));
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    pub fn build_bulk_from<E: Send>(
        self,
        count: usize,
        mut read: impl FnMut(usize, &mut [f32]) -> Result<(), E>,
        options: &BulkOptions,
        watch: &dyn BulkWatch,
    ) -> Result<(Index, BulkReport), BulkError<E>> {
        let mut index = self.expected_rows(count).build().map_err(FillError::Build)?;
        index.settle_keys(false)?;
        let rows_file = index.place_for_rows(count, options)?;
        let mut next = |row: usize, out: &mut [f32]| {
            if row.is_multiple_of(READ_CHUNK) {
                if watch.is_cancelled() {
                    return Err(BulkError::Cancelled);
                }
                watch.progress(BulkPhase::Reading, row, count);
            }
            read(row, out).map_err(|source| FillError::Read { row, source })?;
            Ok(index.check_row(row, out)?)
        };
        let mut report = BulkReport { on_disk: rows_file.is_some(), ..BulkReport::default() };
        match rows_file {
            Some(path) => index.rows = index.spill(count, &mut next, path)?,
            None => {
                let mut buffer = vec![0.0; index.dim];
                for row in 0..count {
                    next(row, &mut buffer)?;
                    index.append(None, |out| out.copy_from_slice(&buffer))?;
                }
            }
        }
        watch.progress(BulkPhase::Reading, count, count);
        if count > 0 && matches!(index.metric, Metric::L2 | Metric::Cosine) {
            let folder = options.resume.as_ref().map(Folder::new);
            let (empty, found) = index.link_in_bulk(options.ef, watch, folder.as_ref())?;
            folder.iter().for_each(|folder| folder.tell(&mut report));
            let Found { recall, worst, mended } = found;
            (report.recall, report.worst, report.mended) = (Some(recall), Some(worst), mended);
            if !found.reaches(options.floor) {
                if options.below == BelowFloor::Refuse {
                    return Err(BulkError::BelowFloor { recall, worst, floor: options.floor });
                }
                index.graph = empty;
                report.inserted = true;
            }
        } else {
            report.inserted = count > 0;
        }
        if report.inserted {
            let rows: Vec<RowId> = (0..count as NodeId).map(|node| RowId { node, generation: 0 }).collect();
            index.link_all(&rows, &|done| watch.progress(BulkPhase::Inserting, done, count))?;
        }
        watch.progress(BulkPhase::Training, 0, 1);
        index.train()?;
        watch.progress(BulkPhase::Training, 1, 1);
        Ok((index, report))
    }
}

/// Rows read between two looks at the watch.
const READ_CHUNK: usize = 1024;

impl Index {
    /// Makes the graph of all rows; returns the one that was there, and what was found of the sample.
    pub(crate) fn link_in_bulk<E>(
        &mut self,
        ef: usize,
        watch: &dyn BulkWatch,
        folder: Option<&Folder>,
    ) -> Result<(Graph, Found), BulkError<E>> {
        let count = self.rows.len();
        let config = *self.graph.config();
        let threads = Threads::of(self).map_err(InsertError::from)?;
        watch.progress(BulkPhase::Coding, 0, count);
        let stride = self.rows.layout().stride();
        let rows = Rows { values: self.rows.rows(), stride, count, dim: self.dim };
        let grid = Grid::fit(rows, &threads);
        let mut codes = Codes::encode(&grid, rows, &threads);
        watch.progress(BulkPhase::Coding, count, count);

        let params = Params { seed: self.seed, ..Params::new(config.m0()) };
        let passed = Passed(watch);
        let make = |level, codes: &mut Codes, params: &Params| match folder {
            Some(folder) => build_kept(codes, params, &threads, &passed, &folder.of_level(level)),
            None => build(codes, params, &threads, &passed),
        };
        let lists = make(0, &mut codes, &params)?;
        let levels: Vec<u8> = (0..count as NodeId).map(|node| self.levels.level(node)).collect();
        let mut upper: Vec<LevelLists> = Vec::new();
        let params = Params { degree: config.m(), ..params };
        for level in 1..=levels.iter().copied().max().unwrap_or(0) {
            let nodes = (0..count as NodeId).filter(|&node| levels[node as usize] >= level);
            let nodes: Vec<NodeId> = nodes.collect();
            let mut words = make(level, &mut codes.subset(&nodes), &params)?.into_words();
            words
                .iter_mut()
                .filter(|word| **word != Lists::EMPTY)
                .for_each(|word| *word = nodes[*word as usize]);
            upper.push(LevelLists { nodes, words });
        }

        watch.progress(BulkPhase::Check, 0, 2);
        let points = self.sample(&lists);
        let sample_rows =
            Rows { values: &points, stride: self.dim, count: points.len() / self.dim, dim: self.dim };
        let kept = sample::KEPT.min(count);
        let truth = nearest(&codes, &Codes::encode(&grid, sample_rows, &threads), kept, &threads)
            .map_err(InsertError::from)?;
        drop(codes);
        orthant_storage::trim_heap();
        watch.progress(BulkPhase::Graph, 0, 1);
        let graph_options =
            MemoryOptions { expected_bytes: Some(count * config.m0() * 4), ..self.memory.clone() };
        let memory = graph_memory(&graph_options).map_err(InsertError::from)?;
        let graph = Graph::from_lists(config, memory, &levels, lists.into_words(), &upper, &self.space());
        let graph = graph.map_err(InsertError::from)?;
        let empty = std::mem::replace(&mut self.graph, graph);
        watch.progress(BulkPhase::Graph, 1, 1);
        let mended = self.mend_in_turns(ef, watch);
        if watch.is_cancelled() {
            return Err(BulkError::Cancelled);
        }
        watch.progress(BulkPhase::Check, 1, 2);
        let found = Found { mended, ..self.search_sample(&points, &truth, ef) };
        watch.progress(BulkPhase::Check, 2, 2);
        Ok((empty, found))
    }
}
