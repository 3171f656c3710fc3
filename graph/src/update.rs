//! Replacing a node by another in one visible step.
//!
//! The new node is linked while it is *pending*: searches walk through it and leave it out. Then the old node gets
//! its tombstone, and this one write shows the new node as well: a pending node is in when its partner is gone. Then the
//! mark is cleared, and the new node is like any other.
//!
//! * **U1** A node is marked pending, and its partner noted, before any edge leads to it.
//! * **U2** The old node names its successor from before it is removed until its slot is used again. So a search that met
//!   the old one finds the new one, however long it took over it, and however often the new one was replaced since.
//! * **U3** The mark is cleared after the partner was removed, under the pin under which the partner was live: so its
//!   slot has no other node while anybody can see the mark for the first time.

use crate::graph::Graph;
use crate::reclaim;
use crate::scorer::Space;
use crate::scratch::Scratch;
use crate::slots::PENDING;
use crate::{InsertError, NodeId};

/// What an update did.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Updated {
    /// The old node was removed and the new one appeared in the same step.
    Replaced,
    /// The old node was not there, or somebody else removed it meanwhile; the new one was inserted.
    Inserted,
}

impl Graph {
    /// Inserts `new` and removes `old` (with its generation) in one visible step: a search that comes near returns exactly
    /// one of them, and after the call none returns `old`. If `old` is not in the graph, this is an insert.
    ///
    /// # Errors
    /// Those of [`insert`](Self::insert), for `new`; `old` is then as before.
    ///
    /// # Panics
    /// As [`insert`](Self::insert).
    pub fn update<S: Space>(
        &self,
        (old, generation): (NodeId, u32),
        new: NodeId,
        level: u8,
        space: &S,
        scratch: &mut Scratch,
    ) -> Result<Updated, InsertError> {
        let guard = crossbeam_epoch::pin();
        let is_there = self.is_live(old) && self.slots.generation(old) == generation;
        let done = if is_there {
            self.replace_node((old, generation), new, level, space, scratch, &guard)
        } else {
            self.place(new, level, None, space, scratch, &guard).map(|()| Updated::Inserted)
        };
        reclaim::collect(&mut scratch.writes, &guard);
        drop(guard);
        self.help(space, scratch);
        done
    }

    fn replace_node<S: Space>(
        &self,
        (old, generation): (NodeId, u32),
        new: NodeId,
        level: u8,
        space: &S,
        scratch: &mut Scratch,
        guard: &crossbeam_epoch::Guard,
    ) -> Result<Updated, InsertError> {
        // Before the node can be met (C5).
        self.slots.begin_change();
        let placed = self.place(new, level, Some(old), space, scratch, guard);
        if placed.is_ok() {
            // Under the guard, `old` was live: its slot is still its own (U2).
            self.slots.set_successor(old, new);
        }
        let hidden = placed.is_ok() && self.hide(old, generation, guard);
        if placed.is_ok() {
            self.slots.unmark(new, PENDING);
        }
        self.slots.end_change();
        placed.map(|()| if hidden { Updated::Replaced } else { Updated::Inserted })
    }
}
