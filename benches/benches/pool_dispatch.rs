//! What it costs to hand out work: small tasks in a batch, fork and join, chunks of a loop.

use std::{
    hint::black_box,
    sync::atomic::{AtomicU64, Ordering},
};

use criterion::{Criterion, Throughput, criterion_group, criterion_main};
use orthant_pool::Pool;

/// Tasks of one batch.
const TASKS: u64 = 10_000;

fn fib(pool: &Pool, n: u64) -> u64 {
    if n < 2 {
        return n;
    }
    let (a, b) = pool.join(|| fib(pool, n - 1), || fib(pool, n - 2));
    a + b
}

fn scope(c: &mut Criterion) {
    let pool = Pool::builder().threads(2).build().expect("two workers");
    let batch = || {
        let sum = AtomicU64::new(0);
        pool.scope(|scope| {
            for task in 0..TASKS {
                let sum = &sum;
                scope.spawn(move || {
                    if black_box(task) == TASKS - 1 {
                        sum.store(task, Ordering::Relaxed);
                    }
                });
            }
        });
        sum.into_inner()
    };
    assert_eq!(batch(), TASKS - 1);
    let mut group = c.benchmark_group("pool/scope");
    group.throughput(Throughput::Elements(TASKS));
    group.bench_function("10k tasks", |b| b.iter(batch));
    group.finish();
}

fn join(c: &mut Criterion) {
    let pool = Pool::builder().threads(2).build().expect("two workers");
    assert_eq!(fib(&pool, 15), 610);
    let mut group = c.benchmark_group("pool/join");
    group.bench_function("from outside", |b| b.iter(|| pool.join(|| black_box(1), || black_box(2))));
    group.bench_function("from a worker", |b| {
        b.iter_custom(|rounds| {
            pool.scope(|_| {
                let start = std::time::Instant::now();
                for _ in 0..rounds {
                    black_box(pool.join(|| black_box(1), || black_box(2)));
                }
                start.elapsed()
            })
        });
    });
    group.bench_function("fib 15", |b| b.iter(|| fib(&pool, black_box(15))));
    group.finish();
}

fn chunks(c: &mut Criterion) {
    let pool = Pool::builder().threads(2).build().expect("two workers");
    let values: Vec<u64> = (0..1_000_000).collect();
    let sum = || {
        let sum = AtomicU64::new(0);
        pool.for_each_chunk(values.len(), 10_000, |_, range| {
            sum.fetch_add(values[range].iter().sum(), Ordering::Relaxed);
        });
        sum.into_inner()
    };
    assert_eq!(sum(), 499_999_500_000);
    let mut group = c.benchmark_group("pool/for_each_chunk");
    group.throughput(Throughput::Elements(values.len() as u64));
    group.bench_function("sum of 1M", |b| b.iter(sum));
    group.finish();
}

criterion_group!(name = benches; config = orthant_benches::criterion(); targets = scope, join, chunks);
criterion_main!(benches);
