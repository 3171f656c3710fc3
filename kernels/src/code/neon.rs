//! The code sum on NEON: widen to `i16`, multiply and add into 32-bit lanes.

use core::arch::aarch64::{
    int16x8_t, int32x4_t, vaddq_s32, vaddvq_s32, vdupq_n_s32, vget_low_s16, vld1_u8, vld1q_s16,
    vmlal_high_s16, vmlal_s16, vmovl_u8, vreinterpretq_s16_u16,
};

use super::integer_sum;
use crate::sum::Sum;

/// Eight elements per step, in two accumulators of four lanes.
#[derive(Clone, Copy)]
pub(super) struct Neon;

// SAFETY: inlined throughout; loads are of 8 elements or of copies of the first `count`.
unsafe impl Sum for Neon {
    integer_sum!(i16, u8);
    type Register = int16x8_t;
    type Partial = (int32x4_t, int32x4_t);

    const WIDTH: usize = 8;

    #[inline(always)]
    unsafe fn zero() -> Self::Partial {
        // SAFETY: NEON is promised by the caller.
        let zero = unsafe { vdupq_n_s32(0) };
        (zero, zero)
    }

    #[inline(always)]
    unsafe fn load(weights: *const i16) -> int16x8_t {
        // SAFETY: the caller promises 8 elements.
        unsafe { vld1q_s16(weights) }
    }

    #[inline(always)]
    unsafe fn load_head(weights: *const i16, count: usize) -> int16x8_t {
        let mut head = [0i16; 8];
        // SAFETY: the caller promises `count < 8` elements, and `head` is another array.
        unsafe { core::ptr::copy_nonoverlapping(weights, head.as_mut_ptr(), count) };
        // SAFETY: `head` holds 8 elements.
        unsafe { Self::load(head.as_ptr()) }
    }

    #[inline(always)]
    unsafe fn step((low, high): Self::Partial, weights: int16x8_t, code: *const u8) -> Self::Partial {
        // SAFETY: the caller promises 8 elements.
        let bytes = unsafe { vld1_u8(code) };
        // SAFETY: (whole block) register arithmetic on NEON, promised by the caller.
        unsafe {
            let codes = vreinterpretq_s16_u16(vmovl_u8(bytes));
            (vmlal_s16(low, vget_low_s16(codes), vget_low_s16(weights)), vmlal_high_s16(high, codes, weights))
        }
    }

    #[inline(always)]
    unsafe fn step_head(
        partial: Self::Partial,
        weights: int16x8_t,
        code: *const u8,
        count: usize,
    ) -> Self::Partial {
        let mut head = [0u8; 8];
        // SAFETY: the caller promises `count < 8` elements, and `head` is another array.
        unsafe { core::ptr::copy_nonoverlapping(code, head.as_mut_ptr(), count) };
        // SAFETY: `head` holds 8 elements.
        unsafe { Self::step(partial, weights, head.as_ptr()) }
    }

    #[inline(always)]
    unsafe fn merge(a: Self::Partial, b: Self::Partial) -> Self::Partial {
        // SAFETY: (whole block) register arithmetic on NEON, promised by the caller.
        unsafe { (vaddq_s32(a.0, b.0), vaddq_s32(a.1, b.1)) }
    }

    #[inline(always)]
    unsafe fn finish(
        (low, high): Self::Partial,
        _context: (),
        _weights: *const i16,
        _code: *const u8,
        _dim: usize,
    ) -> i32 {
        // SAFETY: (whole block) register arithmetic on NEON, promised by the caller.
        unsafe { vaddvq_s32(vaddq_s32(low, high)) }
    }
}
