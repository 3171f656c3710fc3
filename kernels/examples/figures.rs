//! Prints the figures of the README that are ours alone: paths against each other, bodies against each other, batches
//! against single calls, blocks and tiles. Everything is in the first-level cache unless it says otherwise.
//!
//! Contenders take turns, a short run each, many times over, and the best run of each counts. Pin it:
//! `taskset -c 0 cargo run --release --example figures [group]`.

use std::hint::black_box;
use std::time::Instant;

use orthant_kernels::{Isa, Kernel, LUT_BLOCK, LutKernel, Metric, TileKernel, available_isas};

/// Turns that everyone gets.
const ROUNDS: usize = 300;

/// A contender's name, what it does once, and how many distances that is.
type Contender<'a> = (String, Box<dyn FnMut() + 'a>, usize);

/// Nanoseconds per distance of each, the best of many turns.
fn race(contenders: &mut [Contender<'_>]) -> Vec<f64> {
    let mut best = vec![f64::INFINITY; contenders.len()];
    for _ in 0..ROUNDS {
        for ((_, run, distances), best) in contenders.iter_mut().zip(&mut best) {
            let calls = (2000 / *distances).max(1);
            let start = Instant::now();
            for _ in 0..calls {
                run();
            }
            *best = best.min(start.elapsed().as_nanos() as f64 / (calls * *distances) as f64);
        }
    }
    best
}

/// Prints everyone's time, and by how much the first takes longer than the second.
fn report(title: &str, mut contenders: Vec<Contender<'_>>) {
    let best = race(&mut contenders);
    print!("{title:<28}");
    for ((name, _, _), time) in contenders.iter().zip(&best) {
        print!("  {name} {time:6.2}");
    }
    if let [first, second, ..] = best[..] {
        print!("  ({:.2})", first / second);
    }
    println!();
}

fn wave(count: usize, step: f32) -> Vec<f32> {
    (0..count).map(|at| (at as f32 * step).sin()).collect()
}

/// The elements on a boundary of 64 bytes. Never freed: a table is made once per process.
fn aligned<T: Copy>(elements: &[T]) -> &'static [T] {
    // As long again, or a line longer, so that there is a boundary with room behind it.
    let mut space = elements.to_vec();
    while space.len() < elements.len() + 64 {
        space.extend_from_slice(elements);
    }
    let space = space.leak();
    let lead = space.as_ptr().align_offset(64);
    let place = &mut space[lead..lead + elements.len()];
    place.copy_from_slice(elements);
    place
}

/// The clock under a chain of dependent operations, in GHz.
fn clock() -> f64 {
    let mut best = 0.0f64;
    for _ in 0..50 {
        let start = Instant::now();
        let mut x = black_box(3u64);
        // A multiplication and an addition take four cycles, and no compiler solves the recurrence.
        for _ in 0..100_000 {
            x = x.wrapping_mul(x).wrapping_add(1);
        }
        black_box(x);
        best = best.max(4e5 / start.elapsed().as_nanos() as f64);
    }
    best
}

/// AVX-512 against AVX2: one pair, a run of rows, gathered rows.
fn widths() {
    let isas: Vec<Isa> = available_isas().into_iter().rev().take(2).collect();
    let [wide, narrow] = isas[..] else { return };
    for metric in [Metric::L2, Metric::InnerProduct, Metric::Cosine] {
        for dim in [128, 384, 768, 1024, 1536] {
            let (a, b) = (aligned(&wave(dim, 0.37)), aligned(&wave(dim, 0.73)));
            let count = 8;
            let rows = aligned(&wave(dim * count, 0.61));
            let ids: Vec<u32> = (0..count as u32).map(|id| id * 5 % count as u32).collect();
            let mut many: Vec<Contender<'_>> = Vec::new();
            for isa in [narrow, wide] {
                let kernel = Kernel::with_isa(metric, dim, isa).expect("available");
                many.push((
                    format!("{isa}"),
                    Box::new(move || {
                        black_box(kernel.pair(black_box(a), black_box(b)));
                    }),
                    1,
                ));
            }
            report(&format!("pair {metric} {dim}"), many);
            let mut many: Vec<Contender<'_>> = Vec::new();
            for isa in [narrow, wide] {
                let kernel = Kernel::with_isa(metric, dim, isa).expect("available");
                let mut out = vec![0.0; count];
                many.push((
                    format!("{isa}"),
                    Box::new(move || kernel.rows(black_box(a), black_box(rows), dim, black_box(&mut out))),
                    count,
                ));
            }
            report(&format!("rows {metric} {dim}"), many);
            let mut many: Vec<Contender<'_>> = Vec::new();
            for isa in [narrow, wide] {
                let kernel = Kernel::with_isa(metric, dim, isa).expect("available");
                let mut out = vec![0.0; count];
                let ids = &ids;
                many.push((
                    format!("{isa}"),
                    Box::new(move || {
                        kernel.gather(black_box(a), black_box(rows), dim, black_box(ids), black_box(&mut out))
                    }),
                    count,
                ));
            }
            report(&format!("gather {metric} {dim}"), many);
        }
    }
}

/// Bodies of any dimension against bodies of one.
fn bodies() {
    for metric in Metric::ALL {
        for dim in [96, 100, 128, 256, 384, 512, 768, 1024] {
            let (a, b) = (aligned(&wave(dim, 0.37)), aligned(&wave(dim, 0.73)));
            let isa = available_isas().pop().expect("never empty");
            let mut many: Vec<Contender<'_>> = Vec::new();
            let generic = Kernel::<f32>::between_without_const_body(metric, dim, isa).expect("available");
            let constant = Kernel::with_isa(metric, dim, isa).expect("available");
            for (name, kernel) in [("any", generic), ("constant", constant)] {
                many.push((
                    name.into(),
                    Box::new(move || {
                        black_box(kernel.pair(black_box(a), black_box(b)));
                    }),
                    1,
                ));
            }
            report(&format!("pair {metric} {dim}"), many);
        }
    }
}

/// Many queries against many rows: one by one, and as a matrix.
fn matrices() {
    for metric in Metric::ALL {
        for dim in [64, 128, 256, 384, 768] {
            for (queries, rows) in [(8, 8), (16, 16), (16, 256)] {
                let kernel = Kernel::new(metric, dim).expect("available");
                let (q, r) = (aligned(&wave(queries * dim, 0.37)), aligned(&wave(rows * dim, 0.73)));
                let (mut first, mut second) = (vec![0.0; queries * rows], vec![0.0; queries * rows]);
                report(
                    &format!("{metric} {dim}, {queries} x {rows}"),
                    vec![
                        (
                            "one by one".into(),
                            Box::new(move || {
                                for (query, out) in q.chunks_exact(dim).zip(first.chunks_exact_mut(rows)) {
                                    kernel.rows(query, black_box(r), dim, out);
                                }
                            }),
                            queries * rows,
                        ),
                        (
                            "matrix".into(),
                            Box::new(move || {
                                kernel.matrix(q, dim, queries, black_box(r), dim, black_box(&mut second))
                            }),
                            queries * rows,
                        ),
                    ],
                );
            }
        }
    }
}

/// What a call costs beside the distances in it: batches of the shortest vectors.
fn dispatch() {
    for dim in [1, 4, 16, 32] {
        let kernel = Kernel::new(Metric::L2, dim).expect("available");
        let (a, rows) = (aligned(&wave(dim, 0.37)), aligned(&wave(dim * 64, 0.73)));
        let mut many: Vec<Contender<'_>> = Vec::new();
        for count in [1, 4, 16, 64] {
            let mut out = vec![0.0; count];
            many.push((
                format!("{count}:"),
                Box::new(move || kernel.rows(black_box(a), black_box(rows), dim, black_box(&mut out))),
                count,
            ));
        }
        report(&format!("rows l2 {dim}, batches of"), many);
    }
}

/// Table sums: nanoseconds per block of 32 vectors, at four dimensions per subspace.
fn tables() {
    for dim in [128, 384, 768, 960] {
        let mut many: Vec<Contender<'_>> = Vec::new();
        for isa in available_isas().into_iter().rev() {
            let kernel = LutKernel::with_isa(dim / 4, isa).expect("available");
            let bytes: Vec<u8> = (0..kernel.block_bytes()).map(|at| (at * 37) as u8).collect();
            let table: Vec<u8> = bytes.iter().map(|byte| byte % 64).collect();
            let (block, table) = (aligned(&bytes), aligned(&table));
            let mut out = [0; LUT_BLOCK];
            many.push((
                format!("{isa}"),
                Box::new(move || kernel.block(black_box(table), black_box(block), black_box(&mut out))),
                1,
            ));
        }
        report(&format!("1-bit codes, {dim}"), many);
    }
}

/// All pairs of two sets of codes, in 10⁹ operations (a multiplication and an addition are two) per second.
fn tiles() {
    for (rows, dim) in [(64, 128), (1024, 96), (1024, 128), (1024, 384), (1024, 768)] {
        let codes: Vec<u8> = (0..rows * dim).map(|at| ((at * 2_654_435_761) >> 7) as u8).collect();
        for isa in available_isas().into_iter().rev() {
            let kernel = TileKernel::with_isa(dim, isa).expect("available");
            let mut packed = vec![0; kernel.packed_bytes(rows)];
            let mut norms = vec![0; rows];
            let mut out = vec![0; rows * rows];
            kernel.squared_norms(&codes, dim, &mut norms);
            let (mut packing, mut summing) = (f64::INFINITY, f64::INFINITY);
            for _ in 0..if isa == Isa::Scalar { 3 } else { 40 } {
                let start = Instant::now();
                kernel.pack(black_box(&codes), dim, rows, &mut packed);
                packing = packing.min(start.elapsed().as_nanos() as f64);
                let start = Instant::now();
                kernel.squared_distances(
                    &codes,
                    dim,
                    &norms,
                    black_box(&packed),
                    &norms,
                    black_box(&mut out),
                    rows,
                );
                summing = summing.min(start.elapsed().as_nanos() as f64);
            }
            let operations = (2 * rows * rows * dim) as f64;
            println!(
                "{rows} x {rows} x {dim:<5} {isa:<8} {:7.1} Gop/s, packing {:5.1} % of it",
                operations / summing,
                100.0 * packing / summing
            );
        }
    }
}

fn main() {
    println!("clock: {:.2} GHz", clock());
    let wanted = std::env::args().nth(1).unwrap_or_default();
    let groups: [(&str, fn()); 6] = [
        ("widths", widths),
        ("bodies", bodies),
        ("matrices", matrices),
        ("dispatch", dispatch),
        ("tables", tables),
        ("tiles", tiles),
    ];
    for (name, group) in groups {
        if name.contains(&wanted) {
            println!("== {name}");
            group();
        }
    }
}
