//! [`EdgeQuery`]: what is prepared once per query, for all nodes.
//!
//! Four dimensions at a time: entry e of their table is ±q₀ ±q₁ ±q₂ ±q₃, plus where bit i of e is set, as a byte
//! `half` above the rounded value. One step size for all tables, so that entries may be added up.

use super::EdgeCodes;
use crate::multi::multiversion;

/// A query prepared by [`EdgeCodes::prepare`]. Reuse one per thread; `default()` is empty and fits any dimension.
#[derive(Debug, Clone, Default)]
pub struct EdgeQuery {
    table: Vec<u8>,
    scale: f32,
}

impl EdgeQuery {
    /// Table entries, `[dim / 4 × 16]`, as [`LutKernel`](orthant_kernels::LutKernel) takes them.
    #[inline]
    pub fn table(&self) -> &[u8] {
        &self.table
    }

    /// What one unit of a table entry is worth.
    #[inline]
    pub fn scale(&self) -> f32 {
        self.scale
    }

    /// The standard deviation that the rounding of the tables gives ⟨q, v⟩ of one bit: √(dim / 48) units.
    #[inline]
    pub fn error(&self) -> f32 {
        self.scale * (self.table.len() as f32 / 16.0 / 12.0).sqrt()
    }
}

impl EdgeCodes {
    /// Prepares a query for all payloads of these codes. The buffer in `prepared` is reused: after the first call at a
    /// dimension nothing is allocated.
    ///
    /// # Shapes
    /// `query: [dim]`, turned as the rows are.
    /// # Numerics
    /// ⟨q, v⟩ is rounded as [`EdgeQuery::error`] says. A query that is not finite gives NaN.
    /// # Panics
    /// If `query.len()` is not the dimension.
    pub fn prepare(&self, query: &[f32], prepared: &mut EdgeQuery) {
        assert_eq!(query.len(), self.dim(), "the query must have the dimension of the codes");
        prepared.table.resize(self.plane_bytes(), 0);
        let largest = largest_sum(self.path, query);
        let half = f32::from(self.half);
        // NaN and infinities go into the scale, and from there into every distance.
        prepared.scale = largest / half;
        let inverse = if largest > 0.0 { half / largest } else { 0.0 };
        fill(self.path, query, inverse, half, &mut prepared.table);
    }
}

multiversion! {
    /// The largest sum of four absolute values, NaN if there is one.
    fn largest_sum(query: &[f32]) -> f32 {
        let mut largest = [0.0f32; 4];
        let mut sum = 0.0f32;
        for lanes in query.as_chunks::<16>().0 {
            for (group, largest) in largest.iter_mut().enumerate() {
                let four = &lanes[4 * group..4 * group + 4];
                let size = (four[0].abs() + four[1].abs()) + (four[2].abs() + four[3].abs());
                *largest = if size > *largest { size } else { *largest };
                sum += size;
            }
        }
        let most = largest[0].max(largest[1]).max(largest[2].max(largest[3]));
        // `max` passes over NaN; a sum does not.
        if sum.is_nan() { sum } else { most }
    }
}

/// Signs of the four values in the sixteen entries.
const SIGNS: [[f32; 16]; 4] = {
    let mut signs = [[-1.0; 16]; 4];
    let mut at = 0;
    while at < 64 {
        if (at % 16) >> (at / 16) & 1 == 1 {
            signs[at / 16][at % 16] = 1.0;
        }
        at += 1;
    }
    signs
};

/// Added to a small number it leaves the number, rounded to the nearest integer, in the low bits (1.5 · 2²³).
const ROUND: f32 = 12_582_912.0;

multiversion! {
    /// Writes the entries of all tables.
    fn fill(query: &[f32], inverse: f32, half: f32, table: &mut [u8]) -> () {
        for (four, table) in query.as_chunks::<4>().0.iter().zip(table.as_chunks_mut::<16>().0) {
            let [a, b, c, d] = [four[0] * inverse, four[1] * inverse, four[2] * inverse, four[3] * inverse];
            let mut entries = [0u8; 16];
            for entry in 0..16 {
                let sum = (a * SIGNS[0][entry] + b * SIGNS[1][entry]) + (c * SIGNS[2][entry] + d * SIGNS[3][entry]);
                entries[entry] = (sum + half + ROUND).to_bits() as u8;
            }
            *table = entries;
        }
    }
}
