//! Better lists for a graph that stands: every node chooses again, now that all the others are there.
//!
//! Lists written while the graph grew name what was there then, and hold two thirds of what they may. A search
//! that reads blocks pays for all places of a list whether they are filled or not, so for it lists are made full:
//! what the selection heuristic turned down fills the places that it left, nearest first.
//!
//! * **F1** Anchored edges are kept, so every node is reached as before (A1).
//! * **F2** A list names live nodes alone, none twice, not its own node, and at most M0.
//! * **F3** The lists depend on graph and space, not on how the work is shared out.
//!
//! Cost: what gathers candidates and two selections per node.

use std::ops::Range;
use std::sync::{Mutex, PoisonError};

use crate::admit::Linkable;
use crate::graph::Graph;
use crate::lists::{EMPTY, is_anchored, node_of};
use crate::memory::GraphMemory;
use crate::scratch::Scratch;
use crate::select::{Candidate, fill_up, order, select};
use crate::{GraphConfig, InsertError, NodeId, Scorer, Space};

/// Runs work over `0..count` in ranges that do not overlap, on as many threads as it likes.
pub type RunRanges<'a> = &'a dyn Fn(usize, &(dyn Fn(Range<usize>) + Sync));

impl Graph {
    /// Full lists of level 0, `[node_bound × M0]` words, empty places `u32::MAX`: for [`relisted`](Self::relisted). Each node
    /// chooses among what `near(graph, node, memory, out)` puts into `out`, then among those it chose and that chose it.
    ///
    /// `memory` is reused from node to node. Borrowed mutably, so nobody writes meanwhile.
    pub fn refined_lists<S: Space, T: Default>(
        &mut self,
        space: &S,
        run: RunRanges<'_>,
        near: impl Fn(&Graph, NodeId, &mut T, &mut Vec<NodeId>) + Sync,
    ) -> Vec<u32> {
        let graph = &*self;
        let forward =
            graph.lists_of(run, |node, (scratch, memory, found): &mut (Scratch, T, Vec<NodeId>), out| {
                found.clear();
                near(graph, node, memory, found);
                graph.select_full(node, found.iter().copied(), space, scratch, out);
            });
        let backward = Backward::of(&forward, graph.config.m0(), graph.node_bound());
        graph.lists_of(run, |node, scratch: &mut Scratch, out| {
            let m0 = graph.config.m0();
            let mine = &forward[node as usize * m0..][..m0];
            let others = mine.iter().take_while(|&&id| id != EMPTY).chain(backward.of_node(node)).copied();
            graph.select_full(node, others, space, scratch, out);
        })
    }

    /// Adds what a beam of `ef` from `node` itself finds on level 0 to `out`: for [`refined_lists`](Self::refined_lists).
    pub fn near<S: Space>(
        &self,
        node: NodeId,
        ef: usize,
        space: &S,
        scratch: &mut Scratch,
        out: &mut Vec<NodeId>,
    ) {
        let guard = crossbeam_epoch::pin();
        let Scratch { beam, visited, batch, .. } = scratch;
        let (scorer, admit) = (space.scorer(node), Linkable(&self.slots));
        self.search_level(node, 0, ef, &scorer, beam, visited, batch, &admit, &guard);
        out.extend(beam.iter().map(|(_, found)| found));
    }

    /// The same nodes, levels and anchors in `memory`, with other lists on level 0, which carry the payload that
    /// `config` and `space` agree on. Payloads are filled by `run`.
    ///
    /// # Errors
    /// [`InsertError::Memory`] when a table cannot grow.
    /// # Panics
    /// If `lists` are not as [`refined_lists`](Self::refined_lists) gives them, or if `config` has another M or M0.
    pub fn relisted<S: Space>(
        &mut self,
        config: GraphConfig,
        memory: GraphMemory,
        lists: &[u32],
        space: &S,
        run: RunRanges<'_>,
    ) -> Result<Graph, InsertError> {
        let bound = self.node_bound();
        assert!((config.m(), config.m0()) == (self.config.m(), self.config.m0()), "lists of the same length");
        assert_eq!(lists.len(), bound * config.m0(), "a list per node");
        let guard = crossbeam_epoch::pin();
        let graph = Graph::new(config, memory);
        let unfilled = Unfilled(space);
        if let Some(last) = bound.checked_sub(1) {
            graph.ensure_node(last as NodeId)?;
        }
        for node in 0..bound as NodeId {
            graph.slots.set_generation(node, self.slots.generation(node));
            if !self.is_live(node) {
                continue;
            }
            graph.claim_tower(node, self.level_of(node))?;
            for level in 1..=self.level_of(node) {
                let Some(list) = self.list(node, level, &guard) else { continue };
                graph.publish_first(node, level, list.words(), &unfilled, &guard)?;
            }
            let words = &lists[node as usize * config.m0()..][..config.m0()];
            let length = words.iter().position(|&word| word == EMPTY).unwrap_or(words.len());
            graph.publish_first(node, 0, &words[..length], &unfilled, &guard)?;
            graph.set_anchor(node, self.anchor_of(node));
            graph.count_live();
        }
        if let Some(entry) = self.entry.load() {
            graph
                .entry
                .swap(None, Some(entry))
                .expect("a graph that nobody else knows has no entry point yet");
        }
        graph.recount();
        if config.payload_bytes() > 0 {
            run(bound, &|range| {
                for node in range {
                    let fill = |ids: &[u32], payload: &mut [u8]| {
                        space.fill_payload(node as NodeId, ids, None, payload);
                    };
                    // SAFETY: below the bound; nobody has this graph yet, and each node is in one range.
                    unsafe { graph.base.fill_in(node, fill) };
                }
            });
        }
        Ok(graph)
    }

    /// A list for every live node, made by `make(node, memory, out)`.
    fn lists_of<T: Default>(
        &self,
        run: RunRanges<'_>,
        make: impl Fn(NodeId, &mut T, &mut Vec<u32>) + Sync,
    ) -> Vec<u32> {
        let m0 = self.config.m0();
        let lists = Mutex::new(vec![EMPTY; self.node_bound() * m0]);
        run(self.node_bound(), &|range| {
            let (mut memory, mut out) = (T::default(), Vec::with_capacity(m0));
            let mut part = vec![EMPTY; range.len() * m0];
            for (node, list) in range.clone().zip(part.chunks_exact_mut(m0)) {
                if self.is_live(node as NodeId) {
                    out.clear();
                    make(node as NodeId, &mut memory, &mut out);
                    list[..out.len()].copy_from_slice(&out);
                }
            }
            let mut lists = lists.lock().unwrap_or_else(PoisonError::into_inner);
            lists[range.start * m0..range.end * m0].copy_from_slice(&part);
        });
        lists.into_inner().unwrap_or_else(PoisonError::into_inner)
    }

    /// Selects among `others` and the anchored edges that `node` has, and fills the list up.
    fn select_full<S: Space>(
        &self,
        node: NodeId,
        others: impl Iterator<Item = NodeId>,
        space: &S,
        scratch: &mut Scratch,
        out: &mut Vec<u32>,
    ) {
        let guard = crossbeam_epoch::pin();
        let words = self.list(node, 0, &guard).map_or(&[][..], |list| list.words());
        let anchored: Vec<NodeId> = words
            .iter()
            .filter(|&&word| is_anchored(word) && self.is_live(node_of(word)))
            .map(|&word| node_of(word))
            .collect();
        let Scratch { batch, link, .. } = scratch;
        let mut ids: Vec<NodeId> = others
            .map(node_of)
            .filter(|&other| other != node && self.is_live(other))
            .chain(anchored.iter().copied())
            .collect();
        ids.sort_unstable();
        ids.dedup();
        let mut distances = vec![0.0; ids.len()];
        space.scorer(node).score_batch(&ids, &mut distances);
        link.candidates.clear();
        link.candidates.extend(ids.iter().zip(&distances).map(|(&other, &distance)| Candidate {
            distance,
            node: other,
            anchored: anchored.contains(&other),
        }));
        link.candidates.sort_unstable_by(order);
        let limit = self.config.m0();
        select(space, &link.candidates, limit, &mut link.selected, &mut link.pruned, batch);
        fill_up(&mut link.selected, &link.pruned, limit);
        out.extend(link.selected.iter().map(Candidate::word));
    }
}

/// A space whose payloads are left for later.
struct Unfilled<'a, S>(&'a S);

impl<S: Space> Space for Unfilled<'_, S> {
    type Scorer<'b>
        = S::Scorer<'b>
    where
        Self: 'b;

    fn scorer(&self, id: NodeId) -> Self::Scorer<'_> {
        self.0.scorer(id)
    }

    fn payload_bytes(&self) -> usize {
        self.0.payload_bytes()
    }
}

/// Who names each node.
struct Backward {
    starts: Vec<usize>,
    from: Vec<NodeId>,
}

impl Backward {
    fn of(lists: &[u32], m0: usize, bound: usize) -> Self {
        let mut starts = vec![0; bound + 1];
        let named = || lists.iter().enumerate().filter(|&(_, &word)| word != EMPTY);
        named().for_each(|(_, &word)| starts[node_of(word) as usize + 1] += 1);
        (0..bound).for_each(|node| starts[node + 1] += starts[node]);
        let mut next = starts.clone();
        let mut from = vec![0; starts[bound]];
        for (place, &word) in named() {
            let at = &mut next[node_of(word) as usize];
            from[*at] = (place / m0) as NodeId;
            *at += 1;
        }
        Self { starts, from }
    }

    fn of_node(&self, node: NodeId) -> &[NodeId] {
        &self.from[self.starts[node as usize]..self.starts[node as usize + 1]]
    }
}
