//! Greedy descent through the upper levels and the beam search on one level.
//!
//! The loop is split: first collect the neighbors not met before, then score them as one batch, then
//! offer what is near enough to the beam. The batch is what lets a scorer hide memory latency; the list
//! of the next node to expand is asked for before the current one is scored.
//!
//! * **S1** Runs under one pin; every list it reads stays whole until the pin is released.
//! * **S2** For a frozen graph the result depends on the arguments alone.
//!
//! Cost: hops x (one block + one batch). No allocation once the scratch is warm, nothing proportional
//! to the number of nodes.

use crossbeam_epoch::Guard;

use crate::admit::{Admit, Everything, Living};
use crate::beam::Beam;
use crate::graph::Graph;
use crate::lists::{EMPTY, node_of};
use crate::scratch::{Batch, Scratch};
use crate::slots::Changes;
use crate::visited::{Met, Visited};
use crate::{Neighbor, NodeId, Pin, Scorer};

impl Graph {
    /// Walks from the entry point to the nearest node it can find on the levels above `level`, one
    /// greedy step at a time. Returns a place to start from on `level`.
    pub(crate) fn descend<S: Scorer>(
        &self,
        from: (NodeId, u8),
        level: u8,
        scorer: &S,
        batch: &mut Batch,
        guard: &Guard,
    ) -> NodeId {
        let (mut node, top) = from;
        if top <= level {
            return node;
        }
        let mut distance = scorer.score(node);
        for current in ((level + 1)..=top).rev() {
            loop {
                let words = self.words(node, current, guard);
                batch.ensure(words.len());
                let mut count = 0;
                for &word in words {
                    if word == EMPTY {
                        break;
                    }
                    batch.ids[count] = node_of(word);
                    count += 1;
                }
                let distances = &mut batch.distances[..count];
                scorer.score_batch(&batch.ids[..count], distances);
                let mut nearer = None;
                for (&id, &other) in batch.ids.iter().zip(distances.iter()) {
                    if other < distance {
                        distance = other;
                        nearer = Some(id);
                    }
                }
                match nearer {
                    Some(id) => node = id,
                    None => break,
                }
            }
        }
        node
    }

    /// The node of level 0 that the upper levels lead to, one greedy step at a time; none for an empty graph. It may have been
    /// removed already.
    pub fn led_to<S: Scorer>(&self, scorer: &S, scratch: &mut Scratch, pin: &Pin) -> Option<NodeId> {
        let entry = self.entry.load()?;
        Some(self.descend((entry.node, entry.level), 0, scorer, &mut scratch.batch, &pin.0))
    }

    /// Fills `beam` with the `ef` nodes of `level` nearest to the scorer's point that a best-first
    /// search from `start` meets and `admit` admits, and with the nearer ones that it does not.
    #[allow(clippy::too_many_arguments)]
    pub(crate) fn search_level<S: Scorer, A: Admit>(
        &self,
        start: NodeId,
        level: u8,
        ef: usize,
        scorer: &S,
        beam: &mut Beam,
        visited: &mut Visited,
        batch: &mut Batch,
        admit: &A,
        guard: &Guard,
    ) {
        let routing_limit = admit.routing_limit(ef);
        beam.reset(ef);
        visited.reset(ef);
        batch.ensure(self.config.limit(level).next_multiple_of(16));
        visited.insert(start);
        beam.offer_to(admit, routing_limit, scorer.score(start), start);
        while let Some(node) = beam.expand_next() {
            let words = self.words(node, level, guard);
            if let Some(next) = beam.peek_next() {
                self.prefetch_list(next, level);
            }
            let mut count = 0;
            let ids = &mut batch.ids[..words.len()];
            let unsure = &mut batch.unsure[..words.len()];
            for &word in words {
                if word == EMPTY {
                    break;
                }
                let id = node_of(word);
                // Written in any case and counted if new: whether it is cannot be predicted. There is
                // room, as no more ids are counted than words were read.
                ids[count] = id;
                let met = visited.insert(id);
                unsure[count] = met == Met::Unsure;
                count += usize::from(met != Met::Known);
            }
            let distances = &mut batch.distances[..count];
            scorer.score_near(&batch.ids[..count], beam.bound(), distances);
            for ((&id, &distance), &unsure) in batch.ids.iter().zip(distances.iter()).zip(&batch.unsure) {
                if beam.takes(distance) && !(unsure && beam.contains(id)) {
                    beam.offer_to(admit, routing_limit, distance, id);
                }
            }
        }
    }

    /// The `ef` nodes nearest to the scorer's point that the search finds, nearest first, equal
    /// distances by id. Empty for an empty graph; fewer than `ef` when the graph holds fewer.
    ///
    /// A node that is removed before the search ends is not in. Of the two nodes of an [`update`](Self::update) a search
    /// that meets one of them returns exactly one.
    ///
    /// `ef = 0` counts as 1. The result lives in `scratch` until its next use.
    pub fn search<'s, S: Scorer>(
        &self,
        scorer: &S,
        ef: usize,
        scratch: &'s mut Scratch,
    ) -> &'s [crate::Neighbor] {
        let guard = crossbeam_epoch::pin();
        // Before anything is met: what is hidden from here on is told by the comparison below (C5).
        let changes = self.slots.changes();
        if changes.is_none() {
            self.fill_beam(scorer, ef, &Everything, scratch, &guard);
        } else {
            self.fill_beam(scorer, ef, &Living(&self.slots), scratch, &guard);
        }
        self.take_found(changes, |node| Some(scorer.score(node)), scratch);
        scratch.found.truncate(ef.max(1));
        &scratch.found
    }

    /// Moves what the beam holds to `scratch.found`, nearest first, without what is hidden; `changes` is from before
    /// the search. `score` gives the distance of a node that took the place of one that was found, if it may be in.
    pub(crate) fn take_found(
        &self,
        changes: Changes,
        score: impl Fn(NodeId) -> Option<f32>,
        scratch: &mut Scratch,
    ) {
        let Scratch { beam, found, states, .. } = scratch;
        found.clear();
        found.extend(beam.iter().map(|(distance, node)| Neighbor { node, distance }));
        let now = self.slots.changes();
        if !changes.is_none() || now != changes {
            self.slots.keep_visible(found, states, now.since(changes), |node| beam.met_removed(node), score);
        }
    }

    /// Empties `scratch.found` and leaves what a search from the entry point meets in `scratch.beam`.
    pub(crate) fn fill_beam<S: Scorer, A: Admit>(
        &self,
        scorer: &S,
        ef: usize,
        admit: &A,
        scratch: &mut Scratch,
        guard: &Guard,
    ) {
        let Scratch { beam, visited, batch, found, .. } = scratch;
        found.clear();
        beam.reset(ef);
        let Some(entry) = self.entry.load() else { return };
        let start = self.descend((entry.node, entry.level), 0, scorer, batch, guard);
        self.search_level(start, 0, ef, scorer, beam, visited, batch, admit, guard);
    }
}
