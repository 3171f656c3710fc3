//! [`Kernel`]: metric, dimension and instruction set, chosen once.
//!
//! * **D1** The function pointers of a kernel belong to an instruction set that the CPU has: the only
//!   constructor asks [`Isa::require`] first.
//! * **D2** The safe methods check every length and every id before the one call that does the work.
//!
//! Cost: a batch is one indirect call. A pair is one indirect call too, about 1 ns.

use crate::dim::with_const_dim;
use crate::entry::{self, GatherFn, PairFn, RowsFn, Table};
use crate::f32::{Cosine, InnerProduct, L1, L2};
use crate::isa::{Isa, IsaError, active_isa};
use crate::metric::Metric;
use crate::sum::Sum;

/// Distances of `f32` vectors under one metric, at one dimension, on one instruction set.
///
/// A kernel is a few words: copy it wherever it is used.
///
/// # Numerics
/// Sums are kept in `f32` by at least four running sums per vector; their order depends on the instruction
/// set, the dimension and the method, so the same pair may differ in the last bits between them. For
/// finite vectors whose terms do not overflow, with ε = `f32::EPSILON`:
///
/// * `L2`, `L1`: within `(dim + 2)·ε`, relative. Identical vectors have distance exactly 0.
/// * `InnerProduct`: within `(dim + 2)·ε · Σ abs(aᵢ·bᵢ)`, absolute.
/// * `Cosine`: within `(dim + 4)·ε`, absolute, whatever the norms: where a squared norm leaves the range
///   of `f32` the pair is recomputed in `f64`. A zero vector has distance 1 to everything.
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
pub struct Kernel {
    metric: Metric,
    isa: Isa,
    dim: usize,
    pair: PairFn<f32, f32, f32>,
    rows: RowsFn<f32, f32, f32>,
    gather: GatherFn<f32, f32, f32>,
}

impl Kernel {
    /// A kernel on the path of [`active_isa`].
    ///
    /// # Errors
    /// As [`active_isa`]: the environment forces a path that is unknown or missing.
    pub fn new(metric: Metric, dim: usize) -> Result<Self, IsaError> {
        Self::with_isa(metric, dim, active_isa()?)
    }

    /// A kernel on the path of `isa`.
    ///
    /// # Errors
    /// [`IsaError::Missing`] if the CPU does not have it.
    pub fn with_isa(metric: Metric, dim: usize, isa: Isa) -> Result<Self, IsaError> {
        macro_rules! on {
            ($entry:ident, $lanes:ty) => {{
                macro_rules! table {
                    ($known:literal) => {
                        match metric {
                            Metric::L2 => {
                                Self::of(metric, isa, dim, entry::$entry::table::<L2<$lanes>, $known>())
                            }
                            Metric::InnerProduct => Self::of(
                                metric,
                                isa,
                                dim,
                                entry::$entry::table::<InnerProduct<$lanes>, $known>(),
                            ),
                            Metric::Cosine => {
                                Self::of(metric, isa, dim, entry::$entry::table::<Cosine<$lanes>, $known>())
                            }
                            Metric::L1 => {
                                Self::of(metric, isa, dim, entry::$entry::table::<L1<$lanes>, $known>())
                            }
                        }
                    };
                }
                with_const_dim!(dim, table)
            }};
        }
        Ok(match isa.require()? {
            #[cfg(target_arch = "x86_64")]
            Isa::Avx512 => on!(avx512, pulp::x86::V4),
            #[cfg(target_arch = "x86_64")]
            Isa::Avx2 => on!(avx2, pulp::x86::V3),
            #[cfg(target_arch = "aarch64")]
            Isa::Neon => on!(neon, pulp::aarch64::Neon),
            Isa::Scalar => on!(scalar, pulp::Scalar),
            #[allow(unreachable_patterns)] // the paths of other targets, which `require` refused
            missing => return Err(IsaError::Missing { isa: missing }),
        })
    }

    fn of<A: Sum<Query = f32, Row = f32, Out = f32>>(
        metric: Metric,
        isa: Isa,
        dim: usize,
        table: Table<A>,
    ) -> Self {
        Self { metric, isa, dim, pair: table.pair, rows: table.rows, gather: table.gather }
    }

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
    pub fn pair(&self, a: &[f32], b: &[f32]) -> f32 {
        assert_eq!(a.len(), self.dim, "the first vector must have the kernel's dimension");
        assert_eq!(b.len(), self.dim, "the second vector must have the kernel's dimension");
        // SAFETY: both slices hold `dim` elements (asserted above), and the CPU has the path (D1).
        unsafe { (self.pair)(a.as_ptr(), b.as_ptr(), self.dim) }
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
    pub fn rows(&self, query: &[f32], base: &[f32], stride: usize, out: &mut [f32]) {
        check_rows(self.dim, query.len(), base.len(), stride, out.len());
        // SAFETY: the rows lie inside `base` (checked above), and the CPU has the path (D1).
        unsafe {
            (self.rows)(query.as_ptr(), base.as_ptr(), stride, self.dim, out.as_mut_ptr(), out.len());
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
    pub fn gather(&self, query: &[f32], base: &[f32], stride: usize, ids: &[u32], out: &mut [f32]) {
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
        query: *const f32,
        base: *const f32,
        stride: usize,
        ids: &[u32],
        out: &mut [f32],
    ) {
        assert_eq!(out.len(), ids.len(), "one distance per id");
        // SAFETY: the caller promises the query and the rows; `ids` and `out` hold `ids.len()` elements
        // (asserted above); the CPU has the path (D1).
        unsafe {
            (self.gather)(query, base, stride, self.dim, ids.as_ptr(), out.as_mut_ptr(), ids.len());
        }
    }
}

impl core::fmt::Debug for Kernel {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        f.debug_struct("Kernel")
            .field("metric", &self.metric)
            .field("dim", &self.dim)
            .field("isa", &self.isa)
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
