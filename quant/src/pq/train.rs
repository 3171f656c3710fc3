//! Training: the rotation, then k-means in each subspace.

use orthant_kernels::active_isa;

use super::{Pq, turn};
use crate::executor::Executor;
use crate::kmeans::{KMeansConfig, kmeans};
use crate::random::Random;
use crate::rotation::{LANES, Rotation};
use crate::sq::{TrainError, check_finite, check_rows};

/// What is done to vectors before they are cut up.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum PqRotation {
    /// Nothing: for data whose neighboring dimensions belong together, as in SIFT.
    None,
    /// A random Hadamard rotation: every subspace then carries as much as the others.
    Random,
    /// The principal directions, dealt out so that the products of the variances in all subspaces are as equal as can be
    /// (Ge et al. 2013, "Optimized product quantization", parametric solution).
    Opq,
}

/// How a product quantizer is trained.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct PqConfig {
    /// Parts that a vector is cut into.
    pub subspaces: usize,
    /// Bits per part: 4 or 8.
    pub bits: usize,
    /// What comes before.
    pub rotation: PqRotation,
    /// Passes of k-means.
    pub passes: usize,
    /// Rows to train on, at most, drawn at random; 0 for all.
    pub sample: usize,
    /// Where the random numbers start.
    pub seed: u64,
}

impl PqConfig {
    /// OPQ on up to 20,000 rows in 12 passes: choices, about 78 rows for each of 256 centroids.
    pub fn new(subspaces: usize, bits: usize, seed: u64) -> Self {
        Self { subspaces, bits, rotation: PqRotation::Opq, passes: 12, sample: 20_000, seed }
    }
}

impl Pq {
    /// Trains on `count` rows. The result does not depend on the executor.
    ///
    /// # Shapes
    /// `rows: [count × stride]` (elements, row-major; the last row needs no padding).
    /// # Errors
    /// [`TrainError`]: no dimensions, fewer rows than centroids, a value that is not finite, no such bits or more subspaces
    /// than dimensions, cancelled.
    /// # Panics
    /// If `stride < dim` or if `rows` is too short.
    pub fn train(
        rows: &[f32],
        stride: usize,
        count: usize,
        dim: usize,
        config: &PqConfig,
        executor: &dyn Executor,
        is_cancelled: &(dyn Fn() -> bool + Sync),
    ) -> Result<Self, TrainError> {
        let PqConfig { subspaces, bits, .. } = *config;
        if dim == 0 {
            return Err(TrainError::NoDimensions);
        }
        if !matches!(bits, 4 | 8) {
            return Err(TrainError::Configuration { what: "bits", value: bits });
        }
        if subspaces == 0 || subspaces > dim {
            return Err(TrainError::Configuration { what: "subspaces", value: subspaces });
        }
        check_rows(rows.len(), stride, count, dim);
        check_finite(rows, stride, count, dim)?;
        let mut random = Random::new(config.seed);
        let centroids = 1 << bits;
        if count < centroids {
            return Err(TrainError::TooFewRows { rows: count, centroids });
        }
        let rotation = match config.rotation {
            PqRotation::None => None,
            PqRotation::Random => Some(Rotation::hadamard(dim, random.bits())?),
            PqRotation::Opq => {
                let (values, vectors) = Rotation::principal(rows, stride, count, dim, random.bits())?;
                Some(dealt(&values, &vectors, dim, subspaces)?)
            }
        };
        let turned_dim = rotation.as_ref().map_or(dim, Rotation::out_dim);
        let sub_dim = match config.rotation {
            // The rows of the matrix are where their subspaces are; zeros may follow.
            PqRotation::Opq => dim.div_ceil(subspaces),
            _ => turned_dim.div_ceil(subspaces),
        };
        let width = subspaces * sub_dim;
        let size = if config.sample == 0 { count } else { count.min(config.sample.max(centroids)) };
        let mut sample = Vec::with_capacity(size * width);
        let mut turned = Vec::new();
        for at in 0..size {
            let at = if size == count { at } else { random.below(count) };
            turn(rotation.as_ref(), &rows[at * stride..][..dim], width, &mut turned);
            sample.extend_from_slice(&turned);
        }
        let mut books = Vec::with_capacity(width * centroids);
        for subspace in 0..subspaces {
            let config = KMeansConfig { centroids, passes: config.passes, batch: 0, seed: random.bits() };
            let part = &sample[subspace * sub_dim..];
            books.extend(kmeans(part, width, size, sub_dim, &config, executor, is_cancelled)?.centroids);
        }
        Self::from_parts(dim, subspaces, bits, books, rotation)
    }
}

/// The principal directions, dealt out to subspaces: each goes to the one whose product of variances is the smallest and
/// that still has room.
fn dealt(values: &[f64], vectors: &[f64], dim: usize, subspaces: usize) -> Result<Rotation, TrainError> {
    let sub_dim = dim.div_ceil(subspaces);
    let out_dim = (subspaces * sub_dim).next_multiple_of(LANES);
    let least = values.first().copied().unwrap_or(0.0) * 1e-9 + f64::MIN_POSITIVE;
    let mut parts: Vec<(f64, Vec<usize>)> = vec![(0.0, Vec::new()); subspaces];
    for (at, value) in values.iter().enumerate() {
        let has_room = |subspace: &usize| parts[*subspace].1.len() < sub_dim;
        let chosen = (0..subspaces).filter(has_room).min_by(|&a, &b| parts[a].0.total_cmp(&parts[b].0));
        let Some(chosen) = chosen else { break };
        parts[chosen].0 += value.max(least).ln() - values.last().copied().unwrap_or(0.0).max(least).ln();
        parts[chosen].1.push(at);
    }
    let mut matrix = vec![0.0f32; out_dim * dim];
    for (subspace, (_, members)) in parts.iter().enumerate() {
        for (place, &at) in members.iter().enumerate() {
            let row = &mut matrix[(subspace * sub_dim + place) * dim..][..dim];
            row.iter_mut().zip(&vectors[at * dim..]).for_each(|(out, &value)| *out = value as f32);
        }
    }
    Ok(Rotation::from_matrix(matrix, dim, active_isa()?)?)
}
