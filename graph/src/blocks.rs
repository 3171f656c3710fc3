//! Searching level 0 by what its lists carry: one look at a node's block gives distances to all its neighbors.
//!
//! A list's payload (see [`Space::fill_payload`](crate::Space::fill_payload)) holds enough to compare the node itself and
//! to estimate the distances of its neighbors, so a hop reads one block and nothing else. The search expands nodes in
//! the order of their estimates; a node's own distance is computed when it is expanded, and only those are
//! results.
//!
//! * **K1** Runs under one pin, as every search does (S1); the result depends on graph and arguments alone (S2).
//! * **K2** A node waits once per estimate of it: several lists name it, their estimates differ, and the nearest of
//!   them decides when it is expanded. Keeping the first alone costs recall: on one 384-d text set 0.9899 instead
//!   of 0.9936 at ef 256, with one bit per dimension.
//! * **K3** A node is in the result once, with the distance that [`BlockScorer::node`] gives.
//! * **K4** Nodes that are not admitted are walked through and widen the beam by one place each, up to the limit that
//!   [`Admit::routing_limit`] sets.
//!
//! Cost: one block per expansion, about `ef` of them. No allocation once the scratch is warm.

use crossbeam_epoch::Guard;

use crate::admit::{Admit, Everything, Living};
use crate::beam::{distance_of, key_of, ordered_bits};
use crate::graph::Graph;
use crate::lists::node_of;
use crate::prefetch;
use crate::scratch::Scratch;
use crate::{Neighbor, NodeId, Pin};

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
        assert!(self.config.m0() <= BLOCK_LANES && self.config.payload_bytes() > 0, "lists that are blocks");
        let guard = crossbeam_epoch::pin();
        // As in `search` (C5).
        let changes = self.slots.changes();
        if changes.is_none() {
            self.expand_blocks(scorer, starts, search, &Everything, scratch, &guard);
        } else {
            self.expand_blocks(scorer, starts, search, &Living(&self.slots), scratch, &guard);
        }
        let Scratch { found, states, .. } = &mut *scratch;
        let now = self.slots.changes();
        if !changes.is_none() || now != changes {
            let score = |node| self.block(node, &guard).map(|(_, payload)| scorer.node(payload));
            // What was hidden when it was expanded is not among those that were found.
            self.slots.keep_visible(found, states, now.since(changes), |_| false, score);
            found.truncate(search.keep.max(search.k).max(1));
        }
        &scratch.found
    }

    /// The level-0 list of a node: its words as [`Space::fill_payload`](crate::Space::fill_payload) gets them, and the payload
    /// behind them. `None` for a node that has no list.
    pub fn read_block<'p>(&'p self, node: NodeId, pin: &'p Pin) -> Option<(&'p [u32], &'p [u8])> {
        if node as usize >= self.node_bound() {
            return None;
        }
        self.block(node, &pin.0)
    }

    fn expand_blocks<B: BlockScorer, A: Admit>(
        &self,
        scorer: &B,
        starts: &[Neighbor],
        search: BlockSearch,
        admit: &A,
        scratch: &mut Scratch,
        guard: &Guard,
    ) {
        let Scratch { waiting, found, .. } = scratch;
        let keep = search.keep.max(search.k).max(1);
        let routing_limit = admit.routing_limit(search.ef);
        found.clear();
        waiting.reset(search.ef);
        for start in starts {
            if (start.node as usize) < self.node_bound() {
                waiting.offer(start.distance, start.node);
            }
        }
        let mut estimates = [0.0; BLOCK_LANES];
        let mut hinted = NodeId::MAX;
        let mut routing = 0;
        while let Some(node) = waiting.take_next() {
            let Some((words, payload)) = self.block(node, guard) else { continue };
            // The second nearest, while the nearest is worked on: it is expanded next unless something nearer turns up.
            self.hint_next(waiting, &mut hinted, guard);
            let distance = scorer.node(payload);
            if A::ALL || admit.admits(node) {
                keep_nearest(found, keep, Neighbor { node, distance });
            } else if routing < routing_limit {
                routing += 1;
                waiting.width += 1;
            }
            let mut near = scorer.neighbors(distance, payload, waiting.bound(), &mut estimates);
            while near != 0 {
                let lane = near.trailing_zeros() as usize;
                near &= near - 1;
                let Some(&word) = words.get(lane) else { break };
                let neighbor = node_of(word);
                if !waiting.was_taken(neighbor) {
                    waiting.offer(estimates[lane], neighbor);
                }
            }
            self.hint_next(waiting, &mut hinted, guard);
        }
    }

    /// Asks for the block of the node that is expanded next, unless that was done.
    #[inline(always)]
    fn hint_next(&self, waiting: &Waiting, hinted: &mut NodeId, guard: &Guard) {
        let Some(next) = waiting.peek_next() else { return };
        if next == *hinted {
            return;
        }
        *hinted = next;
        if let Some((words, payload)) = self.block(next, guard) {
            let start: *const u8 = words.as_ptr().cast();
            let bytes = size_of_val(words) + payload.len();
            for line in (0..bytes).step_by(64) {
                prefetch::line(start.wrapping_add(line));
            }
        }
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

/// The marks of an empty place in the table of taken nodes.
const NOBODY: NodeId = NodeId::MAX;

/// Places in the table: 16 KB, a third of a first-level cache; four bits more per bit of a beam beyond 256.
const FEWEST_TAKEN: usize = 1 << 12;
const MOST_TAKEN: usize = 1 << 16;

/// Nodes that wait to be expanded, by estimate, and which ones were.
///
/// Keys as in [`Beam`](crate::beam::Beam): those before `next` are taken. A node may be in several times (K2).
#[derive(Debug, Default)]
pub(crate) struct Waiting {
    keys: Vec<u64>,
    width: usize,
    next: usize,
    /// Taken nodes, each in the one place that it can have; a newcomer takes it over. So one may be forgotten, and is
    /// then expanded once more.
    taken: Vec<NodeId>,
    shift: u32,
}

impl Waiting {
    fn reset(&mut self, ef: usize) {
        self.width = ef.max(1);
        self.next = 0;
        self.keys.clear();
        self.keys.reserve(self.width + 1);
        let places = (16 * self.width).next_power_of_two().clamp(FEWEST_TAKEN, MOST_TAKEN);
        self.shift = 32 - places.ilog2();
        self.taken.resize(places, NOBODY);
        self.taken.fill(NOBODY);
    }

    #[inline(always)]
    fn place(&self, node: NodeId) -> usize {
        // 2³² over the golden ratio: spreads runs of ids over the table.
        (node.wrapping_mul(0x9E37_79B9) >> self.shift) as usize
    }

    #[inline(always)]
    fn was_taken(&self, node: NodeId) -> bool {
        self.taken[self.place(node)] == node
    }

    /// What an estimate must be below to be let in: infinite until all places are taken.
    #[inline(always)]
    fn bound(&self) -> f32 {
        match self.keys.get(self.width - 1) {
            Some(&last) => distance_of((last >> 32) as u32),
            None => f32::INFINITY,
        }
    }

    #[inline(always)]
    fn offer(&mut self, estimate: f32, node: NodeId) {
        let length = self.keys.len();
        if length >= self.width && ordered_bits(estimate) >= (self.keys[length - 1] >> 32) as u32 {
            return;
        }
        let key = key_of(estimate, node);
        let place = rank(&self.keys, key);
        if self.keys.get(place).is_some_and(|&other| other | 1 == key | 1) {
            return;
        }
        self.keys.truncate(self.width - 1);
        self.keys.insert(place, key);
        self.next = self.next.min(place);
    }

    /// The node with the nearest estimate that was not taken yet.
    #[inline(always)]
    fn take_next(&mut self) -> Option<NodeId> {
        while let Some(key) = self.keys.get_mut(self.next) {
            let is_waiting = *key & 1 == 0;
            *key |= 1;
            let node = (*key as u32) >> 1;
            self.next += 1;
            if is_waiting && !self.was_taken(node) {
                let place = self.place(node);
                self.taken[place] = node;
                // So that the one after can be asked for.
                while self.keys.get(self.next).is_some_and(|key| key & 1 == 1) {
                    self.next += 1;
                }
                return Some(node);
            }
        }
        None
    }

    #[inline(always)]
    fn peek_next(&self) -> Option<NodeId> {
        self.keys.get(self.next).filter(|&key| key & 1 == 0).map(|&key| (key as u32) >> 1)
    }
}

/// How many of the sorted `keys` are below `key`, without a branch that depends on them.
#[inline(always)]
fn rank(keys: &[u64], key: u64) -> usize {
    let (mut base, mut length) = (0, keys.len());
    while length > 1 {
        let half = length / 2;
        // SAFETY: `base + length <= keys.len()` holds all along, and `half < length`.
        let is_below = unsafe { *keys.get_unchecked(base + half - 1) } < key;
        base = std::hint::select_unpredictable(is_below, base + half, base);
        length -= half;
    }
    base + usize::from(keys.get(base).is_some_and(|&last| last < key))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rank_counts_what_is_below() {
        for length in 0..40u64 {
            let keys: Vec<u64> = (0..length).map(|i| 2 * i + 1).collect();
            for key in 0..2 * length + 2 {
                let expected = keys.iter().filter(|&&other| other < key).count();
                assert_eq!(rank(&keys, key), expected, "{key} among {length}");
            }
        }
    }

    #[test]
    fn a_node_is_taken_once_and_at_its_nearest_estimate() {
        let mut waiting = Waiting::default();
        waiting.reset(3);
        for (estimate, node) in [(4.0, 4), (2.0, 7), (-1.0, 1), (3.0, 7), (9.0, 9), (-1.0, 1)] {
            waiting.offer(estimate, node);
        }
        assert_eq!(waiting.bound(), 3.0, "the four is displaced, the nine never let in");
        assert_eq!(waiting.take_next(), Some(1));
        waiting.offer(1.5, 7);
        assert_eq!(waiting.peek_next(), Some(7));
        assert_eq!((waiting.take_next(), waiting.take_next()), (Some(7), None));
        assert!(waiting.was_taken(7) && !waiting.was_taken(4));
        waiting.offer(0.0, 4);
        assert_eq!(waiting.take_next(), Some(4));
    }

    #[test]
    fn results_are_the_nearest_each_once() {
        let mut found = Vec::new();
        for (distance, node) in [(3.0, 3), (1.0, 1), (1.0, 1), (2.0, 2), (1.0, 0), (5.0, 5), (2.0, 2)] {
            keep_nearest(&mut found, 3, Neighbor { node, distance });
        }
        assert_eq!(found.iter().map(|hit| hit.node).collect::<Vec<_>>(), [0, 1, 2]);
    }
}
