#![doc = include_str!("../README.md")]

mod affinity;
mod cancel;
mod chunks;
mod counters;
mod fences;
mod join;
mod latch;
#[cfg(loom)]
#[doc(hidden)]
pub mod model;
mod objects;
mod pool;
mod queue;
mod scope;
mod scratch;
mod sleep;
mod steal;
mod sync;
mod task;
mod topology;
mod worker;

pub use affinity::Affinity;
pub use cancel::{CancelToken, Cancelled};
pub use counters::Counters;
pub use objects::{ObjectPool, PoolGuard};
pub use pool::{MAX_THREADS, Pool, PoolBuilder, PoolError};
pub use scope::Scope;
pub use scratch::PerWorker;
