//! What a search over blocks has yet to expand, nearest estimate first.
//!
//! Keys as in [`Beam`](crate::beam::Beam): those before `next` are taken. A node may be in several times (K2).

use crate::NodeId;
use crate::beam::{distance_of, key_of, ordered_bits};

/// The marks of an empty place in the table of taken nodes.
const NOBODY: NodeId = NodeId::MAX;

/// Places in the table: 8 KB or 32 per place of the beam. With half as many, nodes that are expanded twice, and offer all
/// they did before, showed in the recall.
const FEWEST_TAKEN: usize = 1 << 11;
const MOST_TAKEN: usize = 1 << 16;

/// Words that are moved at once.
const STEP: usize = 8;

/// A place that nothing waits in: above all keys.
const EMPTY: u64 = u64::MAX;

/// Nodes that wait to be expanded, by estimate, and which ones were.
#[derive(Debug, Default)]
pub(super) struct Waiting {
    /// A zero, then the keys in order, then empty places up to a whole number of steps. Behind the width there may be
    /// keys that were displaced; nobody takes them.
    cells: Vec<u64>,
    width: usize,
    next: usize,
    /// Taken nodes, each in the one place that it can have; a newcomer takes it over. So one may be forgotten, and is
    /// then expanded once more.
    taken: Vec<NodeId>,
    shift: u32,
    /// Whether the CPU moves [`STEP`] words at once.
    is_wide: bool,
}

impl Waiting {
    pub(super) fn reset(&mut self, ef: usize) {
        self.width = ef.max(1);
        self.next = 0;
        self.cells.clear();
        self.cells.push(0);
        self.cells.resize(1 + (self.width + 2).next_multiple_of(STEP), EMPTY);
        let places = (32 * self.width).next_power_of_two().clamp(FEWEST_TAKEN, MOST_TAKEN);
        self.shift = 32 - places.ilog2();
        self.taken.resize(places, NOBODY);
        self.taken.fill(NOBODY);
        self.is_wide = is_wide();
    }

    /// One more place.
    pub(super) fn widen(&mut self) {
        self.width += 1;
        self.cells.resize(1 + (self.width + 2).next_multiple_of(STEP), EMPTY);
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
        match self.cells[self.width] {
            EMPTY => f32::INFINITY,
            last => distance_of((last >> 32) as u32),
        }
    }

    #[inline(always)]
    pub(super) fn offer(&mut self, estimate: f32, node: NodeId) {
        // Without the id: of equal ones, the first stays.
        if u64::from(ordered_bits(estimate)) >= self.cells[self.width] >> 32 {
            return;
        }
        let key = key_of(estimate, node);
        let place = match self.is_wide {
            #[cfg(target_arch = "x86_64")]
            // SAFETY: `is_wide` says that the CPU has it; the cells are a zero and whole steps.
            true => unsafe { insert_512(&mut self.cells, key) },
            _ => insert(&mut self.cells, key),
        };
        if self.cells[place + 2] | 1 == key | 1 {
            // The same estimate of the same node, taken or not: it was there, right behind.
            let behind = self.cells.len() - 1;
            self.cells.copy_within(place + 2..=behind, place + 1);
            self.cells[behind] = EMPTY;
            return;
        }
        self.next = self.next.min(place);
    }

    /// The node with the nearest estimate that was not taken yet.
    #[inline(always)]
    pub(super) fn take_next(&mut self) -> Option<NodeId> {
        while self.next < self.width {
            let cell = &mut self.cells[1 + self.next];
            if *cell == EMPTY {
                return None;
            }
            let is_waiting = *cell & 1 == 0;
            *cell |= 1;
            let node = (*cell as u32) >> 1;
            self.next += 1;
            if is_waiting && !self.was_taken(node) {
                let place = self.place(node);
                self.taken[place] = node;
                // So that the one after can be asked for.
                while self.cells.get(1 + self.next).is_some_and(|&key| key & 1 == 1 && key != EMPTY) {
                    self.next += 1;
                }
                return Some(node);
            }
        }
        None
    }

    #[inline(always)]
    pub(super) fn peek_next(&self) -> Option<NodeId> {
        if self.next >= self.width {
            return None;
        }
        let key = self.cells[1 + self.next];
        (key & 1 == 0).then_some((key as u32) >> 1)
    }
}

fn is_wide() -> bool {
    #[cfg(target_arch = "x86_64")]
    return std::is_x86_feature_detected!("avx512f");
    #[cfg(not(target_arch = "x86_64"))]
    false
}

/// Puts a key in its place among the cells, before its equals, and returns the place; the last cell is lost.
#[inline(always)]
fn insert(cells: &mut [u64], key: u64) -> usize {
    let keys = &mut cells[1..];
    let place = rank(keys, key).min(keys.len() - 1);
    keys.copy_within(place..keys.len() - 1, place + 1);
    keys[place] = key;
    place
}

/// What [`insert`] does, a step at a time from behind.
///
/// # Safety
/// The CPU has AVX-512F.
#[cfg(target_arch = "x86_64")]
#[target_feature(enable = "avx512f")]
#[inline]
unsafe fn insert_512(cells: &mut [u64], key: u64) -> usize {
    use std::arch::x86_64::{
        _mm512_cmpge_epu64_mask, _mm512_loadu_si512, _mm512_mask_mov_epi64, _mm512_set1_epi64,
        _mm512_storeu_si512,
    };
    let steps = (cells.len() - 1) / STEP;
    let wanted = _mm512_set1_epi64(key as i64);
    let mut place = cells.len() - 2;
    for step in (0..steps).rev() {
        // SAFETY: the cell before the step, of those that there are.
        let before = unsafe { cells.as_mut_ptr().add(step * STEP) };
        // SAFETY: a step of words from there lies inside the cells: one comes before the first step.
        let moved = unsafe { _mm512_loadu_si512(before.cast()) };
        // SAFETY: the words of the step itself.
        let there = unsafe { _mm512_loadu_si512(before.add(1).cast()) };
        let behind = _mm512_cmpge_epu64_mask(there, wanted);
        if behind == 0 {
            break;
        }
        let is_moved = _mm512_cmpge_epu64_mask(moved, wanted);
        let now = _mm512_mask_mov_epi64(there, behind, _mm512_mask_mov_epi64(wanted, is_moved, moved));
        // SAFETY: as above.
        unsafe { _mm512_storeu_si512(before.add(1).cast(), now) };
        place = step * STEP + behind.trailing_zeros() as usize;
        if behind != 0xff {
            break;
        }
    }
    place
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
    fn keys_are_put_in_their_places_by_every_way() {
        for width in [1, 2, 7, 8, 9, 30] {
            let (mut narrow, mut wide) = (Waiting::default(), Waiting::default());
            narrow.reset(width);
            wide.reset(width);
            narrow.is_wide = false;
            let mut all = Vec::new();
            for turn in 0..200u32 {
                let estimate = (crate::level::mix(u64::from(turn)) % 50) as f32 - 20.0;
                if estimate < wide.bound() {
                    all.push(key_of(estimate, turn));
                }
                narrow.offer(estimate, turn);
                wide.offer(estimate, turn);
                assert_eq!(narrow.cells[1..=width], wide.cells[1..=width], "{width} {turn}");
                assert_eq!((narrow.next, narrow.bound()), (wide.next, wide.bound()));
                all.sort_unstable();
                all.truncate(width);
                assert_eq!(wide.cells[1..=all.len()], all);
                if turn % 5 == 0 && turn < 100 {
                    let taken = wide.take_next();
                    assert_eq!(narrow.take_next(), taken);
                    taken.iter().for_each(|&taken| {
                        all.iter_mut().filter(|key| (**key as u32) >> 1 == taken).for_each(|key| *key |= 1);
                    });
                }
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
