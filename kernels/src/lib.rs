#![doc = include_str!("../README.md")]

mod code;
mod dim;
mod dispatch;
mod entry;
mod f32;
mod isa;
mod lanes;
mod metric;
pub mod prefetch;
pub mod reference;
mod shape;
mod sum;

pub use code::CodeKernel;
pub use dim::has_const_body;
pub use dispatch::Kernel;
pub use isa::{ISA_VARIABLE, Isa, IsaError, active_isa, available_isas};
pub use metric::{Metric, UnknownMetric};
