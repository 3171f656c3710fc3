//! The generated set: clustered vectors from a seed, with exact neighbors found by comparing all with all.
//!
//! Uniform noise would be too hard (every vector is about as far as every other) and well-separated clusters
//! too easy. Here cluster centers are drawn from a wide normal distribution and members around them from one
//! of the same width, so that neighborhoods overlap as they do in real embeddings.

use std::{
    fs,
    path::{Path, PathBuf},
    thread,
};

use anyhow::Result;

use super::dataset::{DataSet, Metric, write_ids, write_vectors};

/// Sizes of a generated set.
struct Shape {
    rows: usize,
    dim: usize,
    queries: usize,
}

const FULL: Shape = Shape { rows: 50_000, dim: 96, queries: 1000 };
const QUICK: Shape = Shape { rows: 5_000, dim: 32, queries: 200 };
/// Neighbors known per query; recall is measured on the first ten.
const K: usize = 10;
const CLUSTERS: usize = 200;
/// Any number will do; it is the one thing that makes this set this set.
const SEED: u64 = 42;

/// The folder of the set inside `parent`, made on the first call.
pub(crate) fn folder(parent: &Path, is_quick: bool) -> Result<PathBuf> {
    let shape = if is_quick { QUICK } else { FULL };
    let folder = parent.join(format!("generated-{}x{}-seed{SEED}", shape.rows, shape.dim));
    if DataSet::open(&folder).is_err() {
        fs::create_dir_all(&folder)?;
        write(&folder, &shape)?;
    }
    Ok(folder)
}

fn write(folder: &Path, shape: &Shape) -> Result<()> {
    let mut random = Random(SEED);
    let centers: Vec<f32> = (0..CLUSTERS * shape.dim).map(|_| random.normal()).collect();
    let mut draw = |rows: usize| -> Vec<f32> {
        let mut values = Vec::with_capacity(rows * shape.dim);
        for _ in 0..rows {
            let center = random.below(CLUSTERS) * shape.dim;
            values.extend(centers[center..center + shape.dim].iter().map(|x| x + random.normal()));
        }
        values
    };
    let (base, queries) = (draw(shape.rows), draw(shape.queries));
    let ids = exact(&base, &queries, shape.dim);
    write_vectors(&folder.join("base.fbin"), shape.dim, &base)?;
    write_vectors(&folder.join("query.fbin"), shape.dim, &queries)?;
    fs::write(folder.join("metric"), "l2\n")?;
    // The answers last: a set without them is made again.
    write_ids(&folder.join("gt.ibin"), K, &ids)
}

/// The `K` nearest rows of `base` for each query: nearest first, ties by id.
fn exact(base: &[f32], queries: &[f32], dim: usize) -> Vec<u32> {
    let nearest = |query: &[f32]| {
        let mut rows: Vec<(f64, u32)> =
            base.chunks_exact(dim).zip(0..).map(|(row, id)| (Metric::L2.distance(query, row), id)).collect();
        rows.select_nth_unstable_by(K - 1, |a, b| a.0.total_cmp(&b.0).then(a.1.cmp(&b.1)));
        rows.truncate(K);
        rows.sort_unstable_by(|a, b| a.0.total_cmp(&b.0).then(a.1.cmp(&b.1)));
        rows.into_iter().map(|(_, id)| id)
    };
    let threads = thread::available_parallelism().map_or(1, usize::from);
    let part = (queries.len() / dim).div_ceil(threads) * dim;
    thread::scope(|scope| {
        let parts: Vec<_> = queries
            .chunks(part)
            .map(|part| scope.spawn(|| part.chunks_exact(dim).flat_map(nearest).collect::<Vec<_>>()))
            .collect();
        parts.into_iter().flat_map(|part| part.join().expect("a scan does not panic")).collect()
    })
}

/// SplitMix64 (Steele, Lea, Flood 2014).
struct Random(u64);

impl Random {
    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9E37_79B9_7F4A_7C15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
        z ^ (z >> 31)
    }

    fn below(&mut self, n: usize) -> usize {
        (self.next() % n as u64) as usize
    }

    /// In (0, 1].
    fn unit(&mut self) -> f64 {
        ((self.next() >> 11) + 1) as f64 / (1u64 << 53) as f64
    }

    /// Standard normal (Box and Muller 1958).
    fn normal(&mut self) -> f32 {
        let (radius, angle) = ((-2.0 * self.unit().ln()).sqrt(), std::f64::consts::TAU * self.unit());
        (radius * angle.cos()) as f32
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn exact_neighbors_are_sorted_and_ties_go_by_id() {
        let base: Vec<f32> = (0..20).map(|i| (i / 2) as f32).collect();
        assert_eq!(exact(&base, &[0.0], 1), [0, 1, 2, 3, 4, 5, 6, 7, 8, 9]);
        assert_eq!(exact(&base, &[9.0, 0.0], 1)[..3], [18, 19, 16]);
    }

    #[test]
    fn a_set_is_written_once_and_opens() {
        let parent = std::env::temp_dir().join(format!("orthant-xtask-{}", std::process::id()));
        let made = folder(&parent, true).unwrap();
        let written = fs::metadata(made.join("gt.ibin")).unwrap().modified().unwrap();
        assert_eq!(folder(&parent, true).unwrap(), made);
        assert_eq!(fs::metadata(made.join("gt.ibin")).unwrap().modified().unwrap(), written);
        let set = DataSet::open(&made).unwrap();
        assert_eq!((set.base.rows, set.base.dim, set.truth.k), (QUICK.rows, QUICK.dim, K));
        // The nearest of a query is where the file says it is.
        let query = set.queries.row(7).unwrap();
        let distance = |id: u32| Metric::L2.distance(&query, &set.base.row(id as usize).unwrap());
        let nearest = distance(set.truth.row(7)[0]);
        assert!((0..100).all(|id| distance(id) >= nearest));
        fs::remove_dir_all(&parent).unwrap();
    }
}
