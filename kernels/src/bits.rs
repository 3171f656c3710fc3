//! [`BitKernel`]: vectors of bits, eight to a byte, under Hamming and Jaccard.

use core::fmt;
use core::str::FromStr;

use crate::dispatch::{check_ids, check_rows};
use crate::entry::{self, GatherFn, MatrixFn, PairFn, RowsFn, Table};
use crate::isa::{Isa, IsaError, active_isa};
use crate::metric::UnknownMetric;
use crate::shape::matrix::Sides;

#[cfg(target_arch = "aarch64")]
mod neon;
mod sums;
#[cfg(target_arch = "x86_64")]
mod x86;

use sums::{Hamming, Jaccard};

/// How far two vectors of bits are apart. Smaller is nearer.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum BitMetric {
    /// The number of bits that differ.
    Hamming,
    /// One minus the share of bits set in both among those set in either. Two vectors without a set bit have
    /// distance 0.
    Jaccard,
}

impl BitMetric {
    /// Every metric.
    pub const ALL: [Self; 2] = [Self::Hamming, Self::Jaccard];

    /// The short name that [`Display`](fmt::Display) writes and [`FromStr`] reads.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Hamming => "hamming",
            Self::Jaccard => "jaccard",
        }
    }
}

impl fmt::Display for BitMetric {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.name())
    }
}

impl FromStr for BitMetric {
    type Err = UnknownMetric;

    fn from_str(text: &str) -> Result<Self, UnknownMetric> {
        Self::ALL.into_iter().find(|metric| metric.name() == text).ok_or(UnknownMetric)
    }
}

/// Distances of vectors of bits, at one length, on one instruction set.
///
/// # Shapes
/// Vectors are slices of `bytes` bytes. Bits behind the last one that counts must be the same in all vectors for
/// Hamming, and zero for Jaccard.
/// # Numerics
/// Counts are exact up to 2³¹ bits and rounded once, to `f32`: exact up to 2²⁴ bits.
///
/// # Examples
/// ```
/// use orthant_kernels::{BitKernel, BitMetric};
///
/// let kernel = BitKernel::new(BitMetric::Jaccard, 2)?;
/// assert_eq!(kernel.pair(&[0b1100, 1], &[0b0110, 1]), 0.5);
/// # Ok::<(), orthant_kernels::IsaError>(())
/// ```
#[derive(Clone, Copy)]
pub struct BitKernel {
    metric: BitMetric,
    isa: Isa,
    bytes: usize,
    pair: PairFn<u8, u8, f32>,
    rows: RowsFn<u8, u8, f32>,
    gather: GatherFn<u8, u8, f32>,
    matrix: MatrixFn<u8, u8, f32>,
}

impl BitKernel {
    /// A kernel on the path of [`active_isa`].
    ///
    /// # Errors
    /// As [`active_isa`]: the environment forces a path that is unknown or missing.
    pub fn new(metric: BitMetric, bytes: usize) -> Result<Self, IsaError> {
        Self::with_isa(metric, bytes, active_isa()?)
    }

    /// A kernel on the path of `isa`.
    ///
    /// # Errors
    /// [`IsaError::Missing`] if the CPU does not have it.
    pub fn with_isa(metric: BitMetric, bytes: usize, isa: Isa) -> Result<Self, IsaError> {
        macro_rules! on {
            ($entry:ident, $queries:literal, $counts:ty) => {
                match metric {
                    BitMetric::Hamming => on!(@ $entry, $queries, Hamming<$counts>, 0),
                    BitMetric::Jaccard => on!(@ $entry, $queries, Jaccard<$counts>, 0),
                }
            };
            // POPCNT, which the entry functions of both paths switch on, beats their tables on a few words.
            (words $entry:ident) => {
                match (metric, bytes) {
                    (BitMetric::Hamming, 16) => Some(on!(@ $entry, 1, Hamming<sums::Scalar>, 16)),
                    (BitMetric::Jaccard, 16) => Some(on!(@ $entry, 1, Jaccard<sums::Scalar>, 16)),
                    (BitMetric::Jaccard, 32) => Some(on!(@ $entry, 1, Jaccard<sums::Scalar>, 32)),
                    (BitMetric::Jaccard, 48) => Some(on!(@ $entry, 1, Jaccard<sums::Scalar>, 48)),
                    (BitMetric::Jaccard, 1..16) => Some(on!(@ $entry, 1, Jaccard<sums::Scalar>, 0)),
                    _ => None,
                }
            };
            (@ $entry:ident, $queries:literal, $sum:ty, $bytes:literal) => {{
                let Table { pair, rows, gather } = entry::$entry::table::<$sum, $bytes>();
                let matrix = entry::$entry::matrix::<$sum, $queries>;
                Self { metric, isa, bytes, pair, rows, gather, matrix }
            }};
        }
        Ok(match isa.require()? {
            #[cfg(target_arch = "x86_64")]
            Isa::Avx512 => match on!(words avx512) {
                Some(kernel) => kernel,
                None => on!(avx512, 2, x86::Avx512),
            },
            #[cfg(target_arch = "x86_64")]
            Isa::Avx2 => match on!(words avx2) {
                Some(kernel) => kernel,
                None => on!(avx2, 2, x86::Avx2),
            },
            #[cfg(target_arch = "aarch64")]
            Isa::Neon => on!(neon, 2, neon::Neon),
            Isa::Scalar => on!(scalar, 1, sums::Scalar),
            #[allow(unreachable_patterns)] // the paths of other targets, which `require` refused
            missing => return Err(IsaError::Missing { isa: missing }),
        })
    }

    /// The metric.
    #[inline]
    pub fn metric(&self) -> BitMetric {
        self.metric
    }

    /// Bytes per vector.
    #[inline]
    pub fn bytes(&self) -> usize {
        self.bytes
    }

    /// The instruction set in use.
    #[inline]
    pub fn isa(&self) -> Isa {
        self.isa
    }

    /// The distance of two vectors.
    ///
    /// # Panics
    /// If either length is not that of the kernel.
    #[inline]
    pub fn pair(&self, a: &[u8], b: &[u8]) -> f32 {
        assert_eq!(a.len(), self.bytes, "the first vector must have the kernel's length");
        assert_eq!(b.len(), self.bytes, "the second vector must have the kernel's length");
        // SAFETY: both slices hold `bytes` bytes (asserted above), and the CPU has the path: the constructor
        // asked `Isa::require`.
        unsafe { (self.pair)(a.as_ptr(), b.as_ptr(), self.bytes) }
    }

    /// Distances from `query` to the first `out.len()` rows of `base`, in row order.
    ///
    /// # Shapes
    /// `query: [bytes]`, `base: [out.len() × stride]` (bytes, row-major; the last row needs no padding).
    /// # Panics
    /// If `query.len()` is not the kernel's length, if `stride` is shorter, or if `base` is too short.
    #[inline]
    pub fn rows(&self, query: &[u8], base: &[u8], stride: usize, out: &mut [f32]) {
        check_rows(self.bytes, query.len(), base.len(), stride, out.len());
        // SAFETY: the rows lie inside `base` (checked above), and the CPU has the path.
        unsafe {
            (self.rows)(query.as_ptr(), base.as_ptr(), stride, self.bytes, out.as_mut_ptr(), out.len());
        }
    }

    /// Distances from `query` to the rows of `base` named by `ids`, in the order of `ids`.
    ///
    /// # Panics
    /// If `out.len() != ids.len()`, if `query.len()` is not the kernel's length, if `stride` is shorter, or if an id
    /// names no row.
    #[inline]
    pub fn gather(&self, query: &[u8], base: &[u8], stride: usize, ids: &[u32], out: &mut [f32]) {
        check_ids(self.bytes, query.len(), base.len(), stride, ids);
        assert_eq!(out.len(), ids.len(), "one distance per id");
        // SAFETY: the row of every id lies inside `base` and `out` has a place for each (checked above); the CPU
        // has the path.
        unsafe {
            let (ids, out, count) = (ids.as_ptr(), out.as_mut_ptr(), ids.len());
            (self.gather)(query.as_ptr(), base.as_ptr(), stride, self.bytes, ids, out, count);
        }
    }

    /// Distances of every query to every row: `out[q · rows + r]`, where `rows` is `out.len() / count`.
    ///
    /// # Shapes
    /// `queries: [count × query_stride]`, `base: [rows × stride]`, `out: [count × rows]`.
    /// # Panics
    /// If `out.len()` is not a multiple of `count`, if a stride is shorter than a vector, or if `queries` or `base` is
    /// too short.
    pub fn matrix(
        &self,
        queries: &[u8],
        query_stride: usize,
        count: usize,
        base: &[u8],
        stride: usize,
        out: &mut [f32],
    ) {
        if count == 0 || out.is_empty() {
            assert!(out.is_empty(), "no queries have no distances");
            return;
        }
        let rows = out.len() / count;
        assert_eq!(rows * count, out.len(), "one distance per query and row");
        check_rows(self.bytes, self.bytes, queries.len(), query_stride, count);
        check_rows(self.bytes, self.bytes, base.len(), stride, rows);
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
        // the CPU has the path.
        unsafe { (self.matrix)(sides, self.bytes) }
    }
}

impl fmt::Debug for BitKernel {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("BitKernel")
            .field("metric", &self.metric)
            .field("bytes", &self.bytes)
            .field("isa", &self.isa)
            .finish()
    }
}
