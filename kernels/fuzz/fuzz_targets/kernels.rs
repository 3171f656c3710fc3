//! Any bytes as a batch: no path may crash, read outside, or leave the bound that the documentation promises.
//!
//! `cargo +nightly fuzz run kernels` in `kernels/`.
#![no_main]

use arbitrary::Arbitrary;
use libfuzzer_sys::fuzz_target;
use orthant_kernels::{BitKernel, BitMetric, CodeKernel, Kernel, Metric, TileKernel, available_isas, reference};

#[derive(Debug, Arbitrary)]
struct Batch {
    metric: u8,
    padding: u8,
    query: Vec<f32>,
    base: Vec<f32>,
    ids: Vec<u8>,
}

fuzz_target!(|batch: Batch| {
    let metric = Metric::ALL[usize::from(batch.metric) % Metric::ALL.len()];
    let dim = batch.query.len();
    let stride = dim + usize::from(batch.padding % 9);
    // Exactly as long as it has to be: a read past the end leaves the allocation.
    let rows = if dim == 0 || batch.base.len() < dim { 0 } else { (batch.base.len() - dim) / stride + 1 };
    let base = &batch.base[..if rows == 0 { 0 } else { (rows - 1) * stride + dim }];
    let row = |at: usize| &base[at * stride..][..dim];
    for isa in available_isas() {
        let kernel = Kernel::with_isa(metric, dim, isa).expect("available");
        let mut out = vec![0.0; rows];
        kernel.rows(&batch.query, base, stride, &mut out);
        for (at, &found) in out.iter().enumerate() {
            check(metric, &batch.query, row(at), found);
        }
        let ids: Vec<u32> =
            batch.ids.iter().filter(|_| rows > 0).map(|&id| u32::from(id) % rows as u32).collect();
        let mut out = vec![0.0; ids.len()];
        kernel.gather(&batch.query, base, stride, &ids, &mut out);
        for (&id, &found) in ids.iter().zip(&out) {
            check(metric, &batch.query, row(id as usize), found);
        }
        let mut out = vec![0.0; 3 * rows];
        let queries: Vec<f32> = batch.query.iter().cycle().take(3 * dim).copied().collect();
        kernel.matrix(&queries, dim, 3, base, stride, &mut out);
        for (at, &found) in out.iter().enumerate() {
            check(metric, &batch.query, row(at % rows), found);
        }
        codes(&batch, isa);
        bytes(&batch.ids, metric, isa);
    }
});

/// The two halves of `bytes` under everything that takes bytes.
fn bytes(bytes: &[u8], metric: Metric, isa: orthant_kernels::Isa) {
    let dim = bytes.len() / 2;
    let (a, b) = (bytes[..dim].to_vec(), bytes[dim..2 * dim].to_vec());
    let wide = |bytes: &[u8]| -> Vec<f32> { bytes.iter().map(|&byte| f32::from(byte)).collect() };
    let kernel = Kernel::<u8>::between_with_isa(metric, dim, isa).expect("available");
    check(metric, &wide(&a), &wide(&b), kernel.pair(&a, &b));
    let signed = |bytes: &[u8]| -> Vec<i8> { bytes.iter().map(|&byte| byte as i8).collect() };
    let wide = |bytes: &[i8]| -> Vec<f32> { bytes.iter().map(|&byte| f32::from(byte)).collect() };
    let (c, d) = (signed(&a), signed(&b));
    let kernel = Kernel::<i8>::between_with_isa(metric, dim, isa).expect("available");
    check(metric, &wide(&c), &wide(&d), kernel.pair(&c, &d));
    let kernel = BitKernel::with_isa(BitMetric::Hamming, dim, isa).expect("available");
    assert_eq!(f64::from(kernel.pair(&a, &b)), reference::hamming(&a, &b) as f64);
    let kernel = BitKernel::with_isa(BitMetric::Jaccard, dim, isa).expect("available");
    assert!((f64::from(kernel.pair(&a, &b)) - reference::jaccard(&a, &b)).abs() <= f64::from(f32::EPSILON));
    let kernel = TileKernel::with_isa(dim, isa).expect("available");
    let mut packed = vec![0; kernel.packed_bytes(1)];
    kernel.pack(&b, dim, 1, &mut packed);
    let mut product = [0];
    kernel.dots(&a, dim, 1, &packed, 1, &mut product, 1);
    let exact: i32 = a.iter().zip(&b).map(|(&a, &b)| i32::from(a) * i32::from(b)).sum();
    assert_eq!(product, [exact]);
}

/// Finite vectors whose terms stay in range have a distance within the bound; others may have any.
fn check(metric: Metric, a: &[f32], b: &[f32], found: f32) {
    let is_plain = a.iter().chain(b).all(|x| *x == 0.0 || (1e-12..1e12).contains(&x.abs()));
    if !is_plain {
        return;
    }
    let epsilon = (a.len() + 4) as f64 * f64::from(f32::EPSILON);
    let expected = reference::distance(metric, a, b);
    let bound = match metric {
        // Squares of differences far below the elements may be denormal.
        Metric::L2 | Metric::L1 => epsilon * expected + 1e-36,
        Metric::InnerProduct => {
            epsilon * a.iter().zip(b).map(|(&x, &y)| (f64::from(x) * f64::from(y)).abs()).sum::<f64>()
        }
        Metric::Cosine => epsilon,
    };
    assert!((f64::from(found) - expected).abs() <= bound, "{metric}: {found} is not {expected}");
}

/// Code sums are exact on every path.
fn codes(batch: &Batch, isa: orthant_kernels::Isa) {
    let kernel = CodeKernel::with_isa(batch.ids.len(), isa).expect("available");
    let most = i32::from(kernel.max_weight());
    let weight = |at: usize| (at as i32 * 7919 % (2 * most + 1) - most) as i16;
    let weights: Vec<i16> = (0..batch.ids.len()).map(weight).collect();
    let found = kernel.pair(&weights, &batch.ids);
    assert_eq!(i64::from(found), reference::code_dot(&weights, &batch.ids));
}
