//! The choices that make an index, each with its default and the reason for it.

use orthant_graph::{ConfigError, Graph, GraphConfig, LevelDraw};
use orthant_kernels::{IsaError, Metric};
use orthant_storage::{ArenaError, MemoryOptions, RegionError, RowArena, RowLayout};

use crate::directory::Directory;
use crate::drift::Drift;
use crate::index::{FillError, Index, Workers};
use crate::keys::Keys;
use crate::memory::graph_memory;
use crate::mode::Mode;
use crate::space::RowKernels;

/// Largest dimension of an index: a row of it takes 256 KB. A bound against nonsense in a header, not a limit
/// that was measured.
pub const MAX_DIM: usize = 65_536;

/// What the graph search compares.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default)]
pub enum Quantization {
    /// Full-precision rows.
    #[default]
    None,
    /// One byte per dimension between trained bounds; the best are compared again at full precision.
    Sq8,
    /// Lists that carry the codes of their nodes: fastest, and larger. Neighbors in one to four bits per dimension, nodes in
    /// one byte; the best are compared again at full precision.
    Blocks,
}

impl Quantization {
    /// All of them, in the order of their numbers in files.
    pub(crate) const ALL: [Self; 3] = [Self::None, Self::Sq8, Self::Blocks];

    /// The name on the command line and in files.
    pub fn name(self) -> &'static str {
        match self {
            Self::None => "none",
            Self::Sq8 => "sq8",
            Self::Blocks => "blocks",
        }
    }
}

impl std::fmt::Display for Quantization {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.pad(self.name())
    }
}

impl std::str::FromStr for Quantization {
    type Err = UnknownQuantization;

    fn from_str(name: &str) -> Result<Self, Self::Err> {
        Self::ALL.into_iter().find(|known| known.name() == name).ok_or(UnknownQuantization)
    }
}

/// The text names no quantization.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("unknown quantization: the names are none, sq8 and blocks")]
#[non_exhaustive]
pub struct UnknownQuantization;

/// Why an index could not be made.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum BuildError {
    /// The dimension is 0 or too large.
    #[error("dimension {dim} is outside 1..={max}", max = MAX_DIM)]
    Dimension {
        /// The refused dimension.
        dim: usize,
    },
    /// The graph's parameters do not fit.
    #[error(transparent)]
    Config(#[from] ConfigError),
    /// The environment forces an instruction set that the CPU lacks.
    #[error(transparent)]
    Isa(#[from] IsaError),
    /// There is no memory.
    #[error(transparent)]
    Memory(#[from] RegionError),
    /// There is no memory for rows.
    #[error(transparent)]
    Rows(#[from] ArenaError),
    /// A block has no room for so many neighbors.
    #[error("a block holds up to {max} neighbors, not {m0}: choose a smaller m", max = orthant_graph::BLOCK_LANES)]
    BlockNeighbors {
        /// Neighbors on level 0, twice `m`.
        m0: usize,
    },
    /// There are no such codes.
    #[error("edges are coded in 1, 2 or 4 bits per dimension, not {bits}")]
    BlockBits {
        /// The refused number.
        bits: usize,
    },
    /// The quantization does not know the metric.
    #[error("quantization {quantization} has no distance for metric {metric}")]
    Quantization {
        /// The quantization.
        quantization: Quantization,
        /// The metric.
        metric: Metric,
    },
}

/// What the gate decides for by default: where most users of the field read their curves.
pub(crate) const TARGET_RECALL: f32 = 0.95;

/// Choices for an [`Index`]; start with [`Index::builder`].
///
/// | choice | default | why |
/// |---|---|---|
/// | `m` | 16 | what the engines it is compared with use; not tuned yet |
/// | `ef_construction` | 200 | what the engines it is compared with use; not tuned yet |
/// | `seed` | 42 | any will do; the same seed and order of rows give the same index on one thread |
/// | `threads` | 0 | all cores the process may use |
/// | `quantization` | none | exact distances; `sq8` reads a quarter of the bytes, `blocks` is fastest and takes most memory |
/// | `mode` | none | a name for several choices: see [`Mode`] |
/// | `block_bits` | 0 | decided on the rows |
/// | `half_rows` | decided | in mode `speed`, where ranking by halves finds as much; nowhere else |
/// | `target_recall` | 0.95 | where most read their curves |
#[derive(Debug, Clone)]
#[must_use]
pub struct IndexBuilder {
    dim: usize,
    metric: Metric,
    m: usize,
    ef_construction: usize,
    seed: u64,
    quantization: Quantization,
    mode: Option<Mode>,
    workers: Workers,
    memory: MemoryOptions,
    expected_rows: Option<usize>,
    block_bits: usize,
    half_rows: Option<bool>,
    target_recall: f32,
}

impl IndexBuilder {
    /// An index of vectors of `dim` elements compared by `metric`.
    pub fn new(dim: usize, metric: Metric) -> Self {
        Self {
            dim,
            metric,
            m: 16,
            ef_construction: 200,
            seed: 42,
            quantization: Quantization::None,
            mode: None,
            workers: Workers::default(),
            memory: MemoryOptions::default(),
            expected_rows: None,
            block_bits: 0,
            half_rows: None,
            target_recall: TARGET_RECALL,
        }
    }

    /// Neighbors per node on levels >= 1; level 0 holds twice as many. 2 to 64.
    pub fn m(mut self, m: usize) -> Self {
        self.m = m;
        self
    }

    /// Beam width while inserting: higher builds slower and finds more at the same `ef`.
    pub fn ef_construction(mut self, ef_construction: usize) -> Self {
        self.ef_construction = ef_construction;
        self
    }

    /// Seed of the level draw.
    pub fn seed(mut self, seed: u64) -> Self {
        self.seed = seed;
        self
    }

    /// Threads for batches. 0: as many as the process may use.
    pub fn threads(mut self, threads: usize) -> Self {
        self.workers.threads = threads;
        self
    }

    /// Pins the threads for batches to these cores, one each.
    pub fn cores(mut self, cores: Option<Vec<usize>>) -> Self {
        self.workers.cores = cores;
        self
    }

    /// What the search compares.
    pub fn quantization(mut self, quantization: Quantization) -> Self {
        self.quantization = quantization;
        self
    }

    /// What the index is to be good at: sets [`quantization`](Self::quantization), and whether rows stay in the file.
    pub fn mode(mut self, mode: Mode) -> Self {
        self.mode = Some(mode);
        self.quantization = mode.quantization();
        self
    }

    /// How memory is taken: cap, huge pages, a budget shared with others.
    pub fn memory(mut self, memory: MemoryOptions) -> Self {
        self.memory = memory;
        self
    }

    /// How many rows will probably come. A hint for the choice of pages, no limit.
    pub fn expected_rows(mut self, rows: usize) -> Self {
        self.expected_rows = Some(rows);
        self
    }

    /// With [`Quantization::Blocks`]: bits per dimension of a neighbor's code, 1, 2 or 4. 0: [`Index::train`] tries them on
    /// rows left out of their own searches and takes the smallest that reaches the [target](Self::target_recall), but for a
    /// larger one that is cheaper by far; whole rows where none does.
    pub fn block_bits(mut self, bits: usize) -> Self {
        self.block_bits = bits;
        self
    }

    /// With [`Quantization::Blocks`]: whether the rows that a search compares last are kept at half precision (11 bits), beside
    /// whole rows that stay in the file once the index was saved and opened. Not said: they are in [`Mode::Speed`], where they find as much.
    /// Whole rows are compared where one comes that is 16 times as large as what was there.
    pub fn half_rows(mut self, are_half: bool) -> Self {
        self.half_rows = Some(are_half);
        self
    }

    /// The recall@10 that `train` decides for, 0 to 1.
    pub fn target_recall(mut self, target: f32) -> Self {
        self.target_recall = target;
        self
    }

    /// An empty index.
    ///
    /// With [`Quantization::Sq8`] it searches full-precision rows until [`Index::train`] was called.
    ///
    /// # Errors
    /// [`BuildError`].
    pub fn build(self) -> Result<Index, BuildError> {
        if self.dim == 0 || self.dim > MAX_DIM {
            return Err(BuildError::Dimension { dim: self.dim });
        }
        if self.quantization != Quantization::None && self.metric == Metric::L1 {
            return Err(BuildError::Quantization { quantization: self.quantization, metric: self.metric });
        }
        let config = GraphConfig::new(self.m, self.ef_construction)?;
        if !matches!(self.block_bits, 0 | 1 | 2 | 4) {
            return Err(BuildError::BlockBits { bits: self.block_bits });
        }
        if self.quantization == Quantization::Blocks {
            if config.m0() > orthant_graph::BLOCK_LANES {
                return Err(BuildError::BlockNeighbors { m0: config.m0() });
            }
            // What a list has to carry at least.
            let bits = self.block_bits.max(1);
            config.with_payload_bytes((1 + 4 * bits) * self.dim.next_multiple_of(16) + 256)?;
        }
        let layout = RowLayout::new::<f32>(self.dim);
        let expect = |bytes_per_row: usize| MemoryOptions {
            expected_bytes: self.expected_rows.map(|rows| rows.saturating_mul(bytes_per_row)),
            ..self.memory.clone()
        };
        let graph_options = expect(config.m0() * 4);
        Ok(Index {
            dim: self.dim,
            metric: self.metric,
            kernels: RowKernels::new(self.metric, self.dim)?,
            has_zero_row: Default::default(),
            rows: RowArena::new(layout, &expect(layout.stride() * 4))?,
            graph: Graph::new(config, graph_memory(&graph_options)?),
            levels: LevelDraw::new(self.seed, config.m()),
            seed: self.seed,
            keys: Keys::new(&self.memory)?,
            directory: Directory::new(),
            quantization: self.quantization,
            mode: self.mode,
            codes: None,
            blocks: None,
            halves: None,
            choice: None,
            drift: Drift::default(),
            block_bits: self.block_bits,
            half_rows: self.half_rows,
            target_recall: self.target_recall,
            workers: self.workers,
            memory: self.memory,
            pool: Default::default(),
            writes: Default::default(),
        })
    }

    /// An index of `count` rows that `read` fills in one by one, trained if quantized. Keys are the row
    /// numbers.
    ///
    /// `read(row, out)` is called once per row, in order; `progress(rows)` from several threads with
    /// the number of rows linked so far.
    ///
    /// # Errors
    /// [`FillError`]; nothing is kept.
    pub fn build_from<E: Send>(
        self,
        count: usize,
        read: impl FnMut(usize, &mut [f32]) -> Result<(), E>,
        progress: &(dyn Fn(usize) + Sync),
    ) -> Result<Index, FillError<E>> {
        let mut index = self.expected_rows(count).build().map_err(FillError::Build)?;
        index.insert_from(count, read, progress)?;
        index.train().map_err(FillError::Insert)?;
        Ok(index)
    }
}
