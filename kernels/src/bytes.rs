//! `u8` against `u8` and `i8` against `i8`: exact sums of integers.
//!
//! The plain way widens bytes to `i16`, where differences and products of two bytes are exact, and adds pairs of
//! products into `i32` lanes. It is written once over [`Words`], a register of `i16`. VNNI multiplies bytes as
//! they are and has its own sums in `bytes/vnni.rs`.
//!
//! * **B1** No sum overflows up to [`MAX_DIM`] dimensions: 255² · 32768 < 2³¹. Longer vectors take the sums
//!   of `f32`.

use core::marker::PhantomData;

use crate::element::Element;
use crate::sum::Sum;

#[cfg(target_arch = "aarch64")]
pub(crate) mod dotprod;
#[cfg(target_arch = "aarch64")]
pub(crate) mod neon;
pub(crate) mod scalar;
#[cfg(target_arch = "x86_64")]
pub(crate) mod vnni;
#[cfg(target_arch = "x86_64")]
pub(crate) mod x86;

/// The longest vectors whose sums are kept in `i32` (B1).
pub(crate) const MAX_DIM: usize = 32768;

/// One register of `i16`, or of bytes where there are dot products of them, on one instruction set.
///
/// # Safety
/// Implementors are inlined throughout; callers promise the instruction set.
pub(crate) unsafe trait Words: Copy + 'static {
    /// The register.
    type Word: Copy;
    /// Running sums in lanes of `i32`.
    type Total: Copy;
    /// Words per register.
    const WIDTH: usize;

    /// Sums of nothing.
    unsafe fn zero() -> Self::Total;
    /// Adds the products of two registers.
    unsafe fn multiply_add(total: Self::Total, a: Self::Word, b: Self::Word) -> Self::Total;
    /// Adds the squares of the differences of two registers.
    unsafe fn add_squares(total: Self::Total, a: Self::Word, b: Self::Word) -> Self::Total;
    /// Adds the absolute values of the differences of two registers.
    unsafe fn add_distances(total: Self::Total, a: Self::Word, b: Self::Word) -> Self::Total;
    /// Both sums together.
    unsafe fn merge(a: Self::Total, b: Self::Total) -> Self::Total;
    /// All lanes together.
    unsafe fn reduce(total: Self::Total) -> i32;
}

/// A byte type that a register of `i16` can be loaded from.
///
/// # Safety
/// Implementors read exactly `WIDTH` elements in `load` and `count` in `load_head`.
pub(crate) unsafe trait LoadWords<W: Words>: Element {
    /// Loads `WIDTH` elements.
    unsafe fn load(at: *const Self) -> W::Word;
    /// Loads `count < WIDTH` elements, zeros behind them.
    unsafe fn load_head(at: *const Self, count: usize) -> W::Word;
}

/// Squared Euclidean distance.
#[derive(Clone, Copy)]
pub(crate) struct L2<W, E>(PhantomData<(W, E)>);
/// Negated inner product.
#[derive(Clone, Copy)]
pub(crate) struct InnerProduct<W, E>(PhantomData<(W, E)>);
/// Sum of absolute differences.
#[derive(Clone, Copy)]
pub(crate) struct L1<W, E>(PhantomData<(W, E)>);
/// One minus the cosine.
#[derive(Clone, Copy)]
pub(crate) struct Cosine<W, E>(PhantomData<(W, E)>);

/// The parts of [`Sum`] that all sums of words share.
macro_rules! word_sum {
    () => {
        type Query = E;
        type Row = E;
        type Out = f32;
        type Register = W::Word;
        type Pair = Self;

        const WIDTH: usize = W::WIDTH;
        const CHAINS: usize = 2;

        #[inline(always)]
        unsafe fn load(query: *const E) -> W::Word {
            // SAFETY: the caller's promise is passed on.
            unsafe { E::load(query) }
        }

        #[inline(always)]
        unsafe fn load_head(query: *const E, count: usize) -> W::Word {
            // SAFETY: the caller's promise is passed on.
            unsafe { E::load_head(query, count) }
        }

        #[inline(always)]
        unsafe fn step(partial: Self::Partial, query: W::Word, row: *const E) -> Self::Partial {
            // SAFETY: the caller's promise is passed on.
            unsafe { Self::add(partial, query, E::load(row)) }
        }

        #[inline(always)]
        unsafe fn step_head(
            partial: Self::Partial,
            query: W::Word,
            row: *const E,
            count: usize,
        ) -> Self::Partial {
            // SAFETY: the caller's promise is passed on. The words behind the head are zero on both sides.
            unsafe { Self::add(partial, query, E::load_head(row, count)) }
        }
    };
}

/// Writes [`Sum`] for a metric that keeps one running sum; `$add` runs where the instruction set is promised.
macro_rules! single_sum {
    ($metric:ident, |$total:ident, $query:ident, $row:ident| $add:expr, |$sum:ident| $finish:expr) => {
        impl<W: Words, E> $metric<W, E> {
            #[inline(always)]
            unsafe fn add($total: W::Total, $query: W::Word, $row: W::Word) -> W::Total {
                // SAFETY: the caller promises the instruction set.
                unsafe { $add }
            }
        }

        // SAFETY: inlined throughout, and `LoadWords` reads exactly what S2 allows.
        unsafe impl<W: Words, E: LoadWords<W>> Sum for $metric<W, E> {
            word_sum!();
            type Partial = W::Total;
            type Context = ();
            type RowContext = ();
            type Cross = Self;

            #[inline(always)]
            unsafe fn zero() -> W::Total {
                // SAFETY: the caller promises the instruction set.
                unsafe { W::zero() }
            }

            #[inline(always)]
            unsafe fn merge(a: W::Total, b: W::Total) -> W::Total {
                // SAFETY: the caller promises the instruction set.
                unsafe { W::merge(a, b) }
            }

            #[inline(always)]
            unsafe fn context(_query: *const E, _dim: usize) {}

            #[inline(always)]
            unsafe fn row_context(_row: *const E, _dim: usize) {}

            #[inline(always)]
            unsafe fn finish(
                partial: W::Total,
                (): (),
                _query: *const E,
                _row: *const E,
                _dim: usize,
            ) -> f32 {
                // SAFETY: the caller promises the instruction set.
                let $sum = unsafe { W::reduce(partial) };
                $finish
            }

            #[inline(always)]
            unsafe fn finish_cross(
                partial: W::Total,
                (): (),
                (): (),
                query: *const E,
                row: *const E,
                dim: usize,
            ) -> f32 {
                // SAFETY: the caller's promise is passed on.
                unsafe { Self::finish(partial, (), query, row, dim) }
            }
        }
    };
}

single_sum!(L2, |total, query, row| W::add_squares(total, query, row), |sum| sum as f32);
single_sum!(InnerProduct, |total, query, row| W::multiply_add(total, query, row), |sum| (-sum) as f32);
single_sum!(L1, |total, query, row| W::add_distances(total, query, row), |sum| sum as f32);

impl<W: Words, E> Cosine<W, E> {
    #[inline(always)]
    unsafe fn add(partial: (W::Total, W::Total), query: W::Word, row: W::Word) -> (W::Total, W::Total) {
        // SAFETY: the caller promises the instruction set.
        unsafe { (W::multiply_add(partial.0, query, row), W::multiply_add(partial.1, row, row)) }
    }
}

// SAFETY: inlined throughout, and `LoadWords` reads exactly what S2 allows.
unsafe impl<W: Words, E: LoadWords<W>> Sum for Cosine<W, E> {
    word_sum!();
    type Partial = (W::Total, W::Total);
    /// The query's squared norm.
    type Context = i32;
    /// The row's squared norm.
    type RowContext = i32;
    type Cross = InnerProduct<W, E>;

    #[inline(always)]
    unsafe fn zero() -> Self::Partial {
        // SAFETY: the caller promises the instruction set.
        unsafe { (W::zero(), W::zero()) }
    }

    #[inline(always)]
    unsafe fn merge(a: Self::Partial, b: Self::Partial) -> Self::Partial {
        // SAFETY: the caller promises the instruction set.
        unsafe { (W::merge(a.0, b.0), W::merge(a.1, b.1)) }
    }

    #[inline(always)]
    unsafe fn context(query: *const E, dim: usize) -> i32 {
        // SAFETY: the caller's promise is passed on.
        unsafe { squared_norm::<W, E>(query, dim) }
    }

    #[inline(always)]
    unsafe fn row_context(row: *const E, dim: usize) -> i32 {
        // SAFETY: the caller's promise is passed on.
        unsafe { squared_norm::<W, E>(row, dim) }
    }

    #[inline(always)]
    unsafe fn finish(
        (product, row_norm): Self::Partial,
        query_norm: i32,
        _query: *const E,
        _row: *const E,
        _dim: usize,
    ) -> f32 {
        // SAFETY: the caller promises the instruction set.
        unsafe { cosine(W::reduce(product), query_norm, W::reduce(row_norm)) }
    }

    #[inline(always)]
    unsafe fn finish_cross(
        product: W::Total,
        query_norm: i32,
        row_norm: i32,
        _query: *const E,
        _row: *const E,
        _dim: usize,
    ) -> f32 {
        // SAFETY: the caller promises the instruction set.
        cosine(unsafe { W::reduce(product) }, query_norm, row_norm)
    }
}

/// Σ vᵢ² of one vector.
#[inline(always)]
unsafe fn squared_norm<W: Words, E: LoadWords<W>>(vector: *const E, dim: usize) -> i32 {
    // SAFETY: the caller promises `dim` elements; the shape of a pair reads no more.
    unsafe { W::reduce(crate::shape::alone::<InnerProduct<W, E>, 0>(vector, vector, dim)) }
}

/// One minus the cosine from its three sums. 1 if either norm is 0.
#[inline(always)]
fn cosine(product: i32, query_norm: i32, row_norm: i32) -> f32 {
    // The norms are integers, so they are 0 or at least 1; the product of two is exact in f64.
    let norms = (f64::from(query_norm) * f64::from(row_norm)).sqrt();
    if norms == 0.0 { 1.0 } else { (1.0 - f64::from(product) / norms) as f32 }
}
