//! Removing, updating and inserting again: what is left is as good as a fresh graph.
#![cfg(not(loom))]

use std::sync::Mutex;

use orthant_graph::{Graph, GraphConfig, GraphMemory, LevelDraw, NodeId, RemoveError, Scratch, Updated};

mod support;
use support::{Rows, empty};

/// One graph at a time: pins of one test put off what another takes back, and with that which slots its rows get. Alone, the
/// same rows give the same graph every time.
static ALONE: Mutex<()> = Mutex::new(());

/// A graph whose slots hold rows that change.
struct Churned {
    rows: Rows,
    graph: Graph,
    levels: LevelDraw,
    scratch: Scratch,
    live: Vec<NodeId>,
}

impl Churned {
    fn new(count: usize, dim: usize, m: usize, ef_construction: usize) -> Self {
        let rows = Rows { dim, data: vec![0.0; count * 3 * dim] };
        let graph = empty(count * 3, m, ef_construction);
        Self { rows, graph, levels: LevelDraw::new(7, m), scratch: Scratch::new(), live: Vec::new() }
    }

    fn insert(&mut self, row: &[f32]) -> NodeId {
        let node = self.graph.take_slot().unwrap_or(self.graph.node_bound() as NodeId);
        let dim = self.rows.dim;
        self.rows.data[node as usize * dim..][..dim].copy_from_slice(row);
        self.graph.insert(node, self.levels.level(node), &self.rows, &mut self.scratch).unwrap();
        self.live.push(node);
        node
    }

    fn remove(&mut self, place: usize) {
        let node = self.live.swap_remove(place);
        let generation = self.graph.generation(node);
        self.graph.remove(node, generation, &self.rows, &mut self.scratch).unwrap();
        assert!(!self.graph.is_live(node));
    }

    /// Recall@10 at ef 48 against the live rows.
    fn recall(&mut self, queries: &Rows) -> f64 {
        let mut hits = 0;
        for query in 0..queries.count() as NodeId {
            let query = queries.row(query);
            let mut truth: Vec<_> = self.live.iter().map(|&id| (self.rows.distance(query, id), id)).collect();
            truth.sort_unstable_by(|a, b| a.0.total_cmp(&b.0));
            let found = self.graph.search(&self.rows.from(query), 48, &mut self.scratch);
            assert_eq!(found.len(), 48.min(self.live.len()));
            hits += found.iter().take(10).filter(|hit| hit.distance <= truth[9].0).count();
        }
        hits as f64 / queries.count() as f64 / 10.0
    }

    fn find_themselves(&mut self) -> usize {
        let mut lost = 0;
        for &node in &self.live {
            let found = self.graph.search(&self.rows.from(self.rows.row(node)), 64, &mut self.scratch);
            lost += usize::from(found.iter().all(|hit| hit.node != node));
        }
        lost
    }
}

#[derive(Clone, Copy, Debug)]
enum Pattern {
    Random,
    Sliding,
    Clustered,
}

fn clustered(count: usize, dim: usize, seed: u64) -> Rows {
    let (centers, noise) = (Rows::random(40, dim, 99), Rows::random(count, dim, seed));
    let mut rows = noise;
    for row in 0..count {
        let center = (row * 7919 + seed as usize) % 40;
        for d in 0..dim {
            let value = &mut rows.data[row * dim + d];
            *value = centers.data[center * dim + d] + 0.4 * (*value - 0.5);
        }
    }
    rows
}

fn turn_over(pattern: Pattern) {
    let (count, dim, turns) = (2000, 16, 5);
    let queries = clustered(60, dim, 5);
    let fresh = |rows: &Rows, skip: usize| {
        let mut churned = Churned::new(count, dim, 8, 60);
        (skip..skip + count).for_each(|row| _ = churned.insert(rows.row(row as NodeId)));
        churned
    };
    let rows = clustered(count * (turns + 1), dim, 3);
    let mut churned = fresh(&rows, 0);
    let mut state = 1u64;
    let mut next = count;
    while next < count * (turns + 1) {
        // A tenth goes and comes at a time.
        let (mut gone, batch) = (0, count / 10);
        let place = crate_random(&mut state) as usize % churned.live.len();
        let center = churned.rows.row(churned.live[place]).to_vec();
        if matches!(pattern, Pattern::Clustered) {
            let rows = &churned.rows;
            churned
                .live
                .sort_unstable_by(|&a, &b| rows.distance(&center, b).total_cmp(&rows.distance(&center, a)));
        }
        while gone < batch {
            let place = match pattern {
                Pattern::Random => crate_random(&mut state) as usize % churned.live.len(),
                Pattern::Sliding => 0,
                Pattern::Clustered => churned.live.len() - 1,
            };
            churned.remove(place);
            gone += 1;
        }
        if matches!(pattern, Pattern::Sliding) {
            // `swap_remove` mixed the order; the oldest are those that came first.
            churned.live.rotate_left(0);
        }
        for _ in 0..batch {
            churned.insert(rows.row(next as NodeId));
            next += 1;
        }
    }
    let report = churned.graph.validate();
    assert!(report.is_ok(), "{pattern:?}: {report}");
    assert_eq!((report.nodes, report.components), (count, 1));
    // Six times as many rows as that came. Slots wait for readers, those of the other tests in this process too.
    assert!(churned.graph.node_bound() < count * 2, "{} slots", churned.graph.node_bound());
    let lost = churned.find_themselves();
    let survivors =
        Rows { dim, data: churned.live.iter().flat_map(|&node| churned.rows.row(node).to_vec()).collect() };
    let mut again = fresh(&survivors, 0);
    let (after, before) = (churned.recall(&queries), again.recall(&queries));
    println!(
        "{pattern:?}: recall {after} fresh {before} lost {lost} bound {} waiting {} stale {} depth {} (fresh {}) edges {} (fresh {})",
        churned.graph.node_bound(),
        report.waiting,
        report.stale_edges,
        report.tree_depth,
        again.graph.validate().tree_depth,
        report.base_edges,
        again.graph.validate().base_edges
    );
    assert_eq!(lost, 0);
    assert!(after >= before - 0.01, "{pattern:?}: {after} after {before}");
}

fn crate_random(state: &mut u64) -> u64 {
    *state ^= *state << 13;
    *state ^= *state >> 7;
    *state ^= *state << 17;
    *state >> 8
}

#[test]
fn random_turnover_leaves_a_graph_as_good_as_new() {
    let _alone = ALONE.lock().unwrap_or_else(|poisoned| poisoned.into_inner());
    turn_over(Pattern::Random);
}

#[test]
fn a_sliding_window_leaves_a_graph_as_good_as_new() {
    let _alone = ALONE.lock().unwrap_or_else(|poisoned| poisoned.into_inner());
    turn_over(Pattern::Sliding);
}

#[test]
fn clustered_turnover_leaves_a_graph_as_good_as_new() {
    let _alone = ALONE.lock().unwrap_or_else(|poisoned| poisoned.into_inner());
    turn_over(Pattern::Clustered);
}

#[test]
fn a_graph_can_be_emptied_and_filled_again() {
    let _alone = ALONE.lock().unwrap_or_else(|poisoned| poisoned.into_inner());
    let rows = Rows::random(300, 4, 1);
    let mut churned = Churned::new(300, 4, 4, 20);
    for round in 0..4 {
        for row in 0..300 {
            churned.insert(rows.row(row));
        }
        assert_eq!(churned.graph.len(), 300);
        let mut state = round + 1;
        while !churned.live.is_empty() {
            let place = crate_random(&mut state) as usize % churned.live.len();
            let node = churned.live[place];
            churned.remove(place);
            let generation = churned.graph.generation(node);
            let again = churned.graph.remove(node, generation, &churned.rows, &mut churned.scratch);
            assert_eq!(again, Err(RemoveError::NotPresent { node }));
            if churned.live.len().is_multiple_of(20) {
                let report = churned.graph.validate();
                assert!(report.is_ok(), "{} left: {report}", churned.live.len());
                let query = churned.rows.from(&[0.5; 4]);
                let found = churned.graph.search(&query, 400, &mut churned.scratch);
                assert_eq!(found.len(), churned.live.len());
            }
        }
        assert!(churned.graph.is_empty());
        assert_eq!(churned.graph.entry(), None);
        churned.graph.settle(&churned.rows, &mut churned.scratch).unwrap();
        let report = churned.graph.validate();
        assert!(report.is_ok() && report.waiting == 0, "{report}");
    }
}

#[test]
fn an_update_shows_one_of_the_two() {
    let _alone = ALONE.lock().unwrap_or_else(|poisoned| poisoned.into_inner());
    let rows = Rows::random(600, 4, 2);
    let mut churned = Churned::new(600, 4, 6, 30);
    (0..300).for_each(|row| _ = churned.insert(rows.row(row)));
    for row in 0..300 {
        let (old, new) = (churned.live[row], churned.graph.node_bound() as NodeId);
        let (old, new) = (old, churned.graph.take_slot().unwrap_or(new));
        churned.rows.data[new as usize * 4..][..4].copy_from_slice(rows.row(300 + row as NodeId));
        let generation = churned.graph.generation(old);
        let level = churned.levels.level(new);
        let done =
            churned.graph.update((old, generation), new, level, &churned.rows, &mut churned.scratch).unwrap();
        assert_eq!(done, Updated::Replaced);
        assert!(churned.graph.is_live(new) && !churned.graph.is_live(old));
        assert_eq!(churned.graph.len(), 300);
        churned.live[row] = new;
    }
    assert!(churned.graph.validate().is_ok());
    assert_eq!(churned.find_themselves(), 0);
}

#[test]
fn lists_that_are_kept_full_stay_so_under_churn() {
    let _alone = ALONE.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
    let rows = Rows::random(2400, 6, 5);
    let mut churned = Churned::new(800, 6, 6, 40);
    let config = GraphConfig::new(6, 40).unwrap().with_keep_pruned(true);
    churned.graph = Graph::new(config, GraphMemory::heap(2400, config.m0()));
    for row in 0..2400 {
        churned.insert(rows.row(row));
        if row >= 800 {
            churned.remove((row as usize * 7919) % 800);
        }
    }
    churned.graph.settle(&churned.rows, &mut churned.scratch).unwrap();
    let found = churned.graph.validate();
    assert!(found.is_ok(), "{found:?}");
    let pin = churned.graph.pin();
    let length = |&node: &NodeId| {
        let (words, _) = churned.graph.read_block(node, &pin).unwrap();
        words.iter().filter(|&&word| word != u32::MAX).count()
    };
    // A removal leaves a place free where nothing is found for it that leads elsewhere; inserts nearby fill it.
    let mean = churned.live.iter().map(length).sum::<usize>() as f64 / churned.live.len() as f64;
    assert!(mean > 0.8 * config.m0() as f64, "{mean} of {}", config.m0());
}
