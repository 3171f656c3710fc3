//! Distances on every instruction set of the machine: one pair, rows in order, rows gathered by id, and
//! many queries against many rows.

use std::hint::black_box;

use criterion::{Criterion, Throughput, criterion_group, criterion_main};
use orthant_benches::{Random, clustered};
use orthant_kernels::{Kernel, Metric, available_isas, reference};

/// Rows of the batches: they stay in the second-level cache at every dimension below.
const ROWS: usize = 256;

/// Rows per gather: what a graph search meets in one hop.
const GATHERED: usize = 16;

fn pairs(c: &mut Criterion) {
    for dim in [128, 384, 768] {
        let (a, b) = (clustered(1, dim, 1), clustered(1, dim, 2));
        let mut group = c.benchmark_group(format!("kernels/pair/{dim}"));
        for metric in [Metric::L2, Metric::InnerProduct, Metric::Cosine] {
            for isa in available_isas() {
                let kernel = Kernel::<f32>::with_isa(metric, dim, isa).expect("an available path");
                let (found, exact) = (f64::from(kernel.pair(&a, &b)), reference::distance(metric, &a, &b));
                assert!((found - exact).abs() <= 1e-4 * (1.0 + exact.abs()), "{metric} on {isa}");
                group.bench_function(format!("{metric}/{isa}"), |bencher| {
                    bencher.iter(|| kernel.pair(black_box(&a), black_box(&b)));
                });
            }
        }
        group.finish();
    }
}

fn batches(c: &mut Criterion) {
    for dim in [128, 384, 768] {
        let (rows, query) = (clustered(ROWS, dim, 3), clustered(1, dim, 4));
        let mut random = Random::new(5);
        let ids: Vec<u32> = (0..GATHERED).map(|_| random.below(ROWS) as u32).collect();
        let mut group = c.benchmark_group(format!("kernels/batch/{dim}"));
        for isa in available_isas() {
            let kernel = Kernel::<f32>::with_isa(Metric::L2, dim, isa).expect("an available path");
            let (mut in_order, mut gathered) = (vec![0.0; ROWS], vec![0.0; GATHERED]);
            kernel.rows(&query, &rows, dim, &mut in_order);
            kernel.gather(&query, &rows, dim, &ids, &mut gathered);
            for (&id, &distance) in ids.iter().zip(&gathered) {
                // Rows are summed in tiles: the last bits depend on the place in the batch.
                let other = in_order[id as usize];
                assert!((distance - other).abs() <= 1e-5 * other, "row {id} on {isa}: {distance}, {other}");
            }
            group.throughput(Throughput::Elements(ROWS as u64));
            group.bench_function(format!("rows/{isa}"), |bencher| {
                bencher.iter(|| kernel.rows(black_box(&query), &rows, dim, &mut in_order));
            });
            group.throughput(Throughput::Elements(GATHERED as u64));
            group.bench_function(format!("gather/{isa}"), |bencher| {
                bencher.iter(|| kernel.gather(black_box(&query), &rows, dim, &ids, &mut gathered));
            });
        }
        group.finish();
    }
}

criterion_group!(name = benches; config = orthant_benches::criterion(); targets = pairs, batches);
criterion_main!(benches);
