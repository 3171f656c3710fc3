//! The nodes that a search has met: a small direct-mapped table, emptied per search.
//!
//! Each id has one slot, found by a multiplication; a newcomer takes the slot over. So the set may forget
//! an id, never invent one: a node that may have been forgotten is scored once more, and the search looks
//! for it in the beam before it lets it in. In return an insertion is a load and a store without a branch,
//! and a search collects a whole list without one misprediction. The table stays in the first-level cache
//! for the usual beam widths, and emptying it does not depend on the number of nodes.
//!
//! * **V1** `insert` says `Known` only for an id inserted before, and `New` only for one that was not, since
//!   the last `reset`.
//! * **V2** There are at least 64 slots per place in the beam up to the largest table; a search met 15 to 34
//!   nodes per place (384-d text, ef 128 to 10). How many are forgotten has not been counted.

use crate::NodeId;

const EMPTY: u32 = u32::MAX;

/// Fewest and most slots: 16 KB, which any first-level cache holds beside a list, and 128 KB, which any
/// second-level cache does.
const SLOTS: std::ops::RangeInclusive<usize> = (1 << 12)..=(1 << 15);

/// What the set knows of an id.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Met {
    /// Inserted before.
    Known,
    /// Not inserted before.
    New,
    /// Another id had the slot: perhaps it took it from this one.
    Unsure,
}

/// A reusable, forgetful set of node ids.
#[derive(Debug, Default)]
pub(crate) struct Visited {
    slots: Vec<u32>,
    shift: u32,
}

impl Visited {
    /// Empties the set, with slots for a search of width `ef` (V2).
    pub(crate) fn reset(&mut self, ef: usize) {
        let size = ef.saturating_mul(64).next_power_of_two().clamp(*SLOTS.start(), *SLOTS.end());
        self.slots.clear();
        self.slots.resize(size, EMPTY);
        self.shift = 32 - size.trailing_zeros();
    }

    /// Adds `id` and says what was known of it (V1).
    #[inline(always)]
    pub(crate) fn insert(&mut self, id: NodeId) -> Met {
        // Multiplicative hashing (Knuth, volume 3, section 6.4) by 2^32 / golden ratio: the top bits, so
        // the place is below the number of slots.
        let place = (id.wrapping_mul(0x9E37_79B9) >> self.shift) as usize;
        let slot = &mut self.slots[place];
        let before = std::mem::replace(slot, id);
        if before == id {
            Met::Known
        } else if before == EMPTY {
            Met::New
        } else {
            Met::Unsure
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::HashSet;

    #[test]
    fn is_sure_of_most_and_right_when_it_is() {
        let mut visited = Visited::default();
        for round in 0..3u32 {
            visited.reset(64);
            let mut oracle = HashSet::new();
            let mut unsure = 0;
            for i in 0..3000u32 {
                let id = (i.wrapping_mul(2_654_435_761) ^ round) % 1500;
                match (visited.insert(id), oracle.insert(id)) {
                    (Met::Known, is_new) => assert!(!is_new, "{id} was invented"),
                    (Met::New, is_new) => assert!(is_new, "{id} was forgotten unseen"),
                    (Met::Unsure, _) => unsure += 1,
                }
            }
            assert!(unsure < 1000, "unsure of {unsure} in 3000");
        }
    }

    #[test]
    fn is_empty_after_a_reset() {
        let mut visited = Visited::default();
        visited.reset(8);
        assert_eq!(visited.insert(7), Met::New);
        assert_eq!(visited.insert(7), Met::Known);
        visited.reset(8);
        assert_eq!(visited.insert(7), Met::New);
    }
}
