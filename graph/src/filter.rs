//! Searching among the nodes that a predicate lets pass.
//!
//! Four ways, of which the caller chooses one by how many nodes pass (the crate's README has figures):
//!
//! * [`FilterMode::Plain`] searches as if there were no filter and drops what fails. The beam counts all
//!   nodes: right when about half of them or more pass.
//! * [`FilterMode::Pool`] counts only nodes that pass; all may route. It expands whatever lies nearer than the
//!   `ef`-th passing node, about `ef` / selectivity nodes.
//! * [`FilterMode::OneHop`] expands nodes that pass; those that fail are looked through as below only where a list
//!   has few that pass. What lies nearer than anything that passes is hardly walked.
//! * [`FilterMode::TwoHop`] expands nodes that pass and looks through the neighbors that fail at *their*
//!   neighbors, so that mostly passing nodes are compared (ACORN-1: Patel, Kraft, Guestrin and Zaharia 2024,
//!   section 5). The two nearest of those that fail are expanded as well, as bridges, where a hop has not met a
//!   listful of nodes that pass; and some passing nodes are drawn from all over the graph as further starts, for
//!   filters whose nodes lie far from the query.
//!
//! * **F1** No result fails the predicate or was removed before the search began, and none is in twice.
//! * **F2** At least `k` results when `k` nodes pass: a search that ends with fewer, or that has cost as much
//!   as comparing all nodes that pass probably does, goes on to do just that. So the worst case is twice one
//!   call of the predicate per node and one comparison per node that passes.
//! * **F3** For a frozen graph the result depends on the arguments alone.
//!
//! Cost: that of a search, in other proportions. No allocation once the scratch is warm.

use std::cmp::Reverse;
use std::collections::BinaryHeap;

use crossbeam_epoch::Guard;

use crate::beam::{Beam, distance_of, id_of, key_of};
use crate::graph::Graph;
use crate::level::mix;
use crate::lists::{EMPTY, node_of};
use crate::scratch::{Batch, Scratch};
use crate::seen::Seen;
use crate::slots::{PRESENT, TOMBSTONE};
use crate::{Neighbor, NodeId, Scorer};

/// How a filtered search finds its way.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum FilterMode {
    /// The beam holds `ef` nodes of any kind; those that pass are returned.
    Plain,
    /// `ef` nodes that pass are searched for; all may route.
    Pool,
    /// As `TwoHop`, but over one that fails only from nodes with few passing neighbors.
    OneHop,
    /// As `Pool`, but going from passing node to passing node over at most one that fails.
    TwoHop,
}

/// Asking the predicate costs about as much as this part of a distance: a bit of a table and a row of a few
/// hundred bytes. It only decides when a scan is called for.
const PROBES_PER_DISTANCE: usize = 32;

/// Nodes drawn from all over the graph until so many pass, or so many were asked: the share that passes is
/// known to a quarter then, or known to be below 1 %.
const SEEDS: usize = 16;
const SEED_PROBES: usize = 2048;

/// Failing neighbors that a two-hop expansion adds to the frontier. With 2 instead of none recall at equal `ef`
/// rose from 0.91 to 0.99 (5 % pass, ef 32) and from 0.88 to 0.89 (1 %), for the time of an `ef` between the two;
/// 4 find no more (text-384).
const BRIDGES: usize = 2;

/// Marks the key of a bridge in the frontier.
const BRIDGE: u64 = 1;

/// Rows compared at once by a scan.
const SCAN: usize = 64;

/// What a filtered search reuses.
#[derive(Debug, Default)]
pub(crate) struct FilterScratch {
    /// Nodes met but not expanded, nearest first.
    frontier: BinaryHeap<Reverse<u64>>,
    seen: Seen,
    /// Neighbors that fail.
    failing: Vec<NodeId>,
    /// Passing nodes from all over the graph.
    seeds: Vec<NodeId>,
    /// Bridges of one expansion.
    bridges: Vec<u64>,
}

impl Graph {
    /// The nodes nearest to the scorer's point among those for which `passes` holds, as far as a search of
    /// width `ef` in the given mode finds them: nearest first, equal distances by id. At most `ef` (at least
    /// `k`); at least `k` when that many pass; all of them when fewer do.
    ///
    /// `passes` must give the same answer for the same node throughout the search, and any answer for a number
    /// below [`node_bound`](Self::node_bound) that names no node. It is called from this thread, perhaps more than
    /// once per node. `k = 0` and `ef = 0` count as 1. The result lives in `scratch` until its next use.
    pub fn search_filtered<'s, S: Scorer>(
        &self,
        scorer: &S,
        (k, ef): (usize, usize),
        mode: FilterMode,
        passes: impl Fn(NodeId) -> bool,
        scratch: &'s mut Scratch,
    ) -> &'s [Neighbor] {
        self.search_within(None, scorer, (k, ef), mode, passes, scratch)
    }

    /// [`search_filtered`](Self::search_filtered) with another bound on what the walk may cost, in distances:
    /// for tests and measurements of the walk alone.
    #[doc(hidden)]
    pub fn search_within<'s, S: Scorer>(
        &self,
        budget: Option<usize>,
        scorer: &S,
        (k, ef): (usize, usize),
        mode: FilterMode,
        passes: impl Fn(NodeId) -> bool,
        scratch: &'s mut Scratch,
    ) -> &'s [Neighbor] {
        let k = k.max(1);
        let ef = ef.max(k);
        scratch.found.clear();
        if mode == FilterMode::Plain {
            self.search(scorer, ef, scratch);
            scratch.found.retain(|hit| passes(hit.node));
            if scratch.found.len() >= k {
                return &scratch.found;
            }
            // Too few passed: from here on only those are counted.
            scratch.found.clear();
        }
        let guard = crossbeam_epoch::pin();
        let changes = self.slots.changes();
        // Removed nodes route like those that fail. Of the two nodes of an update both may pass up to the end.
        let counts = |node| passes(node) && self.slots.state(node) & (PRESENT | TOMBSTONE) == PRESENT;
        let Some(entry) = self.entry.load() else {
            return &scratch.found;
        };
        let start = self.descend((entry.node, entry.level), 0, scorer, &mut scratch.batch, &guard);
        let scan_cost = self.draw_seeds(&counts, &mut scratch.filter.seeds);
        let mut walk = Walk {
            graph: self,
            scorer,
            passes: &counts,
            results: &mut scratch.beam,
            batch: &mut scratch.batch,
            own: &mut scratch.filter,
            budget: budget.unwrap_or(scan_cost),
            guard: &guard,
        };
        let m0 = self.config.m0();
        let is_done = match mode {
            FilterMode::OneHop => walk.hops(start, ef, Hops::one(m0, ef)),
            FilterMode::TwoHop => walk.hops(start, ef, Hops::two(m0, ef)),
            _ => walk.pool(start, ef),
        };
        let score = |node| passes(node).then(|| scorer.score(node));
        if is_done {
            self.take_found(changes, score, scratch);
        }
        if scratch.found.len() < k {
            self.scan(scorer, ef, &counts, scratch);
            self.take_found(changes, score, scratch);
        }
        &scratch.found
    }

    /// The `ef` nearest of `nodes`, which name each node once: nearest first, equal distances by id. All of them are compared,
    /// as far as the scorer has to (see [`Scorer::score_near`]); numbers that name no node, or a removed one, are passed over.
    pub fn search_among<'s, S: Scorer>(
        &self,
        scorer: &S,
        ef: usize,
        nodes: &[NodeId],
        scratch: &'s mut Scratch,
    ) -> &'s [Neighbor] {
        let _guard = crossbeam_epoch::pin();
        let changes = self.slots.changes();
        let bound = self.node_bound();
        let is_there = |node: NodeId| {
            (node as usize) < bound && self.slots.state(node) & (PRESENT | TOMBSTONE) == PRESENT
        };
        let Scratch { beam, batch, .. } = &mut *scratch;
        beam.reset(ef.max(1));
        batch.ensure(SCAN);
        for nodes in nodes.chunks(SCAN) {
            let mut count = 0;
            for &node in nodes {
                batch.ids[count] = node;
                count += usize::from(is_there(node));
            }
            scorer.score_near(&batch.ids[..count], beam.bound(), &mut batch.distances[..count]);
            for (&id, &distance) in batch.ids.iter().zip(&batch.distances[..count]) {
                if beam.takes(distance) {
                    beam.offer(distance, id);
                }
            }
        }
        // Of a row that was exchanged meanwhile the old place was asked for: it is shown, or nothing is.
        self.take_found(changes, |_| None, scratch);
        &scratch.found
    }

    /// Draws passing nodes from all over the graph. Returns what a scan probably costs, in distances.
    fn draw_seeds(&self, passes: &impl Fn(NodeId) -> bool, seeds: &mut Vec<NodeId>) -> usize {
        let bound = self.node_bound();
        seeds.clear();
        let mut probes = 0;
        while probes < SEED_PROBES.min(bound) && seeds.len() < SEEDS {
            probes += 1;
            let node = (mix(probes as u64) % bound as u64) as NodeId;
            if passes(node) {
                seeds.push(node);
            }
        }
        bound * seeds.len() / probes.max(1) + bound / PROBES_PER_DISTANCE
    }

    /// Compares all nodes that pass (F2).
    fn scan<S: Scorer>(
        &self,
        scorer: &S,
        ef: usize,
        passes: &impl Fn(NodeId) -> bool,
        scratch: &mut Scratch,
    ) {
        let Scratch { beam, batch, .. } = scratch;
        beam.reset(ef);
        batch.ensure(SCAN);
        let mut count = 0;
        let mut flush = |batch: &mut Batch, count: usize| {
            scorer.score_batch(&batch.ids[..count], &mut batch.distances[..count]);
            for (&id, &distance) in batch.ids.iter().zip(&batch.distances[..count]) {
                beam.offer(distance, id);
            }
        };
        for node in 0..self.node_bound() as NodeId {
            if passes(node) {
                batch.ids[count] = node;
                count += 1;
                if count == SCAN {
                    flush(batch, count);
                    count = 0;
                }
            }
        }
        flush(batch, count);
    }
}

/// How far a walk over passing nodes looks beyond them.
#[derive(Debug, Clone, Copy)]
struct Hops {
    /// A list with so many neighbors that pass is not looked through further, new or not; `None`: whatever passes was met before.
    dense: Option<usize>,
    /// So many new ones that pass are enough from one list.
    enough: usize,
    /// Nodes that fail that may be expanded.
    bridges: usize,
}

impl Hops {
    /// A quarter of a list that passes keeps the passing nodes in one piece; where fewer do, as many are looked for. Bridges
    /// are for the start: an eighth of the beam.
    fn one(m0: usize, ef: usize) -> Self {
        Self { dense: Some(m0 / 4), enough: m0 / 4, bridges: ef.div_ceil(8) }
    }

    /// Bridges lead through places where nothing passes. As many as a search of this width expands nodes are enough to get near;
    /// more would walk about where the query is, but nothing that passes.
    fn two(m0: usize, ef: usize) -> Self {
        Self { dense: None, enough: m0, bridges: ef }
    }
}

/// One walk under way.
struct Walk<'a, S, P> {
    graph: &'a Graph,
    scorer: &'a S,
    passes: &'a P,
    /// The best that pass.
    results: &'a mut Beam,
    batch: &'a mut Batch,
    own: &'a mut FilterScratch,
    /// What the walk may still cost: one for each node compared and each list read.
    budget: usize,
    guard: &'a Guard,
}

impl<S: Scorer, P: Fn(NodeId) -> bool> Walk<'_, S, P> {
    fn begin(&mut self, start: NodeId, ef: usize) {
        self.results.reset(ef);
        self.own.frontier.clear();
        self.own.seen.reset();
        self.own.seen.insert(start);
        // What one expansion can collect: all but one of a listful, and a list.
        self.batch.ensure(2 * self.graph.config.m0().next_multiple_of(16));
        let distance = self.scorer.score(start);
        self.meet(start, distance);
    }

    /// Takes a node of known distance into the frontier, and into the results if it passes.
    #[inline]
    fn meet(&mut self, node: NodeId, distance: f32) {
        if (self.passes)(node) {
            self.results.offer(distance, node);
            self.own.frontier.push(Reverse(key_of(distance, node)));
        } else {
            self.own.frontier.push(Reverse(key_of(distance, node) | BRIDGE));
        }
    }

    /// The next node to expand, and whether it is a bridge; none when nothing near enough is left.
    fn next(&mut self) -> Option<(NodeId, bool)> {
        let Reverse(key) = self.own.frontier.pop()?;
        if !self.results.takes(distance_of((key >> 32) as u32)) {
            return None;
        }
        if let Some(Reverse(next)) = self.own.frontier.peek() {
            self.graph.prefetch_list(id_of(*next), 0);
        }
        Some((id_of(key), key & BRIDGE != 0))
    }

    /// Whether the search ended within its budget.
    fn pool(&mut self, start: NodeId, ef: usize) -> bool {
        self.begin(start, ef);
        while let Some((node, _)) = self.next() {
            let mut count = 0;
            for &word in self.graph.words(node, 0, self.guard) {
                if word == EMPTY {
                    break;
                }
                self.batch.ids[count] = node_of(word);
                count += usize::from(self.own.seen.insert(node_of(word)));
            }
            self.score(count, |walk, node, distance| walk.meet(node, distance));
            if !self.pay(count + 1) {
                return false;
            }
        }
        true
    }

    /// Whether the walk may go on.
    fn pay(&mut self, cost: usize) -> bool {
        self.budget = self.budget.saturating_sub(cost);
        self.budget > 0
    }

    /// Whether the search ended within its budget.
    fn hops(&mut self, start: NodeId, ef: usize, hops: Hops) -> bool {
        self.begin(start, ef);
        let mut count = 0;
        for place in 0..self.own.seeds.len() {
            self.batch.ids[count] = self.own.seeds[place];
            count += usize::from(self.own.seen.insert(self.own.seeds[place]));
        }
        self.score(count, |walk, node, distance| walk.meet(node, distance));
        let mut bridges_left = hops.bridges;
        let enough = hops.enough;
        while let Some((node, is_bridge)) = self.next() {
            if is_bridge {
                if bridges_left == 0 {
                    continue;
                }
                bridges_left -= 1;
            }
            self.own.failing.clear();
            let (mut count, mut lists, mut passing) = (0, 1, 0);
            for &word in self.graph.words(node, 0, self.guard) {
                if word == EMPTY {
                    break;
                }
                let id = node_of(word);
                let passes = hops.dense.is_some() && (self.passes)(id);
                passing += usize::from(passes);
                if !self.own.seen.insert(id) {
                    continue;
                }
                if passes || hops.dense.is_none() && (self.passes)(id) {
                    self.batch.ids[count] = id;
                    count += 1;
                } else {
                    self.own.failing.push(id);
                }
            }
            if hops.dense.is_some_and(|dense| passing >= dense) {
                self.own.failing.clear();
            }
            self.own.failing.iter().for_each(|&id| self.graph.prefetch_list(id, 0));
            for place in 0..self.own.failing.len() {
                if count >= enough {
                    break;
                }
                lists += 1;
                for &word in self.graph.words(self.own.failing[place], 0, self.guard) {
                    if word == EMPTY {
                        break;
                    }
                    let id = node_of(word);
                    if (self.passes)(id) && self.own.seen.insert(id) {
                        self.batch.ids[count] = id;
                        count += 1;
                    }
                }
            }
            self.score(count, |walk, node, distance| walk.meet(node, distance));
            if count < enough && bridges_left > 0 {
                lists += self.own.failing.len();
                self.set_bridges();
            }
            if !self.pay(count + lists) {
                return false;
            }
        }
        true
    }

    /// Scores the first `count` nodes of the batch and hands on those that are near enough.
    fn score(&mut self, count: usize, mut take: impl FnMut(&mut Self, NodeId, f32)) {
        let Batch { ids, distances, .. } = &mut *self.batch;
        self.scorer.score_near(&ids[..count], self.results.bound(), &mut distances[..count]);
        for place in 0..count {
            let (id, distance) = (self.batch.ids[place], self.batch.distances[place]);
            if self.results.takes(distance) {
                take(self, id, distance);
            }
        }
    }

    /// Puts the nearest of the failing neighbors into the frontier.
    fn set_bridges(&mut self) {
        let count = self.own.failing.len();
        self.batch.ids[..count].copy_from_slice(&self.own.failing);
        self.own.bridges.clear();
        self.score(count, |walk, node, distance| {
            walk.own.bridges.push(key_of(distance, node) | BRIDGE);
        });
        self.own.bridges.sort_unstable();
        self.own.frontier.extend(self.own.bridges.iter().take(BRIDGES).map(|&key| Reverse(key)));
    }
}
