//! Where the graph's tables live: bytes that grow without moving.
//!
//! The graph asks for memory through [`Memory`], so that an engine can hand it huge pages or a mapped
//! file. [`GraphMemory::heap`] is enough for a graph on its own.

use std::alloc::{Layout, alloc_zeroed, dealloc, handle_alloc_error};

use crate::config::GraphConfig;
use crate::sync::BlockShape;

/// A table could not grow: its memory is used up.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("a graph table of {asked} bytes does not fit the {capacity} bytes it may use")]
pub struct MemoryError {
    /// Bytes that were needed.
    pub asked: usize,
    /// Bytes that can be had.
    pub capacity: usize,
}

/// Growable bytes at a stable address.
///
/// # Safety
/// An implementation promises, for its whole life:
/// * [`base`](Memory::base) is always the same address, aligned to 64 bytes;
/// * after `ensure(bytes)` succeeded, the first `bytes` bytes can be read and written by any thread;
/// * bytes never granted before are zero (or hold what a saved graph put there) when granted;
/// * bytes change by nobody's doing but the graph's, except to zero by its own call of [`release`](Memory::release);
/// * nothing else reads or writes the granted bytes.
pub unsafe trait Memory: Send + Sync {
    /// The first byte.
    fn base(&self) -> *mut u8;

    /// Makes the first `bytes` bytes usable. Called from any thread; cheap when they already are.
    ///
    /// # Errors
    /// [`MemoryError`] when there is no more to be had; what was granted before stays usable.
    fn ensure(&self, bytes: usize) -> Result<(), MemoryError>;

    /// Gives the system back what lies in `range` (bytes from the base), as far as it likes to: the bytes stay
    /// usable and read as zeros or as before. Nobody reads or writes them during the call. Does nothing
    /// unless overridden.
    fn release(&self, range: std::ops::Range<usize>) {
        let _ = range;
    }
}

/// Blocks of heap memory beyond those in use: what writers can replace while a reader that lost the
/// processor for a few milliseconds holds them all back. Only touched pages take memory.
const SPARE_BLOCKS: usize = 1 << 16;

/// The memories of one graph, one per table.
pub struct GraphMemory {
    /// One word per node: which block holds its level-0 list.
    pub heads: Box<dyn Memory>,
    /// Level-0 neighbor lists.
    pub blocks: Box<dyn Memory>,
    /// One word per level-0 block, for the free list.
    pub block_links: Box<dyn Memory>,
    /// One word per node: its level and where its upper lists are.
    pub towers: Box<dyn Memory>,
    /// One word per node: whose anchored edge leads to it.
    pub anchors: Box<dyn Memory>,
    /// One word per node: how it stands, and how many edges lead to it. Starts as zeros, also for a saved graph.
    pub refs: Box<dyn Memory>,
    /// One word per node: how often its slot was used again. Starts as zeros.
    pub generations: Box<dyn Memory>,
    /// Two words per node: whom it replaces, and who replaced it. Starts as zeros.
    pub partners: Box<dyn Memory>,
    /// One word per node, for the lists of removed ones. Starts as zeros.
    pub slot_links: Box<dyn Memory>,
    /// One word per (node, level >= 1), for the list of those that were left. Starts as zeros.
    pub tower_links: Box<dyn Memory>,
    /// One word per (node, level >= 1): which block holds that list.
    pub upper_heads: Box<dyn Memory>,
    /// Neighbor lists of the levels >= 1.
    pub upper_blocks: Box<dyn Memory>,
    /// One word per upper block, for the free list.
    pub upper_block_links: Box<dyn Memory>,
}

impl GraphMemory {
    /// Plain heap memory for up to `nodes` nodes with lists of `m0` ids. The operating system hands out
    /// zeroed pages on first use, so what is not reached costs little.
    ///
    /// Blocks get more room than nodes: replaced ones wait there until no reader can see them.
    pub fn heap(nodes: usize, m0: usize) -> Self {
        Self::heap_of(nodes, m0, 0)
    }

    /// As [`heap`](Self::heap), for a configuration whose blocks may carry a payload.
    pub fn heap_for(nodes: usize, config: &GraphConfig) -> Self {
        Self::heap_of(nodes, config.m0(), config.payload_bytes())
    }

    fn heap_of(nodes: usize, m0: usize, payload: usize) -> Self {
        let words = |count: usize| -> Box<dyn Memory> { Box::new(HeapMemory::new(count.max(16) * 4)) };
        let stride = BlockShape::new(m0, payload).stride;
        let upper_stride = BlockShape::new(m0, 0).stride;
        Self {
            heads: words(nodes),
            blocks: words((4 * nodes + SPARE_BLOCKS) * stride),
            block_links: words(4 * nodes + SPARE_BLOCKS),
            towers: words(nodes),
            anchors: words(nodes),
            refs: words(nodes),
            generations: words(nodes),
            partners: words(2 * nodes),
            slot_links: words(nodes),
            // Each node is on 1 / (M - 1) upper levels on average, and M may be 2.
            tower_links: words(2 * nodes + 64),
            upper_heads: words(2 * nodes + 64),
            upper_blocks: words((nodes + SPARE_BLOCKS) * upper_stride),
            upper_block_links: words(nodes + SPARE_BLOCKS),
        }
    }
}

/// Zeroed heap bytes of a fixed capacity.
struct HeapMemory {
    base: *mut u8,
    layout: Layout,
}

// SAFETY: the allocation is owned by this value and only handed out as a raw address.
unsafe impl Send for HeapMemory {}
// SAFETY: as above.
unsafe impl Sync for HeapMemory {}

impl HeapMemory {
    fn new(bytes: usize) -> Self {
        let layout =
            Layout::from_size_align(bytes.max(64), 64).expect("a graph table below isize::MAX bytes");
        // SAFETY: the layout has a size of at least 64.
        let base = unsafe { alloc_zeroed(layout) };
        if base.is_null() {
            handle_alloc_error(layout);
        }
        Self { base, layout }
    }
}

// SAFETY: one zeroed allocation, aligned to 64, never moved, all of it usable from the start.
unsafe impl Memory for HeapMemory {
    fn base(&self) -> *mut u8 {
        self.base
    }

    fn ensure(&self, bytes: usize) -> Result<(), MemoryError> {
        if bytes <= self.layout.size() {
            Ok(())
        } else {
            Err(MemoryError { asked: bytes, capacity: self.layout.size() })
        }
    }
}

impl Drop for HeapMemory {
    fn drop(&mut self) {
        // SAFETY: allocated in `new` with this layout, freed once here.
        unsafe { dealloc(self.base, self.layout) }
    }
}
