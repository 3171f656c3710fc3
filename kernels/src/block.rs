//! [`BlockKernel`]: vectors stored dimension by dimension, 16, 32 or 64 to a block.
//!
//! Worth it where all vectors of a block are wanted: there is no sum across a register and no tail, so short
//! vectors cost a fraction of what rows cost. Not worth it for single vectors: each of their elements lies in a
//! cache line of its own.

use crate::dispatch::check_rows;
use crate::entry::{self, BlockFn};
use crate::float::{Cosine, InnerProduct, L1, L2};
use crate::isa::{Isa, IsaError, active_isa};
use crate::metric::Metric;
use crate::reference;

/// Vectors per block.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum BlockWidth {
    /// 16 vectors: one cache line per dimension.
    W16,
    /// 32 vectors.
    W32,
    /// 64 vectors.
    W64,
}

impl BlockWidth {
    /// Every width.
    pub const ALL: [Self; 3] = [Self::W16, Self::W32, Self::W64];

    /// The number of vectors.
    pub const fn vectors(self) -> usize {
        match self {
            Self::W16 => 16,
            Self::W32 => 32,
            Self::W64 => 64,
        }
    }
}

/// Distances from one query to the vectors of a dimension-major block of `f32`.
///
/// # Numerics
/// As [`Kernel`](crate::Kernel).
///
/// # Examples
/// ```
/// use orthant_kernels::{BlockKernel, BlockWidth, Metric};
///
/// let kernel = BlockKernel::new(Metric::L2, 3, BlockWidth::W16)?;
/// let mut block = vec![0.0; kernel.block_len()];
/// kernel.pack(&[1.0, 2.0, 3.0, 4.0, 5.0, 6.0], 3, 2, &mut block); // two vectors; the others are zero
/// let mut out = [0.0; 16];
/// kernel.distances(&[1.0, 2.0, 4.0], &block, &mut out);
/// assert_eq!(out[..3], [1.0, 22.0, 21.0]);
/// # Ok::<(), orthant_kernels::IsaError>(())
/// ```
#[derive(Clone, Copy)]
pub struct BlockKernel {
    metric: Metric,
    isa: Isa,
    dim: usize,
    width: BlockWidth,
    block: BlockFn<f32, f32, f32>,
}

impl BlockKernel {
    /// A kernel on the path of [`active_isa`].
    ///
    /// # Errors
    /// As [`active_isa`]: the environment forces a path that is unknown or missing.
    pub fn new(metric: Metric, dim: usize, width: BlockWidth) -> Result<Self, IsaError> {
        Self::with_isa(metric, dim, width, active_isa()?)
    }

    /// A kernel on the path of `isa`.
    ///
    /// # Errors
    /// [`IsaError::Missing`] if the CPU does not have it.
    pub fn with_isa(metric: Metric, dim: usize, width: BlockWidth, isa: Isa) -> Result<Self, IsaError> {
        macro_rules! on {
            ($entry:ident, $lanes:ty, $w16:literal, $w32:literal, $w64:literal) => {
                match metric {
                    Metric::L2 => on!(@ $entry, L2<$lanes, f32, f32>, $w16, $w32, $w64),
                    Metric::InnerProduct => on!(@ $entry, InnerProduct<$lanes, f32, f32>, $w16, $w32, $w64),
                    Metric::Cosine => on!(@ $entry, Cosine<$lanes, f32, f32>, $w16, $w32, $w64),
                    Metric::L1 => on!(@ $entry, L1<$lanes, f32, f32>, $w16, $w32, $w64),
                }
            };
            (@ $entry:ident, $sum:ty, $w16:literal, $w32:literal, $w64:literal) => {
                match width {
                    BlockWidth::W16 => entry::$entry::block::<$sum, $w16>,
                    BlockWidth::W32 => entry::$entry::block::<$sum, $w32>,
                    BlockWidth::W64 => entry::$entry::block::<$sum, $w64>,
                }
            };
        }
        let block: BlockFn<f32, f32, f32> = match isa.require()? {
            #[cfg(target_arch = "x86_64")]
            Isa::Avx512 => on!(avx512, pulp::x86::V4, 1, 2, 4),
            #[cfg(target_arch = "x86_64")]
            Isa::Avx2 => on!(avx2, pulp::x86::V3, 2, 4, 8),
            #[cfg(target_arch = "aarch64")]
            Isa::Neon => on!(neon, pulp::aarch64::Neon, 4, 8, 16),
            Isa::Scalar => on!(scalar, pulp::Scalar128b, 4, 8, 16),
            #[allow(unreachable_patterns)] // the paths of other targets, which `require` refused
            missing => return Err(IsaError::Missing { isa: missing }),
        };
        Ok(Self { metric, isa, dim, width, block })
    }

    /// The metric.
    #[inline]
    pub fn metric(&self) -> Metric {
        self.metric
    }

    /// Elements per vector.
    #[inline]
    pub fn dim(&self) -> usize {
        self.dim
    }

    /// Vectors per block.
    #[inline]
    pub fn width(&self) -> BlockWidth {
        self.width
    }

    /// The instruction set in use.
    #[inline]
    pub fn isa(&self) -> Isa {
        self.isa
    }

    /// Elements of a block: `dim · vectors`.
    #[inline]
    pub fn block_len(&self) -> usize {
        self.dim * self.width.vectors()
    }

    /// Turns up to a block of rows into a block. Places of vectors that are not there are filled with zeros.
    ///
    /// # Shapes
    /// `rows: [count × stride]` (elements, row-major; the last row needs no padding), `block: [dim × vectors]`.
    /// # Panics
    /// If `count` exceeds the block's vectors, if `stride < dim`, if `rows` is too short or `block` has another
    /// length.
    pub fn pack(&self, rows: &[f32], stride: usize, count: usize, block: &mut [f32]) {
        let vectors = self.width.vectors();
        assert!(count <= vectors, "a block holds {vectors} vectors");
        assert_eq!(block.len(), self.block_len(), "a block has dim · vectors elements");
        check_rows(self.dim, self.dim, rows.len(), stride, count);
        for (at, slots) in block.chunks_exact_mut(vectors).enumerate() {
            for (vector, slot) in slots.iter_mut().enumerate() {
                *slot = if vector < count { rows[vector * stride + at] } else { 0.0 };
            }
        }
    }

    /// Distances from `query` to all vectors of a block, in their order.
    ///
    /// # Shapes
    /// `query: [dim]`, `block: [dim × vectors]` as [`pack`](Self::pack) writes it, `out: [vectors]`.
    /// # Panics
    /// If a length differs.
    pub fn distances(&self, query: &[f32], block: &[f32], out: &mut [f32]) {
        assert_eq!(query.len(), self.dim, "the query must have the kernel's dimension");
        assert_eq!(block.len(), self.block_len(), "a block has dim · vectors elements");
        assert_eq!(out.len(), self.width.vectors(), "one distance per vector");
        // SAFETY: query, block and output have the lengths the function asks for (asserted above), and the CPU has
        // the path: the constructor asked `Isa::require`.
        let is_sound = unsafe { (self.block)(query.as_ptr(), block.as_ptr(), self.dim, out.as_mut_ptr()) };
        if !is_sound {
            self.distances_in_f64(query, block, out);
        }
    }

    /// The cosines of a block in which some squared norm leaves the range of `f32`.
    #[cold]
    fn distances_in_f64(&self, query: &[f32], block: &[f32], out: &mut [f32]) {
        let vectors = self.width.vectors();
        for (vector, out) in out.iter_mut().enumerate() {
            let row = || block.iter().skip(vector).step_by(vectors).copied();
            *out = reference::cosine_of(query.iter().copied().zip(row())) as f32;
        }
    }
}

impl core::fmt::Debug for BlockKernel {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        f.debug_struct("BlockKernel")
            .field("metric", &self.metric)
            .field("dim", &self.dim)
            .field("width", &self.width)
            .field("isa", &self.isa)
            .finish()
    }
}
