#![doc = include_str!("../README.md")]

mod build;
mod grid;
mod join;
mod keep;
mod keys;
mod leaf;
mod near;
mod nearest;
mod parallel;
mod partition;
mod prune;
mod random;
mod reservoir;
mod reverse;
mod sparse;

pub use build::{BuildError, Lists, Params, Phase, Watch, build, build_kept};
pub use grid::{Codes, Grid, Rows};
pub use keep::{Keep, Step};
pub use nearest::nearest;
