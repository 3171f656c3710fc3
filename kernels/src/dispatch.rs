//! [`Kernel`]: metric, dimension and instruction set, chosen once.
//!
//! * **D1** The function pointers of a kernel belong to an instruction set that the CPU has: the only
//!   constructor asks [`Isa::require`] first.
//! * **D2** The safe methods check every length and every id before the one call that does the work.
//!
//! Cost: a batch is one indirect call. A pair is one indirect call too, about 1 ns.

use crate::element::{Against, Element};
use crate::entry::{GatherFn, MatrixFn, PairFn, RowsFn, WithinFn};
use crate::isa::{Isa, IsaError, active_isa};
use crate::metric::Metric;
use crate::shape::matrix::Sides;

/// Which body a kernel takes at a dimension that has one of its own.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Body {
    /// The one with constant loop counts, where there is one.
    Constant,
    /// The one for any dimension.
    Generic,
}

/// The function pointers of a kernel, all of one instruction set.
pub struct Parts<Q, R> {
    pub(crate) pair: PairFn<Q, R, f32>,
    pub(crate) rows: RowsFn<Q, R, f32>,
    pub(crate) gather: GatherFn<Q, R, f32>,
    pub(crate) matrix: MatrixFn<Q, R, f32>,
    pub(crate) within: WithinFn<Q, R>,
}

impl<Q, R> Clone for Parts<Q, R> {
    fn clone(&self) -> Self {
        *self
    }
}

impl<Q, R> Copy for Parts<Q, R> {}

/// Distances of vectors under one metric, at one dimension, on one instruction set.
///
/// `Kernel` alone is `Kernel<f32, f32>`. `Kernel<Q, R>` takes queries of `Q` and rows of `R`: see [`Against`] for
/// the pairs there are. A kernel is a few words: copy it wherever it is used.
///
/// # Numerics
/// Elements widen to `f32` without loss. Sums are kept in `f32` by several running sums per vector; their order
/// depends on the instruction set, the dimension and the method, so the same pair may differ in the last bits
/// between them. For finite vectors whose terms do not overflow, with ε = `f32::EPSILON`:
///
/// * `L2`, `L1`: within `(dim + 4)·ε`, relative. Identical vectors have distance exactly 0.
/// * `InnerProduct`: within `(dim + 4)·ε · Σ abs(aᵢ·bᵢ)`, absolute.
/// * `Cosine`: within `(dim + 4)·ε`, absolute, whatever the norms: where a squared norm leaves the range
///   of `f32` the pair is recomputed in `f64`. A zero vector has distance 1 to everything.
/// * `u8` against `u8` and `i8` against `i8`, up to 32768 dimensions: sums are exact integers, rounded once.
///
/// A NaN in a vector gives NaN for the pairs with that vector and no other. An infinity gives what the
/// formula gives in IEEE arithmetic: ∞ for `L2` and `L1`, ±∞ or NaN for the others. Sums beyond
/// `f32::MAX` are infinite. Denormals count in full.
///
/// # Examples
/// ```
/// use orthant_kernels::{Kernel, Metric};
///
/// let rows = [0.0, 0.0, 3.0, 4.0, 6.0, 8.0]; // three rows of dimension 2
/// let kernel = Kernel::new(Metric::L2, 2)?;
/// let mut out = [0.0; 2];
/// kernel.gather(&[0.0, 0.0], &rows, 2, &[2, 1], &mut out);
/// assert_eq!(out, [100.0, 25.0]);
/// # Ok::<(), orthant_kernels::IsaError>(())
/// ```
#[derive(Clone, Copy)]
pub struct Kernel<Q: Element = f32, R: Element = Q> {
    metric: Metric,
    isa: Isa,
    dim: usize,
    parts: Parts<Q, R>,
}

impl Kernel {
    /// A kernel for `f32` on the path of [`active_isa`].
    ///
    /// # Errors
    /// As [`active_isa`]: the environment forces a path that is unknown or missing.
    pub fn new(metric: Metric, dim: usize) -> Result<Self, IsaError> {
        Self::between(metric, dim)
    }

    /// A kernel for `f32` on the path of `isa`.
    ///
    /// # Errors
    /// [`IsaError::Missing`] if the CPU does not have it.
    pub fn with_isa(metric: Metric, dim: usize, isa: Isa) -> Result<Self, IsaError> {
        Self::between_with_isa(metric, dim, isa)
    }
}

impl<Q: Against<R>, R: Element> Kernel<Q, R> {
    /// A kernel for any pair of element types, on the path of [`active_isa`].
    ///
    /// # Errors
    /// As [`active_isa`]: the environment forces a path that is unknown or missing.
    ///
    /// # Examples
    /// ```
    /// use orthant_kernels::{Kernel, Metric};
    ///
    /// let kernel = Kernel::<f32, u8>::between(Metric::L1, 3)?;
    /// assert_eq!(kernel.pair(&[0.5, 1.0, 7.0], &[1, 1, 255]), 248.5);
    /// # Ok::<(), orthant_kernels::IsaError>(())
    /// ```
    pub fn between(metric: Metric, dim: usize) -> Result<Self, IsaError> {
        Self::between_with_isa(metric, dim, active_isa()?)
    }

    /// A kernel for any pair of element types, on the path of `isa`.
    ///
    /// # Errors
    /// [`IsaError::Missing`] if the CPU does not have it.
    pub fn between_with_isa(metric: Metric, dim: usize, isa: Isa) -> Result<Self, IsaError> {
        let parts = Q::parts(metric, dim, isa.require()?, Body::Constant)?;
        Ok(Self { metric, isa, dim, parts })
    }

    /// As [`between_with_isa`](Self::between_with_isa), with the body for any dimension even where `dim` has
    /// one of its own: to measure what the constant bodies are worth, and to test both.
    ///
    /// # Errors
    /// [`IsaError::Missing`] if the CPU does not have it.
    pub fn between_without_const_body(metric: Metric, dim: usize, isa: Isa) -> Result<Self, IsaError> {
        let parts = Q::parts(metric, dim, isa.require()?, Body::Generic)?;
        Ok(Self { metric, isa, dim, parts })
    }
}

impl<Q: Element, R: Element> Kernel<Q, R> {
    /// Elements per vector.
    #[inline]
    pub fn dim(&self) -> usize {
        self.dim
    }

    /// The metric.
    #[inline]
    pub fn metric(&self) -> Metric {
        self.metric
    }

    /// The instruction set in use.
    #[inline]
    pub fn isa(&self) -> Isa {
        self.isa
    }

    /// The distance of two vectors.
    ///
    /// # Shapes
    /// `a: [dim]`, `b: [dim]`.
    /// # Panics
    /// If either length is not the dimension.
    #[inline]
    pub fn pair(&self, a: &[Q], b: &[R]) -> f32 {
        assert_eq!(a.len(), self.dim, "the first vector must have the kernel's dimension");
        assert_eq!(b.len(), self.dim, "the second vector must have the kernel's dimension");
        // SAFETY: both slices hold `dim` elements (asserted above), and the CPU has the path (D1).
        unsafe { (self.parts.pair)(a.as_ptr(), b.as_ptr(), self.dim) }
    }

    /// Distances from `query` to the first `out.len()` rows of `base`, in row order.
    ///
    /// # Shapes
    /// `query: [dim]`, `base: [out.len() × stride]` or longer (elements, row-major). The `stride - dim`
    /// elements after a row are padding, never read, and the last row needs none. `out.len() = 0` does
    /// nothing.
    /// # Panics
    /// If `query.len() != dim`, if `stride < dim`, or if `base` is too short.
    #[inline]
    pub fn rows(&self, query: &[Q], base: &[R], stride: usize, out: &mut [f32]) {
        check_rows(self.dim, query.len(), base.len(), stride, out.len());
        // SAFETY: the rows lie inside `base` (checked above), and the CPU has the path (D1).
        unsafe {
            (self.parts.rows)(query.as_ptr(), base.as_ptr(), stride, self.dim, out.as_mut_ptr(), out.len());
        }
    }

    /// Distances from `query` to the rows of `base` named by `ids`, in the order of `ids`.
    ///
    /// The rows of the next ids are prefetched while the present ones are summed.
    ///
    /// # Shapes
    /// `query: [dim]`, `base: [rows × stride]` (elements, row-major; the last row needs no padding),
    /// `ids: [n]`, `out: [n]`. Ids may repeat. `n = 0` does nothing.
    /// # Panics
    /// If `out.len() != ids.len()`, if `query.len() != dim`, if `stride < dim`, or if an id names no row.
    #[inline]
    pub fn gather(&self, query: &[Q], base: &[R], stride: usize, ids: &[u32], out: &mut [f32]) {
        check_ids(self.dim, query.len(), base.len(), stride, ids);
        assert_eq!(out.len(), ids.len(), "one distance per id");
        // SAFETY: the row of every id lies inside `base` and `out` has a place for each (checked above);
        // the CPU has the path (D1).
        unsafe { self.gather_raw(query.as_ptr(), base.as_ptr(), stride, ids, out) }
    }

    /// [`gather`](Self::gather) without checks, over rows that other threads append to.
    ///
    /// # Panics
    /// If `out.len() != ids.len()`.
    /// # Safety
    /// `query` is valid for reads of `dim` elements. For each id, the `dim` elements from
    /// `base + id · stride` on are valid for reads and no thread writes them during the call. Memory
    /// beyond those rows is not accessed (it may be prefetched, which is not an access).
    #[inline]
    pub unsafe fn gather_raw(
        &self,
        query: *const Q,
        base: *const R,
        stride: usize,
        ids: &[u32],
        out: &mut [f32],
    ) {
        assert_eq!(out.len(), ids.len(), "one distance per id");
        // SAFETY: the caller promises the query and the rows; `ids` and `out` hold `ids.len()` elements
        // (asserted above); the CPU has the path (D1).
        unsafe {
            (self.parts.gather)(query, base, stride, self.dim, ids.as_ptr(), out.as_mut_ptr(), ids.len());
        }
    }

    /// Distances of every query to every row: `out[q · rows + r]`, where `rows` is `out.len() / queries`.
    ///
    /// Queries and rows are taken in tiles, so that each element that is loaded serves several pairs and rows
    /// come from memory once for 16 queries.
    ///
    /// # Shapes
    /// `queries: [count × query_stride]`, `base: [rows × stride]` (elements, row-major; the last row of each needs
    /// no padding), `out: [count × rows]`. No queries or no rows: nothing is done.
    /// # Panics
    /// If `out.len()` is not a multiple of `count`, if a stride is shorter than the dimension, or if `queries` or
    /// `base` is too short.
    pub fn matrix(
        &self,
        queries: &[Q],
        query_stride: usize,
        count: usize,
        base: &[R],
        stride: usize,
        out: &mut [f32],
    ) {
        if count == 0 || out.is_empty() {
            assert!(out.is_empty(), "no queries have no distances");
            return;
        }
        let rows = out.len() / count;
        assert_eq!(rows * count, out.len(), "one distance per query and row");
        check_rows(self.dim, self.dim, queries.len(), query_stride, count);
        check_rows(self.dim, self.dim, base.len(), stride, rows);
        let sides = Sides {
            queries: queries.as_ptr(),
            query_stride,
            query_count: count,
            base: base.as_ptr(),
            stride,
            row_count: rows,
            out: out.as_mut_ptr(),
            out_stride: rows,
        };
        // SAFETY: queries and rows lie inside their slices and `out` has a place for each pair (checked above);
        // the CPU has the path (D1).
        unsafe { (self.parts.matrix)(sides, self.dim) }
    }

    /// [`rows`](Self::rows) that gives up a row once its distance is known to exceed `threshold`. Returns how many
    /// rows were given up; their distance is infinite.
    ///
    /// Under L2 and L1 the part that has been summed is looked at every 64 elements. Under the other metrics no
    /// part says anything about the whole: every row is summed to its end and none is given up. A row that is
    /// summed to its end gets its distance even if it exceeds the threshold.
    ///
    /// # Numerics
    /// As [`Kernel`]; a NaN in the first elements keeps the row from being given up.
    /// # Panics
    /// As [`rows`](Self::rows).
    pub fn rows_within(
        &self,
        query: &[Q],
        base: &[R],
        stride: usize,
        threshold: f32,
        out: &mut [f32],
    ) -> usize {
        check_rows(self.dim, query.len(), base.len(), stride, out.len());
        // SAFETY: the rows lie inside `base` (checked above), and the CPU has the path (D1).
        unsafe {
            (self.parts.within)(
                query.as_ptr(),
                base.as_ptr(),
                stride,
                self.dim,
                threshold,
                core::ptr::null(),
                out.as_mut_ptr(),
                out.len(),
            )
        }
    }

    /// [`gather`](Self::gather) that gives up a row once its distance is known to exceed `threshold`; see
    /// [`rows_within`](Self::rows_within).
    ///
    /// # Panics
    /// As [`gather`](Self::gather).
    pub fn gather_within(
        &self,
        query: &[Q],
        base: &[R],
        stride: usize,
        ids: &[u32],
        threshold: f32,
        out: &mut [f32],
    ) -> usize {
        check_ids(self.dim, query.len(), base.len(), stride, ids);
        assert_eq!(out.len(), ids.len(), "one distance per id");
        // SAFETY: the row of every id lies inside `base` and `out` has a place for each (checked above); the CPU
        // has the path (D1).
        unsafe {
            (self.parts.within)(
                query.as_ptr(),
                base.as_ptr(),
                stride,
                self.dim,
                threshold,
                ids.as_ptr(),
                out.as_mut_ptr(),
                ids.len(),
            )
        }
    }
}

impl<Q: Element, R: Element> core::fmt::Debug for Kernel<Q, R> {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        f.debug_struct("Kernel")
            .field("metric", &self.metric)
            .field("dim", &self.dim)
            .field("isa", &self.isa)
            .field("query", &Q::NAME)
            .field("row", &R::NAME)
            .finish()
    }
}

/// Panics unless `rows` rows of `dim` elements lie in a base of `base` elements (D2).
#[inline]
pub(crate) fn check_rows(dim: usize, query: usize, base: usize, stride: usize, rows: usize) {
    assert_eq!(query, dim, "the query must have the kernel's dimension");
    assert!(stride >= dim, "a stride of {stride} elements is shorter than the dimension {dim}");
    assert!(rows <= rows_in(base, stride, dim), "{rows} rows do not fit a base of {base} elements");
}

/// Panics unless every id names a row in a base of `base` elements (D2).
#[inline]
pub(crate) fn check_ids(dim: usize, query: usize, base: usize, stride: usize, ids: &[u32]) {
    assert_eq!(query, dim, "the query must have the kernel's dimension");
    assert!(stride >= dim, "a stride of {stride} elements is shorter than the dimension {dim}");
    let rows = rows_in(base, stride, dim);
    // The largest id decides for all of them: one pass without a branch per id.
    let largest = ids.iter().copied().max();
    assert!(
        largest.is_none_or(|id| (id as usize) < rows),
        "id {largest:?} names no row of a base of {base} elements"
    );
}

/// Whole rows in `base` elements. The last row needs no padding behind it. Rows of dimension 0 are
/// without number.
#[inline]
fn rows_in(base: usize, stride: usize, dim: usize) -> usize {
    if dim == 0 {
        usize::MAX
    } else if base < dim {
        0
    } else {
        (base - dim) / stride + 1
    }
}
