//! The metrics over `f32`: what one step adds, and how the sums become a distance.

use core::marker::PhantomData;

use crate::lanes::Lanes;
use crate::reference;
use crate::sum::Sum;

/// Squared Euclidean distance.
#[derive(Clone, Copy)]
pub(crate) struct L2<S>(PhantomData<S>);
/// Negated inner product.
#[derive(Clone, Copy)]
pub(crate) struct InnerProduct<S>(PhantomData<S>);
/// One minus the cosine.
#[derive(Clone, Copy)]
pub(crate) struct Cosine<S>(PhantomData<S>);
/// Sum of absolute differences.
#[derive(Clone, Copy)]
pub(crate) struct L1<S>(PhantomData<S>);

/// Writes [`Sum`] for a metric that keeps one running sum.
macro_rules! single_sum {
    ($metric:ident, |$simd:ident, $partial:ident, $query:ident, $row:ident| $step:expr, |$sum:ident| $finish:expr) => {
        // SAFETY: inlined throughout, and `Lanes` reads exactly what S2 allows.
        unsafe impl<S: Lanes> Sum for $metric<S> {
            type Query = f32;
            type Row = f32;
            type Out = f32;
            type Register = S::f32s;
            type Partial = S::f32s;
            type Context = ();

            const WIDTH: usize = S::LANES;

            #[inline(always)]
            unsafe fn zero() -> S::f32s {
                // SAFETY: the caller promises the instruction set.
                let simd = unsafe { S::token() };
                simd.splat_f32s(0.0)
            }

            #[inline(always)]
            unsafe fn load(query: *const f32) -> S::f32s {
                // SAFETY: the caller promises the instruction set.
                let simd = unsafe { S::token() };
                // SAFETY: the caller promises `WIDTH` elements.
                unsafe { simd.load(query) }
            }

            #[inline(always)]
            unsafe fn load_head(query: *const f32, count: usize) -> S::f32s {
                // SAFETY: the caller promises the instruction set.
                let simd = unsafe { S::token() };
                // SAFETY: the caller promises `count` elements.
                unsafe { simd.load_head(query, count) }
            }

            #[inline(always)]
            unsafe fn step($partial: S::f32s, $query: S::f32s, row: *const f32) -> S::f32s {
                // SAFETY: the caller promises the instruction set.
                let $simd = unsafe { S::token() };
                // SAFETY: the caller promises `WIDTH` elements.
                let $row = unsafe { $simd.load(row) };
                $step
            }

            #[inline(always)]
            unsafe fn step_head(
                $partial: S::f32s,
                $query: S::f32s,
                row: *const f32,
                count: usize,
            ) -> S::f32s {
                // SAFETY: the caller promises the instruction set.
                let $simd = unsafe { S::token() };
                // SAFETY: the caller promises `count` elements. The lanes behind them are zero on both
                // sides, and a zero pair adds zero in every metric here.
                let $row = unsafe { $simd.load_head(row, count) };
                $step
            }

            #[inline(always)]
            unsafe fn merge(a: S::f32s, b: S::f32s) -> S::f32s {
                // SAFETY: the caller promises the instruction set.
                let simd = unsafe { S::token() };
                simd.add_f32s(a, b)
            }

            #[inline(always)]
            unsafe fn context(_query: *const f32, _dim: usize) {}

            #[inline(always)]
            unsafe fn finish(
                partial: S::f32s,
                _context: (),
                _query: *const f32,
                _row: *const f32,
                _dim: usize,
            ) -> f32 {
                // SAFETY: the caller promises the instruction set.
                let simd = unsafe { S::token() };
                let $sum = simd.reduce_sum_f32s(partial);
                $finish
            }
        }
    };
}

single_sum!(
    L2,
    |simd, partial, query, row| {
        let difference = simd.sub_f32s(query, row);
        simd.multiply_add(difference, difference, partial)
    },
    |sum| sum
);
// `0 - sum` and not `-sum`: vectors at a right angle have distance 0, not -0.
single_sum!(InnerProduct, |simd, partial, query, row| simd.multiply_add(query, row, partial), |sum| 0.0
    - sum);
single_sum!(
    L1,
    |simd, partial, query, row| simd.add_f32s(partial, simd.abs_f32s(simd.sub_f32s(query, row))),
    |sum| sum
);

// SAFETY: inlined throughout, and `Lanes` reads exactly what S2 allows.
unsafe impl<S: Lanes> Sum for Cosine<S> {
    type Query = f32;
    type Row = f32;
    type Out = f32;
    type Register = S::f32s;
    /// The product with the query, and the row's own squared norm.
    type Partial = (S::f32s, S::f32s);
    /// The query's squared norm.
    type Context = f32;

    const WIDTH: usize = S::LANES;

    #[inline(always)]
    unsafe fn zero() -> Self::Partial {
        // SAFETY: the caller promises the instruction set.
        let simd = unsafe { S::token() };
        (simd.splat_f32s(0.0), simd.splat_f32s(0.0))
    }

    #[inline(always)]
    unsafe fn load(query: *const f32) -> S::f32s {
        // SAFETY: the caller's promise is passed on.
        unsafe { L2::<S>::load(query) }
    }

    #[inline(always)]
    unsafe fn load_head(query: *const f32, count: usize) -> S::f32s {
        // SAFETY: the caller's promise is passed on.
        unsafe { L2::<S>::load_head(query, count) }
    }

    #[inline(always)]
    unsafe fn step((product, norm): Self::Partial, query: S::f32s, row: *const f32) -> Self::Partial {
        // SAFETY: the caller promises the instruction set.
        let simd = unsafe { S::token() };
        // SAFETY: the caller promises `WIDTH` elements.
        let row = unsafe { simd.load(row) };
        (simd.multiply_add(query, row, product), simd.multiply_add(row, row, norm))
    }

    #[inline(always)]
    unsafe fn step_head(
        (product, norm): Self::Partial,
        query: S::f32s,
        row: *const f32,
        count: usize,
    ) -> Self::Partial {
        // SAFETY: the caller promises the instruction set.
        let simd = unsafe { S::token() };
        // SAFETY: the caller promises `count` elements; zeros behind them add nothing.
        let row = unsafe { simd.load_head(row, count) };
        (simd.multiply_add(query, row, product), simd.multiply_add(row, row, norm))
    }

    #[inline(always)]
    unsafe fn merge(a: Self::Partial, b: Self::Partial) -> Self::Partial {
        // SAFETY: the caller promises the instruction set.
        let simd = unsafe { S::token() };
        (simd.add_f32s(a.0, b.0), simd.add_f32s(a.1, b.1))
    }

    #[inline(always)]
    unsafe fn context(query: *const f32, dim: usize) -> f32 {
        // SAFETY: the caller promises `dim` elements; `shape::pair` of the inner product reads no more.
        0.0 - unsafe { crate::shape::pair::<InnerProduct<S>, 0>(query, query, dim) }
    }

    #[inline(always)]
    unsafe fn finish(
        partial: Self::Partial,
        query_norm: f32,
        query: *const f32,
        row: *const f32,
        dim: usize,
    ) -> f32 {
        // SAFETY: the caller promises the instruction set.
        let simd = unsafe { S::token() };
        let product = simd.reduce_sum_f32s(partial.0);
        let row_norm = simd.reduce_sum_f32s(partial.1);
        if in_range(query_norm) && in_range(row_norm) {
            1.0 - product / (query_norm.sqrt() * row_norm.sqrt())
        } else {
            // SAFETY: the caller promises `dim` elements in both.
            unsafe { cosine_in_f64(query, row, dim) }
        }
    }
}

/// Whether a squared norm is far enough from both ends of the range of `f32` that neither it nor the
/// squares that went into it lost bits. 1e-30 leaves 2^26 above the smallest normal number, so a square
/// that was flushed or rounded as a denormal weighs less than an `f32::EPSILON` of the sum.
#[inline(always)]
fn in_range(squared_norm: f32) -> bool {
    (1e-30..=f32::MAX).contains(&squared_norm)
}

/// The cosine of vectors whose squares leave the range of `f32`: zero, denormal, huge, or not finite.
#[cold]
#[inline(never)]
unsafe fn cosine_in_f64(query: *const f32, row: *const f32, dim: usize) -> f32 {
    // SAFETY: the caller promises `dim` elements.
    let query = unsafe { core::slice::from_raw_parts(query, dim) };
    // SAFETY: the same.
    let row = unsafe { core::slice::from_raw_parts(row, dim) };
    reference::cosine(query, row) as f32
}
