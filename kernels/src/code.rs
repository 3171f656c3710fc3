//! [`CodeKernel`]: sums of `u8` codes times `i16` weights, the inner loop of scalar quantization.
//!
//! The query stays at 15 bits while the rows are bytes, so the distance is asymmetric: only the row is
//! rounded to 8 bits. Arithmetic is exact: every path gives the same number.
//!
//! * **C1** No sum overflows as long as no weight exceeds [`CodeKernel::max_weight`]; beyond it sums wrap.
//!   Partial sums are sums of a subset of the terms, so they stay inside too.

use crate::dim::with_const_dim;
use crate::dispatch::{check_ids, check_rows};
use crate::entry::{self, GatherFn, PairFn, RowsFn, Table};
#[cfg(target_arch = "x86_64")]
use crate::isa::has_dot_products;
use crate::isa::{Isa, IsaError, active_isa};

#[cfg(target_arch = "aarch64")]
mod neon;
mod scalar;
#[cfg(target_arch = "x86_64")]
pub(crate) mod x86;

/// Σ weightᵢ·codeᵢ of `i16` weights and `u8` codes, at one dimension, on one instruction set.
///
/// # Examples
/// ```
/// use orthant_kernels::CodeKernel;
///
/// let codes = [1, 2, 3, 200, 0, 255]; // two rows of three bytes
/// let kernel = CodeKernel::new(3)?;
/// let mut out = [0; 2];
/// kernel.rows(&[10, -1, 2], &codes, 3, &mut out);
/// assert_eq!(out, [14, 2510]);
/// # Ok::<(), orthant_kernels::IsaError>(())
/// ```
#[derive(Clone, Copy)]
pub struct CodeKernel {
    isa: Isa,
    dim: usize,
    pair: PairFn<i16, u8, i32>,
    rows: RowsFn<i16, u8, i32>,
    gather: GatherFn<i16, u8, i32>,
}

impl CodeKernel {
    /// A kernel on the path of [`active_isa`].
    ///
    /// # Errors
    /// As [`active_isa`]: the environment forces a path that is unknown or missing.
    pub fn new(dim: usize) -> Result<Self, IsaError> {
        Self::with_isa(dim, active_isa()?)
    }

    /// A kernel on the path of `isa`.
    ///
    /// # Errors
    /// [`IsaError::Missing`] if the CPU does not have it.
    pub fn with_isa(dim: usize, isa: Isa) -> Result<Self, IsaError> {
        macro_rules! on {
            ($entry:ident, $sum:ty) => {{
                macro_rules! table {
                    ($known:literal) => {
                        Self::of(isa, dim, entry::$entry::table::<$sum, $known>())
                    };
                }
                with_const_dim!(dim, table)
            }};
        }
        Ok(match isa.require()? {
            #[cfg(target_arch = "x86_64")]
            Isa::Avx512 if has_dot_products() => on!(vnni, x86::Vnni),
            #[cfg(target_arch = "x86_64")]
            Isa::Avx512 => on!(avx512, x86::Avx512),
            #[cfg(target_arch = "x86_64")]
            Isa::Avx2 => on!(avx2, x86::Avx2),
            #[cfg(target_arch = "aarch64")]
            Isa::Neon => on!(neon, neon::Neon),
            Isa::Scalar => on!(scalar, scalar::Scalar),
            #[allow(unreachable_patterns)] // the paths of other targets, which `require` refused
            missing => return Err(IsaError::Missing { isa: missing }),
        })
    }

    fn of(isa: Isa, dim: usize, table: Table<i16, u8, i32>) -> Self {
        Self { isa, dim, pair: table.pair, rows: table.rows, gather: table.gather }
    }

    /// Bytes per code, and weights per query.
    #[inline]
    pub fn dim(&self) -> usize {
        self.dim
    }

    /// The instruction set in use.
    #[inline]
    pub fn isa(&self) -> Isa {
        self.isa
    }

    /// The largest absolute weight with which no sum can overflow: `min(32767, (2³¹ − 1) / (255 · dim))`.
    #[inline]
    pub fn max_weight(&self) -> i16 {
        Self::max_weight_at(self.dim)
    }

    /// [`max_weight`](Self::max_weight) at a dimension, without a kernel.
    pub const fn max_weight_at(dim: usize) -> i16 {
        let terms = if dim == 0 { 255 } else { 255 * dim as u64 };
        let most = i32::MAX as u64 / terms;
        // At most 32767, so the cast keeps the value.
        if most < i16::MAX as u64 { most as i16 } else { i16::MAX }
    }

    /// Σ weightᵢ·codeᵢ.
    ///
    /// # Shapes
    /// `weights: [dim]`, `code: [dim]`.
    /// # Numerics
    /// Exact while no weight exceeds [`max_weight`](Self::max_weight) in size; wraps beyond.
    /// # Panics
    /// If either length is not the dimension.
    #[inline]
    pub fn pair(&self, weights: &[i16], code: &[u8]) -> i32 {
        assert_eq!(weights.len(), self.dim, "one weight per dimension");
        assert_eq!(code.len(), self.dim, "one code byte per dimension");
        // SAFETY: both slices hold `dim` elements (asserted above), and the CPU has the path: the
        // constructor asked `Isa::require`.
        unsafe { (self.pair)(weights.as_ptr(), code.as_ptr(), self.dim) }
    }

    /// Sums of `weights` with the first `out.len()` rows of `codes`, in row order.
    ///
    /// # Shapes
    /// `weights: [dim]`, `codes: [out.len() × stride]` or longer (bytes, row-major; the last row needs no
    /// padding). `out.len() = 0` does nothing.
    /// # Panics
    /// If `weights.len() != dim`, if `stride < dim`, or if `codes` is too short.
    #[inline]
    pub fn rows(&self, weights: &[i16], codes: &[u8], stride: usize, out: &mut [i32]) {
        check_rows(self.dim, weights.len(), codes.len(), stride, out.len());
        // SAFETY: the rows lie inside `codes` (checked above), and the CPU has the path: the constructor
        // asked `Isa::require`.
        unsafe {
            (self.rows)(weights.as_ptr(), codes.as_ptr(), stride, self.dim, out.as_mut_ptr(), out.len());
        }
    }

    /// Sums of `weights` with the rows of `codes` named by `ids`, in the order of `ids`.
    ///
    /// The rows of the next ids are prefetched while the present ones are summed.
    ///
    /// # Shapes
    /// `weights: [dim]`, `codes: [rows × stride]` (bytes, row-major; the last row needs no padding),
    /// `ids: [n]`, `out: [n]`. Ids may repeat. `n = 0` does nothing.
    /// # Panics
    /// If `out.len() != ids.len()`, if `weights.len() != dim`, if `stride < dim`, or if an id names no row.
    #[inline]
    pub fn gather(&self, weights: &[i16], codes: &[u8], stride: usize, ids: &[u32], out: &mut [i32]) {
        check_ids(self.dim, weights.len(), codes.len(), stride, ids);
        assert_eq!(out.len(), ids.len(), "one sum per id");
        // SAFETY: the row of every id lies inside `codes` and `out` has a place for each (checked above).
        unsafe { self.gather_raw(weights.as_ptr(), codes.as_ptr(), stride, ids, out) }
    }

    /// [`gather`](Self::gather) without checks, over rows that other threads append to.
    ///
    /// # Panics
    /// If `out.len() != ids.len()`.
    /// # Safety
    /// `weights` is valid for reads of `dim` elements. For each id, the `dim` bytes from
    /// `codes + id · stride` on are valid for reads and no thread writes them during the call. Memory
    /// beyond those rows is not accessed (it may be prefetched, which is not an access).
    #[inline]
    pub unsafe fn gather_raw(
        &self,
        weights: *const i16,
        codes: *const u8,
        stride: usize,
        ids: &[u32],
        out: &mut [i32],
    ) {
        assert_eq!(out.len(), ids.len(), "one sum per id");
        // SAFETY: the caller promises the weights and the rows; `ids` and `out` hold `ids.len()` elements
        // (asserted above); the CPU has the path: the constructor asked `Isa::require`.
        unsafe {
            (self.gather)(weights, codes, stride, self.dim, ids.as_ptr(), out.as_mut_ptr(), ids.len());
        }
    }
}

impl core::fmt::Debug for CodeKernel {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        f.debug_struct("CodeKernel").field("dim", &self.dim).field("isa", &self.isa).finish()
    }
}

/// Writes the parts of [`Sum`] that all integer paths share: no context, no range to leave.
macro_rules! integer_sum {
    ($query:ty, $row:ty) => {
        type Query = $query;
        type Row = $row;
        type Out = i32;
        type Context = ();
        type RowContext = ();
        type Pair = Self;
        type Cross = Self;

        #[inline(always)]
        unsafe fn context(_query: *const $query, _dim: usize) {}

        #[inline(always)]
        unsafe fn row_context(_row: *const $row, _dim: usize) {}

        #[inline(always)]
        unsafe fn finish_cross(
            partial: Self::Partial,
            (): (),
            (): (),
            query: *const $query,
            row: *const $row,
            dim: usize,
        ) -> i32 {
            // SAFETY: the caller's promise is passed on.
            unsafe { Self::finish(partial, (), query, row, dim) }
        }
    };
}
use integer_sum;
