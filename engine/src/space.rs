//! Distances for the graph: from a point to full-precision rows.
//!
//! Rows are compared by L2, L1 or the inner product. Cosine is L2 of unit rows, |q - x|² = 2 (1 - cos),
//! so that it too is a sum that only grows; should a zero row come in, whose direction is undefined and
//! whose cosine distance to everything is 1, the same number is computed from the inner product.
//!
//! **Screening.** Most rows that a search meets lie beyond the farthest node of its beam, and reading
//! them is most of its work. Where the distance is a growing sum, the first third of a row is summed
//! alone; the rest is read only if the row may still be near enough. What share `r` of its distance a
//! row has in its first part is learned for each query from the rows that fill the beam, which are read
//! whole: a row is given up when its first part exceeds what rows *at* the bound have there, mean + 2
//! standard deviations of `r`. A query unlike the data has its own mean, so nothing is assumed about
//! where it comes from. A row of the k nearest is given up only if it lies near the bound (which is the
//! ef-th distance) and its share is an outlier as well: on one 384-d text
//! set recall changed by less than 0.1 points.
//!
//! * **P1** Every id that the graph passes names a row that was written before the node was published,
//!   so the row is whole and never written again.
//! * **P2** Rows that are not given up get the distance that they would get without screening, to the
//!   rounding of one addition.

use std::cell::Cell;

use orthant_graph::{NodeId, Scorer, Space};
use orthant_kernels::{IsaError, Kernel, Metric};
use orthant_storage::RowArena;

use crate::blocks::Blocks;

/// Below this dimension a row is at most 12 cache lines, and a second look costs what it saves.
const SCREEN_FROM_DIM: usize = 192;

/// The same for rows that are all compared, without a graph: nearly all of them lie beyond the bound, so that from 6 cache lines
/// on a second look at the others is worth it.
const SCREEN_SCAN_FROM_DIM: usize = 96;

/// Rows from which a share is learned at the least: the standard deviation of 32 samples is right to
/// about an eighth.
const LEARN_ROWS: u32 = 32;

/// How many standard deviations above the mean share a row at the bound is allowed.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(crate) struct Margin(f32);

impl Margin {
    /// For a search whose beam is at least twice as wide as the result: a row near the bound is hardly
    /// among the k nearest.
    pub(crate) const WIDE_SEARCH: Self = Self(2.0);
    /// For a narrow search, where the bound is close to the k-th distance.
    pub(crate) const NARROW_SEARCH: Self = Self(3.0);
    /// For inserts: a neighbor that is missed once is missed by all later searches.
    const INSERT: Self = Self(2.5);
}

/// Rows per batch: more than a neighbor list holds.
const BATCH: usize = 128;

/// The kernels of an index: for whole rows, and for the two parts of a screened row.
#[derive(Debug, Clone)]
pub(crate) struct RowKernels {
    metric: Metric,
    whole: Kernel,
    /// First part, second part.
    parts: Option<(Kernel, Kernel)>,
    /// The same, for scans alone.
    scan_parts: Option<(Kernel, Kernel)>,
    /// Every row is read whole.
    is_whole: bool,
    /// What the codes of the rows are compared by.
    code_metric: Metric,
}

impl RowKernels {
    pub(crate) fn new(metric: Metric, dim: usize) -> Result<Self, IsaError> {
        let (inner, code_metric) = match metric {
            Metric::Cosine => (Metric::L2, Metric::InnerProduct),
            other => (other, other),
        };
        let whole = Kernel::new(inner, dim)?;
        // A third: among the fastest of cuts from 1/6 to 1/2, tried on one 384-d text set on a noisy machine.
        // On a cache line, so that the first part does not touch those of the second.
        let cut = (dim / 3).next_multiple_of(16);
        let parts_from = |least: usize| -> Result<_, IsaError> {
            if inner == Metric::InnerProduct || dim < least {
                return Ok(None);
            }
            Ok(Some((Kernel::new(inner, cut)?, Kernel::new(inner, dim - cut)?)))
        };
        let (parts, scan_parts) = (parts_from(SCREEN_FROM_DIM)?, parts_from(SCREEN_SCAN_FROM_DIM)?);
        Ok(Self { metric, whole, parts, scan_parts, is_whole: false, code_metric })
    }

    /// Whether rows are screened where their dimension allows it.
    pub(crate) fn screen(&mut self, is_on: bool) {
        self.is_whole = !is_on;
    }

    fn parts(&self) -> Option<&(Kernel, Kernel)> {
        self.parts.as_ref().filter(|_| !self.is_whole)
    }

    fn scan_parts(&self) -> Option<&(Kernel, Kernel)> {
        self.scan_parts.as_ref().filter(|_| !self.is_whole)
    }

    /// The kernel of whole rows.
    pub(crate) fn whole(&self) -> &Kernel {
        &self.whole
    }

    /// What codes are compared by.
    pub(crate) fn code_metric(&self) -> Metric {
        self.code_metric
    }

    /// How an inside distance is shown: the root for L2; for cosine 1 - cos, which is half the square of
    /// the chord.
    pub(crate) fn to_border(&self, distance: f32) -> f32 {
        match self.metric {
            Metric::Cosine => distance * 0.5,
            metric => metric.to_border(distance),
        }
    }
}

/// The full-precision rows of an index.
#[derive(Clone, Copy)]
pub(crate) struct RowSpace<'a> {
    pub(crate) kernels: &'a RowKernels,
    pub(crate) rows: &'a RowArena<f32>,
    /// Cosine only: there are rows of length zero.
    pub(crate) has_zero_row: bool,
    /// What lists carry beside ids.
    pub(crate) blocks: Option<&'a Blocks>,
}

impl<'a> RowSpace<'a> {
    /// Distances from a query of the index's dimension.
    pub(crate) fn from(self, query: &'a [f32], margin: Margin) -> RowScorer<'a> {
        assert_eq!(query.len(), self.kernels.whole.dim(), "a query has the dimension of the index");
        RowScorer { space: self, query, parts: self.kernels.parts(), share: Cell::default(), margin }
    }

    /// Whether distances must be computed from inner products because of zero rows.
    #[inline(always)]
    pub(crate) fn is_by_product(&self) -> bool {
        self.has_zero_row && self.kernels.metric == Metric::Cosine
    }
}

/// Distances from one point to rows.
pub(crate) struct RowScorer<'a> {
    space: RowSpace<'a>,
    query: &'a [f32],
    /// What rows are screened by.
    parts: Option<&'a (Kernel, Kernel)>,
    share: Cell<Share>,
    margin: Margin,
}

/// What share of their distance rows have in their first part: count, sum and sum of squares.
#[derive(Debug, Clone, Copy, Default)]
struct Share {
    rows: u32,
    sum: f32,
    squares: f32,
    /// What came of all rows.
    screened: Screened,
}

/// Rows that a search met, and what was read of them.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Screened {
    /// Rows whose first part was compared.
    pub rows: u32,
    /// Of those, how many were given up after it.
    pub given_up: u32,
}

impl Share {
    fn learn(&mut self, first: f32, second: f32) {
        let total = first + second;
        if total > 0.0 {
            let share = first / total;
            self.rows += 1;
            self.sum += share;
            self.squares += share * share;
        }
    }

    /// The largest share that is still believed of a row at the bound.
    fn limit(&self, margin: Margin) -> f32 {
        if self.rows < LEARN_ROWS {
            return 1.0;
        }
        let mean = self.sum / self.rows as f32;
        let variance = (self.squares / self.rows as f32 - mean * mean).max(0.0);
        (mean + margin.0 * variance.sqrt()).min(1.0)
    }
}

impl<'a> RowScorer<'a> {
    /// What was screened until now; nothing where rows are read whole.
    pub(crate) fn screened(&self) -> Screened {
        self.share.get().screened
    }

    /// The same distances for a scan, most of whose rows lie beyond the bound.
    pub(crate) fn for_scan(self) -> Self {
        Self { parts: self.space.kernels.scan_parts(), ..self }
    }
}

impl RowScorer<'_> {
    /// Distances to rows summed over their first and second parts; a row whose first part says that it
    /// lies beyond `bound` gets an infinite one.
    #[inline(always)]
    fn score_in_parts(
        &self,
        (first, second): &(Kernel, Kernel),
        ids: &[NodeId],
        bound: f32,
        out: &mut [f32],
    ) {
        let (base, stride) = (self.space.rows.as_ptr(), self.space.rows.layout().stride());
        let cut = first.dim();
        // SAFETY: the query has as many elements as both parts together; P1.
        unsafe { first.gather_raw(self.query.as_ptr(), base, stride, ids, out) };
        let mut share = self.share.get();
        let learns = bound == f32::INFINITY || share.rows < LEARN_ROWS;
        let limit = if learns { f32::INFINITY } else { bound * share.limit(self.margin) };
        let mut kept = [0 as NodeId; BATCH];
        let mut places = [0u8; BATCH];
        let mut count = 0;
        for (place, (&id, &sum)) in ids.iter().zip(out.iter()).enumerate() {
            kept[count] = id;
            places[count] = place as u8;
            // A NaN is kept: it is the scorer's answer, not a reason to stop.
            count += usize::from(sum <= limit || sum.is_nan());
        }
        share.screened.rows += ids.len() as u32;
        share.screened.given_up += (ids.len() - count) as u32;
        self.share.set(share);
        let mut rest = [0.0f32; BATCH];
        let rest = &mut rest[..count];
        let (query, base) = (self.query[cut..].as_ptr(), base.wrapping_add(cut));
        // SAFETY: both lie `cut` elements further, and `second` reads that many fewer; P1.
        unsafe { second.gather_raw(query, base, stride, &kept[..count], rest) };
        if learns {
            // All were kept, so places are in step.
            out.iter_mut().zip(rest.iter()).for_each(|(sum, &rest)| {
                share.learn(*sum, rest);
                *sum += rest;
            });
            self.share.set(share);
            return;
        }
        let mut next = 0;
        for (place, sum) in out.iter_mut().enumerate() {
            if next < count && usize::from(places[next]) == place {
                *sum += rest[next];
                next += 1;
            } else {
                *sum = f32::INFINITY;
            }
        }
    }
}

impl Scorer for RowScorer<'_> {
    #[inline(always)]
    fn score_batch(&self, ids: &[NodeId], out: &mut [f32]) {
        let (base, stride) = (self.space.rows.as_ptr(), self.space.rows.layout().stride());
        if self.space.is_by_product() {
            return self.score_by_product(ids, out);
        }
        // SAFETY: the query has the kernel's dimension (checked in `RowSpace::from`, true of rows), and
        // all ids name rows that are whole (P1).
        unsafe { self.space.kernels.whole.gather_raw(self.query.as_ptr(), base, stride, ids, out) };
    }

    #[inline(always)]
    fn score_near(&self, ids: &[NodeId], bound: f32, out: &mut [f32]) {
        match self.parts {
            Some(parts) if !self.space.is_by_product() => {
                for (ids, out) in ids.chunks(BATCH).zip(out.chunks_mut(BATCH)) {
                    self.score_in_parts(parts, ids, bound, out);
                }
            }
            _ => self.score_batch(ids, out),
        }
    }
}

impl RowScorer<'_> {
    /// |q - x|² of a unit query as 2 - 2 q·x, which is 2 for a zero row.
    #[cold]
    fn score_by_product(&self, ids: &[NodeId], out: &mut [f32]) {
        for (out, &id) in out.iter_mut().zip(ids) {
            // SAFETY: P1.
            let row = unsafe { self.space.rows.row_unchecked(id) };
            let product: f64 = self.query.iter().zip(row).map(|(&a, &b)| f64::from(a) * f64::from(b)).sum();
            *out = (2.0 - 2.0 * product).max(0.0) as f32;
        }
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
        let parts = self.kernels.parts();
        RowScorer { space: *self, query, parts, share: Cell::default(), margin: Margin::INSERT }
    }

    fn payload_bytes(&self) -> usize {
        self.blocks.map_or(0, Blocks::payload_bytes)
    }

    fn fill_payload(&self, node: NodeId, ids: &[u32], old: Option<(&[u32], &[u8])>, payload: &mut [u8]) {
        if let Some(blocks) = self.blocks {
            // SAFETY: P1.
            blocks.fill(node, ids, old, payload, |node| unsafe { self.rows.row_unchecked(node) });
        }
    }
}
