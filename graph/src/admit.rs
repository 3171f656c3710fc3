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
    /// A node that was removed during the search, which `was_hidden` knows from those that were hidden when they were
    /// met, gives way to its successor: that may be linked where the search had been before. Where there is none
    /// it stays: the search then came first, and is not shorter for it. `changes` removals began during the search.
    pub(crate) fn keep_visible(
        &self,
        found: &mut Vec<Neighbor>,
        states: &mut Vec<u32>,
        changes: u32,
        was_hidden: impl Fn(NodeId) -> bool,
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
            let node = found[place].node;
            if states[place] & TOMBSTONE == 0 || (changes == 0 && was_hidden(node)) {
                continue;
            }
            let limit = changes.saturating_add(UNDER_WAY);
            let Some(kept) = self.stand_in(node, limit, found, states, &was_hidden) else { continue };
            match found.iter().position(|hit| hit.node == kept) {
                Some(kept) => states[kept] = PRESENT,
                None => {
                    if let Some(distance) = score(kept) {
                        found.push(Neighbor { node: kept, distance });
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

    /// Which node stands for `node`, which was removed, in a search that met those in `found`: the one at the end of
    /// the chain of its successors, if that is in, or else the last in the chain that was met while it was in.
    fn stand_in(
        &self,
        node: NodeId,
        limit: u32,
        found: &[Neighbor],
        states: &[u32],
        was_hidden: impl Fn(NodeId) -> bool,
    ) -> Option<NodeId> {
        let mut kept = (!was_hidden(node)).then_some(node);
        let mut last = node;
        for _ in 0..limit {
            let Some(next) = self.successor(last) else { break };
            last = next;
            match found.iter().position(|hit| hit.node == last) {
                // What was pending is in, since what it replaces is gone.
                Some(place) if is_in(states[place] | PRESENT) => return Some(last),
                Some(_) if was_hidden(last) => {}
                Some(_) => kept = Some(last),
                // If `node` was live during the search, then no slot in the chain has another node yet; if not, this may
                // be another node by now, which is as good a result as any.
                None if is_in(self.state(last)) => return Some(last),
                None => {}
            }
        }
        kept
    }
}

/// Whether a state is that of a node which was not removed.
fn is_in(state: u32) -> bool {
    state & PRESENT != 0 && state & TOMBSTONE == 0
}
