//! All pairs of two sets of codes, on every path the CPU has, against plain sums.

mod support;

use orthant_kernels::{TileKernel, available_isas};
use support::Numbers;

/// Products, then squared distances, of every pair: exactly.
fn check(dim: usize, left_count: usize, right_count: usize, numbers: &mut Numbers) {
    let (left_stride, right_stride) = (dim + numbers.next() as usize % 5, dim + numbers.next() as usize % 5);
    let out_stride = right_count + numbers.next() as usize % 3;
    // No padding after the last row: reading past its end would leave the slice.
    let length =
        |count: usize, stride: usize, row: usize| if count == 0 { 0 } else { (count - 1) * stride + row };
    let left: Vec<u8> = numbers.vector(length(left_count, left_stride, dim));
    let right: Vec<u8> = numbers.vector(length(right_count, right_stride, dim));
    for isa in available_isas() {
        let kernel = TileKernel::with_isa(dim, isa).unwrap();
        let mut packed = vec![0x55; kernel.packed_bytes(right_count)];
        kernel.pack(&right, right_stride, right_count, &mut packed);
        let (mut left_norms, mut right_norms) = (vec![0; left_count], vec![0; right_count]);
        kernel.squared_norms(&left, left_stride, &mut left_norms);
        kernel.squared_norms(&right, right_stride, &mut right_norms);
        let untouched = vec![-7; length(left_count, out_stride, right_count)];
        let (mut dots, mut distances) = (untouched.clone(), untouched);
        kernel.dots(&left, left_stride, left_count, &packed, right_count, &mut dots, out_stride);
        kernel.squared_distances(
            &left,
            left_stride,
            &left_norms,
            &packed,
            &right_norms,
            &mut distances,
            out_stride,
        );
        for (at, (&dot, &distance)) in dots.iter().zip(&distances).enumerate() {
            let (l, r) = (at / out_stride, at % out_stride);
            if r >= right_count {
                assert_eq!((dot, distance), (-7, -7), "between rows nothing is written");
                continue;
            }
            let pairs = || {
                left[l * left_stride..][..dim]
                    .iter()
                    .zip(&right[r * right_stride..][..dim])
                    .map(|(&a, &b)| (i32::from(a), i32::from(b)))
            };
            assert_eq!(dot, pairs().map(|(a, b)| a * b).sum::<i32>(), "{isa}, dim {dim}, {l} x {r}");
            assert_eq!(
                distance,
                pairs().map(|(a, b)| (a - b) * (a - b)).sum::<i32>(),
                "{isa}, dim {dim}, {l} x {r}"
            );
        }
    }
}

#[test]
fn every_length_matches() {
    let mut numbers = Numbers(31);
    for dim in (0..=35).chain([63, 64, 65, 128, 385]) {
        check(dim, 7, 21, &mut numbers);
    }
}

#[test]
fn every_count_matches() {
    let mut numbers = Numbers(32);
    for left in (0..=13).chain([191, 192, 193, 200]) {
        for right in [0, 1, 3, 4, 5, 8, 15, 16, 17, 63, 64, 65, 90] {
            check(9, left, right, &mut numbers);
        }
    }
}

#[test]
fn every_value_up_to_the_bound_is_named_in_order() {
    let mut numbers = Numbers(33);
    for count in (0..=50).chain([255, 256, 257]) {
        let values: Vec<i32> = (0..count).map(|_| (numbers.next() % 80) as i32 - 40).collect();
        for bound in [i32::MIN, -41, -20, 0, 7, 39, i32::MAX] {
            let expected: Vec<u32> =
                (0..).zip(&values).filter(|(_, value)| **value <= bound).map(|(at, _)| at).collect();
            for isa in available_isas() {
                let kernel = TileKernel::with_isa(4, isa).unwrap();
                let mut places = vec![u32::MAX; values.len().next_multiple_of(16)];
                let found = kernel.at_most(&values, bound, &mut places);
                assert_eq!(places[..found], expected, "{isa}, {count} values, bound {bound}");
            }
        }
    }
}

#[test]
fn the_largest_codes_do_not_overflow() {
    let dim = 33025;
    let rows = vec![255u8; 2 * dim];
    for isa in available_isas() {
        let kernel = TileKernel::with_isa(dim, isa).unwrap();
        let mut packed = vec![0; kernel.packed_bytes(2)];
        kernel.pack(&rows, dim, 2, &mut packed);
        let mut norms = [0; 2];
        kernel.squared_norms(&rows, dim, &mut norms);
        let (mut dots, mut distances) = ([0; 4], [0; 4]);
        kernel.dots(&rows, dim, 2, &packed, 2, &mut dots, 2);
        assert_eq!(dots, [255 * 255 * 33025; 4], "{isa}");
        kernel.squared_distances(&rows, dim, &norms, &packed, &norms, &mut distances, 2);
        assert_eq!(distances, [0; 4], "{isa}");
        // All of the distance from one side.
        kernel.squared_distances(&vec![0; 2 * dim], dim, &[0; 2], &packed, &norms, &mut distances, 2);
        assert_eq!(distances, [255 * 255 * 33025; 4], "{isa}");
    }
}

#[test]
#[should_panic(expected = "packed_bytes")]
fn a_short_block_is_refused() {
    let kernel = TileKernel::new(8).unwrap();
    kernel.dots(&[0; 8], 8, 1, &[0; 4], 1, &mut [0], 1);
}

#[test]
#[should_panic(expected = "do not fit")]
fn a_short_output_is_refused() {
    let kernel = TileKernel::new(8).unwrap();
    let packed = vec![0; kernel.packed_bytes(3)];
    kernel.dots(&[0; 16], 8, 2, &packed, 3, &mut [0; 5], 3);
}

#[test]
fn tiles_match_without_dot_products() {
    for name in ["every_", "the_largest"] {
        support::without_dot_products(name);
    }
}
