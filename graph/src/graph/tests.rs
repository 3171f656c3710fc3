//! What only the inside of the crate can see: the payload behind the lists.

use super::*;
use crate::lists::{EMPTY, node_of};
use crate::{LevelDraw, Scorer, Scratch, Table};

const PAYLOAD: usize = 72;

/// Points on a line, whose payload says which list it belongs to and how often it was carried on.
struct Line;
struct From(f32);

fn point(id: NodeId) -> f32 {
    (id as f32 * 0.7).sin() * 100.0
}

impl Scorer for From {
    fn score_batch(&self, ids: &[NodeId], out: &mut [f32]) {
        out.iter_mut().zip(ids).for_each(|(out, &id)| *out = (point(id) - self.0).powi(2));
    }
}

/// The sum of a list's ids.
fn sum(ids: &[u32]) -> u32 {
    ids.iter().filter(|&&word| word != EMPTY).map(|&word| node_of(word)).fold(0, u32::wrapping_add)
}

impl Space for Line {
    type Scorer<'a> = From;
    fn scorer(&self, id: NodeId) -> From {
        From(point(id))
    }
    fn payload_bytes(&self) -> usize {
        PAYLOAD
    }
    fn fill_payload(&self, node: NodeId, ids: &[u32], old: Option<(&[u32], &[u8])>, payload: &mut [u8]) {
        assert_eq!((ids.len(), payload.len(), payload.as_ptr().align_offset(64)), (16, PAYLOAD, 0));
        if let Some((ids, payload)) = old {
            assert_eq!(payload[4..8], sum(ids).to_le_bytes(), "the old payload belongs to the old ids");
        }
        payload.fill(0xAB);
        payload[..4].copy_from_slice(&node.to_le_bytes());
        payload[4..8].copy_from_slice(&sum(ids).to_le_bytes());
    }
}

fn check(graph: &Graph) {
    let guard = crossbeam_epoch::pin();
    let mut away = 0;
    for node in 0..graph.node_bound() as NodeId {
        let Some((ids, payload)) = graph.block(node, &guard) else { continue };
        let (home, bytes) = graph.home(node);
        assert_eq!(bytes, size_of_val(ids) + payload.len());
        away += usize::from(home != ids.as_ptr().cast::<u8>());
        assert_eq!(payload[..4], node.to_le_bytes());
        assert_eq!(payload[4..8], sum(ids).to_le_bytes());
        assert!(payload[8..].iter().all(|&byte| byte == 0xAB));
    }
    drop(guard);
    assert_eq!(graph.base.away(), away, "lists that are away are counted");
}

#[test]
fn every_published_block_carries_its_payload() {
    let config = GraphConfig::new(6, 30).unwrap().with_payload_bytes(PAYLOAD).unwrap();
    let graph = Graph::new(config, GraphMemory::heap_for(2000, &config));
    let levels = LevelDraw::new(1, 6);
    std::thread::scope(|scope| {
        for thread in 0..2 {
            let graph = &graph;
            scope.spawn(move || {
                let mut scratch = Scratch::new();
                for id in (thread..1500).step_by(2) {
                    graph.insert(id, levels.level(id), &Line, &mut scratch).unwrap();
                }
            });
        }
    });
    assert!(graph.validate().is_ok());
    check(&graph);
    assert!(!graph.lists_are_home(), "two threads take blocks in no order");
    let mut scratch = Scratch::new();
    for id in (0..1500).step_by(3) {
        graph.remove(id, 0, &Line, &mut scratch).unwrap();
    }
    graph.settle(&Line, &mut scratch).unwrap();
    check(&graph);
    for id in (0..900).step_by(3) {
        graph.insert(id, levels.level(id), &Line, &mut scratch).unwrap();
    }
    check(&graph);

    // Saved and opened, the payloads are still there.
    let mut memory = GraphMemory::heap_for(2000, &config);
    for (table, target) in [
        (Table::Heads, &mut memory.heads),
        (Table::Blocks, &mut memory.blocks),
        (Table::Towers, &mut memory.towers),
        (Table::Anchors, &mut memory.anchors),
        (Table::UpperHeads, &mut memory.upper_heads),
        (Table::UpperBlocks, &mut memory.upper_blocks),
    ] {
        let mut bytes = Vec::new();
        graph.write_table(table, &mut bytes).unwrap();
        target.ensure(bytes.len()).unwrap();
        // SAFETY: as many bytes were granted, and nobody else uses the memory yet.
        unsafe { target.base().copy_from_nonoverlapping(bytes.as_ptr(), bytes.len()) };
    }
    let opened = Graph::open(config, memory, graph.state()).unwrap();
    assert!(opened.validate().is_ok());
    check(&opened);
    assert!(opened.lists_are_home());
}

#[test]
fn what_stays_in_a_list_stays_where_it_is() {
    let anchored = crate::lists::ANCHORED | 3;
    let keep = |old: &[u32], words: &[u32]| super::keep_places(old, words, &mut [0; super::MAX_M0]).to_vec();
    assert_eq!(keep(&[7, 3, 9, 1], &[1, 5, anchored, 7]), [7, anchored, 5, 1]);
    // What was behind the new end moves up.
    assert_eq!(keep(&[7, 3, 9, 1], &[1, 9]), [1, 9]);
    assert_eq!(keep(&[7, 3, 9, 1], &[1, 3]), [1, 3]);
    assert_eq!(keep(&[7], &[8, 9, 7]), [7, 8, 9]);
    assert_eq!(keep(&[7], &[]), [] as [u32; 0]);
}
