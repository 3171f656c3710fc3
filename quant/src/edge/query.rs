//! [`EdgeQuery`]: what is prepared once per query, for all nodes.

use super::EdgeCodes;
use crate::signs::SignTables;

/// A query prepared by [`EdgeCodes::prepare`]. Reuse one per thread; `default()` is empty and fits any dimension.
#[derive(Debug, Clone, Default)]
pub struct EdgeQuery {
    tables: SignTables,
}

impl EdgeQuery {
    /// Table entries, `[dim / 4 × 16]`, as [`LutKernel`](orthant_kernels::LutKernel) takes them.
    #[inline]
    pub fn table(&self) -> &[u8] {
        self.tables.table()
    }

    /// What one unit of a table entry is worth.
    #[inline]
    pub fn scale(&self) -> f32 {
        self.tables.scale()
    }

    /// What the entries of a vector together are above what they stand for, in units.
    #[inline]
    pub fn excess(&self) -> f32 {
        self.tables.excess()
    }

    /// The standard deviation that the rounding of the tables gives ⟨q, v⟩ of one bit: √(dim / 48) units.
    #[inline]
    pub fn error(&self) -> f32 {
        self.tables.error()
    }
}

impl EdgeCodes {
    /// Prepares a query for all payloads of these codes. The buffer in `prepared` is reused: after the first call at a
    /// dimension nothing is allocated.
    ///
    /// # Shapes
    /// `query: [dim]`, turned as the rows are.
    /// # Numerics
    /// ⟨q, v⟩ is rounded as [`EdgeQuery::error`] says. A query that is not finite gives distances that are not finite.
    /// # Panics
    /// If `query.len()` is not the dimension.
    pub fn prepare(&self, query: &[f32], prepared: &mut EdgeQuery) {
        assert_eq!(query.len(), self.dim(), "the query must have the dimension of the codes");
        prepared.tables.prepare(self.path, &self.kernel, query);
    }
}
