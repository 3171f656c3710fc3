//! Every metric on every path the CPU has, against the `f64` reference.

mod support;

use orthant_kernels::{CodeKernel, Isa, IsaError, Kernel, Metric, available_isas, reference};
use support::{Numbers, assert_close};

/// Lengths around every register width and every constant body.
fn dims() -> Vec<usize> {
    let mut dims: Vec<usize> = (0..=2 * 64 + 1).collect();
    for known in (1..4000).filter(|&dim| orthant_kernels::has_const_body(dim)) {
        dims.extend([known - 1, known, known + 1]);
    }
    dims
}

#[test]
fn pairs_of_every_length_match_the_reference() {
    let mut numbers = Numbers(1);
    for dim in dims() {
        // One element more, so that the second half of the loop reads from an address that is aligned
        // for nothing but f32.
        let (a, b) = (numbers.vector::<f32>(dim + 1), numbers.vector::<f32>(dim + 1));
        for isa in available_isas() {
            for metric in Metric::ALL {
                let kernel = Kernel::with_isa(metric, dim, isa).unwrap();
                for shift in 0..2 {
                    let (a, b) = (&a[shift..shift + dim], &b[1 - shift..1 - shift + dim]);
                    assert_close(metric, isa, a, b, kernel.pair(a, b));
                }
            }
        }
    }
}

#[test]
fn batches_of_every_size_match_the_reference() {
    let mut numbers = Numbers(2);
    for dim in [1, 3, 16, 17, 100, 128, 130, 384] {
        let stride = dim + numbers.next() as usize % 5;
        let rows = 13;
        // The last row has no padding: reading past its end would leave the slice.
        let base = numbers.vector::<f32>((rows - 1) * stride + dim);
        let query = numbers.vector::<f32>(dim);
        for isa in available_isas() {
            for metric in Metric::ALL {
                let kernel = Kernel::with_isa(metric, dim, isa).unwrap();
                for count in 0..=rows {
                    let mut out = vec![f32::NAN; count];
                    kernel.rows(&query, &base, stride, &mut out);
                    for (row, &found) in out.iter().enumerate() {
                        assert_close(metric, isa, &query, &base[row * stride..][..dim], found);
                    }
                    let ids: Vec<u32> = (0..count).map(|_| (numbers.next() % rows as u64) as u32).collect();
                    let mut out = vec![f32::NAN; count];
                    kernel.gather(&query, &base, stride, &ids, &mut out);
                    for (&id, &found) in ids.iter().zip(&out) {
                        assert_close(metric, isa, &query, &base[id as usize * stride..][..dim], found);
                    }
                }
            }
        }
    }
}

#[test]
fn nan_stays_with_its_row() {
    for isa in available_isas() {
        for metric in Metric::ALL {
            for dim in [1usize, 5, 37, 128, 384] {
                let kernel = Kernel::with_isa(metric, dim, isa).unwrap();
                let query = vec![0.5; dim];
                for at in [0, dim / 2, dim - 1] {
                    let mut base = vec![0.25f32; 6 * dim];
                    base[3 * dim + at] = f32::NAN;
                    let mut out = [0.0; 6];
                    kernel.rows(&query, &base, dim, &mut out);
                    for (row, distance) in out.iter().enumerate() {
                        assert_eq!(distance.is_nan(), row == 3, "{metric} on {isa}, dim {dim}, row {row}");
                    }
                }
            }
        }
    }
}

#[test]
fn infinities_follow_ieee() {
    const INF: f32 = f32::INFINITY;
    for isa in available_isas() {
        for dim in [2usize, 17, 128] {
            let kernel = |metric| Kernel::with_isa(metric, dim, isa).unwrap();
            let with = |value: f32| {
                let mut vector = vec![1.0f32; dim];
                vector[dim - 1] = value;
                vector
            };
            let (plain, high, low) = (with(1.0), with(INF), with(-INF));
            for metric in [Metric::L2, Metric::L1] {
                assert_eq!(kernel(metric).pair(&plain, &high), INF);
                assert_eq!(kernel(metric).pair(&low, &high), INF);
                assert!(kernel(metric).pair(&high, &high).is_nan());
            }
            assert_eq!(kernel(Metric::InnerProduct).pair(&plain, &high), -INF);
            assert_eq!(kernel(Metric::InnerProduct).pair(&low, &high), INF);
            assert!(kernel(Metric::InnerProduct).pair(&with(0.0), &high).is_nan());
            assert!(kernel(Metric::Cosine).pair(&plain, &high).is_nan());
        }
    }
}

#[test]
fn cosine_holds_at_every_norm() {
    let mut numbers = Numbers(3);
    for isa in available_isas() {
        for dim in [3usize, 64, 128, 200] {
            let kernel = Kernel::with_isa(Metric::Cosine, dim, isa).unwrap();
            let (a, b) = (numbers.vector::<f32>(dim), numbers.vector::<f32>(dim));
            for scale in [1e-44f32, 1e-38, 1e-30, 1e-22, 1e-18, 1e-15, 1.0, 1e15, 1e19, 1e30, 1e38] {
                let scaled: Vec<f32> = b.iter().map(|&x| x * scale).collect();
                assert_close(Metric::Cosine, isa, &a, &scaled, kernel.pair(&a, &scaled));
                assert_close(Metric::Cosine, isa, &scaled, &a, kernel.pair(&scaled, &a));
                assert_close(Metric::Cosine, isa, &scaled, &scaled, kernel.pair(&scaled, &scaled));
            }
            let zero = vec![0.0; dim];
            assert_eq!(kernel.pair(&a, &zero), 1.0);
            assert_eq!(kernel.pair(&zero, &a), 1.0);
            assert_eq!(kernel.pair(&zero, &zero), 1.0);
        }
    }
}

#[test]
fn identical_vectors_are_at_distance_zero() {
    let mut numbers = Numbers(4);
    for isa in available_isas() {
        for dim in [0usize, 1, 15, 128, 500] {
            let vector: Vec<f32> = numbers.vector::<f32>(dim).iter().map(|x| x * 1e18).collect();
            for metric in [Metric::L2, Metric::L1] {
                assert_eq!(Kernel::with_isa(metric, dim, isa).unwrap().pair(&vector, &vector), 0.0);
            }
        }
    }
}

#[test]
fn denormals_count_in_full() {
    let tiny = f32::from_bits(1);
    for isa in available_isas() {
        let kernel = Kernel::with_isa(Metric::L1, 37, isa).unwrap();
        assert_eq!(kernel.pair(&[tiny; 37], &[0.0; 37]), 37.0 * tiny, "{isa}");
        let kernel = Kernel::with_isa(Metric::InnerProduct, 37, isa).unwrap();
        assert_eq!(kernel.pair(&[tiny; 37], &[1.0; 37]), -37.0 * tiny, "{isa}");
    }
}

#[test]
fn code_sums_are_exact() {
    let mut numbers = Numbers(5);
    for dim in dims() {
        let stride = dim + 3;
        let rows = 7;
        let codes: Vec<u8> = (0..rows * stride).map(|_| numbers.next() as u8).collect();
        for isa in available_isas() {
            let kernel = CodeKernel::with_isa(dim, isa).unwrap();
            let most = i64::from(kernel.max_weight());
            let weights: Vec<i16> =
                (0..dim).map(|_| (numbers.next() as i64 % (2 * most + 1) - most) as i16).collect();
            let expected = |row: usize| reference::code_dot(&weights, &codes[row * stride..][..dim]);
            let mut out = vec![0; rows];
            kernel.rows(&weights, &codes, stride, &mut out);
            for row in 0..rows {
                assert_eq!(i64::from(out[row]), expected(row), "{isa}, dim {dim}, row {row}");
                assert_eq!(out[row], kernel.pair(&weights, &codes[row * stride..][..dim]));
            }
            let ids = [6u32, 0, 3, 3, 1, 2];
            let mut out = [0; 6];
            kernel.gather(&weights, &codes, stride, &ids, &mut out);
            for (&id, &found) in ids.iter().zip(&out) {
                assert_eq!(i64::from(found), expected(id as usize), "{isa}, dim {dim}, id {id}");
            }
        }
    }
}

#[test]
fn the_largest_weight_does_not_overflow() {
    for isa in available_isas() {
        for dim in [1usize, 257, 258, 384, 1536, 40_000] {
            let kernel = CodeKernel::with_isa(dim, isa).unwrap();
            let code = vec![255u8; dim];
            for weight in [kernel.max_weight(), -kernel.max_weight()] {
                let found = kernel.pair(&vec![weight; dim], &code);
                assert_eq!(i64::from(found), 255 * i64::from(weight) * dim as i64, "{isa}, dim {dim}");
            }
        }
    }
}

#[test]
fn a_missing_path_is_refused() {
    let missing = Isa::ALL.into_iter().find(|isa| !isa.is_available()).expect("no CPU has all of them");
    assert_eq!(Kernel::with_isa(Metric::L2, 8, missing).unwrap_err(), IsaError::Missing { isa: missing });
    assert_eq!(CodeKernel::with_isa(8, missing).unwrap_err(), IsaError::Missing { isa: missing });
}

/// A path can only be forced from outside the process: the answer is remembered. So this test runs
/// itself again, with the variable set, and looks at the exit status.
#[test]
fn the_environment_forces_a_path() {
    if let Some(expected) = std::env::var_os("ORTHANT_TEST_EXPECTED") {
        let kernel = Kernel::new(Metric::L2, 3);
        let found = match &kernel {
            Ok(kernel) => kernel.isa().name(),
            Err(IsaError::Missing { .. }) => "missing",
            Err(_) => "unknown",
        };
        assert_eq!(found, expected.to_str().unwrap());
        return;
    }
    let run = |forced: &str, expected: &str| {
        let status = support::this_test_again()
            .args(["--exact", "the_environment_forces_a_path"])
            .env("ORTHANT_ISA", forced)
            .env("ORTHANT_TEST_EXPECTED", expected)
            .stdout(std::process::Stdio::null())
            .status()
            .unwrap();
        assert!(status.success(), "ORTHANT_ISA={forced} must give {expected}");
    };
    for isa in Isa::ALL {
        run(isa.name(), if isa.is_available() { isa.name() } else { "missing" });
    }
    run("mmx", "unknown");
}

/// The bodies that run where there are no dot products of bytes are never run by the other tests on a CPU that has them.
#[test]
fn code_sums_are_exact_without_dot_products() {
    support::without_dot_products("code_sums_are_exact");
}

mod misuse {
    use super::*;

    fn kernel() -> Kernel {
        Kernel::new(Metric::L2, 4).unwrap()
    }

    #[test]
    #[should_panic(expected = "dimension")]
    fn a_short_vector() {
        kernel().pair(&[0.0; 4], &[0.0; 3]);
    }

    #[test]
    #[should_panic(expected = "stride")]
    fn a_short_stride() {
        kernel().rows(&[0.0; 4], &[0.0; 40], 3, &mut [0.0; 2]);
    }

    #[test]
    #[should_panic(expected = "do not fit")]
    fn too_few_rows() {
        kernel().rows(&[0.0; 4], &[0.0; 8], 5, &mut [0.0; 2]);
    }

    #[test]
    #[should_panic(expected = "names no row")]
    fn an_id_past_the_end() {
        kernel().gather(&[0.0; 4], &[0.0; 8], 4, &[0, 2], &mut [0.0; 2]);
    }

    #[test]
    #[should_panic(expected = "names no row")]
    fn an_empty_base() {
        kernel().gather(&[0.0; 4], &[], 4, &[0], &mut [0.0]);
    }

    #[test]
    #[should_panic(expected = "one distance per id")]
    fn a_short_output() {
        kernel().gather(&[0.0; 4], &[0.0; 8], 4, &[0, 1], &mut [0.0; 1]);
    }
}
