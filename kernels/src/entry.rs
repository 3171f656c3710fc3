//! Entry functions: where an instruction set is switched on, once per batch.
//!
//! A [`Table`] holds the function pointers for one sum at one dimension. Everything behind a pointer is
//! inlined into it (S1), so a batch costs one indirect call however many rows it has.

use crate::shape::matrix::Sides;

/// Function pointers for the shapes that every sum has. See `shape.rs` for what each asks of its caller.
pub(crate) struct Table<Q, R, O> {
    pub(crate) pair: PairFn<Q, R, O>,
    pub(crate) rows: RowsFn<Q, R, O>,
    pub(crate) gather: GatherFn<Q, R, O>,
}

/// `(query, row, dim)`, see `shape::pair`.
pub(crate) type PairFn<Q, R, O> = unsafe fn(*const Q, *const R, usize) -> O;
/// `(query, base, stride, dim, out, count)`, see `shape::rows`.
pub(crate) type RowsFn<Q, R, O> = unsafe fn(*const Q, *const R, usize, usize, *mut O, usize);
/// `(query, base, stride, dim, ids, out, count)`, see `shape::gather`.
pub(crate) type GatherFn<Q, R, O> = unsafe fn(*const Q, *const R, usize, usize, *const u32, *mut O, usize);
/// `(sides, dim)`, see `shape::matrix`.
pub(crate) type MatrixFn<Q, R, O> = unsafe fn(Sides<Q, R, O>, usize);
/// `(query, base, stride, dim, threshold, ids, out, count)`, see `shape::within`. With `ids` null the rows are the
/// first `count`.
pub(crate) type WithinFn<Q, R> =
    unsafe fn(*const Q, *const R, usize, usize, f32, *const u32, *mut f32, usize) -> usize;
/// `(query, block, dim, out)`, see `shape::block`.
pub(crate) type BlockFn<Q, R, O> = unsafe fn(*const Q, *const R, usize, *mut O) -> bool;

/// Writes the entry functions of one instruction set.
macro_rules! entries {
    ($(#[$doc:meta])* $name:ident, rows: $tile:literal $(, $features:literal)?) => {
        $(#[$doc])*
        pub(crate) mod $name {
            #![allow(dead_code, reason = "not every path has every sum")]
            #![allow(clippy::too_many_arguments, reason = "a struct would go through memory on every call")]

            use super::Table;
            use crate::shape::{self, matrix::Sides};
            use crate::sum::{LaneSum, Sum};
            use crate::tiles::{self, Panel, TileSides};

            $(#[target_feature(enable = $features)])?
            unsafe fn pair<A: Sum, const DIM: usize>(
                query: *const A::Query,
                row: *const A::Row,
                dim: usize,
            ) -> A::Out {
                // SAFETY: the caller's promise is passed on unchanged.
                unsafe { shape::pair::<A, DIM>(query, row, dim) }
            }

            $(#[target_feature(enable = $features)])?
            unsafe fn rows<A: Sum, const DIM: usize>(
                query: *const A::Query,
                base: *const A::Row,
                stride: usize,
                dim: usize,
                out: *mut A::Out,
                count: usize,
            ) {
                // SAFETY: the caller's promise is passed on unchanged.
                unsafe { shape::rows::<A, DIM, $tile>(query, base, stride, dim, out, count) }
            }

            $(#[target_feature(enable = $features)])?
            unsafe fn gather<A: Sum, const DIM: usize>(
                query: *const A::Query,
                base: *const A::Row,
                stride: usize,
                dim: usize,
                ids: *const u32,
                out: *mut A::Out,
                count: usize,
            ) {
                // SAFETY: the caller's promise is passed on unchanged.
                unsafe { shape::gather::<A, DIM>(query, base, stride, dim, ids, out, count) }
            }

            $(#[target_feature(enable = $features)])?
            pub(crate) unsafe fn matrix<A: Sum, const QUERIES: usize>(
                sides: Sides<A::Query, A::Row, A::Out>,
                dim: usize,
            ) {
                // SAFETY: the caller's promise is passed on unchanged.
                unsafe { shape::matrix::matrix::<A, QUERIES, $tile>(sides, dim) }
            }

            $(#[target_feature(enable = $features)])?
            pub(crate) unsafe fn within<A: Sum<Out = f32>>(
                query: *const A::Query,
                base: *const A::Row,
                stride: usize,
                dim: usize,
                threshold: f32,
                ids: *const u32,
                out: *mut f32,
                count: usize,
            ) -> usize {
                // One body for both: a test per row is nothing beside the row.
                let row = |at: usize| {
                    // SAFETY: `at < count` wherever a row is named; the caller promised as many ids, or none.
                    let id = if ids.is_null() { at } else { unsafe { ids.add(at).read() as usize } };
                    base.wrapping_add(id * stride)
                };
                // SAFETY: the caller's promise is passed on unchanged.
                unsafe { shape::within::within::<A>(query, row, dim, threshold, out, count) }
            }

            $(#[target_feature(enable = $features)])?
            pub(crate) unsafe fn block<A: LaneSum, const REGISTERS: usize>(
                query: *const A::Query,
                block: *const A::Row,
                dim: usize,
                out: *mut A::Out,
            ) -> bool {
                // SAFETY: the caller's promise is passed on unchanged.
                unsafe { shape::block::block::<A, REGISTERS>(query, block, dim, out) }
            }

            $(#[target_feature(enable = $features)])?
            pub(crate) unsafe fn tiles<P: Panel, const LEFT: usize, const PANELS: usize>(sides: TileSides) {
                // SAFETY: the caller's promise is passed on unchanged.
                unsafe { tiles::dots::<P, LEFT, PANELS>(sides) }
            }

            $(#[target_feature(enable = $features)])?
            pub(crate) unsafe fn pack<P: Panel>(
                dim: usize,
                rows: &[u8],
                stride: usize,
                count: usize,
                packed: &mut [u8],
            ) {
                // SAFETY: the caller's promise is passed on unchanged.
                unsafe { tiles::pack::<P>(dim, rows, stride, count, packed) }
            }

            $(#[target_feature(enable = $features)])?
            pub(crate) unsafe fn at_most<P: Panel>(
                values: *const i32,
                count: usize,
                bound: i32,
                places: *mut u32,
            ) -> usize {
                // SAFETY: the caller's promise is passed on unchanged.
                unsafe { tiles::at_most::<P>(values, count, bound, places) }
            }

            /// The entry functions of `A` at `DIM` (0: any dimension).
            pub(crate) fn table<A: Sum, const DIM: usize>() -> Table<A::Query, A::Row, A::Out> {
                Table { pair: pair::<A, DIM>, rows: rows::<A, DIM>, gather: gather::<A, DIM> }
            }

            /// The entry functions of `A`, of which that of a pair is at `DIM`.
            pub(crate) fn pair_table<A: Sum, const DIM: usize>() -> Table<A::Query, A::Row, A::Out> {
                Table { pair: pair::<A, DIM>, rows: rows::<A, 0>, gather: gather::<A, 0> }
            }
        }
    };
}

entries!(
    /// Plain Rust.
    scalar, rows: 1
);
#[cfg(target_arch = "x86_64")]
entries!(
    /// AVX2, FMA and F16C.
    avx2, rows: 4, "avx2,fma,f16c,bmi1,bmi2,lzcnt,popcnt"
);
#[cfg(target_arch = "x86_64")]
entries!(
    /// AVX-512 F, BW, CD, DQ, VL on top of AVX2.
    avx512, rows: 4, "avx2,fma,f16c,bmi1,bmi2,lzcnt,popcnt,avx512f,avx512bw,avx512cd,avx512dq,avx512vl"
);
#[cfg(target_arch = "x86_64")]
entries!(
    /// AVX-512 with VNNI.
    vnni, rows: 4, "avx2,fma,f16c,bmi1,bmi2,lzcnt,popcnt,avx512f,avx512bw,avx512cd,avx512dq,avx512vl,avx512vnni"
);
#[cfg(target_arch = "aarch64")]
entries!(
    /// NEON, which every aarch64 CPU has.
    neon, rows: 4, "neon"
);
#[cfg(target_arch = "aarch64")]
entries!(
    /// NEON with dot products of bytes.
    dotprod, rows: 4, "neon,dotprod"
);
