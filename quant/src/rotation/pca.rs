//! [`Rotation::pca`]: the directions in which rows differ most, found on a sample.

use orthant_kernels::{IsaError, active_isa};

use super::{LANES, Rotation};
use crate::eigen::eigenvectors;
use crate::multi::{Path, multiversion};
use crate::random::Random;
use crate::sq::{TrainError, check_finite, check_rows};

/// Rows that the covariance is taken from, at least; and as many per dimension. Choices.
const SAMPLE: usize = 4096;
const PER_DIMENSION: usize = 8;

/// What [`Rotation::pca`] is asked for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct PcaConfig {
    /// Directions to keep: a multiple of [`LANES`], at most the dimension.
    pub out_dim: usize,
    /// Whether the mean is taken off: right for L2, wrong for the inner product.
    pub is_centered: bool,
    /// Whether the kept directions are mixed by a random Hadamard rotation, so that each carries as much: for codes of a
    /// few bits per dimension. Costs nothing more, the matrices are multiplied.
    pub is_mixed: bool,
    /// Where the random numbers start.
    pub seed: u64,
}

impl Rotation {
    /// A projection on the directions in which `count` rows differ most, and the share of their squared length
    /// (around the mean, if it is taken off) that it keeps.
    ///
    /// # Shapes
    /// `rows: [count × stride]` (elements, row-major; the last row needs no padding).
    /// # Errors
    /// [`TrainError`]: no rows, no dimensions, a value that is not finite, an `out_dim` that is not possible.
    /// # Panics
    /// If `stride < dim` or if `rows` is too short.
    pub fn pca(
        rows: &[f32],
        stride: usize,
        count: usize,
        dim: usize,
        config: &PcaConfig,
    ) -> Result<(Self, f64), TrainError> {
        let out_dim = config.out_dim;
        if dim == 0 {
            return Err(TrainError::NoDimensions);
        }
        if count == 0 {
            return Err(TrainError::NoRows);
        }
        if out_dim == 0 || out_dim > dim || !out_dim.is_multiple_of(LANES) {
            return Err(TrainError::Configuration { what: "dimensions kept", value: out_dim });
        }
        check_rows(rows.len(), stride, count, dim);
        check_finite(rows, stride, count, dim)?;
        let Directions { mean, values, vectors } =
            directions(rows, stride, count, dim, config.is_centered, config.seed)?;
        let all: f64 = values.iter().sum();
        let kept = if all > 0.0 { values[..out_dim].iter().sum::<f64>() / all } else { 1.0 };
        let mut matrix: Vec<f32> = vectors[..out_dim * dim].iter().map(|&value| value as f32).collect();
        if config.is_mixed {
            let mixing = Self::hadamard(out_dim, Random::new(config.seed).bits())?;
            let (mut column, mut mixed) = (vec![0.0; out_dim], vec![0.0; out_dim]);
            for at in 0..dim {
                column.iter_mut().zip(matrix.chunks_exact(dim)).for_each(|(value, row)| *value = row[at]);
                mixing.rotate(&column, &mut mixed);
                matrix.chunks_exact_mut(dim).zip(&mixed).for_each(|(row, &value)| row[at] = value);
            }
        }
        let rotation = Self::from_matrix(matrix, dim, active_isa()?)?;
        let mean: Vec<f32> = mean.iter().map(|&value| value as f32).collect();
        Ok((if config.is_centered { rotation.with_mean(&mean) } else { rotation }, kept))
    }
}

impl Rotation {
    /// Variances, largest first, and their directions as orthonormal rows `[dim × dim]`.
    pub(crate) fn principal(
        rows: &[f32],
        stride: usize,
        count: usize,
        dim: usize,
        seed: u64,
    ) -> Result<(Vec<f64>, Vec<f64>), TrainError> {
        let Directions { values, vectors, .. } = directions(rows, stride, count, dim, true, seed)?;
        Ok((values, vectors))
    }
}

/// What a sample says about rows.
struct Directions {
    /// 0 unless asked for.
    mean: Vec<f64>,
    /// Eigenvalues of the covariance, largest first.
    values: Vec<f64>,
    /// Its eigenvectors, `[dim × dim]`.
    vectors: Vec<f64>,
}

/// The mean (0 unless asked for), the eigenvalues of the covariance and its eigenvectors, of a sample.
fn directions(
    rows: &[f32],
    stride: usize,
    count: usize,
    dim: usize,
    is_centered: bool,
    seed: u64,
) -> Result<Directions, IsaError> {
    let path = Path::new(active_isa()?)?;
    let mut random = Random::new(seed);
    let size = count.min(SAMPLE.max(PER_DIMENSION * dim));
    let row = |at: usize| &rows[at * stride..][..dim];
    let sample: Vec<usize> =
        if size == count { (0..count).collect() } else { (0..size).map(|_| random.below(count)).collect() };
    let mut mean = vec![0.0f64; dim];
    if is_centered {
        for &at in &sample {
            mean.iter_mut().zip(row(at)).for_each(|(mean, &value)| *mean += f64::from(value));
        }
        mean.iter_mut().for_each(|mean| *mean /= size as f64);
    }
    let mut covariance = vec![0.0f64; dim * dim];
    let mut centered = vec![0.0f64; dim];
    for &at in &sample {
        for ((centered, &value), mean) in centered.iter_mut().zip(row(at)).zip(&mean) {
            *centered = (f64::from(value) - mean) / (size as f64).sqrt();
        }
        add_outer(path, &centered, &mut covariance);
    }
    let (values, vectors) = eigenvectors(path, covariance, dim);
    Ok(Directions { mean, values, vectors })
}

multiversion! {
    /// Adds the product of every pair of values.
    fn add_outer(values: &[f64], sums: &mut [f64]) -> () {
        for (row, &value) in sums.chunks_exact_mut(values.len()).zip(values) {
            for (sum, &other) in row.iter_mut().zip(values) {
                *sum += value * other;
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_directions_of_the_data_are_kept() {
        // Rows of 40 dimensions that lie, but for a little, in 16 of them, off the origin.
        let mut random = Random::new(2);
        let spread = Rotation::hadamard_to(40, 48, 9).unwrap();
        let rows: Vec<f32> = (0..600)
            .flat_map(|_| {
                let inner: Vec<f32> = (0..40)
                    .map(|at| (random.unit() as f32 - 0.5) * if at < 16 { 1.0 } else { 0.01 })
                    .collect();
                let mut out = vec![0.0; 48];
                spread.rotate(&inner, &mut out);
                out.into_iter().map(|value| value + 3.0)
            })
            .collect();
        for is_mixed in [false, true] {
            let config = PcaConfig { out_dim: 16, is_centered: true, is_mixed, seed: 1 };
            let (rotation, kept) = Rotation::pca(&rows, 48, 600, 48, &config).unwrap();
            assert!(kept > 0.999, "{kept}");
            let mut turned = vec![0.0; 16 * 600];
            rotation.rotate_rows(&rows, 48, 600, &mut turned);
            let distance =
                |a: &[f32], b: &[f32]| a.iter().zip(b).map(|(a, b)| (a - b) * (a - b)).sum::<f32>();
            for at in 1..600 {
                let exact = distance(&rows[..48], &rows[at * 48..][..48]);
                let found = distance(&turned[..16], &turned[at * 16..][..16]);
                assert!((found / exact - 1.0).abs() < 0.01, "{found} is not {exact}");
            }
            let values: Vec<f32> =
                (0..16).map(|d| turned.chunks(16).map(|row| row[d] * row[d]).sum()).collect();
            let most = values.iter().fold(0.0f32, |a, &b| a.max(b));
            let least = values.iter().fold(f32::MAX, |a, &b| a.min(b));
            assert!(is_mixed || values.is_sorted_by(|a, b| *a >= 0.99 * *b));
            assert!(!is_mixed || most < 4.0 * least, "{most} {least}");
            let copy = Rotation::from_bytes(&rotation.to_bytes()).unwrap();
            assert_eq!(copy, rotation);
        }
        let config = PcaConfig { out_dim: 64, is_centered: true, is_mixed: true, seed: 1 };
        assert!(Rotation::pca(&rows, 48, 600, 48, &config).is_err());
    }
}
