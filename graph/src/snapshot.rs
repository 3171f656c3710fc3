//! The saved form of a graph: its tables in canonical order, mapped back without parsing.
//!
//! Blocks are written in the order of the nodes, so heads are the identity and two graphs with the same
//! lists give the same bytes, whatever order their blocks were allocated in. Words are little-endian.
//! [`Graph::open`] takes the tables as they are, after a check that no word leads outside of them.

use std::io::{self, Write};

use crate::NodeId;
use crate::config::{GraphConfig, MAX_LEVEL};
use crate::graph::{Graph, GraphState, TOWER_SLOT_BITS};
use crate::lists::{ANCHORED, EMPTY, node_of};
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

/// Which numbers the nodes have in the saved form.
struct Numbering {
    /// Which node each saved number is; `None` for a place that stays empty.
    nodes: Vec<Option<NodeId>>,
    /// The inverse, where numbers change.
    numbers: Option<Vec<NodeId>>,
}

impl Numbering {
    fn number(&self, node: NodeId) -> NodeId {
        self.numbers.as_ref().map_or(node, |numbers| numbers[node as usize])
    }
}

/// A graph about to be saved with its nodes numbered without gaps; see [`Graph::dense`].
pub struct Dense<'g> {
    graph: &'g Graph,
    numbering: Numbering,
}

impl Dense<'_> {
    /// Which node each saved number is: the nodes of the graph in ascending order.
    pub fn nodes(&self) -> impl ExactSizeIterator<Item = NodeId> + '_ {
        self.numbering.nodes.iter().map(|node| node.unwrap_or_default())
    }

    /// What has to be saved beside the tables.
    pub fn state(&self) -> GraphState {
        self.graph.state_of(&self.numbering)
    }

    /// Writes one table; as [`Graph::write_table`].
    ///
    /// # Errors
    /// As there.
    pub fn write_table(&self, table: Table, out: &mut dyn Write) -> io::Result<()> {
        self.graph.write_numbered(&self.numbering, table, out)
    }
}

impl Graph {
    /// What has to be saved beside the tables.
    ///
    /// Nothing may be inserted or removed from here until the last table is written; the caller sees to that.
    pub fn state(&self) -> GraphState {
        self.state_of(&self.kept_numbers())
    }

    /// Writes one table, every node under its number. Places without a node stay empty.
    ///
    /// # Errors
    /// Those of `out`; [`io::ErrorKind::ResourceBusy`] when removed nodes are still in lists:
    /// [`settle`](Self::settle) first.
    pub fn write_table(&self, table: Table, out: &mut dyn Write) -> io::Result<()> {
        self.write_numbered(&self.kept_numbers(), table, out)
    }

    /// The graph as it is to be saved without the places that no node has: nodes are numbered anew, in the order
    /// of their numbers. Payloads are copied as they are.
    pub fn dense(&self) -> Dense<'_> {
        let mut numbers = vec![NodeId::MAX; self.node_bound()];
        let nodes: Vec<_> =
            (0..self.node_bound() as NodeId).filter(|&node| self.is_live(node)).map(Some).collect();
        for (number, node) in nodes.iter().enumerate() {
            numbers[node.unwrap_or_default() as usize] = number as NodeId;
        }
        Dense { graph: self, numbering: Numbering { nodes, numbers: Some(numbers) } }
    }

    fn kept_numbers(&self) -> Numbering {
        let nodes = (0..self.node_bound() as NodeId).map(|node| self.is_live(node).then_some(node)).collect();
        Numbering { nodes, numbers: None }
    }

    fn state_of(&self, numbering: &Numbering) -> GraphState {
        let nodes = || numbering.nodes.iter().flatten();
        GraphState {
            node_bound: numbering.nodes.len() as u32,
            nodes: nodes().count() as u32,
            upper_slots: nodes().map(|&node| u32::from(self.level_of(node))).sum(),
            entry: self.entry().map(|(node, level)| (numbering.number(node), level)),
        }
    }

    fn write_numbered(&self, numbering: &Numbering, table: Table, out: &mut dyn Write) -> io::Result<()> {
        if !self.slots.changes().is_none() {
            return Err(io::Error::new(io::ErrorKind::ResourceBusy, "removed nodes are still in lists"));
        }
        let guard = crossbeam_epoch::pin();
        let level_of = |node: Option<NodeId>| node.map_or(0, |node| self.level_of(node));
        let renumber = |word: u32| match (word, &numbering.numbers) {
            (EMPTY, _) | (_, None) => word,
            (word, Some(_)) => numbering.number(node_of(word)) | (word & ANCHORED),
        };
        let mut buffer = Words::new(out);
        let mut slot = 0;
        for (number, &node) in (0u32..).zip(&numbering.nodes) {
            match (table, node) {
                (Table::Heads, node) => buffer.put(node.map_or(0, |_| number + 1))?,
                (Table::Blocks, node) => {
                    let words = node.map_or(&[][..], |node| self.words(node, 0, &guard));
                    buffer.put_block(words.iter().map(|&word| renumber(word)), self.base.shape().ids)?;
                    if self.config.payload_bytes() > 0 {
                        let payload = node.and_then(|node| self.block(node, &guard));
                        let bytes = payload.map_or(&[][..], |(_, payload)| payload);
                        buffer.put_bytes(bytes, self.config.payload_bytes().next_multiple_of(64))?;
                    }
                }
                (Table::Towers, node) => {
                    let level = u32::from(level_of(node));
                    buffer.put(if level == 0 { 0 } else { level << TOWER_SLOT_BITS | slot })?;
                    slot += level;
                }
                (Table::Anchors, node) => {
                    let anchor = node.and_then(|node| self.anchor_of(node));
                    buffer.put(anchor.map_or(0, |anchor| numbering.number(anchor) + 1))?;
                }
                (Table::UpperHeads, node) => {
                    for _ in 0..level_of(node) {
                        slot += 1;
                        buffer.put(slot)?;
                    }
                }
                (Table::UpperBlocks, node) => {
                    for level in 1..=level_of(node) {
                        let words = node.map_or(&[][..], |node| self.words(node, level, &guard));
                        buffer.put_block(words.iter().map(|&word| renumber(word)), self.upper.shape().ids)?;
                    }
                }
            }
        }
        buffer.finish()
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
        graph.slots.ensure_upper(state.upper_slots as usize)?;
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
        // What it counts was checked.
        graph.recount();
        Ok(graph)
    }

    /// Every word of every table leads to a place inside the tables: what all later reads rely on.
    fn check_words(&self, state: GraphState) -> Result<(), OpenError> {
        let (nodes, slots) = (state.node_bound, state.upper_slots);
        let mut next_slot = 0;
        for index in 0..nodes as usize {
            let bad = |table, word| Err(OpenError::Word { table, index, word });
            // SAFETY: `open` ensured the slots of all nodes.
            let head = unsafe { self.base.head(index) };
            // The canonical order, so no two lists share a block.
            if head != 0 && head != index as u32 + 1 {
                return bad(Table::Heads, head);
            }
            let (level, first) = self.tower_parts(index as NodeId);
            if level > 0 {
                if head == 0 || first != next_slot || level > MAX_LEVEL || u32::from(level) > slots - first {
                    return bad(Table::Towers, first);
                }
                next_slot += u32::from(level);
            }
            if let Some(anchor) = self.anchor_of(index as NodeId).filter(|&anchor| anchor >= nodes) {
                return bad(Table::Anchors, anchor);
            }
        }
        for index in 0..slots as usize {
            // SAFETY: `open` ensured the upper slots.
            let head = unsafe { self.upper.head(index) };
            if head != index as u32 + 1 {
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

    fn put_block(&mut self, words: impl Iterator<Item = u32>, stride: usize) -> io::Result<()> {
        words.chain(std::iter::repeat(EMPTY)).take(stride).try_for_each(|word| self.put(word))
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
