#![doc = include_str!("../README.md")]

mod bits;
mod block;
mod bytes;
mod code;
mod cpu;
mod dim;
mod dispatch;
mod element;
mod entry;
mod float;
mod isa;
mod lanes;
mod lut;
mod metric;
pub mod prefetch;
pub mod reference;
mod shape;
mod sum;
mod tiles;

pub use bits::{BitKernel, BitMetric};
pub use block::{BlockKernel, BlockWidth};
pub use code::CodeKernel;
pub use cpu::{CpuReport, cpu_report};
pub use dim::has_const_body;
pub use dispatch::Kernel;
pub use element::{Against, Element};
pub use half::{bf16, f16};
pub use isa::{ISA_VARIABLE, Isa, IsaError, WITHOUT_VARIABLE, active_isa, available_isas};
pub use lut::{LUT_BLOCK, LutKernel, NARROW_ENTRY};
pub use metric::{Metric, UnknownMetric};
pub use tiles::TileKernel;
