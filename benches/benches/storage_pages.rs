//! Random 512-byte rows out of 2 GiB: 4 KiB pages against 2 MiB pages.
//!
//! `taskset -c 1 cargo bench -p orthant-benches --bench storage_pages`. `independent` is a gather (the
//! next address is known in time), `chained` a walk (it is in the row itself). Both kinds of pages are
//! there at once (4 GiB) and also timed in turn, best of 40: the ratios printed before criterion's
//! figures hold on a machine that does other things too.

use std::hint::black_box;
use std::time::Instant;

use criterion::{BatchSize, Criterion, Throughput, criterion_group, criterion_main};
use orthant_benches::{Random, criterion};
use orthant_storage::{MemoryOptions, RowArena, RowLayout};

/// 512 bytes.
const DIM: usize = 64;
/// Rows read per measurement.
const READS: usize = 100_000;

/// An arena of `rows` rows whose first element is a random row; the others count.
fn filled(rows: u64, huge_pages: bool) -> RowArena<u64> {
    let expected_bytes = Some(rows as usize * DIM * 8);
    let options = MemoryOptions { huge_pages, expected_bytes, ..MemoryOptions::default() };
    let arena = RowArena::new(RowLayout::new::<u64>(DIM), &options).expect("address space");
    let mut random = Random::new(1);
    for _ in 0..rows {
        let mut claim = arena.claim().expect("memory");
        for (d, element) in claim.row_mut().iter_mut().enumerate() {
            *element = d as u64;
        }
        claim.row_mut()[0] = random.below(rows as usize) as u64;
        claim.publish();
    }
    arena
}

fn sum(row: &[u64]) -> u64 {
    row[1..].iter().sum()
}

/// Reads the rows named by `ids`.
fn read_independent(arena: &RowArena<u64>, ids: &[u32]) -> u64 {
    ids.iter().map(|&id| sum(arena.row(id).expect("below len"))).sum()
}

/// Reads rows each of which names the next.
fn read_chained(arena: &RowArena<u64>, first: u32, reads: u64) -> u64 {
    let (rows, mut id, mut total) = (arena.len() as u64, first, 0);
    for step in 0..reads {
        let row = arena.row(id).expect("below len");
        total += sum(row);
        // The step keeps the walk out of short cycles.
        id = ((row[0] + step) % rows) as u32;
    }
    total
}

fn pages(c: &mut Criterion) {
    // `--test` asks for right answers, not for times.
    let is_test = std::env::args().any(|argument| argument == "--test");
    let rows = (if is_test { 64 << 20 } else { 2u64 << 30 }) / (DIM as u64 * 8);
    let arenas = [("4 KiB pages", filled(rows, false)), ("2 MiB pages", filled(rows, true))];
    for (name, arena) in &arenas {
        eprintln!("{name}: {:?}", arena.pages());
    }
    assert_eq!(arenas[0].1.pages().huge_bytes, 0, "small pages were asked for");
    let expected = READS as u64 * (DIM as u64 - 1) * DIM as u64 / 2;
    let mut random = Random::new(7);
    let mut ids = || -> Vec<u32> { (0..READS).map(|_| random.below(rows as usize) as u32).collect() };

    let mut best = [[f64::MAX; 2]; 2];
    for round in 0..if is_test { 1 } else { 40 } {
        let ids = ids();
        for turn in 0..2 {
            let which = (turn + round) % 2;
            let arena = &arenas[which].1;
            let start = Instant::now();
            assert_eq!(black_box(read_independent(arena, &ids)), expected);
            let independent = start.elapsed().as_nanos() as f64 / READS as f64;
            let start = Instant::now();
            assert_eq!(black_box(read_chained(arena, ids[0], READS as u64)), expected);
            let chained = start.elapsed().as_nanos() as f64 / READS as f64;
            best[0][which] = best[0][which].min(independent);
            best[1][which] = best[1][which].min(chained);
        }
    }
    for (name, [small, huge]) in ["independent", "chained"].into_iter().zip(best) {
        eprintln!("{name}: {small:.0} ns on 4 KiB, {huge:.0} ns on 2 MiB pages: {:.2} times", small / huge);
    }

    let mut group = c.benchmark_group("storage/512-byte rows");
    group.throughput(Throughput::Elements(READS as u64));
    for (name, arena) in &arenas {
        group.bench_function(format!("independent/{name}"), |b| {
            b.iter_batched(&mut ids, |ids| read_independent(arena, &ids), BatchSize::LargeInput);
        });
        let mut first = 0;
        group.bench_function(format!("chained/{name}"), |b| {
            b.iter(|| {
                first = (first + 1) % rows as u32;
                read_chained(arena, black_box(first), READS as u64)
            });
        });
    }
    group.finish();
}

criterion_group! {
    name = benches;
    config = criterion();
    targets = pages
}
criterion_main!(benches);
