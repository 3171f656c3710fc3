//! The nearest row to each of many queries, on all cores, with a buffer per worker and a way to stop.
//!
//!     cargo run --release -p orthant-pool --example scan

use std::{sync::Mutex, time::Instant};

use orthant_pool::{Affinity, CancelToken, PerWorker, Pool};

const ROWS: usize = 20_000;
const QUERIES: usize = 500;
const DIM: usize = 64;

fn main() -> Result<(), Box<dyn std::error::Error>> {
    // Physical cores first; each worker stays where it is put.
    let pool = Pool::builder().affinity(Affinity::Spread).name("scan").build()?;
    let number = |i: usize| (i.wrapping_mul(2_654_435_761) % 1000) as f32;
    let rows: Vec<f32> = (0..ROWS * DIM).map(number).collect();
    let queries: Vec<f32> = (0..QUERIES * DIM).map(|i| number(i + 17)).collect();

    // Made once per worker, kept from chunk to chunk and from call to call.
    let mut found = PerWorker::new(&pool, Vec::<(usize, usize)>::new);
    let cancel = CancelToken::new();
    let slowest = Mutex::new(std::time::Duration::ZERO);
    let start = Instant::now();
    pool.for_each_chunk_until(QUERIES, 8, &cancel, |_worker, range| {
        let begun = Instant::now();
        found.with(|found| {
            for query in range {
                let vector = &queries[query * DIM..][..DIM];
                let distance =
                    |row: &[f32]| row.iter().zip(vector).map(|(a, b)| (a - b).powi(2)).sum::<f32>();
                let nearest =
                    rows.chunks_exact(DIM).map(distance).enumerate().min_by(|a, b| a.1.total_cmp(&b.1));
                found.extend(nearest.map(|(row, _)| (query, row)));
            }
        });
        let mut slowest = slowest.lock().unwrap_or_else(|poisoned| poisoned.into_inner());
        *slowest = begun.elapsed().max(*slowest);
    })?;

    let seconds = start.elapsed().as_secs_f64();
    let slowest = slowest.into_inner()?;
    println!(
        "{QUERIES} queries in {seconds:.3} s on {} workers, the slowest chunk {slowest:?}",
        pool.threads()
    );
    for (worker, found) in found.iter_mut().enumerate() {
        println!(
            "worker {worker} answered {} of them, query {} with row {}",
            found.len(),
            found[0].0,
            found[0].1
        );
    }
    println!("{:?}", pool.counters());
    Ok(())
}
