//! Searching among the rows that a predicate lets pass.

use orthant_graph::{FilterMode, Neighbor, NodeId, Scorer, Scratch};

use crate::index::Index;
use crate::search::{Hit, SearchError, SearchParams, Searcher};

/// How a search walks the graph.
pub(crate) trait Walk {
    /// Whether it takes every row, so that another way to find the nearest will do.
    const IS_PLAIN: bool = false;
    /// Whether it compares all there are.
    const IS_SCAN: bool = false;

    /// A node that a walk over blocks leaves out, as if it were not there.
    #[inline(always)]
    fn without(&self) -> Option<NodeId> {
        None
    }

    /// At least `k` nodes where there are so many, as far as a beam of `ef` finds them.
    fn search<'s, S: Scorer>(
        &self,
        index: &Index,
        scorer: &S,
        k: usize,
        ef: usize,
        scratch: &'s mut Scratch,
    ) -> &'s [Neighbor];
}

/// All rows.
pub(crate) struct Unfiltered;

impl Walk for Unfiltered {
    const IS_PLAIN: bool = true;

    #[inline(always)]
    fn search<'s, S: Scorer>(
        &self,
        index: &Index,
        scorer: &S,
        _k: usize,
        ef: usize,
        scratch: &'s mut Scratch,
    ) -> &'s [Neighbor] {
        index.graph.search(scorer, ef, scratch)
    }
}

/// The rows that pass.
struct Filtered<P> {
    mode: FilterMode,
    passes: P,
}

impl<P: Fn(NodeId) -> bool> Walk for Filtered<P> {
    fn search<'s, S: Scorer>(
        &self,
        index: &Index,
        scorer: &S,
        k: usize,
        ef: usize,
        scratch: &'s mut Scratch,
    ) -> &'s [Neighbor] {
        index.graph.search_filtered(scorer, (k, ef), self.mode, &self.passes, scratch)
    }
}

/// Rows that were chosen.
struct Among<'a>(&'a [NodeId]);

impl Walk for Among<'_> {
    const IS_SCAN: bool = true;

    fn search<'s, S: Scorer>(
        &self,
        index: &Index,
        scorer: &S,
        _k: usize,
        ef: usize,
        scratch: &'s mut Scratch,
    ) -> &'s [Neighbor] {
        index.graph.search_among(scorer, ef, self.0, scratch)
    }
}

impl Searcher<'_> {
    /// The `params.k` nearest of the rows at `nodes`, each named once, in any order: all are compared, the graph is not walked.
    /// Numbers that name no row are passed over. Ascending numbers are fastest.
    ///
    /// Where rows are long (from 96 elements), one is given up when its first third says that it lies beyond the nearest
    /// `params.ef`, which is wrong for few of those near that bound: an `ef` of several times `k` leaves the `k` nearest alone.
    ///
    /// # Errors
    /// [`SearchError`].
    ///
    /// # Examples
    /// ```
    /// use orthant_engine::{Index, Metric, SearchParams};
    ///
    /// let index = Index::builder(1, Metric::L2).build()?;
    /// index.insert_batch(&[0.0, 1.0, 2.0, 3.0], None)?;
    /// let mut searcher = index.searcher();
    /// let hits = searcher.search_among(&[0.2], SearchParams::new(1, 4), &[1, 3, 99])?;
    /// assert_eq!((hits.len(), hits[0].node), (1, 1));
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    pub fn search_among(
        &mut self,
        query: &[f32],
        params: SearchParams,
        nodes: &[NodeId],
    ) -> Result<&[Hit], SearchError> {
        self.index.search_by(&Among(nodes), query, params, &mut self.scratch)
    }

    /// The `params.k` nearest of the rows for which `passes` holds, as far as the search finds them: exactly `k`
    /// where so many pass, all of them where fewer do. Nearest first.
    ///
    /// `passes` is asked about many nodes that are not returned, some of which may be no rows, and should be quick: a bit
    /// of a table. [`FilterMode`] says which mode suits which share of passing rows.
    ///
    /// # Errors
    /// [`SearchError`].
    ///
    /// # Examples
    /// ```
    /// use orthant_engine::{FilterMode, Index, Metric, SearchParams};
    ///
    /// let index = Index::builder(1, Metric::L2).build()?;
    /// index.insert_batch(&[0.0, 1.0, 2.0, 3.0], None)?;
    /// let mut searcher = index.searcher();
    /// let hits = searcher.search_filtered(&[0.2], SearchParams::new(1, 8), FilterMode::Pool, |node| node >= 2)?;
    /// assert_eq!(hits[0].node, 2);
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    pub fn search_filtered(
        &mut self,
        query: &[f32],
        params: SearchParams,
        mode: FilterMode,
        passes: impl Fn(NodeId) -> bool,
    ) -> Result<&[Hit], SearchError> {
        self.index.search_by(&Filtered { mode, passes }, query, params, &mut self.scratch)
    }
}
