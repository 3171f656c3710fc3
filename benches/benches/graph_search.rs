//! The graph alone, over plain rows: linking a node, and searching by beam width.

use std::hint::black_box;

use criterion::{BatchSize, Criterion, criterion_group, criterion_main};
use orthant_benches::{clustered, nearest, recall};
use orthant_graph::{Graph, GraphConfig, GraphMemory, LevelDraw, NodeId, Scorer, Scratch, Space};
use orthant_kernels::{Kernel, Metric};

const ROWS: usize = 10_000;
const DIM: usize = 64;
const QUERIES: usize = 100;

/// Rows one after the other, by Euclidean distance.
struct Rows {
    values: Vec<f32>,
    kernel: Kernel,
}

struct FromRow<'a> {
    rows: &'a Rows,
    query: &'a [f32],
}

impl Scorer for FromRow<'_> {
    fn score_batch(&self, ids: &[NodeId], out: &mut [f32]) {
        self.rows.kernel.gather(self.query, &self.rows.values, DIM, ids, out);
    }
}

impl Space for Rows {
    type Scorer<'a> = FromRow<'a>;

    fn scorer(&self, id: NodeId) -> FromRow<'_> {
        self.from(&self.values[id as usize * DIM..][..DIM])
    }
}

impl Rows {
    fn from<'a>(&'a self, query: &'a [f32]) -> FromRow<'a> {
        FromRow { rows: self, query }
    }

    fn graph(&self, nodes: usize) -> Graph {
        let config = GraphConfig::new(16, 100).expect("a usual configuration");
        // Room for eight times the nodes: replaced lists wait until no reader can hold them.
        let memory = GraphMemory::heap(8 * ROWS, config.m0());
        let levels = LevelDraw::new(42, config.m());
        let graph = Graph::new(config, memory);
        let mut scratch = Scratch::new();
        for id in 0..nodes as u32 {
            graph.insert(id, levels.level(id), self, &mut scratch).expect("room for every row");
        }
        graph
    }
}

fn graph(c: &mut Criterion) {
    let kernel = Kernel::new(Metric::L2, DIM).expect("an instruction set this machine has");
    let rows = Rows { values: clustered(ROWS, DIM, 1), kernel };
    let queries = clustered(QUERIES, DIM, 2);
    let graph = rows.graph(ROWS);
    assert!(graph.validate().is_ok());
    let mut scratch = Scratch::new();

    let mut group = c.benchmark_group("graph/search");
    for (ef, floor) in [(16, 0.5), (64, 0.85), (256, 0.97)] {
        let found: f64 = queries
            .chunks_exact(DIM)
            .map(|query| {
                let ids: Vec<u32> = graph
                    .search(&rows.from(query), ef, &mut scratch)
                    .iter()
                    .take(10)
                    .map(|hit| hit.node)
                    .collect();
                recall(&ids, &nearest(&rows.values, DIM, query, 10))
            })
            .sum::<f64>()
            / QUERIES as f64;
        assert!(found >= floor, "recall@10 is {found} at ef {ef}");
        let mut queries = queries.chunks_exact(DIM).cycle();
        group.bench_function(format!("ef {ef}"), |b| {
            b.iter(|| {
                let query = queries.next().expect("the queries go round");
                black_box(graph.search(&rows.from(query), ef, &mut scratch).len())
            });
        });
    }
    group.finish();

    let levels = LevelDraw::new(42, 16);
    let mut group = c.benchmark_group("graph/insert");
    group.sample_size(10);
    group.bench_function("100 nodes beside 2000", |b| {
        b.iter_batched(
            || rows.graph(2000),
            |graph| {
                for id in 2000..2100 {
                    graph.insert(id, levels.level(id), &rows, &mut scratch).expect("room for every row");
                }
                graph
            },
            BatchSize::PerIteration,
        );
    });
    group.finish();
}

criterion_group!(name = benches; config = orthant_benches::criterion(); targets = graph);
criterion_main!(benches);
