//! Distances for the graph: from a point to full-precision rows, or to codes.
//!
//! * **P1** Every id that the graph passes names a row that was written before the node was published,
//!   so the row is whole and never written again.

use orthant_graph::{NodeId, Scorer, Space};
use orthant_kernels::{Kernel, prefetch};
use orthant_storage::RowArena;

/// The full-precision rows of an index.
#[derive(Clone, Copy)]
pub(crate) struct RowSpace<'a> {
    pub(crate) kernel: &'a Kernel,
    pub(crate) rows: &'a RowArena<f32>,
}

impl<'a> RowSpace<'a> {
    /// Distances from a query of the index's dimension.
    pub(crate) fn from(self, query: &'a [f32]) -> RowScorer<'a> {
        assert_eq!(query.len(), self.kernel.dim(), "a query has the dimension of the index");
        RowScorer { space: self, query }
    }
}

/// Distances from one point to rows.
pub(crate) struct RowScorer<'a> {
    space: RowSpace<'a>,
    query: &'a [f32],
}

impl Scorer for RowScorer<'_> {
    #[inline(always)]
    fn score_batch(&self, ids: &[NodeId], out: &mut [f32]) {
        let stride = self.space.rows.layout().stride();
        // SAFETY: the query has the kernel's dimension (checked in `RowSpace::from`, true of rows), and
        // all ids name rows that are whole (P1).
        unsafe {
            self.space.kernel.gather_raw(self.query.as_ptr(), self.space.rows.as_ptr(), stride, ids, out);
        }
    }

    #[inline(always)]
    fn prefetch(&self, id: NodeId) {
        let stride = self.space.rows.layout().stride();
        // The first lines only: the gather asks for the rest, and the hardware follows a started row.
        prefetch::lines(self.space.rows.as_ptr().wrapping_add(id as usize * stride), 2);
    }
}

impl<'s> Space for RowSpace<'s> {
    type Scorer<'a>
        = RowScorer<'a>
    where
        's: 'a;

    #[inline(always)]
    fn scorer(&self, id: NodeId) -> RowScorer<'_> {
        // SAFETY: P1.
        let query = unsafe { self.rows.row_unchecked(id) };
        RowScorer { space: *self, query }
    }
}
