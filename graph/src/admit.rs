//! Which of the nodes that a search meets count as results.
//!
//! A node that is not admitted is walked through like any other: it keeps the graph connected. It does not count
//! towards `ef`: the beam grows by one place for each that is in, so a search among hidden nodes finds as many
//! results as one without them. Removed nodes and filters are both this.

use crate::slots::{PENDING, PRESENT, Slots, TOMBSTONE};
use crate::{Neighbor, NodeId};

/// A choice among nodes. Asked of the nodes that the beam takes, not of all that are met.
pub(crate) trait Admit {
    /// Every node is admitted and nothing is ever asked: the search compiles to what it is without this.
    const ALL: bool = false;

    /// Whether `node` counts as a result.
    fn admits(&self, node: NodeId) -> bool;

    /// Whether `node`, which was not admitted, was removed.
    fn is_removed(&self, _node: NodeId) -> bool {
        false
    }

    /// Most nodes that are not admitted in a beam of width `ef`. When there are more, the farthest of them go: then
    /// the way through them is narrower, results are as many.
    fn routing_limit(&self, ef: usize) -> usize {
        // Removed nodes wait for about 2 % of the nodes at most (see `remove`), so this is met where a whole
        // neighborhood is being removed, and then four beams' width is enough to come out of it.
        3 * ef + 64
    }
}

/// Every node.
pub(crate) struct Everything;

impl Admit for Everything {
    const ALL: bool = true;

    #[inline(always)]
    fn admits(&self, _node: NodeId) -> bool {
        true
    }
}

/// Nodes that are not hidden. A node that waits to replace another is decided about at the end of the search.
pub(crate) struct Living<'a>(pub(crate) &'a Slots);

impl Admit for Living<'_> {
    #[inline]
    fn admits(&self, node: NodeId) -> bool {
        self.0.state(node) & (TOMBSTONE | PENDING) == 0
    }

    fn is_removed(&self, node: NodeId) -> bool {
        self.0.state(node) & TOMBSTONE != 0
    }
}

/// Nodes that a new edge should lead to.
pub(crate) struct Linkable<'a>(pub(crate) &'a Slots);

impl Admit for Linkable<'_> {
    #[inline]
    fn admits(&self, node: NodeId) -> bool {
        self.0.state(node) & TOMBSTONE == 0
    }
}

/// Removals that had begun, and were not written yet, when a search began: one for each thread at most.
const UNDER_WAY: u32 = 64;

impl Slots {
    /// Whether `node` is in results: not removed, and not waiting for another to be.
    pub(crate) fn is_visible(&self, node: NodeId) -> bool {
        let state = self.state(node);
        state & PRESENT != 0 && state & TOMBSTONE == 0 && (state & PENDING == 0 || self.is_shown(node))
    }

    /// Whether a node that was pending counts as in: its partner is gone, or the update is done by now. (Asked
    /// again, because the partner's slot may have another node once the mark is cleared.)
    fn is_shown(&self, node: NodeId) -> bool {
        !is_in(self.state(self.partner(node))) || self.state(node) & PENDING == 0
    }

    /// Removes from `found` what is hidden, so that of the two nodes of an update exactly one is left.
    ///
    /// An update makes its new node known as pending, then removes the old one in a single write, then clears
    /// the pending mark. So the marks of all nodes are read first, and after that each node once: a new node that was
    /// not pending any more has an old one that reads as removed; for one that was, the old node's one reading
    /// decides about both.
    ///
    /// A node that an update removed during the search gives way to its successor, which may be linked where the
    /// search had been before. One that was just removed goes: a node that was inserted for it since may have been met.
    /// `changes` removals began during the search; `was_removed` tells the nodes that were removed when they were met,
    /// whose successors are met like any other node.
    pub(crate) fn keep_visible(
        &self,
        found: &mut Vec<Neighbor>,
        states: &mut Vec<u32>,
        changes: u32,
        was_removed: impl Fn(NodeId) -> bool,
        score: impl Fn(NodeId) -> Option<f32>,
    ) {
        states.clear();
        states.extend(found.iter().map(|hit| self.state(hit.node) & PENDING));
        for (state, hit) in states.iter_mut().zip(found.iter()) {
            *state |= self.state(hit.node) & !PENDING;
        }
        for place in 0..found.len() {
            let node = found[place].node;
            let is_hidden = states[place] & PENDING != 0 && {
                let old = self.partner(node);
                match found.iter().position(|hit| hit.node == old) {
                    Some(old) => is_in(states[old] | PRESENT),
                    None => !self.is_shown(node),
                }
            };
            if is_hidden {
                // Not in the count's place, which others may still ask for: `PRESENT` is in every state that was met.
                states[place] &= !PRESENT;
            }
        }
        // Nodes that take the place of others come behind these, and are in.
        let met = found.len();
        for place in 0..met {
            if states[place] & TOMBSTONE == 0 || was_removed(found[place].node) {
                continue;
            }
            let limit = changes.saturating_add(UNDER_WAY);
            let Some(last) = self.last_successor(found[place].node, limit, found, states) else { continue };
            match found.iter().position(|hit| hit.node == last) {
                Some(last) => states[last] |= PRESENT,
                None => {
                    if let Some(distance) = score(last) {
                        found.push(Neighbor { node: last, distance });
                        states.push(PRESENT);
                    }
                }
            }
        }
        let has_more = found.len() > met;
        let mut states = states.iter();
        found.retain(|_| states.next().is_some_and(|&state| is_in(state)));
        if has_more {
            found.sort_unstable_by(|a, b| a.distance.total_cmp(&b.distance).then(a.node.cmp(&b.node)));
        }
    }

    /// The node that is in at the end of the chain of successors of `node`, which was removed since the caller's pin, as
    /// far as `states` tells of those in `found`. So were all in the chain: none of their slots has another node yet.
    fn last_successor(&self, node: NodeId, limit: u32, found: &[Neighbor], states: &[u32]) -> Option<NodeId> {
        let mut last = node;
        for _ in 0..limit {
            last = self.successor(last)?;
            let state = match found.iter().position(|hit| hit.node == last) {
                // What was pending is in, since what it replaces is gone.
                Some(place) => states[place] | PRESENT,
                None => self.state(last),
            };
            if is_in(state) {
                return Some(last);
            }
        }
        None
    }
}

/// Whether a state is that of a node which was not removed.
fn is_in(state: u32) -> bool {
    state & PRESENT != 0 && state & TOMBSTONE == 0
}
