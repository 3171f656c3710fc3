//! The same bodies on both pools, each with two workers, in turn.

use std::{
    hint::black_box,
    sync::atomic::{AtomicU64, Ordering},
    time::{Duration, Instant},
};

use criterion::{Criterion, Throughput, criterion_group, criterion_main};
use orthant_kernels::{Kernel, Metric};
use orthant_pool::Pool;
use rayon::prelude::*;

const TASKS: u64 = 10_000;

fn ours(threads: usize) -> Pool {
    Pool::builder().threads(threads).build().expect("workers")
}

fn theirs(threads: usize) -> rayon::ThreadPool {
    rayon::ThreadPoolBuilder::new().num_threads(threads).build().expect("workers")
}

fn task(sum: &AtomicU64, task: u64) {
    if black_box(task) == TASKS - 1 {
        sum.store(task, Ordering::Relaxed);
    }
}

/// 10,000 tasks in one scope.
fn batch(c: &mut Criterion) {
    let (ours, theirs) = (ours(2), theirs(2));
    let run_ours = || {
        let sum = AtomicU64::new(0);
        ours.scope(|scope| {
            for i in 0..TASKS {
                let sum = &sum;
                scope.spawn(move || task(sum, i));
            }
        });
        sum.into_inner()
    };
    let run_theirs = || {
        let sum = AtomicU64::new(0);
        theirs.scope(|scope| {
            for i in 0..TASKS {
                let sum = &sum;
                scope.spawn(move |_| task(sum, i));
            }
        });
        sum.into_inner()
    };
    assert_eq!((run_ours(), run_theirs()), (TASKS - 1, TASKS - 1));
    let mut group = c.benchmark_group("batch of 10k tasks");
    group.throughput(Throughput::Elements(TASKS));
    group.bench_function("orthant", |b| b.iter(run_ours));
    group.bench_function("rayon", |b| b.iter(run_theirs));
    group.finish();
}

fn fib_ours(pool: &Pool, n: u64) -> u64 {
    if n < 2 {
        return n;
    }
    let (a, b) = pool.join(|| fib_ours(pool, n - 1), || fib_ours(pool, n - 2));
    a + b
}

fn fib_theirs(n: u64) -> u64 {
    if n < 2 {
        return n;
    }
    let (a, b) = rayon::join(|| fib_theirs(n - 1), || fib_theirs(n - 2));
    a + b
}

/// `rounds` times `body`, timed on a worker.
fn timed(rounds: u64, body: impl Fn()) -> Duration {
    let start = Instant::now();
    for _ in 0..rounds {
        body();
    }
    start.elapsed()
}

/// Two closures and both results.
fn fork_join(c: &mut Criterion) {
    let (ours, theirs) = (ours(2), theirs(2));
    let mut group = c.benchmark_group("fork-join from a worker");
    group.bench_function("orthant", |b| {
        b.iter_custom(|rounds| {
            ours.scope(|_| {
                timed(rounds, || {
                    black_box(ours.join(|| black_box(1), || black_box(2)));
                })
            })
        });
    });
    group.bench_function("rayon", |b| {
        b.iter_custom(|rounds| {
            theirs.install(|| {
                timed(rounds, || {
                    black_box(rayon::join(|| black_box(1), || black_box(2)));
                })
            })
        });
    });
    group.finish();

    let mut group = c.benchmark_group("fork-join from outside");
    group.bench_function("orthant", |b| b.iter(|| ours.join(|| black_box(1), || black_box(2))));
    group.bench_function("rayon", |b| b.iter(|| theirs.join(|| black_box(1), || black_box(2))));
    group.finish();

    // Work for both sides: the second closure is stolen each time.
    let half = || (0..20_000u64).fold(0, |sum, i| black_box(sum + i));
    let mut group = c.benchmark_group("fork-join of 2 x 20k additions");
    group.bench_function("orthant", |b| b.iter(|| ours.join(half, half)));
    group.bench_function("rayon", |b| b.iter(|| theirs.join(half, half)));
    group.finish();

    let mut group = c.benchmark_group("fib 20 by join");
    assert_eq!((fib_ours(&ours, 20), theirs.install(|| fib_theirs(20))), (6765, 6765));
    group.bench_function("orthant", |b| b.iter(|| ours.scope(|_| fib_ours(&ours, black_box(20)))));
    group.bench_function("rayon", |b| b.iter(|| theirs.install(|| fib_theirs(black_box(20)))));
    group.finish();
}

const ROWS: usize = 2000;
const QUERIES: usize = 2000;
const DIM: usize = 96;

/// The nearest row of each query, by comparing all.
fn search(c: &mut Criterion) {
    let number = |i: usize| (i.wrapping_mul(2_654_435_761) % 1000) as f32;
    let rows: Vec<f32> = (0..ROWS * DIM).map(number).collect();
    let queries: Vec<f32> = (0..QUERIES * DIM).map(|i| number(i + 17)).collect();
    let kernel = Kernel::new(Metric::L2, DIM).expect("an instruction set this machine has");
    let nearest = |query: usize, distances: &mut [f32]| {
        kernel.rows(&queries[query * DIM..][..DIM], &rows, DIM, distances);
        (0..ROWS).min_by(|&a, &b| distances[a].total_cmp(&distances[b])).unwrap_or(0) as u64
    };
    let on_ours = |pool: &Pool| {
        let sum = AtomicU64::new(0);
        pool.for_each_chunk(QUERIES, 16, |_, range| {
            let mut distances = vec![0.0; ROWS];
            let part = range.map(|query| nearest(query, &mut distances)).sum();
            sum.fetch_add(part, Ordering::Relaxed);
        });
        sum.into_inner()
    };
    let on_theirs = |pool: &rayon::ThreadPool| -> u64 {
        pool.install(|| {
            (0..QUERIES.div_ceil(16))
                .into_par_iter()
                .map(|chunk| {
                    let mut distances = vec![0.0; ROWS];
                    (chunk * 16..QUERIES.min(chunk * 16 + 16))
                        .map(|query| nearest(query, &mut distances))
                        .sum::<u64>()
                })
                .sum()
        })
    };
    let mut group = c.benchmark_group("search of 2000 queries");
    group.throughput(Throughput::Elements(QUERIES as u64));
    let expected = on_ours(&ours(1));
    for workers in [1, 2] {
        let (ours, theirs) = (ours(workers), theirs(workers));
        assert_eq!((on_ours(&ours), on_theirs(&theirs)), (expected, expected));
        group.bench_function(format!("orthant, {workers} workers"), |b| b.iter(|| on_ours(&ours)));
        group.bench_function(format!("rayon, {workers} workers"), |b| b.iter(|| on_theirs(&theirs)));
    }
    group.finish();
}

fn criterion() -> Criterion {
    Criterion::default()
        .warm_up_time(Duration::from_millis(500))
        .measurement_time(Duration::from_secs(3))
        .sample_size(30)
        .configure_from_args()
}

criterion_group!(name = benches; config = criterion(); targets = batch, fork_join, search);
criterion_main!(benches);
