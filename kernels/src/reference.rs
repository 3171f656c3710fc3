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
    assert_eq!(a.len(), b.len(), "both vectors must have the same dimension");
    cosine_of(a.iter().copied().zip(b.iter().copied()))
}

/// [`cosine`] over pairs of elements, wherever they lie.
pub(crate) fn cosine_of(pairs: impl Iterator<Item = (f32, f32)>) -> f64 {
    let [product, a, b] = pairs.fold([0.0f64; 3], |[product, a, b], (x, y)| {
        let (x, y) = (f64::from(x), f64::from(y));
        [product + x * y, a + x * x, b + y * y]
    });
    let norms = a.sqrt() * b.sqrt();
    if norms == 0.0 { 1.0 } else { 1.0 - product / norms }
}

/// The number of bits that differ.
pub fn hamming(a: &[u8], b: &[u8]) -> u64 {
    assert_eq!(a.len(), b.len(), "both vectors must have the same length");
    a.iter().zip(b).map(|(x, y)| u64::from((x ^ y).count_ones())).sum()
}

/// One minus intersection over union of the bits that are set; 0 if none is.
pub fn jaccard(a: &[u8], b: &[u8]) -> f64 {
    assert_eq!(a.len(), b.len(), "both vectors must have the same length");
    let count =
        |both: fn(u8, u8) -> u8| -> u32 { a.iter().zip(b).map(|(&x, &y)| both(x, y).count_ones()).sum() };
    let union = count(|x, y| x | y);
    if union == 0 { 0.0 } else { 1.0 - f64::from(count(|x, y| x & y)) / f64::from(union) }
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
