//! Writers append while readers read: no reader ever sees a partial row, ids have no holes.
//!
//! `ORTHANT_STRESS_ROWS=10000000 cargo test --release -p orthant-storage --test push_stress` for the
//! long run; the default is short enough for every day.

use orthant_storage::{BlockArena, Columns, MemoryOptions, RowArena, RowLayout};
use std::sync::atomic::{AtomicBool, Ordering};

const DIM: usize = 24;

fn rows_to_push() -> u32 {
    let rows = std::env::var("ORTHANT_STRESS_ROWS").ok().and_then(|text| text.parse().ok());
    rows.unwrap_or(200_000)
}

/// What a row must hold: a function of its first element alone, different in every place.
fn fill(row: &mut [u32], seed: u32) {
    for (place, value) in row.iter_mut().enumerate() {
        *value = seed.wrapping_add((place as u32).wrapping_mul(0x9e37_79b9));
    }
}

fn check(row: &[u32]) -> u32 {
    let seed = row[0];
    assert_ne!(seed, 0, "a row that nobody wrote");
    for (place, &value) in row.iter().enumerate() {
        assert_eq!(value, seed.wrapping_add((place as u32).wrapping_mul(0x9e37_79b9)), "a partial row");
    }
    seed
}

#[test]
fn readers_never_see_a_partial_row() {
    let total = rows_to_push();
    let arena =
        RowArena::<u32>::new(RowLayout::new::<u32>(DIM), &MemoryOptions::default()).expect("address space");
    let is_done = AtomicBool::new(false);
    let rows_read: u64 = std::thread::scope(|scope| {
        let readers: Vec<_> = (0..2u64)
            .map(|reader| {
                let (arena, is_done) = (&arena, &is_done);
                scope.spawn(move || {
                    let mut state = 0x853c_49e6_748f_ea9b ^ reader;
                    let (mut read, mut before) = (0u64, 0);
                    loop {
                        let last = is_done.load(Ordering::Acquire);
                        let len = arena.len();
                        assert!(len >= before, "len went back from {before} to {len}");
                        // The newest rows, where a torn one would be, and some old ones.
                        for id in len.saturating_sub(16).max(before.min(len))..len {
                            check(arena.row(id as u32).expect("covered by len"));
                            read += 1;
                        }
                        for _ in 0..8.min(len) {
                            state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
                            check(arena.row(((state >> 33) % len as u64) as u32).expect("covered by len"));
                            read += 1;
                        }
                        before = len;
                        if last {
                            return read;
                        }
                    }
                })
            })
            .collect();
        let writers: Vec<_> = (0..2)
            .map(|writer| {
                let arena = &arena;
                scope.spawn(move || {
                    for number in (writer..total).step_by(2) {
                        let mut claim = arena.claim().expect("memory");
                        fill(claim.row_mut(), number + 1);
                        claim.publish();
                    }
                })
            })
            .collect();
        for writer in writers {
            writer.join().expect("writer");
        }
        is_done.store(true, Ordering::Release);
        readers.into_iter().map(|reader| reader.join().expect("reader")).sum()
    });
    assert_eq!(arena.len(), total as usize);
    assert!(rows_read > 0);
    let mut is_seen = vec![false; total as usize];
    for id in 0..total {
        let seed = check(arena.row(id).expect("pushed"));
        let was = std::mem::replace(&mut is_seen[seed as usize - 1], true);
        assert!(!was, "row {seed} is there twice");
    }
}

/// Runs two writers that push `total` rows between them, and `read` over and over in another thread
/// until they are done, and once after.
fn write_while_reading(total: u32, write: impl Fn(u32) + Sync, read: impl Fn() + Sync) {
    let is_done = AtomicBool::new(false);
    std::thread::scope(|scope| {
        let reader = scope.spawn(|| {
            while !is_done.load(Ordering::Acquire) {
                read();
            }
            read();
        });
        let writers: Vec<_> = [0, 1]
            .map(|first| {
                scope.spawn({
                    let write = &write;
                    move || (first..total).step_by(2).for_each(write)
                })
            })
            .into();
        for writer in writers {
            writer.join().expect("writer");
        }
        is_done.store(true, Ordering::Release);
        reader.join().expect("reader");
    });
}

#[test]
fn all_columns_of_a_row_appear_at_once() {
    let total = rows_to_push() / 4;
    let mut builder = Columns::builder();
    let (wide, narrow) = (builder.column::<u32>(DIM), builder.column::<u32>(1));
    let table = builder.build(&MemoryOptions::default()).expect("address space");
    let write = |number: u32| {
        let mut row = table.claim().expect("memory");
        fill(row.value_mut(wide), number + 1);
        row.value_mut(narrow)[0] = number + 1;
        row.publish();
    };
    let read = || {
        let seeds = table.column(narrow);
        for (id, &seed) in seeds.iter().enumerate().skip(seeds.len().saturating_sub(32)) {
            let row = table.value(wide, id as u32).expect("the columns have one length");
            assert_eq!(check(row), seed);
        }
    };
    write_while_reading(total, write, read);
    assert_eq!(table.len(), total as usize);
}

#[test]
fn blocks_are_whole_and_their_tail_holds_whole_rows() {
    const LANES: usize = 16;
    let total = rows_to_push() / 4;
    let blocks = BlockArena::<u32>::new(DIM, LANES, &MemoryOptions::default()).expect("address space");
    let write = |number: u32| {
        let mut row = [0; DIM];
        fill(&mut row, number + 1);
        blocks.push(&row).expect("memory");
    };
    let check_lanes = |block: &[u32], lanes: usize| {
        for lane in 0..lanes {
            let row: Vec<u32> = block[lane..].iter().step_by(LANES).copied().collect();
            check(&row);
        }
        lanes
    };
    let read = || {
        let whole = blocks.whole_blocks();
        if let Some(newest) = whole.chunks_exact(DIM * LANES).next_back() {
            check_lanes(newest, LANES);
        }
        let mut tail = [0; DIM * LANES];
        let rows = blocks.copy_tail(&mut tail);
        check_lanes(&tail, rows);
    };
    write_while_reading(total, write, read);
    let rows: usize =
        blocks.whole_blocks().chunks_exact(DIM * LANES).map(|block| check_lanes(block, LANES)).sum();
    assert_eq!((blocks.len(), rows), (total as usize, total as usize / LANES * LANES));
}
