//! Plain Rust: four lanes that the compiler may or may not keep in one register.

use half::{bf16, f16};
use pulp::{Scalar128b, Simd};

use super::{Lanes, LoadAs, LoadHead, copy_head};

// SAFETY: the token has no content.
unsafe impl Lanes for Scalar128b {
    #[inline(always)]
    unsafe fn token() -> Self {
        Self
    }

    #[inline(always)]
    fn multiply_add(self, a: Self::f32s, b: Self::f32s, c: Self::f32s) -> Self::f32s {
        // pulp would call fmaf(), a library function a hundred times slower than the two instructions.
        self.add_f32s(self.mul_f32s(a, b), c)
    }
}

// SAFETY: the copy reads `count` elements.
unsafe impl LoadHead for Scalar128b {
    #[inline(always)]
    unsafe fn load_f32_head(self, at: *const f32, count: usize) -> Self::f32s {
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
            unsafe fn load(_simd: Scalar128b, at: *const Self) -> <Scalar128b as Simd>::f32s {
                // SAFETY: the caller promises four elements.
                pulp::cast(unsafe { at.cast::<[Self; 4]>().read_unaligned() }.map($widen))
            }

            #[inline(always)]
            unsafe fn load_head(
                _simd: Scalar128b,
                at: *const Self,
                count: usize,
            ) -> <Scalar128b as Simd>::f32s {
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
