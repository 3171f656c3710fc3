//! [`Scalar`]: scalar quantization at 4, 8 or 16 bits, with one range for all dimensions or one for each.
//!
//! [`Sq8`](crate::Sq8) is the variant that graph searches use, with codes and biases apart and lossless integers; this one
//! has every width, clips outliers, and compares codes with codes.
//!
//! * **C1** A record is the packed codes, then at 4 and 8 bits the `f32` Σ (step · (c − middle))², from which L2 follows as
//!   in [`Sq8`](crate::Sq8).
//! * **C2** `min` is finite, `step` finite and >= 0; one of each if uniform, else one per dimension.

use orthant_kernels::{CodeKernel, IsaError, Kernel, Metric, active_isa};

use crate::frame::{self, CodecError, Fields};
use crate::multi::{Path, multiversion};
use crate::pack;
use crate::quantizer::{Quantizer, check_code};
use crate::sq::{TrainError, check_finite, check_rows};
use crate::weights::{Weights, number_at, put_number};

const MAGIC: [u8; 8] = *b"ORTHSCL\0";
const VERSION: u32 = 1;
const MAX_DIM: usize = 1 << 20;

/// Rows from which the ends of a clipped range are read, at most. A choice: at a share of 0.001 the end is the 20th value.
const SAMPLE: usize = 20_000;

/// How ranges are learned.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct ScalarConfig {
    /// Bits per dimension: 4, 8 or 16.
    pub bits: usize,
    /// One range for all dimensions: two numbers in place of two per dimension, and codes that can be compared with
    /// codes. Coarser where dimensions differ.
    pub is_uniform: bool,
    /// Share of the values cut off at each end of a range, from 0 to below 0.5. Values beyond are clamped.
    pub clip: f32,
}

impl ScalarConfig {
    /// One range per dimension; nothing is cut off at 8 and 16 bits, and at 4 bits 0.5 % at each end, a choice near the
    /// best for normally distributed values (which wants 15 steps over ±2.6 deviations).
    pub fn new(bits: usize) -> Self {
        Self { bits, is_uniform: false, clip: if bits == 4 { 0.005 } else { 0.0 } }
    }
}

/// A trained scalar quantizer.
///
/// # Numerics
/// A value inside its range comes back within half a step, which is the range over 2^bits − 1. Queries keep 15 bits at 4
/// and 8 bits, and are exact at 16.
#[derive(Debug, Clone)]
pub struct Scalar {
    dim: usize,
    bits: usize,
    min: Vec<f32>,
    step: Vec<f32>,
    path: Path,
    kernel: CodeKernel,
    symmetric: Kernel<u8>,
    product: Kernel<u8>,
}

impl PartialEq for Scalar {
    fn eq(&self, other: &Self) -> bool {
        (self.dim, self.bits, &self.min, &self.step) == (other.dim, other.bits, &other.min, &other.step)
    }
}

impl Scalar {
    /// Learns ranges from `count` rows.
    ///
    /// # Shapes
    /// `rows: [count × stride]` (elements, row-major; the last row needs no padding).
    /// # Errors
    /// [`TrainError`]: no rows, no dimensions, a value that is not finite, bits other than 4, 8, 16.
    /// # Panics
    /// If `stride < dim`, if `rows` is too short, or unless `0 <= clip < 0.5`.
    pub fn train(
        rows: &[f32],
        stride: usize,
        count: usize,
        dim: usize,
        config: &ScalarConfig,
    ) -> Result<Self, TrainError> {
        let ScalarConfig { bits, is_uniform, clip } = *config;
        assert!((0.0..0.5).contains(&clip), "a share of {clip} leaves no range");
        if dim == 0 {
            return Err(TrainError::NoDimensions);
        }
        if count == 0 {
            return Err(TrainError::NoRows);
        }
        if !matches!(bits, 4 | 8 | 16) {
            return Err(TrainError::Configuration { what: "bits", value: bits });
        }
        check_rows(rows.len(), stride, count, dim);
        check_finite(rows, stride, count, dim)?;
        let every = if clip > 0.0 { count.div_ceil(SAMPLE) } else { 1 };
        let column =
            |at: usize| rows[at..].iter().step_by(stride * every).take(count.div_ceil(every)).copied();
        let range = |values: &mut Vec<f32>| {
            let cut = (f64::from(clip) * values.len() as f64) as usize;
            let last = values.len() - 1 - cut;
            // Only two places of the sorted values are asked for.
            let low = *values.select_nth_unstable_by(cut, f32::total_cmp).1;
            (low, *values.select_nth_unstable_by(last, f32::total_cmp).1)
        };
        let steps = f64::from((1u32 << bits) - 1);
        let grid = |(low, high): (f32, f32)| (low, ((f64::from(high) - f64::from(low)) / steps) as f32);
        let (min, step) = if is_uniform {
            let grid = grid(range(&mut (0..dim).flat_map(column).collect()));
            (vec![grid.0], vec![grid.1])
        } else {
            (0..dim).map(|at| grid(range(&mut column(at).collect()))).unzip()
        };
        Ok(Self::from_parts(dim, bits, min, step)?)
    }

    fn from_parts(dim: usize, bits: usize, min: Vec<f32>, step: Vec<f32>) -> Result<Self, IsaError> {
        let isa = active_isa()?;
        Ok(Self {
            dim,
            bits,
            min,
            step,
            path: Path::new(isa)?,
            kernel: CodeKernel::with_isa(dim, isa)?,
            symmetric: Kernel::between_with_isa(Metric::L2, dim, isa)?,
            product: Kernel::between_with_isa(Metric::InnerProduct, dim, isa)?,
        })
    }

    /// Bits per dimension.
    pub fn bits(&self) -> usize {
        self.bits
    }

    /// Whether all dimensions share one range.
    pub fn is_uniform(&self) -> bool {
        self.min.len() < self.dim || self.dim == 1
    }

    /// `(min, step)` of each dimension.
    fn grid(&self) -> impl ExactSizeIterator<Item = (f32, f32)> + Clone + '_ {
        let last = self.min.len() - 1;
        (0..self.dim).map(move |at| (self.min[at.min(last)], self.step[at.min(last)]))
    }

    fn middle(&self) -> f64 {
        f64::from(1u32 << (self.bits - 1))
    }

    /// The distance between two codes, without a query: exact integer sums (VNNI where the CPU has it) and one rounding.
    ///
    /// # Panics
    /// If a code has another length, unless the quantizer is uniform and has 8 bits, or unless `metric` is supported.
    pub fn between(&self, metric: Metric, a: &[u8], b: &[u8]) -> f32 {
        assert!(self.is_uniform() && self.bits == 8, "codes of one range and 8 bits are compared");
        let (a, b) = (&a[..self.dim], &b[..self.dim]);
        let (min, step) = (f64::from(self.min[0]), f64::from(self.step[0]));
        match metric {
            Metric::L2 => (step * step * f64::from(self.symmetric.pair(a, b))) as f32,
            Metric::InnerProduct => {
                let sum = |codes: &[u8]| codes.iter().map(|&code| u64::from(code)).sum::<u64>() as f64;
                // The kernel's inner product is negated already.
                let product = step * step * f64::from(self.product.pair(a, b));
                (product - min * step * (sum(a) + sum(b)) - self.dim as f64 * min * min) as f32
            }
            Metric::Cosine | Metric::L1 => panic!("there are no {metric} distances on scalar codes"),
        }
    }

    /// The quantizer as bytes: a header, the ranges, a checksum. Little endian on every machine.
    pub fn to_bytes(&self) -> Vec<u8> {
        let mut body = Vec::new();
        for word in [self.dim, self.bits, self.min.len()] {
            body.extend((word as u32).to_le_bytes());
        }
        for value in self.min.iter().chain(&self.step) {
            body.extend(value.to_le_bytes());
        }
        frame::wrap(MAGIC, VERSION, &body)
    }

    /// Reads what [`to_bytes`](Self::to_bytes) wrote.
    ///
    /// # Errors
    /// [`CodecError`] if the bytes are not a whole, unchanged quantizer of a known version.
    pub fn from_bytes(bytes: &[u8]) -> Result<Self, CodecError> {
        let mut fields = Fields::new(frame::unwrap(MAGIC, VERSION, bytes)?);
        let (dim, bits, ranges) = (fields.size()?, fields.size()?, fields.size()?);
        let is_sound = (1..=MAX_DIM).contains(&dim) && matches!(bits, 4 | 8 | 16);
        if !is_sound || (ranges != 1 && ranges != dim) {
            return Err(CodecError::Invalid);
        }
        let (min, step) = (fields.finite(ranges)?, fields.finite(ranges)?);
        fields.end()?;
        if step.iter().any(|&step| step < 0.0) {
            return Err(CodecError::Invalid);
        }
        Ok(Self::from_parts(dim, bits, min, step)?)
    }
}

/// A query prepared by [`Scalar`].
#[derive(Debug, Clone, Default)]
pub struct ScalarQuery {
    weights: Weights,
    /// At 16 bits: what a row's values are taken off, or multiplied with.
    values: Vec<f32>,
    /// Steps of the dimensions, for 16 bits.
    steps: Vec<f32>,
    constant: f64,
    is_l2: bool,
}

impl Quantizer for Scalar {
    type Query = ScalarQuery;

    fn dim(&self) -> usize {
        self.dim
    }

    fn code_bytes(&self) -> usize {
        pack::packed_bytes(self.dim, self.bits) + if self.bits == 16 { 0 } else { 4 }
    }

    fn supports(&self, metric: Metric) -> bool {
        matches!(metric, Metric::L2 | Metric::InnerProduct)
    }

    fn encode(&self, row: &[f32], code: &mut [u8]) {
        check_code(code.len(), self.code_bytes(), row.len(), self.dim);
        let top = f64::from((1u32 << self.bits) - 1);
        let level = |(&value, (min, step)): (&f32, (f32, f32))| {
            let inverse = if step > 0.0 { 1.0 / f64::from(step) } else { 0.0 };
            // The cast takes NaN to 0.
            ((f64::from(value) - f64::from(min)) * inverse + 0.5).clamp(0.0, top) as u16
        };
        let levels = row.iter().zip(self.grid()).map(level);
        if self.bits == 16 {
            for (two, level) in code.as_chunks_mut::<2>().0.iter_mut().zip(levels) {
                *two = level.to_le_bytes();
            }
            return;
        }
        let codes: Vec<u8> = levels.map(|level| level as u8).collect();
        let middle = self.middle();
        let bias: f64 = codes
            .iter()
            .zip(self.grid())
            .map(|(&code, (_, step))| (f64::from(step) * (f64::from(code) - middle)).powi(2))
            .sum();
        pack::pack(&codes, self.bits, code);
        put_number(code, pack::packed_bytes(self.dim, self.bits), bias.min(f64::from(f32::MAX)) as f32);
    }

    fn decode(&self, code: &[u8], out: &mut [f32]) {
        check_code(code.len(), self.code_bytes(), out.len(), self.dim);
        let value = |level: u16, (min, step)| (f64::from(min) + f64::from(step) * f64::from(level)) as f32;
        if self.bits == 16 {
            for ((out, two), grid) in out.iter_mut().zip(code.as_chunks::<2>().0).zip(self.grid()) {
                *out = value(u16::from_le_bytes(*two), grid);
            }
            return;
        }
        let mut codes = vec![0; self.dim];
        if self.bits == 8 {
            codes.copy_from_slice(&code[..self.dim]);
        } else {
            pack::unpack(self.path, code, self.bits, &mut codes);
        }
        for ((out, code), grid) in out.iter_mut().zip(codes).zip(self.grid()) {
            *out = value(u16::from(code), grid);
        }
    }

    fn prepare(&self, metric: Metric, query: &[f32], prepared: &mut ScalarQuery) {
        assert_eq!(query.len(), self.dim, "the query must have the quantizer's dimension");
        assert!(self.supports(metric), "there are no {metric} distances on scalar codes");
        let is_l2 = metric == Metric::L2;
        prepared.is_l2 = is_l2;
        let pairs = query.iter().map(|&value| f64::from(value)).zip(self.grid());
        if self.bits == 16 {
            prepared.values.clear();
            prepared.steps.clear();
            prepared.constant = 0.0;
            for (value, (min, step)) in pairs {
                let min = f64::from(min);
                prepared.values.push(if is_l2 { value - min } else { -value * f64::from(step) } as f32);
                prepared.steps.push(step);
                prepared.constant -= if is_l2 { 0.0 } else { value * min };
            }
            return;
        }
        // As in `sq`: Σ (q − x̂)² = Σ r² − 2 Σ r·step·u + Σ step²·u², r = q − mid; Σ q·x̂ = Σ q·mid + Σ q·step·u.
        let middle = self.middle();
        let parts = pairs.map(move |(value, (min, step))| {
            let step = f64::from(step);
            let mid = f64::from(min) + step * middle;
            if is_l2 {
                ((value - mid).powi(2), -2.0 * (value - mid) * step)
            } else {
                (-value * mid, -value * step)
            }
        });
        prepared.constant = parts.clone().map(|(constant, _)| constant).sum();
        prepared.weights.set(parts.map(|(_, factor)| factor));
    }

    fn distances(&self, query: &ScalarQuery, codes: &[u8], out: &mut [f32]) {
        let bytes = self.code_bytes();
        assert_eq!(codes.len(), out.len() * bytes, "a code takes {bytes} bytes");
        if self.bits == 16 {
            assert_eq!(query.values.len(), self.dim, "a query prepared for this quantizer");
            for (out, code) in out.iter_mut().zip(codes.chunks_exact(bytes)) {
                let sum = sum_16(self.path, &query.values, &query.steps, code, query.is_l2);
                *out = (query.constant + f64::from(sum)) as f32;
            }
            return;
        }
        let (middle, at) = (self.middle(), pack::packed_bytes(self.dim, self.bits));
        query.weights.sums(&self.kernel, self.path, self.bits, codes, bytes, |row, sum| {
            let bias = if query.is_l2 { f64::from(number_at(&codes[row * bytes..], at)) } else { 0.0 };
            out[row] = (query.constant + query.weights.value(sum, middle) + bias) as f32;
        });
    }
}

multiversion! {
    /// Σ (value − step · code)², or Σ value · code.
    fn sum_16(values: &[f32], steps: &[f32], code: &[u8], is_l2: bool) -> f32 {
        let mut sums = [0.0f32; 16];
        let (value_chunks, values) = values.as_chunks::<16>();
        let (step_chunks, steps) = steps.as_chunks::<16>();
        let (code_chunks, codes) = code.as_chunks::<32>();
        for ((values, steps), codes) in value_chunks.iter().zip(step_chunks).zip(code_chunks) {
            for lane in 0..16 {
                let level = f32::from(u16::from_le_bytes([codes[2 * lane], codes[2 * lane + 1]]));
                let off = values[lane] - steps[lane] * level;
                sums[lane] += if is_l2 { off * off } else { values[lane] * level };
            }
        }
        for ((&value, &step), two) in values.iter().zip(steps).zip(codes.as_chunks::<2>().0) {
            let level = f32::from(u16::from_le_bytes(*two));
            let off = value - step * level;
            sums[0] += if is_l2 { off * off } else { value * level };
        }
        sums.iter().sum()
    }
}

#[cfg(test)]
mod tests {
    use orthant_kernels::reference;

    use super::*;
    use crate::random::Random;

    fn rows(count: usize, dim: usize) -> Vec<f32> {
        let mut random = Random::new(dim as u64);
        (0..count * dim).map(|at| (random.unit() as f32 - 0.3) * (1 + at % dim % 3) as f32).collect()
    }

    #[test]
    fn distances_are_those_to_the_decoded_row() {
        for dim in [1, 7, 32, 100] {
            let rows = rows(50, dim);
            for bits in [4, 8, 16] {
                for is_uniform in [false, true] {
                    let config = ScalarConfig { is_uniform, ..ScalarConfig::new(bits) };
                    let quantizer = Scalar::train(&rows, dim, 50, dim, &config).unwrap();
                    assert_eq!(Scalar::from_bytes(&quantizer.to_bytes()), Ok(quantizer.clone()));
                    let codes = quantizer.encode_rows(&rows, dim, 50);
                    let (mut query, mut decoded, mut out) =
                        (ScalarQuery::default(), vec![0.0; dim], [0.0; 50]);
                    for metric in [Metric::L2, Metric::InnerProduct] {
                        quantizer.prepare(metric, &rows[..dim], &mut query);
                        quantizer.distances(&query, &codes, &mut out);
                        for (&found, code) in out.iter().zip(codes.chunks(quantizer.code_bytes())) {
                            quantizer.decode(code, &mut decoded);
                            let expected = reference::distance(metric, &rows[..dim], &decoded);
                            let bound = 2e-4 * (1.0 + expected.abs() + dim as f64);
                            assert!(
                                (f64::from(found) - expected).abs() < bound,
                                "{bits} {metric}: {found} {expected}"
                            );
                        }
                    }
                }
            }
        }
    }

    #[test]
    fn more_bits_lose_less_and_clipping_guards_against_outliers() {
        let mut rows = rows(1000, 16);
        let error = |rows: &[f32], config: ScalarConfig| {
            Scalar::train(rows, 16, 1000, 16, &config).unwrap().report(&rows[16..], 16, 999).relative_error()
        };
        let by_bits = [4, 8, 16].map(|bits| error(&rows, ScalarConfig::new(bits)));
        assert!(
            by_bits[0] < 0.02 && by_bits[1] < by_bits[0] / 100.0 && by_bits[2] < by_bits[1] / 1000.0,
            "{by_bits:?}"
        );
        rows[3] = 1e4;
        let config = ScalarConfig { clip: 0.0, ..ScalarConfig::new(8) };
        let clipped = ScalarConfig { clip: 0.002, ..config };
        assert!(error(&rows, clipped) < 0.02 * error(&rows, config));
    }

    #[test]
    fn codes_are_compared_with_codes() {
        let rows = rows(20, 33);
        let config = ScalarConfig { is_uniform: true, ..ScalarConfig::new(8) };
        let quantizer = Scalar::train(&rows, 33, 20, 33, &config).unwrap();
        let codes = quantizer.encode_rows(&rows, 33, 20);
        let decoded = |at: usize| {
            let mut out = vec![0.0; 33];
            quantizer.decode(&codes[at * 37..][..37], &mut out);
            out
        };
        for metric in [Metric::L2, Metric::InnerProduct] {
            for (a, b) in [(0, 1), (5, 5), (19, 3)] {
                let found =
                    f64::from(quantizer.between(metric, &codes[a * 37..][..37], &codes[b * 37..][..37]));
                let expected = reference::distance(metric, &decoded(a), &decoded(b));
                assert!(
                    (found - expected).abs() < 1e-4 * (1.0 + expected.abs()),
                    "{metric}: {found} {expected}"
                );
            }
        }
    }

    #[test]
    fn every_changed_byte_is_found() {
        let bytes = Scalar::train(&rows(9, 3), 3, 9, 3, &ScalarConfig::new(4)).unwrap().to_bytes();
        for at in 0..bytes.len() {
            let mut changed = bytes.clone();
            changed[at] ^= 0x10;
            assert!(Scalar::from_bytes(&changed).is_err() && Scalar::from_bytes(&bytes[..at]).is_err());
        }
    }
}
