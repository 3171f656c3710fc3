//! The graph itself: its tables and how a (node, level) finds its list.
//!
//! * **G1** A node's tower word (its level and where its upper lists are) is written before any list of
//!   the node is published, and never changes.
//! * **G2** A node is in the graph when its level-0 head is set.

use crossbeam_epoch::Guard;

use crate::config::{GraphConfig, MAX_LEVEL};
use crate::entry::{Entry, EntryPoint};
use crate::lists::{ListRef, Lists, PublishError};
use crate::memory::{GraphMemory, MemoryError};
use crate::sync::{Arc, AtomicTable, AtomicU32, BlockShape, Ordering};
use crate::{InsertError, NodeId, Space};

/// Bits of a tower word that say where the node's upper lists start.
const TOWER_SLOT_BITS: u32 = 28;

/// A Hierarchical Navigable Small World graph over nodes that the caller numbers from 0.
pub struct Graph {
    pub(crate) config: GraphConfig,
    /// Level-0 lists; slot = node.
    pub(crate) base: Arc<Lists>,
    /// Lists of the levels >= 1; slot from the tower word.
    pub(crate) upper: Arc<Lists>,
    /// Level << 28 | first upper slot.
    pub(crate) towers: AtomicTable,
    /// Anchor + 1.
    anchors: AtomicTable,
    pub(crate) entry: EntryPoint,
    upper_slots: AtomicU32,
    /// One more than the largest node id met.
    node_bound: AtomicU32,
    inserted: AtomicU32,
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
        Self {
            config,
            base: lists(
                config.m0(),
                payload,
                memory.heads,
                memory.blocks,
                memory.block_links,
                state.node_bound,
            ),
            upper: lists(
                config.m(),
                0,
                memory.upper_heads,
                memory.upper_blocks,
                memory.upper_block_links,
                state.upper_slots,
            ),
            towers: AtomicTable::new(memory.towers),
            anchors: AtomicTable::new(memory.anchors),
            entry: EntryPoint::new(state.entry.map(|(node, level)| Entry { node, level })),
            upper_slots: AtomicU32::new(state.upper_slots),
            node_bound: AtomicU32::new(state.node_bound),
            inserted: AtomicU32::new(state.nodes),
        }
    }

    /// The configuration it was made with.
    pub fn config(&self) -> &GraphConfig {
        &self.config
    }

    /// Nodes in the graph.
    pub fn len(&self) -> usize {
        self.inserted.load(Ordering::Relaxed) as usize
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

    /// Whether `node` is in.
    pub fn contains(&self, node: NodeId) -> bool {
        (node as usize) < self.node_bound() && self.list(node, 0, &crossbeam_epoch::pin()).is_some()
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

    /// Makes the words of the nodes `0..count` usable in every table.
    pub(crate) fn grow_tables(&self, count: usize) -> Result<(), MemoryError> {
        self.base.ensure_slots(count)?;
        self.towers.ensure(count)?;
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
            let first = self.upper_slots.fetch_add(u32::from(level), Ordering::Relaxed);
            let end = first as usize + level as usize;
            if end > 1 << TOWER_SLOT_BITS {
                return Err(MemoryError { asked: end * 4, capacity: 4 << TOWER_SLOT_BITS }.into());
            }
            self.upper.ensure_slots(end)?;
            word = u32::from(level) << TOWER_SLOT_BITS | first;
        }
        // SAFETY: `ensure_node` covered the node.
        let tower = unsafe { self.towers.at(node as usize) };
        // PUBLISH: ordered before any list of the node by the Release of `Lists::replace`.
        tower.store(word, Ordering::Release);
        Ok(())
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
        let tower = unsafe { self.towers.at(node as usize) };
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
        guard: &Guard,
    ) -> Result<(), PublishError> {
        debug_assert!(words.len() <= self.config.limit(level), "I3");
        if level == 0 {
            let fill = |ids: &[u32], old: Option<(&[u32], &[u8])>, payload: &mut [u8]| {
                space.fill_payload(node, ids, old, payload);
            };
            // SAFETY: as in `list`; `old` came from this slot, by the caller.
            return unsafe { self.base.replace(node as usize, old, words, fill, guard) };
        }
        let slot = self.upper_slot(node, level).expect("a list of a level that the node has");
        // SAFETY: as above; upper lists have no payload.
        unsafe { self.upper.replace(slot, old, words, |_, _, _| (), guard) }
    }

    /// Publishes a list of a node that nobody can see yet.
    pub(crate) fn publish_first<S: Space>(
        &self,
        node: NodeId,
        level: u8,
        words: &[u32],
        space: &S,
        guard: &Guard,
    ) -> Result<(), MemoryError> {
        let old = self.list(node, level, guard);
        match self.replace((node, level), old, words, space, guard) {
            Ok(()) => Ok(()),
            Err(PublishError::Memory(error)) => Err(error),
            Err(PublishError::Lost) => unreachable!("nobody else can see node {node} yet (I1)"),
        }
    }

    pub(crate) fn publish_empty<S: Space>(
        &self,
        node: NodeId,
        level: u8,
        space: &S,
        guard: &Guard,
    ) -> Result<(), MemoryError> {
        self.publish_first(node, level, &[], space, guard)
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
        if level == 0 {
            // SAFETY: as in `list`; the caller's node is not visible.
            unsafe { self.base.withdraw(node as usize, guard) };
        } else if let Some(slot) = self.upper_slot(node, level) {
            // SAFETY: as above.
            unsafe { self.upper.withdraw(slot, guard) };
        }
    }

    pub(crate) fn count_inserted(&self) {
        self.inserted.fetch_add(1, Ordering::Relaxed);
    }

    /// The anchor of a node; none for the first node.
    pub(crate) fn anchor_of(&self, node: NodeId) -> Option<NodeId> {
        // SAFETY: as in `tower`.
        let anchor = unsafe { self.anchors.at(node as usize) };
        anchor.load(Ordering::Acquire).checked_sub(1)
    }

    pub(crate) fn set_anchor(&self, node: NodeId, anchor: NodeId) {
        // SAFETY: `ensure_node` covered the node.
        let word = unsafe { self.anchors.at(node as usize) };
        word.store(anchor + 1, Ordering::Release);
    }
}

#[cfg(all(test, not(loom)))]
mod tests;
