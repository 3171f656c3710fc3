//! Mending: nodes that searches do not find get ways to them, and the graph stays as it has to be.
#![cfg(not(loom))]

mod support;

use std::ops::Range;

use orthant_graph::{Graph, GraphConfig, GraphMemory, Mended, NodeId, Scratch, Space};
use proptest::prelude::*;
use support::Rows;

/// Rows of `clusters` tight clusters, in turn.
fn clustered(clusters: usize, per_cluster: usize, dim: usize, seed: u64) -> Rows {
    let centers = Rows::random(clusters, dim, seed);
    let mut rows = Rows::random(clusters * per_cluster, dim, seed + 1);
    for (place, value) in rows.data.iter_mut().enumerate() {
        let (row, column) = (place / dim, place % dim);
        *value = *value * 0.02 + centers.data[row % clusters * dim + column] * 10.0;
    }
    rows
}

/// A graph whose lists know the nearest of a row's own cluster alone; the anchor tree holds clusters together. All nodes are on level 0.
fn islands(rows: &Rows, clusters: usize, m: usize) -> Graph {
    let config = GraphConfig::new(m, 50).unwrap();
    let mut lists = Vec::new();
    for node in 0..rows.count() as NodeId {
        let near = rows.exact(rows.row(node)).into_iter().map(|(_, id)| id);
        let own = near.filter(|&id| id != node && id as usize % clusters == node as usize % clusters);
        let mut list: Vec<u32> = own.take(m).collect();
        list.resize(config.m0(), u32::MAX);
        lists.extend(list);
    }
    let memory = GraphMemory::heap(rows.count(), config.m0());
    Graph::from_lists(config, memory, &vec![0; rows.count()], lists, &[], rows).unwrap()
}

/// One after the other.
fn in_turn(count: usize, work: &(dyn Fn(Range<usize>) + Sync)) {
    (0..count).step_by(16).for_each(|start| work(start..(start + 16).min(count)));
}

/// On two threads, the last first.
fn on_two(count: usize, work: &(dyn Fn(Range<usize>) + Sync)) {
    std::thread::scope(|scope| {
        scope.spawn(move || (count / 2..count).rev().for_each(|place| work(place..place + 1)));
        scope.spawn(move || work(0..count / 2));
    });
}

fn lost(graph: &Graph, rows: &Rows, ef: usize) -> usize {
    let mut scratch = Scratch::new();
    let is_lost = |&node: &NodeId| {
        let found = graph.search(&rows.scorer(node), ef, &mut scratch);
        found.iter().all(|neighbor| neighbor.node != node)
    };
    (0..rows.count() as NodeId).filter(is_lost).count()
}

fn lists(graph: &Graph) -> Vec<Vec<u32>> {
    let pin = graph.pin();
    (0..graph.node_bound() as NodeId)
        .map(|node| graph.read_block(node, &pin).map_or(Vec::new(), |(words, _)| words.to_vec()))
        .collect()
}

#[test]
fn rows_of_clusters_that_know_only_themselves_are_found() {
    let rows = clustered(60, 40, 8, 3);
    let mut graph = islands(&rows, 60, 8);
    let all: Vec<NodeId> = (0..rows.count() as NodeId).collect();
    let before = lost(&graph, &rows, 16);
    assert!(before > rows.count() / 4, "{before}: the data is to be hard");
    // Few first, then ever more.
    let edges: usize = [64, 32, 16, 8, 4, 2, 1]
        .map(|step| {
            let nodes: Vec<NodeId> =
                all.iter().copied().filter(|node| node % 67 % step == step / 2).collect();
            graph.mend(&nodes, 16, &rows, &in_turn).edges
        })
        .iter()
        .sum();
    let after = lost(&graph, &rows, 16);
    assert!(after * 50 <= rows.count(), "{after} of {} are lost still, {before} were", rows.count());
    assert!(edges > 0 && edges < rows.count(), "{edges} edges");
    assert!(graph.validate().is_ok(), "{}", graph.validate());
}

#[test]
fn what_is_found_is_left_alone() {
    let rows = Rows::random(500, 4, 9);
    let mut graph = support::build(&rows, 8, 60, 1);
    let before = lists(&graph);
    let all: Vec<NodeId> = (0..500).chain([500, u32::MAX]).collect();
    let mended = graph.mend(&all, 64, &rows, &in_turn);
    assert_eq!((mended.asked, mended.lost, mended.edges), (502, 0, 0));
    assert_eq!(lists(&graph), before);
    let empty = &mut support::empty(8, 8, 60);
    assert_eq!(empty.mend(&[0, 1], 8, &rows, &in_turn).lost, 0);
}

#[test]
fn equal_rows_are_found_with_each_other() {
    let rows = Rows { dim: 2, data: vec![0.5; 600] };
    let mut graph = support::build(&rows, 4, 30, 1);
    let all: Vec<NodeId> = (0..300).collect();
    assert_eq!(graph.mend(&all, 4, &rows, &in_turn).lost, 0);
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(12))]

    #[test]
    fn the_graph_stays_whole_and_is_the_same_on_any_threads(
        clusters in 1_usize..30, per_cluster in 2_usize..30, m in 2_usize..9, ef in 1_usize..20, seed in 0_u64..1000,
    ) {
        let rows = clustered(clusters, per_cluster, 6, seed);
        let (mut one, mut two) = (islands(&rows, clusters, m), islands(&rows, clusters, m));
        let all: Vec<NodeId> = (0..rows.count() as NodeId).collect();
        let mut last = Mended::default();
        for _ in 0..3 {
            last = one.mend(&all, ef, &rows, &in_turn);
            prop_assert_eq!(last, two.mend(&all, ef, &rows, &on_two));
        }
        prop_assert!(last.edges <= 2 * last.lost);
        prop_assert_eq!(lists(&one), lists(&two));
        prop_assert!(one.validate().is_ok(), "{}", one.validate());
    }
}
