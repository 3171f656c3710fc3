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
//! * **A3** Only the maintainer drops an anchored edge, after he hung what it held elsewhere (see
//!   [`remove`](crate::remove)); inserts only add leaves to the tree. (Levels above 0 need no anchors: they are a way
//!   to a good start, and level 0 alone connects everything.)
//!
//! A node whose neighborhood is full (many equal rows) is handed down: a full anchor's own children have
//! room, or their children have. The tree is as deep as the logarithm of its size there.

use crossbeam_epoch::Guard;

use crate::NodeId;
use crate::graph::Graph;
use crate::insert::Added;
use crate::level::mix;
use crate::lists::{ANCHORED, is_anchored, names, node_of};
use crate::memory::MemoryError;
use crate::scorer::Space;
use crate::scratch::Scratch;

impl Graph {
    /// Publishes the level-0 list of `node` (its choice in `scratch.link.chosen[0]`) and hangs the node
    /// into the anchor tree (A1). The nearest chosen neighbor with room becomes the anchor. False when all that were
    /// asked are being removed.
    pub(crate) fn publish_anchored<S: Space>(
        &self,
        node: NodeId,
        space: &S,
        scratch: &mut Scratch,
        guard: &Guard,
    ) -> Result<bool, MemoryError> {
        let count = scratch.link.chosen[0].len();
        let mut full = None;
        for place in 0..count {
            let anchor = scratch.link.chosen[0][place];
            match self.hang(node, anchor.node, anchor.distance, space, scratch, guard)? {
                Added::In => return Ok(true),
                Added::Full => full = full.or(Some(anchor.node)),
                Added::Closed | Added::Pruned => {}
            }
        }
        // Go down from the nearest full one until there is room.
        let Some(mut anchor) = full else { return Ok(false) };
        let mut turn = u64::from(node);
        loop {
            turn = mix(turn.wrapping_add(1));
            let Some(child) = self.child_of(anchor, None, turn, guard) else { return Ok(false) };
            anchor = child;
            let distance = crate::Scorer::score(&space.scorer(node), anchor);
            // Past one that is being removed, what hangs under it may have room.
            if self.hang(node, anchor, distance, space, scratch, guard)? == Added::In {
                return Ok(true);
            }
        }
    }

    /// One of the nodes that hang at `anchor`, but not `except`, chosen by `turn`.
    pub(crate) fn child_of(
        &self,
        anchor: NodeId,
        except: Option<NodeId>,
        turn: u64,
        guard: &Guard,
    ) -> Option<NodeId> {
        let above = self.anchor_of(anchor);
        // Whatever is anchored here and is not what this hangs at: one that is just being hung elsewhere
        // leads down as well.
        let is_child =
            |word: u32| is_anchored(word) && above != Some(node_of(word)) && except != Some(node_of(word));
        let children = |words: &[u32]| words.iter().filter(|&&word| is_child(word)).count();
        let words = self.list(anchor, 0, guard)?.words();
        let count = children(words);
        let place = (turn % count.max(1) as u64) as usize;
        words.iter().copied().filter(|&word| is_child(word)).nth(place).map(node_of)
    }

    /// Publishes the own list of a node that nobody can see yet, with the edge to `anchor` marked, and then the
    /// edge from the anchor (A1), unless that has its fill (A2) or is being removed.
    fn hang<S: Space>(
        &self,
        node: NodeId,
        anchor: NodeId,
        distance: f32,
        space: &S,
        scratch: &mut Scratch,
        guard: &Guard,
    ) -> Result<Added, MemoryError> {
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
        self.set_anchor(node, Some(anchor));
        self.publish_own(node, 0, words, space, guard)?;
        if !names(words, anchor) {
            return Ok(Added::Closed);
        }
        self.add_edge(anchor, 0, (distance, node | ANCHORED), space, scratch, guard)
    }
}
