//! Opening a checksummed file of 180 MB, and pushing rows with and without readers.
//!
//! `cargo bench -p orthant-benches --bench storage_files`

use std::hint::black_box;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use criterion::{Criterion, Throughput, criterion_group, criterion_main};
use orthant_benches::criterion;
use orthant_storage::persist::{FileWriter, MappedFile, Verify};
use orthant_storage::{MemoryOptions, RowArena, RowLayout};

const KIND: [u8; 8] = *b"BENCH\0\0\0";
const ROWS: [u8; 8] = *b"rows\0\0\0\0";

fn is_test() -> bool {
    std::env::args().any(|argument| argument == "--test")
}

fn files(c: &mut Criterion) {
    let bytes: u32 = if is_test() { 20_000_000 } else { 180_000_000 };
    let path = std::env::temp_dir().join(format!("orthant-bench-{}.orthant", std::process::id()));
    let data: Vec<u8> = (0..bytes).map(|n| (n.wrapping_mul(2_654_435_761) >> 24) as u8).collect();
    let mut writer = FileWriter::create(&path, KIND, 1).expect("a temporary directory");
    writer.write_section(ROWS, &data).expect("room");
    writer.finish().expect("room");

    let mut group = c.benchmark_group("storage/file");
    group.throughput(Throughput::Bytes(bytes.into()));
    for (name, verify) in [("open, all checked", Verify::Full), ("open, header only", Verify::HeaderOnly)] {
        group.bench_function(name, |b| {
            b.iter(|| MappedFile::open(black_box(&path), KIND, 1, verify).expect("a sound file"));
        });
    }
    let file = MappedFile::open(&path, KIND, 1, Verify::Full).expect("a sound file");
    assert!(file.bytes(ROWS) == Some(&data));
    group.bench_function("copy to huge pages", |b| {
        b.iter(|| file.region_copied(ROWS, &MemoryOptions::default()).expect("memory"));
    });
    group.finish();
    // Best effort: it lies in the temporary directory.
    let _ = std::fs::remove_file(&path);
}

/// Time to push `rows` rows while `readers` threads look at the newest ones.
fn push(rows: u64, dim: usize, readers: usize) -> Duration {
    let layout = RowLayout::new::<f32>(dim);
    let arena = RowArena::<f32>::new(layout, &MemoryOptions::default()).expect("address space");
    let row = vec![1.0; dim];
    let is_done = AtomicBool::new(false);
    std::thread::scope(|scope| {
        for _ in 0..readers {
            scope.spawn(|| {
                while !is_done.load(Ordering::Relaxed) {
                    if let Some(newest) = (arena.len() as u32).checked_sub(1) {
                        let row = arena.row(newest).expect("below len");
                        assert_eq!(row[dim - 1], 1.0, "a partial row");
                    }
                    std::hint::spin_loop();
                }
            });
        }
        let start = Instant::now();
        for _ in 0..rows {
            arena.push(black_box(&row)).expect("memory");
        }
        let elapsed = start.elapsed();
        is_done.store(true, Ordering::Relaxed);
        assert_eq!(arena.len() as u64, rows);
        elapsed
    })
}

fn pushes(c: &mut Criterion) {
    let mut group = c.benchmark_group("storage/push 32 f32");
    group.throughput(Throughput::Elements(1)).sample_size(10);
    for readers in [0, 1] {
        group.bench_function(format!("{readers} readers"), |b| {
            // 2^22 rows are 512 MiB: as many at a time as the measurement asks for, in pieces.
            b.iter_custom(|mut rows| {
                let mut total = Duration::ZERO;
                while rows > 0 {
                    let piece = rows.min(1 << 22);
                    total += push(piece, 32, readers);
                    rows -= piece;
                }
                total
            });
        });
    }
    group.finish();
}

criterion_group! {
    name = benches;
    config = criterion();
    targets = files, pushes
}
criterion_main!(benches);
