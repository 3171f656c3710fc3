#![doc = include_str!("../README.md")]
#![forbid(unsafe_code)]

mod codes;
mod frame;
mod report;
mod sq;

pub use codes::CodeMatrix;
pub use frame::CodecError;
pub use report::Report;
pub use sq::{Sq8, Sq8Query, TrainError};
