//! The metrics as sums of `f32`: what one step adds, and how the sums become a distance.
//!
//! Elements of any type are widened as they are loaded, so these serve `f32`, `f16`, `bf16` and the mixed
//! pairs of an `f32` query with rows of another type.

use core::marker::PhantomData;

use crate::element::Element;
use crate::lanes::{Lanes, LoadAs, sum_each};
use crate::reference;
use crate::sum::{LaneSum, Sum};

/// Squared Euclidean distance.
#[derive(Clone, Copy)]
pub(crate) struct L2<S, Q, R>(PhantomData<(S, Q, R)>);
/// Negated inner product.
#[derive(Clone, Copy)]
pub(crate) struct InnerProduct<S, Q, R>(PhantomData<(S, Q, R)>);
/// Sum of absolute differences.
#[derive(Clone, Copy)]
pub(crate) struct L1<S, Q, R>(PhantomData<(S, Q, R)>);
/// One minus the cosine, against many rows: the query's norm is found once.
#[derive(Clone, Copy)]
pub(crate) struct Cosine<S, Q, R>(PhantomData<(S, Q, R)>);
/// One minus the cosine, of one pair: both norms in one pass.
#[derive(Clone, Copy)]
pub(crate) struct CosinePair<S, Q, R>(PhantomData<(S, Q, R)>);

/// The token of an instruction set, where the caller has promised it.
macro_rules! token {
    ($lanes:ty) => {{
        // SAFETY: the caller of every method of `Sum` promises the instruction set.
        let simd = unsafe { <$lanes>::token() };
        simd
    }};
}

/// The parts of [`Sum`] that all sums of `f32` share.
macro_rules! float_sum {
    () => {
        type Query = Q;
        type Row = R;
        type Out = f32;
        type Register = S::Register;

        const WIDTH: usize = S::LANES;
        const TILE_CHAINS: usize = 2 / S::WORDS;

        #[inline(always)]
        unsafe fn load(query: *const Q) -> S::Register {
            let simd = token!(S);
            // SAFETY: the caller promises `WIDTH` elements.
            unsafe { Q::load(simd, query) }
        }

        #[inline(always)]
        unsafe fn load_head(query: *const Q, count: usize) -> S::Register {
            let simd = token!(S);
            // SAFETY: the caller promises `count` elements.
            unsafe { Q::load_head(simd, query, count) }
        }

        #[inline(always)]
        unsafe fn step(partial: Self::Partial, query: S::Register, row: *const R) -> Self::Partial {
            let simd = token!(S);
            // SAFETY: the caller promises `WIDTH` elements.
            let row = unsafe { R::load(simd, row) };
            Self::add(simd, partial, query, row)
        }

        #[inline(always)]
        unsafe fn step_head(
            partial: Self::Partial,
            query: S::Register,
            row: *const R,
            count: usize,
        ) -> Self::Partial {
            let simd = token!(S);
            // SAFETY: the caller promises `count` elements. The lanes behind them are zero on both sides,
            // and a pair of zeros adds zero in every metric here.
            let row = unsafe { R::load_head(simd, row, count) };
            Self::add(simd, partial, query, row)
        }
    };
}

/// Writes [`Sum`] for a metric that keeps one running sum.
macro_rules! single_sum {
    ($metric:ident, monotone: $monotone:literal, |$simd:ident, $partial:ident, $query:ident, $row:ident| $add:expr, |$sum:ident| $finish:expr) => {
        impl<S: Lanes, Q, R> $metric<S, Q, R> {
            #[inline(always)]
            fn add($simd: S, $partial: S::Register, $query: S::Register, $row: S::Register) -> S::Register {
                $add
            }
        }

        // SAFETY: inlined throughout, and `LoadAs` reads exactly what S2 allows.
        unsafe impl<S: Lanes, Q: LoadAs<S>, R: LoadAs<S>> Sum for $metric<S, Q, R> {
            float_sum!();
            type Partial = S::Register;
            type Context = ();
            type RowContext = ();
            type Pair = Self;
            type Cross = Self;

            const CHAINS: usize = R::CHAINS;
            const IS_MONOTONE: bool = $monotone;

            #[inline(always)]
            unsafe fn zero() -> S::Register {
                token!(S).splat(0.0)
            }

            #[inline(always)]
            unsafe fn merge(a: S::Register, b: S::Register) -> S::Register {
                token!(S).add(a, b)
            }

            #[inline(always)]
            unsafe fn context(_query: *const Q, _dim: usize) {}

            #[inline(always)]
            unsafe fn row_context(_row: *const R, _dim: usize) {}

            #[inline(always)]
            unsafe fn finish(
                partial: S::Register,
                (): (),
                _query: *const Q,
                _row: *const R,
                _dim: usize,
            ) -> f32 {
                let $sum = token!(S).sum(partial);
                $finish
            }

            #[inline(always)]
            unsafe fn finish_many<const N: usize>(
                partials: [S::Register; N],
                (): (),
                _query: *const Q,
                _rows: [*const R; N],
                _dim: usize,
            ) -> [f32; N] {
                let sums = sum_each(token!(S), partials);
                let mut out = sums;
                for n in 0..N {
                    let $sum = sums[n];
                    out[n] = $finish;
                }
                out
            }

            #[inline(always)]
            unsafe fn finish_cross(
                partial: S::Register,
                (): (),
                (): (),
                query: *const Q,
                row: *const R,
                dim: usize,
            ) -> f32 {
                // SAFETY: the caller's promise is passed on.
                unsafe { Self::finish(partial, (), query, row, dim) }
            }

            #[inline(always)]
            unsafe fn finish_cross_many<const N: usize>(
                partials: [S::Register; N],
                (): (),
                _row_contexts: [(); N],
                query: *const Q,
                rows: [*const R; N],
                dim: usize,
            ) -> [f32; N] {
                // SAFETY: the caller's promise is passed on.
                unsafe { Self::finish_many(partials, (), query, rows, dim) }
            }
        }

        // SAFETY: as above; the store is of one register.
        unsafe impl<S: Lanes, Q: LoadAs<S> + Element, R: LoadAs<S> + Element> LaneSum for $metric<S, Q, R> {
            #[inline(always)]
            unsafe fn splat(query: Q) -> S::Register {
                token!(S).splat(query.to_f32())
            }

            #[inline(always)]
            unsafe fn finish_lanes(partial: S::Register, (): (), out: *mut f32) -> bool {
                // SAFETY: the caller promises `WIDTH` places, the size of one register of plain numbers.
                unsafe { out.cast::<S::Register>().write_unaligned(partial) };
                for lane in 0..S::LANES {
                    // SAFETY: `lane < WIDTH`, and the place was written just now.
                    let $sum = unsafe { out.add(lane).read() };
                    // SAFETY: the same place.
                    unsafe { out.add(lane).write($finish) };
                }
                true
            }
        }
    };
}

single_sum!(
    L2,
    monotone: true,
    |simd, partial, query, row| {
        let difference = simd.sub(query, row);
        simd.multiply_add(difference, difference, partial)
    },
    |sum| sum
);
// `0 - sum` and not `-sum`: vectors at a right angle have distance 0, not -0.
single_sum!(InnerProduct, monotone: false, |simd, partial, query, row| simd.multiply_add(query, row, partial), |sum| 0.0 - sum);
single_sum!(
    L1,
    monotone: true,
    |simd, partial, query, row| simd.add(partial, simd.abs(simd.sub(query, row))),
    |sum| sum
);

impl<S: Lanes, Q, R> Cosine<S, Q, R> {
    /// The product with the query, and the row's own squared norm.
    #[inline(always)]
    fn add(
        simd: S,
        partial: (S::Register, S::Register),
        query: S::Register,
        row: S::Register,
    ) -> (S::Register, S::Register) {
        (simd.multiply_add(query, row, partial.0), simd.multiply_add(row, row, partial.1))
    }
}

/// Σ vᵢ² of one vector.
#[inline(always)]
unsafe fn squared_norm<S: Lanes, E: LoadAs<S>>(vector: *const E, dim: usize) -> f32 {
    // SAFETY: the caller promises `dim` elements; the shape of a pair reads no more.
    0.0 - unsafe { crate::shape::pair::<InnerProduct<S, E, E>, 0>(vector, vector, dim) }
}

// SAFETY: inlined throughout, and `LoadAs` reads exactly what S2 allows.
unsafe impl<S: Lanes, Q: LoadAs<S> + Element, R: LoadAs<S> + Element> Sum for Cosine<S, Q, R> {
    float_sum!();
    type Partial = (S::Register, S::Register);
    /// The query's squared norm.
    type Context = f32;
    /// The row's squared norm.
    type RowContext = f32;
    type Pair = CosinePair<S, Q, R>;

    const CHAINS: usize = R::CHAINS;

    type Cross = InnerProduct<S, Q, R>;

    #[inline(always)]
    unsafe fn zero() -> Self::Partial {
        let simd = token!(S);
        (simd.splat(0.0), simd.splat(0.0))
    }

    #[inline(always)]
    unsafe fn merge(a: Self::Partial, b: Self::Partial) -> Self::Partial {
        let simd = token!(S);
        (simd.add(a.0, b.0), simd.add(a.1, b.1))
    }

    #[inline(always)]
    unsafe fn context(query: *const Q, dim: usize) -> f32 {
        // SAFETY: the caller's promise is passed on.
        unsafe { squared_norm::<S, Q>(query, dim) }
    }

    #[inline(always)]
    unsafe fn row_context(row: *const R, dim: usize) -> f32 {
        // SAFETY: the caller's promise is passed on.
        unsafe { squared_norm::<S, R>(row, dim) }
    }

    #[inline(always)]
    unsafe fn finish(
        (product, row_norm): Self::Partial,
        query_norm: f32,
        query: *const Q,
        row: *const R,
        dim: usize,
    ) -> f32 {
        let simd = token!(S);
        let (product, row_norm) = (simd.sum(product), simd.sum(row_norm));
        // SAFETY: the caller's promise is passed on.
        unsafe { cosine(product, query_norm, row_norm, query, row, dim) }
    }

    #[inline(always)]
    unsafe fn finish_many<const N: usize>(
        partials: [Self::Partial; N],
        query_norm: f32,
        query: *const Q,
        rows: [*const R; N],
        dim: usize,
    ) -> [f32; N] {
        let simd = token!(S);
        let (mut products, mut row_norms) = ([partials[0].0; N], [partials[0].1; N]);
        for r in 0..N {
            (products[r], row_norms[r]) = partials[r];
        }
        let (products, row_norms) = (sum_each(simd, products), sum_each(simd, row_norms));
        // SAFETY: the caller's promise is passed on.
        unsafe { cosines(products, query_norm, row_norms, query, rows, dim) }
    }

    #[inline(always)]
    unsafe fn finish_cross_many<const N: usize>(
        products: [S::Register; N],
        query_norm: f32,
        row_norms: [f32; N],
        query: *const Q,
        rows: [*const R; N],
        dim: usize,
    ) -> [f32; N] {
        let products = sum_each(token!(S), products);
        // SAFETY: the caller's promise is passed on.
        unsafe { cosines(products, query_norm, row_norms, query, rows, dim) }
    }

    #[inline(always)]
    unsafe fn finish_cross(
        product: S::Register,
        query_norm: f32,
        row_norm: f32,
        query: *const Q,
        row: *const R,
        dim: usize,
    ) -> f32 {
        let product = token!(S).sum(product);
        // SAFETY: the caller's promise is passed on.
        unsafe { cosine(product, query_norm, row_norm, query, row, dim) }
    }
}

// SAFETY: inlined throughout; each store is of one register.
unsafe impl<S: Lanes, Q: LoadAs<S> + Element, R: LoadAs<S> + Element> LaneSum for Cosine<S, Q, R> {
    #[inline(always)]
    unsafe fn splat(query: Q) -> S::Register {
        token!(S).splat(query.to_f32())
    }

    #[inline(always)]
    unsafe fn finish_lanes((product, row_norm): Self::Partial, query_norm: f32, out: *mut f32) -> bool {
        let mut norms = [0.0f32; 16];
        // SAFETY: the caller promises `WIDTH` places, the size of one register of plain numbers.
        unsafe { out.cast::<S::Register>().write_unaligned(product) };
        // SAFETY: no register has more than 16 lanes.
        unsafe { norms.as_mut_ptr().cast::<S::Register>().write_unaligned(row_norm) };
        let mut is_sound = true;
        for (lane, &row_norm) in norms.iter().enumerate().take(S::LANES) {
            // SAFETY: `lane < WIDTH`, and the place was written just now.
            let place = unsafe { &mut *out.add(lane) };
            is_sound &= in_range(query_norm) & in_range(row_norm);
            *place = 1.0 - *place / (query_norm.sqrt() * row_norm.sqrt());
        }
        is_sound
    }
}

impl<S: Lanes, Q, R> CosinePair<S, Q, R> {
    /// The product, the query's squared norm and the row's.
    #[inline(always)]
    fn add(
        simd: S,
        (product, query_norm, row_norm): (S::Register, S::Register, S::Register),
        query: S::Register,
        row: S::Register,
    ) -> (S::Register, S::Register, S::Register) {
        (
            simd.multiply_add(query, row, product),
            simd.multiply_add(query, query, query_norm),
            simd.multiply_add(row, row, row_norm),
        )
    }
}

// SAFETY: inlined throughout, and `LoadAs` reads exactly what S2 allows.
unsafe impl<S: Lanes, Q: LoadAs<S> + Element, R: LoadAs<S> + Element> Sum for CosinePair<S, Q, R> {
    float_sum!();

    // Three sums in two chains are six in flight already.
    const CHAINS: usize = 2 / S::WORDS;
    const MAX_CONST_DIM: usize = 128;

    type Partial = (S::Register, S::Register, S::Register);
    type Context = ();
    type RowContext = ();
    type Pair = Self;
    type Cross = Self;

    #[inline(always)]
    unsafe fn zero() -> Self::Partial {
        let zero = token!(S).splat(0.0);
        (zero, zero, zero)
    }

    #[inline(always)]
    unsafe fn merge(a: Self::Partial, b: Self::Partial) -> Self::Partial {
        let simd = token!(S);
        (simd.add(a.0, b.0), simd.add(a.1, b.1), simd.add(a.2, b.2))
    }

    #[inline(always)]
    unsafe fn context(_query: *const Q, _dim: usize) {}

    #[inline(always)]
    unsafe fn row_context(_row: *const R, _dim: usize) {}

    #[inline(always)]
    unsafe fn finish(partial: Self::Partial, (): (), query: *const Q, row: *const R, dim: usize) -> f32 {
        let simd = token!(S);
        let [product, query_norm, row_norm, _] =
            simd.sum_four([partial.0, partial.1, partial.2, simd.splat(0.0)]);
        // SAFETY: the caller's promise is passed on.
        unsafe { cosine(product, query_norm, row_norm, query, row, dim) }
    }

    #[inline(always)]
    unsafe fn finish_cross(
        partial: Self::Partial,
        (): (),
        (): (),
        query: *const Q,
        row: *const R,
        dim: usize,
    ) -> f32 {
        // SAFETY: the caller's promise is passed on.
        unsafe { Self::finish(partial, (), query, row, dim) }
    }
}

/// One minus the cosine from its three sums.
#[inline(always)]
unsafe fn cosine<Q: Element, R: Element>(
    product: f32,
    query_norm: f32,
    row_norm: f32,
    query: *const Q,
    row: *const R,
    dim: usize,
) -> f32 {
    if in_range(query_norm) & in_range(row_norm) {
        1.0 - product / (query_norm.sqrt() * row_norm.sqrt())
    } else {
        // SAFETY: the caller promises `dim` elements in both.
        unsafe { cosine_in_f64(query, row, dim) }
    }
}

/// [`cosine`] of several rows.
#[inline(always)]
unsafe fn cosines<Q: Element, R: Element, const N: usize>(
    products: [f32; N],
    query_norm: f32,
    row_norms: [f32; N],
    query: *const Q,
    rows: [*const R; N],
    dim: usize,
) -> [f32; N] {
    let mut out = products;
    let mut is_sound = in_range(query_norm);
    for row_norm in row_norms {
        is_sound &= in_range(row_norm);
    }
    if is_sound {
        // No branch in here: four square roots, and four divisions, are one instruction each.
        let root = query_norm.sqrt();
        for r in 0..N {
            out[r] = 1.0 - products[r] / (root * row_norms[r].sqrt());
        }
    } else {
        for r in 0..N {
            // SAFETY: the caller's promise is passed on.
            out[r] = unsafe { cosine(products[r], query_norm, row_norms[r], query, rows[r], dim) };
        }
    }
    out
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
unsafe fn cosine_in_f64<Q: Element, R: Element>(query: *const Q, row: *const R, dim: usize) -> f32 {
    // SAFETY: the caller promises `dim` elements.
    let query = unsafe { core::slice::from_raw_parts(query, dim) };
    // SAFETY: the same.
    let row = unsafe { core::slice::from_raw_parts(row, dim) };
    reference::cosine_of(query.iter().zip(row).map(|(q, r)| (q.to_f32(), r.to_f32()))) as f32
}
