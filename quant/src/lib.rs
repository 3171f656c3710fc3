#![doc = include_str!("../README.md")]

mod codes;
mod edge;
mod eigen;
mod executor;
mod frame;
mod kmeans;
mod minmax;
mod multi;
mod pack;
mod pq;
mod quantizer;
mod rabitq;
mod random;
mod recall;
mod report;
mod rerank;
mod rotation;
mod scalar;
mod signs;
mod sq;
mod weights;

pub use codes::CodeMatrix;
pub use edge::{EDGE_LANES, EdgeCodes, EdgeConfig, EdgeError, EdgeFactors, EdgeQuery};
pub use executor::{Executor, Serial};
pub use frame::CodecError;
pub use kmeans::{Clusters, KMeansConfig, kmeans};
pub use minmax::{MinMax, MinMaxQuery};
pub use pq::{Pq, PqBlockQuery, PqBlocks, PqConfig, PqQuery, PqRotation};
pub use quantizer::Quantizer;
pub use rabitq::{BlockQuery, Rabitq, RabitqBlocks, RabitqQuery};
pub use recall::Probe;
pub use report::Report;
pub use rerank::{Estimate, Neighbor, rerank, rerank_within};
pub use rotation::{LANES, PcaConfig, Rotation};
pub use scalar::{Scalar, ScalarConfig, ScalarQuery};
pub use sq::{Sq8, Sq8Query, TrainError};
