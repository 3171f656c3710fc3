//! [`Weights`]: factors of a query as `i16`, for sums over codes of bytes.

use orthant_kernels::CodeKernel;

use crate::multi::Path;
use crate::pack;

/// Dimensions up to which codes are unpacked on the stack; larger ones take a buffer per batch.
const STACK: usize = 2048;

/// Factors rounded to multiples of one unit, such that no sum overflows.
#[derive(Debug, Clone, Default)]
pub(crate) struct Weights {
    weights: Vec<i16>,
    /// What one unit is worth.
    scale: f64,
    /// Sum of all weights.
    sum: i64,
}

impl Weights {
    /// Rounds factors. One that is not finite makes the scale NaN.
    pub(crate) fn set(&mut self, factors: impl ExactSizeIterator<Item = f64> + Clone) {
        let most = f64::from(CodeKernel::max_weight_at(factors.len()));
        let (mut largest, mut poison) = (0.0f64, 0.0);
        for factor in factors.clone() {
            largest = largest.max(factor.abs());
            poison += factor * 0.0;
        }
        let per_unit = if largest > 0.0 { most / largest } else { 0.0 };
        self.weights.clear();
        self.weights.extend(factors.map(|factor| (factor * per_unit).round() as i16));
        self.sum = self.weights.iter().map(|&weight| i64::from(weight)).sum();
        self.scale = if per_unit > 0.0 { 1.0 / per_unit } else { 0.0 } + poison;
    }

    /// Σ factor · (code − middle), of a code sum.
    #[inline]
    pub(crate) fn value(&self, sum: i32, middle: f64) -> f64 {
        self.scale * (f64::from(sum) - middle * self.sum as f64)
    }

    /// `each(row, Σ weight · code)` for the codes at the start of each of `count` records of `stride` bytes.
    pub(crate) fn sums(
        &self,
        kernel: &CodeKernel,
        path: Path,
        bits: usize,
        records: &[u8],
        stride: usize,
        mut each: impl FnMut(usize, i32),
    ) {
        let dim = kernel.dim();
        assert_eq!(self.weights.len(), dim, "a query prepared for this quantizer");
        if bits == 8 {
            for (row, record) in records.chunks_exact(stride).enumerate() {
                each(row, kernel.pair(&self.weights, &record[..dim]));
            }
            return;
        }
        let (mut small, mut large) = ([0u8; STACK], Vec::new());
        let codes = if dim <= STACK {
            &mut small[..dim]
        } else {
            large.resize(dim, 0);
            &mut large[..]
        };
        for (row, record) in records.chunks_exact(stride).enumerate() {
            pack::unpack(path, record, bits, codes);
            each(row, kernel.pair(&self.weights, codes));
        }
    }
}

/// The `f32` at a place of a record.
#[inline]
pub(crate) fn number_at(record: &[u8], at: usize) -> f32 {
    let four = record[at..].first_chunk::<4>();
    f32::from_le_bytes(*four.expect("records have room for their numbers"))
}

/// Writes the `f32` at a place of a record.
#[inline]
pub(crate) fn put_number(record: &mut [u8], at: usize, value: f32) {
    record[at..at + 4].copy_from_slice(&value.to_le_bytes());
}
