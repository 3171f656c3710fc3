#![doc = include_str!("../README.md")]

mod blocks;
mod builder;
mod bulk;
mod codes;
mod compact;
mod directory;
mod filter;
mod flat;
mod gate;
mod ids;
mod index;
mod info;
mod keys;
mod memory;
mod optimize;
mod packed;
mod pinned;
mod recall;
mod remove;
mod rowless;
mod search;
mod snapshot;
mod space;
mod speed;

pub use builder::{BuildError, IndexBuilder, MAX_DIM, Quantization, UnknownQuantization};
pub use bulk::{BelowFloor, BulkError, BulkMemory, BulkOptions, BulkPhase, BulkReport, BulkWatch};
pub use flat::{FlatRows, exact};
pub use gate::{Choice, Trial};
pub use ids::{Key, KeyRef, RowId};
pub use index::{FillError, Index, InsertError};
pub use info::{IndexReport, Info, MemoryInfo};
pub use orthant_graph::{Advice, Fault, FilterMode, NodeId, Quality, Report};
pub use orthant_kernels::Metric;
pub use pinned::Pinned;
pub use recall::recall_at_k;
pub use remove::RemoveError;
pub use rowless::{ROWLESS_VERSION, ReadRow};
pub use search::{Batch, Hit, Match, SearchError, SearchParams, Searcher};
pub use snapshot::{FORMAT_VERSION, OpenError, OpenOptions, SaveError};

pub use orthant_kernels as kernels;
pub use orthant_pool as pool;
pub use orthant_storage as storage;
