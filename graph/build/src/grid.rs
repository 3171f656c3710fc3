//! [`Grid`] and [`Codes`]: rows as bytes on one grid, so that distances are integer sums.
//!
//! A row x becomes codes c with x ≈ low + step·c: a corner per dimension, one step for all of them. Differences of
//! codes are then differences of rows, Σ (x − y)² ≈ step²·Σ (c − e)², and the order of distances needs no floating
//! point. (Steps of its own per dimension, as `orthant_quant::Sq8` has, are finer but weigh the dimensions
//! differently.)
//!
//! * **D1** Rows that are integers within a range of 255 per dimension are coded without loss.
//! * **D2** The grid depends on the rows, not on who counted them: sums are made per chunk and added in order.
//!
//! Cost: two passes over the rows.

use orthant_quant::Executor;

use crate::parallel::{for_each_chunk_mut, map_chunks};

/// Rows per task when rows are counted and coded: enough to make taking a task free.
const CHUNK: usize = 1024;

/// Standard deviations on either side of the mean beyond which values are cut off: a few wild values must not
/// coarsen the grid for all others.
const KEPT_DEVIATIONS: f64 = 6.0;

/// Where the rows of a set lie: `[count × stride]` elements, of which the first `dim` of each row count.
#[derive(Debug, Clone, Copy)]
pub struct Rows<'a> {
    /// The elements; the last row needs no padding.
    pub values: &'a [f32],
    /// Elements from row to row.
    pub stride: usize,
    /// Rows.
    pub count: usize,
    /// Elements of a row.
    pub dim: usize,
}

impl<'a> Rows<'a> {
    /// Row `at`.
    pub fn row(&self, at: usize) -> &'a [f32] {
        &self.values[at * self.stride..][..self.dim]
    }
}

/// One grid for all dimensions.
#[derive(Debug, Clone, PartialEq)]
pub struct Grid {
    low: Vec<f32>,
    step: f32,
    is_lossless: bool,
}

/// What is counted of some rows, dimension by dimension.
struct Counted {
    min: Vec<f32>,
    max: Vec<f32>,
    sum: Vec<f64>,
    squares: Vec<f64>,
    is_integer: bool,
}

impl Grid {
    /// The grid for `rows`.
    ///
    /// # Numerics
    /// Values farther than 6 standard deviations from the mean of their dimension may be cut off. Values must be
    /// finite: one that is not counts as an end of the range.
    pub fn fit(rows: Rows<'_>, executor: &dyn Executor) -> Self {
        let counted = map_chunks(executor, rows.count, CHUNK, |range| {
            let mut counted = Counted {
                min: vec![f32::INFINITY; rows.dim],
                max: vec![f32::NEG_INFINITY; rows.dim],
                sum: vec![0.0; rows.dim],
                squares: vec![0.0; rows.dim],
                is_integer: true,
            };
            for at in range {
                counted.add(rows.row(at));
            }
            counted
        });
        let Some(all) = counted.into_iter().reduce(Counted::and) else {
            return Self { low: vec![0.0; rows.dim], step: 1.0, is_lossless: true };
        };
        let widest = all.min.iter().zip(&all.max).map(|(&low, &high)| f64::from(high) - f64::from(low));
        let widest = widest.fold(0.0, f64::max);
        if all.is_integer && widest <= 255.0 {
            return Self { low: all.min, step: 1.0, is_lossless: true };
        }
        let count = rows.count as f64;
        let mut range: f64 = 0.0;
        let mut low = all.min;
        for (((low, &max), &sum), &squares) in low.iter_mut().zip(&all.max).zip(&all.sum).zip(&all.squares) {
            let mean = sum / count;
            let deviation = (squares / count - mean * mean).max(0.0).sqrt();
            let from = f64::from(*low).max(mean - KEPT_DEVIATIONS * deviation);
            let to = f64::from(max).min(mean + KEPT_DEVIATIONS * deviation);
            *low = from as f32;
            range = range.max(to - from);
        }
        let step = (range / 255.0) as f32;
        Self { low, step: if step > 0.0 && step.is_finite() { step } else { 1.0 }, is_lossless: false }
    }

    /// Whether the rows that it was fitted to are coded without loss (D1).
    pub fn is_lossless(&self) -> bool {
        self.is_lossless
    }

    /// What one unit of a code is worth.
    pub fn step(&self) -> f32 {
        self.step
    }

    /// Codes one row.
    ///
    /// # Shapes
    /// `row: [dim]`, `code: [dim]`.
    pub fn encode(&self, row: &[f32], code: &mut [u8]) {
        let inverse = 1.0 / self.step;
        for ((code, &value), &low) in code.iter_mut().zip(row).zip(&self.low) {
            // The cast cuts towards zero and saturates at both ends.
            *code = ((value - low) * inverse + 0.5) as u8;
        }
    }
}

impl Counted {
    fn add(&mut self, row: &[f32]) {
        let ends = self.min.iter_mut().zip(&mut self.max);
        let sums = self.sum.iter_mut().zip(&mut self.squares);
        let mut fraction = 0.0;
        for ((&value, (min, max)), (sum, squares)) in row.iter().zip(ends).zip(sums) {
            *min = if value < *min { value } else { *min };
            *max = if value > *max { value } else { *max };
            let wide = f64::from(value);
            *sum += wide;
            *squares += wide * wide;
            fraction += (value - value.trunc()).abs();
        }
        self.is_integer &= fraction == 0.0;
    }

    fn and(mut self, other: Self) -> Self {
        self.min.iter_mut().zip(other.min).for_each(|(a, b)| *a = a.min(b));
        self.max.iter_mut().zip(other.max).for_each(|(a, b)| *a = a.max(b));
        self.sum.iter_mut().zip(other.sum).for_each(|(a, b)| *a += b);
        self.squares.iter_mut().zip(other.squares).for_each(|(a, b)| *a += b);
        self.is_integer &= other.is_integer;
        self
    }
}

/// Bytes from code to code: whole cache lines for all but the smallest rows, so that reading one touches no line too many.
pub(crate) fn stride_of(dim: usize) -> usize {
    if dim <= 32 { dim.max(1) } else { dim.next_multiple_of(64) }
}

/// Coded rows and their squared norms.
#[derive(Debug, Clone, PartialEq)]
pub struct Codes {
    dim: usize,
    stride: usize,
    bytes: Vec<u8>,
    norms: Vec<i32>,
}

impl Codes {
    /// Codes of all `rows` on `grid`.
    pub fn encode(grid: &Grid, rows: Rows<'_>, executor: &dyn Executor) -> Self {
        let mut codes = Self::zeros(rows.dim, rows.count);
        let stride = codes.stride;
        for_each_chunk_mut(executor, &mut codes.bytes, CHUNK * stride, |chunk, bytes| {
            for (at, code) in bytes.chunks_exact_mut(stride).enumerate() {
                grid.encode(rows.row(chunk * CHUNK + at), &mut code[..rows.dim]);
            }
        });
        codes.measure(executor);
        codes
    }

    fn zeros(dim: usize, count: usize) -> Self {
        let stride = stride_of(dim);
        Self { dim, stride, bytes: vec![0; stride * count], norms: vec![0; count] }
    }

    fn measure(&mut self, executor: &dyn Executor) {
        let (bytes, stride, dim) = (&self.bytes, self.stride, self.dim);
        for_each_chunk_mut(executor, &mut self.norms, CHUNK, |chunk, norms| {
            for (at, norm) in norms.iter_mut().enumerate() {
                let code = &bytes[(chunk * CHUNK + at) * stride..][..dim];
                *norm = code.iter().fold(0i32, |sum, &c| sum.wrapping_add(i32::from(c) * i32::from(c)));
            }
        });
    }

    /// The codes of the rows `ids`, in that order.
    ///
    /// # Panics
    /// If an id names no row.
    pub fn subset(&self, ids: &[u32]) -> Self {
        let mut subset = Self::zeros(self.dim, ids.len());
        self.gather(ids, &mut subset.bytes, &mut subset.norms);
        subset
    }

    /// As [`subset`](Self::subset), on the threads of `executor`.
    pub(crate) fn rearranged(&self, ids: &[u32], executor: &dyn Executor) -> Self {
        let mut made = Self::zeros(self.dim, ids.len());
        let stride = made.stride;
        for_each_chunk_mut(executor, &mut made.bytes, CHUNK * stride, |chunk, bytes| {
            for (code, &id) in bytes.chunks_exact_mut(stride).zip(&ids[chunk * CHUNK..]) {
                code.copy_from_slice(self.code(id as usize));
            }
        });
        made.norms.iter_mut().zip(ids).for_each(|(norm, &id)| *norm = self.norms[id as usize]);
        made
    }

    /// Copies codes and norms of `ids`, in order. `bytes: [ids.len() × stride]`, `norms: [ids.len()]`.
    pub(crate) fn gather(&self, ids: &[u32], bytes: &mut [u8], norms: &mut [i32]) {
        for ((&id, code), norm) in ids.iter().zip(bytes.chunks_exact_mut(self.stride)).zip(norms) {
            code.copy_from_slice(self.code(id as usize));
            *norm = self.norms[id as usize];
        }
    }

    /// The code of row `at`, padding included.
    #[inline(always)]
    pub(crate) fn code(&self, at: usize) -> &[u8] {
        &self.bytes[at * self.stride..][..self.stride]
    }

    pub(crate) fn bytes(&self) -> &[u8] {
        &self.bytes
    }

    pub(crate) fn norms(&self) -> &[i32] {
        &self.norms
    }

    /// Elements per row.
    pub fn dim(&self) -> usize {
        self.dim
    }

    /// Bytes from code to code.
    pub fn stride(&self) -> usize {
        self.stride
    }

    /// Rows.
    pub fn len(&self) -> usize {
        self.norms.len()
    }

    /// Whether there is none.
    pub fn is_empty(&self) -> bool {
        self.norms.is_empty()
    }
}
