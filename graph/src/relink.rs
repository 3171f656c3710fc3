//! Linking a node that is in once more, as if it came now.
//!
//! Repairs after removals know only what the removed node's list knew. Where most of a neighborhood went, what is left
//! holds together but the ways grow roundabout; a search of their own finds its nodes better neighbors.
//!
//! * **N1** Edges are only added, and lists that are full selected anew: as inserts of other nodes do it (I2, I3), so anything
//!   may go on meanwhile.
//! * **N2** The tree is left alone: what was reachable stays so.
//!
//! * **N3** A node that few lists name is easily missed, and no removal elsewhere will name it again. Where a neighbor of
//!   a removed node has come to that, it is linked anew on level 0 by a narrow search from itself.
//!
//! Cost: that of an insert; of N3, that of its links and a search of an eighth of its width.

use crossbeam_epoch::Guard;

use crate::NodeId;
use crate::entry::Entry;
use crate::graph::Graph;
use crate::reclaim;
use crate::scorer::Space;
use crate::scratch::Scratch;

/// A node is lonely when at most the number of edges it may have, over this, lead to it.
const LONELY_SHARE: usize = 4;

/// The beam of a search for neighbors of a lonely node is that of an insert over this.
const SEARCH_SHARE: usize = 8;

impl Graph {
    /// Links the first of `nodes` that is lonely with what lies around it on level 0 (N3).
    pub(crate) fn relink_lonely<S: Space>(
        &self,
        nodes: &[NodeId],
        space: &S,
        scratch: &mut Scratch,
        guard: &Guard,
    ) {
        let few = (self.config.limit(0) / LONELY_SHARE) as u32;
        let lonely = nodes.iter().find(|&&node| self.slots.count(node) <= few && self.is_live(node));
        if let (Some(&node), Some(entry)) = (lonely, self.entry.load()) {
            scratch.link.seeds.clear();
            scratch.link.seeds.push(node);
            scratch.link.seed_ef = (self.config.ef_construction() / SEARCH_SHARE).max(1);
            self.link_upper(entry, Entry { node, level: 0 }, 0, space, scratch, guard);
            scratch.link.seeds.clear();
        }
    }

    /// Searches neighbors for a node anew, on all its levels, and links it with them. Nothing happens for one that is not in.
    ///
    /// Any number of threads may do this beside everything else. Out of memory, edges are left out.
    pub fn relink<S: Space>(&self, node: NodeId, space: &S, scratch: &mut Scratch) {
        let guard = crossbeam_epoch::pin();
        if self.is_live(node)
            && let Some(entry) = self.entry.load()
        {
            scratch.link.seeds.clear();
            let mine = Entry { node, level: self.level_of(node) };
            self.link_upper(entry, mine, 0, space, scratch, &guard);
        }
        reclaim::collect(&mut scratch.writes, &guard);
    }
}
