//! Linking a node that is in once more, as if it came now.
//!
//! Repairs after removals know only what the removed node's list knew. Where most of a neighborhood went, what is left
//! holds together but the ways grow roundabout; a search of their own finds its nodes better neighbors.
//!
//! * **N1** Edges are only added, and lists that are full selected anew: as inserts of other nodes do it (I2, I3), so anything
//!   may go on meanwhile.
//! * **N2** The tree is left alone: what was reachable stays so.
//!
//! Cost: that of an insert.

use crate::NodeId;
use crate::entry::Entry;
use crate::graph::Graph;
use crate::reclaim;
use crate::scorer::Space;
use crate::scratch::Scratch;

impl Graph {
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
