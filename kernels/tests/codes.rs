//! Bits, table sums and dimension-major blocks, on every path the CPU has.

mod support;

use orthant_kernels::{
    BitKernel, BitMetric, BlockKernel, BlockWidth, Isa, IsaError, LUT_BLOCK, LutKernel, Metric, NARROW_ENTRY,
    available_isas, reference,
};
use support::{Numbers, assert_close};

fn bit_distance(metric: BitMetric, a: &[u8], b: &[u8]) -> f32 {
    match metric {
        BitMetric::Hamming => reference::hamming(a, b) as f32,
        BitMetric::Jaccard => reference::jaccard(a, b) as f32,
    }
}

#[test]
fn bits_of_every_length_match_the_reference() {
    let mut numbers = Numbers(21);
    for bytes in (0..=130).chain([192, 256, 500, 1024]) {
        let stride = bytes + numbers.next() as usize % 4;
        let rows = 7;
        let base: Vec<u8> = numbers.vector((rows - 1) * stride + bytes + 1);
        let queries: Vec<u8> = numbers.vector(5 * bytes);
        for isa in available_isas() {
            for metric in BitMetric::ALL {
                let kernel = BitKernel::with_isa(metric, bytes, isa).unwrap();
                let query = &queries[..bytes];
                let close = |query: &[u8], row: &[u8], found: f32| {
                    let expected = bit_distance(metric, query, row);
                    assert!(
                        (found - expected).abs() <= 2.0 * f32::EPSILON * expected,
                        "{metric} on {isa}, {bytes} bytes: {found} is not {expected}"
                    );
                };
                // One byte on, so that the rows are aligned for nothing.
                let base = &base[1..];
                let row = |at: usize| &base[at * stride..][..bytes];
                close(query, row(0), kernel.pair(query, row(0)));
                let mut out = vec![f32::NAN; rows];
                kernel.rows(query, base, stride, &mut out);
                (0..rows).for_each(|at| close(query, row(at), out[at]));
                let ids = [3u32, 6, 0, 0, 5];
                let mut out = [f32::NAN; 5];
                kernel.gather(query, base, stride, &ids, &mut out);
                ids.iter().zip(out).for_each(|(&id, found)| close(query, row(id as usize), found));
                let mut out = vec![f32::NAN; 5 * rows];
                kernel.matrix(&queries, bytes, 5, base, stride, &mut out);
                for (at, &found) in out.iter().enumerate() {
                    close(&queries[at / rows * bytes..][..bytes], row(at % rows), found);
                }
            }
        }
    }
}

#[test]
fn vectors_without_bits_are_the_same() {
    for isa in available_isas() {
        for bytes in [0, 1, 64, 100] {
            let kernel = BitKernel::with_isa(BitMetric::Jaccard, bytes, isa).unwrap();
            assert_eq!(kernel.pair(&vec![0; bytes], &vec![0; bytes]), 0.0);
        }
        let kernel = BitKernel::with_isa(BitMetric::Jaccard, 1, isa).unwrap();
        assert_eq!(kernel.pair(&[0], &[4]), 1.0);
    }
}

#[test]
fn table_sums_match_a_plain_loop() {
    let mut numbers = Numbers(22);
    for subspaces in (0..=17).chain([32, 33, 96, 192, 384]) {
        for vectors in [0, 1, 16, 17, 32] {
            let codes: Vec<u8> = (0..subspaces * vectors).map(|_| (numbers.next() % 16) as u8).collect();
            let table: Vec<u8> = numbers.vector(16 * subspaces);
            let expected: Vec<u16> = (0..LUT_BLOCK)
                .map(|vector| {
                    let entry = |subspace: usize| {
                        let code = if vector < vectors { codes[vector * subspaces + subspace] } else { 0 };
                        u16::from(table[16 * subspace + usize::from(code)])
                    };
                    (0..subspaces).map(entry).fold(0, u16::wrapping_add)
                })
                .collect();
            for isa in available_isas() {
                let kernel = LutKernel::with_isa(subspaces, isa).unwrap();
                let mut block = vec![0xff; kernel.block_bytes()];
                kernel.pack(&codes, &mut block);
                let mut sums = [0xffff; LUT_BLOCK];
                kernel.block(&table, &block, &mut sums);
                assert_eq!(sums[..], expected, "{isa}, {subspaces} subspaces, {vectors} vectors");
            }
        }
    }
}

#[test]
fn narrow_sums_are_those_of_a_wide_kernel() {
    let mut numbers = Numbers(23);
    for subspaces in (0..=17).chain([32, 35, 96, 192, 384]) {
        let codes: Vec<u8> = numbers.vector(16 * subspaces);
        for isa in available_isas() {
            let (wide, narrow) =
                (LutKernel::with_isa(subspaces, isa).unwrap(), LutKernel::narrow(subspaces, isa).unwrap());
            assert_eq!(narrow.max_entry(), NARROW_ENTRY);
            let mut table: Vec<u8> = numbers.vector(16 * subspaces);
            for is_full in [false, true] {
                table.iter_mut().for_each(|entry| *entry = if is_full { NARROW_ENTRY } else { *entry % 64 });
                let (mut found, mut expected) = ([0xffff; LUT_BLOCK], [0; LUT_BLOCK]);
                narrow.block(&table, &codes, &mut found);
                wide.block(&table, &codes, &mut expected);
                assert_eq!(found, expected, "{isa}, {subspaces} subspaces");
            }
        }
    }
}

#[test]
fn the_largest_entry_does_not_wrap() {
    for isa in available_isas() {
        for subspaces in [1usize, 256, 257, 258, 1000, 65535] {
            let kernel = LutKernel::with_isa(subspaces, isa).unwrap();
            let table = vec![kernel.max_entry(); kernel.block_bytes()];
            let mut sums = [0; LUT_BLOCK];
            kernel.block(&table, &vec![0x5a; kernel.block_bytes()], &mut sums);
            assert_eq!(sums, [(usize::from(kernel.max_entry()) * subspaces) as u16; LUT_BLOCK], "{isa}");
        }
    }
}

#[test]
fn blocks_of_every_width_match_the_reference() {
    let mut numbers = Numbers(23);
    for dim in (0..=35).chain([100, 128, 384]) {
        for width in BlockWidth::ALL {
            let vectors = width.vectors();
            let rows: Vec<f32> = numbers.vector(vectors * dim);
            let query: Vec<f32> = numbers.vector(dim);
            for isa in available_isas() {
                for metric in Metric::ALL {
                    let kernel = BlockKernel::with_isa(metric, dim, width, isa).unwrap();
                    let mut block = vec![f32::NAN; kernel.block_len()];
                    kernel.pack(&rows, dim, vectors, &mut block);
                    let mut out = vec![f32::NAN; vectors];
                    kernel.distances(&query, &block, &mut out);
                    for (vector, &found) in out.iter().enumerate() {
                        assert_close(metric, isa, &query, &rows[vector * dim..][..dim], found);
                    }
                }
            }
        }
    }
}

#[test]
fn blocks_with_norms_out_of_range_match_too() {
    let mut numbers = Numbers(24);
    let dim = 40;
    for isa in available_isas() {
        let kernel = BlockKernel::with_isa(Metric::Cosine, dim, BlockWidth::W16, isa).unwrap();
        let query: Vec<f32> = numbers.vector(dim);
        let mut rows: Vec<f32> = numbers.vector(4 * dim);
        rows[..dim].iter_mut().for_each(|value| *value *= 1e30);
        rows[dim..2 * dim].fill(0.0);
        let mut block = vec![0.0; kernel.block_len()];
        kernel.pack(&rows, dim, 4, &mut block);
        let mut out = [0.0; 16];
        kernel.distances(&query, &block, &mut out);
        for (vector, &found) in out.iter().enumerate().take(4) {
            assert_close(Metric::Cosine, isa, &query, &rows[vector * dim..][..dim], found);
        }
        assert_eq!(out[4], 1.0, "a place without a vector is a zero vector");
    }
}

#[test]
fn a_missing_path_is_refused() {
    let missing = Isa::ALL.into_iter().find(|isa| !isa.is_available()).expect("no CPU has all of them");
    let error = IsaError::Missing { isa: missing };
    assert_eq!(BitKernel::with_isa(BitMetric::Hamming, 8, missing).unwrap_err(), error);
    assert_eq!(LutKernel::with_isa(8, missing).unwrap_err(), error);
    assert_eq!(BlockKernel::with_isa(Metric::L2, 8, BlockWidth::W16, missing).unwrap_err(), error);
}
