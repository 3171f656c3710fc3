#![doc = include_str!("../README.md")]

mod bin;
mod element;
mod error;
mod file;
mod format;
mod npy;
mod replace;
mod truth;
mod vecs;
mod writer;

pub use element::Element;
pub use error::{FormatError, TypeText, WriteError};
pub use file::VectorFile;
pub use format::Format;
pub use truth::GroundTruth;
pub use writer::VectorWriter;
