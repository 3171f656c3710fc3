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
