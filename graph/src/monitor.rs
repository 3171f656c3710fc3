//! How good the graph is, estimated from a sample while it is in use.
//!
//! [`Graph::validate`] reads every list; this looks at a few nodes, for as little time as that many searches take, and
//! may run beside readers and writers. What it cannot know is the truth: a narrow search is compared with a
//! wide one instead, which misses what both miss.
//!
//! * **M1** The same sample of a frozen graph gives the same figures.
//!
//! Cost: per sampled node one narrow search and one eight times as wide, and the way up its anchors.

use crate::NodeId;
use crate::graph::Graph;
use crate::level::mix;
use crate::lists::node_of;
use crate::scorer::{Scorer, Space};
use crate::scratch::Scratch;

/// Beam width of the narrow searches: the one at which each node is promised to find itself.
const NARROW: usize = 64;

/// Beam width of the wide ones: what they miss of the ten nearest is well below what the narrow ones do.
const WIDE: usize = 8 * NARROW;

/// Results that are compared.
const K: usize = 10;

/// Above this share of unused slots compaction gives back more memory than the half of a doubling: the graph
/// takes a quarter more than it needs.
const COMPACT_FREE_SHARE: f64 = 0.2;

/// Removed nodes wait for about 2 % of the nodes (see `remove`); above twice that the maintainer lacks turns or
/// memory, and searches walk through what is not there.
const COMPACT_TOMBSTONE_SHARE: f64 = 0.04;

/// A sampled node in so many that does not find itself, or lacks its anchor, is more than chance: a graph as it is
/// meant to be has none of the latter and, on the data that was measured, hardly one in a thousand of the former.
const REBUILD_SHARE: f64 = 0.02;

/// What should be done about a graph.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Advice {
    /// Nothing.
    Keep,
    /// Compact it: it holds memory that it does not use, or waits for removals to be finished.
    Compact,
    /// Build it anew: nodes are not found.
    Rebuild,
}

/// What [`Graph::quality`] found.
#[derive(Debug, Clone, Copy, PartialEq)]
#[non_exhaustive]
pub struct Quality {
    /// Nodes in the graph.
    pub nodes: usize,
    /// Nodes that were looked at.
    pub sampled: usize,
    /// Share of them that a search of width 64 for their own vector finds (or as many equal ones).
    pub self_found: f64,
    /// Share of the 10 nearest by a search of width 512 that one of width 64 finds as well.
    pub recall: f64,
    /// Share of them that no chain of anchors leads to: 0 in a graph that is whole.
    pub unreachable_share: f64,
    /// Removed nodes that are still walked through, as a share of all nodes.
    pub tombstone_share: f64,
    /// Slots that hold no node, as a share of all slots.
    pub free_share: f64,
}

impl Quality {
    /// What should be done.
    pub fn advice(&self) -> Advice {
        let is_lost = 1.0 - self.self_found > REBUILD_SHARE || self.unreachable_share > REBUILD_SHARE;
        if self.sampled >= 50 && is_lost {
            Advice::Rebuild
        } else if self.free_share > COMPACT_FREE_SHARE || self.tombstone_share > COMPACT_TOMBSTONE_SHARE {
            Advice::Compact
        } else {
            Advice::Keep
        }
    }
}

impl Graph {
    /// Estimates the quality of the graph from about `samples` nodes, drawn by `seed`. Beside writers the figures
    /// are those of some moment in between. Shares of nothing are 0, `self_found` and `recall` of no sample 1.
    pub fn quality<S: Space>(&self, samples: usize, seed: u64, space: &S, scratch: &mut Scratch) -> Quality {
        let (nodes, slots) = (self.len(), self.node_bound());
        let hidden = self.slots.changes().hidden();
        let mut wide = Vec::with_capacity(K);
        let (mut sampled, mut found, mut hits, mut wanted, mut lost) = (0, 0, 0, 0, 0);
        // Unused slots are drawn too; a graph of almost nothing else gives a smaller sample.
        for draw in 0..8 * samples as u64 {
            if sampled == samples || slots == 0 {
                break;
            }
            let node = (mix(seed ^ mix(draw + 1)) % slots as u64) as NodeId;
            // Keeps the node's vector in place.
            let _guard = crossbeam_epoch::pin();
            if !self.is_live(node) {
                continue;
            }
            sampled += 1;
            let scorer = space.scorer(node);
            let own = scorer.score(node);
            wide.clear();
            wide.extend(self.search(&scorer, WIDE, scratch).iter().take(K).map(|hit| hit.node));
            let narrow = self.search(&scorer, NARROW, scratch);
            let is_found = narrow.iter().any(|hit| hit.node == node)
                || narrow.len() == NARROW && narrow.last().is_some_and(|last| last.distance <= own);
            found += usize::from(is_found);
            wanted += wide.len();
            hits += narrow.iter().take(K).filter(|hit| wide.contains(&hit.node)).count();
            lost += usize::from(!self.is_anchored_to_the_root(node));
        }
        let share = |part: usize, whole: usize| if whole == 0 { 0.0 } else { part as f64 / whole as f64 };
        Quality {
            nodes,
            sampled,
            self_found: if sampled == 0 { 1.0 } else { share(found, sampled) },
            recall: if wanted == 0 { 1.0 } else { share(hits, wanted) },
            unreachable_share: share(lost, sampled),
            tombstone_share: share(hidden, nodes + hidden),
            free_share: share(slots.saturating_sub(nodes + hidden), slots),
        }
    }

    /// Whether the anchors lead from `node` up to a node without one, each with the edge down (A1).
    fn is_anchored_to_the_root(&self, node: NodeId) -> bool {
        let guard = crossbeam_epoch::pin();
        let mut child = node;
        // A way longer than there are nodes is a circle. Removals beside this may move it meanwhile: asked twice.
        for _ in 0..self.node_bound() {
            let Some(anchor) = self.anchor_of(child) else { return true };
            let leads_down = || {
                let anchor = self.anchor_of(child).unwrap_or(anchor);
                self.list(anchor, 0, &guard)
                    .is_some_and(|list| list.words().iter().any(|&word| node_of(word) == child))
            };
            if !leads_down() && !leads_down() {
                return false;
            }
            child = anchor;
        }
        false
    }
}
