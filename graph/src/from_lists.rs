//! A graph from lists that somebody else made, all at once.
//!
//! The lists say who is near whom; what is added here is what the graph promises beyond that: the anchor tree (see
//! [`anchor`](crate::anchor)), by which every node can be reached, and the counts.
//!
//! * **B1** The tree is grown from the entry point along edges that go both ways already, so it costs no list a
//!   neighbor; then along edges that go one way, whose way back takes the place of the farthest neighbor that is not
//!   anchored; what nothing leads to is hung near the nearest of a sample of the tree. At most `anchor_limit` anchored
//!   edges leave a node (A2).
//! * **B2** Graph and tree depend on the lists, the levels and the space alone.
//!
//! Cost: every list is read a few times, by one thread.

use crate::entry::Entry;
use crate::graph::Graph;
use crate::level::mix;
use crate::lists::{ANCHORED, EMPTY, is_anchored, node_of};
use crate::memory::GraphMemory;
use crate::scorer::{Scorer, Space};
use crate::{GraphConfig, InsertError, NodeId};

/// Nodes of the tree that one is compared with which nothing leads to.
const SAMPLE: usize = 256;

/// Lists of one level above 0.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct LevelLists {
    /// The nodes that are on this level, in order.
    pub nodes: Vec<NodeId>,
    /// `[nodes × M]` ids of nodes on this level; empty places, which are last in a list, are `u32::MAX`.
    pub words: Vec<u32>,
}

impl Graph {
    /// A graph of the nodes `0..levels.len()`, node `i` on the levels `0..=levels[i]`, with the given neighbors.
    ///
    /// # Shapes
    /// `base: [levels.len() × M0]` ids, nearest first; empty places, which are last in a list, are `u32::MAX`.
    /// `upper[l]` belongs to level `l + 1`. No list names a node twice, nor its own.
    /// # Errors
    /// [`InsertError::Memory`] when a table cannot grow, [`InsertError::NodeId`] for too many nodes.
    /// # Panics
    /// If the shapes are not as said, or if a list names a node that is not on its level, one twice, or its own.
    pub fn from_lists<S: Space>(
        config: GraphConfig,
        memory: GraphMemory,
        levels: &[u8],
        mut base: Vec<u32>,
        upper: &[LevelLists],
        space: &S,
    ) -> Result<Graph, InsertError> {
        let (nodes, m, m0) = (levels.len(), config.m(), config.m0());
        if nodes > crate::MAX_NODE as usize + 1 {
            return Err(InsertError::NodeId { node: crate::MAX_NODE + 1 });
        }
        check(&base, nodes, m0, |place| place as NodeId, |_| true);
        for (level, lists) in (1..).zip(upper) {
            let is_there = |id: NodeId| levels[id as usize] >= level;
            assert!(lists.nodes.iter().all(|&id| is_there(id)), "nodes are on the level of their list");
            check(&lists.words, lists.nodes.len(), m, |place| lists.nodes[place], is_there);
        }
        let graph = Graph::new(config, memory);
        // The lowest of the tallest.
        let Some(top) = levels.iter().copied().max() else { return Ok(graph) };
        let root = levels.iter().position(|&level| level == top).unwrap_or_default() as NodeId;
        let anchors = Tree::grow(&mut base, m0, config.anchor_limit(), root, space);
        graph.ensure_node(nodes as NodeId - 1)?;
        let guard = crossbeam_epoch::pin();
        for (node, list) in (0..).zip(base.chunks_exact(m0)) {
            graph.claim_tower(node, levels[node as usize])?;
            for level in 1..=levels[node as usize] {
                let lists = upper.get(level as usize - 1);
                let place = lists.and_then(|lists| lists.nodes.binary_search(&node).ok());
                let words = match (lists, place) {
                    (Some(lists), Some(place)) => filled(&lists.words[place * m..][..m]),
                    _ => &[],
                };
                graph.publish_first(node, level, words, space, &guard)?;
            }
            graph.publish_first(node, 0, filled(list), space, &guard)?;
            graph.set_anchor(node, anchors[node as usize]);
            graph.count_live();
        }
        let entry = Entry { node: root, level: top };
        graph.entry.swap(None, Some(entry)).expect("a graph that nobody else knows has no entry point yet");
        graph.recount();
        Ok(graph)
    }
}

/// The part of a list before its empty places.
fn filled(words: &[u32]) -> &[u32] {
    &words[..words.iter().position(|&word| word == EMPTY).unwrap_or(words.len())]
}

/// Panics unless `words` are sound lists of `width` for `count` nodes.
fn check(
    words: &[u32],
    count: usize,
    width: usize,
    node: impl Fn(usize) -> NodeId,
    is_there: impl Fn(NodeId) -> bool,
) {
    assert_eq!(words.len(), count * width, "a list per node");
    for (place, list) in words.chunks_exact(width).enumerate() {
        let ids = filled(list);
        assert!(list[ids.len()..].iter().all(|&word| word == EMPTY), "empty places are the last ones");
        for (at, &id) in ids.iter().enumerate() {
            assert!(id <= crate::MAX_NODE && is_there(id), "an edge to a node on this level");
            assert!(id != node(place) && !ids[..at].contains(&id), "no node twice, nor its own");
        }
    }
}

/// The anchor tree while it grows (B1).
struct Tree<'a> {
    words: &'a mut [u32],
    m0: usize,
    limit: usize,
    anchors: Vec<Option<NodeId>>,
    is_in: Vec<bool>,
    /// Anchored edges that leave each node.
    anchored: Vec<u8>,
    /// Nodes in the order in which they were hung.
    order: Vec<NodeId>,
}

impl<'a> Tree<'a> {
    /// Marks the anchored edges in `words` and returns the anchors.
    fn grow<S: Space>(
        words: &'a mut [u32],
        m0: usize,
        limit: usize,
        root: NodeId,
        space: &S,
    ) -> Vec<Option<NodeId>> {
        let nodes = words.len() / m0;
        let mut tree = Self {
            words,
            m0,
            limit,
            anchors: vec![None; nodes],
            is_in: vec![false; nodes],
            anchored: vec![0; nodes],
            order: Vec::with_capacity(nodes),
        };
        tree.is_in[root as usize] = true;
        tree.order.push(root);
        tree.spread(0, true);
        tree.spread(0, false);
        for node in 0..nodes as NodeId {
            if !tree.is_in[node as usize] {
                let from = tree.order.len();
                let anchor = tree.anchor_for(node, space);
                tree.hang(node, anchor);
                tree.spread(from, true);
                tree.spread(from, false);
            }
        }
        tree.anchors
    }

    /// Hangs what the nodes from the `from`-th on lead to, and so on. With `both_ways`, along edges whose way back is
    /// there already.
    fn spread(&mut self, mut from: usize, both_ways: bool) {
        while let Some(&node) = self.order.get(from) {
            for place in 0..self.m0 {
                let word = self.words[node as usize * self.m0 + place];
                if word == EMPTY || !self.has_room(node) {
                    break;
                }
                let next = node_of(word);
                if !self.is_in[next as usize] && (!both_ways || self.place_of(next, node).is_some()) {
                    self.hang(next, node);
                }
            }
            from += 1;
        }
    }

    fn has_room(&self, node: NodeId) -> bool {
        usize::from(self.anchored[node as usize]) < self.limit
    }

    /// Where a node is in the list of another.
    fn place_of(&self, node: NodeId, neighbor: NodeId) -> Option<usize> {
        let list = &self.words[node as usize * self.m0..][..self.m0];
        list.iter().take_while(|&&word| word != EMPTY).position(|&word| node_of(word) == neighbor)
    }

    /// A node of the tree with room, near to one that no edge of the tree leads to.
    fn anchor_for<S: Space>(&self, node: NodeId, space: &S) -> NodeId {
        let list = &self.words[node as usize * self.m0..][..self.m0];
        let known = list.iter().take_while(|&&word| word != EMPTY).map(|&word| node_of(word));
        let mut anchor = match known.clone().find(|&id| self.is_in[id as usize] && self.has_room(id)) {
            Some(anchor) => return anchor,
            None => match known.clone().find(|&id| self.is_in[id as usize]) {
                Some(full) => full,
                None => self.nearest_of_sample(node, space),
            },
        };
        // Full ones hand down to what hangs under them.
        let mut turn = u64::from(node);
        while !self.has_room(anchor) {
            turn = mix(turn.wrapping_add(1));
            anchor = self.child_of(anchor, turn);
        }
        anchor
    }

    fn nearest_of_sample<S: Space>(&self, node: NodeId, space: &S) -> NodeId {
        let step = self.order.len().div_ceil(SAMPLE);
        let sample: Vec<NodeId> = self.order.iter().copied().step_by(step).collect();
        let mut distances = vec![0.0; sample.len()];
        space.scorer(node).score_batch(&sample, &mut distances);
        let pairs = sample.iter().zip(&distances);
        let nearest = pairs.min_by(|a, b| a.1.total_cmp(b.1).then(a.0.cmp(b.0)));
        *nearest.expect("the tree has a root").0
    }

    /// One of those that hang under a full node; there is one, as the limit is 2 or more and one edge leads up.
    fn child_of(&self, node: NodeId, turn: u64) -> NodeId {
        let list = &self.words[node as usize * self.m0..][..self.m0];
        let above = self.anchors[node as usize];
        let is_child = |word: &&u32| **word != EMPTY && is_anchored(**word) && Some(node_of(**word)) != above;
        let count = list.iter().filter(is_child).count();
        let place = (turn % count.max(1) as u64) as usize;
        let child = list.iter().filter(is_child).nth(place);
        node_of(*child.expect("a full node has nodes under it"))
    }

    /// Hangs `node` under `anchor`, which has room (A2).
    fn hang(&mut self, node: NodeId, anchor: NodeId) {
        self.anchor_edge(node, anchor);
        self.anchor_edge(anchor, node);
        self.anchors[node as usize] = Some(anchor);
        self.is_in[node as usize] = true;
        self.order.push(node);
    }

    /// Marks the edge, and adds it first if it is not there: in place of the last one that is not anchored when the
    /// list is full.
    fn anchor_edge(&mut self, node: NodeId, neighbor: NodeId) {
        let place = self.place_of(node, neighbor).unwrap_or_else(|| {
            let list = &self.words[node as usize * self.m0..][..self.m0];
            let empty = list.iter().position(|&word| word == EMPTY);
            let place = empty.or_else(|| list.iter().rposition(|&word| !is_anchored(word)));
            place.expect("half of a list is free of anchored edges (A2)")
        });
        self.words[node as usize * self.m0 + place] = neighbor | ANCHORED;
        self.anchored[node as usize] += 1;
    }
}
