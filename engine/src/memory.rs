//! The graph's tables on the storage crate's regions.

use orthant_graph::{GraphMemory, Memory, MemoryError};
use orthant_storage::{MemoryOptions, Region, RegionError};

/// A region that the graph may use.
struct RegionMemory(Region);

// SAFETY: a region never moves and is aligned to a page; granted bytes are committed, zero-filled (or
// loaded from a file) and stay so; the region is owned here, so nothing else uses it.
unsafe impl Memory for RegionMemory {
    fn base(&self) -> *mut u8 {
        self.0.as_ptr()
    }

    fn ensure(&self, bytes: usize) -> Result<(), MemoryError> {
        self.0.ensure(bytes).map_err(|_| MemoryError { asked: bytes, capacity: self.0.capacity() })
    }

    fn release(&self, range: std::ops::Range<usize>) {
        // SAFETY: the graph, their only user, does not need the bytes.
        unsafe { self.0.discard(range) };
    }
}

/// Hands a region to the graph.
pub(crate) fn boxed(region: Region) -> Box<dyn Memory> {
    Box::new(RegionMemory(region))
}

/// Fresh tables for a new graph.
pub(crate) fn graph_memory(options: &MemoryOptions) -> Result<GraphMemory, RegionError> {
    // Words per node are few: huge pages would only round small graphs up.
    let words = MemoryOptions { expected_bytes: None, ..options.clone() };
    let word_table = || Region::reserve(&words).map(boxed);
    Ok(GraphMemory {
        heads: word_table()?,
        blocks: Region::reserve(options).map(boxed)?,
        block_links: word_table()?,
        towers: word_table()?,
        anchors: word_table()?,
        refs: word_table()?,
        generations: word_table()?,
        partners: word_table()?,
        slot_links: word_table()?,
        tower_links: word_table()?,
        upper_heads: word_table()?,
        upper_blocks: word_table()?,
        upper_block_links: word_table()?,
    })
}
