//! Linking a new node: search, select, publish, link back.
//!
//! * **I1** The lists of a node are published on all its levels before any edge leads to it, so a search
//!   that arrives at it can go on.
//! * **I2** An edge is added by replacing the whole list of the node it leaves; a lost swap is tried again
//!   on the newer list. The node that it leads to is counted before (C1).
//! * **I3** A list never holds more than M (level 0: M0) neighbors, no node twice, not the node itself.
//! * **I4** When `insert` returns, the node can be reached from every other (see [`anchor`](crate::anchor)).
//! * **I5** A node is taken out only after its insert is done: who removes it earlier leaves that to the inserter. So
//!   an inserter has its node to itself, and meets removals only at the nodes that it links to. One of them
//!   that was closed is left out; when none is left, the insert starts again from the entry point of then:
//!   each start was spoiled by a removal that went on.
//!
//! Cost: one beam search per level of the node, and one replaced list per neighbor.

use crossbeam_epoch::Guard;

use crate::admit::{Admit, Everything, Linkable};
use crate::config::{MAX_LEVEL, MAX_NODE};
use crate::entry::Entry;
use crate::graph::Graph;
use crate::lists::{Power, PublishError, is_anchored, names, node_of};
use crate::memory::MemoryError;
use crate::reclaim;
use crate::scorer::{Scorer, Space};
use crate::scratch::{Batch, LinkScratch, Scratch};
use crate::select::{Candidate, fill_up, order, select};
use crate::slots::{LINKED, PENDING, TOMBSTONE};
use crate::visited::{Met, Visited};
use crate::{InsertError, NodeId};

impl Graph {
    /// Links `node`, whose vector `space` already knows, into the graph on the levels `0..=level`.
    ///
    /// Any number of threads may insert different nodes at once, beside any number of searches.
    /// `level` comes from [`LevelDraw`](crate::LevelDraw) and is cut at 15.
    ///
    /// # Errors
    /// [`InsertError::NodeId`] for an id above 2^31 - 2, [`InsertError::Present`] for a node that is in
    /// already, [`InsertError::Memory`] when a table cannot grow. The node is then not in the graph, and
    /// the graph is as whole as before.
    ///
    /// # Panics
    /// If `space` fills another payload than the graph was configured for.
    pub fn insert<S: Space>(
        &self,
        node: NodeId,
        level: u8,
        space: &S,
        scratch: &mut Scratch,
    ) -> Result<(), InsertError> {
        let guard = crossbeam_epoch::pin();
        self.place(node, level, None, space, scratch, &guard)?;
        reclaim::collect(&mut scratch.writes, &guard);
        drop(guard);
        self.help(space, scratch);
        Ok(())
    }

    /// Inserts a node, pending for `partner` if there is one (U1).
    pub(crate) fn place<S: Space>(
        &self,
        node: NodeId,
        level: u8,
        partner: Option<NodeId>,
        space: &S,
        scratch: &mut Scratch,
        guard: &Guard,
    ) -> Result<(), InsertError> {
        if node > MAX_NODE {
            return Err(InsertError::NodeId { node });
        }
        assert_eq!(
            space.payload_bytes(),
            self.config.payload_bytes(),
            "the payload that the graph has room for"
        );
        self.ensure_node(node)?;
        if !self.slots.claim(node, if partner.is_some() { PENDING } else { 0 }) {
            return Err(InsertError::Present { node });
        }
        if let Some(partner) = partner {
            self.slots.set_partner(node, partner);
        }
        let level = level.min(MAX_LEVEL);
        let linked = self.claim_tower(node, level).and_then(|()| {
            self.set_anchor(node, None);
            Ok(self.link(Entry { node, level }, space, scratch, guard)?)
        });
        if linked.is_ok() {
            self.count_live();
            if self.slots.mark(node, LINKED) & TOMBSTONE != 0 {
                // Removed meanwhile; from now on the maintainer may have it (I5).
                self.slots.push(&self.slots.pending, node);
            }
        } else {
            // Nothing leads to the node yet: publishing under an anchor is the last step that fails.
            for level in (0..=self.level_of(node)).rev() {
                self.withdraw(node, level, guard);
            }
            self.unclaim_tower(node);
            if self.slots.unclaim(node) & TOMBSTONE != 0 {
                self.count_live();
                self.slots.end_change();
            }
        }
        linked
    }

    fn link<S: Space>(
        &self,
        mine: Entry,
        space: &S,
        scratch: &mut Scratch,
        guard: &Guard,
    ) -> Result<(), MemoryError> {
        loop {
            let entry = self.entry.load();
            let linked = match entry {
                Some(entry) => self.link_from(entry, mine, space, scratch, guard)?,
                None => Linked::Alone,
            };
            match (linked, entry) {
                (Linked::Done, Some(entry)) => {
                    self.raise(entry, mine, space, scratch, guard);
                    return Ok(());
                }
                (Linked::Alone, entry) => {
                    if self.become_root(entry, mine, space, scratch, guard)? {
                        return Ok(());
                    }
                }
                (Linked::Restart, _) | (Linked::Done, None) => {}
            }
        }
    }

    /// Makes the first node of all, or the only one left, the entry point: its empty lists come before (E2).
    /// False when something else happened to the entry point meanwhile.
    fn become_root<S: Space>(
        &self,
        entry: Option<Entry>,
        mine: Entry,
        space: &S,
        scratch: &mut Scratch,
        guard: &Guard,
    ) -> Result<bool, MemoryError> {
        for level in 0..=mine.level {
            scratch.words.clear();
            self.publish_own(mine.node, level, &mut scratch.words, space, guard)?;
        }
        self.set_anchor(mine.node, None);
        Ok(self.enter(entry, mine).is_ok())
    }

    /// Makes `mine`, a node with an edge to spare, the entry point in place of `current` (E3).
    pub(crate) fn enter(&self, current: Option<Entry>, mine: Entry) -> Result<(), Option<Entry>> {
        if !self.slots.acquire(mine.node) {
            return Err(self.entry.load());
        }
        let swapped = self.entry.swap(current, Some(mine));
        match (&swapped, current) {
            (Ok(()), Some(before)) => self.slots.release(before.node),
            (Ok(()), None) => {}
            (Err(_), _) => self.slots.release(mine.node),
        }
        swapped
    }

    /// Makes a linked node the entry point if it is taller. Where another tall node was faster, it is linked on the
    /// levels that this one brought, and tried again above it; where the entry point fell, from there.
    fn raise<S: Space>(&self, entry: Entry, mine: Entry, space: &S, scratch: &mut Scratch, guard: &Guard) {
        let (mut current, mut linked) = (Some(entry), entry.level);
        while current.is_none_or(|current| current.level < mine.level) {
            match self.enter(current, mine) {
                Ok(()) => return,
                Err(other) => {
                    if let Some(taller) = other.filter(|other| other.level > linked) {
                        self.link_upper(taller, mine, linked + 1, space, scratch, guard);
                        linked = taller.level;
                    }
                    current = other;
                }
            }
        }
    }

    /// Searches, selects, publishes and links back on all levels that both the entry point and the node
    /// have.
    fn link_from<S: Space>(
        &self,
        entry: Entry,
        mine: Entry,
        space: &S,
        scratch: &mut Scratch,
        guard: &Guard,
    ) -> Result<Linked, MemoryError> {
        let node = mine.node;
        let top = mine.level.min(entry.level);
        self.choose(entry, mine, top, 0, space, scratch, guard);
        if scratch.link.chosen[0].is_empty() {
            // Only removed nodes were met. Those that are not closed yet will do: they still are in the tree.
            let Some(open) = self.open_near(entry.node, guard) else { return Ok(Linked::Alone) };
            let distance = space.scorer(node).score(open);
            scratch.link.chosen[0].push(Candidate { distance, node: open, anchored: false });
        }
        for level in 1..=mine.level {
            let Scratch { words, link, .. } = &mut *scratch;
            words.clear();
            if level <= top {
                words.extend(link.chosen[level as usize].iter().map(|candidate| candidate.node));
            }
            self.publish_own(node, level, words, space, guard)?;
        }
        if !self.publish_anchored(node, space, scratch, guard)? {
            return Ok(Linked::Restart);
        }
        for level in 0..=top {
            self.link_back(node, level, space, scratch, guard);
        }
        Ok(Linked::Done)
    }

    /// Links a visible node on the levels from `from` up: those that a taller entry point brought, or all of them once
    /// more. These links only improve the ways, so running out of memory here is no failure.
    pub(crate) fn link_upper<S: Space>(
        &self,
        entry: Entry,
        mine: Entry,
        from: u8,
        space: &S,
        scratch: &mut Scratch,
        guard: &Guard,
    ) {
        let top = mine.level.min(entry.level);
        if top < from {
            return;
        }
        self.choose(entry, mine, top, from, space, scratch, guard);
        for level in from..=top {
            let chosen = std::mem::take(&mut scratch.link.chosen[level as usize]);
            for candidate in &chosen {
                let edge = (candidate.distance, candidate.node);
                if self.add_edge(mine.node, level, edge, space, scratch, guard).is_err() {
                    return;
                }
            }
            scratch.link.chosen[level as usize] = chosen;
            self.link_back(mine.node, level, space, scratch, guard);
        }
    }

    /// Selects the neighbors of `mine` on the levels `bottom..=top` into `scratch.link.chosen`.
    #[allow(clippy::too_many_arguments)]
    pub(crate) fn choose<S: Space>(
        &self,
        entry: Entry,
        mine: Entry,
        top: u8,
        bottom: u8,
        space: &S,
        scratch: &mut Scratch,
        guard: &Guard,
    ) {
        let scorer = space.scorer(mine.node);
        let is_led = top == 0 && !scratch.link.seeds.is_empty();
        let mut start = if is_led {
            entry.node
        } else {
            self.descend((entry.node, entry.level), top, &scorer, &mut scratch.batch, guard)
        };
        let Scratch { beam, visited, batch, link, .. } = scratch;
        link.chosen.resize_with(link.chosen.len().max(top as usize + 1), Vec::new);
        let living = Linkable(&self.slots);
        for level in (bottom..=top).rev() {
            let mut ef = self.config.ef_construction();
            if level == 0
                && let Some(seed) = self.nearest_seed(&scorer, link, batch)
            {
                (start, ef) = (seed, link.seed_ef);
            }
            let all = self.slots.changes().is_none();
            if all {
                self.search_level(start, level, ef, &scorer, beam, visited, batch, &Everything, guard);
            } else {
                self.search_level(start, level, ef, &scorer, beam, visited, batch, &living, guard);
            }
            link.candidates.clear();
            // The node itself may be met when it is visible already (`link_upper`).
            let others = beam.iter().filter(|&(_, found)| found != mine.node);
            link.candidates.extend(
                others.filter(|&(_, found)| all || living.admits(found)).map(|(distance, found)| Candidate {
                    distance,
                    node: found,
                    anchored: false,
                }),
            );
            if self.config.extend_candidates() {
                self.extend_candidates(mine.node, level, &scorer, visited, batch, link, guard);
            }
            let limit = self.config.own_limit(level, self.slots.generation(mine.node) > 0);
            let chosen = &mut link.chosen[level as usize];
            select(space, &link.candidates, limit, chosen, &mut link.pruned, batch);
            if self.config.keep_pruned() {
                fill_up(chosen, &link.pruned, limit);
            }
            if let Some((_, best)) = beam.best() {
                start = best;
            }
        }
    }

    /// Adds the neighbors of all candidates to them, in order.
    #[allow(clippy::too_many_arguments)]
    fn extend_candidates<S: Scorer>(
        &self,
        node: NodeId,
        level: u8,
        scorer: &S,
        visited: &mut Visited,
        batch: &mut Batch,
        link: &mut LinkScratch,
        guard: &Guard,
    ) {
        let living = Linkable(&self.slots);
        let known = link.candidates.len();
        visited.reset(known.max(1));
        link.candidates.iter().for_each(|candidate| _ = visited.insert(candidate.node));
        for place in 0..known {
            let words =
                self.list(link.candidates[place].node, level, guard).map_or(&[][..], |list| list.words());
            batch.ensure(words.len());
            let mut count = 0;
            for id in words.iter().map(|&word| node_of(word)) {
                let is_new = match visited.insert(id) {
                    Met::Known => false,
                    Met::New => true,
                    Met::Unsure => link.candidates.iter().all(|candidate| candidate.node != id),
                };
                batch.ids[count] = id;
                count += usize::from(is_new && id != node && living.admits(id));
            }
            scorer.score_batch(&batch.ids[..count], &mut batch.distances[..count]);
            link.candidates.extend(
                batch.ids.iter().zip(&batch.distances).take(count).map(|(&node, &distance)| Candidate {
                    distance,
                    node,
                    anchored: false,
                }),
            );
        }
        link.candidates.sort_unstable_by(order);
    }

    /// A node to hang new ones under, near to one that may be closed: itself, a neighbor of it, or one of those that it was
    /// hung under; none when nothing but closed nodes is left.
    fn open_near(&self, from: NodeId, guard: &Guard) -> Option<NodeId> {
        let mut node = from;
        loop {
            if !self.slots.is_closed(node) {
                return Some(node);
            }
            // As the maintainer does, in case he has not come to it yet: after it the list is final.
            self.freeze(node);
            let words = self.list(node, 0, guard).map_or(&[][..], |list| list.words());
            let open = words.iter().map(|&word| node_of(word)).find(|&near| !self.slots.is_closed(near));
            if open.is_some() {
                return open;
            }
            // Each was closed after those that name it as theirs, so this ends (see `remove`, D5).
            node = self.anchor_of(node)?;
        }
    }

    /// Adds the edges from the chosen neighbors back to `node`. An edge that finds no memory is left out:
    /// the node is reachable through its anchor.
    fn link_back<S: Space>(&self, node: NodeId, level: u8, space: &S, scratch: &mut Scratch, guard: &Guard) {
        let chosen = std::mem::take(&mut scratch.link.chosen[level as usize]);
        for candidate in &chosen {
            let edge = (candidate.distance, node);
            if self.add_edge(candidate.node, level, edge, space, scratch, guard).is_err() {
                break;
            }
        }
        scratch.link.chosen[level as usize] = chosen;
    }

    /// Adds the edge `from -> word` of length `distance` to the list of `from`, pruning the list when it
    /// is full. An anchored one is in unless `from` already has as many as it may (A2); others may be pruned
    /// at once.
    pub(crate) fn add_edge<S: Space>(
        &self,
        from: NodeId,
        level: u8,
        (distance, word): (f32, u32),
        space: &S,
        scratch: &mut Scratch,
        guard: &Guard,
    ) -> Result<Added, MemoryError> {
        let limit = self.config.limit(level);
        let (node, anchored) = (node_of(word), is_anchored(word));
        loop {
            let Some(old) = self.list(from, level, guard).filter(|old| !old.is_frozen()) else {
                // Removed, or a node without this level: only a saved graph that was tampered with leads there.
                return Ok(Added::Closed);
            };
            let words = old.words();
            let present = words.iter().find(|&&other| node_of(other) == node);
            if present.is_some_and(|&present| !anchored || is_anchored(present)) {
                return Ok(Added::In);
            }
            if anchored
                && words.iter().filter(|&&word| is_anchored(word)).count() >= self.config.anchor_limit()
            {
                return Ok(Added::Full);
            }
            let Scratch { batch, link, words: next, .. } = &mut *scratch;
            next.clear();
            let mut is_in = true;
            if present.is_some() {
                next.extend(words.iter().map(|&other| if node_of(other) == node { word } else { other }));
            } else {
                // Edges to closed nodes go; the tree's wait for the maintainer (A3).
                let closed = self.slots.waiting() > 0;
                let is_kept =
                    |&word: &u32| !closed || is_anchored(word) || !self.slots.is_closed(node_of(word));
                if words.len() < limit {
                    next.extend_from_slice(words);
                } else {
                    next.extend(words.iter().copied().filter(is_kept));
                }
                next.push(word);
                if next.len() > limit {
                    let extra = Candidate { distance, node, anchored };
                    self.reselect(from, &next[..next.len() - 1], Some(extra), limit, space, batch, link);
                    is_in = link.selected.iter().any(|candidate| candidate.node == node);
                    next.clear();
                    next.extend(link.selected.iter().map(Candidate::word));
                }
            }
            let counted = present.is_none() && is_in;
            if counted && !self.slots.acquire(node) {
                return Ok(Added::Closed);
            }
            let replaced = self.replace((from, level), Some(old), next, space, Power::Writer, guard);
            if replaced.is_ok() {
                if next.len() <= words.len() {
                    self.release_dropped(words, next);
                }
                return Ok(if is_in { Added::In } else { Added::Pruned });
            }
            if counted {
                self.slots.release(node);
            }
            match replaced {
                Err(PublishError::Memory(error)) => return Err(error),
                Err(PublishError::Lost | PublishError::Frozen) | Ok(()) => {}
            }
        }
    }

    /// Gives back the counts of the nodes that a list named and its successor does not (C1).
    pub(crate) fn release_dropped(&self, before: &[u32], after: &[u32]) {
        before
            .iter()
            .map(|&word| node_of(word))
            .filter(|&dropped| !names(after, dropped))
            .for_each(|dropped| self.slots.release(dropped));
    }

    /// Selects from what `words` name and `extra` at most `limit` neighbors of `from`, into `link.selected`.
    #[allow(clippy::too_many_arguments)]
    pub(crate) fn reselect<S: Space>(
        &self,
        from: NodeId,
        words: &[u32],
        extra: impl IntoIterator<Item = Candidate>,
        limit: usize,
        space: &S,
        batch: &mut Batch,
        link: &mut LinkScratch,
    ) {
        batch.ensure(words.len().max(limit));
        batch.ids.iter_mut().zip(words).for_each(|(id, &word)| *id = node_of(word));
        let distances = &mut batch.distances[..words.len()];
        space.scorer(from).score_batch(&batch.ids[..words.len()], distances);
        link.candidates.clear();
        link.candidates.extend(words.iter().zip(distances).map(|(&word, &mut distance)| Candidate {
            distance,
            node: node_of(word),
            anchored: is_anchored(word),
        }));
        link.candidates.extend(extra);
        link.candidates.sort_unstable_by(order);
        select(space, &link.candidates, limit, &mut link.selected, &mut link.pruned, batch);
        if self.config.keep_pruned() {
            fill_up(&mut link.selected, &link.pruned, limit);
        }
    }
}

/// How an insert's linking ended.
enum Linked {
    /// The node is in.
    Done,
    /// Nothing is left that could hold it: it is to be the root of a new tree.
    Alone,
    /// All that were to hold it were removed meanwhile.
    Restart,
}

/// What became of an edge.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Added {
    /// It is there, now or before.
    In,
    /// The selection heuristic turned it down.
    Pruned,
    /// Its node has as many anchored edges as it may (A2).
    Full,
    /// One of the two nodes is being removed.
    Closed,
}
