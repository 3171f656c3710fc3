//! Nodes that come many at once, at the level of the graph.
#![cfg(not(loom))]

use std::sync::atomic::{AtomicUsize, Ordering};

use orthant_graph::{Graph, GraphConfig, GraphMemory, InsertError, LevelDraw, NodeId, Scratch};

mod support;
use support::{Rows, empty};

fn levels(nodes: std::ops::Range<NodeId>) -> Vec<(NodeId, u8)> {
    let draw = LevelDraw::new(7, 6);
    nodes.map(|node| (node, draw.level(node))).collect()
}

fn insert(graph: &mut Graph, nodes: &[(NodeId, u8)], rows: &Rows) -> Result<(), InsertError> {
    graph.insert_batch(nodes, rows, &|count, work| work(0..count), &|_| true)
}

#[test]
fn it_depends_on_the_nodes_not_on_their_order() {
    let rows = Rows::random(1500, 8, 1);
    let mut nodes = levels(0..1500);
    let lists = |nodes: &[(NodeId, u8)]| {
        let mut graph = empty(1500, 6, 40);
        insert(&mut graph, nodes, &rows).unwrap();
        assert!(graph.validate().is_ok(), "{}", graph.validate());
        let report = graph.validate();
        (report.base_edges, report.upper_edges, report.in_degree_histogram, graph.entry())
    };
    let forward = lists(&nodes);
    nodes.reverse();
    assert_eq!(lists(&nodes), forward);
}

#[test]
fn told_to_stop_it_leaves_whole_parts() {
    let rows = Rows::random(1200, 8, 4);
    let nodes = levels(0..1200);
    for stop in 0..12 {
        let mut graph = empty(1200, 6, 40);
        insert(&mut graph, &nodes[..100], &rows).unwrap();
        let asked = AtomicUsize::new(0);
        // Between parts and amid them.
        let goes_on = |_: usize| asked.fetch_add(1, Ordering::Relaxed) < stop * stop * 9;
        graph.insert_batch(&nodes[100..], &rows, &|count, work| work(0..count), &goes_on).unwrap();
        let report = graph.validate();
        assert!(report.is_ok() && report.nodes < 1200, "{stop}: {report}");
        assert_eq!(graph.node_bound(), 1200, "{stop}: all have slots");
        let left: Vec<(NodeId, u8)> =
            nodes.iter().copied().filter(|&(node, _)| !graph.is_live(node)).collect();
        assert_eq!(left.len() + graph.len(), 1200, "{stop}");
        // They can come later.
        insert(&mut graph, &left, &rows).unwrap();
        assert!(graph.validate().is_ok() && graph.len() == 1200, "{stop}: {}", graph.validate());
    }
}

#[test]
fn no_list_changes_where_memory_runs_out() {
    let rows = Rows::random(4000, 8, 2);
    let config = GraphConfig::new(6, 40).unwrap();
    let mut graph = Graph::new(config, GraphMemory::heap(900, config.m0()));
    insert(&mut graph, &levels(0..600), &rows).unwrap();
    let refused = insert(&mut graph, &levels(600..4000), &rows);
    assert!(matches!(refused, Err(InsertError::Memory(_))), "{refused:?}");
    let report = graph.validate();
    assert!(report.is_ok(), "{report}");
    // Parts that were done are in.
    assert!((600..900).contains(&report.nodes), "{}", report.nodes);
    let mut scratch = Scratch::new();
    let found = graph.search(&rows.from(rows.row(17)), 10, &mut scratch);
    assert_eq!(found[0].node, 17);
}

#[test]
fn a_node_that_is_in_is_refused() {
    let rows = Rows::random(500, 8, 3);
    let mut graph = empty(500, 6, 40);
    insert(&mut graph, &levels(0..400), &rows).unwrap();
    let refused = insert(&mut graph, &levels(399..430), &rows);
    assert!(matches!(refused, Err(InsertError::Present { node: 399 })), "{refused:?}");
    assert!(graph.validate().is_ok(), "{}", graph.validate());
    assert!((400..430).contains(&graph.len()));
}
