//! Searches over blocks, and the full lists that they want.
#![cfg(not(loom))]

use orthant_graph::{
    BLOCK_LANES, BlockScorer, BlockSearch, BlockWalk, Graph, GraphConfig, GraphMemory, LevelDraw, Neighbor,
    NodeId, Scratch, Space,
};

mod support;
use support::{FromRow, Rows, build};

/// Rows whose lists carry the rows of node and neighbors as they are: estimates are exact.
struct Blocks<'a>(&'a Rows);

impl Space for Blocks<'_> {
    type Scorer<'s>
        = FromRow<'s>
    where
        Self: 's;

    fn scorer(&self, id: NodeId) -> FromRow<'_> {
        self.0.scorer(id)
    }

    fn payload_bytes(&self) -> usize {
        (1 + BLOCK_LANES) * self.0.dim * 4
    }

    fn fill_payload(&self, node: NodeId, ids: &[u32], _old: Option<(&[u32], &[u8])>, payload: &mut [u8]) {
        payload.fill(0xff);
        let words = ids.iter().take_while(|&&word| word != u32::MAX).map(|word| word & !(1 << 31));
        for (place, id) in std::iter::once(node).chain(words).enumerate() {
            for (value, out) in
                self.0.row(id).iter().zip(payload.chunks_exact_mut(4).skip(place * self.0.dim))
            {
                out.copy_from_slice(&value.to_le_bytes());
            }
        }
    }
}

/// Distances from a query, off by a share of themselves that depends on the edge.
struct FromQuery<'a> {
    query: &'a [f32],
    noise: f32,
}

impl FromQuery<'_> {
    fn distance(&self, row: &[u8]) -> f32 {
        let values = row.chunks_exact(4).map(|bytes| f32::from_le_bytes(bytes.try_into().unwrap()));
        self.query.iter().zip(values).map(|(a, b)| (a - b) * (a - b)).sum()
    }
}

impl BlockScorer for FromQuery<'_> {
    fn node(&self, payload: &[u8]) -> f32 {
        self.distance(&payload[..self.query.len() * 4])
    }

    fn neighbors(&self, distance: f32, payload: &[u8], bound: f32, out: &mut [f32; BLOCK_LANES]) -> u32 {
        let mut near = 0;
        for (lane, row) in payload.chunks_exact(self.query.len() * 4).skip(1).enumerate() {
            let exact = self.distance(row);
            let share = ((distance * 1e4 + lane as f32) * 12.9898).sin();
            out[lane] = if exact.is_nan() { f32::INFINITY } else { exact * (1.0 + self.noise * share) };
            near |= u32::from(out[lane] < bound) << lane;
        }
        near
    }
}

fn refined(rows: &Rows, mut graph: Graph) -> Graph {
    let space = Blocks(rows);
    let config = graph.config().with_payload_bytes(space.payload_bytes()).unwrap();
    let run = |count: usize, work: &(dyn Fn(std::ops::Range<usize>) + Sync)| {
        (0..count).step_by(100).for_each(|start| work(start..(start + 100).min(count)));
    };
    let lists = graph.refined_lists(&space, &run, |graph, node, scratch: &mut Scratch, out| {
        graph.near(node, 60, &space, scratch, out);
    });
    let memory = GraphMemory::heap_for(rows.count(), &config);
    graph.relisted(config, memory, &lists, &space, &run).unwrap()
}

fn search(graph: &Graph, query: &[f32], noise: f32, ef: usize, scratch: &mut Scratch) -> Vec<Neighbor> {
    let starts = [Neighbor { node: 0, distance: 0.0 }, Neighbor { node: NodeId::MAX, distance: 0.0 }];
    let scorer = FromQuery { query, noise };
    graph
        .search_blocks(
            &scorer,
            &starts,
            BlockSearch { ef, k: 10, keep: 20, slack: f32::INFINITY, margin: 0.0, without: None },
            scratch,
        )
        .to_vec()
}

fn recall(graph: &Graph, rows: &Rows, queries: &Rows, noise: f32, ef: usize) -> f64 {
    let mut scratch = Scratch::new();
    let mut hits = 0;
    for query in 0..queries.count() as NodeId {
        let query = queries.row(query);
        let truth: Vec<_> =
            rows.exact(query).into_iter().filter(|&(_, id)| graph.is_live(id)).take(10).collect();
        let found = search(graph, query, noise, ef, &mut scratch);
        assert!(found.is_sorted_by(|a, b| (a.distance, a.node) < (b.distance, b.node)), "sorted, each once");
        for hit in &found {
            assert!(graph.is_live(hit.node) && hit.distance == rows.distance(query, hit.node), "{hit:?}");
        }
        hits += found.iter().take(10).filter(|hit| hit.distance <= truth[9].0).count();
    }
    hits as f64 / queries.count() as f64 / 10.0
}

#[test]
fn refined_lists_are_full_and_searched_well() {
    let (rows, queries) = (Rows::random(3000, 12, 3), Rows::random(100, 12, 4));
    let graph = refined(&rows, build(&rows, 8, 60, 2));
    let report = graph.validate();
    assert!(report.is_ok(), "{report}");
    assert_eq!(report.base_edges, 3000 * 16, "every place of every list is taken");
    let (exact, noisy) =
        (recall(&graph, &rows, &queries, 0.0, 60), recall(&graph, &rows, &queries, 0.1, 100));
    assert!(exact >= 0.99 && noisy >= 0.99, "{exact} {noisy}");
    let narrow = recall(&graph, &rows, &queries, 0.3, 10);
    assert!(narrow < noisy, "a bad estimate in a narrow beam shows: {narrow}");
}

#[test]
fn a_search_with_slack_ends_early_and_finds_nearly_as_much() {
    let (rows, queries) = (Rows::random(3000, 12, 13), Rows::random(60, 12, 14));
    let graph = refined(&rows, build(&rows, 8, 60, 2));
    let (pin, mut walk) = (graph.pin(), BlockWalk::default());
    let starts = [Neighbor { node: 0, distance: 0.0 }];
    let mut total = [0; 3];
    let mut hits = [0; 3];
    for query in 0..queries.count() as NodeId {
        let scorer = FromQuery { query: queries.row(query), noise: 0.0 };
        let truth = rows.exact(queries.row(query))[9].0;
        for (at, slack) in [1.0, 1.5, f32::INFINITY].into_iter().enumerate() {
            graph.begin_walk(
                &starts,
                BlockSearch { ef: 120, k: 10, keep: 10, slack, margin: 0.0, without: None },
                &mut walk,
                &pin,
            );
            graph.finish_walk(&scorer, &mut walk, &pin);
            total[at] += walk.expanded();
            hits[at] +=
                graph.end_walk(&scorer, &mut walk, &pin).iter().filter(|hit| hit.distance <= truth).count();
        }
    }
    assert!(total[0] < total[1] && total[1] < total[2], "{total:?}");
    assert!(hits[0] <= hits[1] && hits[1] <= hits[2] && hits[1] * 100 >= hits[2] * 98, "{hits:?}");
}

#[test]
fn nodes_that_come_and_go_are_met_as_they_are() {
    let (mut rows, queries) = (Rows::random(2400, 8, 5), Rows::random(60, 8, 6));
    let all = std::mem::take(&mut rows.data);
    rows.data = all[..1600 * 8].to_vec();
    let mut graph = refined(&rows, build(&rows, 8, 60, 1));
    let first = graph.entry();
    rows.data = all;
    let (levels, mut scratch) = (LevelDraw::new(7, 8), Scratch::new());
    let space = Blocks(&rows);
    let config = *graph.config();
    // The heap of the refined graph is as large as the first rows; the rest comes into a larger one.
    let order = graph.depth_first_order();
    assert_eq!(order.len(), 1600);
    let identity: Vec<NodeId> = (0..1600).collect();
    graph = graph.renumbered(&identity, GraphMemory::heap_for(2400, &config)).unwrap();
    assert_eq!(graph.entry(), first);
    for id in 1600..2400 {
        graph.insert(id, levels.level(id), &space, &mut scratch).unwrap();
        let old = (id - 1600) * 2 + 1;
        if old < 1200 {
            graph.remove(old, graph.generation(old), &space, &mut scratch).unwrap();
        }
    }
    assert_eq!(graph.len(), 2400 - 600);
    assert!(graph.validate().is_ok(), "{}", graph.validate());
    let found = recall(&graph, &rows, &queries, 0.0, 60);
    assert!(found >= 0.98, "{found}");
}

#[test]
fn without_a_place_to_begin_nothing_is_found() {
    let rows = Rows::random(50, 4, 9);
    let graph = refined(&rows, build(&rows, 4, 30, 1));
    let mut scratch = Scratch::new();
    let scorer = FromQuery { query: rows.row(3), noise: 0.0 };
    assert!(
        graph
            .search_blocks(
                &scorer,
                &[],
                BlockSearch { ef: 10, k: 5, keep: 5, slack: f32::INFINITY, margin: 0.0, without: None },
                &mut scratch
            )
            .is_empty()
    );
    assert_eq!(search(&graph, rows.row(3), 0.0, 50, &mut scratch)[0].node, 3);
    let config = GraphConfig::new(4, 30).unwrap().with_payload_bytes(Blocks(&rows).payload_bytes()).unwrap();
    let empty = Graph::new(config, GraphMemory::heap_for(10, &config));
    assert!(search(&empty, rows.row(3), 0.0, 50, &mut scratch).is_empty());
}
