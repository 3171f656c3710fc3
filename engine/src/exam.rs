//! What codes are examined with: rows, each as if it were not there.
//!
//! A row that is left out is as hard a query as one from outside: what leads to it leads past it, and its neighbors are all the
//! search is to find. Made-up points (a row, moved by the difference of two of its neighbors) were half as hard: on
//! text-384 a beam of 19 found 0.95 of their neighbors among whole rows.
//!
//! * **X1** A search is told to leave the row out ([`Without`]): it neither finds it nor goes through it. Its neighbors' lists still
//!   name each other as they came to do beside it.
//! * **X2** The rows, their neighbors and the answers depend on the index alone.

use orthant_graph::{Neighbor, NodeId, Scorer, Scratch};

use crate::blocks::named;
use crate::filter::{Unfiltered, Walk};
use crate::index::Index;
use crate::recall::recall_at_k;
use crate::search::{Hit, SearchParams, SearchScratch};

/// Rows that are asked for: at recall 0.95 the standard error is half a percent or less.
pub(crate) const POINTS: usize = 200;

/// Neighbors that have to be found.
pub(crate) const K: usize = 10;

/// Rows are in heaps when more than one point in so many has equal neighbors.
const HEAP_SHARE: usize = 20;

/// Rows to ask for, and their true neighbors.
pub(crate) struct Exam {
    nodes: Vec<NodeId>,
    rows: Vec<f32>,
    truth: Vec<Vec<Hit>>,
    /// Rows that have equal neighbors.
    equal: usize,
}

impl Exam {
    pub(crate) fn points(&self) -> usize {
        self.nodes.len()
    }

    /// Whether so many rows are equal that they stand for each other in lists.
    pub(crate) fn has_heaps(&self) -> bool {
        self.equal * HEAP_SHARE > self.points()
    }
}

impl Index {
    /// Sets an exam. None where rows are so few that comparing them all is no work.
    pub(crate) fn exam(&self) -> Option<Exam> {
        let live: Vec<NodeId> = self.live_nodes().collect();
        if live.len() < 10 * K {
            return None;
        }
        let step = live.len().div_ceil(POINTS);
        let mut exam = Exam { nodes: Vec::new(), rows: Vec::new(), truth: Vec::new(), equal: 0 };
        let pin = self.graph.pin();
        for (turn, &node) in live.iter().step_by(step).enumerate() {
            let Some((words, _)) = self.graph.read_block(node, &pin) else { continue };
            let named: Vec<NodeId> = named(words).filter(|&other| self.graph.is_live(other)).collect();
            // SAFETY: the nodes were seen live under the pin (N4), and live rows are whole.
            let row = |node| unsafe { self.rows.row_unchecked(node) };
            if named.len() >= 2 {
                let (one, other) = (named[turn % named.len()], named[(turn + 1) % named.len()]);
                exam.equal += usize::from(row(one) == row(other));
            }
            exam.nodes.push(node);
            exam.rows.extend_from_slice(row(node));
        }
        drop(pin);
        let nearest = self.search_exact(&exam.rows, K + 1).ok().filter(|_| exam.points() > 0)?;
        for (point, &node) in exam.nodes.iter().enumerate() {
            exam.truth.push(nearest.hits(point).filter(|hit| hit.node != node).take(K).collect());
        }
        Some(exam)
    }

    /// The recall@[`K`] of searches with a beam of `ef`.
    pub(crate) fn recall_in(&self, exam: &Exam, ef: usize) -> f32 {
        let mut recall = 0.0;
        self.answer(exam, ef, |point, hits, _| recall += recall_at_k(hits, &exam.truth[point], K));
        (recall / exam.points() as f64) as f32
    }

    /// How many nodes a search with a beam of `ef` expands, in the mean.
    pub(crate) fn expanded_in(&self, exam: &Exam, ef: usize) -> f32 {
        let mut expanded = 0;
        self.answer(exam, ef, |_, _, count| expanded += count);
        expanded as f32 / exam.points() as f32
    }

    /// Searches for every row and says what was found, and how many nodes were expanded.
    fn answer(&self, exam: &Exam, ef: usize, mut say: impl FnMut(usize, &[Hit], usize)) {
        let mut scratch = SearchScratch::default();
        for (point, (&node, row)) in exam.nodes.iter().zip(exam.rows.chunks_exact(self.dim)).enumerate() {
            let Ok(hits) = self.search_by(&Without(node), row, SearchParams::new(K, ef), &mut scratch) else {
                continue;
            };
            // One that slipped through is not what was asked for.
            let hits: Vec<Hit> = hits.iter().filter(|hit| hit.node != node).copied().collect();
            say(point, &hits, scratch.block.expanded());
        }
    }
}

/// All rows but one.
struct Without(NodeId);

impl Walk for Without {
    const IS_PLAIN: bool = true;

    fn without(&self) -> Option<NodeId> {
        Some(self.0)
    }

    fn search<'s, S: Scorer>(
        &self,
        index: &Index,
        scorer: &S,
        k: usize,
        ef: usize,
        scratch: &'s mut Scratch,
    ) -> &'s [Neighbor] {
        let found = Unfiltered.search(index, &FarAway { scorer, node: self.0 }, k, ef, scratch);
        let present = found.partition_point(|found| found.distance < f32::INFINITY);
        &found[..present]
    }
}

/// Distances in which one node is as far as can be.
struct FarAway<'a, S> {
    scorer: &'a S,
    node: NodeId,
}

impl<S: Scorer> FarAway<'_, S> {
    fn hide(&self, ids: &[NodeId], out: &mut [f32]) {
        for (out, _) in out.iter_mut().zip(ids).filter(|&(_, &id)| id == self.node) {
            *out = f32::INFINITY;
        }
    }
}

impl<S: Scorer> Scorer for FarAway<'_, S> {
    fn score_batch(&self, ids: &[NodeId], out: &mut [f32]) {
        self.scorer.score_batch(ids, out);
        self.hide(ids, out);
    }

    fn score_near(&self, ids: &[NodeId], bound: f32, out: &mut [f32]) {
        self.scorer.score_near(ids, bound, out);
        self.hide(ids, out);
    }

    fn prefetch(&self, id: NodeId) {
        self.scorer.prefetch(id);
    }
}
