//! loom models of the protocols that this crate's lists rest on, over the code that ships.
//!
//! Every model runs the real [`Lists`] over loom's cells: `BlockTable` reports a write to a block that some
//! reader may still be reading, which is what L2 forbids. Each has a *broken twin* that breaks one rule
//! and must be caught, so that a pass means something. At most three threads, preemption bound 2; loom
//! does not explore load buffering, so a pass is strong evidence and no proof.

use loom::thread;

use crate::lists::{EMPTY, Lists, Power, PublishError};
use crate::memory::GraphMemory;
use crate::sync::{Arc, BlockShape};

mod slots;
pub use slots::{
    entry_point_is_replaced, insert_beside_removal_of_a_neighbor, retire_once,
    slot_is_used_again_under_a_reader, tables_grow_under_a_reader,
};

/// Whether a model keeps the rules or breaks one.
#[derive(Clone, Copy, PartialEq)]
pub enum Twin {
    /// The code as it ships.
    Kept,
    /// With one rule broken.
    Broken,
}

fn lists() -> Arc<Lists> {
    // Models bring their own cells; the memory is not used.
    let GraphMemory { heads, blocks, block_links, .. } = GraphMemory::heap(1, 2);
    let lists = Lists::new(BlockShape::new(4, 0), heads, blocks, block_links, 0);
    lists.ensure_slots(1).expect("one slot");
    Arc::new(lists)
}

/// Replaces the list in slot 0 by `[word; 4]`, trying again when another writer was faster.
fn write(lists: &Arc<Lists>, word: u32) {
    let guard = crossbeam_epoch::pin();
    loop {
        // SAFETY: slot 0 was ensured.
        let old = unsafe { lists.load(0, &guard) };
        // SAFETY: as above; `old` was loaded from it under this guard.
        match unsafe { lists.replace(0, old, &[word; 4], |_, _, _| (), Power::Writer, &guard) } {
            Ok(()) => break,
            Err(PublishError::Lost) => loom::hint::spin_loop(),
            Err(PublishError::Memory(error)) => panic!("{error}"),
            Err(PublishError::Frozen) => unreachable!("nothing is removed"),
        }
    }
    // Makes the retired block free as early as the protocol allows.
    guard.flush();
}

/// Reads slot 0 and checks that all words are of one writing.
fn read(lists: &Arc<Lists>) {
    let guard = crossbeam_epoch::pin();
    // SAFETY: slot 0 was ensured.
    let words = unsafe { lists.words(0, &guard) };
    if let Some(&first) = words.first() {
        assert!(first != EMPTY && words.iter().all(|&word| word == first), "a torn list: {words:?}");
    }
}

fn model(check: impl Fn() + Send + Sync + 'static) {
    let mut builder = loom::model::Builder::new();
    builder.preemption_bound.get_or_insert(2);
    builder.check(check);
}

/// Hazard: a reader sees a half-written block, or one that is being reused.
pub fn swap_under_a_reader(twin: Twin) {
    model(move || {
        let lists = lists();
        write(&lists, 1);
        let reader = {
            let lists = lists.clone();
            thread::spawn(move || read(&lists))
        };
        match twin {
            Twin::Kept => write(&lists, 2),
            Twin::Broken => lists.overwrite_in_place(0, 2),
        }
        reader.join().unwrap();
    });
}

/// Hazard: a block is reused while a reader from before the swap still holds it.
pub fn reuse_under_a_reader(twin: Twin) {
    model(move || {
        let lists = lists();
        write(&lists, 1);
        let reader = {
            let lists = lists.clone();
            thread::spawn(move || read(&lists))
        };
        if twin == Twin::Broken {
            // Frees the published block without waiting for the reader, as if R2 did not matter.
            lists.free_at_once(0);
        }
        write(&lists, 2);
        write(&lists, 3);
        reader.join().unwrap();
    });
}

/// Hazard: of two writers that replace the same list, one overwrites the other's change unseen.
pub fn two_writers(twin: Twin) {
    model(move || {
        let lists = lists();
        let add = move |lists: &Arc<Lists>, word: u32| {
            let guard = crossbeam_epoch::pin();
            loop {
                // SAFETY: slot 0 was ensured.
                let old = unsafe { lists.load(0, &guard) };
                let mut words = old.map_or(Vec::new(), |old| old.words().to_vec());
                words.push(word);
                // SAFETY: as above; `old` was loaded from it under this guard.
                match unsafe { lists.replace(0, old, &words, |_, _, _| (), Power::Writer, &guard) } {
                    Ok(()) => break,
                    // The twin takes a lost race for a success.
                    Err(PublishError::Lost) if twin == Twin::Broken => break,
                    Err(PublishError::Lost) => loom::hint::spin_loop(),
                    Err(PublishError::Memory(error)) => panic!("{error}"),
                    Err(PublishError::Frozen) => unreachable!("nothing is removed"),
                }
            }
        };
        let other = {
            let lists = lists.clone();
            thread::spawn(move || add(&lists, 7))
        };
        add(&lists, 8);
        other.join().unwrap();
        let guard = crossbeam_epoch::pin();
        // SAFETY: slot 0 was ensured.
        let mut words = unsafe { lists.load(0, &guard) }.expect("a list").words().to_vec();
        words.sort_unstable();
        assert_eq!(words, [7, 8], "no edge is lost");
    });
}
