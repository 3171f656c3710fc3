//! Plain Rust: four lanes that the compiler may or may not keep in one register.

use half::{bf16, f16};
use pulp::{Scalar128b, Simd};

use super::{Lanes, LoadAs, LoadHead, copy_head, pulp_lanes};

pulp_lanes!(
    Scalar128b,
    Self,
    // pulp would call fmaf(), a library function a hundred times slower than the two instructions.
    |simd, a, b, c| simd.add_f32s(simd.mul_f32s(a, b), c),
    [a, b, c, d] [Self.sum(a), Self.sum(b), Self.sum(c), Self.sum(d)]
);

// SAFETY: the copy reads `count` elements.
unsafe impl LoadHead for Scalar128b {
    #[inline(always)]
    unsafe fn load_f32_head(self, at: *const f32, count: usize) -> Self::Register {
        // SAFETY: the caller's promise is passed on.
        pulp::cast(unsafe { copy_head::<f32, 4>(at, count) })
    }
}

/// Writes [`LoadAs`] for an element type with a lossless conversion.
macro_rules! widened {
    ($element:ty, $widen:expr) => {
        // SAFETY: both copies read the elements they are told.
        unsafe impl LoadAs<Scalar128b> for $element {
            #[inline(always)]
            unsafe fn load(_simd: Scalar128b, at: *const Self) -> <Scalar128b as Lanes>::Register {
                // SAFETY: the caller promises four elements.
                pulp::cast(unsafe { at.cast::<[Self; 4]>().read_unaligned() }.map($widen))
            }

            #[inline(always)]
            unsafe fn load_head(
                _simd: Scalar128b,
                at: *const Self,
                count: usize,
            ) -> <Scalar128b as Lanes>::Register {
                // SAFETY: the caller's promise is passed on.
                pulp::cast(unsafe { copy_head::<Self, 4>(at, count) }.map($widen))
            }
        }
    };
}

widened!(f16, f16::to_f32_const);
widened!(bf16, bf16::to_f32_const);
widened!(u8, f32::from);
widened!(i8, f32::from);
