//! [`kmeans`]: centroids for rows, by Lloyd's algorithm or in mini-batches.
//!
//! * **K1** The result is a function of rows, configuration and seed: the executor and the number of threads do not
//!   change it. Rows are assigned in chunks of fixed size, whose sums are added up in order.
//! * **K2** No centroid is left without rows while there are as many different rows as centroids: an empty one moves to
//!   the row that is farthest from its own.
//!
//! Cost: one distance per row and centroid and pass; k-means++ one per row of a sample and centroid.

use std::sync::Mutex;

use orthant_kernels::{Kernel, Metric};

use crate::executor::Executor;
use crate::random::Random;
use crate::sq::{TrainError, check_finite, check_rows};

/// Rows that one task assigns. A choice: large enough that taking a task is nothing beside it.
const CHUNK: usize = 512;

/// Rows per centroid that k-means++ looks at. A choice: more hardly change where it starts.
const SEEDING: usize = 32;

/// How centroids are found.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct KMeansConfig {
    /// Centroids to place.
    pub centroids: usize,
    /// Passes over the rows, or over a batch of them. It stops early when no row changes its centroid.
    pub passes: usize,
    /// Rows drawn for each pass (Sculley 2010); 0 takes all rows each time.
    pub batch: usize,
    /// Where the random numbers start.
    pub seed: u64,
}

impl KMeansConfig {
    /// 20 passes over all rows: a choice, after which the error falls by less than 1 % per pass on the sets tried.
    pub fn new(centroids: usize, seed: u64) -> Self {
        Self { centroids, passes: 20, batch: 0, seed }
    }
}

/// What [`kmeans`] found.
#[derive(Debug, Clone, PartialEq)]
#[non_exhaustive]
pub struct Clusters {
    /// `[centroids × dim]`.
    pub centroids: Vec<f32>,
    /// Mean squared distance from a row to its centroid, before the last move of the centroids.
    pub error: f64,
}

/// Places centroids among `count` rows, starting from k-means++ (Arthur and Vassilvitskii 2007).
///
/// `is_cancelled` is asked before each pass; once it says yes the run ends with [`TrainError::Cancelled`].
///
/// # Shapes
/// `rows: [count × stride]` (elements, row-major; the last row needs no padding).
/// # Errors
/// [`TrainError`]: no dimensions, fewer rows than centroids, no centroids, a value that is not finite, cancelled.
/// # Panics
/// If `stride < dim` or if `rows` is too short.
///
/// # Examples
/// ```
/// use orthant_quant::{KMeansConfig, Serial, kmeans};
///
/// let rows = [0.0, 0.5, 9.5, 10.0];
/// let clusters = kmeans(&rows, 1, 4, 1, &KMeansConfig::new(2, 1), &Serial, &|| false)?;
/// let mut centroids = clusters.centroids;
/// centroids.sort_by(f32::total_cmp);
/// assert_eq!(centroids, [0.25, 9.75]);
/// # Ok::<(), orthant_quant::TrainError>(())
/// ```
pub fn kmeans(
    rows: &[f32],
    stride: usize,
    count: usize,
    dim: usize,
    config: &KMeansConfig,
    executor: &dyn Executor,
    is_cancelled: &(dyn Fn() -> bool + Sync),
) -> Result<Clusters, TrainError> {
    let wanted = config.centroids;
    if dim == 0 {
        return Err(TrainError::NoDimensions);
    }
    if count == 0 || wanted == 0 {
        return Err(TrainError::NoRows);
    }
    if count < wanted {
        return Err(TrainError::TooFewRows { rows: count, centroids: wanted });
    }
    check_rows(rows.len(), stride, count, dim);
    check_finite(rows, stride, count, dim)?;
    let kernel = Kernel::new(Metric::L2, dim)?;
    let mut random = Random::new(config.seed);
    let row = |at: usize| &rows[at * stride..][..dim];
    let mut centroids = seeded(&row, count, wanted, &kernel, &mut random);

    let is_batch = config.batch > 0 && config.batch < count;
    let mut members: Vec<usize> = (0..if is_batch { config.batch } else { count }).collect();
    let mut weights = vec![0.0f64; wanted];
    let mut owners: Vec<u32> = Vec::new();
    let mut error = 0.0;
    for _ in 0..config.passes.max(1) {
        if is_cancelled() {
            return Err(TrainError::Cancelled);
        }
        if is_batch {
            members.iter_mut().for_each(|member| *member = random.below(count));
        }
        let parts: Vec<Mutex<Part>> = members.chunks(CHUNK).map(|_| Mutex::new(Part::default())).collect();
        executor.run(parts.len(), &|task| {
            let chunk = &members[task * CHUNK..members.len().min((task + 1) * CHUNK)];
            let part = Part::of(chunk, &row, &centroids, wanted, &kernel);
            // Nobody else has this part; a panic elsewhere does not harm it.
            *parts[task].lock().unwrap_or_else(|poisoned| poisoned.into_inner()) = part;
        });
        let mut sums = vec![0.0f64; wanted * dim];
        let mut counts = vec![0usize; wanted];
        let (mut found, mut total, mut farthest) = (Vec::with_capacity(members.len()), 0.0, Vec::new());
        for (task, part) in parts.into_iter().enumerate() {
            let part = part.into_inner().unwrap_or_else(|poisoned| poisoned.into_inner());
            for (at, (&owner, &distance)) in part.owners.iter().zip(&part.distances).enumerate() {
                let member = members[task * CHUNK + at];
                let sums = &mut sums[owner as usize * dim..][..dim];
                for (sum, &value) in sums.iter_mut().zip(row(member)) {
                    *sum += f64::from(value);
                }
                counts[owner as usize] += 1;
                total += f64::from(distance);
                farthest.push((distance, member));
            }
            found.extend(part.owners);
        }
        error = total / members.len() as f64;
        // Nearest last, so that the farthest rows are taken from the end.
        farthest.sort_by(|a, b| a.0.total_cmp(&b.0).then(b.1.cmp(&a.1)));
        for (owner, centroid) in centroids.chunks_exact_mut(dim).enumerate() {
            let (added, before) = (counts[owner] as f64, if is_batch { weights[owner] } else { 0.0 });
            if added + before == 0.0 {
                if let Some((distance, member)) = farthest.pop()
                    && distance > 0.0
                {
                    centroid.copy_from_slice(row(member));
                }
                continue;
            }
            for (value, sum) in centroid.iter_mut().zip(&sums[owner * dim..]) {
                *value = ((f64::from(*value) * before + sum) / (added + before)) as f32;
            }
            weights[owner] = added + before;
        }
        if !is_batch && found == owners {
            break;
        }
        owners = found;
    }
    Ok(Clusters { centroids, error })
}

/// The centroid nearest to each of a chunk of rows, and how far it is.
#[derive(Default)]
struct Part {
    owners: Vec<u32>,
    distances: Vec<f32>,
}

impl Part {
    fn of<'a>(
        chunk: &[usize],
        row: &impl Fn(usize) -> &'a [f32],
        centroids: &[f32],
        count: usize,
        kernel: &Kernel,
    ) -> Self {
        let dim = kernel.dim();
        let mut part = Self::default();
        // 32 rows at a time: their distances to 256 centroids are 32 KB.
        for members in chunk.chunks(32) {
            let queries: Vec<f32> = members.iter().flat_map(|&member| row(member)).copied().collect();
            let mut distances = vec![0.0; members.len() * count];
            kernel.matrix(&queries, dim, members.len(), centroids, dim, &mut distances);
            for distances in distances.chunks_exact(count) {
                let (owner, distance) = nearest(distances);
                part.owners.push(owner as u32);
                part.distances.push(distance);
            }
        }
        part
    }
}

/// The first of the smallest.
pub(crate) fn nearest(distances: &[f32]) -> (usize, f32) {
    let mut best = (0, f32::INFINITY);
    for (at, &distance) in distances.iter().enumerate() {
        if distance < best.1 {
            best = (at, distance);
        }
    }
    best
}

/// k-means++ on a sample: each next centroid is a row drawn with a chance proportional to its squared distance from the
/// nearest one so far.
fn seeded<'a>(
    row: &impl Fn(usize) -> &'a [f32],
    count: usize,
    wanted: usize,
    kernel: &Kernel,
    random: &mut Random,
) -> Vec<f32> {
    let dim = kernel.dim();
    let size = count.min(wanted.saturating_mul(SEEDING));
    let mut order: Vec<usize> = (0..count).collect();
    for at in 0..size {
        order.swap(at, at + random.below(count - at));
    }
    let sample: Vec<f32> = order[..size].iter().flat_map(|&member| row(member)).copied().collect();
    let mut centroids = sample[..dim].to_vec();
    let (mut nearest, mut distances) = (vec![f32::INFINITY; size], vec![0.0; size]);
    while centroids.len() < wanted * dim {
        kernel.rows(&centroids[centroids.len() - dim..], &sample, dim, &mut distances);
        let mut total = 0.0;
        for (nearest, &distance) in nearest.iter_mut().zip(&distances) {
            *nearest = nearest.min(distance);
            total += f64::from(*nearest);
        }
        let mut left = random.unit() * total;
        let chosen = nearest.iter().position(|&distance| {
            left -= f64::from(distance);
            distance > 0.0 && left <= 0.0
        });
        // All rows of the sample are centroids already, or rounding left a little: any row will do.
        let chosen = chosen.unwrap_or_else(|| random.below(size));
        centroids.extend_from_slice(&sample[chosen * dim..][..dim]);
    }
    centroids
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicUsize, Ordering};

    use super::*;
    use crate::executor::Serial;

    /// Runs tasks backwards, on two threads.
    struct Backwards;

    impl Executor for Backwards {
        fn run(&self, count: usize, task: &(dyn Fn(usize) + Sync)) {
            std::thread::scope(|scope| {
                for half in 0..2 {
                    scope.spawn(move || (0..count).rev().filter(|at| at % 2 == half).for_each(task));
                }
            });
        }
    }

    fn blobs(count: usize, dim: usize, clusters: usize) -> Vec<f32> {
        let mut random = Random::new(5);
        (0..count)
            .flat_map(|at| vec![(at % clusters * 100) as f32; dim])
            .map(|x| x + random.unit() as f32)
            .collect()
    }

    #[test]
    fn separate_blobs_are_found_by_both_ways_and_any_executor() {
        let rows = blobs(3000, 3, 7);
        for batch in [0, 400] {
            let config = KMeansConfig { batch, ..KMeansConfig::new(7, 3) };
            let found = kmeans(&rows, 3, 3000, 3, &config, &Serial, &|| false).unwrap();
            assert!(found.error < 0.3, "{}", found.error);
            let other = kmeans(&rows, 3, 3000, 3, &config, &Backwards, &|| false).unwrap();
            assert_eq!(found, other);
        }
    }

    #[test]
    fn more_passes_do_not_make_it_worse() {
        let mut random = Random::new(1);
        let rows: Vec<f32> = (0..4000).map(|_| random.unit() as f32).collect();
        let error = |passes| {
            let config = KMeansConfig { passes, ..KMeansConfig::new(16, 3) };
            kmeans(&rows, 4, 1000, 4, &config, &Serial, &|| false).unwrap().error
        };
        assert!(error(2) <= error(1) && error(20) <= error(2));
    }

    #[test]
    fn equal_rows_and_cancelling_are_no_panic() {
        let rows = [1.0; 40];
        let found = kmeans(&rows, 2, 20, 2, &KMeansConfig::new(5, 1), &Serial, &|| false).unwrap();
        assert_eq!((found.centroids, found.error), (vec![1.0; 10], 0.0));
        let asked = AtomicUsize::new(0);
        let cancel = || asked.fetch_add(1, Ordering::Relaxed) == 2;
        let rows = blobs(500, 2, 50);
        let config = KMeansConfig::new(20, 1);
        let found = kmeans(&rows, 2, 500, 2, &config, &Serial, &cancel);
        assert!(found == Err(TrainError::Cancelled) || asked.load(Ordering::Relaxed) < 3);
        let few = kmeans(&rows, 2, 3, 2, &config, &Serial, &|| false);
        assert_eq!(few, Err(TrainError::TooFewRows { rows: 3, centroids: 20 }));
    }
}
