//! Taking a buffer from the object pool and giving it back, alone and beside another thread.

use std::{
    hint::black_box,
    sync::atomic::{AtomicBool, Ordering},
    thread,
};

use criterion::{Criterion, criterion_group, criterion_main};
use orthant_pool::{ObjectPool, PerWorker, Pool};

fn objects(c: &mut Criterion) {
    let objects = ObjectPool::new(16, || Vec::<f32>::with_capacity(64));
    let take = || {
        objects.acquire().map(|mut buffer| {
            buffer.clear();
            buffer.push(1.0);
            buffer.len()
        })
    };
    assert_eq!(take(), Some(1));
    let mut group = c.benchmark_group("pool/objects");
    group.bench_function("acquire", |b| b.iter(|| black_box(take())));
    let is_over = AtomicBool::new(false);
    thread::scope(|threads| {
        threads.spawn(|| {
            while !is_over.load(Ordering::Relaxed) {
                black_box(take());
            }
        });
        group.bench_function("acquire beside another thread", |b| b.iter(|| black_box(take())));
        is_over.store(true, Ordering::Relaxed);
    });
    group.finish();
}

fn scratch(c: &mut Criterion) {
    let pool = Pool::builder().threads(1).build().expect("one worker");
    let scratch = PerWorker::new(&pool, || 0u64);
    c.bench_function("pool/scratch/with", |b| {
        b.iter_custom(|rounds| {
            pool.scope(|_| {
                let start = std::time::Instant::now();
                for _ in 0..rounds {
                    scratch.with(|value| *value = black_box(*value + 1));
                }
                start.elapsed()
            })
        });
    });
}

criterion_group!(name = benches; config = orthant_benches::criterion(); targets = objects, scratch);
criterion_main!(benches);
