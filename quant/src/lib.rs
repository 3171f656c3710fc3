#![doc = include_str!("../README.md")]

mod codes;
mod edge;
mod frame;
mod multi;
mod random;
mod report;
mod rotation;
mod signs;
mod sq;

pub use codes::CodeMatrix;
pub use edge::{EDGE_LANES, EdgeCodes, EdgeConfig, EdgeError, EdgeFactors, EdgeQuery};
pub use frame::CodecError;
pub use report::Report;
pub use rotation::{LANES, Rotation};
pub use sq::{Sq8, Sq8Query, TrainError};
