//! Ways to nodes that searches do not find.
//!
//! Every node can be reached (see [`anchor`](crate::anchor)), but a search follows only what looks nearer. One that starts in the wrong
//! cluster, or comes to the edge of a few nodes that hang together, ends there though what it looks for is elsewhere. Which nodes are lost
//! so is found out by searching for them, and the place to mend is the one where such a search ended.
//!
//! * **Y1** An edge that is put in takes the place of the longest that is neither anchored (A3) nor one of the few that
//!   lead to its node, where the list is full; so no node is lost for another one.
//! * **Y2** Of the new edges of one node none leads nearer to what another one is for: that one is left out, as the first may do.
//! * **Y3** What is lost is found out before an edge is put in, and edges are put in by one thread in the order of the nodes. So the graph
//!   is the same on any number of threads.
//!
//! Cost: a search per node that is asked for.

use std::sync::{Mutex, PoisonError};

use crossbeam_epoch::Guard;

use crate::admit::{Everything, Linkable};
use crate::graph::Graph;
use crate::lists::{Power, PublishError, is_anchored, names, node_of};
use crate::scratch::Scratch;
use crate::select::{Candidate, order};
use crate::{NodeId, RunRanges, Scorer, Space, reclaim};

/// Nodes that get an edge to what was lost: the nearest where its search ended. After the same searches of 100,000 rows in 2,000 tight clusters
/// 50 of 1,000 others found nothing at ef 16 with two, 71 with one (those searches were by ef 32).
const ENDS: usize = 2;

/// An edge is not replaced when at most the length of a list over this lead to its node.
const FEW_SHARE: usize = 8;

/// What [`Graph::mend`] found and did.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct Mended {
    /// Nodes that were searched for.
    pub asked: usize,
    /// Those that were not found.
    pub lost: usize,
    /// Edges that were put in.
    pub edges: usize,
}

/// A node that was not found, and where the search for it ended, nearest first.
struct Lost {
    node: NodeId,
    ends: [Option<Candidate>; ENDS],
}

impl Graph {
    /// Searches for each of `nodes` with a beam of `ef`, and puts edges to those that are not found where their searches ended. Nodes that are
    /// not in the graph are passed over. One that equals another counts as found with it.
    ///
    /// Borrowed mutably, so nobody writes meanwhile. The result does not depend on how `run` shares out the searches. Edges that find no memory
    /// are left out.
    ///
    /// One pass mends what it finds, and mostly more: nodes near to a lost one are lost with it, and found with it. So it is worth while to
    /// ask for a few nodes first, then for twice as many others, and to end when few are lost.
    pub fn mend<S: Space>(&mut self, nodes: &[NodeId], ef: usize, space: &S, run: RunRanges<'_>) -> Mended {
        let graph = &*self;
        let lost = Mutex::new(Vec::new());
        run(nodes.len(), &|range| {
            let mut scratch = Scratch::new();
            let found = range.filter_map(|place| {
                let guard = crossbeam_epoch::pin();
                Some((place, graph.lost(nodes[place], ef, space, &mut scratch, &guard)?))
            });
            let part: Vec<(usize, Lost)> = found.collect();
            lost.lock().unwrap_or_else(PoisonError::into_inner).extend(part);
        });
        let mut lost = lost.into_inner().unwrap_or_else(PoisonError::into_inner);
        lost.sort_unstable_by_key(|&(place, _)| place);

        let mut mended = Mended { asked: nodes.len(), lost: lost.len(), edges: 0 };
        let mut ways: Vec<(NodeId, NodeId)> = Vec::new();
        let mut writes = 0;
        for Lost { node, ends } in lost.into_iter().map(|(_, lost)| lost) {
            let guard = crossbeam_epoch::pin();
            let scorer = space.scorer(node);
            for end in ends.into_iter().flatten() {
                // Ends that have an edge are few: where many are lost they are lost together.
                let first = ways.partition_point(|way| way.0 < end.node);
                let mut others = ways[first..].iter().take_while(|way| way.0 == end.node);
                if others.any(|&(_, other)| scorer.score(other) < end.distance) {
                    continue;
                }
                ways.insert(first, (end.node, node));
                mended.edges += usize::from(graph.lead(end, node, space, &guard));
            }
            reclaim::collect(&mut writes, &guard);
        }
        mended
    }

    /// Where a search for `node` ends; none if it is found, or not in the graph.
    fn lost<S: Space>(
        &self,
        node: NodeId,
        ef: usize,
        space: &S,
        scratch: &mut Scratch,
        guard: &Guard,
    ) -> Option<Lost> {
        if !self.is_live(node) {
            return None;
        }
        let scorer = space.scorer(node);
        if self.slots.changes().is_none() {
            self.fill_beam(&scorer, ef, &Everything, scratch, guard);
        } else {
            self.fill_beam(&scorer, ef, &Linkable(&self.slots), scratch, guard);
        }
        let (nearest, _) = scratch.beam.best()?;
        if nearest <= scorer.score(node) || scratch.beam.contains(node) {
            return None;
        }
        let mut ends = [None; ENDS];
        let found = scratch.beam.iter();
        ends.iter_mut().zip(found).for_each(|(end, (distance, node))| {
            *end = Some(Candidate { distance, node, anchored: false });
        });
        Some(Lost { node, ends })
    }

    /// Puts an edge to `node` into the list of `end` (Y1). False where it is there already, or cannot be.
    fn lead<S: Space>(&self, end: Candidate, node: NodeId, space: &S, guard: &Guard) -> bool {
        let limit = self.config.limit(0);
        let few = (limit / FEW_SHARE) as u32;
        let mut next = Vec::with_capacity(limit);
        while let Some(old) = self.list(end.node, 0, guard).filter(|old| !old.is_frozen()) {
            let words = old.words();
            if names(words, node) {
                return false;
            }
            next.clear();
            next.extend_from_slice(words);
            if words.len() >= limit {
                let scorer = space.scorer(end.node);
                let is_spare =
                    |&(_, &word): &(usize, &u32)| !is_anchored(word) && self.slots.count(node_of(word)) > few;
                let spare = words.iter().enumerate().filter(is_spare).map(|(place, &word)| {
                    let distance = scorer.score(node_of(word));
                    (place, Candidate { distance, node: node_of(word), anchored: false })
                });
                let Some((place, _)) = spare.max_by(|(_, a), (_, b)| order(a, b)) else { return false };
                next.swap_remove(place);
            }
            next.push(node);
            if !self.slots.acquire(node) {
                return false;
            }
            match self.replace((end.node, 0), Some(old), &next, space, Power::Writer, guard) {
                Ok(()) => {
                    self.release_dropped(words, &next);
                    return true;
                }
                Err(error) => {
                    self.slots.release(node);
                    if let PublishError::Memory(_) = error {
                        return false;
                    }
                }
            }
        }
        false
    }
}
