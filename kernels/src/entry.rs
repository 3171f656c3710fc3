//! Entry functions: where an instruction set is switched on, once per batch.
//!
//! A [`Table`] holds the function pointers for one sum at one dimension. Everything behind a pointer is
//! inlined into it (S1), so a batch costs one indirect call however many rows it has.

use crate::sum::Sum;

/// Function pointers for the shapes of one sum. See `shape.rs` for what each one asks of its caller.
pub(crate) struct Table<A: Sum> {
    pub(crate) pair: PairFn<A::Query, A::Row, A::Out>,
    pub(crate) rows: RowsFn<A::Query, A::Row, A::Out>,
    pub(crate) gather: GatherFn<A::Query, A::Row, A::Out>,
}

/// `(query, row, dim)`, see `shape::pair`.
pub(crate) type PairFn<Q, R, O> = unsafe fn(*const Q, *const R, usize) -> O;
/// `(query, base, stride, dim, out, count)`, see `shape::rows`.
pub(crate) type RowsFn<Q, R, O> = unsafe fn(*const Q, *const R, usize, usize, *mut O, usize);
/// `(query, base, stride, dim, ids, out, count)`, see `shape::gather`.
pub(crate) type GatherFn<Q, R, O> = unsafe fn(*const Q, *const R, usize, usize, *const u32, *mut O, usize);

/// Writes the entry functions of one instruction set.
macro_rules! entries {
    ($(#[$doc:meta])* $name:ident $(, $features:literal)?) => {
        $(#[$doc])*
        pub(crate) mod $name {
            use super::Table;
            use crate::{shape, sum::Sum};

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
                unsafe { shape::rows::<A, DIM>(query, base, stride, dim, out, count) }
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

            /// The entry functions of `A` at `DIM` (0: any dimension).
            pub(crate) fn table<A: Sum, const DIM: usize>() -> Table<A> {
                Table { pair: pair::<A, DIM>, rows: rows::<A, DIM>, gather: gather::<A, DIM> }
            }
        }
    };
}

entries!(
    /// Plain Rust.
    scalar
);
#[cfg(target_arch = "x86_64")]
entries!(
    /// AVX2, FMA and F16C.
    avx2, "avx2,fma,f16c,bmi1,bmi2,lzcnt,popcnt"
);
#[cfg(target_arch = "x86_64")]
entries!(
    /// AVX-512 F, BW, CD, DQ, VL on top of AVX2.
    avx512, "avx2,fma,f16c,bmi1,bmi2,lzcnt,popcnt,avx512f,avx512bw,avx512cd,avx512dq,avx512vl"
);
#[cfg(target_arch = "x86_64")]
entries!(
    /// AVX-512 with VNNI.
    vnni, "avx2,fma,f16c,bmi1,bmi2,lzcnt,popcnt,avx512f,avx512bw,avx512cd,avx512dq,avx512vl,avx512vnni"
);
#[cfg(target_arch = "aarch64")]
entries!(
    /// NEON, which every aarch64 CPU has.
    neon, "neon"
);
