//! Linking a new node: search, select, publish, link back.
//!
//! * **I1** The lists of a node are published on all its levels before any edge leads to it, so a search
//!   that arrives at it can go on.
//! * **I2** An edge is added by replacing the whole list of the node it leaves; a lost swap is tried again
//!   on the newer list.
//! * **I3** A list never holds more than M (level 0: M0) neighbors, no node twice, not the node itself.
//! * **I4** When `insert` returns, the node can be reached from every other (see [`anchor`](crate::anchor)).
//!
//! Cost: one beam search per level of the node, and one replaced list per neighbor.

use crossbeam_epoch::Guard;

use crate::config::{MAX_LEVEL, MAX_NODE};
use crate::entry::Entry;
use crate::graph::Graph;
use crate::lists::{ANCHORED, PublishError, is_anchored, node_of};
use crate::memory::MemoryError;
use crate::reclaim;
use crate::scorer::{Scorer, Space};
use crate::scratch::Scratch;
use crate::select::{Candidate, fill_up, order, select};
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
        if node > MAX_NODE {
            return Err(InsertError::NodeId { node });
        }
        assert_eq!(
            space.payload_bytes(),
            self.config.payload_bytes(),
            "the payload that the graph has room for"
        );
        self.ensure_node(node)?;
        let guard = crossbeam_epoch::pin();
        if self.list(node, 0, &guard).is_some() {
            return Err(InsertError::Present { node });
        }
        let level = level.min(MAX_LEVEL);
        self.claim_tower(node, level)?;
        match self.link(node, level, space, scratch, &guard) {
            Ok(()) => {
                self.count_inserted();
                reclaim::collect(&mut scratch.inserts, &guard);
                Ok(())
            }
            Err(error) => {
                // Nothing leads to the node yet: publishing under an anchor is the last step that fails.
                for level in (0..=level).rev() {
                    self.withdraw(node, level, &guard);
                }
                Err(error.into())
            }
        }
    }

    fn link<S: Space>(
        &self,
        node: NodeId,
        level: u8,
        space: &S,
        scratch: &mut Scratch,
        guard: &Guard,
    ) -> Result<(), MemoryError> {
        let mine = Entry { node, level };
        let entry = match self.entry.load() {
            Some(entry) => entry,
            None => {
                // Perhaps the first node of all: its empty lists come before it is the entry point (E2).
                for level in 0..=level {
                    self.publish_empty(node, level, space, guard)?;
                }
                match self.entry.set_first(mine) {
                    Ok(()) => return Ok(()),
                    Err(first) => first,
                }
            }
        };
        self.link_from(entry, mine, space, scratch, guard)?;
        // Become the entry point if taller. Where another tall node was faster, link on the levels that it
        // brought and try again above it.
        let mut linked = entry;
        while linked.level < level {
            match self.entry.replace(linked, mine) {
                Ok(()) => break,
                Err(taller) => {
                    self.link_upper(taller, mine, linked.level + 1, space, scratch, guard);
                    linked = taller;
                }
            }
        }
        Ok(())
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
    ) -> Result<(), MemoryError> {
        let node = mine.node;
        let top = mine.level.min(entry.level);
        self.choose(entry, mine, top, 0, space, scratch, guard);
        for level in 1..=mine.level {
            if level <= top {
                self.publish_chosen(node, level, space, scratch, guard)?;
            } else {
                self.publish_empty(node, level, space, guard)?;
            }
        }
        self.publish_anchored(node, space, scratch, guard)?;
        for level in 0..=top {
            self.link_back(node, level, space, scratch, guard);
        }
        Ok(())
    }

    /// Links a visible node on the levels from `from` up that a taller entry point brought. These links
    /// only improve the way down, so running out of memory here is no failure.
    fn link_upper<S: Space>(
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
    fn choose<S: Space>(
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
        let mut start = self.descend((entry.node, entry.level), top, &scorer, &mut scratch.batch, guard);
        let Scratch { beam, visited, batch, link, .. } = scratch;
        link.chosen.resize_with(link.chosen.len().max(top as usize + 1), Vec::new);
        for level in (bottom..=top).rev() {
            self.search_level(
                start,
                level,
                self.config.ef_construction(),
                &scorer,
                beam,
                visited,
                batch,
                guard,
            );
            link.candidates.clear();
            // The node itself may be met when it is visible already (`link_upper`).
            link.candidates.extend(
                beam.iter().filter(|&(_, found)| found != mine.node).map(|(distance, found)| Candidate {
                    distance,
                    node: found,
                    anchored: false,
                }),
            );
            // M, not M0, on level 0 too: the other half of the list is for nodes that come later
            // (Malkov and Yashunin 2018, section 4.1).
            let limit = self.config.m();
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

    /// Publishes the chosen neighbors of a node that nobody can see yet.
    fn publish_chosen<S: Space>(
        &self,
        node: NodeId,
        level: u8,
        space: &S,
        scratch: &mut Scratch,
        guard: &Guard,
    ) -> Result<(), MemoryError> {
        let Scratch { words, link, .. } = scratch;
        words.clear();
        words.extend(link.chosen[level as usize].iter().map(|candidate| candidate.node));
        self.publish_first(node, level, words, space, guard)
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
    /// is full. Returns whether the edge is in: an anchored one always is, unless `from` already has as
    /// many as it may (A2); others may be pruned at once.
    pub(crate) fn add_edge<S: Space>(
        &self,
        from: NodeId,
        level: u8,
        (distance, word): (f32, u32),
        space: &S,
        scratch: &mut Scratch,
        guard: &Guard,
    ) -> Result<bool, MemoryError> {
        let limit = self.config.limit(level);
        let (node, anchored) = (node_of(word), is_anchored(word));
        loop {
            let Some(old) = self.list(from, level, guard) else {
                // A node without this level: only a saved graph that was tampered with leads here.
                return Ok(false);
            };
            let words = old.words();
            if words.iter().any(|&other| node_of(other) == node) {
                return Ok(true);
            }
            if anchored
                && words.iter().filter(|&&word| is_anchored(word)).count() >= self.config.anchor_limit()
            {
                return Ok(false);
            }
            let Scratch { batch, link, words: next, .. } = &mut *scratch;
            next.clear();
            let mut is_in = true;
            if words.len() < limit {
                next.extend_from_slice(words);
                next.push(word);
            } else {
                batch.ensure(limit);
                batch.ids.iter_mut().zip(words).for_each(|(id, &word)| *id = node_of(word));
                let distances = &mut batch.distances[..words.len()];
                space.scorer(from).score_batch(&batch.ids[..words.len()], distances);
                link.candidates.clear();
                link.candidates.extend(words.iter().zip(distances).map(|(&word, &mut distance)| Candidate {
                    distance,
                    node: node_of(word),
                    anchored: is_anchored(word),
                }));
                link.candidates.push(Candidate { distance, node, anchored });
                link.candidates.sort_unstable_by(order);
                select(space, &link.candidates, limit, &mut link.selected, &mut link.pruned, batch);
                is_in = link.selected.iter().any(|candidate| candidate.node == node);
                next.extend(
                    link.selected
                        .iter()
                        .map(|candidate| candidate.node | if candidate.anchored { ANCHORED } else { 0 }),
                );
            }
            match self.replace((from, level), Some(old), next, space, guard) {
                Ok(()) => return Ok(is_in),
                Err(PublishError::Lost) => {}
                Err(PublishError::Memory(error)) => return Err(error),
            }
        }
    }
}
