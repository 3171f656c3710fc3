//! What filtered searches promise, against a scan of all rows.
#![cfg(not(loom))]

use orthant_graph::{FilterMode, Graph, NodeId, Scratch};

mod support;
use support::{Rows, build, empty};

const MODES: [FilterMode; 4] = [FilterMode::Plain, FilterMode::Pool, FilterMode::OneHop, FilterMode::TwoHop];
const COUNT: usize = 12_000;
const CLUSTERS: usize = 48;
const DIM: usize = 16;

/// Rows around centers that all seeds share, and to which center each belongs.
fn clustered(count: usize, seed: u64) -> (Rows, Vec<usize>) {
    let centers = Rows::random(CLUSTERS, DIM, 99);
    let mut rows = Rows::random(count, DIM, seed);
    let labels: Vec<usize> = (0..count).map(|row| (row * 7919 + seed as usize) % CLUSTERS).collect();
    for (row, label) in rows.data.chunks_exact_mut(DIM).zip(&labels) {
        row.iter_mut().zip(centers.row(*label as NodeId)).for_each(|(x, c)| *x = 0.5 * *x + c);
    }
    (rows, labels)
}

/// Whether a share of the nodes, chosen without regard to where they lie, holds `id`.
fn drawn(id: NodeId, share: f64) -> bool {
    let bits = (u64::from(id) + 1).wrapping_mul(0x9E37_79B9_7F4A_7C15) >> 40;
    (bits as f64) < share * (1u64 << 24) as f64
}

#[derive(Debug, Clone, Copy)]
enum Correlation {
    None,
    /// What passes lies around the query.
    Positive,
    /// What passes lies in the half of the clusters that is farthest from the query.
    Negative,
}

struct Setting {
    graph: Graph,
    rows: Rows,
    labels: Vec<usize>,
    queries: Rows,
    /// All rows by their distance from each query.
    exact: Vec<Vec<(f32, NodeId)>>,
}

impl Setting {
    fn new() -> Self {
        let (rows, labels) = clustered(COUNT, 1);
        let graph = build(&rows, 12, 100, 2);
        let queries = clustered(40, 2).0;
        let exact = (0..40).map(|query| rows.exact(queries.row(query))).collect();
        Self { graph, rows, labels, queries, exact }
    }

    /// The nodes that pass for a query.
    fn passing(&self, query: usize, share: f64, correlation: Correlation) -> Vec<bool> {
        let mut passes = vec![false; COUNT];
        let pool: Vec<NodeId> = match correlation {
            Correlation::None => (0..COUNT as NodeId).collect(),
            Correlation::Positive => {
                let near = (COUNT as f64 * share * 5.0) as usize;
                self.exact[query].iter().take(near).map(|&(_, id)| id).collect()
            }
            Correlation::Negative => {
                let mut sums = vec![(0.0, 0); CLUSTERS];
                for &(distance, id) in &self.exact[query] {
                    let label = self.labels[id as usize];
                    sums[label] = (sums[label].0 + distance, label);
                }
                sums.sort_by(|a, b| b.partial_cmp(a).unwrap());
                let far: Vec<usize> = sums[..CLUSTERS / 2].iter().map(|&(_, label)| label).collect();
                (0..COUNT as NodeId).filter(|&id| far.contains(&self.labels[id as usize])).collect()
            }
        };
        let part = (COUNT as f64 * share / pool.len() as f64).min(1.0);
        pool.into_iter().filter(|&id| drawn(id, part)).for_each(|id| passes[id as usize] = true);
        passes
    }

    /// Recall@10; panics where a result fails, is in twice, is out of order, or where there are too few.
    fn recall(
        &self,
        ef: usize,
        mode: FilterMode,
        share: f64,
        correlation: Correlation,
        budget: Option<usize>,
    ) -> f64 {
        let mut scratch = Scratch::new();
        let (mut hits, mut total) = (0, 0);
        for query in 0..self.queries.count() {
            let passes = self.passing(query, share, correlation);
            let exact = self.exact[query].iter();
            let truth: Vec<_> = exact.filter(|&&(_, id)| passes[id as usize]).take(10).collect();
            let query = self.queries.row(query as NodeId);
            let (scorer, passes) = (self.rows.from(query), |id: NodeId| passes[id as usize]);
            let found = match budget {
                None => self.graph.search_filtered(&scorer, (10, ef), mode, passes, &mut scratch),
                Some(_) => self.graph.search_within(budget, &scorer, (10, ef), mode, passes, &mut scratch),
            };
            assert!(found.iter().all(|hit| passes(hit.node)), "F1");
            let is_ordered = |pair: &[orthant_graph::Neighbor]| {
                (pair[0].distance, pair[0].node) < (pair[1].distance, pair[1].node)
            };
            assert!(found.windows(2).all(is_ordered), "F1");
            assert!(found.len() >= truth.len() && found.len() <= ef.max(10), "F2: {}", found.len());
            total += truth.len();
            let top = &found[..truth.len()];
            hits += truth.iter().filter(|(_, id)| top.iter().any(|hit| hit.node == *id)).count();
        }
        hits as f64 / total.max(1) as f64
    }
}

#[test]
fn recall_is_high_at_every_selectivity_and_correlation() {
    let setting = Setting::new();
    for correlation in [Correlation::None, Correlation::Positive, Correlation::Negative] {
        for (share, mode, ef) in [
            (0.5, FilterMode::Plain, 128),
            (0.5, FilterMode::Pool, 64),
            (0.1, FilterMode::Pool, 64),
            (0.1, FilterMode::TwoHop, 128),
            (0.05, FilterMode::TwoHop, 128),
            (0.01, FilterMode::TwoHop, 128),
            (0.003, FilterMode::TwoHop, 128),
        ] {
            let recall = setting.recall(ef, mode, share, correlation, None);
            assert!(recall >= 0.95, "{correlation:?} {share} {mode:?}: {recall}");
        }
    }
}

#[test]
fn the_walks_alone_find_their_way() {
    let setting = Setting::new();
    let alone = Some(usize::MAX);
    for (share, mode, ef, floor) in [
        (0.5, FilterMode::Pool, 64, 0.97),
        (0.1, FilterMode::Pool, 64, 0.97),
        (0.5, FilterMode::OneHop, 64, 0.95),
        (0.2, FilterMode::OneHop, 64, 0.95),
        (0.5, FilterMode::TwoHop, 64, 0.95),
        (0.1, FilterMode::TwoHop, 64, 0.95),
        (0.05, FilterMode::TwoHop, 64, 0.95),
        // 120 of 12,000: what a scan is for.
        (0.01, FilterMode::TwoHop, 64, 0.80),
    ] {
        for correlation in [Correlation::None, Correlation::Positive] {
            let recall = setting.recall(ef, mode, share, correlation, alone);
            assert!(recall >= floor, "{correlation:?} {share} {mode:?}: {recall}");
        }
    }
    let recall = setting.recall(128, FilterMode::TwoHop, 0.05, Correlation::Negative, alone);
    assert!(recall >= 0.90, "{recall}");
}

#[test]
fn never_short_whatever_passes() {
    let (rows, _) = clustered(3000, 4);
    let graph = build(&rows, 6, 30, 1);
    let mut scratch = Scratch::new();
    let query = rows.row(17).to_vec();
    let exact = rows.exact(&query);
    for mode in MODES {
        for keep in [0usize, 1, 2, 9, 10, 11, 200] {
            // The farthest `keep` rows.
            let passing: Vec<NodeId> = exact[3000 - keep..].iter().map(|&(_, id)| id).collect();
            for budget in [None, Some(0), Some(usize::MAX)] {
                let passes = |id| passing.contains(&id);
                let found =
                    graph.search_within(budget, &rows.from(&query), (10, 16), mode, passes, &mut scratch);
                assert!(found.len() >= keep.min(10), "{mode:?} {keep} {budget:?}: {}", found.len());
                assert!(found.iter().all(|hit| passing.contains(&hit.node)));
            }
        }
        let all = graph.search_filtered(&rows.from(&query), (10, 64), mode, |_| true, &mut scratch).to_vec();
        assert_eq!(all[0].node, 17);
        assert_eq!(all.len(), 64);
        let again = graph.search_filtered(&rows.from(&query), (10, 64), mode, |_| true, &mut scratch);
        assert_eq!(all, again, "F3");
    }
}

#[test]
fn small_and_empty_graphs() {
    let mut scratch = Scratch::new();
    let rows = Rows::random(3, 2, 5);
    for mode in MODES {
        let none = empty(4, 4, 10);
        assert!(
            none.search_filtered(&rows.from(&[0.0, 0.0]), (3, 8), mode, |_| true, &mut scratch).is_empty()
        );
        let three = build(&rows, 4, 10, 1);
        let found = three.search_filtered(&rows.from(&[0.0, 0.0]), (0, 0), mode, |id| id == 2, &mut scratch);
        assert_eq!(found.iter().map(|hit| hit.node).collect::<Vec<_>>(), [2]);
        let found = three.search_filtered(&rows.from(&[0.0, 0.0]), (9, 9), mode, |id| id != 1, &mut scratch);
        assert_eq!(found.len(), 2);
    }
}

#[test]
fn filters_beside_inserts() {
    let (rows, _) = clustered(3000, 6);
    let graph = empty(3000, 8, 40);
    let levels = orthant_graph::LevelDraw::new(7, 8);
    std::thread::scope(|scope| {
        let writer = scope.spawn(|| {
            let mut scratch = Scratch::new();
            for id in 0..3000 {
                graph.insert(id, levels.level(id), &rows, &mut scratch).unwrap();
            }
        });
        let mut scratch = Scratch::new();
        let mut turn = 0;
        while !writer.is_finished() {
            turn += 1;
            let query = rows.row(turn % 3000);
            let mode = MODES[turn as usize % 3];
            let found =
                graph.search_filtered(&rows.from(query), (5, 20), mode, |id| id % 7 == 3, &mut scratch);
            assert!(found.iter().all(|hit| hit.node % 7 == 3));
        }
    });
}

#[test]
fn removed_nodes_are_in_no_filtered_search() {
    let (rows, _) = clustered(3000, 7);
    let graph = build(&rows, 8, 60, 2);
    let mut scratch = Scratch::new();
    let is_removed = |id: NodeId| id % 3 == 1;
    for id in (0..3000).filter(|&id| is_removed(id)) {
        graph.remove(id, graph.generation(id), &rows, &mut scratch).unwrap();
    }
    for mode in MODES {
        for share in [1.0, 0.4, 0.02] {
            let passes = |id| drawn(id, share);
            let (mut hits, mut total) = (0, 0);
            for query in 0..30 {
                let query = rows.row(query * 97);
                let exact = rows.exact(query).into_iter().map(|(_, id)| id);
                let truth: Vec<_> = exact.filter(|&id| passes(id) && !is_removed(id)).take(10).collect();
                let found = graph.search_filtered(&rows.from(query), (10, 64), mode, passes, &mut scratch);
                assert!(found.iter().all(|hit| passes(hit.node) && !is_removed(hit.node)));
                assert!(found.len() >= truth.len());
                hits += truth.iter().filter(|&&id| found[..10].iter().any(|hit| hit.node == id)).count();
                total += truth.len();
            }
            assert!(hits as f64 >= 0.95 * total as f64, "{mode:?} {share}: {hits} of {total}");
        }
    }
}

#[test]
fn of_the_two_nodes_of_an_update_a_filtered_search_returns_one() {
    let (mut rows, _) = clustered(1000, 8);
    let twin = rows.row(5).to_vec();
    rows.data.extend_from_slice(&twin);
    let few = Rows { dim: DIM, data: rows.data[..1000 * DIM].to_vec() };
    let graph = empty(1001, 8, 60);
    let levels = orthant_graph::LevelDraw::new(7, 8);
    let mut scratch = Scratch::new();
    (0..few.count() as NodeId)
        .for_each(|id| graph.insert(id, levels.level(id), &rows, &mut scratch).unwrap());
    let passes = |id: NodeId| id == 5 || id == 1000;
    std::thread::scope(|scope| {
        let reader = scope.spawn(|| {
            let mut scratch = Scratch::new();
            let mut last = 5;
            for turn in 0..20_000 {
                let mode = MODES[turn % 3];
                let found = graph.search_filtered(&rows.from(&twin), (1, 8), mode, passes, &mut scratch);
                let nodes: Vec<_> = found.iter().map(|hit| hit.node).collect();
                assert!(nodes == [5] || nodes == [1000], "{nodes:?}");
                assert!(nodes[0] >= last, "the old one came back");
                last = nodes[0];
            }
        });
        graph.update((5, graph.generation(5)), 1000, 0, &rows, &mut scratch).unwrap();
        reader.join().unwrap();
    });
    let found = graph.search_filtered(&rows.from(&twin), (1, 8), FilterMode::Pool, passes, &mut scratch);
    assert_eq!(found[0].node, 1000);
}
