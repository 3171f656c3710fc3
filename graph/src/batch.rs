//! Many nodes at once: each searches the graph as it stands, and every list that changes is replaced once.
//!
//! Nodes come in parts, each as large as all before it in the same call (prefix doubling), in an order that their
//! numbers alone decide: so the first parts are a sample of all, and rows of a place that the graph has nothing near
//! meet each other as if they had come one by one. Nodes of one part do not see each other when they search; those that
//! chose the same neighbor are compared afterwards.
//!
//! * **H1** What a part does depends on the graph before it, its nodes and the space: not on threads. All choices are
//!   made before the first list is published.
//! * **H2** Each node gets its anchor from among the nodes before it, in one order: those of the graph, then its part's
//!   (A1-A3 hold when the part is done).
//! * **H3** Blocks for all lists of a part are there before it publishes the first. A part is in as a whole or not at all.
//!
//! Cost: a beam search and two selections per node and level; one replaced list per node that was chosen. The search is three
//! quarters of it and is what it is one by one, so this is no faster on two threads (see `benches/record`).

use std::collections::HashMap;
use std::ops::Range;
use std::sync::{Mutex, PoisonError};

use crossbeam_epoch::Guard;

use crate::config::{MAX_LEVEL, MAX_NODE};
use crate::entry::Entry;
use crate::graph::Graph;
use crate::level::mix;
use crate::lists::{Power, PublishError, is_anchored, names, node_of};
use crate::memory::MemoryError;
use crate::refine::RunRanges;
use crate::scorer::{Scorer, Space};
use crate::scratch::Scratch;
use crate::select::{Candidate, fill_up, order, select};
use crate::slots::LINKED;
use crate::{InsertError, NodeId, reclaim};

/// Is told how many nodes are in, and says whether to go on. Asked often, by several threads.
pub type GoesOn<'a> = &'a (dyn Fn(usize) -> bool + Sync);

/// Nodes of the first part, and of the graph below which nodes are inserted one by one.
const FIRST: usize = 32;

/// Of the nodes of a part that chose the same neighbor, those nearest to it that are compared with each other.
const SHARED: usize = 64;

/// Lists replaced under one pin.
const REPLACED_PER_PIN: usize = 4;

/// A node of a part.
struct Row {
    node: NodeId,
    level: u8,
    /// What it chose on each of its levels.
    chosen: Vec<Vec<Candidate>>,
    /// The nearest that it found in the graph.
    nearest: Option<Candidate>,
    /// Where its search of level 0 starts.
    start: NodeId,
    anchor: NodeId,
}

/// An edge back: `target` was chosen by the node at `place`.
#[derive(Clone, Copy)]
struct Back {
    level: u8,
    target: NodeId,
    distance: f32,
    place: u32,
    anchored: bool,
}

/// Edges back, by whom they leave.
struct Backward {
    edges: Vec<Back>,
    groups: Vec<Range<usize>>,
}

impl Backward {
    fn of(rows: &[Row]) -> Self {
        let mut edges = Vec::new();
        for (place, row) in (0..).zip(rows) {
            for (level, chosen) in (0..).zip(&row.chosen) {
                edges.extend(chosen.iter().map(|&Candidate { distance, node: target, anchored }| Back {
                    level,
                    target,
                    distance,
                    place,
                    anchored,
                }));
            }
        }
        edges.sort_unstable_by(|a, b| {
            let by_target = (a.level, a.target).cmp(&(b.level, b.target));
            by_target.then(a.distance.total_cmp(&b.distance)).then(a.place.cmp(&b.place))
        });
        let mut groups: Vec<Range<usize>> = Vec::new();
        for part in edges.chunk_by(|a, b| (a.level, a.target) == (b.level, b.target)) {
            let start = groups.last().map_or(0, |group| group.end);
            groups.push(start..start + part.len());
        }
        Self { edges, groups }
    }

    /// The edges that leave `target` on `level`, shortest first.
    fn from(&self, level: u8, target: NodeId) -> &[Back] {
        let key = |group: &Range<usize>| (self.edges[group.start].level, self.edges[group.start].target);
        match self.groups.binary_search_by_key(&(level, target), key) {
            Ok(at) => &self.edges[self.groups[at].clone()],
            Err(_) => &[],
        }
    }
}

/// Calls `work` for each of `items`, on many threads.
fn each<T: Send>(run: RunRanges<'_>, items: &mut [T], work: impl Fn(&mut T, &mut Scratch) + Sync) {
    // A lock per item, taken once: how safe code lends each task its own.
    let items: Vec<Mutex<&mut T>> = items.iter_mut().map(Mutex::new).collect();
    run(items.len(), &|range| {
        let mut scratch = Scratch::new();
        for item in &items[range] {
            work(&mut item.lock().unwrap_or_else(PoisonError::into_inner), &mut scratch);
        }
    });
}

impl Graph {
    /// Inserts many nodes with their levels, none of which is in. The graph is then the same on any number of threads,
    /// unlike after as many calls of [`insert`](Self::insert) by several.
    ///
    /// Where `goes_on` says no, the part under way is not in, and those before it are; [`is_live`](Self::is_live) tells which nodes
    /// those are. All have slots, which can be [given back](Self::give_slot_back).
    ///
    /// Borrowed mutably, as no other writer may be there meanwhile. What removals left to be done is done first.
    ///
    /// # Errors
    /// Those of `insert`. Parts that were done are in; of the others no node is.
    ///
    /// # Panics
    /// As `insert`.
    pub fn insert_batch<S: Space>(
        &mut self,
        nodes: &[(NodeId, u8)],
        space: &S,
        run: RunRanges<'_>,
        goes_on: GoesOn<'_>,
    ) -> Result<(), InsertError> {
        let mut scratch = Scratch::new();
        let settled = self.settle(space, &mut scratch).is_ok() && self.slots.changes().is_none();
        let mut nodes = nodes.to_vec();
        nodes.sort_unstable_by_key(|&(node, _)| rank(node));
        let mut done = 0;
        while done < nodes.len() {
            if !goes_on(done) {
                return Ok(self.ensure_node(nodes.iter().map(|&(node, _)| node).max().unwrap_or(0))?);
            }
            let part = &nodes[done..nodes.len().min(2 * done.max(FIRST / 2))];
            // Nodes that are taller than all come first, one by one: each is the entry point in turn.
            let top = self.entry.load().map_or(0, |entry| entry.level);
            let together = settled && self.len() >= FIRST;
            let alone = |&&(_, level): &&(NodeId, u8)| !together || level.min(MAX_LEVEL) > top;
            for &(node, level) in part.iter().filter(alone) {
                self.insert(node, level, space, &mut scratch)?;
            }
            if together {
                let goes_on = || goes_on(done);
                let together = part.iter().filter(|node| !alone(node));
                if !self.insert_part(together, space, run, &goes_on, &mut scratch)? {
                    continue;
                }
            }
            done += part.len();
        }
        goes_on(done);
        Ok(())
    }

    /// Inserts the nodes of a part, or none of them: whether it was not told to stop.
    fn insert_part<'a, S: Space>(
        &self,
        part: impl Iterator<Item = &'a (NodeId, u8)>,
        space: &S,
        run: RunRanges<'_>,
        goes_on: &(dyn Fn() -> bool + Sync),
        scratch: &mut Scratch,
    ) -> Result<bool, InsertError> {
        let Some(entry) = self.entry.load() else { return Ok(true) };
        let mut rows = Vec::new();
        for &(node, level) in part {
            let level = level.min(MAX_LEVEL);
            if let Err(error) = self.claim(node, level, space) {
                self.unclaim(&rows);
                return Err(error);
            }
            rows.push(Row {
                node,
                level,
                chosen: Vec::new(),
                nearest: None,
                start: entry.node,
                anchor: entry.node,
            });
        }
        // Those that start from the same node one after the other: much of what they read is in the caches then.
        each(run, &mut rows, |row, scratch| {
            let guard = crossbeam_epoch::pin();
            let scorer = space.scorer(row.node);
            row.start = self.descend((entry.node, entry.level), 0, &scorer, &mut scratch.batch, &guard);
        });
        rows.sort_unstable_by_key(|row| (row.start, row.node));
        each(run, &mut rows, |row, scratch| {
            if !goes_on() {
                return;
            }
            let guard = crossbeam_epoch::pin();
            self.choose(
                entry,
                Entry { node: row.node, level: row.level },
                row.level,
                0,
                space,
                scratch,
                &guard,
            );
            row.chosen = scratch.link.chosen[..=row.level as usize].to_vec();
            row.nearest = row.chosen[0].first().copied();
        });
        // What comes from here on takes a third as long as the searches.
        if !goes_on() {
            self.unclaim(&rows);
            return Ok(false);
        }
        let nodes: Vec<NodeId> = rows.iter().map(|row| row.node).collect();
        let shared = Backward::of(&rows);
        each(run, &mut rows, |row, scratch| self.meet(row, &shared, &nodes, space, scratch));
        drop(shared);
        self.choose_anchors(&mut rows, space);

        let backward = Backward::of(&rows);
        let old = |group: &&Range<usize>| self.is_linked(backward.edges[group.start].target);
        let mut old: Vec<Range<usize>> = backward.groups.iter().filter(old).cloned().collect();
        let base = old.partition_point(|group| backward.edges[group.start].level == 0);
        let towers: usize = rows.iter().map(|row| usize::from(row.level)).sum();
        // H3
        let room = self.base.reserve(rows.len() + base);
        if let Err(error) = room.and_then(|()| self.upper.reserve(towers + old.len() - base)) {
            self.unclaim(&rows);
            return Err(error.into());
        }
        let failed = Mutex::new(None);
        let note = |done: Result<(), MemoryError>| {
            if let Err(error) = done {
                *failed.lock().unwrap_or_else(PoisonError::into_inner) = Some(error);
            }
        };
        each(run, &mut rows, |row, scratch| {
            note(self.publish_row(row, &backward, &nodes, space, scratch));
        });
        let failure = failed.lock().unwrap_or_else(PoisonError::into_inner).take();
        if let Some(error) = failure {
            self.unclaim(&rows);
            return Err(error.into());
        }
        let mut pinned: Vec<&mut [Range<usize>]> = old.chunks_mut(REPLACED_PER_PIN).collect();
        each(run, &mut pinned, |groups, scratch| {
            let guard = crossbeam_epoch::pin();
            for group in groups.iter() {
                note(self.add_edges(&backward.edges[group.clone()], &nodes, space, scratch, &guard));
            }
            guard.flush();
        });
        for row in &rows {
            self.count_live();
            self.slots.mark(row.node, LINKED);
        }
        reclaim::collect(&mut scratch.writes, &crossbeam_epoch::pin());
        failed
            .into_inner()
            .unwrap_or_else(PoisonError::into_inner)
            .map_or(Ok(true), |error| Err(error.into()))
    }

    fn claim<S: Space>(&self, node: NodeId, level: u8, space: &S) -> Result<(), InsertError> {
        if node > MAX_NODE {
            return Err(InsertError::NodeId { node });
        }
        let payload = self.config.payload_bytes();
        assert_eq!(space.payload_bytes(), payload, "the payload that the graph has room for");
        self.ensure_node(node)?;
        if !self.slots.claim(node, 0) {
            return Err(InsertError::Present { node });
        }
        self.claim_tower(node, level).inspect_err(|_| _ = self.slots.unclaim(node))
    }

    /// Takes back nodes that nothing outside their part leads to.
    fn unclaim(&self, rows: &[Row]) {
        let guard = crossbeam_epoch::pin();
        for row in rows {
            (0..=row.level).rev().for_each(|level| self.withdraw(row.node, level, &guard));
        }
        for row in rows.iter().rev() {
            self.unclaim_tower(row.node);
            self.slots.unclaim(row.node);
        }
    }

    fn is_linked(&self, node: NodeId) -> bool {
        self.slots.state(node) & LINKED != 0
    }

    /// Lets a node choose among those of its part, too, that chose the same. What it chose in the graph stays: as a node that
    /// comes one by one keeps what it chose before those that come after it.
    fn meet<S: Space>(
        &self,
        row: &mut Row,
        shared: &Backward,
        nodes: &[NodeId],
        space: &S,
        scratch: &mut Scratch,
    ) {
        let Scratch { batch, link, words: others, .. } = scratch;
        // Those beyond are turned down mostly: with four times as many nothing was found that was not found before.
        let limit = self.config.m();
        for (level, chosen) in (0..).zip(&mut row.chosen) {
            others.clear();
            for candidate in &*chosen {
                let same = shared.from(level, candidate.node);
                others.extend(same.iter().take(SHARED).map(|edge| nodes[edge.place as usize]));
            }
            others.sort_unstable();
            others.dedup();
            others.retain(|&other| other != row.node);
            if others.is_empty() {
                continue;
            }
            batch.ensure(others.len());
            let distances = &mut batch.distances[..others.len()];
            space.scorer(row.node).score_batch(others, distances);
            link.candidates.clear();
            link.candidates.extend(others.iter().zip(distances).map(|(&node, &mut distance)| Candidate {
                distance,
                node,
                anchored: false,
            }));
            if link.candidates.len() > limit {
                link.candidates.select_nth_unstable_by(limit, order);
                link.candidates.truncate(limit);
            }
            link.candidates.sort_unstable_by(order);
            select(space, &link.candidates, limit, &mut link.selected, &mut link.pruned, batch);
            chosen.extend_from_slice(&link.selected);
            chosen.sort_unstable_by(order);
        }
    }

    /// Chooses an anchor for each node of a part, and adds the edge to what it chose (H2).
    fn choose_anchors<S: Space>(&self, rows: &mut [Row], space: &S) {
        let guard = crossbeam_epoch::pin();
        let mut tree = Tree { graph: self, counts: HashMap::new(), children: HashMap::new(), guard: &guard };
        for row in rows {
            let node = row.node;
            let before = |near: &&Candidate| self.is_linked(near.node) || tree.is_in(near.node);
            let near: Vec<NodeId> =
                row.chosen[0].iter().filter(before).chain(&row.nearest).map(|near| near.node).collect();
            let with_room = near.iter().copied().find(|&near| tree.has_room(near));
            let anchor = with_room.unwrap_or_else(|| {
                // Down from the nearest until there is room. A full node has nodes under it.
                let mut anchor = near.first().copied().unwrap_or(row.start);
                let mut turn = u64::from(node);
                while !tree.has_room(anchor) {
                    turn = mix(turn.wrapping_add(1));
                    let Some(child) = tree.child_of(anchor, turn) else { break };
                    anchor = child;
                }
                anchor
            });
            tree.hang(node, anchor);
            row.anchor = anchor;
            let chosen = &mut row.chosen[0];
            match chosen.iter_mut().find(|candidate| candidate.node == anchor) {
                Some(candidate) => candidate.anchored = true,
                None => {
                    let distance = space.scorer(node).score(anchor);
                    chosen.push(Candidate { distance, node: anchor, anchored: true });
                    chosen.sort_unstable_by(order);
                }
            }
        }
    }

    /// Publishes the lists of a node: what it chose, and who of its part chose it.
    fn publish_row<S: Space>(
        &self,
        row: &Row,
        backward: &Backward,
        nodes: &[NodeId],
        space: &S,
        scratch: &mut Scratch,
    ) -> Result<(), MemoryError> {
        let guard = crossbeam_epoch::pin();
        let Scratch { batch, link, words, .. } = scratch;
        for (level, chosen) in (0..).zip(&row.chosen) {
            let candidates = &mut link.candidates;
            candidates.clear();
            candidates.extend_from_slice(chosen);
            candidates.extend(backward.from(level, row.node).iter().map(|edge| edge.candidate(nodes)));
            // Two that chose each other are anchored once.
            candidates.sort_unstable_by_key(|candidate| (candidate.node, !candidate.anchored));
            candidates.dedup_by_key(|candidate| candidate.node);
            candidates.sort_unstable_by(order);
            let limit = self.config.limit(level);
            words.clear();
            if candidates.len() > limit {
                select(space, candidates, limit, &mut link.selected, &mut link.pruned, batch);
                if self.config.keep_pruned() {
                    fill_up(&mut link.selected, &link.pruned, limit);
                }
                words.extend(link.selected.iter().map(Candidate::word));
            } else {
                words.extend(candidates.iter().map(Candidate::word));
            }
            self.publish_own(row.node, level, words, space, &guard)?;
        }
        self.set_anchor(row.node, Some(row.anchor));
        Ok(())
    }

    /// Adds `edges`, which all leave one node that was in before, to its list: one pruning, one replaced list.
    fn add_edges<S: Space>(
        &self,
        edges: &[Back],
        nodes: &[NodeId],
        space: &S,
        scratch: &mut Scratch,
        guard: &Guard,
    ) -> Result<(), MemoryError> {
        let Some(&Back { level, target, .. }) = edges.first() else { return Ok(()) };
        let limit = self.config.limit(level);
        loop {
            let Some(old) = self.list(target, level, guard).filter(|old| !old.is_frozen()) else {
                // A node without this level: only a saved graph that was tampered with leads there.
                return Ok(());
            };
            let before = old.words();
            let Scratch { batch, link, words, .. } = &mut *scratch;
            words.clear();
            let new = edges.iter().map(|edge| edge.candidate(nodes));
            if before.len() + edges.len() > limit {
                self.reselect(target, before, new, limit, space, batch, link);
                words.extend(link.selected.iter().map(Candidate::word));
            } else {
                words.extend_from_slice(before);
                words.extend(new.map(|candidate| candidate.word()));
            }
            words.retain(|&word| names(before, node_of(word)) || self.slots.acquire(node_of(word)));
            match self.replace((target, level), Some(old), words, space, Power::Writer, guard) {
                Ok(()) => {
                    self.release_dropped(before, words);
                    return Ok(());
                }
                Err(error) => {
                    self.release_dropped(words, before);
                    if let PublishError::Memory(error) = error {
                        return Err(error);
                    }
                }
            }
        }
    }
}

/// In which order nodes come into parts.
fn rank(node: NodeId) -> (u64, NodeId) {
    (mix(u64::from(node)), node)
}

impl Back {
    fn candidate(&self, nodes: &[NodeId]) -> Candidate {
        Candidate { distance: self.distance, node: nodes[self.place as usize], anchored: self.anchored }
    }
}

/// The anchor tree with the nodes of a part that hang in it already.
struct Tree<'a> {
    graph: &'a Graph,
    /// Anchored edges of nodes that were asked about.
    counts: HashMap<NodeId, usize>,
    /// Nodes of the part by their anchors.
    children: HashMap<NodeId, Vec<NodeId>>,
    guard: &'a Guard,
}

impl Tree<'_> {
    fn anchored(&self, node: NodeId) -> impl Iterator<Item = NodeId> {
        let words = self.graph.list(node, 0, self.guard).map_or(&[][..], |list| list.words());
        words.iter().filter(|&&word| is_anchored(word)).map(|&word| node_of(word))
    }

    /// Whether a node of the part hangs in the tree already.
    fn is_in(&self, node: NodeId) -> bool {
        self.counts.get(&node).is_some_and(|&count| count > 0)
    }

    fn has_room(&mut self, node: NodeId) -> bool {
        let count = match self.counts.get(&node) {
            Some(&count) => count,
            None => self.anchored(node).count(),
        };
        self.counts.insert(node, count);
        count < self.graph.config.anchor_limit()
    }

    /// One of the nodes that hang at `anchor`, chosen by `turn`.
    fn child_of(&self, anchor: NodeId, turn: u64) -> Option<NodeId> {
        let above = self.graph.anchor_of(anchor);
        let mine = self.children.get(&anchor).into_iter().flatten().copied();
        let children: Vec<NodeId> =
            self.anchored(anchor).filter(|&child| above != Some(child)).chain(mine).collect();
        children.get((turn % children.len().max(1) as u64) as usize).copied()
    }

    fn hang(&mut self, node: NodeId, anchor: NodeId) {
        self.counts.insert(node, 1);
        *self.counts.entry(anchor).or_insert(0) += 1;
        self.children.entry(anchor).or_default().push(node);
    }
}
