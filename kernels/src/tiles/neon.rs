//! Cells on NEON, with and without dot products: four vectors of four dimensions.

use core::arch::aarch64::{
    uint8x16_t, uint32x4_t, vdupq_n_u32, vget_low_u8, vld1q_u8, vmull_high_u8, vmull_u8, vpadalq_u16,
    vpaddq_u32, vreinterpretq_s32_u32, vreinterpretq_u8_u32, vst1q_s32,
};

use super::Panel;
use crate::bytes::dotprod::add_products;

/// Four products and their sum per lane.
#[derive(Clone, Copy)]
pub(super) struct Dot;

/// Products of 16 bits, added in pairs: two lanes per vector, in two registers.
#[derive(Clone, Copy)]
pub(super) struct Neon;

/// The parts of [`Panel`] that both share.
macro_rules! cells {
    () => {
        type Left = uint8x16_t;
        type Right = uint8x16_t;
        const LANES: usize = 4;
        const GROUP: usize = 4;

        fn cell(bytes: u32) -> u32 {
            bytes
        }

        #[inline(always)]
        unsafe fn left(bytes: u32) -> uint8x16_t {
            // SAFETY: register arithmetic; the caller promises NEON.
            unsafe { vreinterpretq_u8_u32(vdupq_n_u32(bytes)) }
        }

        #[inline(always)]
        unsafe fn right(at: *const u8) -> uint8x16_t {
            // SAFETY: the caller promises four cells.
            unsafe { vld1q_u8(at) }
        }
    };
}

// SAFETY: one register is read or written.
unsafe impl Panel for Dot {
    cells!();
    type Total = uint32x4_t;

    #[inline(always)]
    unsafe fn zero() -> uint32x4_t {
        // SAFETY: the caller promises NEON.
        unsafe { vdupq_n_u32(0) }
    }

    #[inline(always)]
    unsafe fn add(total: uint32x4_t, left: uint8x16_t, right: uint8x16_t) -> uint32x4_t {
        // SAFETY: the caller promises dot products.
        unsafe { add_products(total, left, right) }
    }

    #[inline(always)]
    unsafe fn store(total: uint32x4_t, out: *mut i32) {
        // SAFETY: the caller promises four places.
        unsafe { vst1q_s32(out, vreinterpretq_s32_u32(total)) };
    }
}

// SAFETY: one register is read or written.
unsafe impl Panel for Neon {
    cells!();
    type Total = (uint32x4_t, uint32x4_t);

    #[inline(always)]
    unsafe fn zero() -> Self::Total {
        // SAFETY: the caller promises NEON.
        let zero = unsafe { vdupq_n_u32(0) };
        (zero, zero)
    }

    #[inline(always)]
    unsafe fn add(total: Self::Total, left: uint8x16_t, right: uint8x16_t) -> Self::Total {
        // SAFETY: (whole block) register arithmetic; the caller promises NEON.
        unsafe {
            let low = vmull_u8(vget_low_u8(left), vget_low_u8(right));
            (vpadalq_u16(total.0, low), vpadalq_u16(total.1, vmull_high_u8(left, right)))
        }
    }

    #[inline(always)]
    unsafe fn store(total: Self::Total, out: *mut i32) {
        // SAFETY: register arithmetic; the caller promises NEON and four places.
        unsafe { vst1q_s32(out, vreinterpretq_s32_u32(vpaddq_u32(total.0, total.1))) };
    }
}
