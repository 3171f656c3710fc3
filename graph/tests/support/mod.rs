//! A space of small vectors for the tests.
#![allow(dead_code)] // each test file uses some of it

use orthant_graph::{Graph, GraphConfig, GraphMemory, LevelDraw, NodeId, Scorer, Scratch, Space};

/// Rows compared by squared L2.
pub(crate) struct Rows {
    pub(crate) dim: usize,
    pub(crate) data: Vec<f32>,
}

pub(crate) struct FromRow<'a>(&'a Rows, &'a [f32]);

impl Rows {
    pub(crate) fn random(count: usize, dim: usize, seed: u64) -> Self {
        let mut state = seed.wrapping_mul(0x9E37_79B9_7F4A_7C15) | 1;
        let mut next = move || {
            state ^= state << 13;
            state ^= state >> 7;
            state ^= state << 17;
            (state >> 40) as f32 / (1 << 24) as f32
        };
        Self { dim, data: (0..count * dim).map(|_| next()).collect() }
    }

    pub(crate) fn count(&self) -> usize {
        self.data.len() / self.dim
    }

    pub(crate) fn row(&self, id: NodeId) -> &[f32] {
        &self.data[id as usize * self.dim..(id as usize + 1) * self.dim]
    }

    pub(crate) fn from<'a>(&'a self, query: &'a [f32]) -> FromRow<'a> {
        FromRow(self, query)
    }

    pub(crate) fn distance(&self, query: &[f32], id: NodeId) -> f32 {
        l2(query, self.row(id))
    }

    /// All rows by distance, then id.
    pub(crate) fn exact(&self, query: &[f32]) -> Vec<(f32, NodeId)> {
        let mut all: Vec<_> = (0..self.count() as NodeId).map(|id| (l2(query, self.row(id)), id)).collect();
        all.sort_unstable_by(|a, b| a.0.total_cmp(&b.0).then(a.1.cmp(&b.1)));
        all
    }
}

fn l2(a: &[f32], b: &[f32]) -> f32 {
    a.iter().zip(b).map(|(a, b)| (a - b) * (a - b)).sum()
}

impl Scorer for FromRow<'_> {
    fn score_batch(&self, ids: &[NodeId], out: &mut [f32]) {
        for (out, &id) in out.iter_mut().zip(ids) {
            *out = l2(self.1, self.0.row(id));
        }
    }
}

impl Space for Rows {
    type Scorer<'a> = FromRow<'a>;
    fn scorer(&self, id: NodeId) -> FromRow<'_> {
        FromRow(self, self.row(id))
    }
}

/// An empty graph with room for `count` nodes.
pub(crate) fn empty(count: usize, m: usize, ef_construction: usize) -> Graph {
    let config = GraphConfig::new(m, ef_construction).unwrap();
    Graph::new(config, GraphMemory::heap(count, config.m0()))
}

/// A graph over all rows, inserted by `threads` threads.
pub(crate) fn build(rows: &Rows, m: usize, ef_construction: usize, threads: usize) -> Graph {
    let graph = empty(rows.count(), m, ef_construction);
    let levels = LevelDraw::new(7, m);
    std::thread::scope(|scope| {
        for thread in 0..threads {
            let (graph, levels) = (&graph, &levels);
            scope.spawn(move || {
                let mut scratch = Scratch::new();
                for id in (thread..rows.count()).step_by(threads) {
                    let id = id as NodeId;
                    graph.insert(id, levels.level(id), rows, &mut scratch).unwrap();
                }
            });
        }
    });
    graph
}
