//! The oracle: every metric in plain `f64`, one element after the other.
//!
//! Nothing here is fast. Each kernel on each path is tested against these, and they are public so that
//! other crates can test against the same numbers. Distances follow the sign rule of
//! [`Metric`]: smaller is nearer.
//!
//! # Panics
//! Every function panics if its arguments differ in length.

use crate::Metric;

/// The distance of `a` and `b` under `metric`.
pub fn distance(metric: Metric, a: &[f32], b: &[f32]) -> f64 {
    match metric {
        Metric::L2 => l2(a, b),
        Metric::InnerProduct => inner_product(a, b),
        Metric::Cosine => cosine(a, b),
        Metric::L1 => l1(a, b),
    }
}

/// Squared Euclidean distance. 0 for empty vectors.
pub fn l2(a: &[f32], b: &[f32]) -> f64 {
    sum(a, b, |x, y| (x - y) * (x - y))
}

/// Sum of absolute differences. 0 for empty vectors.
pub fn l1(a: &[f32], b: &[f32]) -> f64 {
    sum(a, b, |x, y| (x - y).abs())
}

/// Σ aᵢ·bᵢ, *not* negated: the building block, not a distance.
pub fn dot(a: &[f32], b: &[f32]) -> f64 {
    sum(a, b, |x, y| x * y)
}

/// Negated inner product. 0 for empty vectors.
pub fn inner_product(a: &[f32], b: &[f32]) -> f64 {
    0.0 - dot(a, b)
}

/// One minus the cosine. 1 if either vector is zero (or empty).
pub fn cosine(a: &[f32], b: &[f32]) -> f64 {
    let norms = dot(a, a).sqrt() * dot(b, b).sqrt();
    if norms == 0.0 { 1.0 } else { 1.0 - dot(a, b) / norms }
}

/// Σ weightᵢ·codeᵢ, exactly.
pub fn code_dot(weights: &[i16], code: &[u8]) -> i64 {
    assert_eq!(weights.len(), code.len(), "one weight per code byte");
    weights.iter().zip(code).map(|(&w, &c)| i64::from(w) * i64::from(c)).sum()
}

fn sum(a: &[f32], b: &[f32], term: impl Fn(f64, f64) -> f64) -> f64 {
    assert_eq!(a.len(), b.len(), "both vectors must have the same dimension");
    a.iter().zip(b).map(|(&x, &y)| term(f64::from(x), f64::from(y))).sum()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn by_hand() {
        let (a, b) = ([1.0, 2.0, -2.0], [3.0, 0.0, 1.0]);
        assert_eq!(l2(&a, &b), 4.0 + 4.0 + 9.0);
        assert_eq!(l1(&a, &b), 2.0 + 2.0 + 3.0);
        assert_eq!(inner_product(&a, &b), -1.0);
        assert!((cosine(&a, &b) - (1.0 - 1.0 / (3.0 * 10f64.sqrt()))).abs() < 1e-15);
        assert_eq!(cosine(&a, &[0.0; 3]), 1.0);
        assert_eq!(code_dot(&[-3, 5], &[255, 2]), -755);
    }
}
