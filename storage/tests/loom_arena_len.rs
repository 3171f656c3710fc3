//! Hazard: `len` covers a row that is not whole, or a finished row that nobody ever counts.
//!
//! Run with
//! `RUSTFLAGS="--cfg loom" LOOM_MAX_PREEMPTIONS=2 cargo test --release -p orthant-storage --test loom_arena_len`.
//!
//! The first models run the real [`RowArena`]: its row bytes are shadowed by cells that loom checks
//! for races, and every ready mark has a word of its own (the hard case). The twins are the same
//! protocol with one thing left out each; that loom catches them shows that the models can fail.
//!
//! The reader is a thread of its own and starts last: loom then runs it after the writers first, and
//! lets its loads return every older value from there. Started first it would hardly be interleaved,
//! because loom (0.7) remembers only the last access to an atomic when it looks for races, and a
//! writer loads `len` before it moves it. The twin with the relaxed reader is what showed this.
//!
//! What a pass proves: no interleaving of at most 2 preemptions breaks the protocol, under loom's
//! memory model, which does not explore load buffering. Fences are sequentially consistent there;
//! accesses are used with acquire/release or relaxed ordering only.
#![cfg(loom)]

use loom::cell::UnsafeCell;
use loom::sync::Arc;
use loom::sync::atomic::{AtomicU32, Ordering, fence};
use loom::thread;
use orthant_storage::{MemoryOptions, RowArena, RowLayout};

fn small_arena() -> RowArena<u32> {
    let options = MemoryOptions { max_bytes: Some(4 * 64), ..MemoryOptions::default() };
    RowArena::new(RowLayout::new::<u32>(2), &options).expect("256 bytes")
}

/// Whether every row that `len` covers is whole: both elements are the same non-zero number.
fn check_rows(arena: &RowArena<u32>) -> usize {
    let len = arena.len();
    for id in 0..len {
        let row = arena.row(id as u32).expect("len covers the row");
        assert!(row[0] != 0 && row[0] == row[1], "row {id} is partial: {row:?}");
    }
    len
}

#[test]
fn two_writers_and_a_reader_never_meet_over_a_partial_row() {
    loom::model(|| {
        let arena = Arc::new(small_arena());
        let writers: Vec<_> = (1..=2u32)
            .map(|value| {
                let arena = arena.clone();
                thread::spawn(move || {
                    let id = arena.push(&[value; 2]).expect("room for two rows");
                    assert!(id < 2);
                })
            })
            .collect();
        let reader = {
            let arena = arena.clone();
            thread::spawn(move || {
                let first = check_rows(&arena);
                let second = check_rows(&arena);
                assert!(first <= second, "len went back from {first} to {second}");
            })
        };
        for thread in writers.into_iter().chain([reader]) {
            thread.join().expect("thread");
        }
        // R3: nothing is between claim and publish, so nothing may be left uncounted.
        assert_eq!(check_rows(&arena), 2);
    });
}

#[test]
fn a_late_first_writer_leaves_no_row_uncounted() {
    loom::model(|| {
        let arena = Arc::new(small_arena());
        // Row 0 is claimed first and published by this thread whenever loom likes.
        let mut first = arena.claim().expect("room");
        let other = {
            let arena = arena.clone();
            thread::spawn(move || {
                arena.push(&[2; 2]).expect("room");
                arena.push(&[3; 2]).expect("room");
            })
        };
        first.row_mut().fill(1);
        first.publish();
        other.join().expect("writer");
        assert_eq!(check_rows(&arena), 3);
    });
}

/// The protocol without its parts, for two rows.
struct Twin {
    claimed: AtomicU32,
    len: AtomicU32,
    ready: [AtomicU32; 2],
    rows: [UnsafeCell<u32>; 2],
}

impl Twin {
    fn new() -> Twin {
        Twin {
            claimed: AtomicU32::new(0),
            len: AtomicU32::new(0),
            ready: [AtomicU32::new(0), AtomicU32::new(0)],
            rows: [UnsafeCell::new(0), UnsafeCell::new(0)],
        }
    }

    fn claim_and_fill(&self) -> u32 {
        let id = self.claimed.fetch_add(1, Ordering::Relaxed);
        // SAFETY: the row is claimed by this thread alone; loom checks that nobody else looks.
        self.rows[id as usize].with_mut(|row| unsafe { *row = 1 });
        id
    }

    /// Reads what `len` covers; `observe` is the order of the load.
    fn check(&self, observe: Ordering) {
        for id in 0..self.len.load(observe) {
            // SAFETY: loom checks that no write overlaps this.
            let value = self.rows[id as usize].with(|row| unsafe { *row });
            assert_eq!(value, 1, "row {id} is partial");
        }
    }

    /// As `Publication::publish`, with or without its fence, moving `len` with `order`.
    fn publish(&self, id: u32, has_fence: bool, order: Ordering) {
        self.ready[id as usize].fetch_or(1, Ordering::Release);
        loop {
            if has_fence {
                fence(Ordering::SeqCst);
            }
            let len = self.len.load(Ordering::Relaxed);
            let run = self.ready.get(len as usize).map_or(0, |mark| mark.load(Ordering::Acquire));
            if run == 0 {
                return;
            }
            let _ = self.len.compare_exchange(len, len + run, order, Ordering::Relaxed);
        }
    }
}

fn run_twin(observe: Ordering, publish: impl Fn(&Twin, u32) + Copy + Send + Sync + 'static) {
    loom::model(move || {
        let twin = Arc::new(Twin::new());
        let writers: Vec<_> = (0..2)
            .map(|_| {
                let twin = twin.clone();
                thread::spawn(move || {
                    let id = twin.claim_and_fill();
                    publish(&twin, id);
                })
            })
            .collect();
        let reader = {
            let twin = twin.clone();
            thread::spawn(move || twin.check(observe))
        };
        for thread in writers.into_iter().chain([reader]) {
            thread.join().expect("thread");
        }
        assert_eq!(twin.len.load(Ordering::Acquire), 2, "a row was left uncounted");
    });
}

#[test]
fn the_twin_with_everything_in_place_passes() {
    run_twin(Ordering::Acquire, |twin, id| twin.publish(id, true, Ordering::Release));
}

#[test]
#[should_panic(expected = "Causality violation")]
fn a_twin_that_counts_finished_rows_covers_a_hole() {
    run_twin(Ordering::Acquire, |twin, _| {
        twin.len.fetch_add(1, Ordering::AcqRel);
    });
}

#[test]
#[should_panic(expected = "Causality violation")]
fn a_twin_whose_reader_loads_len_relaxed_sees_bytes_too_early() {
    run_twin(Ordering::Relaxed, |twin, id| twin.publish(id, true, Ordering::Release));
}

#[test]
#[should_panic(expected = "Causality violation")]
fn a_twin_that_moves_len_relaxed_shows_the_other_writers_bytes_too_early() {
    run_twin(Ordering::Acquire, |twin, id| twin.publish(id, true, Ordering::Relaxed));
}

#[test]
#[should_panic(expected = "a row was left uncounted")]
fn a_twin_without_fences_leaves_a_row_behind() {
    run_twin(Ordering::Acquire, |twin, id| twin.publish(id, false, Ordering::Release));
}
