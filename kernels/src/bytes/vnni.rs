//! Bytes on AVX-512 VNNI: four products of an unsigned and a signed byte, and their sum, per `i32` lane.
//!
//! Both vectors are of one type, so one side is moved by 128 (its top bit flipped) to become the other type, and
//! what that adds is taken off again at the end, exactly:
//!
//! * `u8`: Σ q·(r − 128) = Σ q·r − 128 Σ q, and Σ r·(r − 128) = Σ r² − 128 Σ r;
//! * `i8`: Σ (r + 128)·q = Σ r·q + 128 Σ q, and Σ (r + 128)·r = Σ r² + 128 Σ r.
//!
//! Sums of one vector alone are found once per batch for the query. L2 is Σ q² + Σ r² − 2 Σ q·r, which
//! loses nothing in integers; intermediate sums may wrap, and wrap back.

use core::arch::x86_64::{
    __m512i, _mm512_add_epi32, _mm512_dpbusd_epi32, _mm512_loadu_si512, _mm512_maskz_loadu_epi8,
    _mm512_reduce_add_epi32, _mm512_sad_epu8, _mm512_set1_epi8, _mm512_setzero_si512, _mm512_slli_epi32,
    _mm512_sub_epi32, _mm512_xor_si512,
};
use core::marker::PhantomData;

use super::cosine;
use crate::element::Element;
use crate::lanes::x86::sum_four_512i;
use crate::sum::Sum;

/// A byte type: which of the two operands it is as it stands.
pub(crate) trait Byte: Element {
    const IS_SIGNED: bool;
}

impl Byte for u8 {
    const IS_SIGNED: bool = false;
}

impl Byte for i8 {
    const IS_SIGNED: bool = true;
}

/// What is added to Σ of the moved products to get Σ of the products, per unit of the vector's own sum.
const fn correction<E: Byte>() -> i32 {
    if E::IS_SIGNED { -128 } else { 128 }
}

/// Negated inner product.
#[derive(Clone, Copy)]
pub(crate) struct InnerProduct<E>(PhantomData<E>);
/// Squared Euclidean distance.
#[derive(Clone, Copy)]
pub(crate) struct L2<E>(PhantomData<E>);
/// One minus the cosine.
#[derive(Clone, Copy)]
pub(crate) struct Cosine<E>(PhantomData<E>);
/// Sum of absolute differences.
#[derive(Clone, Copy)]
pub(crate) struct L1<E>(PhantomData<E>);
/// Negated inner product of one pair: what the query comes to alone is found on the way.
#[derive(Clone, Copy)]
pub(crate) struct InnerProductPair<E>(PhantomData<E>);
/// Squared Euclidean distance of one pair: in one pass.
#[derive(Clone, Copy)]
pub(crate) struct L2Pair<E>(PhantomData<E>);
/// One minus the cosine of one pair, in one pass.
#[derive(Clone, Copy)]
pub(crate) struct CosinePair<E>(PhantomData<E>);
/// Σ rᵢ² and Σ rᵢ of a row alone; the query is not looked at.
#[derive(Clone, Copy)]
pub(crate) struct Own<E>(PhantomData<E>);

/// 64 elements with the top bits flipped.
#[inline(always)]
unsafe fn moved(bytes: __m512i) -> __m512i {
    // SAFETY: register arithmetic; the caller promises the instruction set.
    unsafe { _mm512_xor_si512(bytes, _mm512_set1_epi8(-128)) }
}

/// Adds the moved products of two vectors: of `a` and the moved `b`.
#[inline(always)]
unsafe fn add_products<E: Byte>(total: __m512i, a: __m512i, b: __m512i) -> __m512i {
    // SAFETY: (whole block) register arithmetic; the caller promises the instruction set.
    unsafe {
        if E::IS_SIGNED {
            _mm512_dpbusd_epi32(total, moved(b), a)
        } else {
            _mm512_dpbusd_epi32(total, a, moved(b))
        }
    }
}

/// Adds the elements of a vector.
#[inline(always)]
unsafe fn add_elements<E: Byte>(total: __m512i, a: __m512i) -> __m512i {
    // SAFETY: (whole block) register arithmetic; the caller promises the instruction set.
    unsafe {
        let ones = _mm512_set1_epi8(1);
        if E::IS_SIGNED { _mm512_dpbusd_epi32(total, ones, a) } else { _mm512_dpbusd_epi32(total, a, ones) }
    }
}

/// The parts of [`Sum`] that all sums of bytes share.
macro_rules! byte_sum {
    () => {
        type Query = E;
        type Row = E;
        type Register = __m512i;

        const WIDTH: usize = 64;
        const CHAINS: usize = 2;

        #[inline(always)]
        unsafe fn load(query: *const E) -> __m512i {
            // SAFETY: the caller promises 64 elements and the instruction set.
            unsafe { _mm512_loadu_si512(query.cast()) }
        }

        #[inline(always)]
        unsafe fn load_head(query: *const E, count: usize) -> __m512i {
            // SAFETY: masked elements are not accessed; the caller promises the others.
            unsafe { _mm512_maskz_loadu_epi8((1u64 << count) - 1, query.cast()) }
        }

        #[inline(always)]
        unsafe fn step(partial: Self::Partial, query: __m512i, row: *const E) -> Self::Partial {
            // SAFETY: the caller's promise is passed on.
            unsafe { Self::add(partial, query, Self::load(row)) }
        }

        #[inline(always)]
        unsafe fn step_head(
            partial: Self::Partial,
            query: __m512i,
            row: *const E,
            count: usize,
        ) -> Self::Partial {
            // SAFETY: the caller's promise is passed on. Behind the head both sides are zero, and zero times
            // a moved zero is zero.
            unsafe { Self::add(partial, query, Self::load_head(row, count)) }
        }
    };
}

/// The parts of [`Sum`] for one running sum.
macro_rules! one_total {
    () => {
        type Partial = __m512i;

        #[inline(always)]
        unsafe fn zero() -> __m512i {
            // SAFETY: the caller promises the instruction set.
            unsafe { _mm512_setzero_si512() }
        }

        #[inline(always)]
        unsafe fn merge(a: __m512i, b: __m512i) -> __m512i {
            // SAFETY: the caller promises the instruction set.
            unsafe { _mm512_add_epi32(a, b) }
        }
    };
}

/// Σ of the products, lane by lane, from the moved products and the elements of the vector that was not moved.
#[inline(always)]
unsafe fn corrected<E: Byte>(products: __m512i, elements: __m512i) -> __m512i {
    // SAFETY: (whole block) register arithmetic; the caller promises the instruction set.
    unsafe {
        // 128 times the elements.
        let correction = _mm512_slli_epi32::<7>(elements);
        if E::IS_SIGNED {
            _mm512_sub_epi32(products, correction)
        } else {
            _mm512_add_epi32(products, correction)
        }
    }
}

/// All lanes together.
#[inline(always)]
unsafe fn reduce(total: __m512i) -> i32 {
    // SAFETY: the caller promises the instruction set.
    unsafe { _mm512_reduce_add_epi32(total) }
}

/// What a vector comes to alone.
#[derive(Clone, Copy)]
pub(crate) struct Alone {
    /// Σ vᵢ².
    squares: i32,
    /// Σ vᵢ.
    sum: i32,
}

#[inline(always)]
unsafe fn alone<E: Byte>(vector: *const E, dim: usize) -> Alone {
    // SAFETY: the caller promises `dim` elements; the shape of a pair reads no more.
    unsafe { crate::shape::pair::<Own<E>, 0>(vector, vector, dim) }
}

impl<E: Byte> Own<E> {
    #[inline(always)]
    unsafe fn add(partial: (__m512i, __m512i), _query: __m512i, row: __m512i) -> (__m512i, __m512i) {
        // SAFETY: the caller promises the instruction set.
        unsafe { (add_products::<E>(partial.0, row, row), add_elements::<E>(partial.1, row)) }
    }
}

// SAFETY: inlined throughout; loads are of 64 elements or masked to `count`.
unsafe impl<E: Byte> Sum for Own<E> {
    byte_sum!();
    type Pair = Self;
    type Out = Alone;
    type Partial = (__m512i, __m512i);
    type Context = ();
    type RowContext = ();
    type Cross = Self;

    #[inline(always)]
    unsafe fn zero() -> Self::Partial {
        // SAFETY: the caller promises the instruction set.
        let zero = unsafe { _mm512_setzero_si512() };
        (zero, zero)
    }

    #[inline(always)]
    unsafe fn merge(a: Self::Partial, b: Self::Partial) -> Self::Partial {
        // SAFETY: the caller promises the instruction set.
        unsafe { (_mm512_add_epi32(a.0, b.0), _mm512_add_epi32(a.1, b.1)) }
    }

    #[inline(always)]
    unsafe fn context(_query: *const E, _dim: usize) {}

    #[inline(always)]
    unsafe fn row_context(_row: *const E, _dim: usize) {}

    #[inline(always)]
    unsafe fn finish(partial: Self::Partial, (): (), _query: *const E, _row: *const E, _dim: usize) -> Alone {
        // SAFETY: the caller promises the instruction set.
        let (products, sum) = unsafe { (reduce(partial.0), reduce(partial.1)) };
        Alone { squares: products.wrapping_add(correction::<E>().wrapping_mul(sum)), sum }
    }

    #[inline(always)]
    unsafe fn finish_cross(
        partial: Self::Partial,
        (): (),
        (): (),
        query: *const E,
        row: *const E,
        dim: usize,
    ) -> Alone {
        // SAFETY: the caller's promise is passed on.
        unsafe { Self::finish(partial, (), query, row, dim) }
    }
}

impl<E: Byte> InnerProduct<E> {
    #[inline(always)]
    unsafe fn add(partial: __m512i, query: __m512i, row: __m512i) -> __m512i {
        // SAFETY: the caller promises the instruction set.
        unsafe { add_products::<E>(partial, query, row) }
    }
}

/// Σ qᵢ·rᵢ from the moved products.
#[inline(always)]
unsafe fn product<E: Byte>(partial: __m512i, query: Alone) -> i32 {
    // SAFETY: the caller promises the instruction set.
    let moved = unsafe { reduce(partial) };
    moved.wrapping_add(correction::<E>().wrapping_mul(query.sum))
}

// SAFETY: inlined throughout; loads are of 64 elements or masked to `count`.
unsafe impl<E: Byte> Sum for InnerProduct<E> {
    byte_sum!();
    one_total!();
    type Pair = InnerProductPair<E>;
    type Out = f32;
    type Context = Alone;
    type RowContext = ();
    type Cross = Self;

    #[inline(always)]
    unsafe fn context(query: *const E, dim: usize) -> Alone {
        // SAFETY: the caller's promise is passed on.
        unsafe { alone(query, dim) }
    }

    #[inline(always)]
    unsafe fn row_context(_row: *const E, _dim: usize) {}

    #[inline(always)]
    unsafe fn finish(partial: __m512i, context: Alone, _query: *const E, _row: *const E, _dim: usize) -> f32 {
        // SAFETY: the caller promises the instruction set.
        unsafe { (-product::<E>(partial, context)) as f32 }
    }

    #[inline(always)]
    unsafe fn finish_cross(
        partial: __m512i,
        context: Alone,
        (): (),
        query: *const E,
        row: *const E,
        dim: usize,
    ) -> f32 {
        // SAFETY: the caller's promise is passed on.
        unsafe { Self::finish(partial, context, query, row, dim) }
    }
}

/// Writes [`Sum`] for a metric of all three sums: Σ q·r, Σ q² and Σ r².
macro_rules! three_sums {
    ($metric:ident, alone: $pair:ty, |$product:ident, $query:ident, $row:ident| $finish:expr) => {
        impl<E: Byte> $metric<E> {
            #[inline(always)]
            unsafe fn add(
                partial: (__m512i, (__m512i, __m512i)),
                query: __m512i,
                row: __m512i,
            ) -> (__m512i, (__m512i, __m512i)) {
                // SAFETY: the caller promises the instruction set.
                unsafe { (add_products::<E>(partial.0, query, row), Own::<E>::add(partial.1, query, row)) }
            }
        }

        // SAFETY: inlined throughout; loads are of 64 elements or masked to `count`.
        unsafe impl<E: Byte> Sum for $metric<E> {
            byte_sum!();
            type Pair = $pair;
            type Out = f32;
            type Partial = (__m512i, (__m512i, __m512i));
            type Context = Alone;
            type RowContext = Alone;
            type Cross = InnerProduct<E>;

            #[inline(always)]
            unsafe fn zero() -> Self::Partial {
                // SAFETY: the caller promises the instruction set.
                unsafe { (InnerProduct::<E>::zero(), Own::<E>::zero()) }
            }

            #[inline(always)]
            unsafe fn merge(a: Self::Partial, b: Self::Partial) -> Self::Partial {
                // SAFETY: the caller promises the instruction set.
                unsafe { (InnerProduct::<E>::merge(a.0, b.0), Own::<E>::merge(a.1, b.1)) }
            }

            #[inline(always)]
            unsafe fn context(query: *const E, dim: usize) -> Alone {
                // SAFETY: the caller's promise is passed on.
                unsafe { alone(query, dim) }
            }

            #[inline(always)]
            unsafe fn row_context(row: *const E, dim: usize) -> Alone {
                // SAFETY: the caller's promise is passed on.
                unsafe { alone(row, dim) }
            }

            #[inline(always)]
            unsafe fn finish(
                partial: Self::Partial,
                context: Alone,
                query: *const E,
                row: *const E,
                dim: usize,
            ) -> f32 {
                // SAFETY: the caller's promise is passed on.
                unsafe {
                    let row_alone = Own::<E>::finish(partial.1, (), query, row, dim);
                    Self::finish_cross(partial.0, context, row_alone, query, row, dim)
                }
            }

            #[inline(always)]
            unsafe fn finish_cross(
                partial: __m512i,
                context: Alone,
                row_alone: Alone,
                _query: *const E,
                _row: *const E,
                _dim: usize,
            ) -> f32 {
                // SAFETY: the caller promises the instruction set.
                let $product = unsafe { product::<E>(partial, context) };
                let ($query, $row) = (context.squares, row_alone.squares);
                $finish
            }
        }
    };
}

three_sums!(L2, alone: L2Pair<E>, |product, query, row| {
    query.wrapping_add(row).wrapping_sub(product.wrapping_mul(2)) as f32
});
three_sums!(Cosine, alone: CosinePair<E>, |product, query, row| cosine(product, query, row));

impl<E: Byte> L1<E> {
    #[inline(always)]
    unsafe fn add(partial: __m512i, query: __m512i, row: __m512i) -> __m512i {
        // Moving both sides of `i8` keeps their differences and makes them unsigned.
        // SAFETY: (whole block) register arithmetic; the caller promises the instruction set.
        unsafe {
            let sums = if E::IS_SIGNED {
                _mm512_sad_epu8(moved(query), moved(row))
            } else {
                _mm512_sad_epu8(query, row)
            };
            _mm512_add_epi32(partial, sums)
        }
    }
}

// SAFETY: inlined throughout; loads are of 64 elements or masked to `count`.
unsafe impl<E: Byte> Sum for L1<E> {
    byte_sum!();
    one_total!();
    type Pair = Self;
    type Out = f32;
    type Context = ();
    type RowContext = ();
    type Cross = Self;

    #[inline(always)]
    unsafe fn context(_query: *const E, _dim: usize) {}

    #[inline(always)]
    unsafe fn row_context(_row: *const E, _dim: usize) {}

    #[inline(always)]
    unsafe fn finish(partial: __m512i, (): (), _query: *const E, _row: *const E, _dim: usize) -> f32 {
        // SAFETY: the caller promises the instruction set.
        unsafe { reduce(partial) as f32 }
    }

    #[inline(always)]
    unsafe fn finish_cross(
        partial: __m512i,
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

/// Writes [`Sum`] for one pair: sums of its own, nothing found beforehand.
macro_rules! pair_sum {
    ($metric:ident, $partial:ty, $zero:expr, |$total:ident, $query:ident, $row:ident| $add:expr,
     |$a:ident, $b:ident| $merge:expr, |$sums:ident| $finish:expr) => {
        impl<E: Byte> $metric<E> {
            #[inline(always)]
            unsafe fn add($total: $partial, $query: __m512i, $row: __m512i) -> $partial {
                // SAFETY: register arithmetic; the caller promises the instruction set.
                unsafe { $add }
            }
        }

        // SAFETY: inlined throughout; loads are of 64 elements or masked to `count`.
        unsafe impl<E: Byte> Sum for $metric<E> {
            byte_sum!();
            type Pair = Self;
            type Cross = Self;
            type Out = f32;
            type Partial = $partial;
            type Context = ();
            type RowContext = ();

            #[inline(always)]
            unsafe fn zero() -> $partial {
                // SAFETY: the caller promises the instruction set.
                unsafe { $zero }
            }

            #[inline(always)]
            unsafe fn merge($a: $partial, $b: $partial) -> $partial {
                // SAFETY: register arithmetic; the caller promises the instruction set.
                unsafe { $merge }
            }

            #[inline(always)]
            unsafe fn context(_query: *const E, _dim: usize) {}

            #[inline(always)]
            unsafe fn row_context(_row: *const E, _dim: usize) {}

            #[inline(always)]
            unsafe fn finish($sums: $partial, (): (), _query: *const E, _row: *const E, _dim: usize) -> f32 {
                // SAFETY: register arithmetic; the caller promises the instruction set.
                unsafe { $finish }
            }

            #[inline(always)]
            unsafe fn finish_cross(
                partial: $partial,
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

pair_sum!(
    InnerProductPair,
    (__m512i, __m512i),
    (_mm512_setzero_si512(), _mm512_setzero_si512()),
    |total, query, row| (add_products::<E>(total.0, query, row), add_elements::<E>(total.1, query)),
    |a, b| (_mm512_add_epi32(a.0, b.0), _mm512_add_epi32(a.1, b.1)),
    |sums| {
        let products = corrected::<E>(sums.0, sums.1);
        (-reduce(products)) as f32
    }
);
// With one side moved, q·r and r·q are off by 128 Σ q and 128 Σ r, and so are q·q and r·r: taken from each other,
// nothing is left of it. Σ (q − r)² = (Σ q·q' + Σ r·r') − (Σ q·r' + Σ r·q').
pair_sum!(
    L2Pair,
    (__m512i, __m512i),
    (_mm512_setzero_si512(), _mm512_setzero_si512()),
    |total, query, row| (
        add_products::<E>(add_products::<E>(total.0, query, query), row, row),
        add_products::<E>(add_products::<E>(total.1, query, row), row, query)
    ),
    |a, b| (_mm512_add_epi32(a.0, b.0), _mm512_add_epi32(a.1, b.1)),
    |sums| reduce(_mm512_sub_epi32(sums.0, sums.1)) as f32
);
pair_sum!(
    CosinePair,
    (__m512i, (__m512i, __m512i), (__m512i, __m512i)),
    (_mm512_setzero_si512(), Own::<E>::zero(), Own::<E>::zero()),
    |total, query, row| (
        add_products::<E>(total.0, query, row),
        Own::<E>::add(total.1, query, query),
        Own::<E>::add(total.2, row, row)
    ),
    |a, b| (_mm512_add_epi32(a.0, b.0), Own::<E>::merge(a.1, b.1), Own::<E>::merge(a.2, b.2)),
    |sums| {
        // The corrections lane by lane, so that three registers are left to add up instead of five.
        let product = corrected::<E>(sums.0, sums.1.1);
        let query = corrected::<E>(sums.1.0, sums.1.1);
        let row = corrected::<E>(sums.2.0, sums.2.1);
        let [product, query, row, _] = sum_four_512i([product, query, row, _mm512_setzero_si512()]);
        cosine(product, query, row)
    }
);
