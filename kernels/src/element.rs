//! The element types a vector may have, and which of them meet.
//!
//! * **E1** Every type widens to `f32` without loss, so distances are defined by the numbers and not by
//!   how they are stored.

use half::{bf16, f16};

use crate::bytes;
use crate::dim::with_const_dim;
use crate::dispatch::{Body, Parts};
use crate::entry;
use crate::float::{Cosine, InnerProduct, L1, L2};
#[cfg(any(target_arch = "x86_64", target_arch = "aarch64"))]
use crate::isa::has_dot_products;
use crate::isa::{Isa, IsaError};
#[cfg(target_arch = "x86_64")]
use crate::lanes::Two;
use crate::metric::Metric;

pub(crate) mod sealed {
    use crate::dispatch::{Body, Parts};
    use crate::isa::{Isa, IsaError};
    use crate::metric::Metric;

    pub trait Sealed {}
    impl Sealed for f32 {}
    impl Sealed for super::f16 {}
    impl Sealed for super::bf16 {}
    impl Sealed for i8 {}
    impl Sealed for u8 {}

    /// What makes a pair of types one that kernels exist for.
    pub trait Build<R>: Sized {
        /// The entry functions on `isa`, which the CPU has.
        fn parts(metric: Metric, dim: usize, isa: Isa, body: Body) -> Result<Parts<Self, R>, IsaError>;
    }
}

/// A number that vectors are made of: `f32`, `f16`, `bf16`, `i8` or `u8`.
pub trait Element: sealed::Sealed + Copy + Send + Sync + 'static {
    /// The name as benchmarks and reports write it.
    const NAME: &'static str;

    /// The same number, exactly.
    fn to_f32(self) -> f32;
}

macro_rules! element {
    ($element:ty, $name:literal, $widen:expr) => {
        impl Element for $element {
            const NAME: &'static str = $name;

            #[inline]
            fn to_f32(self) -> f32 {
                $widen(self)
            }
        }
    };
}

element!(f32, "f32", core::convert::identity);
element!(f16, "f16", f16::to_f32);
element!(bf16, "bf16", bf16::to_f32);
element!(i8, "i8", f32::from);
element!(u8, "u8", f32::from);

/// Queries of `Self` meet rows of `R`: each type meets itself, and `f32` meets them all.
pub trait Against<R: Element>: Element + sealed::Build<R> {}

impl<Q: Element + sealed::Build<R>, R: Element> Against<R> for Q {}

/// The entry functions of one metric on one instruction set; `$table` makes the three that may be constant.
macro_rules! parts {
    ($entry:ident, $queries:literal, $sum:ty, $within:ty, $table:expr) => {{
        let table = $table;
        Ok(Parts {
            pair: table.pair,
            rows: table.rows,
            gather: table.gather,
            matrix: entry::$entry::matrix::<$sum, $queries>,
            within: entry::$entry::within::<$within>,
        })
    }};
}

/// Writes [`sealed::Build`] for a pair of types whose sums are of `f32`. `$pick` is `constant` if the pair has
/// bodies of constant dimension, `pairs` if it has them for single pairs only. The numbers are queries per tile of
/// a matrix.
macro_rules! float_build {
    ($query:ty, $row:ty, $pick:ident) => {
        // 4 x 4 sums, 4 query registers and a row register of 32; 2 x 4 sums, 2 query registers and a row register
        // of 16.
        float_build!($query, $row, $pick, pulp::x86::V4, pulp::x86::V4, 4, pulp::x86::V3, 2);
    };
    ($query:ty, $row:ty, $pick:ident, $lanes512:ty, $l2_lanes512:ty, $queries512:literal, $lanes256:ty,
     $queries256:literal) => {
        impl sealed::Build<$row> for $query {
            fn parts(
                metric: Metric,
                dim: usize,
                isa: Isa,
                body: Body,
            ) -> Result<Parts<Self, $row>, IsaError> {
                let known = if body == Body::Constant { dim } else { 0 };
                match isa {
                    #[cfg(target_arch = "x86_64")]
                    Isa::Avx512 => {
                        float_parts!(
                            $pick,
                            avx512,
                            $queries512,
                            $lanes512,
                            $l2_lanes512,
                            $query,
                            $row,
                            metric,
                            known
                        )
                    }
                    #[cfg(target_arch = "x86_64")]
                    Isa::Avx2 => {
                        float_parts!(
                            $pick,
                            avx2,
                            $queries256,
                            $lanes256,
                            $lanes256,
                            $query,
                            $row,
                            metric,
                            known
                        )
                    }
                    #[cfg(target_arch = "aarch64")]
                    Isa::Neon => {
                        float_parts!(
                            $pick,
                            neon,
                            4,
                            pulp::aarch64::Neon,
                            pulp::aarch64::Neon,
                            $query,
                            $row,
                            metric,
                            known
                        )
                    }
                    Isa::Scalar => {
                        float_parts!(
                            generic,
                            scalar,
                            1,
                            pulp::Scalar128b,
                            pulp::Scalar128b,
                            $query,
                            $row,
                            metric,
                            known
                        )
                    }
                    #[allow(unreachable_patterns)] // the paths of other targets
                    missing => Err(IsaError::Missing { isa: missing }),
                }
            }
        }
    };
}

/// All metrics on one instruction set; `$l2_lanes` are the registers of L2 other than in a matrix.
macro_rules! float_parts {
    ($pick:ident, $entry:ident, $queries:literal, $lanes:ty, $l2_lanes:ty, $query:ty, $row:ty, $metric:ident,
     $known:ident) => {
        match $metric {
            Metric::L2 => float_parts!(
                @ $pick, $entry, $queries, L2<$lanes, $query, $row>, L2<$l2_lanes, $query, $row>, $known
            ),
            Metric::InnerProduct => {
                float_parts!(@ $pick, $entry, $queries, InnerProduct<$lanes, $query, $row>, $known)
            }
            Metric::Cosine => float_parts!(@ $pick, $entry, $queries, Cosine<$lanes, $query, $row>, $known),
            Metric::L1 => float_parts!(@ $pick, $entry, $queries, L1<$lanes, $query, $row>, $known),
        }
    };
    (@ $pick:ident, $entry:ident, $queries:literal, $sum:ty, $known:ident) => {
        float_parts!(@ $pick, $entry, $queries, $sum, $sum, $known)
    };
    (@ generic, $entry:ident, $queries:literal, $sum:ty, $table_sum:ty, $known:ident) => {{
        let _ = $known;
        parts!($entry, $queries, $sum, $sum, entry::$entry::table::<$table_sum, 0>())
    }};
    (@ constant, $entry:ident, $queries:literal, $sum:ty, $table_sum:ty, $known:ident) => {
        float_parts!(@ table, $entry, $queries, $sum, $table_sum, $known)
    };
    (@ pairs, $entry:ident, $queries:literal, $sum:ty, $table_sum:ty, $known:ident) => {
        float_parts!(@ pair_table, $entry, $queries, $sum, $table_sum, $known)
    };
    (@ $make:ident, $entry:ident, $queries:literal, $sum:ty, $table_sum:ty, $known:ident) => {{
        macro_rules! table {
            ($dim:literal) => {
                entry::$entry::$make::<$table_sum, $dim>()
            };
        }
        parts!($entry, $queries, $sum, $sum, with_const_dim!($known, table))
    }};
}

float_build!(f32, f32, constant);
// Turning f16 into f32 takes two operations for a whole register, on the two ports that differences and products of
// whole registers take too, but one for half a register, and three ports are open to halves: L2 of pairs is 3 to 19 %
// faster on halves (Sapphire Rapids).
float_build!(f16, f16, pairs, pulp::x86::V4, pulp::x86::V3, 4, pulp::x86::V3, 2);
// A register of these is two of the CPU.
float_build!(bf16, bf16, pairs, Two<pulp::x86::V4>, Two<pulp::x86::V4>, 2, Two<pulp::x86::V3>, 1);
float_build!(f32, f16, generic);
float_build!(f32, bf16, generic);
float_build!(f32, u8, generic);
float_build!(f32, i8, generic);

/// All metrics of byte against byte, by sums of integers. Giving up early needs sums that only grow, which
/// those of VNNI do not: it takes the sums of `f32`.
macro_rules! byte_parts {
    ($entry:ident, $queries:literal, $lanes:ty, $element:ty, $metric:ident, $sums:path, [$($words:ty),*]) => {{
        use $sums as sums;
        match $metric {
            Metric::L2 => byte_parts!(@ $entry, $queries, sums::L2<$($words,)* $element>, L2<$lanes, $element, $element>),
            Metric::InnerProduct => byte_parts!(
                @ $entry, $queries, sums::InnerProduct<$($words,)* $element>, InnerProduct<$lanes, $element, $element>
            ),
            Metric::Cosine => {
                byte_parts!(@ $entry, $queries, sums::Cosine<$($words,)* $element>, Cosine<$lanes, $element, $element>)
            }
            Metric::L1 => byte_parts!(@ $entry, $queries, sums::L1<$($words,)* $element>, L1<$lanes, $element, $element>),
        }
    }};
    (@ $entry:ident, $queries:literal, $sum:ty, $within:ty) => {
        parts!($entry, $queries, $sum, $within, entry::$entry::table::<$sum, 0>())
    };
}

/// Writes [`sealed::Build`] for a byte type against itself.
macro_rules! byte_build {
    ($element:ty) => {
        impl sealed::Build<$element> for $element {
            fn parts(
                metric: Metric,
                dim: usize,
                isa: Isa,
                _body: Body,
            ) -> Result<Parts<Self, Self>, IsaError> {
                let is_long = dim > bytes::MAX_DIM;
                match isa {
                    #[cfg(target_arch = "x86_64")]
                    Isa::Avx512 if is_long => {
                        float_parts!(
                            generic,
                            avx512,
                            4,
                            pulp::x86::V4,
                            pulp::x86::V4,
                            $element,
                            $element,
                            metric,
                            dim
                        )
                    }
                    #[cfg(target_arch = "x86_64")]
                    Isa::Avx512 if has_dot_products() => {
                        byte_parts!(vnni, 4, pulp::x86::V4, $element, metric, crate::bytes::vnni, [])
                    }
                    #[cfg(target_arch = "x86_64")]
                    Isa::Avx512 => {
                        byte_parts!(
                            avx512,
                            4,
                            pulp::x86::V4,
                            $element,
                            metric,
                            crate::bytes,
                            [bytes::x86::Avx512]
                        )
                    }
                    #[cfg(target_arch = "x86_64")]
                    Isa::Avx2 if is_long => {
                        float_parts!(
                            generic,
                            avx2,
                            2,
                            pulp::x86::V3,
                            pulp::x86::V3,
                            $element,
                            $element,
                            metric,
                            dim
                        )
                    }
                    #[cfg(target_arch = "x86_64")]
                    Isa::Avx2 => {
                        byte_parts!(
                            avx2,
                            2,
                            pulp::x86::V3,
                            $element,
                            metric,
                            crate::bytes,
                            [bytes::x86::Avx2]
                        )
                    }
                    #[cfg(target_arch = "aarch64")]
                    Isa::Neon if is_long => {
                        float_parts!(
                            generic,
                            neon,
                            4,
                            pulp::aarch64::Neon,
                            pulp::aarch64::Neon,
                            $element,
                            $element,
                            metric,
                            dim
                        )
                    }
                    #[cfg(target_arch = "aarch64")]
                    Isa::Neon if has_dot_products() => {
                        byte_parts!(
                            dotprod,
                            4,
                            pulp::aarch64::Neon,
                            $element,
                            metric,
                            crate::bytes,
                            [bytes::dotprod::Dot<$element>]
                        )
                    }
                    #[cfg(target_arch = "aarch64")]
                    Isa::Neon => {
                        byte_parts!(
                            neon,
                            2,
                            pulp::aarch64::Neon,
                            $element,
                            metric,
                            crate::bytes,
                            [bytes::neon::Neon]
                        )
                    }
                    Isa::Scalar if is_long => {
                        float_parts!(
                            generic,
                            scalar,
                            1,
                            pulp::Scalar128b,
                            pulp::Scalar128b,
                            $element,
                            $element,
                            metric,
                            dim
                        )
                    }
                    Isa::Scalar => {
                        byte_parts!(
                            scalar,
                            1,
                            pulp::Scalar128b,
                            $element,
                            metric,
                            crate::bytes,
                            [bytes::scalar::Scalar]
                        )
                    }
                    #[allow(unreachable_patterns)] // the paths of other targets
                    missing => Err(IsaError::Missing { isa: missing }),
                }
            }
        }
    };
}

byte_build!(u8);
byte_build!(i8);
