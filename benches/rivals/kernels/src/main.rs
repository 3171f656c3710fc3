//! Prints the table of the crate's README: nanoseconds per distance, everything in the first-level cache.
//!
//! Contenders take turns, a short run each, many times over, and the best run of each counts: what another process
//! took away in between is not held against anyone. Pin it: `taskset -c 0 cargo run --release`.

use std::hint::black_box;
use std::time::Instant;

/// Turns that everyone gets.
const ROUNDS: usize = 200;

/// Distances per turn: some ten microseconds, well above the resolution of the clock.
const CALLS: usize = 1000;

fn main() {
    let filter = std::env::args().nth(1).unwrap_or_default();
    println!("| metric | elements | dim | ours | SimSIMD | NumKong | faiss | best rival ÷ ours |");
    println!("|---|---|---|---|---|---|---|---|");
    let mut ratios = Vec::new();
    for case in orthant_rivals_kernels::cases() {
        if !format!("{} {} {}", case.metric, case.element, case.dim).contains(&filter) {
            continue;
        }
        let mut best = vec![f64::INFINITY; case.contenders.len()];
        for _ in 0..ROUNDS {
            for (contender, best) in case.contenders.iter().zip(&mut best) {
                let start = Instant::now();
                for _ in 0..CALLS {
                    black_box((contender.run)());
                }
                *best = best.min(start.elapsed().as_nanos() as f64 / CALLS as f64);
            }
        }
        let time = |name: &str| {
            let at = case.contenders.iter().position(|contender| contender.name == name);
            at.map_or_else(|| "–".to_owned(), |at| format!("{:.1}", best[at]))
        };
        let ratio = best[1..].iter().copied().fold(f64::INFINITY, f64::min) / best[0];
        ratios.push(ratio);
        println!(
            "| {} | {} | {} | {} | {} | {} | {} | {ratio:.2} |",
            case.metric,
            case.element,
            case.dim,
            time("ours"),
            time("SimSIMD"),
            time("NumKong"),
            time("faiss"),
        );
    }
    ratios.sort_by(f64::total_cmp);
    if let (Some(worst), Some(median)) = (ratios.first(), ratios.get(ratios.len() / 2)) {
        println!("\n{} cases: worst {worst:.2}, median {median:.2}", ratios.len());
    }
}
