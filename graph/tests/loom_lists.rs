//! The list swap under loom: readers see whole lists, blocks are reused only when nobody reads them, and
//! no writer's change is lost. Every model has a broken twin that must be caught.
#![cfg(loom)]

use orthant_graph::models::{Twin, reuse_under_a_reader, swap_under_a_reader, two_writers};

#[test]
fn readers_see_whole_lists() {
    swap_under_a_reader(Twin::Kept);
}

#[test]
fn blocks_wait_for_their_readers() {
    reuse_under_a_reader(Twin::Kept);
}

#[test]
fn writers_lose_no_edge() {
    two_writers(Twin::Kept);
}

/// Names the broken twin that a child process is to run.
const BROKEN_TWIN: &str = "ORTHANT_BROKEN_TWIN";

#[test]
fn broken_twins_are_caught() {
    for twin in ["swap", "reuse", "writers"] {
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
    match std::env::var(BROKEN_TWIN).as_deref() {
        Ok("swap") => swap_under_a_reader(Twin::Broken),
        Ok("reuse") => reuse_under_a_reader(Twin::Broken),
        Ok("writers") => two_writers(Twin::Broken),
        _ => {}
    }
}
