//! The nodes that a search has met: a small hash set, emptied per search.
//!
//! Open addressing with linear probes in a table that fits the first-level cache for the usual beam
//! widths (16 KB at ef = 64). Emptying it costs as much as a few distances and does not depend on the
//! number of nodes; a bitmap or a stamp per node would be as large as the index.
//!
//! * **V1** At most half of the table is used, so a probe ends after 1.5 slots on average.

use crate::NodeId;

const EMPTY: u32 = u32::MAX;

/// A reusable set of node ids.
#[derive(Debug, Default)]
pub(crate) struct Visited {
    slots: Vec<u32>,
    shift: u32,
    used: usize,
}

impl Visited {
    /// Empties the set, with room for what a search of width `ef` usually meets.
    pub(crate) fn reset(&mut self, ef: usize) {
        // A search meets 15-25 nodes per place in the beam (M0 = 32, 10^5..10^6 nodes): twice that is V1.
        let size = (ef * 40).next_power_of_two().clamp(1024, 1 << 16);
        if self.slots.len() != size {
            self.slots.clear();
            self.slots.resize(size, EMPTY);
        } else {
            self.slots.fill(EMPTY);
        }
        self.shift = 32 - size.trailing_zeros();
        self.used = 0;
    }

    #[inline(always)]
    fn home(&self, id: NodeId) -> usize {
        // Multiplicative hashing (Knuth, volume 3, section 6.4) by 2^32 / golden ratio.
        (id.wrapping_mul(0x9E37_79B9) >> self.shift) as usize
    }

    /// Adds `id`; whether it was new.
    #[inline(always)]
    pub(crate) fn insert(&mut self, id: NodeId) -> bool {
        let mask = self.slots.len() - 1;
        let mut place = self.home(id);
        loop {
            let slot = self.slots[place & mask];
            if slot == id {
                return false;
            }
            if slot == EMPTY {
                break;
            }
            place += 1;
        }
        self.slots[place & mask] = id;
        self.used += 1;
        if self.used * 2 > self.slots.len() {
            self.grow();
        }
        true
    }

    #[cold]
    fn grow(&mut self) {
        let old = std::mem::take(&mut self.slots);
        self.slots.resize(old.len() * 2, EMPTY);
        self.shift -= 1;
        let mask = self.slots.len() - 1;
        for id in old.into_iter().filter(|&id| id != EMPTY) {
            let mut place = self.home(id);
            while self.slots[place & mask] != EMPTY {
                place += 1;
            }
            self.slots[place & mask] = id;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::HashSet;

    #[test]
    fn agrees_with_a_hash_set_through_growth_and_reuse() {
        let mut visited = Visited::default();
        for round in 0..3u32 {
            visited.reset(1);
            let mut oracle = HashSet::new();
            for i in 0..50_000u32 {
                let id = (i.wrapping_mul(2_654_435_761) ^ round) % 30_000;
                assert_eq!(visited.insert(id), oracle.insert(id));
            }
        }
    }
}
