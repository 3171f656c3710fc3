//! One byte per dimension: coding a row, preparing a query, distances to many codes. And edges: rotating, preparing,
//! coding one edge, estimating a block of 32.

use std::hint::black_box;

use criterion::{Criterion, Throughput, criterion_group, criterion_main};
use orthant_benches::{clustered, squared_distance};
use orthant_kernels::{CodeKernel, Metric};
use orthant_quant::{CodeMatrix, EDGE_LANES, EdgeCodes, EdgeConfig, EdgeQuery, Rotation, Sq8, Sq8Query};

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

fn edges(c: &mut Criterion) {
    for dim in [128, 384] {
        let rotation = Rotation::hadamard(dim, 1).expect("an instruction set this machine has");
        let mut rows = vec![0.0; (EDGE_LANES + 2) * dim];
        rotation.rotate_rows(&clustered(EDGE_LANES + 2, dim, 3), dim, EDGE_LANES + 2, &mut rows);
        let (query, rest) = rows.split_at(dim);
        let (node, rest) = rest.split_at(dim);
        let neighbors: Vec<&[f32]> = rest.chunks_exact(dim).collect();
        let node_distance = squared_distance(query, node) as f32;
        let mut group = c.benchmark_group(format!("quant/edges/{dim}"));
        let mut turned = vec![0.0; dim];
        group.bench_function("rotate", |b| b.iter(|| rotation.rotate(black_box(query), &mut turned)));
        for bits in [1, 2] {
            let config = EdgeConfig { bits, unit: dim as f32, ..EdgeConfig::new(Metric::L2, dim) };
            let codes = EdgeCodes::new(config).expect("a sound configuration");
            let mut payload = vec![0; codes.payload_bytes()];
            codes.encode(node, &neighbors, &mut payload);
            let (mut prepared, mut out) = (EdgeQuery::default(), [0.0; EDGE_LANES]);
            codes.prepare(query, &mut prepared);
            codes.estimate(&prepared, node_distance, &payload, f32::INFINITY, &mut out);
            for (found, neighbor) in out.iter().zip(&neighbors) {
                let (exact, found) = (squared_distance(query, neighbor), f64::from(*found));
                assert!((exact - found).abs() < 0.6 * exact, "{found} estimated, {exact} exactly");
            }
            group.bench_function(format!("prepare, {bits} bits"), |b| {
                b.iter(|| codes.prepare(black_box(query), &mut prepared));
            });
            group.bench_function(format!("code an edge, {bits} bits"), |b| {
                b.iter(|| codes.encode_edge(black_box(node), neighbors[5], 5, &mut payload));
            });
            group.bench_function(format!("estimate 32, {bits} bits"), |b| {
                b.iter(|| codes.estimate(&prepared, node_distance, black_box(&payload), 0.0, &mut out));
            });
        }
        group.finish();
    }
}

criterion_group!(name = benches; config = orthant_benches::criterion(); targets = sq8, edges);
criterion_main!(benches);
