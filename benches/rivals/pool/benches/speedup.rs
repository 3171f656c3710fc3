//! The speed-up of a search batch by a second worker, in rounds that take each pool once.
//!
//! Clock and neighbors of a shared machine change from second to second; a round is short enough that they mostly
//! do not. `two threads` is what the machine itself has to give: two plain threads on a core each that start
//! together and share nothing, half of the queries each.

use std::{
    sync::{
        Barrier,
        atomic::{AtomicU64, Ordering},
    },
    time::Instant,
};

use orthant_kernels::{Kernel, Metric};
use orthant_pool::{Affinity, Pool};
use rayon::prelude::*;

const ROWS: usize = 2000;
const QUERIES: usize = 2000;
const DIM: usize = 96;
/// Queries of one chunk.
const CHUNK: usize = 16;
/// A round is quiet when neither control takes longer than so many times its best.
const QUIET: f64 = 1.1;

struct Batch {
    rows: Vec<f32>,
    queries: Vec<f32>,
    kernel: Kernel,
}

impl Batch {
    fn new() -> Self {
        let number = |i: usize| (i.wrapping_mul(2_654_435_761) % 1000) as f32;
        Self {
            rows: (0..ROWS * DIM).map(number).collect(),
            queries: (0..QUERIES * DIM).map(|i| number(i + 17)).collect(),
            kernel: Kernel::new(Metric::L2, DIM).expect("an instruction set this machine has"),
        }
    }

    /// The nearest rows of a range of queries, summed.
    fn part(&self, range: std::ops::Range<usize>) -> u64 {
        let mut distances = vec![0.0; ROWS];
        range
            .map(|query| {
                self.kernel.rows(&self.queries[query * DIM..][..DIM], &self.rows, DIM, &mut distances);
                (0..ROWS).min_by(|&a, &b| distances[a].total_cmp(&distances[b])).unwrap_or(0) as u64
            })
            .sum()
    }

    fn on_ours(&self, pool: &Pool) -> u64 {
        let sum = AtomicU64::new(0);
        pool.for_each_chunk(QUERIES, CHUNK, |_, range| {
            sum.fetch_add(self.part(range), Ordering::Relaxed);
        });
        sum.into_inner()
    }

    fn on_theirs(&self, pool: &rayon::ThreadPool) -> u64 {
        pool.install(|| {
            (0..QUERIES.div_ceil(CHUNK))
                .into_par_iter()
                .map(|chunk| self.part(chunk * CHUNK..QUERIES.min(chunk * CHUNK + CHUNK)))
                .sum()
        })
    }

    /// Seconds that the slower of two pinned threads takes for its half.
    fn on_two_threads(&self) -> f64 {
        let start = Barrier::new(2);
        let half = |core: usize| {
            // A pool of one pinned worker: the plainest pinned thread there is here.
            let pool = Pool::builder().affinity(Affinity::Cores(vec![core])).build().expect("a core");
            pool.scope(|_| {
                start.wait();
                let begun = Instant::now();
                std::hint::black_box(self.part(core * QUERIES / 2..(core + 1) * QUERIES / 2));
                begun.elapsed().as_secs_f64()
            })
        };
        std::thread::scope(|threads| {
            let other = threads.spawn(|| half(1));
            half(0).max(other.join().expect("no panic"))
        })
    }
}

fn timed(f: impl FnOnce() -> u64) -> f64 {
    let begun = Instant::now();
    std::hint::black_box(f());
    begun.elapsed().as_secs_f64()
}

fn median(mut values: Vec<f64>) -> f64 {
    values.sort_unstable_by(f64::total_cmp);
    values[values.len() / 2]
}

fn main() {
    let is_test = std::env::args().any(|argument| argument == "--test");
    let rounds = if is_test { 1 } else { 300 };
    let batch = Batch::new();
    let pool =
        |threads, affinity| Pool::builder().threads(threads).affinity(affinity).build().expect("workers");
    let rayon = |threads| rayon::ThreadPoolBuilder::new().num_threads(threads).build().expect("workers");
    let (one, two, pinned) = (pool(1, Affinity::None), pool(2, Affinity::None), pool(2, Affinity::Spread));
    let (rayon_one, rayon_two) = (rayon(1), rayon(2));
    let expected = batch.part(0..QUERIES);
    assert_eq!(batch.on_ours(&two), expected);
    assert_eq!(batch.on_theirs(&rayon_two), expected);

    let mut times: [Vec<f64>; 6] = Default::default();
    for _ in 0..rounds {
        times[0].push(timed(|| batch.on_ours(&one)));
        times[1].push(timed(|| batch.on_ours(&two)));
        times[2].push(timed(|| batch.on_ours(&pinned)));
        times[3].push(timed(|| batch.on_theirs(&rayon_one)));
        times[4].push(timed(|| batch.on_theirs(&rayon_two)));
        times[5].push(batch.on_two_threads());
    }
    // A round in which others took a core says nothing. Which those are, the first and the last of a round show:
    // one worker, and two plain threads.
    let best = |values: &[f64]| values.iter().copied().fold(f64::MAX, f64::min);
    let (best_one, best_threads) = (best(&times[0]), best(&times[5]));
    let is_quiet: Vec<bool> = times[0]
        .iter()
        .zip(&times[5])
        .map(|(one, threads)| *one <= QUIET * best_one && *threads <= QUIET * best_threads)
        .collect();
    let quiet = |values: &[f64]| -> Vec<f64> {
        values.iter().zip(&is_quiet).filter(|(_, is_quiet)| **is_quiet).map(|(value, _)| *value).collect()
    };
    let count = is_quiet.iter().filter(|is_quiet| **is_quiet).count();
    println!("{count} of {rounds} rounds were quiet");
    let report = |name: &str, of: usize, by: usize| {
        let (of, by) = (quiet(&times[of]), quiet(&times[by]));
        let ratio = median(of.iter().zip(&by).map(|(a, b)| a / b).collect());
        let ratio_of_best = best(&of) / best(&by);
        let milliseconds = median(by) * 1e3;
        println!(
            "{name:<20} {milliseconds:>6.2} ms  {ratio:.2} in the median round, {ratio_of_best:.2} best by best"
        );
    };
    report("one worker", 0, 0);
    report("two workers", 0, 1);
    report("two pinned workers", 0, 2);
    report("rayon, one worker", 3, 3);
    report("rayon, two workers", 3, 4);
    report("two threads", 0, 5);
}
