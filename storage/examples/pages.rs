//! What a region asks for and gets: `cargo run --release -p orthant-storage --example pages [MiB]`.

use orthant_storage::{ArenaError, MemoryOptions, RowArena, RowLayout};

fn main() -> Result<(), ArenaError> {
    let mib: usize = std::env::args().nth(1).and_then(|text| text.parse().ok()).unwrap_or(64);
    let layout = RowLayout::new::<f32>(128);
    let rows = (mib << 20) / layout.row_bytes::<f32>();
    for huge_pages in [false, true] {
        let options = MemoryOptions { huge_pages, ..MemoryOptions::default() };
        let arena = RowArena::<f32>::new(layout, &options)?;
        let start = std::time::Instant::now();
        for _ in 0..rows {
            arena.push(&[1.0; 128])?;
        }
        let elapsed = start.elapsed();
        let (pages, estimate) = (arena.pages(), RowArena::<f32>::estimate(rows, layout, &options));
        println!(
            "{rows} rows of 128 floats, huge pages {}:",
            if huge_pages { "asked for" } else { "not wanted" }
        );
        println!(
            "  asked {:?}, {} MiB resident, {} MiB of them huge",
            pages.asked,
            pages.resident_bytes >> 20,
            pages.huge_bytes >> 20
        );
        println!("  estimated {} MiB; pushed in {elapsed:.2?}", estimate >> 20);
    }
    Ok(())
}
