//! Every pair of element types in every shape, on every path the CPU has, against the `f64` reference.

mod support;

use orthant_kernels::{Against, Element, Kernel, Metric, available_isas, bf16, f16};
use support::{Numbers, Sample, assert_close, widened};

/// Lengths around every register width: up to 64 bytes are taken in one step.
const LENGTHS: core::ops::RangeInclusive<usize> = 0..=2 * 64 + 1;

fn pairs_match<Q: Against<R> + Sample, R: Sample>() {
    let mut numbers = Numbers(11);
    for dim in LENGTHS.chain([256, 300, 384, 768, 1000]) {
        let (a, b) = (numbers.vector::<Q>(dim + 1), numbers.vector::<R>(dim + 1));
        for isa in available_isas() {
            for metric in Metric::ALL {
                let kernel = Kernel::<Q, R>::between_with_isa(metric, dim, isa).unwrap();
                for shift in 0..2 {
                    let (a, b) = (&a[shift..shift + dim], &b[1 - shift..1 - shift + dim]);
                    assert_close(metric, isa, a, b, kernel.pair(a, b));
                }
            }
        }
    }
}

fn batches_match<Q: Against<R> + Sample, R: Sample>() {
    let mut numbers = Numbers(12);
    for dim in [0usize, 1, 7, 31, 64, 65, 128, 200, 400] {
        let (stride, query_stride) = (dim + numbers.next() as usize % 5, dim + numbers.next() as usize % 3);
        let (rows, queries) = (9usize, 19usize);
        // No padding after the last row or query: reading past its end would leave the slice.
        let base = numbers.vector::<R>((rows - 1) * stride + dim);
        let many = numbers.vector::<Q>((queries - 1) * query_stride + dim);
        let query = &many[..dim];
        let row = |at: usize| &base[at * stride..][..dim];
        for isa in available_isas() {
            for metric in Metric::ALL {
                let kernel = Kernel::<Q, R>::between_with_isa(metric, dim, isa).unwrap();
                for count in 0..=rows {
                    let mut out = vec![f32::NAN; count];
                    kernel.rows(query, &base, stride, &mut out);
                    for (at, &found) in out.iter().enumerate() {
                        assert_close(metric, isa, query, row(at), found);
                    }
                    let ids: Vec<u32> = (0..count).map(|_| (numbers.next() % rows as u64) as u32).collect();
                    out.fill(f32::NAN);
                    kernel.gather(query, &base, stride, &ids, &mut out);
                    for (&id, &found) in ids.iter().zip(&out) {
                        assert_close(metric, isa, query, row(id as usize), found);
                    }
                    assert_eq!(kernel.rows_within(query, &base, stride, f32::INFINITY, &mut out), 0);
                    for (at, &found) in out.iter().enumerate() {
                        assert_close(metric, isa, query, row(at), found);
                    }
                }
                for queries in [0, 1, 3, 4, 16, 17, queries] {
                    let mut out = vec![f32::NAN; queries * rows];
                    kernel.matrix(&many, query_stride, queries, &base, stride, &mut out);
                    for (at, &found) in out.iter().enumerate() {
                        let query = &many[at / rows * query_stride..][..dim];
                        assert_close(metric, isa, query, row(at % rows), found);
                    }
                }
            }
        }
    }
}

/// A row that is given up must be beyond the threshold, and one that is not given up has its distance.
fn giving_up_is_sound<Q: Against<R> + Sample, R: Sample>() {
    let mut numbers = Numbers(13);
    for dim in [63usize, 64, 65, 128, 129, 300, 512] {
        let rows = 40;
        let base = numbers.vector::<R>(rows * dim);
        let query = numbers.vector::<Q>(dim);
        for isa in available_isas() {
            for metric in Metric::ALL {
                let kernel = Kernel::<Q, R>::between_with_isa(metric, dim, isa).unwrap();
                let mut full = vec![0.0; rows];
                kernel.rows(&query, &base, dim, &mut full);
                let mut sorted = full.clone();
                sorted.sort_by(f32::total_cmp);
                let threshold = sorted[rows / 4];
                let ids: Vec<u32> = (0..rows as u32).rev().collect();
                let (mut out, mut gathered) = (vec![0.0; rows], vec![0.0; rows]);
                let abandoned = kernel.rows_within(&query, &base, dim, threshold, &mut out);
                assert_eq!(
                    kernel.gather_within(&query, &base, dim, &ids, threshold, &mut gathered),
                    abandoned
                );
                gathered.reverse();
                assert_eq!(out, gathered);
                assert_eq!(out.iter().filter(|d| d.is_infinite()).count(), abandoned);
                for (at, (&found, &full)) in out.iter().zip(&full).enumerate() {
                    if found.is_infinite() {
                        assert!(full > threshold * (1.0 - 1e-4), "{metric} on {isa} gave up a near row");
                    } else {
                        assert_close(metric, isa, &query, &base[at * dim..][..dim], found);
                    }
                }
                let can_give_up = matches!(metric, Metric::L2 | Metric::L1) && dim > 64;
                assert!(can_give_up || abandoned == 0, "{metric} on {isa}: nothing can be known early");
                // Nothing is within a threshold below every distance.
                if can_give_up {
                    assert_eq!(kernel.rows_within(&query, &base, dim, -1.0, &mut out), rows);
                }
            }
        }
    }
}

macro_rules! for_each_pair {
    ($($name:ident: $query:ty, $row:ty;)*) => {$(
        mod $name {
            use super::*;

            #[test]
            fn pairs_of_every_length_match_the_reference() {
                pairs_match::<$query, $row>();
            }

            #[test]
            fn batches_of_every_shape_match_the_reference() {
                batches_match::<$query, $row>();
            }

            #[test]
            fn rows_given_up_are_beyond_the_threshold() {
                giving_up_is_sound::<$query, $row>();
            }
        }
    )*};
}

for_each_pair! {
    f32_f32: f32, f32;
    f16_f16: f16, f16;
    bf16_bf16: bf16, bf16;
    u8_u8: u8, u8;
    i8_i8: i8, i8;
    f32_f16: f32, f16;
    f32_bf16: f32, bf16;
    f32_u8: f32, u8;
    f32_i8: f32, i8;
}

/// Byte sums are exact: the distance is the integer, rounded once.
fn extremes_are_exact<E: Against<E> + Element>(values: [E; 2]) {
    for dim in [1usize, 100, 1024, 32768, 40_000] {
        for isa in available_isas() {
            for (a, b) in [(0, 0), (0, 1), (1, 1)] {
                let (a, b) = (vec![values[a]; dim], vec![values[b]; dim]);
                let (x, y) = (f64::from(a[0].to_f32()), f64::from(b[0].to_f32()));
                let at = |metric| Kernel::<E>::between_with_isa(metric, dim, isa).unwrap().pair(&a, &b);
                let count = dim as f64;
                let close = |found: f32, exact: f64| {
                    let slack = if dim > 32768 { 1e-3 } else { 0.0 };
                    let off = (f64::from(found) - f64::from(exact as f32)).abs();
                    assert!(
                        off <= slack * exact.abs(),
                        "{} on {isa}, dim {dim}: {found} is not {exact}",
                        E::NAME
                    );
                };
                close(at(Metric::L2), count * (x - y) * (x - y));
                close(at(Metric::L1), count * (x - y).abs());
                close(at(Metric::InnerProduct), -count * x * y);
            }
        }
    }
}

#[test]
fn the_largest_bytes_do_not_overflow() {
    extremes_are_exact::<u8>([255, 0]);
    extremes_are_exact::<i8>([-128, 127]);
}

#[test]
fn zero_vectors_have_cosine_distance_one() {
    fn check<E: Against<E> + Sample + Default>() {
        let other: Vec<E> = Numbers(14).vector(70);
        let zero = vec![E::default(); 70];
        for isa in available_isas() {
            let kernel = Kernel::<E>::between_with_isa(Metric::Cosine, 70, isa).unwrap();
            let mut out = [0.0; 4];
            assert_eq!(kernel.pair(&zero, &other), 1.0);
            assert_eq!(kernel.pair(&other, &zero), 1.0);
            kernel.rows(&other, &zero, 70, &mut out[..1]);
            kernel.matrix(&other, 70, 1, &zero, 70, &mut out[1..2]);
            assert_eq!(out[..2], [1.0, 1.0], "{} on {isa}", E::NAME);
        }
    }
    check::<f32>();
    check::<f16>();
    check::<bf16>();
    check::<u8>();
    check::<i8>();
}

#[test]
fn halves_with_infinities_and_denormals_are_widened_exactly() {
    let halves: Vec<f16> = (0..=u16::MAX).map(f16::from_bits).collect();
    let brains: Vec<bf16> = (0..=u16::MAX).map(bf16::from_bits).collect();
    fn same(found: f32, expected: f32) -> bool {
        found == expected || (found.is_nan() && expected.is_nan())
    }
    for isa in available_isas() {
        // Against one, the negated inner product of dimension 1 is the number itself.
        let kernel = Kernel::<f32, f16>::between_with_isa(Metric::InnerProduct, 1, isa).unwrap();
        let mut out = vec![0.0; 1 << 16];
        kernel.rows(&[-1.0], &halves, 1, &mut out);
        assert!(
            out.iter().zip(widened(&halves)).all(|(&found, expected)| same(found, expected)),
            "f16 on {isa}"
        );
        let kernel = Kernel::<f32, bf16>::between_with_isa(Metric::InnerProduct, 1, isa).unwrap();
        kernel.rows(&[-1.0], &brains, 1, &mut out);
        assert!(
            out.iter().zip(widened(&brains)).all(|(&found, expected)| same(found, expected)),
            "bf16 on {isa}"
        );
    }
}

#[test]
fn both_bodies_of_a_constant_dimension_match_the_reference() {
    let mut numbers = Numbers(15);
    for dim in (1..4000).filter(|&dim| orthant_kernels::has_const_body(dim)) {
        let (a, b) = (numbers.vector::<f32>(dim), numbers.vector::<f32>(dim));
        for isa in available_isas() {
            for metric in Metric::ALL {
                let generic = Kernel::<f32>::between_without_const_body(metric, dim, isa).unwrap();
                assert_close(metric, isa, &a, &b, generic.pair(&a, &b));
                let constant = Kernel::with_isa(metric, dim, isa).unwrap();
                assert_close(metric, isa, &a, &b, constant.pair(&a, &b));
            }
        }
    }
}

#[test]
fn bytes_match_without_dot_products() {
    for name in ["u8_u8", "i8_i8", "the_largest_bytes", "zero_vectors"] {
        support::without_dot_products(name);
    }
}
