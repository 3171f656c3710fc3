//! Removing nodes: a tombstone at once, then the repair of the graph around it, then the slot.
//!
//! A removal is one atomic write (the tombstone: from there the node is in no result) and a place on a
//! stack. What follows is done by the *maintainer*: the one thread that holds a flag, which whoever removes
//! or inserts tries to get, once. Who does not get it goes on: the maintainer takes what was put on the stack before he
//! steps down, and looks again after. So nobody ever waits, and only one thread takes nodes out.
//!
//! * **D1** A node is taken out in this order: no new edge may lead to it (closed), nobody changes its lists (frozen),
//!   it is not the entry point, nothing hangs under it in the anchor tree, its neighbors do not name it. It still leads on
//!   from first to last.
//! * **D2** The anchor tree is a tree after each step, and spans all nodes that are visible and not taken out: a child is
//!   hung under a node that is not below it, and only then let go. Only the maintainer takes from the tree, so
//!   what he reads of it holds.
//! * **D3** Each neighbor that named the node gets up to three of the node's neighbors in its place (see
//!   [`repair`](crate::repair)).
//!   One of them that few other lists name is linked anew (see [`relink`](crate::relink)).
//! * **D4** Edges that the node's own lists do not tell of are found by a sweep over all lists, a few nodes per
//!   removal, and by writers that prune. An anchored edge to a closed node stays until the
//!   node is taken out of the tree.
//! * **D5** A node that was taken out has an *heir*, the node it hung at last, and names it as long as anything
//!   leads there. An heir was taken out later, or is in; so whoever stands on a node that is gone gets back,
//!   and removed nodes do not hold each other in a ring.
//! * **D6** When nothing names a closed node, what its lists name is released, and the slot is retired
//!   (see [`reclaim`](crate::reclaim)). Its lists can be read until nobody can hold the node.
//!
//! Cost: about the back half of an insert, without its search; of the sweep, `SWEEP` nodes' lists per removal.

use crossbeam_epoch::Guard;

use crate::NodeId;
use crate::entry::Entry;
use crate::graph::Graph;
use crate::insert::Added;
use crate::lists::{ANCHORED, Power, PublishError, is_anchored, names, node_of};
use crate::memory::MemoryError;
use crate::reclaim;
use crate::scorer::{Scorer, Space};
use crate::scratch::Scratch;
use crate::select::Candidate;
use crate::slots::{CLOSED, LINKED, PENDING, PRESENT, TOMBSTONE};

/// Why a node was not removed.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum RemoveError {
    /// The node is not in the graph: never inserted, removed already, or its slot has another node by now.
    #[error("node {node} is not in the graph")]
    NotPresent {
        /// The id.
        node: NodeId,
    },
}

/// Nodes whose lists the sweep looks at per removal. A removed node waits for one turn of the sweep at
/// most, so about one node in this many is waiting: 4 %.
const SWEEP: u32 = 25;

/// Ways down the tree that are tried at random before all of it is searched for room.
const DESCENTS: u64 = 8;

impl Graph {
    /// Whether `node` is in the graph: inserted (or being linked) and not removed. Any number will do.
    ///
    /// Of the two nodes of an [`update`](Self::update), one is in at any time.
    pub fn is_live(&self, node: NodeId) -> bool {
        if node as usize >= self.node_bound() {
            return false;
        }
        let _guard = crossbeam_epoch::pin();
        self.slots.is_visible(node)
    }

    /// Which of the rows that had this slot `node` names: changes whenever [`take_slot`](Self::take_slot) gives the
    /// slot out, so that (node, generation) names one row for ever. 0 for a node above all others.
    pub fn generation(&self, node: NodeId) -> u32 {
        if (node as usize) < self.node_bound() { self.slots.generation(node) } else { 0 }
    }

    /// The slot of a removed node, to be inserted again under a new generation. No reader that holds a
    /// [`Pin`](crate::Pin) from before the removal is left, so what belongs to the slot may be overwritten.
    pub fn take_slot(&self) -> Option<NodeId> {
        self.slots.take()
    }

    /// Gives back a slot that was not used after all: one from [`take_slot`](Self::take_slot), or a new id whose
    /// insert failed.
    ///
    /// # Panics
    /// If the node is in the graph, or is no node at all.
    pub fn give_slot_back(&self, node: NodeId) {
        assert!((node as usize) < self.node_bound(), "node {node} has no slot");
        assert_eq!(self.slots.state(node) & PRESENT, 0, "node {node} is in the graph");
        self.slots.put(node);
    }

    /// Removes the node that has `generation`: no search that starts from now on returns it.
    ///
    /// The work around it is done by this thread or by one that is at it already. The slot comes back through
    /// [`take_slot`](Self::take_slot) once nothing leads to it. `space` must know the node's vector until then.
    ///
    /// # Errors
    /// [`RemoveError::NotPresent`], also when another thread removed it first: one of them succeeds.
    pub fn remove<S: Space>(
        &self,
        node: NodeId,
        generation: u32,
        space: &S,
        scratch: &mut Scratch,
    ) -> Result<(), RemoveError> {
        let hidden = {
            // The slot gets no other node while this is held.
            let guard = crossbeam_epoch::pin();
            self.hide(node, generation, &guard)
        };
        if !hidden {
            return Err(RemoveError::NotPresent { node });
        }
        self.help(space, scratch);
        Ok(())
    }

    /// Sets the tombstone of a node that is live and has `generation`, and hands it to the maintainer.
    pub(crate) fn hide(&self, node: NodeId, generation: u32, _guard: &Guard) -> bool {
        // Live first: under the guard, the generation is then that of the node that is live.
        if !self.is_live(node) || self.slots.generation(node) != generation {
            return false;
        }
        let Some(before) = self.slots.hide(node) else { return false };
        self.uncount_live();
        if before & LINKED != 0 {
            self.slots.push(&self.slots.pending, node);
        }
        true
    }

    /// Does the maintainer's work if there is some and nobody is at it.
    #[inline]
    pub(crate) fn help<S: Space>(&self, space: &S, scratch: &mut Scratch) {
        if self.slots.has_work() {
            self.maintain(space, scratch);
        }
    }

    /// Becomes the maintainer, if nobody is, and does all there is to do.
    fn maintain<S: Space>(&self, space: &S, scratch: &mut Scratch) {
        while self.slots.become_maintainer() {
            // Steps down even where the space panics.
            let office = Office(self);
            let done = self.work_off(space, scratch);
            drop(office);
            // Who pushed while this thread was the maintainer left it to this thread.
            if !done || !self.slots.has_work() {
                return;
            }
        }
    }

    /// Takes out what waits for it. False when memory ran out; what is left is tried again next time.
    fn work_off<S: Space>(&self, space: &S, scratch: &mut Scratch) -> bool {
        let slots = &self.slots;
        while let Some(node) = slots.pop(&slots.stalled) {
            slots.push(&slots.pending, node);
        }
        while let Some(node) = slots.pop(&slots.pending) {
            // A pin per node, so that what earlier ones left behind can be reclaimed.
            let guard = crossbeam_epoch::pin();
            if self.take_out(node, space, scratch, &guard).is_err() {
                slots.push(&slots.stalled, node);
                return false;
            }
            self.sweep(SWEEP, space, scratch, &guard);
            self.retire_ripe(&guard);
            reclaim::collect(&mut scratch.writes, &guard);
        }
        self.retire_ripe(&crossbeam_epoch::pin());
        true
    }

    /// Takes one node out (D1).
    fn take_out<S: Space>(
        &self,
        node: NodeId,
        space: &S,
        scratch: &mut Scratch,
        guard: &Guard,
    ) -> Result<(), MemoryError> {
        // Held, so that it does not go before this is done; a stalled node still is.
        if !self.slots.is_closed(node) {
            self.slots.hold(node);
            self.slots.close(node);
        }
        self.freeze(node);
        self.leave_entry(node, guard);
        self.leave_tree(node, space, scratch, guard)?;
        let mut around = std::mem::take(&mut scratch.link.around);
        // From above, so that who comes down meanwhile comes down to what is still as it was.
        let done = (0..=self.level_of(node)).rev().try_for_each(|level| {
            self.look_around(node, level, &mut around, guard);
            around.measure(space);
            (0..around.nodes.len()).try_for_each(|place| {
                let neighbor = around.nodes[place];
                self.replace_edge((neighbor, Some(place)), level, node, &mut around, space, scratch, guard)
            })
        });
        self.relink_lonely(&around.nodes, space, scratch, guard);
        scratch.link.around = around;
        done?;
        self.slots.release(node);
        Ok(())
    }

    /// The words of a list, without empty places.
    pub(crate) fn words_of<'g>(&'g self, node: NodeId, level: u8, guard: &'g Guard) -> &'g [u32] {
        self.list(node, level, guard).map_or(&[], |list| list.words())
    }

    /// Makes another node the entry point if `node` is it: the tallest of its neighbors on the highest level
    /// that has any; none if it is alone.
    fn leave_entry(&self, node: NodeId, guard: &Guard) {
        while let Some(entry) = self.entry.load().filter(|entry| entry.node == node) {
            let tallest = (0..=entry.level).rev().find_map(|level| {
                let open = self.words_of(node, level, guard).iter().map(|&word| node_of(word));
                open.filter(|&near| !self.slots.is_closed(near)).max_by_key(|&near| self.level_of(near))
            });
            let candidate = tallest.map(|near| Entry { node: near, level: self.level_of(near) });
            // Not closed: only this thread closes nodes.
            tallest.iter().for_each(|&near| self.slots.hold(near));
            let left = self.entry.swap(Some(entry), candidate);
            if left.is_ok() {
                self.slots.release(node);
                return;
            }
            tallest.iter().for_each(|&near| self.slots.release(near));
        }
    }

    /// Hangs everything that hangs under `node` elsewhere (D2).
    fn leave_tree<S: Space>(
        &self,
        node: NodeId,
        space: &S,
        scratch: &mut Scratch,
        guard: &Guard,
    ) -> Result<(), MemoryError> {
        let words = self.words_of(node, 0, guard);
        for child in words.iter().filter(|&&word| is_anchored(word)).map(|&word| node_of(word)) {
            if self.anchor_of(child) != Some(node) {
                continue;
            }
            if self.anchor_of(node).is_none() {
                // The root: the edge that they share now hangs it under its first child.
                self.set_anchor(child, None);
                self.set_anchor(node, Some(child));
                continue;
            }
            self.hang_elsewhere(child, node, space, scratch, guard)?;
        }
        Ok(())
    }

    /// Hangs `child` under another node than `gone` (D2): the nearest of its neighbors that has room and is not
    /// below it, or else anything that is not below `gone`.
    fn hang_elsewhere<S: Space>(
        &self,
        child: NodeId,
        gone: NodeId,
        space: &S,
        scratch: &mut Scratch,
        guard: &Guard,
    ) -> Result<(), MemoryError> {
        let scorer = space.scorer(child);
        let near = self.words_of(child, 0, guard);
        let mut candidates = std::mem::take(&mut scratch.link.chosen);
        candidates.resize_with(candidates.len().max(1), Vec::new);
        let order = &mut candidates[0];
        order.clear();
        order.extend(
            near.iter().map(|&word| node_of(word)).filter(|&near| near != gone).map(|node| Candidate {
                distance: 0.0,
                node,
                anchored: false,
            }),
        );
        scratch.batch.ensure(order.len());
        let (ids, distances) =
            (&mut scratch.batch.ids[..order.len()], &mut scratch.batch.distances[..order.len()]);
        ids.iter_mut().zip(&*order).for_each(|(id, candidate)| *id = candidate.node);
        scorer.score_batch(ids, distances);
        order.iter_mut().zip(distances).for_each(|(candidate, distance)| candidate.distance = *distance);
        order.sort_unstable_by(crate::select::order);
        let mut hung = Ok(false);
        for candidate in order.iter() {
            if self.slots.is_closed(candidate.node) || self.is_below(candidate.node, child) {
                continue;
            }
            hung = self.hang_under(child, gone, candidate, space, scratch, guard);
            if !matches!(hung, Ok(false)) {
                break;
            }
        }
        scratch.link.chosen = candidates;
        if hung? {
            return Ok(());
        }
        // Down from where `gone` itself hangs: at random, then everywhere.
        let top = self.anchor_of(gone);
        for descent in 0..DESCENTS {
            let mut place = top;
            for depth in 0..1000u64 {
                let Some(under) = place else { break };
                if self.try_place(child, gone, under, space, scratch, guard)? {
                    return Ok(());
                }
                let turn = crate::level::mix(u64::from(child) ^ (descent << 32) ^ (depth << 40));
                place = self.child_of(under, Some(gone), turn, guard);
            }
        }
        let mut root = gone;
        while let Some(above) = self.anchor_of(root) {
            root = above;
        }
        // Without `gone`, what it hangs in is a tree of its own; if that has two nodes or more, it has a leaf that
        // is not next to `gone` and has room; if it has one, that one names `gone` alone.
        let mut places = vec![root];
        while let Some(place) = places.pop() {
            if self.try_place(child, gone, place, space, scratch, guard)? {
                return Ok(());
            }
            let under = self.words_of(place, 0, guard).iter().filter(|&&word| is_anchored(word));
            places.extend(
                under
                    .map(|&word| node_of(word))
                    .filter(|&under| under != gone && self.anchor_of(under) == Some(place)),
            );
        }
        // Inserts took the last places meanwhile; there are more now.
        Err(MemoryError { asked: 0, capacity: 0 })
    }

    fn try_place<S: Space>(
        &self,
        child: NodeId,
        gone: NodeId,
        under: NodeId,
        space: &S,
        scratch: &mut Scratch,
        guard: &Guard,
    ) -> Result<bool, MemoryError> {
        if self.slots.is_closed(under) {
            return Ok(false);
        }
        let distance = space.scorer(child).score(under);
        let under = Candidate { distance, node: under, anchored: true };
        self.hang_under(child, gone, &under, space, scratch, guard)
    }

    /// Whether `node` hangs below `above`, or is it.
    fn is_below(&self, node: NodeId, above: NodeId) -> bool {
        let mut place = Some(node);
        while let Some(node) = place {
            if node == above {
                return true;
            }
            place = self.anchor_of(node);
        }
        false
    }

    /// Hangs `child` under `under` instead of under `gone`, if there is room: first the edge to it, then the
    /// edge back in place of the one to `gone`.
    fn hang_under<S: Space>(
        &self,
        child: NodeId,
        gone: NodeId,
        under: &Candidate,
        space: &S,
        scratch: &mut Scratch,
        guard: &Guard,
    ) -> Result<bool, MemoryError> {
        let edge = (under.distance, child | ANCHORED);
        if self.add_edge(under.node, 0, edge, space, scratch, guard)? != Added::In {
            return Ok(false);
        }
        while let Some(old) = self.list(child, 0, guard) {
            let words = old.words();
            let next = &mut scratch.words;
            next.clear();
            next.extend(words.iter().copied().filter(|&word| node_of(word) != under.node));
            let is_new = next.len() == words.len();
            let back = under.node | ANCHORED;
            match next.iter_mut().find(|word| node_of(**word) == gone) {
                Some(word) => *word = back,
                None => next.push(back),
            }
            // Not closed: only this thread closes nodes.
            if is_new {
                self.slots.hold(under.node);
            }
            match self.replace((child, 0), Some(old), next, space, Power::Maintainer, guard) {
                Ok(()) => {
                    self.release_dropped(words, next);
                    break;
                }
                Err(error) => {
                    if is_new {
                        self.slots.release(under.node);
                    }
                    if let PublishError::Memory(error) = error {
                        return Err(error);
                    }
                }
            }
        }
        self.set_anchor(child, Some(under.node));
        Ok(true)
    }

    /// Looks at the lists of the next `count` nodes for edges to closed nodes, and replaces them (D4). Raises the
    /// entry point to taller nodes that it meets.
    fn sweep<S: Space>(&self, count: u32, space: &S, scratch: &mut Scratch, guard: &Guard) {
        let bound = self.node_bound() as NodeId;
        // Only the maintainer moves the cursor.
        let cursor = self.slots.cursor.load(crate::sync::Ordering::Relaxed);
        let mut next = cursor;
        for _ in 0..count.min(bound) {
            if self.slots.waiting() == 0 {
                break;
            }
            next = if next >= bound { 0 } else { next };
            self.sweep_node(next, space, scratch, guard);
            next += 1;
        }
        self.slots.cursor.store(next, crate::sync::Ordering::Relaxed);
    }

    fn sweep_node<S: Space>(&self, node: NodeId, space: &S, scratch: &mut Scratch, guard: &Guard) {
        let state = self.slots.state(node);
        // An inserter has its node to itself (I5); a ripe one's lists are done with.
        if state & LINKED == 0 || self.slots.is_ripe(node) {
            return;
        }
        let level = self.level_of(node);
        for level in 0..=level {
            if state & CLOSED != 0 {
                self.tidy_closed(node, level, space, scratch, guard);
                continue;
            }
            let is_closed = |&&word: &&u32| !is_anchored(word) && self.slots.is_closed(node_of(word));
            // Those of the list as it is now; each is looked for again in the list as it is then.
            for &gone in self.words_of(node, level, guard).iter().filter(is_closed) {
                let mut around = std::mem::take(&mut scratch.link.around);
                self.look_around(node_of(gone), level, &mut around, guard);
                // Out of memory, the edge waits for the next turn.
                _ = self.replace_edge((node, None), level, node_of(gone), &mut around, space, scratch, guard);
                scratch.link.around = around;
            }
        }
        if state & (TOMBSTONE | PENDING) == 0
            && let Some(entry) = self.entry.load()
            && entry.level < level
        {
            _ = self.enter(Some(entry), Entry { node, level });
        }
    }

    /// Drops edges to closed nodes from the list of a node that was taken out, but for its heir, in whose place
    /// goes the heir's heir if the heir is closed (D5).
    fn tidy_closed<S: Space>(
        &self,
        node: NodeId,
        level: u8,
        space: &S,
        scratch: &mut Scratch,
        guard: &Guard,
    ) {
        let Some(old) = self.list(node, level, guard).filter(|old| old.is_frozen()) else { return };
        let words = old.words();
        if !words.iter().any(|&word| self.slots.is_closed(node_of(word))) {
            return;
        }
        let mut heir = (level == 0).then(|| self.anchor_of(node)).flatten();
        while let Some(closed) = heir.filter(|&heir| self.slots.is_closed(heir)) {
            heir = self.anchor_of(closed);
        }
        let next = &mut scratch.words;
        next.clear();
        next.extend(words.iter().copied().filter(|&word| !self.slots.is_closed(node_of(word))));
        if let Some(heir) = heir.filter(|&heir| !names(next, heir)) {
            next.truncate(self.config.limit(level) - 1);
            // Open, and only this thread closes nodes.
            self.slots.hold(heir);
            next.push(heir);
        }
        let replaced = self.replace((node, level), Some(old), next, space, Power::Maintainer, guard);
        if replaced.is_ok() {
            self.release_dropped(words, next);
            if level == 0 {
                self.set_anchor(node, heir);
            }
        } else {
            self.release_dropped(next, words);
        }
    }

    /// Retires every node that nothing leads to any more (D6).
    fn retire_ripe(&self, guard: &Guard) {
        while let Some(node) = self.slots.pop(&self.slots.ripe) {
            for level in 0..=self.level_of(node) {
                for &word in self.words_of(node, level, guard) {
                    // May make the next one ripe.
                    self.slots.release(node_of(word));
                }
            }
            self.slots.count_retired();
            reclaim::retire_slot(&self.slots, node, guard);
        }
    }

    /// Finishes what removals left to be done: afterwards no list names a removed node. For a graph that nobody
    /// else writes to, before it is saved or measured; beside writers it does what it can.
    ///
    /// # Errors
    /// [`MemoryError`] when there was no memory for it.
    pub fn settle<S: Space>(&self, space: &S, scratch: &mut Scratch) -> Result<(), MemoryError> {
        self.maintain(space, scratch);
        // Two turns: the first frees what only removed nodes name.
        for _ in 0..3 {
            if self.slots.changes().is_none() || !self.slots.become_maintainer() {
                break;
            }
            let office = Office(self);
            self.work_off(space, scratch);
            let mut left = self.node_bound() as u32;
            while left > 0 && self.slots.waiting() > 0 {
                let guard = crossbeam_epoch::pin();
                let part = left.min(1024);
                self.sweep(part, space, scratch, &guard);
                self.retire_ripe(&guard);
                left -= part;
                guard.flush();
            }
            drop(office);
        }
        match self.slots.stalled.is_empty() {
            true => Ok(()),
            false => Err(MemoryError { asked: 0, capacity: 0 }),
        }
    }
}

/// Being the maintainer; ends with the value.
struct Office<'g>(&'g Graph);

impl Drop for Office<'_> {
    fn drop(&mut self) {
        self.0.slots.step_down();
    }
}
