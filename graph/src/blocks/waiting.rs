//! What a search over blocks has yet to expand, nearest estimate first.
//!
//! Keys as in [`Beam`](crate::beam::Beam): those before `next` are taken. A node may be in several times (K2).

use crate::NodeId;
use crate::beam::{distance_of, key_of, ordered_bits};

/// The marks of an empty place in the table of taken nodes.
const NOBODY: NodeId = NodeId::MAX;

/// Places in the table: 4 KB, so that those of several walks in turn fit a first-level cache; four bits more per bit of a
/// beam beyond 64.
const FEWEST_TAKEN: usize = 1 << 10;
const MOST_TAKEN: usize = 1 << 16;

/// Nodes that wait to be expanded, by estimate, and which ones were.
///
/// Keys as in [`Beam`](crate::beam::Beam): those before `next` are taken. A node may be in several times (K2).
#[derive(Debug, Default)]
pub(super) struct Waiting {
    keys: Vec<u64>,
    pub(super) width: usize,
    next: usize,
    /// Taken nodes, each in the one place that it can have; a newcomer takes it over. So one may be forgotten, and is
    /// then expanded once more.
    taken: Vec<NodeId>,
    shift: u32,
}

impl Waiting {
    pub(super) fn reset(&mut self, ef: usize) {
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
    pub(super) fn was_taken(&self, node: NodeId) -> bool {
        self.taken[self.place(node)] == node
    }

    /// What an estimate must be below to be let in: infinite until all places are taken.
    #[inline(always)]
    pub(super) fn bound(&self) -> f32 {
        match self.keys.get(self.width - 1) {
            Some(&last) => distance_of((last >> 32) as u32),
            None => f32::INFINITY,
        }
    }

    #[inline(always)]
    pub(super) fn offer(&mut self, estimate: f32, node: NodeId) {
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
    pub(super) fn take_next(&mut self) -> Option<NodeId> {
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
    pub(super) fn peek_next(&self) -> Option<NodeId> {
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
}
