//! The beam: the best `ef` nodes met so far, in one sorted array.
//!
//! A node is one u64 key: distance bits (made order-preserving) << 32 | id << 1 | expanded. Comparing
//! keys compares (distance, id); the order is total, so a search is deterministic.
//!
//! * **B1** Keys are sorted, and no node is in twice. (A node offered again with the same distance is
//!   recognised; one whose distance may differ in the last bits must be looked for with `contains`.)
//! * **B2** Every key before `next` is expanded.
//! * **B3** A full beam takes a node only if it is strictly nearer than the farthest one. Equal
//!   distances do not displace each other, so a search among equal rows ends.
//!
//! * **B4** Nodes that only route (see [`admit`](crate::admit)) widen the beam by one place each, up to a limit, so
//!   that they take no place from those that are admitted.
//!
//! Cost: an insertion moves up to `ef` words that sit in L1; for the usual ef below 512 that is cheaper
//! than the branches of a heap.

use crate::NodeId;
use crate::admit::Admit;

/// Distance bits whose unsigned order is the order of the distances (negative ones included).
#[inline(always)]
pub(crate) fn ordered_bits(distance: f32) -> u32 {
    let bits = distance.to_bits();
    let sign = (bits as i32 >> 31) as u32;
    bits ^ (sign | 0x8000_0000)
}

/// The inverse of [`ordered_bits`].
#[inline(always)]
pub(crate) fn distance_of(ordered: u32) -> f32 {
    let sign = (!ordered as i32 >> 31) as u32;
    f32::from_bits(ordered ^ (sign | 0x8000_0000))
}

#[inline(always)]
pub(crate) fn key_of(distance: f32, id: NodeId) -> u64 {
    u64::from(ordered_bits(distance)) << 32 | u64::from(id) << 1
}

#[inline(always)]
pub(crate) fn id_of(key: u64) -> NodeId {
    (key as u32) >> 1
}

/// The best `ef` nodes so far. Reused from search to search.
#[derive(Debug, Default)]
pub(crate) struct Beam {
    keys: Vec<u64>,
    width: usize,
    next: usize,
    /// Nodes in the beam that only route (B4).
    routing: usize,
    /// Those that were removed when they were met.
    removed: Vec<NodeId>,
}

impl Beam {
    /// Empties the beam and sets its width (`ef`, at least 1).
    pub(crate) fn reset(&mut self, width: usize) {
        self.keys.clear();
        self.width = width.max(1);
        self.next = 0;
        self.routing = 0;
        self.removed.clear();
        self.keys.reserve(self.width + 1);
    }

    /// Offers a node. Does nothing when it is already in or not near enough (B3).
    #[inline]
    pub(crate) fn offer(&mut self, distance: f32, id: NodeId) {
        let key = key_of(distance, id);
        if self.keys.len() == self.width {
            // The beam is at least one wide, so there is a last key.
            if key >> 32 >= self.keys[self.width - 1] >> 32 {
                return;
            }
        }
        let place = self.keys.partition_point(|&other| other < key);
        if self.keys.get(place).is_some_and(|&other| other | 1 == key | 1) {
            return;
        }
        if self.keys.len() == self.width {
            self.keys.pop();
        }
        self.keys.insert(place, key);
        self.next = self.next.min(place);
    }

    /// Offers a node where some only route (B4). Nothing happens when it is in already or not near enough.
    pub(crate) fn offer_to<A: Admit>(&mut self, admit: &A, routing_limit: usize, distance: f32, id: NodeId) {
        if A::ALL {
            return self.offer(distance, id);
        }
        if !self.takes(distance) {
            return;
        }
        let key = key_of(distance, id);
        let mut place = self.keys.partition_point(|&other| other < key);
        if self.keys.get(place).is_some_and(|&other| other | 1 == key | 1) {
            return;
        }
        let is_admitted = admit.admits(id);
        if !is_admitted {
            if admit.is_removed(id) {
                self.removed.push(id);
            }
            if self.routing < routing_limit {
                self.routing += 1;
                self.width += 1;
            } else {
                // The farthest that only routes makes room, if it is farther than this one.
                let Some(farthest) = self.keys.iter().rposition(|&key| !admit.admits(id_of(key))) else {
                    return;
                };
                if farthest < place {
                    return;
                }
                self.keys.remove(farthest);
                place = place.min(self.keys.len());
                if farthest < self.next {
                    self.next -= 1;
                }
            }
        }
        self.keys.insert(place, key);
        // A node may be hidden, or shown, between two looks at it: the width then errs by one place, and
        // never falls below what was asked for.
        while self.keys.len() > self.width {
            let last = self.keys.pop().map_or(id, id_of);
            if self.routing > 0 && !admit.admits(last) {
                self.routing -= 1;
                self.width -= 1;
            }
        }
        self.next = self.next.min(place);
        self.pass_expanded();
    }

    /// Moves `next` past nodes that are expanded (B2).
    #[inline(always)]
    fn pass_expanded(&mut self) {
        while self.keys.get(self.next).is_some_and(|key| key & 1 == 1) {
            self.next += 1;
        }
    }

    /// The distance that a node must beat to be taken: infinite until the beam is full.
    #[inline(always)]
    pub(crate) fn bound(&self) -> f32 {
        if self.keys.len() < self.width {
            return f32::INFINITY;
        }
        distance_of((self.keys[self.width - 1] >> 32) as u32)
    }

    /// Whether a node at `distance` would be taken.
    #[inline(always)]
    pub(crate) fn takes(&self, distance: f32) -> bool {
        self.keys.len() < self.width || ordered_bits(distance) < (self.keys[self.width - 1] >> 32) as u32
    }

    /// Whether `id` is in. Looks at every key: for the few nodes that the visited set is unsure of.
    pub(crate) fn contains(&self, id: NodeId) -> bool {
        self.keys.iter().any(|&key| id_of(key) == id)
    }

    /// Marks the nearest node that is not expanded yet as expanded and returns it.
    #[inline]
    pub(crate) fn expand_next(&mut self) -> Option<NodeId> {
        let key = self.keys.get_mut(self.next)?;
        *key |= 1;
        let id = id_of(*key);
        self.next += 1;
        self.pass_expanded();
        Some(id)
    }

    /// The nearest node that is not expanded yet.
    #[inline(always)]
    pub(crate) fn peek_next(&self) -> Option<NodeId> {
        self.keys.get(self.next).map(|&key| id_of(key))
    }

    /// Whether the node was taken when it was removed already. Looks at all that were.
    pub(crate) fn met_removed(&self, id: NodeId) -> bool {
        self.removed.contains(&id)
    }

    /// What is in, nearest first, equal distances by id.
    pub(crate) fn iter(&self) -> impl ExactSizeIterator<Item = (f32, NodeId)> + '_ {
        self.keys.iter().map(|&key| (distance_of((key >> 32) as u32), id_of(key)))
    }

    /// The nearest node.
    pub(crate) fn best(&self) -> Option<(f32, NodeId)> {
        self.iter().next()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bits_keep_the_order_of_distances() {
        let distances = [f32::NEG_INFINITY, -3.5, -1e-30, -0.0, 0.0, 1e-30, 2.0, f32::MAX, f32::INFINITY];
        for pair in distances.windows(2) {
            assert!(ordered_bits(pair[0]) < ordered_bits(pair[1]), "{pair:?}");
        }
        for d in distances {
            assert_eq!(distance_of(ordered_bits(d)).to_bits(), d.to_bits());
        }
    }

    #[test]
    fn keeps_the_nearest_and_expands_them_in_order() {
        let mut beam = Beam::default();
        beam.reset(3);
        for (d, id) in [(4.0, 4), (1.0, 1), (3.0, 3), (2.0, 2), (1.0, 1), (9.0, 9)] {
            beam.offer(d, id);
        }
        assert_eq!(beam.iter().collect::<Vec<_>>(), [(1.0, 1), (2.0, 2), (3.0, 3)]);
        assert_eq!(beam.expand_next(), Some(1));
        assert_eq!(beam.expand_next(), Some(2));
        beam.offer(0.5, 7);
        assert_eq!(beam.peek_next(), Some(7));
        assert_eq!(beam.expand_next(), Some(7));
        assert_eq!(beam.expand_next(), None, "3 was displaced, 1 and 2 are expanded");
        beam.offer(1.0, 1);
        assert_eq!(beam.expand_next(), None, "an expanded node is recognised");
    }

    struct Even;
    impl Admit for Even {
        fn admits(&self, node: NodeId) -> bool {
            node.is_multiple_of(2)
        }
    }

    #[test]
    fn nodes_that_only_route_take_no_place() {
        let mut beam = Beam::default();
        beam.reset(2);
        for id in [9, 8, 7, 6, 5, 4, 3, 2] {
            beam.offer_to(&Even, 3, id as f32, id);
        }
        assert_eq!(beam.iter().map(|(_, id)| id).collect::<Vec<_>>(), [2, 3, 4, 5], "two even ones are kept");
        assert_eq!(beam.expand_next(), Some(2));
        beam.offer_to(&Even, 3, 1.0, 1);
        beam.offer_to(&Even, 3, 0.5, 11);
        // The limit is met: the farthest odd one goes, expanded or not.
        assert_eq!(beam.iter().map(|(_, id)| id).collect::<Vec<_>>(), [11, 1, 2, 3, 4]);
        beam.offer_to(&Even, 3, 0.25, 13);
        assert_eq!(beam.iter().map(|(_, id)| id).collect::<Vec<_>>(), [13, 11, 1, 2, 4]);
        beam.offer_to(&Even, 3, 3.5, 15);
        assert_eq!(beam.iter().map(|(_, id)| id).collect::<Vec<_>>(), [13, 11, 1, 2, 4]);
        assert_eq!(std::iter::from_fn(|| beam.expand_next()).collect::<Vec<_>>(), [13, 11, 1, 4]);
    }

    #[test]
    fn equal_distances_do_not_displace() {
        let mut beam = Beam::default();
        beam.reset(2);
        for id in [9, 8, 1, 0] {
            beam.offer(0.0, id);
        }
        assert_eq!(beam.iter().map(|(_, id)| id).collect::<Vec<_>>(), [8, 9]);
    }
}
