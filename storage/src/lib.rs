#![doc = include_str!("../README.md")]

mod arena;
mod blocks;
mod column;
mod layout;
pub mod log;
pub mod numa;
mod os;
mod pages;
pub mod persist;
mod publish;
mod sharded;
mod soa;
mod sync;

pub use arena::{ArenaError, Claim, RowArena};
pub use blocks::BlockArena;
pub use column::Column;
pub use layout::RowLayout;
pub use pages::{MemoryBudget, MemoryOptions, PageKind, PageReport, Region, RegionError};
pub use sharded::{Hit, Shard, ShardedArena};
pub use soa::{ColumnId, Columns, ColumnsBuilder, RowClaim};

/// Gives pages of the heap that nothing uses back to the system, on Linux with glibc, which keeps what is freed below what is
/// not. Worth its few milliseconds between steps that allocate and free much.
pub fn trim_heap() {
    os::trim_heap();
}
