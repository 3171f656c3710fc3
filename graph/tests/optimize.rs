//! What a renumbered graph promises.
#![cfg(not(loom))]

use orthant_graph::{Graph, GraphMemory, LevelDraw, NodeId, Scratch, Table};

mod support;
use support::{Rows, build, empty};

fn memory(count: usize, m: usize) -> GraphMemory {
    GraphMemory::heap(count, 2 * m)
}

/// The rows in a new order.
fn reordered(rows: &Rows, order: &[NodeId]) -> Rows {
    Rows { dim: rows.dim, data: order.iter().flat_map(|&node| rows.row(node).to_vec()).collect() }
}

fn table(graph: &Graph, table: Table) -> Vec<u8> {
    let mut bytes = Vec::new();
    graph.write_table(table, &mut bytes).unwrap();
    bytes
}

#[test]
fn the_same_nodes_are_found_under_their_new_numbers() {
    let (rows, queries) = (Rows::random(3000, 12, 1), Rows::random(50, 12, 2));
    let mut graph = build(&rows, 8, 60, 2);
    let order = graph.depth_first_order();
    let laid_out = graph.renumbered(&order, memory(3000, 8)).unwrap();
    assert_ne!(order, (0..3000).collect::<Vec<_>>());
    assert!(laid_out.validate().is_ok(), "{}", laid_out.validate());
    assert_eq!((laid_out.len(), laid_out.node_bound()), (3000, 3000));
    let moved = reordered(&rows, &order);
    let (mut one, mut other) = (Scratch::new(), Scratch::new());
    for query in 0..50 {
        let query = queries.row(query);
        let before = graph.search(&rows.from(query), 40, &mut one);
        let after = laid_out.search(&moved.from(query), 40, &mut other);
        let mut named: Vec<_> = after.iter().map(|hit| (hit.distance, order[hit.node as usize])).collect();
        // Ties are in the order of the new numbers.
        named.sort_by(|a, b| a.partial_cmp(b).unwrap());
        assert_eq!(named, before.iter().map(|hit| (hit.distance, hit.node)).collect::<Vec<_>>());
    }
}

#[test]
fn neighbors_get_near_numbers() {
    let rows = Rows::random(3000, 4, 3);
    let mut graph = build(&rows, 8, 60, 1);
    let order = graph.depth_first_order();
    let moved = reordered(&rows, &order);
    let step = |rows: &Rows| -> f32 {
        let square = |id: NodeId| -> f32 {
            rows.row(id).iter().zip(rows.row(id + 1)).map(|(a, b)| (a - b) * (a - b)).sum()
        };
        (0..2999).map(|id| square(id).sqrt()).sum::<f32>() / 2999.0
    };
    assert!(step(&moved) < 0.5 * step(&rows), "{} of {}", step(&moved), step(&rows));
}

#[test]
fn it_goes_on_to_take_inserts() {
    let rows = Rows::random(2000, 8, 4);
    let levels = LevelDraw::new(7, 8);
    let mut graph = empty(1500, 8, 60);
    let mut scratch = Scratch::new();
    // Every tenth number is left out: a place without a node.
    let nodes: Vec<NodeId> = (0..1500).filter(|id| id % 10 != 3).collect();
    for &id in &nodes {
        graph.insert(id, levels.level(id), &rows, &mut scratch).unwrap();
    }
    let order = graph.depth_first_order();
    assert!(
        order[nodes.len()..].iter().all(|id| id % 10 == 3 || *id >= 1500),
        "places without a node are last"
    );
    let graph = graph.renumbered(&order, memory(2000, 8)).unwrap();
    let mut ids = order.clone();
    ids.extend(ids.len() as NodeId..2000);
    let moved = reordered(&rows, &ids);
    std::thread::scope(|scope| {
        for thread in 0..2 {
            let (graph, moved) = (&graph, &moved);
            scope.spawn(move || {
                let mut scratch = Scratch::new();
                for id in (1500 + thread..2000).step_by(2) {
                    graph.insert(id, levels.level(id), moved, &mut scratch).unwrap();
                }
            });
        }
    });
    assert!(graph.validate().is_ok(), "{}", graph.validate());
    let found = (1500..2000).filter(|&id| {
        graph.search(&moved.from(moved.row(id)), 40, &mut scratch).first().is_some_and(|hit| hit.node == id)
    });
    assert!(found.count() >= 497);
}

#[test]
fn the_own_order_changes_no_table_and_an_empty_graph_stays_empty() {
    let rows = Rows::random(500, 6, 5);
    let mut graph = build(&rows, 4, 30, 2);
    let same = graph.renumbered(&(0..500).collect::<Vec<_>>(), memory(500, 4)).unwrap();
    for kind in Table::ALL {
        assert_eq!(table(&graph, kind), table(&same, kind), "{kind:?}");
    }
    assert_eq!(graph.state(), same.state());
    let mut none = empty(4, 4, 30);
    let order = none.depth_first_order();
    assert!(none.renumbered(&order, memory(4, 4)).unwrap().is_empty());
}

#[test]
#[should_panic(expected = "once")]
fn an_order_that_repeats_itself_is_refused() {
    let mut graph = build(&Rows::random(3, 2, 6), 4, 30, 1);
    let _ = graph.renumbered(&[0, 1, 1], memory(3, 4));
}

#[test]
fn removed_nodes_leave_slots_behind() {
    let rows = Rows::random(1000, 6, 7);
    let mut graph = build(&rows, 6, 40, 2);
    let mut scratch = Scratch::new();
    for id in (0..1000).step_by(4) {
        graph.remove(id, graph.generation(id), &rows, &mut scratch).unwrap();
    }
    graph.settle(&rows, &mut scratch).unwrap();
    let order = graph.depth_first_order();
    assert!(order[..750].iter().all(|id| id % 4 != 0));
    let graph = graph.renumbered(&order, memory(1000, 6)).unwrap();
    assert!(graph.validate().is_ok(), "{}", graph.validate());
    assert_eq!((graph.len(), graph.node_bound()), (750, 1000));
    let moved = reordered(&rows, &order);
    for expected in 750..1000 {
        assert_eq!(graph.take_slot(), Some(expected));
        graph.insert(expected, 0, &moved, &mut scratch).unwrap();
    }
    assert_eq!(graph.take_slot(), None);
    assert!(graph.validate().is_ok(), "{}", graph.validate());
}
