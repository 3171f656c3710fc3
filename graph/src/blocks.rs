//! Searching level 0 by what its lists carry: one look at a node's block gives distances to all its neighbors.
//!
//! A list's payload (see [`Space::fill_payload`](crate::Space::fill_payload)) holds enough to compare the node itself and
//! to estimate the distances of its neighbors, so a hop reads one block and nothing else. The search expands nodes in
//! the order of their estimates; a node's own distance is computed when it is expanded, and only those are
//! results.
//!
//! * **K1** Runs under one pin, as every search does (S1); the result depends on graph and arguments alone (S2).
//! * **K2** Several lists name a node, and their estimates differ; the nearest of them decides when it is expanded. Keeping
//!   the first alone costs recall: on one 384-d text set 0.9899 instead of 0.9936 at ef 256, with one bit per dimension.
//! * **K3** A node is in the result once, with the distance that [`BlockScorer::node`] gives.
//! * **K4** Nodes that are not admitted are walked through and widen the beam by one place each, up to the limit that
//!   [`Admit::routing_limit`] sets.
//!
//! Cost: one block per expansion, about `ef` of them. No allocation once the scratch is warm.

use crossbeam_epoch::Guard;

use crate::admit::{Admit, Living};
use crate::graph::Graph;
use crate::lists::node_of;
use crate::prefetch;
use crate::scratch::Scratch;
use crate::slots::Changes;
use crate::{Neighbor, NodeId, Pin};

mod waiting;

use waiting::Waiting;

/// Neighbors that one block holds at most.
pub const BLOCK_LANES: usize = 32;

/// Distances from one fixed point, read out of payloads. Smaller is nearer.
pub trait BlockScorer {
    /// The distance to the node that the payload belongs to.
    fn node(&self, payload: &[u8]) -> f32;

    /// Estimates of the distances to the neighbors of a node at `distance`: `out[lane]` for each place of its list,
    /// +∞ for empty ones. Returns a bit for each lane that is below `bound`.
    fn neighbors(&self, distance: f32, payload: &[u8], bound: f32, out: &mut [f32; BLOCK_LANES]) -> u32;
}

/// How wide to search, and how much to keep.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct BlockSearch {
    /// Places for estimates. 0 counts as 1.
    pub ef: usize,
    /// Results wanted: what the search is about.
    pub k: usize,
    /// Results returned; at least `k`.
    pub keep: usize,
    /// The search ends when `k` nodes are found and no estimate is below this times the distance of the `k`-th: easy
    /// queries end early, hard ones use the whole width. At 1 and above; infinite: `ef` alone decides. For distances that
    /// are never negative.
    pub slack: f32,
    /// Added to that distance first: what distances are off by where they are 0 in truth.
    pub margin: f32,
    /// A node to leave out: it is neither found nor gone through, but for one search in many, whose table forgets it.
    pub without: Option<NodeId>,
}

/// A search over blocks under way, and the memory that it needs; reused from search to search.
#[derive(Debug, Default)]
pub struct BlockWalk {
    waiting: Waiting,
    found: Vec<Neighbor>,
    states: Vec<u32>,
    keep: usize,
    k: usize,
    slack: f32,
    margin: f32,
    expanded: usize,
    /// Nodes met that are not admitted, and how many of them count (K4).
    routing: usize,
    routing_limit: usize,
    /// What was hidden when it began.
    changes: Option<Changes>,
    /// Whether blocks are asked for where they have their home.
    is_home: bool,
    /// Whose block was asked for last.
    hinted: NodeId,
}

impl BlockWalk {
    /// Nodes expanded since it began: what it cost.
    pub fn expanded(&self) -> usize {
        self.expanded
    }
}

impl Graph {
    /// The `keep` nearest of the nodes that a search over blocks expands, nearest first, equal distances by id.
    ///
    /// `starts`: nodes to begin with, and what is known of their distances; those that are gone are passed over. Empty
    /// where none is left: the caller then searches another way. Removed nodes and updates are treated as in
    /// [`search`](Self::search).
    ///
    /// # Panics
    /// If lists hold more than [`BLOCK_LANES`] neighbors or have no payload.
    pub fn search_blocks<'s, B: BlockScorer>(
        &self,
        scorer: &B,
        starts: &[Neighbor],
        search: BlockSearch,
        scratch: &'s mut Scratch,
    ) -> &'s [Neighbor] {
        let pin = self.pin();
        self.begin_walk(starts, search, &mut scratch.walk, &pin);
        self.finish_walk(scorer, &mut scratch.walk, &pin);
        self.end_walk(scorer, &mut scratch.walk, &pin)
    }

    /// Begins a search over blocks that is done step by step, so that one thread works on several in turn: while one
    /// waits for memory, another goes on. The results are those of [`search_blocks`](Self::search_blocks).
    ///
    /// The same pin is held until the walk ended.
    ///
    /// # Panics
    /// If lists hold more than [`BLOCK_LANES`] neighbors or have no payload.
    pub fn begin_walk(&self, starts: &[Neighbor], search: BlockSearch, walk: &mut BlockWalk, pin: &Pin) {
        assert!(self.config.m0() <= BLOCK_LANES && self.config.payload_bytes() > 0, "lists that are blocks");
        // As in `search` (C5).
        walk.changes = Some(self.slots.changes());
        walk.is_home = self.lists_are_home();
        walk.keep = search.keep.max(search.k).max(1);
        walk.k = search.k.max(1);
        (walk.slack, walk.margin) = (search.slack, search.margin);
        walk.expanded = 0;
        walk.routing = 0;
        walk.routing_limit = Living(&self.slots).routing_limit(search.ef);
        walk.found.clear();
        walk.waiting.reset(search.ef);
        if let Some(node) = search.without {
            walk.waiting.leave_out(node);
        }
        for start in starts {
            // The lists of a node that is gone can still be read for a while.
            if (start.node as usize) < self.node_bound() && self.slots.is_visible(start.node) {
                walk.waiting.offer(start.distance, start.node);
            }
        }
        walk.hinted = NodeId::MAX;
        self.hint_next(walk, &pin.0);
    }

    /// Expands one node of a walk, and meanwhile asks for the block of `other`, which another walk goes on with. False when
    /// nothing is left to expand.
    #[inline]
    pub fn step_walk<B: BlockScorer>(
        &self,
        scorer: &B,
        walk: &mut BlockWalk,
        other: Option<NodeId>,
        pin: &Pin,
    ) -> bool {
        self.expand_next(scorer, walk, |_| other, &pin.0)
    }

    /// The node that a walk expands next.
    #[inline]
    pub fn next_of_walk(&self, walk: &mut BlockWalk) -> Option<NodeId> {
        walk.waiting.peek_next()
    }

    /// All steps of a walk that are left, for a thread that does nothing else meanwhile.
    pub fn finish_walk<B: BlockScorer>(&self, scorer: &B, walk: &mut BlockWalk, pin: &Pin) {
        // The second nearest, while the nearest is worked on: it is expanded next unless something nearer turns up.
        let second = |walk: &mut BlockWalk| {
            let second = walk.waiting.peek_next().filter(|&second| second != walk.hinted)?;
            walk.hinted = second;
            Some(second)
        };
        while self.expand_next(scorer, walk, second, &pin.0) {
            self.hint_next(walk, &pin.0);
        }
    }

    /// The results of a walk that came to its end.
    pub fn end_walk<'w, B: BlockScorer>(
        &self,
        scorer: &B,
        walk: &'w mut BlockWalk,
        pin: &Pin,
    ) -> &'w [Neighbor] {
        let now = self.slots.changes();
        if let Some(before) = walk.changes.filter(|before| !before.is_none() || now != *before) {
            let score = |node| self.block(node, &pin.0).map(|(_, payload)| scorer.node(payload));
            // What was hidden when it was expanded is not among those that were found.
            self.slots.keep_visible(&mut walk.found, &mut walk.states, now.since(before), |_| false, score);
            walk.found.truncate(walk.keep);
        }
        &walk.found
    }

    /// The level-0 list of a node: its words as [`Space::fill_payload`](crate::Space::fill_payload) gets them, and the payload
    /// behind them. `None` for a node that has no list.
    pub fn read_block<'p>(&'p self, node: NodeId, pin: &'p Pin) -> Option<(&'p [u32], &'p [u8])> {
        if node as usize >= self.node_bound() {
            return None;
        }
        self.block(node, &pin.0)
    }

    #[inline(always)]
    fn expand_next<B: BlockScorer>(
        &self,
        scorer: &B,
        walk: &mut BlockWalk,
        ahead: impl Fn(&mut BlockWalk) -> Option<NodeId>,
        guard: &Guard,
    ) -> bool {
        if walk.waiting.nearest() > walk.waiting.bound() {
            return false;
        }
        let Some(node) = walk.waiting.take_next() else { return false };
        walk.expanded += 1;
        let Some((words, payload)) = self.block(node, guard) else { return true };
        let mut ahead = match ahead(walk) {
            Some(node) => self.asked(node, walk.is_home, guard),
            None => Asked::default(),
        };
        ahead.ask_for_a_third();
        let distance = scorer.node(payload);
        ahead.ask_for_a_third();
        if walk.changes.is_some_and(Changes::is_none) || Living(&self.slots).admits(node) {
            keep_nearest(&mut walk.found, walk.keep, Neighbor { node, distance });
            if let (true, Some(last)) = (walk.slack.is_finite(), walk.found.get(walk.k - 1)) {
                // Never nearer than this: it would end the search.
                walk.waiting.cut(walk.slack * (last.distance.max(0.0) + walk.margin));
            }
        } else if walk.routing < walk.routing_limit {
            walk.routing += 1;
            walk.waiting.widen();
        }
        let mut estimates = [0.0; BLOCK_LANES];
        let near = scorer.neighbors(distance, payload, walk.waiting.bound(), &mut estimates);
        ahead.ask_for_the_rest();
        let mut let_in = walk.waiting.offer_lanes(near, &estimates, words);
        if !walk.is_home {
            while let_in != 0 {
                // Where its list lies: the first of two waits.
                self.hint_head(node_of(words[let_in.trailing_zeros() as usize]));
                let_in &= let_in - 1;
            }
        }
        true
    }

    /// Asks for the block of the node that is expanded next, unless that was done.
    #[inline(always)]
    fn hint_next(&self, walk: &mut BlockWalk, guard: &Guard) {
        let Some(next) = walk.waiting.peek_next() else { return };
        if next == walk.hinted {
            return;
        }
        walk.hinted = next;
        self.asked(next, walk.is_home, guard).ask_for_the_rest();
    }

    /// The block of a node, to be asked for.
    #[inline(always)]
    fn asked(&self, node: NodeId, is_home: bool, guard: &Guard) -> Asked {
        let (start, left) = if is_home {
            self.hint_head(node);
            self.home(node)
        } else {
            let Some((words, payload)) = self.block(node, guard) else { return Asked::default() };
            (words.as_ptr().cast(), size_of_val(words) + payload.len())
        };
        Asked { start, left, third: left.div_ceil(3).next_multiple_of(64) }
    }
}

/// A block that is asked for part by part, between the parts of other work: a core has room for some 16 lines that are on
/// their way, and what does not fit holds up the work. Together with asking where blocks have their home, and into the second
/// cache, it took 7 to 10 % off a search of text-384.
struct Asked {
    start: *const u8,
    left: usize,
    third: usize,
}

impl Default for Asked {
    fn default() -> Self {
        Self { start: std::ptr::null(), left: 0, third: 0 }
    }
}

impl Asked {
    #[inline(always)]
    fn ask_for_a_third(&mut self) {
        let now = self.third.min(self.left);
        prefetch::run_near(self.start, now);
        self.start = self.start.wrapping_add(now);
        self.left -= now;
    }

    #[inline(always)]
    fn ask_for_the_rest(self) {
        prefetch::run_near(self.start, self.left);
    }
}

/// Puts a result in its place among the `keep` nearest.
#[inline(always)]
fn keep_nearest(found: &mut Vec<Neighbor>, keep: usize, result: Neighbor) {
    if found.len() == keep && found.last().is_some_and(|last| result.distance >= last.distance) {
        return;
    }
    let before = |other: &Neighbor| {
        other.distance.total_cmp(&result.distance).then(other.node.cmp(&result.node)).is_lt()
    };
    let place = found.partition_point(before);
    // A node that the table of taken ones forgot comes again, with the same distance (K3).
    if found.get(place).is_some_and(|other| other.node == result.node) {
        return;
    }
    if found.len() == keep {
        found.pop();
    }
    found.insert(place, result);
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn results_are_the_nearest_each_once() {
        let mut found = Vec::new();
        for (distance, node) in [(3.0, 3), (1.0, 1), (1.0, 1), (2.0, 2), (1.0, 0), (5.0, 5), (2.0, 2)] {
            keep_nearest(&mut found, 3, Neighbor { node, distance });
        }
        assert_eq!(found.iter().map(|hit| hit.node).collect::<Vec<_>>(), [0, 1, 2]);
    }
}
