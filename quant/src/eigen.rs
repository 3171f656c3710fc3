//! [`eigenvectors`] of a symmetric matrix without negative eigenvalues.
//!
//! One-sided Jacobi (Hestenes 1958): rows are turned in pairs until each is orthogonal to all others. V·A then has
//! orthogonal rows for an orthogonal V, and as A is symmetric these rows are eigenvectors times their eigenvalues: V
//! itself is never needed, and all work runs along rows.
//!
//! Cost: about 3·n³ multiply-adds per sweep, and 6 to 10 sweeps.

use crate::multi::{Path, multiversion};

/// Sweeps after which it is left as it is: convergence is quadratic, ten have always done.
const SWEEPS: usize = 24;

/// Eigenvalues, largest first, and their vectors as orthonormal rows, of `matrix: [n × n]`.
pub(crate) fn eigenvectors(path: Path, mut matrix: Vec<f64>, n: usize) -> (Vec<f64>, Vec<f64>) {
    let scale = matrix.iter().fold(0.0f64, |most, value| most.max(value.abs()));
    for _ in 0..SWEEPS {
        if !sweep(path, &mut matrix, n, scale) {
            break;
        }
    }
    let norm = |row: &[f64]| row.iter().map(|value| value * value).sum::<f64>().sqrt();
    let mut order: Vec<(f64, usize)> = matrix.chunks_exact(n).map(norm).zip(0..).collect();
    order.sort_by(|a, b| b.0.total_cmp(&a.0).then(a.1.cmp(&b.1)));
    // Rows of eigenvalue 0 have no direction left: they are filled up from the axes.
    let axis = |at: usize| (0..n).map(move |place| f64::from(u8::from(place == at))).collect::<Vec<f64>>();
    let mut candidates = order
        .iter()
        .filter(|(value, _)| *value > scale * 1e-12)
        .map(|&(_, row)| matrix[row * n..][..n].to_vec())
        .chain((0..n).map(axis));
    let mut vectors: Vec<f64> = Vec::with_capacity(n * n);
    while vectors.len() < n * n {
        let Some(mut row) = candidates.next() else { break };
        let before = norm(&row);
        // Twice is enough (Kahan and Parlett): rounding leaves rows a little less than orthogonal.
        for _ in 0..2 {
            for other in vectors.chunks_exact(n) {
                let product = dot(path, &row, other);
                for (value, other) in row.iter_mut().zip(other) {
                    *value -= product * other;
                }
            }
        }
        let after = norm(&row);
        if after > 1e-3 * before {
            vectors.extend(row.iter().map(|value| value / after));
        }
    }
    (order.into_iter().map(|(value, _)| value).collect(), vectors)
}

multiversion! {
    fn dot(a: &[f64], b: &[f64]) -> f64 {
        product(a, b)
    }
}

/// In eight running sums, so that it vectorizes.
#[inline(always)]
fn product(a: &[f64], b: &[f64]) -> f64 {
    let mut sums = [0.0f64; 8];
    let (a, a_rest) = a.as_chunks::<8>();
    let (b, b_rest) = b.as_chunks::<8>();
    for (a, b) in a.iter().zip(b) {
        for lane in 0..8 {
            sums[lane] += a[lane] * b[lane];
        }
    }
    let rest: f64 = a_rest.iter().zip(b_rest).map(|(a, b)| a * b).sum();
    sums.iter().sum::<f64>() + rest
}

multiversion! {
    /// Turns every pair of rows; whether any was far from orthogonal.
    fn sweep(matrix: &mut [f64], n: usize, scale: f64) -> bool {
        let mut is_turned = false;
        for first in 0..n {
            let (head, tail) = matrix.split_at_mut((first + 1) * n);
            let a = &mut head[first * n..];
            let mut aa = product(a, a);
            for b in tail.chunks_exact_mut(n) {
                let (bb, ab) = (product(b, b), product(a, b));
                // The second bound leaves rows of rounding errors alone.
                if ab.abs() <= 1e-13 * (aa * bb).sqrt() || ab.abs() <= (1e-15 * scale) * (1e-15 * scale) {
                    continue;
                }
                is_turned = true;
                // The angle that makes the two orthogonal, with the longer first.
                let zeta = (aa - bb) / (2.0 * ab);
                let tangent = if zeta == 0.0 { 1.0 } else { zeta.signum() / (zeta.abs() + (1.0 + zeta * zeta).sqrt()) };
                let (cosine, mut sine) = (1.0 / (1.0 + tangent * tangent).sqrt(), 0.0);
                sine += cosine * tangent;
                for (a, b) in a.iter_mut().zip(b.iter_mut()) {
                    (*a, *b) = (cosine * *a + sine * *b, cosine * *b - sine * *a);
                }
                aa = product(a, a);
            }
        }
        is_turned
    }
}

#[cfg(test)]
mod tests {
    use orthant_kernels::active_isa;

    use super::*;
    use crate::random::Random;

    #[test]
    fn vectors_are_orthonormal_and_diagonalize() {
        for (n, rank) in [(1, 1), (2, 2), (5, 3), (24, 24), (48, 20)] {
            let mut random = Random::new(n as u64);
            let rows: Vec<f64> = (0..rank * n).map(|_| random.unit() - 0.5).collect();
            let mut matrix = vec![0.0; n * n];
            for row in rows.chunks(n) {
                for i in 0..n {
                    for j in 0..n {
                        matrix[i * n + j] += row[i] * row[j];
                    }
                }
            }
            let path = Path::new(active_isa().unwrap()).unwrap();
            let (values, vectors) = eigenvectors(path, matrix.clone(), n);
            for i in 0..n {
                for j in 0..n {
                    let (a, b) = (&vectors[i * n..][..n], &vectors[j * n..][..n]);
                    let unit = f64::from(u8::from(i == j));
                    assert!((product(a, b) - unit).abs() < 1e-9);
                    let image: Vec<f64> = (0..n).map(|row| product(&matrix[row * n..][..n], b)).collect();
                    assert!((product(a, &image) - unit * values[i]).abs() < 1e-8, "{n}: {i} {j}");
                }
            }
            assert!(values.is_sorted_by(|a, b| a >= b));
        }
    }
}
