//! The graph itself: its tables and how a (node, level) finds its list.
//!
//! * **G1** A node's tower word (its level and where its upper lists are) is written before any list of
//!   the node is published, and never changes.
//! * **G2** Whether a node is in the graph is what its state says (see [`slots`](crate::slots)); while any list
//!   may lead to it, its own lists are there on all its levels.

use crossbeam_epoch::Guard;

use crate::config::{GraphConfig, MAX_LEVEL, MAX_M0};
use crate::entry::{Entry, EntryPoint};
use crate::lists::{EMPTY, ListRef, Lists, Power, PublishError, names, node_of};
use crate::memory::{GraphMemory, MemoryError};
use crate::slots::{LINKED, PRESENT, SlotMemory, Slots};
use crate::sync::{Arc, AtomicTable, AtomicU32, BlockShape, Ordering};
use crate::{InsertError, NodeId, Space};

/// Bits of a tower word that say where the node's upper lists start.
pub(crate) const TOWER_SLOT_BITS: u32 = 28;

/// Blocks are asked for where lists have their home while at most one list in so many is away.
#[cfg(not(loom))]
const LISTS_PER_AWAY: usize = 8;

/// A Hierarchical Navigable Small World graph over nodes that the caller numbers from 0.
pub struct Graph {
    pub(crate) config: GraphConfig,
    /// Level-0 lists; slot = node.
    pub(crate) base: Arc<Lists>,
    /// Lists of the levels >= 1; slot from the tower word.
    pub(crate) upper: Arc<Lists>,
    /// How each node stands.
    pub(crate) slots: Arc<Slots>,
    /// Anchor + 1.
    anchors: AtomicTable,
    pub(crate) entry: EntryPoint,
    upper_slots: AtomicU32,
    /// One more than the largest node id met.
    node_bound: AtomicU32,
    /// Nodes that are in and not hidden.
    live: AtomicU32,
}

/// What a saved graph needs beside its tables to be opened again.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct GraphState {
    /// Ids lie below this.
    pub node_bound: u32,
    /// Nodes that are in.
    pub nodes: u32,
    /// Upper lists.
    pub upper_slots: u32,
    /// Entry point and its level; `None` for an empty graph.
    pub entry: Option<(NodeId, u8)>,
}

impl Graph {
    /// An empty graph whose tables grow in `memory`.
    pub fn new(config: GraphConfig, memory: GraphMemory) -> Self {
        Self::with_state(config, memory, GraphState::default())
    }

    pub(crate) fn with_state(config: GraphConfig, memory: GraphMemory, state: GraphState) -> Self {
        let lists = |limit, payload, heads, blocks, links, used| {
            Arc::new(Lists::new(BlockShape::new(limit, payload), heads, blocks, links, used))
        };
        let payload = config.payload_bytes();
        let base =
            lists(config.m0(), payload, memory.heads, memory.blocks, memory.block_links, state.node_bound);
        let upper = lists(
            config.m(),
            0,
            memory.upper_heads,
            memory.upper_blocks,
            memory.upper_block_links,
            state.upper_slots,
        );
        let slots = SlotMemory {
            refs: memory.refs,
            generations: memory.generations,
            partners: memory.partners,
            links: memory.slot_links,
            towers: memory.towers,
            tower_links: memory.tower_links,
        };
        Self {
            config,
            slots: Arc::new(Slots::new(slots, base.clone(), upper.clone())),
            base,
            upper,
            anchors: AtomicTable::new(memory.anchors),
            entry: EntryPoint::new(state.entry.map(|(node, level)| Entry { node, level })),
            upper_slots: AtomicU32::new(state.upper_slots),
            node_bound: AtomicU32::new(state.node_bound),
            live: AtomicU32::new(state.nodes),
        }
    }

    /// The configuration it was made with.
    pub fn config(&self) -> &GraphConfig {
        &self.config
    }

    /// Nodes in the graph: those whose insert is done, without those removed.
    pub fn len(&self) -> usize {
        self.live.load(Ordering::Relaxed) as usize
    }

    /// Whether no node is in.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// One more than the largest id that was ever inserted (or tried).
    pub fn node_bound(&self) -> usize {
        // OBSERVE: pairs with PUBLISH in `ensure_node`: all tables cover the ids below.
        self.node_bound.load(Ordering::Acquire) as usize
    }

    /// The entry point and its level.
    pub fn entry(&self) -> Option<(NodeId, u8)> {
        self.entry.load().map(|entry| (entry.node, entry.level))
    }

    /// Whether `node` is in: inserted, and not removed.
    pub fn contains(&self, node: NodeId) -> bool {
        self.is_live(node)
    }

    /// Pins what can be met now; see [`Pin`](crate::Pin).
    pub fn pin(&self) -> crate::Pin {
        crate::Pin(crossbeam_epoch::pin())
    }

    /// Grows the tables to cover `node`.
    pub(crate) fn ensure_node(&self, node: NodeId) -> Result<(), MemoryError> {
        let count = node as usize + 1;
        if count <= self.node_bound() {
            return Ok(());
        }
        self.grow_tables(count)?;
        // PUBLISH: pairs with OBSERVE in `node_bound`.
        self.node_bound.fetch_max(count as u32, Ordering::AcqRel);
        Ok(())
    }

    /// Breaks the order of `ensure_node`, for a model that must notice.
    #[cfg(loom)]
    pub(crate) fn publish_bound_before_tables(&self, count: usize) {
        self.node_bound.fetch_max(count as u32, Ordering::AcqRel);
        self.grow_tables(count).expect("room");
    }

    /// Makes the words of the nodes `0..count` usable in every table.
    pub(crate) fn grow_tables(&self, count: usize) -> Result<(), MemoryError> {
        self.base.ensure_slots(count)?;
        self.slots.ensure(count)?;
        self.anchors.ensure(count)
    }

    /// Level and first upper slot of a node.
    pub(crate) fn tower_parts(&self, node: NodeId) -> (u8, u32) {
        let tower = self.tower(node);
        ((tower >> TOWER_SLOT_BITS) as u8, tower & ((1 << TOWER_SLOT_BITS) - 1))
    }

    /// Gives the node its upper slots (G1).
    pub(crate) fn claim_tower(&self, node: NodeId, level: u8) -> Result<(), InsertError> {
        let mut word = 0;
        if level > 0 {
            let first = match self.slots.take_tower(level) {
                Some(first) => first,
                None => self.fresh_tower(level)?,
            };
            word = u32::from(level) << TOWER_SLOT_BITS | first;
        }
        // SAFETY: `ensure_node` covered the node.
        let tower = unsafe { self.slots.towers.at(node as usize) };
        // PUBLISH: ordered before any list of the node by the Release of `Lists::replace`.
        tower.store(word, Ordering::Release);
        Ok(())
    }

    /// `level` upper slots that were never used.
    fn fresh_tower(&self, level: u8) -> Result<u32, MemoryError> {
        let first = self.upper_slots.fetch_add(u32::from(level), Ordering::Relaxed);
        let end = first as usize + level as usize;
        if end > 1 << TOWER_SLOT_BITS {
            // Keeps the counter from wrapping, however often this is tried.
            self.upper_slots.fetch_sub(u32::from(level), Ordering::Relaxed);
            return Err(MemoryError { asked: end * 4, capacity: 4 << TOWER_SLOT_BITS });
        }
        self.slots.ensure_upper(end)?;
        Ok(first)
    }

    /// Gives the upper slots of a node back that never became visible.
    pub(crate) fn unclaim_tower(&self, node: NodeId) {
        let (level, first) = self.tower_parts(node);
        // SAFETY: as in `claim_tower`.
        unsafe { self.slots.towers.at(node as usize) }.store(0, Ordering::Release);
        if level > 0 {
            self.slots.put_tower(level, first);
        }
    }

    /// The level of a node that is in; 0 for others.
    #[inline]
    pub(crate) fn level_of(&self, node: NodeId) -> u8 {
        (self.tower(node) >> TOWER_SLOT_BITS) as u8
    }

    #[inline(always)]
    fn tower(&self, node: NodeId) -> u32 {
        debug_assert!((node as usize) < self.node_bound());
        // SAFETY: ids come from lists or from `insert`, both below `node_bound` (checked when a saved
        // graph is opened), which `ensure_node` covered.
        let tower = unsafe { self.slots.towers.at(node as usize) };
        // OBSERVE: pairs with PUBLISH in `claim_tower`.
        tower.load(Ordering::Acquire)
    }

    /// The slot of a list on a level >= 1, if the node is that tall.
    #[inline(always)]
    pub(crate) fn upper_slot(&self, node: NodeId, level: u8) -> Option<usize> {
        debug_assert!((1..=MAX_LEVEL).contains(&level));
        let tower = self.tower(node);
        if (tower >> TOWER_SLOT_BITS) < u32::from(level) {
            return None;
        }
        let first = tower & ((1 << TOWER_SLOT_BITS) - 1);
        Some(first as usize + level as usize - 1)
    }

    /// The list of `node` on `level`.
    #[inline]
    pub(crate) fn list<'g>(&'g self, node: NodeId, level: u8, guard: &'g Guard) -> Option<ListRef<'g>> {
        if level == 0 {
            // SAFETY: the node is below `node_bound` (see `tower`), so its slot was ensured.
            return unsafe { self.base.load(node as usize, guard) };
        }
        let slot = self.upper_slot(node, level)?;
        // SAFETY: tower words only name slots that `claim_tower` ensured.
        unsafe { self.upper.load(slot, guard) }
    }

    /// The words of that list, empty places included; none for a missing one.
    #[inline(always)]
    pub(crate) fn words<'g>(&'g self, node: NodeId, level: u8, guard: &'g Guard) -> &'g [u32] {
        if level == 0 {
            // SAFETY: as in `list`.
            return unsafe { self.base.words(node as usize, guard) };
        }
        match self.upper_slot(node, level) {
            // SAFETY: as in `list`.
            Some(slot) => unsafe { self.upper.words(slot, guard) },
            None => &[],
        }
    }

    /// Hints that the list of `node` will be read.
    #[inline(always)]
    pub(crate) fn prefetch_list(&self, node: NodeId, level: u8) {
        if level == 0 {
            // SAFETY: as in `list`.
            unsafe { self.base.prefetch(node as usize) };
        }
    }

    /// Replaces the list of `node` on `level`, which was loaded as `old` under `guard`.
    pub(crate) fn replace<S: Space>(
        &self,
        (node, level): (NodeId, u8),
        old: Option<ListRef<'_>>,
        words: &[u32],
        space: &S,
        power: Power,
        guard: &Guard,
    ) -> Result<(), PublishError> {
        debug_assert!(words.len() <= self.config.limit(level), "I3");
        if level == 0 {
            let mut kept = [0; MAX_M0];
            let words = match old.filter(|_| self.config.payload_bytes() > 0) {
                Some(old) => keep_places(old.words(), words, &mut kept),
                None => words,
            };
            let fill = |ids: &[u32], old: Option<(&[u32], &[u8])>, payload: &mut [u8]| {
                space.fill_payload(node, ids, old, payload);
            };
            // SAFETY: as in `list`; `old` came from this slot, by the caller.
            return unsafe { self.base.replace(node as usize, old, words, fill, power, guard) };
        }
        let slot = self.upper_slot(node, level).expect("a list of a level that the node has");
        // SAFETY: as above; upper lists have no payload.
        unsafe { self.upper.replace(slot, old, words, |_, _, _| (), power, guard) }
    }

    /// Publishes a list of a node that nobody can see yet. Counts nothing.
    pub(crate) fn publish_first<S: Space>(
        &self,
        node: NodeId,
        level: u8,
        words: &[u32],
        space: &S,
        guard: &Guard,
    ) -> Result<(), MemoryError> {
        let old = self.list(node, level, guard);
        match self.replace((node, level), old, words, space, Power::Writer, guard) {
            Ok(()) => Ok(()),
            Err(PublishError::Memory(error)) => Err(error),
            Err(PublishError::Lost | PublishError::Frozen) => {
                unreachable!("nobody else can see node {node} yet (I1)")
            }
        }
    }

    /// Publishes a list of a node that nobody can see yet, and counts what it names (C1). Words that name a
    /// closed node are taken out of `words` first.
    pub(crate) fn publish_own<S: Space>(
        &self,
        node: NodeId,
        level: u8,
        words: &mut Vec<u32>,
        space: &S,
        guard: &Guard,
    ) -> Result<(), MemoryError> {
        let before = self.list(node, level, guard).map_or(&[][..], |list| list.words());
        words.retain(|&word| names(before, node_of(word)) || self.slots.acquire(node_of(word)));
        let published = self.publish_first(node, level, words, space, guard);
        let (mine, other) = if published.is_ok() { (before, &words[..]) } else { (&words[..], before) };
        mine.iter()
            .map(|&word| node_of(word))
            .filter(|&dropped| !names(other, dropped))
            .for_each(|dropped| self.slots.release(dropped));
        published
    }

    /// Freezes all lists of a node (L5).
    pub(crate) fn freeze(&self, node: NodeId) {
        // SAFETY: as in `list`.
        unsafe { self.base.freeze(node as usize) };
        for level in 1..=self.level_of(node) {
            if let Some(slot) = self.upper_slot(node, level) {
                // SAFETY: as in `list`.
                unsafe { self.upper.freeze(slot) };
            }
        }
    }

    /// Asks for what says where the level-0 list of `node` lies.
    #[cfg(not(loom))]
    #[inline(always)]
    pub(crate) fn hint_head(&self, node: NodeId) {
        if (node as usize) < self.node_bound() {
            // SAFETY: heads are there for all nodes below the bound, as in `list`.
            crate::prefetch::line(unsafe { self.base.head_word(node as usize) });
        }
    }

    /// Whether so many level-0 lists are where a graph that was opened or rewritten has them that it pays to ask for a block
    /// there without having read the head (see [`lists`](crate::lists), L6).
    #[cfg(not(loom))]
    pub(crate) fn lists_are_home(&self) -> bool {
        self.base.away() * LISTS_PER_AWAY <= self.node_bound()
    }

    /// Where the level-0 list of `node` lies while it is at home, and its bytes: for hints alone.
    #[cfg(not(loom))]
    #[inline(always)]
    pub(crate) fn home(&self, node: NodeId) -> (*const u8, usize) {
        self.base.home(node as usize)
    }

    /// The level-0 list of `node` with the bytes behind it: the words (empty places included) and the payload.
    /// None for a node without a list.
    #[inline(always)]
    pub(crate) fn block<'g>(&'g self, node: NodeId, guard: &'g Guard) -> Option<(&'g [u32], &'g [u8])> {
        let list = self.list(node, 0, guard)?;
        Some((list.padded_words(), self.base.payload(list)))
    }

    /// Takes back a list of a node that never became visible.
    pub(crate) fn withdraw(&self, node: NodeId, level: u8, guard: &Guard) {
        for &word in self.list(node, level, guard).map_or(&[][..], |list| list.words()) {
            self.slots.release(node_of(word));
        }
        if level == 0 {
            // SAFETY: as in `list`; the caller's node is not visible.
            unsafe { self.base.withdraw(node as usize, guard) };
        } else if let Some(slot) = self.upper_slot(node, level) {
            // SAFETY: as above.
            unsafe { self.upper.withdraw(slot, guard) };
        }
    }

    pub(crate) fn count_live(&self) {
        self.live.fetch_add(1, Ordering::Relaxed);
    }

    pub(crate) fn uncount_live(&self) {
        self.live.fetch_sub(1, Ordering::Relaxed);
    }

    /// Sets flags and counts of all nodes to what the lists say, and makes places without a list free: for
    /// a graph that nobody else has yet.
    pub(crate) fn recount(&self) {
        let guard = crossbeam_epoch::pin();
        let bound = self.node_bound() as NodeId;
        // From above, so that low slots are used again first.
        for node in (0..bound).rev() {
            if self.list(node, 0, &guard).is_some() {
                self.slots.restore(node, PRESENT | LINKED);
            } else {
                self.slots.restore(node, 0);
                self.slots.put(node);
            }
        }
        for node in 0..bound {
            if self.list(node, 0, &guard).is_none() {
                continue;
            }
            for level in 0..=self.level_of(node) {
                let words = self.list(node, level, &guard).map_or(&[][..], |list| list.words());
                words.iter().for_each(|&word| self.slots.recount(node_of(word)));
            }
        }
        if let Some(entry) = self.entry.load() {
            self.slots.recount(entry.node);
        }
    }

    /// The anchor of a node; none for the first node.
    pub(crate) fn anchor_of(&self, node: NodeId) -> Option<NodeId> {
        // SAFETY: as in `tower`.
        let anchor = unsafe { self.anchors.at(node as usize) };
        anchor.load(Ordering::Acquire).checked_sub(1)
    }

    pub(crate) fn set_anchor(&self, node: NodeId, anchor: Option<NodeId>) {
        // SAFETY: `ensure_node` covered the node.
        let word = unsafe { self.anchors.at(node as usize) };
        word.store(anchor.map_or(0, |anchor| anchor + 1), Ordering::Release);
    }
}

/// `words` in an order in which those that `old` has too are where they were, as far as there are places: what lies behind a list
/// goes with the places, so what stays needs not be moved.
fn keep_places<'w>(old: &[u32], words: &[u32], kept: &'w mut [u32; MAX_M0]) -> &'w [u32] {
    let kept = &mut kept[..words.len()];
    kept.fill(EMPTY);
    let mut others = [EMPTY; MAX_M0];
    let mut count = 0;
    for &word in words {
        let place = old.iter().position(|&other| node_of(other) == node_of(word));
        match place.and_then(|place| kept.get_mut(place)) {
            Some(place) => *place = word,
            None => {
                others[count] = word;
                count += 1;
            }
        }
    }
    kept.iter_mut()
        .filter(|place| **place == EMPTY)
        .zip(&others[..count])
        .for_each(|(place, &word)| *place = word);
    kept
}

#[cfg(all(test, not(loom)))]
mod tests;
