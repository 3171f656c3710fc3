//! Words on NEON.

use core::arch::aarch64::{
    int16x8_t, int32x4_t, vabsq_s16, vaddq_s32, vaddvq_s32, vdupq_n_s32, vget_low_s16, vld1_s8, vld1_u8,
    vmlal_high_s16, vmlal_s16, vmovl_s8, vmovl_u8, vpadalq_s16, vreinterpretq_s16_u16, vsubq_s16,
};

use super::{LoadWords, Words};

/// Eight words.
#[derive(Clone, Copy)]
pub(crate) struct Neon;

// SAFETY: register arithmetic only.
unsafe impl Words for Neon {
    type Word = int16x8_t;
    type Total = (int32x4_t, int32x4_t);
    const WIDTH: usize = 8;

    #[inline(always)]
    unsafe fn zero() -> Self::Total {
        // SAFETY: the caller promises NEON.
        let zero = unsafe { vdupq_n_s32(0) };
        (zero, zero)
    }

    #[inline(always)]
    unsafe fn multiply_add((low, high): Self::Total, a: int16x8_t, b: int16x8_t) -> Self::Total {
        // SAFETY: (whole block) register arithmetic; the caller promises NEON.
        unsafe { (vmlal_s16(low, vget_low_s16(a), vget_low_s16(b)), vmlal_high_s16(high, a, b)) }
    }

    #[inline(always)]
    unsafe fn add_squares(total: Self::Total, a: int16x8_t, b: int16x8_t) -> Self::Total {
        // SAFETY: (whole block) register arithmetic; the caller promises NEON.
        unsafe {
            let difference = vsubq_s16(a, b);
            Self::multiply_add(total, difference, difference)
        }
    }

    #[inline(always)]
    unsafe fn add_distances((low, high): Self::Total, a: int16x8_t, b: int16x8_t) -> Self::Total {
        // SAFETY: register arithmetic; the caller promises NEON.
        (unsafe { vpadalq_s16(low, vabsq_s16(vsubq_s16(a, b))) }, high)
    }

    #[inline(always)]
    unsafe fn merge(a: Self::Total, b: Self::Total) -> Self::Total {
        // SAFETY: (whole block) register arithmetic; the caller promises NEON.
        unsafe { (vaddq_s32(a.0, b.0), vaddq_s32(a.1, b.1)) }
    }

    #[inline(always)]
    unsafe fn reduce((low, high): Self::Total) -> i32 {
        // SAFETY: (whole block) register arithmetic; the caller promises NEON.
        unsafe { vaddvq_s32(vaddq_s32(low, high)) }
    }
}

macro_rules! load {
    ($element:ty, |$at:ident| $widen:expr) => {
        // SAFETY: the load is of eight elements, the copy of `count`.
        unsafe impl LoadWords<Neon> for $element {
            #[inline(always)]
            unsafe fn load($at: *const Self) -> int16x8_t {
                // SAFETY: the caller promises eight elements and NEON.
                unsafe { $widen }
            }

            #[inline(always)]
            unsafe fn load_head(at: *const Self, count: usize) -> int16x8_t {
                let mut head: [Self; 8] = [0; 8];
                // SAFETY: the caller promises `count < 8` elements, and `head` is another array.
                unsafe { core::ptr::copy_nonoverlapping(at, head.as_mut_ptr(), count) };
                // SAFETY: `head` has eight elements.
                unsafe { <Self as LoadWords<Neon>>::load(head.as_ptr()) }
            }
        }
    };
}

load!(u8, |at| vreinterpretq_s16_u16(vmovl_u8(vld1_u8(at))));
load!(i8, |at| vmovl_s8(vld1_s8(at)));
