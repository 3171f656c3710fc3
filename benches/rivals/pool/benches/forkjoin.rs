//! Fork and join on both pools in rounds that take each once: ratios that hold on a machine with other work.
//!
//! `second alone` in the 2 x 20k group is what the additions cost one after the other on one thread.

use std::{hint::black_box, time::Instant};

use orthant_pool::{Affinity, Pool};

fn fib_ours(pool: &Pool, n: u64) -> u64 {
    if n < 2 {
        return n;
    }
    let (a, b) = pool.join(|| fib_ours(pool, n - 1), || fib_ours(pool, n - 2));
    a + b
}

fn fib_theirs(n: u64) -> u64 {
    if n < 2 {
        return n;
    }
    let (a, b) = rayon::join(|| fib_theirs(n - 1), || fib_theirs(n - 2));
    a + b
}

/// Nanoseconds a call of `body`, over `calls` calls.
fn timed(calls: u32, mut body: impl FnMut() -> u64) -> f64 {
    let begun = Instant::now();
    for _ in 0..calls {
        black_box(body());
    }
    begun.elapsed().as_nanos() as f64 / f64::from(calls)
}

fn median(values: &[f64]) -> f64 {
    let mut values = values.to_vec();
    values.sort_unstable_by(f64::total_cmp);
    values[values.len() / 2]
}

/// Runs both in turn and prints the medians.
fn compare(name: &str, rounds: usize, ours: impl Fn() -> f64, theirs: impl Fn() -> f64) {
    let (mut our_times, mut their_times) = (Vec::new(), Vec::new());
    for round in 0..rounds {
        if round % 2 == 0 {
            our_times.push(ours());
            their_times.push(theirs());
        } else {
            their_times.push(theirs());
            our_times.push(ours());
        }
    }
    let best = |values: &[f64]| values.iter().copied().fold(f64::MAX, f64::min);
    let ratios: Vec<f64> = our_times.iter().zip(&their_times).map(|(ours, theirs)| ours / theirs).collect();
    println!(
        "{name:<28} orthant {:>9.1} ns (best {:>9.1}), rayon {:>9.1} ns (best {:>9.1}), ratio {:.2}",
        median(&our_times),
        best(&our_times),
        median(&their_times),
        best(&their_times),
        median(&ratios)
    );
}

fn main() {
    let is_test = std::env::args().any(|argument| argument == "--test");
    let rounds = if is_test { 1 } else { 60 };
    for workers in [1, 2] {
        let ours = Pool::builder().threads(workers).affinity(Affinity::None).build().expect("workers");
        let theirs = rayon::ThreadPoolBuilder::new().num_threads(workers).build().expect("workers");
        assert_eq!((fib_ours(&ours, 20), theirs.install(|| fib_theirs(20))), (6765, 6765));
        println!("{workers} workers");
        compare(
            "join, from a worker",
            rounds,
            || ours.scope(|_| timed(20_000, || ours.join(|| black_box(1), || black_box(2)).1)),
            || theirs.install(|| timed(20_000, || rayon::join(|| black_box(1), || black_box(2)).1)),
        );
        compare(
            "join, from outside",
            rounds,
            || timed(200, || ours.join(|| black_box(1), || black_box(2)).1),
            || timed(200, || theirs.join(|| black_box(1), || black_box(2)).1),
        );
        let half = || (0..20_000u64).fold(0, |sum, i| black_box(sum + i));
        println!("{:<28} {:.0} ns", "(one half alone)", timed(1000, half));
        compare(
            "2 x 20k additions, outside",
            rounds,
            || timed(100, || ours.join(half, half).1),
            || timed(100, || theirs.join(half, half).1),
        );
        compare(
            "2 x 20k additions, worker",
            rounds,
            || ours.scope(|_| timed(100, || ours.join(half, half).1)),
            || theirs.install(|| timed(100, || rayon::join(half, half).1)),
        );
        compare(
            "fib 20, from outside",
            rounds,
            || timed(30, || ours.scope(|_| fib_ours(&ours, black_box(20)))),
            || timed(30, || theirs.install(|| fib_theirs(black_box(20)))),
        );
        compare(
            "fib 20, from a worker",
            rounds,
            || ours.scope(|_| timed(30, || fib_ours(&ours, black_box(20)))),
            || theirs.install(|| timed(30, || fib_theirs(black_box(20)))),
        );
    }
}
