//! One byte per dimension: coding a row, preparing a query, distances to many codes.

use std::hint::black_box;

use criterion::{Criterion, Throughput, criterion_group, criterion_main};
use orthant_benches::{clustered, squared_distance};
use orthant_kernels::{CodeKernel, Metric};
use orthant_quant::{CodeMatrix, Sq8, Sq8Query};

const ROWS: usize = 1000;

fn sq8(c: &mut Criterion) {
    for dim in [128, 384] {
        let rows = clustered(ROWS, dim, 1);
        let query = clustered(1, dim, 2);
        let quantizer = Sq8::train(&rows, dim, ROWS, dim).expect("finite rows");
        let mut codes = CodeMatrix::new(dim);
        codes.extend(&quantizer, &rows, dim, ROWS);
        let kernel = CodeKernel::new(dim).expect("an instruction set this machine has");
        let mut prepared = Sq8Query::default();
        let mut sums = vec![0; ROWS];
        let mut distances = vec![0.0f32; ROWS];

        quantizer.prepare(Metric::L2, &query, &mut prepared);
        kernel.rows(prepared.weights(), codes.bytes(), codes.stride(), &mut sums);
        for (row, vector) in rows.chunks_exact(dim).enumerate() {
            let (exact, found) =
                (squared_distance(&query, vector), f64::from(prepared.distance(sums[row], codes.bias(row))));
            assert!((exact - found).abs() < 0.05 * exact, "row {row}: {found} by code, {exact} exactly");
        }

        let mut group = c.benchmark_group(format!("quant/sq8/{dim}"));
        let mut code = vec![0; dim];
        group.bench_function("encode", |b| b.iter(|| quantizer.encode(black_box(&rows[..dim]), &mut code)));
        group.bench_function("prepare", |b| {
            b.iter(|| quantizer.prepare(Metric::L2, black_box(&query), &mut prepared));
        });
        group.throughput(Throughput::Elements(ROWS as u64));
        group.bench_function("distances to 1000 codes", |b| {
            b.iter(|| {
                kernel.rows(prepared.weights(), codes.bytes(), codes.stride(), &mut sums);
                for (row, distance) in distances.iter_mut().enumerate() {
                    *distance = prepared.distance(sums[row], codes.bias(row));
                }
                black_box(distances[0])
            });
        });
        group.finish();
    }
}

criterion_group!(name = benches; config = orthant_benches::criterion(); targets = sq8);
criterion_main!(benches);
