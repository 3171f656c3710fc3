#![doc = include_str!("../README.md")]

use std::time::Duration;

use criterion::Criterion;

/// Random numbers from a seed: SplitMix64 (Steele, Lea, Flood 2014).
pub struct Random(u64);

impl Random {
    /// The stream of numbers that belongs to `seed`.
    pub fn new(seed: u64) -> Self {
        Self(seed)
    }

    /// The next 64 bits.
    pub fn bits(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9E37_79B9_7F4A_7C15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
        z ^ (z >> 31)
    }

    /// A number below `n`, which is above 0.
    pub fn below(&mut self, n: usize) -> usize {
        (self.bits() % n as u64) as usize
    }

    /// About normal, with mean 0 and variance 1: twelve uniform numbers added up.
    pub fn normal(&mut self) -> f32 {
        let unit = |bits: u64| (bits >> 40) as f32 / (1u64 << 24) as f32;
        (0..12).map(|_| unit(self.bits())).sum::<f32>() - 6.0
    }
}

/// `[rows × dim]` vectors in overlapping clusters, one cluster for every 250 rows or so.
pub fn clustered(rows: usize, dim: usize, seed: u64) -> Vec<f32> {
    let mut random = Random::new(seed);
    // The centers belong to the dimension alone, so that base and queries of two seeds share them.
    let mut places = Random::new(dim as u64);
    let clusters = 1 + rows.max(1000) / 250;
    let centers: Vec<f32> = (0..clusters * dim).map(|_| places.normal()).collect();
    (0..rows)
        .flat_map(|_| {
            let center = random.below(clusters) * dim;
            centers[center..center + dim].iter().map(|x| x + random.normal()).collect::<Vec<_>>()
        })
        .collect()
}

/// Squared Euclidean distance, in f64: what answers are checked against.
pub fn squared_distance(a: &[f32], b: &[f32]) -> f64 {
    a.iter().zip(b).map(|(&x, &y)| (f64::from(x) - f64::from(y)).powi(2)).sum()
}

/// The rows of `base` nearest to `query`, `[k]` ids, nearest first and ties by id.
pub fn nearest(base: &[f32], dim: usize, query: &[f32], k: usize) -> Vec<u32> {
    let mut rows: Vec<(f64, u32)> =
        base.chunks_exact(dim).zip(0..).map(|(row, id)| (squared_distance(query, row), id)).collect();
    rows.sort_unstable_by(|a, b| a.0.total_cmp(&b.0).then(a.1.cmp(&b.1)));
    rows.into_iter().take(k).map(|(_, id)| id).collect()
}

/// The share of `exact` among `found`.
pub fn recall(found: &[u32], exact: &[u32]) -> f64 {
    exact.iter().filter(|id| found.contains(id)).count() as f64 / exact.len() as f64
}

/// Criterion with times that suit bodies of nanoseconds to milliseconds: all groups together take minutes.
pub fn criterion() -> Criterion {
    Criterion::default()
        .warm_up_time(Duration::from_millis(500))
        .measurement_time(Duration::from_secs(2))
        .sample_size(30)
        .configure_from_args()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn generated_vectors_depend_on_the_seed_alone() {
        assert_eq!(clustered(10, 3, 7), clustered(10, 3, 7));
        assert_ne!(clustered(10, 3, 7), clustered(10, 3, 8));
        assert_eq!(clustered(10, 3, 7).len(), 30);
    }

    #[test]
    fn the_nearest_are_sorted() {
        assert_eq!(nearest(&[5.0, 1.0, 2.0, 1.0], 1, &[0.0], 3), [1, 3, 2]);
        assert_eq!(recall(&[1, 9, 2], &[1, 3, 2, 4]), 0.5);
    }
}
