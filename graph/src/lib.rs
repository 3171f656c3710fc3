#![doc = include_str!("../README.md")]

mod admit;
mod anchor;
#[cfg(not(loom))]
mod batch;
mod beam;
#[cfg(not(loom))]
mod blocks;
mod config;
mod entry;
mod filter;
mod from_lists;
mod graph;
mod insert;
mod level;
mod lists;
mod memory;
#[cfg(not(loom))]
mod mend;
mod merge;
/// Models for `tests/loom_lists.rs`; not part of the interface.
#[cfg(loom)]
#[doc(hidden)]
pub mod models;
mod monitor;
mod optimize;
#[cfg(not(loom))]
mod prefetch;
mod reclaim;
#[cfg(not(loom))]
mod refine;
mod relink;
mod remove;
mod repair;
mod scorer;
mod scratch;
mod search;
mod seen;
mod segments;
mod select;
mod slots;
mod snapshot;
mod sync;
mod update;
mod validate;
mod visited;

#[cfg(not(loom))]
pub use batch::GoesOn;
#[cfg(not(loom))]
pub use blocks::{BLOCK_LANES, BlockScorer, BlockSearch, BlockWalk};
pub use config::{
    ConfigError, GraphConfig, MAX_EF_CONSTRUCTION, MAX_LEVEL, MAX_M0, MAX_NODE, MAX_PAYLOAD_BYTES,
};
pub use filter::FilterMode;
pub use from_lists::LevelLists;
pub use graph::{Graph, GraphState};
pub use level::LevelDraw;
pub use memory::{GraphMemory, Memory, MemoryError};
#[cfg(not(loom))]
pub use mend::Mended;
pub use monitor::{Advice, Quality};
#[cfg(not(loom))]
pub use refine::RunRanges;
pub use remove::RemoveError;
pub use scorer::{Scorer, Space};
pub use scratch::Scratch;
pub use segments::{Segment, search_segments};
pub use snapshot::{Dense, OpenError, Table};
pub use update::Updated;
pub use validate::{Fault, Report};

/// Keeps what the holder has met in place: while it lives, no slot that was in use when it was taken gets another node,
/// and no list that could be seen then is overwritten. Searches and writes take one themselves; take
/// one around several steps that belong together (a search, and reading the rows of what it found). Cheap, and
/// not for long: what is removed or replaced anywhere in the process meanwhile cannot be reclaimed.
pub struct Pin(#[cfg_attr(loom, allow(dead_code))] crossbeam_epoch::Guard);

impl std::fmt::Debug for Pin {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Pin")
    }
}

/// A node: dense numbers from 0 that the caller gives out.
pub type NodeId = u32;

/// A node and how far it is.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Neighbor {
    /// The node.
    pub node: NodeId,
    /// Its distance; smaller is nearer.
    pub distance: f32,
}

/// Why a node was not inserted.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum InsertError {
    /// The id is too large for an edge.
    #[error("node id {node} is above {max}", max = MAX_NODE)]
    NodeId {
        /// The id.
        node: NodeId,
    },
    /// The node is in the graph already.
    #[error("node {node} is in the graph already")]
    Present {
        /// The id.
        node: NodeId,
    },
    /// A table cannot grow.
    #[error(transparent)]
    Memory(#[from] MemoryError),
}
