//! The nodes that a filtered search has met: an exact set that is emptied for free.
//!
//! Unlike the beam of a plain search, the frontier of a filtered one forgets what it expanded, so a node that
//! the set forgot would be expanded again and again. Hence nothing is forgotten here: linear probing, at most
//! half full, growing as needed. Each slot carries the number of the search that filled it, so that a
//! search after a large one does not pay for clearing.
//!
//! * **V1** `insert` is true for each id once per search.

use crate::NodeId;

/// Slots at first: 32 KB, what a search of width 64 fills by half.
const FIRST_SLOTS: usize = 1 << 12;

/// A set of node ids. Reused from search to search.
#[derive(Debug, Default)]
pub(crate) struct Seen {
    /// Search << 32 | id. Searches count from 1, so a zero is an empty slot.
    slots: Vec<u64>,
    search: u32,
    count: usize,
}

impl Seen {
    /// Empties the set.
    pub(crate) fn reset(&mut self) {
        self.count = 0;
        self.search = self.search.wrapping_add(1);
        if self.slots.is_empty() || self.search == 0 {
            let size = self.slots.len().max(FIRST_SLOTS);
            self.slots.clear();
            self.slots.resize(size, 0);
            self.search = 1;
        }
    }

    /// Adds `id`; whether it was not in (V1).
    #[inline]
    pub(crate) fn insert(&mut self, id: NodeId) -> bool {
        let entry = u64::from(self.search) << 32 | u64::from(id);
        let mask = self.slots.len() - 1;
        // Multiplicative hashing (Knuth, volume 3, section 6.4) by 2^32 / golden ratio.
        let hash = id.wrapping_mul(0x9E37_79B9);
        let mut place = ((u64::from(hash) * self.slots.len() as u64) >> 32) as usize;
        loop {
            let slot = self.slots[place];
            if slot == entry {
                return false;
            }
            if (slot >> 32) as u32 != self.search {
                self.slots[place] = entry;
                self.count += 1;
                if self.count * 2 > self.slots.len() {
                    self.grow();
                }
                return true;
            }
            place = (place + 1) & mask;
        }
    }

    #[cold]
    fn grow(&mut self) {
        let larger = vec![0; self.slots.len() * 2];
        let old = std::mem::replace(&mut self.slots, larger);
        self.count = 0;
        let search = self.search;
        for slot in old.into_iter().filter(|slot| (slot >> 32) as u32 == search) {
            self.insert(slot as u32);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::HashSet;

    #[test]
    fn nothing_is_forgotten_or_invented() {
        let mut seen = Seen::default();
        for round in 0..4u32 {
            seen.reset();
            let mut oracle = HashSet::new();
            for i in 0..20_000u32 {
                let id = (i.wrapping_mul(2_654_435_761) ^ round) % 15_000;
                assert_eq!(seen.insert(id), oracle.insert(id), "{id}");
            }
            assert_eq!(seen.count, oracle.len());
        }
    }

    #[test]
    fn a_search_after_the_last_number_starts_anew() {
        let mut seen = Seen { search: u32::MAX - 1, ..Seen::default() };
        for _ in 0..4 {
            seen.reset();
            assert!(seen.insert(7) && !seen.insert(7));
        }
    }
}
