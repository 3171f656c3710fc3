//! [`PqBlocks`]: rows at 4 bits per subspace in blocks of 32, scanned by [`LutKernel`] (FastScan).
//!
//! The tables of a query are rounded to bytes of one common unit, each from its own least entry up.

use orthant_kernels::{LUT_BLOCK, LutKernel};

use super::{Pq, PqQuery};

/// Codes of rows, 32 to a block.
#[derive(Debug, Clone)]
pub struct PqBlocks {
    kernel: LutKernel,
    bytes: Vec<u8>,
    len: usize,
}

/// Byte tables of a query, made by [`PqBlocks::prepare`].
#[derive(Debug, Clone, Default)]
pub struct PqBlockQuery {
    table: Vec<u8>,
    scale: f32,
    offset: f32,
}

impl PqBlockQuery {
    /// What one unit of a byte is worth: an entry is off by at most half of it.
    pub fn scale(&self) -> f32 {
        self.scale
    }
}

impl PqBlocks {
    /// Codes `count` rows.
    ///
    /// # Shapes
    /// `rows: [count × stride]` (elements, row-major; the last row needs no padding).
    /// # Panics
    /// Unless the quantizer has 4 bits, if `stride < dim`, or if `rows` is too short.
    pub fn new(quantizer: &Pq, rows: &[f32], stride: usize, count: usize) -> Self {
        assert_eq!(quantizer.bits, 4, "blocks hold codes of 4 bits");
        crate::sq::check_rows(rows.len(), stride, count, quantizer.dim);
        let kernel = LutKernel::with_isa(quantizer.subspaces, quantizer.path.isa());
        let kernel = kernel.expect("the quantizer runs on this instruction set");
        let mut bytes = vec![0; count.div_ceil(LUT_BLOCK) * kernel.block_bytes()];
        let mut codes = Vec::new();
        for (at, block) in bytes.chunks_exact_mut(kernel.block_bytes()).enumerate() {
            codes.clear();
            for row in at * LUT_BLOCK..count.min((at + 1) * LUT_BLOCK) {
                codes.extend(quantizer.codes(&rows[row * stride..][..quantizer.dim]));
            }
            kernel.pack(&codes, block);
        }
        Self { kernel, bytes, len: count }
    }

    /// Number of rows.
    pub fn len(&self) -> usize {
        self.len
    }

    /// Whether there are no rows.
    pub fn is_empty(&self) -> bool {
        self.len == 0
    }

    /// Rounds the tables of a query to bytes. Each entry is off by at most half a unit: the range of the widest table over
    /// [`LutKernel::max_entry`].
    ///
    /// # Panics
    /// If the query was prepared by a quantizer with other subspaces.
    pub fn prepare(&self, query: &PqQuery, prepared: &mut PqBlockQuery) {
        assert_eq!(query.table.len(), self.kernel.block_bytes(), "a query prepared for these codes");
        let tables = query.table.as_chunks::<16>().0;
        let ends = |table: &[f32; 16]| {
            let least = table.iter().copied().fold(f32::INFINITY, f32::min);
            (least, table.iter().copied().fold(f32::NEG_INFINITY, f32::max) - least)
        };
        let widest = tables.iter().map(|table| ends(table).1).fold(0.0f32, f32::max);
        prepared.scale = widest / f32::from(self.kernel.max_entry());
        let inverse = if prepared.scale > 0.0 { 1.0 / prepared.scale } else { 0.0 };
        prepared.table.clear();
        prepared.offset = 0.0;
        for table in tables {
            let (least, _) = ends(table);
            // A query that is not finite has no finite offset.
            prepared.offset += least + table.iter().map(|entry| entry * 0.0).sum::<f32>();
            let most = f32::from(self.kernel.max_entry());
            prepared.table.extend(table.map(|entry| ((entry - least) * inverse).round().min(most) as u8));
        }
    }

    /// Distances to all rows, in order.
    ///
    /// # Panics
    /// If `out.len()` is not the number of rows, or if the query was prepared for others.
    pub fn distances(&self, query: &PqBlockQuery, out: &mut [f32]) {
        assert_eq!(out.len(), self.len, "one distance per row");
        let mut sums = [0; LUT_BLOCK];
        let blocks = self.bytes.chunks_exact(self.kernel.block_bytes());
        for (block, out) in blocks.zip(out.chunks_mut(LUT_BLOCK)) {
            self.kernel.block(&query.table, block, &mut sums);
            for (out, &sum) in out.iter_mut().zip(&sums) {
                *out = query.offset + query.scale * f32::from(sum);
            }
        }
    }
}
