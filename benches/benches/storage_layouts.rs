//! Where dimension-major blocks win, and where they lose: squared L2 over row-major rows (the kernels
//! of this workspace) against blocks of 16 lanes (a plain loop, compiled for this machine's AVX-512 or
//! AVX2), over all rows in order and over rows picked at random.
//!
//! `taskset -c 1 cargo bench -p orthant-benches --bench storage_layouts`

use std::hint::black_box;

use criterion::{Criterion, Throughput, criterion_group, criterion_main};
use orthant_benches::{Random, clustered, criterion, squared_distance};
use orthant_kernels::{Kernel, Metric};
use orthant_storage::{BlockArena, MemoryOptions, RowArena, RowLayout};

const LANES: usize = 16;

/// Distances of the rows of one block; written so that compilers make one register of 16 lanes of it.
#[inline(always)]
fn block_body(query: &[f32], block: &[f32], out: &mut [f32; LANES]) {
    let mut sums = [[0.0f32; LANES]; 2];
    for (pair, lanes) in query.chunks_exact(2).zip(block.chunks_exact(2 * LANES)) {
        for half in 0..2 {
            for lane in 0..LANES {
                let difference = pair[half] - lanes[half * LANES + lane];
                sums[half][lane] = difference.mul_add(difference, sums[half][lane]);
            }
        }
    }
    for lane in 0..LANES {
        out[lane] = sums[0][lane] + sums[1][lane];
    }
}

#[cfg(target_arch = "x86_64")]
#[target_feature(enable = "avx512f")]
fn blocks_avx512(query: &[f32], blocks: &[f32], out: &mut [f32]) {
    for (block, out) in blocks.chunks_exact(query.len() * LANES).zip(out.as_chunks_mut().0) {
        block_body(query, block, out);
    }
}

#[cfg(target_arch = "x86_64")]
#[target_feature(enable = "avx2,fma")]
fn blocks_avx2(query: &[f32], blocks: &[f32], out: &mut [f32]) {
    for (block, out) in blocks.chunks_exact(query.len() * LANES).zip(out.as_chunks_mut().0) {
        block_body(query, block, out);
    }
}

fn scan_blocks(query: &[f32], blocks: &[f32], out: &mut [f32]) {
    #[cfg(target_arch = "x86_64")]
    if std::is_x86_feature_detected!("avx512f") {
        // SAFETY: the feature was just seen.
        return unsafe { blocks_avx512(query, blocks, out) };
    } else if std::is_x86_feature_detected!("avx2") && std::is_x86_feature_detected!("fma") {
        // SAFETY: the features were just seen.
        return unsafe { blocks_avx2(query, blocks, out) };
    }
    for (block, out) in blocks.chunks_exact(query.len() * LANES).zip(out.as_chunks_mut().0) {
        block_body(query, block, out);
    }
}

/// Distance of one row that is spread over a block.
fn one_of_block(query: &[f32], blocks: &[f32], id: usize) -> f32 {
    let block = &blocks[id / LANES * query.len() * LANES..][..query.len() * LANES];
    let elements = block[id % LANES..].iter().step_by(LANES);
    query.iter().zip(elements).map(|(a, b)| (a - b) * (a - b)).sum()
}

fn layouts(c: &mut Criterion) {
    let is_test = std::env::args().any(|argument| argument == "--test");
    // 256 KiB lie in the second level cache, 64 MiB do not. 4 and 20 floats leave a row of 64 or 128
    // bytes largely or partly empty; a block has no padding.
    let sizes = [256 << 10, 64 << 20];
    for (dim, bytes) in [4, 20, 128, 384].into_iter().flat_map(|dim| sizes.map(|bytes| (dim, bytes))) {
        let rows = if is_test { 256 } else { bytes / (dim * 4) / LANES * LANES };
        let vectors = clustered(rows, dim, 1);
        let query = clustered(1, dim, 2);
        let expected_bytes = Some(rows * dim * 4);
        let options = MemoryOptions { expected_bytes, ..MemoryOptions::default() };
        let by_row = RowArena::<f32>::new(RowLayout::new::<f32>(dim), &options).expect("memory");
        let by_dimension = BlockArena::<f32>::new(dim, LANES, &options).expect("memory");
        for vector in vectors.chunks_exact(dim) {
            by_row.push(vector).expect("memory");
            by_dimension.push(vector).expect("memory");
        }
        let kernel = Kernel::new(Metric::L2, dim).expect("an instruction set this machine has");
        let stride = by_row.layout().stride();
        let mut distances = vec![0.0f32; rows];
        scan_blocks(&query, by_dimension.whole_blocks(), &mut distances);
        for (row, vector) in vectors.chunks_exact(dim).enumerate() {
            let exact = squared_distance(&query, vector);
            assert!((f64::from(distances[row]) - exact).abs() <= 1e-4 * exact.max(1.0), "row {row}");
        }

        let mut group = c.benchmark_group(format!("storage/layout/{dim}d {} KiB", bytes >> 10));
        group.throughput(Throughput::Elements(rows as u64));
        group.bench_function("scan rows", |b| {
            b.iter(|| kernel.rows(black_box(&query), by_row.rows(), stride, &mut distances));
        });
        group.bench_function("scan blocks", |b| {
            b.iter(|| scan_blocks(black_box(&query), by_dimension.whole_blocks(), &mut distances));
        });
        // A million picks, 1024 at a time, so that none is in a cache because it was picked before.
        let mut random = Random::new(3);
        let ids: Vec<u32> = (0..1 << 20).map(|_| random.below(rows) as u32).collect();
        let mut picks = ids.chunks_exact(1024).cycle();
        let mut picked = [0.0f32; 1024];
        group.throughput(Throughput::Elements(1024));
        group.bench_function("pick rows", |b| {
            b.iter(|| {
                let ids = picks.next().expect("a cycle has no end");
                kernel.gather(black_box(&query), by_row.rows(), stride, ids, &mut picked);
            });
        });
        group.bench_function("pick from blocks", |b| {
            let blocks = by_dimension.whole_blocks();
            b.iter(|| {
                let ids = picks.next().expect("a cycle has no end");
                for (out, &id) in picked.iter_mut().zip(ids) {
                    *out = one_of_block(black_box(&query), blocks, id as usize);
                }
            });
        });
        group.finish();
    }
}

criterion_group! {
    name = benches;
    config = criterion();
    targets = layouts
}
criterion_main!(benches);
