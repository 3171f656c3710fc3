//! Rows at half precision, beside the whole ones: what a search over blocks compares last.
//!
//! Such a search ends with a few dozen rows that lie anywhere in memory. In 11 bits per element they are half the lines, and
//! whole rows, which only writers and exact searches read, may stay in the file.
//!
//! * **H1** While an index has halves, every published row has one: making them encodes all rows under an exclusive
//!   borrow, and every later insert encodes its row before publishing it.
//! * **H2** Rows are multiplied by a power of two that takes the largest element to 2^11 .. 2^12. Elements 16 times as large
//!   still fit, and those down to a 2^26th of it keep their 11 bits. A row that does not fit marks the halves, which from
//!   then on are not asked.

use std::sync::atomic::{AtomicBool, Ordering};

use half::slice::HalfFloatSliceExt;
use orthant_graph::{NodeId, Scorer};
use orthant_kernels::{Kernel, Metric, f16, prefetch};
use orthant_storage::{Column, MemoryOptions, RegionError, RowLayout};

use crate::codes::CodesError;

/// The exponent that the largest element gets.
const TOP_EXPONENT: i32 = 12;

/// Elements converted at a time.
const CHUNK: usize = 64;

/// Lines of a row that are asked for at once: what lies behind them comes by itself.
const ASKED_LINES: usize = 8;

/// What the search finds with halves beside what it finds with whole rows.
#[derive(Debug, Clone, Copy, PartialEq)]
#[non_exhaustive]
pub struct HalfRows {
    /// Rows left out of their own searches that were searched for; 0 where rows are too few to ask.
    pub points: usize,
    /// The recall@10 with whole rows.
    pub recall_whole: f32,
    /// The recall@10 with rows at half precision, as wide.
    pub recall_half: f32,
}

/// Rows at half precision.
pub(crate) struct Halves {
    /// What rows are multiplied by: a power of two.
    scale: f32,
    column: Column<f16>,
    kernel: Kernel<f32, f16>,
    /// H2.
    is_exceeded: AtomicBool,
    pub(crate) evidence: HalfRows,
}

/// Elements from row to row.
pub(crate) fn half_stride(dim: usize) -> usize {
    RowLayout::new::<f16>(dim).stride()
}

/// What rows of elements up to `largest` are multiplied by (H2).
pub(crate) fn scale_for(largest: f32) -> f32 {
    if !largest.is_finite() || largest <= 0.0 {
        return 1.0;
    }
    // Within what a distance may be multiplied by and divided by again.
    (TOP_EXPONENT as f32 - largest.log2().ceil()).clamp(-60.0, 60.0).exp2()
}

impl Halves {
    /// Halves of no rows, compared by `metric`, which is L2 or the inner product.
    pub(crate) fn new(
        metric: Metric,
        dim: usize,
        scale: f32,
        options: &MemoryOptions,
    ) -> Result<Self, CodesError> {
        let column = Column::new(half_stride(dim), options).map_err(CodesError::Memory)?;
        let evidence = HalfRows { points: 0, recall_whole: 1.0, recall_half: 1.0 };
        Self::from_parts((metric, dim), scale, column, evidence)
    }

    pub(crate) fn from_parts(
        (metric, dim): (Metric, usize),
        scale: f32,
        column: Column<f16>,
        evidence: HalfRows,
    ) -> Result<Self, CodesError> {
        let kernel = Kernel::between(metric, dim).map_err(CodesError::Isa)?;
        Ok(Self { scale, column, kernel, is_exceeded: AtomicBool::new(false), evidence })
    }

    /// What a file needs to know beside the rows: `[scale f32][points u32][recall whole f32][recall half f32]`, little-endian.
    pub(crate) fn to_bytes(&self) -> [u8; 16] {
        let HalfRows { points, recall_whole, recall_half } = self.evidence;
        let words = [self.scale.to_bits(), points as u32, recall_whole.to_bits(), recall_half.to_bits()];
        bytemuck::cast(words.map(u32::to_le_bytes))
    }

    /// What [`to_bytes`](Self::to_bytes) wrote; `None` in the error for bytes that it never writes.
    pub(crate) fn from_bytes(
        bytes: &[u8],
        shape: (Metric, usize),
        column: Column<f16>,
    ) -> Result<Self, Option<CodesError>> {
        let words: [[u8; 4]; 4] = bytemuck::cast(<[u8; 16]>::try_from(bytes).map_err(|_| None)?);
        let [scale, points, whole, half] = words.map(u32::from_le_bytes);
        let scale = f32::from_bits(scale);
        if !scale.is_normal() || scale.to_bits() & 0x807f_ffff != 0 {
            // Not a power of two.
            return Err(None);
        }
        let (recall_whole, recall_half) = (f32::from_bits(whole), f32::from_bits(half));
        let evidence = HalfRows { points: points as usize, recall_whole, recall_half };
        Self::from_parts(shape, scale, column, evidence).map_err(Some)
    }

    /// What rows are multiplied by.
    pub(crate) fn scale(&self) -> f32 {
        self.scale
    }

    /// The rows, `[rows × stride]`.
    pub(crate) fn column(&self) -> &Column<f16> {
        &self.column
    }

    /// Whether a row came that does not fit.
    pub(crate) fn is_exceeded(&self) -> bool {
        self.is_exceeded.load(Ordering::Relaxed)
    }

    /// Encodes row `node`.
    ///
    /// # Safety
    /// The row belongs to the caller alone: it is not published yet, or the index is borrowed mutably.
    pub(crate) unsafe fn encode(&self, node: NodeId, row: &[f32]) -> Result<(), RegionError> {
        self.column.ensure(node as usize + 1)?;
        // SAFETY: grown above; the caller alone has the row.
        let halves = unsafe { self.column.at_mut(node) };
        let mut largest = 0.0f32;
        for (row, halves) in row.chunks(CHUNK).zip(halves.chunks_mut(CHUNK)) {
            let mut scaled = [0.0f32; CHUNK];
            let scaled = &mut scaled[..row.len()];
            for (scaled, &element) in scaled.iter_mut().zip(row) {
                *scaled = element * self.scale;
                largest = largest.max(scaled.abs());
            }
            halves[..row.len()].convert_from_f32_slice(scaled);
        }
        if largest > f16::MAX.to_f32() {
            // Published with the row: who sees the row sees that it does not fit.
            self.is_exceeded.store(true, Ordering::Relaxed);
        }
        Ok(())
    }

    /// Gives the memory of rows back.
    ///
    /// # Safety
    /// The places belong to the caller alone, and are written before they are read.
    pub(crate) unsafe fn discard(&self, places: std::ops::Range<usize>) {
        let stride = self.column.width() * size_of::<f16>();
        // SAFETY: the caller's promise.
        unsafe { self.column.region().discard(places.start * stride..places.end * stride) };
    }

    /// Asks for rows that are read soon.
    pub(crate) fn ask_for(&self, nodes: &[NodeId]) {
        let width = self.column.width();
        for &node in nodes {
            let row = self.column.as_ptr().wrapping_add(node as usize * width);
            for line in 0..(width * size_of::<f16>()).div_ceil(64).min(ASKED_LINES) {
                prefetch::line(row.wrapping_add(line * 32));
            }
        }
    }

    /// Distances from `query`, which is copied to `scaled`.
    pub(crate) fn from<'a>(&'a self, query: &[f32], scaled: &'a mut Vec<f32>) -> HalfScorer<'a> {
        assert_eq!(query.len(), self.kernel.dim(), "a query has the dimension of the index");
        scaled.clear();
        scaled.extend(query.iter().map(|element| element * self.scale));
        // Both a squared distance and a product are of two scaled vectors.
        HalfScorer { halves: self, query: scaled, unit: 1.0 / (self.scale * self.scale) }
    }
}

/// Distances from one query to rows at half precision: those of whole rows to a few parts in 10,000 of |row|².
pub(crate) struct HalfScorer<'a> {
    halves: &'a Halves,
    query: &'a [f32],
    unit: f32,
}

impl Scorer for HalfScorer<'_> {
    #[inline(always)]
    fn score_batch(&self, ids: &[NodeId], out: &mut [f32]) {
        let column = &self.halves.column;
        // SAFETY: the query has the kernel's dimension (checked in `Halves::from`); ids name published rows, whose halves
        // were written before (H1).
        unsafe {
            self.halves.kernel.gather_raw(self.query.as_ptr(), column.as_ptr(), column.width(), ids, out)
        };
        out.iter_mut().for_each(|distance| *distance *= self.unit);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_largest_element_gets_the_highest_exponent() {
        for largest in [1e-9f32, 0.3, 1.0, 255.0, 70_000.0, 3e8] {
            let scaled = largest * scale_for(largest);
            assert!((2048.0..=4096.0).contains(&scaled), "{largest} becomes {scaled}");
        }
        assert_eq!(scale_for(0.0), 1.0);
        assert_eq!(scale_for(f32::NAN), 1.0);
    }

    #[test]
    fn distances_are_those_of_whole_rows() {
        let dim = 70;
        let mut state = 1u64;
        let mut random = || {
            state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
            (state >> 40) as f32 / (1 << 24) as f32 - 0.5
        };
        for (metric, size) in [(Metric::L2, 1e-6f32), (Metric::L2, 3e4), (Metric::InnerProduct, 900.0)] {
            let halves = Halves::new(metric, dim, scale_for(size / 2.0), &MemoryOptions::default()).unwrap();
            let rows: Vec<Vec<f32>> = (0..20).map(|_| (0..dim).map(|_| random() * size).collect()).collect();
            for (node, row) in (0..).zip(&rows) {
                // SAFETY: the halves are this test's alone.
                unsafe { halves.encode(node, row) }.unwrap();
            }
            assert!(!halves.is_exceeded());
            let query: Vec<f32> = (0..dim).map(|_| random() * size).collect();
            let (mut scaled, mut found) = (Vec::new(), [0.0; 20]);
            let nodes: Vec<NodeId> = (0..20).collect();
            halves.from(&query, &mut scaled).score_batch(&nodes, &mut found);
            let whole = Kernel::<f32>::new(metric, dim).unwrap();
            let length: f32 = query.iter().map(|value| value * value).sum();
            for (row, found) in rows.iter().zip(found) {
                let distance = whole.pair(&query, row);
                assert!((distance - found).abs() <= 1e-3 * length, "{metric}: {distance} {found}");
            }
        }
    }

    #[test]
    fn a_row_that_does_not_fit_is_told() {
        let halves = Halves::new(Metric::L2, 3, scale_for(1.0), &MemoryOptions::default()).unwrap();
        // SAFETY: the halves are this test's alone.
        unsafe { halves.encode(0, &[0.0, -15.9, 1.0]) }.unwrap();
        assert!(!halves.is_exceeded());
        // SAFETY: as above.
        unsafe { halves.encode(1, &[0.0, -16.1, 1.0]) }.unwrap();
        assert!(halves.is_exceeded());
    }
}
