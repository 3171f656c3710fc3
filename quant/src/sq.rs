//! [`Sq8`]: scalar quantization, one byte per dimension.
//!
//! A row x becomes codes c with x̂ = min + step·c, dimension by dimension. For distances the codes are
//! read from the middle of their range, u = c − 128, x̂ = mid + step·u with mid = min + 128·step:
//!
//! * L2: Σ (q − x̂)² = Σ r² − 2 Σ (r·step)·u + Σ step²·u², with r = q − mid;
//! * inner product: Σ q·x̂ = Σ q·mid + Σ (q·step)·u.
//!
//! The middle sum is all that depends on both sides. Its factors r·step (or q·step) become `i16` weights w
//! of one common size, and Σ w·u = Σ w·c − 128 Σ w is one code sum plus a constant of the query. The last
//! sum of L2 is one number per row, its *bias*.
//!
//! * **Q1** `min` is finite; `step` is finite and >= 0, and 0 exactly where the range is a point.
//! * **Q2** Weights are at most `CodeKernel::max_weight_at(dim)` in size, so the code sum cannot overflow.
//! * **Q3** u is at most 128 in size, half of what c is, so the rounding of a weight counts half and the
//!   constants that cancel in L2 are as small as they can be.

use orthant_kernels::{CodeKernel, IsaError, Metric};

use crate::frame::{self, CodecError};
use crate::multi::{Path, multiversion};
use crate::report::{Distortion, Report};

/// The steps that a dimension's range is cut into: one less than there are codes.
const STEPS: f64 = 255.0;

/// The code in the middle of the range, from which distances are computed (Q3).
const MIDDLE: i32 = 128;

/// Starts a file or section that holds a quantizer.
const MAGIC: [u8; 8] = *b"ORTHSQ8\0";

/// The version written, and the newest one read.
const VERSION: u32 = 1;

/// Why a quantizer could not be trained. A failed run leaves nothing behind.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum TrainError {
    /// There are no rows to learn from.
    #[error("there are no rows to train on")]
    NoRows,
    /// The rows have no dimensions.
    #[error("rows of dimension 0 have nothing to quantize")]
    NoDimensions,
    /// A training row holds a NaN or an infinity; it is the first such row.
    #[error("training row {row} holds a value that is not finite, at dimension {dimension}")]
    NotFinite {
        /// The row, counted from 0.
        row: usize,
        /// The dimension, counted from 0.
        dimension: usize,
    },
    /// There are fewer training rows than centroids to place (per subspace).
    #[error("{rows} training rows cannot place {centroids} centroids")]
    TooFewRows {
        /// Training rows.
        rows: usize,
        /// Centroids to place.
        centroids: usize,
    },
    /// The caller's flag said stop.
    #[error("training was cancelled")]
    Cancelled,
    /// What was asked for does not exist at this dimension: bits, subspaces or dimensions to keep.
    #[error("{what} cannot be {value} here")]
    Configuration {
        /// Which part of the configuration.
        what: &'static str,
        /// What it was.
        value: usize,
    },
    /// The environment forces an instruction set that is unknown or missing.
    #[error(transparent)]
    Isa(#[from] IsaError),
}

/// A trained scalar quantizer: `f32` rows to one byte per dimension and back.
///
/// # Numerics
/// A value inside the trained range of its dimension is decoded to within half a step. A step is 1/255 of
/// the range; where every trained value is an integer and the ranges fit a byte (0..255, say) it is the
/// next power of two instead, so that integers are coded without any loss and the rest at worst twice as
/// coarsely. Values outside the range are clamped to it. A dimension that was constant in training
/// decodes to that constant.
///
/// # Examples
/// ```
/// use orthant_quant::Sq8;
///
/// // Two rows of dimension 2. The second dimension is constant.
/// let quantizer = Sq8::train(&[-1.0, 5.5, 1.0, 5.5], 2, 2, 2)?;
/// let (mut code, mut decoded) = ([0; 2], [0.0; 2]);
/// quantizer.encode(&[0.3, 5.5], &mut code);
/// quantizer.decode(&code, &mut decoded);
/// assert!((decoded[0] - 0.3).abs() <= quantizer.steps()[0] / 2.0);
/// assert_eq!(decoded[1], 5.5);
/// # Ok::<(), orthant_quant::TrainError>(())
/// ```
#[derive(Debug, Clone, PartialEq)]
pub struct Sq8 {
    min: Vec<f32>,
    step: Vec<f32>,
    /// `1 / step`, and 0 where `step` is 0: the code is then 0 whatever the value.
    inverse: Vec<f32>,
    /// Every trained value was an integer, and every step is 0 or a power of two that is at most 1.
    is_integer: bool,
    path: Path,
}

impl Sq8 {
    /// Learns the range of every dimension from `count` rows.
    ///
    /// # Shapes
    /// `rows: [count × stride]` (elements, row-major; the last row needs no padding). The
    /// `stride - dim` elements after a row are never read.
    /// # Errors
    /// [`TrainError`]: no rows, no dimensions, or a value that is not finite.
    /// # Panics
    /// If `stride < dim` or if `rows` is too short.
    pub fn train(rows: &[f32], stride: usize, count: usize, dim: usize) -> Result<Self, TrainError> {
        if dim == 0 {
            return Err(TrainError::NoDimensions);
        }
        if count == 0 {
            return Err(TrainError::NoRows);
        }
        check_rows(rows.len(), stride, count, dim);
        let mut min = rows[..dim].to_vec();
        let mut max = min.clone();
        let mut is_integer = true;
        for (index, row) in rows.chunks(stride).take(count).enumerate() {
            let row = &row[..dim];
            if let Some(dimension) = row.iter().position(|value| !value.is_finite()) {
                return Err(TrainError::NotFinite { row: index, dimension });
            }
            for ((min, max), &value) in min.iter_mut().zip(&mut max).zip(row) {
                *min = min.min(value);
                *max = max.max(value);
            }
            is_integer = is_integer && row.iter().all(|value| value.fract() == 0.0);
        }
        // In f64: the range of two finite f32 may be twice f32::MAX.
        let range = |(&min, &max): (&f32, &f32)| f64::from(max) - f64::from(min);
        is_integer = is_integer && min.iter().zip(&max).all(|ends| range(ends) <= STEPS);
        let step = min.iter().zip(&max).map(|ends| match range(ends) / STEPS {
            // The next power of two is at most 1 and divides every integer.
            finest if is_integer && finest > 0.0 => finest.log2().ceil().exp2() as f32,
            finest => finest as f32,
        });
        let step = step.collect();
        Ok(Self::from_parts(min, step, is_integer))
    }

    fn from_parts(min: Vec<f32>, step: Vec<f32>, is_integer: bool) -> Self {
        let inverse = step
            .iter()
            .map(
                |&step| {
                    if step == 0.0 { 0.0 } else { (1.0 / f64::from(step)).min(f64::from(f32::MAX)) as f32 }
                },
            )
            .collect();
        Self { min, step, inverse, is_integer, path: Path::active() }
    }

    /// Elements per row, and bytes per code.
    pub fn dim(&self) -> usize {
        self.min.len()
    }

    /// Whether rows of integers like the trained ones come back unchanged.
    pub fn is_lossless(&self) -> bool {
        self.is_integer
    }

    /// The distance between neighboring codes of each dimension. 0 where training saw one value only.
    pub fn steps(&self) -> &[f32] {
        &self.step
    }

    /// Whether distances under `metric` can be computed on codes: L2 and the inner product.
    ///
    /// The cosine is the inner product of rows of norm 1.
    pub fn supports(metric: Metric) -> bool {
        matches!(metric, Metric::L2 | Metric::InnerProduct)
    }

    /// Codes a row and returns its bias, which distances under L2 need beside the code.
    ///
    /// # Shapes
    /// `row: [dim]`, `code: [dim]`.
    /// # Numerics
    /// Each value goes to the nearest code of its dimension, values outside the trained range to the
    /// nearest end. NaN goes to code 0. The bias is finite for every row.
    /// # Panics
    /// If either length is not the dimension.
    pub fn encode(&self, row: &[f32], code: &mut [u8]) -> f32 {
        assert_eq!(row.len(), self.dim(), "the row must have the quantizer's dimension");
        assert_eq!(code.len(), self.dim(), "the code takes one byte per dimension");
        for (((code, &value), &min), &inverse) in code.iter_mut().zip(row).zip(&self.min).zip(&self.inverse) {
            // The cast cuts towards zero and saturates at both ends; it takes NaN to 0.
            *code = ((value - min) * inverse + 0.5) as u8;
        }
        self.bias(code)
    }

    /// The bias of a code: Σ (step·(c − 128))², as [`encode`](Self::encode) returns it.
    ///
    /// # Panics
    /// If `code.len()` is not the dimension.
    pub fn bias(&self, code: &[u8]) -> f32 {
        assert_eq!(code.len(), self.dim(), "the code takes one byte per dimension");
        // Eight running sums: one alone would wait four cycles for each addition.
        let mut sums = [0.0f64; 8];
        for (codes, steps) in code.chunks(8).zip(self.step.chunks(8)) {
            for ((sum, &code), &step) in sums.iter_mut().zip(codes).zip(steps) {
                let offset = f64::from(step) * f64::from(i32::from(code) - MIDDLE);
                *sum += offset * offset;
            }
        }
        sums.iter().sum::<f64>().min(f64::from(f32::MAX)) as f32
    }

    /// The row that a code stands for.
    ///
    /// # Shapes
    /// `code: [dim]`, `out: [dim]`.
    /// # Panics
    /// If either length is not the dimension.
    pub fn decode(&self, code: &[u8], out: &mut [f32]) {
        assert_eq!(code.len(), self.dim(), "the code takes one byte per dimension");
        assert_eq!(out.len(), self.dim(), "the row must have the quantizer's dimension");
        for (((out, &code), &min), &step) in out.iter_mut().zip(code).zip(&self.min).zip(&self.step) {
            // In f64, since `step * 255` alone may pass f32::MAX although the sum does not.
            *out = (f64::from(min) + f64::from(step) * f64::from(code)) as f32;
        }
    }

    /// Prepares `query` for distances to codes under `metric`. Buffers in `prepared` are reused: after the
    /// first call at a dimension nothing is allocated.
    ///
    /// # Shapes
    /// `query: [dim]`.
    /// # Numerics
    /// Factors of the query are rounded to multiples of their largest size over
    /// [`CodeKernel::max_weight_at`]. A query that is not finite gives distances that are not finite.
    /// # Panics
    /// If `query.len()` is not the dimension, or unless [`supports`](Self::supports) says yes to `metric`.
    pub fn prepare(&self, metric: Metric, query: &[f32], prepared: &mut Sq8Query) {
        assert_eq!(query.len(), self.dim(), "the query must have the quantizer's dimension");
        // The sum of both sides is `constant + factor · Σ weightᵢ·uᵢ`; see the head of this file.
        let (factor, bias_factor) = match metric {
            Metric::L2 => (-2.0, 1.0),
            Metric::InnerProduct => (-1.0, 0.0),
            Metric::Cosine | Metric::L1 => panic!("there are no {metric} distances on scalar codes"),
        };
        let Sq8Query { factors, weights, .. } = prepared;
        factors.resize(self.dim(), 0.0);
        weights.resize(self.dim(), 0);
        let (constant, largest) =
            fill_factors(self.path, query, &self.min, &self.step, metric == Metric::L2, factors);
        let most = f64::from(CodeKernel::max_weight_at(self.dim()));
        let mut per_unit = if largest > 0.0 { most / largest } else { 0.0 };
        if self.is_integer && per_unit >= 1.0 {
            // A power of two keeps the factors of an integer query exact; it costs at most one bit.
            per_unit = per_unit.log2().floor().exp2();
        }
        // At most `most` in size by the choice of `per_unit` (Q2).
        let sum = fill_weights(self.path, factors, per_unit, weights);
        let unit = if per_unit > 0.0 { factor / per_unit } else { 0.0 };
        prepared.scale = unit as f32;
        prepared.offset = (constant - unit * f64::from(MIDDLE) * sum as f64) as f32;
        prepared.bias_factor = bias_factor;
    }

    /// What the codes of `count` rows cost and how far they are off.
    ///
    /// # Shapes
    /// `rows: [count × stride]`, as in [`train`](Self::train).
    /// # Panics
    /// If `stride < dim` or if `rows` is too short.
    pub fn report(&self, rows: &[f32], stride: usize, count: usize) -> Report {
        let dim = self.dim();
        check_rows(rows.len(), stride, count, dim);
        let (mut code, mut decoded) = (vec![0; dim], vec![0.0; dim]);
        let mut distortion = Distortion::new(dim);
        for row in rows.chunks(stride).take(count) {
            self.encode(&row[..dim], &mut code);
            self.decode(&code, &mut decoded);
            distortion.add(&row[..dim], &decoded);
        }
        distortion.report(dim + size_of::<f32>())
    }

    /// The quantizer as bytes: a header, the ranges, a checksum. Little endian on every machine.
    pub fn to_bytes(&self) -> Vec<u8> {
        let mut body = Vec::with_capacity(8 + 8 * self.dim());
        body.extend((self.dim() as u32).to_le_bytes());
        body.extend(u32::from(self.is_integer).to_le_bytes());
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
        let body = frame::unwrap(MAGIC, VERSION, bytes)?;
        let word = |at: usize| -> Option<[u8; 4]> { body.get(at..at + 4)?.try_into().ok() };
        let (Some(dim), Some(flag)) = (word(0).map(u32::from_le_bytes), word(4).map(u32::from_le_bytes))
        else {
            return Err(CodecError::Invalid);
        };
        let dim = dim as usize;
        if dim == 0 || flag > 1 || body.len() != 8 + 8 * dim {
            return Err(CodecError::Invalid);
        }
        let mut values =
            body[8..].chunks_exact(4).map(|four| f32::from_le_bytes([four[0], four[1], four[2], four[3]]));
        let min: Vec<f32> = values.by_ref().take(dim).collect();
        let step: Vec<f32> = values.collect();
        // Q1: the checksum says that the bytes are as written, not that we wrote them.
        let is_sound =
            min.iter().all(|min| min.is_finite()) && step.iter().all(|&step| step.is_finite() && step >= 0.0);
        if !is_sound {
            return Err(CodecError::Invalid);
        }
        Ok(Self::from_parts(min, step, flag == 1))
    }
}

/// A query prepared by [`Sq8::prepare`]. Reuse one per thread; `default()` is empty and fits any dimension.
#[derive(Debug, Clone, Default)]
pub struct Sq8Query {
    weights: Vec<i16>,
    /// The factors before rounding; kept only for their memory.
    factors: Vec<f64>,
    scale: f32,
    offset: f32,
    bias_factor: f32,
}

impl Sq8Query {
    /// The weights to hand to a [`CodeKernel`], one per dimension.
    #[inline]
    pub fn weights(&self) -> &[i16] {
        &self.weights
    }

    /// What one unit of the code sum is worth.
    #[inline]
    pub fn scale(&self) -> f32 {
        self.scale
    }

    /// The part of the distance that is the same for every code.
    #[inline]
    pub fn offset(&self) -> f32 {
        self.offset
    }

    /// What a row's bias counts: 1 for L2, 0 for the inner product.
    #[inline]
    pub fn bias_factor(&self) -> f32 {
        self.bias_factor
    }

    /// The distance to a row, from its code sum and its bias: `offset + scale · sum + bias_factor · bias`.
    ///
    /// Squared for L2 and negated for the inner product, so smaller is nearer. Under L2 a distance near 0
    /// may come out a little below it, by the rounding of the query.
    #[inline]
    pub fn distance(&self, sum: i32, bias: f32) -> f32 {
        self.offset + self.scale * sum as f32 + self.bias_factor * bias
    }
}

/// An error that names the first value that is not finite.
pub(crate) fn check_finite(rows: &[f32], stride: usize, count: usize, dim: usize) -> Result<(), TrainError> {
    for (index, row) in rows.chunks(stride).take(count).enumerate() {
        if let Some(dimension) = row[..dim].iter().position(|value| !value.is_finite()) {
            return Err(TrainError::NotFinite { row: index, dimension });
        }
    }
    Ok(())
}

/// Panics unless `count` rows of `dim` elements lie in `len` elements.
pub(crate) fn check_rows(len: usize, stride: usize, count: usize, dim: usize) {
    assert!(stride >= dim, "a stride of {stride} elements is shorter than the dimension {dim}");
    let needed = if count == 0 { 0 } else { (count - 1) * stride + dim };
    assert!(len >= needed, "{count} rows do not fit {len} elements");
}

multiversion! {
    /// What each code of a row counts beside a query, in `factors`; what the query alone adds up to, and the largest size
    /// of a factor.
    fn fill_factors(
        query: &[f32],
        min: &[f32],
        step: &[f32],
        is_l2: bool,
        factors: &mut [f64],
    ) -> (f64, f64) {
        let (mut constant, mut largest) = ([0.0f64; 8], [0.0f64; 8]);
        let mut of = |lane: usize, value: f32, min: f32, step: f32| {
            let (value, step) = (f64::from(value), f64::from(step));
            let middle = f64::from(min) + step * f64::from(MIDDLE);
            let offset = value - middle;
            constant[lane] += if is_l2 { offset * offset } else { -value * middle };
            let factor = if is_l2 { offset * step } else { value * step };
            let size = factor.abs();
            largest[lane] = if size > largest[lane] { size } else { largest[lane] };
            factor
        };
        let (queries, query_rest) = query.as_chunks::<8>();
        let (mins, min_rest) = min.as_chunks::<8>();
        let (steps, step_rest) = step.as_chunks::<8>();
        let (out, out_rest) = factors.as_chunks_mut::<8>();
        for (((query, min), step), out) in queries.iter().zip(mins).zip(steps).zip(out) {
            for lane in 0..8 {
                out[lane] = of(lane, query[lane], min[lane], step[lane]);
            }
        }
        let rest = query_rest.iter().zip(min_rest).zip(step_rest).zip(out_rest);
        for (lane, (((&query, &min), &step), out)) in rest.enumerate() {
            *out = of(lane, query, min, step);
        }
        (constant.iter().sum(), largest.iter().fold(0.0, |a, &b| if b > a { b } else { a }))
    }
}

/// Added to a number below 2⁵¹ in size it leaves the number, rounded to the nearest integer, in the low bits (1.5 · 2⁵²).
const ROUND: f64 = 6_755_399_441_055_744.0;

multiversion! {
    /// Factors in units, rounded, and their sum. Factors that are not finite give any weights.
    fn fill_weights(factors: &[f64], per_unit: f64, weights: &mut [i16]) -> i64 {
        let mut sums = [0i64; 8];
        let (chunks, rest) = factors.as_chunks::<8>();
        let (out, out_rest) = weights.as_chunks_mut::<8>();
        for (factors, out) in chunks.iter().zip(out) {
            for lane in 0..8 {
                // The low bits of the sum are those of the integer, negative ones included.
                let weight = (factors[lane] * per_unit + ROUND).to_bits() as i16;
                sums[lane] += i64::from(weight);
                out[lane] = weight;
            }
        }
        for (&factor, out) in rest.iter().zip(out_rest) {
            *out = (factor * per_unit + ROUND).to_bits() as i16;
            sums[0] += i64::from(*out);
        }
        sums.iter().sum()
    }
}

#[cfg(test)]
mod tests;
