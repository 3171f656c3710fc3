//! Models of how nodes come and go: counts, the entry point, slots that are used again, tables that grow.
//!
//! They run the real [`Slots`], [`EntryPoint`] and [`Lists`](crate::lists::Lists); the steps around them are those of
//! `remove.rs` and `insert.rs`, without vectors.

use loom::cell::UnsafeCell;
use loom::thread;

use super::{Twin, model};
use crate::entry::{Entry, EntryPoint};
use crate::graph::Graph;
use crate::lists::{Lists, Power, names};
use crate::memory::GraphMemory;
use crate::reclaim;
use crate::slots::{LINKED, PRESENT, SlotMemory, Slots};
use crate::sync::{Arc, BlockShape};
use crate::{GraphConfig, NodeId};

/// The slots of three nodes that are in, which nothing leads to.
fn slots() -> Arc<Slots> {
    let GraphMemory { heads, blocks, block_links, upper_heads, upper_blocks, upper_block_links, .. } =
        GraphMemory::heap(1, 2);
    let base = Arc::new(Lists::new(BlockShape::new(4, 0), heads, blocks, block_links, 0));
    let upper = Arc::new(Lists::new(BlockShape::new(4, 0), upper_heads, upper_blocks, upper_block_links, 0));
    base.ensure_slots(3).expect("three slots");
    // Models bring their own cells; the memory is not used.
    let GraphMemory { refs, generations, partners, slot_links, towers, tower_links, .. } =
        GraphMemory::heap(1, 2);
    let memory = SlotMemory { refs, generations, partners, links: slot_links, towers, tower_links };
    let slots = Slots::new(memory, base, upper);
    slots.ensure(3).expect("three nodes");
    (0..3).for_each(|node| slots.restore(node, PRESENT | LINKED));
    Arc::new(slots)
}

/// How often `node` was handed on as one that nothing leads to.
fn times_ripe(slots: &Slots, node: NodeId) -> usize {
    // A node that was pushed twice is linked to itself: three is as good as ever.
    std::iter::from_fn(|| slots.pop(&slots.ripe)).take(3).filter(|&ripe| ripe == node).count()
}

/// What the maintainer does to a node that he takes out, but for its edges.
fn close(slots: &Slots, node: NodeId) {
    slots.hold(node);
    slots.close(node);
    slots.release(node);
}

/// Hazard: an insert links to a neighbor that was found free of edges and is being reclaimed.
pub fn insert_beside_removal_of_a_neighbor(twin: Twin) {
    model(move || {
        let slots = slots();
        let inserter = {
            let slots = slots.clone();
            thread::spawn(move || match twin {
                Twin::Kept => slots.acquire(0),
                // Looks first and counts then.
                Twin::Broken => {
                    let is_open = !slots.is_closed(0);
                    if is_open {
                        slots.hold(0);
                    }
                    is_open
                }
            })
        };
        close(&slots, 0);
        let was_ripe = times_ripe(&slots, 0) == 1;
        let is_named = inserter.join().unwrap();
        assert!(!(was_ripe && is_named), "an edge to a node whose slot was given up");
        if is_named {
            slots.release(0);
            assert_eq!(times_ripe(&slots, 0), 1, "its last edge hands it on");
        }
    });
}

/// Hazard: of those that drop the last edges to a closed node two hand it on, or none.
pub fn retire_once(twin: Twin) {
    model(move || {
        let slots = slots();
        slots.hold(0);
        let writer = {
            let slots = slots.clone();
            thread::spawn(move || match twin {
                Twin::Kept => slots.release(0),
                Twin::Broken => slots.release_in_two_steps(0),
            })
        };
        match twin {
            Twin::Kept => close(&slots, 0),
            Twin::Broken => {
                slots.hold(0);
                slots.close(0);
                slots.release_in_two_steps(0);
            }
        }
        writer.join().unwrap();
        assert_eq!(times_ripe(&slots, 0), 1, "handed on once");
    });
}

/// Hazard: an insert raises the entry point while the one that it is is removed: searches would start at a node that
/// nobody counts, or the removed one's slot would wait for ever.
pub fn entry_point_is_replaced(twin: Twin) {
    let entry = |node: NodeId, level| Some(Entry { node, level });
    model(move || {
        let slots = slots();
        let point = std::sync::Arc::new(EntryPoint::new(entry(0, 1)));
        slots.hold(0);
        let inserter = {
            let (slots, point) = (slots.clone(), point.clone());
            // As `Graph::enter`.
            thread::spawn(move || {
                if slots.acquire(1) {
                    let swapped = point.swap(entry(0, 1), entry(1, 2));
                    slots.release(if swapped.is_ok() { 0 } else { 1 });
                }
            })
        };
        // As `Graph::leave_entry`.
        slots.hold(0);
        slots.close(0);
        while let Some(current) = point.load().filter(|current| current.node == 0) {
            slots.hold(2);
            let left = match twin {
                Twin::Kept => point.swap(Some(current), entry(2, 0)).is_ok(),
                Twin::Broken => {
                    point.overwrite(entry(2, 0));
                    true
                }
            };
            slots.release(if left { 0 } else { 2 });
        }
        slots.release(0);
        inserter.join().unwrap();
        let now = point.load().expect("an entry point").node;
        assert!(now == 1 || now == 2, "not the removed node");
        assert_eq!((slots.count(1), slots.count(2)), if now == 1 { (1, 0) } else { (0, 1) });
        assert_eq!(times_ripe(&slots, 0), 1, "the removed node is free");
    });
}

/// Hazard: a slot gets another node, and another vector, while a reader that met the removed one still looks at it.
pub fn slot_is_used_again_under_a_reader(twin: Twin) {
    model(move || {
        let slots = slots();
        // What the caller keeps for each node; loom reports a write that is not ordered with a read.
        let row = std::sync::Arc::new(Row(UnsafeCell::new(7)));
        let publish = |slots: &Slots, words: &[u32]| {
            let guard = crossbeam_epoch::pin();
            // SAFETY: slot 1 was ensured.
            let old = unsafe { slots.base.load(1, &guard) };
            // SAFETY: as above; `old` was loaded from it under this guard.
            unsafe { slots.base.replace(1, old, words, |_, _, _| (), Power::Writer, &guard) }.expect("alone");
        };
        slots.hold(0);
        publish(&slots, &[0]);
        let reader = {
            let (slots, row) = (slots.clone(), row.clone());
            thread::spawn(move || {
                let guard = crossbeam_epoch::pin();
                // SAFETY: slot 1 was ensured.
                if names(unsafe { slots.base.words(1, &guard) }, 0) {
                    let generation = slots.generation(0);
                    // SAFETY: what the model is about.
                    assert_eq!(row.0.with(|row| unsafe { *row }), 7, "another node's vector");
                    assert_eq!(slots.generation(0), generation, "another node");
                }
            })
        };
        publish(&slots, &[2]);
        slots.release(0);
        close(&slots, 0);
        assert_eq!(times_ripe(&slots, 0), 1);
        match twin {
            Twin::Kept => {
                let guard = crossbeam_epoch::pin();
                reclaim::retire_slot(&slots, 0, &guard);
                guard.flush();
            }
            Twin::Broken => slots.give_back(0),
        }
        crossbeam_epoch::pin().flush();
        if slots.take() == Some(0) {
            // SAFETY: the slot is this thread's, which is what the model checks.
            row.0.with_mut(|row| unsafe { *row = 8 });
        }
        reader.join().unwrap();
    });
}

struct Row(UnsafeCell<u32>);
// SAFETY: loom checks every access.
unsafe impl Send for Row {}
// SAFETY: as above.
unsafe impl Sync for Row {}

/// Hazard: a reader takes a number below the bound for a node before the tables cover it.
pub fn tables_grow_under_a_reader(twin: Twin) {
    model(move || {
        let config = GraphConfig::new(2, 1).expect("a configuration");
        let graph = std::sync::Arc::new(Graph::new(config, GraphMemory::heap(1, 4)));
        let writer = {
            let graph = graph.clone();
            thread::spawn(move || match twin {
                Twin::Kept => graph.ensure_node(0).expect("room"),
                Twin::Broken => graph.publish_bound_before_tables(1),
            })
        };
        // The tables say when they are asked for a word that they do not have.
        for node in 0..graph.node_bound() as NodeId {
            assert!(!graph.slots.is_visible(node));
            assert_eq!(graph.anchor_of(node), None);
        }
        writer.join().unwrap();
    });
}
