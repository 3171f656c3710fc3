//! What an index says about itself.

use orthant_graph::{Quality, Report};
use orthant_kernels::{Isa, Metric};
use orthant_storage::PageReport;

use crate::builder::Quantization;
use crate::gate::Choice;
use crate::halves::HalfRows;
use crate::ids::RowId;
use crate::index::SCRATCH;
use crate::mode::Mode;
use crate::{Index, NodeId};

/// Facts about an index.
#[derive(Debug, Clone)]
#[non_exhaustive]
pub struct Info {
    /// Rows that can be found.
    pub rows: usize,
    /// Elements per vector.
    pub dim: usize,
    /// How vectors are compared.
    pub metric: Metric,
    /// Neighbors per node on levels >= 1.
    pub m: usize,
    /// Neighbors per node on level 0.
    pub m0: usize,
    /// Beam width while inserting.
    pub ef_construction: usize,
    /// Seed of the level draw.
    pub seed: u64,
    /// Where searches start, and its level; `None` for an empty index.
    pub entry: Option<(NodeId, u8)>,
    /// What the search compares.
    pub quantization: Quantization,
    /// What it was made to be good at, if that was said.
    pub mode: Option<Mode>,
    /// Whether the quantizer is trained (always, without one).
    pub is_trained: bool,
    /// What searches compare, and on what evidence; `None` unless trained with [`Quantization::Blocks`] or in a [`Mode`].
    pub choice: Option<Choice>,
    /// What rows at half precision were found to do; `None` where searches compare whole rows last.
    pub half_rows: Option<HalfRows>,
    /// Rows that it was decided on.
    pub decided_rows: u64,
    /// Rows that came since. When these are half of those, [`Index::train`] asks again.
    pub inserted_since: u64,
    /// The instruction set of the kernels.
    pub isa: Isa,
    /// Where the memory is.
    pub memory: MemoryInfo,
}

/// Memory of an index, by use.
#[derive(Debug, Clone)]
#[non_exhaustive]
pub struct MemoryInfo {
    /// Full-precision rows.
    pub rows: PageReport,
    /// Codes; `None` without trained quantization.
    pub codes: Option<PageReport>,
    /// Bytes per row that the rows take.
    pub row_bytes: usize,
    /// Bytes per row that the codes take.
    pub code_bytes: usize,
    /// Bytes per row of rows at half precision; 0 without them.
    pub half_bytes: usize,
    /// Bytes per row of level-0 neighbor lists.
    pub list_bytes: usize,
}

/// What [`Index::validate`] found.
#[derive(Debug, Clone)]
#[non_exhaustive]
pub struct IndexReport {
    /// What the graph says.
    pub graph: Report,
    /// Nodes in the graph whose row has no key.
    pub unkeyed: usize,
    /// Nodes in the graph whose row's key does not lead back to it.
    pub misled: usize,
}

impl IndexReport {
    /// Whether every promise holds.
    pub fn is_ok(&self) -> bool {
        self.graph.is_ok() && self.unkeyed == 0 && self.misled == 0
    }
}

impl std::fmt::Display for IndexReport {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        if self.unkeyed + self.misled > 0 {
            write!(f, "{} rows without a key, {} keys that lead elsewhere; ", self.unkeyed, self.misled)?;
        }
        self.graph.fmt(f)
    }
}

impl Index {
    /// Facts about the index. Reads what the system says about its pages: a few milliseconds.
    pub fn info(&self) -> Info {
        let config = self.graph.config();
        Info {
            rows: self.len(),
            dim: self.dim,
            metric: self.metric,
            m: config.m(),
            m0: config.m0(),
            ef_construction: config.ef_construction(),
            seed: self.seed,
            entry: self.graph.entry(),
            quantization: self.quantization,
            is_trained: match self.quantization {
                Quantization::None => true,
                Quantization::Sq8 => self.codes.is_some(),
                Quantization::Blocks => self.choice.is_some(),
            },
            mode: self.mode,
            choice: self.choice.clone(),
            half_rows: self.halves_in_use().map(|halves| halves.evidence),
            decided_rows: self.drift.rows(),
            inserted_since: self.drift.inserted(),
            isa: self.kernels.whole().isa(),
            memory: MemoryInfo {
                rows: self.rows.pages(),
                codes: self.codes.as_ref().map(|codes| codes.codes.pages()),
                row_bytes: self.rows.layout().stride() * 4,
                code_bytes: self.codes.as_ref().map_or(0, |codes| codes.codes.width() + 4),
                half_bytes: self.halves.as_ref().map_or(0, |halves| halves.column().width() * 2),
                list_bytes: config.m0().next_multiple_of(16) * 4
                    + config.payload_bytes().next_multiple_of(64),
            },
        }
    }

    /// How good the index is, estimated from about `samples` of its rows, drawn by `seed`: whether they find
    /// themselves, how much more a wide search finds than a narrow one, what is unreachable, and how much is held
    /// for rows that are gone. May run beside everything else and costs about nine searches per row sampled.
    ///
    /// # Examples
    /// ```
    /// use orthant_engine::{Advice, Index, Metric};
    ///
    /// let index = Index::builder(1, Metric::L2).build()?;
    /// index.insert_batch(&[1.0, 2.0, 3.0], None)?;
    /// let quality = index.quality(100, 1);
    /// assert_eq!((quality.self_found, quality.advice()), (1.0, Advice::Keep));
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    pub fn quality(&self, samples: usize, seed: u64) -> Quality {
        let space = self.space();
        SCRATCH.with_borrow_mut(|(scratch, _)| self.graph.quality(samples, seed, &space, scratch))
    }

    /// Checks that rows, keys and graph are in step and that every node can be reached. Meant for an
    /// index that nobody writes to.
    pub fn validate(&self) -> IndexReport {
        let graph = self.graph.validate();
        let pinned = self.pin();
        let (mut unkeyed, mut misled) = (0, 0);
        for node in 0..self.graph.node_bound() as NodeId {
            let row = RowId { node, generation: self.graph.generation(node) };
            if !self.is_live(row) {
                continue;
            }
            match pinned.key(row) {
                None => unkeyed += 1,
                Some(key) => misled += usize::from(pinned.id(&key.to_key()) != Some(row)),
            }
        }
        IndexReport { graph, unkeyed, misled }
    }
}
