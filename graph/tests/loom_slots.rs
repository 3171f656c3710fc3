//! How nodes come and go under loom: an edge to a removed node, a slot that is given up twice, an entry point that is
//! lost, a slot that is used again too early, tables that grow too late. Every model has a broken twin that must be
//! caught.
#![cfg(loom)]

use orthant_graph::models::{
    Twin, entry_point_is_replaced, insert_beside_removal_of_a_neighbor, retire_once,
    slot_is_used_again_under_a_reader, tables_grow_under_a_reader,
};

/// The models by name.
const MODELS: [(&str, fn(Twin)); 5] = [
    ("insert", insert_beside_removal_of_a_neighbor),
    ("retire", retire_once),
    ("entry", entry_point_is_replaced),
    ("reuse", slot_is_used_again_under_a_reader),
    ("growth", tables_grow_under_a_reader),
];

#[test]
fn an_insert_links_to_no_node_that_was_given_up() {
    insert_beside_removal_of_a_neighbor(Twin::Kept);
}

#[test]
fn a_node_is_handed_on_once() {
    retire_once(Twin::Kept);
}

#[test]
fn the_entry_point_is_counted_and_in() {
    entry_point_is_replaced(Twin::Kept);
}

#[test]
fn slots_wait_for_their_readers() {
    slot_is_used_again_under_a_reader(Twin::Kept);
}

#[test]
fn the_bound_comes_after_the_tables() {
    tables_grow_under_a_reader(Twin::Kept);
}

/// Names the broken twin that a child process is to run.
const BROKEN_TWIN: &str = "ORTHANT_BROKEN_TWIN";

#[test]
fn broken_twins_are_caught() {
    for (twin, _) in MODELS {
        // In a child process: a panic that unwinds through loom's cells and the epoch collector may abort.
        let child = std::process::Command::new(std::env::current_exe().expect("this test's binary"))
            .args(["broken_twin", "--exact"])
            .env(BROKEN_TWIN, twin)
            .output()
            .expect("a child process");
        assert!(!child.status.success(), "the broken twin of '{twin}' was not caught");
    }
}

/// Runs one broken twin; does nothing unless asked by `broken_twins_are_caught`.
#[test]
fn broken_twin() {
    let asked = std::env::var(BROKEN_TWIN).unwrap_or_default();
    MODELS.iter().filter(|(name, _)| *name == asked).for_each(|(_, model)| model(Twin::Broken));
}
