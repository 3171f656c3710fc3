//! Independent graphs over parts of one set of rows.
//!
//! Each segment numbers its nodes from 0 and is built by itself, by as many threads as one likes, on another machine or
//! at another time. A search asks them all and keeps the best; [`Graph::absorb`](crate::Graph::absorb) makes one
//! graph of two.
//!
//! * **P1** The parts do not overlap, so no node is found twice.
//!
//! Cost: a search of `n` segments takes about as long as `n` searches of graphs that are `n` times smaller.

use crate::graph::Graph;
use crate::scorer::{Scorer, Space};
use crate::scratch::Scratch;
use crate::{Neighbor, NodeId};

/// Ids that are translated at once: more than a list holds.
const AT_ONCE: usize = 128;

/// A graph over some of the rows.
pub struct Segment {
    /// The graph; its node `i` is row `rows[i]`.
    pub graph: Graph,
    /// The rows of the segment, in the order of its nodes.
    pub rows: Vec<NodeId>,
}

impl Segment {
    /// The rows of this segment as its graph sees them, out of a space that knows all rows.
    pub fn space<'a, S: Space>(&'a self, all: &'a S) -> impl Space + 'a {
        Part { all, rows: &self.rows }
    }

    /// The `ef` rows of the segment nearest to the scorer's point that a search finds; `scorer` knows all rows.
    /// As [`Graph::search`].
    pub fn search<'s, S: Scorer>(&self, scorer: &S, ef: usize, scratch: &'s mut Scratch) -> &'s [Neighbor] {
        self.graph.search(&PartScorer { all: scorer, rows: &self.rows }, ef, scratch);
        scratch.found.iter_mut().for_each(|hit| hit.node = self.rows[hit.node as usize]);
        &scratch.found
    }
}

/// The `ef` rows nearest to the scorer's point that searches of all `segments`, each of width `ef`, find: nearest
/// first, equal distances by row. `best` is the caller's, to be used again.
pub fn search_segments<S: Scorer>(
    segments: &[Segment],
    scorer: &S,
    ef: usize,
    scratch: &mut Scratch,
    best: &mut Vec<Neighbor>,
) {
    best.clear();
    for segment in segments {
        best.extend_from_slice(segment.search(scorer, ef, scratch));
    }
    best.sort_unstable_by(|a, b| a.distance.total_cmp(&b.distance).then(a.node.cmp(&b.node)));
    best.truncate(ef.max(1));
}

/// Some rows of a space.
struct Part<'a, S> {
    all: &'a S,
    rows: &'a [NodeId],
}

struct PartScorer<'a, S> {
    all: S,
    rows: &'a [NodeId],
}

impl<S: Space> Space for Part<'_, S> {
    type Scorer<'a>
        = PartScorer<'a, S::Scorer<'a>>
    where
        Self: 'a;

    fn scorer(&self, id: NodeId) -> Self::Scorer<'_> {
        PartScorer { all: self.all.scorer(self.rows[id as usize]), rows: self.rows }
    }
}

impl<S: Scorer> PartScorer<'_, S> {
    /// Calls `score` with the rows of `ids` and room for their distances, a few at a time.
    #[inline(always)]
    fn translated(&self, ids: &[NodeId], out: &mut [f32], score: impl Fn(&[NodeId], &mut [f32])) {
        let mut rows = [0; AT_ONCE];
        for (ids, out) in ids.chunks(AT_ONCE).zip(out.chunks_mut(AT_ONCE)) {
            rows.iter_mut().zip(ids).for_each(|(row, &id)| *row = self.rows[id as usize]);
            score(&rows[..ids.len()], out);
        }
    }
}

impl<S: Scorer> Scorer for PartScorer<'_, S> {
    fn score_batch(&self, ids: &[NodeId], out: &mut [f32]) {
        self.translated(ids, out, |rows, out| self.all.score_batch(rows, out));
    }

    fn score_near(&self, ids: &[NodeId], bound: f32, out: &mut [f32]) {
        self.translated(ids, out, |rows, out| self.all.score_near(rows, bound, out));
    }

    fn prefetch(&self, id: NodeId) {
        self.all.prefetch(self.rows[id as usize]);
    }
}

impl<S: Scorer> Scorer for &S {
    fn score_batch(&self, ids: &[NodeId], out: &mut [f32]) {
        (**self).score_batch(ids, out);
    }

    fn score_near(&self, ids: &[NodeId], bound: f32, out: &mut [f32]) {
        (**self).score_near(ids, bound, out);
    }

    fn score(&self, id: NodeId) -> f32 {
        (**self).score(id)
    }

    fn prefetch(&self, id: NodeId) {
        (**self).prefetch(id);
    }
}
