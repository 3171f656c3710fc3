//! Taking the nodes of another graph in, led by what that graph knows.
//!
//! A node's neighbors in its own graph lie near it in any other too. So when some of them are in already, the search
//! for its place starts at the nearest of them instead of the entry point, and with a narrower beam: it need not find
//! its way, only look around. A node none of whose neighbors is in yet is inserted like any other; once a tenth
//! of the nodes are in, that is hardly one in ten.
//!
//! * **J1** What is taken in gets the promises of an insert: each node is reachable when its turn is over.
//!
//! Cost: about half of that of inserting them anew (see [`SEARCH_SHARE`]).

use crate::graph::Graph;
use crate::lists::node_of;
use crate::reclaim;
use crate::scorer::{Scorer, Space};
use crate::scratch::{Batch, LinkScratch, Scratch};
use crate::slots::{LINKED, TOMBSTONE};
use crate::{InsertError, NodeId};

/// The part of `ef_construction` that a led search uses: a half. When half of 16,000 rows of text-384 (20,000 of
/// sift-128) were taken in (M 16, `ef_construction` 200, one thread) that took 0.56 (0.52) of the time of inserting
/// them, and recall@10 at ef 16 to 128 fell by 0.0 to 0.3 points; a third takes 0.27 (0.36) and costs up to 0.9.
const SEARCH_SHARE: usize = 2;

impl Graph {
    /// Inserts nodes of `other` into this graph, node `i` as `name(i)`, on the level that it has there. `space` is
    /// that of this graph. Nodes that were removed from `other` are left out. Returns how many were inserted.
    ///
    /// `nodes` are all numbers of `other`, `0..other.node_bound()`, or a part of them: several threads may each
    /// take a part, beside whatever else this graph is used for. Nobody writes to `other` meanwhile. Cheaper
    /// where `other` is the smaller of the two.
    ///
    /// # Errors
    /// Those of [`insert`](Self::insert); nodes before the one that failed are in.
    pub fn absorb<S: Space>(
        &self,
        other: &Graph,
        nodes: impl IntoIterator<Item = NodeId>,
        name: impl Fn(NodeId) -> NodeId,
        space: &S,
        scratch: &mut Scratch,
    ) -> Result<usize, InsertError> {
        scratch.link.seed_ef = (self.config.ef_construction() / SEARCH_SHARE).max(1);
        let mut count = 0;
        for node in nodes {
            if !other.is_live(node) {
                continue;
            }
            let result = {
                let guard = crossbeam_epoch::pin();
                let words = other.list(node, 0, &guard).map_or(&[][..], |list| list.words());
                scratch.link.seeds.clear();
                scratch.link.seeds.extend(words.iter().map(|&word| name(node_of(word))));
                let placed = self.place(name(node), other.level_of(node), None, space, scratch, &guard);
                scratch.link.seeds.clear();
                reclaim::collect(&mut scratch.writes, &guard);
                placed
            };
            result?;
            count += 1;
            self.help(space, scratch);
        }
        Ok(count)
    }

    /// The nearest of the seeds that are in this graph.
    pub(crate) fn nearest_seed<S: Scorer>(
        &self,
        scorer: &S,
        link: &mut LinkScratch,
        batch: &mut Batch,
    ) -> Option<NodeId> {
        if link.seeds.is_empty() {
            return None;
        }
        let bound = self.node_bound();
        // A seed that is removed from here on still routes, like any node that a search has met.
        let is_in =
            |&id: &NodeId| (id as usize) < bound && self.slots.state(id) & (LINKED | TOMBSTONE) == LINKED;
        batch.ensure(link.seeds.len());
        let mut count = 0;
        for &id in link.seeds.iter().filter(|id| is_in(id)) {
            batch.ids[count] = id;
            count += 1;
        }
        let (ids, distances) = (&batch.ids[..count], &mut batch.distances[..count]);
        scorer.score_batch(ids, distances);
        let nearest = ids.iter().zip(distances.iter()).min_by(|a, b| a.1.total_cmp(b.1).then(a.0.cmp(b.0)));
        nearest.map(|(&id, _)| id)
    }
}
