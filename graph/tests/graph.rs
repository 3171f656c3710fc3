//! What a graph promises, on whole graphs.
#![cfg(not(loom))]

use orthant_graph::{
    Graph, GraphConfig, GraphMemory, GraphState, InsertError, LevelDraw, Memory, MemoryError, NodeId,
    OpenError, Scorer, Scratch, Table,
};

mod support;
use support::{Rows, build, empty};

#[test]
fn recall_is_high_and_results_are_ordered() {
    let (rows, queries) = (Rows::random(4000, 12, 1), Rows::random(100, 12, 2));
    let graph = build(&rows, 16, 100, 1);
    let mut scratch = Scratch::new();
    let mut hits = 0;
    for query in 0..100 {
        let query = queries.row(query);
        let found = graph.search(&rows.from(query), 64, &mut scratch);
        assert_eq!(found.len(), 64);
        for pair in found.windows(2) {
            assert!((pair[0].distance, pair[0].node) < (pair[1].distance, pair[1].node));
        }
        let truth = &rows.exact(query)[..10];
        hits += found[..10].iter().filter(|hit| truth.iter().any(|&(_, id)| id == hit.node)).count();
    }
    assert!(hits >= 980, "recall@10 = {}", hits as f64 / 1000.0);
}

/// Distances whose last bits depend on the place in the batch, as those of kernels that sum several rows
/// at once do.
struct ByPlace<'a>(support::FromRow<'a>);

impl Scorer for ByPlace<'_> {
    fn score_batch(&self, ids: &[NodeId], out: &mut [f32]) {
        self.0.score_batch(ids, out);
        out.iter_mut().enumerate().for_each(|(place, out)| *out *= 1.0 + (place % 4) as f32 * 2e-7);
    }
}

#[test]
fn no_node_is_found_twice() {
    let (rows, queries) = (Rows::random(20_000, 16, 12), Rows::random(100, 16, 13));
    let graph = build(&rows, 8, 40, 2);
    let mut scratch = Scratch::new();
    for query in 0..100 {
        let scorer = ByPlace(rows.from(queries.row(query)));
        let mut nodes: Vec<NodeId> =
            graph.search(&scorer, 64, &mut scratch).iter().map(|hit| hit.node).collect();
        nodes.sort_unstable();
        nodes.dedup();
        assert_eq!(nodes.len(), 64, "query {query}");
    }
}

#[test]
fn parallel_inserts_keep_every_promise() {
    let rows = Rows::random(6000, 8, 3);
    for threads in [1, 2, 4] {
        let graph = build(&rows, 8, 40, threads);
        let report = graph.validate();
        assert!(report.is_ok(), "{threads} threads: {report}");
        assert_eq!((report.nodes, report.unreachable), (6000, 0));
        assert_eq!(report.level_counts.iter().sum::<usize>(), 6000);
        assert!(report.in_degree.0 >= 1);
    }
}

#[test]
fn equal_rows_stay_reachable_and_cheap() {
    for (count, threads) in [(3000, 1), (3000, 2), (3000, 4)] {
        let rows = Rows { dim: 4, data: vec![0.5; count * 4] };
        let graph = build(&rows, 8, 40, threads);
        let report = graph.validate();
        assert!(report.is_ok(), "{threads} threads: {report}");
        let mut scratch = Scratch::new();
        assert_eq!(graph.search(&rows.from(&[0.5; 4]), 20, &mut scratch).len(), 20);
    }
}

#[test]
fn one_equal_row_in_ten_leaves_the_others_connected() {
    let mut rows = Rows::random(4000, 8, 4);
    for id in (0..4000).step_by(10) {
        rows.data[id * 8..(id + 1) * 8].fill(0.9);
    }
    let graph = build(&rows, 8, 60, 2);
    assert!(graph.validate().is_ok());
    let mut scratch = Scratch::new();
    let others: Vec<NodeId> = (1..4000).step_by(7).filter(|id| id % 10 != 0).collect();
    let mut finds_itself =
        |id: &&NodeId| graph.search(&rows.from(rows.row(**id)), 64, &mut scratch)[0].node == **id;
    let found = others.iter().filter(&mut finds_itself).count();
    assert!(found * 100 >= others.len() * 98, "{found} of {} find themselves", others.len());
}

#[test]
fn one_thread_and_one_seed_give_one_graph() {
    let rows = Rows::random(2000, 8, 5);
    let bytes = |graph: &Graph| {
        let mut out = Vec::new();
        Table::ALL.iter().for_each(|&table| graph.write_table(table, &mut out).unwrap());
        out
    };
    let (a, b) = (build(&rows, 8, 40, 1), build(&rows, 8, 40, 1));
    assert!(bytes(&a) == bytes(&b));
    assert_eq!(a.state(), b.state());
}

#[test]
fn searching_beside_inserts_sees_whole_lists() {
    let rows = Rows::random(8000, 8, 6);
    let graph = empty(8000, 8, 40);
    let levels = LevelDraw::new(7, 8);
    std::thread::scope(|scope| {
        for thread in 0..2u32 {
            let (graph, rows, levels) = (&graph, &rows, &levels);
            scope.spawn(move || {
                let mut scratch = Scratch::new();
                for id in (thread..8000).step_by(2) {
                    graph.insert(id, levels.level(id), rows, &mut scratch).unwrap();
                    let found = graph.search(&rows.from(rows.row(id)), 48, &mut scratch);
                    assert_eq!(found[0].node, id, "an inserted node is found at once");
                }
            });
        }
    });
    assert!(graph.validate().is_ok());
}

#[test]
fn tiny_graphs_answer() {
    let rows = Rows::random(3, 4, 8);
    let graph = empty(3, 2, 8);
    let mut scratch = Scratch::new();
    assert!(graph.search(&rows.from(&[0.0; 4]), 10, &mut scratch).is_empty());
    assert!(graph.validate().is_ok());
    for id in 0..3 {
        graph.insert(id, 0, &rows, &mut scratch).unwrap();
        assert_eq!(graph.search(&rows.from(&[0.0; 4]), 0, &mut scratch).len(), 1);
        assert_eq!(graph.search(&rows.from(&[0.0; 4]), 10, &mut scratch).len(), id as usize + 1);
        assert!(graph.validate().is_ok());
    }
    assert_eq!(graph.insert(1, 0, &rows, &mut scratch), Err(InsertError::Present { node: 1 }));
    let node = u32::MAX;
    assert_eq!(graph.insert(node, 0, &rows, &mut scratch), Err(InsertError::NodeId { node }));
}

#[test]
fn running_out_of_memory_leaves_a_whole_graph() {
    let rows = Rows::random(5000, 4, 9);
    let config = GraphConfig::new(4, 20).unwrap();
    let graph = Graph::new(config, GraphMemory::heap(100, config.m0()));
    let mut scratch = Scratch::new();
    let mut inserted = 0;
    let error = (0..5000).find_map(|id| match graph.insert(id, (id % 3) as u8, &rows, &mut scratch) {
        Ok(()) => {
            inserted += 1;
            None
        }
        Err(error) => Some(error),
    });
    assert!(matches!(error, Some(InsertError::Memory(_))), "{error:?}");
    assert_eq!(graph.len(), inserted);
    let report = graph.validate();
    assert!(report.is_ok() && report.nodes == inserted, "{report}");
}

/// Bytes of a saved table, with room to grow.
struct Saved(Box<[u64]>);

// SAFETY: 64-byte alignment is checked by `saved`; the box never moves its bytes.
unsafe impl Memory for Saved {
    fn base(&self) -> *mut u8 {
        self.0.as_ptr().cast_mut().cast()
    }
    fn ensure(&self, bytes: usize) -> Result<(), MemoryError> {
        let capacity = self.0.len() * 8;
        if bytes <= capacity { Ok(()) } else { Err(MemoryError { asked: bytes, capacity }) }
    }
}

fn saved(bytes: &[u8]) -> Box<dyn Memory> {
    let mut words = vec![0u64; bytes.len() / 8 + 70_000].into_boxed_slice();
    for (word, bytes) in words.iter_mut().zip(bytes.chunks(8)) {
        let mut whole = [0; 8];
        whole[..bytes.len()].copy_from_slice(bytes);
        *word = u64::from_le_bytes(whole);
    }
    Box::new(Saved(words))
}

fn reopened(
    graph: &Graph,
    spoil: impl Fn(Table, &mut Vec<u8>),
    state: GraphState,
) -> Result<Graph, OpenError> {
    let table = |table| {
        let mut bytes = Vec::new();
        graph.write_table(table, &mut bytes).unwrap();
        spoil(table, &mut bytes);
        saved(&bytes)
    };
    let memory = GraphMemory {
        heads: table(Table::Heads),
        blocks: table(Table::Blocks),
        block_links: saved(&[]),
        towers: table(Table::Towers),
        anchors: table(Table::Anchors),
        refs: saved(&[]),
        generations: saved(&[]),
        partners: saved(&[]),
        slot_links: saved(&[]),
        tower_links: saved(&[]),
        upper_heads: table(Table::UpperHeads),
        upper_blocks: table(Table::UpperBlocks),
        upper_block_links: saved(&[]),
    };
    Graph::open(*graph.config(), memory, state)
}

#[test]
fn an_opened_graph_is_the_saved_one_and_grows() {
    let rows = Rows::random(1500, 8, 10);
    let first = Rows { dim: 8, data: rows.data[..1000 * 8].to_vec() };
    let graph = build(&first, 8, 40, 2);
    let opened = reopened(&graph, |_, _| (), graph.state()).unwrap();
    assert!(opened.validate().is_ok());
    let mut scratch = Scratch::new();
    for query in 0..50 {
        let expected = graph.search(&rows.from(rows.row(query)), 20, &mut scratch).to_vec();
        assert_eq!(opened.search(&rows.from(rows.row(query)), 20, &mut scratch), expected);
    }
    let levels = LevelDraw::new(7, 8);
    for id in 1000..1500 {
        opened.insert(id, levels.level(id), &rows, &mut scratch).unwrap();
    }
    assert!(opened.validate().is_ok());
    assert_eq!(opened.len(), 1500);
}

#[test]
fn words_that_lead_nowhere_are_refused() {
    let rows = Rows::random(300, 4, 11);
    let graph = build(&rows, 4, 20, 1);
    let state = graph.state();
    for spoiled in Table::ALL {
        let error = reopened(
            &graph,
            |table, bytes| {
                if table == spoiled {
                    bytes[40..44].copy_from_slice(&0x7FFF_FFF0u32.to_le_bytes());
                }
            },
            state,
        );
        assert!(
            matches!(error.err(), Some(OpenError::Word { table, .. }) if table == spoiled),
            "{spoiled:?}"
        );
    }
    // The last is far beyond all memory of the graph: it is checked before anything is looked up by it.
    for node in [300, 1 << 20, NodeId::MAX - 1] {
        let error = reopened(&graph, |_, _| (), GraphState { entry: Some((node, 0)), ..state });
        assert!(matches!(error.err(), Some(OpenError::Entry { .. })), "{node}");
    }
}
