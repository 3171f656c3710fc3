#![doc = include_str!("../README.md")]

mod build;
mod grid;
mod join;
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

pub use build::{BuildError, Lists, Params, Phase, Watch, build};
pub use grid::{Codes, Grid, Rows};
pub use nearest::nearest;
