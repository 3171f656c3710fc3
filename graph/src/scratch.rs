//! What one thread needs while it searches or inserts; reused, so that neither allocates once warm.

use crate::beam::Beam;
use crate::filter::FilterScratch;
use crate::repair::Around;
use crate::select::Candidate;
use crate::visited::Visited;
use crate::{Neighbor, NodeId};

/// Per-thread working memory. Any thread may use any scratch, one at a time, with any graph.
#[derive(Debug, Default)]
pub struct Scratch {
    pub(crate) beam: Beam,
    pub(crate) visited: Visited,
    /// A search over blocks.
    #[cfg(not(loom))]
    pub(crate) walk: crate::BlockWalk,
    /// The nodes of the batch to be scored, and their distances.
    pub(crate) batch: Batch,
    /// Results of the last search.
    pub(crate) found: Vec<Neighbor>,
    /// How the found nodes stand, where some are hidden.
    pub(crate) states: Vec<u32>,
    /// A list under construction.
    pub(crate) words: Vec<u32>,
    pub(crate) link: LinkScratch,
    pub(crate) filter: FilterScratch,
    /// Inserts and removals done with this scratch; paces the reclaiming of replaced lists.
    pub(crate) writes: u32,
}

/// What linking needs beside a search.
#[derive(Debug, Default)]
pub(crate) struct LinkScratch {
    pub(crate) candidates: Vec<Candidate>,
    pub(crate) selected: Vec<Candidate>,
    pub(crate) pruned: Vec<Candidate>,
    /// What a removal works on.
    pub(crate) around: Around,
    /// Nodes near to the one being inserted, and the beam width of a search that starts there; none for a
    /// search that starts at the entry point (see [`merge`](crate::merge)).
    pub(crate) seeds: Vec<NodeId>,
    pub(crate) seed_ef: usize,
    /// The selected neighbors of each level of the node being inserted.
    pub(crate) chosen: Vec<Vec<Candidate>>,
}

/// Ids with room for their distances.
#[derive(Debug, Default)]
pub(crate) struct Batch {
    pub(crate) ids: Vec<NodeId>,
    pub(crate) distances: Vec<f32>,
    /// Whether the search may have met the node before.
    pub(crate) unsure: Vec<bool>,
}

impl Batch {
    /// Room for `limit` ids, without a list to zero each time.
    #[inline(always)]
    pub(crate) fn ensure(&mut self, limit: usize) {
        if self.ids.len() < limit {
            self.ids.resize(limit, 0);
            self.distances.resize(limit, 0.0);
            self.unsure.resize(limit, false);
        }
    }
}

impl Scratch {
    /// An empty scratch; it grows to what is asked of it on first use.
    pub fn new() -> Self {
        Self::default()
    }
}
