//! The quality monitor tells good graphs from bad ones.
#![cfg(not(loom))]

use orthant_graph::{Advice, Graph, GraphMemory, GraphState, NodeId, Scratch, Table};

mod support;
use support::{Rows, build, empty};

#[test]
fn a_good_graph_is_kept_and_the_figures_repeat() {
    let rows = Rows::random(3000, 8, 1);
    let graph = build(&rows, 8, 60, 2);
    let mut scratch = Scratch::new();
    let quality = graph.quality(100, 5, &rows, &mut scratch);
    assert_eq!(quality, graph.quality(100, 5, &rows, &mut scratch), "M1");
    assert_eq!((quality.nodes, quality.sampled), (3000, 100));
    assert!(quality.self_found >= 0.99 && quality.recall >= 0.95, "{quality:?}");
    assert_eq!((quality.unreachable_share, quality.tombstone_share, quality.free_share), (0.0, 0.0, 0.0));
    assert_eq!(quality.advice(), Advice::Keep);
    let poor = build(&rows, 3, 3, 1).quality(100, 5, &rows, &mut scratch);
    assert!(poor.recall < quality.recall - 0.05, "{poor:?}");
}

#[test]
fn removals_call_for_compaction() {
    let rows = Rows::random(2000, 8, 2);
    let graph = build(&rows, 8, 60, 2);
    let mut scratch = Scratch::new();
    for id in 0..900 {
        graph.remove(id, graph.generation(id), &rows, &mut scratch).unwrap();
    }
    let quality = graph.quality(60, 1, &rows, &mut scratch);
    assert_eq!(quality.nodes, 1100);
    let unused =
        quality.free_share * 2000.0 + quality.tombstone_share * (1100.0 / (1.0 - quality.tombstone_share));
    assert!((unused - 900.0).abs() < 2.0, "{quality:?}");
    assert_eq!(quality.advice(), Advice::Compact);
    assert!(quality.self_found >= 0.98, "{quality:?}");
}

/// A graph of which each third list has lost its neighbors.
fn damaged(graph: &Graph) -> Graph {
    let memory = GraphMemory::heap_for(2000, graph.config());
    let state = graph.state();
    for (table, target) in [
        (Table::Heads, &memory.heads),
        (Table::Blocks, &memory.blocks),
        (Table::Towers, &memory.towers),
        (Table::Anchors, &memory.anchors),
        (Table::UpperHeads, &memory.upper_heads),
        (Table::UpperBlocks, &memory.upper_blocks),
    ] {
        let mut bytes = Vec::new();
        graph.write_table(table, &mut bytes).unwrap();
        if table == Table::Blocks {
            let block = bytes.len() / state.node_bound as usize;
            bytes.chunks_mut(block).skip(1).step_by(3).for_each(|block| block.fill(0xFF));
        }
        // SAFETY: heap memory of room for 2000 nodes, nobody else's yet.
        unsafe { std::ptr::copy_nonoverlapping(bytes.as_ptr(), target.base(), bytes.len()) };
    }
    Graph::open(*graph.config(), memory, GraphState { ..state }).unwrap()
}

#[test]
fn lost_nodes_call_for_a_rebuild() {
    let rows = Rows::random(1500, 8, 3);
    let graph = damaged(&build(&rows, 6, 40, 1));
    let quality = graph.quality(100, 1, &rows, &mut Scratch::new());
    assert!(quality.unreachable_share > 0.2, "{quality:?}");
    assert_eq!(quality.advice(), Advice::Rebuild);
}

#[test]
fn nothing_to_sample_and_equal_rows() {
    let rows = Rows::random(10, 2, 4);
    let mut scratch = Scratch::new();
    let none = empty(4, 4, 10).quality(10, 1, &rows, &mut scratch);
    assert_eq!((none.sampled, none.self_found, none.advice()), (0, 1.0, Advice::Keep));
    let equal = Rows { dim: 2, data: vec![1.0; 2000] };
    let quality = build(&equal, 6, 40, 1).quality(60, 1, &equal, &mut scratch);
    assert_eq!((quality.self_found, quality.unreachable_share), (1.0, 0.0));
}

#[test]
fn it_runs_beside_writers() {
    let rows = Rows::random(1500, 8, 6);
    let graph = empty(1500, 8, 40);
    let mut scratch = Scratch::new();
    (0..1000).for_each(|id| graph.insert(id, 0, &rows, &mut scratch).unwrap());
    std::thread::scope(|scope| {
        let writer = scope.spawn(|| {
            let mut scratch = Scratch::new();
            for id in 0..500 as NodeId {
                graph.insert(1000 + id, 0, &rows, &mut scratch).unwrap();
                graph.remove(id, graph.generation(id), &rows, &mut scratch).unwrap();
            }
        });
        let mut scratch = Scratch::new();
        while !writer.is_finished() {
            let quality = graph.quality(10, 9, &rows, &mut scratch);
            assert!(quality.self_found >= 0.7 && quality.recall >= 0.8, "{quality:?}");
        }
    });
}
