//! Why every node can be reached: the anchor tree.
//!
//! The selection heuristic may drop any edge, and with it the last way to a node; parallel inserts make
//! that common. Here each node but the first has an *anchor*: a node inserted before it (one near to
//! it) with which it shares an edge in both directions that pruning never drops. The anchored edges
//! form a tree that spans the graph, so on level 0 every node can be reached from every other.
//!
//! * **A1** A node becomes visible by the edge from its anchor; its own list, with the edge back, is
//!   published before.
//! * **A2** At most `anchor_limit` anchored edges leave a node, so a list has room for all of them and as
//!   many others.
//! * **A3** Only removing a node drops an anchored edge. (Levels above 0 need no anchors: they are a way
//!   to a good start, and level 0 alone connects everything.)
//!
//! A node whose neighborhood is full (many equal rows) is handed down: a full anchor's own children have
//! room, or their children have. The tree is as deep as the logarithm of its size there.

use crossbeam_epoch::Guard;

use crate::NodeId;
use crate::graph::Graph;
use crate::level::mix;
use crate::lists::{ANCHORED, is_anchored, node_of};
use crate::memory::MemoryError;
use crate::scorer::Space;
use crate::scratch::Scratch;

impl Graph {
    /// Publishes the level-0 list of `node` (its choice in `scratch.link.chosen[0]`) and hangs the node
    /// into the anchor tree (A1). The nearest chosen neighbor with room becomes the anchor.
    pub(crate) fn publish_anchored<S: Space>(
        &self,
        node: NodeId,
        space: &S,
        scratch: &mut Scratch,
        guard: &Guard,
    ) -> Result<(), MemoryError> {
        let count = scratch.link.chosen[0].len();
        for place in 0..count {
            let anchor = scratch.link.chosen[0][place];
            self.publish_under(node, anchor.node, space, scratch, guard)?;
            if self.try_anchor(node, anchor.node, anchor.distance, space, scratch, guard)? {
                return Ok(());
            }
        }
        // All full: go down from the nearest one until there is room.
        let mut anchor = scratch.link.chosen[0][0].node;
        let mut turn = u64::from(node);
        loop {
            turn = mix(turn.wrapping_add(1));
            anchor = self.child_of(anchor, turn, guard).unwrap_or(anchor);
            self.publish_under(node, anchor, space, scratch, guard)?;
            let distance = crate::Scorer::score(&space.scorer(node), anchor);
            if self.try_anchor(node, anchor, distance, space, scratch, guard)? {
                return Ok(());
            }
        }
    }

    /// One of the nodes anchored at `anchor`, chosen by `turn`.
    fn child_of(&self, anchor: NodeId, turn: u64, guard: &Guard) -> Option<NodeId> {
        let is_child = |word: u32| is_anchored(word) && self.anchor_of(node_of(word)) == Some(anchor);
        let children = |words: &[u32]| words.iter().filter(|&&word| is_child(word)).count();
        let words = self.list(anchor, 0, guard)?.words();
        let count = children(words);
        let place = (turn % count.max(1) as u64) as usize;
        words.iter().copied().filter(|&word| is_child(word)).nth(place).map(node_of)
    }

    /// Publishes the own list of a node that nobody can see yet, with the edge to `anchor` marked.
    fn publish_under<S: Space>(
        &self,
        node: NodeId,
        anchor: NodeId,
        space: &S,
        scratch: &mut Scratch,
        guard: &Guard,
    ) -> Result<(), MemoryError> {
        let words = &mut scratch.words;
        words.clear();
        words.extend(scratch.link.chosen[0].iter().map(|candidate| candidate.node));
        match words.iter_mut().find(|word| **word == anchor) {
            Some(word) => *word |= ANCHORED,
            None => {
                words.truncate(self.config.m0() - 1);
                words.push(anchor | ANCHORED);
            }
        }
        self.set_anchor(node, anchor);
        self.publish_first(node, 0, words, space, guard)
    }

    /// Adds the anchored edge from `anchor` to `node` unless `anchor` has its fill (A2).
    fn try_anchor<S: Space>(
        &self,
        node: NodeId,
        anchor: NodeId,
        distance: f32,
        space: &S,
        scratch: &mut Scratch,
        guard: &Guard,
    ) -> Result<bool, MemoryError> {
        self.add_edge(anchor, 0, (distance, node | ANCHORED), space, scratch, guard)
    }
}
