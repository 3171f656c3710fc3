//! Segments: good by themselves, together, and merged into one.
#![cfg(not(loom))]

use orthant_graph::{Graph, LevelDraw, Neighbor, NodeId, Scratch, Segment, search_segments};

mod support;
use support::{Rows, empty};

const DIM: usize = 10;
const M: usize = 12;
const EF_CONSTRUCTION: usize = 100;

fn insert_all(graph: &Graph, space: &impl orthant_graph::Space, nodes: impl Iterator<Item = NodeId>) {
    let (levels, mut scratch) = (LevelDraw::new(7, M), Scratch::new());
    nodes.for_each(|node| graph.insert(node, levels.level(node), space, &mut scratch).unwrap());
}

fn segment(rows: &Rows, nodes: Vec<NodeId>) -> Segment {
    let segment = Segment { graph: empty(nodes.len(), M, EF_CONSTRUCTION), rows: nodes };
    insert_all(&segment.graph, &segment.space(rows), 0..segment.rows.len() as NodeId);
    segment
}

/// Recall@10 of what `search` returns, against the rows that `is_in`.
fn recall(
    rows: &Rows,
    queries: &Rows,
    is_in: impl Fn(NodeId) -> bool,
    mut search: impl FnMut(&[f32]) -> Vec<Neighbor>,
) -> f64 {
    let mut hits = 0;
    for query in 0..queries.count() as NodeId {
        let query = queries.row(query);
        let truth: Vec<_> = rows.exact(query).into_iter().filter(|&(_, id)| is_in(id)).take(10).collect();
        let found = search(query);
        assert!(
            found.windows(2).all(|pair| (pair[0].distance, pair[0].node) < (pair[1].distance, pair[1].node))
        );
        hits += found[..10].iter().filter(|hit| truth.iter().any(|&(_, id)| id == hit.node)).count();
    }
    hits as f64 / (10 * queries.count()) as f64
}

#[test]
fn each_segment_is_good_by_itself_and_all_are_together() {
    let (rows, queries) = (Rows::random(6000, DIM, 1), Rows::random(60, DIM, 2));
    // One part by range, one by what is left of it, and one by where the rows lie.
    let is_far = |id: NodeId| rows.row(id)[0] > 0.6;
    let parts = [
        (0..2000).collect::<Vec<NodeId>>(),
        (2000..6000).filter(|&id| is_far(id)).collect(),
        (2000..6000).filter(|&id| !is_far(id)).collect(),
    ];
    let segments: Vec<Segment> = std::thread::scope(|scope| {
        let threads: Vec<_> = parts.map(|part| scope.spawn(|| segment(&rows, part))).into_iter().collect();
        threads.into_iter().map(|thread| thread.join().unwrap()).collect()
    });
    let mut scratch = Scratch::new();
    for part in &segments {
        assert!(part.graph.validate().is_ok());
        let own = recall(
            &rows,
            &queries,
            |id| part.rows.binary_search(&id).is_ok(),
            |query| part.search(&rows.from(query), 64, &mut scratch).to_vec(),
        );
        assert!(own >= 0.95, "{own}");
    }
    let mut best = Vec::new();
    let all = recall(
        &rows,
        &queries,
        |_| true,
        |query| {
            search_segments(&segments, &rows.from(query), 64, &mut scratch, &mut best);
            assert_eq!(best.len(), 64);
            best.clone()
        },
    );
    assert!(all >= 0.97, "{all}");
}

#[test]
fn a_merged_graph_is_as_good_as_one_built_at_once() {
    let (rows, queries) = (Rows::random(6000, DIM, 3), Rows::random(200, DIM, 4));
    let small = segment(&rows, (3500..6000).collect());
    for threads in [1, 2] {
        let (merged, at_once) = (empty(6000, M, EF_CONSTRUCTION), empty(6000, M, EF_CONSTRUCTION));
        insert_all(&merged, &rows, 0..3500);
        insert_all(&at_once, &rows, 0..6000);
        std::thread::scope(|scope| {
            for thread in 0..threads {
                let (merged, rows, small) = (&merged, &rows, &small);
                scope.spawn(move || {
                    let nodes = (thread..2500).step_by(threads as usize);
                    let name = |node: NodeId| small.rows[node as usize];
                    merged.absorb(&small.graph, nodes, name, rows, &mut Scratch::new()).unwrap();
                });
            }
        });
        assert_eq!(merged.len(), 6000);
        assert!(merged.validate().is_ok(), "{}", merged.validate());
        let mut scratch = Scratch::new();
        for ef in [16, 48] {
            let mut of = |graph: &Graph| {
                recall(
                    &rows,
                    &queries,
                    |_| true,
                    |query| graph.search(&rows.from(query), ef, &mut scratch).to_vec(),
                )
            };
            let (merged, at_once) = (of(&merged), of(&at_once));
            // What two threads make differs from run to run, by 0.001 (standard deviation of 12 at ef 16).
            let margin = if threads == 1 { 0.005 } else { 0.01 };
            assert!(merged >= at_once - margin, "ef {ef}: {merged} of {at_once}");
        }
    }
}

#[test]
fn removed_nodes_are_not_taken_in_and_an_empty_graph_can_absorb() {
    let rows = Rows::random(1000, DIM, 5);
    let small = segment(&rows, (0..1000).collect());
    let mut scratch = Scratch::new();
    for node in (0..1000).filter(|node| node % 5 == 2) {
        small.graph.remove(node, 0, &small.space(&rows), &mut scratch).unwrap();
    }
    let graph = empty(1000, M, EF_CONSTRUCTION);
    let taken = graph.absorb(&small.graph, 0..1000, |node| node, &rows, &mut scratch).unwrap();
    assert_eq!((taken, graph.len()), (800, 800));
    assert!(graph.validate().is_ok(), "{}", graph.validate());
    assert!((0..1000).all(|node| graph.is_live(node) == (node % 5 != 2)));
    // A node that is there already stops it, and what came before stays in.
    assert!(graph.absorb(&small.graph, 0..1000, |node| node, &rows, &mut scratch).is_err());
    assert_eq!(graph.len(), 800);
    // Inserts afterwards are led by nothing.
    graph.insert(2, 0, &rows, &mut scratch).unwrap();
    assert!(graph.validate().is_ok());
}
