//! Laying a graph out anew: other numbers for the nodes, lists in the order of the nodes.
//!
//! Where nodes lie in memory is decided by when they were inserted, and where their lists lie by when they
//! were last replaced. For a graph that is mostly read, both can follow the graph: nodes that a search meets
//! one after the other lie side by side, and each list lies in the block of its node's number. What that is
//! worth is the price of a form that can be written to at any time. Time of a search in the written form over
//! that in the new one, one thread of a Xeon 8370C class machine, 100,000 (text) and 200,000 rows (sift), least
//! of 7 runs of all queries, which repeat to about 2 %:
//!
//! | set, ef 16 / 64 / 128 | numbers kept | breadth first | depth first | Gorder, window 5 |
//! |---|---|---|---|---|
//! | text-384, f32 | 1.00 / 0.99 / 1.01 | 1.02 / 1.02 / 1.07 | 1.04 / 1.06 / 1.07 | 1.04 / 1.08 / 1.09 |
//! | text-384, sq8 | 0.98 / 0.99 / 0.95 | 1.00 / 1.04 / 1.01 | 1.04 / 1.09 / 1.01 | 1.04 / 1.07 / 1.03 |
//! | sift-128, f32 | 1.01 / 1.03 / 1.04 | 1.04 / 1.04 / 1.09 | 1.07 / 1.08 / 1.10 | 1.04 / 1.09 / 1.08 |
//! | sift-128, sq8 | 1.01 / 0.99 / 0.99 | 1.02 / 1.00 / 1.03 | 1.03 / 1.04 / 1.06 | 1.05 / 1.05 / 1.06 |
//!
//! Depth first is as good as Gorder (Wei, Yu, Lu and Lin 2016), which took a hundred times as long to find.
//!
//! * **O1** An order names every number below the graph's bound once, places without a node last; so a
//!   number given out later is new.
//! * **O2** The payload of a list is copied as it is: it may depend on the nodes, not on their numbers.
//! * **O3** Edges, anchors, levels and the entry point are kept; only numbers change. Hence a search finds
//!   the same nodes, but for ties, which are ordered by number.
//!
//! Cost: every list is read and written once; the new tables stand beside the old ones.

use crate::graph::Graph;
use crate::lists::{ANCHORED, EMPTY, node_of};
use crate::memory::GraphMemory;
use crate::{InsertError, NodeId, Scorer, Space};

/// No number yet.
const NONE: NodeId = NodeId::MAX;

impl Graph {
    /// The nodes in the order of a walk over level 0 from the entry point that goes on to the first neighbor
    /// not met yet: `order[i]` is to be called `i`. Places without a node come last (O1).
    ///
    /// Borrowed mutably, so nobody writes meanwhile; [`settle`](Self::settle) comes first where nodes were removed.
    /// Deterministic.
    pub fn depth_first_order(&mut self) -> Vec<NodeId> {
        let guard = crossbeam_epoch::pin();
        let bound = self.node_bound();
        let mut order = Vec::with_capacity(bound);
        let mut met = vec![false; bound];
        let mut stack = Vec::new();
        // Every node can be reached from the entry point (A1); should that fail, each gets its turn.
        let starts = self.entry().map(|(node, _)| node).into_iter().chain(0..bound as NodeId);
        for start in starts {
            if !self.is_live(start) {
                continue;
            }
            stack.push(start);
            while let Some(node) = stack.pop() {
                if std::mem::replace(&mut met[node as usize], true) {
                    continue;
                }
                order.push(node);
                let words = self.words(node, 0, &guard).iter().take_while(|&&word| word != EMPTY);
                let next = stack.len();
                stack.extend(words.map(|&word| node_of(word)).filter(|&node| !met[node as usize]));
                stack[next..].reverse();
            }
        }
        order.extend((0..bound as NodeId).filter(|&node| !met[node as usize]));
        order
    }

    /// The same graph in `memory`, with node `order[i]` called `i` and each list in the block of its number. Places
    /// without a node are slots to be taken again, of generation 0.
    ///
    /// # Errors
    /// [`InsertError::Memory`] when a table cannot grow.
    /// # Panics
    /// If `order` is not as [`depth_first_order`](Self::depth_first_order) describes it, or removals are not
    /// [settled](Self::settle).
    pub fn renumbered(&mut self, order: &[NodeId], memory: GraphMemory) -> Result<Graph, InsertError> {
        assert!(self.slots.changes().is_none() && self.slots.waiting() == 0, "removals are settled");
        let guard = crossbeam_epoch::pin();
        let numbers = numbers_of(order, self.node_bound());
        let renumber = |word: u32| numbers[node_of(word) as usize] | (word & ANCHORED);
        let graph = Graph::new(*self.config(), memory);
        if let Some(last) = order.len().checked_sub(1) {
            graph.ensure_node(last as NodeId)?;
        }
        let mut words = Vec::with_capacity(self.config().m0());
        let payloads = Payloads { graph: self, order };
        for (number, &node) in (0..).zip(order) {
            if !self.is_live(node) {
                continue;
            }
            let level = self.level_of(node);
            graph.claim_tower(number, level)?;
            for level in 0..=level {
                let Some(list) = self.list(node, level, &guard) else { continue };
                words.clear();
                words.extend(list.words().iter().map(|&word| renumber(word)));
                // Fresh blocks are handed out in turn, so node `number` gets block `number`.
                graph.publish_first(number, level, &words, &payloads, &guard)?;
            }
            if let Some(anchor) = self.anchor_of(node) {
                graph.set_anchor(number, Some(numbers[anchor as usize]));
            }
            graph.count_live();
        }
        if let Some(mut entry) = self.entry.load() {
            entry.node = numbers[entry.node as usize];
            graph
                .entry
                .swap(None, Some(entry))
                .expect("a graph that nobody else knows has no entry point yet");
        }
        graph.recount();
        Ok(graph)
    }
}

/// The inverse of `order`, which must be one of `bound` numbers.
fn numbers_of(order: &[NodeId], bound: usize) -> Vec<NodeId> {
    assert_eq!(order.len(), bound, "an order names every number below the bound");
    let mut numbers = vec![NONE; bound];
    for (number, &node) in (0..).zip(order) {
        let before = std::mem::replace(&mut numbers[node as usize], number);
        assert_eq!(before, NONE, "an order names number {node} once");
    }
    numbers
}

/// Fills in the payloads that the lists had before (O2).
struct Payloads<'a> {
    graph: &'a Graph,
    order: &'a [NodeId],
}

struct NoScorer;

impl Scorer for NoScorer {
    fn score_batch(&self, _ids: &[NodeId], _out: &mut [f32]) {
        unreachable!("renumbering compares nothing");
    }
}

impl Space for Payloads<'_> {
    type Scorer<'a>
        = NoScorer
    where
        Self: 'a;

    fn scorer(&self, _id: NodeId) -> NoScorer {
        NoScorer
    }

    fn payload_bytes(&self) -> usize {
        self.graph.config().payload_bytes()
    }

    fn fill_payload(&self, number: NodeId, _ids: &[u32], _old: Option<(&[u32], &[u8])>, payload: &mut [u8]) {
        let guard = crossbeam_epoch::pin();
        if let Some((_, before)) = self.graph.block(self.order[number as usize], &guard) {
            payload.copy_from_slice(&before[..payload.len()]);
        }
    }
}

#[cfg(all(test, not(loom)))]
mod tests {
    use super::*;
    use crate::{GraphConfig, LevelDraw, Scratch};

    /// Points on a line; the payload of a list is the point that it belongs to, and its degree.
    struct Line(Vec<NodeId>);
    struct From<'a>(&'a Line, f32);

    impl Line {
        fn point(&self, id: NodeId) -> f32 {
            (self.0[id as usize] as f32 * 0.7).sin()
        }
    }

    impl Scorer for From<'_> {
        fn score_batch(&self, ids: &[NodeId], out: &mut [f32]) {
            out.iter_mut().zip(ids).for_each(|(out, &id)| *out = (self.0.point(id) - self.1).powi(2));
        }
    }

    impl Space for Line {
        type Scorer<'a> = From<'a>;
        fn scorer(&self, id: NodeId) -> From<'_> {
            From(self, self.point(id))
        }
        fn payload_bytes(&self) -> usize {
            8
        }
        fn fill_payload(&self, id: NodeId, ids: &[u32], _old: Option<(&[u32], &[u8])>, payload: &mut [u8]) {
            payload[..4].copy_from_slice(&self.point(id).to_le_bytes());
            payload[4..].copy_from_slice(&degree(ids).to_le_bytes());
        }
    }

    fn degree(ids: &[u32]) -> u32 {
        ids.iter().filter(|&&word| word != EMPTY).count() as u32
    }

    #[test]
    fn payloads_follow_their_lists_and_go_on() {
        let config = GraphConfig::new(4, 30).unwrap().with_payload_bytes(8).unwrap();
        let line = Line((0..400).collect());
        let mut graph = Graph::new(config, GraphMemory::heap_for(400, &config));
        let (levels, mut scratch) = (LevelDraw::new(1, 4), Scratch::new());
        (0..300).for_each(|id| graph.insert(id, levels.level(id), &line, &mut scratch).unwrap());
        let order = graph.depth_first_order();
        let moved = Line(order.iter().copied().chain(300..400).collect());
        let graph = graph.renumbered(&order, GraphMemory::heap_for(400, &config)).unwrap();
        (300..400).for_each(|id| graph.insert(id, levels.level(id), &moved, &mut scratch).unwrap());
        assert!(graph.validate().is_ok(), "{}", graph.validate());
        let guard = crossbeam_epoch::pin();
        for id in 0..400 {
            let (ids, payload) = graph.block(id, &guard).unwrap();
            assert_eq!(payload[..4], moved.point(id).to_le_bytes());
            assert_eq!(payload[4..], degree(ids).to_le_bytes());
        }
    }
}
