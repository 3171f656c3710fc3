//! The index as its callers use it: one query at a time, a batch on two workers, exact search.

use std::hint::black_box;

use criterion::{Criterion, Throughput, criterion_group, criterion_main};
use orthant_benches::{clustered, nearest, recall};
use orthant_engine::{Index, Metric, Quantization, SearchParams};

const ROWS: usize = 10_000;
const DIM: usize = 96;
const QUERIES: usize = 200;
const K: usize = 10;

fn engine(c: &mut Criterion) {
    let (rows, queries) = (clustered(ROWS, DIM, 1), clustered(QUERIES, DIM, 2));
    let exact: Vec<Vec<u32>> = queries.chunks_exact(DIM).map(|query| nearest(&rows, DIM, query, K)).collect();
    for quantization in [Quantization::None, Quantization::Sq8] {
        let mut index = Index::builder(DIM, Metric::L2)
            .ef_construction(100)
            .threads(2)
            .quantization(quantization)
            .build()
            .expect("a usual configuration");
        index.insert_batch(&rows, None).expect("finite rows");
        index.train().expect("rows to train on");
        assert!(index.validate().is_ok());

        let mut group = c.benchmark_group(format!("engine/{}", quantization.name()));
        for (ef, floor) in [(32, 0.6), (128, 0.9)] {
            let params = SearchParams::new(K, ef);
            let batch = index.search_batch(&queries, params).expect("queries of the right dimension");
            let found: f64 = exact
                .iter()
                .enumerate()
                .map(|(query, exact)| {
                    recall(&batch.hits(query).map(|hit| hit.node).collect::<Vec<_>>(), exact)
                })
                .sum::<f64>()
                / QUERIES as f64;
            assert!(found >= floor, "recall@{K} is {found} at ef {ef}");

            let mut searcher = index.searcher();
            let mut round = queries.chunks_exact(DIM).cycle();
            group.throughput(Throughput::Elements(1));
            group.bench_function(format!("one query, ef {ef}"), |b| {
                b.iter(|| {
                    let query = round.next().expect("the queries go round");
                    black_box(searcher.search(query, params).expect("of the right dimension").len())
                });
            });
            group.throughput(Throughput::Elements(QUERIES as u64));
            group.bench_function(format!("batch of {QUERIES}, ef {ef}"), |b| {
                b.iter(|| black_box(index.search_batch(&queries, params)));
            });
        }
        group.finish();
    }
}

fn flat(c: &mut Criterion) {
    let (rows, queries) = (clustered(ROWS, DIM, 1), clustered(8, DIM, 2));
    let index = Index::builder(DIM, Metric::L2).threads(2).build().expect("a usual configuration");
    index.insert_batch(&rows[..1000 * DIM], None).expect("finite rows");
    let found = index.search_exact(&queries, K).expect("queries of the right dimension");
    for (query, vector) in queries.chunks_exact(DIM).enumerate() {
        let ids: Vec<u32> = found.hits(query).map(|hit| hit.node).collect();
        assert_eq!(ids, nearest(&rows[..1000 * DIM], DIM, vector, K));
    }
    let mut group = c.benchmark_group("engine/exact");
    group.throughput(Throughput::Elements(8));
    group.bench_function("8 queries, 1000 rows", |b| b.iter(|| black_box(index.search_exact(&queries, K))));
    group.finish();
}

criterion_group!(name = benches; config = orthant_benches::criterion(); targets = engine, flat);
criterion_main!(benches);
