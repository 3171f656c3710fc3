//! The saved form of a graph: its tables in canonical order, mapped back without parsing.
//!
//! Blocks are written in the order of the nodes, so heads are the identity and two graphs with the same
//! lists give the same bytes, whatever order their blocks were allocated in. Words are little-endian.
//! [`Graph::open`] takes the tables as they are, after a check that no word leads outside of them.

use std::io::{self, Write};

use crossbeam_epoch::Guard;

use crate::NodeId;
use crate::config::{GraphConfig, MAX_LEVEL};
use crate::graph::{Graph, GraphState};
use crate::lists::{EMPTY, node_of};
use crate::memory::{GraphMemory, MemoryError};
use crate::sync::Ordering;

/// One table of a saved graph.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Table {
    /// One word per node.
    Heads,
    /// One block per node.
    Blocks,
    /// One word per node.
    Towers,
    /// One word per node.
    Anchors,
    /// One word per upper list.
    UpperHeads,
    /// One block per upper list.
    UpperBlocks,
}

impl Table {
    /// All tables, in the order they are usually written.
    pub const ALL: [Table; 6] =
        [Table::Heads, Table::Blocks, Table::Towers, Table::Anchors, Table::UpperHeads, Table::UpperBlocks];
}

/// Why saved tables are not a graph.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum OpenError {
    /// A memory does not hold the bytes that the state calls for.
    #[error(transparent)]
    Memory(#[from] MemoryError),
    /// A word of a table leads outside of the tables.
    #[error("word {index} of the saved graph's {table:?} table is {word}, which leads nowhere")]
    Word {
        /// Which table.
        table: Table,
        /// Which word, counted from 0.
        index: usize,
        /// What it holds.
        word: u32,
    },
    /// The entry point is not a node of the graph.
    #[error("the saved graph's entry point (node {node}, level {level}) is not one of its {nodes} nodes")]
    Entry {
        /// The node.
        node: NodeId,
        /// Its level.
        level: u8,
        /// How many nodes there are.
        nodes: u32,
    },
}

impl Graph {
    /// What has to be saved beside the tables.
    ///
    /// Nothing may be inserted from here until the last table is written; the caller sees to that.
    pub fn state(&self) -> GraphState {
        let guard = crossbeam_epoch::pin();
        let bound = self.node_bound();
        let upper = (0..bound as NodeId).map(|node| u32::from(self.saved_level(node, &guard))).sum();
        GraphState {
            node_bound: bound as u32,
            nodes: self.len() as u32,
            upper_slots: upper,
            entry: self.entry(),
        }
    }

    /// Writes one table.
    ///
    /// # Errors
    /// Those of `out`.
    pub fn write_table(&self, table: Table, out: &mut dyn Write) -> io::Result<()> {
        let guard = crossbeam_epoch::pin();
        let nodes = 0..self.node_bound() as NodeId;
        let mut buffer = Words::new(out);
        match table {
            Table::Heads => {
                for node in nodes {
                    buffer.put(if self.list(node, 0, &guard).is_some() { node + 1 } else { 0 })?;
                }
            }
            Table::Blocks => {
                for node in nodes {
                    buffer.put_block(self.words(node, 0, &guard), self.base.shape().ids)?;
                    if self.config.payload_bytes() > 0 {
                        let payload = self.block(node, &guard).map_or(&[][..], |(_, payload)| payload);
                        buffer.put_bytes(payload, self.config.payload_bytes().next_multiple_of(64))?;
                    }
                }
            }
            Table::Towers => {
                let mut slot = 0;
                for node in nodes {
                    let level = u32::from(self.saved_level(node, &guard));
                    buffer.put(if level == 0 { 0 } else { level << 28 | slot })?;
                    slot += level;
                }
            }
            Table::Anchors => {
                for node in nodes {
                    let is_in = self.list(node, 0, &guard).is_some();
                    buffer.put(self.anchor_of(node).filter(|_| is_in).map_or(0, |anchor| anchor + 1))?;
                }
            }
            Table::UpperHeads => {
                let mut slot = 0;
                for node in nodes {
                    for _ in 0..self.saved_level(node, &guard) {
                        slot += 1;
                        buffer.put(slot)?;
                    }
                }
            }
            Table::UpperBlocks => {
                for node in nodes {
                    for level in 1..=self.saved_level(node, &guard) {
                        buffer.put_block(self.words(node, level, &guard), self.upper.shape().ids)?;
                    }
                }
            }
        }
        buffer.finish()
    }

    /// The level of a node that is in, 0 for a place without a node.
    fn saved_level(&self, node: NodeId, guard: &Guard) -> u8 {
        if self.list(node, 0, guard).is_some() { self.level_of(node) } else { 0 }
    }

    /// A graph over saved tables: each memory of `memory` starts with the bytes of its [`Table`].
    ///
    /// # Errors
    /// [`OpenError`] when the tables are not as long as `state` says or a word leads outside of them.
    pub fn open(config: GraphConfig, memory: GraphMemory, state: GraphState) -> Result<Self, OpenError> {
        let nodes = state.node_bound as usize;
        let graph = Self::with_state(config, memory, state);
        graph.base.ensure_slots(nodes)?;
        graph.base.ensure_blocks(nodes)?;
        graph.ensure_node_tables(nodes)?;
        graph.upper.ensure_slots(state.upper_slots as usize)?;
        graph.upper.ensure_blocks(state.upper_slots as usize)?;
        graph.check_words(state)?;
        if let Some((node, level)) = state.entry {
            let is_in = node < state.node_bound
                && level <= MAX_LEVEL
                && graph.list(node, 0, &crossbeam_epoch::pin()).is_some()
                && graph.level_of(node) == level;
            if !is_in {
                return Err(OpenError::Entry { node, level, nodes: state.node_bound });
            }
        }
        Ok(graph)
    }

    /// Every word of every table leads to a place inside the tables: what all later reads rely on.
    fn check_words(&self, state: GraphState) -> Result<(), OpenError> {
        let (nodes, slots) = (state.node_bound, state.upper_slots);
        for index in 0..nodes as usize {
            let bad = |table, word| Err(OpenError::Word { table, index, word });
            // SAFETY: `open` ensured the slots of all nodes.
            let head = unsafe { self.base.head(index) };
            if head > nodes {
                return bad(Table::Heads, head);
            }
            let (level, first) = self.tower_parts(index as NodeId);
            if level > 0 && u64::from(first) + u64::from(level) > u64::from(slots) {
                return bad(Table::Towers, first);
            }
            if let Some(anchor) = self.anchor_of(index as NodeId).filter(|&anchor| anchor >= nodes) {
                return bad(Table::Anchors, anchor);
            }
        }
        for index in 0..slots as usize {
            // SAFETY: `open` ensured the upper slots.
            let head = unsafe { self.upper.head(index) };
            if head == 0 || head > slots {
                return Err(OpenError::Word { table: Table::UpperHeads, index, word: head });
            }
        }
        for (table, lists, blocks) in
            [(Table::Blocks, &self.base, nodes as usize), (Table::UpperBlocks, &self.upper, slots as usize)]
        {
            // SAFETY: `open` ensured the blocks, and nobody writes to a graph that is being opened.
            let words = unsafe { lists.all_words(blocks) };
            // One pass without branches; the slow search for the culprit only when there is one.
            let is_bad = |&word: &u32| word != EMPTY && node_of(word) >= nodes;
            let shape = lists.shape();
            for (block, words) in words.chunks_exact(shape.stride).enumerate() {
                let ids = &words[..shape.ids];
                if ids.iter().fold(false, |bad, word| bad | is_bad(word)) {
                    let place = ids.iter().position(is_bad).unwrap_or(0);
                    let index = block * shape.stride + place;
                    return Err(OpenError::Word { table, index, word: ids[place] });
                }
            }
        }
        Ok(())
    }

    fn ensure_node_tables(&self, nodes: usize) -> Result<(), MemoryError> {
        match nodes.checked_sub(1) {
            // The bound is set already, so the tables are asked for directly.
            Some(_) => self.grow_tables(nodes),
            None => Ok(()),
        }
    }
}

/// Buffers little-endian words.
struct Words<'w> {
    out: &'w mut dyn Write,
    buffer: Vec<u8>,
}

impl<'w> Words<'w> {
    fn new(out: &'w mut dyn Write) -> Self {
        Self { out, buffer: Vec::with_capacity(1 << 16) }
    }

    fn put(&mut self, word: u32) -> io::Result<()> {
        self.buffer.extend_from_slice(&word.to_le_bytes());
        if self.buffer.len() >= 1 << 16 {
            self.out.write_all(&self.buffer)?;
            self.buffer.clear();
        }
        Ok(())
    }

    fn put_bytes(&mut self, bytes: &[u8], length: usize) -> io::Result<()> {
        self.buffer.extend_from_slice(bytes);
        self.buffer.resize(self.buffer.len() + length - bytes.len(), 0);
        if self.buffer.len() >= 1 << 16 {
            self.out.write_all(&self.buffer)?;
            self.buffer.clear();
        }
        Ok(())
    }

    fn put_block(&mut self, words: &[u32], stride: usize) -> io::Result<()> {
        (0..stride).try_for_each(|place| self.put(words.get(place).copied().unwrap_or(EMPTY)))
    }

    fn finish(self) -> io::Result<()> {
        self.out.write_all(&self.buffer)
    }
}

impl crate::lists::Lists {
    /// The raw head of a slot.
    ///
    /// # Safety
    /// `slot` was granted by `ensure_slots`.
    unsafe fn head(&self, slot: usize) -> u32 {
        // SAFETY: the caller's promise.
        unsafe { self.head_word(slot) }.load(Ordering::Acquire)
    }
}
