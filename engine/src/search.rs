//! Searching: through the graph, then, when codes were compared, once more at full precision.
//!
//! * **Q1** A [`Searcher`] allocates while it warms up and never again.
//! * **Q2** Results are ordered by (distance, node).
//! * **Q3** One pin covers the graph search, the comparison of rows and the reading of generations and keys: what a
//!   search found stays what it was while it looks at it, whatever is removed meanwhile.
//!
//! Cost: the graph search, plus `rerank` gathered rows when the index is quantized.

use std::sync::OnceLock;

use orthant_graph::{Neighbor, NodeId, Scorer, Scratch};
use orthant_kernels::{IsaError, Metric};
use orthant_pool::{CancelToken, PoolError};
use orthant_quant::Sq8Query;

use crate::blocks::BlockScratch;
use crate::filter::{Unfiltered, Walk};
use crate::halves::Halves;
use crate::ids::{Key, KeyRef, RowId};
use crate::index::Index;
use crate::space::{Margin, RowSpace, Screened};
use crate::vector::{first_not_finite, normalize};

/// A search result: smaller distance is nearer; L2 distances have their root taken, cosine distance is
/// 1 - cos, inner products are negated.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Hit {
    /// The node.
    pub node: NodeId,
    /// How many rows had this node before; 0 for rows that are in no index.
    pub generation: u32,
    /// How far it is.
    pub distance: f32,
}

impl Hit {
    /// The row; [`Index::key`] has its key.
    pub fn id(&self) -> RowId {
        RowId { node: self.node, generation: self.generation }
    }
}

/// A search result with its key.
#[derive(Debug, Clone, PartialEq)]
pub struct Match {
    /// The caller's name for the row.
    pub key: Key,
    /// How far it is, as in [`Hit`].
    pub distance: f32,
}

/// The results of many queries, `[queries × k]`.
#[derive(Debug, Clone, PartialEq)]
pub struct Batch {
    /// Results per query.
    pub k: usize,
    /// Nodes, row by row, nearest first; [`Batch::MISSING`] where there are fewer than `k`.
    pub nodes: Vec<NodeId>,
    /// Their generations, as in [`Hit`]; 0 where there is no node.
    pub generations: Vec<u32>,
    /// Their distances, as in [`Hit`]; infinite where there is no node.
    pub distances: Vec<f32>,
}

impl Batch {
    /// Stands for no node.
    pub const MISSING: NodeId = NodeId::MAX;

    /// No results for any of `queries` queries.
    pub fn missing(queries: usize, k: usize) -> Self {
        let count = queries * k;
        Self {
            k,
            nodes: vec![Self::MISSING; count],
            generations: vec![0; count],
            distances: vec![f32::INFINITY; count],
        }
    }

    /// Sets the results of query `query`.
    ///
    /// # Panics
    /// If there is no such query, or there are more than `k` hits.
    pub fn set(&mut self, query: usize, hits: &[Hit]) {
        assert!(hits.len() <= self.k, "{} results for k = {}", hits.len(), self.k);
        for (place, hit) in (query * self.k..).zip(hits) {
            self.nodes[place] = hit.node;
            self.generations[place] = hit.generation;
            self.distances[place] = hit.distance;
        }
    }

    /// The results of query `query`, without the missing ones.
    ///
    /// # Panics
    /// If there is no such query.
    pub fn hits(&self, query: usize) -> impl Iterator<Item = Hit> + '_ {
        let range = query * self.k..(query + 1) * self.k;
        let hit = |place| Hit {
            node: self.nodes[place],
            generation: self.generations[place],
            distance: self.distances[place],
        };
        range.map(hit).take_while(|hit| hit.node != Self::MISSING)
    }
}

/// How to search.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct SearchParams {
    /// Results wanted.
    pub k: usize,
    /// Beam width; below `k` it counts as `k`, and below `5/4 k` as that on an index that is quantized.
    pub ef: usize,
    /// How many of the best by code are compared at full precision; at least `k`. Without effect on
    /// an index that is not quantized.
    pub rerank: usize,
}

impl SearchParams {
    /// `k` results from a beam of width `ef`, with `2 k` of them compared again.
    ///
    /// Twice is a first choice, not a tuned one: with it recall at equal `ef` stays within 0.5 points of an
    /// f32 graph's on the two sets in `benches/record`. Each candidate more costs one cold row.
    pub fn new(k: usize, ef: usize) -> Self {
        Self { k, ef, rerank: 2 * k }
    }

    /// Another number of candidates to compare again.
    pub fn with_rerank(mut self, rerank: usize) -> Self {
        self.rerank = rerank;
        self
    }
}

/// Why a search could not be done.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum SearchError {
    /// The query has another dimension than the index.
    #[error("a query of dimension {found} does not fit an index of dimension {expected}")]
    Dimension {
        /// Elements in the query.
        found: usize,
        /// The dimension of the index.
        expected: usize,
    },
    /// The queries of a batch are no whole number of queries.
    #[error("{elements} elements are no whole number of queries of dimension {dim}")]
    Ragged {
        /// Elements in the batch.
        elements: usize,
        /// The dimension of the index.
        dim: usize,
    },
    /// A query holds a NaN or an infinity.
    #[error("query {query} holds a value that is not finite in column {column}")]
    NotFinite {
        /// The query within the call, from 0.
        query: usize,
        /// The column, from 0.
        column: usize,
    },
    /// No result was asked for.
    #[error("k must be at least 1")]
    ZeroK,
    /// The threads for the batch could not be started.
    #[error(transparent)]
    Pool(#[from] PoolError),
    /// The environment forces an instruction set that the CPU lacks.
    #[error(transparent)]
    Isa(#[from] IsaError),
}

/// Searches an index again and again without allocating. One per thread.
///
/// # Examples
/// ```
/// use orthant_engine::{Index, Metric, SearchParams};
///
/// let index = Index::builder(2, Metric::Cosine).build()?;
/// index.insert_batch(&[1.0, 0.0, 0.0, 2.0, 3.0, 3.0], None)?;
/// let mut searcher = index.searcher();
/// let hits = searcher.search(&[1.0, 0.1], SearchParams::new(2, 16))?;
/// assert_eq!([hits[0].node, hits[1].node], [0, 2]);
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
pub struct Searcher<'a> {
    pub(crate) index: &'a Index,
    pub(crate) scratch: SearchScratch,
}

impl Searcher<'_> {
    /// The `params.k` nearest rows that the search finds, nearest first; all rows when there are fewer.
    ///
    /// # Errors
    /// [`SearchError`].
    pub fn search(&mut self, query: &[f32], params: SearchParams) -> Result<&[Hit], SearchError> {
        self.index.search_with(query, params, &mut self.scratch)
    }

    /// Of the last search over whole rows: how many it screened, and how many of those it gave up half read.
    pub fn screened(&self) -> Screened {
        self.scratch.screened
    }

    /// Nodes whose blocks the last search by [blocks](crate::Quantization::Blocks) read: what it cost.
    pub fn expanded(&self) -> usize {
        self.scratch.block.expanded()
    }
}

/// What a thread reuses from search to search.
#[derive(Default)]
pub(crate) struct SearchScratch {
    pub(crate) graph: Scratch,
    pub(crate) query: Vec<f32>,
    coded: Sq8Query,
    pub(crate) block: BlockScratch,
    /// To be compared at full precision.
    pub(crate) nodes: Vec<NodeId>,
    distances: Vec<f32>,
    /// The query as rows at half precision are scaled.
    scaled: Vec<f32>,
    pub(crate) hits: Vec<Hit>,
    screened: Screened,
}

thread_local! {
    /// For searches without a [`Searcher`].
    static SCRATCH: std::cell::RefCell<SearchScratch> = Default::default();
    /// For the queries of a batch that a thread works on in turn.
    static LANES: std::cell::RefCell<Vec<SearchScratch>> = Default::default();
}

impl SearchScratch {
    /// Compares `self.nodes` at full precision and keeps the best `k`.
    pub(crate) fn rerank(&mut self, space: RowSpace<'_>, k: usize) {
        self.size_distances();
        space.from(&self.query, Margin::NARROW_SEARCH).score_batch(&self.nodes, &mut self.distances);
        self.keep_best(k);
    }

    /// The same at half precision.
    fn rerank_halves(&mut self, halves: &Halves, k: usize) {
        self.size_distances();
        halves.from(&self.query, &mut self.scaled).score_batch(&self.nodes, &mut self.distances);
        self.keep_best(k);
    }

    fn size_distances(&mut self) {
        self.distances.clear();
        self.distances.resize(self.nodes.len(), 0.0);
    }

    fn keep_best(&mut self, k: usize) {
        self.hits.clear();
        let pairs = self.nodes.iter().zip(&self.distances);
        self.hits.extend(pairs.map(|(&node, &distance)| Hit { node, generation: 0, distance }));
        self.hits.sort_unstable_by(|a, b| a.distance.total_cmp(&b.distance).then(a.node.cmp(&b.node)));
        self.hits.truncate(k);
    }
}

/// Queries per turn of a thread in a batch: long enough that taking a turn costs nothing beside
/// them, short enough that threads end together.
const QUERY_CHUNK: usize = 16;

/// The same where several are under way at a time: at the end of a chunk fewer are.
const TURN_CHUNK: usize = 64;

/// Searches for one query, where the one before came out short: what it had found was removed before it ended, as happens to a
/// thread that loses its core for as long as many removals take.
const ATTEMPTS: usize = 4;

impl Index {
    /// A searcher of this index.
    pub fn searcher(&self) -> Searcher<'_> {
        Searcher { index: self, scratch: SearchScratch::default() }
    }

    /// One search, with its results in `scratch`.
    pub(crate) fn search_with<'s>(
        &self,
        query: &[f32],
        params: SearchParams,
        scratch: &'s mut SearchScratch,
    ) -> Result<&'s [Hit], SearchError> {
        self.search_by(&Unfiltered, query, params, scratch)
    }

    /// One search that walks the graph in a given way.
    pub(crate) fn search_by<'s, W: Walk>(
        &self,
        walk: &W,
        query: &[f32],
        params: SearchParams,
        scratch: &'s mut SearchScratch,
    ) -> Result<&'s [Hit], SearchError> {
        self.check_query(0, query)?;
        if params.k == 0 {
            return Err(SearchError::ZeroK);
        }
        // Q3.
        let pin = self.graph.pin();
        let space = self.take_query(query, scratch);
        let blocks = self.blocks_in_use().filter(|_| W::IS_PLAIN);
        if blocks.is_some_and(|blocks| self.search_in_blocks(blocks, params, walk.without(), &pin, scratch)) {
            self.rank(space, params.k, scratch);
        } else {
            for _ in 0..ATTEMPTS {
                scratch.hits.clear();
                self.search_in_rows(walk, params, space, scratch);
                if !W::IS_PLAIN || scratch.hits.len() >= params.k.min(self.graph.len()) {
                    break;
                }
            }
        }
        self.show(scratch);
        Ok(&scratch.hits)
    }

    /// Compares what a search over blocks found once more, at half precision where that does.
    pub(crate) fn rank(&self, space: RowSpace<'_>, k: usize, scratch: &mut SearchScratch) {
        match self.halves_in_use() {
            // Asked after the search, which saw all its rows published: one that does not fit was marked before (H2).
            Some(halves) if !space.is_by_product() => scratch.rerank_halves(halves, k),
            _ => scratch.rerank(space, k),
        }
    }

    /// Rows at half precision, where all fit.
    pub(crate) fn halves_in_use(&self) -> Option<&Halves> {
        self.halves.as_ref().filter(|halves| !halves.is_exceeded())
    }

    /// Copies a query into `scratch`, of unit length where that counts, and says how rows are compared with it.
    pub(crate) fn take_query(&self, query: &[f32], scratch: &mut SearchScratch) -> RowSpace<'_> {
        scratch.hits.clear();
        scratch.screened = Screened::default();
        scratch.query.clear();
        scratch.query.extend_from_slice(query);
        let mut space = self.space();
        if self.metric == Metric::Cosine && !normalize(&mut scratch.query) {
            // A zero query is as far from everything as a zero row is.
            space.has_zero_row = true;
        }
        space
    }

    /// From distances as they are compared to distances as they are shown.
    pub(crate) fn show(&self, scratch: &mut SearchScratch) {
        for hit in &mut scratch.hits {
            hit.distance = self.kernels.to_border(hit.distance);
            // The search saw the node live, so this is the row that it compared (N4).
            hit.generation = self.graph.generation(hit.node);
        }
    }

    /// A search by whole rows, or by their codes.
    fn search_in_rows<W: Walk>(
        &self,
        walk: &W,
        params: SearchParams,
        space: RowSpace<'_>,
        scratch: &mut SearchScratch,
    ) {
        let ef = params.ef.max(params.k);
        match &self.codes {
            None => {
                let hit =
                    |found: &Neighbor| Hit { node: found.node, generation: 0, distance: found.distance };
                // Whole rows may lie in the file. A scan is asked for exact answers.
                let halves = self.halves_in_use().filter(|_| !W::IS_SCAN && !space.is_by_product());
                if let Some(halves) = halves {
                    let SearchScratch { query, scaled, graph, hits, .. } = scratch;
                    let found = walk.search(self, &halves.from(query, scaled), params.k, ef, graph);
                    // Asked again: one that does not fit may have come meanwhile.
                    if !halves.is_exceeded() {
                        return hits.extend(found.iter().take(params.k).map(hit));
                    }
                }
                let margin = if ef >= 2 * params.k { Margin::WIDE_SEARCH } else { Margin::NARROW_SEARCH };
                let scorer = space.from(&scratch.query, margin);
                let scorer = if W::IS_SCAN { scorer.for_scan() } else { scorer };
                let found = walk.search(self, &scorer, params.k, ef, &mut scratch.graph);
                scratch.screened = scorer.screened();
                scratch.hits.extend(found.iter().take(params.k).map(hit));
            }
            Some(codes) => {
                let metric = self.kernels.code_metric();
                codes.quantizer.prepare(metric, &scratch.query, &mut scratch.coded);
                // Codes are off by up to half a step: a beam of k would lose some of the k nearest to others.
                let ef = ef.max(params.k + params.k.div_ceil(4));
                let scorer = codes.from(&scratch.coded);
                let found = walk.search(self, &scorer, params.k, ef, &mut scratch.graph);
                let best = found.iter().take(params.rerank.max(params.k));
                scratch.nodes.clear();
                scratch.nodes.extend(best.map(|found| found.node));
                scratch.rerank(space, params.k);
            }
        }
    }

    /// The `k` nearest rows that a search with a beam of `ef` finds, nearest first; all rows when there
    /// are fewer than `k`. For many searches a [`Searcher`] is faster: it keeps its memory.
    ///
    /// # Errors
    /// [`SearchError`].
    pub fn search(&self, query: &[f32], k: usize, ef: usize) -> Result<Vec<Match>, SearchError> {
        // The keys are read under the pin of the search (Q3).
        let _pin = self.graph.pin();
        SCRATCH.with_borrow_mut(|scratch| {
            let hits = self.search_with(query, SearchParams::new(k, ef), scratch)?;
            // SAFETY: the nodes were seen live under the pin.
            let key = |hit: &Hit| unsafe { self.keys.key(hit.node) }.map(KeyRef::to_key);
            let matched = |hit: &Hit| key(hit).map(|key| Match { key, distance: hit.distance });
            Ok(hits.iter().filter_map(matched).collect())
        })
    }

    /// Hits with their keys, without those of rows that were removed since.
    pub fn matches(&self, hits: &[Hit]) -> Vec<Match> {
        let pinned = self.pin();
        let key = |hit: &Hit| pinned.key(hit.id()).map(KeyRef::to_key);
        hits.iter().filter_map(|hit| key(hit).map(|key| Match { key, distance: hit.distance })).collect()
    }

    /// Searches for each of the queries `[n × dim]`, in parallel on the threads of the index. The results
    /// are those of one search after the other.
    ///
    /// # Errors
    /// [`SearchError`]; bad queries are found before the first search.
    pub fn search_batch(&self, queries: &[f32], params: SearchParams) -> Result<Batch, SearchError> {
        let count = self.check_queries(queries, params.k)?;
        let mut batch = Batch::missing(count, params.k);
        let failed = OnceLock::new();
        let cancel = CancelToken::new();
        let out = BatchRows::new(&mut batch);
        let fail = |error| {
            cancel.cancel();
            let _ = failed.set(error);
        };
        let blocks = self.blocks_in_use();
        let chunk = if blocks.is_some() { TURN_CHUNK } else { QUERY_CHUNK };
        self.run_chunks(count, chunk, &cancel, |_, range| {
            if let Some(blocks) = blocks {
                let done = LANES.with_borrow_mut(|lanes| {
                    self.search_in_turn(blocks, queries, range, params, lanes, &out)
                });
                return done.unwrap_or_else(fail);
            }
            SCRATCH.with_borrow_mut(|scratch| {
                for query in range {
                    let vector = &queries[query * self.dim..(query + 1) * self.dim];
                    match self.search_with(vector, params, scratch) {
                        // SAFETY: every query is in exactly one range.
                        Ok(hits) => unsafe { out.set(query, hits) },
                        Err(error) => return fail(error),
                    }
                }
            });
        })?;
        match failed.into_inner() {
            Some(error) => Err(error),
            None => Ok(batch),
        }
    }

    fn check_query(&self, number: usize, query: &[f32]) -> Result<(), SearchError> {
        if query.len() != self.dim {
            return Err(SearchError::Dimension { found: query.len(), expected: self.dim });
        }
        match first_not_finite(query) {
            Some(column) => Err(SearchError::NotFinite { query: number, column }),
            None => Ok(()),
        }
    }

    /// Checks a batch of queries and counts them.
    pub(crate) fn check_queries(&self, queries: &[f32], k: usize) -> Result<usize, SearchError> {
        if k == 0 {
            return Err(SearchError::ZeroK);
        }
        if !queries.len().is_multiple_of(self.dim) {
            return Err(SearchError::Ragged { elements: queries.len(), dim: self.dim });
        }
        for (number, query) in queries.chunks_exact(self.dim).enumerate() {
            self.check_query(number, query)?;
        }
        Ok(queries.len() / self.dim)
    }
}

/// The rows of a batch, written by many threads, each row by one.
pub(crate) struct BatchRows<'a> {
    k: usize,
    count: usize,
    nodes: *mut NodeId,
    generations: *mut u32,
    distances: *mut f32,
    batch: std::marker::PhantomData<&'a mut Batch>,
}

// SAFETY: `set` asks that no row is written by two threads.
unsafe impl Sync for BatchRows<'_> {}

impl<'a> BatchRows<'a> {
    pub(crate) fn new(batch: &'a mut Batch) -> Self {
        Self {
            k: batch.k,
            count: batch.nodes.len() / batch.k,
            nodes: batch.nodes.as_mut_ptr(),
            generations: batch.generations.as_mut_ptr(),
            distances: batch.distances.as_mut_ptr(),
            batch: std::marker::PhantomData,
        }
    }

    /// Writes the results of `query`.
    ///
    /// # Safety
    /// No other thread writes those of the same query.
    pub(crate) unsafe fn set(&self, query: usize, hits: &[Hit]) {
        assert!(query < self.count && hits.len() <= self.k, "results lie inside the batch");
        for (place, hit) in hits.iter().enumerate() {
            let at = query * self.k + place;
            // SAFETY: `at` lies inside the batch, as asserted, and the row is this thread's.
            unsafe { self.nodes.add(at).write(hit.node) };
            // SAFETY: as above.
            unsafe { self.generations.add(at).write(hit.generation) };
            // SAFETY: as above.
            unsafe { self.distances.add(at).write(hit.distance) };
        }
    }
}
